import { assert } from '../../core/assert.js'
import { RESAMPLER_STREAMS_MAX } from '../../core/limits.js'
import type { SampleRateHz } from '../../core/units.js'
import { Views } from '../../core/views.js'
import { LANE_BITS, OUTPUT_BITS, TAP_STEP, fixedRows, type FixedRows, type PolyphaseRows } from './polyphase.js'

export interface ResamplerBankOptions {
  /** From `derivePolyphaseRows`, one for each pair of rates that streams will need. */
  readonly rows: readonly PolyphaseRows[]
  /** The compiled `fir-kernel.wasm`; null runs the same arithmetic in JavaScript. */
  readonly kernel: WebAssembly.Module | null
}

/** One direction of one call. Samples are mono s16. */
export interface StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  /** How long a sample takes from input to output. */
  readonly delayMs: number
  /** The most samples that `process` writes for `inputSamples` samples. */
  outputSamplesMax(inputSamples: number): number
  /**
   * Chunks may have any length: together they give the same samples as the whole would. 20 ms in give exactly
   * 20 ms out from the first call on.
   * @param output at least `outputSamplesMax(inputSamples)` long; overwritten from its start
   * @param inputSamples how much of `input` counts; all of it when left out
   * @returns samples written to `output`
   */
  process(input: Int16Array, output: Int16Array, inputSamples?: number): number
  /** Forget the past: the next sample is the first of a new stream. */
  reset(): void
  /** Gives the slot back; the object must not be used afterwards. */
  release(): void
}

/**
 * All resamplers of one thread. The rows of a ratio are in memory once; a stream is a history of 0.4 to 1.2 KB in
 * one shared memory, and a free list of such slots, so that calls come and go without allocation.
 */
export class ResamplerBank {
  /** Streams that are open now. */
  openStreams = 0
  readonly #rows: readonly PolyphaseRows[]
  readonly #kernel: Kernel
  readonly #freeSlots: number[][]

  constructor(options: ResamplerBankOptions) {
    this.#rows = options.rows
    this.#freeSlots = options.rows.map(() => [])
    this.#kernel = options.kernel === null ? new JsKernel(options.rows) : new WasmKernel(options.rows, options.kernel)
  }

  /** Bytes of all histories, in use or free. */
  get stateBytes(): number {
    return this.#kernel.stateBytes
  }

  /**
   * A stream with no past. Same rate in and out gives a stream that copies.
   * @throws Error when the bank has no rows for this pair, or too many streams are open: a mistake in this program
   */
  open(inRateHz: SampleRateHz, outRateHz: SampleRateHz): StreamResampler {
    if (inRateHz === outRateHz) return new CopyStream(inRateHz)
    const ratio = this.#rows.findIndex((rows) => rows.inRateHz === inRateHz && rows.outRateHz === outRateHz)
    const rows = this.#rows[ratio]
    assert(rows !== undefined, `no polyphase rows for ${inRateHz} to ${outRateHz} Hz`)
    assert(this.openStreams < RESAMPLER_STREAMS_MAX, 'more resamplers open than a worker may carry calls')
    this.openStreams++
    const free = this.#freeSlots[ratio] as number[]
    const slot = free.pop() ?? this.#kernel.allocate(ratio)
    return new FirStream(rows, this.#kernel, ratio, slot, () => {
      this.openStreams--
      free.push(slot)
    })
  }
}

