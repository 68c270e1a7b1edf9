// The steps of `.ci/more`, and their results. A step's result is kept for the commit, and `npm run release` reads it.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FIREFOX_PACKAGES, GATE_PACKAGES, installPackages, PHONE_PACKAGES } from './packages.mjs'

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

const TEST_ONE = ['npm', 'run', '-s', 'test:one', '--', '--jobs=1']
const testsOf = (pattern) => [...TEST_ONE, ...filesOf(pattern)]
const withAsterisk = { env: { ...process.env, ASTERISK_ROOT: SID } }

/** Number of seeds of each simulation in the step `seeds`: about a minute of CPU time each. */
const FAR_SEEDS = { PAIRS: 10_000, OWNERSHIP: 5000, GATEWAYS: 60 }
/** The first far seed. The gate's seeds are below it. */
const FAR_FROM = 1_000_000
const FAR_FILES = ['call/pairs', 'fleet/ownership-simulation.slow', 'fleet/gateway-simulation.slow']

/** @returns the command with seeds that depend on the commit. It is printed, and plays the same seeds again */
function seedsOf(commit) {
  const first = FAR_FROM + Number.parseInt(commit.slice(0, 7), 16)
  const ranges = Object.entries(FAR_SEEDS).map(([name, count]) => `${name}_SEEDS=${first}..${first + count - 1}`)
  return ['env', ...ranges, ...TEST_ONE, ...FAR_FILES.map((name) => `test/${name}.test.ts`)]
}

/**
 * Each step: its packages of Debian, the reason why this machine cannot run it (null if it can), and its command for a
 * commit. A step with `isCheck` has no counts of tests.
 */
export const STEPS = {
  root: { packages: GATE_PACKAGES, lacks: () => (isRoot ? null : 'needs root'), command: () => ['npm', 'test'] },
  phones: {
    packages: PHONE_PACKAGES,
    lacks: withoutSid,
    command: () => testsOf(/test\/(exchange\/|cli\/phone)/),
    options: withAsterisk,
  },
  'node-24': { lacks: () => withoutNamespaces() ?? withoutSid(), command: () => ['.ci/node-24', SID] },
  firefox: { packages: FIREFOX_PACKAGES, command: () => testsOf(/test\/console\/firefox/) },
  netem: { packages: GATE_PACKAGES, command: () => testsOf(/test\/deploy\/long-path/) },
  'first-hour': {
    packages: GATE_PACKAGES,
    command: () => ['node', 'scripts/first-hour.mjs'],
    options: withAsterisk,
    isCheck: true,
  },
  benches: {
    packages: GATE_PACKAGES,
    lacks: withoutSid,
    command: () => ['npm', 'run', '-s', 'smoke'],
    options: withAsterisk,
  },
  seeds: { command: seedsOf },
  mutants: { command: () => ['npm', 'run', '-s', 'mutants'] },
}

const git = (...args) => {
  // The checkout may belong to another user.
  const { status, stdout, stderr } = spawnSync('git', ['-c', 'safe.directory=*', ...args], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr.trim()}`)
  return stdout.trim()
}

/** @returns the commit of the working tree, and `isClean`: false if the tree differs from the commit */
export const treeState = () => ({ commit: git('rev-parse', 'HEAD'), isClean: git('status', '--porcelain') === '' })

/**
 * Folder of results, one file per step: `.build/more/COMMIT/STEP.json`. It is not committed, because a commit cannot
 * contain its own result. Results of other machines, such as the artifacts of the nightly workflow, are copied to it.
 */
const folderOf = (commit, root = '.') => join(root, '.build/more', commit)

/** Keeps the result of a step: `state` is `passed`, `failed` or `skipped`, `reason` is the reason of a skip. */
export function keepResult(commit, step, result) {
  mkdirSync(folderOf(commit), { recursive: true })
  const text = JSON.stringify({ commit, step, ...result, at: new Date().toISOString() }, null, 1)
  writeFileSync(join(folderOf(commit), `${step}.json`), `${text}\n`)
}

/** @returns the results of a commit in the order of the steps; a step that has not run has the state `missing` */
export function resultsOf(commit, root) {
  return Object.keys(STEPS).map((step) => {
    const file = join(folderOf(commit, root), `${step}.json`)
    const result = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { state: 'missing' }
    // A file that was copied to the wrong folder is no result of this commit.
    if (result.state !== 'missing' && (result.commit !== commit || result.step !== step))
      return { step, state: 'missing' }
    return { ...result, step }
  })
}

/**
 * @param without  steps that may be skipped. A step that failed or has not run is not allowed by this
 * @returns the steps that have not passed, with the command that runs them; null if there are none
 */
export function openSteps(results, without) {
  const isDone = ({ step, state }) => state === 'passed' || (state === 'skipped' && without.includes(step))
  const open = results.filter((result) => !isDone(result))
  if (open.length === 0) return null
  const states = open.map(({ step, state, reason }) => `${step} ${state}${reason === undefined ? '' : ` (${reason})`}`)
  return `${states.join(', ')}; run .ci/more ${open.map(({ step }) => step).join(' ')}`
}

/** @returns a line for each result, for the notes of a release */
export function resultLines(results) {
  return results.map(({ step, state, reason, passed = 0, skipped = 0 }) => {
    if (state !== 'passed') return `- ${step}: **${state}**${reason === undefined ? '' : ` (${reason})`}`
    const tests = passed > 0 ? `, ${passed} tests` : ''
    return `- ${step}: passed${tests}${skipped > 0 ? `, ${skipped} tests were skipped` : ''}`
  })
}
