// `.ci/more mutants`: faults put by hand into the resources of a call (src/call/resources), each against the fast tests of
// test/call. A test must find each fault: a mutant that survives is printed, and counts as failed.
//
//   npm run -s build && node scripts/ci/mutants.mjs [TEXT …]
//
// With texts, only mutants whose line contains one of them are played. The sources stay as they are: a loader gives the changed
// module to the process of the tests.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { transform } from 'esbuild'
import { MUTANTS } from './mutant-list.mjs'

/**
 * The fast tests of test/call, the longest last. The calls of any-call differ in each run, so the same mutant might be
 * found in one run and survive in the next.
 */
const [LONGEST, LEFT_OUT] = ['test/call/pairs.test.ts', 'test/call/any-call.test.ts']
const TESTS = [
  ...readdirSync('test/call')
    .map((name) => `test/call/${name}`)
    .filter((file) => /^[^.]+\.test\.ts$/.test(file) && file !== LONGEST && file !== LEFT_OUT)
    .sort(),
  LONGEST,
]
/** Time after which a mutant is found, because the tests do not end. Unchanged, they take 26 s on a quiet core. */
const TESTS_MS_MAX = 10 * 60_000

/** @returns true if all tests pass with this source in place of the built module */
async function survives({ module, source }) {
  const hook = `export const load = (url, context, next) =>
    url === ${JSON.stringify(pathToFileURL(resolve(module)).href)}
      ? { format: 'module', shortCircuit: true, source: ${JSON.stringify(source)} }
      : next(url, context)`
  const data = (text) => `data:text/javascript,${encodeURIComponent(text)}`
  const loader = data(`import { register } from 'node:module'; register(${JSON.stringify(data(hook))})`)
  const child = spawn(process.execPath, ['--import', loader, 'scripts/tests/together.mjs', ...TESTS], {
    // The first failure is enough.
    env: { ...process.env, TAP_BAIL: '1' },
    stdio: 'ignore',
    timeout: TESTS_MS_MAX,
    killSignal: 'SIGKILL',
  })
  const [code] = await once(child, 'close')
  return code === 0
}

/** @returns the built module of a mutant's file, and its source with the fault */
async function mutated({ file, from, to }) {
  const text = readFileSync(file, 'utf8')
  if (text.split(from).length !== 2) throw new Error(`${file}: the text of a mutant must be there once: ${from}`)
  const { code } = await transform(
    text.replace(from, () => to),
    { loader: 'ts', target: 'node20' },
  )
  return { module: file.replace(/^(.*)\.ts$/, 'dist/$1.js'), source: code }
}

/** A mutant in one line. */
const titleOf = ({ file, from, to }) => `${file}: ${from} -> ${to === '' ? 'nothing' : to}`.replaceAll(/\s+/g, ' ')

const texts = process.argv.slice(2)
const chosen = MUTANTS.filter((mutant) => texts.length === 0 || texts.some((text) => titleOf(mutant).includes(text)))
if (chosen.length === 0) {
  console.error(`mutants: the line of no mutant contains ${texts.join(' or ')}`)
  process.exit(2)
}
// All texts are looked for first, so that a mutant of a former source ends the run at once.
const rest = (await Promise.all(chosen.map(mutated))).map((changed, i) => ({ ...changed, title: titleOf(chosen[i]) }))
let [found, survived] = [0, 0]

async function play() {
  for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
    const beganMs = performance.now()
    const isAlive = await survives(next)
    if (isAlive) survived++
    else found++
    const seconds = ((performance.now() - beganMs) / 1000).toFixed(1).padStart(6)
    console.log(isAlive ? `not ok: survives: ${next.title}` : `found  ${seconds} s  ${next.title}`)
  }
}

const [first] = MUTANTS
// Without a fault: if a test fails anyway, it finds nothing.
if (await survives(await mutated({ ...first, to: first.from }))) {
  await Promise.all(Array.from({ length: availableParallelism() }, play))
} else {
  survived++
  console.log('not ok: the tests of test/call fail without a mutant')
}
console.log(`${found} passed, ${survived} failed, 0 skipped`)
process.exitCode = survived === 0 ? 0 : 1
