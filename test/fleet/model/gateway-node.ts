import type { MessagePort } from 'node:worker_threads'
import type { AgentDefinition } from '../../../src/agents/file/definition.js'
import { toolSchema } from '../../../src/agents/tools/tool-definition.js'
import { allCallsOn } from '../../../src/backends/split.js'
import { CALL_CHECKPOINT_VERSION } from '../../../src/call/documents/checkpoint.js'
import type { CallCheckpoint } from '../../../src/call/documents/checkpoint.js'
import type { KeptCall } from '../../../src/call/documents/kept-call.js'
import type { CallRecord, EndReason } from '../../../src/call/documents/record.js'
import { Campaigns } from '../../../src/campaigns/campaigns.js'
import type { PlacedStanding } from '../../../src/campaigns/campaigns.js'
import { RedisDoNotCall, RedisQueue } from '../../../src/campaigns/redis-queue.js'
import { loadConfig } from '../../../src/config/load-config.js'
import { parseCallSid } from '../../../src/core/ids.js'
import { Admission } from '../../../src/edge/public/admission.js'
import { isLiveElsewhere, recordAt, withDecision } from '../../../src/edge/ops/ops-fleet.js'
import type { WebhookAnswer } from '../../../src/edge/public/rejections.js'
import { StreamTokens } from '../../../src/edge/public/stream-tokens.js'
import { WebhookGuard } from '../../../src/edge/public/webhook-guard.js'
import { Webhooks } from '../../../src/edge/public/webhooks.js'
import { HumanCalls } from '../../../src/escalation/human-calls.js'
import type { ProvenWebhook } from '../../../src/fleet/proven-webhook.js'
import { Recovery } from '../../../src/fleet/recovery.js'
import { parseRedisUrl } from '../../../src/fleet/store/redis-url.js'
import type { RedisAddress } from '../../../src/fleet/store/redis-url.js'
// It is imported on demand, and the simulated disk has no modules.
import '../../../src/fleet/store/redis-store.js'
import { WebhookRouting } from '../../../src/fleet/routing.js'
import { CallAnalyses } from '../../../src/gateway/call-analyses.js'
import { openFleet } from '../../../src/gateway/fleet-side.js'
import { UnsettledCalls } from '../../../src/gateway/unsettled-calls.js'
import { agentFacts } from '../../../src/gateway/agents/hosted-agents.js'
import type { Message } from '../../../src/messages/message.js'
import { Outbox } from '../../../src/messages/outbox.js'
import { CallSeries } from '../../../src/telemetry/call-series.js'
import { createLog } from '../../../src/telemetry/log.js'
import type { Metrics } from '../../../src/telemetry/metrics.js'
import type { CallStart, FromCall, ToCall } from '../../../src/workers/shared/call-messages.js'
import { CallRegistry } from '../../../src/workers/main/call-registry.js'
import { lostResult } from '../../../src/workers/main/kept-call.js'
import { SocketsRead } from '../../../src/workers/shared/worker-memory.js'
import { orderStatusAgent } from '../../support/host.js'
import type { ModelRedis, Sending } from './redis.js'
import { ModelRowQueue } from './row-queue.js'
import type { VirtualTime } from './virtual-time.js'

const SECRET = 'the-secret-of-a-simulated-fleet-0123456789'
const RECEIVER_URL = 'http://10.9.9.9/messages'
/** In which the media workers' side of a call, and the main thread's tick, are looked at. */
const TICK_MS = 250
/** After which a media worker reads a control word. */
const WORKER_TICK_MS = 5
/** As DRAIN_TIMEOUT, and how long a stop waits for messages. */
const DRAIN_MS = 3000
const CLOSE_MS = 2000
/** In which the carrier posts the ends of the last calls. */
const LAST_WEBHOOKS_MS = 1000
const WAITING_TOOL = 'charge'

