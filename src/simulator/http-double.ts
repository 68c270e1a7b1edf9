import { once } from 'node:events'
import { createServer, type RequestListener, type Server as HttpServer } from 'node:http'
import type { AddressInfo, Server, Socket } from 'node:net'

export interface HttpDoubleOptions {
  readonly host?: string
  /** Default: a free one. */
  readonly port?: number
  /** Breaks each connection off after this time; null: never. */
  readonly breaksAfterMs?: number | null
}

/** Somebody else's HTTP service on loopback, with all of its connections. */
/** @typeParam Served  the server, where it is another than that of HTTP/1.1 */
export abstract class HttpDouble<Served extends Server = HttpServer> {
  protected readonly server: Served
  protected readonly scheme: 'http' | 'ws' = 'http'
  protected readonly basePath: string = ''
  readonly #listens: { readonly host: string; readonly port: number }
  readonly #sockets = new Set<Socket>()

  constructor(
    { host = '127.0.0.1', port = 0, breaksAfterMs = null }: HttpDoubleOptions,
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

  /** Makes the service, which listens then. @throws when its port is taken */
  static async start<Made extends HttpDouble<Server>, Given extends unknown[]>(
    this: new (...given: Given) => Made,
    ...given: Given
  ): Promise<Made> {
    const made = new this(...given)
    const { host, port } = made.#listens
    made.server.listen(port, host)
    await once(made.server, 'listening')
    return made
  }

  /** As the settings take it. */
  get baseUrl(): string {
    const { address, family, port } = this.server.address() as AddressInfo
    return `${this.scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}${this.basePath}`
  }

  /** Breaks all connections, without a close frame. */
  breakOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.breakOff()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }
}
