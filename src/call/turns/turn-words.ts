import { hasPhrase, isBackchannel, phraseSet, plainText, saysOnly, withoutPhrases } from './backchannel.js'
import { isNumberWord, numbersIn, plainWords } from '../spoken/spoken-numbers.js'
import { LANGUAGES, wordsOf } from '../words/languages.js'

/**
 * Words of a listener, in all languages: listening words, affirmations, and "um". Default of
 * `bargeIn.backchannel.words`. Longer hesitations ("ngoja nione") are not listed, because a caller who says them keeps
 * the turn.
 */
export const LISTENING_WORDS = [
  ...new Set([...wordsOf('listening', 'yes'), ...wordsOf('hesitations').filter((words) => !words.includes(' '))]),
]

const YES_NO = wordsOf('yes', 'no')
const NO = wordsOf('no')
const NO_FIRST = phraseSet(NO)
/** Phrases like "no problem", in all languages. They begin like a refusal but do not refuse. */
export const NO_OBJECTIONS = wordsOf('noObjection')
const NO_OBJECTION = phraseSet(NO_OBJECTIONS)
/**
 * Words with which a caller takes the turn over the agent, in all languages: refusals, and requests for silence or a
 * moment.
 */
const TAKE_TURN = phraseSet(wordsOf('no', 'wait', 'stop'))
/**
 * A text with at least this number of words is certainly not a backchannel. A shorter text that is not final may be the
 * beginning of a backchannel: "all" of "all right".
 */
const WORDS_MIN = 2
const BESIDE_YES_NO = wordsOf('besideYesNo')
const WAIT = wordsOf('wait')
const WAIT_OR_STOP = wordsOf('wait', 'stop')
const HESITATIONS = wordsOf('hesitations')
const BESIDE_WAIT = wordsOf('besideWait', 'listening')
const CANCEL = wordsOf('cancel')
const BESIDE_CANCEL = wordsOf('besideWait', 'listening', 'no', 'stop')
const AGAIN = wordsOf('again').filter((phrase) => !phrase.endsWith('?'))
const AGAIN_IF_ASKED = wordsOf('again')
const SMALL_TALK = wordsOf('smallTalk')
const ONE_MOMENT = phraseSet(wordsOf('oneMoment'))
const REQUESTS = phraseSet(wordsOf('requests'))
const QUESTION_WORDS = phraseSet(wordsOf('questionWords'))
/** Names of numbers, the longest first, because "phone number" also contains "number". */
const NUMBERS_ASKED = LANGUAGES.flatMap(({ numbersAsked }) => Object.entries(numbersAsked)).toSorted(
  ([a], [b]) => b.length - a.length,
)
/** Phrases at the end of a text, by kind. The first kind that matches counts. */
const TAILS = (['hesitations', 'joins', 'stems'] as const).map((key) => [key, phraseSet(wordsOf(key))] as const)
const QUESTION_ENDS = phraseSet(wordsOf('questionEnds'))
/** Maximum number of words in a phrase of the tables. */
const PHRASE_WORDS_MAX = 4
/**
 * Minimum count of number words that count as a number although no number was asked for. Fewer number words may be a
 * part of a sentence: "I want two".
 */
const NUMBER_WORDS_MIN = 3
/** Minimum count of digits with which the agent repeats a number. Fewer digits belong to the sentence: "which one?" */
const READ_BACK_DIGITS_MIN = 2
/** Number of characters at the end of a text that are judged. */
const JUDGED_CHARS_MAX = 400

/** Question in the agent's last words. */
export interface Asked {
  readonly what: 'nothing' | 'yes-no' | 'number' | 'open'
  /** Possible digit counts of the requested number; empty if unknown. */
  readonly digits: readonly number[]
  /** True if the agent has repeated a number. After a "no" the caller may then say the right number. */
  readonly readBack: boolean
}

export const NOTHING_ASKED: Asked = { what: 'nothing', digits: [], readBack: false }

