/**
 * Figures of a frame, in the steps of a journal. The session decides by these rounded figures, so that a replay makes
 * the same decisions. A journal does not contain the pitch of frames without voice, so this pitch must not affect
 * decisions.
 */

/** Detections in one 20 ms frame of the caller. */
export interface CallerFrame {
  readonly voiced: boolean
  /**
   * True if the voice may be music or another person. Such a frame may pause the agent. If most frames are doubtful, a
   * barge-in needs a longer voice.
   */
  readonly doubtful: boolean
  /** Level of the frame in dBFS, -96 to 0. */
  readonly levelDbfs: number
  /** Fundamental frequency of the voice in Hz; 0 if unknown. */
  readonly pitchHz: number
  /** True if the carrier recorded the frame before the stream opened. Only the recogniser or the model receives it. */
  readonly early: boolean
}

/** Number of level steps; each step is 1.5 dB, and the highest step is 0 dBFS. One character of base64 holds a step. */
export const LEVEL_STEPS = 64
const LEVEL_STEP_DB = 1.5
/**
 * Number of pitch steps; each step is a quarter of a hertz, and 0 means unknown. Two characters of base64 hold a step.
 */
const PITCH_STEPS = 4096
const PITCH_STEP_HZ = 0.25

export function levelStep(levelDbfs: number): number {
  return within(LEVEL_STEPS - 1 + levelDbfs / LEVEL_STEP_DB, LEVEL_STEPS)
}

export function dbfsOf(step: number): number {
  return (step - (LEVEL_STEPS - 1)) * LEVEL_STEP_DB
}

export function pitchStep(pitchHz: number): number {
  return within(pitchHz / PITCH_STEP_HZ, PITCH_STEPS)
}

export function hertzOf(step: number): number {
  return step * PITCH_STEP_HZ
}

/** Returns a frame without figures: silence, or a frame from a journal without these figures. */
export function plainFrame(voiced: boolean): CallerFrame {
  return { voiced, doubtful: false, levelDbfs: voiced ? 0 : dbfsOf(0), pitchHz: 0, early: false }
}

function within(step: number, steps: number): number {
  return step > 0 ? Math.min(steps - 1, Math.round(step)) : 0
}
