/** When somebody can be reached. Plain data; the agent's file says it in the same words. */
export interface OpeningHours {
  /** IANA name, such as `Africa/Nairobi`. */
  readonly timeZone: string
  /** Spans such as `08:00-17:30` by day of the week; one that ends before it begins goes past midnight. */
  readonly week: Readonly<Partial<Record<Weekday, readonly string[] | undefined>>>
  /** Days without any span: `2026-12-25`, or `12-25` in every year. */
  readonly holidays: readonly string[]
}

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export type Weekday = (typeof WEEKDAYS)[number]

export const SPAN = /^([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/

const DAY_MINUTES = 24 * 60
const DAY_MS = DAY_MINUTES * 60_000

interface LocalTime {
  readonly weekday: Weekday
  /** `2026-11-20`. */
  readonly date: string
  readonly minute: number
}

/** Formats are slow to make and few: one for each zone of the agents. */
const formats = new Map<string, Intl.DateTimeFormat>()

/** @param wallMs calendar time */
export function isOpen(hours: OpeningHours, wallMs: number): boolean {
  const now = localTime(hours.timeZone, wallMs)
  if (spansOf(hours, now).some(([from, to]) => now.minute >= from && now.minute < (to > from ? to : DAY_MINUTES))) return true
  // What began yesterday and goes past midnight. Noon before is yesterday whatever the clocks were set to.
  const yesterday = localTime(hours.timeZone, wallMs - now.minute * 60_000 - DAY_MS / 2)
  return spansOf(hours, yesterday).some(([from, to]) => to <= from && now.minute < to)
}

/** Whether the runtime knows the zone. */
export function isTimeZone(name: string): boolean {
  try {
    formatOf(name)
    return true
  } catch {
    return false
  }
}

/** Begin and end in minutes of the day; none on a holiday. */
function spansOf(hours: OpeningHours, day: LocalTime): (readonly [number, number])[] {
  if (hours.holidays.includes(day.date) || hours.holidays.includes(day.date.slice(5))) return []
  return (hours.week[day.weekday] ?? []).flatMap((span) => {
    const [from, to] = span.split('-').map((time) => Number(time.slice(0, 2)) * 60 + Number(time.slice(3)))
    return from === undefined || to === undefined ? [] : [[from, to] as const]
  })
}

function localTime(timeZone: string, wallMs: number): LocalTime {
  const parts: Record<string, string> = {}
  for (const { type, value } of formatOf(timeZone).formatToParts(wallMs)) parts[type] = value
  return {
    weekday: (parts['weekday'] ?? '').toLowerCase().slice(0, 3) as Weekday,
    date: `${parts['year'] ?? ''}-${parts['month'] ?? ''}-${parts['day'] ?? ''}`,
    minute: Number(parts['hour']) * 60 + Number(parts['minute']),
  }
}

function formatOf(timeZone: string): Intl.DateTimeFormat {
  let format = formats.get(timeZone)
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone, calendar: 'gregory', hourCycle: 'h23', weekday: 'short', year: 'numeric', month: '2-digit', day: '2-digit',
      hour: '2-digit', minute: '2-digit',
    })
    formats.set(timeZone, format)
  }
  return format
}
