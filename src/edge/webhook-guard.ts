import {
  CALL_WEBHOOKS_BURST,
  CALL_WEBHOOKS_PER_S,
  FAILED_REQUESTS_ADDRESSES_MAX,
  FAILED_REQUESTS_BURST,
  FAILED_REQUESTS_PER_S,
  CALL_PAPERS_MAX,
} from '../core/limits.js'
import type { CallSid } from '../core/ids.js'
import { mayVerify, verifySignature } from '../sautikit/signature.js'
import type { TokenPurpose } from '../sautikit/token.js'
import type { WebhookRejection, WebhookRoute } from '../telemetry/metrics.js'
import type { CallPapers } from './call-papers.js'
import type { EdgeOptions } from './options.js'
import { RateLimit } from './rate-limit.js'
import { Refusals } from './refusals.js'
import { rejection } from './webhook-request.js'
import type { Rejection, WebhookRequest } from './webhook-request.js'

/** Who sent a request, as far as it could be proven: a token names the call that it was made for. */
export type Proof = { readonly callSid: CallSid | null }

type GuardOptions = Pick<EdgeOptions, 'webhookSecrets' | 'insecure' | 'bareSignatures' | 'publicUrl' | 'clock' | 'wallClock' | 'log'>

/** Rejections of a sender who has not proven anything; those of a proven one say nothing against an address. */
const UNPROVEN: readonly WebhookRejection[] = ['unsigned', 'signature', 'bare-signature', 'stale', 'token', 'too-large', 'too-slow',
  'evicted', 'method', 'not-found']

/** What only a sender without proof is charged for: the carrier's own mistakes cost its address nothing. */
const CONTENT_FAULTS: readonly WebhookRejection[] = ['content-type', 'malformed']

const NO_BODY = new Uint8Array()

/**
 * Decides whose webhooks are believed, and how many.
 *
 * An address is charged for its requests that prove nothing, and one that has failed too often is told to wait. That never
 * holds for a request that verifies: behind one proxy the carrier and all strangers have one address. So a request is judged
 * by its head first (`judgeHead`), and one that may verify is read and verified before its address counts. What a flood from
 * one address can cost is bounded: a request without a token or a signature that may verify costs its head; one with a forged
 * signature costs its body (WEBHOOK_BODY_BYTES_MAX, in one of BODIES_PER_ADDRESS_MAX places) and an HMAC over it for each secret.
 */
