import { z } from 'zod'
import type { DocumentOf } from '../documents/document.js'

const claimWord = z
  .string()
  .trim()
  .toLowerCase()
  .min(1)
  .max(40)
  .regex(/^[^*]*(?:\*[^*]*){0,2}$/, { error: 'has more than two *' })
const claimWords = z.array(claimWord).max(100).default([])

/**
 * Words of one language that prevent a claim. Each entry is a single word and may contain `*`; an entry of `joins` may
 * also have two words.
 */
export const claimWordsSchema = z.strictObject({
  not: claimWords.describe(
    'Words such as not, never. After such a word the clause has no claim, unless the phrase itself has the word.',
  ),
  if: claimWords.describe('Words such as if, once. Their clause and the rest of the sentence have no claim.'),
  asks: claimWords.describe('Words that begin a question. The rest of the sentence has no claim.'),
  joins: claimWords.describe('Words that begin a new clause: but, because.'),
  breaks: claimWords.describe('Words that a * does not match: will, could, want.'),
})

export type ClaimWords = DocumentOf<typeof claimWordsSchema>

/** Digit counts of an East African mobile number: in national form, and with the country code. */
export const PHONE_DIGITS: readonly number[] = [10, 12]

/** Spoken hours of a language. Phrases are compared without punctuation. */
interface ClockWords {
  /** Word before an hour: saa nne. */
  readonly hour: readonly string[]
  /** Number of hours to add to the spoken number: saa moja is seven. */
  readonly hoursLater: number
  /** Minutes that a phrase after the hour adds. */
  readonly minutes: Readonly<Record<string, number>>
  /** Words between the hour and minutes that are added or subtracted. */
  readonly plus: readonly string[]
  readonly minus: readonly string[]
  /** Minutes that a phrase before the hour adds. */
  readonly before: Readonly<Record<string, number>>
  /** Words between minutes and an hour, for minutes after the hour or before the hour. */
  readonly past: readonly string[]
  readonly to: readonly string[]
  /**
   * Words before the first time of a span: "from" in "from four to six", "kati ya" in "kati ya saa nne na saa sita".
   */
  readonly from: readonly string[]
  /** Names of complete times, in minutes of the day. */
  readonly named: Readonly<Record<string, number>>
  /**
   * Parts of the day, each with its first hour and the hour after its last hour. Speakers do not agree about these
   * limits.
   */
  readonly parts: Readonly<Record<string, readonly [fromHour: number, toHour: number]>>
}

