import { assert } from '../../core/assert.js'
import { Views } from '../../core/views.js'
import {
  INBOUND_RING_BYTES,
  OUTBOUND_RING_SAMPLES,
  RINGS_OFFSET,
  SHARED_CALL_BYTES,
  TIMES_OFFSET,
  WAITING_SENT_OFFSET,
  WAITING_SENT_SAMPLES,
  Word,
  wordsOf,
} from './shared-call-layout.js'

/** Memory for a single call; a gateway uses a `CallMemoryPool`. */
export function allocateSharedCall(): SharedArrayBuffer {
  return new SharedArrayBuffer(SHARED_CALL_BYTES)
}

/** Views of one call's shared memory; each side makes its own. */
export class SharedCall {
  readonly words: Int32Array
  readonly times: Float64Array
  readonly inbound: PacketRing
  readonly outbound: SampleRing
  /** The last samples that `waitingSent` counts; the one with count `n` is at `n` modulo the length, a power of two. */
  readonly waitingSent: Int16Array

  /** @param at  where the call's memory begins: a multiple of 16 */
  constructor(memory: SharedArrayBuffer, at = 0) {
    assert(memory.byteLength >= at + SHARED_CALL_BYTES, `shared call memory of ${memory.byteLength - at} bytes`)
    this.words = wordsOf(memory, at)
    this.times = new Float64Array(memory, at + TIMES_OFFSET, (RINGS_OFFSET - TIMES_OFFSET) / 8)
    this.inbound = new PacketRing(this.words, new Uint8Array(memory, at + RINGS_OFFSET, INBOUND_RING_BYTES))
    this.outbound = new SampleRing(
      this.words,
      new Int16Array(memory, at + RINGS_OFFSET + INBOUND_RING_BYTES, OUTBOUND_RING_SAMPLES),
    )
    this.waitingSent = new Int16Array(memory, at + WAITING_SENT_OFFSET, WAITING_SENT_SAMPLES)
  }
}

/** Bytes before each packet: its length and its time of arrival. Packets begin at multiples of it. */
const PACKET_HEADER_BYTES = 16

/** A packet that wraps around the ring's end is joined here. */
let joined = new Uint8Array(0)

/**
 * Packets with their time of arrival, from one producer to one consumer. Counts run modulo 2^32 and are masked
 * into the ring. When the consumer has taken everything, the producer starts again at the ring's first byte (the
 * `inSkip` word tells the consumer). So a call on a steady line touches only one page of its ring, and the consumer
 * reads its packets in place, without a copy.
 */
export class PacketRing {
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  /** The same memory as numbers: for each packet its length, then its time of arrival. */
  readonly #heads: Float64Array
  readonly #views: Views<Uint8Array>
  readonly #mask: number
  /** Where the packet that `next` returned ends. */
  #nextTail = 0
  /** Time of arrival of the packet that `next` returned last, on the common clock. */
  arrivalMs = 0

  constructor(words: Int32Array, bytes: Uint8Array) {
    assert((bytes.length & (bytes.length - 1)) === 0, 'the bytes of a ring must be a power of two')
    this.#words = words
    this.#bytes = bytes
    this.#heads = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / Float64Array.BYTES_PER_ELEMENT)
    this.#views = new Views(bytes)
    this.#mask = bytes.length - 1
  }

