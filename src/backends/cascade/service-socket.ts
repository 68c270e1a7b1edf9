import { BACKEND_CONNECT_MS, BACKEND_PING_MS } from '../../core/limits.js'
import { pricedModel } from '../prices.js'
import { httpFault, overrunFault, vendorFault, vendorText } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { RealtimeSocket } from '../transport/vendor-connection.js'
import type { SocketFailure } from '../transport/vendor-connection.js'
import { ServiceFault } from './service-fault.js'
import type { ServiceContext, ServiceFactory } from './service.js'

/** Time limit in ms for a connection that replaces another connection during a call. */
const RECONNECT_MS = 2500

const CLOSE_ABNORMAL = 1006

/**
 * A parsed message of the service; its fields are not checked yet. If the message is not JSON, `unparsed` contains its
 * text.
 */
export type ServiceMessage = Readonly<Record<string, unknown>>

/** Message to the service: a value that is sent as JSON, or text or bytes that are sent unchanged. */
export type SentMessage = Readonly<Record<string, unknown>> | string | Uint8Array

/** Options of every service with its own connection. */
export interface SocketServiceOptions {
  /** Address, http(s) or ws(s), with or without a path. Default: the service's own address. */
  readonly baseUrl?: string
  /** API key. Never logged, and removed from fault messages; null if the service needs no key. */
  readonly apiKey: string | null
  readonly model?: string
  readonly connectTimeoutMs?: number
}

/** Options of one service in one call, after the service's defaults were filled in. */
export type SocketService<Options> = Options & {
  readonly baseUrl: string
  readonly model: string
  /** Name of the service's model in price lists. */
  readonly priced: string
  /** First words of fault messages. */
  readonly what: string
}

/** Listener to the connection of a service. */
export interface ConnectionListener {
  message(message: ServiceMessage): void
  /**
   * Receives a binary message. Its memory is valid only until this method returns. If this method is absent, binary
   * messages are dropped.
   */
  bytes?(data: Buffer): void
  /** Reports that an open connection has ended. Called once, and not after `close`. */
  lost(fault: VendorFault): void
}

/** The connection of a recogniser or a voice over a WebSocket. It carries JSON and audio, and an error ends it. */
export class ServiceSocket implements ServiceConnection {
  readonly #service: SocketService<SocketServiceOptions>
  readonly #wire: SocketWire
  readonly #listener: ConnectionListener
  readonly #socket: RealtimeSocket
  #state: 'connecting' | 'open' | 'over' = 'connecting'
  #settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | null = null
  readonly #opened: Promise<void>