export class WebhookGuard {
  /** Whom this process did not serve, lately. */
  readonly refusals: Refusals
  readonly #options: GuardOptions
  readonly #papers: CallPapers
  /** Only what fails is charged: behind one load balancer all of the carrier's requests have one address. */
  readonly #failures = new RateLimit({
    perSecond: FAILED_REQUESTS_PER_S,
    burst: FAILED_REQUESTS_BURST,
    keysMax: FAILED_REQUESTS_ADDRESSES_MAX,
  })
  readonly #calls = new RateLimit({
    perSecond: CALL_WEBHOOKS_PER_S,
    burst: CALL_WEBHOOKS_BURST,
    keysMax: CALL_PAPERS_MAX,
  })
  readonly #datedSecrets = new Set<string>()
  #warned = false

  constructor(options: GuardOptions, papers: CallPapers) {
    this.#options = options
    this.#papers = papers
    this.refusals = new Refusals(options.wallClock)
  }

  /** The refusal of an address that has failed too often; null for any other. */
  exhausted(address: string): Rejection | null {
    const waitS = this.#failures.waitS(address, this.#options.clock())
    return waitS === 0 ? null : tooMany('requests of this address that failed', waitS)
  }

  /**
   * What a rejected request costs its address: nothing where its sender was proven, else a token. Without a token left the
   * answer is that there were too many.
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
   * Judges a webhook before its body is read. `proven`: its token is good. `unproven`: its body decides. A rejection: whatever
   * its body is, it fails.
   */
  judgeHead(route: WebhookRoute, head: Omit<WebhookRequest, 'body'>): 'proven' | 'unproven' | Rejection {
    const purpose = route === 'voice' || route === 'events' ? null : route
    if (purpose !== null && head.token !== undefined && this.#papers.check(head.token, purpose).result === 'ok') return 'proven'
    const exhausted = this.exhausted(head.address)
    const nowS = Math.floor(this.#options.wallClock() / 1000)
    const may = { header: head.signature, nowS, acceptBare: this.#options.bareSignatures }
    if (this.#options.webhookSecrets.length > 0 && mayVerify(may)) return 'unproven'
    if (exhausted !== null) return exhausted
    // Where the time alone is wrong, the body tells a clock that is off from a forgery.
    if (this.#options.webhookSecrets.length > 0 && mayVerify({ ...may, skewS: Infinity })) return 'unproven'
    const request = { ...head, body: NO_BODY }
    const proof = purpose === null ? this.proveSignature(request) : this.prove(request, purpose)
    return isRejection(proof) ? proof : 'unproven'
  }

  /** Webhooks are taken unsigned: a developer's machine. */
  get #open(): boolean {
    const { webhookSecrets, insecure = false, publicUrl } = this.#options
    return webhookSecrets.length === 0 && (publicUrl === null || insecure)
  }

  /** One webhook more of a call that is known to be the carrier's. */
  admitCall(callSid: string): Rejection | null {
    const waitS = this.#calls.take(callSid, this.#options.clock())
    return waitS === 0 ? null : tooMany('webhooks of this call', waitS)
  }

  /** A token for `purpose` or a valid signature; where the first is present it must be good. */
  prove(request: WebhookRequest, purpose: TokenPurpose): Proof | Rejection {
    if (request.token === undefined) return this.proveSignature(request)
    const checked = this.#papers.check(request.token, purpose)
    if (checked.result === 'ok') return { callSid: checked.callSid }
    // Carriers may repeat a URL after its token has run out, and sign the request as any other.
    if (this.#options.webhookSecrets.length > 0 && this.#signature(request) === 'ok') return { callSid: null }
    const code = checked.result === 'expired' ? 'TOKEN_EXPIRED' : 'TOKEN_INVALID'
    return rejection('token', 403, code, `the token in the URL is refused: ${checked.result}`)
  }

  proveSignature(request: WebhookRequest): Proof | Rejection {
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
      if (!this.#warned) log.warn({}, 'Webhooks are taken unsigned: SAUTIKIT_WEBHOOK_SECRETS is not set')
      this.#warned = true
      return { callSid: null }
    }
    const result = this.#signature(request)
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
        return rejection('bare-signature', 403, 'WEBHOOK_UNSIGNED', this.#options.bareSignatures
          ? 'X-Sautikit-Signature has no time, and its secret has signed with a time before'
          : 'X-Sautikit-Signature is not t=…,v1=…; the form without a time needs SAUTIKIT_BARE_SIGNATURES=true')
      case 'bare-ambiguous':
        return rejection('bare-signature', 403, 'WEBHOOK_UNSIGNED',
          'X-Sautikit-Signature has no time, and the body ends in a dot and digits as the text of a signature with a time does')
      case 'mismatch':
        return rejection('signature', 403, 'WEBHOOK_UNSIGNED', 'X-Sautikit-Signature fits none of the secrets')
    }
  }

  #signature(request: WebhookRequest): ReturnType<typeof verifySignature> {
    return verifySignature({
      header: request.signature,
      body: request.body,
      secrets: this.#options.webhookSecrets,
      nowS: Math.floor(this.#options.wallClock() / 1000),
      acceptBare: this.#options.bareSignatures,
      datedSecrets: this.#datedSecrets,
    })
  }
}

export function isRejection(value: Proof | Rejection): value is Rejection {
  return 'reply' in value
}

function tooMany(what: string, waitS: number): Rejection {
  // The connection stays: behind a proxy the carrier's next webhook may come on it.
  return rejection('rate-limit', 429, 'RATE_LIMITED', `too many ${what}; try again in ${waitS} s`, {
    headers: [['Retry-After', String(waitS)]],
  })
}
