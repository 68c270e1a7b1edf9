import { createHmac } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { valueAt } from '../core/json.js'
import { HttpClient, discard, headerOf, networkReason, readAtMost } from '../http/http-client.js'
import type { HttpResponse } from '../http/http-client.js'
import type { Message } from './message.js'
import { HANDOFF_RECEIVER, wants } from './receivers.js'
import type { Receiver } from './receivers.js'
import type { Entry } from './entry.js'

const TRY_TIMEOUT_MS = 10_000
/** The longest that a receiver may ask to wait by `Retry-After`. */
const RETRY_AFTER_MS_MAX = 86_400_000
/** Refusals that may be temporary; every other 4xx is final. */
const RETRY_STATUSES: readonly number[] = [408, 425, 429]
/** A connection that was there broke before its answer came. */
const BROKEN: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE'])

/** Refusals of the body itself: the answer may have a code that says what is wrong with it. */
const BODY_STATUSES: readonly number[] = [400, 422]
const ANSWER_BYTES_MAX = 16_384
/** Where services have that code: WhatsApp, HubSpot, Zendesk and others. */
const CODE_PATHS = [
  [],
  ['error', 'code'],
  ['error', 'type'],
  ['errors', '0', 'code'],
  ['code'],
  ['error'],
  ['category'],
]
/** Codes, and nobody's words or number: `invalid_blocks`, `132018`, `VALIDATION_ERROR`. */
const CODE = /^(?:\d{1,6}|[A-Za-z]{2,24}(?:[_-][A-Za-z]{1,16}){1,4}|[A-Z][a-z]{2,16}(?:[A-Z][a-z]{1,16}){1,3})$/
/** Filter that helps a template, by error code of Slack and WhatsApp. */
const FILTER_FOR: Readonly<Record<string, string>> = {
  invalid_blocks: 'slack',
  no_text: 'slack',
  msg_too_long: 'slack',
  '131008': 'whatsapp',
  '131009': 'whatsapp',
  '132005': 'whatsapp',
  '132018': 'whatsapp',
}

/**
 * Who gets a message, and how it is sent: Standard Webhooks 1.0 (`webhook-id`, `webhook-timestamp`, `webhook-signature`). The
 * receiver of HANDOFF_URL gets besides the standard signature `X-Mkondo-Signature: t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of
 * the body, a dot and `t`.
 */
