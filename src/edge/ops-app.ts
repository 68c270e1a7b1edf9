import { OPS_SLOWED_MAX, OPS_SLOWED_MS, WEBHOOK_BODY_BYTES_MAX } from '../core/limits.js'
import { ClientAddresses } from './client-address.js'
import { BodyReader, Exchange, errorReply, textReply } from './http-exchange.js'
import type { Reply } from './http-exchange.js'
import type { CounterOf } from '../telemetry/metric-families.js'
import { ScrapePage } from '../telemetry/metrics.js'
import type { Admission } from './admission.js'
import { CALL_COMMANDS, CALL_VIEWS, OpsApi, healthy } from './ops-api.js'
import { FleetApi, NODE_COMMANDS } from './ops-fleet.js'
import type { Operator } from './ops-audit.js'
import { EraseApi } from './ops-erase.js'
import { OPS_REFUSALS, OpsGuard, SlowedAnswers } from './ops-guard.js'
import type { OpsAccess, OpsHead, OpsRefusal } from './ops-guard.js'
import { BODY_FAULTS } from './rejections.js'
import type { Refusals } from './rejections.js'
import type { EdgeOptions } from './options.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from './uws.js'

type OpsOptions = Pick<
  EdgeOptions,
  | 'calls'
  | 'fleet'
  | 'outbound'
  | 'clock'
  | 'log'
  | 'metrics'
  | 'callSeries'
  | 'opsToken'
  | 'opsReadToken'
  | 'onDrain'
  | 'recording'
  | 'kept'
  | 'journal'
  | 'settings'
  | 'erasure'
  | 'console'
>

type PostAnswer = (body: Uint8Array, operator: Operator, sid: string | undefined) => Reply | Promise<Reply>

/** The console runs its own script and talks to its own origin; nothing else is loaded into it. */
const CONSOLE_POLICY =
  "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob:; " +
  "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"

/** For a wrong token while too many held answers wait. */
const TOO_MANY_GUESSES = errorReply(429, 'RATE_LIMITED', 'too many wrong tokens', {
  headers: [['Retry-After', String(Math.ceil(OPS_SLOWED_MS / 1000))]],
  close: true,
})

/** The routes of the ops port. The guard checks each request; health and the console's files need no token. */
export class OpsApp {
  readonly #options: OpsOptions
  readonly #api: OpsApi
  readonly #fleet: FleetApi
  readonly #erase: EraseApi
  readonly #guard: OpsGuard
  readonly #slowed = new SlowedAnswers(OPS_SLOWED_MS, OPS_SLOWED_MAX)
  readonly #refused: CounterOf<'reason'>
  readonly #slowedAnswers: CounterOf<'result'>
  readonly #bodies = new BodyReader()
  /** Allowed methods by path; all others get a 405. */
  readonly #allowed = new Map<string, string>()

