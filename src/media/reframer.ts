import { smallArray } from '../core/small-arrays.js'
import { BYTES_PER_SAMPLE, FRAME_MS, frameSamples, type LegRateHz } from '../core/units.js'
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
 * Finds the number of channels of a stream. The carrier's documents do not state the number for `both_tracks`
 * (sautikit.md 3.3 and docs/PROTOCOL.md). Three facts decide, in this order:
 *
 * - The requested track: one track is mono.
 * - The sizes of the packets. The carrier sends whole frames of 20 ms, so packets with an odd number of mono frames are
 *   mono (640 bytes at 16 kHz; a stereo frame has 1,280).
 * - The rate of the bytes, if each of several successive slots has this rate. A single slot proves nothing: after a stall
 *   of the network all its audio comes at once, and a carrier's clock may be wrong.
 *
 * The first decision of a `both_tracks` stream whose sizes do not decide uses the rate of at most 400 ms.
 */
export class ChannelLayout {
  /** 1 or 2; 0 until decided. */
  channels: 0 | 1 | 2
  /** Number of decisions that had to be corrected later. */
  corrections = 0
  readonly #monoBytesPerMs: number
  #firstAtMs: number | null = null
  /** Number of bytes received after the first packet. */
  #bytes = 0
  #packets = 0
  /** Number of packets with an odd number of mono frames, and with whole stereo frames. */
  #oddPackets = 0
  #evenPackets = 0
  #lastAtMs = 0
  #slotAtMs = 0
  #slotBytes = 0
  /** Number of successive slots with the rate of `#steadyChannels`. */
  #steadySlots = 0
  #steadyChannels: 0 | 1 | 2 = 0

  constructor(options: { readonly sampleRateHz: LegRateHz; readonly track: ForkedTrack }) {
    this.channels = options.track === 'both_tracks' ? 0 : 1
    this.#monoBytesPerMs = (options.sampleRateHz * BYTES_PER_SAMPLE) / 1000
  }

  /** Records a packet. Call this method for each packet before its bytes are used. */
  observe(bytes: number, arrivalMs: number): void {
    if (bytes === 0) return
    this.#packets++
    const frames = bytes / (this.#monoBytesPerMs * FRAME_MS)
    if (frames % 2 === 1) this.#oddPackets++
    if (frames % 2 === 0) this.#evenPackets++
    if (this.channels === 0 && this.#isMonoBySize) this.channels = 1
    if (this.#firstAtMs === null) {
      this.#firstAtMs = this.#slotAtMs = this.#lastAtMs = arrivalMs
      return
    }
    this.#bytes += bytes
    if (this.channels === 0) this.#decide(arrivalMs - this.#firstAtMs, arrivalMs - this.#lastAtMs)
    this.#lastAtMs = arrivalMs
    this.#watchRate(bytes, arrivalMs)
  }

  get #isMonoBySize(): boolean {
    return this.#oddPackets >= this.#packets * ODD_SHARE_MIN
  }

  #decide(elapsedMs: number, sinceLastMs: number): void {
    const monoMs = this.#bytes / this.#monoBytesPerMs
    const ratio = elapsedMs > 0 ? monoMs / elapsedMs : Infinity
    const clear = elapsedMs >= CLEAR_AFTER_MS && (Math.abs(ratio - 1) < 0.2 || Math.abs(ratio - 2) < 0.4)
    // The decision is made at the latest after 400 ms, or after the bytes of 400 ms of stereo.
    const mustDecide = monoMs >= 2 * CHANNEL_DECISION_MS_MAX || (elapsedMs >= CHANNEL_DECISION_MS_MAX && monoMs > 0)
    if (clear) this.channels = ratio > 1.5 ? 2 : 1
    else if (mustDecide) {
      // During a stall the rate says nothing, and the carrier usually sends a frame a packet.
      const isStalled = sinceLastMs > CLEAR_AFTER_MS
      this.channels = (isStalled ? this.#evenPackets === this.#packets : ratio > 1.5) ? 2 : 1
    }
  }

  #watchRate(bytes: number, arrivalMs: number): void {
    this.#slotBytes += bytes
    const elapsedMs = arrivalMs - this.#slotAtMs
    if (elapsedMs < SLOT_MS) return
    const channels = channelsOf(this.#slotBytes / this.#monoBytesPerMs / elapsedMs)
    this.#slotAtMs = arrivalMs
    this.#slotBytes = 0
    this.#steadySlots = channels === this.#steadyChannels ? this.#steadySlots + 1 : 1
    this.#steadyChannels = channels
    if (channels === 0 || this.channels === 0 || channels === this.channels) return
    const isAgainstSizes = channels === 2 && this.#isMonoBySize
    if (this.#steadySlots < (isAgainstSizes ? SLOTS_AGAINST_SIZES : PROOF_SLOTS)) return
    this.channels = channels
    this.corrections++
  }
}

/** @returns the number of channels for a rate, as a multiple of the rate of mono; 0 if the rate is clear for neither */
function channelsOf(ratio: number): 0 | 1 | 2 {
  if (Math.abs(ratio - 1) < 0.3) return 1
  return Math.abs(ratio - 2) < 0.5 ? 2 : 0
}

// Time in ms after which the rate of a steady stream is clear: ten packets.
const CLEAR_AFTER_MS = 200
/**
 * Minimum share of packets with an odd number of mono frames in a mono stream. Packets that were joined on the way may
 * have an even number.
 */
const ODD_SHARE_MIN = 1 / 8
/** Duration in ms of a slot in which the rate is measured: 25 packets, and more than usual jitter. */
const SLOT_MS = 500
/** Number of successive slots with another rate that correct a decision. */
const PROOF_SLOTS = 6
/**
 * The same number if the sizes of the packets contradict. A carrier's buffer and a stall of 8 s that arrive at twice the
 * rate end before.
 */
const SLOTS_AGAINST_SIZES = 20
