import { buffer } from 'node:stream/consumers'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import { LocalHttpServer } from '../../system/local-http-server.js'
import type { CascadeModels } from './cascade-models.js'
import { INAUDIBLE, type DoubleOptions, type Refusal, Script } from './double.js'

interface ModelDoubleOptions extends DoubleOptions {
  /** Models that answer the conversation instead of the script. */
  readonly models?: Pick<CascadeModels, 'answer'>
  /** Delay of each answer in ms. Default: 0. */
  readonly thinkMs?: number
}

/** A vendor's language model on loopback: a script that is streamed as server-sent events, and faults on demand. */
export abstract class ModelDouble<Request> extends LocalHttpServer {
  readonly script: Script
  /** Requests, in order. */
  readonly asked: Request[] = []
  /** Refusal of the next requests, including requests for the list of models. */
  refuse: Refusal | 'never' | null = null
  /** Lines sent unchanged after the first event. */
  garbage: readonly string[] = []
  readonly #options: ModelDoubleOptions

  constructor(options: ModelDoubleOptions = {}) {
    super(options, (request, response) => void this.#answer(request, response))
    this.script = options.script ?? new Script()
    this.#options = options
  }

  /** @returns the API key in a request; null if there is none */
  protected abstract keyOf(headers: IncomingMessage['headers']): string | null
  /** @returns the vendor's refusal of a wrong API key */
  protected abstract wrongKey(key: string): Refusal
  /** The body of the answer for the list of models; null for another path. */
  protected abstract models(path: string): string | null
  /** @returns the vendor's refusal of a request; null: `events` answers the request */
  protected abstract refusalOf(path: string, request: Request, headers: IncomingMessage['headers']): Refusal | null
  /** @returns a refusal of a request with this text */
  protected abstract badRequest(words: string): Refusal
  /** @returns the conversation of a request: first the instructions */
  protected abstract saidIn(request: Request): readonly ChatCompletionMessageParam[]
  /** Writes an answer's events. */
  protected abstract events(request: Request, path: string, reply: ScriptedReply): Iterable<string>

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request)
    const path = request.url ?? ''
    const given = this.keyOf(request.headers)
    const json = (status: number, text: string): unknown =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    const { key = null, models: dialogues, thinkMs = 0 } = this.#options
    const refused = key !== null && given !== key ? this.wrongKey(given ?? '') : this.refuse
    if (refused === 'never') return
    if (refused !== null) return void json(refused.status, refused.body)
    const models = request.method === 'GET' ? this.models(path) : null
    if (models !== null) return void json(200, models)
    if (request.method !== 'POST') return void json(404, '{"error":{"message":"Not found"}}')
    const asked = JSON.parse(body.toString()) as Request
    this.asked.push(asked)
    const objection = this.objection(body.toString())
    const refusal = objection === null ? this.refusalOf(path, asked, request.headers) : this.badRequest(objection)
    if (refusal !== null) return void json(refusal.status, refusal.body)
    const reply = dialogues?.answer(this.saidIn(asked)) ?? this.script.nextReply()
    if (thinkMs > 0) await sleep(thinkMs, undefined, { ref: false })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let written = 0
    for (const event of this.events(asked, path, reply)) {
      response.write(event)
      if (written++ === 0) for (const line of this.garbage) response.write(line)
    }
    response.end()
  }
}

/** A user's text in a conversation of two: the gateway's notes are in brackets (`alternatingTurns`). */
export function userSaid(content: string): ChatCompletionMessageParam {
  const [, note] = /^\[(.*)\]$/s.exec(content) ?? []
  return note === undefined || content === INAUDIBLE ? { role: 'user', content } : { role: 'system', content: note }
}
