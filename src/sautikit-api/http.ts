import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.js'
import { CARRIER_API_PAGES_MAX } from '../core/limits.js'
import { discard, headerOf, HttpClient, networkReason, readAtMost } from '../http/http-client.js'
import { maskNumbersIn } from '../sautikit/phone.js'

/**
 * Limits of requests to the carrier's REST API: time in ms of one attempt, attempts of an idempotent request, maximum
 * pause in ms between attempts.
 */
const CARRIER_API_TIMEOUT_MS = 5000
const CARRIER_API_ATTEMPTS_MAX = 3
const CARRIER_API_PAUSE_MS_MAX = 10_000
/** Maximum size of an answer of the carrier's REST API in bytes; a page of 100 calls has about 100 KiB. */
const CARRIER_API_RESPONSE_BYTES_MAX = 1024 * 1024

// --- reading the carrier's JSON: a field may be absent, null or spelled differently; no function here throws for it
// ---------------

export type JsonObject = Readonly<Record<string, unknown>>

/** Maximum number of stored characters of the carrier's own error message. */
const MESSAGE_CHARS_MAX = 300

interface CarrierErrorFacts {
  readonly status?: number
  readonly carrierCode?: string | null
  readonly requestId?: string | null
  readonly retryable?: boolean
  readonly retryAfterS?: number | null
  /** True if no usable answer arrived. */
  readonly network?: boolean
  readonly cause?: unknown
}

/** The carrier's REST API refused a request, or could not be reached. */
export class CarrierApiError extends GatewayError {
  /** HTTP status; 0 if there was no answer. */
  readonly status: number
  /** The carrier's own error code, such as `calls.not_found`; null if there is none. */
  readonly carrierCode: string | null
  /** Request id, which the carrier's support needs. */
  readonly requestId: string | null
  readonly retryAfterS: number | null

  constructor(message: string, facts: CarrierErrorFacts) {
    super(facts.network === true ? 'CARRIER_API_NETWORK' : 'CARRIER_API', message, {
      retryable: facts.retryable ?? false,
      ...(facts.cause === undefined ? {} : { cause: facts.cause }),
    })
    this.status = facts.status ?? 0
    this.carrierCode = facts.carrierCode ?? null
    this.requestId = facts.requestId ?? null
    this.retryAfterS = facts.retryAfterS ?? null
  }
}

/**
 * Reads both of the carrier's error shapes, `{ error: { code, message, request_id } }` and `{ code, reason }`, and a
 * proxy's `{ error: "text" }`.
 */
function carrierRefusal(
  what: string,
  status: number,
  body: unknown,
  facts: Pick<CarrierErrorFacts, 'retryable' | 'retryAfterS'>,
): CarrierApiError {
  const outer = objectOf(body)
  const inner = objectOf(outer['error'])
  const cut = (text: string | null): string | null => text?.slice(0, MESSAGE_CHARS_MAX) ?? null
  const code = cut(textIn(inner, 'code') ?? textIn(outer, 'code'))
  const message = cut(textIn(inner, 'message') ?? textIn(outer, 'reason', 'message', 'error'))
  const requestId = cut(textIn(inner, 'request_id') ?? textIn(outer, 'request_id'))
  const words = [code, message === null ? null : maskNumbersIn(message)].filter((word) => word !== null).join(': ')
  return new CarrierApiError(`${what}: refused with status ${status}${words === '' ? '' : ` (${words})`}`, {
    status,
    carrierCode: code,
    requestId,
    ...facts,
  })
}

interface CarrierHttpOptions {
  /** Address, for example `https://api.sautikit.com`; a path in the address is kept. */
  readonly baseUrl: string
  /** API key; sent only as a bearer token. Null: for requests that need no key. */
  readonly apiKey: string | null
  /** Time limit of one attempt in ms. */
  readonly timeoutMs?: number
  /** Pauses; ends early when `signal` aborts. For tests. Default: real time. */
  readonly pause?: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  /** Random number 0 to 1, for jitter. */
  readonly random?: () => number
}

interface CarrierRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Path below the base URL, such as `/v1/…`, already encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly body?: Readonly<Record<string, unknown>>
  /** Sent as `Idempotency-Key`, unchanged with every attempt. */
  readonly idempotencyKey?: string | undefined
  /**
   * True if the request may be repeated when its answer is lost. Default: true for GET, PUT and DELETE, and for
   * requests with an idempotency key.
   */
  readonly retry?: boolean
  /** Statuses that are an answer and not an error, in addition to 2xx. */
  readonly accept?: readonly number[]
  readonly signal?: AbortSignal | undefined
}

