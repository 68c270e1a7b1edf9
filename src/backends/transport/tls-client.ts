import { isIP } from 'node:net'
import { connect, createSecureContext } from 'node:tls'
import type { ConnectionOptions, SecureContext, TLSSocket } from 'node:tls'
import { forgetOldest } from '../../core/forget-oldest.js'

/** Maximum number of services for which a thread stores the newest TLS session. A stored ticket has at most 2 KB. */
const BACKEND_TLS_SESSIONS_KEPT = 16

/** Target of a TLS connection, and the name that its certificate must contain. */
interface TlsTarget {
  readonly host?: string | null | undefined
  readonly port?: number | string | null | undefined
  readonly servername?: string
}

/**
 * The TLS connections of one thread. They share one context, because Node would otherwise make one context per
 * connection, with 15 to 20 KB of memory in OpenSSL (docs/LATENCY.md). Each connection to a service resumes the
 * service's newest TLS session, so that the certificate is not sent and checked again.
 */
export class TlsClient {
  readonly #ca: string | null
  #context: SecureContext | null = null
  /** Session tickets by service, from connections whose certificate was checked. */
  readonly #sessions = new Map<string, Buffer>()

  /** @param ca the only trusted certificate, in PEM; null if Node's own list of certificates is used */
  constructor(ca: string | null = null) {
    this.#ca = ca
  }

  connect(options: TlsTarget, onread: object): TLSSocket {
    const { host, port, servername = isIP(host ?? '') === 0 ? (host ?? '') : '' } = options
    const service = `${servername} ${host ?? ''} ${port ?? ''}`
    const session = this.#sessions.get(service)
    this.#context ??= createSecureContext(this.#ca === null ? {} : { ca: this.#ca })
    const socket = connect({
      ...options,
      // `path` is removed from these options of an HTTP request, because for a connection it would mean a local socket.
      path: undefined,
      servername,
      secureContext: this.#context,
      ...(session === undefined ? {} : { session }),
      onread,
    } as unknown as ConnectionOptions)
    let secure = false
    socket.once('secureConnect', () => {
      secure = true
    })
    socket.once('close', () => {
      // Usually a service that refuses a ticket requests a full handshake. In case the ticket caused the failure, it is
      // not used again.
      if (!secure) this.#sessions.delete(service)
    })
    // Tickets of TLS 1.3 arrive after the handshake. When a ticket is used, Node does not check the certificate's name
    // again.
    socket.once('session', (ticket: Buffer) => {
      if (!socket.authorized) return
      this.#sessions.delete(service)
      this.#sessions.set(service, ticket)
      forgetOldest(this.#sessions, BACKEND_TLS_SESSIONS_KEPT)
    })
    return socket
  }
}
