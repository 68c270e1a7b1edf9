import { Webhook } from 'standardwebhooks'
import { jsonOrNull } from '../../core/json.js'
import { ANSWERED_CALLS_MAX } from '../../core/limits.js'
import { GatewayError } from '../../core/errors.js'
import type { CallSid } from '../../core/ids.js'
import type { ProvenWebhook } from '../../fleet/proven-webhook.js'
import { isTerminal } from '../../sautikit/carrier-state.js'
import { mayVerify, verifySignature } from '../../sautikit/signature.js'
import { parseEvent, parseStreamStatus, parseVoicePost, parseWebhook } from '../../sautikit/webhook.js'
import type { Webhook as CarrierWebhook } from '../../sautikit/webhook.js'
import type { TokenPurpose } from '../../sautikit/token.js'
import type { WebhookRejection, WebhookRoute } from '../../telemetry/metric-labels.js'
import { waitStatusSchema } from '../../workers/main/wait-status.js'
import type { Client } from '../http/client-address.js'
import { atOnce } from '../http/http-exchange.js'
import { errorReply } from '../http/reply.js'
import type { Exchange } from '../http/http-exchange.js'
import type { EdgeOptions } from '../options.js'
import { RateLimit } from '../../core/rate-limit.js'
import { Refusals, rejection } from './rejections.js'
import type { Rejection } from './rejections.js'
import type { StreamTokens } from './stream-tokens.js'
import { UnprovenWork } from './unproven-work.js'

/**
 * Number of failed requests (unsigned, malformed, refused) allowed per second for one address. The second constant is
 * the maximum number of addresses that are remembered.
 */
const FAILED_REQUESTS_PER_S = 20
export const FAILED_REQUESTS_BURST = 100
const FAILED_REQUESTS_ADDRESSES_MAX = 10_000
/**
 * Limit of one call's webhooks per second: a call has about ten, and each failed stream (at most STREAM_OFFERS_MAX)
 * adds six.
 */
const CALL_WEBHOOKS_PER_S = 5
const CALL_WEBHOOKS_BURST = 60

/** Rejections of a sender without proof. Rejections of a proven sender do not count against its address. */
const UNPROVEN: readonly WebhookRejection[] = [
  'unsigned',
  'token-only',
  'signature',
  'bare-signature',
  'stale',
  'token',
  'too-large',
  'too-slow',
  'evicted',
  'method',
  'not-found',
]

const NO_BODY = new Uint8Array()

/**
 * Verifies and parses webhooks, and limits how many are accepted. A request without proof counts against its address.
 * After too many of these, each further request without proof from this address is answered by closing its connection
 * (`close`). A request that verifies is never closed, because behind one proxy the carrier and all strangers share an
 * address. So a request is judged by its head first (`judgeHead`). A request that may verify is read and verified
 * before its address's limit applies. `work` bounds the cost of all floods. When this budget is used up, a request that
 * may verify is read only from a recently proven address.
 */
