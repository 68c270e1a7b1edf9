/** States of a call, as an operator sees them. */
export type CallState =
  'waiting' | 'connecting' | 'live' | 'escalating' | 'holding' | 'bridged' | 'closing' | 'closed' | 'ended'

/**
 * States in which the agent does not converse with the caller. `handed-over`: the call was promised to another agent,
 * and the caller hears this agent's last words.
 */
export type Interruption = Exclude<CallState, 'waiting' | 'live'> | 'handed-over'

/** Value of `endsIn` for a deadline that runs only while this agent converses with the caller. */
const CONVERSATION = ['connecting', 'closing', 'handed-over', 'bridged', 'closed', 'ended'] as const
/** Value of `endsIn` for a deadline that also ends when the gateway tries to reach a human. */
const ANSWERS = [...CONVERSATION, 'escalating', 'holding'] as const
/** Value of `endsIn` for a deadline that runs until a human has the call or the stream is closed. */
const CALL = ['bridged', 'closed', 'ended'] as const

interface DeadlineRow {
  /** States that end this deadline when the call enters them. */
  readonly endsIn: readonly Interruption[]
  /**
   * If true, the states in `endsIn` suspend the deadline instead of ending it. The remaining time starts to run again
   * when the conversation continues.
   */
  readonly returns?: true
}

/**
 * Every deadline of a call, with the states that end or suspend it. Only a deadline's owner sets it. If two deadlines
 * have the same time, the first in this list fires first.
 */
export const DEADLINES = {
  'backend-ready': { endsIn: [...CONVERSATION, 'escalating'] },
  caller: { endsIn: CONVERSATION },
  greeting: { endsIn: CONVERSATION },
  answer: { endsIn: ANSWERS },
  'end-of-speech': { endsIn: CALL },
  'not-understood': { endsIn: CALL },
  'barge-in-resume': { endsIn: CALL },
  'barge-in-settle': { endsIn: CALL },
  filler: { endsIn: ANSWERS },
  'tool-limit': { endsIn: CALL },
  digits: { endsIn: CALL },
  private: { endsIn: ['closed', 'ended'] },
  'private-keys': { endsIn: CALL },
  waits: { endsIn: CALL },
  effects: { endsIn: CALL },
  'waiting-sound': { endsIn: CALL },
  claims: { endsIn: CALL },
  stage: { endsIn: CONVERSATION, returns: true },
  handover: { endsIn: CALL },
  'ring-back': { endsIn: CALL },
  silence: { endsIn: ANSWERS },
  'closing-cue': { endsIn: CONVERSATION },
  'put-on-hold': { endsIn: CONVERSATION },
  duration: { endsIn: CALL },
  budget: { endsIn: CALL },
  'goodbye-heard': { endsIn: CALL },
  'transfer-heard': { endsIn: CONVERSATION },
  'escalation-step': { endsIn: [...CONVERSATION, 'holding'] },
  hold: { endsIn: CONVERSATION },
  offer: { endsIn: CALL },
  callback: { endsIn: CALL },
  consent: { endsIn: CALL },
  'quiet-goodbye': { endsIn: CALL },
  'quiet-goodbye-limit': { endsIn: CALL },
  'stream-close': { endsIn: ['ended'] },
} as const satisfies Record<string, DeadlineRow>

export type DeadlineName = keyof typeof DEADLINES
export const DEADLINE_NAMES = Object.keys(DEADLINES) as DeadlineName[]

const endedBy = (by: Interruption): readonly DeadlineName[] =>
  DEADLINE_NAMES.filter((name) => (DEADLINES[name].endsIn as readonly Interruption[]).includes(by))
/** Deadlines that each state ends or suspends. */
export const ENDED_BY: Readonly<Record<Interruption, readonly DeadlineName[]>> = {
  connecting: endedBy('connecting'),
  escalating: endedBy('escalating'),
  holding: endedBy('holding'),
  bridged: endedBy('bridged'),
  closing: endedBy('closing'),
  closed: endedBy('closed'),
  ended: endedBy('ended'),
  'handed-over': endedBy('handed-over'),
}

/** Maximum time that the call waits until the caller has heard the gateway's speech, in milliseconds. */
export const WORDS_HEARD_MS_MAX = 20_000
/** Interval, in milliseconds, at which an agreed end or a handover checks again whether the agent is silent. */
export const QUIET_POLL_MS = 100
