// `.ci/more`: the second look. Steps that need more than a plain machine, or more time than each change is worth.
//
//   .ci/more            all steps
//   .ci/more phones     the named steps
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { FIREFOX_PACKAGES, GATE_PACKAGES, installPackages, PHONE_PACKAGES } from './packages.mjs'
import { Run } from './run.mjs'

/** Folder with Debian sid: its Asterisk for the telephones, its Node 24. */
const SID = '/var/cache/mkondo-sid'
const isRoot = process.getuid() === 0

/** @returns null if the folder with Debian sid exists or could be made, or the reason why not */
function withoutSid() {
  if (existsSync(join(SID, 'usr/sbin/asterisk')) && existsSync(join(SID, 'usr/bin/node'))) return null
  if (!isRoot) return 'mmdebstrap needs root'
  installPackages(['mmdebstrap'])
  rmSync(SID, { recursive: true, force: true })
  const { status, stderr, error } = spawnSync(
    'mmdebstrap',
    [
      ...['--quiet', '--mode=root', '--variant=essential', '--include=asterisk,nodejs,ca-certificates'],
      ...['--aptopt=Acquire::Check-Valid-Until "false"', 'sid', SID, `deb ${mirror()} sid main`],
    ],
    { encoding: 'utf8' },
  )
  if (status === 0) return null
  rmSync(SID, { recursive: true, force: true })
  return `no Debian sid: ${(error?.message ?? stderr).trim().split('\n').at(-1)}`
}

/** @returns the mirror of this machine's apt */
function mirror() {
  const folder = '/etc/apt/sources.list.d'
  const sources = readdirSync(folder).filter((name) => name.endsWith('.sources'))
  const [, uri] =
    sources.map((name) => /^URIs: *(\S+)/m.exec(readFileSync(join(folder, name), 'utf8'))).find(Boolean) ?? []
  return uri ?? 'http://deb.debian.org/debian'
}

function withoutNamespaces() {
  const { status } = spawnSync('unshare', ['--mount', '--pid', '--net', '--fork', 'true'])
  return status === 0 ? null : 'needs root and namespaces'
}

/** @returns the test files of `.ci/more` that fit */
const filesOf = (pattern) =>
  readdirSync('test', { recursive: true })
    .map((name) => join('test', name))
    .filter((name) => name.endsWith('.more.test.ts') && pattern.test(name))
    .sort()

const testsOf = (pattern) => ['npm', 'run', '-s', 'test:one', '--', '--jobs=1', ...filesOf(pattern)]
const withAsterisk = { env: { ...process.env, ASTERISK_ROOT: SID } }

/**
 * Each step: its packages of Debian, the reason why this machine cannot run it (null if it can), and its command. A step
 * with `isCheck` has no counts of tests.
 */
const STEPS = {
  root: { packages: GATE_PACKAGES, lacks: () => (isRoot ? null : 'needs root'), command: ['npm', 'test'] },
  phones: {
    packages: PHONE_PACKAGES,
    lacks: withoutSid,
    command: testsOf(/test\/(exchange\/|cli\/phone)/),
    options: withAsterisk,
  },
  'node-24': { lacks: () => withoutNamespaces() ?? withoutSid(), command: ['.ci/node-24', SID] },
  firefox: { packages: FIREFOX_PACKAGES, command: testsOf(/test\/console\/firefox/) },
  netem: { packages: GATE_PACKAGES, command: testsOf(/test\/deploy\/long-path/) },
  'first-hour': {
    packages: GATE_PACKAGES,
    command: ['node', 'scripts/first-hour.mjs'],
    options: withAsterisk,
    isCheck: true,
  },
}

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(STEPS)
const unknown = chosen.filter((name) => !(name in STEPS))
if (unknown.length > 0) {
  console.error(`.ci/more: no step ${unknown.join(', ')}. The steps are ${Object.keys(STEPS).join(', ')}`)
  process.exit(2)
}
const run = new Run({ runMs: Infinity })
if (existsSync('node_modules/tap') || (await run.check('install', ['npm', 'ci', '--no-audit', '--no-fund'])))
  for (const name of chosen) {
    const { packages = [], lacks = () => null, command, options, isCheck = false } = STEPS[name]
    installPackages(packages)
    const reason = lacks()
    if (reason !== null) run.skip(name, reason)
    else if (isCheck) await run.check(name, command, options)
    else await run.tests(name, command, options)
  }
process.exitCode = run.end()
