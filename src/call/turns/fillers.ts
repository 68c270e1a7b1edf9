import { z } from 'zod'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import { phraseSchema, spokenSchema as spoken } from '../spoken/localized-text.js'
import type { LocalizedText } from '../spoken/localized-text.js'
import { saysOneMoment } from './turn-words.js'

/** Interval at which a filler is tried again while the caller or the agent speaks, in milliseconds. */
export const FILLER_POLL_MS = 100

/**
 * Fillers for a caller who waits. Each turn has at most one filler, for any cause: a running tool, a late model, a
 * replaced backend. If the model itself says "one moment", this counts as the filler. Another filler follows only while
 * a tool still runs, `everyMs` later.
 */
export class Fillers {
  readonly #options: FillerOptions
  /** Number of fillers in this turn, including fillers of the model. */
  #said = 0
  #next = 0

  constructor(options: FillerOptions) {
    this.#options = options
  }

  /** Notes that the caller has said something new. */
  turn(): void {
    this.#said = 0
  }

  /** Takes words of the model in this turn. */
  modelSays(text: string): void {
    if (this.#said === 0 && saysOneMoment(text)) this.#said = 1
  }

  /** Minimum quiet before the next filler while a tool runs, in milliseconds. */
  get neededMs(): number {
    return this.#said > 0 ? this.#options.everyMs : this.#options.afterMs
  }

  /** True before the first filler of this turn. */
  get none(): boolean {
    return this.#said === 0
  }

  /** @returns the next filler; null if the agent does not have fillers */
  take(): LocalizedText | null {
    const { texts } = this.#options
    const text = texts[this.#next % texts.length]
    if (text === undefined) return null
    this.#said++
    this.#next++
    return text
  }

  /** Notes that the last filler was not heard. */
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
    .default(700) // callers begin to say "hello?" after a pause of 700 ms
    .describe(
      'Silence in ms while a tool runs, before the first filler of a turn. A "one moment" of the model, and a filler during a takeover by another backend, count as fillers.',
    ),
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
      "Time from the end of the caller's words to a filler if no tool runs and the answer is late. There is no filler after a greeting or thanks. If the answer comes before the filler begins, the filler is dropped. null: no such filler.",
    ),
  phrases: z
    .array(spoken)
    .max(10)
    .default([
      { en: 'One moment, please.', sw: 'Subiri kidogo, tafadhali.' },
      { en: 'I am still looking, thank you for waiting.', sw: 'Bado naangalia, asante kwa kusubiri.' },
    ])
    .describe('Fillers. They are spoken in this order. An empty list: no fillers.'),
})

const { phrases: _, ...pauses } = fillersSchema.shape
/** The section in a session, with the phrases in `texts`. */
export const fillerOptionsSchema = inSession({ ...pauses, texts: z.array(phraseSchema) }, ['answerAfterMs'])
type FillerOptions = DocumentOf<typeof fillerOptionsSchema>
