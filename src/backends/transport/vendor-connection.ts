import { GatewayError } from '../../core/errors.js'
import { BACKEND_CONNECT_ATTEMPTS_MAX, BACKEND_CONNECT_MS, BACKEND_CONNECT_PAUSE_MS, BACKEND_PING_MS } from '../../core/limits.js'
import type { BackendSink } from '../backend.js'
import { RealtimeSocket } from './realtime-socket.js'
import type { SocketFailure } from './realtime-socket.js'
import { faultError, faultEvent, httpFault, vendorFault, vendorText } from './vendor-fault.js'
import type { VendorFault } from './vendor-fault.js'

/** What differs from one service to the next. */
export interface VendorConnectionOptions {
  /** For messages: `OpenAI`, `Gemini`. */
  readonly service: string
  /** What must never be shown; null where there is no key. */
  readonly secrets: readonly (string | null)[]
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /** Made anew for each attempt; it may hold a key and is not kept. */
  readonly target: () => { readonly url: string; readonly headers: Readonly<Record<string, string>> }
  readonly opened: () => void
  /** One message; the memory is only valid during the call. */
  readonly message: (data: Buffer) => void
  /** Sorts a close that we did not ask for. `words` are fit to be shown. */
  readonly closeFault: (code: number, words: string) => VendorFault
  /** A close before the session was ready: true when another try is worth it that differs from this one. */
  readonly recovers?: () => boolean
  /** The session is over, for whatever reason: stop timers. */
  readonly ended: () => void
}

const CLOSE_NORMAL = 1000
const CLOSE_ABNORMAL = 1006

/**
 * The life of a backend's connection, which is the same for all services that speak over a WebSocket:
 *
 *     idle       --connect--> connecting
 *     connecting --ready()--> ready                               `connect` resolves
 *     connecting --network fault, attempts left--> connecting     after a pause; never after a wrong key
 *     connecting --fault, timeout, signal--> closed               `error`, `closed`, then `connect` rejects
 *     ready      --fatal fault, closed by the other side--> closed  `error`, `closed`
 *     (any)      --close()--> closed                              `closed` when the socket is gone, within 1 s
 */
export class VendorConnection {
  readonly #options: VendorConnectionOptions
  readonly #sink: BackendSink
  #state: 'idle' | 'connecting' | 'ready' | 'closing' | 'closed' = 'idle'
  #socket: RealtimeSocket | null = null
  #attempts = 0
  #retry: NodeJS.Timeout | null = null
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

  /** Neither closed nor being closed: events may be told. */
  get alive(): boolean {
    return this.#state === 'connecting' || this.#state === 'ready'
  }

  get congested(): boolean {
    return this.#socket?.congested ?? true
  }

  connect(signal: AbortSignal): Promise<void> {
    const gone = (): GatewayError => new GatewayError('BACKEND_CLOSED', `${this.#options.service}: the call ended before its backend was connected`)
    if (this.#state !== 'idle' || signal.aborted) return Promise.reject(gone())
    this.#state = 'connecting'
    const { service, connectTimeoutMs = BACKEND_CONNECT_MS } = this.#options
    this.#deadline = setTimeout(() => {
      this.fail(vendorFault('timeout', `${service}: not ready ${connectTimeoutMs} ms after the connection was begun`, true))
    }, connectTimeoutMs)
    signal.addEventListener('abort', () => {
      if (this.#state === 'connecting') void this.close('the call ended')
    }, { once: true })
    const ready = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#open()
    return ready
  }

  /** The service takes audio: tells the call, then settles `connect`. */
  ready(): void {
    if (this.#state !== 'connecting') return
    this.#state = 'ready'
    this.#clearTimers()
    this.#sink.event({ type: 'ready' })
    this.#settle?.resolve()
    this.#settle = null
  }

  send(message: string | Buffer): void {
    this.#socket?.send(message)
  }

  /** Tells the call of a fault; a fatal one ends the session, unless it is worth another attempt to connect. */
  fail(fault: VendorFault): void {
    if (!this.alive) return
    if (!fault.fatal) {
      this.#sink.event(faultEvent(fault))
      return
    }
    const again = fault.code === 'network' || fault.code === 'internal'
    if (this.#state === 'connecting' && again && this.#attempts < BACKEND_CONNECT_ATTEMPTS_MAX) {
      this.#drop()
      this.#retry ??= setTimeout(() => {
        this.#retry = null
        this.#open()
      }, BACKEND_CONNECT_PAUSE_MS)
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
    this.#attempts++
    const { url, headers } = this.#options.target()
    const { service, secrets, pingMs = BACKEND_PING_MS } = this.#options
    const socket: RealtimeSocket = new RealtimeSocket(url, { headers, pingMs }, {
      opened: () => {
        if (this.#socket === socket && this.alive) this.#options.opened()
      },
      message: (data) => {
        if (this.#socket === socket && this.alive) this.#options.message(data)
      },
      closed: (code, reason, failure) => {
        if (this.#socket !== socket) return
        this.#socket = null
        if (this.#state === 'closing') this.#closed()
        else if (failure === null && this.#state === 'connecting' && this.#options.recovers?.() === true) this.#open()
        else this.fail(failure === null ? this.#options.closeFault(code, vendorText(reason, secrets)) : socketFault(service, failure, secrets))
      },
    })
    this.#socket = socket
  }

  /** Lets go of the present socket; what it still says is not heard. */
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
    if (this.#retry !== null) clearTimeout(this.#retry)
    if (this.#deadline !== null) clearTimeout(this.#deadline)
    this.#retry = null
    this.#deadline = null
  }
}

function socketFault(service: string, failure: SocketFailure, secrets: readonly (string | null)[]): VendorFault {
  switch (failure.kind) {
    case 'refused': return httpFault(`${service} refused the connection`, failure.refusal, secrets)
    case 'half-open': return vendorFault('network', `${service}: the connection is dead, nothing came back`, true)
    case 'broken': return vendorFault('network', `${service}: no connection (${failure.detail})`, true)
    default: {
      const never: never = failure
      return never
    }
  }
}
