import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parse } from 'yaml'

interface Locked {
  readonly version?: string
  readonly name?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly optional?: true
  readonly engines?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const read = (file: string): unknown => JSON.parse(readFileSync(join(packageRoot(), file), 'utf8'))
const { packages } = read('package-lock.json') as { readonly packages: Readonly<Record<string, Locked>> }
const { dependencies, optionalDependencies } = read('package.json') as Required<
  Pick<Locked, 'dependencies' | 'optionalDependencies'>
>

t.test('each dependency has one exact version in both files', (t) => {
  t.match(packages[''], { dependencies, optionalDependencies })
  for (const [name, wanted] of Object.entries({ ...dependencies, ...optionalDependencies })) {
    const { name: alias, version = '' } = packages[`node_modules/${name}`] ?? {}
    t.equal(wanted, alias === undefined ? version : `npm:${alias}@${version}`, name)
  }
  t.end()
})

t.test('the optional uWebSockets.js is only for Node 24 and 25', (t) => {
  // A clone on another Node is 119 MB smaller. The package has no `engines` of its own, and `npm update` removes these.
  t.match(packages['node_modules/@btc-vision/uwebsockets.js'], { optional: true, engines: { node: '24 || 25' } })
  t.notMatch(packages['node_modules/uWebSockets.js'], { optional: true }, 'every Node installs this one')
  t.end()
})

t.test('the lock file has checksums and no hosts', (t) => {
  const others = Object.entries(packages).filter(([path]) => path !== '')
  t.ok(others.length > 100)
  t.same(
    others.filter(([, { integrity, resolved }]) => integrity === undefined || resolved !== undefined),
    [],
  )
  t.end()
})

const root = packageRoot()

function check(folder: string): { readonly code: number | null; readonly out: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(folder, 'scripts', 'sbom.mjs'), '--check'], {
    encoding: 'utf8',
  })
  return { code: status, out: stdout + stderr }
}

t.test('every installed package has an allowed licence', (t) => {
  const { code, out } = check(root)
  t.equal(code, 0, out)
  t.match(out, /^\d\d+ packages, 0 with a licence that is not allowed\n$/)
  t.end()
})

t.test('a package with a disallowed or missing licence is reported', (t) => {
  const folder = t.testdir()
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true })
  const lock = JSON.stringify({
    packages: {
      '': {},
      'node_modules/good': { version: '1.0.0', license: 'MIT' },
      'node_modules/copyleft': { version: '2.0.0', license: 'AGPL-3.0-only' },
      'node_modules/good/node_modules/silent': { version: '3.0.0' },
      'node_modules/tool': { version: '4.0.0', license: 'AGPL-3.0-only', dev: true },
    },
  })
  writeFileSync(join(folder, 'package-lock.json'), lock)
  const { code, out } = check(folder)
  t.equal(code, 1)
  t.match(out, /node_modules\/copyleft 2\.0\.0: licence AGPL-3\.0-only is not in the list/)
  t.match(out, /silent 3\.0\.0: licence not given/)
  t.match(out, /3 packages, 2 with a licence that is not allowed/)
  t.notMatch(out, /tool/)
  t.end()
})

t.test('the hosted CI runs .ci/run and builds the site', (t) => {
  const { jobs } = parse(readFileSync(join(root, '.github', 'workflows', 'ci.yml'), 'utf8')) as {
    readonly jobs: Readonly<
      Record<
        string,
        {
          readonly steps: readonly { readonly run?: string }[]
          readonly container: string
          readonly strategy?: {
            readonly matrix: { readonly include: readonly { readonly image: string; readonly uws: string }[] }
          }
        }
      >
    >
  }
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly engines: { readonly node: string }
  }
  const commandsOf = (job: string): unknown => jobs[job]?.steps.flatMap(({ run }) => run ?? [])
  t.same(Object.keys(jobs), ['ci', 'node', 'docs'])
  t.same(commandsOf('ci'), ['.ci/run', 'npm run -s sbom -- sbom.cdx.json'])
  t.same(
    commandsOf('docs'),
    [
      'npm ci --no-audit --no-fund',
      'npm ci --no-audit --no-fund --prefix docs/site',
      'npm run -s --prefix docs/site build',
    ],
    'the site is a package of its own',
  )
  t.match(jobs['ci']?.container, /^node:22-bookworm$/, 'a Node that the package allows, and Debian for its packages')
  const others = jobs['node']?.strategy?.matrix.include ?? []
  t.equal(engines.node, '^20.19 || ^22 || ^24 || ^26', 'Node 20 still works, and is warned about')
  t.same(
    others.map(({ image }) => /^node:(\d+)-/.exec(image)?.[1]),
    ['24', '26'],
    'each other Node that is recommended',
  )
  for (const { uws } of others.filter((other) => other.uws !== '')) {
    t.match(readFileSync(join(root, 'src/edge/http/uws.ts'), 'utf8'), `'${uws}'`, 'what serve has one type')
    t.match(readFileSync(join(root, 'docs/RELEASES.md'), 'utf8'), `npm install ${uws}\n`, 'and the page on versions')
  }
  t.same(commandsOf('node'), [
    'npm ci --no-audit --no-fund',
    "npm install --no-save --no-audit --no-fund '${{ matrix.uws }}'",
    'npm test',
  ])
  t.end()
})

t.test('the tests named by the threat model exist', (t) => {
  const named = [...readFileSync(join(root, 'SECURITY.md'), 'utf8').matchAll(/`([a-z-]+\/[a-z-]+)`/g)].map(
    ([, name = '']) => name,
  )
  const tests = named.filter((name) => !name.startsWith('deploy/'))
  t.ok(tests.length > 10)
  for (const name of tests) {
    const file =
      [`${name}.test.ts`, `${name}.slow.test.ts`].map((one) => join(root, 'test', one)).find(existsSync) ?? ''
    t.ok(file !== '' && readFileSync(file, 'utf8').includes('t.test('), name)
  }
  t.end()
})
