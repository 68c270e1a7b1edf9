import { assert } from '../core/assert.js'

/**
 * The shared memory of one call: what the main thread and the call's media worker tell each other fifty times a
 * second or more, without a message. Everything rarer goes through the call's MessagePort.
 *
 *     bytes      0 .. 127   control words (Int32, used with Atomics)
 *              128 .. 255   times (Float64, written by one side, read by the other)
 *              256 ..       inbound packets   (main -> worker, `PacketRing`)
 *                   ..      outbound samples  (worker -> main, `SampleRing`)
 *
 * A single owner writes each word, so that plain ordered stores are enough; the rings publish with Atomics.
 * The memory outlives a worker: a call that changes its worker keeps it, with all speech not yet played.
 */
export const Word = {
  inHead: 0,
  inTail: 1,
  inSkip: 2,
  /** Packets that did not fit. Written by main. */
  inDropped: 3,
  outHead: 4,
  outTail: 5,
  outSkip: 6,
  /** 1 while the agent is held silent by a barge-in's first step. Written by the worker. */
  paused: 7,
  /** Raised by the worker with each flush of the carrier. */
  clears: 8,
  /** 1 while the worker has, or expects, more samples of the item that plays. */
  more: 9,
  /** Dry spells within an item. Written by main. */
  underruns: 10,
  /** Not 0: the call must end, whatever its session thinks (`HANGUP_*`). Written by main. */
  hangup: 11,
} as const

export const Time = {
  /** When all that was sent will have been played. Written by main. */
  playoutEndMs: 0,
  /** When the last speech sample was given to the socket. Written by main. */
  lastSentAtMs: 1,
  /** When the last speech sample that was sent will have been played. Written by main. */
  speechEndMs: 2,
} as const

/** Values of the `hangup` word. */
export const HANGUP_NONE = 0
export const HANGUP_NOW = 1

const TIMES_OFFSET = 128
const RINGS_OFFSET = 256

/** Room for one frame of the largest size and a burst; pages that were never touched cost nothing. */
export const INBOUND_RING_BYTES = 256 * 1024
/** Speech that plays on when a worker dies: 2 s at 16 kHz, 4 s at 8 kHz. */
export const OUTBOUND_RING_SAMPLES = 32 * 1024

const SHARED_CALL_BYTES = RINGS_OFFSET + INBOUND_RING_BYTES + OUTBOUND_RING_SAMPLES * 2

export function allocateSharedCall(): SharedArrayBuffer {
  return new SharedArrayBuffer(SHARED_CALL_BYTES)
}

/** Views over one call's shared memory; either side makes its own. */
export class SharedCall {
  readonly words: Int32Array
  readonly times: Float64Array
  readonly inbound: PacketRing
  readonly outbound: SampleRing

  constructor(memory: SharedArrayBuffer) {
    assert(memory.byteLength === SHARED_CALL_BYTES, `shared call memory of ${memory.byteLength} bytes`)
    this.words = new Int32Array(memory, 0, TIMES_OFFSET / 4)
    this.times = new Float64Array(memory, TIMES_OFFSET, (RINGS_OFFSET - TIMES_OFFSET) / 8)
    this.inbound = new PacketRing(this.words, new Uint8Array(memory, RINGS_OFFSET, INBOUND_RING_BYTES))
    this.outbound = new SampleRing(
      this.words, new Int16Array(memory, RINGS_OFFSET + INBOUND_RING_BYTES, OUTBOUND_RING_SAMPLES))
  }
}

/** Bytes before each packet: its length and its time of arrival. */
const PACKET_HEADER_BYTES = 16

/**
 * Packets with their time of arrival, from one producer to one consumer. Counts run modulo 2^32 and are masked
 * into the ring. When the consumer has taken everything the producer starts again at the ring's first byte (the
 * `inSkip` word tells the consumer), so that a call on a steady line touches one page of its ring and no more.
 */
export class PacketRing {
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #mask: number
  readonly #header = new DataView(new ArrayBuffer(PACKET_HEADER_BYTES))
  readonly #headerBytes = new Uint8Array(this.#header.buffer)
  /** Time of arrival of the packet that `read` returned last, in milliseconds of the common clock. */
  arrivalMs = 0

  constructor(words: Int32Array, bytes: Uint8Array) {
    assert((bytes.length & (bytes.length - 1)) === 0, 'a ring has a power of two of bytes')
    this.#words = words
    this.#bytes = bytes
    this.#mask = bytes.length - 1
  }

