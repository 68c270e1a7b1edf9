import type { CallSessionOptions } from './call-options.js'
import type { LocalizedText } from './localized-text.js'
import { saysOneMoment } from './turn-words.js'

type FillerOptions = CallSessionOptions['filler']

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
