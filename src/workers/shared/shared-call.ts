import { assert } from '../../core/assert.js'
import { Views } from '../../core/views.js'
import { energyOf } from '../../media/pcm.js'
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

/** Allocates memory for a single call; a gateway uses a `CallMemoryPool`. */
export function allocateSharedCall(): SharedArrayBuffer {
  return new SharedArrayBuffer(SHARED_CALL_BYTES)
}

/** Views of one call's shared memory; each thread makes its own views. */
export class SharedCall {
  readonly words: Int32Array
  readonly times: Float64Array
  readonly inbound: PacketRing
  readonly outbound: SampleRing
  /**
   * The last samples of the waiting sound, counted by `waitingSent`. Sample `n` is at index `n` modulo the array's
   * length, which is a power of two.
   */
  readonly waitingSent: Int16Array

  /** @param at  offset at which the call's memory begins: a multiple of 16 */
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

/**
 * Size in bytes of the header before each packet: its length and its time of arrival. Packets begin at multiples of
 * this size.
 */
const PACKET_HEADER_BYTES = 16

/** Power that is stored for a packet whose samples cannot be read. */
const POWER_UNKNOWN = 0x7fffffff

/** Buffer for a packet that wraps around the ring's end: its two pieces are joined here. */
let joined = new Uint8Array(0)

/**
 * Ring of packets with their time of arrival, from one producer to one consumer. Counts are modulo 2^32; a mask turns a
 * count into an index of the ring. When the consumer has taken all packets, the producer starts again at the ring's
 * first byte and reports this with `inSkip`. So a call on a steady line touches only one page, and the consumer reads
 * packets in place.
 */
export class PacketRing {
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  /** Ring as Float64 values: each packet's length, then its time of arrival. */
  readonly #heads: Float64Array
  /** Ring as samples. */
  readonly #samples: Int16Array
  /**
   * Producer: true if it has written an odd number of bytes. The next sample then begins in the middle of a packet's
   * first pair of bytes.
   */
  #isOdd = false
  readonly #views: Views<Uint8Array>
  readonly #mask: number
  /** Count at the end of the packet that `next` returned. */
  #nextTail = 0
  /** Time of arrival of the packet that `next` returned last, on the common clock. */
  arrivalMs = 0

  constructor(words: Int32Array, bytes: Uint8Array) {
    assert((bytes.length & (bytes.length - 1)) === 0, 'the bytes of a ring must be a power of two')
    this.#words = words
    this.#bytes = bytes
    this.#heads = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / Float64Array.BYTES_PER_ELEMENT)
    this.#samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / Int16Array.BYTES_PER_ELEMENT)
    this.#views = new Views(bytes)
    this.#mask = bytes.length - 1
  }

