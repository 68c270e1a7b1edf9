import type { BackendTimers } from './timers.js'

/**
 * Notices a backend that does not answer.
 *
 *     quiet --asked: a text, a tool's answer, words of the caller--> asked    only a sound, a call or the end of an answer ends it
 *     quiet --spoken: the caller stopped speaking--> spoken                   any sign of life ends it: it may have been a noise
 *     asked, spoken --stallMs--> quiet, `stalled`
 */
export class StallWatch {
  /** Since when somebody waits; null when nobody does. */
  sinceMs: number | null = null
  #state: 'quiet' | 'asked' | 'spoken' = 'quiet'
  readonly #timers: BackendTimers
  readonly #stallMs: number
  readonly #stalled: (state: 'asked' | 'spoken') => void
  #cancel: (() => void) | null = null

  constructor(timers: BackendTimers, stallMs: number, stalled: (state: 'asked' | 'spoken') => void) {
    this.#timers = timers
    this.#stallMs = stallMs
    this.#stalled = stalled
  }

  asked(): void {
    if (this.#state !== 'asked') this.#start('asked')
  }

  spoken(): void {
    if (this.#state === 'quiet') this.#start('spoken')
  }

  signOfLife(): void {
    if (this.#state === 'spoken') this.stop()
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#state = 'quiet'
    this.sinceMs = null
  }

  #start(state: 'asked' | 'spoken'): void {
    this.#cancel?.()
    this.#state = state
    this.sinceMs ??= this.#timers.nowMs()
    this.#cancel = this.#timers.after(this.#stallMs, () => {
      this.#cancel = null
      this.#state = 'quiet'
      this.#stalled(state)
      // Whoever asked still waits, unless it was dealt with.
    })
  }
}
