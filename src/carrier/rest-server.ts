import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { forgetOldest } from '../core/forget-oldest.js'
import { jsonObject } from '../core/json.js'
import { LocalHttpServer, type LocalHttpServerOptions } from '../system/local-http-server.js'
import { ACCOUNT_EVENTS, Account } from './account.js'
import type { AccountEventKind } from './account.js'
import type { CallEntry, OwnedNumber, Workspace } from './workspace.js'

/** Scopes of an API key; `all` for a key without limits. */
type Scopes = 'all' | readonly string[]

/** Variant of a request (docs/PROTOCOL.md 9). Its name begins with the request's task. */
type Spelling = `${'claim' | 'route' | 'detail' | 'create'}:${string}`

export interface RestServerOptions extends Pick<LocalHttpServerOptions, 'host' | 'port'> {
  readonly workspace: Workspace
  readonly keys: Readonly<Record<string, Scopes>>
  /** Places outbound calls; null: `POST /v1/calls` is refused. */
  readonly place: PlaceOutbound | null
  /** Variants of requests that this carrier accepts. Default: all. */
  readonly spellings?: readonly Spelling[] | undefined
  /** False: wallet, prices and faults on demand do not exist. Default: true. */
  readonly invents?: boolean
}

/** One request, without its API key. */
interface RestSeen {
  readonly method: string
  readonly path: string
  readonly status: number
  readonly idempotencyKey: string | null
  /** Time of the answer (`performance.now()`). */
  readonly atMs: number
}

const BODY_BYTES_MAX = 64 * 1024
const SEEN_KEPT_MAX = 1000
const FAULTS_MAX = 100
const IDEMPOTENCY_KEYS_MAX = 10_000

/** The carrier's REST API on a separate port, for the simulator and the exchange. */
export class RestServer extends LocalHttpServer {
  readonly workspace: Workspace
  /** Faults; the first fault that matches a request applies. */
  readonly faults = new Set<Fault>()
  /** The newest requests. */
  readonly seen: RestSeen[] = []
  readonly #options: RestServerOptions
  readonly #routes: readonly Route[]
  readonly #account = new Account()
  readonly #answered = new Map<string, { readonly request: string; readonly answer: RestAnswer }>()

