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

/** Words of one language that keep a phrase from being a claim. Single words, which may have `*`; those of `joins` may be two. */
export const claimWordsSchema = z.strictObject({
  not: claimWords.describe(
    'After one of them there is no claim in the clause, unless the phrase itself contains it: not, never.',
  ),
  if: claimWords.describe('There is no claim in its clause, and after it in its sentence: if, once.'),
  asks: claimWords.describe('Begins a question: there is no claim in the rest of its sentence.'),
  joins: claimWords.describe('Begins a new clause: but, because.'),
  breaks: claimWords.describe('A * does not match them: will, could, want.'),
})

export type ClaimWords = DocumentOf<typeof claimWordsSchema>

/** Digits of a mobile number of East Africa, as it is dialled there and with the country's code. */
export const PHONE_DIGITS: readonly number[] = [10, 12]

/** How the hours of a language are said; phrases are compared without marks. */
interface ClockWords {
  /** Stands before an hour: saa nne. */
  readonly hour: readonly string[]
  /** Hours from the number that is said to the clock's: saa moja is seven. */
  readonly hoursLater: number
  /** After the hour: what it adds in minutes. */
  readonly minutes: Readonly<Record<string, number>>
  /** Between the hour and minutes that are added or taken away. */
  readonly plus: readonly string[]
  readonly minus: readonly string[]
  /** Before the hour: what it adds in minutes. */
  readonly before: Readonly<Record<string, number>>
  /** Between minutes and the hour after which, or before which, they are. */
  readonly past: readonly string[]
  readonly to: readonly string[]
  /** Before the first time of a span: from four to six, kati ya saa nne na saa sita. */
  readonly from: readonly string[]
  /** Whole times, in minutes of the day. */
  readonly named: Readonly<Record<string, number>>
  /** Parts of the day: the hours from, and up to, which they are said of; borders differ by speaker. */
  readonly parts: Readonly<Record<string, readonly [fromHour: number, toHour: number]>>
}

