import { createServer as createHttp } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { assert } from '../core/assert.js'
import type { Clock, WallClock } from '../core/clock.js'
import { bytesOf } from '../core/bytes-of.js'
import { CLOCK_SKEW_MS_MAX, PEER_ANSWER_MS, PEER_BODY_BYTES_MAX } from '../core/limits.js'
import { portFault } from '../http/port-use.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log } from '../telemetry/log.js'
import { ANSWER_HEADER, PeerProof, hashOf } from './peer-proof.js'
import type { PeerClaims, PeerName } from './peer-proof.js'

/**
 * Limits of the internal listener: number of connections, bytes of headers, and times in ms for the headers and for the
 * whole request.
 */
const PEER_CONNECTIONS_MAX = 1024
const PEER_HEADERS_BYTES_MAX = 8 * 1024
const PEER_HEADERS_MS = 2000
const PEER_BODY_MS = 5000
/**
 * Time in ms for which an idle connection stays open. The client closes idle connections earlier, so that this listener
 * never closes a connection on which a request arrives.
 */
const PEER_IDLE_MS = 10_000
/**
 * Maximum number of remembered nonces. Each nonce is remembered for as long as its request could be replayed. The limit
 * allows about 1,600 requests a second.
 */
const PEER_NONCES_MAX = 100_000

/** Status and reason of each refusal, for the sender and for the log. */
const REFUSALS: Readonly<Record<Exclude<PeerRefusal, 'protocol' | 'connections'>, readonly [number, string]>> = {
  certificate: [401, 'the connection has no client certificate that INTERNAL_TLS_CA signed'],
  unsigned: [401, 'the request is not signed'],
  signature: [401, 'the signature fits none of the secrets of TOKEN_SECRET'],
  'another-node': [409, 'the request is for a node of another name'],
  'another-incarnation': [409, 'the request is for another run of this node'],
  late: [401, `the time of the request is more than ${CLOCK_SKEW_MS_MAX / 1000} s from the time here`],
  replayed: [401, 'this request was here before'],
  'not-found': [404, 'there is no such request'],
  'too-large': [413, `the body is larger than ${PEER_BODY_BYTES_MAX} bytes`],
  body: [401, 'the body is not the one that was signed'],
  malformed: [400, 'the body is not JSON'],
}

/**
 * Internal listener of a node for signed requests of other nodes. It reads a request's body only if the head is proven,
 * recent, new and addressed to this run. Answers and refusals are signed too, but not for a sender without the secret.
 */
