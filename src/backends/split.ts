import { createHash } from 'node:crypto'
import type { BackendOptions } from '../agents/file/backend-options.js'
import { sharesOf } from '../agents/file/own-backends.js'
import type { BackendChoice } from '../agents/file/own-backends.js'
import { resolveBackends } from './registry.js'
import type { BackendSettings } from './registry.js'

/** A share of an agent's calls, and the backends that serve it. An agent without a split has one share of all calls. */
export interface BackendShare {
  /** 0 to 100; the shares of an agent sum to 100. */
  readonly percent: number
  /** The agent's file says `auto`. */
  readonly auto: boolean
  /** Resolved names in the order in which they are tried, one or more. */
  readonly names: readonly string[]
}

/** All calls on these backends. @param names  resolved, one or more */
export function allCallsOn(...names: readonly string[]): readonly BackendShare[] {
  return [{ percent: 100, auto: false, names }]
}

/**
 * The shares of an agent with these settings.
 * @param offline  the agent has an `offline:` block
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

/** Every backend that an agent's calls may use, once. */
export function namesIn(shares: readonly BackendShare[]): readonly string[] {
  return [...new Set(shares.flatMap(({ names }) => names))]
}

/**
 * The share that serves a call. It follows from the SID alone, so another worker or node that goes on with the call
 * chooses the same one.
 */
export function shareOf(shares: readonly BackendShare[], callSid: string): BackendShare {
  const at = placeOf(callSid)
  let below = 0
  const served = shares.filter(({ percent }) => percent > 0)
  const found = served.find(({ percent }) => at < (below += percent))
  return found ?? (served.at(-1) as BackendShare) // the percents sum to 100 only as exactly as floats do
}

/** Where a text comes to lie from 0 up to 100, the same in all processes. */
export function placeOf(text: string): number {
  return (createHash('sha256').update(text).digest().readUInt32BE(0) / 2 ** 32) * 100
}

/**
 * True if calls of this share are heard by the offline recogniser from the start. The embedded backend behind `auto`
 * gets it when it takes over: most calls never need its memory. */
export function usesRecogniser({ auto, names }: BackendShare): boolean {
  return (auto ? names.slice(0, 1) : names).includes('embedded')
}
