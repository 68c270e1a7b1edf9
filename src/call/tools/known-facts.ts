import { SPOKEN } from '../spoken/spoken-numbers.js'
import { piecesOf, clustersOf, valuesOf, readingOf } from '../spoken/spoken-facts.js'
import type { Piece } from '../spoken/spoken-facts.js'

/**
 * Maximum number of values, and of characters in the string of digits, that one phone call remembers. Above one of
 * these limits, every fact counts as supported.
 */
const KNOWN_VALUES_MAX = 5000
const KNOWN_DIGITS_MAX = 50_000
/** Maximum number of the caller's digits that are read as one number, over any number of turns. */
const CALLER_DIGITS_MAX = 100

const ISO_DATE = /(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):\d\d[\d:.]{0,16}(Z)?)?/g
/** Numbers and days that an agent received in a call, about any subject. */
export class KnownFacts {
  readonly #values = new Set<number>()
  readonly #days = new Set<number>()
  /** Digits of all numbers, separated by spaces. */
  #digits = ''
  #callerDigits = ''

  /**
   * @param caller  true if the text contains the caller's words, because their numbers may continue in the next turn
   */
  learn(text: string, caller = false): void {
    if (this.#full) return
    const pieces = piecesOf(text)
    for (const cluster of clustersOf(pieces)) {
      const values = valuesOf(cluster)
      for (const { kind, word } of cluster.numbers) if (kind === 'figure') this.#add(word.replaceAll(',', ''))
      // Digits that are said one by one may also be a price: "two four four shillings".
      for (const value of new Set([...values, ...(readingOf(cluster)?.values ?? [])])) this.#add(value)
      this.#digits += ` ${values.join('')}`
      if (caller) this.#callerDigits = `${this.#callerDigits}${values.join('')}`.slice(-CALLER_DIGITS_MAX)
    }
    // The agent may say "14:00" as fourteen hundred hours.
    for (const { kind, word } of pieces) if (kind === 'time' && word.length <= 5) this.#add(word.replace(':', ''))
    // Digits within a word, such as KCA123A, count too.
    for (const [digits] of text.matchAll(/\d+/g)) this.#add(digits)
    this.#learnDays(pieces, text)
  }

  /** Returns all values as a text from which another instance can learn them. */
  toString(): string {
    const days = [...this.#days].map((day) => SPOKEN.dayNames[day])
    return [...this.#values, ...new Set(this.#digits.trim().split(/ +/)), ...days].join('; ')
  }

  get #full(): boolean {
    return this.#values.size > KNOWN_VALUES_MAX || this.#digits.length > KNOWN_DIGITS_MAX
  }

  #add(value: string): void {
    this.#values
      .add(Number(value))
      .add(Math.trunc(Number(value)))
      .add(Math.round(Number(value)))
    this.#digits += ` ${value}`
  }

  #learnDays(pieces: readonly Piece[], text: string): void {
    let last: number | null = null
    let through = false
    for (const { kind, word } of pieces) {
      const day = dayOf(word)
      if (day !== undefined) {
        this.#days.add(day)
        if (through && last !== null)
          for (let next: number = last; next !== day; next = (next + 1) % 7) this.#days.add(next)
        last = day
        through = false
      } else if (SPOKEN.daily.has(word)) for (let every = 0; every < 7; every++) this.#days.add(every)
      else {
        through = last !== null && (SPOKEN.through.has(word) || word === '-' || word === '\u2013')
        if (!through && kind !== 'mark') last = null
      }
    }
    for (const [, year, month, date, hour, utc] of text.matchAll(ISO_DATE)) {
      const day = new Date(Date.UTC(Number(year), Number(month) - 1, Number(date))).getUTCDay()
      this.#days.add(day)
      // In the caller's time zone the date may be one day earlier or later.
      if (utc !== undefined) this.#days.add((day + (Number(hour) < 12 ? 6 : 1)) % 7)
    }
  }

  /** @param key  `key` of a `SpokenFact` */
  knows(key: string): boolean {
    if (this.#full) return true
    const [kind = '', whole = '', ...parts] = key.split(' ')
    return this.#has(kind, whole) || (parts.length > 0 && parts.every((part) => this.#has(kind, part)))
  }

  #has(kind: string, value: string): boolean {
    if (kind === 'day') return this.#days.has(Number(value))
    // Prices in an agent's input are often in cents.
    if (this.#values.has(Number(value)) || this.#values.has(Math.round(Number(value) * 100))) return true
    // The agent may say a part of a longer number: "ending in 678", or a phone number without its country code.
    const digits = value.replace(/^0+/, '')
    return kind === 'digits' && digits !== '' && `${this.#digits} ${this.#callerDigits}`.includes(digits)
  }
}

function dayOf(word: string): number | undefined {
  return SPOKEN.weekdays.get(word) ?? SPOKEN.weekdays.get(word.replace(/s$/, '')) ?? SPOKEN.shortWeekdays.get(word)
}
