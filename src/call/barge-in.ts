import type { BargeInOptions } from './call-options.js'
import type { BargeInRecord } from './record.js'

/** What stood where when the caller began to speak over the agent. */
export interface BargeInStart {
  readonly firstVoicedMs: number
  /** What the caller was hearing, and how much of it had been heard when it was paused. */
  readonly itemId: string | null
  readonly heardMs: number
  /** The caller was hearing the agent, so that there is something to stop. */
  readonly audible: boolean
}

/**
 * Speech over speech, in two steps.
 *
 *     idle   --caller's onset, agent audible or about to be-->  paused  fall silent, keep everything
 *     paused --commitMs of voice, or the backend's decision-->  idle    committed: throw away, tell the backend
 *     paused --resumeAfterMs and the caller quiet for quietMs-->  idle    a false interruption: go on where it paused
 *     idle   --the backend's decision, or a digit-->  idle    committed at once
 *
 * Falling silent at once costs nothing and is what a caller notices; giving the speech up is what a cough must not do.
 */
export class BargeIn {
  start: BargeInStart | null = null
  /** Commits whose last sample has not gone out yet; null when there is none. */
  #settling: { readonly start: BargeInStart; readonly why: string } | null = null
  readonly #options: BargeInOptions

  constructor(options: BargeInOptions) {
    this.#options = options
  }

  get paused(): boolean {
    return this.start !== null
  }

  pause(start: BargeInStart): void {
    this.start = start
  }

  /** Whether enough voice has come since the onset to give the agent's speech up. */
  shouldCommit(voicedMs: number): boolean {
    return this.start !== null && voicedMs >= this.#options.commitMs
  }

  /** Whether the caller is quiet enough to go on. Asked when `resumeAfterMs` has passed since the pause, and again until it is. */
  mayResume(quietMs: number): boolean {
    return quietMs >= this.#options.quietMs
  }

  /** The interruption was false. */
  resume(voicedMs: number, nowMs: number, lastSentAtMs: number | null, streamZeroMs: number): BargeInRecord | null {
    const start = this.start
    if (start === null) return null
    this.start = null
    const sinceMs = Math.round(nowMs - start.firstVoicedMs)
    const why = `${Math.round(voicedMs)} ms of voice in ${sinceMs} ms, under ${this.#options.commitMs}`
    return { atMs: start.firstVoicedMs - streamZeroMs, stopMs: stopMs(start, lastSentAtMs), committed: false, why }
  }

  /** Leaves the pause without a record: what was paused is gone for another reason. */
  abandon(): void {
    this.start = null
  }

  /**
   * The agent's speech is given up. The record follows from `settle`, when the last sample has surely left: a
   * commit without a pause before it is decided while samples are still on their way.
   */
  commit(start: BargeInStart, why: string): void {
    this.start = null
    this.#settling = { start, why }
  }

  settle(lastSentAtMs: number | null, streamZeroMs: number): BargeInRecord | null {
    const settling = this.#settling
    if (settling === null) return null
    this.#settling = null
    const { start, why } = settling
    return { atMs: start.firstVoicedMs - streamZeroMs, stopMs: stopMs(start, lastSentAtMs), committed: true, why }
  }
}

/** From the first voiced sample to the last agent sample sent; 0 when the agent had stopped by itself before. */
function stopMs(start: BargeInStart, lastSentAtMs: number | null): number | null {
  return start.audible && lastSentAtMs !== null ? Math.max(0, lastSentAtMs - start.firstVoicedMs) : null
}
