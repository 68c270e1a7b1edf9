// The files of a lane, as processes that tap runs side by side.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Limit of a process: a hung one is ended and is a failure. */
const PROCESS_TIMEOUT_MS = 600_000

/**
 * V8 optimises code after it has run eight times as much as usual: most of what runs here runs too seldom to pay for that.
 * Programs that tests start get the same (test/cli/mkondo-process.ts). Newer Nodes than 20 do not start with it.
 */
const V8_OPTIONS = process.versions.node.startsWith('20.') ? ['--interrupt-budget=1000000'] : []

/** The test files, in order: `test/….test.ts`. */
export const testFiles = () =>
  readdirSync('test', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()

/**
 * Runs these files in one process, a test of `t` beside others of its jobs. Without tap's loaders: they cost a second in
 * it and in each Node that it starts, and what is built needs none. tap puts them into NODE_OPTIONS of every process that
 * it starts, whatever environment it is given, so `env` takes them out again.
 */
export function spawn(t, name, files) {
  const args =
    files.length > 1 ? ['scripts/tests/together.mjs', ...files] : [`dist/${files[0].replace(/\.ts$/, '.js')}`]
  return t.spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, ...V8_OPTIONS, ...args], {
    name,
    buffered: t.jobs > 1,
    timeout: PROCESS_TIMEOUT_MS,
    at: null,
    stack: '',
  })
}
