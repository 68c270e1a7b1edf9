/** Maximum time in ms that caller frames wait in the ring: three frames, the usual size of one message to a model. */
export const FRAMES_WAIT_MS_MAX = 60
/**
 * Period in ms after the caller's last voice in which a turn can end, from TURN_ENDS_FROM_MS to TURN_ENDS_TO_MS. Frames
 * in this period are taken at once.
 */
const TURN_ENDS_FROM_MS = 200
const TURN_ENDS_TO_MS = 800
/** Period in ms after a DTMF digit during which the caller may press another digit. */
const AFTER_KEY_MS = 2000
/** Period in ms after an input to the session in which the input may change decisions about the next frames. */
const AFTER_INPUT_MS = 100

/**
 * Facts of a call that decide how long caller frames may wait. All times are in ms of one clock; -Infinity if the event
 * has not happened.
 */
export interface PaceFacts {
  /**
   * Time of the last frame with voice. `keyAtMs`: time of the last DTMF digit. `inputAtMs`: time of the last input to
   * the session.
   */
  voicedAtMs: number
  keyAtMs: number
  inputAtMs: number
  /** True if DTMF digits are private now, or if an answering machine may have answered. */
  isWatched: boolean
  /** True if a loud frame is not taken before it is due, because the line delays frames unevenly. */
  loudWaits: boolean
  /**
   * True if the session counts frames with or without voice. It does so during a sound over the agent's speech, during
   * hold music, and during sound that it ignores.
   */
  countsFrames: boolean
  /** True if a turn of the caller is open. `turnEndsAtMs`: time at which the turn ends if the caller stays silent. */
  speaking: boolean
  turnEndsAtMs: number
  /** Minimum silence in ms after the last voice that can end the turn. */
  turnEndFromMs: number
  /**
   * Maximum silence in ms after the last voice in which the backend may still end a turn. The turn may already be
   * closed on our side.
   */
  turnEndToMs: number
  /**
   * True if the agent is silent and waits for nothing: no speech plays or is queued, no answer or digit is expected,
   * and no tool runs.
   */
  agentSilent: boolean
}

/**
 * Decides how long caller frames may wait. After the wait they are taken one by one; each frame is processed with the
 * time of the tick at which it came.
 * - Between turns quiet frames do not affect any decision, even while the agent speaks. A loud frame ends the wait.
 * - In a turn, while the agent is silent, frames do not affect any decision until the turn can end.
 * @returns the time until which all frames may wait. Infinity: only quiet frames wait, without a limit; -Infinity: no
 * frame may wait
 */
export function framesMayWaitUntilMs(nowMs: number, facts: PaceFacts): number {
  if (facts.isWatched || facts.countsFrames) return -Infinity
  if (nowMs - facts.keyAtMs < AFTER_KEY_MS || nowMs - facts.inputAtMs < AFTER_INPUT_MS) return -Infinity
  const quietMs = nowMs - facts.voicedAtMs
  if (!facts.speaking)
    return quietMs >= Math.max(TURN_ENDS_TO_MS, facts.turnEndToMs) && !facts.loudWaits ? Infinity : -Infinity
  if (quietMs >= TURN_ENDS_FROM_MS || !facts.agentSilent) return -Infinity
  const turnEndsMs = Math.min(facts.voicedAtMs + facts.turnEndFromMs, facts.turnEndsAtMs - FRAMES_WAIT_MS_MAX)
  return Math.min(facts.voicedAtMs + TURN_ENDS_FROM_MS, turnEndsMs)
}