  constructor(service: SocketService<SocketServiceOptions>, wire: SocketWire, listener: ConnectionListener) {
    this.#service = service
    this.#wire = wire
    this.#listener = listener
    this.#opened = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#opened.catch(() => undefined)
    this.#socket = new RealtimeSocket(
      wire.url,
      { headers: wire.headers ?? {}, pingMs: BACKEND_PING_MS },
      {
        opened: () => {
          if (this.#state !== 'connecting') return
          this.#state = 'open'
          this.#settle?.resolve()
        },
        message: (data, binary) => {
          if (this.#state !== 'open') return
          if (binary) listener.bytes?.(data)
          else this.#message(data)
        },
        closed: (code, reason, failure) => this.fail(this.#closeFault(code, reason, failure)),
      },
    )
  }

  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    const timeoutMs = connectWithinMs(this.#service, probe)
    const timer = setTimeout(
      () => this.fail(vendorFault('timeout', `${this.#service.what}: no connection after ${timeoutMs} ms`, false)),
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

  send(message: SentMessage): void {
    if (message instanceof Uint8Array) this.sendBytes(message)
    else if (this.#state === 'open') this.#socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.#takesAudio())
      this.#socket.sendBytes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length)
  }

  sendAudio(before: string, bytes: Uint8Array, after: string): void {
    if (this.#takesAudio())
      this.#socket.sendAudio(before, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length, after)
  }

  fail(fault: VendorFault): void {
    const state = this.#state
    if (state === 'over') return
    this.#state = 'over'
    this.#socket.close(1000)
    if (state === 'connecting') this.#settle?.reject(new ServiceFault(fault))
    else this.#listener.lost(fault)
  }

  close(): void {
    const fault = vendorFault('network', `${this.#service.what}: closed before it was open`, false)
    if (this.#state === 'connecting') this.#settle?.reject(new ServiceFault(fault))
    this.#state = 'over'
    this.#socket.close(1000)
  }

  #takesAudio(): boolean {
    if (this.#state !== 'open') return false
    if (!this.#socket.congested) return true
    this.fail(vendorFault('network', `${this.#service.what} takes no audio`, false))
    return false
  }

  #message(data: Buffer): void {
    const text = data.toString('utf8')
    const message = (this.#wire.parse ?? readJson)(text)
    const fault = this.#wire.faultOf(message)
    if (fault !== null) this.fail(fault)
    else this.#listener.message(message)
  }

  #closeFault(code: number, reason: string, failure: SocketFailure | null): VendorFault {
    const { what, apiKey } = this.#service
    if (failure?.kind === 'refused')
      return serviceRefusal(httpFault(`${what} refused the connection`, failure.refusal, [apiKey]))
    if (failure?.kind === 'broken') return vendorFault('network', `${what}: no connection (${failure.detail})`, false)
    if (failure?.kind === 'overrun') return serviceRefusal(overrunFault(what))
    if (failure !== null) return vendorFault('network', `${what}: the connection is dead`, false)
    if (code === CLOSE_ABNORMAL) return vendorFault('network', `${what}: the connection broke`, false)
    return (
      this.#wire.closeFault?.(code, vendorText(reason, [apiKey])) ??
      vendorFault('session_expired', `${what} closed the session with ${code}`, false)
    )
  }
}

/** The part that differs between services: how a connection is opened and its messages are read. */
export interface SocketWire {
  /** Address, as for `socketUrl`. */
  readonly url: string
  /** Parses a text message of the service. Default: JSON. */
  readonly parse?: (text: string) => ServiceMessage
  /** Headers with the API key, if no message contains the key. Default: no headers. */
  readonly headers?: Readonly<Record<string, string>>
  /** @returns the fault of a message that ends the connection; null for all other messages */
  readonly faultOf: (message: ServiceMessage) => VendorFault | null
  /**
   * @returns the fault if the service closes the connection. `words` may be shown. If the method is absent or returns
   * null, the fault is `session_expired`
   */
  readonly closeFault?: (code: number, words: string) => VendorFault | null
}

/** The connection of a recogniser: a WebSocket, or a stream of another protocol. */
export interface ServiceConnection {
  /**
   * @param probe  true if the phone call is just beginning, so that there is time to test the API key; false if the
   * caller waits
   * @throws ServiceFault, or the reason of the signal
   */
  open(signal: AbortSignal, probe: boolean): Promise<void>
  send(message: SentMessage): void
  /** Sends bytes; copies them before the method returns. */
  sendBytes(bytes: Uint8Array): void
  /**
   * Sends bytes as base64 in a JSON text; `before` and `after` are the ASCII text around the base64. Absent if the
   * service does not use JSON.
   */
  sendAudio?(before: string, bytes: Uint8Array, after: string): void
  /** Time in milliseconds until all data is sent. Absent if data is always sent at once. */
  readonly behindMs?: number
  /** Ends the connection, and reports this reason. */
  fail(fault: VendorFault): void
  close(): void
}

function readJson(text: string): ServiceMessage {
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? (parsed as ServiceMessage) : {}
  } catch {
    return { unparsed: text }
  }
}

/** Time limit for opening a connection, in milliseconds. */
export function connectWithinMs({ connectTimeoutMs }: SocketServiceOptions, probe: boolean): number {
  return connectTimeoutMs ?? (probe ? BACKEND_CONNECT_MS : RECONNECT_MS)
}

/**
 * Makes the fault for a refusal. The fault is fatal for the service in this call only if another attempt cannot
 * succeed.
 */
export function serviceRefusal(fault: VendorFault): VendorFault {
  return { ...fault, fatal: !fault.retryable }
}

/**
 * Makes a list entry for a service with its own connection.
 * @param own the service's defaults
 * @param wireOf returns the service's wire; called for each connection
 */
export function overSocket<Options extends SocketServiceOptions, Wire, Service>(
  part: 'stt' | 'tts',
  name: string,
  own: { readonly baseUrl: string; readonly model: string },
  options: Options,
  Kind: new (service: SocketService<Options>, wire: () => Wire, context: ServiceContext) => Service,
  wireOf: (service: SocketService<Options>, context: ServiceContext) => Wire,
): ServiceFactory<Service> {
  const { baseUrl, model } = { ...own, ...options }
  const priced = pricedModel(model, baseUrl)
  return {
    service: name,
    model: priced,
    make: (context) => {
      const service = { ...options, baseUrl, model, priced, what: `${context.name}: ${part} ${name}` }
      return new Kind(service, () => wireOf(service, context), context)
    },
  }
}

/**
 * @returns the URL of a service's WebSocket
 * @param query  query parameters. For a list, the name is repeated for each value
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
