import { z } from 'zod'
import { hasPhrase, isBackchannel, phraseSet, plainText } from '../turns/backchannel.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { phraseSchema, spokenSchema as spoken, textsOf } from '../spoken/localized-text.js'
import type { LocalizedText } from '../spoken/localized-text.js'
import { digitsIn, plainWords } from '../spoken/spoken-numbers.js'
import { LISTENING_WORDS, asksToRepeat, asksToWait } from '../turns/turn-words.js'
import { wordsOf } from '../words/languages.js'

/** Maximum number of entries that one agent may define. */
const COLLECTIONS_MAX = 12
/** Maximum number of digits in one entry: a card number has 19, an account number up to 24. */
export const COLLECTED_DIGITS_MAX = 32
/** Maximum number of times that a caller is asked again. */
const COLLECTION_RETRIES_MAX = 5
/**
 * Maximum duration of an entry, including prompts and retries, in milliseconds. After this time the model continues
 * without the digits.
 */
const COLLECTION_MS_MAX = 180_000
/**
 * Time for which the line stays private after the last digit of a secret entry, in milliseconds. In this time the last
 * key may still sound, and callers may press another digit by habit.
 */
export const PRIVATE_TAIL_MS = 2000
/**
 * Time after a complete entry in which another digit is ignored, in milliseconds. Such a digit is a habit, or belongs
 * to a number that is too long.
 */
export const KEY_LATE_MS = 2000
/** Minimum number of digits of an entry that is masked in other values too. Shorter numbers occur there by chance. */
export const REPEATED_DIGITS_MIN = 3
/** Placeholder for a digit that the session must not receive. */
export const SECRET_DIGIT = 'x'
/** Placeholder for a digit in a record. */
const MASK = '•'

const YES = phraseSet(wordsOf('yes'))
const NO = phraseSet(wordsOf('no'))
export type Collection = DocumentOf<typeof collectionSchema>

/** Step that follows a digit, words or a timeout. */
export type CollectionStep =
  /** Do nothing; the deadline does not change. */
  | { readonly type: 'nothing' }
  /** Wait at most this time for the next digit. */
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'ask'; readonly what: 'say' | 'again' | 'confirm' }
  | { readonly type: 'collected'; readonly by: 'keypad' | 'speech' }
  /**
   * End the entry with an error. `said`: the caller's words if these are not digits; the model should answer these
   * words.
   */
  | { readonly type: 'failed'; readonly error: string; readonly said?: string }

/**
 * Takes one entry of digits from a caller, by DTMF digits or in words. This class only decides about the next step; the
 * session speaks, waits and answers the model.
 *
 *     entering   --digit--> entering --max digits, terminator or quiet with at least min--> confirming | collected
 *     entering   --# or *, if it is not the terminator--> entering, empty
 *     entering   --too few digits, or none in time--> asked again, `retries` times, then failed
 *     entering   --words without digits--> failed: the model answers them
 *     confirming --1, yes--> collected;  --2, no--> asked again;  --other digits in words--> entering
 */
export class DigitCollection {
  readonly spec: Collection
  /** Tool call that requested the entry. */
  readonly callId: string
  /** Arguments of the tool that receives secret digits, without the digits. */
  readonly toolArgs: Readonly<Record<string, unknown>>
  /** Latest end of the entry; at this time the entry fails. */
  readonly untilMs: number
  /** True while the tool that receives secret digits runs. */
  running = false
  /**
   * True if the tool that receives the digits has answered. The tool's answer is the result, even if the entry is
   * abandoned.
   */
  answered = false
  /** Item of the question that the caller hears; null after the question was heard or answered. */
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

  /** Digits so far; a secret entry has only placeholders for them. */
  get entry(): string {
    return this.#entry
  }

  /** Entry in the form that a record may contain. */
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

  /** Takes final words of the caller. */
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
      // A caller who starts again says the whole number; a caller who continues says only the missing digits.
      this.#entry = before.length + digits.length <= max ? before + digits : digits
      if (this.#entry.length > max) return this.#again()
      return this.#entry.length === max ? this.#ended() : { type: 'wait', ms: betweenMs }
    }
    if (plain === '' || isBackchannel(text, LISTENING_WORDS)) return { type: 'nothing' }
    if (asksToRepeat(text)) return { type: 'ask', what: this.#confirming ? 'confirm' : 'say' }
    if (asksToWait(text, false) !== null) return { type: 'wait', ms: 2 * firstMs }
    return { type: 'failed', error: 'The caller said something else. Answer it.', said: text }
  }

