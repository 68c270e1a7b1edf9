import type { OfflineDialogue } from '../../../agents/offline/offline.js'
import type { HeardBy, DialogueCall } from './dialogue-events.js'

/** A tool call without a result. */
export interface PendingCall extends Pick<DialogueCall, 'callId' | 'name' | 'args'> {
  readonly save: string | null
  /** If its result was lost with a worker, the tool is called again once, under another id. */
  readonly again: boolean
}

export type Waiting =
  /** Before `start`. */
  | { readonly for: 'start' }
  | { readonly for: 'caller' }
  | { readonly for: 'result'; readonly callId: string }
  | { readonly for: 'saved'; readonly name: string }
  /** The call goes to the stage of the state, whose steps have not begun. */
  | { readonly for: 'stage'; readonly callId: string }
  | { readonly for: 'nothing' }

interface Place {
  readonly state: string
  readonly step: number
}

/** The number that is listened for. */
export interface DigitSlot {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly secret: boolean
}

export interface NumberSoFar {
  /** Keys that no transcript has yet. */
  typed: string
  /** Digits that came last: a correction replaces them. */
  last: number
  /** Some were said, so the number is read back; `sure` is false if one part fits the sound only moderately. */
  spoken: boolean
  sure: boolean
  parts: number
  /** The caller was asked to go on. */
  asked: boolean
}

/** The whole state of a dialogue: JSON, a few KB. It is part of checkpoints, so its fields keep their names. */
export interface DialogueState {
  readonly version: 1
  place: Place
  waiting: Waiting
  /** The interrupted step of an aside, to which it returns. */
  origin: {
    readonly place: Place
    readonly prompt: readonly string[]
    /** The wait for a tool; missing if the dialogue was listening to the caller. */
    readonly waiting?: Waiting
  } | null
  /** The agent's texts since the last `listen`. */
  prompt: readonly string[]
  misses: number
  /** Digits of a number so far, keyed or said. */
  keys: string
  /** How they came; missing if all were keyed, and without `keys`. */
  number?: NumberSoFar
  values: Record<string, unknown>
  slots: Record<string, string>
  heardBy: HeardBy | null
  /** The text that was understood last; missing in checkpoints of older builds. */
  heardText?: string
  heardSure?: boolean
  /** Words for a `text` slot that the caller has not finished. */
  unfinished?: string
  visits: Record<string, number>
  /** The agent's stage that the dialogue went to last; missing before any. */
  stage?: string
  widened: readonly string[]
  pending: readonly PendingCall[]
  calls: number
}

/** The state of a dialogue that has not started. */
export function fresh(dialogue: OfflineDialogue): DialogueState {
  return {
    version: 1,
    place: { state: dialogue.start, step: 0 },
    waiting: { for: 'start' },
    origin: null,
    prompt: [],
    misses: 0,
    keys: '',
    values: {},
    slots: {},
    heardBy: null,
    visits: {},
    widened: [],
    pending: [],
    calls: 0,
  }
}
