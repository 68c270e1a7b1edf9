import { assert } from '../../core/assert.js'
import { frameSamples, type SampleRateHz } from '../../core/units.js'
import { Views } from '../../core/views.js'
import { LANE_BITS, OUTPUT_BITS, TAP_STEP, fixedRows, type FixedRows, type PolyphaseRows } from './polyphase.js'

/** Maximum number of resamplers of one worker: two directions for every call that the worker may carry. */
const RESAMPLER_STREAMS_MAX = 4000

interface ResamplerBankOptions {
  /** Rows from `loadMediaAssets`, one entry for each pair of rates in use. `scripts/polyphase-rows.mjs` makes them. */
  readonly rows: readonly PolyphaseRows[]
  /** Compiled `fir-kernel.wasm`; null: JavaScript does the same arithmetic. */
  readonly kernel: WebAssembly.Module | null
}

/** Resampler of one direction of one call. Samples are mono s16. */
export interface StreamResampler {
  readonly inRateHz: SampleRateHz
  readonly outRateHz: SampleRateHz
  /** Delay in ms of a sample from input to output. */
  readonly delayMs: number
  /** Maximum number of output samples of `process` for `inputSamples` samples. */
  outputSamplesMax(inputSamples: number): number
  /**
   * Resamples a chunk of any length. The output does not depend on the division into chunks, and 20 ms of input give 20
   * ms of output.
   * @param output  at least `outputSamplesMax(input.length)` long; overwritten
   * @returns the number of samples written to `output`
   */
  process(input: Int16Array, output: Int16Array): number
  /**
   * Resamples a frame of 20 ms without a copy.
   * @returns 20 ms in the stream's memory, valid until the next call of `convert` or `process`; `frame` itself if the
   * rates are equal
   */
  convert(frame: Int16Array): Int16Array
  /** Clears the history: the next sample is the first of a new stream. */
  reset(): void
  /** Releases the slot; the object must not be used afterwards. */
  release(): void
}

/**
 * All resamplers of one thread; the rows of each ratio are stored once. Each stream has a slot of a shared memory, with
 * its history and a frame of output.
 */
export class ResamplerBank {
  /** Number of open streams. */
  openStreams = 0
  readonly #rows: readonly PolyphaseRows[]
  readonly #kernel: Kernel
  readonly #freeSlots: number[] = []
  #slots = 0

  constructor(options: ResamplerBankOptions) {
    this.#rows = options.rows
    this.#kernel = options.kernel === null ? new JsKernel(options.rows) : new WasmKernel(options.rows, options.kernel)
  }

  /** Number of slots that are in use or free. It is the maximum number of streams that were open at once. */
  get slots(): number {
    return this.#slots
  }

