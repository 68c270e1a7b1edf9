import type { EscalationStep } from '../call/events.js'
import type { CarrierState, HumanEvent } from '../sautikit/carrier-state.js'
import type { CallbackAsk, EscalationAttempt, EscalationOutcome, EscalationStrategy } from '../call/documents/record.js'

/** Behaviour of a carrier after the stream: observed on earlier calls, or configured. */
export type AfterStream = 'continues' | 'holds' | 'unknown'

export type EscalationInput =
  | { readonly type: 'escalate' }
  | { readonly type: 'stream-closed' }
  | { readonly type: 'carrier-state'; readonly state: CarrierState }
  /** Answer to a command. */
  | { readonly type: 'rest-result'; readonly requestId: string; readonly ok: boolean; readonly detail: string }
  /** Event of the human's leg, from the carrier's supervision or conference events. */
  | { readonly type: 'human'; readonly event: HumanEvent }
  /** Answer of the caller to the call back that the session offered. */
  | { readonly type: 'callback'; readonly accepted: boolean }
  | { readonly type: 'timer' }

export type EscalationCommand =
  | { readonly type: 'supervise' | 'create-conference-call'; readonly requestId: string; readonly number: string }
  | { readonly type: 'hangup'; readonly requestId: string }

export type EscalationOutput =
  /** Step for the call session. */
  | { readonly type: 'step'; readonly step: EscalationStep }
  /** Command for the carrier's REST API. The input `rest-result` is the answer. */
  | { readonly type: 'command'; readonly command: EscalationCommand }
  /** Attempt with one strategy and one human, and its outcome. */
  | { readonly type: 'attempt'; readonly attempt: EscalationAttempt }
  /** Request to call the caller back. */
  | { readonly type: 'callback'; readonly asked: CallbackAsk }
  /** Outcome of the escalation, exactly once. `strategy` is null if none of the strategies could be tried. */
  | {
      readonly type: 'settled'
      readonly strategy: EscalationStrategy | null
      readonly outcome: EscalationOutcome
      readonly detail: string
    }