export class PeerListener {
  /** Number of requests that a handler answered. */
  answered = 0
  /** Number of requests whose handler failed. */
  faults = 0
  readonly refused: Readonly<Record<PeerRefusal, number>>
  readonly #counts: Record<PeerRefusal, number>
  readonly #options: ListenerOptions
  readonly #proof: PeerProof
  readonly #seen: SeenRequests
  readonly #handlers = new Map<string, PeerHandler>()
  readonly #lines: LimitedLog<PeerRefusal>
  readonly #server: Server
  /** Connections by the peer's address and port, oldest first. */
  readonly #connections = new Map<string, Connection>()
  readonly #connectionsMax: number

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#connectionsMax = options.connectionsMax ?? PEER_CONNECTIONS_MAX
    this.#proof = new PeerProof(options.secrets)
    this.#seen = new SeenRequests(PEER_NONCES_MAX)
    this.#counts = Object.fromEntries(PEER_REFUSALS.map((reason) => [reason, 0])) as Record<PeerRefusal, number>
    this.refused = this.#counts
    this.#lines = new LimitedLog(
      options.log,
      'A request to the internal listener was turned away',
      'More requests to the internal listener were turned away for the same reason',
    )
    const bounds = {
      maxHeaderSize: PEER_HEADERS_BYTES_MAX,
      headersTimeout: PEER_HEADERS_MS,
      requestTimeout: PEER_BODY_MS,
      keepAliveTimeout: PEER_IDLE_MS,
      connectionsCheckingInterval: PEER_HEADERS_MS / 2,
    }
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#serve(request, response)
    }
    this.#server =
      options.tls === null
        ? createHttp(bounds, onRequest)
        : createHttps(
            // Certificates are checked at the first request, not in the handshake. A refusal would abort the handshake,
            // and this node would look dead to the client.
            {
              ...bounds,
              ...options.tls,
              requestCert: true,
              rejectUnauthorized: false,
              handshakeTimeout: PEER_HEADERS_MS,
            },
            onRequest,
          )
    // The server's limit is twice as high, because Node also counts connections that have just been closed.
    this.#server.maxConnections = 2 * this.#connectionsMax
    this.#server.on('connection', (socket: Socket) => {
      this.#connected(socket)
    })
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      const connection = this.#connections.get(endOf(socket))
      if (connection !== undefined) connection.socket = socket
    })
    this.#server.on('drop', () => {
      this.#note('connections', null, null, 'there are too many connections')
    })
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      if (error.code !== 'ECONNRESET') this.#note('protocol', null, null, error.code ?? 'no HTTP')
      // This answer shows that the node is alive, even to a client that wrongly speaks TLS to this port.
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
      else socket.destroy()
    })
    // The connection is closed without an answer. An answer would wait for the handshake's end, which may never come.
    this.#server.on('tlsClientError', (_, socket: TLSSocket) => {
      socket.destroy()
    })
    this.handle('ping', () => options.self)
  }

  /** Registers the handler of `POST /internal/{name}`. `name` contains only `a-z` and `-`. */
  handle(name: string, handler: PeerHandler): void {
    assert(/^[a-z][a-z-]{0,39}$/.test(name) && !this.#handlers.has(name), 'a request between nodes has one handler')
    this.#handlers.set(name, handler)
  }

  /**
   * Opens the port.
   * @returns the origin of the listener for other nodes
   * @throws GatewayError PORT_IN_USE or CONFIG_INVALID
   */
  async listen(): Promise<string> {
    const { host, port, url, tls } = this.#options
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(portFault({ setting: 'INTERNAL_PORT', host, port }, error.code ?? error.message))
      })
      this.#server.listen({ host, port, exclusive: true }, resolve)
    })
    const { port: opened } = this.#server.address() as AddressInfo
    const origin = url ?? `${tls === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}`
    return /:\d+$/.test(origin) ? origin : `${origin}:${opened}`
  }

  /** Closes the port. Running requests still have PEER_ANSWER_MS to be answered. Idempotent. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve()
      })
    })
    // Closes all connections, even those in their handshake, which the server itself does not close.
    const last = setTimeout(() => {
      for (const { socket } of this.#connections.values()) socket.destroy()
    }, PEER_ANSWER_MS)
    await closed
    clearTimeout(last)
  }

  #connected(socket: Socket): void {
    const end = endOf(socket)
    this.#connections.set(end, { socket, node: null })
    socket.on('close', () => this.#connections.delete(end))
    if (this.#connections.size > this.#connectionsMax) this.#evict()
  }

  /**
   * Closes one connection, so that strangers cannot block nodes. It closes the oldest connection without a proven
   * request, or else the oldest connection of a node that has several.
   */
  #evict(): void {
    const all = [...this.#connections]
    const others = new Map<string, number>()
    for (const [, { node }] of all) if (node !== null) others.set(node, (others.get(node) ?? -1) + 1)
    const oldest =
      all.find(([, { node }]) => node === null) ?? all.find(([, { node }]) => node !== null && others.get(node) !== 0)
    if (oldest === undefined) return
    const [end, { socket, node }] = oldest
    this.#note('connections', socket.remoteAddress ?? null, node, 'another connection needed its place')
    this.#connections.delete(end)
    socket.destroy()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#judge(request, response)
    } catch (thrown) {
      this.faults++
      this.#options.log.error({ err: thrown, path: request.url }, 'a request of another node could not be answered')
      response.destroy()
    }
  }

  async #judge(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url: path = '' } = request
    const { socket } = request
    // The certificate itself is required too, because Node calls a resumed session without a certificate authorised.
    if (socket instanceof TLSSocket && !(socket.authorized && socket.getPeerX509Certificate() !== undefined))
      return this.#refuse(response, 'certificate', null)
    const read = this.#proof.readRequest(method, path, request.headers.authorization)
    if (typeof read === 'string') return this.#refuse(response, read, null)
    const { claims, key } = read
    const wrong = this.#judgeClaims(claims)
    if (wrong !== null) return this.#refuse(response, wrong, read)
    const connection = this.#connections.get(endOf(socket))
    if (connection !== undefined) connection.node = claims.from.node
    this.#options.onHeard(claims.from)
    const name = /^\/internal\/([a-z-]{1,40})$/.exec(path)?.[1] ?? ''
    const handler = this.#handlers.get(name)
    if (handler === undefined || method !== (name === 'ping' ? 'GET' : 'POST'))
      return this.#refuse(response, 'not-found', read)
    const body = await bodyOf(request)
    if (body === null) return this.#refuse(response, 'too-large', read)
    if (hashOf(body) !== claims.bodyHash) return this.#refuse(response, 'body', read)
    const parsed = method === 'GET' ? { json: null } : parse(body)
    if (parsed === null) return this.#refuse(response, 'malformed', read)
    try {
      const answer = await handler(parsed.json, claims.from)
      this.#answer(response, 200, answer ?? null, { claims, key })
      this.answered++
    } catch (thrown) {
      this.faults++
      this.#options.log.error({ err: thrown, request: name }, 'a request of another node could not be answered')
      this.#answer(response, 500, { reason: 'fault', message: 'the node failed to answer; it has logged why' }, read)
    }
  }

  /**
   * Fault of a request's claims; null if there is none. The addressee is checked first, so that even a sender with a
   * wrong clock learns that the addressed run is gone.
   */
  #judgeClaims({ to, timeMs, nonce }: PeerClaims): (PeerRefusal & keyof typeof REFUSALS) | null {
    const { self, wallClock } = this.#options
    if (to.node !== self.node) return 'another-node'
    if (to.incarnation !== self.incarnation) return 'another-incarnation'
    const nowMs = wallClock()
    if (Math.abs(nowMs - timeMs) > CLOCK_SKEW_MS_MAX) return 'late'
    return this.#seen.isNew(nonce, timeMs, nowMs) ? null : 'replayed'
  }

  /** @param proven the verified request; null if the sender has not proven the secret */
  #refuse(
    response: ServerResponse,
    reason: keyof typeof REFUSALS,
    proven: { readonly claims: PeerClaims; readonly key: Buffer } | null,
  ): void {
    const [status, message] = REFUSALS[reason]
    const { req: request } = response
    this.#note(reason, request.socket.remoteAddress ?? null, proven?.claims.from.node ?? null, message)
    // The connection is closed only if the body is too long. Otherwise Node reads and discards the body's rest. A close
    // would reset the connection, and the sender would not get this answer.
    const { 'content-length': length = request.method === 'GET' ? 0 : Infinity } = request.headers
    if (!(Number(length) <= PEER_BODY_BYTES_MAX)) response.setHeader('connection', 'close')
    this.#answer(response, status, { reason, message }, proven)
  }

  #answer(
    response: ServerResponse,
    status: number,
    answer: unknown,
    proven: { readonly claims: PeerClaims; readonly key: Buffer } | null,
  ): void {
    const body = Buffer.from(JSON.stringify(answer))
    assert(body.length <= PEER_BODY_BYTES_MAX, 'an answer between nodes fits into its bound')
    response.statusCode = status
    response.setHeader('content-type', 'application/json')
    response.setHeader('content-length', body.length)
    if (proven !== null) {
      const { claims, key } = proven
      const header = this.#proof.signAnswer(key, this.#options.self, { status, body, nonce: claims.nonce })
      response.setHeader(ANSWER_HEADER, header)
    }
    response.end(body)
  }

  #note(reason: PeerRefusal, address: string | null, sender: string | null, why: string): void {
    this.#counts[reason]++
    this.#lines.note(reason, { why, address, sender }, this.#options.clock())
  }
}