class FirStream implements StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  readonly delayMs: number
  readonly #upBy: number
  readonly #downBy: number
  readonly #kernel: Kernel
  readonly #ratio: number
  readonly #slot: number
  readonly #giveBack: () => void
  /** Of the next output behind the next input sample, in units of 1 / upBy input samples. */
  #position = 0
  #released = false

  constructor(rows: PolyphaseRows, kernel: Kernel, ratio: number, slot: number, giveBack: () => void) {
    this.inRateHz = rows.inRateHz
    this.outRateHz = rows.outRateHz
    this.delayMs = (rows.delaySamples * 1000) / rows.inRateHz
    this.#upBy = rows.upBy
    this.#downBy = rows.downBy
    this.#kernel = kernel
    this.#ratio = ratio
    this.#slot = slot
    this.#giveBack = giveBack
    kernel.clear(ratio, slot)
  }

  outputSamplesMax(inputSamples: number): number {
    return Math.ceil((inputSamples * this.#upBy) / this.#downBy)
  }

  process(input: Int16Array, output: Int16Array, inputSamples = input.length): number {
    assert(!this.#released, 'resampler used after its release')
    assert(inputSamples <= input.length, 'resampler asked for more samples than its input has')
    assert(output.length >= this.outputSamplesMax(inputSamples), 'resampler output is too short')
    const upBy = this.#upBy
    const downBy = this.#downBy
    let written = 0
    for (let from = 0; from < inputSamples; from += BLOCK_SAMPLES) {
      const samples = Math.min(BLOCK_SAMPLES, inputSamples - from)
      // Outputs whose place lies before the end of this block.
      const outputSamples = Math.ceil((samples * upBy - this.#position) / downBy)
      this.#kernel.run(this.#ratio, this.#slot, this.#position, input, from, samples, output, written, outputSamples)
      this.#position += outputSamples * downBy - samples * upBy
      written += outputSamples
    }
    return written
  }

  reset(): void {
    this.#kernel.clear(this.#ratio, this.#slot)
    this.#position = 0
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#giveBack()
  }
}

class CopyStream implements StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  readonly delayMs = 0

  constructor(rateHz: SampleRateHz) {
    this.inRateHz = rateHz
    this.outRateHz = rateHz
  }

  outputSamplesMax(inputSamples: number): number {
    return inputSamples
  }

  process(input: Int16Array, output: Int16Array, inputSamples = input.length): number {
    if (inputSamples === input.length) output.set(input)
    else for (let i = 0; i < inputSamples; i++) output[i] = input[i] as number
    return inputSamples
  }

  reset(): void { /* a copy has no past */ }

  release(): void { /* nor a slot */ }
}

/** What a resampler runs on: the histories of all streams of a ratio, by slot, and the filter. */
export interface Kernel {
  /** Bytes of the state that all slots hold together. */
  readonly stateBytes: number
  /** @returns a slot; its history is only clean after `clear` */
  allocate(ratio: number): number
  clear(ratio: number, slot: number): void
  /** Filters `samples` of `input` (at most `BLOCK_SAMPLES`) into `output`, and keeps the end as the slot's history. */
  run(
    ratio: number, slot: number, position: number,
    input: Int16Array, from: number, samples: number, output: Int16Array, to: number, outputSamples: number,
  ): void
}

/**
 * Longest piece that goes through the kernel at once: 100 ms at 24 kHz, the longest message of a backend. Longer chunks are cut, and
 * their pieces are copied sample by sample.
 */
export const BLOCK_SAMPLES = 2400

/** The same samples without WebAssembly, some twenty times slower. */
export class JsKernel implements Kernel {
  stateBytes = 0
  readonly #rows: readonly FixedRows[]
  readonly #histories: Int16Array[][]
  readonly #scratch: Int16Array
  readonly #block = new Int16Array(3 * BLOCK_SAMPLES)

  constructor(rows: readonly PolyphaseRows[]) {
    this.#rows = rows.map(fixedRows)
    this.#histories = rows.map(() => [])
    this.#scratch = new Int16Array(historySamplesMax(this.#rows) + BLOCK_SAMPLES)
  }

  allocate(ratio: number): number {
    const { historySamples } = this.#rowsOf(ratio)
    this.stateBytes += historySamples * Int16Array.BYTES_PER_ELEMENT
    return (this.#histories[ratio] as Int16Array[]).push(new Int16Array(historySamples)) - 1
  }

  clear(ratio: number, slot: number): void {
    this.#history(ratio, slot).fill(0)
  }

  run(
    ratio: number, slot: number, position: number,
    input: Int16Array, from: number, samples: number, output: Int16Array, to: number, outputSamples: number,
  ): void {
    const history = this.#history(ratio, slot)
    const scratch = this.#scratch
    scratch.set(history)
    for (let i = 0; i < samples; i++) scratch[history.length + i] = input[from + i] as number
    filterInJs(this.#rowsOf(ratio), scratch, position, this.#block, outputSamples)
    for (let i = 0; i < outputSamples; i++) output[to + i] = this.#block[i] as number
    for (let i = 0; i < history.length; i++) history[i] = scratch[samples + i] as number
  }

  #rowsOf(ratio: number): FixedRows {
    return this.#rows[ratio] as FixedRows
  }

  #history(ratio: number, slot: number): Int16Array {
    return (this.#histories[ratio] as Int16Array[])[slot] as Int16Array
  }
}

function historySamplesMax(rows: readonly FixedRows[]): number {
  return Math.max(0, ...rows.map((r) => r.historySamples))
}

type RunExport = (
  history: number, historySamples: number, scratch: number, inputSamples: number,
  rows: number, taps: number, peakAt: number, peakTaps: number, lowShift: number, upBy: number, downBy: number,
  position: number, output: number, outputSamples: number,
) => void

const PAGE_BYTES = 65536
const SAMPLE_BYTES = Int16Array.BYTES_PER_ELEMENT
// Slots are made in groups, so that the memory grows seldom.
const SLOTS_PER_GROWTH = 64

/** `fir-kernel/` with one memory for everything. */
export class WasmKernel implements Kernel {
  stateBytes = 0
  readonly #rows: readonly FixedRows[]
  readonly #memory: WebAssembly.Memory
  readonly #run: RunExport
  readonly #rowsAt: number[]
  /** Byte address of every slot, by ratio. */
  readonly #slots: number[][]
  readonly #scratchAt: number
  readonly #outputAt: number
  #end = 16
  /** The whole memory; made again after it has grown. */
  #samples: Int16Array
  #views: Views<Int16Array>

  constructor(rows: readonly PolyphaseRows[], kernel: WebAssembly.Module) {
    const { exports } = new WebAssembly.Instance(kernel)
    // The shapes of these two exports are fixed by fir-kernel/index.ts.
    this.#memory = exports['memory'] as WebAssembly.Memory
    this.#run = exports['run'] as RunExport
    this.#samples = new Int16Array(this.#memory.buffer)
    this.#views = new Views(this.#samples)
    this.#rows = rows.map(fixedRows)
    // Its pairs of four outputs lie so far apart that shorter rows would not overlap.
    for (const { taps, rows: { downBy } } of this.#rows) assert(taps >= TAP_STEP * (downBy + 2), 'rows too short for the kernel')
    this.#slots = rows.map(() => [])
    this.#scratchAt = this.#reserve((historySamplesMax(this.#rows) + BLOCK_SAMPLES) * SAMPLE_BYTES)
    this.#outputAt = this.#reserve(3 * BLOCK_SAMPLES * SAMPLE_BYTES)
    this.#rowsAt = this.#rows.map(({ coefficients }) => {
      const at = this.#reserve(coefficients.byteLength)
      this.#samples.set(coefficients, at / SAMPLE_BYTES)
      return at
    })
  }

  allocate(ratio: number): number {
    const slots = this.#slots[ratio] as number[]
    const bytes = this.#historySamples(ratio) * SAMPLE_BYTES
    this.stateBytes += bytes
    return slots.push(this.#reserve(bytes)) - 1
  }

  clear(ratio: number, slot: number): void {
    const at = this.#slotAt(ratio, slot) / SAMPLE_BYTES
    this.#samples.fill(0, at, at + this.#historySamples(ratio))
  }

  run(
    ratio: number, slot: number, position: number,
    input: Int16Array, from: number, samples: number, output: Int16Array, to: number, outputSamples: number,
  ): void {
    const { rows, taps, historySamples, peakAt, peakTaps, lowShift } = this.#rows[ratio] as FixedRows
    const memory = this.#samples
    const inputAt = this.#scratchAt / SAMPLE_BYTES + historySamples
    // A whole frame goes over by one copy; a part of an array would need a view, that is an allocation.
    if (samples === input.length) memory.set(input, inputAt)
    else for (let i = 0; i < samples; i++) memory[inputAt + i] = input[from + i] as number
    this.#run(
      this.#slotAt(ratio, slot), historySamples, this.#scratchAt, samples,
      this.#rowsAt[ratio] as number, taps, peakAt, peakTaps, lowShift, rows.upBy, rows.downBy,
      position, this.#outputAt, outputSamples,
    )
    output.set(this.#views.at(this.#outputAt / SAMPLE_BYTES, outputSamples), to)
  }

  #historySamples(ratio: number): number {
    return (this.#rows[ratio] as FixedRows).historySamples
  }

  #slotAt(ratio: number, slot: number): number {
    return (this.#slots[ratio] as number[])[slot] as number
  }

  /** @returns a 16-byte aligned address; memory that was never used is zero. */
  #reserve(bytes: number): number {
    const at = this.#end
    this.#end = (at + bytes + 15) & ~15
    const missing = this.#end - this.#memory.buffer.byteLength
    if (missing > 0) {
      this.#memory.grow(Math.ceil((missing + bytes * SLOTS_PER_GROWTH) / PAGE_BYTES))
      this.#samples = new Int16Array(this.#memory.buffer)
      this.#views = new Views(this.#samples)
    }
    return at
  }
}

const HALF = 1 << (OUTPUT_BITS - 1)

/**
 * The FIR kernel in JavaScript: the same samples as `fir-kernel/`, bit for bit, because it sums in the same four
 * lanes. For machines without SIMD, and to test the kernel against.
 *
 * @param scratch  history then new samples: `historySamples + inputSamples` values
 * @param position of the first output behind the first new sample, in units of 1 / upBy input samples
 */
function filterInJs(
  fixed: FixedRows, scratch: Int16Array, position: number, output: Int16Array, outputSamples: number,
): void {
  const { coefficients, taps, peakAt, peakTaps, lowShift } = fixed
  const { upBy, downBy } = fixed.rows
  let at = position
  for (let n = 0; n < outputSamples; n++) {
    const x = Math.floor(at / upBy)
    const row = (at % upBy) * (taps + peakTaps)
    at += downBy
    let sum = 0
    for (let lane = 0; lane < TAP_STEP; lane += 2) {
      let low = 0
      for (let k = lane; k < taps; k += TAP_STEP) low += pair(scratch, x + k, coefficients, row + k)
      let high = 0
      for (let k = lane; k < peakTaps; k += TAP_STEP) high += pair(scratch, x + peakAt + k, coefficients, row + taps + k)
      sum += (low >> lowShift) + (high >> LANE_BITS)
    }
    const rounded = (sum + HALF) >> OUTPUT_BITS
    output[n] = rounded > 32767 ? 32767 : rounded < -32768 ? -32768 : rounded
  }
}

function pair(samples: Int16Array, i: number, coefficients: Int16Array, j: number): number {
  return (samples[i] as number) * (coefficients[j] as number) + (samples[i + 1] as number) * (coefficients[j + 1] as number)
}
