import { ESCALATION_NUMBERS_MAX } from '../core/limits.js'
import { isTimeZone, localTime } from '../core/local-time.js'
import type { LocalTime } from '../core/local-time.js'
import { sameNumber } from '../sautikit/phone.js'

/** Opening hours of a desk or a human. Plain data with the property names of the agent's file. */
export interface OpeningHours {
  /** Time zone by its IANA name, such as `Africa/Nairobi`. */
  readonly timeZone: string
  /** Spans such as `08:00-17:30`, by weekday. If the end is not after the start, the span ends on the next day. */
  readonly week: Readonly<Partial<Record<Weekday, readonly string[] | undefined>>>
  /** Days without spans: `2026-12-25`, or `12-25` for every year. */
  readonly holidays: readonly string[]
  /**
   * Days with their own spans instead of the weekday's spans, in the same form as `week`. These spans also apply on
   * holidays.
   */
  readonly exceptions?: Readonly<Record<string, readonly string[]>>
}

/** Maximum number of days ahead in which the gateway searches for the next opening. */
const NEXT_OPENING_DAYS_MAX = 62

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export type Weekday = (typeof WEEKDAYS)[number]

export const SPAN = /^([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/

/** A phone number that can be rung, in E.164 form. */
export interface Human {
  readonly number: string
  /** Opening hours of this human; null for all hours of the desk. */
  readonly hours: OpeningHours | null
}

export interface HuntGroupOptions {
  /** Humans in ringing order. If a human is busy or does not answer, the next human is called. */
  readonly humans: readonly Human[]
  /** Opening hours of the whole desk; null if it is always open. */
  readonly hours: OpeningHours | null
  /**
   * Phone number of the caller; empty if withheld. This number is never called, because a human who is calling is busy.
   */
  readonly caller: string
}

/** Phone numbers that can be called at a given time, in order, and the current number. */
export class HuntGroup {
  /** True if the list has phone numbers, but all of them are closed at this time. */
  readonly closed: boolean
  readonly #humans: readonly Human[]
  readonly #open: readonly Human[]
  #index: number

  /** @param wallMs calendar time @param index  index of the current number, from 0 */
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

  /** Position of the current phone number in the agent's list, from 1; null when all numbers have been called. */
  get place(): number | null {
    const human = this.#open[this.#index]
    return human === undefined ? null : this.#humans.indexOf(human) + 1
  }

  /** Index of the current phone number among the open numbers, from 0. */
  get index(): number {
    return this.#index
  }

  /** Position as a text for logs and details: `number 2 of 3`. */
  get position(): string {
    return `number ${this.#index + 1} of ${this.#open.length}`
  }

  /** Moves to the next phone number. @returns false after the last number */
  next(): boolean {
    this.#index++
    return this.#index < this.#open.length
  }

  /** Goes back to the first phone number, because the next strategy begins with it. */
  restart(): void {
    this.#index = 0
  }
}

/** Returns the humans that can be called at a given time, in order. @param wallMs  calendar time */
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
  // A file with an unknown time zone is refused, but another build may support other zones. If the local time is
  // unknown, humans are not called.
  if (!isTimeZone(hours.timeZone)) return false
  const now = localTime(hours.timeZone, wallMs)
  if (spansOf(hours, now).some(([from, to]) => now.minute >= from && now.minute < (to > from ? to : DAY_MINUTES)))
    return true
  // A span of yesterday may end today. Yesterday's date is computed from noon, so that it is right even if clocks
  // change.
  const yesterday = localTime(hours.timeZone, wallMs - now.minute * 60_000 - DAY_MS / 2)
  return spansOf(hours, yesterday).some(([from, to]) => to <= from && now.minute < to)
}

/** Start and end of each span in minutes of the day; empty on a holiday. */
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
 * Returns the state of the opening hours.
 * @param wallMs  calendar time
 * @returns `changesAtMs`: calendar time of the next change; null if none follows within NEXT_OPENING_DAYS_MAX
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
    // A span of the previous day may end on this day.
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

/** Noon of that day. A time 24 hours before or after noon is always on another date, even if clocks change. */
function noonOf(timeZone: string, wallMs: number): number {
  return Math.floor(wallMs / 60_000) * 60_000 + (DAY_MINUTES / 2 - localTime(timeZone, wallMs).minute) * 60_000
}

/** If clocks change between noon and that minute, corrects the distance from noon by an hour. */
function atMinute(timeZone: string, noonMs: number, minute: number): number {
  const atMs = noonMs + (minute - DAY_MINUTES / 2) * 60_000
  const off = (localTime(timeZone, atMs).minute - minute + 1.5 * DAY_MINUTES) % DAY_MINUTES
  return atMs - (off - DAY_MINUTES / 2) * 60_000
}
