import type { EscalationStep } from '../call/events.js'
import type { CarrierState, HumanEvent } from '../sautikit/carrier-state.js'
import type { CallbackAsk, EscalationAttempt, EscalationOutcome, EscalationStrategy } from '../call/documents/record.js'

/** After-stream behaviour of a carrier: observed on earlier calls, or configured. */
export type AfterStream = 'continues' | 'holds' | 'unknown'

export type EscalationInput =
  | { readonly type: 'escalate' }
  | { readonly type: 'stream-closed' }
  | { readonly type: 'carrier-state'; readonly state: CarrierState }
  /** Answer to a command. */
  | { readonly type: 'rest-result'; readonly requestId: string; readonly ok: boolean; readonly detail: string }
  /** The human's leg, from the carrier's supervision or conference events. */
  | { readonly type: 'human'; readonly event: HumanEvent }
  /** The caller's answer to the call back that the session offered. */
  | { readonly type: 'callback'; readonly accepted: boolean }
  | { readonly type: 'timer' }

export type EscalationCommand =
  | { readonly type: 'supervise' | 'create-conference-call'; readonly requestId: string; readonly number: string }
  | { readonly type: 'hangup'; readonly requestId: string }

export type EscalationOutput =
  /** For the call session. */
  | { readonly type: 'step'; readonly step: EscalationStep }
  /** For the carrier's REST API; answered with `rest-result`. */
  | { readonly type: 'command'; readonly command: EscalationCommand }
  /** One strategy with one human, and its outcome. */
  | { readonly type: 'attempt'; readonly attempt: EscalationAttempt }
  /** The caller is to be called back. */
  | { readonly type: 'callback'; readonly asked: CallbackAsk }
  /** The outcome of the escalation; exactly once. `strategy` is null when none could be tried. */
  | {
      readonly type: 'settled'
      readonly strategy: EscalationStrategy | null
      readonly outcome: EscalationOutcome
      readonly detail: string
    }
