import { CARRIER_BURST_MS } from '../core/limits.js'
import { msToSamples, type LegRateHz } from '../core/units.js'

/** Audio that the carrier held back may still come for this long; its place is kept free until then. */
const HOLD_MS = CARRIER_BURST_MS + 200
/** Agent speech is placed ahead of the clock by the playout's lead and one burst of frames. */
const AHEAD_MS = 500
/**
 * Audio that is further ahead of its time than this has no place: two clocks that differ, or a sender that is too fast.
 */
const EARLY_MS = 200
/** The lag is observed over windows of this length. */
const WINDOW_MS = 400
/** A lag above this that does not shrink from one window to the next is lost audio, not delayed audio. */
const LOST_MS = 60
const STEADY_MS = 20

/**
 * Two voices of one call side by side in time, as a recording has them: the caller left, the agent right.
 *
 * The caller's packets follow each other without a gap until their time of arrival says that some are missing; what
 * comes late in a burst goes to its own time. The agent's samples are placed at the time at which they are played;
 * samples that the carrier was asked to discard are removed. So rows become final only some time after they were heard.
 *
 * Positions are frames (one sample of each side) since `zeroMs`. Pure; 256 KB at 16 kHz.
 */
export class StereoTimeline {
  readonly sampleRateHz: LegRateHz
  /** Caller samples that had no place any more, or were far ahead of their time. */
  callerDropped = 0
  /** Samples of silence in place of audio that the carrier never sent. */
  callerFilled = 0
  /** Agent samples that had no place. */
  agentDropped = 0
  readonly #zeroMs: number
  readonly #holdMs: number
  readonly #rows: Int16Array
  readonly #capacity: number
  /** The first row that was not taken yet. */
  #base = 0
  /** Where the caller's next sample goes; null before the first. */
  #callerEnd: number | null = null
  /** Behind the last agent sample. */
  #agentEnd = 0
  #windowStartMs = 0
  #windowLag = Infinity
  #lagBefore = Infinity

  /**
   * @param options.zeroMs  time of the first row
   * @param options.holdMs  how long a place is kept for audio that comes late; default: as long as a carrier may hold it back
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

  /** Caller audio that has just arrived. */
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

  /** Agent audio that the caller hears from `playedAtMs` on. */
  agent(samples: Int16Array, playedAtMs: number): void {
    const at = this.#frames(playedAtMs - this.#zeroMs)
    this.agentDropped += this.#write(at, samples, 1)
    this.#agentEnd = Math.max(this.#agentEnd, at + samples.length)
  }

  /** The carrier throws away what it still had to play. */
  agentCut(nowMs: number): void {
    const from = Math.max(this.#base, this.#frames(nowMs - this.#zeroMs))
    for (let at = from; at < this.#agentEnd; at++) this.#rows[this.#slot(at) + 1] = 0
    this.#agentEnd = Math.min(this.#agentEnd, from)
  }

  /** Silence in place of what the caller has said since then, in rows that were not taken. */
  callerUnheard(fromMs: number): void {
    const from = Math.max(this.#base, this.#frames(fromMs - this.#zeroMs))
    for (let at = from; at < (this.#callerEnd ?? 0); at++) this.#rows[this.#slot(at)] = 0
  }

  /** Rows that are final at `nowMs`. */
  ready(nowMs: number): number {
    return Math.max(0, this.#frames(nowMs - this.#holdMs - this.#zeroMs) - this.#base)
  }

  /** Rows there will be when the stream ends at `nowMs`; nothing more comes after it. */
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

  /** @returns samples that found no place */
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
