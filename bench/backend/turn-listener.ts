/** Loud: a caller's turn begins and ends with a tone well above it, and an echo of the agent is well below. */
const LOUD = 3000

/** A turn of the caller, once it was silent for long enough. */
interface HeardTurn {
  /** From the first loud sample to the last. */
  readonly turnMs: number
  /** How much more silence was heard than the end of a turn takes: the message that had its end was longer. */
  readonly surplusMs: number
}

/** Finds the turns of a caller as a service with its own turn detection does: in the audio that came, whenever it came. */
export class TurnListener {
  readonly #silenceMs: number
  readonly #perMs: number
  #position = 0
  #firstLoud = -1
  #lastLoud = -1

  /** @param silenceMs  of this much silence a turn ends; Infinity where only `end` ends one */
  constructor(silenceMs: number, sampleRateHz: number) {
    this.#silenceMs = silenceMs
    this.#perMs = sampleRateHz / 1000
  }

  /** @returns 'began' with the first loud sample of a turn, the turn when it is over, else null */
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

  /** Somebody else says that the turn is over. @returns how long it was; null where none had begun */
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
