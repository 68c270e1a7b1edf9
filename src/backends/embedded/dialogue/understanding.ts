import { clockText } from '../../../agents/tools/heard-arguments.js'
import { parsePhrase, wordsOf as phraseWords, type Phrase } from '../../../agents/offline/offline.js'
import type { OfflineDialogue, OfflineSlot } from '../../../agents/offline/offline.js'
import { datesIn, saidDate, timesIn } from '../../../call/spoken/spoken-time.js'
import { en } from '../../../call/words/en.js'
import { DIALOGUE_KEYS_MAX } from '../../../core/limits.js'
import { laterDigits, laterZeros, withZeros } from './heard-digits.js'
import { meaningsOf, plainestWords, withOwnCorrections, withOwnDigits } from './typed-words.js'
import type { DictionaryEntry, DigitCheck } from '../../../speech/speech-protocol.js'

/** Maximum number of known values in one grammar, such as a caller's order numbers. */
const DIALOGUE_KNOWN_VALUES_MAX = 50

/** The meaning of an answer: the name of an intent or a slot, with the values of all slots in the answer. */
export interface Meaning {
  readonly name: string
  readonly slots: Readonly<Record<string, string>>
  /** True if the digits correct the last spoken digits. */
  readonly corrects: boolean
}

/** Maximum number of characters of a `text` slot. */
const SAID_CHARS_MAX = 300

/**
 * The phones of the acoustic model. The noise rule has one word for each phone and matches everything outside the
 * grammar.
 */
const PHONES =
  'AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z'.split(' ')
const NOISE_PREFIX = 'zz'
/**
 * Weight of the noise rule. Without the rule, a grammar accepted 40 of 48 utterances outside the grammar (12 sentences,
 * 4 flite voices, 8 kHz mu-law). With a loop over all phones, the grammar accepts 23 of the 48. With the loop, the
 * grammar still recognises 76 of 80 sentences inside the grammar. A stronger loop (pairs of phones) accepts 1 of the
 * 48, but loses 6 of the 80, which is worse.
 */
const NOISE_WEIGHT = 0.01

/** Dictionary entries that every grammar needs, in addition to the agent's own words. */
export const NOISE_WORDS: readonly DictionaryEntry[] = PHONES.map((phone) => [
  NOISE_PREFIX + phone.toLowerCase(),
  phone,
])

/**
 * Weight of a part of a number relative to the whole number. It is low, so that a whole number with a missed digit is
 * not recognised as a part.
 */
const PART_WEIGHT = 0.05

/** Maximum number of surplus digits that the grammar still recognises. */
const DIGITS_OVER_MAX = 4

/**
 * The language of a dialogue. Makes the recogniser's grammar for a point of the dialogue, and finds the meaning of
 * recognised or typed text. The recogniser returns only sentences of the grammar. Typed text may contain further words,
 * so a phrase may be at any position in the text.
 */
export class Understanding {
  readonly #intents = new Map<string, Phrases>()
  readonly #slots = new Map<string, SlotGrammar>()
  /** Words for the digits 0 to 9, and words before and after a phrase that are ignored. */
  readonly #digits: readonly string[]
  readonly #lead: readonly string[]
  readonly #tail: readonly string[]
  readonly #correction: readonly string[]
  /** All words of the dialogue's phrases. */
  readonly #own: ReadonlySet<string>
  /** Meanings of each intent that hold in all languages. */
  readonly #meanings: ReadonlyMap<string, readonly string[]>
  readonly #today: string

