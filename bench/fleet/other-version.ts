import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageRoot } from '../../src/config/package-root.js'
import type { NodeProgram } from '../../test/support/fleet.js'
import { WrongOption } from '../kit/command.js'

const run = promisify(execFile)

/** A commit of this repository, built. */
export interface OtherVersion extends NodeProgram {
  /** Its whole hash. */
  readonly commit: string
}

/** Settings of an editor of agents. A version from before ADR 27 would refuse them. */
export const EDITS = { AGENTS_EDIT: 'true', AGENTS_WATCH: 'true' }

/**
 * Builds a commit in a folder of its own below the system's folder for temporary files, where the next run finds it. It has the
 * packages of this checkout where it wants the same ones; otherwise `npm ci` installs its own.
 * @throws WrongOption where there is no such commit
 */
export async function builtVersion(name: string, say: (line: string) => void): Promise<OtherVersion> {
  const root = packageRoot()
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
    return { commit, main, env: edits ? EDITS : {} }
  }
  if (existsSync(main)) return built()
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

/** Which packages a checkout installs, and in which versions. */
function packagesOf(folder: string): string {
  const lock = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly version?: string }>>
  }
  return Object.entries(lock.packages)
    .filter(([path]) => path !== '')
    .map(([path, { version = '' }]) => `${path} ${version}`)
    .join('\n')
}
