import { ESCALATION_NUMBERS_MAX } from '../core/limits.js'
import { isTimeZone, localTime } from '../core/local-time.js'
import type { LocalTime } from '../core/local-time.js'
import { sameNumber } from '../sautikit/phone.js'

/** When a desk or a human can be reached. Plain data with the key names of the agent's file. */
export interface OpeningHours {
  /** IANA name, such as `Africa/Nairobi`. */
  readonly timeZone: string
  /** Spans such as `08:00-17:30` by day of the week. A span whose end is not after its begin goes past midnight. */
  readonly week: Readonly<Partial<Record<Weekday, readonly string[] | undefined>>>
  /** Days without spans: `2026-12-25`, or `12-25` for every year. */
  readonly holidays: readonly string[]
  /** Days with other spans than their weekday's, in the same form; a holiday that is named here has them. */
  readonly exceptions?: Readonly<Record<string, readonly string[]>>
}

/** How far ahead the next opening is looked for, days. */
const NEXT_OPENING_DAYS_MAX = 62

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

  /** Index of the current number among those that can be rung, from 0. */
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

/** Begin and end of each span in minutes of the day; empty on a holiday. */
function spansOf(hours: OpeningHours, day: LocalTime): (readonly [number, number])[] {
  const { week, holidays, exceptions = {} } = hours
  const everyYear = day.date.slice(5)
  const isHoliday = holidays.includes(day.date) || holidays.includes(everyYear)
  const ofWeekday = week[WEEKDAYS[(day.weekday + 6) % 7] ?? 'mon']
  const spans = exceptions[day.date] ?? exceptions[everyYear] ?? (isHoliday ? undefined : ofWeekday) ?? []
  return spans.flatMap((span) => {
    const [from, to] = span.split('-').map((time) => Number(time.slice(0, 2)) * 60 + Number(time.slice(3)))
    return from === undefined || to === undefined ? [] : [[from, to] as const]
  })
}

/**
 * Says whether these hours are open, and when that changes next.
 * @param wallMs calendar time
 * @returns `changesAtMs` calendar time of the full minute; null: not within NEXT_OPENING_DAYS_MAX
 */
export function openingOf(
  hours: OpeningHours,
  wallMs: number,
): { readonly open: boolean; readonly changesAtMs: number | null } {
  const open = isOpen(hours, wallMs)
  if (!isTimeZone(hours.timeZone)) return { open, changesAtMs: null }
  const noonMs = noonOf(hours.timeZone, wallMs)
  for (let day = -1; day <= NEXT_OPENING_DAYS_MAX; day++) {
    const dayNoonMs = noonMs + day * DAY_MS
    // A span of the day before may end on this day.
    const edges = [-1, 0].flatMap((back) =>
      spansOf(hours, localTime(hours.timeZone, dayNoonMs + back * DAY_MS)).flatMap(([from, to]) =>
        back === 0 ? [from, ...(to > from ? [to] : [DAY_MINUTES])] : to <= from ? [to] : [],
      ),
    )
    const change = edges
      .map((minute) => atMinute(hours.timeZone, dayNoonMs, minute))
      .sort((a, b) => a - b)
      .find((atMs) => atMs > wallMs && isOpen(hours, atMs) !== open)
    if (change !== undefined) return { open, changesAtMs: change }
  }
  return { open, changesAtMs: null }
}

/** Noon of that day, so that a day more or less is another date also where clocks change. */
function noonOf(timeZone: string, wallMs: number): number {
  return Math.floor(wallMs / 60_000) * 60_000 + (DAY_MINUTES / 2 - localTime(timeZone, wallMs).minute) * 60_000
}

/** Where clocks change between noon and that minute, noon's distance is an hour off. */
function atMinute(timeZone: string, noonMs: number, minute: number): number {
  const atMs = noonMs + (minute - DAY_MINUTES / 2) * 60_000
  const off = (localTime(timeZone, atMs).minute - minute + 1.5 * DAY_MINUTES) % DAY_MINUTES
  return atMs - (off - DAY_MINUTES / 2) * 60_000
}
