import { packageRoot } from '../../src/config/package-root.js'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

const root = packageRoot()

/** Runs `scripts/test.mjs` over these files, as if they were built, in a folder of their own. */
function run(
  folder: string,
  files: Readonly<Record<string, string>>,
  ...args: readonly string[]
): { readonly code: number | null; readonly out: string; readonly last: string } {
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  for (const [file, source] of Object.entries(files)) {
    for (const [path, text] of [
      [`test/${file}.test.ts`, ''],
      [`dist/test/${file}.test.js`, source],
    ] as const) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text)
    }
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/test.mjs', ...args], {
    cwd: folder,
    encoding: 'utf8',
  })
  const out = stdout + stderr
  return { code: status, out, last: out.trimEnd().split('\n').at(-1) ?? '' }
}

const GOOD = 'import t from "tap"; t.test("a", async (t) => { t.ok(true); t.ok(true) })'
const BAD = 'import t from "tap"; t.test("b", async (t) => { t.ok(true); t.equal(1, 2, "one is two") })'

t.test('what passes is counted, and slow files run when they are asked for', async (t) => {
  const files = { 'call/a': GOOD, 'call/b': GOOD, 'cli/c': GOOD, 'edge/d.spoken': GOOD, 'edge/e.slow': BAD }
  const quick = run(t.testdir(), files, 'test/call', 'test/cli/c.test.ts', 'test/edge/d.spoken.test.ts')
  t.equal(quick.code, 0, quick.out)
  t.equal(quick.last, '8 passed, 0 failed, 0 skipped')
  t.match(quick.out, /ok +[\d.]+ s {2}test\/call\/ \(2 files\) {2}4/, 'files of a folder share a process')
  t.match(quick.out, /ok +[\d.]+ s {2}test\/cli\/c\.test\.ts {2}2/, 'but where they start processes of their own')
})

t.test('only slow files are run by --slow', async (t) => {
  const slow = run(t.testdir(), { 'edge/c': BAD, 'edge/e.slow': GOOD }, '--slow')
  t.equal(slow.code, 0, slow.out)
  t.equal(slow.last, '2 passed, 0 failed, 0 skipped')
})

t.test('a failure is shown with its file, also out of a shared process, and everything else still runs', async (t) => {
  const { code, out, last } = run(
    t.testdir(),
    {
      'call/a': GOOD,
      'call/b': BAD,
      'call/c': GOOD,
      'edge/d': BAD,
      'edge/skips': 'import t from "tap"; t.test("later", { skip: "no such program" }, () => undefined); t.ok(true)',
    },
    'test/call',
    'test/edge',
  )
  t.equal(code, 1)
  t.equal(last, '7 passed, 2 failed, 1 skipped')
  t.match(out, /^failed: test\/call\/b\.test\.ts$/m)
  t.match(out, /^failed: test\/edge\/d\.test\.ts$/m)
  t.notMatch(out, /^failed: test\/call\/[ac]/m)
  t.ok(out.split('one is two').length >= 3, 'what failed is shown; again, where the host was too busy to say')
  t.match(out, /^skipped: test\/edge\/skips\.test\.ts: later .*no such program$/m)
})

t.test('a real-time file that fails beside others runs again, alone', async (t) => {
  const folder = t.testdir()
  // Fails while the file that it meets has not ended.
  const meets = `import t from "tap"; import { existsSync, writeFileSync } from "node:fs"
    writeFileSync("met", ""); t.ok(existsSync("over"), "alone")`
  const lasts = `import t from "tap"; import { existsSync, writeFileSync } from "node:fs"
    import { setTimeout } from "node:timers/promises"
    while (!existsSync("met")) await setTimeout(10)
    await setTimeout(3000); writeFileSync("over", ""); t.pass()`
  const { code, out, last } = run(
    folder,
    { 'cli/meets.spoken': meets, 'cli/lasts': lasts, 'cli/bad.spoken': BAD },
    'test/cli',
  )
  t.equal(code, 1)
  t.equal(last, '3 passed, 1 failed, 0 skipped')
  t.match(out, /^VOID {3}test\/cli\/meets\.spoken\.test\.ts: other files ran beside it/m)
  t.match(out, /^ok .*test\/cli\/meets\.spoken\.test\.ts/m)
  t.match(out, /^failed: test\/cli\/bad\.spoken\.test\.ts$/m, 'what fails alone has failed')
})

t.test('a file that ends without a result is a failure, and so is one that has no test', async (t) => {
  const { code, out, last } = run(
    t.testdir(),
    {
      'cli/dies': `${GOOD}; process.kill(process.pid, "SIGKILL")`,
      'cli/empty': '',
      'cli/throws': `${GOOD}; throw new Error("at load")`,
      'cli/good': GOOD,
    },
    'test/cli',
  )
  t.equal(code, 1)
  t.match(last, /^\d+ passed, 3 failed, 0 skipped$/)
  for (const file of ['dies', 'empty', 'throws'])
    t.match(out, new RegExp(`^failed: test/cli/${file}\\.test\\.ts$`, 'm'))
})

t.test('many files of a folder are spread over several processes', async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 14 }, (_, i) => [`call/f${i}`, 'import t from "tap"; t.ok(true)']),
  )
  const { out, last } = run(t.testdir(), files, 'test/call')
  t.equal(last, '14 passed, 0 failed, 0 skipped', out)
  for (const part of [1, 2]) t.match(out, new RegExp(`test/call/ \\(7 files, part ${part} of 2\\) {2}7$`, 'm'))
})

t.test('one that dies in a shared process is named with those that it took with it', async (t) => {
  const { code, out } = run(t.testdir(), { 'call/a': GOOD, 'call/b': 'process.exit(0)', 'call/c': GOOD }, 'test/call')
  t.equal(code, 1)
  t.match(out, /^failed: test\/call\/b\.test\.ts$/m)
  t.match(out, /^failed: test\/call\/c\.test\.ts$/m)
})

t.test('a file that is not there is named, with what is', async (t) => {
  const { code, out } = run(t.testdir(), { 'call/a': GOOD }, 'test/nosuch.test.ts')
  t.equal(code, 2)
  t.match(
    out,
    /^no test file test\/nosuch\.test\.ts; allowed: a path such as test\/call\/a\.test\.ts, or a folder of test\/$/m,
  )
})

t.test('the files whose durations the runner knows are there', (t) => {
  const known = [...readFileSync(join(root, 'scripts', 'test.mjs'), 'utf8').matchAll(/^ {2}'(test\/[^']+)': \[/gm)]
  t.ok(known.length > 20)
  for (const [, file = ''] of known) t.ok(existsSync(join(root, file)), file)
  t.end()
})
