import { assert } from '../../core/assert.js'
import { CALLS_PER_WORKER_MAX } from '../../core/limits.js'
import { frameSamples } from '../../core/units.js'
import code from './echo-kernel.wasm.js'
import {
  APART_DB_MAX,
  BANDS,
  DB_MAX,
  DB_MIN,
  SEARCH_PEAKS,
  SEARCH_SAMPLES,
  STEPS_PER_DB,
  WINDOW,
} from './echo-limits.js'

/** A global that does not change. */
interface Address {
  readonly value: number
}

/** Samples at 16 kHz that the filter to 8 kHz reads before a frame. */
export const HALF_BAND_HISTORY = 6
const PAGE_BYTES = 65_536
const CACHE_LINE_BYTES = 64

/**
 * The WebAssembly of echo-kernel/ and a block of its memory for each call of a thread, kept on a free list. The memory is
 * allocated once for all calls that a worker may carry, because growing it would detach the views. Unused pages cost only
 * address space.
 */
class EchoKernel {
  readonly exports: KernelExports
  /** Result of `exports.compare`: audible bands, the sum of the excess over the expected, the same beyond a limit, power. */
  readonly found: Float64Array
  /** Sent audio, at the leg's rate, as `exports.fit`, `cancel`, `search` and `refine` read it. */
  readonly sentPart: Int16Array
  /** Result of `exports.search`. */
  readonly peaks: Int32Array
  /** The samples before the frame, for `exports.matchFrame`, and the frame. */
  readonly history: Int16Array
  readonly frame: Int16Array
  readonly #blockBytes: number
  readonly #free: number[] = []
  #open = 0
  #end: number

