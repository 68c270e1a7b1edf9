import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import { jsonObject, objectsIn, valueAt } from '../core/json.js'
import { HttpClient, discard, headerOf, networkReason, readAtMost } from '../http/http-client.js'
import type { HttpResponse } from '../http/http-client.js'
import type { Message } from './message.js'
import { HANDOFF_RECEIVER, wants } from './receivers.js'
import type { Receiver } from './receivers.js'
import type { Entry } from './entry.js'

const TRY_TIMEOUT_MS = 10_000
/** The longest that a receiver may ask to wait by `Retry-After`. */
const RETRY_AFTER_MS_MAX = 86_400_000
/** Refusals of a receiver that is busy. */
const BUSY_STATUSES: readonly number[] = [408, 425, 429]
/** Refusals of a receiver that is being deployed or configured. Every other 4xx is final. */
const UNREADY_STATUSES: readonly number[] = [401, 403, 404, 409]
/** A connection that was there broke before its answer came. */
const BROKEN: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE'])

/** Refusals of the body itself: the answer may have a code that says what is wrong with it. */
const BODY_STATUSES: readonly number[] = [400, 422]
const ANSWER_BYTES_MAX = 16_384
/** How long the body of an answer is waited for; its status alone counts then. */
const ANSWER_BODY_MS = 3000
/**
 * A script of a Google sheet (Apps Script) answers a POST with a redirect once its `doPost` has returned, and what `doPost`
 * returned is there. That is asked for with a GET, without the message, its headers or its signature.
 */
const SCRIPT_HOST = 'script.google.com'
const SCRIPT_ANSWER_HOST = 'script.googleusercontent.com'
const SCRIPT_REDIRECTS: readonly number[] = [302, 303]
/** Redirects between its answer and the content. */
const SCRIPT_HOPS_MAX = 2
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
  readonly #client: Pick<HttpClient, 'send' | 'close'>

  constructor(options: DeliveryOptions) {
    this.#options = options
    this.#client = options.client ?? new HttpClient()
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
    const within = AbortSignal.any([AbortSignal.timeout(TRY_TIMEOUT_MS), signal])
    try {
      const posted = await this.#client.send({
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
        signal: within,
      })
      const response = await this.#scriptAnswer(new URL(url), posted, within)
      // A script has run to its end once it redirects: sent again, the message would be taken twice.
      return response === 'taken' ? null : await this.#faultIn(response)
    } catch (thrown) {
      return { why: networkReason(thrown), status: null, final: false, busy: true, retryAfterMs: 0 }
    }
  }

  /** Return value of a script of a sheet; the answer itself of any other receiver. */
  async #scriptAnswer(url: URL, posted: HttpResponse, signal: AbortSignal): Promise<HttpResponse | 'taken'> {
    if (!isAt(url, SCRIPT_HOST)) return posted
    let response = posted
    for (let hops = 0; SCRIPT_REDIRECTS.includes(response.statusCode); hops++) {
      const at = headerOf(response, 'location') ?? ''
      const content = URL.canParse(at) ? new URL(at) : null
      if (content === null || !isAt(content, SCRIPT_ANSWER_HOST)) return hops === 0 ? response : 'taken'
      discard(response)
      if (hops === SCRIPT_HOPS_MAX) return 'taken'
      try {
        response = await this.#client.send({
          url: content,
          method: 'GET',
          body: null,
          policy: 'public',
          headers: { 'user-agent': 'mkondo' },
          signal,
        })
      } catch {
        return 'taken'
      }
    }
    if (response === posted || response.statusCode === 200) return response
    discard(response)
    return 'taken'
  }

  /** Null: the receiver has taken it. */
  async #faultIn(response: HttpResponse): Promise<Fault | null> {
    const { statusCode: status } = response
    const retryAfterMs = this.#retryAfterMs(headerOf(response, 'retry-after'))
    const isTaken = status >= 200 && status < 300
    const text = isTaken || BODY_STATUSES.includes(status) ? await textOf(response) : null
    discard(response) // an unread body would hold the socket
    if (isTaken) {
      const refusal = refusalIn(text ?? '')
      if (refusal === null) return null
      const code = refusal === '' ? '' : `: ${refusal}`
      return { why: `answered ${status}, and refused${code}`, status, final: false, busy: false, retryAfterMs }
    }
    const code = codeIn(text ?? '')
    const busy = status >= 500 || BUSY_STATUSES.includes(status)
    const final = !busy && !UNREADY_STATUSES.includes(status)
    return { why: `answered ${status}${code === null ? '' : `: ${code}`}`, status, final, busy, retryAfterMs }
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
  /** For tests. */
  readonly client?: Pick<HttpClient, 'send' | 'close'>
}

