// Runs built test files in this one process, one after another: each file's `import t from 'tap'` gets a subtest of its
// own, named after the file, so that results, teardowns and limits stay the file's. A process that loads the sources
// costs half a second of processor time, and most tests take milliseconds.
//
//   node scripts/tests/together.mjs test/….test.ts …
import { register } from 'node:module'

// tap names folders of files after the command line.
const files = process.argv.splice(2)

const testOf = new Map()
globalThis[Symbol.for('mkondo.testOf')] = testOf

// tap has a hook that follows each promise of a process, to tell which test threw what none caught: a fifth of the
// processor time of a simulation. Without it such a fault ends the process, with its stack, which is a failure too.
const NO_DOMAINS = 'export class Domain { constructor(onerror) { this.onerror = onerror } destroy() {} }'

register(
  'data:text/javascript,' +
    encodeURIComponent(`
  const moduleOf = (source) => ({ url: 'data:text/javascript,' + encodeURIComponent(source), format: 'module', shortCircuit: true })
  export async function resolve(specifier, context, nextResolve) {
    if (specifier === 'async-hook-domain') return moduleOf(${JSON.stringify(NO_DOMAINS)})
    if (specifier !== 'tap' || !context.parentURL?.endsWith('.test.js')) return nextResolve(specifier, context)
    return moduleOf('export default globalThis[Symbol.for("mkondo.testOf")].get(' + JSON.stringify(context.parentURL) + ')')
  }
`),
)

const { default: root } = await import('tap')

// Each file has a time limit; the process as a whole has none. A file must be given its own: it inherits that of the process.
const FILE_TIMEOUT_MS = 240_000
root.setTimeout(0)

const done = files.map((file) => {
  const url = new URL(`../../dist/${file.replace(/\.ts$/, '.js')}`, import.meta.url).href
  return root.test(file, { timeout: FILE_TIMEOUT_MS }, async (t) => {
    testOf.set(url, t)
    await import(url)
  })
})

/** A handle that a test has left open, such as one that ran out of time, is a failure and does not keep the process. */
const LEFT_OPEN_MS = 10_000
await Promise.allSettled(done)
setTimeout(() => {
  console.error(`still open after the last test: ${process.getActiveResourcesInfo().join(', ')}`)
  process.exit(1)
}, LEFT_OPEN_MS).unref()
