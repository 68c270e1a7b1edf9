import { BACKEND_CONNECT_MS, BACKEND_PING_MS } from '../../core/limits.js'
import { httpFault, vendorFault, vendorText } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { RealtimeSocket } from '../transport/vendor-connection.js'
import type { SocketFailure } from '../transport/vendor-connection.js'
import { StageFault } from './stage-fault.js'

/** A connection that replaces another in mid-call. */
const RECONNECT_MS = 2500

const CLOSE_ABNORMAL = 1006

/** A message of the service that was parsed; none of its fields is to be trusted. One that is no JSON is `unparsed`. */
export type StageMessage = Readonly<Record<string, unknown>>

export interface StageSocketOptions {
  /** Begins messages of faults. */
  readonly what: string
  /** Of `socketUrl`. */
  readonly url: string
  /** Hold the key, where it does not go in a message; none when not given. */
  readonly headers?: Readonly<Record<string, string>>
  /** Removed from messages of faults; null where there is none. */
  readonly apiKey: string | null
  readonly connectTimeoutMs?: number | undefined
  readonly message: (message: StageMessage) => void
  /** A binary message, whose memory is valid only during the call. Without this they are dropped. */
  readonly bytes?: (data: Buffer) => void
  /** The fault of a message that ends the connection; null for any other message. */
  readonly faultOf: (message: StageMessage) => VendorFault | null
  /** The fault of a close by the service. `words` are safe to show. `session_expired` when not given, or null. */
  readonly closeFault?: (code: number, words: string) => VendorFault | null
  /** The connection is over, after it was open; once. Not after `close`. */
  readonly lost: (fault: VendorFault) => void
}

/**
 * The URL of a service's WebSocket.
 * @param baseUrl  http(s) and ws(s) alike, with or without a path
 * @param query  a list repeats its key
 */
export function socketUrl(
  baseUrl: string,
  path: string,
  query: Readonly<Record<string, string | number | boolean | readonly string[]>> = {},
): string {
  const pairs = Object.entries(query).flatMap(([key, value]) =>
    [value].flat().map((one) => [key, String(one)] as [string, string]),
  )
  const text = new URLSearchParams(pairs).toString()
  return `${baseUrl.replace(/^http/, 'ws').replace(/\/+$/, '')}/${path}${text === '' ? '' : `?${text}`}`
}

/** The connection of a recogniser or a voice: JSON, audio, and errors that end the session. */
export class StageSocket {
  readonly #options: StageSocketOptions
  readonly #socket: RealtimeSocket
  #state: 'connecting' | 'open' | 'over' = 'connecting'
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | null = null
  readonly #opened: Promise<void>

  constructor(options: StageSocketOptions) {
    this.#options = options
    this.#opened = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#opened.catch(() => undefined)
    this.#socket = new RealtimeSocket(
      options.url,
      { headers: options.headers ?? {}, pingMs: BACKEND_PING_MS },
      {
        opened: () => {
          if (this.#state !== 'connecting') return
          this.#state = 'open'
          this.#settle?.resolve()
        },
        message: (data, binary) => {
          if (this.#state !== 'open') return
          if (binary) options.bytes?.(data)
          else this.#message(data)
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

  /** @param message  JSON, or a text that is sent as it is */
  send(message: Readonly<Record<string, unknown>> | string): void {
    if (this.#state === 'open') this.#socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.#takesAudio())
      this.#socket.sendBytes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length)
  }

  /** Sends JSON around the base64 of `bytes`; `before` and `after` are ASCII. */
  sendAudio(before: string, bytes: Uint8Array, after: string): void {
    if (this.#takesAudio())
      this.#socket.sendAudio(before, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length, after)
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
    const fault = vendorFault('network', `${this.#options.what}: closed before it was open`, false)
    if (this.#state === 'connecting') this.#settle?.reject(new StageFault(fault))
    this.#state = 'over'
    this.#socket.close(1000)
  }

  #takesAudio(): boolean {
    if (this.#state !== 'open') return false
    if (!this.#socket.congested) return true
    this.fail(vendorFault('network', `${this.#options.what} takes no audio`, false))
    return false
  }

  #message(data: Buffer): void {
    const text = data.toString('utf8')
    let message: StageMessage
    try {
      const parsed: unknown = JSON.parse(text)
      message = typeof parsed === 'object' && parsed !== null ? (parsed as StageMessage) : {}
    } catch {
      message = { unparsed: text }
    }
    const fault = this.#options.faultOf(message)
    if (fault !== null) this.fail(fault)
    else this.#options.message(message)
  }

  #closeFault(code: number, reason: string, failure: SocketFailure | null): VendorFault {
    const { what, apiKey, closeFault } = this.#options
    if (failure?.kind === 'refused')
      return serviceFault(httpFault(`${what} refused the connection`, failure.refusal, [apiKey]))
    if (failure?.kind === 'broken') return vendorFault('network', `${what}: no connection (${failure.detail})`, false)
    if (failure !== null) return vendorFault('network', `${what}: the connection is dead`, false)
    if (code === CLOSE_ABNORMAL) return vendorFault('network', `${what}: the connection broke`, false)
    return (
      closeFault?.(code, vendorText(reason, [apiKey])) ??
      vendorFault('session_expired', `${what} closed the session with ${code}`, false)
    )
  }
}

/** A refusal of one service: it ends the call's use of it only if another attempt cannot succeed. */
export function serviceFault(fault: VendorFault): VendorFault {
  return { ...fault, fatal: !fault.retryable }
}
