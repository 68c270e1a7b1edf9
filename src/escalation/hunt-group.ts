import { ESCALATION_NUMBERS_MAX } from '../core/limits.js'
import { sameNumber } from '../sautikit/phone.js'

/** When a desk or a human can be reached. Plain data with the key names of the agent's file. */
export interface OpeningHours {
  /** IANA name, such as `Africa/Nairobi`. */
  readonly timeZone: string
  /** Spans such as `08:00-17:30` by day of the week. A span whose end is not after its begin goes past midnight. */
  readonly week: Readonly<Partial<Record<Weekday, readonly string[] | undefined>>>
  /** Days without spans: `2026-12-25`, or `12-25` for every year. */
  readonly holidays: readonly string[]
}

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export type Weekday = (typeof WEEKDAYS)[number]

export const SPAN = /^([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/

/** A number that can be rung, in E.164 form. */
export interface Human {
  readonly number: string
  /** Null: during all hours of the desk. */
  readonly hours: OpeningHours | null
}

export interface HuntGroupOptions {
  /** In the order in which they are rung; the next one follows when one is busy or does not answer. */
  readonly humans: readonly Human[]
  /** Hours of the whole desk; null: always. */
  readonly hours: OpeningHours | null
  /** The caller's own number, which is never rung: a human who calls is busy. Empty when withheld. */
  readonly caller: string
}

/** The numbers that can be rung at a given time, in order, and the current one. */
export class HuntGroup {
  /** The list has numbers, and none of them can be rung at this time. */
  readonly closed: boolean
  readonly #humans: readonly Human[]
  readonly #open: readonly Human[]
  #index: number

  /** @param wallMs calendar time @param index  of the current number, from 0 */
  constructor(options: HuntGroupOptions, wallMs: number, index = 0) {
    this.#index = index
    this.#humans = options.humans
    this.#open = openHumans(options, wallMs)
    this.closed = options.humans.length > 0 && this.#open.length === 0
  }

  get empty(): boolean {
    return this.#open.length === 0
  }

  get number(): string {
    return this.#open[this.#index]?.number ?? ''
  }

  /** Place of the number in the agent's list, from 1; null when all have been rung. */
  get place(): number | null {
    const human = this.#open[this.#index]
    return human === undefined ? null : this.#humans.indexOf(human) + 1
  }

  /** Of the current number among those that can be rung, from 0. */
  get index(): number {
    return this.#index
  }

  /** For log and detail texts: `number 2 of 3`. */
  get position(): string {
    return `number ${this.#index + 1} of ${this.#open.length}`
  }

  /** Moves to the next number. @returns false when there is none */
  next(): boolean {
    this.#index++
    return this.#index < this.#open.length
  }

  /** Back to the first number: the next strategy begins there. */
  restart(): void {
    this.#index = 0
  }
}

/** The humans that can be rung at a given time, in order. @param wallMs calendar time */
export function openHumans({ humans, hours, caller }: HuntGroupOptions, wallMs: number): readonly Human[] {
  if (hours !== null && !isOpen(hours, wallMs)) return []
  return humans
    .slice(0, ESCALATION_NUMBERS_MAX)
    .filter((human) => human.hours === null || isOpen(human.hours, wallMs))
    .filter((human) => !sameNumber(human.number, caller))
}

const DAY_MINUTES = 24 * 60
const DAY_MS = DAY_MINUTES * 60_000

interface LocalTime {
  readonly weekday: Weekday
  /** `2026-11-20`. */
  readonly date: string
  readonly minute: number
}

/** Cached, because a format is slow to create; agents use few time zones. */
const formats = new Map<string, Intl.DateTimeFormat>()

/** @param wallMs calendar time */
export function isOpen(hours: OpeningHours, wallMs: number): boolean {
  // A file is refused for such a zone. Another build's time zones may differ, and nobody is rung at a time that is not known.
  if (!isTimeZone(hours.timeZone)) return false
  const now = localTime(hours.timeZone, wallMs)
  if (spansOf(hours, now).some(([from, to]) => now.minute >= from && now.minute < (to > from ? to : DAY_MINUTES)))
    return true
  // A span of yesterday may go past midnight. Noon of yesterday gives the right date even when clocks change.
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

/** Begin and end of each span in minutes of the day; empty on a holiday. */
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
      timeZone,
      calendar: 'gregory',
      hourCycle: 'h23',
      weekday: 'short',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
    })
    formats.set(timeZone, format)
  }
  return format
}