/** Metrics that nobody reads: anything that is asked of them is there. */
const noMetrics: unknown = new Proxy(() => undefined, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => 0 : noMetrics),
  apply: () => noMetrics,
})

let agent: Promise<AgentDefinition> | null = null

/** The shipped order line, with a tool whose outcome comes later. */
export function simulatedAgent(): Promise<AgentDefinition> {
  agent ??= orderStatusAgent().then((shipped) => ({
    ...shipped,
    tools: [
      ...shipped.tools,
      toolSchema.parse({
        name: WAITING_TOOL,
        description: 'Asks for a payment.',
        http: { method: 'POST', url: 'http://10.9.9.8/charge', body: { to: '{{continue.url}}' } },
        waits: { for: '90s', say: 'Enter your PIN.' },
      }),
    ],
    analysis: { fields: {}, summary: 'none' as const },
    outbound: { ...shipped.outbound, from: '+254709000000' },
  }))
  return agent
}

/** Messages of a node to the world around it. Each is an effect outside. */
export interface World {
  readonly time: VirtualTime
  readonly redis: ModelRedis
  readonly log: (line: () => string) => void
  /** The tool is asked to charge, under this key. */
  readonly charged: (node: GatewayNode, callSid: string, key: string, continueUrl: string) => void
  /** The caller hears an outcome. */
  readonly heardOutcome: (node: GatewayNode, callSid: string, callId: string, status: string) => void
  readonly accepted: (node: GatewayNode, message: Message) => void
  readonly rings: (node: GatewayNode, label: string, to: string) => Promise<{ readonly callSid: string }>
  readonly standing: (callSid: string) => PlacedStanding
  readonly carrier: ConstructorParameters<typeof Recovery>[0]['carrier']
  /** Records of calls on the disk of each node, by its name and by call, of which it is not decided yet whether they are the calls'. */
  readonly undecided: Map<string, Map<string, CallRecord>>
  /** The records on their disks, by node and call. */
  readonly kept: Map<string, Map<string, CallRecord>>
  readonly ended: (node: GatewayNode, record: CallRecord) => void
  /** It is the call's record. */
  readonly recorded: (node: GatewayNode, record: CallRecord) => void
}

/** One run of a gateway: the parts of `gateway/gateway.ts` that Redis and other nodes have to do with, wired as there. */
export class GatewayNode implements Sending {
  readonly id: string
  readonly name: string
  readonly url: string
  alive = true
  stillUntilMs = 0
  connects = false
  ready = false
  readySinceMs = Infinity
  stops = false
  /** Sends after which it dies; Infinity: it does not. */
  diesAfterSends = Infinity
  onDeath: () => void = () => undefined
  routing: WebhookRouting<WebhookAnswer> | null = null
  calls: CallRegistry | null = null
  outbox: Outbox | null = null
  campaigns: Campaigns | null = null
  doNotCall: RedisDoNotCall | null = null
  fleet: Awaited<ReturnType<typeof openFleet>> | null = null
  queue: ModelRowQueue | null = null
  /** By call: its session in the media worker. */
  readonly sessions = new Map<string, Session>()
  readonly world: World
  #redisQueue: RedisQueue | null = null
  #analyses: CallAnalyses | null = null
  #recovery: Recovery<WebhookAnswer> | null = null
  #unsettled: UnsettledCalls | null = null

  constructor(world: World, name: string, run: number) {
    this.world = world
    this.name = name
    this.id = `${name}.${run}`
    this.url = `http://${name}:9470`
  }

  sends(): boolean {
    if (!this.alive) return false
    if (--this.diesAfterSends > 0) return true
    this.onDeath()
    return false
  }

