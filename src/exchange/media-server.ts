import { createHash, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { bytesOf } from '../core/bytes-of.js'
import { forgetOldest } from '../core/forget-oldest.js'
import { headersIn } from './invite-headers.js'
import { type AfterLeg, type LegCounters, MediaLeg } from './media-leg.js'

/** User of the media sockets in Asterisk's `websocket_client.conf`. */
export const MEDIA_USER = 'mkondo'
const SUBPROTOCOL = 'media'
/** Maximum size of a message in bytes; Asterisk sends messages of 640 bytes. */
const MESSAGE_BYTES_MAX = 64 * 1024
const BODY_BYTES_MAX = 4096
/** Maximum size of a handoff packet in bytes; the packet contains the call's transcript. */
const HANDOFF_BYTES_MAX = 1024 * 1024
/**
 * Maximum number of ended legs whose dialplan may still request the next step. The request follows within milliseconds.
 */
const ENDED_KEPT_MAX = 1000
const HEAD_TIMEOUT_MS = 5000
/** Base of the paths of requests. */
const HERE = 'http://exchange'
/**
 * Form of a leg's id. The dialplan makes the ids of incoming legs; the exchange makes the ids of phones that it rings.
 */
const LEG_ID = /^[0-9A-Za-z-]{16,64}$/

/** Events of a phone that the exchange rings. */
interface RungEvents {
  /** Called when the media socket is open and the phone rings. */
  readonly opened: (leg: MediaLeg) => void
  /** The dialplan's DIALSTATUS and HANGUPCAUSE; `ANSWER` if the phone is answered. */
  readonly reported: (status: string, cause: number) => void
  /** Called when the media socket has ended. */
  readonly closed: () => void
}

interface MediaServerOptions {
  readonly host: string
  /** Port; 0 for a free port. */
  readonly port: number
  readonly secret: string
  /** Headers of an INVITE that a leg stores. Default: none. */
  readonly headers?: readonly string[]
  /** Maximum number of open legs, of callers and of rung phones. */
  readonly legsMax: number
  /** Called for an incoming call. */
  readonly onCall: (leg: MediaLeg) => void
  /**
   * Handles a handoff packet with its signature; null: packets are refused.
   * @returns false if the signature is wrong
   */
  readonly onHandoff?: ((body: Buffer, signature: string) => boolean) | null
  /** Counts for `GET /status`. */
  readonly status: () => Readonly<Record<string, number>>
}

/** The port for Asterisk: media sockets, and the dialplan's request after each socket's end. */
export class MediaServer {
  readonly counters: LegCounters & { legsRefused: number } = {
    framesDropped: 0,
    framesSkipped: 0,
    heardMsSkipped: 0,
    legsLost: 0,
    legsRefused: 0,
  }
  readonly #options: MediaServerOptions
  readonly #server: Server
  readonly #sockets = new WebSocketServer({
    ...{ noServer: true, perMessageDeflate: false, maxPayload: MESSAGE_BYTES_MAX },
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  })
  readonly #legs = new Map<string, MediaLeg>()
  readonly #ended = new Map<string, AfterLeg>()
  /** Phones that are rung. Limited by the maximum number of ringing phones (`asterisk.ts`). */
  readonly #expected = new Map<string, RungEvents>()

  constructor(options: MediaServerOptions) {
    this.#options = options
    const timeouts = { headersTimeout: HEAD_TIMEOUT_MS, requestTimeout: HEAD_TIMEOUT_MS }
    this.#server = createServer(timeouts, (request, response) => {
      this.#answer(request, response).catch(() => response.destroy())
    })
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head))
  }

  /** @throws the error of the system if the port is taken */
  async listen(): Promise<void> {
    this.#server.listen(this.#options.port, this.#options.host)
    await once(this.#server, 'listening')
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get legs(): number {
    return this.#legs.size
  }

  /**
   * Expects the media socket of a rung phone.
   * @returns a function that stops expecting the socket and its events
   */
  expect(id: string, events: RungEvents): () => void {
    this.#expected.set(id, events)
    return () => this.#expected.delete(id)
  }

  async close(): Promise<void> {
    for (const leg of this.#legs.values()) leg.close()
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      for (const client of this.#sockets.clients) client.terminate()
    })
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { pathname, searchParams: query } = urlOf(request)
    const id = query.get('leg') ?? ''
    const waiting = this.#expected.get(id)
    const status = !this.#isProven(request)
      ? 401
      : pathname !== '/media' || !LEG_ID.test(id)
        ? 404
        : this.#legs.has(id)
          ? 409
          : this.#legs.size >= this.#options.legsMax
            ? 503
            : query.has('rung') && waiting === undefined
              ? 404
              : 101
    if (status !== 101) {
      this.counters.legsRefused++
      socket.on('error', () => undefined)
      // The socket is destroyed: a peer that keeps its half of the connection open would block the descriptor and delay
      // the end of the server.
      socket.once('finish', () => socket.destroy())
      socket.end(`HTTP/1.1 ${status} Refused\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`)
      return
    }
    this.#sockets.handleUpgrade(request, socket, head, (opened) => {
      const headers = headersIn(query, this.#options.headers ?? [])
      const [from, to] = [query.get('from') ?? '', query.get('to') ?? '']
      const leg = new MediaLeg(opened, { id, from, to, headers }, this.counters)
      this.#legs.set(id, leg)
      opened.once('close', () => {
        this.#legs.delete(id)
        this.#end(leg)
        this.#expected.get(id)?.closed()
      })
      if (waiting === undefined) this.#options.onCall(leg)
      else waiting.opened(leg)
    })
  }

  #end(leg: MediaLeg): void {
    this.#ended.set(leg.id, leg.after)
    forgetOldest(this.#ended, ENDED_KEPT_MAX)
  }

  /**
   * Handles `POST /after`: answers with a phone's next step; empty means the fallback. Handles `POST /rung`: takes the
   * result of ringing a phone. Only Asterisk knows phones' ids.
   */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = urlOf(request)
    if (request.method === 'GET' && pathname === '/status') {
      const proven = this.#isProven(request)
      response.writeHead(proven ? 200 : 401, { 'content-type': 'application/json' })
      response.end(proven ? JSON.stringify(this.#options.status()) : '')
      return
    }
    const { onHandoff = null } = this.#options
    if (request.method === 'POST' && pathname === '/handoff' && onHandoff !== null) {
      const body = await bytesOf(request, HANDOFF_BYTES_MAX)
      const signature = request.headers['x-mkondo-signature']
      const isTaken = body !== null && onHandoff(body, typeof signature === 'string' ? signature : '')
      response.writeHead(isTaken ? 204 : 401).end()
      return
    }
    if (request.method !== 'POST' || (pathname !== '/after' && pathname !== '/rung')) {
      response.writeHead(404).end()
      return
    }
    const body = await bytesOf(request, BODY_BYTES_MAX)
    if (body === null) throw new Error(`a body has ${BODY_BYTES_MAX} bytes at most`)
    const fields = new URLSearchParams(body.toString())
    const id = fields.get('leg') ?? ''
    if (pathname === '/rung') {
      this.#expected.get(id)?.reported(fields.get('status') ?? '', Number(fields.get('cause') ?? 0))
      response.writeHead(204).end()
      return
    }
    const after = this.#ended.get(id) ?? this.#legs.get(id)?.after ?? 'fallback'
    this.#ended.delete(id)
    response.writeHead(200, { 'content-type': 'text/plain' }).end(after === 'fallback' ? '' : after)
  }

  #isProven(request: IncomingMessage): boolean {
    const given = /^Basic (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    const wanted = Buffer.from(`${MEDIA_USER}:${this.#options.secret}`).toString('base64')
    return timingSafeEqual(digestOf(given), digestOf(wanted))
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function urlOf(request: IncomingMessage): URL {
  const given = request.url ?? '/'
  return new URL(URL.canParse(given, HERE) ? given : '/', HERE)
}