  /** Copies `packet` in. @returns false when it does not fit (counted in the `inDropped` word). */
  write(packet: Uint8Array, arrivalMs: number): boolean {
    const words = this.#words
    const capacity = this.#bytes.length
    const need = PACKET_HEADER_BYTES + packet.length
    let head = Atomics.load(words, Word.inHead) >>> 0
    const tail = Atomics.load(words, Word.inTail) >>> 0
    const skip = Atomics.load(words, Word.inSkip) >>> 0
    const from = ((skip - tail) | 0) > 0 ? skip : tail
    if (from === head && (head & this.#mask) !== 0 && tail === head) {
      head = (head + capacity - (head & this.#mask)) >>> 0
      Atomics.store(words, Word.inSkip, head | 0)
    } else if (((head - from) >>> 0) + need > capacity) {
      Atomics.add(words, Word.inDropped, 1)
      return false
    }
    if (need > capacity) {
      Atomics.add(words, Word.inDropped, 1)
      return false
    }
    this.#header.setUint32(0, packet.length, true)
    this.#header.setFloat64(8, arrivalMs, true)
    this.#put(head, this.#headerBytes)
    this.#put(head + PACKET_HEADER_BYTES, packet)
    Atomics.store(words, Word.inHead, (head + need) | 0)
    return true
  }

  /**
   * Copies the next packet to `out` (at least CARRIER_FRAME_BYTES_MAX bytes) and sets `arrivalMs`.
   * @returns its length in bytes, or -1 when there is none.
   */
  read(out: Uint8Array): number {
    const words = this.#words
    const head = Atomics.load(words, Word.inHead) >>> 0
    let tail = Atomics.load(words, Word.inTail) >>> 0
    if (tail === head) return -1
    const skip = Atomics.load(words, Word.inSkip) >>> 0
    if (((skip - tail) | 0) > 0) tail = skip
    if (tail === head) return -1
    this.#get(tail, this.#headerBytes, PACKET_HEADER_BYTES)
    const length = this.#header.getUint32(0, true)
    this.arrivalMs = this.#header.getFloat64(8, true)
    assert(length <= out.length, `packet of ${length} bytes`)
    this.#get(tail + PACKET_HEADER_BYTES, out, length)
    Atomics.store(words, Word.inTail, (tail + PACKET_HEADER_BYTES + length) | 0)
    return length
  }

  #put(at: number, source: Uint8Array): void {
    const offset = at & this.#mask
    const first = this.#bytes.length - offset
    if (source.length <= first) {
      this.#bytes.set(source, offset)
    } else {
      this.#bytes.set(source.subarray(0, first), offset)
      this.#bytes.set(source.subarray(first), 0)
    }
  }

  #get(at: number, out: Uint8Array, length: number): void {
    const bytes = this.#bytes
    let offset = at & this.#mask
    // An index loop, not subarray + set: no view is made per packet, and packets are short.
    for (let i = 0; i < length; i++) {
      out[i] = bytes[offset] as number
      offset = (offset + 1) & this.#mask
    }
  }
}

/**
 * Samples at the leg's rate from the worker to the main thread, which paces them out. Counts are absolute
 * numbers of samples modulo 2^32 (74 h at 16 kHz), so that both sides speak of the same sample by its count.
 */
export class SampleRing {
  readonly #words: Int32Array
  readonly #samples: Int16Array
  readonly #mask: number

  constructor(words: Int32Array, samples: Int16Array) {
    assert((samples.length & (samples.length - 1)) === 0, 'a ring has a power of two of samples')
    this.#words = words
    this.#samples = samples
    this.#mask = samples.length - 1
  }

  /** Producer: how many samples fit now. */
  get free(): number {
    return this.#samples.length - this.available()
  }

  /** Producer: samples ever written. */
  get written(): number {
    return Atomics.load(this.#words, Word.outHead) >>> 0
  }

  /** Samples ever taken or discarded. */
  get taken(): number {
    return this.#tail()
  }

  /** Producer: copies `count` samples from `source`; the caller has checked `free`. */
  write(source: Int16Array, from: number, count: number): void {
    assert(count <= this.free, 'more samples than the ring has room for')
    let at = this.written
    for (let i = 0; i < count; i++) {
      this.#samples[at & this.#mask] = source[from + i] as number
      at++
    }
    Atomics.store(this.#words, Word.outHead, at | 0)
  }

  /** Producer: everything written so far will not be played. */
  discard(): void {
    Atomics.store(this.#words, Word.outSkip, Atomics.load(this.#words, Word.outHead))
  }

  /** Samples that wait. */
  available(): number {
    return (this.written - this.#tail()) >>> 0
  }

  /** Consumer: copies up to `samples` waiting samples without taking them. @returns how many. */
  peek(out: Int16Array, samples: number): number {
    const count = Math.min(samples, this.available())
    let at = this.#tail()
    for (let i = 0; i < count; i++) {
      out[i] = this.#samples[at & this.#mask] as number
      at++
    }
    return count
  }

  /**
   * Producer: copies samples that were written before, also when they were taken since; they lie in the ring until
   * others are written over them. @returns false when they are already gone or not yet written.
   */
  recall(position: number, out: Int16Array, count: number): boolean {
    const behind = (this.written - position) >>> 0
    if (behind < count || behind > this.#samples.length) return false
    for (let i = 0; i < count; i++) out[i] = this.#samples[(position + i) & this.#mask] as number
    return true
  }

  /** Consumer: takes samples that were peeked. */
  consume(samples: number): void {
    Atomics.store(this.#words, Word.outTail, (this.#tail() + samples) | 0)
  }

  #tail(): number {
    const tail = Atomics.load(this.#words, Word.outTail) >>> 0
    const skip = Atomics.load(this.#words, Word.outSkip) >>> 0
    return ((skip - tail) | 0) > 0 ? skip : tail
  }
}
