import { hasPhrase, isBackchannel, phraseSet, plainText, saysOnly } from './backchannel.js'
import { isNumberWord, numbersIn, plainWords } from '../spoken/spoken-numbers.js'
import { LANGUAGES, wordsOf } from '../words/languages.js'

/** Said by who listens, in all languages; the default of `bargeIn.backchannel.words`. */
export const LISTENING_WORDS = wordsOf('listening')

const YES_NO = wordsOf('yes', 'no')
const NO = wordsOf('no')
const NO_OBJECTION = phraseSet(wordsOf('noObjection'))
const NO_FIRST = phraseSet(NO)
const BESIDE_YES_NO = wordsOf('besideYesNo')
const WAIT = wordsOf('wait')
const WAIT_OR_STOP = wordsOf('wait', 'stop')
const BESIDE_WAIT = wordsOf('besideWait', 'listening')
const CANCEL = wordsOf('cancel')
const BESIDE_CANCEL = wordsOf('besideWait', 'listening', 'no', 'stop')
const AGAIN = wordsOf('again').filter((phrase) => !phrase.endsWith('?'))
const AGAIN_IF_ASKED = wordsOf('again')
const SMALL_TALK = wordsOf('smallTalk')
const ONE_MOMENT = phraseSet(wordsOf('oneMoment'))
const REQUESTS = phraseSet(wordsOf('requests'))
const QUESTION_WORDS = phraseSet(wordsOf('questionWords'))
/** The longest first, because "phone number" is a "number" too. */
const NUMBERS_ASKED = LANGUAGES.flatMap(({ numbersAsked }) => Object.entries(numbersAsked)).toSorted(
  ([a], [b]) => b.length - a.length,
)
/** Where the text ends with one of these; the first that fits. */
const TAILS = (['hesitations', 'joins', 'stems'] as const).map((key) => [key, phraseSet(wordsOf(key))] as const)
const QUESTION_ENDS = phraseSet(wordsOf('questionEnds'))
/** Words of the longest phrase in the tables. */
const PHRASE_WORDS_MAX = 4
/** A number that nobody asked for is one from this many number words on: "two" may be all of "I want two". */
const NUMBER_WORDS_MIN = 3
/** A shorter number is part of the sentence: "which one?" */
const READ_BACK_DIGITS_MIN = 2
/** Longer texts are judged by their end. */
const JUDGED_CHARS_MAX = 400

/** Question in the agent's last words. */
export interface Asked {
  readonly what: 'nothing' | 'yes-no' | 'number' | 'open'
  /** Possible digit counts of a number; empty where unknown. */
  readonly digits: readonly number[]
  /** The agent has repeated a number, so that a "no" is followed by the right one. */
  readonly readBack: boolean
}

export const NOTHING_ASKED: Asked = { what: 'nothing', digits: [], readBack: false }

/**
 * Question in a text of the agent.
 * @param digits  lengths of numbers whose length the text does not say
 */
export function askedIn(text: string, digits: readonly number[] = []): Asked {
  const sentence = sentencesOf(text).at(-1) ?? ''
  const plain = plainText(sentence)
  const question = sentence.endsWith('?')
  const request = hasPhrase(plain, REQUESTS)
  if (!question && !request) return NOTHING_ASKED
  const open = hasPhrase(plain, QUESTION_WORDS)
  const [number, itsDigits = []] = NUMBERS_ASKED.find(([phrase]) => ` ${plain} `.includes(` ${phrase} `)) ?? []
  const rest = number === undefined ? plain : plain.replace(number, '')
  const readBack = numbersIn(rest.split(' ')).join('').length >= READ_BACK_DIGITS_MIN
  if (number !== undefined && !readBack && (open || request))
    return { what: 'number', digits: itsDigits.length > 0 ? itsDigits : digits, readBack: false }
  if (!question) return NOTHING_ASKED
  return { what: open ? 'open' : 'yes-no', digits: [], readBack }
}

/** The last question of a text, whole; null where there is none. */
export function lastQuestion(text: string): string | null {
  return sentencesOf(text).findLast((sentence) => sentence.endsWith('?')) ?? null
}

export function sentencesOf(text: string): readonly string[] {
  return text.trim().split(/(?<=[.!?…])\s+|\n/)
}

/**
 * How the words of a turn so far end:
 *
 *     unfinished: joins "and", "na"; hesitations "um"; stems "I want"; comma; half-number fewer digits than were asked for
 *     complete:   yes-no, and it was asked; whole-number of the length that was asked for; question
 *     number      of a length that nobody knows: more digits may follow
 *     open        anything else
 */
