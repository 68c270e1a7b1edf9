import { assert } from '../../core/assert.js'
import { CALLS_PER_WORKER_MAX, JITTER_SLOTS } from '../../core/limits.js'
import { frameSamples, type LegRateHz } from '../../core/units.js'
import { DTMF_TONES_HZ, digitOf } from '../dtmf.js'
import { dbfsOfEnergy } from '../pcm.js'
import { bandsAboveThemselves } from './band-splitter.js'
import type { FrameDetector, Vad, VadBank } from './vad.js'

/**
 * Weights of the units, in the order of caller-kernel/. The file `voice-model.f32` contains both stages, one after the
 * other.
 */
export interface VoiceModels {
  readonly first: Float32Array
  readonly second: Float32Array
}

/** Number of weights of the first stage: 32 units that weigh 48 features, their output weights, and the bias. */
export const FIRST_NUMBERS = 32 + 48 * 32 + 32 + 1

/**
 * The default bank. 32 units weigh a frame's features; their weights were derived from speech in noise (bench/vad/).
 *
 * Speech begins when it is likely and ends when it is unlikely, so decisions do not flutter. If the first stage finds
 * speech that is unlikely in the whole stream, it is music or noise.
 */
export class VoiceBank implements VadBank {
  readonly #kernel: CallerKernel

  constructor(kernel: CallerKernel) {
    this.#kernel = kernel
  }

  open(sampleRateHz: LegRateHz): KernelStream {
    return new KernelStream(this.#kernel, sampleRateHz)
  }

  openDetector(sampleRateHz: LegRateHz): KernelStream {
    return this.open(sampleRateHz)
  }
}

/** A constant WebAssembly global. */
interface Address {
  readonly value: number
}

/** Exports of caller-kernel/index.ts. Addresses are in bytes, multiples of 16. */
interface KernelExports {
  readonly memory: WebAssembly.Memory
  readonly FRAME: Address
  readonly INPUTS: Address
  readonly MODEL: Address
  readonly SECOND_MODEL: Address
  readonly TONE_TABLE: Address
  readonly TONE_TURNS: Address
  readonly TONE_HZ: Address
  readonly STREAM_BYTES: Address
  readonly FREE: Address
  begin(stream: number, bandsAbove: number): void
  beginLine(stream: number): void
  lineEnergy(stream: number, frame: number, wide: number): number
  isSpeech(stream: number, frame: number, wide: number): number
  detect(stream: number, frame: number, wide: number, levelDbfs: number): number
}

const PAGE_BYTES = 65_536
const CACHE_LINE_BYTES = 64
const DTMF_BLOCK = 80
const DTMF_RATE_HZ = 8000
/** Size of a slot in bytes: a frame at 16 kHz. */
const SLOT_BYTES = frameSamples(16_000) * Int16Array.BYTES_PER_ELEMENT

/**
 * Detection for all streams of a thread. It runs the WebAssembly of caller-kernel/. Each stream gets a block of memory
 * from a list of free blocks: 3 KB of state and `JITTER_SLOTS` frames.
 *
 * The memory is allocated once, because its growth would detach the views. Unused pages cost only address space.
 */
export class CallerKernel {
  readonly exports: KernelExports
  /** Number of open streams. */
  openStreams = 0
  /** Number of blocks that are in use or free. It is the maximum number of streams that were open at once. */
  blocks = 0
  /** Size in bytes of a stream's state. The slots of the stream follow it. */
  readonly stateBytes: number
  /** Address to which frames outside a slot are copied. */
  readonly #frameAt: number
  readonly #frame: Int16Array
  readonly #free: number[] = []
  #end: number

