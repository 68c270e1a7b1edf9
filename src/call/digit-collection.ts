import { z } from 'zod'
import { hasPhrase, isBackchannel, phraseSet, plainText } from './backchannel.js'
import type { DocumentOf } from './documents/document.js'
import { phraseSchema } from './localized-text.js'
import { digitsIn, plainWords } from './spoken-numbers.js'
import { LISTENING_WORDS, asksToRepeat, asksToWait } from './turn-words.js'
import { wordsOf } from './words/languages.js'

/** Digits of one entry: a card number has 19, an account number up to 24. */
export const COLLECTED_DIGITS_MAX = 32
/** Times that a caller may be asked again. */
export const COLLECTION_RETRIES_MAX = 5
/** A whole collection, prompts and retries included. After it the model goes on without the digits. */
const COLLECTION_MS_MAX = 180_000
/**
 * After the last key of a secret entry the line stays private for this long: the tone of a key that is held down, and the key
 * that callers press by habit after the last digit.
 */
export const PRIVATE_TAIL_MS = 2000
/** A key pressed by habit after an entry that was complete without it. */
export const TERMINATOR_LATE_MS = 2000
/** Fewer digits are everywhere: they are not looked for to be masked. */
export const REPEATED_DIGITS_MIN = 3
/** Stands for a digit that the session must not know. */
export const SECRET_DIGIT = 'x'
/** Stands for a digit in a record. */
const MASK = '•'

const YES = phraseSet(wordsOf('yes'))
const NO = phraseSet(wordsOf('no'))
export type Collection = DocumentOf<typeof collectionSchema>

/** Step that follows a key, words or a timeout. */
export type CollectionStep =
  /** Nothing; the deadline stays. */
  | { readonly type: 'nothing' }
  /** The next digit may take this long. */
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'ask'; readonly what: 'say' | 'again' | 'confirm' }
  | { readonly type: 'collected'; readonly by: 'keypad' | 'speech' }
  /** @param said the caller's words, where they are not digits: the model is to answer them */
  | { readonly type: 'failed'; readonly error: string; readonly said?: string }

/**
 * Takes one entry of digits from a caller, by keys or in words. Pure: it decides; the session speaks, waits and answers the model.
 *
 *     entering   --digit--> entering --max digits, terminator or quiet with at least min--> confirming | collected
 *     entering   --the other of # and *--> entering, empty
 *     entering   --too few digits, or none in time--> asked again, `retries` times, then failed
 *     entering   --words without digits--> failed: the model answers them
 *     confirming --1, yes--> collected;  --2, no--> asked again;  --other digits in words--> entering
 */
export class DigitCollection {
  readonly spec: Collection
  /** The tool call that asked for it. */
  readonly callId: string
  /** Other arguments of the tool that gets secret digits. */
  readonly toolArgs: Readonly<Record<string, unknown>>
  /** It fails then, whatever the caller does. */
  readonly untilMs: number
  /** The tool that gets secret digits runs. */
  running = false
  /** The question that the caller hears; null once it was heard or answered. */
  itemId: string | null = null
  #entry = ''
  #confirming = false
  #retriesLeft: number
  #by: 'keypad' | 'speech' = 'keypad'

  constructor(spec: Collection, callId: string, toolArgs: Readonly<Record<string, unknown>>, nowMs: number) {
    this.untilMs = nowMs + COLLECTION_MS_MAX
    this.spec = spec
    this.callId = callId
    this.toolArgs = toolArgs
    this.#retriesLeft = spec.retries
  }

  get toolCallId(): string {
    return secretCallId(this.callId)
  }

  /** The digits so far; of a secret entry only their number is known. */
  get entry(): string {
    return this.#entry
  }

  /** As it may stand in a record. */
  get masked(): string {
    const { maskAllBut } = this.spec
    return maskAllBut === null ? this.#entry : maskedDigits(this.#entry, maskAllBut)
  }

