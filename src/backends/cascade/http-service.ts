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
import { httpFault, overrunFault, retryAfterOf, vendorFault } from '../transport/vendor-fault.js'
import { COMMON_HEADERS, PROBE_TIMEOUT_MS } from './http-hosts.js'
import { ServiceFault } from './service-fault.js'
import type { ServiceContext, ServiceFactory } from './service.js'

/**
 * How services refuse a conversation that is longer than the model's context: OpenAI, DeepSeek, vLLM, Mistral and OpenRouter
 * (`maximum context length`, `context_length_exceeded`), llama.cpp (`exceed_context_size_error`), Anthropic (`prompt is too
 * long`, `exceed context limit`), Gemini (`input token count … exceeds`), LM Studio and LiteLLM (`context window`).
 */
const CONTEXT_FULL =
  /context[ _-]?(?:length|size|window|limit)|maximum (?:model|context) length|prompt is too long|token count\b.{0,40}\bexceeds|request_too_large/i
const CONTEXT_FULL_STATUS: readonly number[] = [400, 413, 422]

/** One service over HTTP. */
export interface HttpServiceOptions {
  /** Up to and including the version: `http://10.0.0.5:8000/v1`. */
  readonly baseUrl: string
  /** Null or missing: requests go without a key. Never logged. */
  readonly apiKey?: string | null
  readonly model: string
  /** Longest time without data, in milliseconds: until the first byte, and between two pieces of an answer. */
  readonly timeoutMs?: number
}

/** A service of the list that is used over HTTP. @param timeoutMs  unless the options have one */
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

/** A service over HTTP, which is ready when it answers; its faults are ServiceFaults in the gateway's own terms. */
export abstract class HttpService<Options extends HttpServiceOptions = HttpServiceOptions> {
  protected readonly context: ServiceContext
  /** Begins messages. */
  readonly #what: string
  /** Not in sight of whoever prints a service: the key is in it. */
  readonly #options: Timed<Options>

  constructor(what: string, options: Timed<Options>, context: ServiceContext) {
    this.#what = what
    this.#options = options
    this.context = context
  }

  protected get options(): Timed<Options> {
    return this.#options
  }

  /** Asks the service for its models. One that lacks this endpoint has answered, which is enough. @throws ServiceFault */
  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    if (!probe) return
    const { baseUrl, apiKey = null, timeoutMs } = this.options
    await this.context.http.probe(baseUrl, apiKey, async () => {
      const body = await this.request(this.probePath, { method: 'GET' }, signal, {
        alsoGood: [404, 405, 501],
        timeoutMs: Math.min(timeoutMs, PROBE_TIMEOUT_MS),
      })
      // Read to its end, so that the connection stays open for the greeting.
      await body.text()
    })
  }

  warm(): void {
    this.context.http.warm(this.options.baseUrl)
  }

  close(): void {
    // Each request has a signal of its own.
  }

  /** Asked to find out whether the key is good. */
  protected get probePath(): string {
    return '/models'
  }

  /** Headers of each request: the key, and what else the service wants. */
  protected headers(): Readonly<Record<string, string>> {
    const { apiKey = null } = this.options
    return apiKey === null ? {} : { authorization: `Bearer ${apiKey}` }
  }

  protected used(units: Partial<BackendUsage>): void {
    const { model, baseUrl } = this.options
    this.context.used({ ...noUsage(), model: pricedModel(model, baseUrl), ...units })
  }

  /** The JSON objects of these texts; others are counted, and left out. */
  protected async *objects(texts: AsyncIterable<string> | Iterable<string>): AsyncGenerator<object> {
    const budget = new StreamBudget(BACKEND_RATES)
    for await (const text of texts) {
      if (!budget.take(0, 1, performance.now())) throw new ServiceFault(overrunFault(this.#what))
      let value: unknown = null
      try {
        value = exactJson(text)
      } catch {
        // Counted below.
      }
      if (typeof value === 'object' && value !== null) yield value
      else this.context.malformed()
    }
  }

  protected fault(code: 'internal' | 'bad_request', words: string, fatal: boolean): ServiceFault {
    return new ServiceFault(vendorFault(code, `${this.#what} ${words}`, fatal))
  }

  /**
   * The fault for an error in the body of an answer with status 200.
   * @param status  that this error would have had before the answer began
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
   * Follows no redirect. `undici.request`, because `fetch` costs twice as much for each piece of an answer.
   * @throws ServiceFault; where `signal` was aborted, its reason
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
    // A wrong key, an empty account or a wrong address does not change within the call.
    throw new ServiceFault(
      { ...fault, fatal: fault.code === 'auth' || fault.code === 'quota' || status === 404 },
      CONTEXT_FULL_STATUS.includes(status) && CONTEXT_FULL.test(words),
    )
  }
}

/** Starts a request now, although its first piece is consumed later. */
export function ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
  const first = source.next()
  // An error is thrown when the first piece is consumed.
  first.catch(() => undefined)
  return (async function* () {
    for (let next = await first; next.done !== true; next = await source.next()) yield next.value
  })()
}

/**
 * The data of each server-sent event, without the `[DONE]` that closes a stream. The last event needs no blank line
 * after it.
 * @param oversize  called when an event or a line is longer than BACKEND_MESSAGE_BYTES_MAX characters; its beginning is
 * dropped
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
  /** Aborts the request when the server sends nothing for too long. */
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

  /** @throws ServiceFault where more comes than BACKEND_RATES and BACKEND_ANSWER_BYTES_MAX allow; the connection is closed then */
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

/** `ECONNREFUSED` and the like; never a URL. */
function networkCode(error: unknown): string {
  const { code } = Object(error) as { readonly code?: unknown }
  if (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET') return 'connection lost'
  return typeof code === 'string' ? code : 'no answer'
}
