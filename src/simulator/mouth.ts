import { voicedExtent } from './speech-spans.js'

/** Something the caller says or presses, as sound at the leg's rate. */
export interface Utterance {
  readonly text: string
  readonly pcm: Int16Array
}

export interface Said {
  readonly text: string
  /** First and last voiced sample. */
  readonly startMs: number
  readonly endMs: number
}

/** The caller's mouth: plays one utterance after the other into the line, silence in between. */
export class Mouth {
  readonly said: Said[] = []
  readonly #sampleRateHz: number
  readonly #queue: Utterance[] = []
  #at = 0

  constructor(sampleRateHz: number) {
    this.#sampleRateHz = sampleRateHz
  }

  get speaking(): boolean { return this.#queue.length > 0 }

  say(utterance: Utterance): void {
    this.#queue.push(utterance)
  }

  /** Falls silent at once. */
  stop(): void {
    this.#queue.length = 0
    this.#at = 0
  }

  /**
   * Writes the next frame, whose first sample is spoken at `startMs`.
   * @returns the utterance that ended in this frame, if one did.
   */
  read(out: Int16Array, startMs: number): Utterance | null {
    out.fill(0)
    const current = this.#queue[0]
    if (current === undefined) return null
    if (this.#at === 0) this.#note(current, startMs)
    const part = current.pcm.subarray(this.#at, this.#at + out.length)
    out.set(part)
    this.#at += part.length
    if (this.#at < current.pcm.length) return null
    this.#queue.shift()
    this.#at = 0
    return current
  }

  #note(utterance: Utterance, startMs: number): void {
    const { from, to } = voicedExtent(utterance.pcm, this.#sampleRateHz)
    if (to === 0) return
    const toMs = (samples: number): number => startMs + samples * 1000 / this.#sampleRateHz
    this.said.push({ text: utterance.text, startMs: toMs(from), endMs: toMs(to) })
  }
}
