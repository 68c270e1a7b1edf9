import { partyKey } from '../sautikit/phone.js'
import { DAY_MS } from '../core/units.js'
import type { Row } from './campaign.js'

/** How many call backs may be promised: CALLBACKS_PER_NUMBER_DAY, CALLBACKS_PER_NUMBER_WEEK, CALLBACKS_PER_CALLER_DAY. */
export interface CallBackLimits {
  readonly perNumberDay: number
  readonly perNumberWeek: number
  readonly perCallerDay: number
}

/** Call backs are counted for so long, also those that are over. */
export const CALL_BACKS_COUNTED_MS = 7 * DAY_MS

/** The limit that a call back would pass. */
export type PassedLimit = 'open' | 'caller-open' | 'number' | 'caller'

/**
 * Says which limit a call back would pass: one that waits for a number, and for a caller; the limits of a number in a day and in
 * a week, and of a caller in a day. A caller without a number cannot be counted: their number to call is.
 * @param row  the new one
 * @param others  all that may count; those of other numbers and callers do not
 * @param nowMs  calendar time
 */
export function passedLimit(
  row: Row,
  others: readonly Row[],
  limits: CallBackLimits,
  nowMs: number,
): PassedLimit | null {
  const { perNumberDay, perNumberWeek, perCallerDay } = limits
  // One that was erased is nobody's any more.
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

/** `partyKey` of who asked for it; empty where they are not known. */
export function callerOf({ asked }: Row): string {
  return asked?.by ?? ''
}

/** Rows of an earlier build do not say when they were asked for. */
function askedMs({ asked, dueMs }: Row): number {
  return asked?.atMs ?? dueMs
}

function isOpen({ result }: Row): boolean {
  return result === null
}
