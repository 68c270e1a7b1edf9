import { CARRIER_BURST_MS } from '../core/limits.js'
import { smallArray } from '../core/small-arrays.js'
import { BYTES_PER_SAMPLE, frameSamples, type LegRateHz } from '../core/units.js'
import { LITTLE_ENDIAN } from './pcm.js'

/**
 * Maximum duration in ms of audio that waits until the number of channels of a `both_tracks` stream is known
 * (docs/PROTOCOL.md).
 */
const CHANNEL_DECISION_MS_MAX = 400

/**
 * Divides the socket's bytes into frames of 20 ms. Packets may have any size: an odd byte, half a stereo pair, or 2 s
 * at once. A part of a frame waits for the next packet.
 *
 * Call `push(bytes)`, then `next(...)` until it returns false. Do not reuse the memory of `bytes` before. So this class
 * stores less than one frame, however long the packets are.
 */
export class Reframer {
  /** Total number of received bytes. */
  bytesIn = 0
  framesOut = 0
  /** Number of bytes that were dropped because the next packet came before `next` had taken all frames. */
  bytesDropped = 0
  readonly frameSamples: number
  #channels: 1 | 2
  /** Bytes of the next frame that have come. */
  readonly #rest: Uint8Array
  #restBytes = 0
  #packet: Uint8Array = EMPTY
  #at = 0
  /**
   * The last packets that consisted of whole frames. `#wholeSamples`: their samples. On a steady line the same few
   * arrays arrive again and again.
   */
  readonly #wholes: Uint8Array[] = []
  readonly #wholeSamples: (Int16Array | null)[] = []
  #nextWhole = 0

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly channels: 1 | 2 }) {
    this.frameSamples = frameSamples(options.sampleRateHz)
    this.#channels = options.channels
    this.#rest = smallArray(Uint8Array, this.frameSamples * 2 * BYTES_PER_SAMPLE)
  }

  get channels(): 1 | 2 {
    return this.#channels
  }

  /**
   * Sets the number of channels for the bytes that follow. Stereo pairs begin at multiples of four bytes from the
   * stream's start, so up to three bytes are skipped.
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

  /**
   * Adds a packet, which may be empty. The caller of this method owns its memory, which must not change until `next`
   * has returned false.
   */
  push(bytes: Uint8Array): void {
    this.bytesDropped += this.#packet.length - this.#at
    this.#packet = bytes
    this.#at = 0
    this.bytesIn += bytes.length
  }

  /**
   * @param left  the caller's (or only) channel: 20 ms, overwritten
   * @param right  the second channel, overwritten; or null
   * @returns false if less than a frame is left
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
      const whole = packet.length === frameBytes && this.#channels === 1 ? this.#samplesOf(packet) : null
      if (whole === null) this.#read(packet, this.#at, left, right)
      else {
        // The usual packet is one frame. For it, `set` needs a seventh of the time of a loop.
        this.framesOut++
        left.set(whole)
      }
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

  /**
   * @returns the packet as samples without a copy; null if a view is impossible. The view of a repeated array is made
   * once
   */
  #samplesOf(packet: Uint8Array): Int16Array | null {
    const known = this.#wholes.indexOf(packet)
    if (known >= 0) return this.#wholeSamples[known] as Int16Array | null
    const samples =
      LITTLE_ENDIAN && packet.byteOffset % BYTES_PER_SAMPLE === 0
        ? new Int16Array(packet.buffer, packet.byteOffset, packet.length / BYTES_PER_SAMPLE)
        : null
    this.#wholes[this.#nextWhole] = packet
    this.#wholeSamples[this.#nextWhole] = samples
    this.#nextWhole = (this.#nextWhole + 1) % WHOLES_KEPT
    return samples
  }

  #read(bytes: Uint8Array, from: number, left: Int16Array, right: Int16Array | null): void {
    this.framesOut++
    if (this.#channels === 1) readMono(bytes, from, left, this.frameSamples)
    else readStereo(bytes, from, left, right, this.frameSamples)
  }
}

