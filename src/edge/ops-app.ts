import { WEBHOOK_BODY_BYTES_MAX } from '../core/limits.js'
import { BodyReader, Exchange, errorReply, textReply } from './http-exchange.js'
import type { BodyFault, Reply } from './http-exchange.js'
import { ScrapePage } from '../telemetry/scrape-page.js'
import { CALL_COMMANDS, CALL_VIEWS, OpsApi, healthy } from './ops-api.js'
import { OpsGuard } from './ops-guard.js'
import type { OpsHead } from './ops-guard.js'
import type { Refusals } from './refusals.js'
import type { EdgeOptions } from './options.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from './uws.js'

type OpsOptions = Pick<
  EdgeOptions,
  'calls' | 'outbound' | 'clock' | 'log' | 'metrics' | 'callSeries' | 'opsToken' | 'onDrain' | 'recording' | 'kept' | 'console'
>

const BODY_FAULTS: Readonly<Record<BodyFault, Reply>> = {
  'too-large': errorReply(413, 'BODY_TOO_LARGE', `the body is larger than ${WEBHOOK_BODY_BYTES_MAX} bytes`, {
    close: true,
  }),
  'too-slow': errorReply(408, 'BODY_TOO_SLOW', 'the body did not come in time', { close: true }),
  busy: errorReply(503, 'BUSY', 'too many requests wait for their bodies', { close: true }),
}

/** The console runs its own script and talks to its own origin; nothing else is loaded into it. */
const CONSOLE_POLICY =
  "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob:; " +
  "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"

/** The routes of the ops port. Health and the console's files are open; everything else asks the guard. */
export class OpsApp {
  readonly #options: OpsOptions
  readonly #api: OpsApi
  readonly #guard: OpsGuard
  readonly #bodies = new BodyReader()
  /** Methods by path, to answer all others. */
  readonly #allowed = new Map<string, string>()

  constructor(options: OpsOptions, refusals: Refusals) {
    this.#options = options
    this.#api = new OpsApi(options, refusals)
    this.#guard = new OpsGuard(options.opsToken)
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
    const fleet = this.#page('fleet', () => metrics.render())
    const calls = this.#page('calls', () => callSeries.renderInSlices())
    this.#get(app, '/metrics', async () => textReply(await fleet.get(), metrics.contentType), 'any-host')
    this.#get(app, '/metrics/calls', async () => textReply(await calls.get(), callSeries.contentType), 'any-host')
    this.#get(app, '/api/backends', () => this.#api.backends())
    this.#get(app, '/api/calls', () => this.#api.list())
    this.#get(app, '/api/refusals', () => this.#api.refusals())
    this.#get(app, '/api/calls/:sid', sid => this.#api.call(sid))
    for (const view of CALL_VIEWS) this.#get(app, `/api/calls/:sid/${view}`, sid => this.#api.view(sid, view))
    for (const command of CALL_COMMANDS) {
      this.#post(app, `/api/calls/:sid/${command}`, (sid, body) => this.#api.command(sid, command, body))
    }
    this.#post(app, '/api/calls', (_sid, body) => this.#api.place(body))
    this.#post(app, '/api/drain', () => this.#api.drain())
    this.#otherMethods(app)
    app.any('/*', res => {
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

  /** Gives up bodies that are late; called by the edge's one timer. */
  sweep(nowMs: number): void {
    this.#bodies.sweep(nowMs)
  }

  /** A route that anybody may read; HEAD as well, for load balancers. */
  #open(app: TemplatedApp, path: string, answer: () => Reply): void {
    app.get(path, res => {
      new Exchange(res).reply(answer())
    })
    app.head(path, res => {
      new Exchange(res).reply(answer(), { withoutBody: true })
    })
    this.#allow(path, 'GET, HEAD')
  }

  /** @param hosts `any-host`: without a token too a name may be used; Prometheus asks by service name. */
  #get(
    app: TemplatedApp,
    path: string,
    answer: (sid: string | undefined) => Reply | Promise<Reply>,
    hosts: 'any-host' | 'own-host' = 'own-host',
  ): void {
    app.get(path, (res, req) => {
      const exchange = new Exchange(res)
      const head = headOf(req)
      const refused = this.#guard.check(hosts === 'any-host' ? { ...head, host: 'localhost' } : head, 'GET')
      if (refused !== null) return void exchange.reply(refused)
      void this.#answer(exchange, path, () => answer(path.includes(':sid') ? req.getParameter(0) : undefined))
    })
    this.#allow(path, 'GET')
  }

  #post(app: TemplatedApp, path: string, answer: (sid: string | undefined, body: Uint8Array) => Reply | Promise<Reply>): void {
    app.post(path, (res, req) => this.#withBody(res, req, path, answer))
    this.#allow(path, 'POST')
  }

  #withBody(
    res: HttpResponse,
    req: HttpRequest,
    path: string,
    answer: (sid: string | undefined, body: Uint8Array) => Reply | Promise<Reply>,
  ): void {
    const exchange = new Exchange(res)
    const refused = this.#guard.check(headOf(req), 'POST')
    if (refused !== null) return void exchange.reply(refused)
    const sid = path.includes(':sid') ? req.getParameter(0) : undefined
    this.#bodies.read({
      res,
      exchange,
      contentLength: req.getHeader('content-length'),
      bytesMax: WEBHOOK_BODY_BYTES_MAX,
      nowMs: this.#options.clock(),
      onFault: fault => void exchange.reply(BODY_FAULTS[fault]),
      onBody: body => void this.#answer(exchange, path, () => answer(sid, body)),
    })
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
      app.any(path, res => {
        new Exchange(res).reply(
          errorReply(405, 'METHOD_NOT_ALLOWED', `this path takes ${allowed}`, { headers: [['Allow', allowed]] }),
        )
      })
    }
  }
}

function headOf(req: HttpRequest): OpsHead {
  return {
    authorization: req.getHeader('authorization'),
    host: req.getHeader('host'),
    contentType: req.getHeader('content-type'),
    fetchSite: req.getHeader('sec-fetch-site'),
  }
}
