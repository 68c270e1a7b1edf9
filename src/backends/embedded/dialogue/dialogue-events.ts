import type { ToolLedgerEntry } from '../../backend.js'

/** Form of a caller's answer; in the dialogue's values, its name is `heard.by`. */
export type HeardBy = 'speech' | 'keys' | 'text'

export interface HeardEvent {
  readonly type: 'heard'
  /** Text of the answer; empty if no words were recognised. */
  readonly text: string
  readonly by: HeardBy
  /** The sentences that the caller interrupted. They are repeated if no words were understood. */
  readonly unheard: readonly string[]
  /** False if the match between the words and the sound is only moderate. */
  readonly sure?: boolean
  /**
   * False for sound that lasted too long for an answer. The question is then repeated, and the sound does not count as
   * a failed answer.
   */
  readonly attempt?: boolean
  /**
   * Number of DTMF digits since the caller began to speak. They may arrive before the words, because recognition takes
   * longer than the detection of a DTMF digit.
   */
  readonly keysAfter?: number
}

export type DialogueEvent =
  /** The call begins; `takeover` is true if another backend served the call before. */
  | { readonly type: 'start'; readonly takeover: boolean }
  | HeardEvent
  /** Speech could not be recognised, because the recogniser was not available. */
  | { readonly type: 'not-heard'; readonly attempt: boolean }
  | { readonly type: 'key'; readonly key: string }
  | { readonly type: 'keys-timeout' }
  | { readonly type: 'tool-result'; readonly callId: string; readonly ok: boolean; readonly value: unknown }
  /** Request to repeat the current question, for example after a long silence. */
  | { readonly type: 'nudge' }

export type DialogueAction =
  | { readonly type: 'say'; readonly text: string }
  | {
      readonly type: 'call'
      readonly callId: string
      readonly name: string
      readonly args: Readonly<Record<string, unknown>>
      /** True if the dialogue continues without waiting for the result. */
      readonly background: boolean
    }
  /** DTMF digits of one entry, for the transcript. */
  | { readonly type: 'keyed'; readonly keys: string }
  /** Reports that the caller was not understood. */
  | { readonly type: 'missed' }
  /** The agent must stop speaking, because a key was pressed. */
  | { readonly type: 'stop-speaking' }
  /** Requests the event `keys-timeout` if no DTMF digit follows within `ms`; null stops the timer. */
  | { readonly type: 'key-timer'; readonly ms: number | null }

export type DialogueCall = Extract<DialogueAction, { readonly type: 'call' }>

/** A tool call whose result existed before this dialogue started. */
export type AnsweredCall = Pick<ToolLedgerEntry, 'name' | 'args' | 'ok' | 'result'>
