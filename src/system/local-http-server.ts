import { once } from 'node:events'
import { createServer, type RequestListener, type Server as HttpServer } from 'node:http'
import type { AddressInfo, Server, Socket } from 'node:net'

export interface LocalHttpServerOptions {
  readonly host?: string
  /** Port; a free port by default. */
  readonly port?: number
  /** Time after which each connection is broken, in milliseconds; null if connections are not broken. */
  readonly breaksAfterMs?: number | null
}

/**
 * An HTTP server on this machine, by default on the loopback address. It is the base of doubles of services and of the
 * carrier's REST API. @typeParam Served class of the server if it does not speak HTTP/1.1
 */
export abstract class LocalHttpServer<Served extends Server = HttpServer> {
  /**
   * Returns the refusal that the service sends to a client for the text `sent`; null if the service accepts the text.
   */
  objection: (sent: string) => string | null = () => null
  protected readonly server: Served
  protected readonly scheme: 'http' | 'ws' = 'http'
  protected readonly basePath: string = ''
  readonly #listens: { readonly host: string; readonly port: number }
  readonly #sockets = new Set<Socket>()

  constructor(
    { host = '127.0.0.1', port = 0, breaksAfterMs = null }: LocalHttpServerOptions,
    answer: RequestListener | Served,
  ) {
    this.#listens = { host, port }
    this.server = typeof answer === 'function' ? (createServer(answer) as Server as Served) : answer
    this.server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      if (breaksAfterMs !== null) setTimeout(() => socket.destroy(), breaksAfterMs).unref()
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
    })
  }

  /** Creates the service and starts to listen. @throws if the port is in use */
  static async start<Made extends LocalHttpServer<Server>, Given extends unknown[]>(
    this: new (...given: Given) => Made,
    ...given: Given
  ): Promise<Made> {
    const made = new this(...given)
    const { host, port } = made.#listens
    made.server.listen(port, host)
    await once(made.server, 'listening')
    return made
  }

  /** URL of the server, as a setting contains it. */
  get baseUrl(): string {
    const { address, family, port } = this.server.address() as AddressInfo
    return `${this.scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}${this.basePath}`
  }

  /** Breaks all connections without a close frame. */
  breakOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.breakOff()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}
