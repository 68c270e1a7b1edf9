import { TransformStream } from 'node:stream/web'
import { Agent, Response, buildConnector, errors, fetch } from 'undici'
import type { Dispatcher } from 'undici'
import { bytesOf } from '../core/bytes-of.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { AddressPolicy } from './address-guard.js'
import { guardedLookup, refusedAddress } from './address-guard.js'
import { awakeTimeout } from './awake-timeout.js'

/** Maximum number of open sockets to one host for each HTTP client. Each worker has one client. */
const HTTP_SOCKETS_MAX = 64

export interface HttpRequest {
  readonly url: URL
  readonly method: Dispatcher.HttpMethod
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
  /** Addresses to which `url` may lead. */
  readonly policy: AddressPolicy
  /** Deadline of the request, including its body. */
  readonly signal: AbortSignal
}

/** Answer of a request. Its body must be read (`readAtMost`) or discarded (`discard`). */
export type HttpResponse = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

interface HttpClientOptions {
  /** Time limit for a connection, in milliseconds; absent for undici's own 10 s. */
  readonly connectMs?: number
  /**
   * Certificate and key of the client, and the authorities that may have signed the server's certificate, in PEM form.
   */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
}

/**
 * Times after which idle sockets are closed, in milliseconds. The client closes a socket before the server does, so
 * that a socket does not break during a request. If the server sends `Keep-Alive`, the socket is closed 2 s before the
 * server's time, and at most after a minute. Otherwise it is closed before the 5 s of Node's servers. The turns of a
 * call are often further apart, so a turn may need a new connection, which takes two or three more round trips.
 */
const IDLE_SOCKET_MS = 4000
const IDLE_SOCKET_MS_MAX = 60_000
/** System codes that replace undici's codes, because system codes are better known. */
const SYSTEM_CODES: Readonly<Record<string, string>> = {
  UND_ERR_SOCKET: 'ECONNRESET',
  UND_ERR_CONNECT_TIMEOUT: 'ETIMEDOUT',
}

/**
 * Outbound HTTP client: one request, one answer. It does not follow redirects, request compression or repeat requests:
 * the code that uses it decides about these.
 *
 * Every address is checked when the connection is opened, including an address in the URL. A socket is only used for
 * requests with one address policy. Idle sockets do not keep the process alive.
 *
 * In addition to the signal's deadline, undici has limits: 10 s to establish a connection, and 300 s of silence on it.
 */
export class HttpClient {
  readonly #options: HttpClientOptions
  readonly #agents = new Map<AddressPolicy, Agent>()

  constructor(options: HttpClientOptions = {}) {
    this.#options = options
  }

  /**
   * @throws the reason of `signal` if it aborts; GatewayError TOOL_FORBIDDEN_HOST; otherwise an error of the network
   * (`networkReason`)
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
    // The abort is handled here, because undici checks the signal only after the connection is established.
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
   * Returns a `fetch` function for a library. It uses this client's sockets and address check, and refuses redirects.
   * @param messageBytesMax maximum number of bytes of a body, or of one event of a stream; above it reading fails
   * @param arrived receives the number of bytes of each piece; if it returns false, a limit is exceeded and reading
   * fails
   */
  fetcher(policy: AddressPolicy, messageBytesMax: number, arrived: (bytes: number) => boolean): typeof fetch {
    return async (input, init) => {
      const response = await fetch(input, { ...init, dispatcher: this.#agent(policy), redirect: 'manual' })
      const { status, headers, body } = response
      if (status >= 300 && status < 400) {
        await body?.cancel()
        throw new GatewayError('TOOL_FORBIDDEN_HOST', 'the server redirects; redirects are not followed')
      }
      return body === null
        ? response
        : new Response(body.pipeThrough(bounded(messageBytesMax, arrived)), { status, headers })
    }
  }

  /** Closes every socket. Requests in progress fail. */
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

/** Fails a connection after `connectMs`, because undici's own timer is up to a second late. */
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

/** The pieces of a body. Fails if more than `bytesMax` bytes arrive without an empty line, which ends an event. */
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

/** Returns the whole body. If the body is larger than `bytesMax`, returns null and closes the connection. */
export async function readAtMost(response: HttpResponse, bytesMax: number): Promise<Buffer | null> {
  if (Number(headerOf(response, 'content-length')) > bytesMax) {
    discard(response)
    return null
  }
  return bytesOf(response.body, bytesMax)
}

/** Closes the connection of an answer, because its body is not read. */
export function discard({ body }: HttpResponse): void {
  body.on('error', () => undefined).destroy()
}

/** Returns the value of a response header; the first value if the header is repeated. */
export function headerOf({ headers }: HttpResponse, name: string): string | null {
  const value = headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? null
}

/**
 * Returns the reason why a request did not get a usable answer, as a code if possible: `ECONNREFUSED`. The reason never
 * contains a path or a query.
 */
export function networkReason(error: unknown): string {
  if (error instanceof GatewayError || !(error instanceof Error) || !('code' in error)) return messageOf(error)
  const code = String(error.code)
  return SYSTEM_CODES[code] ?? code
}
