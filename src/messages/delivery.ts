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
/** Maximum time that a receiver can request with `Retry-After`, in milliseconds. */
const RETRY_AFTER_MS_MAX = 86_400_000
/** HTTP statuses of a receiver that is busy. */
const BUSY_STATUSES: readonly number[] = [408, 425, 429]
/**
 * HTTP statuses of a receiver that is being deployed or configured. After any other status 4xx the message is not tried
 * again, unless the receiver is busy.
 */
const UNREADY_STATUSES: readonly number[] = [401, 403, 404, 409]
/** Error codes of a connection that was established and broke before the answer. */
const BROKEN: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE'])

/** HTTP statuses with which a receiver refuses the body. The answer may contain a code for the fault. */
const BODY_STATUSES: readonly number[] = [400, 422]
const ANSWER_BYTES_MAX = 16_384
/** Maximum wait for the body of an answer, in milliseconds. After this time only the status counts. */
const ANSWER_BODY_MS = 3000
/**
 * Host of the Apps Scripts of spreadsheets. A script redirects a POST to its result. The result is read by a GET
 * request without the message, its headers and its signature.
 */
const SCRIPT_HOST = 'script.google.com'
const SCRIPT_ANSWER_HOST = 'script.googleusercontent.com'
const SCRIPT_REDIRECTS: readonly number[] = [302, 303]
/** Maximum number of redirects between the answer and its content. */
const SCRIPT_HOPS_MAX = 2
/** Paths of the service's error code in an answer: WhatsApp, HubSpot, Zendesk and others. */
const CODE_PATHS = [
  [],
  ['error', 'code'],
  ['error', 'type'],
  ['errors', '0', 'code'],
  ['code'],
  ['error'],
  ['category'],
]
/** Matches a code: `invalid_blocks`, `132018`, `VALIDATION_ERROR`. Words or a number of a person do not match. */
const CODE = /^(?:\d{1,6}|[A-Za-z]{2,24}(?:[_-][A-Za-z]{1,16}){1,4}|[A-Z][a-z]{2,16}(?:[A-Z][a-z]{1,16}){1,3})$/
/** Filter that would correct the template, by error code of Slack and WhatsApp. */
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
 * Finds the receivers of a message and sends it by Standard Webhooks 1.0 (`webhook-id`, `webhook-timestamp`,
 * `webhook-signature`). HANDOFF_URL also gets `X-Mkondo-Signature: t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of body, dot
 * and `t`.
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

  /** Returns the URL of a message's receiver; null if the receiver is unknown, or if its URL is not set. */
  urlOf({ url, receiver }: Pick<Entry, 'url' | 'receiver'>): string | null {
    return url ?? (receiver === HANDOFF_RECEIVER ? this.#options.handoff.url : (this.#receiver(receiver)?.url ?? null))
  }

  /** Returns the receivers of a message, by the names under which their entries are stored. */
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
   * Sends a message. If the connection breaks, the message is sent once more with its id, because the receiver may just
   * have closed an idle connection.
   * @param signal aborted when the process ends
   * @returns null if the receiver accepted the message
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
      // A script that redirects has run. So the message is not sent again, because the script would process it twice.
      return response === 'taken' ? null : await this.#faultIn(response)
    } catch (thrown) {
      return { why: networkReason(thrown), status: null, final: false, busy: true, retryAfterMs: 0 }
    }
  }

  /** Returns the return value of a sheet's script; for every other receiver, the answer itself. */
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

  /** Returns the fault in an answer; null if the receiver accepted the message. */
  async #faultIn(response: HttpResponse): Promise<Fault | null> {
    const { statusCode: status } = response
    const retryAfterMs = this.#retryAfterMs(headerOf(response, 'retry-after'))
    const isTaken = status >= 200 && status < 300
    const text = isTaken || BODY_STATUSES.includes(status) ? await textOf(response) : null
    discard(response) // the body is read or discarded, because an unread body would keep the socket in use
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

  /**
   * Returns the requested pause in milliseconds, from a `Retry-After` with seconds or an HTTP date; 0 without the
   * header.
   */
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
  /** Returns the current receivers of our number in NUMBERS_FILE. If absent, numbers do not have receivers. */
  readonly ofNumber?: (number: string) => readonly Receiver[]
  /** HANDOFF_URL and HANDOFF_SECRET; null if they are not set. */
  readonly handoff: { readonly url: string | null; readonly secret: string | null }
  /** Calendar time in ms. */
  readonly wallClock: () => number
  /** HTTP client, for tests. */
  readonly client?: Pick<HttpClient, 'send' | 'close'>
}

function isAt(url: URL, host: string): boolean {
  return url.protocol === 'https:' && url.hostname === host && url.port === '' && url.username === ''
}

/** Returns the body of an answer; null if the body is too long or does not come. */
async function textOf(response: HttpResponse): Promise<string | null> {
  const read = readAtMost(response, ANSWER_BYTES_MAX).catch(() => null)
  const late = sleep(ANSWER_BODY_MS, null, { ref: false })
  return (await Promise.race([read, late]))?.toString().trim() ?? null
}

/** Fields that can show a refusal in an answer with status 2xx. */
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

/**
 * Finds a refusal in an answer with status 2xx. Returns the receiver's code, '' for a refusal without a code, and null
 * if the message was accepted.
 */
function refusalIn(text: string): string | null {
  // An HTML page is a refusal: it is Apps Script's page about a failed script, or a login form.
  if (/^\s*(?:<!doctype html|<html)/i.test(text))
    return /<title>\s*(?:error|sign[ -]?in|log[ -]?in|access denied)\b/i.test(text) ? 'a page that says so' : null
  const answer = jsonObject(text)
  if (answer === null) return null
  const member = Object.entries(answer).find(([name, value]) => REFUSALS[name]?.(value) === true)
  const recipients = objectsIn(valueAt(answer, ['SMSMessageData', 'Recipients']))
  // Africa's Talking answers 201, with a status for each number.
  const unsent = recipients.length > 0 && recipients.every(({ statusCode }) => isFailed(statusCode))
  if (member === undefined && !unsent) return null
  // An answer that explicitly reports success counts as success.
  if (answer['ok'] === true || answer['success'] === true) return null
  return unsent ? String(recipients[0]?.['statusCode']) : (codeIn(text) ?? '')
}

/** Returns the code with which a service refuses a body; null without a code. */
function codeIn(text: string): string | null {
  let answer: unknown = text
  try {
    answer = JSON.parse(text)
  } catch {
    // The answer is plain text, as from Slack.
  }
  for (const path of CODE_PATHS) {
    const found = valueAt(answer, path)
    const code = typeof found === 'string' || typeof found === 'number' ? String(found) : ''
    const filter = FILTER_FOR[code]
    if (CODE.test(code)) return filter === undefined ? code : `${code} (filter ${filter})`
  }
  return null
}

/** Reason why a message was not accepted. */
interface Fault {
  readonly why: string
  /** HTTP status; null without an answer. */
  readonly status: number | null
  readonly final: boolean
  /** True if the fault concerns the receiver and not only this message. */
  readonly busy: boolean
  readonly retryAfterMs: number
}