  /** Acts on the deadline, which has passed. */
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

const count = z.int().min(1).max(COLLECTED_DIGITS_MAX)

const CONFIRM: LocalizedText = {
  en: 'I have {{digits}}. Press 1 if that is right, or 2 to enter it again.',
  sw: 'Nimepata {{digits}}. Bonyeza moja kama ni sahihi, au mbili kuingiza tena.',
}

const entrySchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][A-Za-z0-9_-]{0,39}$/, {
      error: 'must be 1 to 40 characters of a-z A-Z 0-9 _ -, beginning with a small letter',
    })
    .describe(
      'Name of the entry, for the model: 1 to 40 characters of a-z A-Z 0-9 _ -, beginning with a small letter.',
    ),
  description: z.string().min(1).max(1000).describe('Text for the model that says when to ask for the entry.'),
  say: spoken.describe('Question to the caller, which the gateway speaks in place of the model.'),
  again: spoken
    .default({ en: 'I did not get all the digits.', sw: 'Sijapata tarakimu zote.' })
    .describe('Spoken before `say` if the caller entered too few digits, or no digits.'),
  length: z
    .union(
      [
        count,
        z.strictObject({
          min: count.describe('Minimum number of digits.'),
          max: count.describe('Maximum number of digits.'),
        }),
      ],
      {
        error: `must be a number of 1 to ${COLLECTED_DIGITS_MAX}, or { min, max }`,
      },
    )
    .describe('Number of digits, or { min, max }. An entry with `max` digits ends by itself.'),
  terminator: z
    .enum(['#', '*'])
    .default('#')
    .describe('DTMF key, # or *, that ends an entry. The other of these two keys clears the entry.'),
  firstS: z
    .number()
    .min(2)
    .max(60)
    .default(10)
    .describe('Silence in seconds after the question, before the question is repeated.'),
  betweenS: z.number().min(1).max(20).default(4).describe('Silence in seconds after a digit that ends the entry.'),
  retries: z
    .int()
    .min(0)
    .max(COLLECTION_RETRIES_MAX)
    .default(2)
    .describe('Maximum number of repetitions of the question. Then the model continues without the digits.'),
  confirm: z
    .union([z.literal(true).transform(() => CONFIRM), z.literal(false).transform(() => null), spoken])
    .default(null)
    .describe(
      'Reads the digits back to the caller. 1 or "yes" confirms; 2 or "no" repeats the question. true: with a sentence of the gateway. A text: your sentence, which must contain {{digits}}. Default: false.',
    ),
  speech: z
    .boolean()
    .optional()
    .describe(
      'Lets the caller also say the digits: in English, Swahili or both, in parts, or mixed with DTMF keys. Default: true, unless the entry is sensitive.',
    ),
  maskAllBut: z
    .int()
    .min(0)
    .max(4)
    .nullable()
    .default(null)
    .describe(
      'Number of last digits that the record of the tool call shows. Transcript and journal still have spoken digits. null: all digits.',
    ),
  sensitive: z
    .boolean()
    .default(false)
    .describe('Sends the digits only to `tool`. Model, transcript, log, journal and recording do not get them.'),
  tool: z
    .string()
    .optional()
    .describe(
      'Tool of the agent, or verify_caller, that gets the sensitive digits. The model cannot call this tool itself. Required for a sensitive entry, and not allowed for any other entry.',
    ),
  argument: z.string().optional().describe('Argument of this tool that gets the digits.'),
})

/** `digits:` of an agent's file: values that callers enter digit by digit, with the tool `collect_digits`. */
export const digitsSchema = z
  .array(
    entrySchema.superRefine((entry, context) => {
      const fault = (key: string, message: string): void => context.addIssue({ code: 'custom', path: [key], message })
      const { length, sensitive, confirm } = entry
      if (typeof length !== 'number' && length.min > length.max) fault('length', 'has a min above its max')
      for (const key of ['tool', 'argument'] as const) {
        if (sensitive && entry[key] === undefined) fault(key, 'is missing: nothing else may get sensitive digits')
        if (!sensitive && entry[key] !== undefined) fault(key, 'is for sensitive digits; set sensitive: true')
      }
      if (sensitive && entry.speech === true) fault('speech', 'is not possible: what is said goes to the model')
      if (sensitive && confirm !== null) fault('confirm', 'is not possible: what is said goes to the transcript')
      if (sensitive && entry.maskAllBut !== null) fault('maskAllBut', 'is not possible: no record has sensitive digits')
      if (confirm !== null && textsOf(confirm).some((text) => !text.includes('{{digits}}')))
        fault('confirm', 'must have {{digits}} in it')
    }),
  )
  .max(COLLECTIONS_MAX)
  .superRefine((entries, context) => {
    entries.forEach(({ name }, index) => {
      if (entries.findIndex((other) => other.name === name) < index)
        context.addIssue({ code: 'custom', path: [index, 'name'], message: `${name} is the name of an earlier entry` })
    })
  })

export type DigitEntry = z.output<typeof digitsSchema>[number]

const same = { name: true, say: true, again: true, terminator: true, retries: true, maskAllBut: true } as const
/** Settings of one entry; plain data. */
export const collectionSchema = inSession(entrySchema.pick(same).shape).extend({
  confirm: phraseSchema.nullable(),
  min: z.number(),
  max: z.number(),
  firstMs: z.number(),
  betweenMs: z.number(),
  /** True if the caller may say the digits in words; never true for secret digits. */
  speech: z.boolean(),
  /** Tool that alone receives the digits, and its argument; null if the model receives the digits. */
  secretFor: z.object({ tool: z.string(), argument: z.string() }).nullable(),
})

/** Returns an entry in the form of a session's options. */
export function collectionOf(entry: DigitEntry): Collection {
  const { description: _, length, tool, argument, firstS, betweenS, sensitive, speech = !sensitive, ...rest } = entry
  return {
    ...rest,
    ...(typeof length === 'number' ? { min: length, max: length } : length),
    ...{ firstMs: firstS * 1000, betweenMs: betweenS * 1000, speech },
    secretFor: tool === undefined || argument === undefined ? null : { tool, argument },
  }
}

/** Id of the tool call that receives secret digits. It is derived from the id of the model's tool call. */
export function secretCallId(callId: string): string {
  return `${callId}:digits`
}

/** Returns secret digits for the session: SECRET_DIGIT for each digit; pauses are unchanged. */
export function secretKeys(keys: string): string {
  return keys.replace(/[^w]/g, SECRET_DIGIT)
}

/** @param shown  number of digits at the end that stay readable */
export function maskedDigits(digits: string, shown = 0): string {
  const hidden = Math.max(0, digits.length - shown)
  return MASK.repeat(hidden) + digits.slice(hidden)
}

/** Returns the digits as they are read back to the caller. */
export function readBack(digits: string): string {
  return [...digits].join(', ')
}
