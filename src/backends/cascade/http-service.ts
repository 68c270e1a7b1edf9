import { createParser } from 'eventsource-parser'
import { request } from 'undici'
import type { Dispatcher } from 'undici'
import type { BackendUsage } from '../../call/backend-events.js'
import { noUsage } from '../../call/usage.js'
import { exactJson } from '../../core/json.js'
import {
  BACKEND_ANSWER_BYTES_MAX,
  BACKEND_FAULT_BYTES_MAX,
  BACKEND_MESSAGE_BYTES_MAX,
  BACKEND_RATES,
} from '../../core/limits.js'
import { StreamBudget } from '../../core/stream-budget.js'
import { pricedModel } from '../prices.js'
import { keyHeaders } from '../../vendors/self-hosted/key-headers.js'
import { httpFault, overrunFault, retryAfterOf, vendorFault } from '../transport/vendor-fault.js'
import { COMMON_HEADERS, PROBE_TIMEOUT_MS } from './http-hosts.js'
import { ServiceFault } from './service-fault.js'
import type { ServiceContext, ServiceFactory } from './service.js'

/**
 * Words in a service's message when it refuses a conversation that is too long for the model. DeepSeek, vLLM, Mistral,
 * OpenRouter and others: `maximum context length`, `context_length_exceeded`. llama.cpp: `exceed_context_size_error`.
 * LM Studio and LiteLLM: `context window`. Other services: `prompt is too long`, `exceed context limit`, `input token
 * count … exceeds`.
 */
const CONTEXT_FULL =
  /context[ _-]?(?:length|size|window|limit)|maximum (?:model|context) length|prompt is too long|token count\b.{0,40}\bexceeds|request_too_large/i
const CONTEXT_FULL_STATUS: readonly number[] = [400, 413, 422]

/** One service over HTTP. */
export interface HttpServiceOptions {
  /** Address up to and including the version, such as `http://10.0.0.5:8000/v1`. */
  readonly baseUrl: string
  /** API key. Null or absent: requests have no key. Never logged. */
  readonly apiKey?: string | null
  readonly model: string
  /**
   * Maximum time without data, in milliseconds. The time is measured until the first byte, and then between two pieces
   * of an answer.
   */
  readonly timeoutMs?: number
}

/** Makes a list entry for a service over HTTP. @param timeoutMs  default, if the options have no time limit */
export function overHttp<Options extends HttpServiceOptions, Service>(
  part: 'stt' | 'llm' | 'tts',
  service: string,
  timeoutMs: number,
  options: Options,
  Kind: new (what: string, options: Timed<Options>, context: ServiceContext) => Service,
): ServiceFactory<Service> {
  return {
    service,
    model: pricedModel(options.model, options.baseUrl),
    make: (context) => new Kind(`${context.name}: ${part}`, { timeoutMs, ...options }, context),
  }
}

type Timed<Options> = Options & { readonly timeoutMs: number }

/**
 * A service over HTTP. The service is ready as soon as it has answered a request. Faults are ServiceFaults with the
 * gateway's own codes.
 */
export abstract class HttpService<Options extends HttpServiceOptions = HttpServiceOptions> {
  protected readonly context: ServiceContext
  /** First words of fault messages. */
  readonly #what: string
  /** Private, so that the API key does not appear when the service object is printed. */
  readonly #options: Timed<Options>

  constructor(what: string, options: Timed<Options>, context: ServiceContext) {
    this.#what = what
    this.#options = options
    this.context = context
  }

  protected get options(): Timed<Options> {
    return this.#options
  }

