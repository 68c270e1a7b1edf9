// The files of a lane, as processes that tap runs side by side.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

/** Of a process: a hung one is ended and is a failure. */
const PROCESS_TIMEOUT_MS = 600_000

/** The test files, in order: `test/….test.ts`. */
export const testFiles = () =>
  readdirSync('test', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()

/** Runs these files in one process; beside others, unless it is `alone`. Without tap's loaders, which cost a second. */
export function spawn(name, files, { alone = false } = {}) {
  const { NODE_OPTIONS: _, ...env } = process.env
  const [first] = files
  const args = files.length > 1 ? ['scripts/tests/together.mjs', ...files] : [`dist/${first.replace(/\.ts$/, '.js')}`]
  return t.spawn(process.execPath, args, {
    name,
    buffered: !alone,
    timeout: PROCESS_TIMEOUT_MS,
    env,
    at: null,
    stack: '',
  })
}