const EMPTY = new Uint8Array(0)
/**
 * Maximum number of remembered packets: the frames that can wait in a call's ring (`FRAMES_WAIT_MS_MAX`), and one more.
 */
const WHOLES_KEPT = 4

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

/** Track that we requested from the carrier: the caller, the callee, or both. */
export type ForkedTrack = 'inbound_track' | 'outbound_track' | 'both_tracks'

/**
 * Finds the number of channels of a `both_tracks` stream. The carrier's documents do not state the number (sautikit.md
 * 3.3 and docs/PROTOCOL.md). The byte rate shows it: at 16 kHz, 32,000 per second are mono and 64,000 are stereo.
 *
 * Arrival is bursty: the carrier sends up to 2 s of held audio at once. Two rules handle this:
 * - The first decision (`both_tracks`) excludes the first packet from the rate and waits for a clear rate. After 400 ms
 *   of audio it chooses the likelier number.
 * - Later, audio proves stereo if it is further ahead of the clock than the carrier's buffer allows. Half the rate of
 *   stereo over a long time proves mono.
 */
export class ChannelLayout {
  /** 1 or 2; 0 until decided. */
  channels: 0 | 1 | 2
  /** Number of decisions that had to be corrected later. */
  corrections = 0
  readonly #monoBytesPerMs: number
  #firstAtMs: number | null = null
  #lastAtMs = 0
  /** Number of bytes received after the first packet. */
  #bytes = 0
  /** Duration in ms by which the audio would be ahead of the clock if the stream were mono; at least 0. */
  #aheadMs = 0
  /** Start in ms of the window in which the rate of the bytes may prove mono. */
  #windowAtMs = 0
  #windowBytes = 0

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly track: ForkedTrack }) {
    this.channels = options.track === 'both_tracks' ? 0 : 1
    this.#monoBytesPerMs = (options.sampleRateHz * BYTES_PER_SAMPLE) / 1000
  }

  /** Records a packet. Call this method for each packet before its bytes are used. */
  observe(bytes: number, arrivalMs: number): void {
    if (bytes === 0) return
    if (this.#firstAtMs === null) {
      this.#firstAtMs = arrivalMs
      this.#lastAtMs = arrivalMs
      this.#windowAtMs = arrivalMs
      // The packet is longer than the maximum wait, so waiting would give no more information.
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
    // The decision is made at the latest after 400 ms, or after the bytes of 400 ms of stereo.
    const mustDecide = monoMs >= 2 * CHANNEL_DECISION_MS_MAX || (elapsedMs >= CHANNEL_DECISION_MS_MAX && monoMs > 0)
    if (clear || mustDecide) this.channels = ratio > 1.5 ? 2 : 1
  }

  #watchForStereo(monoMs: number, sinceLastMs: number): void {
    // The carrier's clock may be wrong by 1,000 ppm. In a long call, this error must not add up to a proof of stereo.
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
    // Missing audio lowers the rate too. So a low rate is not enough: it must be close to the rate of mono.
    if (this.channels === 2 && ratio > 0.85 && ratio < 1.15) {
      this.channels = 1
      this.corrections++
      this.#aheadMs = 0
    }
    this.#windowAtMs = arrivalMs
    this.#windowBytes = 0
  }
}

// Time in ms after which the rate of a steady stream is clear: ten packets.
const CLEAR_AFTER_MS = 200
// Lead in ms over the clock that proves stereo: the carrier's buffer plus 10 %.
const STEREO_PROOF_MS = CARRIER_BURST_MS * 1.1
// Duration in ms of the window for a proof of mono: twice the carrier's buffer. In this time, a stall and its burst
// cannot halve the rate.
const MONO_PROOF_MS = 2 * CARRIER_BURST_MS
