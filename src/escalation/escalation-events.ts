import type { SayAction } from '../sautikit/actions.js'
import type { CarrierState, EscalationPacket, EscalationStep } from '../call/events.js'
import type { OpeningHours } from './hours.js'
import type { CallbackAsk, EscalationAttempt, EscalationOutcome, EscalationStrategy } from '../call/record.js'

/** Who asks how a call goes on after its stream. The same list as the edge's routes. */
export type EscalationAsker = 'after-stream' | 'voice' | 'stream-status' | 'events'

/** A number of the hunt list. */
export interface Human {
  /** E.164. */
  readonly number: string
  /** Null: whenever the whole desk is there. */
  readonly hours: OpeningHours | null
}

/** What a carrier does with a leg whose stream we closed, as far as it is known: seen on earlier calls, or set. */
export type AfterStream = 'continues' | 'holds' | 'unknown'

/** The words of the carrier's own voice for a caller who is offered a call back after the stream. */
export interface SpokenOffer {
  readonly ask: SayAction
  readonly confirmed: SayAction
  /** How long a key is waited for. */
  readonly waitS: number
}

/** How one call may reach a human. Plain data. */
export interface EscalationOptions {
  /**
   * Tried in order. One that cannot run any more (needs a stream that is closed, was not set up) is passed over.
   * `callback` is the last: it offers the caller a call back.
   */
  readonly strategies: readonly EscalationStrategy[]
  /** In hunt order: the next is tried when one is busy or does not answer. */
  readonly humans: readonly Human[]
  /** Of the whole desk; null: always. */
  readonly hours: OpeningHours | null
  /** Calendar time = monotonic time + this. */
  readonly wallOffsetMs: number
  readonly callerId: string | null
  /** How long one number rings. */
  readonly ringTimeoutMs: number
  /** Where the carrier asks again after a `<Dial>`; null: the document itself ends with the words and a hang-up. */
  readonly redirectUrl: string | null
  /** The words after the last failed dial. */
  readonly failedSay: SayAction
  /** Null: no call back can be offered after the stream. */
  readonly offer: SpokenOffer | null
  /** The room in which the call was answered; null when it was answered without a conference. */
  readonly conferenceRoom: string | null
  /** REST calls can be made (there is an API key). */
  readonly restAvailable: boolean
  readonly afterStream: AfterStream
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
  /** The caller's answer, told by the session, to the call back that it offered. */
  | { readonly type: 'callback'; readonly accepted: boolean }
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
  /** One way to one human, and how it ended. */
  | { readonly type: 'attempt'; readonly attempt: EscalationAttempt }
  /** The caller is to be called back. */
  | { readonly type: 'callback'; readonly asked: CallbackAsk }
  /** How it came out; exactly once. `strategy` null when none could be tried. */
  | {
      readonly type: 'settled'; readonly strategy: EscalationStrategy | null
      readonly outcome: EscalationOutcome; readonly detail: string
    }

/** `offering`: the session has offered a call back and waits for the caller's answer. */
export type EscalationState = 'none' | 'pending' | 'dialing' | 'offering' | 'bridged' | 'failed'