export type TurnEnding =
  | 'joins'
  | 'hesitations'
  | 'stems'
  | 'comma'
  | 'half-number'
  | 'number'
  | 'whole-number'
  | 'yes-no'
  | 'question'
  | 'open'

/** Judges the words of a turn so far. Marks of a recogniser count little: it writes a full stop in every pause. */
export function turnEnding(text: string, asked: Asked): TurnEnding {
  const end = text.slice(-JUDGED_CHARS_MAX).trim()
  const all = plainWords(end)
  const last = all.at(-1)
  if (last === undefined) return 'open'
  const comma = /[,;:–—-]$/.test(end)
  if (asked.what === 'yes-no' && !comma && isYesNo(end)) {
    const bareNo = all.length === 1 && isBackchannel(end, NO)
    return asked.readBack && bareNo ? 'open' : 'yes-no'
  }
  const number = numberEnding(all, asked)
  if (number !== null) return number
  const plain = plainText(end).split(' ')
  const alone = isYesNo(end)
  for (const [ending, phrases] of TAILS) if (!alone && endsWith(plain, phrases)) return ending
  if (end.endsWith('?') || endsWith(plain, QUESTION_ENDS)) return 'question'
  return comma ? 'comma' : 'open'
}

/** The caller has not finished the sentence, whatever was asked. */
export function endsUnfinished(text: string): boolean {
  const ending = turnEnding(text, NOTHING_ASKED)
  return ending === 'joins' || ending === 'hesitations' || ending === 'stems'
}

/** A yes or a no, and nothing else. */
export function isYesNo(text: string): boolean {
  return saysOnly(text, YES_NO, BESIDE_YES_NO)
}

/** The caller says no to what was said, in any language, whatever follows: "no, I don't want that". */
export function saysNo(text: string): boolean {
  const plain = plainText(text).split(' ')
  return beginsWith(plain, NO_FIRST) && !beginsWith(plain, NO_OBJECTION)
}

/** @returns null where the text does not end in a number */
function numberEnding(all: readonly string[], asked: Asked): TurnEnding | null {
  const other = all.findLastIndex((word) => !/^\d+$/.test(word) && !isNumberWord(word))
  const numberWords = all.length - 1 - other
  if (numberWords === 0) return null
  if (asked.what !== 'number')
    return numberWords >= NUMBER_WORDS_MIN || (all.at(-1)?.length ?? 0) >= NUMBER_WORDS_MIN * 2 ? 'number' : null
  if (asked.digits.length === 0) return 'number'
  const digits = numbersIn(all).join('')
  if (asked.digits.includes(digits.length) && !goesOn(digits, asked.digits)) return 'whole-number'
  return digits.length < Math.max(...asked.digits) ? 'half-number' : 'open'
}

/** A number with the code of an East African country is longer than one without. */
function goesOn(digits: string, lengths: readonly number[]): boolean {
  return digits.length < Math.max(...lengths) && /^25[4-6]/.test(digits)
}

/**
 * The caller asks for a moment, or, over the agent, for silence, and says nothing else.
 * @param overAgent  it was said while the agent spoke: "stop" too means the agent
 */
export function asksToWait(text: string, overAgent: boolean): boolean {
  return saysOnly(text, overAgent ? WAIT_OR_STOP : WAIT, BESIDE_WAIT)
}

/** The caller does not want to wait any more, and says nothing else. */
export function asksToCancel(text: string): boolean {
  return saysOnly(text, CANCEL, BESIDE_CANCEL)
}

/** The caller has not heard, and says nothing else. */
export function asksToRepeat(text: string): boolean {
  return isBackchannel(text, text.trim().endsWith('?') ? AGAIN_IF_ASKED : AGAIN)
}

/** Nothing but greetings and thanks. */
export function isSmallTalk(text: string): boolean {
  return isBackchannel(text, SMALL_TALK)
}

/** The agent says itself that the answer takes a moment. */
export function saysOneMoment(text: string): boolean {
  return hasPhrase(plainText(text), ONE_MOMENT)
}

function beginsWith(plain: readonly string[], phrases: ReadonlySet<string>): boolean {
  for (let count = 1; count <= Math.min(PHRASE_WORDS_MAX, plain.length); count++)
    if (phrases.has(plain.slice(0, count).join(' '))) return true
  return false
}

function endsWith(plain: readonly string[], phrases: ReadonlySet<string>): boolean {
  for (let count = 1; count <= Math.min(PHRASE_WORDS_MAX, plain.length); count++)
    if (phrases.has(plain.slice(-count).join(' '))) return true
  return false
}
