import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

/** Less voice than this is a cough. */
const UTTERANCE_MS = 500
/** Quiet that ends an utterance. */
const QUIET_MS = 400
const FRAME_MS = 20

/**
 * Notices a service with its own turn detection that does not report speech which the gateway's voice activity detection
 * heard. Voice while the agent is heard does not count: it may be its echo.
 *
 *     (quiet) --UTTERANCE_MS of voice, then QUIET_MS without--> unheard   in a session that has reported speech before:
 *                                                                         after two of them, because one may be a noise
 *     unheard --the service reports speech, or answers--> (quiet)
 *     unheard --stallMs after the end of the speech--> (quiet), calls `deaf`
 */
export class DeafWatch {
  readonly #timers: BackendTimers
  readonly #alarm: Alarm
  readonly #stallMs: number
  readonly #deaf: () => void
  #voicedMs = 0
  #quietMs = 0
  #utterances = 0
  #reportedOnce = false

  constructor(timers: BackendTimers, stallMs: number, deaf: () => void) {
    this.#timers = timers
    this.#alarm = new Alarm(timers)
    this.#stallMs = stallMs
    this.#deaf = deaf
  }

  /** One frame of the caller. @param agentUntilMs  until when the agent is heard */
  frame(voiced: boolean, agentUntilMs: number): void {
    // Most frames: the clock need not be asked.
    if (!voiced && this.#voicedMs === 0) return
    if (this.#timers.nowMs() < agentUntilMs) {
      this.#voicedMs = 0
      return
    }
    if (voiced) {
      this.#voicedMs += FRAME_MS
      this.#quietMs = 0
      return
    }
    this.#quietMs += FRAME_MS
    if (this.#quietMs < QUIET_MS) return
    const spoke = this.#voicedMs >= UTTERANCE_MS
    this.#voicedMs = 0
    if (!spoke || ++this.#utterances < (this.#reportedOnce ? 2 : 1) || this.#alarm.isSet) return
    this.#alarm.set(Math.max(0, this.#stallMs - QUIET_MS), () => {
      this.#utterances = 0
      this.#deaf()
    })
  }

  /** The service said that it heard the caller. */
  heard(): void {
    this.#reportedOnce = true
    this.answers()
  }

  /** The service answers; this says nothing about its hearing, because it may have been asked in another way. */
  answers(): void {
    this.#voicedMs = 0
    this.#utterances = 0
    this.#alarm.clear()
  }

  /** Another session: nothing is known of it. */
  reset(): void {
    this.answers()
    this.#reportedOnce = false
  }
}
