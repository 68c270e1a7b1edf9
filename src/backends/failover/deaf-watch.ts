import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'

/** Minimum duration of voice in an utterance, in ms; shorter voice may be a cough. */
const UTTERANCE_MS = 500
/** Duration of silence that ends an utterance, in milliseconds. */
const QUIET_MS = 400
const FRAME_MS = 20

/**
 * Notices that a service with its own turn detection does not report the caller's speech, although the gateway's VAD
 * heard the speech. Voice during the agent's speech does not count, because it may be echo.
 *
 *     (quiet) --UTTERANCE_MS of voice, then QUIET_MS of silence--> unheard: if the session has reported speech before,
 * only after two utterances, because one may be a noise
 *     unheard --the service reports speech, or answers--> (quiet)
 *     unheard --stallMs after the end of the speech--> (quiet): calls `deaf`
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

  /** Adds one frame of the caller. @param agentUntilMs  time until which the caller hears the agent */
  frame(voiced: boolean, agentUntilMs: number): void {
    // In this usual case, the clock is not needed.
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

  /** Records that the service reported the caller's speech. */
  heard(): void {
    this.#reportedOnce = true
    this.answers()
  }

  /**
   * Records that the service answers. This does not prove that the service hears the caller, because a text may have
   * caused the answer.
   */
  answers(): void {
    this.#voicedMs = 0
    this.#utterances = 0
    this.#alarm.clear()
  }

  /** Resets the state for another session. */
  reset(): void {
    this.answers()
    this.#reportedOnce = false
  }
}
