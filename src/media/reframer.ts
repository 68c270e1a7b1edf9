import { BYTES_PER_SAMPLE, frameSamples, type LegRateHz } from '../core/units.js'
import { LITTLE_ENDIAN } from './pcm.js'

/**
 * Cuts whatever the socket gave into frames of 20 ms. Packets may have any size: an odd byte, half a stereo pair or
 * 2 s at once; what does not fill a frame waits for the next packet.
 *
 * Used as `push(bytes)`, then `next(...)` until it is false; only then may the memory of `bytes` be reused. So at
 * most one frame is ever kept here, however long the packet was.
 */
export class Reframer {
  /** Bytes that came, ever. */
  bytesIn = 0
  framesOut = 0
  /** Bytes of a packet whose frames were not taken before the next came. */
  bytesDropped = 0
  readonly frameSamples: number
  #channels: 1 | 2
  /** The beginning of the next frame. */
  readonly #rest: Uint8Array
  #restBytes = 0
  #packet: Uint8Array = EMPTY
  #at = 0
  /** The packet that was a whole frame last, and its samples: on a steady line packets come in one array, again and again. */
  #whole: Uint8Array = EMPTY
  #wholeSamples: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz, readonly channels: 1 | 2 }) {
    this.frameSamples = frameSamples(options.sampleRateHz)
    this.#channels = options.channels
    this.#rest = new Uint8Array(this.frameSamples * 2 * BYTES_PER_SAMPLE)
  }

  get channels(): 1 | 2 {
    return this.#channels
  }

  /**
   * From here on the stream is read with this many channels. A stereo pair begins at a multiple of four bytes since
   * the beginning of the stream, so up to three bytes may be left out.
   */
  setChannels(channels: 1 | 2): void {
    if (channels === this.#channels) return
    this.#channels = channels
    const taken = this.bytesIn - (this.#packet.length - this.#at) - this.#restBytes
    const pairBytes = channels * BYTES_PER_SAMPLE
    const skip = Math.min((pairBytes - (taken % pairBytes)) % pairBytes, this.#restBytes)
    this.#rest.copyWithin(0, skip, this.#restBytes)
    this.#restBytes -= skip
    this.bytesDropped += skip
  }

  /** The memory stays the caller's and must not change until `next` was false. Empty packets are fine. */
  push(bytes: Uint8Array): void {
    this.bytesDropped += this.#packet.length - this.#at
    this.#packet = bytes
    this.#at = 0
    this.bytesIn += bytes.length
  }

  /**
   * The packet as it lies, where it is just one frame of one channel and nothing waits from before: the usual one. It is
   * taken then.
   * @returns null for any other: `next` has its frames
   */
  whole(): Int16Array | null {
    const packet = this.#packet
    if (this.#restBytes !== 0 || this.#at !== 0 || this.#channels !== 1 || packet.length !== this.frameSamples * BYTES_PER_SAMPLE) return null
    if (!this.#isSamples(packet)) return null
    this.#at = packet.length
    this.framesOut++
    return this.#wholeSamples
  }

  /**
   * @param left  the caller's (or only) channel: 20 ms, overwritten
   * @param right the other channel of a stereo stream; null leaves it out
   * @returns false when there is no whole frame; what is left was then copied
   */
  next(left: Int16Array, right: Int16Array | null): boolean {
    const frameBytes = this.frameSamples * this.#channels * BYTES_PER_SAMPLE
    const packet = this.#packet
    if (this.#restBytes >= frameBytes) {
      this.#read(this.#rest, 0, left, right)
      this.#rest.copyWithin(0, frameBytes, this.#restBytes)
      this.#restBytes -= frameBytes
      return true
    }
    const whole = this.whole()
    if (whole !== null) {
      left.set(whole)
      return true
    }
    if (this.#restBytes === 0 && packet.length - this.#at >= frameBytes) {
      this.#read(packet, this.#at, left, right)
      this.#at += frameBytes
      return true
    }
    while (this.#restBytes < frameBytes && this.#at < packet.length) {
      this.#rest[this.#restBytes++] = packet[this.#at++] as number
    }
    if (this.#restBytes < frameBytes) {
      this.#packet = EMPTY
      this.#at = 0
      return false
    }
    this.#read(this.#rest, 0, left, right)
    this.#restBytes = 0
    return true
  }

  /** Whether the bytes can be seen as samples where they lie; the view is made once. */
  #isSamples(packet: Uint8Array): boolean {
    if (packet !== this.#whole) {
      this.#whole = packet
      this.#wholeSamples = LITTLE_ENDIAN && packet.byteOffset % BYTES_PER_SAMPLE === 0
        ? new Int16Array(packet.buffer, packet.byteOffset, packet.length / BYTES_PER_SAMPLE) : null
    }
    return this.#wholeSamples !== null
  }

  #read(bytes: Uint8Array, from: number, left: Int16Array, right: Int16Array | null): void {
    this.framesOut++
    if (this.#channels === 1) readMono(bytes, from, left, this.frameSamples)
    else readStereo(bytes, from, left, right, this.frameSamples)
  }
}

const EMPTY = new Uint8Array(0)

function readMono(bytes: Uint8Array, from: number, out: Int16Array, samples: number): void {
  let at = from
  for (let i = 0; i < samples; i++) {
    out[i] = (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
    at += 2
  }
}

function readStereo(bytes: Uint8Array, from: number, left: Int16Array, right: Int16Array | null, samples: number): void {
  let at = from
  for (let i = 0; i < samples; i++) {
    left[i] = (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
    if (right !== null) right[i] = (bytes[at + 2] as number) | ((bytes[at + 3] as number) << 8)
    at += 4
  }
}
