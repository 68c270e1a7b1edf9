import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { packageRoot } from '../../src/config/package-root.js'

const ROOT = packageRoot()

interface Lane {
  /** Failed tests by file; a file without an entry in `files` passed. */
  readonly failing?: Readonly<Record<string, string>>
  readonly passing?: readonly string[]
  readonly isCut?: boolean
}

/** The output of a lane, in the form of scripts/tests/summary.mjs. */
function outputOf({ failing = {}, passing = [], isCut = false }: Lane): string {
  const failed = Object.entries(failing).flatMap(([file, title]) => [
    `not ok: spoken > ${file} > ${title}`,
    '      ---',
    '      diff: |',
    '        --- expected',
    '        +++ actual',
    '        -4127',
    '        +4128',
    '      at:',
    '        fileName: dist/test/a.js',
    '        lineNumber: 7',
    '      ...',
    `not ok: spoken > ${file}`,
    '  ---',
    '  exitCode: 1',
    '  ...',
    `NOT OK   12.0 s  ${file}`,
  ])
  const passed = passing.map((file) => `ok        3.0 s  ${file}`)
  const counts = isCut ? [] : [`9 passed, ${Object.keys(failing).length} failed, 1 skipped`]
  return [...failed, ...passed, ...counts, ''].join('\n')
}

/**
 * Runs a program that uses Run, in a folder of its own.
 * @param again  program in place of tap for one file: its exit code says if the file passes alone
 */
function ran(
  t: Test,
  steps: string,
  { lane = {}, again = 'process.exit(1)', quarantine = [] as readonly unknown[], limits = '{}' } = {},
): { readonly code: number | null; readonly out: string; readonly tail: readonly string[] } {
  const cwd = t.testdir({
    node_modules: { '.bin': { tap: `#!${process.execPath}\n${again}` } },
    'lane.txt': outputOf(lane),
  })
  const code = Object.keys((lane as Lane).failing ?? {}).length > 0 ? 1 : 0
  chmodSync(join(cwd, 'node_modules/.bin/tap'), 0o755)
  writeFileSync(
    join(cwd, 'lane.mjs'),
    `import { readFileSync } from 'node:fs'
    console.log(readFileSync('lane.txt', 'utf8'))
    process.exit(${code})`,
  )
  writeFileSync(
    join(cwd, 'run.mjs'),
    `import { Run } from ${JSON.stringify(join(ROOT, 'scripts/ci/run.mjs'))}
    const run = new Run(${limits})
    run.quarantine = ${JSON.stringify(quarantine)}
    ${steps}
    process.exitCode = run.end()`,
  )
  const { status, stdout, stderr } = spawnSync(process.execPath, ['run.mjs'], { cwd, encoding: 'utf8' })
  const lines = stdout.trimEnd().split('\n')
  return { code: status, out: stdout + stderr, tail: lines.slice(lines.indexOf('=== report')) }
}

const SLOW = "await run.tests('slow', ['node', 'lane.mjs'], { isRunAgain: true })"
const SPOKEN = 'test/cli/spoken.slow.test.ts'
const names = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`test/cli/f${i}.slow.test.ts`, 'a call']))

t.test('a command that fails is reported with its last lines', (t) => {
  const program = "for (const line of 'abcd') console.error(line); process.exitCode = 2"
  const { code, tail } = ran(t, `await run.check('lint', [process.execPath, '-e', ${JSON.stringify(program)}])`)
  t.equal(code, 1)
  const at = tail.findIndex((line) => line.startsWith('FAILED'))
  t.same(tail.slice(at + 1, -1), ['    b', '    c', '    d', '    exit code: 2'])
  t.equal(tail.at(-1), '0 passed, 1 failed, 0 skipped')
  t.end()
})

t.test('a lane that passes ends with its counts', (t) => {
  const { code, tail } = ran(t, SLOW, { lane: { passing: [SPOKEN] } })
  t.equal(code, 0)
  t.equal(tail.at(-1), '9 passed, 0 failed, 1 skipped')
  t.match(tail[1], /^minutes: slow 0\.\d; all 0\.\d$/)
  t.equal(tail[2], `longest: ${SPOKEN} 3 s`)
  t.end()
})

