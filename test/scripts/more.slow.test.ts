import { spawnSync } from 'node:child_process'
import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { packageRoot } from '../../src/config/package-root.js'

const ROOT = packageRoot()

interface Result {
  readonly step: string
  readonly state: 'passed' | 'failed' | 'skipped' | 'missing'
  readonly reason?: string
  readonly passed?: number
  readonly failed?: number
  readonly skipped?: number
}
const { STEPS, openSteps, resultLines, resultsOf } = (await import(join(ROOT, 'scripts/ci/steps.mjs'))) as {
  readonly STEPS: Readonly<Record<string, { readonly command: (commit: string) => readonly string[] }>>
  readonly resultsOf: (commit: string, root: string) => readonly Result[]
  readonly openSteps: (results: readonly Result[], without: readonly string[]) => string | null
  readonly resultLines: (results: readonly Result[]) => readonly string[]
}
const NAMES = Object.keys(STEPS)

interface Ran {
  readonly code: number | null
  readonly out: string
}

function run(cwd: string, file: string, ...args: readonly string[]): Ran {
  const { status, stdout, stderr } = spawnSync(file, args, { cwd, encoding: 'utf8' })
  return { code: status, out: stdout + stderr }
}

/** A repository with the scripts, whose tests and mutants are programs of this test. */
class Repository {
  readonly folder: string

  constructor(t: Test, scripts: Readonly<Record<string, string>> = {}) {
    const manifest = { name: 'mkondo', version: '9.9.9', type: 'module', scripts }
    this.folder = t.testdir({
      'package.json': JSON.stringify(manifest),
      '.gitignore': 'node_modules/\n.build/\n',
      'CHANGELOG.md': '',
      test: {},
      node_modules: { tap: {} },
    })
    for (const path of ['scripts', '.ci']) cpSync(join(ROOT, path), join(this.folder, path), { recursive: true })
    this.#git('init', '-q')
    this.commit()
  }

  get head(): string {
    return this.#git('rev-parse', 'HEAD').out.trim()
  }

  commit(): void {
    this.#git('add', '.')
    const author = ['-c', 'user.name=a', '-c', 'user.email=a@localhost', '-c', 'commit.gpgsign=false']
    this.#git(...author, 'commit', '-q', '--allow-empty', '-m', 'a change')
  }

  change(): void {
    appendFileSync(join(this.folder, 'change.txt'), 'a line\n')
  }

  more(...args: readonly string[]): Ran {
    return run(this.folder, '.ci/more', ...args)
  }

  /** Keeps results of this commit: `passed`, except these. */
  keep(except: Readonly<Record<string, Partial<Result>>> = {}): void {
    mkdirSync(this.results, { recursive: true })
    for (const step of NAMES) {
      const result = { commit: this.head, step, state: 'passed', passed: 3, failed: 0, skipped: 0, ...except[step] }
      writeFileSync(join(this.results, `${step}.json`), JSON.stringify(result))
    }
  }

  get results(): string {
    return join(this.folder, '.build/more', this.head)
  }

  result(step: string): Partial<Result> | null {
    const file = join(this.results, `${step}.json`)
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Result) : null
  }

  /** The line of a release about `.ci/more`. */
  released(...args: readonly string[]): string {
    const { code, out } = run(this.folder, process.execPath, 'scripts/release.mjs', ...args)
    if (code === 0) throw new Error('this repository has no archives, and is released')
    return out.split('\n').find((line) => line.includes('each step of .ci/more')) ?? out
  }

  #git(...args: readonly string[]): Ran {
    const done = run(this.folder, 'git', ...args)
    if (done.code !== 0) throw new Error(done.out)
    return done
  }
}

const PASSES = "echo '3 passed, 0 failed, 1 skipped'"
const CHECK = 'each step of .ci/more has passed on this commit'