  async start(definition: AgentDefinition): Promise<void> {
    const { time, redis } = this.world
    const { clock, wallClock, random } = time
    const pause = (ms: number): Promise<void> => new Promise((resolve) => time.after(ms, this, () => resolve()))
    const metrics = noMetrics as Metrics
    const log = createLog({ level: 'silent' })
    const config = {
      ...loadConfig({ TOKEN_SECRET: SECRET }, null),
      redisUrl: redis.url,
      redisPrefix: 'mk:',
      nodeName: this.name,
      internalPort: 9470,
      internalHost: '0.0.0.0',
      internalUrl: this.url,
    }
    const tokenSecrets = [SECRET]
    const fleet = await openFleet({
      ...{ config, tokenSecrets, store: null, states: null, version: '0.0.0', clock, log, metrics },
      calls: () => this.calls,
      isRinging: () => false,
      liveCosts: () => ({}),
      agents: () => '',
      onNameTaken: () => undefined,
    })
    this.fleet = fleet
    const { node } = fleet
    const receiver = {
      ...{ name: 'crm', url: RECEIVER_URL, secrets: [], events: ['*'], agents: undefined, numbers: undefined },
      ...{ outcomes: undefined, needs: undefined, headers: {}, body: undefined },
    }
    const outbox = await Outbox.open({
      folders: [`/simulated/${this.name}`],
      shared: fleet.outbox,
      receivers: [receiver],
      handoff: { url: null, secret: null },
      source: 'simulated',
      wallClock,
      log,
    })
    this.outbox = outbox
    const tell = (type: Message['type'], callSid: string, id: string, data: object): Promise<void> => {
      const message: Message = {
        ...{ type, id, callSid, data, agent: 'order-status', number: null, outcome: null },
        time: new Date(wallClock()).toISOString(),
      }
      return outbox.add(message).then(() => {
        if (this.alive) this.world.accepted(this, message)
      })
    }
    const shared = { clock, wallClock, log, metrics }
    const humanCalls = new HumanCalls({ perNumberPerMinute: 1000, fallbacksPerMinute: 1000 })
    const shares = allCallsOn('embedded')
    const hosted = new Map([['order-status', { definition, facts: agentFacts(definition), shares }]])
    const analyses = new CallAnalyses({
      ...{ ...shared, agents: hosted, prices: null, perHour: 1000, owed: fleet.owedAnalyses },
      // Its agent asks for what the gateway knows by itself.
      settings: {} as never,
      modelOf: () => null,
      done: async ({ callSid }, _analysis, isTold) => {
        if (!isTold) await tell('call.analysed', callSid, `${callSid}:analysed`, {})
      },
    })
    const undecided = this.world.undecided.get(this.name) ?? new Map<string, CallRecord>()
    this.world.undecided.set(this.name, undecided)
    const kept = this.world.kept.get(this.name) ?? new Map<string, CallRecord>()
    this.world.kept.set(this.name, kept)
    const left = [...undecided.values()]
    const unsettled: UnsettledCalls = new UnsettledCalls({
      earlier: left,
      isLive: (sid) => calls.find(sid) !== undefined,
      recordOf: (sid) => calls.record(sid),
      recordAt: (sid, ours, isLast) => recordAt(node, sid, ours, writtenAtMs(unsettled.record(sid)), isLast),
      onElsewhere: (callSid) => node.handedOver(callSid),
      isKept: true,
      log,
      sleep: (ms, signal) =>
        new Promise((resolve) => {
          time.after(ms, this, () => resolve())
          signal.addEventListener('abort', () => resolve(), { once: true })
        }),
    })
    this.#unsettled = unsettled
    node.onRequest('ops', async (request, from) => {
      const asked = request as { readonly callSid: string; readonly leaves: boolean }
      const { callSid } = asked
      const ended = calls.record(callSid) ?? kept.get(callSid)
      const left = unsettled.record(callSid)
      const record = calls.find(callSid) === undefined ? (ended ?? (left && { ...left, isLeft: true })) : {}
      if (record === undefined) return { status: 404, body: {} }
      return { status: 200, body: await withDecision(node, asked, from, record) }
    })
    /** The message is kept before the record is final. */
    const keep = async (record: CallRecord): Promise<void> => {
      await tell('call.ended', record.callSid, `${record.callSid}:ended`, {})
      if (!this.alive) return
      undecided.delete(record.callSid)
      kept.set(record.callSid, record)
      this.world.recorded(this, record)
    }
    const calls = new CallRegistry({
      ...shared,
      agents: hosted,
      defaultAgent: 'order-status',
      maxCalls: 20,
      env: {},
      carrier: null,
      humanCalls,
      callSeries: new CallSeries({ clock }),
      keepJournal: null,
      journal: { build: 'simulated', audio: false },
      speech: null,
      setTimer: (ms, run) => {
        const timer = time.after(Math.max(ms, TICK_MS), this, run)
        return () => {
          timer.cancelled = true
        }
      },
      openPool: () => ({
        ...{ ticks: [], threads: [], socketsRead: new SocketsRead() },
        ready: () => Promise.resolve(),
        run: (start) => new Session(this, start).over,
        close: () => Promise.resolve(),
      }),
      keeper: fleet.keeper,
      effects: fleet.effects,
      sharedAttempts: fleet.attempts,
      elsewhere: () => node.takesCallsElsewhere,
      onStreamLost: (state, cut) => this.#recovery?.streamLost(state, cut) ?? Promise.resolve(),
      leaveResting: async (sid) => {
        if (!(await fleet.keeper.saved(sid))) return 'nowhere'
        if ((await this.#recovery?.give(sid)) === true) return 'moved'
        node.leaveBehind()
        return 'kept'
      },
      openRecords: {
        open: (sid, compose) => void undecided.set(sid, compose()),
        changed: () => undefined,
        gone: (sid) => void undecided.delete(sid),
      },
      onGoneElsewhere: (sid, part) => {
        node.released(sid)
        void unsettled.settle([part], (record, callSid, isRecord) => {
          if (isRecord) calls.enter(record)
          else undecided.delete(callSid)
        })
      },
      onStarted: ({ callSid }) => void tell('call.started', callSid, `${callSid}:started`, {}),
      onWaitUnheard: ({ id, callSid, status }) => {
        this.world.heardOutcome(this, callSid, `message ${id}`, status)
        void tell('tool.waiting.done', callSid, `${callSid}:wait:${id}`, {})
      },
      onRecord: (record, told) => {
        node.released(record.callSid)
        this.world.ended(this, record)
        undecided.set(record.callSid, record)
        const isOurs = told === null ? Promise.resolve(true) : told.then((answer) => unsettled.isOurs(record, answer))
        void isOurs.then(async (ours) => {
          if (ours) {
            await keep(record)
            return analyses.take(record)
          }
          undecided.delete(record.callSid)
          return calls.forget(parseCallSid(record.callSid))
        })
      },
    })
    const giveUp = calls.giveUp.bind(calls)
    // All calls have one memory here, so the word in it that ends a session is said to that session.
    calls.giveUp = (sid, why) => {
      const session = this.sessions.get(sid)
      giveUp(sid, why)
      time.after(WORKER_TICK_MS, this, () => session?.forced())
    }
    this.calls = calls
    const edge = {
      ...{ ...shared, calls, humanCalls, publicUrl: 'http://gateway', nodeUrl: `http://${this.name}:8080` },
      ...{ ownedNumbers: [], noAgent: [], webhookSecrets: [], tokenSecrets, bareSignatures: false },
      ...{ callerLimits: { calls: 100, perMinute: 1000, withheldPercent: 100, exempt: [] } },
      tokenOnly: 'accept' as const,
      fleet: {
        ...{ node, storeHome: fleet.storeHome, carrier: this.world.carrier },
        kept: fleet.keeper.opened.bind(fleet.keeper),
        lost: (state: Parameters<CallRegistry['addLostCall']>[0]) => {
          const { callSid, node: at } = state.kept
          if (at !== this.name || unsettled.record(callSid) === undefined) calls.addLostCall(state)
        },
        left: (sid: string) => unsettled.record(sid),
        callBack: () => Promise.resolve(false),
      },
    }
    const tokens = new StreamTokens(edge)
    const webhooks = new Webhooks(
      edge,
      new WebhookGuard(edge, tokens),
      tokens,
      new Admission(edge, { low: false, why: '' }),
    )
    const recovery = new Recovery<WebhookAnswer>({
      ...edge.fleet,
      takes: () => node.state === 'open' && !calls.draining && calls.free > 0,
      open: (kept) => webhooks.reopen(kept),
      document: (callSid, host) => webhooks.newStream(callSid, host),
      words: ({ callSid }, name) => webhooks.fallbackReply(callSid as never, name),
      anew: (webhook) => webhooks.beginAnew(webhook),
      isElsewhere: (callSid) => isLiveElsewhere(node, callSid),
      held: (webhook) => webhooks.hold(webhook),
      noted: (webhook) => webhooks.offer(webhook, webhook.route === 'continue' ? 'owner-unknown' : 'known'),
      log,
      clock,
      sleep: pause,
    })
    this.#recovery = recovery
    this.routing = new WebhookRouting<WebhookAnswer>({
      ...{ node, calls, recovery, clock, random },
      answer: webhooks.offer.bind(webhooks),
      isLate: (answer) => 'status' in answer && answer.status === 410,
      isTaken: (answer) => 'status' in answer && answer.status === 200,
      held: (webhook) => webhooks.hold(webhook),
      turnedAway: (callSid) => webhooks.turnedAway(callSid),
      placed: () => false,
    })
    const redisQueue = new RedisQueue({
      address: parseRedisUrl(redis.url) as RedisAddress,
      prefix: config.redisPrefix,
      secrets: tokenSecrets,
      log,
    })
    this.#redisQueue = redisQueue
    const queue = new ModelRowQueue(redisQueue.redis, wallClock, pause, this.id)
    this.queue = queue
    this.doNotCall = new RedisDoNotCall(redisQueue, { secrets: tokenSecrets })
    this.campaigns = new Campaigns({
      queue,
      doNotCall: this.doNotCall,
      place: ({ clientRequestId = '', to }) => this.world.rings(this, clientRequestId, to),
      standing: (callSid) => Promise.resolve(this.world.standing(callSid)),
      claims: fleet.store,
      agent: () => definition,
      humanFirst: () => null,
      lines: fleet.lines,
      prefixes: [],
      callBackLimits: { perNumberDay: 2, perNumberWeek: 4, perCallerDay: 3 },
      slots: () => ({ capacity: calls.capacity, free: calls.free }),
      walletMinor: () => null,
      walletEmpty: () => undefined,
      budgetSpent: () => false,
      perMinute: 6000,
      keepMs: 86_400_000,
      wallClock,
      random,
      log,
      counted: () => undefined,
      told: () => undefined,
    })
    await node.start()
    void unsettled.settle(left, (record, callSid, isRecord) => {
      if (!isRecord) return void undecided.delete(callSid)
      calls.addRecoveredCall(record)
      return void keep(record)
    })
    void this.campaigns.look()
    analyses.look()
    this.#analyses = analyses
    this.ready = true
    this.readySinceMs = time.nowMs
  }

  /** As SIGTERM. */
  async stop(): Promise<void> {
    const { fleet, calls } = this
    if (fleet === null || calls === null || this.stops) return
    this.stops = true
    fleet.node.state = 'draining'
    await calls.drain(DRAIN_MS)
    await this.campaigns?.close(0)
    await new Promise<void>((resolve) => this.world.time.after(LAST_WEBHOOKS_MS, this, resolve))
    await this.#analyses?.close()
    this.#unsettled?.close()
    await this.outbox?.close(CLOSE_MS)
    await fleet.close()
    await calls.close()
    this.#redisQueue?.redis.disconnect()
    this.ready = false
    this.alive = false
  }

  answer(webhook: ProvenWebhook): Promise<WebhookAnswer> {
    return Promise.resolve(this.routing?.route(webhook) ?? new Promise<never>(() => undefined))
  }
}

/** The media worker's half of a call: a conversation that goes on until somebody ends it. */
class Session {
  readonly over: Promise<never>
  readonly callSid: string
  readonly #node: GatewayNode
  readonly #start: CallStart
  readonly #port: MessagePort
  #finish: (end: unknown) => void = () => undefined
  #done = false
  #openedWallMs: number | null
  #tools = 0

  constructor(node: GatewayNode, start: CallStart) {
    this.#node = node
    this.#start = start
    this.callSid = start.callSid
    this.#port = start.port
    this.#openedWallMs = start.resume?.checkpoint.streamOpenedWallMs ?? null
    this.over = new Promise((resolve) => {
      this.#finish = resolve as (end: unknown) => void
    })
    node.sessions.set(this.callSid, this)
    this.#port.on('message', (message: ToCall) => this.#receive(message))
    this.#save()
  }

  /** The caller asks for something whose outcome comes later. */
  charge(): void {
    const callId = `tool-${this.#start.rehomes}-${++this.#tools}`
    this.#post({
      type: 'tool-intent',
      key: `${this.#start.rootSid}:${WAITING_TOOL}`,
      tool: WAITING_TOOL,
      callId,
      args: {},
    })
  }