  constructor(options: RestServerOptions) {
    super(options, (request, response) => {
      this.#serve(request, response).catch(() => response.destroy())
    })
    this.#options = options
    this.workspace = options.workspace
    const { spellings, invents = true } = options
    this.#routes = restRoutes(options.workspace, options.place, invents ? this.#account : null).filter(
      (route) => route.spelling === undefined || spellings === undefined || spellings.includes(route.spelling),
    )
  }

  get origin(): string {
    return this.baseUrl
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? 'GET'
    const url = new URL(request.url ?? '/', this.origin)
    const body = await bodyOf(request)
    const fault = [...this.faults].find(
      ({ match, times }) => (times ?? 1) > 0 && `${method} ${url.pathname}`.startsWith(match),
    )
    if (fault?.times != null) fault.times--
    if (fault?.delayMs !== undefined) await sleep(fault.delayMs)
    if (fault?.cut === true) {
      request.socket.destroy()
      return
    }
    const status = fault?.status ?? null
    const answer =
      fault === undefined || status === null ? this.#answer(request, method, url, body) : faultAnswer(fault, status)
    const key = request.headers['idempotency-key']
    if (this.seen.length >= SEEN_KEPT_MAX) this.seen.shift()
    this.seen.push({
      method,
      path: url.pathname,
      status: answer.status,
      idempotencyKey: typeof key === 'string' ? key : null,
      atMs: performance.now(),
    })
    write(response, answer)
  }

  #answer(request: IncomingMessage, method: string, url: URL, text: string | null): RestAnswer {
    const stored = method === 'GET' ? storedRecording(this.workspace, url.pathname) : null
    if (stored !== null) return stored
    const invents = this.#options.invents !== false
    if (invents && method === 'GET' && url.pathname === '/v1/public/pricing')
      return { status: 200, json: PUBLIC_PRICES }
    const scopes = this.#scopesOf(request.headers.authorization)
    if (scopes === undefined) return refusal(401, 'api_key.invalid', 'the API key is not known')
    if (text === null) return refusal(413, 'request.too_large', `the body is larger than ${BODY_BYTES_MAX} bytes`)
    if (url.pathname === '/simulator/faults' && invents) return this.#faultsRoute(method, text)
    if (url.pathname === '/simulator/account' && invents) return this.#accountRoute(method, text)
    const here = this.#routes.filter((route) => route.path.test(url.pathname))
    const route = here.find((one) => one.method === method)
    // The carrier's router answers unknown paths as plain text, not JSON.
    if (route === undefined)
      return plain(here.length === 0 ? 404 : 405, here.length === 0 ? '404 page not found\n' : 'Method Not Allowed\n')
    if (scopes !== 'all' && !scopes.includes(route.scope)) {
      return refusal(403, 'api_key.scope_denied', `this API key lacks the scope ${route.scope}`)
    }
    const body = text === '' ? {} : jsonObject(text)
    if (body === null) return refusal(400, 'request.invalid_json', 'the body is not a JSON object')
    const asked: RestRequest = { query: url.searchParams, body, origin: this.origin }
    const id = decodeURIComponent(route.path.exec(url.pathname)?.[1] ?? '')
    const key = request.headers['idempotency-key']
    if (method !== 'POST' || typeof key !== 'string') return route.answer(asked, id)
    return this.#once(key, `${url.pathname} ${text}`, () => route.answer(asked, id))
  }

  /** Answers a repeated idempotency key with the first answer, or with a conflict if the request differs. */
  #once(key: string, request: string, answer: () => RestAnswer): RestAnswer {
    const before = this.#answered.get(key)
    if (before !== undefined) {
      return before.request === request
        ? before.answer
        : refusal(409, 'idempotency.conflict', 'this key was used for another request')
    }
    const fresh = answer()
    if (fresh.status < 500) {
      this.#answered.set(key, { request, answer: fresh })
      forgetOldest(this.#answered, IDEMPOTENCY_KEYS_MAX)
    }
    return fresh
  }

  #scopesOf(authorization: string | undefined): Scopes | undefined {
    const key = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1]
    return key !== undefined && Object.hasOwn(this.#options.keys, key) ? this.#options.keys[key] : undefined
  }

  /** Not part of the carrier's API: `POST /simulator/faults` adds a fault, `DELETE` removes all faults. */
  #faultsRoute(method: string, text: string): RestAnswer {
    if (method === 'DELETE') {
      this.faults.clear()
      return { status: 200, json: {} }
    }
    const fault = text === '' ? {} : jsonObject(text)
    const status = fault?.['status'] ?? null
    if (
      method !== 'POST' ||
      fault === null ||
      typeof fault['match'] !== 'string' ||
      (status !== null && !isErrorStatus(status))
    ) {
      return refusal(
        400,
        'simulator.invalid_fault',
        'POST { match, status?, times?, retryAfterS?, delayMs?, cut?, html? }',
      )
    }
    if (this.faults.size >= FAULTS_MAX) return refusal(409, 'simulator.too_many_faults', 'too many')
    this.faults.add({ ...fault, match: fault['match'], status })
    return { status: 201, json: {} }
  }

  /**
   * Not part of the carrier's API: `POST /simulator/account` sets the balance or the storage, and so causes the events
   * about them.
   */
  #accountRoute(method: string, text: string): RestAnswer {
    const { balance_minor: balance, tier_gb: tier } = jsonObject(text) ?? {}
    if (method !== 'POST' || (!isWhole(balance) && !isWhole(tier)))
      return refusal(400, 'simulator.invalid_account', 'POST { balance_minor?, tier_gb? }, whole numbers')
    if (isWhole(balance)) this.#account.setBalance(balance)
    if (isWhole(tier)) this.#account.setTier(tier)
    return { status: 200, json: {} }
  }
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value)
}

