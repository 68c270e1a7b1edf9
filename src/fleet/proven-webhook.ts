import type { CallSid } from '../core/ids.js'
import type { CarrierEvent, StreamStatus, Webhook } from '../sautikit/webhook.js'
import type { WaitStatus } from '../workers/main/wait-status.js'
import type { Overload } from '../workers/main/load-gate.js'

/**
 * Webhook whose sender is proven and whose body is parsed, by the node that received it. The call's owner does not
 * check it again. Plain JSON, without raw body and signature.
 */
export type ProvenWebhook = ProvenHead &
  /** `content` is null for an event that is not about a call. */
  (
    | { readonly route: 'voice'; readonly content: Webhook | null }
    /** `content` is null if the body is missing, or is not about the token's call. */
    | { readonly route: 'after-stream'; readonly callSid: CallSid; readonly content: Webhook | null }
    /** The token names the caller's call. `content` is about the call leg to the human. */
    | { readonly route: 'human'; readonly callSid: CallSid; readonly content: Webhook }
    | { readonly route: 'stream-status'; readonly content: StreamStatus }
    | { readonly route: 'events'; readonly content: CarrierEvent }
    /** Outcome of a tool, which the tool's API has sent. */
    | {
        readonly route: 'continue'
        readonly callSid: CallSid
        readonly content: { readonly waitId: string; readonly news: WaitStatus }
      }
  )

interface ProvenHead {
  /** Call that the webhook names; null if the webhook does not name a call. */
  readonly callSid: CallSid | null
  /** Id of the order for a call that this gateway placed, from the body or the URL; null for other calls. */
  readonly clientRequestId: string | null
  /** Agent in the URL. */
  readonly agent: string | null
  /** True if the call was placed to try a draft. Only one node has the draft. */
  readonly draft?: true
  /**
   * Time in ms, on the fleet's clock, at which a node first asked the carrier to repeat its question. It is read from
   * the URL; null if no node asked.
   */
  readonly heldSinceMs: number | null
  /**
   * True if secrets are set but only a token in the URL proves the webhook. The sender may be a stranger who read the
   * token in a proxy's log.
   */
  readonly unsigned?: true
  /** `Host` header. Without PUBLIC_URL, the URLs in documents use this host. */
  readonly host: string
}

/** Reason why a node declines a new call. Another node may accept the call. */
export type NoRoomReason = 'capacity' | 'draining' | 'cordoned' | 'file-descriptors' | Overload

/** Refusal instead of an answer, because this node cannot accept the new call. Another node may accept it. */
export interface NoRoom {
  readonly noRoom: NoRoomReason
}

/**
 * Outcome of a webhook at the node to which it was sent. The first three kinds are replies of this node. Plain JSON.
 */
export type Routed<Answer extends object> =
  | { readonly is: 'answered'; readonly answer: Answer }
  /** The node cannot accept a new call. */
  | { readonly is: 'no-room' }
  /** The node does not have the call, and did not open it. */
  | { readonly is: 'not-here' }
  /** The node did not reply. */
  | { readonly is: 'gone' }
  /** Fault between the nodes. It does not show the state of the call. */
  | { readonly is: 'failed' }

export const NOT_HERE = { is: 'not-here' } as const

export function answered<Answer extends object>(answer: Answer): Routed<Answer> {
  return { is: 'answered', answer }
}
