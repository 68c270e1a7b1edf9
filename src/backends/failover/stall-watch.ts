import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

export type StallState = 'asked' | 'spoken' | 'sounding'

/**
 * Notices a backend that does not answer, or stops in the middle of an answer.
 *
 *     quiet --asked: a text, a tool's answer, words of the caller--> asked    only sound, a tool call or the end of an answer ends it
 *     quiet --spoken: the caller stopped speaking--> spoken                   any event ends it: the speech may have been a noise
 *     any   --sounding: an answer makes a sound--> sounding                   the end of the answer ends it
 *     any   --stallMs--> quiet, `stalled`; its receiver may allow more time: `again`
 */
export class StallWatch {
  /** When the caller began to wait for a sound; null when nobody waits. */
  sinceMs: number | null = null
  #state: 'quiet' | StallState = 'quiet'
  readonly #timers: BackendTimers
  readonly #alarm: Alarm
  readonly #stallMs: number
  readonly #stalled: (state: StallState) => void

  constructor(timers: BackendTimers, stallMs: number, stalled: (state: StallState) => void) {
    this.#timers = timers
    this.#alarm = new Alarm(timers)
    this.#stallMs = stallMs
    this.#stalled = stalled
  }

  asked(): void {
    if (this.#state === 'asked') return
    this.sinceMs ??= this.#timers.nowMs()
    this.again('asked', this.#stallMs)
  }

  spoken(): void {
    if (this.#state !== 'quiet') return
    this.sinceMs ??= this.#timers.nowMs()
    this.again('spoken', this.#stallMs)
  }

  /** Called with every piece of sound; only the first of an answer sets the timer. */
  sounding(): void {
    if (this.#state === 'sounding') return
    this.sinceMs = null
    this.again('sounding', this.#stallMs)
  }

  signOfLife(): void {
    if (this.#state === 'spoken') this.stop()
  }

  /** Waits `ms` from now on, also after a stall was reported. */
  again(state: StallState, ms: number): void {
    this.#state = state
    this.#alarm.set(ms, () => {
      this.#state = 'quiet'
      this.#stalled(state)
    })
  }

  stop(): void {
    this.#alarm.clear()
    this.#state = 'quiet'
    this.sinceMs = null
  }
}