function isErrorStatus(status: unknown): status is number {
  return typeof status === 'number' && status >= 400 && status <= 599
}

function faultAnswer(fault: Fault, status: number): RestAnswer {
  const headers: Record<string, string> = fault.retryAfterS == null ? {} : { 'retry-after': String(fault.retryAfterS) }
  if (fault.html === true)
    return {
      ...plain(status, '<html><body>something went wrong</body></html>', 'text/html'),
      headers: { ...headers, 'content-type': 'text/html' },
    }
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

/** @returns the body; null if the body is too long */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk)
  }
  return bytes > BODY_BYTES_MAX ? null : Buffer.concat(chunks).toString()
}

/** A fault of the REST API, on demand. */
interface Fault {
  /** Method and beginning of the path, such as `POST /v1/calls`; empty for every request. */
  readonly match: string
  /** Status to answer with; null: the normal answer (after `delayMs`). */
  readonly status: number | null
  readonly retryAfterS?: number | null
  /** Waits before the answer. */
  readonly delayMs?: number
  /** True: breaks the connection without an answer. */
  readonly cut?: boolean
  /** True: answers with HTML instead of JSON. */
  readonly html?: boolean
  /** Number of requests that still get the fault. Default: unlimited. */
  times?: number
}

/** An outbound call requested through the API. */
export interface OutboundRequest {
  readonly from: string
  readonly to: string
  readonly voiceUrl: string
  readonly eventsUrl: string | null
  readonly clientRequestId: string | null
}

/**
 * Places an outbound call. When this function returns, the workspace contains the call. @returns the call's SID; null
 * if no more calls are possible now
 */
type PlaceOutbound = (request: OutboundRequest) => string | null

/** A request with a valid key. */
interface RestRequest {
  readonly query: URLSearchParams
  readonly body: Readonly<Record<string, unknown>>
  /** Origin of the API, for links. */
  readonly origin: string
}

interface RestAnswer {
  readonly status: number
  readonly json?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly bytes?: Uint8Array
}

interface Route {
  readonly method: string
  readonly path: RegExp
  /** Scope that the key must allow. */
  readonly scope: string
  /** @param id  the part of the path at `:id`; empty if the path has no such part */
  readonly answer: (request: RestRequest, id: string) => RestAnswer
  readonly spelling: Spelling | undefined
}

/** @param what  method and path, such as `GET /v1/calls/:id` */
function route(what: string, scope: string, answer: Route['answer'], spelling?: Spelling): Route {
  const [method = '', path = ''] = what.split(' ')
  return { method, path: new RegExp(`^${path.replace(':id', '([^/]+)')}$`), scope, answer, spelling }
}

/** An error in the format that most of the carrier's routes use. */
function refusal(status: number, code: string, message: string): RestAnswer {
  return { status, json: { error: { code, message, request_id: `req_${randomUUID().slice(0, 8)}` } } }
}

/** An error in the format of the recording routes. */
function bareRefusal(status: number, code: string, reason: string): RestAnswer {
  return { status, json: { code, reason } }
}

const PAGE_DEFAULT = 25
const PAGE_MAX = 100
/** Price of a minute of an outbound call, in minor units. */
const RATE_PER_MINUTE_MINOR = 300
const SUPERVISION_MODES = ['listen', 'whisper', 'barge']

/** Prices in the format of the carrier's newer answer; the older format lists rates by destination. */
const PUBLIC_PRICES = {
  currency: 'KES',
  number_monthly_kes: 100,
  outbound_per_min_kes: RATE_PER_MINUTE_MINOR / 100,
  inbound_per_min_kes: 0,
  recording_free_gb: 5,
  updated_at: '2026-10-09T00:00:00Z',
}

/**
 * @returns every route
 * @param account invented wallet; null: wallet and prices do not exist
 */