t.test('a file that passes alone is flaky, and does not refuse', (t) => {
  const lane = { failing: { [SPOKEN]: 'the order' }, passing: ['test/cli/b.slow.test.ts'] }
  const { code, tail } = ran(t, SLOW, { lane, again: '' })
  t.equal(code, 0)
  t.same(tail.slice(-5), [
    `FLAKY ${SPOKEN} > the order`,
    '    -4127',
    '    +4128',
    '    at dist/test/a.js:7',
    '9 passed, 0 failed, 1 skipped',
  ])
  t.end()
})

t.test('a file that also fails alone refuses, after two tries', (t) => {
  const { code, out, tail } = ran(t, SLOW, { lane: { failing: { [SPOKEN]: 'the order' } } })
  t.equal(code, 1)
  t.equal(tail.at(-1), '9 passed, 1 failed, 1 skipped')
  t.ok(tail.includes(`FAILED ${SPOKEN} > the order`))
  t.equal(out.split(`--- node_modules/.bin/tap ${SPOKEN}`).length - 1, 2)
  t.end()
})

t.test('a file of calculations runs once', (t) => {
  const { code, out } = ran(t, SLOW, { lane: { failing: { 'test/call/pairs.slow.test.ts': 'a pair' } }, again: '' })
  t.equal(code, 1)
  t.notMatch(out, /bin\/tap/)
  t.end()
})

t.test('the fast lane runs once', (t) => {
  const lane = { failing: { 'test/cli/a.test.ts': 'a' } }
  const { code, out } = ran(t, "await run.tests('fast', ['node', 'lane.mjs'])", { lane, again: '' })
  t.equal(code, 1)
  t.notMatch(out, /bin\/tap/)
  t.end()
})

t.test('six files are run again, seven are not', (t) => {
  t.equal(ran(t, SLOW, { lane: { failing: names(6) }, again: '' }).code, 0)
  const { code, out, tail } = ran(t, SLOW, { lane: { failing: names(7) }, again: '' })
  t.equal(code, 1)
  t.notMatch(out, /bin\/tap/)
  t.equal(tail.at(-1), '9 passed, 7 failed, 1 skipped')
  t.end()
})

t.test('second runs share a time', (t) => {
  const lane = { failing: names(3) }
  const { code, tail } = ran(t, SLOW, { lane, again: 'setTimeout(() => {}, 60_000)', limits: '{ againMs: 300 }' })
  t.equal(code, 1)
  t.equal(tail.at(-1), '9 passed, 3 failed, 1 skipped')
  t.end()
})

t.test('a quarantined test is shown, and does not refuse', (t) => {
  const quarantine = [{ file: SPOKEN, test: 'the order' }]
  const first = ran(t, SLOW, { lane: { failing: { [SPOKEN]: 'the order > is heard' } }, quarantine })
  t.equal(first.code, 0)
  t.ok(first.tail.includes(`QUARANTINED ${SPOKEN} > the order > is heard`))
  t.equal(
    ran(t, SLOW, { lane: { failing: { [SPOKEN]: 'the other' } }, quarantine }).code,
    1,
    'another test of the file',
  )
  t.end()
})

t.test('a lane without counts, and a step that does not end, refuse', (t) => {
  const cut = ran(t, SLOW, { lane: { passing: [SPOKEN], isCut: true } })
  t.equal(cut.code, 1)
  t.ok(cut.tail.includes('FAILED slow ended without a result'))
  const late = ran(t, `await run.check('hangs', ['sleep', '600'])\n${SLOW}`, { limits: '{ runMs: 500 }' })
  t.equal(late.code, 1)
  t.ok(late.tail.includes('FAILED hangs: sleep 600'), late.out)
  t.match(
    late.tail.join('\n'),
    /ended by the run after 0\.0 minutes\n.*slow ended without a result\n +no time was left/,
  )
  t.end()
})

t.test('a process that fails without a failed test refuses', (t) => {
  const { code } = ran(t, "await run.tests('fast', ['sh', '-c', 'cat lane.txt; exit 3'])", {
    lane: { passing: [SPOKEN] },
  })
  t.equal(code, 1)
  t.end()
})

t.test('a failure that the output does not name refuses', (t) => {
  const torn = "await run.tests('slow', ['sh', '-c', 'sed s/^not.ok:/torn:/ lane.txt; exit 1'], { isRunAgain: true })"
  const { code, tail } = ran(t, torn, { lane: { failing: names(2) }, again: '' })
  t.equal(code, 1)
  t.ok(tail.includes('FAILED slow: 2 failures without a name'))
  const noisy = "await run.tests('slow', ['sh', '-c', 'echo not ok: noise >&2; cat lane.txt'], { isRunAgain: true })"
  t.equal(ran(t, noisy, { lane: { passing: [SPOKEN] } }).code, 0, 'standard error is not read')
  t.end()
})

