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
  readonly #listens: { readonly host: string; readonly port: number }
  readonly #sockets = new Set<Socket>()

  protected constructor(
    { host = '127.0.0.1', port = 0, breaksAfterMs = null }: HttpDoubleOptions,
    answer: RequestListener,
  ) {
    this.#listens = { host, port }
    this.server = createServer(answer)
    this.server.on('connection', (socket) => {
      this.#sockets.add(socket)
      if (breaksAfterMs !== null) setTimeout(() => socket.destroy(), breaksAfterMs).unref()
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
    })
  }

  /** As the settings take it. */
  get baseUrl(): string {
    return `http://${this.at}`
  }

  /** Host and port, for a URL. */
  protected get at(): string {
    const { address, family, port } = this.server.address() as AddressInfo
    return `${family === 'IPv6' ? `[${address}]` : address}:${port}`
  }

  protected async listen(): Promise<this> {
    const { host, port } = this.#listens
    this.server.listen(port, host)
    await once(this.server, 'listening')
    return this
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
