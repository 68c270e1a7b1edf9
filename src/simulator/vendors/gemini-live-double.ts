import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { GeminiDoubleSession } from './gemini-live-session.js'
import type { Refusal } from './openai-realtime-double.js'
import { Script, toneSpeaker } from './spoken.js'
import type { Speaker } from './spoken.js'

export interface GeminiDoubleOptions {
  /** The one key that is let in; none is asked for when null. */
  readonly key?: string | null
  readonly script?: Script
  readonly speaker?: Speaker
  /** Wait before `setupComplete`. */
  readonly readyDelayMs?: number
}

/**
 * A stand-in for Gemini Live on the loopback interface, written from the vendor's published types: JSON in binary
 * frames, setup first, a scripted model, and faults as close codes with a few words, as the vendor has them.
 */
export class GeminiDouble {
  readonly script: Script
  readonly sessions: GeminiDoubleSession[] = []
  connections = 0
  readyDelayMs: number
  refuse: Refusal | 'never' | null = null
  closeAtOnce: { readonly code: number; readonly reason: string } | null = null
  /** Handles of sessions that can be gone on with. */
  readonly handles = new Set<string>()
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(options: GeminiDoubleOptions) {
    this.script = options.script ?? new Script()
    this.readyDelayMs = options.readyDelayMs ?? 0
    const { key = null, speaker = toneSpeaker(24_000) } = options
    this.#server = createServer((_request, response) => response.writeHead(426).end())
    const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 16 * 1024 * 1024 })
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => undefined)
    })
    this.#server.on('upgrade', (request, socket, head) => {
      this.connections++
      if (this.refuse === 'never') return
      if (this.refuse !== null) {
        socket.end(`HTTP/1.1 ${this.refuse.status} Refused\r\nContent-Length: ${Buffer.byteLength(this.refuse.body)}\r\nConnection: close\r\n\r\n${this.refuse.body}`)
        return
      }
      sockets.handleUpgrade(request, socket, head, (client) => {
        // The vendor's own client writes two slashes where its base address ends with one.
        const url = new URL((request.url ?? '/').replace(/^\/+/, '/'), 'http://127.0.0.1')
        if (this.closeAtOnce !== null) return client.close(this.closeAtOnce.code, this.closeAtOnce.reason)
        if (!/^\/ws\/google\.ai\.generativelanguage\.v1(alpha|beta)\.GenerativeService\.BidiGenerateContent$/.test(url.pathname)) {
          return client.close(1008, `${url.pathname} is not found`)
        }
        if (key !== null && url.searchParams.get('key') !== key) return client.close(1007, 'API key not valid. Please pass a valid API key.')
        this.sessions.push(new GeminiDoubleSession(client, {
          script: this.script, speaker, readyDelayMs: () => this.readyDelayMs, handles: this.handles,
        }))
      })
    })
  }

  static async start(options: GeminiDoubleOptions = {}): Promise<GeminiDouble> {
    const double = new GeminiDouble(options)
    await new Promise<void>((resolve) => double.#server.listen(0, '127.0.0.1', resolve))
    return double
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get session(): GeminiDoubleSession {
    const session = this.sessions.at(-1)
    if (session === undefined) throw new Error('nobody is connected to the double')
    return session
  }

  breakOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    for (const session of this.sessions) session.stop()
    this.breakOff()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