function isAt(url: URL, host: string): boolean {
  return url.protocol === 'https:' && url.hostname === host && url.port === '' && url.username === ''
}

/** The body of an answer; null where it is too long, or does not come. */
async function textOf(response: HttpResponse): Promise<string | null> {
  const read = readAtMost(response, ANSWER_BYTES_MAX).catch(() => null)
  const late = sleep(ANSWER_BODY_MS, null, { ref: false })
  return (await Promise.race([read, late]))?.toString().trim() ?? null
}

/** Members of an answer of 2xx that say that it is none. */
const REFUSALS: Readonly<Record<string, (value: unknown) => boolean>> = {
  ok: (value) => isNo(value),
  success: (value) => isNo(value),
  succeeded: (value) => isNo(value),
  error: (value) => isFault(value),
  errors: (value) => isFault(value),
  errorMessage: (value) => isFault(value),
  errorType: (value) => isFault(value),
  status: (value) => isFailed(value),
  statusCode: (value) => isFailed(value),
  result: (value) => isFailed(value),
}

function isNo(value: unknown): boolean {
  return value === false || (typeof value === 'string' && /^(?:false|no)$/i.test(value))
}

function isFault(value: unknown): boolean {
  if (typeof value === 'string') return !/^(?:|none|null|false|no error|success|ok|0)$/i.test(value.trim())
  if (Array.isArray(value)) return value.length > 0
  return value === true || (typeof value === 'object' && value !== null && Object.keys(value).length > 0)
}

function isFailed(value: unknown): boolean {
  if (typeof value === 'number') return value >= 400 && value < 600
  return typeof value === 'string' && /^(?:error|fail|failed|failure|refused|rejected|denied)$/i.test(value.trim())
}

/** Why a receiver has not taken what it answered with 2xx: its own code, empty where it has none; null: it has taken it. */
function refusalIn(text: string): string | null {
  // Apps Script's own page about a script that failed, or a page where somebody is to sign in.
  if (/^\s*(?:<!doctype html|<html)/i.test(text))
    return /<title>\s*(?:error|sign[ -]?in|log[ -]?in|access denied)\b/i.test(text) ? 'a page that says so' : null
  const answer = jsonObject(text)
  if (answer === null) return null
  const member = Object.entries(answer).find(([name, value]) => REFUSALS[name]?.(value) === true)
  const recipients = objectsIn(valueAt(answer, ['SMSMessageData', 'Recipients']))
  // Africa's Talking answers 201, with a status for each number.
  const unsent = recipients.length > 0 && recipients.every(({ statusCode }) => isFailed(statusCode))
  if (member === undefined && !unsent) return null
  // One that says yes is believed.
  if (answer['ok'] === true || answer['success'] === true) return null
  return unsent ? String(recipients[0]?.['statusCode']) : (codeIn(text) ?? '')
}

/** Why a service refuses a body, as its own code; null where it has none. */
function codeIn(text: string): string | null {
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
  /** It is about the receiver, and not about this message: others may fare the same. */
  readonly busy: boolean
  readonly retryAfterMs: number
}
