import { z } from 'zod'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { phraseSchema, spokenSchema as spoken } from '../spoken/localized-text.js'
import type { LocalizedText } from '../spoken/localized-text.js'
import { saysOneMoment } from './turn-words.js'

/** A filler is considered again after this while somebody speaks. */
export const FILLER_POLL_MS = 100

/**
 * Fillers are for a caller who waits. Each turn has one, whatever it is for: a tool that runs, a model that is late, a
 * backend that is replaced; and the model's own "one moment" is it too. A further one follows only while a tool still
 * runs, `everyMs` later.
 */
export class Fillers {
  readonly #options: FillerOptions
  /** In this turn, the model's own too. */
  #said = 0
  #next = 0

  constructor(options: FillerOptions) {
    this.#options = options
  }

  /** The caller has said something new. */
  turn(): void {
    this.#said = 0
  }

  /** Words of the model in this turn. */
  modelSays(text: string): void {
    if (this.#said === 0 && saysOneMoment(text)) this.#said = 1
  }

  /** Quiet that is needed before the next one while a tool runs. */
  get neededMs(): number {
    return this.#said > 0 ? this.#options.everyMs : this.#options.afterMs
  }

  /** Nothing was said in this turn that asks for patience. */
  get none(): boolean {
    return this.#said === 0
  }

  /** @returns the next one; null where the agent has none */
  take(): LocalizedText | null {
    const { texts } = this.#options
    const text = texts[this.#next % texts.length]
    if (text === undefined) return null
    this.#said++
    this.#next++
    return text
  }

  /** The last one was not heard. */
  unheard(): void {
    this.#said = Math.max(0, this.#said - 1)
    this.#next--
  }
}

/** `fillers:` of an agent's file. */
export const fillersSchema = z.strictObject({
  afterMs: z
    .int()
    .min(200)
    .max(10_000)
    .default(700) // a pause of 700 ms is where callers begin to say "hello?"
    .describe('Silence while a tool runs, before a filler is spoken.'),
  everyMs: z
    .int()
    .min(2000)
    .max(30_000)
    .default(6000)
    .describe('Silence between two fillers of one turn, while a tool runs.'),
  answerAfterMs: z
    .int()
    .min(500)
    .max(10_000)
    .nullable()
    .default(2500) // callers say "hello?" after 3 to 4 s
    .describe(
      "From the end of the caller's words to a filler where no tool runs and the answer is late. null: no filler then.",
    ),
  phrases: z
    .array(spoken)
    .max(10)
    .default([
      { en: 'One moment, please.', sw: 'Subiri kidogo, tafadhali.' },
      { en: 'I am still looking, thank you for waiting.', sw: 'Bado naangalia, asante kwa kusubiri.' },
    ])
    .describe('Spoken one after the other; an empty list means silence.'),
})

const { phrases: _, ...pauses } = fillersSchema.shape
/** The same in a session, where the phrases are `texts`. */
export const fillerOptionsSchema = inSession({ ...pauses, texts: z.array(phraseSchema) }, ['answerAfterMs'])
type FillerOptions = DocumentOf<typeof fillerOptionsSchema>
