import {
  CALL_WEBHOOKS_BURST,
  CALL_WEBHOOKS_PER_S,
  FAILED_REQUESTS_ADDRESSES_MAX,
  FAILED_REQUESTS_BURST,
  FAILED_REQUESTS_PER_S,
  CALL_PAPERS_MAX,
} from '../core/limits.js'
import type { CallSid } from '../core/ids.js'
import { verifySignature } from '../sautikit/signature.js'
import type { TokenPurpose } from '../sautikit/token.js'
import type { CallPapers } from './call-papers.js'
import type { EdgeOptions } from './options.js'
import { RateLimit } from './rate-limit.js'
import { Refusals } from './refusals.js'
import { rejection } from './webhook-request.js'
import type { Rejection, WebhookRequest } from './webhook-request.js'

/** Who sent a request, as far as it could be proven: a token names the call that it was made for. */
export type Proof = { readonly callSid: CallSid | null }

type GuardOptions = Pick<EdgeOptions, 'webhookSecrets' | 'insecure' | 'bareSignatures' | 'publicUrl' | 'clock' | 'wallClock' | 'log'>

/** Decides whose webhooks are believed, and how many. */
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

  /** Looks before anything is read whether this address has failed too often. */
  admit(address: string): Rejection | null {
    const waitS = this.#failures.waitS(address, this.#options.clock())
    return waitS === 0 ? null : tooMany('requests of this address that failed', waitS)
  }

  /** Charges an address for a request that was turned away. */
  failed(address: string): void {
    this.#failures.take(address, this.#options.clock())
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
  return rejection('rate-limit', 429, 'RATE_LIMITED', `too many ${what}; try again in ${waitS} s`, {
    headers: [['Retry-After', String(waitS)]],
    close: true,
  })
}
