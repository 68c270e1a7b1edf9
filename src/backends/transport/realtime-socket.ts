import type { ClientRequestArgs, IncomingMessage } from 'node:http'
import type { createConnection } from 'node:net'
import { WebSocket } from 'ws'
import { BACKEND_CLOSE_MS, BACKEND_FAULT_BYTES_MAX, BACKEND_FRAME_BYTES_MAX, BACKEND_UNSENT_BYTES_MAX } from '../../core/limits.js'
import { MessageLane } from './message-lane.js'
import { retryAfterOf } from './vendor-fault.js'
import type { HttpRefusal } from './vendor-fault.js'

export type SocketFailure =
  /** The upgrade was answered with a status. */
  | { readonly kind: 'refused'; readonly refusal: HttpRefusal }
  /** No connection, or it broke; `detail` is the system's code (`ECONNREFUSED`), never a URL. */
  | { readonly kind: 'broken'; readonly detail: string }
  /** Nothing came, not even an answer to a ping. */
  | { readonly kind: 'half-open' }

export interface SocketListener {
  opened(): void
  /** One message, text or binary; the memory is the socket's and only valid during the call. */
  message(data: Buffer): void
  /** Exactly once, last. `failure` is null when the other side closed it in order, or we did. */
  closed(code: number, reason: string, failure: SocketFailure | null): void
}

export interface RealtimeSocketOptions {
  readonly headers: Readonly<Record<string, string>>
  /** How long silence lasts until it is asked about with a ping; twice that is the end. */
  readonly pingMs: number
}

const ABNORMAL = 1006
const AS_TEXT = { binary: false }
/** Codes that an endpoint may not send; a close frame with one of them would be refused. */
const UNSENDABLE: ReadonlySet<number> = new Set([1005, 1006, 1015])

/**
 * A WebSocket to a model's service: tells why it could not be opened, notices when the other side is silently gone,
 * never lets unsent audio grow without bound, and is closed within BACKEND_CLOSE_MS whatever happens.
 */
export class RealtimeSocket {
  readonly #socket: WebSocket
  readonly #listener: SocketListener
  readonly #lane = new MessageLane((data) => this.#receive(data))
  readonly #pulse: NodeJS.Timeout
  #failure: SocketFailure | null = null
  #silentPulses = 0
  #cut: NodeJS.Timeout | null = null
  #over = false

  constructor(url: string, options: RealtimeSocketOptions, listener: SocketListener) {
    this.#listener = listener
    const lane = this.#lane
    const secure = /^(wss|https):/i.test(url)
    this.#socket = new WebSocket(url, {
      headers: options.headers,
      // Base64 does not get smaller, and deflate costs ten times what the message does.
      perMessageDeflate: false,
      // The parser refuses what is not UTF-8 where it matters; scanning megabytes of base64 twice does not pay.
      skipUTF8Validation: true,
      maxPayload: BACKEND_FRAME_BYTES_MAX,
      followRedirects: false,
      createConnection: ((args: ClientRequestArgs) => lane.connect(args, secure)) as typeof createConnection,
    })
    this.#pulse = setInterval(() => this.#feelPulse(), options.pingMs).unref()
    this.#socket.on('open', () => {
      lane.opened()
      listener.opened()
    })
    // With the default binaryType a message is one Buffer.
    this.#socket.on('message', (data) => this.#receive(data as Buffer))
    this.#socket.on('pong', () => {
      this.#silentPulses = 0
    })
    this.#socket.on('unexpected-response', (_request, response: IncomingMessage) => this.#refused(response))
    this.#socket.on('error', (error: Error & { readonly code?: unknown }) => {
      lane.stop()
      this.#failure ??= { kind: 'broken', detail: typeof error.code === 'string' ? error.code : 'no connection' }
    })
    this.#socket.on('close', (code, reason) => this.#ended(code, reason.toString()))
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN
  }

  /** So much is unsent already that audio should wait. */
  get congested(): boolean {
    return this.#socket.bufferedAmount > BACKEND_UNSENT_BYTES_MAX
  }

  /** Sends a text message. A buffer may be used again at once: it is copied while it is masked. */
  send(message: string | Buffer): void {
    if (!this.isOpen || (typeof message !== 'string' && this.#lane.send(message))) return
    this.#socket.send(message, AS_TEXT)
  }

  /** Closes in order, or not, within BACKEND_CLOSE_MS. Idempotent. */
  close(code: number): void {
    if (this.#over || this.#cut !== null) return
    this.#cut = setTimeout(() => this.#socket.terminate(), BACKEND_CLOSE_MS)
    if (this.#socket.readyState === WebSocket.CONNECTING) this.#socket.terminate()
    else this.#socket.close(UNSENDABLE.has(code) ? undefined : code)
  }

  #receive(data: Buffer): void {
    this.#silentPulses = 0
    if (!this.#over) this.#listener.message(data)
  }

  #feelPulse(): void {
    if (!this.isOpen) return
    if (this.#silentPulses++ === 0) return
    if (this.#silentPulses > 2) {
      this.#failure ??= { kind: 'half-open' }
      this.#socket.terminate()
      return
    }
    this.#socket.ping()
  }

  #refused(response: IncomingMessage): void {
    const pieces: Buffer[] = []
    let bytes = 0
    let told = false
    const tell = (): void => {
      if (told) return
      told = true
      response.destroy()
      const header = (name: string): string | undefined => [response.headers[name] ?? []].flat()[0]
      this.#failure = {
        kind: 'refused',
        refusal: { status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString('utf8'), retryAfterMs: retryAfterOf(header, Date.now()) },
      }
      this.#socket.terminate()
      // `ws` has given this request to us and will report no close of its own.
      this.#ended(ABNORMAL, '')
    }
    response.on('data', (piece: Buffer) => {
      bytes += piece.length
      pieces.push(piece.subarray(0, Math.max(0, piece.length - Math.max(0, bytes - BACKEND_FAULT_BYTES_MAX))))
      if (bytes >= BACKEND_FAULT_BYTES_MAX) tell()
    })
    response.on('end', tell)
    response.on('error', tell)
    response.on('close', tell)
    setTimeout(tell, BACKEND_CLOSE_MS).unref()
  }

  #ended(code: number, reason: string): void {
    if (this.#over) return
    this.#over = true
    clearInterval(this.#pulse)
    if (this.#cut !== null) clearTimeout(this.#cut)
    this.#listener.closed(code, reason, this.#failure)
  }
}
