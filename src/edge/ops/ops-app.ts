import type { NodeHead } from '../../call/documents/call-view.js'
import { jsonObject } from '../../core/json.js'
import { WEBHOOK_BODY_BYTES_MAX } from '../../core/limits.js'
import { ClientAddresses } from '../http/client-address.js'
import { BodyReader, Exchange } from '../http/http-exchange.js'
import { NO_CONTENT, errorReply, jsonReply, keptFault, textReply } from '../http/reply.js'
import type { Reply } from '../http/reply.js'
import type { CounterOf } from '../../telemetry/metric-families.js'
import { ScrapePage } from '../../telemetry/metrics.js'
import { pageFor } from '../../telemetry/text-format.js'
import type { Admission } from '../public/admission.js'
import { CALL_COMMANDS, CALL_VIEWS, OpsApi, healthy } from './ops-api.js'
import { FleetApi, queryOf } from './ops-fleet.js'
import { NODE_COMMANDS } from './ops-requests.js'
import type { OpsQuery } from './ops-fleet.js'
import { auditOf } from './ops-audit.js'
import type { Operator } from './ops-audit.js'
import { CAMPAIGN_COMMANDS } from '../../campaigns/campaign.js'
import { AgentsApi } from './ops-agents.js'
import { CAMPAIGN_BODY_BYTES_MAX, CampaignsApi } from './ops-campaigns.js'
import { EDITOR_BODY_BYTES_MAX, EditorApi } from './ops-editor.js'
import { EraseApi } from './ops-erase.js'
import { OPS_REFUSALS, OpsGuard, SlowedAnswers } from './ops-guard.js'
import type { OpsHead, OpsMethod, OpsRefusal } from './ops-guard.js'
import { accessOf } from './ops-rights.js'
import type { OpsPath, OpsRoute } from './ops-rights.js'
import { LiveFeeds } from './ops-live.js'
import { ListenSockets } from './ops-listen.js'
import { PhoneSockets } from './ops-phone.js'
import { SESSION_RIGHTS } from './ops-session.js'
import type { Session, SessionRights } from './ops-session.js'
import { BODY_FAULTS } from '../public/rejections.js'
import type { Refusals } from '../public/rejections.js'
import type { EdgeOptions } from '../options.js'
import type { UnsentReplies } from '../http/reply-writer.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from '../http/uws.js'

/**
 * How long the answer to each further one is delayed, and how many wait at once; beyond it the connection is closed.
 */
export const OPS_SLOWED_MS = 1000
export const OPS_SLOWED_MAX = 100

type Answer = (request: Admitted) => Reply | Promise<Reply>

