import type { WebhookRoute } from '../telemetry/metrics.js'
import type { Reply } from './http-exchange.js'
import type { Pass, Rejection, WebhookRequest } from './webhook-request.js'

/** A webhook on its way from the process that the kernel gave it to, to the process that has its call. Plain data. */
export interface ForwardedWebhook {
  readonly route: WebhookRoute
  readonly request: WebhookRequest
}

/** Plain data. */
export type ForwardedAnswer = Reply | Rejection | Pass

/**
 * The other processes of a gateway of several (`serve --processes`), as far as webhooks are concerned. A call's home is
 * found from its SID alone, the same one by every process (`homesOf`); what is here is about the exceptions.
 */
export interface Siblings {
  /** This process, from 0. */
  readonly index: number
  /** Processes, this one included; at least 2. */
  readonly count: number
  /** The process that has taken a call, or placed an order for one, that is not at its home. @param key SID or `clientRequestId` */
  awayAt(key: string): number | undefined
  /** True when a process that died had this call. */
  lost(callSid: string): boolean
  /** Tells the supervisor of a call of this process, and with `away` the siblings too. */
  took(key: string, options: { readonly away: boolean }): void
  /** A sibling's answer; null when it is not there or does not answer in time. Never rejects. */
  ask(index: number, webhook: ForwardedWebhook): Promise<ForwardedAnswer | null>
  /** Who answers what siblings ask; set once, before the ports open. The handler does not throw. */
  onAsked(handler: (webhook: ForwardedWebhook) => ForwardedAnswer): void
}

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/**
 * All processes in the order in which they take a call: its home first, then who takes it when that one is full or gone.
 * By rendezvous hashing, so that the calls of one process that is gone spread over all others. Each SID has its order
 * without anybody being asked: a repeated first webhook finds the call that the first one opened.
 * @returns `count` different numbers from 0
 */
export function homesOf(callSid: string, count: number): number[] {
  let hash = FNV_OFFSET // FNV-1a, 32 bits
  for (let i = 0; i < callSid.length; i++) hash = Math.imul(hash ^ callSid.charCodeAt(i), FNV_PRIME)
  const weights = Array.from({ length: count }, (_, index) => mixed(hash ^ mixed(index + 1)))
  return Array.from(weights.keys()).sort((a, b) => (weights[b] ?? 0) - (weights[a] ?? 0) || a - b)
}

/** The finaliser of MurmurHash3: each bit of the input changes half of the output's. */
function mixed(value: number): number {
  let bits = value
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}
