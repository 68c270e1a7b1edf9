import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

const ROOT = packageRoot()
const changelog = (await import(join(ROOT, 'scripts/changelog.mjs'))) as {
  readonly fragment: (
    name: string,
    text: string,
  ) => readonly { readonly subject: string; readonly entries: readonly string[] }[]
  readonly joined: (
    changelog: string,
    next: { version: string; date: string; changes: readonly { name: string; text: string }[] },
  ) => string
  readonly sectionOf: (changelog: string, version: string) => string | null
}

const BEFORE = `# Changelog

## Unreleased

In changes/.

## 0.1.0 (2026-11-28)

- one
`

t.test('fragments are grouped into a section by subject', (t) => {
  const changes = [
    { name: 'b.md', text: '### Fixed\n- Mended.\n' },
    { name: 'a.md', text: '### Tools\n\n- Added.\n- **Breaking:** Gone.\n' },
    { name: 'c.md', text: '### Tools\n- Another.\n### Fixed\n- Also mended.\n' },
  ]
  const after = changelog.joined(BEFORE, { version: '0.2.0', date: '2026-12-24', changes })
  t.equal(
    after,
    `# Changelog

## Unreleased

In changes/.

## 0.2.0 (2026-12-24)

### Tools

- **Breaking:** Gone.
- Added.
- Another.

### Fixed

- Mended.
- Also mended.

## 0.1.0 (2026-11-28)

- one
`,
  )
  t.equal(changelog.sectionOf(after, '0.1.0'), '- one')
  t.match(changelog.sectionOf(after, '0.2.0'), /^### Tools/)
  t.equal(changelog.sectionOf(after, '0.3.0'), null)
  t.throws(() => changelog.joined(after, { version: '0.2.0', date: '2026-12-24', changes }), /has a section 0\.2\.0/)
  t.throws(
    () => changelog.joined(after, { version: '0.3.0', date: '2026-12-24', changes: [] }),
    /changes\/ has nothing/,
  )
  t.end()
})

t.test('a fragment without a subject or entry is refused', (t) => {
  t.throws(() => changelog.fragment('x.md', '- Mended.\n'), /x\.md: a subject is '- Mended\.'; allowed: '### Agents/)
  t.throws(() => changelog.fragment('x.md', '### Fixed\nMended.\n'), /x\.md: 'Mended\.' is not an entry/)
  t.throws(() => changelog.fragment('x.md', '### Fixed\n'), /x\.md: Fixed has no entry/)
  t.end()
})

t.test('the next release accepts every fragment', (t) => {
  const folder = join(ROOT, 'changes')
  // Git keeps no empty folder.
  const names = readdirSync(folder).filter((name) => name !== '.gitkeep')
  for (const name of names)
    t.doesNotThrow(() => changelog.fragment(name, readFileSync(join(folder, name), 'utf8')), name)
  t.equal(names.filter((name) => !name.endsWith('.md')).length, 0, 'changes/ has nothing else')
  t.end()
})

t.test('the changelog has a section for the version', (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { readonly version: string }
  t.ok(changelog.sectionOf(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8'), version))
  t.end()
})

/** A clone that has only what a release looks at. */
function clone(t: Test): {
  readonly folder: string
  readonly run: (...command: readonly string[]) => { readonly code: number | null; readonly output: string }
} {
  const folder = t.testdir({
    'package.json': '{ "name": "mkondo", "version": "0.1.0" }',
    'package-lock.json': '{ "packages": {} }',
    'CHANGELOG.md': BEFORE,
    changes: {},
    scripts: {},
    deploy: { 'compose.yaml': 'image: mkondo:0.1.0\n' },
  })
  for (const name of ['release.mjs', 'changelog.mjs', 'sbom.mjs', 'ci/steps.mjs', 'ci/packages.mjs'])
    cpSync(join(ROOT, 'scripts', name), join(folder, 'scripts', name))
  const run = (...[command = '', ...args]: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' })
    return { code: status, output: stdout + stderr }
  }
  run('git', 'init', '-q')
  const commit = ['git', '-c', 'user.name=t', '-c', 'user.email=t@localhost', 'commit', '-q', '-m', 'all']
  return {
    folder,
    run: (...command) => {
      if (command[0] !== 'commit') return run(...command)
      run('git', 'add', '-A')
      return run(...commit)
    },
  }
}

t.test('a release reports the missing steps of its commit', (t) => {
  const { folder, run } = clone(t)
  const release = () => run(process.execPath, 'scripts/release.mjs', 'out')
  t.match(release(), { code: 1, output: /NOT OK nothing is uncommitted: / })
  mkdirSync(join(folder, 'changes'), { recursive: true })
  writeFileSync(join(folder, 'changes/one.md'), '### Fixed\n- Mended.\n')
  run('commit')
  t.match(release(), {
    code: 1,
    output: /ok {5}nothing is uncommitted\n[^]*NOT OK every change is in CHANGELOG\.md: changes\/ has 1/,
  })
  run('git', 'tag', 'v0.1.0')
  t.match(release(), { output: /ok {5}the version is not released yet/ }, 'the tag is on this commit')
  t.match(run(process.execPath, 'scripts/release.mjs', '--next', '0.2.0'), { code: 0 })
  run('commit')
  t.strictSame(readdirSync(join(folder, 'changes')), [], 'they are joined')
  t.match(
    readFileSync(join(folder, 'CHANGELOG.md'), 'utf8'),
    /## 0\.2\.0 \(\d{4}-\d\d-\d\d\)\n\n### Fixed\n\n- Mended\./,
  )
  t.match(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')), { version: '0.2.0' })
  t.equal(readFileSync(join(folder, 'deploy/compose.yaml'), 'utf8'), 'image: mkondo:0.2.0\n', 'commands name it')
  run('git', 'tag', 'v0.2.0', 'v0.1.0')
  t.match(release(), { code: 1, output: /NOT OK the version is not released yet: v0\.2\.0 is / })
  t.notOk(existsSync(join(folder, 'out')), 'nothing is made')
  t.match(run(process.execPath, 'scripts/release.mjs', '--next', 'two'), {
    code: 1,
    output: /the version is 'two'; allowed: X\.Y\.Z/,
  })
  t.match(run(process.execPath, 'scripts/release.mjs', '--what'), { code: 2 })
  t.end()
})