t.test('the report has at most 40 lines, failures first', (t) => {
  const fails = 'for (let i = 0; i < 9; i++) await run.check(`check ${i}`, ["false"])'
  const mixed = ran(t, `${SLOW}\n${fails}`, { lane: { failing: names(6) }, again: '' }).tail
  t.ok(mixed.length <= 40, String(mixed.length))
  for (const [state, count] of [
    ['FLAKY', 6],
    ['FAILED', 8],
  ] as const)
    t.equal(mixed.filter((line) => line.startsWith(state)).length, count, state)
  const { tail } = ran(t, SLOW, { lane: { failing: names(30) } })
  t.ok(tail.length <= 40, String(tail.length))
  t.match(tail.at(-2), /FAILED 23 more/)
  t.end()
})

t.test('notes stand at the head of the report', (t) => {
  const { tail } = ran(t, `run.notes = ['commit: 0123456789abcdef', 'MEND FIRST a']\n${SLOW}`, {
    lane: { passing: [SPOKEN] },
  })
  t.same(tail.slice(-3), ['commit: 0123456789abcdef', 'MEND FIRST a', '9 passed, 0 failed, 1 skipped'])
  t.end()
})

t.test('a step that cannot run is skipped with its reason', (t) => {
  const { code, tail } = ran(t, `run.skip('netem', 'no kernel module')\n${SLOW}`, { lane: { passing: [SPOKEN] } })
  t.equal(code, 0)
  t.ok(tail.includes('SKIPPED netem: no kernel module'))
  t.equal(tail.at(-1), '9 passed, 0 failed, 2 skipped')
  t.end()
})

t.test('at most five tests are quarantined, and they exist', (t) => {
  const rows = parse(readFileSync(join(ROOT, 'test/quarantine.yaml'), 'utf8')) as readonly Record<string, string>[]
  t.ok(rows.length <= 5)
  for (const row of rows) {
    t.same(Object.keys(row), ['file', 'test', 'since', 'seen', 'runs'])
    t.ok(
      readFileSync(join(ROOT, row['file'] ?? ''), 'utf8').includes(row['test']?.split(' > ')[0] ?? ''),
      `a row of ${row['file']}`,
    )
  }
  t.end()
})

t.test('test:stress counts the runs that passed and what failed', (t) => {
  const file = 'test/a.test.ts'
  // Every second run fails.
  const tap = `#!${process.execPath}
    const { existsSync, rmSync, writeFileSync, readFileSync } = require('node:fs')
    if (existsSync('odd')) { rmSync('odd'); process.exit(0) }
    writeFileSync('odd', '')
    console.log(readFileSync('lane.txt', 'utf8'))
    process.exit(1)`
  const cwd = t.testdir({
    node_modules: { '.bin': { tap } },
    test: { 'a.test.ts': '' },
    'lane.txt': outputOf({ failing: { [file]: 'the order' } }),
  })
  chmodSync(join(cwd, 'node_modules/.bin/tap'), 0o755)
  const stress = (...args: readonly string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [join(ROOT, 'scripts/tests/stress.mjs'), ...args], { cwd, encoding: 'utf8' })
  const { status, stdout } = stress(file, '--runs', '4', '--busy', '1')
  t.equal(status, 1)
  t.match(stdout, /^4 runs beside 1 busy processes$/m)
  t.match(stdout, new RegExp(`^ +2 of 4 passed, at most \\d s {2}${file}$`, 'm'))
  t.match(stdout, /^ +2 x the order\n +-4127\n +\+4128\n +at dist\/test\/a\.js:7$/m)
  for (const [args, fault] of [
    [[], 'name one test file or more'],
    [['test/b.test.ts'], 'there is no test/b.test.ts'],
    [[file, '--runs', '0'], '--runs 0: give a whole number from 1'],
    [[file, '--busy', '-1'], '--busy'],
  ] as const) {
    const refused = stress(...args)
    t.equal(refused.status, 2)
    t.match(refused.stderr, fault)
  }
  t.end()
})
