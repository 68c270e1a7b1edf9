import type { CallSid } from '../core/ids.js'
import type { CarrierEvent, StreamStatus, Webhook } from '../sautikit/webhook.js'
import type { WaitStatus } from '../workers/main/wait-status.js'
import type { Overload } from '../workers/main/load-gate.js'

/**
 * A webhook whose sender is proven and whose body is parsed. The node that receives a webhook does both, once. The
 * owner of its call uses the result without another check, because it trusts the channel. Plain JSON, without the raw
 * body and the signature.
 */
export type ProvenWebhook = ProvenHead &
  /** Null: an event that is not about a call. */
  (
    | { readonly route: 'voice'; readonly content: Webhook | null }
    /** Null: no body, or one that is not about the token's call. */
    | { readonly route: 'after-stream'; readonly callSid: CallSid; readonly content: Webhook | null }
    /** The token names the caller's call; the content is about the human's leg. */
    | { readonly route: 'human'; readonly callSid: CallSid; readonly content: Webhook }
    | { readonly route: 'stream-status'; readonly content: StreamStatus }
    | { readonly route: 'events'; readonly content: CarrierEvent }
    /** The outcome of a tool, from its API. */
    | {
        readonly route: 'continue'
        readonly callSid: CallSid
        readonly content: { readonly waitId: string; readonly news: WaitStatus }
      }
  )

interface ProvenHead {
  /** The call that the webhook names; null where it names none. */
  readonly callSid: CallSid | null
  /** From the body or the URL: names a call that we placed; null for any other. */
  readonly clientRequestId: string | null
  /** The agent that the URL names. */
  readonly agent: string | null
  /** The call was placed to try a draft, which one node has. */
  readonly draft?: true
  /** When the carrier was first asked to come back later, as its URL says: milliseconds of the fleet's time; null: not yet. */
  readonly heldSinceMs: number | null
  /** Secrets are set, and a token in the URL alone proved it: its sender may be a reader of a proxy's log. */
  readonly unsigned?: true
  /** The `Host` header: without PUBLIC_URL, the URLs in a document use it. */
  readonly host: string
}

/** Why a node takes no new call, where another one may. */
export type NoRoomReason = 'capacity' | 'draining' | 'cordoned' | 'file-descriptors' | Overload

/** Instead of an answer: this node cannot take the new call, and another one may. */
export interface NoRoom {
  readonly noRoom: NoRoomReason
}

/** Outcome of a webhook at the node that was asked. Plain JSON: the first three are that node's replies. */
export type Routed<Answer extends object> =
  | { readonly is: 'answered'; readonly answer: Answer }
  /** It takes no new call. */
  | { readonly is: 'no-room' }
  /** It does not have the call, and did not open it. */
  | { readonly is: 'not-here' }
  /** It did not reply. */
  | { readonly is: 'gone' }
  /** A fault between the nodes, which says nothing about the call. */
  | { readonly is: 'failed' }

export const NOT_HERE = { is: 'not-here' } as const

export function answered<Answer extends object>(answer: Answer): Routed<Answer> {
  return { is: 'answered', answer }
}
