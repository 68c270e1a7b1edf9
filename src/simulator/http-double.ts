import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

export interface HttpDoubleOptions {
  readonly host?: string
  /** Default: a free one. */
  readonly port?: number
  /** Breaks each connection off after this time; null: never. */
  readonly breaksAfterMs?: number | null
}

/** Somebody else's HTTP service on loopback, with all of its connections. */
export abstract class HttpDouble {
  protected readonly server: Server
  protected readonly scheme: 'http' | 'ws' = 'http'
  protected readonly basePath: string = ''
  readonly #listens: { readonly host: string; readonly port: number }
  readonly #sockets = new Set<Socket>()

  constructor({ host = '127.0.0.1', port = 0, breaksAfterMs = null }: HttpDoubleOptions, answer: RequestListener) {
    this.#listens = { host, port }
    this.server = createServer(answer)
    this.server.on('connection', (socket) => {
      this.#sockets.add(socket)
      if (breaksAfterMs !== null) setTimeout(() => socket.destroy(), breaksAfterMs).unref()
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
    })
  }

  /** Makes the service, which listens then. @throws when its port is taken */
  static async start<Made extends HttpDouble, Given extends unknown[]>(
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
