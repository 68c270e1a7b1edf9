import { assert } from '../core/assert.js'
import type { WebhookRoute } from '../telemetry/metrics.js'
import type { CallDirectory } from '../workers/live-call.js'
import type { Log } from '../telemetry/log.js'
import { errorReply } from './http-exchange.js'
import type { Reply } from './http-exchange.js'
import { homesOf } from './siblings.js'
import type { ForwardedAnswer, ForwardedWebhook, Siblings } from './siblings.js'
import type { WebhookGuard } from './webhook-guard.js'
import type { Rejection, WebhookRequest } from './webhook-request.js'
import { subjectOf } from './webhook-subject.js'
import type { Webhooks } from './webhooks.js'

export interface WebhookDealerOptions {
  readonly siblings: Siblings
  readonly calls: Pick<CallDirectory, 'find'>
  readonly guard: WebhookGuard
  readonly log: Log
}

/** What became of webhooks that the kernel gave to a process without their call; plain fields, copied at scrape. */
export interface DealerCounters {
  /** Answered by the sibling that was asked. */
  forwarded: number
  /** New calls that a process had no room for, and that went on to the next. */
  passed: number
  /** The sibling was gone, or did not answer in time. */
  unanswered: number
}

/**
 * Gives each webhook to the process that has its call. The kernel deals connections to a shared port out as it likes, and
 * a call's webhooks come on many; nobody but the call's own process can answer them. What is unsigned, malformed or names
 * no call is answered here, so nothing unproven travels to a sibling.
 */
export class WebhookDealer {
  readonly counters: DealerCounters = { forwarded: 0, passed: 0, unanswered: 0 }
  readonly #options: WebhookDealerOptions
  readonly #webhooks: Webhooks

  constructor(options: WebhookDealerOptions, webhooks: Webhooks) {
    this.#options = options
    this.#webhooks = webhooks
    options.siblings.onAsked((webhook) => this.#asked(webhook))
  }

  /** @throws what the handler throws, for a webhook that is answered here */
  handle(route: WebhookRoute, request: WebhookRequest): Reply | Rejection | Promise<Reply | Rejection> {
    const subject = subjectOf(this.#options.guard, route, request)
    if (subject === null) return this.#webhooks.handle(route, request)
    if ('reply' in subject) return subject
    const { siblings } = this.#options
    const homes = homesOf(subject.callSid, siblings.count)
    const away = siblings.awayAt(subject.callSid) ?? (subject.orderId === null ? undefined : siblings.awayAt(subject.orderId))
    const order = away === undefined ? homes : [away, ...homes.filter((index) => index !== away)]
    // A call that is here is here: the usual case costs no promise.
    if (order[0] !== siblings.index) return this.#deal(order, route, request, subject.callSid)
    const answer = this.#here(route, { ...request, mayPass: true }, subject.callSid)
    return 'pass' in answer ? this.#deal(order.slice(1), route, request, subject.callSid) : answer
  }

  /** Asks one process after the other until one takes it. */
  async #deal(order: readonly number[], route: WebhookRoute, request: WebhookRequest, callSid: string): Promise<Reply | Rejection> {
    const offered = { ...request, mayPass: true }
    for (const index of order) {
      const answer = index === this.#options.siblings.index
        ? this.#here(route, offered, callSid)
        : await this.#ask(index, { route, request: offered })
      if (answer === null) continue
      if (!('pass' in answer)) return answer
      this.counters.passed++
    }
    // Nobody has room, or nobody is there: whoever holds the connection answers, with words for the caller.
    const answer = this.#here(route, request, callSid)
    assert(!('pass' in answer), 'a webhook that may not be passed on is answered')
    return answer
  }

  async #ask(index: number, webhook: ForwardedWebhook): Promise<ForwardedAnswer | null> {
    const answer = await this.#options.siblings.ask(index, webhook)
    if (answer === null) this.counters.unanswered++
    else this.counters.forwarded++
    return answer
  }

  #here(route: WebhookRoute, request: WebhookRequest, callSid: string): ForwardedAnswer {
    const { siblings, calls } = this.#options
    const before = calls.find(callSid)
    const answer = this.#webhooks.offer(route, request)
    if (before === undefined && calls.find(callSid) !== undefined) {
      siblings.took(callSid, { away: homesOf(callSid, siblings.count)[0] !== siblings.index })
    }
    return answer
  }

  #asked({ route, request }: ForwardedWebhook): ForwardedAnswer {
    try {
      const subject = subjectOf(this.#options.guard, route, request)
      if (subject === null || 'reply' in subject) return subject ?? this.#webhooks.handle(route, request)
      return this.#here(route, request, subject.callSid)
    } catch (error) {
      this.#options.log.error({ err: error, route }, 'A webhook could not be answered')
      return errorReply(500, 'INTERNAL', 'the gateway failed to answer; it has logged why')
    }
  }
}