/** The console runs its own script and talks to its own origin; nothing else is loaded into it, and nothing is inline. */
const CONSOLE_HEADERS: Reply['headers'] = [
  [
    'Content-Security-Policy',
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
      "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ],
  ['Referrer-Policy', 'no-referrer'],
  ['Permissions-Policy', 'microphone=(self), camera=(), geolocation=()'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
]

/** The routes of the ops port. The guard checks each request; health and the console's files need no token. */
export class OpsApp {
  readonly #options: EdgeOptions
  readonly #unsent: UnsentReplies
  readonly #api: OpsApi
  readonly #fleet: FleetApi
  readonly #erase: EraseApi
  readonly #agents: AgentsApi
  readonly #editor: EditorApi
  readonly #campaigns: CampaignsApi
  readonly #guard: OpsGuard
  readonly #slowed = new SlowedAnswers(OPS_SLOWED_MS, OPS_SLOWED_MAX)
  readonly #refused: CounterOf<'reason'>
  readonly #slowedAnswers: CounterOf<'result'>
  readonly #bodies = new BodyReader()
  readonly #live: LiveFeeds
  readonly #phones: PhoneSockets
  readonly #listeners: ListenSockets
  /** Allowed methods by path; all others get a 405. */
  readonly #allowed = new Map<string, string>()

  constructor(options: EdgeOptions, refusals: Refusals, admission: Admission, unsent: UnsentReplies) {
    this.#options = options
    this.#unsent = unsent
    const audit = auditOf(options.log, options.fleet?.node.name ?? null)
    this.#api = new OpsApi(options, refusals, admission, audit)
    this.#fleet = new FleetApi(
      options,
      audit,
      this.#api,
      (session) => this.#guard.sessionEnded(session, options.wallClock()),
      (sid, id, operator) => this.#listeners.hear(sid, id, operator),
      {
        here: () => this.#editor.here(),
        publishHere: (order, operator, via) => this.#editor.publishHere(order, operator, via),
      },
    )
    this.#editor = new EditorApi(options, (request, answerMs) => this.#fleet.askAll(request, answerMs), audit)
    this.#erase = new EraseApi(options, audit)
    this.#agents = new AgentsApi(options, audit)
    this.#campaigns = new CampaignsApi(options, audit)
    this.#guard = new OpsGuard(
      options.opsToken,
      options.opsReadToken ?? null,
      options.wallClock,
      options.opsNumberTokens,
      options.opsListenToken ?? null,
    )
    const { clock, log, liveMs: everyMs } = options
    this.#live = new LiveFeeds({
      fleet: this.#fleet,
      clock,
      log,
      metrics: options.metrics,
      node: () => this.#nodeHead(),
      everyMs,
    })
    this.#phones = new PhoneSockets({
      phone: options.phone ?? null,
      log,
      audit,
      admit: (res, req) =>
        this.#admit(this.#exchange(res, req), res, req, 'SOCKET', 'SOCKET /api/phone')
          ? this.#operator(res, req, 'SOCKET /api/phone')
          : null,
    })
    const { metrics } = options
    this.#listeners = new ListenSockets({
      calls: options.calls,
      clock,
      elsewhere: options.fleet === undefined ? null : (sid, id, operator) => this.#fleet.heard(sid, id, operator),
      audit,
      metrics,
      admit: (res, req) => {
        const exchange = this.#exchange(res, req)
        if (!this.#admit(exchange, res, req, 'SOCKET', 'SOCKET /api/calls/:sid/listen')) return null
        return { exchange, operator: this.#operator(res, req, 'SOCKET /api/calls/:sid/listen') }
      },
    })
    this.#refused = metrics.defineCounter('ops_refused', 'Requests that the ops port turned away', ['reason'])
    for (const reason of OPS_REFUSALS) this.#refused({ reason })
    this.#slowedAnswers = metrics.defineCounter(
      'ops_slowed',
      'Answers to wrong tokens that were held back, or cut off because too many were held',
      ['result'],
    )
    for (const result of ['held', 'cut']) this.#slowedAnswers({ result })
  }

  routes(app: TemplatedApp): void {
    const { metrics, callSeries } = this.#options
    this.#open(app, '/healthz', healthy)
    this.#open(app, '/readyz', () => this.#api.ready())
    for (const [path, file] of this.#options.console) {
      const page = { ...textReply('', file.contentType), body: file.body, headers: CONSOLE_HEADERS }
      // The page says what the session says, and needs no more.
      this.#getOrHead(app, path, 'GET /api/session', (exchange) => void exchange.reply(page))
    }
    this.#phones.routes(app)
    this.#listeners.routes(app)
    this.#sessions(app)
    this.#stream(app, '/api/live', (exchange, _, holder) => this.#live.watchList(exchange, holder))
    this.#stream(app, '/api/calls/:sid/live', (exchange, req, holder) =>
      this.#live.watchCall(exchange, req.getParameter(0), holder),
    )
    const nodePage = this.#page('fleet', () => metrics.render())
    const calls = this.#page('calls', () => callSeries.renderInSlices())
    const scraped = (path: OpsPath<'GET'>, page: ScrapePage, contentType: string): void => {
      const answer: Answer = async ({ accept }) => {
        const { body, contentType: type } = pageFor(accept, { body: await page.get(), contentType })
        return textReply(body, type)
      }
      this.#get(app, path, answer)
    }
    scraped('/metrics', nodePage, metrics.contentType)
    scraped('/metrics/calls', calls, callSeries.contentType)
    const [api, fleet, agents, campaigns, erase] = [this.#api, this.#fleet, this.#agents, this.#campaigns, this.#erase]
    const get = (path: OpsPath<'GET'>, answer: Answer): void => this.#get(app, path, answer)
    const post = (path: OpsPath<'POST'>, answer: Answer): void => this.#post(app, path, answer)
    /** An answer about a call, for a token that may be limited to some numbers. */
    const ofCall =
      (answer: (sid: string, request: Admitted) => Promise<Reply>): Answer =>
      (request) => {
        const [sid = ''] = request.params
        return fleet.ofNumbers(sid, request.numbers, () => answer(sid, request))
      }
    get('/api/backends', () => api.backends())
    get('/api/calls', () => api.list())
    get('/api/settings', () => api.settings())
    get('/api/refusals', () => api.refusals())
    get('/api/messages', () => api.messages())
    post('/api/messages/:key/retry', ({ params: [key = ''], operator }) => api.retryMessage(key, operator))
    get('/api/agents', () => agents.list())
    post('/api/agents/:name/tools/:tool', ({ params: [name = '', tool = ''], body, operator }) =>
      agents.tryTool(name, tool, body, operator),
    )
    post('/api/agents/:name/say', ({ params: [name = ''], body, operator }) => agents.say(name, body, operator))
    this.#edits(app)
    get('/api/campaigns', () => campaigns.list())
    const create: Answer = ({ body, operator }) => campaigns.create(body, operator)
    this.#post(app, '/api/campaigns', create, CAMPAIGN_BODY_BYTES_MAX)
    get('/api/campaigns/:id', ({ params: [id = ''] }) => campaigns.view(id))
    get('/api/campaigns/:id/report.csv', ({ params: [id = ''] }) => campaigns.report(id))
    for (const command of CAMPAIGN_COMMANDS)
      post(`/api/campaigns/:id/${command}`, ({ params: [id = ''], operator }) =>
        campaigns.command(id, command, operator),
      )
    post('/api/campaigns/:id/remove', ({ params: [id = ''], operator }) => campaigns.remove(id, operator))
    get('/api/do-not-call', () => campaigns.doNotCallList())
    post('/api/do-not-call', ({ body, operator }) => campaigns.doNotCall(body, operator))
    get('/api/fleet', () => fleet.status())
    get('/api/fleet/calls', ({ query, numbers }) => fleet.list(query, numbers))
    get('/api/find', ({ query, numbers }) => fleet.find(query, numbers))
    get('/api/charts', ({ query, numbers }) => fleet.charts(query, numbers))
    get(
      '/api/calls/:sid',
      ofCall((sid) => fleet.call(sid)),
    )
    for (const view of CALL_VIEWS) {
      const answer = ofCall((sid, { query, operator }) => fleet.view(sid, view, query.part, operator))
      get(`/api/calls/:sid/${view}`, answer)
    }
    for (const command of CALL_COMMANDS) {
      const answer = ofCall((sid, { body, operator }) => fleet.command(sid, command, body, operator))
      post(`/api/calls/:sid/${command}`, answer)
    }
    post('/api/calls', ({ body, operator }) => fleet.place(body, operator))
    post('/api/erase', ({ body, operator }) => erase.erase(body, operator))
    post('/api/export', ({ body, operator }) => erase.export(body, operator))
    for (const command of NODE_COMMANDS)
      post(`/api/${command}`, ({ body, operator }) => fleet.commandNode(command, body, operator))
    this.#otherMethods(app)
    app.any('/*', (res, req) => {
      this.#exchange(res, req).reply(errorReply(404, 'NOT_FOUND', 'there is nothing at this path'))
    })
  }

  /** Agents are edited by who may act: also what only reads is a POST, because it shows more than who only reads may see. */
  #edits(app: TemplatedApp): void {
    const editor = this.#editor
    const bytesMax = this.#options.editor === undefined ? undefined : EDITOR_BODY_BYTES_MAX
    const post = (path: OpsPath<'POST'>, answer: Answer): void => this.#post(app, path, answer, bytesMax)
    this.#get(app, '/api/editor', () => editor.list())
    post('/api/editor/open', ({ body, operator }) => editor.open(body, operator))
    post('/api/editor/check', ({ body }) => editor.check(body))
    post('/api/editor/draft', ({ body, operator }) => editor.draft(body, operator))
    post('/api/editor/publish', ({ body, operator }) => editor.publish(body, operator))
  }

  /** The console's session: who it is, and how it gets and loses its rights. */
  #sessions(app: TemplatedApp): void {
    const { calls, clock, wallClock, opsToken, phone, editor, version = '' } = this.#options
    this.#open(app, '/api/session', (head) => {
      const rights = this.#guard.rights(head, wallClock())
      const session: Session =
        rights === null
          ? { login: true, rights }
          : {
              login: opsToken !== null,
              rights,
              version,
              agents: calls.agentNames(),
              phone: phone !== undefined,
              edit: editor !== undefined,
            }
      return jsonReply(session)
    })
    this.#postOpen(app, '/api/login', (exchange, body, head) => {
      const order = readLogin(body)
      if (order === null) {
        const message =
          'the body is a JSON object with "token" (OPS_TOKEN, to listen OPS_LISTEN_TOKEN) and "rights" (read, act or listen)'
        return void exchange.reply(errorReply(400, 'BAD_REQUEST', message))
      }
      const nowMs = clock()
      const opened = this.#guard.logIn(head, order.token, order.rights, nowMs, wallClock())
      if (typeof opened === 'string') exchange.reply({ ...NO_CONTENT, headers: [['Set-Cookie', opened]] })
      else this.#refuse(exchange, opened, nowMs)
    })
    this.#postOpen(app, '/api/logout', (exchange, _body, head) => {
      const left = this.#guard.logOut(head, wallClock())
      void this.#answer(exchange, '/api/logout', async () => {
        await this.#fleet.sessionsEnded(left?.ended ?? [])
        // With a body, as anybody may ask for it: see `Exchange`.
        const session: Session = { login: left !== null, rights: left === null ? 'listen' : null }
        const reply = jsonReply(session)
        return left === null ? reply : { ...reply, headers: [['Set-Cookie', left.cookie]] }
      })
    })
  }

  #nodeHead(): NodeHead {
    const { calls, fleet } = this.#options
    const { free, capacity, draining } = calls
    return { name: fleet?.node.name ?? null, free, capacity, draining, notReady: this.notReady }
  }

  #page(page: 'fleet' | 'calls', render: () => string | Promise<string>): ScrapePage {
    const { clock, metrics } = this.#options
    return new ScrapePage({
      clock,
      render,
      made: metrics.scrapes({ page, served: 'made' }),
      reused: metrics.scrapes({ page, served: 'reused' }),
    })
  }

  /** Why this node takes no new call; null when it takes one. */
  get notReady(): string | null {
    return this.#api.notReady
  }

  /** Ends the console's streams and calls; the port is about to close. */
  close(): void {
    this.#live.close()
    this.#phones.closeAll()
    this.#listeners.closeAll()
  }

  /** Fails bodies that are past their deadline, and writes held answers; called by the edge's one timer. */
  sweep(nowMs: number): void {
    this.#bodies.sweep(nowMs)
    this.#slowed.sweep(nowMs)
  }

  #exchange(res: HttpResponse, req: HttpRequest): Exchange {
    return new Exchange(res, req, this.#unsent)
  }

  /** A route that needs no token. */
  #open(app: TemplatedApp, path: OpsPath<'GET'>, answer: (head: OpsHead) => Reply): void {
    this.#getOrHead(app, path, `GET ${path}`, (exchange, res, req) => void exchange.reply(answer(headOf(res, req))))
  }

  #getOrHead(
    app: TemplatedApp,
    path: string,
    route: OpsRoute,
    answer: (exchange: Exchange, res: HttpResponse, req: HttpRequest) => void,
  ): void {
    for (const method of ['GET', 'HEAD'] as const) {
      app[method === 'GET' ? 'get' : 'head'](path, (res, req) => {
        const exchange = this.#exchange(res, req)
        if (this.#admit(exchange, res, req, method, route)) answer(exchange, res, req)
      })
    }
    this.#allow(path, 'GET, HEAD')
  }

  /** A POST that needs no token: it is how one gets in. Pages of other sites are refused all the same. */
  #postOpen(
    app: TemplatedApp,
    path: OpsPath<'POST'>,
    answer: (exchange: Exchange, body: Uint8Array, head: OpsHead) => void,
  ): void {
    app.post(path, (res, req) => {
      const exchange = this.#exchange(res, req)
      if (!this.#admit(exchange, res, req, 'POST', `POST ${path}`)) return
      const head = headOf(res, req)
      this.#read(exchange, res, req, (body) => answer(exchange, body, head))
    })
    this.#allow(path, 'POST')
  }

  #stream(
    app: TemplatedApp,
    path: OpsPath<'GET'>,
    watch: (exchange: Exchange, req: HttpRequest, holder: string) => void,
  ): void {
    app.get(path, (res, req) => {
      const exchange = this.#exchange(res, req)
      if (this.#admit(exchange, res, req, 'GET', `GET ${path}`))
        watch(exchange, req, this.#guard.holderOf(headOf(res, req), this.#options.wallClock()))
    })
    this.#allow(path, 'GET')
  }

  /** @returns false when the request is refused, and answered or about to be. */
  #admit(exchange: Exchange, res: HttpResponse, req: HttpRequest, method: OpsMethod, route: OpsRoute): boolean {
    const nowMs = this.#options.clock()
    const refused = this.#guard.check(headOf(res, req), method, route, nowMs, this.#options.wallClock())
    if (refused === null) return true
    this.#refuse(exchange, refused, nowMs)
    return false
  }

  #refuse(exchange: Exchange, refused: OpsRefusal, nowMs: number): void {
    this.#refused({ reason: refused.reason }).inc()
    if (!refused.slow) exchange.reply(refused.reply)
    else this.#slowDown(exchange, refused, nowMs)
  }

  #slowDown(exchange: Exchange, { reply }: OpsRefusal, nowMs: number): void {
    const held = this.#slowed.hold(exchange, reply, nowMs)
    this.#slowedAnswers({ result: held ? 'held' : 'cut' }).inc()
    if (!held) exchange.reply(TOO_MANY_GUESSES)
  }

  #get(app: TemplatedApp, path: OpsPath<'GET'>, answer: Answer): void {
    this.#getOrHead(app, path, `GET ${path}`, (exchange, res, req) => {
      const request = this.#admitted(res, req, `GET ${path}`)
      void this.#answer(exchange, path, () => answer(request))
    })
  }

  #post(app: TemplatedApp, path: OpsPath<'POST'>, answer: Answer, bytesMax = WEBHOOK_BODY_BYTES_MAX): void {
    app.post(path, (res, req) => {
      const exchange = this.#exchange(res, req)
      if (!this.#admit(exchange, res, req, 'POST', `POST ${path}`)) return
      const request = this.#admitted(res, req, `POST ${path}`)
      const answered = (body: Uint8Array): void => void this.#answer(exchange, path, () => answer({ ...request, body }))
      this.#read(exchange, res, req, answered, bytesMax)
    })
    this.#allow(path, 'POST')
  }

  /** The request object is valid only during its handler, so all of it is copied. */
  #admitted(res: HttpResponse, req: HttpRequest, route: OpsRoute): Admitted {
    return {
      params: [...route.matchAll(/:\w+/g)].map((_, index) => req.getParameter(index) ?? ''),
      query: queryOf((name) => req.getQuery(name) ?? ''),
      accept: req.getHeader('accept'),
      body: NO_BODY,
      operator: this.#operator(res, req, route),
      numbers: this.#guard.numbersOf(headOf(res, req)),
    }
  }

  #read(
    exchange: Exchange,
    res: HttpResponse,
    req: HttpRequest,
    onBody: (body: Uint8Array) => void,
    bytesMax = WEBHOOK_BODY_BYTES_MAX,
  ): void {
    this.#bodies.read({
      res,
      exchange,
      contentLength: req.getHeader('content-length'),
      bytesMax,
      nowMs: this.#options.clock(),
      onFault: (fault) => void exchange.reply(BODY_FAULTS[fault].reply),
      onBody,
    })
  }

  /** Operator of an admitted request. */
  #operator(res: HttpResponse, req: HttpRequest, route: OpsRoute): Operator {
    const isLimited = this.#guard.numbersOf(headOf(res, req)) !== null
    const token = accessOf(route).right === 'listen' ? 'OPS_LISTEN_TOKEN' : 'OPS_TOKEN'
    return {
      token: this.#options.opsToken === null ? 'none' : isLimited ? 'of-numbers' : token,
      address: ADDRESSES.of(res, req).address,
    }
  }

  async #answer(exchange: Exchange, path: string, answer: () => Reply | Promise<Reply>): Promise<void> {
    try {
      exchange.reply(await Promise.resolve().then(answer).catch(keptFault))
    } catch (error) {
      this.#options.log.error({ err: error, path }, 'an ops request could not be answered')
      exchange.reply(errorReply(500, 'INTERNAL', 'the gateway failed to answer; it has logged why'))
    }
  }

  #allow(path: string, methods: string): void {
    const before = this.#allowed.get(path)
    this.#allowed.set(path, before === undefined ? methods : `${before}, ${methods}`)
  }

  #otherMethods(app: TemplatedApp): void {
    for (const [path, allowed] of this.#allowed) {
      app.any(path, (res, req) => {
        this.#exchange(res, req).reply(
          errorReply(405, 'METHOD_NOT_ALLOWED', `this path takes ${allowed}`, { headers: [['Allow', allowed]] }),
        )
      })
    }
  }
}