  constructor(options: OpsOptions, refusals: Refusals, admission: Admission) {
    this.#options = options
    this.#api = new OpsApi(options, refusals, admission)
    this.#fleet = new FleetApi(options, this.#api)
    this.#erase = new EraseApi(options)
    this.#guard = new OpsGuard(options.opsToken, options.opsReadToken ?? null)
    const { metrics } = options
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
      this.#open(app, path, () => ({
        ...textReply('', file.contentType),
        body: file.body,
        headers: [['Content-Security-Policy', CONSOLE_POLICY]],
      }))
    }
    const nodePage = this.#page('fleet', () => metrics.render())
    const calls = this.#page('calls', () => callSeries.renderInSlices())
    this.#get(app, '/metrics', async () => textReply(await nodePage.get(), metrics.contentType), 'metrics')
    this.#get(app, '/metrics/calls', async () => textReply(await calls.get(), callSeries.contentType), 'metrics')
    this.#get(app, '/api/backends', () => this.#api.backends())
    this.#get(app, '/api/calls', () => this.#api.list())
    this.#get(app, '/api/settings', () => this.#api.settings())
    this.#get(app, '/api/refusals', () => this.#api.refusals())
    this.#get(app, '/api/fleet', () => this.#fleet.status())
    this.#get(app, '/api/fleet/calls', (req) => this.#fleet.list(req.getQuery('limit')))
    this.#get(app, '/api/calls/:sid', (req) => this.#fleet.call(req.getParameter(0)))
    for (const view of CALL_VIEWS)
      this.#get(app, `/api/calls/:sid/${view}`, (req, operator) =>
        this.#fleet.view(req.getParameter(0), view, operator),
      )
    for (const command of CALL_COMMANDS) {
      this.#post(app, `/api/calls/:sid/${command}`, (body, operator, sid) =>
        this.#fleet.command(sid, command, body, operator),
      )
    }
    this.#post(app, '/api/calls', (body, operator) => this.#fleet.place(body, operator))
    this.#post(app, '/api/erase', (body, operator) => this.#erase.erase(body, operator))
    for (const command of NODE_COMMANDS)
      this.#post(app, `/api/${command}`, (body, operator) => this.#fleet.commandNode(command, body, operator))
    this.#otherMethods(app)
    app.any('/*', (res) => {
      new Exchange(res).reply(errorReply(404, 'NOT_FOUND', 'there is nothing at this path'))
    })
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

  /** Fails bodies that are past their deadline, and writes held answers; called by the edge's one timer. */
  sweep(nowMs: number): void {
    this.#bodies.sweep(nowMs)
    this.#slowed.sweep(nowMs)
  }

  /** A route that needs no token; HEAD as well, for load balancers. */
  #open(app: TemplatedApp, path: string, answer: () => Reply): void {
    app.get(path, (res, req) => {
      const exchange = new Exchange(res)
      if (this.#admit(exchange, res, req, 'GET', 'open')) exchange.reply(answer())
    })
    app.head(path, (res, req) => {
      const exchange = new Exchange(res)
      if (this.#admit(exchange, res, req, 'HEAD', 'open')) exchange.reply(answer(), { withoutBody: true })
    })
    this.#allow(path, 'GET, HEAD')
  }

  /** @returns false when the request is refused, and answered or about to be. */
  #admit(
    exchange: Exchange,
    res: HttpResponse,
    req: HttpRequest,
    method: 'GET' | 'HEAD' | 'POST',
    access: OpsAccess,
  ): boolean {
    const nowMs = this.#options.clock()
    const refused = this.#guard.check(headOf(res, req), method, access, nowMs)
    if (refused === null) return true
    this.#refused({ reason: refused.reason }).inc()
    if (!refused.slow) exchange.reply(refused.reply, { withoutBody: method === 'HEAD' })
    else this.#slowDown(exchange, refused, nowMs)
    return false
  }

  #slowDown(exchange: Exchange, { reply }: OpsRefusal, nowMs: number): void {
    const held = this.#slowed.hold(exchange, reply, nowMs)
    this.#slowedAnswers({ result: held ? 'held' : 'cut' }).inc()
    if (!held) exchange.reply(TOO_MANY_GUESSES)
  }

  #get(
    app: TemplatedApp,
    path: string,
    answer: (req: HttpRequest, operator: Operator) => Reply | Promise<Reply>,
    access: OpsAccess = 'all',
  ): void {
    app.get(path, (res, req) => {
      const exchange = new Exchange(res)
      if (!this.#admit(exchange, res, req, 'GET', access)) return
      void this.#answer(exchange, path, () => answer(req, this.#operator(res, req)))
    })
    this.#allow(path, 'GET')
  }

  #post(app: TemplatedApp, path: string, answer: PostAnswer): void {
    app.post(path, (res, req) => this.#withBody(res, req, path, answer))
    this.#allow(path, 'POST')
  }

  #withBody(res: HttpResponse, req: HttpRequest, path: string, answer: PostAnswer): void {
    const exchange = new Exchange(res)
    if (!this.#admit(exchange, res, req, 'POST', 'all')) return
    const sid = path.includes(':sid') ? req.getParameter(0) : undefined
    const operator = this.#operator(res, req)
    this.#bodies.read({
      res,
      exchange,
      contentLength: req.getHeader('content-length'),
      bytesMax: WEBHOOK_BODY_BYTES_MAX,
      nowMs: this.#options.clock(),
      onFault: (fault) => void exchange.reply(BODY_FAULTS[fault].reply),
      onBody: (body) => void this.#answer(exchange, path, () => answer(body, operator, sid)),
    })
  }

  /** Of a request that was admitted. */
  #operator(res: HttpResponse, req: HttpRequest): Operator {
    return { token: this.#options.opsToken === null ? 'none' : 'OPS_TOKEN', address: ADDRESSES.of(res, req) }
  }

  async #answer(exchange: Exchange, path: string, answer: () => Reply | Promise<Reply>): Promise<void> {
    try {
      exchange.reply(await answer())
    } catch (error) {
      this.#options.log.error({ err: error, path }, 'An ops request could not be answered')
      exchange.reply(errorReply(500, 'INTERNAL', 'the gateway failed to answer; it has logged why'))
    }
  }

  #allow(path: string, methods: string): void {
    const before = this.#allowed.get(path)
    this.#allowed.set(path, before === undefined ? methods : `${before}, ${methods}`)
  }

  #otherMethods(app: TemplatedApp): void {
    for (const [path, allowed] of this.#allowed) {
      app.any(path, (res) => {
        new Exchange(res).reply(
          errorReply(405, 'METHOD_NOT_ALLOWED', `this path takes ${allowed}`, { headers: [['Allow', allowed]] }),
        )
      })
    }
  }
}

/** The peer's own address: no proxy is trusted at this port. */
const ADDRESSES = new ClientAddresses([])

function headOf(res: HttpResponse, req: HttpRequest): OpsHead {
  return {
    address: ADDRESSES.of(res, req),
    authorization: req.getHeader('authorization'),
    host: req.getHeader('host'),
    contentType: req.getHeader('content-type'),
    contentLength: req.getHeader('content-length'),
    transferEncoding: req.getHeader('transfer-encoding'),
    origin: req.getHeader('origin'),
    fetchSite: req.getHeader('sec-fetch-site'),
  }
}
