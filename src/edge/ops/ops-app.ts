import type { z } from 'zod'
import type { NodeHead } from '../../call/documents/call-view.js'
import { assert } from '../../core/assert.js'
import { WEBHOOK_BODY_BYTES_MAX } from '../../core/limits.js'
import { ClientAddresses } from '../http/client-address.js'
import { BodyReader, Exchange } from '../http/http-exchange.js'
import { NO_CONTENT, errorReply, jsonReply, keptFault, textReply } from '../http/reply.js'
import type { Reply } from '../http/reply.js'
import type { CounterOf } from '../../telemetry/metric-families.js'
import { ScrapePage } from '../../telemetry/metrics.js'
import { pageFor } from '../../telemetry/text-format.js'
import type { Admission } from '../public/admission.js'
import { CALL_COMMANDS, CALL_VIEWS, OpsApi, healthy, orderIn } from './ops-api.js'
import { FleetApi } from './ops-fleet.js'
import { NODE_COMMANDS } from './ops-requests.js'
import { auditOf } from './ops-audit.js'
import type { Operator } from './ops-audit.js'
import { CAMPAIGN_COMMANDS } from '../../campaigns/campaign.js'
import { AgentsApi } from './ops-agents.js'
import { CAMPAIGN_BODY_BYTES_MAX, CampaignsApi } from './ops-campaigns.js'
import { EDITOR_BODY_BYTES_MAX, EditorApi } from './ops-editor.js'
import { EraseApi } from './ops-erase.js'
import { OPS_REFUSALS, OpsGuard, SlowedAnswers } from './ops-guard.js'
import type { OpsHead, OpsMethod, OpsRefusal, StreamHolder } from './ops-guard.js'
import { accessOf, rowOf } from './ops-routes.js'
import type { OpsRoute, OrderOf, QueryOf } from './ops-routes.js'
import { LiveFeeds } from './ops-live.js'
import { ListenSockets } from './ops-listen.js'
import { PhoneSockets } from './ops-phone.js'
import { loginSchema } from './ops-session.js'
import type { Session } from './ops-session.js'
import { BODY_FAULTS } from '../public/rejections.js'
import type { Refusals } from '../public/rejections.js'
import type { EdgeOptions } from '../options.js'
import type { UnsentReplies } from '../http/reply-writer.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from '../http/uws.js'

/**
 * Delay in ms of the answer after too many wrong tokens. The second constant is the maximum number of delayed answers;
 * above it, the connection is closed.
 */
export const OPS_SLOWED_MS = 1000
export const OPS_SLOWED_MAX = 100

type Answer<Route extends OpsRoute> = (request: Admitted<Route>) => Reply | Promise<Reply>

/**
 * Headers of the console's page. The page runs its own script and connects to its own origin. It may not load other
 * resources or use inline scripts.
 */
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