  key(digit: string): CollectionStep {
    const { max, terminator, betweenMs, secretFor } = this.spec
    if (this.#confirming) {
      if (digit === '1') return this.#collected()
      return digit === '2' ? this.#again() : { type: 'nothing' }
    }
    if (digit === terminator) return this.#entry === '' ? { type: 'nothing' } : this.#ended()
    if (digit === '#' || digit === '*') this.#entry = ''
    else if (/^\d$/.test(digit) || (secretFor !== null && digit === SECRET_DIGIT)) this.#entry += digit
    else return { type: 'nothing' }
    this.#by = 'keypad'
    return this.#entry.length >= max ? this.#ended() : { type: 'wait', ms: betweenMs }
  }

  /** Words of the caller that do not change any more. */
  words(text: string): CollectionStep {
    const { min, max, betweenMs, firstMs } = this.spec
    const plain = plainText(text)
    const digits = digitsIn(plainWords(text), max)
    if (this.#confirming && digits.length < min) {
      if (hasPhrase(plain, NO)) return this.#again()
      if (hasPhrase(plain, YES)) return this.#collected()
    }
    if (digits !== '') {
      const before = this.#confirming ? '' : this.#entry
      this.#confirming = false
      this.#by = 'speech'
      // A caller who begins again says the whole number; one who goes on says the rest.
      this.#entry = before.length + digits.length <= max ? before + digits : digits
      if (this.#entry.length > max) return this.#again()
      return this.#entry.length === max ? this.#ended() : { type: 'wait', ms: betweenMs }
    }
    if (plain === '' || isBackchannel(text, LISTENING_WORDS)) return { type: 'nothing' }
    if (asksToRepeat(text)) return { type: 'ask', what: this.#confirming ? 'confirm' : 'say' }
    if (asksToWait(text, false)) return { type: 'wait', ms: 2 * firstMs }
    return { type: 'failed', error: 'The caller said something else. Answer it.', said: text }
  }

  /** The deadline has passed. */
  overdue(): CollectionStep {
    return this.#confirming || this.#entry.length < this.spec.min ? this.#again() : this.#ended()
  }

  #ended(): CollectionStep {
    if (this.#entry.length < this.spec.min) return this.#again()
    if (this.spec.confirm === null) return this.#collected()
    this.#confirming = true
    return { type: 'ask', what: 'confirm' }
  }

  #collected(): CollectionStep {
    return { type: 'collected', by: this.#by }
  }

  #again(): CollectionStep {
    this.#entry = ''
    this.#confirming = false
    if (this.#retriesLeft === 0)
      return { type: 'failed', error: 'The caller did not give the digits, although asked again.' }
    this.#retriesLeft--
    return { type: 'ask', what: 'again' }
  }
}

/** How one entry is taken from the caller; plain data. */
export const collectionSchema = z.object({
  name: z.string(),
  /** The question to the caller. */
  say: phraseSchema,
  /** Said before that when an entry was not usable, or nothing came. */
  again: phraseSchema,
  /** Reads the digits back (`{{digits}}`) and asks for 1 or 2; null: not asked. */
  confirm: phraseSchema.nullable(),
  min: z.number(),
  max: z.number(),
  /** Ends an entry; the other one of # and * clears it. */
  terminator: z.enum(['#', '*']),
  /** Quiet after the question before the caller is asked again. */
  firstMs: z.number(),
  /** Quiet after a digit that ends an entry. */
  betweenMs: z.number(),
  retries: z.number(),
  /** The digits may be said too. Never where they are secret. */
  speech: z.boolean(),
  /** How many digits at the end the records show; null: all. */
  maskAllBut: z.number().nullable(),
  /** The tool that alone gets the digits, as that argument; null: the model gets them. */
  secretFor: z.object({ tool: z.string(), argument: z.string() }).nullable(),
})

/** Id of the tool's call that gets the secret digits which the model's call asked for. */
export function secretCallId(callId: string): string {
  return `${callId}:digits`
}

/** @param shown digits at the end that stay readable */
export function maskedDigits(digits: string, shown = 0): string {
  const hidden = Math.max(0, digits.length - shown)
  return MASK.repeat(hidden) + digits.slice(hidden)
}

/** The digits as they are read back. */
export function readBack(digits: string): string {
  return [...digits].join(', ')
}
