import { isTimeZone } from '../core/local-time.js'
import { openingOf } from '../escalation/hunt-group.js'
import { CALL_BACKS } from './campaign.js'
import type { LineStanding } from '../fleet/busy-lines.js'
import type { Policy, Row, RowResult, TryResult } from './campaign.js'

/** When is looked again at what may change at any moment. */
const LOOK_AGAIN_MS = 60_000
const FREE_LOOK_MS = 2000
/** Whoever hangs up is not rung in the same moment. */
const IN_CALL_LOOK_MS = 15_000
/** A node that does not answer is known to be gone, or answers again, within half a minute. */
const UNKNOWN_LINE_LOOK_MS = 5000
/** Share of a pause that is random, so that rows that were tried together are not tried again together. */
const PAUSE_RANDOM_SHARE = 0.2
/** Tries that the share of errors is taken of. */
export const ERRORS_OF = 20

/** Present state of the node that asks. */
export interface Facts {
  /** Its number wants no calls. */
  readonly doNotCall: boolean
  /** Balance of the carrier's wallet, in minor units; null: unknown, which does not mean empty. */
  readonly walletMinor: number | null
  /** Standing of the number's line with this fleet. */
  readonly line: LineStanding
  /** The number that calls has used up its budget of the day. */
  readonly budgetSpent: boolean
  /** Call slots of this node, and how many are free. */
  readonly capacity: number
  readonly free: number
}

/** Why a row waits. */
export type WaitReason =
  'paused' | 'not-begun' | 'not-due' | 'closed' | 'wallet' | 'budget' | 'inbound' | 'agent' | 'in-call' | 'line-unknown'

/** `wait`: until calendar time `untilMs`; `all`: the other rows of the campaign have to wait too. */
type Verdict =
  | { readonly do: 'call' }
  | { readonly do: 'wait'; readonly untilMs: number; readonly why: WaitReason; readonly all: boolean }
  | { readonly do: 'end'; readonly result: RowResult }

/**
 * Says whether a row may be called now. Both queues ask this and nothing else; how many at once and in a minute is theirs.
 * @param nowMs calendar time
 */
export function verdictOf(policy: Policy, row: Row, facts: Facts, nowMs: number): Verdict {
  const { state, startAtMs, endAtMs, walletBelowMinor } = policy
  const end = (result: RowResult): Verdict => ({ do: 'end', result })
  const wait = (why: WaitReason, untilMs: number, all = true): Verdict => ({ do: 'wait', untilMs, why, all })
  if (state === 'stopped') return end('stopped')
  if (facts.doNotCall) return end('do-not-call')
  if (endAtMs !== null && nowMs >= endAtMs) return end('expired')
  if (state !== 'running') return wait('paused', nowMs + LOOK_AGAIN_MS)
  if (nowMs < startAtMs) return wait('not-begun', startAtMs)
  if (nowMs < row.dueMs) return wait('not-due', row.dueMs, false)
  const hours = row.timeZone === null ? policy.hours : { ...policy.hours, timeZone: row.timeZone }
  // Nobody knows what hour it is there.
  if (!isTimeZone(hours.timeZone)) return end('invalid-zone')
  const { open, changesAtMs } = openingOf(hours, nowMs)
  if (!open) {
    if (changesAtMs === null || (endAtMs !== null && changesAtMs >= endAtMs)) return end('expired')
    return wait('closed', changesAtMs, row.timeZone === null)
  }
  if (facts.walletMinor !== null && facts.walletMinor < walletBelowMinor) return wait('wallet', nowMs + LOOK_AGAIN_MS)
  // Call backs of several numbers wait together: those of another one go on.
  if (facts.budgetSpent) return wait('budget', nowMs + LOOK_AGAIN_MS, row.campaign !== CALL_BACKS)
  if (facts.free <= (facts.capacity * policy.keepFreePercent) / 100) return wait('inbound', nowMs + FREE_LOOK_MS)
  // Nobody is rung in the middle of a call: not on a guess either, since a call later harms nobody.
  if (facts.line === 'unknown') return wait('line-unknown', nowMs + UNKNOWN_LINE_LOOK_MS)
  if (facts.line === 'busy') return wait('in-call', nowMs + IN_CALL_LOOK_MS, false)
  return { do: 'call' }
}

/**
 * A row after a try: over, or due again.
 * @param random  0 to 1
 */
export function afterTry(policy: Policy, row: Row, result: TryResult, nowMs: number, random: number): Row {
  const pauses = policy.retryMinutes[result] ?? []
  const minutes = pauses[Math.min(row.tries.length, pauses.length) - 1]
  if (minutes === undefined || row.tries.length >= policy.tries) return { ...row, result }
  const pauseMs = minutes * 60_000 * (1 + PAUSE_RANDOM_SHARE * random)
  return { ...row, dueMs: Math.round(nowMs + pauseMs) }
}

/** True if too many of the newest tries failed. @param newest  oldest first */
export function tooManyErrors(newest: readonly TryResult[], errorPercent: number): boolean {
  const last = newest.slice(-ERRORS_OF)
  if (last.length < ERRORS_OF) return false
  const failed = last.filter((result) => result === 'failed' || result === 'uncertain').length
  return failed * 100 >= errorPercent * last.length
}
