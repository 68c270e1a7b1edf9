import { FADE_MS } from '../../core/limits.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import type { LegRateHz } from '../../core/units.js'
import { RECALLED_SAMPLES, SOUND_DUCKED, SOUND_FULL, SOUND_PAUSED, Word } from '../shared/shared-call-layout.js'
import type { SharedCall } from '../shared/shared-call.js'

/**
 * Maximum duration in ms of agent audio that waits for playout in one call, in the ring and in the backlog together.
 * More audio is dropped and counted.
 */
export const PLAYOUT_BACKLOG_MS_MAX = 180_000

/**
 * Minimum number of samples that are moved from the backlog at once. It is the size of the backlog's blocks: a quarter
 * of a second at 16 kHz.
 */
const BLOCK_SAMPLES = 4096
/** Maximum number of empty blocks that a thread keeps: 4 MB. More blocks are left to the garbage collector. */
const SPARE_BLOCKS_MAX = 512

// Empty blocks that all calls of a thread share. Without sharing, each call's arrays would survive V8's young
// collections, and would stay outside the heap until the next full collection.
const spareBlocks: Int16Array[] = []

/**
 * Worker's end of playout. Samples that do not fit into the ring wait in a backlog, because backends produce speech
 * many times faster than real time. Above PLAYOUT_BACKLOG_MS_MAX samples are dropped and counted.
 */
export class PlayoutFeed {
  /** Number of samples that were dropped because the backlog was full. */
  droppedSamples = 0
  readonly #shared: SharedCall
  readonly #rateHz: LegRateHz
  /** Speech that did not fit into the ring, in blocks of BLOCK_SAMPLES. */
  readonly #backlog: Int16Array[] = []
  #backlogSamples = 0
  /** Index of the oldest sample in the first block. */
  #oldestAt = 0
  /** Items that have begun and may still get samples. */
  readonly #open = new Set<string>()

  constructor(shared: SharedCall, rateHz: LegRateHz) {
    this.#shared = shared
    this.#rateHz = rateHz
  }

  /** Duration in ms of the speech that waits in ring and backlog. */
  get pendingMs(): number {
    return samplesToMs(this.#backlogSamples + this.#shared.outbound.available(), this.#rateHz)
  }

  /** Count of the next sample to be appended, on the ring's scale of counts. */
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

  /**
   * Copies the samples.
   * @returns the number of samples copied. It is smaller than the given number only if the backlog is full
   */
  append(samples: Int16Array): number {
    const free = Math.max(0, msToSamples(PLAYOUT_BACKLOG_MS_MAX, this.#rateHz) - this.#backlogSamples)
    const taken = Math.min(samples.length, free)
    this.droppedSamples += samples.length - taken
    let written = 0
    if (this.#backlogSamples === 0) {
      written = Math.min(taken, this.#fits())
      if (written > 0) this.#shared.outbound.write(written === samples.length ? samples : samples.subarray(0, written))
    }
    if (written < taken) this.#keep(samples, written, taken)
    this.#publish()
    return taken
  }

  #keep(samples: Int16Array, from: number, to: number): void {
    for (let next = from; next < to;) {
      const at = this.#oldestAt + this.#backlogSamples
      const index = Math.floor(at / BLOCK_SAMPLES)
      const block = this.#backlog[index] ?? spareBlocks.pop() ?? new Int16Array(BLOCK_SAMPLES)
      this.#backlog[index] = block
      const count = Math.min(to - next, BLOCK_SAMPLES - (at % BLOCK_SAMPLES))
      block.set(samples.subarray(next, next + count), at % BLOCK_SAMPLES)
      this.#backlogSamples += count
      next += count
    }
  }

  /** Frees the first block for further use. */
  #dropBlock(): void {
    this.#oldestAt = 0
    const block = this.#backlog.shift()
    if (block === undefined || spareBlocks.length >= SPARE_BLOCKS_MAX) return
    // The block may go to another call, which must not be able to read this call's audio.
    block.fill(0)
    spareBlocks.push(block)
  }

  /** Time at which the ring may have space for waiting speech; Infinity if no speech waits. */
  refillDueMs(nowMs: number): number {
    return this.#backlogSamples === 0 ? Infinity : nowMs + Math.max(0, samplesToMs(this.#lacks(), this.#rateHz))
  }

  /** Moves samples from the backlog into the ring as far as they fit. */
  refill(): void {
    // The ring holds two seconds or more. So it is enough to wait until a whole block fits, and not to move a few
    // samples at every tick.
    if (this.#backlogSamples === 0 || this.#lacks() > 0) return
    while (this.#backlogSamples > 0) {
      const free = this.#fits()
      const [block] = this.#backlog
      if (free === 0 || block === undefined) return
      const count = Math.min(free, this.#backlogSamples, BLOCK_SAMPLES - this.#oldestAt)
      this.#shared.outbound.write(block.subarray(this.#oldestAt, this.#oldestAt + count))
      this.#oldestAt += count
      this.#backlogSamples -= count
      if (this.#oldestAt === BLOCK_SAMPLES || this.#backlogSamples === 0) this.#dropBlock()
    }
    this.#publish()
  }

  /** Number of samples that the main thread must still take before a block fits into the ring. */
  #lacks(): number {
    return Math.min(BLOCK_SAMPLES, this.#backlogSamples) - this.#fits()
  }

  duck(): void {
    Atomics.store(this.#shared.words, Word.sound, SOUND_DUCKED)
  }

  pause(): void {
    Atomics.store(this.#shared.words, Word.sound, SOUND_PAUSED)
  }

  resume(): void {
    Atomics.store(this.#shared.words, Word.sound, SOUND_FULL)
  }

  /** Discards all samples that were not sent yet, and makes the carrier flush its buffer. */
  clear(): void {
    while (this.#backlog.length > 0) this.#dropBlock()
    this.#backlogSamples = 0
    this.#open.clear()
    this.#shared.outbound.discard()
    Atomics.store(this.#shared.words, Word.sound, SOUND_FULL)
    // The flush is counted after the discard, because a reader that sees the new count must not find old samples.
    Atomics.add(this.#shared.words, Word.clears, 1)
    this.#publish()
  }

  /**
   * Number of samples that fit into the ring. The samples that were taken last keep their place, because they are the
   * reference for the echo.
   */
  #fits(): number {
    return Math.max(0, this.#shared.outbound.free - RECALLED_SAMPLES)
  }

  #publish(): void {
    const { words } = this.#shared
    const more = this.#backlogSamples > 0 || this.#open.size > 0 ? 1 : 0
    // The word is written only after a change. Its cache line then stays with the main thread, which reads it at every
    // tick.
    if (words[Word.more] !== more) Atomics.store(words, Word.more, more)
  }
}

/**
 * Duration in ms of the zeros that push an item's last samples out of a resampler. It is longer than the resampler's
 * filter.
 */
export const RESAMPLER_FLUSH_MS = 2 * FADE_MS
