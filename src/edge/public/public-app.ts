import { WEBHOOK_BODY_BYTES_MAX } from '../../core/limits.js'
import { LimitedLog } from '../../telemetry/limited-log.js'
import type { WebhookRejection, WebhookRoute } from '../../telemetry/metric-labels.js'
import type { Client, ClientAddresses } from '../http/client-address.js'
import { BodyReader, Exchange } from '../http/http-exchange.js'
import type { UnsentReplies } from '../http/reply-writer.js'
import type { EdgeOptions } from '../options.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from '../http/uws.js'
import { isAgentName } from '../../core/ids.js'
import type { ProvenWebhook } from '../../fleet/proven-webhook.js'
import { SIGNATURE_HEADER } from '../../sautikit/signature.js'
import { PUBLIC_ROUTES } from './public-routes.js'
import { BODY_FAULTS, rejection } from './rejections.js'
import type { Rejection, WebhookAnswer } from './rejections.js'
import type { ClosedUnproven, WebhookGuard, WebhookHead } from './webhook-guard.js'
import { handlerFault } from './webhooks.js'

type PublicOptions = Pick<EdgeOptions, 'clock' | 'log' | 'metrics'>

/** Answers a proven webhook. The result is a promise only if the webhook is forwarded. Does not throw or reject. */
export type WebhookHandler = (webhook: ProvenWebhook) => WebhookAnswer | Promise<WebhookAnswer>

const NOWHERE = rejection('not-found', 404, 'NOT_FOUND', 'there is nothing at this path')

/** Only wrong upgrades come here: the WebSocket route (`media-socket.ts`) has handled the right upgrades. */
const NO_UPGRADE = rejection('not-found', 426, 'UPGRADE_REQUIRED', 'this is a WebSocket', {
  headers: [
    ['Upgrade', 'websocket'],
    ['Connection', 'Upgrade'],
  ],
})

/** Request that the public port rejected, for the log. It contains no part of the request's body. */
interface RejectedRequest {
  /** Route of the webhook; null if the path is not a webhook's path. */
  readonly route: WebhookRoute | null
  /** Agent name in the URL, which may be the name of no agent; null if the URL contains no name. */
  readonly agent: string | null
  readonly address: string
}

/**
 * Routes of the public port (`PUBLIC_ROUTES`) except the audio socket (`media-socket.ts`). Routes are exact, so that no
 * function of the ops port can be reached here.
 */
export class PublicApp {
  readonly #options: PublicOptions
  readonly #guard: WebhookGuard
  readonly #handle: WebhookHandler
  readonly #addresses: ClientAddresses
  readonly #unsent: UnsentReplies
  readonly #bodies = new BodyReader()
  /** Log of rejections. A carrier with a wrong secret looks like a stranger, and its callers hear nothing. */
  readonly #rejections: LimitedLog<WebhookRejection>
  readonly #rateLimited: { inc: () => void }

