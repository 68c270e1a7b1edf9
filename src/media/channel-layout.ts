import { CARRIER_BURST_MS, CHANNEL_DECISION_MS_MAX } from '../core/limits.js'
import { BYTES_PER_SAMPLE, type LegRateHz } from '../core/units.js'

/** What the carrier was asked to fork: the caller, the callee, or both. */
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
  /** The running window of the second rule's other half. */
  #windowAtMs = 0
  #windowBytes = 0

  constructor(options: { readonly sampleRateHz: LegRateHz, readonly track: ForkedTrack }) {
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
      // More than the decision may wait for, all at once: nothing can be learnt by waiting.
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

// A steady stream is judged after ten packets.
const CLEAR_AFTER_MS = 200
// The carrier's own buffer and a tenth more.
const STEREO_PROOF_MS = CARRIER_BURST_MS * 1.1
// Twice the carrier's buffer: a stall and its burst cannot halve the rate over this time.
const MONO_PROOF_MS = 2 * CARRIER_BURST_MS