export class WebhookGuard {
  /** Cost limit of unproven requests. */
  readonly work: UnprovenWork
  /** Calls and sockets that this process refused recently. */
  readonly refusals: Refusals
  readonly #options: GuardOptions
  readonly #tokens: StreamTokens
  /** Only failures count: behind one load balancer all of the carrier's requests have one address. */
  readonly #failures = new RateLimit({
    perSecond: FAILED_REQUESTS_PER_S,
    burst: FAILED_REQUESTS_BURST,
    keysMax: FAILED_REQUESTS_ADDRESSES_MAX,
  })
  readonly #calls = new RateLimit({
    perSecond: CALL_WEBHOOKS_PER_S,
    burst: CALL_WEBHOOKS_BURST,
    keysMax: ANSWERED_CALLS_MAX,
  })
  readonly #datedSecrets = new Set<string>()
  /**
   * Routes that had a post with a valid signature. On any other route the carrier does not sign, so a missing signature
   * is not an attack.
   */
  readonly #signedRoutes = new Set<WebhookRoute>()
  readonly #closed: Readonly<Record<ClosedUnproven | 'share' | 'evicted', { inc: () => void }>>
  #warned = false

  constructor(options: GuardOptions, tokens: StreamTokens) {
    this.#options = options
    this.work = new UnprovenWork(options.clock)
    const closed = options.metrics.defineCounter(
      'unproven_closed',
      'Connections that were closed because of an unproven request, or before a request, by reason',
      ['why'],
    )
    this.#closed = {
      address: closed({ why: 'address' }),
      tick: closed({ why: 'tick' }),
      share: closed({ why: 'share' }),
      evicted: closed({ why: 'evicted' }),
    }
    options.metrics.countOne(
      'unproven_work_seconds',
      'Time of the main thread that unproven requests used',
      () => this.work.totalMs / 1000,
    )
    this.#tokens = tokens
    this.refusals = new Refusals(options.wallClock)
  }

  /** True if an address has failed too often. */
  exhausted(address: string): boolean {
    return this.#failures.waitS(address, this.#options.clock()) > 0
  }

  /** True if a rejected request's sender is not proven, so that the request counts against its address. */
  isUnproven({ reason }: Rejection): boolean {
    return UNPROVEN.includes(reason) || (this.#open && CONTENT_FAULTS.includes(reason))
  }

  /**
   * Reason why the connection of an unproven request is closed without an answer; null if the request is answered. The
   * request counts against its address.
   */
  closes(address: string): ClosedUnproven | null {
    const why = this.exhausted(address) ? 'address' : this.work.spent ? 'tick' : null
    this.failed(address)
    return why
  }

  /**
   * Ends a request without an answer. Its connection is closed, and later bytes are not read. A stranger could send
   * thousands of requests at once, and one turn of the event loop would parse all of them. A trusted proxy is answered
   * while time is left: it sends one request at a time, and counts the answer against the stranger. The answer to an
   * earlier proven request on this connection leaves first.
   */
  close(exchange: Exchange, { address, proxied }: Client, why: ClosedUnproven): void {
    this.countClosed(why)
    const answered = this.work.wasProvenJustNow(address)
    if (!answered && (!proxied || why === 'tick')) return exchange.cut()
    const waitS = Math.max(1, this.#failures.waitS(address, this.#options.clock()))
    const message = `too many failed requests from this address; try again in ${waitS} s`
    const reply = errorReply(429, 'RATE_LIMITED', message, { headers: [['Retry-After', String(waitS)]], close: true })
    exchange.reply(answered ? atOnce(reply) : reply)
  }

  /** Counts a connection that was closed because its sender is not proven. */
  countClosed(why: ClosedUnproven | 'share' | 'evicted'): void {
    this.#closed[why].inc()
  }

  /** Counts a rejected request against its address. */
  failed(address: string): void {
    this.#failures.take(address, this.#options.clock())
  }

  /**
   * Judges a webhook before its body is read.
   * @returns the proof of a good token; null if the body decides. Otherwise a rejection, or the reason for closing the
   * connection
   */
  judgeHead(head: WebhookHead): Proof | null | Rejection | ClosedUnproven {
    const { address } = head
    const purpose = purposeOf(head.route)
    const checked = purpose === null || head.token === undefined ? null : this.#tokens.check(head.token, purpose)
    if (checked?.result === 'ok') {
      if (head.route === 'continue') return { callSid: checked.callSid, waitId: checked.nonce }
      const proof = { callSid: checked.callSid }
      return head.signature === undefined ? this.#byTokenAlone(head, proof) : proof
    }
    const nowS = Math.floor(this.#options.wallClock() / 1000)
    const may = { header: head.signature, nowS, acceptBare: this.#options.bareSignatures }
    const signed = this.#options.webhookSecrets.length > 0
    if (signed && mayVerify(may)) return this.work.spent && !this.work.isKnown(address) ? 'tick' : null
    if (this.exhausted(address)) return 'address'
    // If only the signature's time is wrong, the body shows if a clock is wrong or the signature is forged.
    if (signed && !this.work.spent && mayVerify({ ...may, skewS: Infinity })) return null
    const proof = this.#prove(head, NO_BODY)
    return 'reply' in proof ? proof : null
  }

  /**
   * Verifies a webhook and parses its body. No later step repeats this, on this node or on another node.
   * @param judged  result of `judgeHead`
   */
  prove(head: WebhookHead, judged: Proof | null, body: Uint8Array): ProvenWebhook | Rejection {
    const proof = judged === null ? this.#prove(head, body) : this.#signedToo(head, judged, body)
    if ('reply' in proof) return proof
    try {
      if (head.route === 'continue') return this.#continuation(head, proof, body)
      const webhook = parsed({ ...head, route: head.route }, body, proof.callSid)
      if (proof.unsigned !== true || 'reply' in webhook) return webhook
      return saysOver(webhook)
        ? tokenAlone('the token in the URL is good, but the end of a call is accepted only with a valid signature')
        : { ...webhook, unsigned: true }
    } catch (error) {
      return badBody(error)
    }
  }

  /** Reads an outcome from a tool's API, whose URL has a good token. */
  #continuation(head: WebhookHead, { callSid, waitId }: Proof, body: Uint8Array): ProvenWebhook | Rejection {
    const { continueSecrets = [] } = this.#options
    if (callSid === null || waitId === undefined)
      return rejection('token', 403, 'TOKEN_INVALID', 'the URL has no token')
    const text = new TextDecoder().decode(body)
    if (continueSecrets.length > 0 && !continueSecrets.some((secret) => isSigned(secret, text, head.standard)))
      return rejection(
        'signature',
        401,
        'WEBHOOK_UNSIGNED',
        'webhook-id, webhook-timestamp and webhook-signature (Standard Webhooks) fit none of CONTINUE_SECRETS',
      )
    const news = waitStatusSchema.safeParse(jsonOrNull(text))
    if (news.success)
      return {
        ...{ route: 'continue', callSid, content: { waitId, news: news.data } },
        ...{ agent: null, host: head.host, clientRequestId: null, heldSinceMs: null },
      }
    const [issue] = news.error.issues
    const fault = issue === undefined ? 'the body is wrong' : faultOf(issue)
    return rejection('malformed', 400, 'WEBHOOK_MALFORMED', `${fault}; allowed: { "status", "result" } as JSON`)
  }

  /** True if unsigned webhooks are accepted, as on a developer's machine. */
  get #open(): boolean {
    const { webhookSecrets, insecure = false, publicUrl } = this.#options
    return webhookSecrets.length === 0 && (publicUrl === null || insecure)
  }

  /**
   * Counts one more webhook of a call.
   * @returns a rejection if there were too many
   */
  admitCall(callSid: string): Rejection | null {
    const waitS = this.#calls.take(callSid, this.#options.clock())
    if (waitS === 0) return null
    return rejection('rate-limit', 429, 'RATE_LIMITED', `too many webhooks of this call; try again in ${waitS} s`, {
      headers: [['Retry-After', String(waitS)]],
    })
  }

  /** Checks the signature of a post with a good token. */
  #signedToo(head: WebhookHead, proof: Proof, body: Uint8Array): Proof | Rejection {
    const { webhookSecrets, tokenOnly, log } = this.#options
    if (webhookSecrets.length === 0 || head.signature === undefined) return proof // judged by its head
    if (this.#signature(head, body) !== 'ok') return this.#byTokenAlone(head, proof)
    if (tokenOnly === 'learn' && !this.#signedRoutes.has(head.route))
      log.info(
        { route: head.route },
        'the carrier signs the posts of a route: this route now refuses posts with a token alone',
      )
    this.#signedRoutes.add(head.route)
    return proof
  }

  /**
   * Decides about a post with only a good token. URLs are in the logs of proxies, so the sender may be a person who
   * reads such a log.
   */
  #byTokenAlone({ route }: WebhookHead, proof: Proof): Proof | Rejection {
    const { webhookSecrets, tokenOnly, metrics } = this.#options
    if (webhookSecrets.length === 0) return proof
    if (tokenOnly === 'refuse' || (tokenOnly === 'learn' && this.#signedRoutes.has(route)))
      return tokenAlone(
        tokenOnly === 'refuse'
          ? 'the token in the URL is good, but no valid signature comes with it'
          : 'the token in the URL is good, but no valid signature comes with it, as the carrier sends on this route (SAUTIKIT_TOKEN_ONLY)',
      )
    metrics.webhooksTokenOnly({ route }).inc()
    return { ...proof, unsigned: true }
  }

  /**
   * Finds the sender's proof: a token for the route, or a valid signature. A valid signature counts even beside a
   * refused token.
   */
  #prove(head: WebhookHead, body: Uint8Array): Proof | Rejection {
    const purpose = purposeOf(head.route)
    if (purpose === null || head.token === undefined) return this.#proveSignature(head, body)
    const checked = this.#tokens.check(head.token, purpose)
    if (checked.result === 'ok') return this.#byTokenAlone(head, { callSid: checked.callSid })
    // A carrier may use a URL again after its token has expired; it signs this request like any other request.
    if (this.#options.webhookSecrets.length > 0 && this.#signature(head, body) === 'ok') return { callSid: null }
    const code = checked.result === 'expired' ? 'TOKEN_EXPIRED' : 'TOKEN_INVALID'
    if (head.route === 'continue' && checked.result === 'expired')
      return rejection('token', 410, code, 'nothing waits for this outcome any more')
    return rejection('token', 403, code, `the token in the URL is refused: ${checked.result}`)
  }

  #proveSignature(head: WebhookHead, body: Uint8Array): Proof | Rejection {
    const { webhookSecrets, insecure = false, publicUrl, log } = this.#options
    if (webhookSecrets.length === 0) {
      if (publicUrl !== null && !insecure) {
        return rejection(
          'unsigned',
          401,
          'WEBHOOK_UNSIGNED',
          'no webhook can be verified: set SAUTIKIT_WEBHOOK_SECRETS',
        )
      }
      if (!this.#warned) log.warn({}, 'unsigned webhooks are accepted: SAUTIKIT_WEBHOOK_SECRETS is not set')
      this.#warned = true
      return { callSid: null }
    }
    const result = this.#signature(head, body)
    switch (result) {
      case 'ok':
        return { callSid: null }
      case 'missing':
        return rejection('unsigned', 401, 'WEBHOOK_UNSIGNED', 'X-Sautikit-Signature is missing')
      case 'stale':
        return rejection('stale', 403, 'WEBHOOK_STALE', 'the signature is too old or from the future; check the clocks')
      case 'malformed':
        return rejection('signature', 403, 'WEBHOOK_UNSIGNED', 'X-Sautikit-Signature is not t=…,v1=…')
      case 'bare-refused':
        return rejection(
          'bare-signature',
          403,
          'WEBHOOK_UNSIGNED',
          this.#options.bareSignatures
            ? 'X-Sautikit-Signature has no time, but an earlier signature with this secret had a time'
            : 'X-Sautikit-Signature is not t=…,v1=…; the form without a time needs SAUTIKIT_BARE_SIGNATURES=true',
        )
      case 'bare-ambiguous':
        return rejection(
          'bare-signature',
          403,
          'WEBHOOK_UNSIGNED',
          'X-Sautikit-Signature has no time, and the body ends in a dot and digits as the text of a signature with a time does',
        )
      case 'mismatch':
        return rejection('signature', 403, 'WEBHOOK_UNSIGNED', 'X-Sautikit-Signature fits none of the secrets')
    }
  }

  #signature(head: WebhookHead, body: Uint8Array): ReturnType<typeof verifySignature> {
    return verifySignature({
      header: head.signature,
      body,
      secrets: this.#options.webhookSecrets,
      nowS: Math.floor(this.#options.wallClock() / 1000),
      acceptBare: this.#options.bareSignatures,
      datedSecrets: this.#datedSecrets,
    })
  }
}

/** Head of a webhook, read before its body. */
export interface WebhookHead {
  readonly route: WebhookRoute
  readonly contentType: string | undefined
  readonly signature: string | undefined
  /** Headers of Standard Webhooks that sign a continuation; empty for any other route. */
  readonly standard: Readonly<Record<string, string>>
  /** Parameter `t` of the query. */
  readonly token: string | undefined
  /** `agent` in the path or in the query. */
  readonly agent: string | null
  /** Parameter `clientRequestId` of the query, for a call that we placed. */
  readonly clientRequestId: string | null
  /** True if the query has `draft`; false if absent. */
  readonly draft?: boolean
  /** Parameter `since` of the query: `heldSinceMs` of the webhook. */
  readonly since: string | undefined
  /** The `Host` header. */
  readonly host: string
  readonly address: string
}

/** Proof of a sender. A token also names its call; a tool's token also names the wait. */
interface Proof {
  readonly callSid: CallSid | null
  readonly waitId?: string
  /** True if secrets are set and no valid signature came with the token. */
  readonly unsigned?: true
}

type GuardOptions = Pick<
  EdgeOptions,
  | 'webhookSecrets'
  | 'continueSecrets'
  | 'tokenOnly'
  | 'insecure'
  | 'bareSignatures'
  | 'publicUrl'
  | 'clock'
  | 'wallClock'
  | 'log'
  | 'metrics'
>

/**
 * Content faults that count against an address only if webhooks are accepted unsigned: the carrier's own mistakes do
 * not count.
 */
const CONTENT_FAULTS: readonly WebhookRejection[] = ['content-type', 'malformed']

/**
 * Reason why an unproven request is not answered: its address has failed too often, or the budget of this tick is used
 * up.
 */
export type ClosedUnproven = 'address' | 'tick'

/** Purpose of the tokens of a route; null if only a signature proves the route. */
function purposeOf(route: WebhookRoute): TokenPurpose | null {
  return route === 'voice' || route === 'events' ? null : route
}

function isSigned(secret: string, text: string, headers: WebhookHead['standard']): boolean {
  try {
    new Webhook(secret).verify(text, { ...headers })
    return true
  } catch {
    return false
  }
}

function faultOf({ path, message }: { readonly path: readonly PropertyKey[]; readonly message: string }): string {
  return path.length === 0 ? 'the body is no JSON object' : `${path.join('.')} ${message}`
}

export function tokenAlone(message: string): Rejection {
  return rejection('token-only', 401, 'WEBHOOK_UNSIGNED', message)
}

/**
 * True if a post reports the end of a call or of a human's leg. A person who reads a proxy's log could end the call
 * with such a post. The carrier's own report of a call's end also comes to /voice, or with the close of the audio
 * socket.
 */
function saysOver(webhook: ProvenWebhook): boolean {
  const { route, content } = webhook
  return (route === 'after-stream' || route === 'human') && content !== null && isTerminal(content.state)
}

/** @throws GatewayError of the parsers */
function parsed(
  head: WebhookHead & { readonly route: Exclude<WebhookRoute, 'continue'> },
  body: Uint8Array,
  tokenSid: CallSid | null,
): ProvenWebhook | Rejection {
  const { route, contentType, agent, host } = head
  const heldSinceMs = /^\d{1,15}$/.test(head.since ?? '') ? Number(head.since) : null
  const common = { agent, host, clientRequestId: null, heldSinceMs }
  switch (route) {
    case 'voice': {
      const content = parseVoicePost(contentType, body)
      return {
        ...common,
        route,
        callSid: content?.callSid ?? null,
        clientRequestId: content?.clientRequestId ?? head.clientRequestId,
        content,
        ...(head.draft === true ? { draft: true as const } : {}),
      }
    }
    case 'events': {
      const content = parseEvent(contentType, body)
      return { ...common, route, callSid: content.callSid, clientRequestId: content.clientRequestId, content }
    }
    case 'stream-status': {
      const content = parseStreamStatus(contentType, body, tokenSid ?? undefined)
      return { ...common, route, callSid: tokenSid ?? content.callSid, content }
    }
    case 'after-stream': {
      if (tokenSid !== null)
        return { ...common, route, callSid: tokenSid, content: bodyOf(tokenSid, contentType, body) }
      const content = parseWebhook(contentType, body)
      return { ...common, route, callSid: content.callSid, content }
    }
    case 'human':
      if (tokenSid === null) return rejection('malformed', 400, 'WEBHOOK_MALFORMED', 'the URL has no token')
      return { ...common, route, callSid: tokenSid, content: parseWebhook(contentType, body) }
  }
}

/**
 * Body of a continuation. With a token the body is optional: null if it is empty, cannot be read or names another call.
 */
function bodyOf(tokenSid: CallSid, contentType: string | undefined, body: Uint8Array): CarrierWebhook | null {
  if (body.byteLength === 0) return null
  try {
    const webhook = parseWebhook(contentType, body)
    return webhook.callSid === tokenSid ? webhook : null
  } catch {
    return null
  }
}

/** @throws the error itself if it is not a fault of the body */
function badBody(error: unknown): Rejection {
  const { code, message } = error instanceof GatewayError ? error : { code: null, message: '' }
  if (code === 'CONTENT_TYPE') return rejection('content-type', 415, code, message)
  if (code === 'BODY_TOO_LARGE') return rejection('too-large', 413, code, message, { close: true })
  if (code === 'WEBHOOK_MALFORMED') return rejection('malformed', 400, code, message)
  throw error
}
