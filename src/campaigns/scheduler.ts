import { isTimeZone } from '../core/local-time.js'
import { openingOf } from '../escalation/hunt-group.js'
import { CALL_BACKS } from './campaign.js'
import type { LineStanding } from '../fleet/busy-lines.js'
import type { Policy, Row, RowResult, TryResult } from './campaign.js'

/** Pause before conditions that may change at any moment are checked again, in milliseconds. */
const LOOK_AGAIN_MS = 60_000
const FREE_LOOK_MS = 2000
/**
 * Pause before the gateway calls a phone number that was in a call, in milliseconds. The pause prevents a second ring
 * immediately after that call.
 */
const IN_CALL_LOOK_MS = 15_000
/**
 * Pause while the state of a line is unknown, in milliseconds. Within half a minute a silent node either answers again
 * or counts as lost.
 */
const UNKNOWN_LINE_LOOK_MS = 5000
/** Random share of a pause. It prevents simultaneous second tries of rows that were tried simultaneously. */
const PAUSE_RANDOM_SHARE = 0.2
/** Number of newest tries from which the share of errors is computed. */
export const ERRORS_OF = 20

/** Current state of the node that handles the row. */
export interface Facts {
  /** True if the row's phone number is on the do-not-call list. */
  readonly doNotCall: boolean
  /** Balance of the carrier's wallet, in minor units; null if unknown. An unknown balance does not stop calls. */
  readonly walletMinor: number | null
  /** State of the line of the row's phone number in this fleet. */
  readonly line: LineStanding
  /** True if the phone number that calls has used up its daily budget. */
  readonly budgetSpent: boolean
  /** Number of call slots on this node. */
  readonly capacity: number
  /** Number of free call slots on this node. */
  readonly free: number
}

/** Reason why a row waits. */
export type WaitReason =
  'paused' | 'not-begun' | 'not-due' | 'closed' | 'wallet' | 'budget' | 'inbound' | 'agent' | 'in-call' | 'line-unknown'

/**
 * Decision about a row. `wait`: the row waits until the calendar time `untilMs`. If `all` is true, all rows of the
 * campaign must wait.
 */
type Verdict =
  | { readonly do: 'call' }
  | { readonly do: 'wait'; readonly untilMs: number; readonly why: WaitReason; readonly all: boolean }
  | { readonly do: 'end'; readonly result: RowResult }

/**
 * Decides if a row may be called now, for both kinds of queue. The queues themselves limit concurrent calls and calls
 * per minute.
 * @param nowMs  calendar time
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
  // The local time in that zone is unknown.
  if (!isTimeZone(hours.timeZone)) return end('invalid-zone')
  const { open, changesAtMs } = openingOf(hours, nowMs)
  if (!open) {
    if (changesAtMs === null || (endAtMs !== null && changesAtMs >= endAtMs)) return end('expired')
    return wait('closed', changesAtMs, row.timeZone === null)
  }
  if (facts.walletMinor !== null && facts.walletMinor < walletBelowMinor) return wait('wallet', nowMs + LOOK_AGAIN_MS)
  // Call backs belong to several phone numbers of the gateway. A phone number without budget must not delay the call
  // backs of another number.
  if (facts.budgetSpent) return wait('budget', nowMs + LOOK_AGAIN_MS, row.campaign !== CALL_BACKS)
  if (facts.free <= (facts.capacity * policy.keepFreePercent) / 100) return wait('inbound', nowMs + FREE_LOOK_MS)
  // A person who may be in a call is not called, because a later call is harmless.
  if (facts.line === 'unknown') return wait('line-unknown', nowMs + UNKNOWN_LINE_LOOK_MS)
  if (facts.line === 'busy') return wait('in-call', nowMs + IN_CALL_LOOK_MS, false)
  return { do: 'call' }
}

/**
 * Adds a try's result to its row. The row is then over, or due again.
 * @param random  0 to 1
 */
export function afterTry(policy: Policy, row: Row, result: TryResult, nowMs: number, random: number): Row {
  const pauses = policy.retryMinutes[result] ?? []
  const minutes = pauses[Math.min(row.tries.length, pauses.length) - 1]
  if (minutes === undefined || row.tries.length >= policy.tries) return { ...row, result }
  const pauseMs = minutes * 60_000 * (1 + PAUSE_RANDOM_SHARE * random)
  return { ...row, dueMs: Math.round(nowMs + pauseMs) }
}

/** True if too many of the newest tries failed. @param newest  tries, the oldest first */
export function tooManyErrors(newest: readonly TryResult[], errorPercent: number): boolean {
  const last = newest.slice(-ERRORS_OF)
  if (last.length < ERRORS_OF) return false
  const failed = last.filter((result) => result === 'failed' || result === 'uncertain').length
  return failed * 100 >= errorPercent * last.length
}