function restRoutes(workspace: Workspace, place: PlaceOutbound | null, account: Account | null): Route[] {
  const priced = account !== null
  const withCall = (name: string, answer: (entry: CallEntry) => RestAnswer): RestAnswer => {
    const entry = workspace.call(name)
    return entry === undefined ? refusal(404, 'calls.not_found', 'there is no call of that id') : answer(entry)
  }
  const claim = (inventoryId: unknown): RestAnswer => {
    const number = typeof inventoryId === 'string' ? workspace.claim(inventoryId) : null
    return number === null
      ? refusal(404, 'numbers.not_available', 'that number is not available')
      : { status: 201, json: { number: numberJson(number) } }
  }
  const lead = (id: string, voiceUrl: unknown, events: unknown): RestAnswer => {
    const number = workspace.numbers.find((one) => one.id === id)
    if (number === undefined) return refusal(404, 'numbers.not_found', 'there is no number of that id')
    if (typeof voiceUrl !== 'string' || !URL.canParse(voiceUrl))
      return refusal(422, 'numbers.invalid_url', 'the voice webhook is not a URL')
    number.voiceUrl = voiceUrl
    if (typeof events === 'string') number.eventsUrl = events
    return { status: 200, json: { number: numberJson(number) } }
  }
  const create = (from: unknown, to: unknown, url: unknown, label: unknown): RestAnswer => {
    if (typeof from !== 'string' || typeof to !== 'string')
      return refusal(422, 'calls.invalid', 'from and to are numbers')
    const number = workspace.numbers.find((one) => one.e164 === from)
    if (number === undefined) return refusal(403, 'calls.from_not_owned', 'from is not a number of this workspace')
    const voiceUrl = typeof url === 'string' ? url : number.voiceUrl
    if (voiceUrl === null || !URL.canParse(voiceUrl))
      return refusal(422, 'calls.no_voice_url', 'the number has no voice webhook')
    if (place === null) return refusal(503, 'calls.unavailable', 'nobody can be rung')
    const clientRequestId = typeof label === 'string' ? label : null
    const callSid = place({
      from,
      to,
      voiceUrl: labelled(voiceUrl, clientRequestId),
      eventsUrl: number.eventsUrl,
      clientRequestId,
    })
    if (callSid === null) return refusal(503, 'calls.unavailable', 'no more calls are carried now')
    return {
      status: 201,
      json: {
        call_id: workspace.call(callSid)?.id ?? null,
        session_id: callSid,
        status: 'ringing',
        client_request_id: clientRequestId,
      },
    }
  }
  const claimNamed: Route['answer'] = ({ body }) => claim(body['inventory_id'])
  return [
    ...(account === null
      ? []
      : [
          route('GET /v1/wallet', 'wallet.read', () => ({
            status: 200,
            json: { balance_minor: account.balanceMinor, currency: 'KES' },
          })),
          route('POST /v1/webhooks', 'webhooks.write', ({ body: { url, events } }) => subscribe(account, url, events)),
        ]),
    route('GET /v1/numbers', 'numbers.read', ({ query }) =>
      pageOf('numbers', workspace.numbers.map(numberJson), query),
    ),
    route('GET /v1/numbers/available', 'numbers.read', ({ query }) =>
      pageOf(
        'available',
        workspace.inventory.map((number) => ({
          inventory_id: number.inventoryId,
          e164: number.e164,
          capabilities: ['voice'],
          monthly_price_minor: number.monthlyPriceMinor,
          currency: 'KES',
        })),
        query,
      ),
    ),
    route('POST /v1/numbers', 'numbers.claim', claimNamed, 'claim:numbers'),
    route('POST /v1/numbers/available/claim', 'numbers.claim', claimNamed, 'claim:available'),
    route('POST /v1/numbers/claim', 'numbers.claim', claimNamed, 'claim:claim'),
    route('POST /v1/numbers/:id/claim', 'numbers.claim', (_request, id) => claim(id), 'claim:number'),
    route(
      'PATCH /v1/numbers/:id',
      'numbers.claim',
      ({ body }, id) => lead(id, body['routing_url'], body['events_url']),
      'route:number',
    ),
    route(
      'PUT /v1/numbers/:id/routing',
      'numbers.claim',
      ({ body }, id) => lead(id, body['voice_callback_url'], body['events_url']),
      'route:put',
    ),
    route(
      'PATCH /v1/numbers/:id/routing',
      'numbers.claim',
      ({ body }, id) => lead(id, body['voice_url'] ?? body['voice_callback_url'], body['events_url']),
      'route:patch',
    ),
    route(
      'POST /v1/calls',
      'calls.create',
      ({ body: { from, to, voice_callback_url: url, client_request_id: label } }) =>
        create(from, Array.isArray(to) ? to[0] : undefined, url, label),
      'create:calls',
    ),
    route(
      'POST /v1/calls/originate',
      'calls.create',
      ({ body: { from, to, webhook_url: url, clientRequestId: label } }) => create(from, to, url, label),
      'create:originate',
    ),
    route('GET /v1/calls', 'calls.read', ({ query }) => listCalls(workspace, query, priced), 'detail:search'),
    route(
      'GET /v1/calls/:id',
      'calls.read',
      (_request, id) => withCall(id, (entry) => ({ status: 200, json: { call: callJson(entry, priced) } })),
      'detail:call',
    ),
    route('POST /v1/calls/:id/hangup', 'calls.create', (_request, id) =>
      withCall(id, (entry) => {
        entry.leg.hangUp()
        return { status: 200, json: { call_id: entry.id, status: 'hung_up' } }
      }),
    ),
    route('POST /v1/calls/:id/supervision', 'calls.supervise', ({ body }, id) =>
      withCall(id, (entry) => supervise(entry, body)),
    ),
    route('DELETE /v1/calls/:id/supervision', 'calls.supervise', (_request, id) =>
      withCall(id, (entry) => {
        entry.leg.stopSupervision()
        return { status: 200, json: { status: 'stopped' } }
      }),
    ),
    route('GET /v1/calls/:id/recording', 'calls.read', ({ origin }, id) => recording(workspace, id, origin)),
  ]
}

