import type { CallKernel } from './call-kernel.js'
import type { CallCheckpoint } from './documents/checkpoint.js'
import type { CallInput } from './events.js'

/** A feature of one call, whose kernel it acts on. */
export abstract class Feature {
  protected readonly call: CallKernel

  constructor(call: CallKernel) {
    this.call = call
  }
}

/** The states of a call, as an operator reads them. */
export type CallState =
  'waiting' | 'connecting' | 'live' | 'escalating' | 'holding' | 'bridged' | 'closing' | 'closed' | 'ended'

/** Every deadline of a call. Of two that are due at the same time the first in this list comes first. */
export const DEADLINES = [
  'backend-ready',
  'caller',
  'greeting',
  'answer',
  'end-of-speech',
  'not-understood',
  'barge-in-resume',
  'barge-in-settle',
  'filler',
  'tool-limit',
  'digits',
  'private',
  'private-keys',
  'waits',
  'effects',
  'waiting-sound',
  'claims',
  'stage',
  'handover',
  'ring-back',
  'silence',
  'closing-cue',
  'put-on-hold',
  'duration',
  'budget',
  'words-heard',
  'escalation-step',
  'hold',
  'offer',
  'consent',
  'quiet-goodbye',
  'quiet-goodbye-limit',
  'stream-close',
] as const
export type DeadlineName = (typeof DEADLINES)[number]

/** Deadlines that mean nothing once the conversation ends or goes on elsewhere. */
export const OF_THE_CONVERSATION: readonly DeadlineName[] = [
  'stage',
  'silence',
  'closing-cue',
  'put-on-hold',
  'filler',
  'answer',
  'greeting',
  'backend-ready',
  'caller',
  'escalation-step',
  'hold',
  'words-heard',
]

/** Longest wait for our speech to be heard before the call goes on. */
export const WORDS_HEARD_MS_MAX = 20_000
/** Interval at which an agreed end, or a handover, checks again whether the agent is quiet. */
export const QUIET_POLL_MS = 100

/**
 * One subject of a call beside frames, turns, barge-in and playout, which are the kernel's (`CallKernel`): what it is asked
 * for, when it acts by itself, and what it keeps. It changes the call through methods of the kernel and of other features only.
 */
export interface CallFeature {
  /** A deadline is over; each is one feature's, or the kernel's. A method and no table, which each call would have a copy of. */
  due?(name: DeadlineName): void
  /** The caller waits for it, or answers it: silence is no reason for a prompt. */
  readonly busy?: boolean
  /** Takes an input. @returns true: no other feature gets it */
  input?(input: CallInput): boolean
  /** The caller has heard the last sample of an item, or its rest was cut or cannot be said. */
  itemOver?(itemId: string, over: 'heard' | 'cut'): void
  /** Its part of the state that a takeover needs. */
  checkpoint?(): Partial<CallCheckpoint>
}