t.test('a step of .ci/more keeps its result for its commit', (t) => {
  const repository = new Repository(t, { mutants: PASSES })
  const { code, out } = repository.more('mutants')
  t.equal(code, 0, out)
  t.match(repository.result('mutants'), { state: 'passed', commit: repository.head, passed: 3, failed: 0, skipped: 1 })
  t.equal(repository.result('seeds'), null)

  repository.commit()
  t.equal(repository.result('mutants'), null, 'another commit')
  repository.change()
  t.match(repository.more('mutants').out, /uncommitted changes: no result is kept/)
  t.equal(repository.result('mutants'), null, 'a tree with changes')
  t.end()
})

t.test('a step that fails or changes files keeps no pass', (t) => {
  const fails = new Repository(t, {
    mutants: "echo 'not ok: survives: a'; echo '2 passed, 1 failed, 0 skipped'; exit 1",
  })
  const { code, out } = fails.more('mutants')
  t.equal(code, 1)
  t.match(out, /FAILED survives: a\n2 passed, 1 failed, 0 skipped\n$/)
  t.match(fails.result('mutants'), { state: 'failed', failed: 1 })
  const changes = new Repository(t, { mutants: `${PASSES}; echo a >a.txt` })
  t.equal(changes.more('mutants').code, 0)
  t.equal(changes.result('mutants'), null)
  t.end()
})

t.test('far seeds depend on the commit, and are printed', (t) => {
  const repository = new Repository(t, { 'test:one': PASSES })
  const { out } = repository.more('seeds')
  const command = STEPS['seeds']?.command(repository.head) ?? []
  t.ok(out.includes(`--- ${command.join(' ')}\n`), out)
  const first = command.map((word) => /^(\w+)_SEEDS=(\d+)\.\.\d+$/.exec(word)).filter((found) => found !== null)
  t.same(
    first.map(([, name]) => name),
    ['PAIRS', 'OWNERSHIP', 'GATEWAYS'],
  )
  for (const [, name = '', seed] of first) t.ok(Number(seed) >= 1_000_000, name)
  t.notSame(STEPS['seeds']?.command('0123456789abcdef'), command)
  t.end()
})

t.test('a release needs each step on its commit', (t) => {
  const repository = new Repository(t)
  const open = (...without: readonly string[]): string | null =>
    openSteps(resultsOf(repository.head, repository.folder), without)
  const all = NAMES.map((step) => `${step} missing`).join(', ')
  t.equal(repository.released(), `NOT OK ${CHECK}: ${all}; run .ci/more ${NAMES.join(' ')}`)
  repository.keep({ seeds: { state: 'failed' } })
  t.equal(open(), 'seeds failed; run .ci/more seeds')
  t.equal(open('seeds'), open(), 'a failure is not a skip')
  repository.keep()
  t.equal(open(), null)

  const earlier = repository.results
  repository.commit()
  t.match(open(), /^root missing, /)
  cpSync(earlier, repository.results, { recursive: true })
  t.match(open(), /^root missing, /, 'copied results of another commit')
  t.end()
})

t.test('a release with a skipped step says so', (t) => {
  const repository = new Repository(t)
  repository.keep({ netem: { state: 'skipped', reason: 'no kernel module' } })
  const skipped = `NOT OK ${CHECK}: netem skipped (no kernel module); run .ci/more netem`
  t.equal(repository.released('--without', 'root'), skipped)
  t.equal(repository.released('--without', 'netem'), `ok     ${CHECK}`)
  t.match(repository.released('--without', 'phone'), /--without phone: the steps are root, phones, /)
  t.same(
    resultLines([
      { step: 'root', state: 'passed', passed: 9, skipped: 2 },
      { step: 'first-hour', state: 'passed', passed: 0, skipped: 0 },
      { step: 'netem', state: 'skipped', reason: 'no kernel module' },
    ]),
    [
      '- root: passed, 9 tests, 2 tests were skipped',
      '- first-hour: passed',
      '- netem: **skipped** (no kernel module)',
    ],
  )
  t.end()
})

