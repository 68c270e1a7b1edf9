import { numbersIn } from './spoken-numbers.js'
import type { Language } from '../words/language.js'
import { DAY_MS } from '../../core/units.js'
import { LANGUAGES } from '../words/languages.js'

/**
 * Spoken times of day and dates, in all languages at once. A Swahili hour differs from the clock by six hours: "saa nne
 * asubuhi" is 10:00. An English hour is the hour of the clock. If the words are ambiguous, all readings are returned,
 * so that the agent can ask.
 */

/** Number words that an agent's file adds, each with its number. */
type MoreWords = Readonly<Record<string, number>>

/** Maximum number of tokens; longer texts are truncated. */
const TOKENS_MAX = 40
const HOUR_MINUTES = 60
const DAY_MINUTES = 24 * HOUR_MINUTES

/** One word, or one number with the words that show its meaning. */
interface Token {
  readonly word: string
  /** The number in digits; null for a word. */
  readonly number: string | null
  /** Language of the number's words; null for a number in figures. */
  readonly language: Language | null
  /** Minutes after the hour, as in 10:30. */
  readonly minutes: number | null
}

/** Matches a time, a date in figures, a number with its ending, or a word. */
const PIECE = /(\d{1,2})[:.](\d{2})(?![\d:])(?::\d\d)?|\d+(?=(?:st|nd|rd|th)\b)|\d+|[\p{L}]+/gu

/** Matches the dash between the two times of a span in figures: 4-6 pm, 9:00 - 17:00. A date has more than one dash. */
const SPAN_DASH = /((?<![\d./–-])\d{1,2}(?:[:.]\d\d)?(?: ?[ap]m)?) *[–-] *(?=\d{1,2}(?:[:.]\d\d)?(?![\d./–-]))/g

