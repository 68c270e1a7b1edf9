import type { BackendEvent } from './backend-events.js'
import type { CallerValues } from './caller-data.js'
import type { CallState } from './call-deadlines.js'
import type { EffectEnd } from './spoken/effect-words.js'
import type { SpeechKind } from './events.js'
import type { TranscriptEntry } from './documents/record.js'

/**
 * A fact of the call. One component sends it; any number of features receive it (`CallFeature.hear`). The receivers act
 * in the order of `CallSession`'s features, before the sender continues.
 */
export type Fact =
  /** The stream is open, or the call continues on this worker. @see Opening */
  | { readonly type: 'stream-open'; readonly durationDueMs: number }
  /** The call is about to enter the state `to`. */
  | { readonly type: 'line'; readonly to: CallState }
  /** The agent's conversation with the caller begins. */
  | { readonly type: 'conversation-begins' }
  /** The conversation continues, because an escalation did not reach a human or the caller spoke after a goodbye. */
  | { readonly type: 'conversation-continues'; readonly after: 'escalation' | 'goodbye' }
  /** The caller has proved their identity. */
  | { readonly type: 'identified' }
  /** Data of the caller that the agent may say. */
  | { readonly type: 'caller-data'; readonly value: CallerValues }
  /** The person who answered was only a recording, so all questions to that person are withdrawn. */
  | { readonly type: 'recording-found' }
  /** The call was promised to another agent. */
  | { readonly type: 'agent-promised' }
  /** The call ends, so the gateway does not ask the caller further questions. */
  | { readonly type: 'call-ends' }
  /** The agent's last words are in the transcript, so claims can be audited. */
  | { readonly type: 'conversation-over' }
  /** The call is over; its end is not in the record yet. */
  | { readonly type: 'call-ended'; readonly callerHungUp: boolean }
  | { readonly type: 'model-ready' }
  /** Another backend serves the call now. */
  | { readonly type: 'model-replaced' }
  /** The failover is slow. */
  | { readonly type: 'model-holding' }
  /** First audio of an item of the model. */
  | { readonly type: 'model-audio' }
  /** The model began a response that the call will not play. */
  | { readonly type: 'response-unwanted' }
  /** The caller is expected to act next. The agent and the tools need not answer first. */
  | { readonly type: 'caller-acts' }
  /** Text that was sent to the model. `ofCaller`: true if the text is from the caller. */
  | { readonly type: 'model-given'; readonly text: string; readonly ofCaller: boolean }
  /** A dialogue without a model announces its use of the next DTMF digits. */
  | { readonly type: 'dialogue-keys'; readonly keys: 'open' | 'secret' }
  /** Transcript of the caller, as the recogniser sent it. */
  | Extract<BackendEvent, { readonly type: 'transcript' }>
  /** Words of the caller, not empty. If `final` is false, the words may still change. */
  | { readonly type: 'caller-said'; readonly text: string; readonly final: boolean }
  /** Final words of the caller that count as a turn. */
  | { readonly type: 'caller-turn'; readonly text: string }
  /** The caller asked for a moment. If `moment` is false, the caller only hesitated. */
  | { readonly type: 'caller-asks-to-wait'; readonly moment: boolean }
  /** Words or digits of the caller were recognised. `endsHold`: the caller no longer keeps the agent on hold. */
  | { readonly type: 'understood'; readonly endsHold: boolean }
  /** A sign that the caller is present. */
  | { readonly type: 'caller-active' }
  /** The caller makes a sound without recognised words; the gateway waits for words until `untilMs`. */
  | { readonly type: 'unrecognised-sound'; readonly untilMs: number }
  /** The caller has put the agent on hold. */
  | { readonly type: 'put-on-hold' }
  /** A turn of the caller ended at `atMs`. */
  | { readonly type: 'turn-ended'; readonly atMs: number }
  /** The caller has interrupted the agent. */
  | { readonly type: 'barge-in' }
  /** Words of the agent that the caller hears now or will hear. */
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
  /** The caller hears this item from now on. Turn-taking has already acted on the item. */
  | { readonly type: 'agent-sounding'; readonly itemId: string }
  /** The caller heard the last sample of an item; the transcript does not contain this yet. */
  | { readonly type: 'item-heard'; readonly itemId: string }
  /** The agent's speech was discarded after `playedMs` of the item. */
  | { readonly type: 'agent-cut'; readonly itemId: string | null; readonly playedMs: number }
  /** A phrase of the gateway could not be spoken. */
  | { readonly type: 'announce-failed'; readonly itemId: string }
  /** Result of a tool call. `stage` is false if the stage has already received the result. */
  | {
      readonly type: 'tool-settled'
      readonly callId: string
      readonly name: string
      readonly ok: boolean
      readonly value: unknown
      readonly error?: string
      readonly stage: boolean
    }
  /** A tool with an effect has ended. `spoken`: the result goes to a model that should answer it. */
  | { readonly type: 'effect-settled'; readonly end: EffectEnd; readonly spoken: boolean }
  /** Result of a tool call that the gateway itself made; the model does not receive it. */
  | {
      readonly type: 'own-tool-settled'
      readonly callId: string
      readonly ok: boolean
      readonly value: unknown
      readonly error: string | undefined
    }
  /** The outcome of this tool call will arrive later. */
  | { readonly type: 'tool-pending' }
  | { readonly type: 'tool-refused'; readonly name: string; readonly args: Readonly<Record<string, unknown>> }
  /** The backend cancels these tool calls. */
  | { readonly type: 'tools-taken-back'; readonly callIds: readonly string[] }
  /** The gateway itself arranged something for the caller, without a tool of the model. */
  | { readonly type: 'arranged'; readonly tool: string }

/** Facts with these names. */
export type FactOf<Names extends readonly Fact['type'][]> = Extract<Fact, { readonly type: Names[number] }>
