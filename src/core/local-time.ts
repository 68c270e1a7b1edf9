import { dateFormat } from './date-format.js'

/** Date and time of day in a time zone. */
export interface LocalTime {
  /** 0 for Sunday. */
  readonly weekday: number
  /** Date, such as `2026-11-20`. */
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

/**
 * @param timeZone  IANA name
 * @param wallMs  calendar time
 * @throws RangeError for a zone that the runtime does not support
 */
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

/** True if the runtime supports the zone. */
export function isTimeZone(name: string): boolean {
  try {
    dateFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}

/** Time zone of this machine. */
interface MachineZone {
  /** IANA name that the runtime supports. */
  readonly timeZone: string
  /** Reason why the zone is UTC instead of the machine's zone; null if the runtime supports the machine's zone. */
  readonly fault: string | null
}

/**
 * Decides the zone of agents without a time zone of their own.
 * @param reported  zone that the runtime reports: `Etc/Unknown` if the variable TZ is empty, and undefined for a POSIX
 *   zone such as `EAT-3`
 */
function zoneOfMachine(reported: string | undefined): MachineZone {
  if (reported !== undefined && isTimeZone(reported)) return { timeZone: reported, fault: null }
  return {
    timeZone: 'UTC',
    fault:
      'the variable TZ is empty or not an IANA name: agents without context.timeZone use UTC. Allowed: a name such as Africa/Nairobi, or no TZ',
  }
}

let decided: MachineZone | null = null

/** The zone of this machine. The first call decides it for the life of the thread. */
export function machineZone(): MachineZone {
  decided ??= zoneOfMachine(Intl.DateTimeFormat().resolvedOptions().timeZone)
  return decided
}

/** Matches `2026-11-27T15:00`, optionally with seconds, and with Z or an offset. A space may replace the T. */
const DATE_AND_TIME = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::(\d{2})(?:\.\d+)?)? ?(Z|[+-]\d{2}:?\d{2})?$/i

/**
 * Returns the calendar time of a date and a time. Without Z or an offset, the text is local time in the time zone. A
 * time that is skipped when clocks go forward is one hour later.
 * @returns null if the date and time do not exist, such as 30 February
 */
export function readDateAndTime(timeZone: string, text: string): number | null {
  const [all, date = '', time = '', seconds = '00', offset = ''] = DATE_AND_TIME.exec(text.trim()) ?? []
  if (all === undefined) return null
  const asUtcMs = Date.parse(`${date}T${time}:${seconds}Z`)
  // The day is compared, because JavaScript reads 30 February as a day of March.
  if (!Number.isFinite(asUtcMs) || !new Date(asUtcMs).toISOString().startsWith(date)) return null
  if (offset !== '') {
    // After Z, the sign, the hours and the minutes are missing, so the defaults apply.
    const [, sign = '+', hours = '0', minutes = '0'] = /^([+-])(\d{2}):?(\d{2})$/.exec(offset) ?? []
    const aheadMs = (Number(hours) * 60 + Number(minutes)) * 60_000
    return Number(hours) > 14 || Number(minutes) > 59 ? null : asUtcMs - (sign === '-' ? -aheadMs : aheadMs)
  }
  const offsetMs = (wallMs: number): number => {
    const { date, minute } = localTime(timeZone, wallMs)
    return Date.parse(date) + minute * 60_000 - wallMs
  }
  const wallMs = asUtcMs - offsetMs(asUtcMs)
  // The offset is calculated again, because the zone may have another offset at the calculated time.
  return asUtcMs - offsetMs(wallMs)
}
