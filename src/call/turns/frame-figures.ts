/**
 * The figures of a frame in the steps in which a journal keeps them. The session decides by no finer ones, so that a
 * replay decides the same. A journal has no pitch for frames without voice, so nothing may be decided by theirs.
 */

/** Detections in one 20 ms frame of the caller. */
export interface CallerFrame {
  readonly voiced: boolean
  /** Voiced, but it may be music or somebody else: it may pause the agent, and needs more to interrupt. */
  readonly doubtful: boolean
  /** Level of the frame, -96 to 0. */
  readonly levelDbfs: number
  /** Fundamental of the voice; 0 when it is not known. */
  readonly pitchHz: number
  /** The carrier took it before the stream opened: the recogniser or the model gets it, and it decides nothing else. */
  readonly early: boolean
}

/** 64 steps of 1.5 dB, the highest at 0 dBFS: one character of base64. */
export const LEVEL_STEPS = 64
const LEVEL_STEP_DB = 1.5
/** 4096 steps of a quarter of a hertz: two characters of base64; 0 where it is not known. */
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

/** A frame without figures: quiet, or of a journal that has none. */
export function plainFrame(voiced: boolean): CallerFrame {
  return { voiced, doubtful: false, levelDbfs: voiced ? 0 : dbfsOf(0), pitchHz: 0, early: false }
}

function within(step: number, steps: number): number {
  return step > 0 ? Math.min(steps - 1, Math.round(step)) : 0
}
