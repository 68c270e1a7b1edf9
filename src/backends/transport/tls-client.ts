import { isIP } from 'node:net'
import { connect, createSecureContext } from 'node:tls'
import type { ConnectionOptions, SecureContext, TLSSocket } from 'node:tls'
import { forgetOldest } from '../../core/forget-oldest.js'

/** Services whose newest TLS session a thread keeps for the next connection; a ticket is 2 KB at most. */
const BACKEND_TLS_SESSIONS_KEPT = 16

/** Where a TLS connection leads, and under which name its certificate is checked. */
interface TlsTarget {
  readonly host?: string | null | undefined
  readonly port?: number | string | null | undefined
  readonly servername?: string
}

/**
 * The TLS connections of one thread. They share one context: Node makes one for each connection otherwise, 15 to 20 KB
 * of OpenSSL's memory (docs/LATENCY.md). The next connection to a service resumes its newest session: no certificate is
 * sent and checked again.
 */
export class TlsClient {
  readonly #ca: string | null
  #context: SecureContext | null = null
  /** Tickets by service, of connections whose certificate was checked. */
  readonly #sessions = new Map<string, Buffer>()

  /** @param ca  the only certificate to trust, in PEM; null for those that Node trusts */
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
      // Those are the options of an HTTP request, where `path` is the URL's; here it would be that of a local socket.
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
      // A service that does not take a ticket asks for a full handshake; one that fails on it must not do so again.
      if (!secure) this.#sessions.delete(service)
    })
    // Tickets of TLS 1.3 come after the handshake, and the certificate's name is not checked again with them.
    socket.once('session', (ticket: Buffer) => {
      if (!socket.authorized) return
      this.#sessions.delete(service)
      this.#sessions.set(service, ticket)
      forgetOldest(this.#sessions, BACKEND_TLS_SESSIONS_KEPT)
    })
    return socket
  }
}
