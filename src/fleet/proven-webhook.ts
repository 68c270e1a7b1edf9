import type { CallSid } from '../core/ids.js'
import type { CarrierEvent } from '../sautikit/webhook.js'
import type { StreamStatus } from '../sautikit/webhook.js'
import type { Webhook } from '../sautikit/webhook.js'

/**
 * A webhook whose sender is proven and whose body is parsed. The node that receives a webhook does both, once; the owner of its call
 * takes the result as it is, because it trusts the channel that it came by. Plain JSON, without the raw body and the signature.
 */
export type ProvenWebhook = ProvenHead & (
  /** Null: an event of something that is no call. */
  | { readonly route: 'voice'; readonly content: Webhook | null }
  /** Null: no body, or one that says nothing of the token's call. */
  | { readonly route: 'after-stream'; readonly callSid: CallSid; readonly content: Webhook | null }
  /** The token names the caller's call; the content speaks of the human's leg. */
  | { readonly route: 'human'; readonly callSid: CallSid; readonly content: Webhook }
  | { readonly route: 'stream-status'; readonly content: StreamStatus }
  | { readonly route: 'events'; readonly content: CarrierEvent }
)

interface ProvenHead {
  /** The call that the webhook speaks of; null where it names none. */
  readonly callSid: CallSid | null
  /** Of the body or the URL: which of the calls that we placed this is. */
  readonly clientRequestId: string | null
  /** The agent that the URL names. */
  readonly agent: string | null
  /** The `Host` header: without a PUBLIC_URL the URLs in a document lead there. */
  readonly host: string
}

/** In place of an answer: this node has no room for a new call, and another one may have some. */
export interface NoRoom {
  readonly noRoom: 'capacity' | 'draining' | 'file-descriptors'
}
