import { filterInJs } from './fir-js.js'
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

/** Longest piece that goes through the kernel at once: 40 ms at 24 kHz. Longer chunks are cut. */
export const BLOCK_SAMPLES = 960

/** The same samples without WebAssembly, some ten times slower. */
export class JsKernel implements Kernel {
  stateBytes = 0
  readonly #rows: readonly PolyphaseRows[]
  readonly #histories: Float32Array[][]
  readonly #scratch: Float32Array
  readonly #block = new Int16Array(3 * BLOCK_SAMPLES)

  constructor(rows: readonly PolyphaseRows[]) {
    this.#rows = rows
    this.#histories = rows.map(() => [])
    this.#scratch = new Float32Array(Math.max(0, ...rows.map((r) => r.historySamples)) + BLOCK_SAMPLES)
  }

  allocate(ratio: number): number {
    const samples = this.#rowsOf(ratio).historySamples
    this.stateBytes += samples * Float32Array.BYTES_PER_ELEMENT
    return (this.#histories[ratio] as Float32Array[]).push(new Float32Array(samples)) - 1
  }

  clear(ratio: number, slot: number): void {
    this.#history(ratio, slot).fill(0)
  }

  run(
    ratio: number, slot: number, position: number,
    input: Int16Array, from: number, samples: number, output: Int16Array, to: number, outputSamples: number,
  ): void {
    const rows = this.#rowsOf(ratio)
    const history = this.#history(ratio, slot)
    const scratch = this.#scratch
    scratch.set(history)
    for (let i = 0; i < samples; i++) scratch[history.length + i] = input[from + i] as number
    filterInJs(rows, scratch, position, this.#block, outputSamples)
    for (let i = 0; i < outputSamples; i++) output[to + i] = this.#block[i] as number
    for (let i = 0; i < history.length; i++) history[i] = scratch[samples + i] as number
  }

  #rowsOf(ratio: number): PolyphaseRows {
    return this.#rows[ratio] as PolyphaseRows
  }

  #history(ratio: number, slot: number): Float32Array {
    return (this.#histories[ratio] as Float32Array[])[slot] as Float32Array
  }
}

type RunExport = (
  history: number, historySamples: number, input: number, inputSamples: number, scratch: number,
  rows: number, taps: number, upBy: number, downBy: number, position: number, output: number, outputSamples: number,
) => void

const PAGE_BYTES = 65536
// Slots are made in groups, so that the memory grows seldom.
const SLOTS_PER_GROWTH = 64

/** `fir-kernel.wat` with one memory for everything. */
export class WasmKernel implements Kernel {
  stateBytes = 0
  readonly #rows: readonly PolyphaseRows[]
  readonly #memory: WebAssembly.Memory
  readonly #run: RunExport
  readonly #rowsAt: number[]
  /** Byte address of every slot, by ratio. */
  readonly #slots: number[][]
  readonly #scratchAt: number
  readonly #inputAt: number
  readonly #outputAt: number
  #end = 16
  /** Views of the whole memory; made again after it has grown. */
  #samples: Int16Array
  #floats: Float32Array

  constructor(rows: readonly PolyphaseRows[], kernel: WebAssembly.Module) {
    const { exports } = new WebAssembly.Instance(kernel)
    // The shapes of these two exports are fixed by fir-kernel.wat.
    this.#memory = exports['memory'] as WebAssembly.Memory
    this.#run = exports['run'] as RunExport
    this.#samples = new Int16Array(this.#memory.buffer)
    this.#floats = new Float32Array(this.#memory.buffer)
    this.#rows = rows
    this.#slots = rows.map(() => [])
    const historyMax = Math.max(0, ...rows.map((r) => r.historySamples))
    this.#scratchAt = this.#reserve((historyMax + BLOCK_SAMPLES + 8) * 4)
    this.#inputAt = this.#reserve(BLOCK_SAMPLES * 2 + 16)
    this.#outputAt = this.#reserve(3 * BLOCK_SAMPLES * 2 + 16)
    this.#rowsAt = rows.map((r) => {
      const at = this.#reserve(r.coefficients.byteLength)
      this.#floats.set(r.coefficients, at / 4)
      return at
    })
  }

  allocate(ratio: number): number {
    const slots = this.#slots[ratio] as number[]
    const bytes = (this.#rows[ratio] as PolyphaseRows).historySamples * 4
    this.stateBytes += bytes
    return slots.push(this.#reserve(bytes)) - 1
  }

  clear(ratio: number, slot: number): void {
    const at = this.#slotAt(ratio, slot) / 4
    this.#floats.fill(0, at, at + (this.#rows[ratio] as PolyphaseRows).historySamples)
  }

  run(
    ratio: number, slot: number, position: number,
    input: Int16Array, from: number, samples: number, output: Int16Array, to: number, outputSamples: number,
  ): void {
    const rows = this.#rows[ratio] as PolyphaseRows
    const memory = this.#samples
    const inputAt = this.#inputAt >> 1
    // A whole frame goes over by one copy; a part of an array would need a view, that is an allocation.
    if (samples === input.length) memory.set(input, inputAt)
    else for (let i = 0; i < samples; i++) memory[inputAt + i] = input[from + i] as number
    this.#run(
      this.#slotAt(ratio, slot), rows.historySamples, this.#inputAt, samples, this.#scratchAt,
      this.#rowsAt[ratio] as number, rows.tapsPerRow, rows.upBy, rows.downBy, position, this.#outputAt, outputSamples,
    )
    const outputAt = this.#outputAt >> 1
    for (let i = 0; i < outputSamples; i++) output[to + i] = memory[outputAt + i] as number
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
      this.#floats = new Float32Array(this.#memory.buffer)
    }
    return at
  }
}