  /** The control word ends it. */
  forced(): void {
    this.#end('call-fault')
  }

  get #checkpoint(): CallCheckpoint {
    return {
      ...{ version: CALL_CHECKPOINT_VERSION, callSid: this.callSid, state: 'live', greeted: true, greetingMs: 300 },
      ...{ streamOpenedWallMs: this.#openedWallMs, owed: 'nothing', heard: null, silencePrompts: 0 },
      ...{ nextAnnouncement: 1, identity: null, openTranscript: [], toolsRunning: [], ending: null, escalation: null },
    }
  }

  #save(): void {
    const saved = { checkpoint: this.#checkpoint, backendState: null }
    this.#post({ type: 'log', entries: [], saved, frameLatencyP99Ms: null })
  }

  #post(message: FromCall): void {
    if (!this.#done) this.#port.postMessage(message)
  }

  #receive(message: ToCall): void {
    const { world } = this.#node
    switch (message.type) {
      case 'stream-opened':
        this.#openedWallMs ??= world.time.wallClock()
        return this.#save()
      case 'stream-closed':
        return this.#end('fault' in message && message.fault != null ? 'socket-lost' : 'caller-hung-up')
      case 'hangup-requested':
        return this.#end(message.reason)
      case 'carrier-state':
        if (message.state === 'completed') this.#end('caller-hung-up')
        return
      case 'tool-intent': {
        if (message.answer.type !== 'run' || !this.#node.sends()) return
        world.charged(this.#node, this.callSid, message.key, message.answer.continueUrl ?? '')
        return this.#post({ type: 'tool-pending', key: message.key, waitMs: 90_000, id: '' })
      }
      case 'tool-outcome': {
        world.heardOutcome(this.#node, this.callSid, message.callId, message.status)
        return this.#post({ type: 'wait', callId: message.callId, state: 'told' })
      }
      default:
    }
  }

  #end(endReason: EndReason): void {
    if (this.#done) return
    this.#done = true
    if (this.#node.sessions.get(this.callSid) === this) this.#node.sessions.delete(this.callSid)
    const kept = { streamMs: 1000, session: null, sessions: [] as KeptCall['sessions'] } as KeptCall
    this.#finish({ ...lostResult(kept, 'outcome'), outcome: 'contained', endReason, endDetail: '' })
  }
}

/** When what an earlier run has left of a call was written down; null where it left nothing. */
function writtenAtMs(left: CallRecord | undefined): number | null {
  return left === undefined ? null : Date.parse(left.startedAt) + left.durationMs
}
