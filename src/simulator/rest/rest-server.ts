import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Faults } from './faults.js'
import type { Fault } from './faults.js'
import { refusal, restRoutes, storedRecording } from './rest-routes.js'
import type { RestAnswer, RestRequest, Route, Spelling } from './rest-routes.js'
import type { PlaceOutbound } from './place-outbound.js'
import type { Workspace } from './workspace.js'

/** What a key allows; `all` for a key without limits. */
export type Scopes = 'all' | readonly string[]

export interface RestServerOptions {
  readonly workspace: Workspace
  readonly keys: Readonly<Record<string, Scopes>>
  /** 0 lets the system choose. */
  readonly port: number
  readonly host?: string
  /** Null: `POST /v1/calls` is refused. */
  readonly place: PlaceOutbound | null
  readonly faults?: readonly Fault[]
  /** The spellings that this carrier understands; all when not given. */
  readonly spellings?: readonly Spelling[] | undefined
}

/** What was asked, without its key. */
export interface RestSeen {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly idempotencyKey: string | null
}

const BODY_BYTES_MAX = 64 * 1024
const SEEN_KEPT_MAX = 1000
const IDEMPOTENCY_KEYS_MAX = 10_000

/** The simulated carrier's REST API on a port of its own. */
export class RestServer {
  readonly workspace: Workspace
  readonly faults: Faults
  /** The newest requests, for whoever looks on. */
  readonly seen: RestSeen[] = []
  readonly #options: RestServerOptions
  readonly #routes: readonly Route[]
  readonly #server: Server
  readonly #answered = new Map<string, { readonly request: string; readonly answer: RestAnswer }>()

  /** @throws when the port is taken */
  static async start(options: RestServerOptions): Promise<RestServer> {
    const server = new RestServer(options)
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject)
      server.#server.listen(options.port, options.host ?? '127.0.0.1', resolve)
    })
    return server
  }

  private constructor(options: RestServerOptions) {
    this.#options = options
    this.workspace = options.workspace
    this.faults = new Faults(options.faults)
    const { spellings } = options
    this.#routes = restRoutes(options.workspace, options.place)
      .filter((route) => route.spelling === undefined || spellings === undefined || spellings.includes(route.spelling))
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => { response.destroy() })
    })
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => { this.#server.close(() => { resolve() }) })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? 'GET'
    const url = new URL(request.url ?? '/', this.origin)
    const body = await bodyOf(request)
    const fault = this.faults.take(method, url.pathname)
    if (fault?.delayMs !== undefined) await sleep(fault.delayMs)
    if (fault?.cut === true) {
      request.socket.destroy()
      return
    }
    const answer = fault !== null && fault.status !== null ? faultAnswer(fault, fault.status) : this.#answer(request, method, url, body)
    const key = request.headers['idempotency-key']
    if (this.seen.length >= SEEN_KEPT_MAX) this.seen.shift()
    this.seen.push({ method, path: url.pathname, status: answer.status, idempotencyKey: typeof key === 'string' ? key : null })
    write(response, answer)
  }

  #answer(request: IncomingMessage, method: string, url: URL, text: string | null): RestAnswer {
    const stored = method === 'GET' ? storedRecording(this.workspace, url.pathname) : null
    if (stored !== null) return stored
    const scopes = this.#scopesOf(request.headers.authorization)
    if (scopes === undefined) return refusal(401, 'api_key.invalid', 'the API key is not known')
    if (text === null) return refusal(413, 'request.too_large', `a body has ${BODY_BYTES_MAX} bytes at most`)
    if (url.pathname === '/simulator/faults') return this.#faultsRoute(method, text)
    const here = this.#routes.filter((route) => route.path.test(url.pathname))
    const route = here.find((one) => one.method === method)
    // As the router of the carrier's language answers what it does not know: no JSON.
    if (route === undefined) return plain(here.length === 0 ? 404 : 405, here.length === 0 ? '404 page not found\n' : 'Method Not Allowed\n')
    if (scopes !== 'all' && !scopes.includes(route.scope)) {
      return refusal(403, 'api_key.scope_denied', `this API key lacks the scope ${route.scope}`)
    }
    const body = objectOf(text)
    if (body === null) return refusal(400, 'request.invalid_json', 'the body is no JSON object')
    const asked: RestRequest = { method, path: url.pathname, query: url.searchParams, body, origin: this.origin }
    const names = (route.path.exec(url.pathname) ?? []).slice(1).map(decodeURIComponent)
    const key = request.headers['idempotency-key']
    if (method !== 'POST' || typeof key !== 'string') return route.answer(asked, names)
    return this.#once(key, `${url.pathname} ${text}`, () => route.answer(asked, names))
  }

  /** The same key gets the same answer; with another request it is a conflict. */
  #once(key: string, request: string, answer: () => RestAnswer): RestAnswer {
    const before = this.#answered.get(key)
    if (before !== undefined) {
      return before.request === request ? before.answer : refusal(409, 'idempotency.conflict', 'this key was used for another request')
    }
    const fresh = answer()
    if (this.#answered.size < IDEMPOTENCY_KEYS_MAX && fresh.status < 500) this.#answered.set(key, { request, answer: fresh })
    return fresh
  }

  #scopesOf(authorization: string | undefined): Scopes | undefined {
    const key = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1]
    return key !== undefined && Object.hasOwn(this.#options.keys, key) ? this.#options.keys[key] : undefined
  }

  /** `POST /simulator/faults` adds one, `DELETE` forgets all: no request of the carrier's. */
  #faultsRoute(method: string, text: string): RestAnswer {
    if (method === 'DELETE') {
      this.faults.clear()
      return { status: 200, json: {} }
    }
    const fault = objectOf(text)
    const status = fault?.['status'] ?? null
    if (method !== 'POST' || fault === null || typeof fault['match'] !== 'string' || (status !== null && !isErrorStatus(status))) {
      return refusal(400, 'simulator.invalid_fault', 'POST { match, status?, times?, retryAfterS?, delayMs?, cut?, html? }')
    }
    return this.faults.add({ ...fault, match: fault['match'], status }) ? { status: 201, json: {} } : refusal(409, 'simulator.too_many_faults', 'too many')
  }
}

function isErrorStatus(status: unknown): status is number {
  return typeof status === 'number' && status >= 400 && status <= 599
}

function faultAnswer(fault: Fault, status: number): RestAnswer {
  const headers: Record<string, string> = fault.retryAfterS == null ? {} : { 'retry-after': String(fault.retryAfterS) }
  if (fault.html === true) return { ...plain(status, '<html><body>something went wrong</body></html>', 'text/html'), headers: { ...headers, 'content-type': 'text/html' } }
  return { ...refusal(status, status === 429 ? 'rate_limited' : 'internal', 'a fault on demand'), headers }
}

function plain(status: number, text: string, contentType = 'text/plain; charset=utf-8'): RestAnswer {
  return { status, bytes: new TextEncoder().encode(text), headers: { 'content-type': contentType } }
}

function write(response: ServerResponse, answer: RestAnswer): void {
  const headers: Record<string, string> = { ...answer.headers }
  if (answer.json !== undefined) headers['content-type'] = 'application/json'
  response.writeHead(answer.status, headers).end(answer.json === undefined ? answer.bytes : JSON.stringify(answer.json))
}

function objectOf(text: string): Readonly<Record<string, unknown>> | null {
  if (text === '') return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : null
  } catch {
    return null // answered as a bad request
  }
}

/** Null when it is too long. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk)
  }
  return bytes > BODY_BYTES_MAX ? null : Buffer.concat(chunks).toString()
}
