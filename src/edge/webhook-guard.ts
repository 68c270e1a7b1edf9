import {
  ANSWERED_CALLS_MAX,
  CALL_WEBHOOKS_BURST,
  CALL_WEBHOOKS_PER_S,
  FAILED_REQUESTS_ADDRESSES_MAX,
  FAILED_REQUESTS_BURST,
  FAILED_REQUESTS_PER_S,
} from '../core/limits.js'
import { GatewayError } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import type { ProvenWebhook } from '../fleet/proven-webhook.js'
import { mayVerify, verifySignature } from '../sautikit/signature.js'
import { parseEvent, parseStreamStatus, parseVoicePost, parseWebhook } from '../sautikit/webhook.js'
import type { Webhook } from '../sautikit/webhook.js'
import type { TokenPurpose } from '../sautikit/token.js'
import type { WebhookRejection, WebhookRoute } from '../telemetry/metrics.js'
import type { EdgeOptions } from './options.js'
import { RateLimit } from '../core/rate-limit.js'
import { Refusals, rejection } from './rejections.js'
import type { Rejection } from './rejections.js'
import type { StreamTokens } from './stream-tokens.js'

/** What is read of a webhook before its body. */
export interface WebhookHead {
  readonly route: WebhookRoute
  readonly contentType: string | undefined
  readonly signature: string | undefined
  /** The `t` of the query. */
  readonly token: string | undefined
  /** The `agent` of the path or of the query. */
  readonly agent: string | null
  /** The `clientRequestId` of the query: identifies a call that we placed. */
  readonly clientRequestId: string | null
  /** The `Host` header. */
  readonly host: string
  readonly address: string
}

/** A proven sender; a token also names the call that it was made for. */
interface Proof {
  readonly callSid: CallSid | null
}

type GuardOptions = Pick<
  EdgeOptions,
  'webhookSecrets' | 'insecure' | 'bareSignatures' | 'publicUrl' | 'clock' | 'wallClock' | 'log'
>

