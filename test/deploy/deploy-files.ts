import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/core/setting.js'
import { startGateway } from '../edge/gateway.js'

/** Text of a file of the repository, whatever folder the test was compiled to. */
export function repositoryFile(path: string): string {
  return readFileSync(join(packageRoot(), path), 'utf8')
}

const settings = new Map<string, Setting<unknown>>(
  Object.values(SETTINGS).map((setting: Setting<unknown>) => [setting.env, setting]),
)

/**
 * The parsed value of one environment variable; undefined when the gateway knows no such setting or refuses its text.
 */
export function settingValue(env: string, text: string): unknown {
  return settings.get(env)?.kind.parse(text)
}

/** True if a name in a file looks like a secret's: names of settings that are secret, and the usual words. */
export function isSecretName(name: string): boolean {
  return settings.get(name)?.secret === true || /token|secret|password|passwd|api_?key/i.test(name)
}

/** Status of each path on the ops port of a real gateway. */
export async function opsStatus(t: Test, paths: readonly string[]): Promise<Map<string, number>> {
  const gateway = await startGateway(t)
  return new Map(
    await Promise.all(paths.map(async (path) => [path, (await fetch(`${gateway.opsUrl}${path}`)).status] as const)),
  )
}

/** True if a program is installed. If not, the test is skipped with the name of its Debian package. */
export function hasProgram(t: Test, program: string, debianPackage: string): boolean {
  if (spawnSync(program, ['--version'], { env: PROGRAMS }).error === undefined) return true
  console.error(`SKIPPED: ${t.name}: there is no ${program} here; apt-get install ${debianPackage}`)
  t.skip(`${program} is not installed (Debian: ${debianPackage})`, () => undefined)
  return false
}

/** Environment in which the programs of Debian's packages are found; servers lie in sbin. */
export const PROGRAMS = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }

/** Milliseconds of a systemd time span such as `16min` or `1s`. */
export function spanMs(text: string): number {
  const match = /^(\d+)(s|min|h)$/.exec(text)
  const unitMs = { s: 1000, min: 60_000, h: 3_600_000 }[match?.[2] ?? '']
  if (match === null || unitMs === undefined) throw new Error(`no time span: ${text}`)
  return Number(match[1]) * unitMs
}

/**
 * From the end of DRAIN_TIMEOUT to the process's end: the last goodbye, closing the sockets, and half as much to spare.
 */
export const AFTER_DRAIN_MS = 15_000
