import { hasPhrase, phraseSet, plainText } from '../turns/backchannel.js'
import type { Collection } from './digit-collection.js'
import { isNumberWord } from '../spoken/spoken-numbers.js'
import { sentencesOf } from '../turns/turn-words.js'
import { LANGUAGES, wordsOf } from '../words/languages.js'

/**
 * Time for which digits stay private after the agent has asked for a secret number, in milliseconds. Callers look for a
 * card or a letter in this time.
 */
export const KEYS_PRIVATE_MS = 60_000

const KEYING = phraseSet(wordsOf('keying'))
const COMMON = wordsOf('common')
/** Words that ask for something. The word "your" alone does not ask: "Your PIN was changed". */
const ASKING = phraseSet(wordsOf('keying', 'requests', 'polite').filter((word) => !COMMON.includes(word)))
/** Maximum number of words in a sentence that only names the requested number: "Your PIN." */
const BARE_WORDS_MAX = 3
const SECRETS = phraseSet(wordsOf('secrets'))
/** Nouns that name a number of another kind: "order number". */
const NUMBER_NOUNS = new Set(wordsOf('numberNouns'))
/** Words that do not distinguish one number from another. */
const PLAIN_WORDS = new Set(
  [
    ...wordsOf('keying', 'requests', 'joins', 'common', 'articles', 'is', 'questionWords', 'numberNouns', 'polite'),
    ...LANGUAGES.flatMap(({ numbersAsked, numbers }) => [...Object.keys(numbersAsked), ...Object.keys(numbers)]),
  ].flatMap((phrase) => plainText(phrase).split(' ')),
)
/** Names of DTMF digits in a menu: "press 1". */
const KEY_NAME = /^(?:\d|hash|star|pound|reli|nyota)$/

/**
 * Decides from an agent's words if the next DTMF digits are a secret number. A wrong yes loses digits, which
 * `collect_digits` asks for again. A wrong no reveals a secret.
 */
export class SecretNumbers {
  /** Lists of words. A sentence names a secret number if it contains all words of one list. */
  readonly #secret: readonly (readonly string[])[]
  /** Lists of words for numbers that a model may receive; used like `#secret`. */
  readonly #open: readonly (readonly string[])[]

  constructor(collections: readonly Collection[]) {
    const named = (secret: boolean): readonly (readonly string[])[] =>
      collections.filter(({ secretFor }) => (secretFor !== null) === secret).flatMap(namesOf)
    this.#open = named(false)
    this.#secret = named(true)
  }

  get none(): boolean {
    return this.#secret.length === 0
  }

  /** @returns the kind of number that the words ask for; `other` is a number or a digit that the model may receive */
  asked(text: string): 'secret' | 'other' | 'nothing' {
    const all = sentencesOf(text).map((sentence) => this.#askedIn(sentence))
    return all.includes('secret') ? 'secret' : all.includes('other') ? 'other' : 'nothing'
  }

  #askedIn(sentence: string): 'secret' | 'other' | 'nothing' {
    const plain = plainText(sentence)
    const words = plain.split(' ')
    if (!sentence.endsWith('?') && words.length > BARE_WORDS_MAX && !hasPhrase(plain, ASKING)) return 'nothing'
    const names = (every: readonly (readonly string[])[]): boolean =>
      every.some((name) => name.every((word) => words.includes(word)))
    if (hasPhrase(plain, SECRETS) || names(this.#secret)) return 'secret'
    if (names(this.#open) || words.some((word) => NUMBER_NOUNS.has(word)) || isMenu(words)) return 'other'
    // "Enter it now" asks for the number that was named before.
    return hasPhrase(plain, KEYING) ? 'secret' : 'nothing'
  }
}

/** True for "press 1 to continue", but not for "enter 4 digits". */
function isMenu(words: readonly string[]): boolean {
  return words.some(
    (word, at) =>
      KEYING.has(word) &&
      (KEY_NAME.test(words[at + 1] ?? '') || isNumberWord(words[at + 1] ?? '')) &&
      !NUMBER_NOUNS.has(words[at + 2] ?? '') &&
      !/^digits?$/.test(words[at + 2] ?? ''),
  )
}

/** Returns lists of words that identify a number: the words of its name, and the words of its question. */
function namesOf({ name, say }: Collection): readonly (readonly string[])[] {
  const wordsIn = (text: string): readonly string[] => [...new Set(plainText(text).split(' '))]
  const telling = (words: readonly string[]): readonly string[] => words.filter((word) => !PLAIN_WORDS.has(word))
  const own = wordsIn(name.replace(/([a-z])([A-Z])/g, '$1 $2'))
  const asked = (typeof say === 'string' ? [say] : Object.values(say)).map((text) => telling(wordsIn(text)))
  return [telling(own).length > 0 ? telling(own) : own, ...asked.filter((words) => words.length > 0)]
}