t.test('a step of .ci/more runs each of its test files', (t) => {
  const { code, out } = run(ROOT, '.ci/more', 'phone')
  t.equal(code, 2)
  t.match(out, `no step phone. The steps are ${NAMES.join(', ')}`)
  t.same(JSON.parse(run(ROOT, '.ci/more', '--steps').out), NAMES)
  const words = Object.values(STEPS).flatMap(({ command }) => command('0123456789abcdef'))
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.more.test.ts'))
    .map((name) => `test/${name}`)
  t.ok(files.length >= 8)
  for (const file of files) t.equal(words.filter((one) => one === file).length, 1, `one step runs ${file}`)
  t.end()
})

/** The list after landings in which these files were flaky. */
class List {
  readonly folder: string

  constructor(t: Test) {
    this.folder = t.testdir({ test: { 'flaky.yaml': '# A comment.\n[]\n' } })
  }

  add(landing: string, flaky: readonly string[], last = '9 passed, 0 failed, 1 skipped'): Ran {
    const rows = flaky.flatMap((file) => [`FLAKY ${file} > the order > is heard`, '    -4127', '    +4128'])
    const lines = ['not a report: FLAKY x', '=== report', `commit: ${landing}${'0'.repeat(32)}`, ...rows, last, '']
    writeFileSync(join(this.folder, 'output.txt'), lines.join('\n'))
    return run(this.folder, process.execPath, join(ROOT, 'scripts/ci/flaky.mjs'), 'output.txt')
  }

  fill(count: number): void {
    const rows = Array.from({ length: count }, (_, i) => `- landing: a${1_000_000 + i}\n  flaky: []\n`)
    writeFileSync(join(this.folder, 'test/flaky.yaml'), `# A comment.\n${rows.join('')}`)
  }

  get text(): string {
    return readFileSync(join(this.folder, 'test/flaky.yaml'), 'utf8')
  }
}
const [A, B] = ['test/a.slow.test.ts', 'test/b.slow.test.ts']

t.test('a landing is added with its flaky files', (t) => {
  const list = new List(t)
  t.match(list.add('aaaaaaaa', [A]), { code: 0, out: 'test/flaky.yaml: aaaaaaaa with 1 flaky files\n' })
  list.add('aaaaaaaa', [A])
  list.add('bbbbbbbb', [])
  t.match(list.text, /^# A comment\.\n- landing: aaaaaaaa\n/)
  t.same(parse(list.text), [
    { landing: 'aaaaaaaa', flaky: [{ file: A, seen: 'the order > is heard; -4127; +4128' }] },
    { landing: 'bbbbbbbb', flaky: [] },
  ])
  t.match(list.add('cccccccc', [A], '9 passed, 1 failed, 0 skipped'), { code: 2, out: /is no landing/ })
  list.fill(30)
  list.add('dddddddd', [])
  const rows = parse(list.text) as readonly { readonly landing: string }[]
  t.equal(rows.length, 20)
  t.equal(rows.at(-1)?.landing, 'dddddddd')
  t.end()
})

t.test('a file that was flaky in three landings running is named', (t) => {
  const list = new List(t)
  t.notMatch(list.add('aaaaaaaa', [A, B]).out, /MEND/)
  t.notMatch(list.add('bbbbbbbb', [A, B]).out, /MEND/)
  t.match(list.add('cccccccc', [A]).out, /^MEND FIRST test\/a\.slow\.test\.ts: flaky in the last 3 landings/m)
  t.notMatch(list.add('dddddddd', []).out, /MEND/)
  t.end()
})

t.test('the files of the flaky list exist', (t) => {
  interface Row {
    readonly landing: string
    readonly flaky: readonly { readonly file: string; readonly seen: string }[]
  }
  for (const { landing, flaky } of parse(readFileSync(join(ROOT, 'test/flaky.yaml'), 'utf8')) as readonly Row[]) {
    t.match(landing, /^[\da-f]{8}$/)
    for (const { file, seen } of flaky) t.ok(existsSync(join(ROOT, file)) && seen !== '', `a row of ${file}`)
  }
  t.end()
})
