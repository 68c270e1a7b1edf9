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

/** Maximum size of an accepted message in bytes; a larger message closes the socket. */
const BACKEND_FRAME_BYTES_MAX = 32 * 1024 * 1024
/**
 * Maximum number of unsent bytes of one backend socket: 8 s of 24 kHz audio as base64. If more bytes are unsent, caller
 * audio waits.
 */
const BACKEND_UNSENT_BYTES_MAX = 512 * 1024

const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006

/**
 * The life cycle of a backend's connection to a service over a WebSocket:
 *
 *     idle       --connect--> connecting
 *     connecting --ready()--> ready: the first time, emits `ready` and resolves `connect`
 *     connecting --fault, timeout, signal--> closed: emits `error` and `closed`, then rejects `connect`
 *     ready      --a close by the service for which `recovers` is true--> connecting
 *     ready      --a fatal fault, any other close by the service--> closed: emits `error` and `closed`
 *     (any)      --close()--> closed: emits `closed` when the socket is gone, within 1 s
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

  /** True while the connection is connecting or ready, so that events may be emitted. */
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
   * Called when the service accepts audio. Emits `ready`, then resolves `connect`.
   * @param first  sends the waiting caller audio; called before the work that `whenReady` has stored
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

  /**
   * Runs `work` now, or when the session is ready. At most BACKEND_WAITING_TEXTS_MAX functions wait; further functions
   * are dropped.
   */
  whenReady(work: () => void): void {
    if (this.isReady) work()
    else if (this.alive && this.#waiting.length < BACKEND_WAITING_TEXTS_MAX) this.#waiting.push(work)
  }

  send(message: string): void {
    this.#socket?.send(message)
  }

  /**
   * Sends a JSON text: `before`, then the first `length` bytes of `audio` as base64, then `after`. `before` and `after`
   * are ASCII.
   */
  sendAudio(before: string, audio: Buffer, length: number, after: string): void {
    this.#socket?.sendAudio(before, audio, length, after)
  }

  /** Sends the first `length` bytes of `audio` as a binary message; copies them before the method returns. */
  sendBytes(audio: Buffer, length: number): void {
    this.#socket?.sendBytes(audio, length)
  }

  /**
   * Emits a fault. If the fault is fatal, it ends the session, and the session's owner decides if another session
   * begins.
   */
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
          // The receiver of the event may have closed the connection.
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

  /** Closes the current socket; later messages of this socket are ignored. */
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
  /** Name of the service, for messages. */
  readonly service: string
  /** Secrets, which must never be shown; null for a missing API key. */
  readonly secrets: readonly (string | null)[]
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /**
   * Returns the target of the connection. Called for each attempt. The result may contain an API key and is not stored.
   */
  readonly target: () => { readonly url: string; readonly headers: Readonly<Record<string, string>> }
  readonly opened: () => void
  /** Receives one message. The connection owns the memory, which is valid only until this method returns. */
  readonly message: (data: Buffer, binary: boolean) => void
  /** @returns the fault for a close by the service. `words` may be shown */
  readonly closeFault: (code: number, words: string) => VendorFault
  /**
   * @returns true if another attempt with other parameters may succeed after a close by the service. The attempt is
   * then made at once
   */
  readonly recovers?: (fault: VendorFault) => boolean
  /** Called when the session is over, for any reason. The owner should stop its timers. */
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
  /** The upgrade was refused with an HTTP status. */
  | { readonly kind: 'refused'; readonly refusal: HttpRefusal }
  /** The connection failed or broke; `detail` is the system's code (`ECONNREFUSED`), never a URL. */
  | { readonly kind: 'broken'; readonly detail: string }
  /** No data arrived in the time limit, not even a pong. */
  | { readonly kind: 'half-open' }
  /** More data arrived than BACKEND_RATES allow. */
  | { readonly kind: 'overrun' }

interface SocketListener {
  opened(): void
  /**
   * Receives one message, text or binary. The socket owns the memory, which is valid only until this method returns.
   */
  message(data: Buffer, binary: boolean): void
  /** Called exactly once, as the last callback. `failure` is null if either side closed the socket regularly. */
  closed(code: number, reason: string, failure: SocketFailure | null): void
}

interface RealtimeSocketOptions {
  readonly headers: Readonly<Record<string, string>>
  /**
   * Interval of the liveness checks in ms. After the second interval in a row without a message, a ping is sent. After
   * the third, the connection ends.
   */
  readonly pingMs: number
}

/** Codes that an endpoint must not send (RFC 6455, 7.4.1); `ws` refuses to close with them. */
const UNSENDABLE: ReadonlySet<number> = new Set([1005, 1006, 1015])

const tlsClient = new TlsClient()

/**
 * A WebSocket to a model's service. The socket reports failed and half-open connections, and shows if audio should
 * wait. After `close`, it is closed within BACKEND_CLOSE_MS in every case.
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
      // Compression is off, because base64 audio hardly becomes smaller and deflate needs ten times as much CPU time as
      // the message.
      perMessageDeflate: false,
      // The check of UTF-8 is off, because a scan of megabytes of base64 costs too much. The parser finds invalid UTF-8
      // in relevant texts.
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
    // With the default `binaryType`, a message is always one Buffer.
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

  /** True if more than BACKEND_UNSENT_BYTES_MAX bytes are unsent, so that audio should wait. */
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
    // `ws` gets a copy to mask, because `ws` must not change this memory.
    this.#socket.send(audio.subarray(0, length), { binary: true })
  }

  /** Closes the socket, if possible with a handshake, at the latest after BACKEND_CLOSE_MS. Idempotent. */
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

  /**
   * Counts a message. If the rate limit is exceeded, the connection ends at once, because the socket would continue to
   * read during a close with a handshake.
   */
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
      // If `unexpected-response` has a listener, `ws` emits no `close`.
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