  /**
   * Requests the service's list of models. If the service does not have this endpoint, its answer is enough, because
   * the service can be reached.
   * @throws ServiceFault
   */
  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    if (!probe) return
    const { baseUrl, apiKey = null, timeoutMs } = this.options
    await this.context.http.probe(baseUrl, apiKey, async () => {
      const body = await this.request(this.probePath, { method: 'GET' }, signal, {
        alsoGood: [404, 405, 501],
        timeoutMs: Math.min(timeoutMs, PROBE_TIMEOUT_MS),
      })
      // The body is read to the end, so that the connection stays open for the greeting.
      await body.text()
    })
  }

  warm(): void {
    this.context.http.warm(this.options.baseUrl)
  }

  close(): void {
    // Each request is ended by its own signal, so there is nothing to close here.
  }

  /** Path of the request that tests the API key. */
  protected get probePath(): string {
    return '/models'
  }

  /** Headers of each request: the API key, and other headers that the service needs. */
  protected headers(): Readonly<Record<string, string>> {
    const { apiKey = null, baseUrl } = this.options
    return keyHeaders(apiKey, baseUrl)
  }

  protected used(units: Partial<BackendUsage>): void {
    const { model, baseUrl } = this.options
    this.context.used({ ...noUsage(), model: pricedModel(model, baseUrl), ...units })
  }

  /** Parses texts with JSON objects. Other texts are counted and skipped. */
  protected async *objects(texts: AsyncIterable<string> | Iterable<string>): AsyncGenerator<object> {
    const budget = new StreamBudget(BACKEND_RATES)
    for await (const text of texts) {
      if (!budget.take(0, 1, performance.now())) throw new ServiceFault(overrunFault(this.#what))
      let value: unknown = null
      try {
        value = exactJson(text)
      } catch {
        // The unreadable text is counted below.
      }
      if (typeof value === 'object' && value !== null) yield value
      else this.context.malformed()
    }
  }

  protected fault(code: 'internal' | 'bad_request', words: string, fatal: boolean): ServiceFault {
    return new ServiceFault(vendorFault(code, `${this.#what} ${words}`, fatal))
  }

  /**
   * Makes the fault for an error in the body of an answer with status 200.
   * @param status status that corresponds to this error
   */
  protected faultInBody(error: unknown, status = 500): ServiceFault {
    const body = JSON.stringify({ error })
    const fault = httpFault(`${this.#what} failed in the middle`, { status, body }, [this.options.apiKey ?? null])
    return new ServiceFault({ ...fault, fatal: false }, CONTEXT_FULL.test(body))
  }

  protected post(path: string, value: unknown, signal: AbortSignal): Promise<Body> {
    return this.request(
      path,
      { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) },
      signal,
    )
  }

  /**
   * Sends a request; does not follow redirects. For each piece, `fetch` needs twice the CPU time of `undici.request`.
   * @throws ServiceFault; if `signal` was aborted, the signal's reason
   */
  protected async request(
    path: string,
    init: Pick<Dispatcher.RequestOptions, 'method' | 'body'> & { readonly headers?: Readonly<Record<string, string>> },
    signal: AbortSignal,
    { alsoGood = [], timeoutMs = this.options.timeoutMs }: { alsoGood?: readonly number[]; timeoutMs?: number } = {},
  ): Promise<Body> {
    const { baseUrl, apiKey = null } = this.options
    const silence = new AbortController()
    const timer = setTimeout(() => silence.abort(), timeoutMs).unref()
    const faultOf = (error: unknown): unknown => {
      if (signal.aborted || error instanceof ServiceFault) return error
      if (silence.signal.aborted)
        return new ServiceFault(vendorFault('timeout', `${this.#what} was silent for ${timeoutMs} ms`, false))
      return new ServiceFault(vendorFault('network', `${this.#what}: no connection (${networkCode(error)})`, false))
    }
    let response: Dispatcher.ResponseData
    this.context.http.asked(baseUrl)
    try {
      response = await request(`${baseUrl.replace(/\/+$/, '')}${path}`, {
        ...init,
        headers: { ...COMMON_HEADERS, ...init.headers, ...this.headers() },
        signal: AbortSignal.any([signal, silence.signal]),
      })
    } catch (error) {
      clearTimeout(timer)
      throw faultOf(error)
    }
    const { statusCode: status } = response
    const body = new Body(this.#what, response, timer, faultOf)
    if ((status >= 200 && status < 300) || alsoGood.includes(status)) return body
    const words = await body.text(BACKEND_FAULT_BYTES_MAX).catch(() => '')
    const retryAfterMs = retryAfterOf((name) => body.header(name), Date.now())
    const fault = httpFault(this.#what, { status, body: words, retryAfterMs }, [apiKey])
    // A wrong key, an empty account or a wrong address stays wrong during the call, so the fault is fatal.
    throw new ServiceFault(
      { ...fault, fatal: fault.code === 'auth' || fault.code === 'quota' || status === 404 },
      CONTEXT_FULL_STATUS.includes(status) && CONTEXT_FULL.test(words),
    )
  }
}

/** Starts a request now, and not only when its first piece is read. */
export function ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  const first = source.next()
  // The error is not lost: it is thrown when the first piece is read.
  first.catch(() => undefined)
  return (async function* () {
    for (let next = await first; next.done !== true; next = await source.next()) yield next.value
  })()
}

/**
 * Reads the data of each server-sent event, except the final `[DONE]`. The blank line after the last event may be
 * missing.
 * @param oversize called if an event or a line is longer than BACKEND_MESSAGE_BYTES_MAX characters; the beginning of
 * such a text is dropped
 */
export async function* eventData(stream: AsyncIterable<Uint8Array>, oversize: () => void): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  const events: string[] = []
  const parser = createParser({
    maxBufferSize: BACKEND_MESSAGE_BYTES_MAX,
    onEvent: ({ data }) => {
      const text = data.trim()
      if (text !== '' && text !== '[DONE]') events.push(text)
    },
    onError: ({ type }) => {
      if (type !== 'max-buffer-size-exceeded') return
      oversize()
      parser.reset()
    },
  })
  for await (const bytes of stream) {
    parser.feed(decoder.decode(bytes, { stream: true }))
    yield* events.splice(0)
  }
  parser.feed(`${decoder.decode()}\n\n`)
  yield* events
}

