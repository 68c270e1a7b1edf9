import { hasPhrase, phraseSet, plainText } from '../turns/backchannel.js'
import type { Collection } from './digit-collection.js'
import { isNumberWord } from '../spoken/spoken-numbers.js'
import { sentencesOf } from '../turns/turn-words.js'
import { LANGUAGES, wordsOf } from '../words/languages.js'

/** After the agent has asked for a secret number, keys stay private for this long: callers look for a card or a letter. */
export const KEYS_PRIVATE_MS = 60_000

const KEYING = phraseSet(wordsOf('keying'))
const COMMON = wordsOf('common')
/** "Your" alone is no request: "Your PIN was changed". */
const ASKING = phraseSet(wordsOf('keying', 'requests', 'polite').filter((word) => !COMMON.includes(word)))
/** A sentence of so few words names only what is wanted: "Your PIN." */
const BARE_WORDS_MAX = 3
const SECRETS = phraseSet(wordsOf('secrets'))
/** Nouns that name another kind of number: "order number". */
const NUMBER_NOUNS = new Set(wordsOf('numberNouns'))
/** Words that tell no number from another. */
const PLAIN_WORDS = new Set(
  [
    ...wordsOf('keying', 'requests', 'joins', 'common', 'articles', 'is', 'questionWords', 'numberNouns', 'polite'),
    ...LANGUAGES.flatMap(({ numbersAsked, numbers }) => [...Object.keys(numbersAsked), ...Object.keys(numbers)]),
  ].flatMap((phrase) => plainText(phrase).split(' ')),
)
/** Names of keys in a menu: "press 1". */
const KEY_NAME = /^(?:\d|hash|star|pound|reli|nyota)$/

/**
 * Decides from an agent's words whether keys that follow are those of a secret number. A wrong yes costs the model a few keys,
 * which `collect_digits` asks for again; a wrong no gives a secret away.
 */
export class SecretNumbers {
  /** A sentence that has all words of one of these names a secret number. */
  readonly #secret: readonly (readonly string[])[]
  /** The same of the numbers that a model may have. */
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

  /** @returns for what the words ask to be keyed in, as far as they do: `other` is a number or a key that the model may have */
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
    // "Enter it now": what was named before.
    return hasPhrase(plain, KEYING) ? 'secret' : 'nothing'
  }
}

/** "Press 1 to go on", but not "enter 4 digits". */
function isMenu(words: readonly string[]): boolean {
  return words.some(
    (word, at) =>
      KEYING.has(word) &&
      (KEY_NAME.test(words[at + 1] ?? '') || isNumberWord(words[at + 1] ?? '')) &&
      !NUMBER_NOUNS.has(words[at + 2] ?? '') &&
      !/^digits?$/.test(words[at + 2] ?? ''),
  )
}

/** Words that distinguish a number from others: those of its name, or of its whole question. */
function namesOf({ name, say }: Collection): readonly (readonly string[])[] {
  const wordsIn = (text: string): readonly string[] => [...new Set(plainText(text).split(' '))]
  const telling = (words: readonly string[]): readonly string[] => words.filter((word) => !PLAIN_WORDS.has(word))
  const own = wordsIn(name.replace(/([a-z])([A-Z])/g, '$1 $2'))
  const asked = (typeof say === 'string' ? [say] : Object.values(say)).map((text) => telling(wordsIn(text)))
  return [telling(own).length > 0 ? telling(own) : own, ...asked.filter((words) => words.length > 0)]
}
