import { partyKey } from '../sautikit/phone.js'
import { DAY_MS } from '../core/units.js'
import type { Row } from './campaign.js'

/** Limits of promised call backs: CALL_BACKS_PER_NUMBER_DAY, CALL_BACKS_PER_NUMBER_WEEK, CALL_BACKS_PER_CALLER_DAY. */
export interface CallBackLimits {
  readonly perNumberDay: number
  readonly perNumberWeek: number
  readonly perCallerDay: number
}

/** Time for which a call back counts towards the limits, even if it is already over. */
export const CALL_BACKS_COUNTED_MS = 7 * DAY_MS

/** Limit that a call back would exceed. */
export type PassedLimit = 'open' | 'caller-open' | 'number' | 'caller'

/**
 * Returns the limit that a call back would exceed. Each number and each caller may have one waiting call back. A number
 * also has a limit per day and a limit per week; a caller has a limit per day. If the caller's number is withheld, only
 * the number to call is counted. @param row  the new call back @param others  call backs that may count; unrelated call
 * backs are skipped
 * @param nowMs  calendar time
 */
export function passedLimit(
  row: Row,
  others: readonly Row[],
  limits: CallBackLimits,
  nowMs: number,
): PassedLimit | null {
  const { perNumberDay, perNumberWeek, perCallerDay } = limits
  // An erased call back does not count.
  const counted = others.filter(({ id, to }) => id !== row.id && to !== '')
  const sameNumber = counted.filter(({ to }) => partyKey(to) === partyKey(row.to))
  const by = callerOf(row)
  const sameCaller = by === '' ? [] : counted.filter((other) => callerOf(other) === by)
  const within = (rows: readonly Row[], ms: number): number =>
    rows.filter((other) => askedMs(other) > nowMs - ms).length
  if (sameNumber.some(isOpen)) return 'open'
  if (sameCaller.some(isOpen)) return 'caller-open'
  if (within(sameNumber, DAY_MS) >= perNumberDay || within(sameNumber, CALL_BACKS_COUNTED_MS) >= perNumberWeek)
    return 'number'
  return within(sameCaller, DAY_MS) >= perCallerDay ? 'caller' : null
}

/** Returns the `partyKey` of the caller who asked for the call back; empty if unknown. */
export function callerOf({ asked }: Row): string {
  return asked?.by ?? ''
}

/** Returns the time at which the call back was requested. Rows of an earlier build do not contain this time. */
function askedMs({ asked, dueMs }: Row): number {
  return asked?.atMs ?? dueMs
}

function isOpen({ result }: Row): boolean {
  return result === null
}