  /**
   * Opens a stream without a history. If the rates are equal, the stream copies.
   * @throws Error if there are no rows for the pair of rates, or if too many streams are open. Both are programming
   * errors
   */
  open(inRateHz: SampleRateHz, outRateHz: SampleRateHz): StreamResampler {
    if (inRateHz === outRateHz) return new CopyStream(inRateHz)
    const ratio = this.#rows.findIndex((rows) => rows.inRateHz === inRateHz && rows.outRateHz === outRateHz)
    const rows = this.#rows[ratio]
    assert(rows !== undefined, `no polyphase rows for ${inRateHz} to ${outRateHz} Hz`)
    assert(this.openStreams < RESAMPLER_STREAMS_MAX, 'more resamplers open than a worker may carry calls')
    this.openStreams++
    const slot = this.#freeSlots.pop() ?? this.#slots++
    return new FirStream(rows, this.#kernel, ratio, slot, () => {
      this.openStreams--
      this.#freeSlots.push(slot)
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
  readonly #frame: Int16Array
  readonly #giveBack: () => void
  /** Distance of the next output from the next input sample, in units of 1 / upBy input samples. */
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
    this.#frame = kernel.frame(slot, frameSamples(rows.outRateHz))
    this.#giveBack = giveBack
    kernel.clear(slot)
  }

  outputSamplesMax(inputSamples: number): number {
    return Math.ceil((inputSamples * this.#upBy) / this.#downBy)
  }

  process(input: Int16Array, output: Int16Array): number {
    assert(output.length >= this.outputSamplesMax(input.length), 'resampler output is too short')
    let written = 0
    for (let from = 0; from < input.length; from += BLOCK_SAMPLES) {
      const block = input.length <= BLOCK_SAMPLES ? input : input.subarray(from, from + BLOCK_SAMPLES)
      const samples = this.#run(block, false)
      output.set(this.#kernel.output(samples), written)
      written += samples
    }
    return written
  }

  convert(frame: Int16Array): Int16Array {
    assert(
      this.#position === 0 && frame.length * this.#upBy === this.#frame.length * this.#downBy,
      'only frames of 20 ms are converted in place',
    )
    this.#run(frame, true)
    return this.#frame
  }

  reset(): void {
    this.#kernel.clear(this.#slot)
    this.#position = 0
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#giveBack()
  }

  /** @returns the number of output samples */
  #run(input: Int16Array, toFrame: boolean): number {
    assert(!this.#released, 'resampler used after its release')
    // Number of outputs that lie before the end of the input.
    const outputSamples = Math.ceil((input.length * this.#upBy - this.#position) / this.#downBy)
    this.#kernel.run(this.#ratio, this.#slot, this.#position, input, outputSamples, toFrame)
    this.#position += outputSamples * this.#downBy - input.length * this.#upBy
    return outputSamples
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

  process(input: Int16Array, output: Int16Array): number {
    output.set(input)
    return input.length
  }

  convert(frame: Int16Array): Int16Array {
    return frame
  }

  reset(): void {
    /* a copy has no state */
  }

  release(): void {
    /* a copy has no slot */
  }
}

/** Kernel of a resampler: the slots of all streams, and the filter. */
interface Kernel {
  /** Slot's memory for a frame of output. */
  frame(slot: number, samples: number): Int16Array
  /** Clears the slot's history. */
  clear(slot: number): void
  /**
   * Filters `input` (at most `BLOCK_SAMPLES`) and keeps its end as the slot's history.
   * @param toFrame  true: the output goes to the slot's frame. False: `output` returns it until the next run
   */
  run(ratio: number, slot: number, position: number, input: Int16Array, outputSamples: number, toFrame: boolean): void
  /** The first `samples` samples of the last run, if they are not in a slot's frame. */
  output(samples: number): Int16Array
}

/** Maximum number of samples in one run of a kernel: 100 ms at 24 kHz. A backend's message is not longer. */
export const BLOCK_SAMPLES = 2400
/** Number of samples in a slot's frame: 20 ms at 24 kHz. */
const FRAME_SAMPLES_MAX = frameSamples(24_000)

/** Kernel without WebAssembly. It computes the same samples, about twenty times slower. */
class JsKernel implements Kernel {
  readonly #rows: readonly FixedRows[]
  readonly #slots: { readonly history: Int16Array; readonly frame: Int16Array }[] = []
  readonly #historySamplesMax: number
  readonly #scratch: Int16Array
  readonly #block = new Int16Array(3 * BLOCK_SAMPLES)

  constructor(rows: readonly PolyphaseRows[]) {
    this.#rows = rows.map(fixedRows)
    this.#historySamplesMax = historySamplesMax(this.#rows)
    this.#scratch = new Int16Array(this.#historySamplesMax + BLOCK_SAMPLES)
  }

  frame(slot: number, samples: number): Int16Array {
    return this.#slotOf(slot).frame.subarray(0, samples)
  }

  clear(slot: number): void {
    this.#slotOf(slot).history.fill(0)
  }

  run(ratio: number, slot: number, position: number, input: Int16Array, outputSamples: number, toFrame: boolean): void {
    const rows = this.#rows[ratio] as FixedRows
    const { history, frame } = this.#slotOf(slot)
    const scratch = this.#scratch
    scratch.set(history.subarray(0, rows.historySamples))
    scratch.set(input, rows.historySamples)
    filterInJs(rows, scratch, position, toFrame ? frame : this.#block, outputSamples)
    history.set(scratch.subarray(input.length, input.length + rows.historySamples))
  }

  output(samples: number): Int16Array {
    return this.#block.subarray(0, samples)
  }

  #slotOf(slot: number): { readonly history: Int16Array; readonly frame: Int16Array } {
    return (this.#slots[slot] ??= {
      history: new Int16Array(this.#historySamplesMax),
      frame: new Int16Array(FRAME_SAMPLES_MAX),
    })
  }
}

function historySamplesMax(rows: readonly FixedRows[]): number {
  return Math.max(0, ...rows.map((r) => r.historySamples))
}

type RunExport = (
  history: number,
  historySamples: number,
  scratch: number,
  inputSamples: number,
  rows: number,
  taps: number,
  peakAt: number,
  peakTaps: number,
  lowShift: number,
  upBy: number,
  downBy: number,
  position: number,
  output: number,
  outputSamples: number,
) => void

const PAGE_BYTES = 65536
const SAMPLE_BYTES = Int16Array.BYTES_PER_ELEMENT

/**
 * Kernel that runs `fir-kernel/`, with one memory for all slots. The memory is allocated once, because its growth would
 * detach the views. Unused pages cost only address space.
 */
class WasmKernel implements Kernel {
  readonly #rows: readonly FixedRows[]
  readonly #memory: WebAssembly.Memory
  readonly #run: RunExport
  readonly #rowsAt: number[]
  readonly #scratchAt: number
  readonly #outputAt: number
  readonly #slotsAt: number
  readonly #historyBytes: number
  readonly #slotBytes: number
  readonly #samples: Int16Array
  readonly #views: Views<Int16Array>

  constructor(rows: readonly PolyphaseRows[], kernel: WebAssembly.Module) {
    const { exports } = new WebAssembly.Instance(kernel)
    // The types of these two exports are as fir-kernel/index.ts defines them.
    this.#memory = exports['memory'] as WebAssembly.Memory
    this.#run = exports['run'] as RunExport
    this.#rows = rows.map(fixedRows)
    // The kernel computes eight outputs as two groups of four. If the rows were shorter, the inputs of the groups would
    // not overlap.
    for (const {
      taps,
      rows: { downBy },
    } of this.#rows)
      assert(taps >= TAP_STEP * (downBy + 2), 'rows too short for the kernel')
    let end = 16
    const reserve = (bytes: number): number => {
      const at = end
      end = aligned(at + bytes)
      return at
    }
    const historySamples = historySamplesMax(this.#rows)
    this.#scratchAt = reserve((historySamples + BLOCK_SAMPLES) * SAMPLE_BYTES)
    this.#outputAt = reserve(3 * BLOCK_SAMPLES * SAMPLE_BYTES)
    this.#rowsAt = this.#rows.map(({ coefficients }) => reserve(coefficients.byteLength))
    this.#historyBytes = aligned(historySamples * SAMPLE_BYTES)
    this.#slotBytes = aligned(this.#historyBytes + FRAME_SAMPLES_MAX * SAMPLE_BYTES)
    this.#slotsAt = reserve(RESAMPLER_STREAMS_MAX * this.#slotBytes)
    this.#memory.grow(Math.max(0, Math.ceil((end - this.#memory.buffer.byteLength) / PAGE_BYTES)))
    this.#samples = new Int16Array(this.#memory.buffer)
    this.#views = new Views(this.#samples)
    this.#rows.forEach(({ coefficients }, ratio) =>
      this.#samples.set(coefficients, (this.#rowsAt[ratio] as number) / SAMPLE_BYTES),
    )
  }

  frame(slot: number, samples: number): Int16Array {
    return new Int16Array(this.#memory.buffer, this.#slotAt(slot) + this.#historyBytes, samples)
  }

  clear(slot: number): void {
    const at = this.#slotAt(slot) / SAMPLE_BYTES
    this.#samples.fill(0, at, at + this.#historyBytes / SAMPLE_BYTES)
  }

  run(ratio: number, slot: number, position: number, input: Int16Array, outputSamples: number, toFrame: boolean): void {
    const { rows, taps, historySamples, peakAt, peakTaps, lowShift } = this.#rows[ratio] as FixedRows
    const slotAt = this.#slotAt(slot)
    this.#samples.set(input, this.#scratchAt / SAMPLE_BYTES + historySamples)
    this.#run(
      slotAt,
      historySamples,
      this.#scratchAt,
      input.length,
      this.#rowsAt[ratio] as number,
      taps,
      peakAt,
      peakTaps,
      lowShift,
      rows.upBy,
      rows.downBy,
      position,
      toFrame ? slotAt + this.#historyBytes : this.#outputAt,
      outputSamples,
    )
  }

  output(samples: number): Int16Array {
    return this.#views.at(this.#outputAt / SAMPLE_BYTES, samples)
  }

  #slotAt(slot: number): number {
    return this.#slotsAt + slot * this.#slotBytes
  }
}

/** Rounds up to a multiple of 16. */
function aligned(bytes: number): number {
  return (bytes + 15) & ~15
}

const HALF = 1 << (OUTPUT_BITS - 1)

/**
 * The FIR kernel in JavaScript, for machines without SIMD and for tests. Its results equal the results of `fir-kernel/`
 * bit for bit, because it also sums in four lanes.
 * @param scratch  history, then new samples: `historySamples + inputSamples` values
 * @param position  distance of the first output from the first new sample, in units of 1 / upBy input samples
 */
function filterInJs(
  fixed: FixedRows,
  scratch: Int16Array,
  position: number,
  output: Int16Array,
  outputSamples: number,
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
      for (let k = lane; k < peakTaps; k += TAP_STEP)
        high += pair(scratch, x + peakAt + k, coefficients, row + taps + k)
      sum += (low >> lowShift) + (high >> LANE_BITS)
    }
    const rounded = (sum + HALF) >> OUTPUT_BITS
    output[n] = rounded > 32767 ? 32767 : rounded < -32768 ? -32768 : rounded
  }
}

function pair(samples: Int16Array, i: number, coefficients: Int16Array, j: number): number {
  return (
    (samples[i] as number) * (coefficients[j] as number) + (samples[i + 1] as number) * (coefficients[j + 1] as number)
  )
}
