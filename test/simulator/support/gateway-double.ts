import { createServer, type IncomingMessage, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'

interface ReceivedPost {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly fields: Readonly<Record<string, string>>
}

interface DoubleOptions {
  /** The document for a POST; null answers 500. */
  answer(post: ReceivedPost, double: GatewayDouble): string | null
  onSocket?(socket: WebSocket, request: IncomingMessage): void
  /** Refuses the upgrade with this status. */
  refuse?: number
}

/** The smallest thing that a carrier can talk to: scripted by each test. */
export class GatewayDouble {
  readonly posts: ReceivedPost[] = []
  readonly server: Server
  /** Raw sockets of upgrades, to look at what ends them. */
  readonly upgrades: Socket[] = []

  static async start(options: DoubleOptions): Promise<GatewayDouble> {
    const double = new GatewayDouble(options)
    double.server.listen(0, '127.0.0.1')
    await once(double.server, 'listening')
    return double
  }

  private constructor(options: DoubleOptions) {
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered][0] ?? false })
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString()
        const isJson = request.headers['content-type'] === 'application/json'
        const fields = isJson
          ? (JSON.parse(body) as Record<string, string>)
          : Object.fromEntries(new URLSearchParams(body))
        const post = { path: request.url ?? '', headers: request.headers, body, fields }
        this.posts.push(post)
        const document = options.answer(post, this)
        response.writeHead(document === null ? 500 : 200, { 'content-type': 'application/xml' }).end(document ?? '')
      })
    })
    this.server.on('upgrade', (request, socket: Socket, head) => {
      this.upgrades.push(socket)
      if (options.refuse !== undefined) {
        socket.end(`HTTP/1.1 ${options.refuse} Refused\r\nContent-Length: 0\r\n\r\n`)
        return
      }
      sockets.handleUpgrade(request, socket, head, (opened) => {
        options.onSocket?.(opened, request)
      })
    })
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }
  get mediaUrl(): string {
    return `${this.origin.replace('http', 'ws')}/audio?token=abc`
  }

  /** The usual first document. */
  streamDocument(more = '', attributes = ''): string {
    return `<?xml version="1.0"?><Response><Stream name="test" url="${this.mediaUrl}" track="inbound_track" connect="true"
      outputSamplingRate="16000" bidirectionalSamplingRate="16000" statusCallback="${this.origin}/stream-status"
      statusEvents="stream-started stream-stopped stream-error" ${attributes}/>${more}</Response>`
  }

  postsOf(path: string): string[] {
    return this.posts
      .filter((post) => post.path.startsWith(path))
      .map((post) => post.fields['callSessionState'] ?? post.fields['streamEvent'] ?? '')
  }

  close(): void {
    for (const socket of this.upgrades) socket.destroy()
    this.server.closeAllConnections()
    this.server.close()
  }
}
