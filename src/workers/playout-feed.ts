import { FADE_MS, PLAYOUT_BACKLOG_MS_MAX } from '../core/limits.js'
import { msToSamples, samplesToMs } from '../core/units.js'
import type { LegRateHz } from '../core/units.js'
import { RECALLED_SAMPLES, Word } from './shared-call.js'
import type { SharedCall } from './shared-call.js'

/** What is worth being moved from the backlog: a quarter of a second at 16 kHz. */
const REFILL_SAMPLES = 4096

/** Speech that found no room in the ring, in the order it will be played. */
interface Chunk {
  readonly samples: Int16Array
  from: number
}

/**
 * The worker's end of playout: samples at the leg's rate go into the shared ring, and what does not fit waits here
 * until the main thread has played enough. Backends speak many times faster than real time, so a whole answer may
 * wait; past PLAYOUT_BACKLOG_MS_MAX samples are dropped and counted.
 */
export class PlayoutFeed {
  /** Samples dropped because the backlog was full. */
  droppedSamples = 0
  readonly #shared: SharedCall
  readonly #rateHz: LegRateHz
  readonly #backlog: Chunk[] = []
  #backlogSamples = 0
  /** Items that were begun and not finished: more of them is expected. */
  readonly #open = new Set<string>()

  constructor(shared: SharedCall, rateHz: LegRateHz) {
    this.#shared = shared
    this.#rateHz = rateHz
  }

  /** Speech that waits in ring and backlog, in milliseconds. */
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

  /** Copies all samples. @returns how many were taken: fewer only when the backlog is full. */
  append(samples: Int16Array): number {
    const room = Math.max(0, msToSamples(PLAYOUT_BACKLOG_MS_MAX, this.#rateHz) - this.#backlogSamples)
    const taken = Math.min(samples.length, room)
    this.droppedSamples += samples.length - taken
    let written = 0
    if (this.#backlogSamples === 0) {
      written = Math.min(taken, this.#room())
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

  /** Moves what fits from the backlog into the ring; once a tick. */
  refill(): void {
    // Not a few samples at every tick: the ring holds two seconds or more.
    if (this.#backlogSamples === 0 || this.#room() < Math.min(REFILL_SAMPLES, this.#backlogSamples)) return
    while (this.#backlogSamples > 0) {
      const free = this.#room()
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

  /** Throws away all that was not yet sent and has the carrier flushed. */
  clear(): void {
    this.#backlog.length = 0
    this.#backlogSamples = 0
    this.#open.clear()
    this.#shared.outbound.discard()
    Atomics.store(this.#shared.words, Word.paused, 0)
    // After the discard: whoever sees the count raised must not find old samples.
    Atomics.add(this.#shared.words, Word.clears, 1)
    this.#publish()
  }

  /** Samples that were taken last are not written over: on a mixed line they are the reference of the echo. */
  #room(): number {
    return Math.max(0, this.#shared.outbound.free - RECALLED_SAMPLES)
  }

  #publish(): void {
    const { words } = this.#shared
    const more = this.#backlogSamples > 0 || this.#open.size > 0 ? 1 : 0
    // Written only when it changes, so that the line stays in the cache of the main thread, which reads it at every tick.
    if (words[Word.more] !== more) Atomics.store(words, Word.more, more)
  }
}

/** Zeros that push the last samples of an item out of a resampler: longer than its filter. */
export const RESAMPLER_FLUSH_MS = 2 * FADE_MS
