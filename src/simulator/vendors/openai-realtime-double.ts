import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { OpenAiDoubleSession } from './openai-realtime-session.js'
import { Script, toneSpeaker } from './spoken.js'
import type { Speaker } from './spoken.js'

export interface OpenAiDoubleOptions {
  /** The one key that is let in; none is asked for when null. */
  readonly key?: string | null
  readonly script?: Script
  /** The agent's voice; a tone when not given. `flite.speak` makes it speech. */
  readonly speaker?: Speaker
  /** Wait before `session.updated`. */
  readonly readyDelayMs?: number
  /** The beta's event names, and none of the events that some self-hosted servers leave out. */
  readonly dialect?: 'ga' | 'beta'
}

/** An answer to the upgrade that is no connection. */
export interface Refusal {
  readonly status: number
  readonly body: string
}

/**
 * A stand-in for OpenAI Realtime on the loopback interface, written from the vendor's published types: one session a
 * connection, a scripted model, an ear that goes by level, and the vendor's own errors for what the vendor would not
 * take. Faults are asked for by `refuse`, `readyDelayMs` and on the session itself.
 */
export class OpenAiDouble {
  readonly script: Script
  readonly sessions: OpenAiDoubleSession[] = []
  /** Upgrades that were tried, refused ones included. */
  connections = 0
  readyDelayMs: number
  /** Answers the next upgrades; null lets them in. `'never'` leaves them without an answer. */
  refuse: Refusal | 'never' | null = null
  /** Closes each new session at once, in this way. */
  closeAtOnce: { readonly code: number; readonly reason: string } | null = null
  /** Answers `session.update` with this error. */
  refuseSession: { readonly type: string; readonly code: string; readonly message: string; readonly param?: string } | null = null
  readonly #options: OpenAiDoubleOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #speaker: Speaker

  private constructor(options: OpenAiDoubleOptions) {
    this.#options = options
    this.script = options.script ?? new Script()
    this.readyDelayMs = options.readyDelayMs ?? 0
    this.#speaker = options.speaker ?? toneSpeaker(24_000)
    this.#server = createServer((_request, response) => response.writeHead(426).end())
    const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 16 * 1024 * 1024 })
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
    })
    this.#server.on('upgrade', (request, socket, head) => {
      this.connections++
      const refusal = this.refuse ?? this.#refusalOf(request)
      if (refusal === 'never') return
      if (refusal !== null) {
        socket.end(`HTTP/1.1 ${refusal.status} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(refusal.body)}\r\nConnection: close\r\n\r\n${refusal.body}`)
        return
      }
      sockets.handleUpgrade(request, socket, head, (client) => {
        if (this.closeAtOnce !== null) {
          client.close(this.closeAtOnce.code, this.closeAtOnce.reason)
          return
        }
        this.sessions.push(new OpenAiDoubleSession(client, {
          script: this.script, speaker: this.#speaker, dialect: options.dialect ?? 'ga',
          readyDelayMs: () => this.readyDelayMs, refuseSession: () => this.refuseSession,
        }))
      })
    })
  }

  static async start(options: OpenAiDoubleOptions = {}): Promise<OpenAiDouble> {
    const double = new OpenAiDouble(options)
    await new Promise<void>((resolve) => double.#server.listen(0, '127.0.0.1', resolve))
    return double
  }

  /** For `baseUrl`. */
  get baseUrl(): string {
    const { port } = this.#server.address() as AddressInfo
    return `ws://127.0.0.1:${port}/v1`
  }

  /** The newest session. */
  get session(): OpenAiDoubleSession {
    const session = this.sessions.at(-1)
    if (session === undefined) throw new Error('nobody is connected to the double')
    return session
  }

  /** Cuts all connections as a broken line does. */
  breakOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    for (const session of this.sessions) session.stop()
    this.breakOff()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #refusalOf(request: IncomingMessage): Refusal | null {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1')
    if (url.pathname !== '/v1/realtime') return { status: 404, body: '{"error":{"message":"Not found"}}' }
    if (url.searchParams.get('model') === null) return { status: 400, body: '{"error":{"message":"You must provide a model parameter."}}' }
    const { key = null } = this.#options
    const given = request.headers.authorization
    if (key === null || given === `Bearer ${key}`) return null
    // The vendor repeats the key that it was given, and so does its double.
    return { status: 401, body: JSON.stringify({ error: { message: `Incorrect API key provided: ${given?.replace('Bearer ', '') ?? ''}.`, type: 'invalid_request_error', code: 'invalid_api_key' } }) }
  }
}
