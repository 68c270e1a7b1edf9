import { BACKEND_CONNECT_MS, BACKEND_PING_MS } from '../../core/limits.js'
import { pricedModel } from '../prices.js'
import { httpFault, overrunFault, vendorFault, vendorText } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { RealtimeSocket } from '../transport/vendor-connection.js'
import type { SocketFailure } from '../transport/vendor-connection.js'
import { ServiceFault } from './service-fault.js'
import type { ServiceContext, ServiceFactory } from './service.js'

/** A connection that replaces another in mid-call. */
const RECONNECT_MS = 2500

const CLOSE_ABNORMAL = 1006

/** A message of the service that was parsed; none of its fields is to be trusted. One that is no JSON is `unparsed`. */
export type ServiceMessage = Readonly<Record<string, unknown>>

/** JSON, or a text or bytes that are sent as they are. */
export type SentMessage = Readonly<Record<string, unknown>> | string | Uint8Array

/** Options of every service with a connection of its own. */
export interface SocketServiceOptions {
  /** The service's own when not given; http(s) and ws(s) alike, with or without a path. */
  readonly baseUrl?: string
  /** Never logged, and removed from messages of faults; null where there is none. */
  readonly apiKey: string | null
  readonly model?: string
  readonly connectTimeoutMs?: number
}

/** One service in one call: what it is set to, with its own defaults. */
export type SocketService<Options> = Options & {
  readonly baseUrl: string
  readonly model: string
  /** Its model as it is priced. */
  readonly priced: string
  /** Begins messages of faults. */
  readonly what: string
}

/** Listener to a service's connection. */
export interface ConnectionListener {
  message(message: ServiceMessage): void
  /** A binary message, whose memory is valid only during the call. Without this they are dropped. */
  bytes?(data: Buffer): void
  /** The connection is over, after it was open; once. Not after `close`. */
  lost(fault: VendorFault): void
}

/** The connection of a recogniser or a voice: JSON, audio, and errors that end the session. */
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

/** How a service's connection is opened and understood. */
export interface SocketWire {
  /** Address, as for `socketUrl`. */
  readonly url: string
  /** Reads a text of the service; as JSON when not given. */
  readonly parse?: (text: string) => ServiceMessage
  /** Hold the key, where it does not go in a message; none when not given. */
  readonly headers?: Readonly<Record<string, string>>
  /** The fault of a message that ends the connection; null for any other message. */
  readonly faultOf: (message: ServiceMessage) => VendorFault | null
  /** The fault of a close by the service. `words` are safe to show. `session_expired` when not given, or null. */
  readonly closeFault?: (code: number, words: string) => VendorFault | null
}

/** The connection of a recogniser: a WebSocket, or a stream of another protocol. */
export interface ServiceConnection {
  /**
   * @param probe  the call begins, and nobody waits yet. False: somebody does
   * @throws ServiceFault, or the reason of the signal
   */
  open(signal: AbortSignal, probe: boolean): Promise<void>
  send(message: SentMessage): void
  /** The bytes are copied before this returns. */
  sendBytes(bytes: Uint8Array): void
  /** Sends JSON around the base64 of `bytes`; `before` and `after` are ASCII. Absent: its messages are no JSON. */
  sendAudio?(before: string, bytes: Uint8Array, after: string): void
  /** Until all that it was given is sent, ms. Absent: it sends all at once. */
  readonly behindMs?: number
  /** Ends the connection for this reason. */
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

/** How long a connection may take to open. */
export function connectWithinMs({ connectTimeoutMs }: SocketServiceOptions, probe: boolean): number {
  return connectTimeoutMs ?? (probe ? BACKEND_CONNECT_MS : RECONNECT_MS)
}

/** A refusal of one service: it ends the call's use of it only if another attempt cannot succeed. */
export function serviceRefusal(fault: VendorFault): VendorFault {
  return { ...fault, fatal: !fault.retryable }
}

/**
 * A service of the list that has a connection of its own.
 * @param own  what it is where the options do not say otherwise
 * @param wireOf  what differs from one service to the next; made anew for each connection
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
 * The URL of a service's WebSocket.
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
