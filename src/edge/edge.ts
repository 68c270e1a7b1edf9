import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.js'
import { EDGE_SWEEP_MS } from '../core/limits.js'
import { REFUSAL_REASONS, WEBHOOK_REJECTIONS, WEBHOOK_ROUTES } from '../telemetry/metric-labels.js'
import type { CallSid } from '../core/ids.js'
import { Recovery } from '../fleet/recovery.js'
import type { KeptState } from '../call/documents/kept-call.js'
import { Exchange, aroundRequests, refuseAmbiguousRequests } from './http/http-exchange.js'
import { xmlReply } from './http/reply.js'
import type { WebhookAnswer } from './public/rejections.js'
import { NOT_READY } from '../fleet/ownership-events.js'
import { WebhookRouting } from '../fleet/routing.js'
import { OVERLOADS } from '../workers/main/load-gate.js'
import { EMPTY_RESPONSE } from '../sautikit/actions.js'
import { Admission } from './public/admission.js'
import { CertificateWatch } from './certificate-watch.js'
import { ClientAddresses, peerOf } from './http/client-address.js'
import { DescriptorGuard, ownDescriptors } from './descriptors.js'
import { MediaSockets } from './public/media-socket.js'
import { OpsApp } from './ops/ops-app.js'
import { isLiveElsewhere } from './ops/ops-fleet.js'
import type { EdgeOptions } from './options.js'
import { PublicApp } from './public/public-app.js'
import type { WebhookHandler } from './public/public-app.js'
import { UnsentReplies } from './http/reply-writer.js'
import { StreamTokens } from './public/stream-tokens.js'
import { UnprovenConnections } from './public/unproven-connections.js'
import { PublicListeners, createApp, listen, portOf } from './http/uws.js'
import type { TemplatedApp } from './http/uws.js'
import { WebhookGuard } from './public/webhook-guard.js'
import { Webhooks, parseOrigin } from './public/webhooks.js'

/** Time in ms between the close frames and the forced end of the connections, at shutdown. */
const EDGE_GOODBYE_MS = 200

/** The gateway's two ports. */
export interface Edge {
  readonly publicPort: number
  readonly opsPort: number
  /** See `Recovery.streamLost`; does nothing without a fleet. */
  streamLost(state: KeptState, cut: () => boolean): Promise<void>
  /** See `Recovery.give`; without a fleet no other node takes a call. */
  give(callSid: CallSid): Promise<boolean>
  /** Stops accepting connections on the public port; open sockets and the ops port continue. Idempotent. */
  stopAccepting(): void
  /** Closes open sockets (1001), waits EDGE_GOODBYE_MS for their answer, and closes both ports. Idempotent. */
  close(): Promise<void>
}

