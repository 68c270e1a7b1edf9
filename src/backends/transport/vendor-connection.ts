import type { ClientRequestArgs, IncomingMessage } from 'node:http'
import type { createConnection } from 'node:net'
import { WebSocket } from 'ws'
import { GatewayError } from '../../core/errors.js'
import {
  BACKEND_CLOSE_MS,
  BACKEND_CONNECT_MS,
  BACKEND_FAULT_BYTES_MAX,
  BACKEND_PING_MS,
  BACKEND_RATES,
  BACKEND_WAITING_TEXTS_MAX,
} from '../../core/limits.js'
import { StreamBudget } from '../../core/stream-budget.js'
import type { BackendSink } from '../backend.js'
import { MessageLane } from './message-lane.js'
import { TlsClient } from './tls-client.js'
import {
  faultError,
  faultEvent,
  httpFault,
  overrunFault,
  retryAfterOf,
  vendorFault,
  vendorText,
} from './vendor-fault.js'
import type { HttpRefusal, VendorFault } from './vendor-fault.js'

/** Largest message that is accepted at all; the socket is closed on more. */
const BACKEND_FRAME_BYTES_MAX = 32 * 1024 * 1024
/** Unsent bytes of one backend socket beyond which caller audio waits: 8 s of 24 kHz audio as base64. */
const BACKEND_UNSENT_BYTES_MAX = 512 * 1024

const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006

/**
 * The life cycle of a backend's connection, the same for all services that are reached over a WebSocket:
 *
 *     idle       --connect--> connecting
 *     connecting --ready()--> ready                               `ready` and `connect` resolves, the first time
 *     connecting --fault, timeout, signal--> closed               `error`, `closed`, then `connect` rejects
 *     ready      --closed by the other side, and it recovers--> connecting
 *     ready      --fatal fault, closed by the other side--> closed  `error`, `closed`
 *     (any)      --close()--> closed                              `closed` when the socket is gone, within 1 s
 */
export class VendorConnection {
  readonly #options: VendorConnectionOptions
  readonly #sink: BackendSink
  #state: 'idle' | 'connecting' | 'ready' | 'closing' | 'closed' = 'idle'
  #socket: RealtimeSocket | null = null
  readonly #waiting: (() => void)[] = []
  #deadline: NodeJS.Timeout | null = null
  #settle: { readonly resolve: () => void; readonly reject: (error: GatewayError) => void } | null = null
  #closing: { readonly promise: Promise<void>; readonly done: () => void; readonly reason: string } | null = null

  constructor(sink: BackendSink, options: VendorConnectionOptions) {
    this.#sink = sink
    this.#options = options
  }

  get isReady(): boolean {
    return this.#state === 'ready'
  }

  /** Connecting or ready: events may be emitted. */
  get alive(): boolean {
    return this.#state === 'connecting' || this.#state === 'ready'
  }

  get congested(): boolean {
    return this.#socket?.congested ?? true
  }

