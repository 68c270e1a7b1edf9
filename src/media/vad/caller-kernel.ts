import { assert } from '../../core/assert.js'
import { CALLS_PER_WORKER_MAX } from '../../core/limits.js'
import { frameSamples, type LegRateHz } from '../../core/units.js'
import { KEY_TONES_HZ, keyOf } from '../dtmf.js'
import { dbfsOfEnergy } from '../pcm.js'
import type { FrameJudge, Vad } from './vad.js'
import { bandsAboveThemselves } from './voice-features.js'

/** A global that does not change. */
interface Address { readonly value: number }

/** What caller-kernel/index.ts exports. Addresses are in bytes, multiples of 16. */
interface KernelExports {
  readonly memory: WebAssembly.Memory
  readonly FRAME: Address
  readonly INPUTS: Address
  readonly MODEL: Address
  readonly KEY_TABLE: Address
  readonly KEY_TURNS: Address
  readonly KEY_HZ: Address
  readonly STREAM_BYTES: Address
  readonly FREE: Address
  begin(stream: number, bandsAbove: number): void
  energy(wide: number): number
  isSpeech(stream: number, wide: number): number
  judge(stream: number, wide: number, levelDbfs: number): number
}

const PAGE_BYTES = 65_536
const CACHE_LINE_BYTES = 64
// Blocks are made in groups, so that the memory grows seldom.
const STREAMS_PER_GROWTH = 64
const KEY_BLOCK = 80
const KEY_RATE_HZ = 8000

/**
 * The detection stage of all streams of a thread: the WebAssembly of caller-kernel/, a frame's place in its memory, and a block of
 * 2.2 KB for each stream, kept on a free list. A frame costs one copy and one call; nothing allocates.
 */
export class CallerKernel {
  /** Streams that are open now. */
  openStreams = 0
  /** Streams that have a block, open or free: the most that were open at once. */
  blocks = 0
  readonly #exports: KernelExports
  readonly #frameAt: number
  readonly #free: number[] = []
  #end: number
  /** The whole memory; made again after it has grown. */
  #samples: Int16Array

  /**
   * @param module the compiled caller-kernel.wasm
   * @param model of voice-model.ts, in the order of voice-kernel.ts
   */
  constructor(module: WebAssembly.Module, model: readonly number[]) {
    // The shapes of these exports are fixed by caller-kernel/index.ts.
    this.#exports = new WebAssembly.Instance(module).exports as unknown as KernelExports
    const { memory, FRAME, MODEL, FREE } = this.#exports
    this.#samples = new Int16Array(memory.buffer)
    this.#frameAt = FRAME.value / Int16Array.BYTES_PER_ELEMENT
    this.#end = Math.ceil(FREE.value / CACHE_LINE_BYTES) * CACHE_LINE_BYTES
    new Float32Array(memory.buffer, MODEL.value, model.length).set(model)
    this.#writeKeyTables()
  }

  /** What is known of the frame that was taken last (voice-features.ts): a copy, for tests. */
  get inputs(): Float32Array {
    return new Float32Array(this.#exports.memory.buffer, this.#exports.INPUTS.value, 48).slice()
  }

  /**
   * @returns the address of a block, which is only clean after `begin`
   * @throws Error when more are open than a worker may carry calls: a mistake in this program
   */
  open(): number {
    assert(this.openStreams < CALLS_PER_WORKER_MAX, 'more callers listened to than a worker may carry calls')
    this.openStreams++
    return this.#free.pop() ?? this.#reserve()
  }

  /** The block goes to the next stream that opens. */
  close(stream: number): void {
    this.openStreams--
    this.#free.push(stream)
  }

  /** Forgets all that a block holds: `frame` is the first of a stream. Allocates. */
  begin(stream: number, frame: Int16Array, sampleRateHz: LegRateHz): void {
    this.#exports.begin(stream, bandsAboveThemselves(frame, sampleRateHz))
  }

  /** The sum of the squares of its samples. */
  energyOf(frame: Int16Array, sampleRateHz: LegRateHz): number {
    this.#samples.set(frame, this.#frameAt)
    return this.#exports.energy(sampleRateHz === 16000 ? 1 : 0)
  }

  isSpeech(stream: number, frame: Int16Array, sampleRateHz: LegRateHz): boolean {
    this.#samples.set(frame, this.#frameAt)
    return this.#exports.isSpeech(stream, sampleRateHz === 16000 ? 1 : 0) === 1
  }

  /** @returns bit 0: voiced; the others: 1 + the key that was recognised, or 0 */
  judge(stream: number, frame: Int16Array, sampleRateHz: LegRateHz, levelDbfs: number): number {
    this.#samples.set(frame, this.#frameAt)
    return this.#exports.judge(stream, sampleRateHz === 16000 ? 1 : 0, levelDbfs)
  }

  #reserve(): number {
    const { memory, STREAM_BYTES } = this.#exports
    const bytes = STREAM_BYTES.value
    const stream = this.#end
    this.#end += bytes
    this.blocks++
    const missing = this.#end - memory.buffer.byteLength
    if (missing > 0) {
      memory.grow(Math.ceil((missing + (STREAMS_PER_GROWTH - 1) * bytes) / PAGE_BYTES))
      this.#samples = new Int16Array(memory.buffer)
    }
    return stream
  }

