import { FADE_MS } from '../../core/limits.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import type { LegRateHz } from '../../core/units.js'
import { RECALLED_SAMPLES, Word } from '../shared/shared-call-layout.js'
import type { SharedCall } from '../shared/shared-call.js'

/** Agent audio kept for one call ahead of playout, ring and overflow together; more is dropped and counted. */
export const PLAYOUT_BACKLOG_MS_MAX = 180_000

/** Samples that are worth moving from the backlog at once: a quarter of a second at 16 kHz. */
const REFILL_SAMPLES = 4096

/** Speech that did not fit into the ring. */
interface Chunk {
  readonly samples: Int16Array
  from: number
}

/**
 * The worker's end of playout: samples at the leg's rate go into the shared ring, and what does not fit waits here
 * until the main thread has sent enough. Backends speak many times faster than real time, so a whole answer may
 * wait. Beyond PLAYOUT_BACKLOG_MS_MAX, samples are dropped and counted.
 */
export class PlayoutFeed {
  /** Samples dropped because the backlog was full. */
  droppedSamples = 0
  readonly #shared: SharedCall
  readonly #rateHz: LegRateHz
  readonly #backlog: Chunk[] = []
  #backlogSamples = 0
  /** Items that were begun and are not finished: more samples of them may come. */
  readonly #open = new Set<string>()

  constructor(shared: SharedCall, rateHz: LegRateHz) {
    this.#shared = shared
    this.#rateHz = rateHz
  }

  /** Speech that waits in ring and backlog, ms. */
  get pendingMs(): number {
    return samplesToMs(this.#backlogSamples + this.#shared.outbound.available(), this.#rateHz)
  }

  /** Absolute count of the next sample to be appended, on the ring's scale. */
  get position(): number {
    return (this.#shared.outbound.written + this.#backlogSamples) >>> 0
  }

  begin(itemId: string): void {
    this.#open.add(itemId)
    this.#publish()
  }

  finish(itemId: string): void {
    this.#open.delete(itemId)
    this.#publish()
  }

  /** Copies the samples. @returns how many were taken: fewer only when the backlog is full */
  append(samples: Int16Array): number {
    const free = Math.max(0, msToSamples(PLAYOUT_BACKLOG_MS_MAX, this.#rateHz) - this.#backlogSamples)
    const taken = Math.min(samples.length, free)
    this.droppedSamples += samples.length - taken
    let written = 0
    if (this.#backlogSamples === 0) {
      written = Math.min(taken, this.#fits())
      if (written > 0) this.#shared.outbound.write(written === samples.length ? samples : samples.subarray(0, written))
    }
    if (written < taken) {
      this.#backlog.push({ samples: samples.slice(written, taken), from: 0 })
      this.#backlogSamples += taken - written
    }
    this.#publish()
    return taken
  }

  /** Speech waits for room in the ring. */
  get waits(): boolean {
    return this.#backlogSamples > 0
  }

  /** Moves from the backlog into the ring what fits; called once a tick. */
  refill(): void {
    // A few samples at every tick would be a waste: the ring holds two seconds or more.
    if (this.#backlogSamples === 0 || this.#fits() < Math.min(REFILL_SAMPLES, this.#backlogSamples)) return
    while (this.#backlogSamples > 0) {
      const free = this.#fits()
      const chunk = this.#backlog[0]
      if (free === 0 || chunk === undefined) return
      const count = Math.min(free, chunk.samples.length - chunk.from)
      this.#shared.outbound.write(chunk.samples.subarray(chunk.from, chunk.from + count))
      chunk.from += count
      this.#backlogSamples -= count
      if (chunk.from === chunk.samples.length) this.#backlog.shift()
    }
    this.#publish()
  }

  pause(): void {
    Atomics.store(this.#shared.words, Word.paused, 1)
  }

  resume(): void {
    Atomics.store(this.#shared.words, Word.paused, 0)
  }

  /** Discards all samples that were not sent yet, and has the carrier flush its buffer. */
  clear(): void {
    this.#backlog.length = 0
    this.#backlogSamples = 0
    this.#open.clear()
    this.#shared.outbound.discard()
    Atomics.store(this.#shared.words, Word.paused, 0)
    // After the discard: a reader that sees the new count must find no old samples.
    Atomics.add(this.#shared.words, Word.clears, 1)
    this.#publish()
  }

  /**
   * Samples that fit into the ring. The samples taken last are not overwritten: they are the reference for the echo.
   */
  #fits(): number {
    return Math.max(0, this.#shared.outbound.free - RECALLED_SAMPLES)
  }

  #publish(): void {
    const { words } = this.#shared
    const more = this.#backlogSamples > 0 || this.#open.size > 0 ? 1 : 0
    // Written only when it changes, so that its cache line stays with the main thread, which reads it at every tick.
    if (words[Word.more] !== more) Atomics.store(words, Word.more, more)
  }
}

/** Length of the zeros that push an item's last samples out of a resampler: longer than its filter. */
export const RESAMPLER_FLUSH_MS = 2 * FADE_MS
