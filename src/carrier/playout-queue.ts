/**
 * The carrier's playout of the gateway's audio, modelled on the fork module of its lineage. It has a hold-back before
 * the queue, a queue without back-pressure, and plays 20 ms per tick. The numbers were observed with a client of that
 * module.
 */

/** Number of samples that must arrive before playing starts, at any sample rate. */
export const HOLD_BACK_FIRST_SAMPLES = 1280
/** Number of samples that must arrive before new samples are released, after the start. */
export const HOLD_BACK_SAMPLES = 640
/** Maximum number of waiting marks. Further marks are refused. */
export const MARKS_WAITING_MAX = 30
/**
 * Sample value that represents a mark in the queue. While a mark waits, a real sample of this value counts as the mark.
 */
const MARK_SAMPLE = -1
/** Maximum number of samples in this queue: ten minutes at 16 kHz. The real queue is unbounded. */
const QUEUED_SAMPLES_MAX = 16_000 * 600

/** Reads samples of s16le in pieces of any size. An odd last byte waits for the next piece. */
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
  /** Number of samples of agent audio written; the remaining frame is silence. */
  readonly samples: number
  /** Marks that were reached in this tick. */
  readonly marks: readonly string[]
}

export class PlayoutQueue {
  samplesPlayed = 0
  /** Number of samples discarded by killAudio. */
  samplesFlushed = 0
  #ring = new Int16Array(1 << 15)
  #head = 0
  #released = 0
  #held = 0
  readonly #holdsBack: boolean
  #holdBackSamples: number
  readonly #bytes = new SampleBytes()
  #killAtNextTick = false
  #marksWaiting: string[] = []

  /** @param holdsBack  false: samples play without the hold-back */
  constructor(holdsBack = true) {
    this.#holdsBack = holdsBack
    this.#holdBackSamples = holdsBack ? HOLD_BACK_FIRST_SAMPLES : 0
  }

  /** Number of samples that will play even if the gateway sends no more audio. */
  get releasedSamples(): number {
    return this.#released
  }

  /** Adds one binary frame of s16le of any size; an odd last byte waits for the next frame. */
  push(bytes: Uint8Array): void {
    this.#bytes.take(bytes, (sample) => this.#append(sample))
    if (this.#held < this.#holdBackSamples) return
    this.#released += this.#held
    this.#held = 0
    if (this.#holdsBack) this.#holdBackSamples = HOLD_BACK_SAMPLES
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
   * At the next tick, discards the queue and all audio that has arrived until then. The held-back samples stay.
   * @returns the names of the waiting marks, which are removed
   */
  kill(): string[] {
    this.#killAtNextTick = true
    return this.clearMarks()
  }

  /**
   * Plays 20 ms.
   * @param out one frame at the leg's rate, overwritten; silence if no audio is queued
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
