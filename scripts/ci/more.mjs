// The second look at a change: steps that need more than a plain machine, or more time than each change is worth.
//
//   .ci/more                   all steps
//   .ci/more phones node-24    these steps
//   .ci/more --steps           the names of all steps, as JSON
//
// A step that this machine cannot run is skipped with its reason. Ends like `.ci/run`. If the tree is the tree of its
// commit, the result of each step is kept for `npm run release` (scripts/ci/steps.mjs).
import { existsSync } from 'node:fs'
import { installPackages } from './packages.mjs'
import { Run } from './run.mjs'
import { keepResult, STEPS, treeState } from './steps.mjs'

const names = Object.keys(STEPS)

async function more(chosen) {
  const { commit, isClean } = treeState()
  if (!isClean) console.log('--- there are uncommitted changes: no result is kept for a release')
  const run = new Run({ runMs: Infinity })
  if (existsSync('node_modules/tap') || (await run.check('install', ['npm', 'ci', '--no-audit', '--no-fund'])))
    for (const name of chosen) {
      const result = await resultOf(run, name, commit)
      const now = treeState()
      if (isClean && now.isClean && now.commit === commit) keepResult(commit, name, result)
    }
  return run.end()
}

/** Runs a step. @returns its result, as `keepResult` keeps it */
async function resultOf(run, name, commit) {
  const { packages = [], lacks = () => null, command, options, isCheck = false } = STEPS[name]
  installPackages(packages)
  const reason = lacks()
  if (reason !== null) {
    run.skip(name, reason)
    return { state: 'skipped', reason }
  }
  const before = run.counts
  if (isCheck) await run.check(name, command(commit), options)
  else await run.tests(name, command(commit), options)
  const after = run.counts
  const [passed, failed, skipped] = ['passed', 'failed', 'skipped'].map((key) => after[key] - before[key])
  return { state: failed === 0 ? 'passed' : 'failed', passed, failed, skipped }
}

const args = process.argv.slice(2)
const unknown = args.filter((name) => !names.includes(name))
if (args.length === 1 && args[0] === '--steps') console.log(JSON.stringify(names))
else if (unknown.length > 0) {
  console.error(`.ci/more: no step ${unknown.join(', ')}. The steps are ${names.join(', ')}`)
  process.exitCode = 2
} else process.exitCode = await more(args.length > 0 ? args : names)