function subscribe(account: Account, url: unknown, events: unknown): RestAnswer {
  const kinds = Array.isArray(events) ? events.filter((one) => ACCOUNT_EVENTS.some((kind) => kind === one)) : []
  if (typeof url !== 'string' || !URL.canParse(url) || kinds.length === 0)
    return refusal(
      422,
      'webhooks.invalid',
      `url must be an address, and events must be some of ${ACCOUNT_EVENTS.join(', ')}`,
    )
  const added = account.subscribe(url, kinds as readonly AccountEventKind[])
  return added === null
    ? refusal(409, 'webhooks.too_many', 'the workspace has too many webhooks')
    : { status: 201, json: added }
}

/** A recording by its presigned link, which needs no key. */
function storedRecording(workspace: Workspace, path: string): RestAnswer | null {
  const id = /^\/storage\/([^/]+)\.wav$/.exec(path)?.[1]
  const bytes = id === undefined ? null : (workspace.call(id)?.end?.recording ?? null)
  return bytes === null ? null : { status: 200, bytes, headers: { 'content-type': 'audio/wav' } }
}

function supervise(entry: CallEntry, body: Readonly<Record<string, unknown>>): RestAnswer {
  const supervisor = body['supervisor'] as { type?: unknown; number?: unknown } | undefined
  const number = supervisor?.number
  if (!SUPERVISION_MODES.includes(String(body['mode'])) || supervisor?.type !== 'phone' || typeof number !== 'string') {
    return refusal(
      422,
      'calls.invalid_supervision',
      'mode must be listen, whisper or barge; supervisor must have type phone and a number',
    )
  }
  if (!entry.leg.answered || entry.leg.ended) return refusal(409, 'calls.not_live', 'the call is not live')
  if (!entry.leg.supervise(number))
    return refusal(409, 'calls.supervision_in_progress', 'somebody supervises this call already')
  return { status: 201, json: { status: 'ringing', mode: body['mode'] } }
}

