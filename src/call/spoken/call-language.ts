import { codeOf } from './localized-text.js'
import { WORDS } from '../words/languages.js'

/** Minimum number of words of one language in a sentence. One such sentence switches the language at once. */
const SENTENCE_WORDS_MIN = 3
/** Minimum number of words that show the language of a turn. A single word may be borrowed. */
const TURN_WORDS_MIN = 2
/** Minimum share of a turn's letters that must be in one language, because callers mix languages. */
const SENTENCE_SHARE = 0.75
const TURN_SHARE = 0.6
/** Maximum number of words of a turn that are read. */
const WORDS_MAX = 200

/** Words of the caller, with their language if the recogniser detects languages. */
interface HeardWords {
  readonly text: string
  readonly language?: string
}

/** Words that are also used in other languages, so they do not show the language. */
const BORROWED = new Set(Object.values(WORDS).flatMap(({ borrowed }) => borrowed))
/** Words that exist in only one language. */
const COMMON = new Map<string, string>()
for (const [language, { common }] of Object.entries(WORDS)) {
  for (const word of common) {
    const other = COMMON.get(word)
    COMMON.set(word, other === undefined || other === language ? language : '')
  }
}
/** Patterns that recognise words of each language, because a list cannot contain all words of a language. */
const FORMS = Object.entries(WORDS).flatMap(([language, { form }]) => (form === null ? [] : [{ language, form }]))

/** Returns the language that this word alone proves; '' if the word may belong to several languages. */
function toldBy(word: string): string {
  return COMMON.get(word) ?? FORMS.find(({ form }) => form.test(word))?.language ?? ''
}

/**
 * Language of a call: the caller's language, if the agent speaks it. The language changes after one whole sentence in
 * another language, or after two turns in a row in another language. A borrowed word or a mixed turn does not change
 * it. The language changes at most once before each answer of the agent.
 *
 *     current --a sentence or second turn in a new language | the model says so--> changed --the agent answers--> current
 */
export class CallLanguage {
  /** Tag of the current language in the form of the agent's file: `sw-KE`. */
  now: string
  /** Tag of the caller's language, which another agent may speak even if this agent does not. */
  callers: string
  readonly #languages: readonly string[]
  /** Numbers of letters and words in the turn so far, by language. */
  #turn = new Map<string, { letters: number; words: number }>()
  #changed = false
  /** Language of the previous turn, if that language was not the call's language; else null. */
  #before: string | null = null

  /** @param now  language of a call that continues; ignored if the agent does not speak that language */
  constructor(languages: readonly string[], now: string | undefined) {
    this.#languages = languages
    this.now = this.#known(now ?? '') ?? languages[0] ?? ''
    this.callers = now ?? this.now
  }

  /** Takes the caller's final words. @returns true if the language has changed */
  heard(words: readonly HeardWords[]): boolean {
    if (this.#languages.length < 2) return false
    for (const { text, language } of words) this.#count(text, language)
    const sentence = this.#languageOf(SENTENCE_WORDS_MIN, SENTENCE_SHARE)
    const turn = this.#languageOf(TURN_WORDS_MIN, TURN_SHARE)
    if (sentence !== null) return this.#change(sentence)
    return turn !== null && turn === this.#before && this.#change(turn)
  }

  /** Takes the caller's language as the model detected it. @returns true if the language has changed */
  set(language: string): boolean {
    const known = this.#known(language)
    return known !== null && this.#change(known)
  }

  /** Notes that the agent has said something, so the caller's next words are a new turn. */
  answered(): void {
    if (this.#turn.size === 0 && !this.#changed) return
    const turn = this.#languageOf(TURN_WORDS_MIN, TURN_SHARE)
    if (turn !== null) this.#before = turn === this.now ? null : turn
    this.#turn = new Map()
    this.#changed = false
  }

  #known(language: string): string | null {
    return this.#languages.find((one) => codeOf(one) === codeOf(language)) ?? null
  }

  #change(language: string): boolean {
    if (language === this.now || this.#changed) return false
    this.now = this.callers = language
    this.#changed = true
    this.#before = null
    return true
  }

  #count(text: string, tagged: string | undefined): void {
    for (const word of (text.toLowerCase().match(/\p{L}+/gu) ?? []).slice(0, WORDS_MAX)) {
      if (BORROWED.has(word)) continue
      const language = this.#known(toldBy(word) || (tagged ?? ''))
      if (language === null) continue
      const { letters, words } = this.#turn.get(language) ?? { letters: 0, words: 0 }
      this.#turn.set(language, { letters: letters + word.length, words: words + 1 })
    }
  }

  #languageOf(wordsMin: number, share: number): string | null {
    let all = 0
    for (const { letters } of this.#turn.values()) all += letters
    for (const [language, { letters, words }] of this.#turn)
      if (words >= wordsMin && letters >= share * all) return language
    return null
  }
}