  /** Packets that did not fit, ever. */
  get dropped(): number {
    return Atomics.load(this.#words, Word.inDropped)
  }

  /** Share of the ring that waits to be taken, 0 to 1. */
  get fill(): number {
    const head = Atomics.load(this.#words, Word.inHead) >>> 0
    const tail = Atomics.load(this.#words, Word.inTail) >>> 0
    const skip = Atomics.load(this.#words, Word.inSkip) >>> 0
    const from = ((skip - tail) | 0) > 0 ? skip : tail
    return ((head - from) >>> 0) / this.#bytes.length
  }

  /** Copies `packet` in. @returns false when it does not fit (counted in the `inDropped` word). */
  write(packet: Uint8Array, arrivalMs: number): boolean {
    const words = this.#words
    const capacity = this.#bytes.length
    const need = bytesInRing(packet.length)
    if (need > capacity) return this.#drop()
    // The producer's own words need no Atomics. The consumer's word does: then its packets have been read.
    let head = (words[Word.inHead] as number) >>> 0
    const tail = Atomics.load(words, Word.inTail) >>> 0
    const skip = (words[Word.inSkip] as number) >>> 0
    const from = ((skip - tail) | 0) > 0 ? skip : tail
    if (from === head && (head & this.#mask) !== 0 && tail === head) {
      head = (head + capacity - (head & this.#mask)) >>> 0
      words[Word.inSkip] = head | 0 // published with the head that follows
    } else if (((head - from) >>> 0) + need > capacity) {
      return this.#drop()
    }
    const at = head & this.#mask
    this.#heads[at >> 3] = packet.length
    this.#heads[(at >> 3) + 1] = arrivalMs
    const offset = (at + PACKET_HEADER_BYTES) & this.#mask
    const first = capacity - offset
    if (packet.length <= first) {
      this.#bytes.set(packet, offset)
    } else {
      this.#bytes.set(packet.subarray(0, first), offset)
      this.#bytes.set(packet.subarray(first), 0)
    }
    Atomics.store(words, Word.inHead, (head + need) | 0)
    return true
  }

  #drop(): false {
    this.#words[Word.inDropped] = ((this.#words[Word.inDropped] as number) + 1) | 0
    return false
  }

  /** Consumer: whether packets wait. Read without Atomics, so it may miss the newest one until the next tick. */
  get waits(): boolean {
    return this.#words[Word.inHead] !== this.#words[Word.inTail]
  }

  /**
   * The next packet, in place: valid until `release`, which must come before another `next`. Sets `arrivalMs`.
   * @returns null when there is none
   */
  next(): Uint8Array | null {
    const words = this.#words
    if (!this.waits) return null
    let tail = (words[Word.inTail] as number) >>> 0 // our own
    const head = Atomics.load(words, Word.inHead) >>> 0
    const skip = (words[Word.inSkip] as number) >>> 0
    if (((skip - tail) | 0) > 0) tail = skip
    if (tail === head) return null
    const at = tail & this.#mask
    const length = this.#heads[at >> 3] as number
    this.arrivalMs = this.#heads[(at >> 3) + 1] as number
    this.#nextTail = tail + bytesInRing(length)
    const offset = (at + PACKET_HEADER_BYTES) & this.#mask
    return offset + length <= this.#bytes.length ? this.#views.at(offset, length) : this.#join(offset, length)
  }

  /** Consumer: the packet that `next` returned was read, and may be overwritten. */
  release(): void {
    Atomics.store(this.#words, Word.inTail, this.#nextTail | 0)
  }

  /** Joins a packet that begins at the ring's end and continues at its start; rare. */
  #join(offset: number, length: number): Uint8Array {
    if (joined.length < length) joined = new Uint8Array(length)
    const first = this.#bytes.length - offset
    joined.set(this.#bytes.subarray(offset))
    joined.set(this.#bytes.subarray(0, length - first), first)
    return joined.subarray(0, length)
  }
}

function bytesInRing(packetBytes: number): number {
  return (2 * PACKET_HEADER_BYTES - 1 + packetBytes) & -PACKET_HEADER_BYTES
}

/** Samples in a page of memory. */
const PAGE_SAMPLES = 2048

/**
 * Samples at the leg's rate from the worker to the main thread, which sends them at the right time. Counts are absolute
 * numbers of samples modulo 2^32 (74 h at 16 kHz), so that a count names the same sample on both sides.
 *
 * Like `PacketRing` it starts again at its first place whenever the consumer has taken everything, so that short
 * answers touch little of it. The `outBase` word is the count of the sample there. Taken samples that must still be recalled
 * move to the first place with it.
 */
export class SampleRing {
  /** Producer: count of the first sample that must still be recalled; null where nothing is recalled. */
  recallFrom: number | null = null
  readonly #words: Int32Array
  readonly #samples: Int16Array
  readonly #views: Views<Int16Array>
  readonly #mask: number
  /** Count of the first sample that was peeked. */
  #peekedAt = 0

  constructor(words: Int32Array, samples: Int16Array) {
    assert((samples.length & (samples.length - 1)) === 0, 'the samples of a ring must be a power of two')
    this.#words = words
    this.#samples = samples
    this.#views = new Views(samples)
    this.#mask = samples.length - 1
  }

  /** Share of the ring that waits to be taken, 0 to 1. */
  get fill(): number {
    return this.available() / this.#samples.length
  }

  /** Producer: how many samples fit now. */
  get free(): number {
    return this.#samples.length - this.available()
  }

  /** Samples ever written. */
  get written(): number {
    return Atomics.load(this.#words, Word.outHead) >>> 0
  }

  /** Samples ever taken or discarded. */
  get taken(): number {
    return this.#behind(Atomics.load(this.#words, Word.outTail) >>> 0)
  }

  /**
   * Producer: samples ever taken or discarded, as far as the times of the shared memory describe them. Read it before
   * the times.
   */
  get dated(): number {
    return this.#behind(Atomics.load(this.#words, Word.dated) >>> 0)
  }

  /** Consumer: samples that it has taken, without those that were discarded after them. */
  get consumed(): number {
    return (this.#words[Word.outTail] as number) >>> 0
  }

  /** Consumer: `written`, read without Atomics, so it may miss the newest. */
  get writtenGlance(): number {
    return (this.#words[Word.outHead] as number) >>> 0
  }

  /**
   * Producer: whether the consumer has taken any since `dated` was `seen`. Read without Atomics, so it may miss the
   * newest.
   */
  takenSince(seen: number): boolean {
    const tail = (this.#words[Word.outTail] as number) >>> 0
    const skip = (this.#words[Word.outSkip] as number) >>> 0
    return (((skip - tail) | 0) > 0 ? skip : tail) !== seen
  }

  /** Producer: copies all of `source`; the caller has checked `free`. */
  write(source: Int16Array): void {
    const words = this.#words
    const head = (words[Word.outHead] as number) >>> 0 // our own
    const tail = Atomics.load(words, Word.outTail) >>> 0
    assert(
      source.length <= this.#samples.length - ((head - this.#behind(tail)) >>> 0),
      'more samples than fit into the ring',
    )
    // The consumer's own count, without what was discarded since: the consumer may still be reading.
    if (tail === head) this.#startAgain(head)
    const at = this.#place(head)
    const first = this.#samples.length - at
    if (source.length <= first) {
      this.#samples.set(source, at)
    } else {
      this.#samples.set(source.subarray(0, first), at)
      this.#samples.set(source.subarray(first), 0)
    }
    Atomics.store(words, Word.outHead, (head + source.length) | 0)
  }

  /**
   * Producer, while the consumer has nothing to read: the next samples are written to the first place, behind those that must
   * still be recalled. There are mostly none or a few; they are moved only once a page is full.
   */
  #startAgain(head: number): void {
    const first = this.recallFrom ?? head
    const kept = (head - first) | 0
    if (kept !== 0) {
      const from = this.#place(first)
      const isHeld = ((first - (this.#words[Word.outBase] as number)) | 0) >= 0
      if (!isHeld || kept < 0 || from < PAGE_SAMPLES || from + kept > this.#samples.length) return
      this.#samples.copyWithin(0, from, from + kept)
    }
    this.#words[Word.outBase] = first | 0 // published with the head that follows
  }

  /** Producer: everything written so far will not be played. */
  discard(): void {
    Atomics.store(this.#words, Word.outSkip, this.#words[Word.outHead] as number)
  }

  /** Samples that wait. */
  available(): number {
    // In this order: after a discard between the two reads, `taken` must not be more than `written`.
    const taken = this.taken
    return (this.written - taken) >>> 0
  }

  /** Consumer: copies up to `samples` waiting samples without taking them. @returns how many */
  peek(out: Int16Array, samples: number): number {
    const tail = this.#behind((this.#words[Word.outTail] as number) >>> 0) // our own
    const count = Math.min(samples, (this.written - tail) >>> 0)
    this.#peekedAt = tail
    this.#copy(tail, out, count)
    return count
  }

  /**
   * Producer: copies samples that were written before, even if they were taken since. They stay in the ring until
   * others overwrite them. @returns false when they are already gone or not yet written
   */
  recall(position: number, out: Int16Array, count: number): boolean {
    const behind = (this.written - position) >>> 0
    if (behind < count || behind > this.#samples.length) return false
    // Before the count at which the ring started again, its samples belong to other counts.
    if (((position - (this.#words[Word.outBase] as number)) | 0) < 0) return false
    this.#copy(position, out, count)
    return true
  }

  /** Consumer: puts these in the place of samples that were peeked, before it takes them: they are what is recalled. */
  replace(samples: Int16Array, count: number): void {
    const at = this.#place(this.#peekedAt)
    const first = Math.min(count, this.#samples.length - at)
    this.#samples.set(samples.subarray(0, first), at)
    if (first < count) this.#samples.set(samples.subarray(first, count), 0)
  }

  /** Consumer: takes samples that were peeked; samples discarded since are already counted as taken. */
  consume(samples: number): void {
    Atomics.store(this.#words, Word.outTail, (this.#peekedAt + samples) | 0)
  }

  #copy(position: number, out: Int16Array, count: number): void {
    if (count === 0) return
    const at = this.#place(position)
    const first = Math.min(count, this.#samples.length - at)
    out.set(this.#views.at(at, first))
    if (first < count) out.set(this.#samples.subarray(0, count - first), first)
  }

  /** Call it after loading the producer's count, which publishes the base. */
  #place(position: number): number {
    return (position - (this.#words[Word.outBase] as number)) & this.#mask
  }

  /** The consumer's count, or the count of discarded samples if that is further. */
  #behind(tail: number): number {
    const skip = Atomics.load(this.#words, Word.outSkip) >>> 0
    return ((skip - tail) | 0) > 0 ? skip : tail
  }
}