  /** Total number of packets that were dropped because the ring was full. */
  get dropped(): number {
    return Atomics.load(this.#words, Word.inDropped)
  }

  /** Share of the ring with waiting packets, 0 to 1. */
  get fill(): number {
    const head = Atomics.load(this.#words, Word.inHead) >>> 0
    const tail = Atomics.load(this.#words, Word.inTail) >>> 0
    const skip = Atomics.load(this.#words, Word.inSkip) >>> 0
    const from = ((skip - tail) | 0) > 0 ? skip : tail
    return ((head - from) >>> 0) / this.#bytes.length
  }

  /** Copies `packet` into the ring. @returns false if there is no space; the `inDropped` word counts such packets */
  write(packet: Uint8Array, arrivalMs: number): boolean {
    const words = this.#words
    const capacity = this.#bytes.length
    const need = bytesInRing(packet.length)
    if (need > capacity) return this.#drop()
    // The producer reads its own words without Atomics. It reads the consumer's word with Atomics, because a new value
    // means that the consumer has finished reading these packets.
    let head = (words[Word.inHead] as number) >>> 0
    const tail = Atomics.load(words, Word.inTail) >>> 0
    const skip = (words[Word.inSkip] as number) >>> 0
    const from = ((skip - tail) | 0) > 0 ? skip : tail
    const isEmpty = from === head
    if (isEmpty && (head & this.#mask) !== 0 && tail === head) {
      head = (head + capacity - (head & this.#mask)) >>> 0
      words[Word.inSkip] = head | 0 // The skip becomes visible with the `inHead` word, which is written next.
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
    const power = packet.length <= first ? this.#powerAt(offset, packet.length) : POWER_UNKNOWN
    words[Word.inPower] = isEmpty ? power : Math.max(power, words[Word.inPower] as number)
    Atomics.store(words, Word.inHead, (head + need) | 0)
    return true
  }

  #powerAt(offset: number, bytes: number): number {
    const isOdd = (bytes & 1) === 1
    if (isOdd) this.#isOdd = !this.#isOdd
    if (isOdd || this.#isOdd) return POWER_UNKNOWN
    const from = offset >> 1
    const to = from + (bytes >> 1)
    return to === from ? 0 : Math.ceil(energyOf(this.#samples, from, to) / (to - from))
  }

  #drop(): false {
    this.#words[Word.inDropped] = ((this.#words[Word.inDropped] as number) + 1) | 0
    return false
  }

  /** Consumer: number of waiting bytes in the ring. Read without Atomics, like `waits`. */
  get waitingBytes(): number {
    return ((this.#words[Word.inHead] as number) - this.#tail) >>> 0
  }

  /** Consumer: true if packets wait that were written before the producer's count reached `head`. */
  waitsBefore(head: number): boolean {
    return ((head - this.#tail) | 0) > 0
  }

  /** Count at which the consumer's next packet begins. */
  get #tail(): number {
    const tail = this.#words[Word.inTail] as number
    const skip = this.#words[Word.inSkip] as number
    return ((skip - tail) | 0) > 0 ? skip : tail
  }

  /** Consumer: true if packets wait. Read without Atomics, so it may miss the newest packet until the next tick. */
  get waits(): boolean {
    return this.#words[Word.inHead] !== this.#words[Word.inTail]
  }

  /**
   * Returns the next packet in place, valid until `release`. Sets `arrivalMs`.
   * @param head  the producer's count (`inHead`) up to which packets are taken
   * @returns null if no packet waits
   */
  next(head = Atomics.load(this.#words, Word.inHead)): Uint8Array | null {
    if (!this.waits) return null
    // The skip is read after the head, because the producer publishes both with the head.
    const tail = this.#tail >>> 0
    if (((head - tail) | 0) <= 0) return null
    const at = tail & this.#mask
    const length = this.#heads[at >> 3] as number
    this.arrivalMs = this.#heads[(at >> 3) + 1] as number
    this.#nextTail = tail + bytesInRing(length)
    const offset = (at + PACKET_HEADER_BYTES) & this.#mask
    return offset + length <= this.#bytes.length ? this.#views.at(offset, length) : this.#join(offset, length)
  }

  /** Consumer: frees the packet that `next` returned, so that it may be overwritten. */
  release(): void {
    Atomics.store(this.#words, Word.inTail, this.#nextTail | 0)
  }

  /** Joins a packet that begins at the ring's end and continues at its start. This is rare. */
  #join(offset: number, length: number): Uint8Array {
    if (joined.length < length) joined = new Uint8Array(length)
    const first = this.#bytes.length - offset
    joined.set(this.#bytes.subarray(offset))
    joined.set(this.#bytes.subarray(0, length - first), first)
    return joined.subarray(0, length)
  }
}

/** Size in bytes of a packet in the ring. */
export function bytesInRing(packetBytes: number): number {
  return (2 * PACKET_HEADER_BYTES - 1 + packetBytes) & -PACKET_HEADER_BYTES
}

/** Samples in a page of memory. */
const PAGE_SAMPLES = 2048

/**
 * Ring of samples at the leg's rate, from the worker to the main thread, which sends them at the right time. Counts are
 * absolute numbers of samples modulo 2^32 (74 h at 16 kHz). A count means the same sample on both threads.
 *
 * When the consumer has taken all samples, the ring starts again at its first index, like `PacketRing`. `outBase` is
 * the count of the sample at that index. Samples that may still be recalled move to the first index too.
 */
export class SampleRing {
  /** Producer: count of the first sample that may still be recalled (read again); null if there is none. */
  recallFrom: number | null = null
  readonly #words: Int32Array
  readonly #samples: Int16Array
  readonly #views: Views<Int16Array>
  readonly #mask: number
  /** Count of the first sample that the last `peek` copied. */
  #peekedAt = 0

  constructor(words: Int32Array, samples: Int16Array) {
    assert((samples.length & (samples.length - 1)) === 0, 'the samples of a ring must be a power of two')
    this.#words = words
    this.#samples = samples
    this.#views = new Views(samples)
    this.#mask = samples.length - 1
  }

  /** Share of the ring with waiting samples, 0 to 1. */
  get fill(): number {
    return this.available() / this.#samples.length
  }

  /** Producer: number of samples that fit now. */
  get free(): number {
    return this.#samples.length - this.available()
  }

  /** Total number of samples written. */
  get written(): number {
    return Atomics.load(this.#words, Word.outHead) >>> 0
  }

  /** Total number of samples taken or discarded. */
  get taken(): number {
    return this.behind(Atomics.load(this.#words, Word.outTail) >>> 0)
  }

  /**
   * Consumer: count of samples that it has taken. Samples that were discarded after the last `consume` are not
   * included.
   */
  get consumed(): number {
    return (this.#words[Word.outTail] as number) >>> 0
  }

  /** Consumer: `written`, read without Atomics, so the newest samples may be missing. */
  get writtenGlance(): number {
    return (this.#words[Word.outHead] as number) >>> 0
  }

  /**
   * Producer: true if the consumer has taken samples after `dated` had the value `seen`. Read without Atomics, so the
   * newest change may be missed.
   */
  takenSince(seen: number): boolean {
    const tail = (this.#words[Word.outTail] as number) >>> 0
    const skip = (this.#words[Word.outSkip] as number) >>> 0
    return (((skip - tail) | 0) > 0 ? skip : tail) !== seen
  }

  /** Producer: copies all of `source`. The code that calls this method has checked `free`. */
  write(source: Int16Array): void {
    const words = this.#words
    const head = (words[Word.outHead] as number) >>> 0 // written by this thread
    const tail = Atomics.load(words, Word.outTail) >>> 0
    assert(
      source.length <= this.#samples.length - ((head - this.behind(tail)) >>> 0),
      'more samples than fit into the ring',
    )
    // The check uses the consumer's own count, because the consumer may still read samples that were discarded.
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
   * Producer: moves the next samples to the ring's first index, behind the samples that may still be recalled. Happens
   * only when the consumer has taken all samples and a page is full.
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
    this.#words[Word.outBase] = first | 0 // The base becomes visible with the `outHead` word, which is written next.
  }

  /** Producer: discards all waiting samples, so that they are not played. */
  discard(): void {
    Atomics.store(this.#words, Word.outSkip, this.#words[Word.outHead] as number)
  }

  /** Number of waiting samples. */
  available(): number {
    // `taken` is read first. If a discard came between the two reads in the other order, `taken` could be greater than
    // `written`.
    const taken = this.taken
    return (this.written - taken) >>> 0
  }

  /** Consumer: copies at most `samples` waiting samples without taking them. @returns the number of copied samples */
  peek(out: Int16Array, samples: number): number {
    const tail = this.behind((this.#words[Word.outTail] as number) >>> 0) // written by this thread
    const count = Math.min(samples, (this.written - tail) >>> 0)
    this.#peekedAt = tail
    this.#copy(tail, out, count)
    return count
  }

  /**
   * Producer: copies earlier samples, even if the consumer has taken them since. Samples stay readable until they are
   * overwritten.
   * @returns false if the samples are overwritten or not yet written
   */
  recall(position: number, out: Int16Array, count: number): boolean {
    const behind = (this.written - position) >>> 0
    if (behind < count || behind > this.#samples.length) return false
    // The memory for counts before `outBase` contains other samples now.
    if (((position - (this.#words[Word.outBase] as number)) | 0) < 0) return false
    this.#copy(position, out, count)
    return true
  }

  /** Consumer: overwrites the peeked samples before they are taken. A later recall then returns the new samples. */
  replace(samples: Int16Array, count: number): void {
    const at = this.#place(this.#peekedAt)
    const first = Math.min(count, this.#samples.length - at)
    this.#samples.set(samples.subarray(0, first), at)
    if (first < count) this.#samples.set(samples.subarray(first, count), 0)
  }

  /** Consumer: takes samples that were peeked. Samples discarded since then already count as taken. */
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

  /** Index of a count in the ring. Load the producer's count first, because this load makes the base visible. */
  #place(position: number): number {
    return (position - (this.#words[Word.outBase] as number)) & this.#mask
  }

  /**
   * @param tail  a count of the consumer's samples, such as the word `dated`
   * @returns the greater of `tail` and the count up to which samples were discarded
   */
  behind(tail: number): number {
    const skip = Atomics.load(this.#words, Word.outSkip) >>> 0
    return ((skip - tail) | 0) > 0 ? skip : tail >>> 0
  }
}