  /** @param module  the compiled caller-kernel.wasm */
  constructor(module: WebAssembly.Module, models: VoiceModels) {
    // The types of these exports are as caller-kernel/index.ts defines them.
    this.exports = new WebAssembly.Instance(module).exports as unknown as KernelExports
    const { memory, FRAME, MODEL, SECOND_MODEL, STREAM_BYTES, FREE } = this.exports
    this.stateBytes = STREAM_BYTES.value
    this.#frameAt = FRAME.value
    this.#end = Math.ceil(FREE.value / CACHE_LINE_BYTES) * CACHE_LINE_BYTES
    memory.grow(
      Math.ceil((this.#end + CALLS_PER_WORKER_MAX * this.#blockBytes - memory.buffer.byteLength) / PAGE_BYTES),
    )
    this.#frame = new Int16Array(memory.buffer, this.#frameAt, SLOT_BYTES / Int16Array.BYTES_PER_ELEMENT)
    new Float32Array(memory.buffer, MODEL.value, models.first.length).set(models.first)
    new Float32Array(memory.buffer, SECOND_MODEL.value, models.second.length).set(models.second)
    this.#writeToneTables()
  }

  /**
   * @returns the address of a block, which is clean only after `begin`
   *
   * @throws Error if more blocks are in use than a worker may carry calls. This is a programming error
   */
  open(): number {
    assert(this.openStreams < CALLS_PER_WORKER_MAX, 'more callers listened to than a worker may carry calls')
    this.openStreams++
    const free = this.#free.pop()
    if (free !== undefined) return free
    const block = this.#end
    this.#end += this.#blockBytes
    this.blocks++
    return block
  }

  /** Puts the block back into the list of free blocks. */
  close(block: number): void {
    this.openStreams--
    this.#free.push(block)
  }

  /** Copies a frame into the memory. @returns its address, valid until the next call */
  copied(frame: Int16Array): number {
    this.#frame.set(frame)
    return this.#frameAt
  }

  get #blockBytes(): number {
    return this.stateBytes + JITTER_SLOTS * SLOT_BYTES
  }

  #writeToneTables(): void {
    const { memory, TONE_TABLE, TONE_TURNS, TONE_HZ } = this.exports
    const tones = DTMF_TONES_HZ.length
    const table = new Float32Array(memory.buffer, TONE_TABLE.value, DTMF_BLOCK * tones)
    const turns = new Float32Array(memory.buffer, TONE_TURNS.value, 2 * tones)
    DTMF_TONES_HZ.forEach((hz, tone) => {
      const w = (2 * Math.PI * hz) / DTMF_RATE_HZ
      for (let n = 0; n < DTMF_BLOCK / 2; n++) {
        const toMiddle = (DTMF_BLOCK - 1) / 2 - n
        table[2 * tones * n + tone] = Math.cos(w * toMiddle)
        table[2 * tones * n + tones + tone] = Math.sin(w * toMiddle)
      }
      turns[tone] = Math.cos(w * DTMF_BLOCK)
      turns[tones + tone] = Math.sin(w * DTMF_BLOCK)
    })
    new Float64Array(memory.buffer, TONE_HZ.value, tones).set(DTMF_TONES_HZ)
  }
}

/** One stream of a `CallerKernel`: `isSpeech` detects only voice; `detect` detects voice, digits and tones in one call. */
export class KernelStream implements Vad, FrameDetector {
  readonly slots: readonly Int16Array[]
  readonly sampleRateHz: LegRateHz
  voiced = false
  doubtful = false
  lineIsFaulty = false
  digit: string | null = null
  readonly #kernel: CallerKernel
  readonly #exports: KernelExports
  readonly #block: number
  readonly #slotsAt: number
  readonly #wide: 0 | 1
  #begun = false
  #released = false

  constructor(kernel: CallerKernel, sampleRateHz: LegRateHz) {
    this.#kernel = kernel
    this.#exports = kernel.exports
    this.#block = kernel.open()
    this.#slotsAt = this.#block + kernel.stateBytes
    this.sampleRateHz = sampleRateHz
    this.#wide = sampleRateHz === 16_000 ? 1 : 0
    this.#exports.beginLine(this.#block)
    this.slots = Array.from(
      { length: JITTER_SLOTS },
      (_, slot) =>
        new Int16Array(kernel.exports.memory.buffer, this.#slotsAt + slot * SLOT_BYTES, frameSamples(sampleRateHz)),
    )
  }

  isSpeech(frame: Int16Array): boolean {
    this.#begin(frame)
    return this.#exports.isSpeech(this.#block, this.#addressOf(frame), this.#wide) === 1
  }

  detect(frame: Int16Array, levelDbfs: number): void {
    this.#begin(frame)
    // Bit 0: voiced; bit 1: doubtful; higher bits: 1 + the digit's index, or 0.
    const bits = this.#exports.detect(this.#block, this.#addressOf(frame), this.#wide, levelDbfs)
    this.voiced = (bits & 1) === 1
    this.doubtful = (bits & 2) === 2
    this.digit = bits < 4 ? null : digitOf((bits >> 2) - 1)
  }

  levelDbfs(frame: Int16Array): number {
    const energy = this.#exports.lineEnergy(this.#block, this.#addressOf(frame), this.#wide)
    // A negative sign means that the line is faulty. The energy itself may be zero (-0).
    this.lineIsFaulty = energy < 0 || Object.is(energy, -0)
    return dbfsOfEnergy(Math.abs(energy), frame.length)
  }

  reset(): void {
    this.#begun = this.lineIsFaulty = false
    this.#exports.beginLine(this.#block)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    this.#kernel.close(this.#block)
  }

  /** Checks the size of a frame. Before the stream's first frame, it initialises the block. */
  #begin(frame: Int16Array): void {
    assert(!this.#released, 'VAD used after its release')
    assert(frame.length === (this.#wide === 1 ? 320 : 160), 'the VAD takes frames of 20 ms')
    if (this.#begun) return
    this.#begun = true
    this.#exports.begin(this.#block, bandsAboveThemselves(frame, this.sampleRateHz, this.lineIsFaulty))
  }

  /** On a line without jitter all frames are in the first slot. */
  #addressOf(frame: Int16Array): number {
    const slot = this.slots.indexOf(frame)
    return slot < 0 ? this.#kernel.copied(frame) : this.#slotsAt + slot * SLOT_BYTES
  }
}
