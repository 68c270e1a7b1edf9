import type { BackendEvent } from './backend-events.js'
import type { CallerValues } from './caller-data.js'
import type { CallState } from './call-deadlines.js'
import type { EffectEnd } from './spoken/effect-words.js'
import type { SpeechKind } from './events.js'
import type { TranscriptEntry } from './documents/record.js'

/**
 * A fact of the call: one sender, any number of hearers (`CallFeature.hear`). Every hearer has acted on a fact before its sender
 * goes on, in the order of `CallSession`'s list of features.
 */
export type Fact =
  /** The stream is open, or continues here. @see Opening */
  | { readonly type: 'stream-open'; readonly durationDueMs: number }
  /** The state is about to become `to`. */
  | { readonly type: 'line'; readonly to: CallState }
  /** The agent's conversation with the caller begins. */
  | { readonly type: 'conversation-begins' }
  /** The conversation continues after an escalation or a goodbye. */
  | { readonly type: 'conversation-continues'; readonly after: 'escalation' | 'goodbye' }
  /** The caller has proved who they are. */
  | { readonly type: 'identified' }
  /** Data of the caller that may be said to them. */
  | { readonly type: 'caller-data'; readonly value: CallerValues }
  /** A recording was taken for a person: everything asked of that person is void. */
  | { readonly type: 'recording-found' }
  /** Another agent was promised the call. */
  | { readonly type: 'agent-promised' }
  /** The call ends: nothing is asked of the caller any more. */
  | { readonly type: 'call-ends' }
  /** The agent's last words are in the transcript: claims are judged. */
  | { readonly type: 'conversation-over' }
  /** The call is over and has not been recorded as ended yet. */
  | { readonly type: 'call-ended'; readonly callerHungUp: boolean }
  | { readonly type: 'model-ready' }
  /** The model has another backend. */
  | { readonly type: 'model-replaced' }
  /** The failover takes long. */
  | { readonly type: 'model-holding' }
  /** First audio of an item of the model. */
  | { readonly type: 'model-audio' }
  /** The model began a response that is not wanted. */
  | { readonly type: 'response-unwanted' }
  /** The caller acts next: nobody owes an answer. */
  | { readonly type: 'caller-acts' }
  /** The model was given this text. */
  | { readonly type: 'model-given'; readonly text: string; readonly ofCaller: boolean }
  /** A dialogue without a model says how it takes the next keys. */
  | { readonly type: 'dialogue-keys'; readonly keys: 'open' | 'secret' }
  /** Words of the caller as the recogniser gives them. */
  | Extract<BackendEvent, { readonly type: 'transcript' }>
  /** Words of the caller that are not empty. `final` false: they may still change. */
  | { readonly type: 'caller-said'; readonly text: string; readonly final: boolean }
  /** The caller's final words were taken as a turn. */
  | { readonly type: 'caller-turn'; readonly text: string }
  /** The caller asked for a moment. */
  | { readonly type: 'caller-asks-to-wait' }
  /** Words or digits of the caller were understood. `endsHold`: the caller no longer keeps us on hold. */
  | { readonly type: 'understood'; readonly endsHold: boolean }
  /** A sign that the caller is present. */
  | { readonly type: 'caller-active' }
  /** Unrecognised sound is being timed until then. */
  | { readonly type: 'unrecognised-sound'; readonly untilMs: number }
  /** The caller has put us on hold. */
  | { readonly type: 'put-on-hold' }
  /** A turn of the caller has ended at that time. */
  | { readonly type: 'turn-ended'; readonly atMs: number }
  /** The caller has interrupted the agent. */
  | { readonly type: 'barge-in' }
  /** Words of the agent that are being said or will be. */
  | { readonly type: 'agent-words'; readonly text: string; readonly by: 'model' | 'gateway' }
  /** An entry of the agent's transcript is complete. */
  | {
      readonly type: 'agent-said'
      readonly entry: TranscriptEntry
      readonly itemId: string
      readonly playedMs: number | null
      readonly by: 'model' | 'gateway'
    }
  /** The first sample of an item is sent. */
  | {
      readonly type: 'agent-sounds'
      readonly itemId: string
      readonly kind: SpeechKind
      readonly generation: number | null
      readonly sentAtMs: number
    }
  /** The item that sounds is noted. */
  | { readonly type: 'agent-sounding'; readonly itemId: string }
  /** The caller heard the last sample of an item, which the transcript does not say yet. */
  | { readonly type: 'item-heard'; readonly itemId: string }
  /** The agent's speech was discarded after that much of the item. */
  | { readonly type: 'agent-cut'; readonly itemId: string | null; readonly playedMs: number }
  /** A phrase of the gateway could not be said. */
  | { readonly type: 'announce-failed'; readonly itemId: string }
  /** A tool call has its result. `stage` false: the stage has had it before. */
  | {
      readonly type: 'tool-settled'
      readonly callId: string
      readonly name: string
      readonly ok: boolean
      readonly value: unknown
      readonly error?: string
      readonly stage: boolean
    }
  /** A tool with an effect has ended. `spoken`: its result goes to a model that is to answer it. */
  | { readonly type: 'effect-settled'; readonly end: EffectEnd; readonly spoken: boolean }
  /** A tool call that the gateway made itself has its result, which no model gets. */
  | {
      readonly type: 'own-tool-settled'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly error: string | undefined
    }
  /** The outcome of a tool call comes later. */
  | { readonly type: 'tool-pending' }
  | { readonly type: 'tool-refused'; readonly name: string; readonly args: Readonly<Record<string, unknown>> }
  /** The backend takes these tool calls back. */
  | { readonly type: 'tools-taken-back'; readonly callIds: readonly string[] }
  /** Something was arranged for the caller outside the model's tools. */
  | { readonly type: 'arranged'; readonly tool: string }

/** The facts of those names. */
export type FactOf<Names extends readonly Fact['type'][]> = Extract<Fact, { readonly type: Names[number] }>
