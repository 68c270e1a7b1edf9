import { createParser } from 'eventsource-parser'
import { request } from 'undici'
import type { Dispatcher } from 'undici'
import type { Clock } from '../../core/clock.js'
import { BACKEND_FAULT_BYTES_MAX, BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { httpFault, retryAfterOf, vendorFault } from '../transport/vendor-fault.js'
import { StageFault } from './stage-fault.js'

/** One HTTP service of a stage. */
export interface HttpStageOptions {
  /** Up to and including the version: `http://10.0.0.5:8000/v1`. */
  readonly baseUrl: string
  /** Null or missing: requests go without a key. Never logged. */
  readonly apiKey?: string | null
  readonly model: string
  /** Longest time without data, in milliseconds: until the first byte, and between two pieces of an answer. */
  readonly timeoutMs?: number
}

const PROBE_TIMEOUT_MS = 2000
/** Node's HTTP client closes a connection that was idle for 4 s. */
const COLD_AFTER_MS = 3000

/** The HTTP services of one call: two stages on one host are asked once whether they are there, and opened once. */
export class HttpHosts {
  readonly #nowMs: Clock
  readonly #signal: AbortSignal
  /** By address and key. */
  readonly #probes = new Map<string, Promise<void>>()
  /** When the last request to each host began. */
  readonly #askedAtMs = new Map<string, number>()

  /** @param signal  aborted when the call ends */
  constructor(nowMs: Clock, signal: AbortSignal) {
    this.#nowMs = nowMs
    this.#signal = signal
  }

  /** Does `ask` once for each address and key, and again only after it failed. */
  probe({ baseUrl, apiKey }: HttpStageOptions, ask: () => Promise<void>): Promise<void> {
    const key = `${baseUrl} ${apiKey ?? ''}`
    const known = this.#probes.get(key)
    if (known !== undefined) return known
    const probe = ask()
    this.#probes.set(key, probe)
    probe.catch(() => this.#probes.delete(key))
    return probe
  }

  asked(baseUrl: string): void {
    this.#askedAtMs.set(new URL(baseUrl).host, this.#nowMs())
  }

  /**
   * Opens the connection to a service if it was closed in the meantime: while the caller speaks nobody waits for that.
   * What comes of it does not matter.
   */
  warm(baseUrl: string): void {
    const askedAtMs = this.#askedAtMs.get(new URL(baseUrl).host) ?? -Infinity
    if (this.#nowMs() - askedAtMs < COLD_AFTER_MS) return
    this.asked(baseUrl)
    // Not HEAD, after which Node's client closes the connection.
    request(baseUrl, {
      method: 'OPTIONS',
      headers: COMMON_HEADERS,
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
    })
      .then(({ body }) => body.dump())
      .catch(() => undefined)
  }
}

/** Of every request: some hosts refuse one without a name, and answers are read as they come. */
const COMMON_HEADERS = { 'user-agent': 'mkondo', 'accept-encoding': 'identity' }

/** Headers of each request: the key, and what else a service wants. */
type HeadersOf = (apiKey: string | null) => Readonly<Record<string, string>>

export const bearer: HeadersOf = (apiKey) => (apiKey === null ? {} : { authorization: `Bearer ${apiKey}` })

/** A stage over HTTP, which is ready when its service answers; the service's faults are StageFaults in the gateway's own terms. */
export abstract class HttpStage {
  readonly #what: string
  readonly #service: HttpStageOptions
  readonly #timeoutMs: number
  readonly #hosts: HttpHosts
  readonly #headersOf: HeadersOf

  /**
   * @param stage  begins messages, after the name of the cascade
   * @param timeoutMs  unless the options have one
   */
  protected constructor(
    stage: 'stt' | 'llm' | 'tts',
    service: HttpStageOptions,
    timeoutMs: number,
    { name, http }: { readonly name: string; readonly http: HttpHosts },
    headersOf: HeadersOf = bearer,
  ) {
    this.#what = `${name}: ${stage}`
    this.#service = service
    this.#timeoutMs = service.timeoutMs ?? timeoutMs
    this.#hosts = http
    this.#headersOf = headersOf
  }

  /** Asks the service for its models. One that lacks this endpoint has answered, which is enough. @throws StageFault */
  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    if (!probe) return
    await this.#hosts.probe(this.#service, async () => {
      const timeoutMs = Math.min(this.#timeoutMs, PROBE_TIMEOUT_MS)
      const { body } = await this.request('/models', { method: 'GET' }, signal, {
        alsoGood: [404, 405, 501],
        timeoutMs,
      })
      // Read to its end, so that the connection stays open for the greeting.
      await body.text()
    })
  }

  warm(): void {
    this.#hosts.warm(this.#service.baseUrl)
  }

  close(): void {
    // Each request has a signal of its own.
  }

  protected fault(code: 'internal' | 'bad_request', words: string, fatal: boolean): StageFault {
    return new StageFault(vendorFault(code, `${this.#what} ${words}`, fatal))
  }

  /**
   * The fault for an error in the body of an answer with status 200.
   * @param status  that this error would have had before the answer began
   */
  protected faultInBody(body: string, status = 500): StageFault {
    const fault = httpFault(`${this.#what} failed in the middle`, { status, body }, [this.#service.apiKey ?? null])
    return new StageFault({ ...fault, fatal: false })
  }

  protected post(path: string, value: unknown, signal: AbortSignal): ReturnType<HttpStage['request']> {
    return this.request(
      path,
      { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) },
      signal,
    )
  }

  /**
   * Follows no redirect. `undici.request`, because `fetch` costs twice as much for each piece of an answer.
   * @throws StageFault; where `signal` was aborted, its reason
   */
  protected async request(
    path: string,
    init: Pick<Dispatcher.RequestOptions, 'method' | 'body'> & { readonly headers?: Readonly<Record<string, string>> },
    signal: AbortSignal,
    { alsoGood = [], timeoutMs = this.#timeoutMs }: { alsoGood?: readonly number[]; timeoutMs?: number } = {},
  ): Promise<{ readonly body: Body; readonly contentType: string }> {
    const { baseUrl, apiKey = null } = this.#service
    const silence = new SilenceTimeout(timeoutMs)
    const faultOf = (error: unknown): unknown => {
      if (signal.aborted || error instanceof StageFault) return error
      if (silence.signal.aborted)
        return new StageFault(vendorFault('timeout', `${this.#what} was silent for ${silence.ms} ms`, false))
      return new StageFault(vendorFault('network', `${this.#what}: no connection (${networkCode(error)})`, false))
    }
    let response: Dispatcher.ResponseData
    this.#hosts.asked(baseUrl)
    try {
      response = await request(`${baseUrl.replace(/\/+$/, '')}${path}`, {
        ...init,
        headers: { ...COMMON_HEADERS, ...init.headers, ...this.#headersOf(apiKey) },
        signal: AbortSignal.any([signal, silence.signal]),
      })
    } catch (error) {
      silence.end()
      throw faultOf(error)
    }
    const { statusCode: status } = response
    const header = (name: string): string | undefined => [response.headers[name] ?? []].flat()[0]
    const body = new Body(response, silence, faultOf)
    if ((status >= 200 && status < 300) || alsoGood.includes(status))
      return { body, contentType: header('content-type') ?? '' }
    const words = await body.text(BACKEND_FAULT_BYTES_MAX).catch(() => '')
    const fault = httpFault(this.#what, { status, body: words, retryAfterMs: retryAfterOf(header, Date.now()) }, [
      apiKey,
    ])
    // A wrong key, an empty account or a wrong address does not change within the call.
    throw new StageFault({
      ...fault,
      fatal: fault.code === 'auth' || fault.code === 'quota' || status === 404,
    })
  }
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

/** Aborts a request whose server sends nothing for `ms`. */
class SilenceTimeout {
  readonly ms: number
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout

  constructor(ms: number) {
    this.ms = ms
    this.#timer = setTimeout(() => this.#controller.abort(), ms).unref()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  restart(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

class Body {
  readonly #response: Dispatcher.ResponseData
  readonly #silence: SilenceTimeout
  readonly #faultOf: (error: unknown) => unknown

  constructor(response: Dispatcher.ResponseData, silence: SilenceTimeout, faultOf: (error: unknown) => unknown) {
    this.#response = response
    this.#silence = silence
    this.#faultOf = faultOf
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of this.#response.body as AsyncIterable<Uint8Array>) {
        this.#silence.restart()
        yield piece
      }
    } catch (error) {
      throw this.#faultOf(error)
    } finally {
      this.#silence.end()
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
