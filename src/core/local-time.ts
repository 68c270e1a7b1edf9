import { dateFormat } from './date-format.js'

/** Calendar and clock in a time zone. */
export interface LocalTime {
  /** 0 for Sunday. */
  readonly weekday: number
  /** `2026-11-20`. */
  readonly date: string
  /** Minute of the day. */
  readonly minute: number
}

const SHOWN = {
  calendar: 'gregory',
  hourCycle: 'h23',
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
} as const

/** @param timeZone  IANA name @param wallMs  calendar time @throws RangeError for a zone that the runtime does not know */
export function localTime(timeZone: string, wallMs: number): LocalTime {
  const [date = '', time = ''] = dateFormat('sv-SE', { ...SHOWN, timeZone })
    .format(wallMs)
    .split(' ')
  return {
    weekday: new Date(`${date}T00:00:00Z`).getUTCDay(),
    date,
    minute: Number(time.slice(0, 2)) * 60 + Number(time.slice(3)),
  }
}

/** True if the runtime knows the zone. */
export function isTimeZone(name: string): boolean {
  try {
    dateFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}

/** `2026-11-27T15:00`: a date and a time of the clock there. */
const DATE_AND_TIME = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})$/

/**
 * Calendar time of a time of the clock in a zone; where clocks are put forward over it, that of an hour later.
 * @returns null for what is no date and time
 */
export function wallOfLocal(timeZone: string, text: string): number | null {
  const asUtcMs = DATE_AND_TIME.test(text) ? Date.parse(`${text}:00Z`) : NaN
  if (!Number.isFinite(asUtcMs)) return null
  const offsetMs = (wallMs: number): number => {
    const { date, minute } = localTime(timeZone, wallMs)
    return Date.parse(date) + minute * 60_000 - wallMs
  }
  const wallMs = asUtcMs - offsetMs(asUtcMs)
  // The offset may be another one at that moment.
  return asUtcMs - offsetMs(wallMs)
}
