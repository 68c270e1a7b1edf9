import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../core/errors.js'
import {
  CARRIER_API_ATTEMPTS_MAX, CARRIER_API_PAUSE_MS_MAX, CARRIER_API_RESPONSE_BYTES_MAX, CARRIER_API_TIMEOUT_MS,
} from '../core/limits.js'
import { CarrierApiError, carrierRefusal } from './carrier-error.js'

export interface CarrierHttpOptions {
  /** For example `https://api.sautikit.com`; a path in it is kept. */
  readonly baseUrl: string
  /** Opaque; sent as a bearer token and found nowhere else. */
  readonly apiKey: string
  /** Of one attempt. */
  readonly timeoutMs?: number
  /** Ends early when `signal` aborts. For tests; real time otherwise. */
  readonly pause?: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  /** 0 to 1, for jitter. */
  readonly random?: () => number
}

export interface CarrierRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Below the base URL, `/v1/…`, already encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly body?: Readonly<Record<string, unknown>>
  /** Sent as `Idempotency-Key`, the same with every attempt. */
  readonly idempotencyKey?: string
  /** Whether a lost answer may be asked for again. Default: GET, PUT, DELETE, and whatever has an idempotency key. */
  readonly retry?: boolean
  /** Statuses besides 2xx that are an answer and not an error. */
  readonly accept?: readonly number[]
  readonly signal?: AbortSignal
}

export interface CarrierResponse {
  readonly status: number
  /** Parsed JSON; null for an empty body. */
  readonly body: unknown
  /** Of a redirect that was accepted: where it leads. Not followed. */
  readonly location: string | null
}

/** Counts since the start; read by telemetry. */
export interface CarrierHttpCounters {
  requests: number
  retries: number
  failures: number
}

const RETRY_STATUSES: readonly number[] = [429, 500, 502, 503, 504]
/** First pause; doubled with each attempt, with full jitter on its second half. */
const FIRST_PAUSE_MS = 200

/**
 * The carrier's REST API as requests and answers: key, timeout, retry, error shapes. What the requests mean is in
 * `client.ts`. One instance serves the whole process.
 */
export class CarrierHttp {
  readonly counters: CarrierHttpCounters = { requests: 0, retries: 0, failures: 0 }
  readonly #baseUrl: string
  readonly #authorization: string
  readonly #timeoutMs: number
  readonly #pause: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  readonly #random: () => number

  constructor(options: CarrierHttpOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, '')
    this.#authorization = `Bearer ${options.apiKey}`
    this.#timeoutMs = options.timeoutMs ?? CARRIER_API_TIMEOUT_MS
    this.#pause = options.pause ?? ((ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }))
    this.#random = options.random ?? Math.random
  }

  /**
   * @throws CarrierApiError CARRIER_API for a refusal, CARRIER_API_NETWORK when no usable answer came;
   *   `retryable` says whether the same request may succeed later
   */
  async send(request: CarrierRequest): Promise<CarrierResponse> {
    const mayRetry = request.retry
      ?? (request.idempotencyKey !== undefined || ['GET', 'PUT', 'DELETE'].includes(request.method))
    this.counters.requests += 1
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(request)
      if (!(outcome instanceof CarrierApiError)) return outcome
      const pauseMs = this.#pauseBefore(attempt, outcome)
      // A refusal for too many requests was not carried out, so it may always be sent again.
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
        throw outcome // given up while waiting: the last refusal says more than the abort
      }
    }
  }

  #pauseBefore(attempt: number, error: CarrierApiError): number {
    const pauseMs = FIRST_PAUSE_MS * 2 ** (attempt - 1)
    const jittered = pauseMs * (0.5 + this.#random() / 2)
    return error.retryAfterS === null ? jittered : Math.max(error.retryAfterS * 1000, jittered)
  }

  async #attempt(request: CarrierRequest): Promise<CarrierResponse | CarrierApiError> {
    // /v1/calls and no more: the rest names a call or a number.
    const what = `${request.method} ${request.path.split('/').slice(0, 3).join('/')}`
    const timeout = AbortSignal.timeout(this.#timeoutMs)
    const signal = request.signal === undefined ? timeout : AbortSignal.any([request.signal, timeout])
    try {
      const response = await fetch(this.#address(request), {
        method: request.method,
        headers: this.#headers(request),
        body: request.body === undefined ? null : JSON.stringify(request.body),
        redirect: 'manual', // a redirect would carry the key to wherever it points
        signal,
      })
      const accepted = response.ok || request.accept?.includes(response.status) === true
      const location = response.headers.get('location')
      if (accepted && location !== null && response.status >= 300 && response.status < 400) {
        await response.body?.cancel()
        return { status: response.status, body: null, location }
      }
      const text = await readBounded(response)
      if (text === null) {
        return new CarrierApiError(
          `${what}: the answer is larger than ${CARRIER_API_RESPONSE_BYTES_MAX} bytes`, { status: response.status },
        )
      }
      const body = parseJson(text)
      if (accepted) {
        if (body !== undefined) return { status: response.status, body, location: null }
        return new CarrierApiError(
          `${what}: answered ${response.status} with text that is not JSON`, { status: response.status },
        )
      }
      return carrierRefusal(what, response.status, body, {
        retryable: RETRY_STATUSES.includes(response.status), retryAfterS: retryAfterS(
          response.headers.get('retry-after'),
        ),
      })
    } catch (error) {
      if (request.signal?.aborted === true) return new CarrierApiError(`${what}: cancelled`, { network: true })
      const why = timeout.aborted ? `no answer in ${this.#timeoutMs} ms` : reasonOf(error)
      return new CarrierApiError(`${what}: ${why}`, { network: true, retryable: true, cause: error })
    }
  }

  #address(request: CarrierRequest): string {
    const url = new URL(this.#baseUrl + request.path)
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) {
      url.searchParams.set(name, String(value))
    }
    return url.href
  }

  #headers(request: CarrierRequest): Record<string, string> {
    return {
      accept: 'application/json',
      authorization: this.#authorization,
      'user-agent': 'mkondo',
      ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(request.idempotencyKey === undefined ? {} : { 'idempotency-key': request.idempotencyKey }),
    }
  }
}

/** Undefined for text that is no JSON, null for an empty body. */
function parseJson(text: string): unknown {
  if (text.trim() === '') return null
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** The body as text; null when it is larger than allowed. */
async function readBounded(response: Response): Promise<string | null> {
  if (response.body === null) return ''
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) { // Node's streams can be iterated
    bytes += chunk.byteLength
    if (bytes > CARRIER_API_RESPONSE_BYTES_MAX) return null
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

/** `Retry-After` in seconds; the date form too. */
function retryAfterS(header: string | null): number | null {
  if (header === null) return null
  if (/^\d{1,6}$/.test(header.trim())) return Number(header)
  const atMs = Date.parse(header)
  return Number.isNaN(atMs) ? null : Math.max(0, (atMs - Date.now()) / 1000)
}

/** fetch says "fetch failed"; its cause says why. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message
  return messageOf(error)
}
