import { createHash } from 'node:crypto'
import type { BackendOptions } from '../agents/file/backend-options.js'
import { sharesOf } from '../agents/file/own-backends.js'
import type { BackendChoice } from '../agents/file/own-backends.js'
import { resolveBackends } from './registry.js'
import type { BackendSettings } from './registry.js'

/**
 * Share of an agent's calls, and the backends that serve these calls. If an agent has no split, one share contains all
 * its calls.
 */
export interface BackendShare {
  /** Size of the share in percent. The sizes of an agent's shares sum to 100. */
  readonly percent: number
  /** True if the agent's file has `auto` for this share. */
  readonly auto: boolean
  /** Resolved names of backends in order of use; at least one. */
  readonly names: readonly string[]
}

/** Makes one share with all calls. @param names resolved names, at least one */
export function allCallsOn(...names: readonly string[]): readonly BackendShare[] {
  return [{ percent: 100, auto: false, names }]
}

/**
 * Resolves the shares of an agent with these settings.
 * @param offline true if the agent has an `offline:` block
 * @throws GatewayError as `resolveBackends`
 */
export function resolveShares(
  agent: string,
  choice: BackendChoice,
  settings: BackendSettings,
  options: BackendOptions = {},
  offline = false,
): readonly BackendShare[] {
  return sharesOf(choice).map(({ use, percent }) => ({
    percent,
    auto: use === 'auto',
    names: resolveBackends(agent, use, settings, options, offline),
  }))
}

/** @returns every backend that an agent's calls may use, without duplicates */
export function namesIn(shares: readonly BackendShare[]): readonly string[] {
  return [...new Set(shares.flatMap(({ names }) => names))]
}

/**
 * Chooses the share that serves a call. The choice depends only on the SID, so each worker or node that continues the
 * call chooses the same share.
 */
export function shareOf(shares: readonly BackendShare[], callSid: string): BackendShare {
  const at = placeOf(callSid)
  let below = 0
  const served = shares.filter(({ percent }) => percent > 0)
  const found = served.find(({ percent }) => at < (below += percent))
  return found ?? (served.at(-1) as BackendShare) // rounding errors may make the sum of percentages slightly less than 100
}

/** Maps a text to a number from 0 up to 100. The number is the same in all processes. */
export function placeOf(text: string): number {
  return (createHash('sha256').update(text).digest().readUInt32BE(0) / 2 ** 32) * 100
}

/**
 * True if the offline recogniser gets the audio of this share's calls from the start. With `auto`, the recogniser
 * starts only at a takeover, because most calls never need it.
 */
export function usesRecogniser({ auto, names }: BackendShare): boolean {
  return (auto ? names.slice(0, 1) : names).includes('embedded')
}