export class Delivery {
  readonly #options: DeliveryOptions
  readonly #receivers: ReadonlyMap<string, Receiver>
  readonly #client = new HttpClient()

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#receivers = new Map(options.receivers.map((receiver) => [receiver.name, receiver]))
  }

  /** Null where there is no receiver of that name, or it has none. */
  urlOf({ url, receiver }: Pick<Entry, 'url' | 'receiver'>): string | null {
    return url ?? (receiver === HANDOFF_RECEIVER ? this.#options.handoff.url : (this.#receiver(receiver)?.url ?? null))
  }

  /** By the names under which they are kept. */
  receiversOf(message: Message): readonly (readonly [string, Receiver])[] {
    const { receivers, ofNumber } = this.#options
    const { number } = message
    return [
      ...receivers.map((receiver) => [receiver.name, receiver] as const),
      ...(number === null ? [] : (ofNumber?.(number) ?? [])).map(
        (receiver) => [`${number ?? ''}/${receiver.name}`, receiver] as const,
      ),
    ].filter(([, receiver]) => wants(receiver, message))
  }

  #receiver(name: string): Receiver | undefined {
    const [number = '', own] = name.split('/')
    if (own === undefined) return this.#receivers.get(name)
    return this.#options.ofNumber?.(number).find((receiver) => receiver.name === own)
  }

  /**
   * A connection that the receiver has kept open since an earlier message may be closed by it in this very moment, and the
   * next of them too. So one that breaks is followed by another at once, with the same id.
   * @param signal  aborted: the process ends
   * @returns null: it is taken
   */
  async post(url: string, entry: Entry, signal: AbortSignal): Promise<Fault | null> {
    const fault = await this.#postOnce(url, entry, signal)
    const broke = fault !== null && BROKEN.has(fault.why) && !signal.aborted
    return broke ? this.#postOnce(url, entry, signal) : fault
  }

  async #postOnce(url: string, { id, receiver, contentType, body }: Entry, signal: AbortSignal): Promise<Fault | null> {
    try {
      const response = await this.#client.send({
        url: new URL(url),
        method: 'POST',
        body,
        policy: 'as-written',
        headers: {
          ...this.#receiver(receiver)?.headers,
          'content-type': contentType,
          'user-agent': 'mkondo',
          'idempotency-key': id,
          'webhook-id': id,
          ...this.#signatures(receiver, id, body),
        },
        signal: AbortSignal.any([AbortSignal.timeout(TRY_TIMEOUT_MS), signal]),
      })
      const { statusCode: status } = response
      const retryAfterMs = this.#retryAfterMs(headerOf(response, 'retry-after'))
      const code = BODY_STATUSES.includes(status) ? await codeIn(response) : null
      discard(response) // an unread body would hold the socket
      if (status >= 200 && status < 300) return null
      const final = status < 500 && !RETRY_STATUSES.includes(status)
      return { why: `answered ${status}${code === null ? '' : `: ${code}`}`, status, final, retryAfterMs }
    } catch (thrown) {
      return { why: networkReason(thrown), status: null, final: false, retryAfterMs: 0 }
    }
  }

  #signatures(receiver: string, id: string, body: string): Record<string, string> {
    const at = new Date(this.#options.wallClock())
    const t = Math.floor(at.getTime() / 1000)
    const sign = (...keys: Webhook[]): Record<string, string> => ({
      'webhook-timestamp': String(t),
      ...(keys.length === 0 ? {} : { 'webhook-signature': keys.map((key) => key.sign(id, at, body)).join(' ') }),
    })
    if (receiver !== HANDOFF_RECEIVER)
      return sign(...(this.#receiver(receiver)?.secrets ?? []).map((secret) => new Webhook(secret)))
    const { secret } = this.#options.handoff
    if (secret === null) return sign()
    const digest = createHmac('sha256', secret).update(`${body}.${t}`).digest('hex')
    return { ...sign(new Webhook(secret, { format: 'raw' })), 'x-mkondo-signature': `t=${t},v1=${digest}` }
  }

  /** Reads seconds or an HTTP date; 0 for none. */
  #retryAfterMs(value: string | null): number {
    if (value === null) return 0
    const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - this.#options.wallClock()
    return Number.isFinite(ms) ? Math.min(Math.max(0, ms), RETRY_AFTER_MS_MAX) : 0
  }

  close(): void {
    this.#client.close()
  }
}

export interface DeliveryOptions {
  readonly receivers: readonly Receiver[]
  /** Those of one of our numbers, as NUMBERS_FILE has them now; absent: none. */
  readonly ofNumber?: (number: string) => readonly Receiver[]
  /** HANDOFF_URL and HANDOFF_SECRET; null where they are not set. */
  readonly handoff: { readonly url: string | null; readonly secret: string | null }
  /** Calendar time, in ms. */
  readonly wallClock: () => number
}

/** Why a service refuses a body, as its own code; null where it has none. */
async function codeIn(response: HttpResponse): Promise<string | null> {
  const text = (await readAtMost(response, ANSWER_BYTES_MAX).catch(() => null))?.toString().trim() ?? ''
  let answer: unknown = text
  try {
    answer = JSON.parse(text)
  } catch {
    // Slack answers in plain text.
  }
  for (const path of CODE_PATHS) {
    const found = valueAt(answer, path)
    const code = typeof found === 'string' || typeof found === 'number' ? String(found) : ''
    const filter = FILTER_FOR[code]
    if (CODE.test(code)) return filter === undefined ? code : `${code} (filter ${filter})`
  }
  return null
}

/** Why a message was not taken. */
interface Fault {
  readonly why: string
  /** Null without an answer. */
  readonly status: number | null
  readonly final: boolean
  readonly retryAfterMs: number
}
