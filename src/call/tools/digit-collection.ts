import { z } from 'zod'
import { hasPhrase, isBackchannel, phraseSet, plainText } from '../turns/backchannel.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { phraseSchema, spokenSchema as spoken, textsOf } from '../spoken/localized-text.js'
import type { LocalizedText } from '../spoken/localized-text.js'
import { digitsIn, plainWords } from '../spoken/spoken-numbers.js'
import { LISTENING_WORDS, asksToRepeat, asksToWait } from '../turns/turn-words.js'
import { wordsOf } from '../words/languages.js'

/** Entries that one agent may ask for. */
const COLLECTIONS_MAX = 12
/** Digits of one entry: a card number has 19, an account number up to 24. */
export const COLLECTED_DIGITS_MAX = 32
/** Times that a caller may be asked again. */
const COLLECTION_RETRIES_MAX = 5
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
  /** The tool that gets them has answered: its answer is the result, whatever it leads to. */
  answered = false
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

const count = z.int().min(1).max(COLLECTED_DIGITS_MAX)

const CONFIRM: LocalizedText = {
  en: 'I have {{digits}}. Press 1 if that is right, or 2 to enter it again.',
  sw: 'Nimepata {{digits}}. Bonyeza moja kama ni sahihi, au mbili kuingiza tena.',
}

const entrySchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][A-Za-z0-9_-]{0,39}$/, {
      error: 'must be 1 to 40 of a-z A-Z 0-9 _ -, beginning with a small letter',
    })
    .describe('By which the model asks for it.'),
  description: z.string().min(1).max(1000).describe('When the model asks for it.'),
  say: spoken.describe('The question to the caller. The gateway says it, so that the model need not.'),
  again: spoken
    .default({ en: 'I did not get all the digits.', sw: 'Sijapata tarakimu zote.' })
    .describe('Said before `say` when the digits were too few, or none came.'),
  length: z
    .union([count, z.strictObject({ min: count.describe('Fewest digits.'), max: count.describe('Most digits.') })], {
      error: `must be a number of 1 to ${COLLECTED_DIGITS_MAX}, or { min, max }`,
    })
    .describe('How many digits it has. An entry of `max` digits ends by itself.'),
  terminator: z.enum(['#', '*']).default('#').describe('Ends an entry; the other one of # and * clears it.'),
  firstS: z.number().min(2).max(60).default(10).describe('Silence after the question, before it is asked again.'),
  betweenS: z.number().min(1).max(20).default(4).describe('Silence after a digit that ends the entry.'),
  retries: z.int().min(0).max(COLLECTION_RETRIES_MAX).default(2).describe('How often the caller is asked again.'),
  confirm: z
    .union([z.literal(true).transform(() => CONFIRM), z.literal(false).transform(() => null), spoken])
    .default(null)
    .describe('Reads the digits back. true: in a sentence of the gateway; a text of yours has {{digits}} in it.'),
  speech: z.boolean().optional().describe('Lets the caller say the digits too. Default: unless it is sensitive.'),
  maskAllBut: z
    .int()
    .min(0)
    .max(4)
    .nullable()
    .default(null)
    .describe("How many digits at the end the call's record shows. Default: all."),
  sensitive: z
    .boolean()
    .default(false)
    .describe('Neither model, transcript, log, journal nor recording gets the digits; `tool` alone does.'),
  tool: z.string().optional().describe('The tool that gets sensitive digits. The model cannot call it itself.'),
  argument: z.string().optional().describe('Its argument for the digits.'),
})

/** `digits:` of an agent's file: values that it takes from its callers digit by digit, with the tool `collect_digits`. */
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
/** How one entry is taken from the caller; plain data. */
export const collectionSchema = inSession(entrySchema.pick(same).shape).extend({
  confirm: phraseSchema.nullable(),
  min: z.number(),
  max: z.number(),
  firstMs: z.number(),
  betweenMs: z.number(),
  /** Never where the digits are secret. */
  speech: z.boolean(),
  /** The tool that alone gets the digits, as that argument; null: the model gets them. */
  secretFor: z.object({ tool: z.string(), argument: z.string() }).nullable(),
})

/** An entry as a session gets it. */
export function collectionOf(entry: DigitEntry): Collection {
  const { description: _, length, tool, argument, firstS, betweenS, sensitive, speech = !sensitive, ...rest } = entry
  return {
    ...rest,
    ...(typeof length === 'number' ? { min: length, max: length } : length),
    ...{ firstMs: firstS * 1000, betweenMs: betweenS * 1000, speech },
    secretFor: tool === undefined || argument === undefined ? null : { tool, argument },
  }
}

/** Id of the tool's call that gets the secret digits which the model's call asked for. */
export function secretCallId(callId: string): string {
  return `${callId}:digits`
}

/** Keys as a session may have them where nobody is to read them: SECRET_DIGIT for each, pauses as they are. */
export function secretKeys(keys: string): string {
  return keys.replace(/[^w]/g, SECRET_DIGIT)
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