interface CarrierResponse {
  readonly status: number
  /** Parsed JSON; null for an empty body. */
  readonly body: unknown
  /** The target of an accepted redirect, which is not followed. */
  readonly location: string | null
}

const RETRY_STATUSES: readonly number[] = [429, 500, 502, 503, 504]
/** First pause in ms; doubled with each attempt, with full jitter on its second half. */
const FIRST_PAUSE_MS = 200

/**
 * The carrier's REST API as requests and answers: key, timeout, retry, error shapes. The meaning of the requests is in
 * `client.ts`. One instance serves the whole process.
 */
export class CarrierHttp {
  /** Counts since the start; read by telemetry. */
  readonly counters = { requests: 0, retries: 0, failures: 0 }
  readonly #client = new HttpClient()
  readonly #baseUrl: string
  readonly #authorization: Readonly<Record<string, string>>
  readonly #timeoutMs: number
  readonly #pause: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  readonly #random: () => number

  constructor(options: CarrierHttpOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, '')
    this.#authorization = options.apiKey === null ? {} : { authorization: `Bearer ${options.apiKey}` }
    this.#timeoutMs = options.timeoutMs ?? CARRIER_API_TIMEOUT_MS
    this.#pause = options.pause ?? ((ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }))
    this.#random = options.random ?? Math.random
  }

  /**
   * @throws CarrierApiError CARRIER_API for a refusal, CARRIER_API_NETWORK if no usable answer arrived; `retryable` is
   * true if a repeated request may succeed later
   */
  async send(request: CarrierRequest): Promise<CarrierResponse> {
    const mayRetry =
      request.retry ?? (request.idempotencyKey !== undefined || ['GET', 'PUT', 'DELETE'].includes(request.method))
    this.counters.requests += 1
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(request)
      if (!(outcome instanceof CarrierApiError)) return outcome
      const pauseMs = this.#pauseBefore(attempt, outcome)
      // The carrier does not execute a rate-limited request (429), so such a request may always be sent again.
      const again = outcome.retryable && (mayRetry || outcome.status === 429) && request.signal?.aborted !== true
      if (!again || attempt >= CARRIER_API_ATTEMPTS_MAX || pauseMs > CARRIER_API_PAUSE_MS_MAX) {
        this.counters.failures += 1
        throw outcome
      }
      this.counters.retries += 1
      try {
        await this.#pause(pauseMs, request.signal)
      } catch {
        this.counters.failures += 1
        throw outcome // aborted during the pause: the last refusal says more than the abort
      }
    }
  }

  #pauseBefore(attempt: number, error: CarrierApiError): number {
    const pauseMs = FIRST_PAUSE_MS * 2 ** (attempt - 1)
    const jittered = pauseMs * (0.5 + this.#random() / 2)
    return error.retryAfterS === null ? jittered : Math.max(error.retryAfterS * 1000, jittered)
  }

  async #attempt(request: CarrierRequest): Promise<CarrierResponse | CarrierApiError> {
    // Only `/v1/calls` is shown, because the path after it contains the id of a call or a number.
    const what = `${request.method} ${request.path.split('/').slice(0, 3).join('/')}`
    const timeout = AbortSignal.timeout(this.#timeoutMs)
    const signal = request.signal === undefined ? timeout : AbortSignal.any([request.signal, timeout])
    try {
      // A redirect is not followed, because the API key would be sent to its target.
      const response = await this.#client.send({
        url: this.#address(request),
        method: request.method,
        headers: this.#headers(request),
        body: request.body === undefined ? null : JSON.stringify(request.body),
        policy: 'as-written',
        signal,
      })
      const { statusCode: status } = response
      const accepted = (status >= 200 && status < 300) || request.accept?.includes(status) === true
      const location = headerOf(response, 'location')
      if (accepted && location !== null && status >= 300 && status < 400) {
        discard(response)
        return { status, body: null, location }
      }
      const bytes = await readAtMost(response, CARRIER_API_RESPONSE_BYTES_MAX)
      if (bytes === null) {
        return new CarrierApiError(`${what}: the answer is larger than ${CARRIER_API_RESPONSE_BYTES_MAX} bytes`, {
          status,
        })
      }
      const body = parseJson(bytes.toString())
      if (accepted) {
        if (body !== undefined) return { status, body, location: null }
        return new CarrierApiError(`${what}: answered ${status} with text that is not JSON`, { status })
      }
      return carrierRefusal(what, status, body, {
        retryable: RETRY_STATUSES.includes(status),
        retryAfterS: retryAfterS(headerOf(response, 'retry-after')),
      })
    } catch (error) {
      if (request.signal?.aborted === true) return new CarrierApiError(`${what}: cancelled`, { network: true })
      const why = timeout.aborted ? `no answer in ${this.#timeoutMs} ms` : networkReason(error)
      return new CarrierApiError(`${what}: ${why}`, { network: true, retryable: true, cause: error })
    }
  }

  #address(request: CarrierRequest): URL {
    const url = new URL(this.#baseUrl + request.path)
    for (const [name, value] of Object.entries(request.query ?? {}))
      if (value !== undefined) {
        url.searchParams.set(name, String(value))
      }
    return url
  }

  #headers(request: CarrierRequest): Record<string, string> {
    return {
      accept: 'application/json',
      ...this.#authorization,
      'user-agent': 'mkondo',
      ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(request.idempotencyKey === undefined ? {} : { 'idempotency-key': request.idempotencyKey }),
    }
  }
}