  /**
   * @param today  today's date for the caller, such as `2026-11-25`; if it is empty, the dialogue does not understand
   * days
   */
  constructor(dialogue: OfflineDialogue, today = '') {
    this.#today = today
    this.#digits = dialogue.digits
    this.#lead = dialogue.around.before
    this.#tail = dialogue.around.after
    this.#correction = dialogue.around.correction
    for (const [name, intent] of Object.entries(dialogue.intents)) this.#intents.set(name, parsed(intent))
    for (const [name, definition] of Object.entries(dialogue.slots)) {
      const options = Object.entries(definition.type === 'choice' ? definition.options : {})
      this.#slots.set(name, {
        definition,
        options: new Map(options.map(([option, given]) => [option, parsed(given)])),
        phrases: [slotPhrase(name), ...definition.phrases.map(parsePhrase)],
      })
    }
    const phrases = [
      ...[...this.#intents.values()].flatMap(({ spoken }) => spoken),
      ...[...this.#slots.values()].flatMap((slot) => [...slot.phrases, ...spokenOptions(slot)]),
    ]
    this.#own = new Set(phrases.flatMap(phraseWords))
    this.#meanings = new Map(
      [...this.#intents].map(([name, { spoken }]) => [
        name,
        plainestWords().flatMap(([meaning, plainest]) =>
          plainest.some((word) => spoken.some((phrase) => this.#isWhole(phrase, [word]))) ? [meaning] : [],
        ),
      ]),
    )
  }

  /** JSGF document for the expected answers. The text depends only on the expectation. */
  grammar(expected: Expectation): string {
    const used = new Set<string>()
    const choices: string[] = []
    for (const phrase of this.#phrasesOf(expected)) choices.push(jsgfOf(phrase.phrase, used))
    if (choices.length === 0) choices.push('<VOID>')
    const rules = [
      // Names of rules start with a capital letter, so that a slot may be called `phone`.
      `public <Said> = /1/ ${optional(this.#lead)} (${choices.join(' | ')}) ${optional(this.#tail)} | /${NOISE_WEIGHT}/ <Noise>;`,
      '<Noise> = <Phone> <Phone> <Phone> <Phone>*;',
      `<Phone> = ${NOISE_WORDS.map(([word]) => word).join(' | ')};`,
    ]
    let digits = false
    for (const slot of used) {
      const body = this.#slotJsgf(slot, expected)
      digits ||= body.includes('<Digit>')
      rules.push(`<${ruleName(slot)}> = ${body};`)
    }
    if (digits) {
      rules.push(`<Digit> = ${this.#digits.join(' | ')};`)
      rules.push(`<Later> = ${laterDigits(this.#digits).join(' | ')};`)
    }
    return `#JSGF V1.0;\ngrammar dialogue;\n${rules.join('\n')}\n`
  }

  /**
   * @returns a grammar of any digits, or a single word of the dialogue. This grammar distinguishes a single digit from
   * "yes", "no" and "hello". Of 50 digits (Allison and four flite voices, the order line's words), 48 are recognised as
   * one digit. Of 24 short answers (flite), none is recognised as a digit
   */
  loneDigitGrammar(): string {
    const words = new Set([...this.#lead, ...this.#tail, ...this.#correction])
    for (const { spoken } of this.#intents.values())
      for (const phrase of spoken) if (phrase.type === 'word') words.add(phrase.word)
    const digits = this.#digits.join(' | ')
    const others = [...words].filter((word) => !this.#digits.includes(word))
    const later = laterDigits(this.#digits).join(' | ')
    return `#JSGF V1.0;\ngrammar digit;\npublic <Said> = (${digits}) (${later})*${others.map((word) => ` | ${word}`).join('')};\n`
  }

  /** @returns the grammar and digits for a second recognition of an answer that may be a number */
  digitCheck(anyNumber: boolean): DigitCheck {
    return { grammar: anyNumber ? this.loneDigitGrammar() : null, digits: laterDigits(this.#digits) }
  }

  /**
   * @returns the meaning of `text`; null if no phrase matches. A phrase that equals the whole text is preferred to
   * partial matches, and a longer phrase to a shorter phrase
   */
  meaningOf(text: string, expected: Expectation): Meaning | null {
    const words = this.#ownWords(text, expected.number)
    if (words.length === 0) return null
    let best: { readonly meaning: Meaning; readonly score: number; readonly words: string } | null = null
    const typed = this.#intentsOf(expected, 'typed')
    for (const { name, phrase, corrects } of [...this.#phrasesOf(expected), ...typed]) {
      for (let start = 0; start < words.length; start++) {
        for (const { end, slots } of this.#match(phrase, words, start)) {
          const whole = isFiller(words.slice(0, start), this.#lead) && isFiller(words.slice(end), this.#tail)
          if (!this.#isLongEnough(slots, whole ? expected.number : null)) continue
          // Thanks with other words, such as "Thanks, and who brought it?", do not end the dialogue.
          if (!whole && this.#means(name, 'thanks')) continue
          const score = (whole ? 1000 : 0) + (end - start)
          if (best === null || score > best.score)
            best = { meaning: { name, slots, corrects }, score, words: words.slice(start, end).join(' ') }
        }
      }
    }
    // "The second one" means one of several offers, not a day, but "the second of December" is a day.
    const named = saidDate(text, {}, {}) !== null
    const own = best === null || !expected.intents.includes(best.meaning.name) ? '' : best.words
    const inOwn = named ? {} : this.momentsIn(own, expected.slots)
    const moments = Object.fromEntries(
      Object.entries(this.momentsIn(text, expected.slots)).filter(([slot, value]) => inOwn[slot] !== value),
    )
    const [moment] = Object.keys(moments)
    // "No, on Friday" gives another day, so it does not count as a no.
    if (
      best !== null &&
      (moment === undefined || !((named && this.#datesIn(own).length > 0) || this.#isYesOrNo(best.meaning.name)))
    )
      return { ...best.meaning, slots: { ...moments, ...best.meaning.slots } }
    if (moment !== undefined) return { name: moment, slots: moments, corrects: false }
    const thanksEnd = expected.intents.some((intent) => this.#means(intent, 'thanks'))
    const meanings: readonly string[] = meaningsOf(text, thanksEnd)
    const name = expected.intents.find((intent) => this.#meanings.get(intent)?.some((one) => meanings.includes(one)))
    if (name !== undefined) return { name, slots: {}, corrects: false }
    const anyWords = expected.slots.find((slot) => this.#slots.get(slot)?.definition.type === 'text')
    return anyWords === undefined
      ? null
      : { name: anyWords, slots: { [anyWords]: text.trim().slice(0, SAID_CHARS_MAX) }, corrects: false }
  }

  /** @returns the days and times in a text, by the slot that accepts them. An ambiguous day or time is omitted */
  momentsIn(text: string, slots: readonly string[]): Record<string, string> {
    const found: Record<string, string> = {}
    for (const name of slots) {
      const definition = this.#slots.get(name)?.definition
      const said =
        definition?.type === 'date'
          ? this.#datesIn(text)
          : definition?.type === 'time'
            ? timesIn(text)
                .map(clockText)
                .filter((time) => time >= definition.from && time <= definition.to)
            : []
      if (said.length === 1 && said[0] !== undefined) found[name] = said[0]
    }
    return found
  }

  #datesIn(text: string): readonly string[] {
    return this.#today === '' ? [] : datesIn(text, this.#today)
  }

  #isYesOrNo(intent: string): boolean {
    return this.#means(intent, 'yes') || this.#means(intent, 'no')
  }

  #means(intent: string, meaning: string): boolean {
    return this.#meanings.get(intent)?.includes(meaning) ?? false
  }

  /** @returns the words of a text, in which the dialogue's own words replace digits and corrections in any language */
  #ownWords(text: string, number: NumberInParts | null): readonly string[] {
    const definition = this.#slots.get(number?.slot ?? '')?.definition
    const length = definition?.type === 'digits' ? definition.max : 0
    const digits = withOwnDigits(wordsOf(text, this.#digits), this.#own, this.#digits, length)
    return withZeros(withOwnCorrections(digits, this.#digits, this.#correction), this.#digits)
  }

  #isWhole(phrase: Phrase, words: readonly string[]): boolean {
    return [...this.#match(phrase, words, 0)].some(({ end }) => end === words.length)
  }

  /** True if the number of digits is right. If the number may be said in parts, another length is accepted too. */
  #isLongEnough(slots: Readonly<Record<string, string>>, number: NumberInParts | null): boolean {
    return Object.entries(slots).every(([name, value]) => {
      const definition = this.#slots.get(name)?.definition
      if (definition?.type !== 'digits') return true
      if (name === number?.slot) return value.length >= Math.min(number.partMin, definition.min)
      return value.length >= definition.min && value.length <= definition.max
    })
  }

  *#phrasesOf(expected: Expectation): Iterable<NamedPhrase> {
    const { number } = expected
    for (const name of expected.slots) {
      for (const phrase of this.#slots.get(name)?.phrases ?? []) yield { name, phrase, corrects: false }
    }
    // A day with a time, such as "tomorrow at ten", is one answer.
    const of = (type: OfflineSlot['type']): string | undefined =>
      expected.slots.find((name) => this.#slots.get(name)?.definition.type === type)
    const [date, time] = [of('date'), of('time')]
    if (date !== undefined && time !== undefined)
      yield { name: date, phrase: { type: 'all', parts: [slotPhrase(date), slotPhrase(time)] }, corrects: false }
    if (number !== null && number.have !== '' && this.#correction.length > 0) {
      const word: Phrase = { type: 'any', choices: this.#correction.map((one) => ({ type: 'word', word: one })) }
      const parts: readonly Phrase[] = [word, { type: 'maybe', part: word }, { type: 'slot', slot: number.slot }]
      yield { name: number.slot, phrase: { type: 'all', parts }, corrects: true }
    }
    yield* this.#intentsOf(expected, 'spoken')
  }

  *#intentsOf({ intents }: Expectation, kind: keyof Phrases): Iterable<NamedPhrase> {
    for (const name of intents) {
      for (const phrase of this.#intents.get(name)?.[kind] ?? []) yield { name, phrase, corrects: false }
    }
  }

  #slotJsgf(name: string, expected: Expectation): string {
    const slot = this.#slots.get(name)
    if (slot === undefined) return '<VOID>'
    if (slot.definition.type === 'choice')
      return spokenOptions(slot)
        .map((phrase) => jsgfOf(phrase, new Set()))
        .join(' | ')
    if (slot.definition.type !== 'digits') return MOMENT_RULES[slot.definition.type]
    const { min, max } = slot.definition
    const number = expected.number?.slot === name ? expected.number : null
    const have = number?.have ?? ''
    const known = (expected.known.get(name) ?? []).slice(0, DIALOGUE_KNOWN_VALUES_MAX)
    const going = known.filter((value) => value.startsWith(have) && value !== have)
    if (going.length > 0) {
      const whole = known.map((value) => this.#spoken(value)).join(' | ')
      if (number === null) return whole
      // The grammar contains the beginnings of the remaining digits, because further digits may follow later. If the
      // first digits differ, the caller means another number.
      const parts = new Set<string>()
      for (const value of going) {
        const left = value.slice(have.length)
        const startMax = number.unfinished === true ? left.length - number.partMin : 0
        for (let start = 0; start <= startMax; start++) {
          const end = left.length + (have === '' && start === 0 ? 0 : 1)
          for (let to = start + number.partMin; to < end; to++) parts.add(left.slice(start, to))
        }
      }
      if (parts.size === 0) return whole
      const weight = have === '' ? PART_WEIGHT : 1
      return `/1/ (${whole}) | /${weight}/ (${[...parts].map((value) => this.#spoken(value)).join(' | ')})`
    }
    const whole = digitsJsgf(min, max)
    if (number === null) return whole
    // After the beginning of a number, the caller may say the remaining digits, or the whole number again. Both are
    // equally likely.
    if (have !== '') return digitsJsgf(1, max)
    const parts = number.partMin < min ? [digitsJsgf(number.partMin, min - 1)] : []
    // The grammar recognises a number with surplus digits too, so that the dialogue can refuse the number. Otherwise
    // the surplus digits would be lost.
    const more = digitsJsgf(max + 1, max + DIGITS_OVER_MAX)
    return [`/1/ (${whole})`, ...[...parts, more].map((one) => `/${PART_WEIGHT}/ (${one})`)].join(' | ')
  }

  #spoken(value: string): string {
    const zero = `(${laterZeros(this.#digits).join(' | ')})`
    return [...value].map((c, i) => (c === '0' && i > 0 ? zero : this.#digits[Number(c)])).join(' ')
  }

  /** Yields all matches of `phrase` from index `start`. */
  *#match(phrase: Phrase, words: readonly string[], start: number): Iterable<Match> {
    switch (phrase.type) {
      case 'word':
        if (words[start] === phrase.word) yield { end: start + 1, slots: {} }
        return
      case 'maybe':
        yield* this.#match(phrase.part, words, start)
        yield { end: start, slots: {} }
        return
      case 'any':
        for (const choice of phrase.choices) yield* this.#match(choice, words, start)
        return
      case 'all':
        yield* this.#matchAll(phrase.parts, words, start)
        return
      case 'slot':
        yield* this.#matchSlot(phrase.slot, words, start)
        return
    }
  }

  *#matchAll(parts: readonly Phrase[], words: readonly string[], start: number): Iterable<Match> {
    const [first, ...rest] = parts
    if (first === undefined) {
      yield { end: start, slots: {} }
      return
    }
    for (const head of this.#match(first, words, start)) {
      for (const tail of this.#matchAll(rest, words, head.end))
        yield { end: tail.end, slots: { ...head.slots, ...tail.slots } }
    }
  }

  *#matchSlot(name: string, words: readonly string[], start: number): Iterable<Match> {
    const slot = this.#slots.get(name)
    if (slot === undefined) return
    if (slot.definition.type === 'choice') {
      for (const kind of ['spoken', 'typed'] as const)
        for (const [option, phrases] of slot.options)
          for (const phrase of phrases[kind])
            for (const { end } of this.#match(phrase, words, start)) yield { end, slots: { [name]: option } }
      return
    }
    // The values of other slots are found in the whole text.
    if (slot.definition.type !== 'digits') return
    let value = ''
    let end = start
    for (; end < words.length; end++) {
      const digit = this.#digits.indexOf(words[end] ?? '')
      if (digit < 0) break
      value += digit
    }
    // The digits must be a complete sequence, because a part of a longer sequence would be a wrong number.
    const whole = start === 0 || this.#digits.indexOf(words[start - 1] ?? '') < 0
    if (whole && value !== '' && value.length <= DIALOGUE_KEYS_MAX) yield { end, slots: { [name]: value } }
  }
}

/** Answers that the caller may give at one point of the dialogue. */
export interface Expectation {
  /** Intents, the state's own intents first. If two intents match equally well, the first is chosen. */
  readonly intents: readonly string[]
  readonly slots: readonly string[]
  /**
   * Known values by slot. If a slot has an entry, only these values are accepted in speech. Otherwise any value of the
   * slot's type is accepted.
   */
  readonly known: ReadonlyMap<string, readonly string[]>
  /** The number that may be said in parts here; null if there is none. */
  readonly number: NumberInParts | null
}

/** A number that may be said in several parts. Earlier parts may have been recognised. */
interface NumberInParts {
  readonly slot: string
  /** The digits so far. */
  readonly have: string
  /** Minimum number of digits in a part; a single digit sounds too much like a yes or a no. */
  readonly partMin: number
  /**
   * True if earlier speech is still being recognised, so that `have` may be incomplete and any part of the number may
   * come next.
   */
  readonly unfinished?: boolean
}

/** A phrase of an intent or a slot. `corrects`: true for a phrase of a slot that corrects digits. */
interface NamedPhrase {
  readonly name: string
  readonly phrase: Phrase
  readonly corrects: boolean
}

/** Spoken days and times in the recogniser's English grammar. In a grammar, other words cannot be skipped. */
const HOUR = '(one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve)'
const DAY_PART = '[a m | p m | in the morning | in the afternoon | in the evening | at night]'
const MOMENT_RULES = {
  time: `[at] (${HOUR} [thirty | fifteen | forty five] ${DAY_PART} | half past ${HOUR} ${DAY_PART} | quarter (past | to) ${HOUR} ${DAY_PART} | noon)`,
  date: `today | tomorrow | the day after tomorrow | [on] (${en.weekdays.join(' | ')})`,
  text: '<VOID>',
} as const

/** @returns the recognised words, in which "zero" replaces an "oh" within a number; empty if the noise rule matched */
export function recognisedWords(text: string, digits: readonly string[]): string {
  const words = text.split(' ')
  return words.some((word) => word.startsWith(NOISE_PREFIX)) ? '' : withZeros(words, digits).join(' ')
}

/** A phrase that was found in a text, with the values of its slots. */
interface Match {
  readonly end: number
  readonly slots: Record<string, string>
}

interface Phrases {
  readonly spoken: readonly Phrase[]
  /** Phrases in other languages, which grammars do not contain. */
  readonly typed: readonly Phrase[]
}

function parsed(given: {
  readonly phrases: readonly string[]
  readonly typed?: readonly string[] | undefined
}): Phrases {
  return { spoken: given.phrases.map(parsePhrase), typed: (given.typed ?? []).map(parsePhrase) }
}

interface SlotGrammar {
  readonly definition: OfflineSlot
  /** Phrases that contain the slot, including the slot without other words. */
  readonly phrases: readonly Phrase[]
  readonly options: ReadonlyMap<string, Phrases>
}

/** Spoken phrases of all options of a slot. */
function spokenOptions({ options }: SlotGrammar): readonly Phrase[] {
  return [...options.values()].flatMap(({ spoken }) => spoken)
}

function slotPhrase(slot: string): Phrase {
  return { type: 'slot', slot }
}

function ruleName(name: string): string {
  return name.replaceAll('-', '_')
}

function jsgfOf(phrase: Phrase, used: Set<string>): string {
  switch (phrase.type) {
    case 'word':
      return phrase.word
    case 'slot':
      used.add(phrase.slot)
      return `<${ruleName(phrase.slot)}>`
    case 'maybe':
      return `[${jsgfOf(phrase.part, used)}]`
    case 'any':
      return `(${phrase.choices.map((choice) => jsgfOf(choice, used)).join(' | ')})`
    case 'all':
      return phrase.parts.map((part) => jsgfOf(part, used)).join(' ')
  }
}

function digitsJsgf(min: number, max: number): string {
  const required = Array.from({ length: min }, (_, i) => (i === 0 ? '<Digit>' : '<Later>')).join(' ')
  let more = ''
  for (let i = min; i < max; i++) more = `[<Later>${more === '' ? '' : ` ${more}`}]`
  return `${required} ${more}`.trim()
}

function optional(words: readonly string[]): string {
  return words.length === 0 ? '' : `[${words.join(' | ')}]`
}

/** Words of a text in the form of grammars: lower case, without punctuation, digits as words. */
function wordsOf(text: string, digits: readonly string[]): string[] {
  return text
    .toLowerCase()
    .replaceAll('’', "'")
    .replace(/\d/g, (digit) => ` ${digits[Number(digit)] ?? ''} `)
    .split(/[^a-z'-]+/)
    .map((word) => word.replace(/^['-]+|['-]+$/g, ''))
    .filter((word) => word !== '')
}

function isFiller(words: readonly string[], fillers: readonly string[]): boolean {
  return words.length === 0 || fillers.includes(words.join(' '))
}

/** Replaces digit words by digits for transcripts. For example, `order four one two seven` becomes `order 4127`. */
export function readable(text: string, digits: readonly string[]): string {
  const words = text.split(' ')
  let out = ''
  let inDigits = false
  for (const word of words) {
    const digit = digits.indexOf(word)
    out += digit >= 0 ? `${inDigits || out === '' ? '' : ' '}${digit}` : `${out === '' ? '' : ' '}${word}`
    inDigits = digit >= 0
  }
  return out
}