  connect(signal: AbortSignal): Promise<void> {
    const gone = (): GatewayError =>
      new GatewayError('BACKEND_CLOSED', `${this.#options.service}: the call ended before its backend was connected`)
    if (this.#state !== 'idle' || signal.aborted) return Promise.reject(gone())
    this.#state = 'connecting'
    this.#setDeadline()
    signal.addEventListener(
      'abort',
      () => {
        if (this.#state === 'connecting') void this.close('the call ended')
      },
      { once: true },
    )
    const ready = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#open()
    return ready
  }

  /**
   * The service takes audio: emits `ready`, then resolves `connect`.
   * @param first  sends the caller's audio that waited, before what waited in `whenReady`, which came after it
   */
  ready(first: () => void): void {
    if (this.#state !== 'connecting') return
    this.#state = 'ready'
    this.#clearTimers()
    if (this.#settle !== null) {
      this.#sink.event({ type: 'ready' })
      this.#settle.resolve()
      this.#settle = null
    }
    first()
    for (const work of this.#waiting.splice(0)) work()
  }

  /** Does this now, or when the session is ready; at most BACKEND_WAITING_TEXTS_MAX wait, the rest is dropped. */
  whenReady(work: () => void): void {
    if (this.isReady) work()
    else if (this.alive && this.#waiting.length < BACKEND_WAITING_TEXTS_MAX) this.#waiting.push(work)
  }

  send(message: string): void {
    this.#socket?.send(message)
  }

  /** Sends JSON around the base64 of the first `length` bytes of `audio`; `before` and `after` are ASCII. */
  sendAudio(before: string, audio: Buffer, length: number, after: string): void {
    this.#socket?.sendAudio(before, audio, length, after)
  }

  /** Sends the first `length` bytes of `audio` as a binary message; they are copied before this returns. */
  sendBytes(audio: Buffer, length: number): void {
    this.#socket?.sendBytes(audio, length)
  }

  /** Emits a fault. A fatal one ends the session; whether another is made is for its owner to decide. */
  fail(fault: VendorFault): void {
    if (!this.alive) return
    if (!fault.fatal) {
      this.#sink.event(faultEvent(fault))
      return
    }
    const settle = this.#settle
    this.#settle = null
    this.#end()
    this.#drop()
    this.#sink.event(faultEvent(fault))
    this.#sink.event({ type: 'closed', code: CLOSE_ABNORMAL, reason: fault.message, clean: false })
    settle?.reject(faultError(fault))
  }

  close(reason: string): Promise<void> {
    if (this.#closing !== null) return this.#closing.promise
    if (this.#state === 'closed') return Promise.resolve()
    const settle = this.#settle
    this.#settle = null
    const socket = this.#socket
    let done = (): void => undefined
    const promise = new Promise<void>((resolve) => {
      done = resolve
    })
    this.#closing = { promise, done, reason }
    this.#end()
    this.#state = 'closing'
    settle?.reject(new GatewayError('BACKEND_CLOSED', `${this.#options.service}: closed before it was ready`))
    if (socket === null) this.#closed()
    else socket.close(CLOSE_NORMAL)
    return promise
  }

  #open(): void {
    const { url, headers } = this.#options.target()
    const { service, secrets, pingMs = BACKEND_PING_MS } = this.#options
    const socket: RealtimeSocket = new RealtimeSocket(
      url,
      { headers, pingMs },
      {
        opened: () => {
          if (this.#socket === socket && this.alive) this.#options.opened()
        },
        message: (data, binary) => {
          if (this.#socket === socket && this.alive) this.#options.message(data, binary)
        },
        closed: (code, reason, failure) => {
          if (this.#socket !== socket) return
          this.#socket = null
          if (this.#state === 'closing') return this.#closed()
          if (failure !== null) return this.fail(socketFault(service, failure, secrets))
          const fault = this.#options.closeFault(code, vendorText(reason, secrets))
          if (!this.alive || this.#options.recovers?.(fault) !== true) return this.fail(fault)
          // The owner may have closed it meanwhile.
          if (!this.alive) return
          if (this.#state === 'ready') this.#setDeadline()
          this.#state = 'connecting'
          this.#open()
        },
      },
    )
    this.#socket = socket
  }

  #setDeadline(): void {
    const { service, connectTimeoutMs = BACKEND_CONNECT_MS } = this.#options
    this.#deadline = setTimeout(() => {
      this.fail(
        vendorFault('timeout', `${service}: not ready ${connectTimeoutMs} ms after the connection was begun`, true),
      )
    }, connectTimeoutMs)
  }

  /** Closes the current socket; its later messages are ignored. */
  #drop(): void {
    const socket = this.#socket
    this.#socket = null
    socket?.close(CLOSE_NORMAL)
  }

  #closed(): void {
    const closing = this.#closing
    if (closing === null || this.#state === 'closed') return
    this.#state = 'closed'
    this.#sink.event({ type: 'closed', code: CLOSE_NORMAL, reason: closing.reason, clean: true })
    closing.done()
  }

  #end(): void {
    this.#state = 'closed'
    this.#clearTimers()
    this.#options.ended()
  }

  #clearTimers(): void {
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    this.#deadline = null
  }
}

/** Options that differ between services. */
export interface VendorConnectionOptions {
  /** For messages: `OpenAI`, `Gemini`. */
  readonly service: string
  /** Texts that must never be shown; null where there is no key. */
  readonly secrets: readonly (string | null)[]
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /** Made anew for each attempt; it may hold a key and is not kept. */
  readonly target: () => { readonly url: string; readonly headers: Readonly<Record<string, string>> }
  readonly opened: () => void
  /** One message. The memory belongs to the connection and is valid only during the call. */
  readonly message: (data: Buffer, binary: boolean) => void
  /** The fault that a close by the other side stands for. `words` are safe to show. */
  readonly closeFault: (code: number, words: string) => VendorFault
  /** After a close by the service: true when another attempt, made differently, may succeed. It is made at once. */
  readonly recovers?: (fault: VendorFault) => boolean
  /** The session is over, for whatever reason: stop timers. */
  readonly ended: () => void
}

function socketFault(service: string, failure: SocketFailure, secrets: readonly (string | null)[]): VendorFault {
  switch (failure.kind) {
    case 'refused':
      return httpFault(`${service} refused the connection`, failure.refusal, secrets)
    case 'half-open':
      return vendorFault('network', `${service}: the connection is dead, nothing came back`, true)
    case 'overrun':
      return overrunFault(service)
    case 'broken':
      return vendorFault('network', `${service}: no connection (${failure.detail})`, true)
    default: {
      const never: never = failure
      return never
    }
  }
}

export type SocketFailure =
  /** The upgrade was answered with a status. */
  | { readonly kind: 'refused'; readonly refusal: HttpRefusal }
  /** No connection, or it broke; `detail` is the system's code (`ECONNREFUSED`), never a URL. */
  | { readonly kind: 'broken'; readonly detail: string }
  /** Nothing came, not even a pong. */
  | { readonly kind: 'half-open' }
  /** More came than BACKEND_RATES allow. */
  | { readonly kind: 'overrun' }

interface SocketListener {
  opened(): void
  /** One message, text or binary. The memory belongs to the socket and is valid only during the call. */
  message(data: Buffer, binary: boolean): void
  /** Exactly once, last. `failure` is null after a regular close by either side. */
  closed(code: number, reason: string, failure: SocketFailure | null): void
}

interface RealtimeSocketOptions {
  readonly headers: Readonly<Record<string, string>>
  /**
   * Interval of the liveness checks: the second in a row without a message sends a ping, the third ends the connection.
   */
  readonly pingMs: number
}

/** Codes that an endpoint must not send (RFC 6455, 7.4.1); `ws` refuses to close with one of them. */
const UNSENDABLE: ReadonlySet<number> = new Set([1005, 1006, 1015])

const tlsClient = new TlsClient()

/**
 * A WebSocket to a model's service. It reports why it could not be opened, notices a half-open connection, says when
 * unsent audio should wait, and is closed within BACKEND_CLOSE_MS in every case.
 */
export class RealtimeSocket {
  readonly #socket: WebSocket
  readonly #listener: SocketListener
  readonly #lane = new MessageLane((data, binary) => this.#receive(data, binary))
  readonly #aliveTimer: NodeJS.Timeout
  readonly #budget = new StreamBudget(BACKEND_RATES)
  #failure: SocketFailure | null = null
  #silentChecks = 0
  #closeTimer: NodeJS.Timeout | null = null
  #over = false

  constructor(url: string, options: RealtimeSocketOptions, listener: SocketListener) {
    this.#listener = listener
    const lane = this.#lane
    const secure = /^(wss|https):/i.test(url)
    this.#socket = new WebSocket(url, {
      headers: options.headers,
      // Base64 audio hardly compresses, and deflate costs ten times as much as the message.
      perMessageDeflate: false,
      // Invalid UTF-8 is found by the parser where it matters; a second scan of megabytes of base64 is not worth its
      // cost.
      skipUTF8Validation: true,
      maxPayload: BACKEND_FRAME_BYTES_MAX,
      followRedirects: false,
      createConnection: ((args: ClientRequestArgs) =>
        lane.connect(args, secure ? tlsClient : null)) as typeof createConnection,
    })
    this.#aliveTimer = setInterval(() => this.#checkAlive(), options.pingMs).unref()
    this.#socket.on('open', () => {
      lane.opened()
      listener.opened()
    })
    // With the default binaryType a message is one Buffer.
    this.#socket.on('message', (data, binary) => this.#receive(data as Buffer, binary))
    this.#socket.on('ping', () => this.#mayRead(0))
    this.#socket.on('pong', () => {
      this.#silentChecks = 0
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

  /** More than BACKEND_UNSENT_BYTES_MAX is unsent: audio should wait. */
  get congested(): boolean {
    return this.#socket.bufferedAmount > BACKEND_UNSENT_BYTES_MAX
  }

  send(message: string): void {
    if (this.isOpen && !this.#lane.send(message)) this.#socket.send(message)
  }

  sendAudio(before: string, audio: Buffer, length: number, after: string): void {
    if (!this.isOpen || this.#lane.sendAudio(before, audio, length, after)) return
    this.#socket.send(before + audio.toString('base64', 0, length) + after)
  }

  sendBytes(audio: Buffer, length: number): void {
    if (!this.isOpen || this.#lane.sendBytes(audio, length)) return
    // `ws` masks a copy, because the memory is not its own.
    this.#socket.send(audio.subarray(0, length), { binary: true })
  }

  /** Closes with a handshake where that succeeds, at the latest after BACKEND_CLOSE_MS. Idempotent. */
  close(code: number): void {
    if (this.#over || this.#closeTimer !== null) return
    this.#closeTimer = setTimeout(() => this.#socket.terminate(), BACKEND_CLOSE_MS)
    if (this.#socket.readyState === WebSocket.CONNECTING) this.#socket.terminate()
    else this.#socket.close(UNSENDABLE.has(code) ? undefined : code)
  }

  #receive(data: Buffer, binary: boolean): void {
    this.#silentChecks = 0
    if (!this.#over && this.#mayRead(data.length)) this.#listener.message(data, binary)
  }

  /** Counts a message. One that is too much ends the connection at once: a close with a handshake would read on. */
  #mayRead(bytes: number): boolean {
    if (this.#failure !== null) return false
    if (this.#budget.take(bytes, 1, performance.now())) return true
    this.#failure = { kind: 'overrun' }
    this.#socket.terminate()
    return false
  }

  #checkAlive(): void {
    if (!this.isOpen) return
    if (this.#silentChecks++ === 0) return
    if (this.#silentChecks > 2) {
      this.#failure ??= { kind: 'half-open' }
      this.#socket.terminate()
      return
    }
    this.#socket.ping()
  }

  #refused(response: IncomingMessage): void {
    const pieces: Buffer[] = []
    let bytes = 0
    let reported = false
    const report = (): void => {
      if (reported) return
      reported = true
      response.destroy()
      const header = (name: string): string | undefined => [response.headers[name] ?? []].flat()[0]
      this.#failure = {
        kind: 'refused',
        refusal: {
          status: response.statusCode ?? 0,
          body: Buffer.concat(pieces).toString('utf8'),
          retryAfterMs: retryAfterOf(header, Date.now()),
        },
      }
      this.#socket.terminate()
      // With a listener for `unexpected-response`, `ws` emits no `close`.
      this.#ended(CLOSE_ABNORMAL, '')
    }
    response.on('data', (piece: Buffer) => {
      bytes += piece.length
      pieces.push(piece.subarray(0, Math.max(0, piece.length - Math.max(0, bytes - BACKEND_FAULT_BYTES_MAX))))
      if (bytes >= BACKEND_FAULT_BYTES_MAX) report()
    })
    response.on('end', report)
    response.on('error', report)
    response.on('close', report)
    setTimeout(report, BACKEND_CLOSE_MS).unref()
  }

  #ended(code: number, reason: string): void {
    if (this.#over) return
    this.#over = true
    clearInterval(this.#aliveTimer)
    if (this.#closeTimer !== null) clearTimeout(this.#closeTimer)
    this.#listener.closed(code, reason, this.#failure)
  }
}
