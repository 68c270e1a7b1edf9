import type { SayAction } from '../sautikit/actions.js'
import type { CarrierState, EscalationPacket, EscalationStep } from './events.js'
import type { EscalationOutcome, EscalationStrategy } from './record.js'

/** Who asks how a call goes on after its stream. The same list as the edge's routes. */
export type EscalationAsker = 'after-stream' | 'voice' | 'stream-status' | 'events'

/** How one call may reach a human. Plain data. */
export interface EscalationOptions {
  /** Tried in order. One that cannot run any more (needs a stream that is closed, was not set up) is passed over. */
  readonly strategies: readonly EscalationStrategy[]
  /** Human numbers in E.164, in hunt order: the next is tried when one is busy or does not answer. */
  readonly numbers: readonly string[]
  readonly callerId: string | null
  /** How long one number rings. */
  readonly ringTimeoutMs: number
  /** Where the carrier asks again after a `<Dial>`; null: the document itself ends with the words and a hang-up. */
  readonly redirectUrl: string | null
  /** The words after the last failed dial. */
  readonly failedSay: SayAction
  /** The room in which the call was answered; null when it was answered without a conference. */
  readonly conferenceRoom: string | null
  /** REST calls can be made (there is an API key). */
  readonly restAvailable: boolean
}

export type EscalationInput =
  | { readonly type: 'escalate'; readonly packet: EscalationPacket }
  | { readonly type: 'stream-closed' }
  | { readonly type: 'carrier-state'; readonly state: CarrierState }
  /** Answer to a command. `outcome` where the API said how the human's leg went. */
  | {
      readonly type: 'rest-result'; readonly requestId: string
      readonly ok: boolean; readonly detail: string; readonly outcome?: EscalationOutcome
    }
  /** The human's leg, from the carrier's supervision or conference events. */
  | { readonly type: 'human'; readonly event: 'joined' | 'busy' | 'no-answer' | 'declined' | 'failed' | 'left' }
  | { readonly type: 'timer' }

export type EscalationCommand =
  | { readonly type: 'supervise'; readonly requestId: string; readonly number: string }
  | {
      readonly type: 'create-conference-call'; readonly requestId: string
      readonly number: string; readonly room: string
    }
  | { readonly type: 'hangup'; readonly requestId: string }

export type EscalationOutput =
  /** For the call session. */
  | { readonly type: 'step'; readonly step: EscalationStep }
  /** For the carrier's REST API; answered with `rest-result`. */
  | { readonly type: 'command'; readonly command: EscalationCommand }
  /** How it came out; exactly once. `strategy` null when none could be tried. */
  | {
      readonly type: 'settled'; readonly strategy: EscalationStrategy | null
      readonly outcome: EscalationOutcome; readonly detail: string
    }

export type EscalationState = 'none' | 'pending' | 'dialing' | 'bridged' | 'failed'