  constructor() {
    // The shapes of these exports are fixed by echo-kernel/index.ts.
    this.exports = new WebAssembly.Instance(new WebAssembly.Module(code)).exports as unknown as KernelExports
    const { memory, FRAME, FOUND, SENT_PART, PEAKS, BLOCK_BYTES, FREE } = this.exports
    this.#blockBytes = Math.ceil(BLOCK_BYTES.value / CACHE_LINE_BYTES) * CACHE_LINE_BYTES
    this.#end = Math.ceil(FREE.value / CACHE_LINE_BYTES) * CACHE_LINE_BYTES
    memory.grow(
      Math.ceil((this.#end + CALLS_PER_WORKER_MAX * this.#blockBytes - memory.buffer.byteLength) / PAGE_BYTES),
    )
    this.found = new Float64Array(memory.buffer, FOUND.value, 4)
    this.frame = new Int16Array(memory.buffer, FRAME.value, frameSamples(16_000))
    this.history = new Int16Array(memory.buffer, FRAME.value - 2 * HALF_BAND_HISTORY, HALF_BAND_HISTORY)
    this.sentPart = new Int16Array(memory.buffer, SENT_PART.value, 2 * SEARCH_SAMPLES + HALF_BAND_HISTORY)
    this.peaks = new Int32Array(memory.buffer, PEAKS.value, SEARCH_PEAKS)
    this.#writeTables()
  }

  /**
   * @returns the address of a block for a new call
   * @throws Error when more are open than a worker may carry calls: a mistake in this program
   */
  open(): number {
    assert(this.#open < CALLS_PER_WORKER_MAX, 'more echoes than a worker may carry calls')
    this.#open++
    let block = this.#free.pop()
    if (block === undefined) {
      block = this.#end
      this.#end += this.#blockBytes
    }
    this.exports.begin(block)
    return block
  }

  /** Puts the block on the free list. */
  close(block: number): void {
    this.#open--
    this.#free.push(block)
  }

  /** Copies a frame to where `exports.takeSent`, `takeHeard` and `telephoneEnergy` read it. */
  takes(frame: Int16Array): void {
    this.frame.set(frame)
  }

  #writeTables(): void {
    const { memory, WINDOW_SHAPE, TURNS, PASSES, REVERSED, EDGES, POWER_TABLE, SUM_TABLE } = this.exports
    const half = WINDOW / 2
    const write = (at: Address, values: readonly number[]): void =>
      new Float64Array(memory.buffer, at.value, values.length).set(values)
    const cosine = (i: number): number => Math.cos((2 * Math.PI * i) / WINDOW)
    const sine = (i: number): number => Math.sin((2 * Math.PI * i) / WINDOW)
    const upTo = (length: number): number[] => Array.from({ length }, (_, i) => i)
    write(
      WINDOW_SHAPE,
      upTo(WINDOW).map((i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / WINDOW)),
    )
    write(TURNS, [...upTo(half).map(cosine), ...upTo(half).map(sine)])
    // For each pass that joins two: the turns of its first half, then of its second.
    write(
      PASSES,
      [2, 8, 32].flatMap((m) => {
        const step = WINDOW / (4 * m)
        return [
          ...upTo(m).map((i) => cosine(2 * i * step)),
          ...upTo(m).map((i) => sine(2 * i * step)),
          ...upTo(m).map((i) => cosine(i * step)),
          ...upTo(m).map((i) => sine(i * step)),
        ]
      }),
    )
    new Uint8Array(memory.buffer, REVERSED.value, half).set(upTo(half).map((i) => reversed(i, half)))
    new Uint8Array(memory.buffer, EDGES.value, BANDS + 1).set(bandEdges())
    write(
      POWER_TABLE,
      upTo((DB_MAX - DB_MIN) * STEPS_PER_DB + 2).map((i) => Math.exp((i / STEPS_PER_DB + DB_MIN) * NEPERS)),
    )
    write(
      SUM_TABLE,
      upTo(APART_DB_MAX * STEPS_PER_DB + 2).map((i) => Math.log(1 + Math.exp((-i / STEPS_PER_DB) * NEPERS)) / NEPERS),
    )
  }
}

/** Exports of echo-kernel/index.ts, which documents each. Addresses are in bytes. */
interface KernelExports {
  readonly memory: WebAssembly.Memory
  readonly FRAME: Address
  readonly WINDOW_SHAPE: Address
  readonly TURNS: Address
  readonly PASSES: Address
  readonly REVERSED: Address
  readonly EDGES: Address
  readonly POWER_TABLE: Address
  readonly SUM_TABLE: Address
  readonly FOUND: Address
  readonly SENT_PART: Address
  readonly PEAKS: Address
  readonly NOT_AHEAD: Address
  readonly UNSURE: Address
  readonly BLOCK_BYTES: Address
  readonly FREE: Address
  begin(block: number): void
  telephoneEnergy(from: number, count: number): number
  takeSent(block: number, wide: number, gap: boolean): void
  takeHeard(block: number, wide: number): void
  levelsOfSent(block: number, from: number): number
  levelsOfHeard(block: number): number
  noteSent(block: number, slot: number, spreadDb: number): number
  noteSilence(block: number, slot: number): void
  hear(block: number): number
  remember(block: number, frame: number, slot: number): void
  recall(block: number, frame: number): number
  align(block: number, slot: number, age: number, known: number): number
  beginRun(block: number): void
  follow(block: number, slot: number, first: number, last: number, now: number, learn: number): number
  expect(block: number, slot: number, age: number, delay: number, either: number): number
  compare(block: number, gainDb: number): void
  compareEcho(block: number): void
  unlearn(block: number): void
  learn(block: number, share: number, learning: boolean, gainDb: number): void
  meanCoupling(block: number): number
  moved(
    block: number,
    slot: number,
    index: number,
    age: number,
    known: number,
    frames: number,
    heardFrames: number,
    either: number,
    gainDb: number,
  ): number
  matchFrame(wide: number): number
  fit(wide: number, powerMin: number): number
  middlePower(): number
  cancel(wide: number, powerMin: number): number
  search(wide: number, shifts: number, energyMin: number): number
  refine(wide: number, reach: number): number
}

/** The bits of `i` from behind, of as many as `size` has numbers. */
function reversed(i: number, size: number): number {
  let to = 0
  for (let bit = 1; bit < size; bit *= 2) to = 2 * to + (i & bit ? 1 : 0)
  return to
}

/** First bin of each band and the end of the last: equal steps of mel, one bin at least. */
function bandEdges(): readonly number[] {
  const mel = (hz: number) => Math.log(1 + hz / 700)
  const all: number[] = []
  for (let band = 0; band <= BANDS; band++) {
    const at = mel(FROM_HZ) + ((mel(TO_HZ) - mel(FROM_HZ)) * band) / BANDS
    const bin = Math.round((700 * (Math.exp(at) - 1) * WINDOW) / 8000)
    all.push(Math.max(bin, (all[band - 1] ?? 0) + 1))
  }
  return all
}

const FROM_HZ = 150
const TO_HZ = 3700
const NEPERS = Math.LN10 / 10

/** Kernel that all calls of a thread use. */
export const echoKernel = new EchoKernel()
