import { CARRIER_BURST_MS } from '../core/limits.js'
import { smallArray } from '../core/small-arrays.js'
import { BYTES_PER_SAMPLE, frameSamples, type LegRateHz } from '../core/units.js'
import { LITTLE_ENDIAN } from './pcm.js'

/** Audio of a `both_tracks` stream that waits until its channels are known. docs/PROTOCOL.md. */
const CHANNEL_DECISION_MS_MAX = 400

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
  /**
   * The last packet that was a whole frame, and its samples: on a steady line packets come in the same array again and
   * again.
   */
  #whole: Uint8Array = EMPTY
  #wholeSamples: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly channels: 1 | 2 }) {
    this.frameSamples = frameSamples(options.sampleRateHz)
    this.#channels = options.channels
    this.#rest = smallArray(Uint8Array, this.frameSamples * 2 * BYTES_PER_SAMPLE)
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
    if (this.#restBytes === 0 && packet.length - this.#at >= frameBytes) {
      if (packet.length === frameBytes && this.#channels === 1 && this.#isSamples(packet)) this.#copy(left)
      else this.#read(packet, this.#at, left, right)
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

  /** The usual packet is one frame: copied by one `set`, which takes a seventh of the time of a loop. */
  #copy(left: Int16Array): void {
    this.framesOut++
    left.set(this.#wholeSamples as Int16Array)
  }

  /** True if the bytes can be read as samples without a copy. The view is made once. */
  #isSamples(packet: Uint8Array): boolean {
    if (packet !== this.#whole) {
      this.#whole = packet
      this.#wholeSamples =
        LITTLE_ENDIAN && packet.byteOffset % BYTES_PER_SAMPLE === 0
          ? new Int16Array(packet.buffer, packet.byteOffset, packet.length / BYTES_PER_SAMPLE)
          : null
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

function readStereo(
  bytes: Uint8Array,
  from: number,
  left: Int16Array,
  right: Int16Array | null,
  samples: number,
): void {
  let at = from
  for (let i = 0; i < samples; i++) {
    left[i] = (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
    if (right !== null) right[i] = (bytes[at + 2] as number) | ((bytes[at + 3] as number) << 8)
    at += 4
  }
}

/** Track that the carrier was asked to fork: the caller, the callee, or both. */
export type ForkedTrack = 'inbound_track' | 'outbound_track' | 'both_tracks'

/**
 * One channel or two? The carrier's documents do not say for `both_tracks`, so the byte rate tells: 32,000 a
 * second are mono at 16 kHz, 64,000 are stereo (sautikit.md 3.3, and docs/PROTOCOL.md).
 *
 * Arrival is bursty: the carrier sends what it held back, up to 2 s, in one go. Two rules cope with that:
 * - The first decision (`both_tracks`) leaves the first packet out of the rate, waits for a clear answer, and takes
 *   the likelier one when 400 ms of audio have come.
 * - Later, audio that is ahead of the clock by more than the carrier can have held back proves stereo; half the rate
 *   of stereo over a long time proves mono.
 */
export class ChannelLayout {
  /** 0 while it is not decided. */
  channels: 0 | 1 | 2
  /** How often a decision proved wrong later. */
  corrections = 0
  readonly #monoBytesPerMs: number
  #firstAtMs: number | null = null
  #lastAtMs = 0
  /** Bytes since the first packet, without it. */
  #bytes = 0
  /** Audio ahead of the clock if the stream is mono; never below 0. */
  #aheadMs = 0
  /** The window in which half the rate proves mono. */
  #windowAtMs = 0
  #windowBytes = 0

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly track: ForkedTrack }) {
    this.channels = options.track === 'both_tracks' ? 0 : 1
    this.#monoBytesPerMs = (options.sampleRateHz * BYTES_PER_SAMPLE) / 1000
  }

  /** Call for each packet, before its bytes are used. */
  observe(bytes: number, arrivalMs: number): void {
    if (bytes === 0) return
    if (this.#firstAtMs === null) {
      this.#firstAtMs = arrivalMs
      this.#lastAtMs = arrivalMs
      this.#windowAtMs = arrivalMs
      // One packet holds more than the longest wait: further waiting gives no information.
      if (this.channels === 0 && bytes >= this.#monoBytesPerMs * 2 * CHANNEL_DECISION_MS_MAX) this.channels = 1
      return
    }
    const sinceLastMs = arrivalMs - this.#lastAtMs
    const monoMs = bytes / this.#monoBytesPerMs
    this.#lastAtMs = arrivalMs
    this.#bytes += bytes
    if (this.channels === 0) this.#decide(arrivalMs - this.#firstAtMs)
    this.#watchForStereo(monoMs, sinceLastMs)
    this.#watchForMono(bytes, arrivalMs)
  }

  #decide(elapsedMs: number): void {
    const monoMs = this.#bytes / this.#monoBytesPerMs
    const ratio = elapsedMs > 0 ? monoMs / elapsedMs : Infinity
    const clear = elapsedMs >= CLEAR_AFTER_MS && (Math.abs(ratio - 1) < 0.2 || Math.abs(ratio - 2) < 0.4)
    // The bytes of 400 ms of stereo, or the time of 400 ms of mono.
    const mustDecide = monoMs >= 2 * CHANNEL_DECISION_MS_MAX || (elapsedMs >= CHANNEL_DECISION_MS_MAX && monoMs > 0)
    if (clear || mustDecide) this.channels = ratio > 1.5 ? 2 : 1
  }

  #watchForStereo(monoMs: number, sinceLastMs: number): void {
    // A clock that is 1,000 ppm off must not add up to a proof in a long call.
    this.#aheadMs = Math.max(0, this.#aheadMs + monoMs - sinceLastMs * 1.001)
    if (this.channels !== 1 || this.#aheadMs <= STEREO_PROOF_MS) return
    this.channels = 2
    this.corrections++
    this.#windowBytes = 0
    this.#windowAtMs = this.#lastAtMs
  }

  #watchForMono(bytes: number, arrivalMs: number): void {
    this.#windowBytes += bytes
    const elapsedMs = arrivalMs - this.#windowAtMs
    if (elapsedMs < MONO_PROOF_MS) return
    const ratio = this.#windowBytes / this.#monoBytesPerMs / elapsedMs
    // Audio that is missing looks like mono too, so the rate has to be that of mono, not just low.
    if (this.channels === 2 && ratio > 0.85 && ratio < 1.15) {
      this.channels = 1
      this.corrections++
      this.#aheadMs = 0
    }
    this.#windowAtMs = arrivalMs
    this.#windowBytes = 0
  }
}

// A steady stream is clear after ten packets.
const CLEAR_AFTER_MS = 200
// The carrier's own buffer and a tenth more.
const STEREO_PROOF_MS = CARRIER_BURST_MS * 1.1
// Twice the carrier's buffer: a stall and its burst cannot halve the rate over this time.
const MONO_PROOF_MS = 2 * CARRIER_BURST_MS