function recording(workspace: Workspace, id: string, origin: string): RestAnswer {
  const entry = workspace.call(id)
  if (entry === undefined) return bareRefusal(404, 'calls.not_found', 'there is no call of that id')
  if (entry.end === null) return { status: 202, json: { status: 'pending', retry_after_seconds: 2 } }
  if (entry.end.recording === null) return bareRefusal(404, 'recordings.not_found', 'the call was not recorded')
  if (performance.now() < entry.recordedAtMs)
    return { status: 202, json: { status: 'pending', retry_after_seconds: 1 } }
  return { status: 302, headers: { location: `${origin}/storage/${entry.id}.wav?signature=${randomUUID()}` } }
}

function numberJson(number: OwnedNumber): Record<string, unknown> {
  return {
    id: number.id,
    e164: number.e164,
    status: number.status,
    voice_callback_url: number.voiceUrl,
    events_url: number.eventsUrl,
  }
}

function callJson(entry: CallEntry, priced: boolean): Record<string, unknown> {
  const { leg } = entry
  // Until the final record is written, the API shows the call as still running.
  const end = performance.now() < entry.writtenAtMs ? null : entry.end
  const outbound = leg.direction === 'outbound'
  const answeredWallMs = end?.answeredWallMs ?? null
  const seconds =
    end === null || answeredWallMs === null ? 0 : Math.max(0, Math.round((end.endedWallMs - answeredWallMs) / 1000))
  const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())
  return {
    id: entry.id,
    workspace_id: 'ws_simulated',
    session_id: leg.callSid,
    direction: leg.direction,
    local_e164: outbound ? leg.from : leg.to,
    remote_e164: outbound ? leg.to : leg.from,
    ...(priced ? { country: 'KE', cost_currency: 'KES' } : {}),
    started_at: iso(entry.startedWallMs),
    answered_at: iso(answeredWallMs),
    ended_at: iso(end?.endedWallMs ?? null),
    duration_seconds: end === null ? null : seconds,
    status: end?.status ?? (leg.answered ? 'answered' : 'ringing'),
    cost_minor: end === null || !priced ? null : outbound ? Math.ceil(seconds / 60) * RATE_PER_MINUTE_MINOR : 0,
    rate_per_minute_minor: !priced ? null : outbound ? RATE_PER_MINUTE_MINOR : 0,
    failure_code: end === null || end.status === 'completed' ? null : end.hangupCause,
    metadata: {},
    created_at: iso(entry.startedWallMs),
    updated_at: iso(end?.endedWallMs ?? entry.startedWallMs),
    events:
      end === null
        ? []
        : [
            {
              id: '1',
              call_id: entry.id,
              kind: 'call.completed',
              payload: { hangup_cause: end.hangupCause },
              occurred_at: iso(end.endedWallMs),
            },
          ],
  }
}

function listCalls(workspace: Workspace, query: URLSearchParams, priced: boolean): RestAnswer {
  const wanted = ['session_id', 'status', 'direction']
    .map((name) => [name, query.get(name)] as const)
    .filter(([, value]) => value !== null)
  const calls = workspace
    .calls()
    .map((entry) => callJson(entry, priced))
    .filter((call) => wanted.every(([name, value]) => call[name] === value))
  return pageOf('data', calls, query)
}

/** One page of a list. The cursor is the index of the next page's first entry. */
function pageOf(name: string, all: readonly object[], query: URLSearchParams): RestAnswer {
  const limit = Math.min(PAGE_MAX, Math.max(1, Number(query.get('limit') ?? PAGE_DEFAULT) || PAGE_DEFAULT))
  const from = Number(query.get('cursor') ?? 0) || 0
  const next = from + limit < all.length ? String(from + limit) : null
  return { status: 200, json: { [name]: all.slice(from, from + limit), next_cursor: next } }
}

/** The voice URL with the label as a query parameter, unless the label is too long. */
function labelled(voiceUrl: string, label: string | null): string {
  if (label === null || encodeURIComponent(label).length > 2048) return voiceUrl
  const url = new URL(voiceUrl)
  url.searchParams.set('clientRequestId', label)
  return url.href
}