/** Registers the routes of the ops port. The guard checks each request. Health and the console's files need no token. */
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
  /** Allowed methods by path. All other methods get a 405. */
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
    this.#refused = metrics.defineCounter('ops_refused', 'Requests that the ops port refused', ['reason'])
    for (const reason of OPS_REFUSALS) this.#refused({ reason })
    this.#slowedAnswers = metrics.defineCounter(
      'ops_slowed',
      'Answers to wrong tokens that were delayed, or cut off because too many were delayed',
      ['result'],
    )
    for (const result of ['held', 'cut']) this.#slowedAnswers({ result })
  }

  routes(app: TemplatedApp): void {
    const { metrics, callSeries } = this.#options
    this.#open(app, 'GET /healthz', healthy)
    this.#open(app, 'GET /readyz', () => this.#api.ready())
    for (const [path, file] of this.#options.console) {
      const page = { ...textReply('', file.contentType), body: file.body, headers: CONSOLE_HEADERS }
      // The page shows only the session at first, so it needs the right of `GET /api/session`.
      this.#getOrHead(app, path, 'GET /api/session', (exchange) => void exchange.reply(page))
    }
    this.#phones.routes(app)
    this.#listeners.routes(app)
    this.#sessions(app)
    this.#stream(app, 'GET /api/live', (exchange, _, holder) => this.#live.watchList(exchange, holder))
    this.#stream(app, 'GET /api/calls/:sid/live', (exchange, req, holder) =>
      this.#live.watchCall(exchange, req.getParameter(0), holder),
    )
    const nodePage = this.#page('fleet', () => metrics.render())
    const calls = this.#page('calls', () => callSeries.renderInSlices())
    const on = <Route extends OpsRoute>(route: Route, answer: Answer<Route>, bytesMax?: number): void =>
      this.#on(app, route, answer, bytesMax)
    const scraped = async (accept: string, page: ScrapePage, contentType: string): Promise<Reply> => {
      const { body, contentType: type } = pageFor(accept, { body: await page.get(), contentType })
      return textReply(body, type)
    }
    on('GET /metrics', ({ accept }) => scraped(accept, nodePage, metrics.contentType))
    on('GET /metrics/calls', ({ accept }) => scraped(accept, calls, callSeries.contentType))
    const [api, fleet, agents, campaigns, erase] = [this.#api, this.#fleet, this.#agents, this.#campaigns, this.#erase]
    /** Registers an answer about a call, for a token that may be limited to some numbers. */
    const onCall = <Route extends OpsRoute>(
      route: Route,
      answer: (sid: string, request: Admitted<Route>) => Promise<Reply>,
    ): void =>
      on(route, (request) => {
        const [sid = ''] = request.params
        return fleet.ofNumbers(sid, request.numbers, () => answer(sid, request))
      })
    on('GET /api/backends', () => api.backends())
    on('GET /api/calls', () => api.list())
    on('GET /api/settings', () => api.settings())
    on('GET /api/refusals', () => api.refusals())
    on('GET /api/messages', () => api.messages())
    on('POST /api/messages/:key/retry', ({ params: [key = ''], operator }) => api.retryMessage(key, operator))
    on('GET /api/agents', () => agents.list())
    on('POST /api/agents/:name/tools/:tool', ({ params: [name = '', tool = ''], order, operator }) =>
      agents.tryTool(name, tool, order().data, operator),
    )
    on('POST /api/agents/:name/say', ({ params: [name = ''], order, operator }) =>
      agents.say(name, order().data, operator),
    )
    this.#edits(app)
    on('GET /api/campaigns', () => campaigns.list())
    on('POST /api/campaigns', ({ body, operator }) => campaigns.create(body, operator), CAMPAIGN_BODY_BYTES_MAX)
    on('GET /api/campaigns/:id', ({ params: [id = ''] }) => campaigns.view(id))
    on('GET /api/campaigns/:id/report.csv', ({ params: [id = ''] }) => campaigns.report(id))
    for (const command of CAMPAIGN_COMMANDS)
      on(`POST /api/campaigns/:id/${command}`, ({ params: [id = ''], operator }) =>
        campaigns.command(id, command, operator),
      )
    on('POST /api/campaigns/:id/remove', ({ params: [id = ''], operator }) => campaigns.remove(id, operator))
    on('GET /api/do-not-call', () => campaigns.doNotCallList())
    on('POST /api/do-not-call', ({ order, operator }) => campaigns.doNotCall(order().data, operator))
    on('GET /api/fleet', () => fleet.status())
    on('GET /api/fleet/calls', ({ query, numbers }) => fleet.list(query, numbers))
    on('GET /api/find', ({ query, numbers }) => fleet.find(query, numbers))
    on('GET /api/charts', ({ query, numbers }) => fleet.charts(query, numbers))
    onCall('GET /api/calls/:sid', (sid) => fleet.call(sid))
    onCall('GET /api/calls/:sid/why', (sid, { numbers }) => fleet.why(sid, numbers))
    for (const view of CALL_VIEWS)
      onCall(`GET /api/calls/:sid/${view}`, (sid, { query, operator }) =>
        fleet.view(sid, view, query?.part ?? null, operator),
      )
    for (const command of CALL_COMMANDS)
      onCall(`POST /api/calls/:sid/${command}`, (sid, { body, operator }) =>
        fleet.command(sid, command, body, operator),
      )
    on('POST /api/calls', ({ order, operator }) => fleet.place(order(), operator))
    on('POST /api/erase', ({ order, operator }) => erase.erase(order().data, operator))
    on('POST /api/export', ({ order, operator }) => erase.export(order().data, operator))
    for (const command of NODE_COMMANDS)
      on(`POST /api/${command}`, ({ order, operator }) => fleet.commandNode(command, order().data, operator))
    this.#otherMethods(app)
    app.any('/*', (res, req) => {
      this.#exchange(res, req).reply(errorReply(404, 'NOT_FOUND', 'there is nothing at this path'))
    })
  }

  /**
   * Registers the routes of the editor. An agent's text is read with a POST, because reading it needs the right to act.
   */
  #edits(app: TemplatedApp): void {
    const editor = this.#editor
    const bytesMax = this.#options.editor === undefined ? undefined : EDITOR_BODY_BYTES_MAX
    const on = <Route extends OpsRoute>(route: Route, answer: Answer<Route>): void =>
      this.#on(app, route, answer, bytesMax)
    on('GET /api/editor', () => editor.list())
    on('POST /api/editor/open', ({ order, operator }) => editor.open(order().data, operator))
    on('POST /api/editor/check', ({ order }) => editor.check(order().data))
    on('POST /api/editor/draft', ({ order, operator }) => editor.draft(order().data, operator))
    on('POST /api/editor/publish', ({ order, operator }) => editor.publish(order().data, operator))
  }

  /** Registers the routes of the console's session: its rights, login and logout. */
  #sessions(app: TemplatedApp): void {
    const { calls, clock, wallClock, opsToken, phone, editor, version = '' } = this.#options
    this.#open(app, 'GET /api/session', (head) => {
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
    this.#postOpen(app, 'POST /api/login', (exchange, body, head) => {
      const order = orderIn(body, loginSchema).data
      if (order === undefined) {
        const message =
          'the body is a JSON object with "token" (OPS_TOKEN, to listen OPS_LISTEN_TOKEN) and "rights" (read, act or listen)'
        return void exchange.reply(errorReply(400, 'BAD_REQUEST', message))
      }
      const nowMs = clock()
      const opened = this.#guard.logIn(head, order.token, order.rights, nowMs, wallClock())
      if (typeof opened === 'string') exchange.reply({ ...NO_CONTENT, headers: [['Set-Cookie', opened]] })
      else this.#refuse(exchange, opened, nowMs)
    })
    this.#postOpen(app, 'POST /api/logout', (exchange, _body, head) => {
      const left = this.#guard.logOut(head, wallClock())
      void this.#answer(exchange, 'POST /api/logout', async () => {
        await this.#fleet.sessionsEnded(left?.ended ?? [])
        // The answer needs no token, so it must have a body: see `Exchange`.
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

  /** Reason why this node refuses new calls; null if it accepts them. */
  get notReady(): string | null {
    return this.#api.notReady
  }

  /** Ends the console's streams and calls before the port closes. */
  close(): void {
    this.#live.close()
    this.#phones.closeAll()
    this.#listeners.closeAll()
  }

  /** Fails bodies after their deadline, and writes answers that were delayed. The edge's one timer calls it. */
  sweep(nowMs: number): void {
    this.#bodies.sweep(nowMs)
    this.#slowed.sweep(nowMs)
  }

  #exchange(res: HttpResponse, req: HttpRequest): Exchange {
    return new Exchange(res, req, this.#unsent)
  }

  /** Registers a route that needs no token. */
  #open(app: TemplatedApp, route: OpsRoute, answer: (head: OpsHead) => Reply): void {
    this.#getOrHead(app, pathOf(route), route, (exchange, res, req) => void exchange.reply(answer(headOf(res, req))))
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

  /**
   * Registers a POST that needs no token, because it creates a session. Requests from pages of other sites are refused.
   */
  #postOpen(
    app: TemplatedApp,
    route: OpsRoute,
    answer: (exchange: Exchange, body: Uint8Array, head: OpsHead) => void,
  ): void {
    const path = pathOf(route)
    app.post(path, (res, req) => {
      const exchange = this.#exchange(res, req)
      if (!this.#admit(exchange, res, req, 'POST', route)) return
      const head = headOf(res, req)
      this.#read(exchange, res, req, (body) => answer(exchange, body, head))
    })
    this.#allow(path, 'POST')
  }

  #stream(
    app: TemplatedApp,
    route: OpsRoute,
    watch: (exchange: Exchange, req: HttpRequest, holder: StreamHolder) => void,
  ): void {
    const path = pathOf(route)
    app.get(path, (res, req) => {
      const exchange = this.#exchange(res, req)
      if (this.#admit(exchange, res, req, 'GET', route))
        watch(exchange, req, this.#guard.holderOf(headOf(res, req), this.#options.wallClock()))
    })
    this.#allow(path, 'GET')
  }

  /** @returns false if the request is refused; the refusal is sent at once or later */
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

  /** Registers a route of the table. A query that does not fit its schema is answered here. */
  #on<Route extends OpsRoute>(app: TemplatedApp, route: Route, answer: Answer<Route>, bytesMax?: number): void {
    const path = pathOf(route)
    const parameters = path.match(/:\w+/g) ?? []
    /** Copies the parts of the request that `answer` needs, because the request is valid only during its handler. */
    const asked = (res: HttpResponse, req: HttpRequest): ((exchange: Exchange, body?: Uint8Array) => void) => {
      const query = queryOf(route, req)
      const request = {
        params: parameters.map((_, index) => req.getParameter(index) ?? ''),
        accept: req.getHeader('accept'),
        operator: this.#operator(res, req, route),
        numbers: this.#guard.numbersOf(headOf(res, req)),
      }
      return (exchange, body = NO_BODY) =>
        void this.#answer(exchange, route, () =>
          query.success
            ? answer({ ...request, query: query.data, body, order: () => orderOf(route, body) })
            : badQuery(query.error),
        )
    }
    if (route.startsWith('GET ')) {
      this.#getOrHead(app, path, route, (exchange, res, req) => asked(res, req)(exchange))
      return
    }
    app.post(path, (res, req) => {
      const exchange = this.#exchange(res, req)
      if (!this.#admit(exchange, res, req, 'POST', route)) return
      const answered = asked(res, req)
      this.#read(exchange, res, req, (body) => answered(exchange, body), bytesMax)
    })
    this.#allow(path, 'POST')
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

  async #answer(exchange: Exchange, route: OpsRoute, answer: () => Reply | Promise<Reply>): Promise<void> {
    try {
      exchange.reply(await Promise.resolve().then(answer).catch(keptFault))
    } catch (error) {
      this.#options.log.error({ err: error, path: pathOf(route) }, 'an ops request could not be answered')
      exchange.reply(errorReply(500, 'INTERNAL', 'the gateway failed to answer; the reason is in its log'))
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
interface Admitted<Route extends OpsRoute> {
  /** Parameters of the path, in their order. */
  readonly params: readonly string[]
  readonly query: QueryOf<Route>
  /** `Accept` header; empty if there is none. */
  readonly accept: string
  /** Empty for a GET. */
  readonly body: Uint8Array
  /** Reads the body by the schema of the route. */
  readonly order: () => z.ZodSafeParseResult<OrderOf<Route>>
  readonly operator: Operator
  /**
   * Numbers of ours, if the request's token is limited to the calls of these numbers; null if the token is not limited.
   */
  readonly numbers: ReadonlySet<string> | null
}

/** The path of a route, as the server matches it. */
function pathOf(route: OpsRoute): string {
  return route.replace(/^\w+ /, '')
}

/** Reads the query by the schema of the route; an empty parameter counts as absent. */
function queryOf<Route extends OpsRoute>(route: Route, req: HttpRequest): z.ZodSafeParseResult<QueryOf<Route>> {
  const { query: schema } = rowOf(route)
  const given = Object.keys(schema?.shape ?? {}).map((name) => [name, req.getQuery(name) ?? ''] as const)
  const query = schema?.safeParse(Object.fromEntries(given.filter(([, value]) => value !== ''))) ?? NO_QUERY
  return query as z.ZodSafeParseResult<QueryOf<Route>>
}

function orderOf<Route extends OpsRoute>(route: Route, bytes: Uint8Array): z.ZodSafeParseResult<OrderOf<Route>> {
  const { body } = rowOf(route)
  assert(body !== undefined, `${route} has a schema of its body`)
  return orderIn(bytes, body) as z.ZodSafeParseResult<OrderOf<Route>>
}

function badQuery({ issues: [issue] }: z.ZodError): Reply {
  return errorReply(400, 'BAD_REQUEST', `${issue?.path.join('.') ?? 'the query'}: ${issue?.message ?? ''}`)
}

/** Answer to a wrong token while too many answers are being delayed. */
const TOO_MANY_GUESSES = errorReply(429, 'RATE_LIMITED', 'too many wrong tokens', {
  headers: [['Retry-After', String(Math.ceil(OPS_SLOWED_MS / 1000))]],
  close: true,
})

const NO_BODY = new Uint8Array(0)
const NO_QUERY = { success: true, data: undefined }

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
