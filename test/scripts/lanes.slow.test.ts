import { packageRoot } from '../../src/config/package-root.js'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'

const root = packageRoot()

/** Runs tap over these files, as if they were built, in a folder of their own. */
function run(
  t: Test,
  files: Readonly<Record<string, string>>,
  ...args: readonly string[]
): { readonly code: number | null; readonly out: string; readonly last: string } {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-lanes-'))
  // Files that tap writes at its own end may still come.
  t.teardown(() => rmSync(folder, { recursive: true, maxRetries: 10 }))
  for (const path of ['scripts/tests', '.taprc']) cpSync(join(root, path), join(folder, path), { recursive: true })
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
  // As a user calls it, and not as a test of the tap that runs this file.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(_?TAP|NODE_OPTIONS$)/.test(name)))
  const { status, stdout, stderr } = spawnSync('node_modules/.bin/tap', args, { cwd: folder, encoding: 'utf8', env })
  const out = stdout + stderr
  return { code: status, out, last: out.trimEnd().split('\n').at(-1) ?? '' }
}

const GOOD = 'import t from "tap"; t.test("a", async (t) => { t.ok(true); t.ok(true) })'
const BAD = 'import t from "tap"; t.test("b", async (t) => { t.ok(true); t.equal(1, 2, "one is two") })'
const SKIPS = 'import t from "tap"; t.test("later", { skip: "no such program" }, () => undefined); t.ok(true)'

t.test('the fast lane shows a failure and runs all files', async (t) => {
  const { code, out, last } = run(t, {
    'call/a': GOOD,
    'call/b': BAD,
    'call/c': GOOD,
    'call/skips': SKIPS,
    'cli/serve': BAD,
    'cli/check-offline': `${GOOD}; t.test("dies", async () => process.kill(process.pid, "SIGKILL"))`,
    'cli/demo': '',
    'security/secrets': `${GOOD}; process.once("exit", () => (process.exitCode = 3))`,
    'cli/late.slow': BAD,
    'console/console': `${GOOD}; throw new Error("at load")`,
    'edge/a': GOOD,
    'edge/empty': '',
  })
  t.equal(code, 1)
  t.match(last, /^\d+ passed, 7 failed, \d+ skipped$/, out)
  for (const file of [
    'call/b',
    'cli/serve',
    'cli/check-offline',
    'cli/demo',
    'security/secrets',
    'console/console',
    'edge/empty',
  ])
    t.match(out, new RegExp(`^NOT OK.* test/${file}\\.test\\.ts`, 'm'))
  for (const file of ['call/a', 'call/c', 'call/skips', 'edge/a'])
    t.match(out, new RegExp(`^ok.* test/${file}\\.test\\.ts$`, 'm'))
  t.notMatch(out, /late\.slow/)
  t.match(out, /^not ok: .*test\/call\/b\.test\.ts > b > one is two$/m)
  t.match(out, /exitCode: 3/)
  t.match(out, /signal: SIGKILL/)
  t.match(out, /^skipped: .*test\/call\/skips\.test\.ts > later.*no such program/m)
})

t.test('the slow lane also runs files named by source', async (t) => {
  const files = { 'call/a': GOOD, 'cli/c': BAD, 'cli/d.slow': GOOD, 'edge/e.slow': GOOD }
  const { code, out, last } = run(t, files, 'scripts/tests/slow.mjs', 'test/call/a.test.ts')
  t.equal(code, 0, out)
  t.equal(last, '6 passed, 0 failed, 0 skipped')
})

t.test('the files named by the lanes exist', (t) => {
  for (const [lane, end] of [
    ['slow', '.slow.test.ts'],
    ['fast', '.test.ts'],
  ] as const) {
    const named = [...readFileSync(join(root, `scripts/tests/${lane}.mjs`), 'utf8').matchAll(/'([a-z]+\/[a-z/-]+)'/g)]
    t.ok(named.length > 10)
    for (const [, name = ''] of named) t.ok(existsSync(join(root, `test/${name}${end}`)), name)
  }
  t.end()
})

t.test('a silent process ends with its test and its handles', (t) => {
  process.env['TEST_SILENT_MS'] = '1500'
  t.teardown(() => delete process.env['TEST_SILENT_MS'])
  const hangs = `${GOOD}; t.setTimeout(0); t.test("hangs", { timeout: 0 }, () => new Promise(() => setInterval(() => 0, 100)))`
  const { code, out } = run(t, { 'call/a': GOOD, 'call/b': hangs, 'cli/c.slow': hangs })
  t.equal(code, 1)
  t.match(out, /^not ok: .*test\/call\/b\.test\.ts > hangs > silent for 1\.5 s; open: .*Timeout x 1/m)
  const slow = run(t, { 'call/b.slow': hangs, 'cli/c.slow': GOOD }, 'scripts/tests/slow.mjs')
  t.match(slow.out, /^not ok: .*test\/call\/b\.slow\.test\.ts > hangs > silent for 1\.5 s/m)
  t.match(slow.out, /^ok.*test\/cli\/c\.slow\.test\.ts/m)
  t.end()
})

t.test('an uncaught error fails its process', (t) => {
  const lost = `${GOOD}; t.test("r", async () => void Promise.reject(new Error("lost")))`
  const { code, out } = run(t, { 'call/a': GOOD, 'call/b': lost })
  t.equal(code, 1)
  t.match(out, /lost/)
  t.end()
})
