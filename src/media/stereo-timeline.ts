import { CARRIER_BURST_MS } from '../core/limits.js'
import { msToSamples, type LegRateHz } from '../core/units.js'

/** Maximum age in ms of audio that the carrier held back and may still send. Space is kept for such audio. */
const HOLD_MS = CARRIER_BURST_MS + 200
/**
 * Maximum time in ms by which agent speech is placed ahead of the clock. It covers playout's lead and one burst of
 * frames.
 */
const AHEAD_MS = 500
/**
 * Maximum time in ms by which caller audio may be ahead of its time. If it is further ahead, the clocks differ or the
 * sender is too fast, and the audio is dropped.
 */
const EARLY_MS = 200
/** Duration in ms of the windows in which the lag is observed. */
const WINDOW_MS = 400
/** Lag in ms above which audio counts as lost, not late. The lag must not shrink from one window to the next. */
const LOST_MS = 60
const STEADY_MS = 20

/**
 * Aligns the two voices of a call in time, as in a recording: the caller left, the agent right.
 *
 * The caller's packets follow each other without a gap, until their arrival times show that packets are missing. If
 * late audio arrives in a burst, it is placed at its own time. The agent's samples are placed at their time of playout;
 * samples that the carrier was asked to discard are removed. So rows become final only some time after they were heard.
 *
 * Positions are frames (one sample of each side) since `zeroMs`. Pure; 256 KB at 16 kHz.
 */
export class StereoTimeline {
  readonly sampleRateHz: LegRateHz
  /** Number of caller samples that were dropped, because they arrived too late or far ahead of their time. */
  callerDropped = 0
  /** Number of samples of silence that replace audio which the carrier never sent. */
  callerFilled = 0
  /** Number of agent samples that were dropped, because they arrived too late or too early. */
  agentDropped = 0
  readonly #zeroMs: number
  readonly #holdMs: number
  readonly #rows: Int16Array
  readonly #capacity: number
  /** First row that has not been taken yet. */
  #base = 0
  /** Position of the caller's next sample; null before the first. */
  #callerEnd: number | null = null
  /** Position after the agent's last sample. */
  #agentEnd = 0
  #windowStartMs = 0
  #windowLag = Infinity
  #lagBefore = Infinity

  /**
   * @param options.zeroMs time of the first row
   *
   * @param options.holdMs time in ms for which space for late audio is reserved; default: the maximum hold-back of a
   * carrier
   */
  constructor(options: { readonly sampleRateHz: LegRateHz; readonly zeroMs: number; readonly holdMs?: number }) {
    this.#holdMs = options.holdMs ?? HOLD_MS
    this.sampleRateHz = options.sampleRateHz
    this.#zeroMs = options.zeroMs
    let capacity = 1
    while (capacity < this.#frames(HOLD_MS + AHEAD_MS + 1000)) capacity *= 2
    this.#capacity = capacity
    this.#rows = new Int16Array(2 * capacity)
  }

  /** Adds caller audio that has just arrived. */
  caller(samples: Int16Array, arrivalMs: number): void {
    const arrived = this.#frames(arrivalMs - this.#zeroMs)
    this.#callerEnd ??= Math.max(0, arrived - samples.length)
    let lag = arrived - (this.#callerEnd + samples.length)
    if (lag < -this.#frames(EARLY_MS)) {
      this.callerDropped += samples.length
      return
    }
    if (lag > this.#frames(this.#holdMs)) {
      this.#fill(lag)
      lag = 0
    }
    this.callerDropped += this.#write(this.#callerEnd, samples, 0)
    this.#callerEnd += samples.length
    this.#watchLag(lag, arrivalMs)
  }

  /** Adds agent audio that is played to the caller from `playedAtMs`. */
  agent(samples: Int16Array, playedAtMs: number): void {
    const at = this.#frames(playedAtMs - this.#zeroMs)
    this.agentDropped += this.#write(at, samples, 1)
    this.#agentEnd = Math.max(this.#agentEnd, at + samples.length)
  }

  /** Removes audio that the carrier has discarded. */
  agentCut(nowMs: number): void {
    const from = Math.max(this.#base, this.#frames(nowMs - this.#zeroMs))
    for (let at = from; at < this.#agentEnd; at++) this.#rows[this.#slot(at) + 1] = 0
    this.#agentEnd = Math.min(this.#agentEnd, from)
  }

  /** Replaces the caller's side by silence from `fromMs` on, in rows that have not been taken yet. */
  callerUnheard(fromMs: number): void {
    const from = Math.max(this.#base, this.#frames(fromMs - this.#zeroMs))
    for (let at = from; at < (this.#callerEnd ?? 0); at++) this.#rows[this.#slot(at)] = 0
  }

  /** Number of rows that are final at `nowMs`. */
  ready(nowMs: number): number {
    return Math.max(0, this.#frames(nowMs - this.#holdMs - this.#zeroMs) - this.#base)
  }

  /** Number of rows that remain if the stream ends at `nowMs`. */
  rest(nowMs: number): number {
    return Math.min(this.#capacity, Math.max(0, this.#frames(nowMs - this.#zeroMs) - this.#base))
  }

  /** Takes `frames` rows, interleaved. @param out  twice as many samples, overwritten */
  take(frames: number, out: Int16Array): void {
    const slot = this.#slot(this.#base)
    const first = Math.min(2 * frames, this.#rows.length - slot)
    out.set(this.#rows.subarray(slot, slot + first))
    this.#rows.fill(0, slot, slot + first)
    if (first < 2 * frames) {
      const rest = 2 * frames - first
      out.set(this.#rows.subarray(0, rest), first)
      this.#rows.fill(0, 0, rest)
    }
    this.#base += frames
  }

  /** @returns the number of samples that were dropped */
  #write(from: number, samples: Int16Array, side: 0 | 1): number {
    let dropped = 0
    for (let i = 0; i < samples.length; i++) {
      const at = from + i
      if (at < this.#base || at >= this.#base + this.#capacity) dropped++
      else this.#rows[this.#slot(at) + side] = samples[i] as number
    }
    return dropped
  }

  #watchLag(lag: number, arrivalMs: number): void {
    this.#windowLag = Math.min(this.#windowLag, lag)
    if (arrivalMs - this.#windowStartMs < WINDOW_MS) return
    const steady = this.#lagBefore - this.#windowLag < this.#frames(STEADY_MS)
    if (this.#windowLag > this.#frames(LOST_MS) && steady && this.#lagBefore !== Infinity) {
      this.#fill(this.#windowLag)
      this.#lagBefore = Infinity
    } else {
      this.#lagBefore = this.#windowLag
    }
    this.#windowLag = Infinity
    this.#windowStartMs = arrivalMs
  }

  #fill(frames: number): void {
    this.#callerEnd = (this.#callerEnd ?? 0) + frames
    this.callerFilled += frames
  }

  #frames(ms: number): number {
    return Math.round(msToSamples(ms, this.sampleRateHz))
  }

  #slot(at: number): number {
    return 2 * (at & (this.#capacity - 1))
  }
}
