import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

export type StallState = 'asked' | 'spoken' | 'sounding'

/**
 * Notices a backend that does not answer, or stops in the middle of an answer.
 *
 *     quiet --a text, a tool result, words of the caller--> asked, until a sound, a tool call or an answer's end
 *     quiet --the caller stopped speaking--> spoken, until any event, because the speech may have been a noise
 *     any   --an answer makes a sound--> sounding, until the answer ends
 *     any --stallMs--> quiet: calls `stalled`, which may call `again` to allow more time
 */
export class StallWatch {
  /** Time at which the caller began to wait for a sound; null while the caller does not wait. */
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

  /** Called with every piece of sound; only the first piece of an answer sets the timer. */
  sounding(): void {
    if (this.#state === 'sounding') return
    this.sinceMs = null
    this.again('sounding', this.#stallMs)
  }

  anyEvent(): void {
    if (this.#state === 'spoken') this.stop()
  }

  /** Starts a new wait of `ms`, even after a stall was reported. */
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
