import { TransformStream } from 'node:stream/web'
import { Agent, Response, buildConnector, errors, fetch } from 'undici'
import type { Dispatcher } from 'undici'
import { GatewayError, messageOf } from '../core/errors.js'
import type { AddressPolicy } from './address-guard.js'
import { guardedLookup, refusedAddress } from './address-guard.js'
import { awakeTimeout } from './awake-timeout.js'

/** Sockets that one HTTP client, as each worker has one, keeps open to one host. */
const HTTP_SOCKETS_MAX = 64

export interface HttpRequest {
  readonly url: URL
  readonly method: Dispatcher.HttpMethod
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
  /** Which addresses `url` may lead to. */
  readonly policy: AddressPolicy
  /** The deadline, for the body too. */
  readonly signal: AbortSignal
}

/** The body must be read (`readAtMost`) or discarded (`discard`). */
export type HttpResponse = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

interface HttpClientOptions {
  /** A connection that takes longer fails; undici's own 10 s when absent. */
  readonly connectMs?: number
  /** The client's certificate and key, and the authorities that may have signed the server's; PEM. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
}

/**
 * Idle sockets are closed before servers do it, so that none dies under a request: 2 s before a server that says how long
 * it waits (`Keep-Alive`), but after a minute at most, and otherwise early enough for Node's own servers (5 s). Turns of
 * a call are further apart than that, and a connection anew costs a turn two or three round trips.
 */
const IDLE_SOCKET_MS = 4000
const IDLE_SOCKET_MS_MAX = 60_000
/** Codes of undici, with the better-known system codes for them. */
const SYSTEM_CODES: Readonly<Record<string, string>> = {
  UND_ERR_SOCKET: 'ECONNRESET',
  UND_ERR_CONNECT_TIMEOUT: 'ETIMEDOUT',
}

/**
 * The outbound HTTP client: one request, one answer. It follows no redirect, requests no compression and does not
 * retry; its users decide that. Every address is checked at the connection, also a literal one. A socket that was
 * opened under one address policy is never used under another. Idle sockets do not keep the process alive. Besides the
 * signal's deadline, undici ends a connection that is not established after 10 s, and one that is silent for 300 s.
 */
export class HttpClient {
  readonly #options: HttpClientOptions
  readonly #agents = new Map<AddressPolicy, Agent>()

  constructor(options: HttpClientOptions = {}) {
    this.#options = options
  }

  /**
   * @throws the reason of `signal` when it aborts; GatewayError TOOL_FORBIDDEN_HOST; else an error of the network
   *   (`networkReason`)
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const { url, method, headers, body, signal } = request
    signal.throwIfAborted()
    const answer = this.#agent(request.policy).request({
      origin: url.origin,
      path: url.pathname + url.search,
      method,
      headers,
      body,
      signal,
    })
    // undici checks the signal only after the connection is established.
    let abort = (): void => undefined
    const aborted = new Promise<never>((_, reject) => {
      abort = () => {
        reject(signal.reason as Error)
      }
    })
    signal.addEventListener('abort', abort, { once: true })
    try {
      return await Promise.race([answer, aborted])
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  /**
   * `fetch` for a library: over the same sockets, with the same check of addresses; a redirect is refused.
   * @param messageBytesMax  bytes of a body, or of one event of a stream, after which reading it fails
   * @param arrived  called with the bytes of each piece; false: too much has come, and reading it fails
   */
  fetcher(policy: AddressPolicy, messageBytesMax: number, arrived: (bytes: number) => boolean): typeof fetch {
    return async (input, init) => {
      const response = await fetch(input, { ...init, dispatcher: this.#agent(policy), redirect: 'manual' })
      const { status, headers, body } = response
      if (status >= 300 && status < 400) {
        await body?.cancel()
        throw new GatewayError('TOOL_FORBIDDEN_HOST', 'the server redirects, which is not followed')
      }
      return body === null
        ? response
        : new Response(body.pipeThrough(bounded(messageBytesMax, arrived)), { status, headers })
    }
  }

  /** Closes every socket; requests under way fail. */
  close(): void {
    for (const agent of this.#agents.values()) void agent.destroy()
    this.#agents.clear()
  }

  #agent(policy: AddressPolicy): Agent {
    let agent = this.#agents.get(policy)
    if (agent === undefined) {
      const { connectMs, tls } = this.#options
      const timeout = connectMs === undefined ? {} : { timeout: connectMs }
      const connector = within(connectMs, buildConnector({ lookup: guardedLookup(policy), ...timeout, ...tls }))
      agent = new Agent({
        connections: HTTP_SOCKETS_MAX,
        keepAliveTimeout: IDLE_SOCKET_MS,
        keepAliveMaxTimeout: IDLE_SOCKET_MS_MAX,
        connect: (options, callback) => {
          const refused = refusedAddress(options.hostname, policy)
          if (refused === null) connector(options, callback)
          else callback(refused, null)
        },
      })
      this.#agents.set(policy, agent)
    }
    return agent
  }
}

/** Fails a connection after `connectMs`: undici's own timer is up to a second late. */
function within(connectMs: number | undefined, connector: buildConnector.connector): buildConnector.connector {
  if (connectMs === undefined) return connector
  return (options, callback) => {
    let waiting = true
    const connected = awakeTimeout(connectMs, () => {
      waiting = false
      callback(new errors.ConnectTimeoutError(`no connection within ${connectMs} ms`), null)
    })
    connector(options, (...outcome) => {
      connected()
      if (waiting) callback(...outcome)
      else outcome[1]?.destroy()
    })
  }
}

/** Passes a body on; fails once more bytes have come than `bytesMax` without an empty line, which ends an event. */
function bounded(bytesMax: number, arrived: (bytes: number) => boolean): TransformStream<Uint8Array, Uint8Array> {
  let bytes = 0
  return new TransformStream({
    transform(chunk: Uint8Array, controller) {
      if (!arrived(chunk.byteLength)) {
        controller.error(new GatewayError('TOOL_RESPONSE', 'the server sends too much'))
        return
      }
      const ends = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).lastIndexOf('\n\n')
      bytes = ends < 0 ? bytes + chunk.byteLength : chunk.byteLength - ends
      if (bytes > bytesMax)
        controller.error(new GatewayError('TOOL_RESPONSE', `a message has more than ${bytesMax} bytes`))
      else controller.enqueue(chunk)
    },
  })
}

/** The whole body; null when it is larger than `bytesMax`, and the connection is closed then. */
export async function readAtMost(response: HttpResponse, bytesMax: number): Promise<Buffer | null> {
  if (Number(headerOf(response, 'content-length')) > bytesMax) {
    discard(response)
    return null
  }
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, bytes)
}

/** Closes the connection of an answer whose body nobody reads. */
export function discard({ body }: HttpResponse): void {
  body.on('error', () => undefined).destroy()
}

/** The value of a response header; the first of several. */
export function headerOf({ headers }: HttpResponse, name: string): string | null {
  const value = headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? null
}

/** Why a request got no usable answer, as a code if there is one: `ECONNREFUSED`. Never holds path or query. */
export function networkReason(error: unknown): string {
  if (error instanceof GatewayError || !(error instanceof Error) || !('code' in error)) return messageOf(error)
  const code = String(error.code)
  return SYSTEM_CODES[code] ?? code
}