  constructor(
    options: PublicOptions,
    guard: WebhookGuard,
    handle: WebhookHandler,
    addresses: ClientAddresses,
    unsent: UnsentReplies,
  ) {
    this.#options = options
    this.#rateLimited = options.metrics.webhookRejected({ reason: 'rate-limit' })
    this.#guard = guard
    this.#handle = handle
    this.#rejections = new LimitedLog(
      options.log,
      'A request was turned away',
      'More requests were turned away for the same reason',
    )
    this.#addresses = addresses
    this.#unsent = unsent
  }

  routes(app: TemplatedApp): void {
    for (const { path, method, takes } of PUBLIC_ROUTES) {
      if (takes === 'audio') app.get(path, (res, req) => this.#turnAway(res, req, NO_UPGRADE))
      else app.post(path, (res, req) => this.#post(res, req, takes, path.endsWith('/:agent')))
      app.any(path, (res, req) => this.#wrongMethod(res, req, method))
    }
    app.any('/*', (res, req) => this.#notFound(res, req))
  }

  /**
   * Fails bodies whose deadline has passed, and logs the number of suppressed lines; called by the edge's one timer.
   */
  sweep(nowMs: number): void {
    this.#bodies.sweep(nowMs)
    this.#rejections.sweep(nowMs)
  }

  #post(res: HttpResponse, req: HttpRequest, route: WebhookRoute, namesAgent: boolean): void {
    const agent = namesAgent ? req.getParameter(0) : null
    if (agent === null || isAgentName(agent)) this.#webhook(res, req, route, agent)
    else this.#notFound(res, req)
  }

  #webhook(res: HttpResponse, req: HttpRequest, route: WebhookRoute, pathAgent: string | null): void {
    const startedMs = this.#options.clock()
    const exchange = new Exchange(res, req, this.#unsent)
    // The request object is valid only during this call, so the needed parts are copied.
    const client = this.#addresses.of(res, req)
    const { address } = client
    const queryAgent = req.getQuery('agent')
    const head: WebhookHead = {
      route,
      contentType: presence(req.getHeader('content-type')),
      signature: route === 'continue' ? undefined : presence(req.getHeader(SIGNATURE_HEADER)),
      standard: route === 'continue' ? standardHeaders(req) : {},
      token: presence(req.getQuery('t') ?? ''),
      agent: pathAgent ?? (isAgentName(queryAgent) ? queryAgent : null),
      clientRequestId: presence(req.getQuery('clientRequestId') ?? '') ?? null,
      draft: (req.getQuery('draft') ?? '') !== '',
      since: req.getQuery('since'),
      host: req.getHeader('host'),
      address,
    }
    const contentLength = req.getHeader('content-length')
    const answer = (outcome: WebhookAnswer): void => {
      if (exchange.over) return
      if ('reply' in outcome) this.#reject(exchange, client, outcome, { route, agent: head.agent })
      else exchange.reply(outcome)
      this.#options.metrics.webhookSeconds({ route }).observe((this.#options.clock() - startedMs) / 1000)
    }

    const { work } = this.#guard
    const judged = this.#guard.judgeHead(head)
    if (typeof judged === 'string') return this.#close(exchange, client, judged)
    if (judged !== null && 'reply' in judged) return answer(judged)
    if (judged !== null) work.proved(address)
    this.#bodies.read({
      res,
      exchange,
      contentLength,
      bytesMax: WEBHOOK_BODY_BYTES_MAX,
      nowMs: startedMs,
      ...(judged === null ? { stranger: address } : {}),
      onFault: (fault) => answer(BODY_FAULTS[fault]),
      onBody: (body) =>
        work.count(() => {
          try {
            if (judged === null) work.body(body.byteLength)
            const webhook = this.#guard.prove(head, judged, body)
            const proven = !('reply' in webhook && this.#guard.isUnproven(webhook))
            if (proven) work.proved(address)
            const outcome = 'reply' in webhook ? webhook : this.#handle(webhook)
            if (outcome instanceof Promise) void outcome.then(answer)
            else answer(outcome)
          } catch (error) {
            exchange.reply(handlerFault(this.#options.log, route, error))
          }
        }),
    })
  }

  /** Answers a rejected request, or closes its connection without an answer. */
  #reject(exchange: Exchange, client: Client, rejected: Rejection, request: Omit<RejectedRequest, 'address'>): void {
    const closes = this.#guard.isUnproven(rejected) ? this.#guard.closes(client.address) : null
    if (closes !== null) return this.#close(exchange, client, closes)
    const { reason, why, reply } = rejected
    exchange.reply(reply)
    this.#options.metrics.webhookRejected({ reason }).inc()
    const { address } = client
    this.#rejections.note(reason, { why, status: reply.status, address, ...request }, this.#options.clock())
  }

  #close(exchange: Exchange, client: Client, why: ClosedUnproven): void {
    this.#rateLimited.inc()
    this.#guard.close(exchange, client, why)
  }

  #wrongMethod(res: HttpResponse, req: HttpRequest, allowed: string): void {
    this.#turnAway(
      res,
      req,
      rejection('method', 405, 'METHOD_NOT_ALLOWED', `this path takes ${allowed}`, { headers: [['Allow', allowed]] }),
    )
  }

  #notFound(res: HttpResponse, req: HttpRequest): void {
    this.#turnAway(res, req, NOWHERE)
  }

  #turnAway(res: HttpResponse, req: HttpRequest, turnedAway: Rejection): void {
    this.#reject(new Exchange(res, req, this.#unsent), this.#addresses.of(res, req), turnedAway, {
      route: null,
      agent: null,
    })
  }
}

/** Headers in the form of `standardwebhooks`. */
function standardHeaders(req: HttpRequest): Record<string, string> {
  const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature']
  return Object.fromEntries(names.map((name) => [name, req.getHeader(name)] as const))
}

function presence(value: string): string | undefined {
  return value === '' ? undefined : value
}
