import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type DoubleOptions, type Refusal, Script } from './double.js'

/** A vendor's language model on loopback: a script that is streamed as server-sent events, and faults on demand. */
export abstract class ModelDouble<Request> {
  readonly script: Script
  /** What was asked, in order. */
  readonly asked: Request[] = []
  /** How the next requests are refused, those for the models too. */
  refuse: Refusal | null = null
  /** Lines sent unchanged after the first event. */
  garbage: readonly string[] = []
  readonly #key: string | null
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  protected constructor({ script = new Script(), key = null }: DoubleOptions) {
    this.script = script
    this.#key = key
    this.#server = createServer((request, response) => void this.#answer(request, response))
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  /** Without a path, as the vendor's own client takes it. */
  get baseUrl(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async listen({ port = 0, host = '127.0.0.1' }: DoubleOptions): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, host, resolve)
    })
    return this
  }

  breakOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.breakOff()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  /** The key that a request has; null: none. */
  protected abstract keyOf(headers: IncomingMessage['headers']): string | null
  /** The vendor's words for a wrong key. */
  protected abstract wrongKey(key: string): Refusal
  /** The body of the answer for the list of models; null: the path is another. */
  protected abstract models(path: string): string | null
  /** What the vendor has against a request; null: nothing, and `events` answers it. */
  protected abstract refusalOf(path: string, request: Request, headers: IncomingMessage['headers']): Refusal | null
  /** Writes the next answer's events. */
  protected abstract events(request: Request, path: string): Iterable<string>

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const path = request.url ?? ''
    const given = this.keyOf(request.headers)
    const json = (status: number, body: string): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(body)
    }
    const refuse = ({ status, body }: Refusal): void => json(status, body)
    if (this.#key !== null && given !== this.#key) {
      refuse(this.wrongKey(given ?? ''))
      return
    }
    if (this.refuse !== null) {
      refuse(this.refuse)
      return
    }
    const models = request.method === 'GET' ? this.models(path) : null
    if (models !== null) {
      json(200, models)
      return
    }
    if (request.method !== 'POST') {
      json(404, '{"error":{"message":"Not found"}}')
      return
    }
    const asked = JSON.parse(Buffer.concat(pieces).toString()) as Request
    this.asked.push(asked)
    const refusal = this.refusalOf(path, asked, request.headers)
    if (refusal !== null) {
      refuse(refusal)
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let written = 0
    for (const event of this.events(asked, path)) {
      response.write(event)
      if (written++ === 0) for (const line of this.garbage) response.write(line)
    }
    response.end()
  }
}