class Body {
  readonly #what: string
  readonly #response: Dispatcher.ResponseData
  /** Aborts a request if the server sends no data within the time limit. */
  readonly #silence: NodeJS.Timeout
  readonly #faultOf: (error: unknown) => unknown

  constructor(
    what: string,
    response: Dispatcher.ResponseData,
    silence: NodeJS.Timeout,
    faultOf: (error: unknown) => unknown,
  ) {
    this.#what = what
    this.#response = response
    this.#silence = silence
    this.#faultOf = faultOf
  }

  header(name: string): string | undefined {
    return [this.#response.headers[name] ?? []].flat()[0]
  }

  /**
   * @throws ServiceFault if the answer exceeds BACKEND_RATES or BACKEND_ANSWER_BYTES_MAX; the connection is then closed
   */
  async *pieces(): AsyncGenerator<Uint8Array> {
    const budget = new StreamBudget(BACKEND_RATES)
    let bytes = 0
    try {
      for await (const piece of this.#response.body as AsyncIterable<Uint8Array>) {
        this.#silence.refresh()
        bytes += piece.length
        if (bytes > BACKEND_ANSWER_BYTES_MAX || !budget.take(piece.length, 0, performance.now()))
          throw new ServiceFault(overrunFault(this.#what))
        yield piece
      }
    } catch (error) {
      throw this.#faultOf(error)
    } finally {
      clearTimeout(this.#silence)
    }
  }

  async text(bytesMax = BACKEND_MESSAGE_BYTES_MAX): Promise<string> {
    const pieces: Uint8Array[] = []
    let bytes = 0
    for await (const piece of this.pieces()) {
      bytes += piece.length
      pieces.push(piece)
      if (bytes > bytesMax) break
    }
    return Buffer.concat(pieces).toString('utf8', 0, Math.min(bytes, bytesMax))
  }
}

/** @returns an error code such as `ECONNREFUSED`, never a URL */
function networkCode(error: unknown): string {
  const { code } = Object(error) as { readonly code?: unknown }
  if (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET') return 'connection lost'
  return typeof code === 'string' ? code : 'no answer'
}