/**
 * Opens both ports. Main thread only: if a worker thread with uWebSockets.js sockets ends, it ends the whole process.
 * @throws GatewayError PORT_IN_USE or CONFIG_INVALID; both ports are closed then.
 */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  checkOptions(options)
  const tokens = new StreamTokens(options)
  const guard = new WebhookGuard(options, tokens)
  const addresses = new ClientAddresses(options.trustedProxies)
  const opsApp = createApp()
  const source = options.descriptors ?? ownDescriptors()
  const unproven = new UnprovenConnections(source.limit, guard, options.clock)
  const descriptors = new DescriptorGuard({
    source,
    log: options.log,
    evict: () => unproven.evict(),
    pause: () => {
      listeners.close()
    },
    resume: () => listeners.open(),
  })
  const unsent = new UnsentReplies(options)
  const admission = new Admission(options, descriptors)
  const webhooks = new Webhooks(options, guard, tokens, admission)
  const media = new MediaSockets(options, tokens, guard, addresses, (callSid) => webhooks.answeredAtMs(callSid), unsent)
  const fleet = options.fleet === undefined ? null : fleetSide(options, options.fleet, webhooks)
  const publicRoutes = new PublicApp(
    options,
    guard,
    fleet?.handler ?? ((webhook) => webhooks.answer(webhook)),
    addresses,
    unsent,
  )
  const opsRoutes = new OpsApp(options, guard.refusals, admission, unsent)
  measureEdge(options, opsRoutes, descriptors)
  // uWebSockets.js calls this function for each accepted connection, so the guard can pause accepting at once.
  opsApp.filter((_res, change) => {
    descriptors.connection(change)
  })

  const ambiguous = options.metrics.defineCounter(
    'ambiguous_requests',
    'Ambiguous HTTP requests, by the port that refused them',
    ['port'],
  )
  for (const port of ['public', 'ops']) ambiguous({ port })
  const { tls = null } = options
  const listeners = publicListeners(() => {
    const app = createApp(tls)
    app.filter((res, change) => {
      descriptors.connection(change)
      if (change < 0) return
      const peer = peerOf(res)
      unproven.opened(res, peer, addresses.peer(peer), descriptors.scarce)
    })
    aroundRequests(app, (res, _req, handle) => {
      unproven.requested(peerOf(res))
      guard.work.count(handle)
    })
    refuseAmbiguousRequests(app, unsent, (res, req) => {
      ambiguous({ port: 'public' }).inc()
      const client = addresses.of(res, req)
      const closes = guard.closes(client.address)
      if (closes === null) return
      guard.close(new Exchange(res, req, unsent), client, closes)
      return 'closed'
    })
    media.routes(app) // registered before the other routes, because an upgrade is a GET
    publicRoutes.routes(app)
    return app
  }, options)
  refuseAmbiguousRequests(opsApp, unsent, () => ambiguous({ port: 'ops' }).inc())
  opsRoutes.routes(opsApp)

  // The ops port opens first: no call can come in while only the ops port is open.
  const opsListener = await listen(opsApp, {
    host: options.opsHost,
    port: options.opsPort,
    shared: false,
    setting: 'OPS_PORT',
  })
  try {
    await listeners.open()
  } catch (error) {
    opsApp.close()
    listeners.cut()
    throw error
  }

  const timer = setInterval(() => {
    const nowMs = options.clock()
    media.sweep(nowMs)
    publicRoutes.sweep(nowMs)
    opsRoutes.sweep(nowMs)
    unsent.sweep(nowMs)
    void descriptors.look(nowMs)
  }, EDGE_SWEEP_MS).unref()

  const certificate =
    tls === null
      ? null
      : new CertificateWatch({
          tls,
          log: options.log,
          renew: () => listeners.renew(),
          reopen: () => listeners.open(),
        })

  const shutDown = async (): Promise<void> => {
    clearInterval(timer)
    certificate?.close()
    listeners.end()
    opsRoutes.close()
    // The close frames may not have arrived yet. If the connections ended now, they would send a reset, which overtakes
    // the close frames.
    if (media.closeAll() > 0) await sleep(EDGE_GOODBYE_MS)
    media.cutAll()
    listeners.cut()
    opsApp.close()
  }
  let closing: Promise<void> | null = null
  return {
    publicPort: listeners.port,
    opsPort: portOf(opsListener),
    streamLost: (state, cut) => fleet?.streamLost(state, cut) ?? Promise.resolve(),
    give: (callSid) => fleet?.give(callSid) ?? Promise.resolve(false),
    stopAccepting: () => {
      listeners.end()
    },
    close: () => (closing ??= shutDown()),
  }
}

function publicListeners(makeApp: () => TemplatedApp, options: EdgeOptions): PublicListeners {
  const { host, port, shared, nodePort } = options
  return new PublicListeners(makeApp, [
    { host, port, shared, setting: 'PORT' },
    ...(nodePort === undefined ? [] : [{ host, port: nodePort, shared: false, setting: 'PORT' }]),
  ])
}

/** Reasons that `/readyz` may give. */
const NOT_READY_REASONS = ['full', 'draining', 'cordoned', 'file-descriptors', ...OVERLOADS, ...NOT_READY] as const

/**
 * Makes the edge's part for a fleet: this process answers only the webhooks of its own calls. Without a fleet it
 * answers all webhooks.
 */
