import type { ToolLedgerEntry } from '../../backend.js'

/** How a caller's answer arrived; `heard.by` of the dialogue's values. */
export type HeardBy = 'speech' | 'keys' | 'text'

export interface HeardEvent {
  readonly type: 'heard'
  /** Empty when nothing was recognised. */
  readonly text: string
  readonly by: HeardBy
  /** The sentences that the caller interrupted: they are repeated when nothing was understood. */
  readonly unheard: readonly string[]
  /** False for words that fit the sound only moderately. */
  readonly sure?: boolean
  /** False for sound that went on and on: nothing is missed, it is only asked again. */
  readonly attempt?: boolean
  /** Keys since the caller began to say it: recognition takes longer than a key. */
  readonly keysAfter?: number
}

export type DialogueEvent =
  /** The call begins; `takeover` when another backend carried it so far. */
  | { readonly type: 'start'; readonly takeover: boolean }
  | HeardEvent
  /** The recogniser was not available. */
  | { readonly type: 'not-heard' }
  | { readonly type: 'key'; readonly key: string }
  | { readonly type: 'keys-timeout' }
  | { readonly type: 'tool-result'; readonly callId: string; readonly ok: boolean; readonly value: unknown }
  /** Asks for the current question again, for example after a long silence. */
  | { readonly type: 'nudge' }

export type DialogueAction =
  | { readonly type: 'say'; readonly text: string }
  | {
      readonly type: 'call'
      readonly callId: string
      readonly name: string
      readonly args: Readonly<Record<string, unknown>>
      /** The dialogue goes on without the result. */
      readonly background: boolean
    }
  /** The keys that make up one entry. */
  | { readonly type: 'keyed'; readonly keys: string }
  /** A key was pressed: the agent stops speaking. */
  | { readonly type: 'stop-speaking' }
  /** Send `keys-timeout` if no key follows within `ms`; null stops the timer. */
  | { readonly type: 'key-timer'; readonly ms: number | null }

export type DialogueCall = Extract<DialogueAction, { readonly type: 'call' }>

/** A tool call that was answered before this dialogue started. */
export type AnsweredCall = Pick<ToolLedgerEntry, 'name' | 'args' | 'ok' | 'result'>
