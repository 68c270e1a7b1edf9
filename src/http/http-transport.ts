import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { GatewayError, messageOf } from '../core/errors.js'
import { TOOL_SOCKETS_MAX } from '../core/limits.js'
import type { AddressPolicy } from './address-guard.js'
import { guardedLookup, refusedAddress } from './address-guard.js'

/** One HTTP request of a tool; redirects are the caller's business. */
export interface TransportRequest {
  readonly url: URL
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
  readonly policy: AddressPolicy
  readonly maxResponseBytes: number
  readonly signal: AbortSignal
}

export interface TransportResponse {
  readonly status: number
  readonly contentType: string
  readonly location: string | null
  readonly retryAfterS: number | null
  readonly body: Buffer
}

/** Idle sockets are closed before servers do it (Node's own after 5 s), so that none dies under a request. */
const IDLE_SOCKET_MS = 4000

/**
 * The sockets of one worker's tools. Kept apart by address policy: a socket that one tool may use must
 * not be lent to another that may not.
 */
export class HttpTransport {
  readonly #agents = new Map<string, HttpAgent | HttpsAgent>()

  /**
   * @throws GatewayError TOOL_HTTP (network, retryable), TOOL_FORBIDDEN_HOST, TOOL_RESPONSE (too large);
   *   the reason of `signal` when it aborts
   */
  send(request: TransportRequest): Promise<TransportResponse> {
    return new Promise((resolve, reject) => {
      let outgoing: ClientRequest | null = null
      const abort = (): void => { fail(request.signal.reason) }
      const fail = (error: unknown): void => {
        request.signal.removeEventListener('abort', abort)
        outgoing?.destroy()
        reject(error instanceof Error ? error : new GatewayError('TOOL_CANCELLED', messageOf(error)))
      }
      if (request.signal.aborted) {
        abort()
        return
      }
      const refused = refusedAddress(request.url.hostname, request.policy)
      if (refused !== null) {
        fail(refused)
        return
      }
      request.signal.addEventListener('abort', abort, { once: true })
      try {
        outgoing = this.#open(request)
      } catch (error) { // a header that Node refuses
        fail(new GatewayError('TOOL_ARGUMENTS', `the request cannot be sent: ${messageOf(error)}`, { cause: error }))
        return
      }
      outgoing.on('error', (error) => { fail(networkError(error, request.url)) })
      outgoing.on('response', (incoming) => {
        readBody(incoming, request.maxResponseBytes).then((response) => {
          request.signal.removeEventListener('abort', abort)
          resolve(response)
        }, (error: unknown) => { fail(networkError(error, request.url)) })
      })
      outgoing.end(request.body ?? undefined)
    })
  }

  /** Closes every socket; requests under way fail. */
  close(): void {
    for (const agent of this.#agents.values()) agent.destroy()
    this.#agents.clear()
  }

  #open(request: TransportRequest): ClientRequest {
    const { url, policy } = request
    const secure = url.protocol === 'https:'
    const options: RequestOptions = {
      method: request.method,
      headers: {
        ...request.headers, ...(request.body === null ? {} : { 'content-length': Buffer.byteLength(request.body) }),
      },
      agent: this.#agent(secure, policy),
    }
    return secure ? httpsRequest(url, options) : httpRequest(url, options)
  }

  #agent(secure: boolean, policy: AddressPolicy): HttpAgent | HttpsAgent {
    const key = `${secure ? 'https' : 'http'} ${policy}`
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      const options = {
        keepAlive: true, timeout: IDLE_SOCKET_MS, maxSockets: TOOL_SOCKETS_MAX, maxFreeSockets: 8,
        lookup: guardedLookup(policy),
      }
      agent = secure ? new HttpsAgent(options) : new HttpAgent(options)
      this.#agents.set(key, agent)
    }
    return agent
  }
}

async function readBody(incoming: IncomingMessage, maxBytes: number): Promise<TransportResponse> {
  const tooLarge = (): GatewayError =>
    new GatewayError(
      'TOOL_RESPONSE', `the response is larger than ${maxBytes} bytes; ask the API for less, or raise maxResponseBytes`,
    )
  if (Number(incoming.headers['content-length'] ?? 0) > maxBytes) throw tooLarge()
  const encoding = incoming.headers['content-encoding'] ?? 'identity'
  // We accept no encoding: a few bytes of gzip may be gigabytes.
  if (encoding !== 'identity') {
    throw new GatewayError(
      'TOOL_RESPONSE', `the response is encoded as ${encoding.slice(0, 20)}, which was not asked for`,
    )
  }
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > maxBytes) throw tooLarge()
    chunks.push(chunk)
  }
  const retryAfter = incoming.headers['retry-after']
  return {
    status: incoming.statusCode ?? 0,
    contentType: (incoming.headers['content-type'] ?? '').toLowerCase(),
    location: incoming.headers.location ?? null,
    retryAfterS: retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : null,
    body: Buffer.concat(chunks, bytes),
  }
}

/** Names the host, never the path or the query: they hold what callers say. */
function networkError(error: unknown, url: URL): unknown {
  if (error instanceof GatewayError) return error
  const reason = error instanceof Error && 'code' in error ? String(error.code) : messageOf(error)
  return new GatewayError('TOOL_HTTP', `${url.host} could not be reached: ${reason}`, { retryable: true, cause: error })
}
