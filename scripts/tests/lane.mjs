// The test files of a lane, run by tap in concurrent processes.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { slowness } from './slowness.mjs'

/** The children's limits grow with it too (scripts/tests/together.mjs, test/support/until.ts). */
const SLOWNESS = slowness()
process.env.TEST_SLOWNESS = SLOWNESS.toFixed(2)
/**
 * Time limit of a process: if the process hangs, it is ended and counts as a failure. In a shared process each file has
 * a shorter limit.
 */
const PROCESS_TIMEOUT_MS = 600_000 * SLOWNESS
const SHARED_TIMEOUT_MS = 1_200_000 * SLOWNESS

/**
 * Delays V8's optimisation of code to eight times the usual amount of execution, because most code of the tests runs
 * too rarely to benefit. Programs that tests start get this option too (test/cli/mkondo-process.ts). Node versions
 * after 20 do not start with this option.
 */
const V8_OPTIONS = process.versions.node.startsWith('20.') ? ['--interrupt-budget=1000000'] : []

/** @returns the test files in alphabetical order: `test/….test.ts` */
export const testFiles = () =>
  readdirSync('test', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()

/**
 * Runs a file in its own process, as a test of `t`. tap's loaders are not used: they take a second in each Node
 * process, and built files do not need them. tap always sets NODE_OPTIONS with the loaders, so `env` removes
 * NODE_OPTIONS again.
 */
export const spawn = (t, file) => start(t, file, [file], PROCESS_TIMEOUT_MS)

/** Runs the files that no other process has claimed. @param taken an empty folder that the processes share */
export const spawnSharing = (t, name, files, taken) => start(t, name, ['--taken', taken, ...files], SHARED_TIMEOUT_MS)

function start(t, name, args, timeout) {
  const node = [...V8_OPTIONS, 'scripts/tests/together.mjs', ...args]
  return t.spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, ...node], {
    name,
    buffered: t.jobs > 1,
    timeout,
    at: null,
    stack: '',
  })
}
