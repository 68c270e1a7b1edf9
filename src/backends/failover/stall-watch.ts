import type { BackendTimers } from './timers.js'

export type StallState = 'asked' | 'spoken' | 'sounding'

/**
 * Notices a backend that does not answer, or stops in the middle of an answer.
 *
 *     quiet --asked: a text, a tool's answer, words of the caller--> asked    only a sound, a call or the end of an answer ends it
 *     quiet --spoken: the caller stopped speaking--> spoken                   any sign of life ends it: it may have been a noise
 *     any   --sounding: an answer makes a sound--> sounding                   the end of the answer ends it
 *     any   --stallMs--> quiet, `stalled`; who is told may ask for more time: `again`
 */
export class StallWatch {
  /** Since when somebody waits for a sound; null when nobody does. */
  sinceMs: number | null = null
  #state: 'quiet' | StallState = 'quiet'
  readonly #timers: BackendTimers
  readonly #stallMs: number
  readonly #stalled: (state: StallState) => void
  #cancel: (() => void) | null = null

  constructor(timers: BackendTimers, stallMs: number, stalled: (state: StallState) => void) {
    this.#timers = timers
    this.#stallMs = stallMs
    this.#stalled = stalled
  }

  asked(): void {
    if (this.#state === 'asked') return
    this.sinceMs ??= this.#timers.nowMs()
    this.#start('asked', this.#stallMs)
  }

  spoken(): void {
    if (this.#state !== 'quiet') return
    this.sinceMs ??= this.#timers.nowMs()
    this.#start('spoken', this.#stallMs)
  }

  /** Told with every piece of sound, so it costs nothing but the first time. */
  sounding(): void {
    if (this.#state === 'sounding') return
    this.sinceMs = null
    this.#start('sounding', this.#stallMs)
  }

  signOfLife(): void {
    if (this.#state === 'spoken') this.stop()
  }

  /** What was reported as stalled has that much time left. */
  again(state: StallState, ms: number): void {
    this.#start(state, ms)
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#state = 'quiet'
    this.sinceMs = null
  }

  #start(state: StallState, ms: number): void {
    this.#cancel?.()
    this.#state = state
    this.#cancel = this.#timers.after(ms, () => {
      this.#cancel = null
      this.#state = 'quiet'
      this.#stalled(state)
    })
  }
}
