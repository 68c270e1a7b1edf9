/**
 * How the carrier plays the audio that the gateway sends, modelled on the fork module of its lineage: a hold-back
 * before the queue, a queue without back-pressure, and 20 ms played each tick. The figures were observed on that
 * module's client.
 */

/** Playing starts when this many samples have arrived, at any sample rate. */
export const HOLD_BACK_FIRST_SAMPLES = 1280
/** After the start, new samples are held back until there are this many. */
export const HOLD_BACK_SAMPLES = 640
/** Bound of the waiting marks. Further marks are refused. */
export const MARKS_WAITING_MAX = 30
/** A mark is queued as this sample value. While a mark waits, a real sample of that value counts as the mark. */
const MARK_SAMPLE = -1
/** The real queue has no bound. This one holds ten minutes at 16 kHz. */
const QUEUED_SAMPLES_MAX = 16_000 * 600

/** Samples of s16le in pieces of any size: an odd last byte waits for the next piece. */
export class SampleBytes {
  #oddByte = -1

  take(bytes: Uint8Array, append: (sample: number) => void): void {
    let at = 0
    if (this.#oddByte >= 0 && bytes.length > 0) {
      append((((bytes[0] as number) << 24) >> 16) | this.#oddByte)
      this.#oddByte = -1
      at = 1
    }
    for (; at + 1 < bytes.length; at += 2) append((((bytes[at + 1] as number) << 24) >> 16) | (bytes[at] as number))
    if (at < bytes.length) this.#oddByte = bytes[at] as number
  }
}

interface PlayoutTick {
  /** Samples of agent audio written; the rest of the frame is silence. */
  readonly samples: number
  /** Marks that were reached in this tick. */
  readonly marks: readonly string[]
}

export class PlayoutQueue {
  samplesPlayed = 0
  /** Discarded by killAudio. */
  samplesFlushed = 0
  #ring = new Int16Array(1 << 15)
  #head = 0
  #released = 0
  #held = 0
  #holdBackSamples = HOLD_BACK_FIRST_SAMPLES
  readonly #bytes = new SampleBytes()
  #killAtNextTick = false
  #marksWaiting: string[] = []

  /** Samples that will play even if the gateway sends nothing more. */
  get releasedSamples(): number {
    return this.#released
  }

  /** Takes one binary frame of s16le in any size; an odd last byte waits for the next frame. */
  push(bytes: Uint8Array): void {
    this.#bytes.take(bytes, (sample) => this.#append(sample))
    if (this.#held < this.#holdBackSamples) return
    this.#released += this.#held
    this.#held = 0
    this.#holdBackSamples = HOLD_BACK_SAMPLES
  }

  /** Queues a mark after the audio received so far. @returns false if too many marks wait */
  mark(name: string): boolean {
    if (this.#marksWaiting.length >= MARKS_WAITING_MAX) return false
    this.#marksWaiting.push(name)
    this.#append(MARK_SAMPLE)
    return true
  }

  /** Removes all waiting marks and returns their names. */
  clearMarks(): string[] {
    return this.#marksWaiting.splice(0)
  }

  /**
   * Discards the queue at the next tick, with what arrives until then, but not what is held back.
   * @returns the names of the waiting marks, which it removes
   */
  kill(): string[] {
    this.#killAtNextTick = true
    return this.clearMarks()
  }

  /**
   * Plays 20 ms.
   * @param out one frame at the leg's rate; it is overwritten, with silence if nothing is queued
   */
  tick(out: Int16Array): PlayoutTick {
    if (this.#killAtNextTick) {
      this.#killAtNextTick = false
      this.samplesFlushed += this.#released
      this.#head = (this.#head + this.#released) % this.#ring.length
      this.#released = 0
    }
    const marks: string[] = []
    let written = 0
    while (written < out.length && this.#released > 0) {
      const sample = this.#ring[this.#head] as number
      this.#head = (this.#head + 1) % this.#ring.length
      this.#released--
      if (sample === MARK_SAMPLE && this.#marksWaiting.length > 0) marks.push(this.#marksWaiting.shift() as string)
      else out[written++] = sample
    }
    out.fill(0, written)
    this.samplesPlayed += written
    return { samples: written, marks }
  }

  #append(sample: number): void {
    const size = this.#released + this.#held
    if (size === this.#ring.length) {
      if (size >= QUEUED_SAMPLES_MAX) return
      this.#grow()
    }
    this.#ring[(this.#head + size) % this.#ring.length] = sample
    this.#held++
  }

  #grow(): void {
    const size = this.#ring.length
    const larger = new Int16Array(size * 2)
    larger.set(this.#ring.subarray(this.#head))
    larger.set(this.#ring.subarray(0, this.#head), size - this.#head)
    this.#ring = larger
    this.#head = 0
  }
}