  #writeKeyTables(): void {
    const { memory, KEY_TABLE, KEY_TURNS, KEY_HZ } = this.#exports
    const tones = KEY_TONES_HZ.length
    const table = new Float32Array(memory.buffer, KEY_TABLE.value, KEY_BLOCK * tones)
    const turns = new Float32Array(memory.buffer, KEY_TURNS.value, 2 * tones)
    KEY_TONES_HZ.forEach((hz, tone) => {
      const w = (2 * Math.PI * hz) / KEY_RATE_HZ
      for (let n = 0; n < KEY_BLOCK / 2; n++) {
        const toMiddle = (KEY_BLOCK - 1) / 2 - n
        table[2 * tones * n + tone] = Math.cos(w * toMiddle)
        table[2 * tones * n + tones + tone] = Math.sin(w * toMiddle)
      }
      turns[tone] = Math.cos(w * KEY_BLOCK)
      turns[tones + tone] = Math.sin(w * KEY_BLOCK)
    })
    new Float64Array(memory.buffer, KEY_HZ.value, tones).set(KEY_TONES_HZ)
  }
}

/** One stream's block, and who it belongs to. */
class KernelStream {
  protected readonly kernel: CallerKernel
  protected readonly stream: number
  readonly sampleRateHz: LegRateHz
  readonly #frame: number
  #begun = false
  #released = false

  constructor(kernel: CallerKernel, sampleRateHz: LegRateHz) {
    this.kernel = kernel
    this.sampleRateHz = sampleRateHz
    this.#frame = frameSamples(sampleRateHz)
    this.stream = kernel.open()
  }

  reset(): void {
    this.#begun = false
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.kernel.close(this.stream)
  }

  /** To be called with each frame before it goes to the kernel. */
  protected expect(frame: Int16Array): void {
    assert(!this.#released, 'VAD used after its release')
    assert(frame.length === this.#frame, 'the VAD takes frames of 20 ms')
    if (this.#begun) return
    this.#begun = true
    this.kernel.begin(this.stream, frame, this.sampleRateHz)
  }
}

/** The voice detector alone. */
export class KernelVad extends KernelStream implements Vad {
  isSpeech(frame: Int16Array): boolean {
    this.expect(frame)
    return this.kernel.isSpeech(this.stream, frame, this.sampleRateHz)
  }
}

/** Everything that `CallerPath` asks about a frame, in one call. */
export class KernelJudge extends KernelStream implements FrameJudge {
  voiced = false
  digit: string | null = null

  judge(frame: Int16Array, levelDbfs: number): void {
    this.expect(frame)
    const bits = this.kernel.judge(this.stream, frame, this.sampleRateHz, levelDbfs)
    this.voiced = (bits & 1) === 1
    this.digit = bits < 2 ? null : keyOf((bits >> 1) - 1)
  }

  levelDbfs(frame: Int16Array): number {
    return dbfsOfEnergy(this.kernel.energyOf(frame, this.sampleRateHz), frame.length)
  }
}
