import { BACKEND_CONNECT_MS, BACKEND_PING_MS } from '../../core/limits.js'
import { httpFault, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { RealtimeSocket } from '../transport/vendor-connection.js'
import type { SocketFailure } from '../transport/vendor-connection.js'
import { StageFault } from './stage-fault.js'

/** A connection that replaces another in mid-call. */
const RECONNECT_MS = 2500

/** A message of the service that was parsed; none of its fields is to be trusted. */
export type SonioxMessage = Readonly<Record<string, unknown>>

interface SonioxSocketOptions {
  /** Begins messages of faults. */
  readonly what: string
  readonly baseUrl: string
  readonly path: 'transcribe-websocket' | 'tts-websocket'
  readonly apiKey: string
  readonly connectTimeoutMs?: number | undefined
  readonly message: (message: SonioxMessage) => void
  /** The connection is over, after it was open; once. Not after `close`. */
  readonly lost: (fault: VendorFault) => void
}

/** Soniox's connections, of recogniser and voice alike: JSON, audio, and errors that end the session. */
export class SonioxSocket {
  readonly #options: SonioxSocketOptions
  readonly #socket: RealtimeSocket
  #state: 'connecting' | 'open' | 'over' = 'connecting'
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | null = null
  readonly #opened: Promise<void>

  constructor(options: SonioxSocketOptions) {
    this.#options = options
    this.#opened = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#opened.catch(() => undefined)
    const { baseUrl, path } = options
    // The key goes in the first message.
    this.#socket = new RealtimeSocket(
      `${baseUrl.replace(/^http/, 'ws').replace(/\/+$/, '')}/${path}`,
      { headers: {}, pingMs: BACKEND_PING_MS },
      {
        opened: () => {
          if (this.#state !== 'connecting') return
          this.#state = 'open'
          this.#settle?.resolve()
        },
        message: (data, binary) => {
          if (this.#state === 'open' && !binary) this.#message(data)
        },
        closed: (code, reason, failure) => this.fail(this.#closeFault(code, reason, failure)),
      },
    )
  }

  /**
   * @param probe  the call begins, and nobody waits yet. False: somebody does
   * @throws StageFault, or the reason of the signal
   */
  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    const timeoutMs = this.#options.connectTimeoutMs ?? (probe ? BACKEND_CONNECT_MS : RECONNECT_MS)
    const timer = setTimeout(
      () => this.fail(vendorFault('timeout', `${this.#options.what}: no connection after ${timeoutMs} ms`, false)),
      timeoutMs,
    )
    const abort = (): void => this.#settle?.reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    try {
      signal.throwIfAborted()
      await this.#opened
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    }
  }

  send(message: Readonly<Record<string, unknown>>): void {
    if (this.#state === 'open') this.#socket.send(JSON.stringify(message))
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.#state !== 'open') return
    if (this.#socket.congested) return this.fail(vendorFault('network', `${this.#options.what} takes no audio`, false))
    this.#socket.sendBytes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length)
  }

  /** Ends the connection for this reason. */
  fail(fault: VendorFault): void {
    const state = this.#state
    if (state === 'over') return
    this.#state = 'over'
    this.#socket.close(1000)
    if (state === 'connecting') this.#settle?.reject(new StageFault(fault))
    else this.#options.lost(fault)
  }

  close(): void {
    this.#state = 'over'
    this.#socket.close(1000)
  }

  /** The fault for an error of the service. */
  faultOf(message: SonioxMessage): VendorFault | null {
    const { error_code: code, error_message: text } = message
    if (code === undefined && text === undefined) return null
    const { what, apiKey } = this.#options
    const status = typeof code === 'number' ? code : 500
    const body = typeof text === 'string' ? text : ''
    const fault = httpFault(what, { status, body }, [apiKey])
    // 408: idle for too long; 503: the service restarts, and wants a new session.
    if (status === 408 || status === 503) return vendorFault('session_expired', fault.message, false)
    return { ...fault, fatal: !fault.retryable }
  }

  #message(data: Buffer): void {
    let message: SonioxMessage
    try {
      message = JSON.parse(data.toString('utf8')) as SonioxMessage
    } catch {
      message = {}
    }
    // An error of one utterance has its id, and is for whoever speaks it.
    const fault = message['stream_id'] === undefined ? this.faultOf(message) : null
    if (fault !== null) this.fail(fault)
    else this.#options.message(message)
  }

  #closeFault(code: number, _reason: string, failure: SocketFailure | null): VendorFault {
    const { what, apiKey } = this.#options
    if (failure?.kind === 'refused') {
      const fault = httpFault(`${what} refused the connection`, failure.refusal, [apiKey])
      return { ...fault, fatal: !fault.retryable }
    }
    if (failure?.kind === 'broken') return vendorFault('network', `${what}: no connection (${failure.detail})`, false)
    if (failure !== null) return vendorFault('network', `${what}: the connection is dead`, false)
    return vendorFault('session_expired', `${what} closed the session with ${code}`, false)
  }
}