/** Undefined for text that is not JSON, null for an empty body. */
function parseJson(text: string): unknown {
  if (text.trim() === '') return null
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** @returns the time of `Retry-After` in seconds; the header may contain seconds or a date */
function retryAfterS(header: string | null): number | null {
  if (header === null) return null
  if (/^\d{1,6}$/.test(header.trim())) return Number(header)
  const atMs = Date.parse(header)
  return Number.isNaN(atMs) ? null : Math.max(0, (atMs - Date.now()) / 1000)
}

/** One page of a list. */
export interface Page<T> {
  readonly items: readonly T[]
  /** Cursor of the next page; null on the last page. */
  readonly nextCursor: string | null
}

/** @returns the cursor of the next page in a list's answer; null on the last page */
export function nextCursor(body: unknown): string | null {
  return textIn(objectOf(body), 'next_cursor', 'nextCursor')
}

/**
 * @returns all items of a paged list, up to `itemsMax` items and CARRIER_API_PAGES_MAX pages, or until a cursor is
 * repeated
 * @param fetchPage  fetches the page at a cursor, null first
 */
export async function allPages<T>(
  fetchPage: (cursor: string | null) => Promise<Page<T>>,
  itemsMax: number,
): Promise<{ readonly items: readonly T[]; readonly complete: boolean }> {
  const items: T[] = []
  const seen = new Set<string>()
  let cursor: string | null = null
  for (let pages = 0; pages < CARRIER_API_PAGES_MAX; pages++) {
    const page: Page<T> = await fetchPage(cursor)
    items.push(...page.items)
    cursor = page.nextCursor
    if (items.length >= itemsMax)
      return { items: items.slice(0, itemsMax), complete: items.length === itemsMax && cursor === null }
    if (cursor === null || seen.has(cursor)) return { items, complete: cursor === null }
    seen.add(cursor)
  }
  return { items, complete: false }
}

/** The value as an object; an empty object for any other value. */
export function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
}

/** @returns the first text among the fields `names` */
export function textIn(object: JsonObject, ...names: readonly string[]): string | null {
  for (const name of names) {
    const value = object[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return null
}

/** @returns the first number among the fields `names`, as a number or as text */
export function numberIn(object: JsonObject, ...names: readonly string[]): number | null {
  for (const name of names) {
    const value = object[name]
    if (typeof value === 'number' && Number.isFinite(value)) return value
    if (typeof value === 'string' && /^-?\d{1,15}(\.\d+)?$/.test(value)) return Number(value)
  }
  return null
}

/**
 * @returns the list in an answer: the first list among the fields `names`, or the answer itself; null if there is no
 * list
 */
export function listIn(body: unknown, ...names: readonly string[]): readonly JsonObject[] | null {
  const list = Array.isArray(body) ? body : names.map((name) => objectOf(body)[name]).find(Array.isArray)
  return Array.isArray(list) ? list.map(objectOf) : null
}