function fleetSide(
  { calls, outbound, clock, log, metrics }: EdgeOptions,
  fleet: NonNullable<EdgeOptions['fleet']>,
  webhooks: Webhooks,
): { readonly handler: WebhookHandler } & Pick<Edge, 'streamLost' | 'give'> {
  const recovery = new Recovery<WebhookAnswer>({
    ...fleet,
    takes: () => fleet.node.state === 'open' && !calls.draining && calls.free > 0,
    open: (kept) => webhooks.reopen(kept),
    document: (callSid, host) => webhooks.newStream(callSid, host),
    anew: (webhook) => webhooks.beginAnew(webhook),
    isElsewhere: (callSid) => isLiveElsewhere(fleet.node, callSid),
    held: (webhook) => webhooks.hold(webhook),
    words: ({ callSid }, agent) =>
      callSid === null ? xmlReply(EMPTY_RESPONSE) : webhooks.fallbackReply(callSid, agent),
    noted: (webhook) => webhooks.offer(webhook, webhook.route === 'continue' ? 'owner-unknown' : 'known'),
    log,
    clock,
    sleep: (ms) => sleep(ms, undefined, { ref: false }),
  })
  const routing = new WebhookRouting<WebhookAnswer>({
    node: fleet.node,
    calls,
    answer: webhooks.offer.bind(webhooks),
    turnedAway: (callSid) => webhooks.turnedAway(callSid),
    placed: ({ callSid, clientRequestId }) =>
      callSid !== null && outbound?.find(callSid, clientRequestId) !== undefined,
    isLate: (answer) => 'status' in answer && answer.status === 410,
    isTaken: (answer) => 'status' in answer && answer.status === 200,
    held: (webhook) => webhooks.hold(webhook),
    recovery,
    clock,
    random: Math.random,
  })
  const routed = 'Webhooks that did not reach the owner of their call directly, by result'
  metrics.countEach('webhooks_routed', routed, 'result', routing.counters)
  const recovered = 'Calls whose node was lost, by result'
  metrics.countEach('calls_recovered', recovered, 'result', recovery.counters)
  return {
    handler: (webhook) => routing.route(webhook),
    streamLost: (state, cut) => recovery.streamLost(state, cut),
    give: (callSid) => recovery.give(callSid),
  }
}

/**
 * Registers the edge's metrics: series that read the edge's parts, and counters of refusals. The counters start at 0,
 * because `rate()` would miss the first refusal of a new series.
 */
function measureEdge({ metrics, callSeries }: EdgeOptions, ops: OpsApp, descriptors: DescriptorGuard): void {
  metrics.callSeriesDropped.from(() => callSeries.dropped)
  const help = '1 while no new call is taken, by reason'
  const notReady = metrics.defineLabelledGauge('not_ready', help, ['reason'], 'max')
  for (const reason of NOT_READY_REASONS) notReady.from({ reason }, () => (ops.notReady === reason ? 1 : 0))
  metrics
    .defineGauge('descriptors_low', '1 while no connections are accepted because too few file descriptors are free')
    .from(() => (descriptors.low ? 1 : 0))
  metrics.countOne(
    'descriptor_pauses',
    'Times that connections were refused because too few file descriptors were free',
    () => descriptors.pauses,
  )
  for (const reason of REFUSAL_REASONS) metrics.callsRefused({ reason })
  for (const reason of WEBHOOK_REJECTIONS) metrics.webhookRejected({ reason })
  for (const route of WEBHOOK_ROUTES) metrics.webhookSeconds({ route })
  for (const route of ['stream-status', 'after-stream', 'human']) metrics.webhooksTokenOnly({ route })
}

function checkOptions(options: EdgeOptions): void {
  if (options.bareSignatures)
    options.log.warn(
      {},
      'SAUTIKIT_BARE_SIGNATURES is true: webhooks signed without a time are accepted, so an intercepted webhook can be sent again',
    )
  for (const [name, value] of [
    ['PUBLIC_URL', options.publicUrl],
    ['NODE_URL', options.nodeUrl],
  ] as const) {
    if (value !== null && parseOrigin(value) === null) {
      throw new GatewayError(
        'CONFIG_INVALID',
        `${name} is not an origin; allowed: https://host or https://host:port, without path and query`,
      )
    }
  }
}
