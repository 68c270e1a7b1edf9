import type { CallDirectory } from '../workers/live-call.js'
import type { OutboundCarrier } from '../workers/outbound-calls.js'
import type { NodeLink } from './node-channel.js'
import type { NoRoom, ProvenWebhook } from './proven-webhook.js'

/** Webhooks that reached another node than their call's owner; plain fields, copied at each scrape. */
interface RoutingCounters {
  /** Answered by the node to which they were forwarded. */
  forwarded: number
  /** New calls that a node could not take and that went to the next one. */
  passed: number
  /** Forwarded to a node that was gone, or did not answer in time. */
  unanswered: number
}

/**
 * Forwards each proven webhook to the node that owns its call. The kernel spreads connections to a shared port over all
 * nodes, and a call's webhooks come on many connections, but only the owner can answer them.
 */
export class WebhookRouting<Answer extends object> {
  readonly counters: RoutingCounters = { forwarded: 0, passed: 0, unanswered: 0 }
  readonly #link: NodeLink
  readonly #calls: Pick<CallDirectory, 'find'>
  readonly #answer: (webhook: ProvenWebhook, mayDecline: boolean) => Answer | NoRoom

  /** @param answer  gives this node's answer; `NoRoom` only if it `mayDecline`. Must not throw. */
  constructor(
    link: NodeLink,
    calls: Pick<CallDirectory, 'find'>,
    answer: (webhook: ProvenWebhook, mayDecline: boolean) => Answer | NoRoom,
  ) {
    this.#link = link
    this.#calls = calls
    this.#answer = answer
    link.onForwarded((webhook) => this.#here(webhook, true))
  }

  /** Returns a promise only when the webhook is forwarded. */
  route(webhook: ProvenWebhook): Answer | Promise<Answer> {
    const { callSid } = webhook
    if (callSid === null) return this.#here(webhook, false) as Answer
    const owners = this.#link.ownersOf(callSid, webhook.clientRequestId)
    if (owners[0] !== this.#link.index) return this.#ask(owners, webhook)
    const answer = this.#here(webhook, true)
    return 'noRoom' in answer ? this.#ask(owners.slice(1), webhook) : answer
  }

  /** Asks one node after the other until one takes it. */
  async #ask(nodes: readonly number[], webhook: ProvenWebhook): Promise<Answer> {
    for (const index of nodes) {
      const answer = index === this.#link.index ? this.#here(webhook, true) : await this.#forward(index, webhook)
      if (answer === null) continue
      if (!('noRoom' in answer)) return answer
      this.counters.passed++
    }
    // No node can take the call: this one, which has the connection, answers with words for the caller.
    return this.#here(webhook, false) as Answer
  }

  async #forward(index: number, webhook: ProvenWebhook): Promise<Answer | NoRoom | null> {
    const answer = await this.#link.forward(index, webhook)
    if (answer === null) this.counters.unanswered++
    else this.counters.forwarded++
    // All nodes run this build, and the channel is the supervisor's.
    return answer as Answer | NoRoom | null
  }

  #here(webhook: ProvenWebhook, mayDecline: boolean): Answer | NoRoom {
    const { callSid } = webhook
    const isNew = callSid !== null && this.#calls.find(callSid) === undefined
    const answer = this.#answer(webhook, mayDecline)
    if (isNew && this.#calls.find(callSid) !== undefined) this.#link.own(callSid)
    return answer
  }
}

/**
 * Webhooks of a call that this node places may come to any node, and only this one knows the order. So this node
 * announces the call to the others before it asks the carrier to place it.
 */
export function announcedOrders(carrier: OutboundCarrier, link: Pick<NodeLink, 'own'>): OutboundCarrier {
  return {
    createCall: async (call) => {
      link.own(call.clientRequestId, true)
      const created = await carrier.createCall(call)
      if (created.callSid !== null) link.own(created.callSid, true)
      return created
    },
    hangup: (callSid, options) => carrier.hangup(callSid, options),
    getCall: (callSid) => carrier.getCall(callSid),
  }
}
