// Runs built test files in this process, one after another. For each file, `import t from 'tap'` returns a separate
// subtest with the file's name, so that results, teardowns and time limits belong to the file. One process is used
// because loading the sources takes 2 to 4 s of CPU time, and most tests take milliseconds.
//
//   node scripts/tests/together.mjs [--taken FOLDER] test/….test.ts …
//
// With a folder, the process runs only the files that no other process with this folder has claimed, in the given
// order.
import asyncHooks from 'node:async_hooks'
import { mkdirSync } from 'node:fs'
import { register, syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'

// Removes the arguments, because tap uses the command line to name folders.
const files = process.argv.splice(2)
const taken = files[0] === '--taken' ? files.splice(0, 2)[1] : null

// Replaces tap's hook, which follows each promise of the process to find the test of an uncaught error. The hook takes
// a fifth of a simulation's CPU time. While tap is loaded, it gets a hook that does nothing. An uncaught error then
// counts for another test, or ends the process and shows its stack. Both are failures.
const { createHook } = asyncHooks
asyncHooks.createHook = () => ({ enable: () => undefined, disable: () => undefined })
syncBuiltinESMExports()
const { default: root } = await import('tap')
asyncHooks.createHook = createHook
syncBuiltinESMExports()

/** How much slower this machine is than the one for which limits are written (scripts/tests/slowness.mjs). */
const SLOWNESS = Number(process.env.TEST_SLOWNESS ?? 1)
/** Maximum time without output in ms: a process that is silent for longer hangs. */
const SILENT_MS_MAX = Number(process.env.TEST_SILENT_MS ?? 240_000 * SLOWNESS)
const WATCH_MS = Math.min(5000, SILENT_MS_MAX)
/** Time in ms for the report of a silent process. */
const REPORT_MS = 500

/** @returns what keeps this process alive, such as `Timeout x 3, TCPSocketWrap x 1` */
function openResources() {
  const counts = new Map()
  for (const name of process.getActiveResourcesInfo()) counts.set(name, (counts.get(name) ?? 0) + 1)
  return [...counts].map(([name, count]) => `${name} x ${count}`).join(', ')
}

/** Fails the running test and ends the process, if the process prints nothing for too long. Its children end with it. */
function watchSilence() {
  let outputMs = performance.now()
  const write = process.stdout.write.bind(process.stdout)
  process.stdout.write = (...args) => {
    outputMs = performance.now()
    return write(...args)
  }
  setInterval(() => {
    if (performance.now() - outputMs < SILENT_MS_MAX) return
    outputMs = Infinity
    root.timeout({ message: `silent for ${SILENT_MS_MAX / 1000} s; open: ${openResources()}` })
    setTimeout(() => process.exit(1), REPORT_MS)
  }, WATCH_MS).unref()
}

const urlOf = (file) => new URL(`../../dist/${file.replace(/\.ts$/, '.js')}`, import.meta.url).href

// Time limit of a file in a shared process, in milliseconds. The process has no limit of its own. Test files set none.
const FILE_TIMEOUT_MS = 240_000 * SLOWNESS
/**
 * Time after the last test, in ms, until an open handle counts as a failure and the process ends. A test that exceeded
 * its time limit may leave a handle open.
 */
const LEFT_OPEN_MS = 10_000

/** Claims a file for this process. @returns false if another process has claimed the file */
function take(file) {
  if (taken === null) return true
  try {
    mkdirSync(join(taken, encodeURIComponent(file)))
    return true
  } catch (thrown) {
    if (thrown.code === 'EEXIST') return false
    throw thrown
  }
}

async function together() {
  const testOf = new Map()
  globalThis[Symbol.for('mkondo.testOf')] = testOf
  // Takes a second of CPU time, so a single file runs without this hook.
  register(
    'data:text/javascript,' +
      encodeURIComponent(`
    export async function resolve(specifier, context, nextResolve) {
      if (specifier !== 'tap' || !context.parentURL?.endsWith('.test.js')) return nextResolve(specifier, context)
      const own = 'export default globalThis[Symbol.for("mkondo.testOf")].get(' + JSON.stringify(context.parentURL) + ')'
      return { url: 'data:text/javascript,' + encodeURIComponent(own), format: 'module', shortCircuit: true }
    }
  `),
  )
  let ran = 0
  for (const file of files) {
    if (!take(file)) continue
    ran++
    const its = root.test(file, { timeout: FILE_TIMEOUT_MS }, async (t) => {
      testOf.set(urlOf(file), t)
      await import(urlOf(file))
    })
    await Promise.allSettled([its])
  }
  // tap would count a process without a test as failed.
  if (ran === 0) root.pass('other processes have taken all files')
  setTimeout(() => {
    console.error(`still open after the last test: ${openResources()}`)
    process.exit(1)
  }, LEFT_OPEN_MS).unref()
}

watchSilence()
root.setTimeout(0)
if (files.length === 1 && taken === null) await import(urlOf(files[0]))
else await together()
