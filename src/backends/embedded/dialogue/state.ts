import type { OfflineDialogue } from '../../../agents/offline.js'

/** How a caller's answer came in; `heard.by` of the dialogue's values. */
export type HeardBy = 'speech' | 'keys' | 'text'

export type DialogueEvent =
  /** The call begins; `takeover` when another backend carried it so far. */
  | { readonly type: 'start'; readonly takeover: boolean }
  /**
   * What the caller said, empty when nothing was recognised. `unheard` is what the caller's voice cut off, in sentences:
   * when it turns out that nothing was understood, it is said again. `sure` is false for words that the sound fits so-so.
   */
  | { readonly type: 'heard'; readonly text: string; readonly by: HeardBy; readonly unheard: readonly string[]; readonly sure?: boolean }
  /** The recogniser could not listen; not the caller's fault. */
  | { readonly type: 'not-heard' }
  | { readonly type: 'key'; readonly key: string }
  | { readonly type: 'keys-timeout' }
  | { readonly type: 'tool-result'; readonly callId: string; readonly ok: boolean; readonly value: unknown }
  /** Someone wants the dialogue to say something, for example after a long silence. */
  | { readonly type: 'nudge' }

export type DialogueAction =
  | { readonly type: 'say'; readonly text: string }
  | { readonly type: 'call'; readonly callId: string; readonly name: string; readonly args: Readonly<Record<string, unknown>> }
  /** What was keyed in, once it is whole. */
  | { readonly type: 'keyed'; readonly keys: string }
  /** A key was pressed: be silent. */
  | { readonly type: 'hush' }
  /** Send `keys-timeout` if no key follows within `ms`; null: not any more. */
  | { readonly type: 'key-timer'; readonly ms: number | null }

/** A tool call that is unanswered. */
export interface PendingCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly save: string | null
  /** Its answer may be lost with a worker; then it is called again under another id, once. */
  readonly again: boolean
}

export type Waiting =
  /** Before `start`. */
  | { readonly for: 'start' }
  | { readonly for: 'caller' }
  | { readonly for: 'result'; readonly callId: string }
  | { readonly for: 'saved'; readonly name: string }
  | { readonly for: 'nothing' }

export interface Place {
  readonly state: string
  readonly step: number
}

/** All that a dialogue knows: JSON, a few KB. */
export interface DialogueState {
  readonly version: 1
  place: Place
  waiting: Waiting
  /** Where an aside returns to. */
  origin: {
    readonly place: Place; readonly prompt: readonly string[]
    /** The tool that was waited for there; not given where the caller was listened to. */
    readonly waiting?: Waiting
  } | null
  /** What was said since the caller was last listened to. */
  prompt: readonly string[]
  misses: number
  keys: string
  values: Record<string, unknown>
  slots: Record<string, string>
  heardBy: HeardBy | null
  /** The words that were understood last; checkpoints of older builds have none. */
  heardText?: string
  heardSure?: boolean
  visits: Record<string, number>
  widened: readonly string[]
  pending: readonly PendingCall[]
  calls: number
}

/** A dialogue that has not begun. */
export function fresh(dialogue: OfflineDialogue): DialogueState {
  return {
    version: 1, place: { state: dialogue.start, step: 0 }, waiting: { for: 'start' }, origin: null, prompt: [], misses: 0, keys: '',
    values: {}, slots: {}, heardBy: null, visits: {}, widened: [], pending: [], calls: 0,
  }
}
