import { codeOf } from './localized-text.js'
import { WORDS } from '../words/languages.js'

/** Words of one language that make a sentence of it: whoever says one switches at once. */
const SENTENCE_WORDS_MIN = 3
/** Words that a turn needs at least to say anything about its language: one may be borrowed. */
const TURN_WORDS_MIN = 2
/** Part of a turn's letters that is in its language. Callers mix. */
const SENTENCE_SHARE = 0.75
const TURN_SHARE = 0.6
/** Words of a turn that are looked at. */
const WORDS_MAX = 200

/** Words of the caller, with the language that the recogniser heard them in, of those that tell. */
interface HeardWords {
  readonly text: string
  readonly language?: string
}

/** Words that are in use in other languages too, and so say nothing. */
const BORROWED = new Set(Object.values(WORDS).flatMap(({ borrowed }) => borrowed))
/** Words that are in one of the languages alone. */
const COMMON = new Map<string, string>()
for (const [language, { common }] of Object.entries(WORDS)) {
  for (const word of common) {
    const other = COMMON.get(word)
    COMMON.set(word, other === undefined || other === language ? language : '')
  }
}
/** Words that are known by their form, because no list could hold them all. */
const FORMS = Object.entries(WORDS).flatMap(([language, { form }]) => (form === null ? [] : [{ language, form }]))

/** The language that this word alone tells; empty where it tells none. */
function toldBy(word: string): string {
  return COMMON.get(word) ?? FORMS.find(({ form }) => form.test(word))?.language ?? ''
}

/**
 * The language of a call: that of the caller, as far as the agent speaks it. It changes with one whole sentence in
 * another language, or with two turns in it one after the other; a borrowed word, and a turn in both, change nothing.
 * Within a turn it changes once: it never goes back before the agent has answered.
 *
 *     current --a sentence of another | second turn in it | the model says so--> changed --the agent answers--> current
 */
export class CallLanguage {
  /** As in the agent's file: `sw-KE`. */
  now: string
  /** The caller's, which this agent may not speak; another may. */
  callers: string
  readonly #languages: readonly string[]
  /** The turn so far: letters and words by language. */
  #turn = new Map<string, { letters: number; words: number }>()
  #changed = false
  /** The language of the turn before this one, where it was another than the call's. */
  #before: string | null = null

  /** @param now  of a call that goes on; one that the agent does not speak counts as none */
  constructor(languages: readonly string[], now: string | undefined) {
    this.#languages = languages
    this.now = this.#known(now ?? '') ?? languages[0] ?? ''
    this.callers = now ?? this.now
  }

  /** The caller's words, when they will not change any more. @returns whether the language is another now */
  heard(words: readonly HeardWords[]): boolean {
    if (this.#languages.length < 2) return false
    for (const { text, language } of words) this.#count(text, language)
    const sentence = this.#languageOf(SENTENCE_WORDS_MIN, SENTENCE_SHARE)
    const turn = this.#languageOf(TURN_WORDS_MIN, TURN_SHARE)
    if (sentence !== null) return this.#change(sentence)
    return turn !== null && turn === this.#before && this.#change(turn)
  }

  /** The model has heard which language the caller speaks. @returns whether the language is another now */
  set(language: string): boolean {
    const known = this.#known(language)
    return known !== null && this.#change(known)
  }

  /** The agent has said something: what the caller says next is another turn. */
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