/** This node's certificate and key, and the authorities for other nodes' certificates; PEM. */
export interface PeerTls {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

/**
 * Handler of another node's request. The handler's result is sent as JSON.
 * @param body parsed JSON without any other check. The sender has the secret, but perhaps another version
 */
type PeerHandler = (body: unknown, from: PeerName) => unknown

export const PEER_REFUSALS = [
  'certificate',
  'unsigned',
  'signature',
  'another-node',
  'another-incarnation',
  'late',
  'replayed',
  'not-found',
  'too-large',
  'body',
  'malformed',
  'protocol',
  'connections',
] as const

export type PeerRefusal = (typeof PEER_REFUSALS)[number]

interface ListenerOptions {
  readonly self: PeerName
  /** Values of TOKEN_SECRET, at least one. The first signs; each may verify. */
  readonly secrets: readonly string[]
  readonly host: string
  /** Port; 0 for any free port. */
  readonly port: number
  /**
   * Origin of this listener for other nodes; if it has no port, the listener's port is added. Null to use `host` and
   * the port.
   */
  readonly url: string | null
  /**
   * Files for TLS; null for HTTP. With TLS, the client and the server each need a certificate that an authority in `ca`
   * has signed.
   */
  readonly tls: PeerTls | null
  /** @defaultValue `PEER_CONNECTIONS_MAX` */
  readonly connectionsMax?: number
  /**
   * Called for each proven request of another node, before the handler. The request shows that the other node is alive.
   */
  readonly onHeard: (from: PeerName) => void
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly log: Log
}

interface Connection {
  /** With TLS, this is the encrypted socket once it exists. */
  socket: Socket
  /** Node that sent the last proven request; null before the first proven request. */
  node: string | null
}

/**
 * Nonces of accepted requests, remembered for as long as the requests could be replayed. If there are too many nonces,
 * the oldest are dropped, and requests as old as these are refused.
 */
export class SeenRequests {
  readonly #max: number
  /** Times of the requests by nonce, in the order in which the requests arrived. */
  readonly #times = new Map<string, number>()
  #floorMs = 0

  constructor(max: number) {
    this.#max = max
  }

  isNew(nonce: string, timeMs: number, nowMs: number): boolean {
    if (timeMs <= this.#floorMs || this.#times.has(nonce)) return false
    this.#times.set(nonce, timeMs)
    for (const [oldest, sentMs] of this.#times) {
      const over = nowMs - sentMs > CLOCK_SKEW_MS_MAX
      if (!over && this.#times.size <= this.#max) break
      this.#times.delete(oldest)
      if (!over) this.#floorMs = Math.max(this.#floorMs, sentMs)
    }
    return true
  }
}

function endOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress ?? ''} ${remotePort ?? ''}`
}

/**
 * Reads the whole body; null if the body is larger than PEER_BODY_BYTES_MAX.
 * @throws if the connection breaks
 */
async function bodyOf(request: IncomingMessage): Promise<Buffer | null> {
  if (Number(request.headers['content-length'] ?? 0) > PEER_BODY_BYTES_MAX) return null
  return bytesOf(request, PEER_BODY_BYTES_MAX)
}

function parse(body: Buffer): { readonly json: unknown } | null {
  try {
    return { json: JSON.parse(body.toString()) as unknown }
  } catch {
    return null
  }
}
