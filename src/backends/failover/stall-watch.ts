import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

export type StallState = 'asked' | 'spoken' | 'sounding'

/**
 * Notices a backend that does not answer, or stops in the middle of an answer.
 *
 *     quiet --a text, a tool result, words of the caller--> asked    ends with sound, a tool call or an answer's end
 *     quiet --the caller stopped speaking--> spoken                  ends with any event: it may have been a noise
 *     any   --an answer makes a sound--> sounding                    ends with the answer
 *     any   --stallMs--> quiet, calls `stalled`, which may allow more time with `again`
 */
export class StallWatch {
  /** When the caller began to wait for a sound; null while no caller waits. */
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

  /** Call it with every piece of sound; only the first of an answer sets the timer. */
  sounding(): void {
    if (this.#state === 'sounding') return
    this.sinceMs = null
    this.again('sounding', this.#stallMs)
  }

  anyEvent(): void {
    if (this.#state === 'spoken') this.stop()
  }

  /** Waits `ms` from now, also after a stall was reported. */
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
