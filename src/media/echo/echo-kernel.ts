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

/** A constant WebAssembly global. */
interface Address {
  readonly value: number
}

/** Number of samples before a frame that the filter from 16 to 8 kHz reads. */
export const HALF_BAND_HISTORY = 6
const PAGE_BYTES = 65_536
const CACHE_LINE_BYTES = 64

/**
 * The WebAssembly of echo-kernel/. Each call gets a block of its memory from a list of free blocks. The memory is
 * allocated once, because its growth would detach the views.
 */
class EchoKernel {
  readonly exports: KernelExports
  /**
   * Result of `exports.compare`: the number of audible bands, the sum of their excess above the expected level, the sum
   * of the excess above a limit, and the power of the expected echo.
   */
  readonly found: Float64Array
  /** Sent audio at the leg's rate, which `exports.fit`, `cancel`, `search` and `refine` read. */
  readonly sentPart: Int16Array
  /** Result of `exports.search`. */
  readonly peaks: Int32Array
  /** Samples before the frame, for `exports.matchFrame`. `frame`: the frame, which follows these samples in memory. */
  readonly history: Int16Array
  readonly frame: Int16Array
  readonly #blockBytes: number
  readonly #free: number[] = []
  #open = 0
  #end: number

  constructor() {
    // The types of these exports are as echo-kernel/index.ts defines them.
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
   *
   * @throws Error if more blocks are in use than a worker may carry calls. This is a programming error
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

  /** Puts the block back into the list of free blocks. */
  close(block: number): void {
    this.#open--
    this.#free.push(block)
  }

  /** Copies a frame into the kernel's memory for `exports.takeSent`, `takeHeard` and `telephoneEnergy`. */
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
    // Rotations for each pass. A pass does the work of two simple passes: first come the rotations of its first half,
    // then the rotations of its second half.
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

/** Exports of echo-kernel/index.ts, which documents each export. Addresses are in bytes. */
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

/** @returns `i` with its bits in reverse order, for a list of `size` numbers */
function reversed(i: number, size: number): number {
  let to = 0
  for (let bit = 1; bit < size; bit *= 2) to = 2 * to + (i & bit ? 1 : 0)
  return to
}

/**
 * First bin of each band, and the end of the last band. The bands are equal steps on the mel scale, with at least one
 * bin each.
 */
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
