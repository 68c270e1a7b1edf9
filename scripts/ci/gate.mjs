// `.ci/run`: all that a change must pass.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GATE_PACKAGES, installPackages } from './packages.mjs'
import { Run } from './run.mjs'
import { treeState } from './steps.mjs'

/** User and group `nobody` of Debian. */
const NOBODY = 65_534
const isRoot = process.getuid() === 0

/**
 * Clones this commit into a private home of a user who is not root: files that others cannot read, and rights that only
 * root has, are then found. `.ci/more root` runs the tests as root.
 */
function clonedHome() {
  const home = mkdtempSync(join(tmpdir(), 'mkondo-home-'))
  const clone = join(home, 'mkondo')
  // The checkout may belong to another user.
  const config = join(home, 'gitconfig')
  writeFileSync(config, '[safe]\n\tdirectory = *\n')
  const { status, stderr } = spawnSync('git', ['clone', '-q', '.', clone], {
    env: { ...process.env, GIT_CONFIG_GLOBAL: config },
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`git clone: ${stderr}`)
  if (isRoot) spawnSync('chown', ['-R', `${NOBODY}:${NOBODY}`, home])
  return { home, clone }
}

installPackages(GATE_PACKAGES)
const { home, clone } = clonedHome()
const { XDG_CACHE_HOME: _, ...env } = process.env
const options = { cwd: clone, env: { ...env, HOME: home, npm_config_cache: join(home, '.npm') } }
const asUser = isRoot ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'] : []

const run = new Run()
try {
  if (await run.check('install', [...asUser, 'npm', 'ci', '--no-audit', '--no-fund'], options)) {
    rmSync('node_modules', { recursive: true, force: true })
    cpSync(join(clone, 'node_modules'), 'node_modules', { recursive: true, verbatimSymlinks: true })
    const { parse } = await import('yaml')
    run.quarantine = parse(readFileSync('test/quarantine.yaml', 'utf8'))
    const { mendFirst } = await import('./flaky.mjs')
    run.notes = [`commit: ${treeState().commit}`, ...mendFirst()]
    await run.check('lint', ['npm', 'run', '-s', 'lint'])
    await run.check('dashboards', ['npm', 'run', '-s', 'dashboards', '--', '--check'])
    await run.tests('fast', [...asUser, 'npm', 'test'], options)
    await run.tests('slow', ['npm', 'run', '-s', 'test:slow'], { isRunAgain: true })
    await run.check('packed types', ['node', 'scripts/packed-types.mjs'])
  }
} finally {
  rmSync(home, { recursive: true, force: true })
}
process.exitCode = run.end()
