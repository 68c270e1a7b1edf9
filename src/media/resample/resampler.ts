import { assert } from '../../core/assert.js'
import { frameSamples, type SampleRateHz } from '../../core/units.js'
import { Views } from '../../core/views.js'
import { LANE_BITS, OUTPUT_BITS, TAP_STEP, fixedRows, type FixedRows, type PolyphaseRows } from './polyphase.js'

/** Resamplers that one worker may have open: two directions of every call it may carry. */
const RESAMPLER_STREAMS_MAX = 4000

interface ResamplerBankOptions {
  /** From `loadMediaAssets` (`scripts/polyphase-rows.mjs` makes them), one for each pair of rates that streams will need. */
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
   * @param output at least `outputSamplesMax(input.length)` long; overwritten from its start
   * @returns samples written to `output`
   */
  process(input: Int16Array, output: Int16Array): number
  /**
   * The same for a stream of 20 ms frames, without a copy of the output.
   * @returns 20 ms: the stream's own memory, valid until its next call; at equal rates `frame` itself
   */
  convert(frame: Int16Array): Int16Array
  /** Forget the past: the next sample is the first of a new stream. */
  reset(): void
  /** Releases the slot; the object must not be used afterwards. */
  release(): void
}

/**
 * All resamplers of one thread. The rows of a ratio are in memory once; a stream has a slot of one shared memory, kept
 * on a free list, with its history and a frame of output.
 */
export class ResamplerBank {
  /** Streams that are open now. */
  openStreams = 0
  readonly #rows: readonly PolyphaseRows[]
  readonly #kernel: Kernel
  readonly #freeSlots: number[] = []
  #slots = 0

  constructor(options: ResamplerBankOptions) {
    this.#rows = options.rows
    this.#kernel = options.kernel === null ? new JsKernel(options.rows) : new WasmKernel(options.rows, options.kernel)
  }

  /** Slots in use or free: the most streams that were open at once. */
  get slots(): number {
    return this.#slots
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
  /** Position of the next output after the next input sample, in units of 1 / upBy input samples. */
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

  /** @returns how many samples came out */
  #run(input: Int16Array, toFrame: boolean): number {
    assert(!this.#released, 'resampler used after its release')
    // Outputs whose place lies before the end of the input.
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
  /** The slot's memory for a frame of output. */
  frame(slot: number, samples: number): Int16Array
  /** Clears the slot's history. */
  clear(slot: number): void
  /**
   * Filters `input` (at most `BLOCK_SAMPLES`) and keeps its end as the slot's history.
   * @param toFrame  the output goes to the slot's frame; else it is in `output` until the next run
   */
  run(ratio: number, slot: number, position: number, input: Int16Array, outputSamples: number, toFrame: boolean): void
  /** The first `samples` samples that the last run left, unless they are in a slot's frame. */
  output(samples: number): Int16Array
}

/** The most samples that go through a kernel at once: 100 ms at 24 kHz, the longest message of a backend. */
export const BLOCK_SAMPLES = 2400
/** Size of a slot's frame: 20 ms at 24 kHz. */
const FRAME_SAMPLES_MAX = frameSamples(24_000)

/** The same samples without WebAssembly, some twenty times slower. */
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
 * `fir-kernel/` with one memory for everything. It is allocated once for all slots, because growing it would detach the
 * views. Unused pages cost only address space.
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
    // The shapes of these two exports are fixed by fir-kernel/index.ts.
    this.#memory = exports['memory'] as WebAssembly.Memory
    this.#run = exports['run'] as RunExport
    this.#rows = rows.map(fixedRows)
    // The kernel computes pairs of four outputs; with shorter rows their inputs would not overlap.
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

/** Up to the next multiple of 16. */
function aligned(bytes: number): number {
  return (bytes + 15) & ~15
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
