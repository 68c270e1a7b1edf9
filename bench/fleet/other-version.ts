import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../src/config/package-root.js'
import type { NodeProgram } from '../../test/support/fleet.js'
import { WrongOption } from '../kit/command.js'
import { faultsOf } from './mended.js'
import type { OldFault } from './mended.js'

const run = promisify(execFile)

/** A commit of this repository, built. */
export interface OtherVersion extends NodeProgram {
  /** Full hash of the commit. */
  readonly commit: string
  /** Faults of this commit that the current version has corrected. */
  readonly faults: ReadonlySet<OldFault>
}

/** Settings for editing agents. A version from before ADR 27 would refuse these settings. */
export const EDITS = { AGENTS_EDIT: 'true', AGENTS_WATCH: 'true' }

/**
 * Builds a commit in a separate folder in the system's folder for temporary files, where the next run finds the build.
 * The build uses the packages of this checkout if it needs the same packages. Otherwise `npm ci` installs them.
 * @throws WrongOption if the commit does not exist; Error if the current version has a fault that `mended.ts` lists
 */
export async function builtVersion(name: string, say: (line: string) => void): Promise<OtherVersion> {
  const root = packageRoot()
  const unmended = [...faultsOf(root)]
  if (unmended.length > 0)
    throw new Error(`bench/fleet/mended.ts has a text that src has no more: ${unmended.join(', ')}`)
  let commit: string
  try {
    const { stdout } = await run('git', ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`], {
      cwd: root,
    })
    commit = stdout.trim()
  } catch {
    throw new WrongOption(`--with is '${name}'; allowed is a commit, a tag or a branch of this repository`)
  }
  const folder = join(tmpdir(), `mkondo-build-${commit}`)
  const main = join(folder, 'dist/src/cli/main.js')
  const built = (): OtherVersion => {
    const edits = readFileSync(join(folder, 'docs/CONFIGURATION.md'), 'utf8').includes('`AGENTS_EDIT`')
    return { commit, main, env: edits ? EDITS : {}, faults: faultsOf(folder) }
  }
  // The checkout from which it uses the packages may have been deleted.
  if (existsSync(main) && existsSync(join(folder, 'node_modules'))) return built()
  rmSync(folder, { recursive: true, force: true })
  say(`builds ${commit.slice(0, 8)}`)
  const making = `${folder}.${process.pid}`
  mkdirSync(making, { mode: 0o700 })
  try {
    const archive = `${making}.tar`
    await run('git', ['archive', '--output', archive, commit], { cwd: root })
    await run('tar', ['-xf', archive, '-C', making])
    rmSync(archive)
    if (packagesOf(making) === packagesOf(root)) symlinkSync(join(root, 'node_modules'), join(making, 'node_modules'))
    else await run('npm', ['ci', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: making, maxBuffer: 2 ** 24 })
    await run('npm', ['run', '-s', 'build'], { cwd: making, maxBuffer: 2 ** 24 })
    renameSync(making, folder)
  } finally {
    rmSync(making, { recursive: true, force: true })
  }
  return built()
}

/** Packages, with their versions, that a checkout installs. */
function packagesOf(folder: string): string {
  const lock = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly version?: string }>>
  }
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .map(([path, { version = '' }]) => `${path} ${version}`)
    .join('\n')
}
