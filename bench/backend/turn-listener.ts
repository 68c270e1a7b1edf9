/**
 * Minimum level of a loud sample. A caller's turn begins and ends with a tone that is much louder; an echo of the agent
 * is much softer.
 */
const LOUD = 3000

/** Turn of the caller. It ended because the silence after it was long enough. */
interface HeardTurn {
  /** Duration in ms from the first loud sample to the last. */
  readonly turnMs: number
  /** Duration in ms of further silence: the message in which the turn's silence became long enough contained more. */
  readonly surplusMs: number
}

/**
 * Finds the turns of a caller in the received audio. Like a service with its own turn detection, it does not use the
 * times at which the audio arrives.
 */
export class TurnListener {
  readonly #silenceMs: number
  readonly #perMs: number
  #position = 0
  #firstLoud = -1
  #lastLoud = -1

  /** @param silenceMs  silence in ms that ends a turn; Infinity if only `end` ends a turn */
  constructor(silenceMs: number, sampleRateHz: number) {
    this.#silenceMs = silenceMs
    this.#perMs = sampleRateHz / 1000
  }

  /** @returns 'began' with the first loud sample of a turn; the turn when it is over; otherwise null */
  hear(pcm: Int16Array): 'began' | HeardTurn | null {
    const first = pcm.findIndex(isLoud)
    const begins = first >= 0 && this.#firstLoud < 0
    if (begins) this.#firstLoud = this.#position + first
    if (first >= 0) this.#lastLoud = this.#position + pcm.findLastIndex(isLoud)
    this.#position += pcm.length
    if (begins) return 'began'
    if (this.#firstLoud < 0) return null
    const surplusMs = (this.#position - this.#lastLoud - 1) / this.#perMs - this.#silenceMs
    if (surplusMs < 0) return null
    return { turnMs: this.end() as number, surplusMs }
  }

  /**
   * Ends the turn by a decision from outside.
   * @returns the turn's duration in ms; null if no turn had begun
   */
  end(): number | null {
    if (this.#firstLoud < 0) return null
    const turnMs = (this.#lastLoud + 1 - this.#firstLoud) / this.#perMs
    this.#firstLoud = -1
    return turnMs
  }
}

function isLoud(sample: number): boolean {
  return sample >= LOUD || sample <= -LOUD
}