/** All words of one language that mean something to the gateway. Case and marks do not count. */
export interface Language {
  readonly claims: ClaimWords
  readonly numbers: Readonly<Record<string, number>>
  /** Scales that come before their multiplier: elfu mbili is 2000. Of other scales the multiplier comes first. */
  readonly leading: readonly string[]
  /** Joins the parts of a number. */
  readonly and: string
  /** It stands after tens and units too: kumi na tano, mia mbili na hamsini. */
  readonly andAfterUnits: boolean
  readonly repeats: Readonly<Record<string, number>>
  /** Before how often the digit beside is repeated: mara mbili. */
  readonly times: readonly string[]
  /** Takes back the digits before, for those that follow. */
  readonly corrects: readonly string[]
  /** Slang for amounts of money, with the usual words: soo, mia. */
  readonly moneySlang: Readonly<Record<string, string>>
  /** Half of the scale before it, or of the one behind it. */
  readonly halfMore: readonly string[]
  readonly months: Readonly<Record<string, number>>
  /** Before the number of a month, and of a day in it: mwezi wa tatu, tarehe tano. */
  readonly monthNumber: readonly string[]
  readonly dayNumber: readonly string[]
  /** Numbers that are only these. */
  readonly ordinals: Readonly<Record<string, number>>
  /** After an ordinal: what was offered, and no day of a month. */
  readonly offered: readonly string[]
  /** From Sunday on. */
  readonly weekdays: readonly string[]
  /** Days as tables of hours have them, 0 for Sunday. */
  readonly shortWeekdays: Readonly<Record<string, number>>
  /** Between the first and the last of several days, or of a span of time. */
  readonly through: readonly string[]
  /** All days of the week. */
  readonly daily: readonly string[]
  /** Days from today; the phrase is looked for before its words. */
  readonly days: Readonly<Record<string, number>>
  /** After or before a weekday, or alone: of the next week, of the next month. */
  readonly nextWeek: readonly string[]
  readonly nextMonth: readonly string[]
  /** Beside a weekday: the coming one, or that of the next week. */
  readonly next: readonly string[]
  readonly clock: ClockWords
  readonly money: readonly string[]
  /** Hundredths of them. */
  readonly cents: readonly string[]
  readonly percent: readonly string[]
  /** Parts of a number that `numbersIn` does not read. */
  readonly parts: readonly string[]
  /** Before a number that is not meant exactly, and what may stand between. */
  readonly about: readonly string[]
  readonly articles: readonly string[]
  /** Between a day and the weekday that it is. */
  readonly is: readonly string[]
  /** After a weekday that is one of several. */
  readonly lists: readonly string[]
  /** A caller who ends with one of these goes on. Words that also occur inside numbers belong here too. */
  readonly joins: readonly string[]
  /** Said while thinking. */
  readonly hesitations: readonly string[]
  /** A caller who ends with one of these has not yet said what they want. */
  readonly stems: readonly string[]
  /**
   * The first word is the plainest here, in `no`, `human`, `slower`, `wait`, `again`, `ends` and `thanks`: an intent of an offline
   * dialogue that contains it is meant by the whole list.
   */
  readonly yes: readonly string[]
  readonly no: readonly string[]
  /** Begins like a no, and is none. */
  readonly noObjection: readonly string[]
  /** Words that may accompany a yes or a no. */
  readonly besideYesNo: readonly string[]
  /** Asks for a person. */
  readonly human: readonly string[]
  /** Words that may accompany it. */
  readonly besideHuman: readonly string[]
  /** Asks the agent to speak slower. */
  readonly slower: readonly string[]
  /** A sentence that ends with one of these is a question. */
  readonly questionEnds: readonly string[]
  /** A question with one of these asks for more than yes or no. */
  readonly questionWords: readonly string[]
  /** A sentence with one of these asks for something, also without a question mark. */
  readonly requests: readonly string[]
  /** Kinds of number that a question may name, with their digit counts; empty where unknown. */
  readonly numbersAsked: Readonly<Record<string, readonly number[]>>
  /** Makes a sentence a request. */
  readonly polite: readonly string[]
  /** Asks for keys: "key in", "press". */
  readonly keying: readonly string[]
  /** Names a number that nobody else may know. */
  readonly secrets: readonly string[]
  /** Single words for a number of any kind: what stands before them says which. */
  readonly numberNouns: readonly string[]
  /** Said by who listens. */
  readonly listening: readonly string[]
  /** Asks for a moment: the agent says nothing until the caller goes on. */
  readonly wait: readonly string[]
  /** Over the agent: it stops, and says nothing either. */
  readonly stop: readonly string[]
  /** Words that may accompany these two. */
  readonly besideWait: readonly string[]
  /** Said by who does not want to wait any more for what was asked for. */
  readonly cancel: readonly string[]
  /** Asks for what was said to be said again; `what?`: only where the recogniser wrote a question mark. */
  readonly again: readonly string[]
  /** Greetings and thanks: nobody looks anything up to answer them. */
  readonly smallTalk: readonly string[]
  /** How an agent says itself that the answer takes a moment. */
  readonly oneMoment: readonly string[]
  /** Said by callers who are done. */
  readonly ends: readonly string[]
  /** Words that may accompany them, with thanks. Alone none of these ends anything: "no" may be an answer. */
  readonly besideEnds: readonly string[]
  /** In the middle of a call they may be a pause. */
  readonly thanks: readonly string[]
  /** A yes to a question of yes or no; to "anything else?" they are none. */
  readonly acknowledges: readonly string[]
  /** An agent says goodbye with these. */
  readonly farewells: readonly string[]
  /** Words that make a sentence one of this language: what nearly every sentence has. */
  readonly common: readonly string[]
  /** Words of this form, in small letters, are this language's, whatever they mean: its verbs. Null: none is so plain. */
  readonly form: RegExp | null
  /** Words that are said in other languages too: they say nothing about a caller's language. */
  readonly borrowed: readonly string[]
  /** Words that models write for noise, and that callers also say. */
  readonly oftenNoise: readonly string[]
  /** First words of what an actor does beside the text: models write them between stars or brackets. */
  readonly stageDirections: readonly string[]
}

/** A list of words and phrases; `_` is the space within a phrase. */
export function words(list: string): string[] {
  return list.split(' ').map((word) => word.replaceAll('_', ' '))
}

/** Words that count on from `first` by `step`. */
export function numbered(words: string, first: number, step = 1): Record<string, number> {
  return Object.fromEntries(words.split(' ').map((word, index) => [word, first + index * step]))
}
