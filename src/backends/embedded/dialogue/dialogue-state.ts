import type { OfflineDialogue } from '../../../agents/offline/offline.js'
import type { HeardBy, DialogueCall } from './dialogue-events.js'

/** A tool call that has no result yet. */
export interface PendingCall extends Pick<DialogueCall, 'callId' | 'name' | 'args'> {
  readonly save: string | null
  /** True if the tool call may be made again, with another id, because its result was lost when a worker died. */
  readonly again: boolean
}

export type Waiting =
  /** The state before `start`. */
  | { readonly for: 'start' }
  | { readonly for: 'caller' }
  | { readonly for: 'result'; readonly callId: string }
  | { readonly for: 'saved'; readonly name: string }
  /** Waits for the tool call that begins the state's stage. The state's steps have not begun. */
  | { readonly for: 'stage'; readonly callId: string }
  | { readonly for: 'nothing' }

interface Place {
  readonly state: string
  readonly step: number
}

/** The number that the dialogue expects. */
export interface DigitSlot {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly secret: boolean
}

export interface NumberSoFar {
  /** DTMF digits that are not in a transcript yet. */
  typed: string
  /** Count of the newest digits; a correction replaces these digits. */
  last: number
  /**
   * `spoken`: true if some digits were spoken; the number is then read back to the caller. `sure`: false if at least
   * one part matches its sound only moderately.
   */
  spoken: boolean
  sure: boolean
  parts: number
  /** True if the caller was asked for the remaining digits. */
  asked: boolean
}

/**
 * The whole state of a dialogue, which is JSON with a size of a few KB. Checkpoints contain the state, so its field
 * names must not change.
 */
export interface DialogueState {
  readonly version: 1
  place: Place
  waiting: Waiting
  /** The interrupted step to which the dialogue returns after an aside. */
  origin: {
    readonly place: Place
    readonly prompt: readonly string[]
    /** The interrupted wait for a tool; absent if the dialogue was waiting for the caller. */
    readonly waiting?: Waiting
  } | null
  /** The agent's texts after the previous `listen`. */
  prompt: readonly string[]
  misses: number
  /** Digits of the expected number so far, from DTMF or speech. */
  keys: string
  /** Details about the digits in `keys`; absent if all digits were DTMF or if `keys` is empty. */
  number?: NumberSoFar
  values: Record<string, unknown>
  slots: Record<string, string>
  heardBy: HeardBy | null
  /** The last text that was understood; absent in checkpoints of earlier versions. */
  heardText?: string
  heardSure?: boolean
  /** Words for a `text` slot, if the caller has not finished the sentence. */
  unfinished?: string
  visits: Record<string, number>
  /** Newest stage of the agent that the dialogue has begun; absent before the first stage. */
  stage?: string
  widened: readonly string[]
  pending: readonly PendingCall[]
  calls: number
}

/** Makes the state of a dialogue that has not started. */
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