/**
 * Returns the question in a text of the agent.
 * @param digits  digit counts for numbers whose length is not in the text
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

/** Returns the complete last question of a text; null if the text does not contain a question. */
export function lastQuestion(text: string): string | null {
  return sentencesOf(text).findLast((sentence) => sentence.endsWith('?')) ?? null
}

export function sentencesOf(text: string): readonly string[] {
  return text.trim().split(/(?<=[.!?…])\s+|\n/)
}

/**
 * Ending of the words in a turn so far:
 *
 *     unfinished: joins "and", "na"; hesitations "um"; stems "I want"; comma; half-number fewer digits than were asked for
 *     complete:   yes-no after a yes-no question; whole-number with the requested length; question
 *     number      of unknown length: more digits may follow
 *     open        any other ending
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

/**
 * Judges the words of a turn so far. Punctuation has little weight, because recognisers write a full stop at every
 * pause.
 */
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

/** True if the caller has not finished the sentence, for every kind of question. */
export function endsUnfinished(text: string): boolean {
  const ending = turnEnding(text, NOTHING_ASKED)
  return ending === 'joins' || ending === 'hesitations' || ending === 'stems'
}

/** True if the words are only a yes or a no. */
export function isYesNo(text: string): boolean {
  return saysOnly(text, YES_NO, BESIDE_YES_NO)
}

/** True if the text begins with a refusal, in any language: "no, I don't want that". */
export function saysNo(text: string): boolean {
  const plain = plainText(text).split(' ')
  return beginsWith(plain, NO_FIRST) && !beginsWith(plain, NO_OBJECTION)
}

/** @returns null if the text does not end in a number */
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

/** True if more digits may follow. An East African number is longer with its country code than without. */
function goesOn(digits: string, lengths: readonly number[]): boolean {
  return digits.length < Math.max(...lengths) && /^25[4-6]/.test(digits)
}

/**
 * Kind of a text that contains only words that need not be answered:
 *
 *     moment   the caller asks for a moment or, over the agent, for silence
 *     thought  "um" while the agent was silent: the caller thinks, or the recogniser misread a cough
 *
 * @param overAgent  true if the agent was speaking; "stop" is then also a request to the agent
 */
export function asksToWait(text: string, overAgent: boolean): 'moment' | 'thought' | null {
  if (saysOnly(text, overAgent ? WAIT_OR_STOP : WAIT, BESIDE_WAIT)) return 'moment'
  return !overAgent && isBackchannel(text, HESITATIONS) ? 'thought' : null
}

/**
 * Meaning of words that the caller says over the agent:
 *
 *     takes    they contain a refusal or a stop word
 *     listens  they contain only backchannels and "no problem"
 *     words    they contain at least two other words
 *     open     no words, or a word that may become a backchannel
 */
export type WordsOver = 'takes' | 'listens' | 'words' | 'open'

/**
 * @param listening  the agent's backchannels
 * @param stops  the agent's own stop words, in addition to the refusals and stop words of all languages
 */
export function wordsOver(text: string, listening: readonly string[], stops: readonly string[] = []): WordsOver {
  if (stops.length > 0 && withoutPhrases(text, stops).taken > 0) return 'takes'
  const objections = withoutPhrases(text, NO_OBJECTIONS)
  const { left, taken } = withoutPhrases(objections.left, listening)
  if (left === '') return taken + objections.taken > 0 ? 'listens' : 'open'
  if (hasPhrase(left, TAKE_TURN)) return 'takes'
  return left.split(' ').length >= WORDS_MIN ? 'words' : 'open'
}

/** True if the caller only says that they no longer want to wait. */
export function asksToCancel(text: string): boolean {
  return saysOnly(text, CANCEL, BESIDE_CANCEL)
}

/** True if the caller only says that they did not hear the agent. */
export function asksToRepeat(text: string): boolean {
  return isBackchannel(text, text.trim().endsWith('?') ? AGAIN_IF_ASKED : AGAIN)
}

/** True if the words are only greetings and thanks. */
export function isSmallTalk(text: string): boolean {
  return isBackchannel(text, SMALL_TALK)
}

/** True if the agent says that the answer will take a moment. */
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