/** All words of one language that the gateway uses. Case and punctuation do not count. */
export interface Language {
  readonly claims: ClaimWords
  readonly numbers: Readonly<Record<string, number>>
  /** Scales that come before their multiplier: elfu mbili is 2000. All other scales come after their multiplier. */
  readonly leading: readonly string[]
  /** Word that joins the parts of a number. */
  readonly and: string
  /** True if `and` is also used after tens and units: kumi na tano, mia mbili na hamsini. */
  readonly andAfterUnits: boolean
  readonly repeats: Readonly<Record<string, number>>
  /** Words before the number of repetitions of a digit: mara mbili. */
  readonly times: readonly string[]
  /** Words of a correction: they cancel the previous digits, and the right digits follow. */
  readonly corrects: readonly string[]
  /** Slang for amounts of money, with the standard words: soo is mia. */
  readonly moneySlang: Readonly<Record<string, string>>
  /** Words that add half of the scale before or after them. */
  readonly halfMore: readonly string[]
  readonly months: Readonly<Record<string, number>>
  /** Words before the number of a month, or before the number of a day: mwezi wa tatu, tarehe tano. */
  readonly monthNumber: readonly string[]
  readonly dayNumber: readonly string[]
  /** Words that are only used as ordinals. */
  readonly ordinals: Readonly<Record<string, number>>
  /** Words after an ordinal. They show that the ordinal names an offer and not a day of a month. */
  readonly offered: readonly string[]
  /** Names of the weekdays, from Sunday. */
  readonly weekdays: readonly string[]
  /** Weekdays as written in tables of opening hours, 0 for Sunday. */
  readonly shortWeekdays: Readonly<Record<string, number>>
  /** Words between the first and the last day of a range, or between the start and the end of a span of time. */
  readonly through: readonly string[]
  /** Words for all days of the week. */
  readonly daily: readonly string[]
  /** Number of days from today, by phrase. Whole phrases are searched before their words. */
  readonly days: Readonly<Record<string, number>>
  /** Words for next week or next month, next to a weekday or alone. */
  readonly nextWeek: readonly string[]
  readonly nextMonth: readonly string[]
  /** Words next to a weekday that mean either the coming day or the day in the next week. */
  readonly next: readonly string[]
  readonly clock: ClockWords
  readonly money: readonly string[]
  /** Words for hundredths of the currency. */
  readonly cents: readonly string[]
  readonly percent: readonly string[]
  /** Words for parts of a number that `numbersIn` does not read. */
  readonly parts: readonly string[]
  /** Words before an approximate number. */
  readonly about: readonly string[]
  /** Words that may come between a word of `about` and the number. */
  readonly articles: readonly string[]
  /** Words between a day and its weekday. */
  readonly is: readonly string[]
  /** Words after a weekday in a list of days. */
  readonly lists: readonly string[]
  /**
   * Conjunctions. A caller whose words end with a conjunction continues. Words that also occur inside numbers are
   * included.
   */
  readonly joins: readonly string[]
  /** Words that people say while thinking. */
  readonly hesitations: readonly string[]
  /** Beginnings of a wish. A caller whose words end with such a beginning has not named the wish yet. */
  readonly stems: readonly string[]
  /**
   * Words for yes; the plainest word is first. An intent of an offline dialogue that contains this first word matches
   * the whole list. This order also applies to `no`, `human`, `slower`, `wait`, `again`, `ends`, `thanks`.
   */
  readonly yes: readonly string[]
  readonly no: readonly string[]
  /** Phrases that begin like a "no" but do not mean "no". */
  readonly noObjection: readonly string[]
  /** Words that may accompany a "yes" or a "no". */
  readonly besideYesNo: readonly string[]
  /** Phrases that ask for a person. */
  readonly human: readonly string[]
  /** Words that may accompany a request for a person. */
  readonly besideHuman: readonly string[]
  /** Phrases that ask the agent to speak more slowly. */
  readonly slower: readonly string[]
  /** Words at the end of a question. A sentence that ends with one of these words is a question. */
  readonly questionEnds: readonly string[]
  /** Question words. A question with one of these words needs another answer than yes or no. */
  readonly questionWords: readonly string[]
  /**
   * Words of a request for information. A sentence with one of these words is such a request, even without a question
   * mark.
   */
  readonly requests: readonly string[]
  /** Kinds of numbers that a question may name, with their digit counts; empty if unknown. */
  readonly numbersAsked: Readonly<Record<string, readonly number[]>>
  /** Words of a request. A sentence with one of these words is a request. */
  readonly polite: readonly string[]
  /** Words that ask for DTMF digits: "key in", "press". */
  readonly keying: readonly string[]
  /** Words for a number that must stay secret. */
  readonly secrets: readonly string[]
  /** Single words for a number of any kind; the words before them name the kind. */
  readonly numberNouns: readonly string[]
  /** Backchannels: words of a person who only listens. */
  readonly listening: readonly string[]
  /** Phrases that ask for a moment. The agent is then silent until the caller speaks again. */
  readonly wait: readonly string[]
  /** Phrases that stop the agent if the caller says them over the agent; the agent then stays silent. */
  readonly stop: readonly string[]
  /** Words that may accompany `wait` and `stop`. */
  readonly besideWait: readonly string[]
  /** Phrases of a caller who no longer wants to wait for a requested action. */
  readonly cancel: readonly string[]
  /** Phrases that ask for a repetition; `what?` counts only with the recogniser's question mark. */
  readonly again: readonly string[]
  /** Greetings and thanks, which can be answered without a look-up. */
  readonly smallTalk: readonly string[]
  /** Phrases with which an agent says that the answer will take a moment. */
  readonly oneMoment: readonly string[]
  /** Phrases of callers who want to end the call. */
  readonly ends: readonly string[]
  /**
   * Words that may accompany `ends`, in addition to thanks. These words alone do not end a call: "no" may be an answer.
   */
  readonly besideEnds: readonly string[]
  /** Thanks. In the middle of a call, thanks may only fill a pause. */
  readonly thanks: readonly string[]
  /** Words that mean yes after a yes-no question, but not after "anything else?". */
  readonly acknowledges: readonly string[]
  /** Phrases with which an agent asks the caller to repeat words that it did not understand. */
  readonly notUnderstood: readonly string[]
  /** Phrases with which an agent says goodbye. */
  readonly farewells: readonly string[]
  /** Words that occur in nearly every sentence of this language. */
  readonly common: readonly string[]
  /**
   * Form of this language's verbs, in small letters: words of this form belong to the language. Null if verbs do not
   * have such a form.
   */
  readonly form: RegExp | null
  /** Words that also occur in other languages. Therefore these words do not show a caller's language. */
  readonly borrowed: readonly string[]
  /** Words that models write for noise, although callers also say them. */
  readonly oftenNoise: readonly string[]
  /** First words of stage directions, which models write between asterisks or brackets next to the text. */
  readonly stageDirections: readonly string[]
}

/** Splits a list of words and phrases; `_` is the space within a phrase. */
export function words(list: string): string[] {
  return list.split(' ').map((word) => word.replaceAll('_', ' '))
}

/** Returns the words with numbers, starting at `first` and increasing by `step`. */
export function numbered(words: string, first: number, step = 1): Record<string, number> {
  return Object.fromEntries(words.split(' ').map((word, index) => [word, first + index * step]))
}