/** Rejections of a sender without proof; those of a proven one are not charged to its address. */
const UNPROVEN: readonly WebhookRejection[] = [
  'unsigned',
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

/** Charged only where webhooks are taken unsigned: the carrier's own mistakes cost its address nothing. */
const CONTENT_FAULTS: readonly WebhookRejection[] = ['content-type', 'malformed']

const NO_BODY = new Uint8Array()

/**
 * Verifies and parses webhooks, and limits how many are accepted.
 *
 * An address is charged for each request without proof, and after too many of them it is answered 429. That never
 * applies to a request that verifies: behind one proxy the carrier and all strangers share an address. So a request is
 * judged by its head first (`judgeHead`), and one that may verify is read and verified before the limit of its address
 * applies. The cost of a flood from one address is bounded: a request without a token or a signature that may verify
 * costs its head; one with a forged signature costs its body (WEBHOOK_BODY_BYTES_MAX, in one of BODIES_PER_ADDRESS_MAX
 * places) and an HMAC over it for each secret.
 */
export class WebhookGuard {
  /** The calls and sockets that this process refused lately. */
  readonly refusals: Refusals
  readonly #options: GuardOptions
  readonly #tokens: StreamTokens
  /** Only what fails is charged: behind one load balancer all of the carrier's requests have one address. */
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
  #warned = false

  constructor(options: GuardOptions, tokens: StreamTokens) {
    this.#options = options
    this.#tokens = tokens
    this.refusals = new Refusals(options.wallClock)
  }

  /** The refusal of an address that has failed too often; null for any other. */
  exhausted(address: string): Rejection | null {
    const waitS = this.#failures.waitS(address, this.#options.clock())
    return waitS === 0 ? null : tooMany('requests of this address that failed', waitS)
  }

  /**
   * Charges a rejected request to its address, unless its sender was proven.
   * @returns the rejection, or 429 where the address has failed too often
   */
  charge(rejected: Rejection, address: string): Rejection {
    const unproven = UNPROVEN.includes(rejected.reason) || (this.#open && CONTENT_FAULTS.includes(rejected.reason))
    if (!unproven) return rejected
    const exhausted = this.exhausted(address)
    this.failed(address)
    return exhausted ?? rejected
  }

  /** Charges an address for a request that was turned away. */
  failed(address: string): void {
    this.#failures.take(address, this.#options.clock())
  }

  /**
   * Judges a webhook before its body is read.
   * @returns the proof of a good token; null where the body decides; a rejection where no body could help
   */
  judgeHead(head: WebhookHead): Proof | null | Rejection {
    const purpose = purposeOf(head.route)
    const checked = purpose === null || head.token === undefined ? null : this.#tokens.check(head.token, purpose)
    if (checked?.result === 'ok') return { callSid: checked.callSid }
    const exhausted = this.exhausted(head.address)
    const nowS = Math.floor(this.#options.wallClock() / 1000)
    const may = { header: head.signature, nowS, acceptBare: this.#options.bareSignatures }
    if (this.#options.webhookSecrets.length > 0 && mayVerify(may)) return null
    if (exhausted !== null) return exhausted
    // If only the time is wrong, the body shows whether a clock is off or the signature is forged.
    if (this.#options.webhookSecrets.length > 0 && mayVerify({ ...may, skewS: Infinity })) return null
    const proof = this.#prove(head, NO_BODY)
    return 'reply' in proof ? proof : null
  }

  /**
   * Verifies a webhook and parses its body. Nothing after this does either again, on this node or on another.
   * @param judged  of `judgeHead`
   */
  prove(head: WebhookHead, judged: Proof | null, body: Uint8Array): ProvenWebhook | Rejection {
    const proof = judged ?? this.#prove(head, body)
    if ('reply' in proof) return proof
    try {
      return parsed(head, body, proof.callSid)
    } catch (error) {
      return badBody(error)
    }
  }

  /** Unsigned webhooks are accepted: a developer's machine. */
  get #open(): boolean {
    const { webhookSecrets, insecure = false, publicUrl } = this.#options
    return webhookSecrets.length === 0 && (publicUrl === null || insecure)
  }

  /** Counts one more webhook of a call. @returns a rejection when there were too many */
  admitCall(callSid: string): Rejection | null {
    const waitS = this.#calls.take(callSid, this.#options.clock())
    return waitS === 0 ? null : tooMany('webhooks of this call', waitS)
  }

  /** Proof is a token for the route, or a valid signature, also beside a token that is refused. */
  #prove(head: WebhookHead, body: Uint8Array): Proof | Rejection {
    const purpose = purposeOf(head.route)
    if (purpose === null || head.token === undefined) return this.#proveSignature(head, body)
    const checked = this.#tokens.check(head.token, purpose)
    if (checked.result === 'ok') return { callSid: checked.callSid }
    // A carrier may use a URL again after its token has expired; it signs that request as any other.
    if (this.#options.webhookSecrets.length > 0 && this.#signature(head, body) === 'ok') return { callSid: null }
    const code = checked.result === 'expired' ? 'TOKEN_EXPIRED' : 'TOKEN_INVALID'
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
            ? 'X-Sautikit-Signature has no time, and its secret has signed with a time before'
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

/** Null: the route is proven by a signature alone. */
function purposeOf(route: WebhookRoute): TokenPurpose | null {
  return route === 'voice' || route === 'events' ? null : route
}

/** @throws GatewayError of the parsers */
function parsed(head: WebhookHead, body: Uint8Array, tokenSid: CallSid | null): ProvenWebhook | Rejection {
  const { route, contentType, agent, host } = head
  const common = { agent, host, clientRequestId: null }
  switch (route) {
    case 'voice': {
      const content = parseVoicePost(contentType, body)
      return {
        ...common,
        route,
        callSid: content?.callSid ?? null,
        clientRequestId: content?.clientRequestId ?? head.clientRequestId,
        content,
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

/** The body of a continuation with a token, which needs none; null where it cannot be read or names another call. */
function bodyOf(tokenSid: CallSid, contentType: string | undefined, body: Uint8Array): Webhook | null {
  if (body.byteLength === 0) return null
  try {
    const webhook = parseWebhook(contentType, body)
    return webhook.callSid === tokenSid ? webhook : null
  } catch {
    return null
  }
}

/** @throws the error itself where it is not a fault of the body */
function badBody(error: unknown): Rejection {
  const { code, message } = error instanceof GatewayError ? error : { code: null, message: '' }
  if (code === 'CONTENT_TYPE') return rejection('content-type', 415, code, message)
  if (code === 'BODY_TOO_LARGE') return rejection('too-large', 413, code, message, { close: true })
  if (code === 'WEBHOOK_MALFORMED') return rejection('malformed', 400, code, message)
  throw error
}

function tooMany(what: string, waitS: number): Rejection {
  // The connection stays open: behind a proxy the carrier's next webhook may come on it.
  return rejection('rate-limit', 429, 'RATE_LIMITED', `too many ${what}; try again in ${waitS} s`, {
    headers: [['Retry-After', String(waitS)]],
  })
}
