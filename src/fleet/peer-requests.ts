import { z } from 'zod'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { CARRIER_STATES } from '../sautikit/carrier-state.js'
import { waitStatusSchema } from '../workers/main/wait-status.js'
import type { ProvenWebhook } from './proven-webhook.js'
import type { OwnerToken } from './store/call-store.js'

const callSid = z.custom<CallSid>(isCallSid)
const text = z.string().nullable()

const ownerTokenSchema = z.object({
  node: z.string(),
  incarnation: z.string(),
  nonce: z.string(),
  epoch: z.number(),
}) satisfies z.ZodType<OwnerToken>

/** Request of a node that has a call. It is sent to the node that owns this call according to the store. */
export const yieldRequestSchema = z.object({
  callSid: z.string(),
  /** True if the sender has the call's stream. */
  streams: z.boolean(),
})
export type YieldRequest = z.output<typeof yieldRequestSchema>

/** Calls of a lost node. The answer lists the calls that the receiver has. */
export const streamsRequestSchema = z.array(z.string())

/** Request to take over a call, because the sender is stopping. */
export const takeOverRequestSchema = z.object({
  callSid: z.string(),
  /** Ownership of the sender. */
  token: ownerTokenSchema,
})
export type TakeOverRequest = z.output<typeof takeOverRequestSchema>

const eventSchema = z.object({
  callSid: callSid.nullable(),
  sidGiven: z.boolean(),
  sidOfPbx: z.boolean(),
  from: z.string(),
  to: z.string(),
  state: z.enum(CARRIER_STATES),
  stateText: text,
  kind: text,
  eventId: text,
  streamSid: text,
  direction: z.enum(['inbound', 'outbound']).nullable(),
  durationS: z.number().nullable(),
  digits: text,
  clientRequestId: text,
  dedupeKey: z.string(),
})
const postSchema = eventSchema.extend({ callSid })

const head = {
  callSid: callSid.nullable(),
  clientRequestId: text,
  agent: text,
  draft: z.literal(true).exactOptional(),
  /** Absent in requests of nodes before 0.1.0. */
  heldSinceMs: z.number().nullable().default(null),
  unsigned: z.literal(true).exactOptional(),
  host: z.string(),
}

/** `ProvenWebhook` in the form in which one node sends it to another. */
export const provenWebhookSchema = z.discriminatedUnion('route', [
  z.object({ ...head, route: z.literal('voice'), content: postSchema.nullable() }),
  z.object({ ...head, route: z.literal('after-stream'), callSid, content: postSchema.nullable() }),
  z.object({ ...head, route: z.literal('human'), callSid, content: postSchema }),
  z.object({
    ...head,
    route: z.literal('stream-status'),
    content: z.object({
      event: z.enum(['stream-started', 'stream-stopped', 'stream-error', 'unknown']),
      callSid: callSid.nullable(),
      streamSid: text,
      error: text,
      dedupeKey: z.string(),
    }),
  }),
  z.object({ ...head, route: z.literal('events'), content: eventSchema }),
  z.object({
    ...head,
    route: z.literal('continue'),
    callSid,
    content: z.object({ waitId: z.string(), news: waitStatusSchema }),
  }),
]) satisfies z.ZodType<ProvenWebhook>

/** Webhook for a node that may have the webhook's call, or must open it. */
export const forwardedSchema = z.object({
  webhook: provenWebhookSchema,
  /** The receiver's ownership of the call. Null: the receiver may have the call, but the store does not answer. */
  token: ownerTokenSchema.nullable(),
  /**
   * True: a receiver without the call opens the call; if `token` is null, it claims the call later. False: the sender
   * only asks whether the owner is alive.
   */
  opens: z.boolean().default(false),
})
export type Forwarded = z.output<typeof forwardedSchema>

/** Outcome of a webhook at the receiving node. `answer` is the node's reply. */
const routedSchema = z.discriminatedUnion('is', [
  z.object({ is: z.literal('answered'), answer: z.looseObject({}) }),
  z.object({ is: z.literal('no-room') }),
  z.object({ is: z.literal('not-here') }),
])

/**
 * Requests between nodes (paths below `/internal/`), with the form of each answer. An answer in another form is refused
 * (`answer-malformed`). Nodes of two releases send these requests to each other, so `test/releases/readers.ts` has the
 * forms too.
 */
export const PEER_ANSWERS = {
  yield: z.object({ yields: z.enum(['yes', 'no', 'later']) }),
  /** Calls in the request that the node has. */
  streams: z.array(z.string()),
  webhook: routedSchema,
  orphan: routedSchema,
  'take-over': z.null(),
  /** True if the number is in a call at the node, or the node is ringing it; null if unknown. */
  line: z.boolean().nullable(),
  /** Answer in the form of the ops port: an HTTP status and JSON. */
  ops: z.object({ status: z.int(), body: z.unknown() }),
  /** Not checked here: the code that sends the request checks the answer. */
  erase: z.unknown(),
  'agent-text': z.object({ text: z.string().nullable() }),
  'keep-document': z.object({ kept: z.boolean() }),
} satisfies Readonly<Record<string, z.ZodType>>
export type PeerRequest = keyof typeof PEER_ANSWERS
