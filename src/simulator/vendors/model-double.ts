import { buffer } from 'node:stream/consumers'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { HttpDouble } from '../http-double.js'
import { type DoubleOptions, type Refusal, Script } from './double.js'

/** A vendor's language model on loopback: a script that is streamed as server-sent events, and faults on demand. */
export abstract class ModelDouble<Request> extends HttpDouble {
  readonly script: Script
  /** Requests, in order. */
  readonly asked: Request[] = []
  /** How the next requests are refused, those for the models too. */
  refuse: Refusal | null = null
  /** Lines sent unchanged after the first event. */
  garbage: readonly string[] = []
  readonly #key: string | null

  constructor(options: DoubleOptions = {}) {
    super(options, (request, response) => void this.#answer(request, response))
    this.script = options.script ?? new Script()
    this.#key = options.key ?? null
  }

  /** The key that a request has; null: none. */
  protected abstract keyOf(headers: IncomingMessage['headers']): string | null
  /** The vendor's words for a wrong key. */
  protected abstract wrongKey(key: string): Refusal
  /** The body of the answer for the list of models; null: the path is another. */
  protected abstract models(path: string): string | null
  /** The vendor's objection to a request; null: none, and `events` answers it. */
  protected abstract refusalOf(path: string, request: Request, headers: IncomingMessage['headers']): Refusal | null
  /** Writes the next answer's events. */
  protected abstract events(request: Request, path: string): Iterable<string>

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request)
    const path = request.url ?? ''
    const given = this.keyOf(request.headers)
    const json = (status: number, text: string): unknown =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    const refused = this.#key !== null && given !== this.#key ? this.wrongKey(given ?? '') : this.refuse
    if (refused !== null) return void json(refused.status, refused.body)
    const models = request.method === 'GET' ? this.models(path) : null
    if (models !== null) return void json(200, models)
    if (request.method !== 'POST') return void json(404, '{"error":{"message":"Not found"}}')
    const asked = JSON.parse(body.toString()) as Request
    this.asked.push(asked)
    const refusal = this.refusalOf(path, asked, request.headers)
    if (refusal !== null) return void json(refusal.status, refusal.body)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let written = 0
    for (const event of this.events(asked, path)) {
      response.write(event)
      if (written++ === 0) for (const line of this.garbage) response.write(line)
    }
    response.end()
  }
}