/** @param more  number words that an agent's file adds */
function tokensOf(text: string, more: MoreWords = {}): Token[] {
  const isNumber = (word: string): boolean => Object.hasOwn(more, word) || languageOf(word) !== null
  const plain = text
    .slice(0, TOKENS_MAX * 20)
    .normalize('NFKD')
    .replace(/[\p{M}'’]/gu, '')
    .toLowerCase()
    .replace(/\b([ap])\.?\s?m\b\.?/g, ' $1m ')
    .replace(/(\d)h(?:rs|ours)?\b/g, '$1 ')
    .replace(SPAN_DASH, '$1 until ')
  const pieces = [...plain.matchAll(PIECE)].slice(0, TOKENS_MAX)
  const tokens: Token[] = []
  for (let at = 0; at < pieces.length; at++) {
    const [word = '', hour, minutes] = pieces[at] ?? []
    if (hour !== undefined) {
      tokens.push({ word, number: hour, language: null, minutes: Number(minutes) })
      continue
    }
    if (/^\d/.test(word)) {
      tokens.push({ word, number: word, language: null, minutes: null })
      continue
    }
    if (!isNumber(word)) {
      tokens.push({ word, number: null, language: null, minutes: null })
      continue
    }
    // Words that together make one number.
    let run = [word]
    for (let next = at + 1; next < pieces.length; next++) {
      const longer = [...run, ...pieces.slice(at + run.length, next + 1).map(([one]) => one)]
      // One other word may come between two number words: kumi na moja.
      if (longer.length > run.length + 2) break
      if (!isNumber(longer.at(-1) ?? '')) continue
      if (numbersIn(longer, more).length !== 1) break
      run = longer
    }
    tokens.push({
      word: run.join(' '),
      number: numbersIn(run, more)[0] ?? '',
      language: languageOf(word),
      minutes: null,
    })
    at += run.length - 1
  }
  return tokens
}

/** Returns the language in which this word is a number. */
function languageOf(word: string): Language | null {
  return LANGUAGES.find(({ numbers }) => Object.hasOwn(numbers, word)) ?? null
}

/** Returns the number of words in the longest phrase that begins at `at`. With `end`, the phrase ends before `at`. */
function phraseAt(
  tokens: readonly Token[],
  at: number,
  phrases: readonly string[],
  end = false,
): { readonly phrase: string; readonly words: number } | null {
  let found: { readonly phrase: string; readonly words: number } | null = null
  for (const phrase of phrases) {
    const words = phrase.split(' ').length
    const from = end ? at - words : at
    if (from < 0 || (found !== null && words <= found.words)) continue
    const said = tokens.slice(from, from + words).map(({ word }) => word)
    if (said.join(' ') === phrase) found = { phrase, words }
  }
  return found
}

/** A spoken hour, with the tokens that belong to it. */
interface Hour {
  readonly readings: readonly number[]
  readonly from: number
  readonly to: number
  /** True if the hour is the second time of a span: "six" in "from four to six". */
  readonly endsSpan?: boolean
}

/**
 * Returns the times of day that a text may mean, in minutes of the day, smallest first. The list is empty without a
 * time, and has one entry if the time is certain. Several times in a text count as one time if all these times have a
 * common reading ("saa nne, ten AM"). Otherwise the last time counts if a word corrects the earlier times. "From four
 * to six" remains two times.
 */
export function timesIn(text: string): readonly number[] {
  const tokens = tokensOf(text)
  const hours = hoursIn(tokens, true)
  let [times] = hours.map(({ readings }) => readings)
  for (const [index, { readings, from, endsSpan = false }] of hours.entries()) {
    if (index === 0 || times === undefined) continue
    const common = times.filter((time) => readings.includes(time))
    const between = tokens.slice(hours[index - 1]?.to ?? 0, from)
    if (endsSpan) times = []
    else if (common.length > 0) times = common
    else if (LANGUAGES.some(({ corrects }) => between.some((_, at) => phraseAt(between, at, corrects) !== null)))
      times = readings
    else return []
  }
  return [...(times ?? [])].sort((a, b) => a - b)
}

/** @param bare  true to accept a number without other words, if the text does not contain an hour */
function hoursIn(tokens: readonly Token[], bare: boolean): Hour[] {
  const hours: Hour[] = []
  const parts = LANGUAGES.flatMap(({ clock }) => Object.entries(clock.parts)).filter(([part]) =>
    tokens.some(({ word }) => word === part),
  )
  for (let at = 0; at < tokens.length; at++) {
    const span = spanAt(tokens, at, parts, bare)
    const hour = span === null ? timeAt(tokens, at, parts) : null
    const found = span ?? (hour === null ? [] : [hour])
    hours.push(...found)
    at = (found.at(-1)?.to ?? at + 1) - 1
  }
  const numbers = tokens.filter(({ number }) => number !== null)
  if (hours.length > 0 || !bare || numbers.length === 0 || numbers.length > 2) return hours
  const at = tokens.findIndex(({ number }) => number !== null)
  const hour = hourAt(tokens, at, parts, true)
  return hour === null || numbers.some((_, index) => index > 0 && hour.to - hour.from < 2) ? [] : [hour]
}

/**
 * Returns the two times of a span whose first number is at `at`. Examples: "from four to six", "kati ya saa nne na
 * sita", "9 AM until noon".
 */
function spanAt(tokens: readonly Token[], at: number, parts: readonly Part[], bare: boolean): Hour[] | null {
  // A part of the day may belong to only one of the two times: nine to four in the afternoon.
  const first = timeAt(tokens, at, [], true)
  if (first === null) return null
  const opened = LANGUAGES.some(({ clock }) => phraseAt(tokens, first.from, clock.from, true) !== null)
  const joins = LANGUAGES.flatMap(({ through, and }) => (opened ? [...through, and] : through))
  // "Saa tatu asubuhi hadi saa tisa", "four in the afternoon until six".
  const part = tokens.slice(first.to, first.to + 3).findIndex(({ word }) => parts.some(([name]) => name === word))
  const end = first.to + part + 1
  const join = phraseAt(tokens, end, joins)
  if (join === null) return null
  // "Ten to six" is one time; "four to six" is two.
  const counted = LANGUAGES.some(({ clock }) => clock.to.includes(join.phrase))
  if (!opened && counted && end - first.from === 1 && Number(tokens[at]?.number) % COUNTED_MINUTES === 0) return null
  const start = end + join.words
  const rest = tokens.slice(start)
  const second = [...rest.keys()].map((at) => timeAt(rest, at, [], true)).find((hour) => hour !== null)
  if (second?.from !== 0) return null
  const alone = bare && tokens.filter(({ number }) => number !== null).length === 2
  if (!opened && !counted && !alone && timeAt(tokens, at, parts) === null && timeAt(rest, 0, parts) === null)
    return null
  return [first, { ...second, from: start, to: start + second.to, endsSpan: true }]
}

/** Minutes that are counted before an hour are a multiple of this number: twenty to six. */
const COUNTED_MINUTES = 5

function timeAt(tokens: readonly Token[], at: number, parts: readonly Part[], alone = false): Hour | null {
  const named = LANGUAGES.map(({ clock }) => clock.named[tokens[at]?.word ?? '']).find((time) => time !== undefined)
  return named === undefined ? hourAt(tokens, at, parts, alone) : { readings: [named], from: at, to: at + 1 }
}

type Part = readonly [name: string, hours: readonly [number, number]]

/** @param alone  true if a number without other words counts as an hour */
function hourAt(tokens: readonly Token[], at: number, parts: readonly Part[], alone = false): Hour | null {
  const token = tokens[at]
  const number = Number(token?.number)
  if (token === undefined || token.number === null || number > 24) return null
  let [from, to, minutes] = [at, at + 1, token.minutes ?? 0]
  let certain = token.minutes !== null
  let marker: Language | null = null
  for (const language of LANGUAGES) {
    const { clock } = language
    const before = phraseAt(tokens, from, Object.keys(clock.before), true)
    const joined = phraseAt(tokens, from, [...clock.past, ...clock.to], true)
    const counted = joined === null ? undefined : tokens[from - joined.words - 1]
    if (before !== null) {
      minutes += clock.before[before.phrase] ?? 0
      from -= before.words
      certain = true
    } else if (joined !== null && counted?.number != null && Number(counted.number) < HOUR_MINUTES) {
      minutes += (clock.to.includes(joined.phrase) ? -1 : 1) * Number(counted.number)
      from -= joined.words + 1
      certain = true
    }
    const hour = phraseAt(tokens, from, clock.hour, true)
    if (hour === null) continue
    from -= hour.words
    marker = language
  }
  for (const { clock } of LANGUAGES) {
    const after = phraseAt(tokens, to, Object.keys(clock.minutes))
    const sign = phraseAt(tokens, to, [...clock.plus, ...clock.minus])
    const counted = sign === null ? undefined : tokens[to + sign.words]
    if (sign !== null && counted?.number != null && Number(counted.number) < HOUR_MINUTES) {
      minutes += (clock.minus.includes(sign.phrase) ? -1 : 1) * Number(counted.number)
      to += sign.words + 1
    } else if (after !== null) {
      minutes += clock.minutes[after.phrase] ?? 0
      to += after.words
    } else continue
    certain = true
  }
  // "Ten thirty", "ten oh five".
  const rest = tokens.slice(to, to + 2).map(({ number }) => number)
  if (minutes === 0 && token.minutes === null && (token.language?.clock.hoursLater ?? 0) === 0) {
    if (rest[0] === '0' && rest[1]?.length === 1) {
      minutes = Number(rest[1])
      to += 2
      certain = true
    } else if (rest[0]?.length === 2 && Number(rest[0]) < HOUR_MINUTES && tokens[to]?.minutes === null) {
      minutes = Number(rest[0])
      to += 1
      certain ||= marker !== null
    }
  }
  const half = tokens[to]?.word === 'am' ? ([0, 12] as const) : tokens[to]?.word === 'pm' ? ([12, 24] as const) : null
  if (half !== null) to += 1
  if (!alone && !certain && half === null && marker === null && parts.length === 0) return null
  // If the text has several numbers, a part of the day elsewhere in the text does not make a number an hour: "tarehe
  // tano asubuhi".
  if (!alone && !certain && half === null && marker === null && !isBesidePart(tokens, from, to, parts)) return null
  const said = readingsOf(number, token, marker, half === null ? parts : [['', half]], half !== null)
  if (said.length === 0) return null
  return { readings: said.map((hour) => (hour * HOUR_MINUTES + minutes + DAY_MINUTES) % DAY_MINUTES), from, to }
}

/** Matches "nne asubuhi" and "ten in the morning": up to two words may be between hour and part of the day. */
function isBesidePart(tokens: readonly Token[], from: number, to: number, parts: readonly Part[]): boolean {
  const near = [...tokens.slice(Math.max(0, from - 1), from), ...tokens.slice(to, to + 3)]
  return near.some(({ word }) => parts.some(([part]) => part === word))
}

/** Returns the hours of the day, 0 to 23, that a spoken hour may mean. @param western  AM or PM */
function readingsOf(
  number: number,
  token: Token,
  marker: Language | null,
  parts: readonly Part[],
  western: boolean,
): readonly number[] {
  const written = /^0/.test(token.number ?? '') && token.minutes !== null
  if (number > 12 || number === 0 || (written && (marker?.clock.hoursLater ?? 0) === 0 && parts.length === 0))
    return [number % 24]
  const read = (later: number): number[] => [(number + later) % 24, (number + later + 12) % 24]
  const fit = (hours: readonly number[]): number[] =>
    hours.filter((hour) => parts.every(([, [from, to]]) => isWithin(hour, from, to)))
  const own = token.language?.clock.hoursLater ?? 0
  const later = own === 0 ? (marker?.clock.hoursLater ?? 0) : own
  if (later === 0) {
    const fitting = fit(read(0))
    if (fitting.length > 0) return fitting
    // In "10 usiku" and "4 asubuhi", the part of the day is in a language with another kind of clock.
    const others = LANGUAGES.filter(({ clock }) => parts.some(([part]) => Object.hasOwn(clock.parts, part)))
    return others.flatMap(({ clock }) => fit(read(clock.hoursLater)))
  }
  if (own === 0 && (western || parts.length === 0)) return western ? fit(read(0)) : [...read(later), ...read(0)]
  const fitting = fit(read(later))
  if (fitting.length > 0) return fitting
  if (own === 0) return fit(read(0))
  // "Saa tisa asubuhi" does not fit a Swahili hour: some speakers mean three o'clock, others mean nine o'clock on the
  // western clock.
  return [...read(later).filter((hour) => parts.every(([, [from, to]]) => isNear(hour, from, to))), ...fit(read(0))]
}

/** True if an hour of the day is between `from` and `to`; `to` may be on the next day. */
export function isWithin(hour: number, from: number, to: number): boolean {
  return (hour >= from && hour < to) || (hour + 24 >= from && hour + 24 < to)
}

/** Maximum number of hours by which a time may be outside its part of the day. */
const BORDER_HOURS = 3

function isNear(hour: number, from: number, to: number): boolean {
  return isWithin(hour, from - BORDER_HOURS, to + BORDER_HOURS)
}

/** Spoken day and month, and the digits of the year; the year is empty if it was not said. */
interface SaidDate {
  readonly day: number
  readonly month: number
  readonly year: string
}

/**
 * Returns the date in words with the name of a month, or with its number: "tarehe tano mwezi wa tatu". Returns null
 * without a date.
 * @param numbers  number words that an agent's file adds
 * @param months  month words that an agent's file adds
 */
export function saidDate(text: string, numbers: MoreWords, months: MoreWords): SaidDate | null {
  return dateOf(withoutHours(tokensOf(text, numbers)), months)
}

function withoutHours(tokens: readonly Token[]): readonly Token[] {
  const hours = hoursIn(tokens, false)
  return tokens.filter((_, at) => !hours.some(({ from, to }) => at >= from && at < to))
}

function dateOf(tokens: readonly Token[], moreMonths: MoreWords): SaidDate | null {
  const found = monthIn(tokens, moreMonths)
  if (found === null) return null
  const rest = [...tokens.slice(0, found.at), ...tokens.slice(found.to)]
  const [day, ...year] = rest.flatMap(({ word, number }) => number ?? ordinalOf(word)?.toString() ?? [])
  return day === undefined ? null : { day: Number(day), month: found.month, year: year.join('') }
}

function ordinalOf(word: string): number | undefined {
  return LANGUAGES.map(({ ordinals }) => (Object.hasOwn(ordinals, word) ? ordinals[word] : undefined)).find(
    (number) => number !== undefined,
  )
}

function monthIn(
  tokens: readonly Token[],
  more: MoreWords,
): { readonly month: number; readonly at: number; readonly to: number } | null {
  for (const [at, { word }] of tokens.entries()) {
    for (const months of [more, ...LANGUAGES.map((language) => language.months)])
      if (Object.hasOwn(months, word)) return { month: months[word] ?? 0, at, to: at + 1 }
    for (const { monthNumber } of LANGUAGES) {
      const marker = phraseAt(tokens, at, monthNumber)
      const next = marker === null ? undefined : tokens[at + marker.words]
      const month = next === undefined ? 0 : Number(next.number ?? ordinalOf(next.word))
      if (marker !== null && month >= 1 && month <= 12) return { month, at, to: at + marker.words + 1 }
    }
  }
  return null
}

/**
 * Returns the dates that a text may mean, as `2026-11-25`, earliest first. The list is empty without a date, and has
 * one entry if the date is certain. A date without a year means the next such date; a weekday means the next such day.
 * @param today  the date in the caller's time zone, as `2026-11-25`
 */
export function datesIn(text: string, today: string): readonly string[] {
  const iso = /\b(\d{4})-(\d{2})-(\d{2})\b/.exec(text)
  if (iso !== null) return dateText(Number(iso[1]), Number(iso[2]), Number(iso[3]))
  const figures = /(?<!\d)(\d{1,2})[/.-](\d{1,2})(?:[/.-](\d{4}|\d{2}))?(?!\d|[:.]\d|\s?[ap]\.?\s?m\b)/i.exec(text)
  const base = new Date(`${today}T00:00:00Z`)
  const [thisYear, thisMonth] = [base.getUTCFullYear(), base.getUTCMonth() + 1]
  const whole = (day: number, month: number, year: string): readonly string[] => {
    if (year !== '')
      return dateText(year.length === 2 ? Math.floor(thisYear / 100) * 100 + Number(year) : Number(year), month, day)
    const [now] = dateText(thisYear, month, day)
    return now !== undefined && now >= today ? [now] : dateText(thisYear + 1, month, day)
  }
  if (figures !== null && !/\d[:]\d/.test(figures[0]))
    return whole(Number(figures[1]), Number(figures[2]), figures[3] ?? '')
  const tokens = withoutHours(tokensOf(text))
  const said = dateOf(tokens, {})
  const weekday = weekdayIn(tokens)
  if (said !== null) {
    const dates = whole(said.day, said.month, said.year)
    // In "Friday the fifth", either word may be wrong if the fifth is not a Friday.
    const [date] = dates
    return date === undefined || weekday === null || dayOfWeek(date) === weekday
      ? dates
      : [...dates, ...comingDay(weekday, today)].sort()
  }
  const days = daysIn(tokens)
  if (days !== null) return [shifted(today, days)]
  const nextWeek = has(tokens, 'nextWeek')
  if (weekday !== null) {
    const [coming = today] = comingDay(weekday, today)
    const [monday = today] = comingDay(1, today)
    const later = coming >= monday ? coming : shifted(coming, 7)
    if (nextWeek) return [later]
    return has(tokens, 'next') && later !== coming ? [coming, later] : [coming]
  }
  const day = dayIn(tokens)
  if (day === null) return []
  if (has(tokens, 'nextMonth'))
    return thisMonth === 12 ? dateText(thisYear + 1, 1, day) : dateText(thisYear, thisMonth + 1, day)
  // The next month that has this day.
  for (let month = thisMonth; month < thisMonth + 3; month++) {
    const [date] = dateText(thisYear + Math.floor((month - 1) / 12), ((month - 1) % 12) + 1, day)
    if (date !== undefined && date >= today) return [date]
  }
  return []
}

function has(tokens: readonly Token[], key: 'nextWeek' | 'nextMonth' | 'next'): boolean {
  return LANGUAGES.some((language) => tokens.some((_, at) => phraseAt(tokens, at, language[key]) !== null))
}

function weekdayIn(tokens: readonly Token[]): number | null {
  for (const { word } of tokens)
    for (const { weekdays } of LANGUAGES) if (weekdays.includes(word)) return weekdays.indexOf(word)
  return null
}

function daysIn(tokens: readonly Token[]): number | null {
  for (const at of tokens.keys())
    for (const { days } of LANGUAGES) {
      const found = phraseAt(tokens, at, Object.keys(days))
      if (found !== null) return days[found.phrase] ?? null
    }
  return null
}

/** Returns a day of the month: "tarehe tano", "the fifth". */
function dayIn(tokens: readonly Token[]): number | null {
  for (const [at, token] of tokens.entries()) {
    const number = Number(token.number ?? ordinalOf(token.word))
    if (!(number >= 1 && number <= 31)) continue
    const marked = LANGUAGES.some(({ dayNumber }) => phraseAt(tokens, at, dayNumber, true) !== null)
    const offered = LANGUAGES.some((language) => language.offered.includes(tokens[at + 1]?.word ?? ''))
    if (marked || (tokens[at - 1]?.word === 'the' && !offered)) return number
  }
  return null
}

function dayOfWeek(date: string): number {
  return new Date(`${date}T00:00:00Z`).getUTCDay()
}

/** Returns the next date after today with this weekday. */
function comingDay(weekday: number, today: string): readonly [string] {
  return [shifted(today, ((weekday - dayOfWeek(today) + 6) % 7) + 1)]
}

function shifted(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10)
}

/** Returns the date; the list is empty if the calendar does not have this day. */
function dateText(year: number, month: number, day: number): readonly string[] {
  const date = new Date(Date.UTC(year, month - 1, day))
  const real = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && year >= 1900 && year < 2200
  return real ? [date.toISOString().slice(0, 10)] : []
}
