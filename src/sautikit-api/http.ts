import { setTimeout as sleep } from 'node:timers/promises'
import {
  CARRIER_API_ATTEMPTS_MAX, CARRIER_API_PAUSE_MS_MAX, CARRIER_API_RESPONSE_BYTES_MAX, CARRIER_API_TIMEOUT_MS,
} from '../core/limits.js'
import { HttpClient, discard, headerOf, networkReason, readAtMost } from '../http/http-client.js'
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
  readonly #client = new HttpClient()
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
      // A redirect is not followed: it would carry the key to wherever it points.
      const response = await this.#client.send({
        url: this.#address(request), method: request.method, headers: this.#headers(request),
        body: request.body === undefined ? null : JSON.stringify(request.body), policy: 'as-written', signal,
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
        return new CarrierApiError(`${what}: the answer is larger than ${CARRIER_API_RESPONSE_BYTES_MAX} bytes`, { status })
      }
      const body = parseJson(bytes.toString())
      if (accepted) {
        if (body !== undefined) return { status, body, location: null }
        return new CarrierApiError(`${what}: answered ${status} with text that is not JSON`, { status })
      }
      return carrierRefusal(what, status, body, {
        retryable: RETRY_STATUSES.includes(status), retryAfterS: retryAfterS(headerOf(response, 'retry-after')),
      })
    } catch (error) {
      if (request.signal?.aborted === true) return new CarrierApiError(`${what}: cancelled`, { network: true })
      const why = timeout.aborted ? `no answer in ${this.#timeoutMs} ms` : networkReason(error)
      return new CarrierApiError(`${what}: ${why}`, { network: true, retryable: true, cause: error })
    }
  }

  #address(request: CarrierRequest): URL {
    const url = new URL(this.#baseUrl + request.path)
    for (const [name, value] of Object.entries(request.query ?? {})) if (value !== undefined) {
      url.searchParams.set(name, String(value))
    }
    return url
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

/** `Retry-After` in seconds; the date form too. */
function retryAfterS(header: string | null): number | null {
  if (header === null) return null
  if (/^\d{1,6}$/.test(header.trim())) return Number(header)
  const atMs = Date.parse(header)
  return Number.isNaN(atMs) ? null : Math.max(0, (atMs - Date.now()) / 1000)
}