/** A request that was admitted. */
interface Admitted {
  /** Parameters of the path, in their order. */
  readonly params: readonly string[]
  readonly query: OpsQuery
  /** The header; empty without one. */
  readonly accept: string
  /** Empty for a GET. */
  readonly body: Uint8Array
  readonly operator: Operator
  /** Our numbers to whose calls its token is limited; null: to none. */
  readonly numbers: ReadonlySet<string> | null
}

/** For a wrong token while too many held answers wait. */
const TOO_MANY_GUESSES = errorReply(429, 'RATE_LIMITED', 'too many wrong tokens', {
  headers: [['Retry-After', String(Math.ceil(OPS_SLOWED_MS / 1000))]],
  close: true,
})

const NO_BODY = new Uint8Array(0)

/** The peer's own address: no proxy is trusted at this port. */
const ADDRESSES = new ClientAddresses([])

function headOf(res: HttpResponse, req: HttpRequest): OpsHead {
  return {
    address: ADDRESSES.of(res, req).address,
    authorization: req.getHeader('authorization'),
    cookie: req.getHeader('cookie'),
    host: req.getHeader('host'),
    contentType: req.getHeader('content-type'),
    contentLength: req.getHeader('content-length'),
    transferEncoding: req.getHeader('transfer-encoding'),
    origin: req.getHeader('origin'),
    fetchSite: req.getHeader('sec-fetch-site'),
  }
}

function readLogin(body: Uint8Array): { readonly token: string; readonly rights: SessionRights } | null {
  const { token, rights } = jsonObject(body) ?? {}
  const known = SESSION_RIGHTS.find((name) => name === rights)
  return typeof token !== 'string' || !/^\S+$/.test(token) || known === undefined ? null : { token, rights: known }
}
