/**
 * After-stream behaviour: the carrier's action when the gateway ends the media socket. Each value was documented or
 * observed.
 */
export const AFTER_STREAM = ['continues', 'reposts', 'holds'] as const
export type AfterStream = (typeof AFTER_STREAM)[number]

/** Outcomes of ringing a human. */
export const HUMAN_OUTCOMES = ['answered', 'busy', 'no-answer', 'declined'] as const
export type HumanOutcome = (typeof HUMAN_OUTCOMES)[number]
/** Outcomes of ringing a real phone. `failed`: the phone cannot be rung, for example because it is not registered. */
export type RungOutcome = HumanOutcome | 'failed'

/**
 * Voices of callers: the synthesiser's voices except the agent's (slt). rms and awb are people at 16 kHz; kal is an old
 * 8 kHz diphone voice, for a bad phone.
 */
export const CALLER_VOICES = ['rms', 'awb', 'kal'] as const
export type CallerVoice = (typeof CALLER_VOICES)[number]
