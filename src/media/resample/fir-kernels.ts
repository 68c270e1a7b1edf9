import { assert } from '../../core/assert.js'
import { Views } from '../../core/views.js'
import { filterInJs } from './fir-js.js'
import { fixedRows, TAP_STEP, type FixedRows } from './fixed-rows.js'
import type { PolyphaseRows } from './polyphase.js'

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
