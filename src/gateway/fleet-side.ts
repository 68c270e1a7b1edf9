import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { Clock } from '../core/clock.js'
import { isLoopback, isWildcard } from '../config/exposure.js'
import { internalTls } from '../config/tls-files.js'
import type { Config } from '../config/settings.js'
import { BusyLines } from '../fleet/busy-lines.js'
import { CallKeeper } from '../fleet/call-keeper.js'
import type { CallStore } from '../fleet/store/call-store.js'
import { CallerMemory } from '../fleet/store/caller-memory.js'
import { DurableStore } from '../fleet/store/durable-store.js'
import type { StatesOnDisk } from '../fleet/store/durable-store.js'
import { StoredEffects } from '../fleet/store/effects.js'
import { FleetNode, newNonce } from '../fleet/fleet-node.js'
import type { NodeNetwork, NodeStatus } from '../fleet/fleet-node.js'
import { callerTags } from '../fleet/secrets.js'
import type { StoreHome } from '../fleet/fleet-status.js'
import { GuardedStore } from '../fleet/store/guarded-store.js'
import { MemoryStore } from '../fleet/store/memory-store.js'
import { StoredAttempts } from '../fleet/store/stored-attempts.js'
import { SealedCall } from '../fleet/store/sealed-call.js'
import { SharedOutbox } from '../messages/shared-outbox.js'
import { OwedAnalyses } from './owed-analyses.js'
import { PeerListener } from '../fleet/peer-listener.js'
import { Peers } from '../fleet/peers.js'
import type { connectRedis } from '../fleet/store/redis-store.js'
import { parseRedisUrl, redisExposure, shownRedisUrl } from '../fleet/store/redis-url.js'
import type { RedisAddress } from '../fleet/store/redis-url.js'
import type { Log } from '../telemetry/log.js'
import { countFleet } from './fleet-metrics.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallRegistry } from '../workers/main/call-registry.js'
import type { EffectGate } from '../workers/shared/effects.js'

interface FleetSideOptions {
  /** Configuration of this process. `internalPort` is null without other nodes. */
  readonly config: Config
  /** Values of TOKEN_SECRET, at least one. */
  readonly tokenSecrets: readonly string[]
  /** Store in the supervisor's memory if this process is one of several; null otherwise. */
  readonly store: CallStore | null
  /**
   * Storage on the disk for the states of calls, so that the calls survive this process; null if they need not or
   * cannot survive.
   */
  readonly states: StatesOnDisk | null
  readonly version: string
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** Returns the calls of this process; null until calls can be accepted. */
  readonly calls: () => CallRegistry | null
  /** True if this node is ringing this number. */
  readonly isRinging: (number: string) => boolean
  /** Cost of live calls so far, by number with a budget. */
  readonly liveCosts: () => Readonly<Record<string, number>>
  /** Hash of the versions of all agents for new calls. */
  readonly agents: () => string
  readonly onNameTaken: () => void
}

/** This gateway as a node of a fleet. A single node has a store in its own memory. */
export interface FleetSide {
  readonly node: FleetNode
  readonly store: GuardedStore
  readonly storeHome: StoreHome
  readonly keeper: CallKeeper
  readonly effects: EffectGate
  readonly attempts: StoredAttempts
  readonly callerMemory: CallerMemory
  readonly lines: BusyLines
  /** Messages of the fleet; null without Redis. */
  readonly outbox: SharedOutbox | null
  /** Analyses that the fleet's nodes owe; null without Redis. */
  readonly owedAnalyses: OwedAnalyses | null
  /** Counts and logs entries that the store has lost in an outage of Redis. */
  readonly storeLost: (what: StoreLost, count: number) => void
  /** Registers work that runs each time the store has lost its content. */
  readonly onForgotten: (work: () => void) => void
  close(): Promise<void>
}

const LOST_LINES = {
  campaigns: 'Redis came back without the rows of campaigns: they are not begun again',
  'call-backs': 'Redis came back without the call backs that callers were promised',
  'do-not-call': 'Redis came back without numbers of the do-not-call list: this node has put them back',
  messages: 'Redis came back without messages that this node had taken: no receiver gets them',
  analyses: 'Redis came back without the analyses that this node owes: it has put them back',
} as const
type StoreLost = keyof typeof LOST_LINES

const NOTHING_YET: NodeStatus = { capacity: 0, free: 0, callsByAgent: {}, callsByCaller: new Map(), afterStream: null }

/**
 * Connects to the store, and opens the network to other nodes. `node.start` then joins the fleet.
 * @throws GatewayError CONFIG_INVALID or PORT_IN_USE
 */
export async function openFleet(options: FleetSideOptions): Promise<FleetSide> {
  const { config, tokenSecrets, states, version, clock, metrics, calls, onNameTaken } = options
  const log = options.log.component('fleet')
  const { redis, shared, home, address } = await openStore(options, log)
  const inner = states === null ? shared : new DurableStore(shared, states)
  const { seconds, lost } = storeMetrics(metrics)
  const whenForgotten: (() => void)[] = []
  const store = new GuardedStore(inner, {
    clock,
    onOp: (op, durationMs) => seconds({ op }).observe(durationMs / 1000),
  })
  const incarnation = newNonce()
  let heard: (node: string, incarnation: string) => void = () => undefined
  const network = await openNetwork(config, tokenSecrets, incarnation, clock, log, (node, run) =>
    heard(node, run),
  ).catch(async (thrown: unknown) => {
    await store.close()
    throw thrown
  })
  const node: FleetNode = new FleetNode({
    name: config.nodeName,
    incarnation,
    version,
    store,
    network,
    callerTag: callerTags(tokenSecrets[0] as string),
    opsUrl: opsOrigin(config),
    news: () => {
      const registry = calls()
      return registry === null
        ? NOTHING_YET
        : { ...newsOf(registry, clock()), liveCosts: options.liveCosts(), agents: options.agents() }
    },
    onView: ({ nodes }) => {
      const { behaviour } = calls() ?? {}
      for (const { afterStream, name } of nodes) {
        if (afterStream === null || name === config.nodeName) continue
        behaviour?.learn(afterStream.seen, Date.now() - afterStream.atMs, clock())
      }
    },
    clock,
    wallClock: Date.now,
    random: Math.random,
    log,
    onGivenUp: (callSids, why) => {
      for (const callSid of callSids) {
        if (why === 'lost' && isCallSid(callSid)) keeper.gaveUp(callSid)
        calls()?.giveUp(callSid, why)
      }
    },
    onForgotten: () => {
      keeper.rewrite()
      for (const work of whenForgotten) work()
    },
    onNameTaken,
  })
  heard = (name, run) => node.heard(name, run)
  const keeper: CallKeeper = new CallKeeper({
    node: config.nodeName,
    alone: home === 'memory' && states === null,
    store: store.patient,
    secrets: tokenSecrets,
    clock,
    log,
    tokenOf: (callSid: CallSid) => node.token(callSid),
    inDoubt: (callSid) => node.inDoubt(callSid),
    lost: (callSid, token) => node.lost(callSid, token),
  })
  const effects = new StoredEffects({ store: store.patient, secrets: tokenSecrets, clock, log })
  const attempts = new StoredAttempts({ store, secrets: tokenSecrets, log })
  const callerMemory = new CallerMemory({ store, secrets: tokenSecrets, wallClock: Date.now, log })
  const lines = new BusyLines({
    node,
    store,
    secrets: tokenSecrets,
    isBusyHere: (number) => {
      const registry = calls()
      if (registry === null) return null
      return options.isRinging(number) || [...registry.live()].some((call) => call.isOf(number))
    },
    clock,
    log,
  })
  countFleet(metrics, {
    node,
    store,
    ignored: redis?.ignored ?? null,
    keeper,
    effects,
    attempts,
    callerMemory,
    network,
  })
  const streams =
    redis === null ? null : streamsOf(redis, node, { name: config.nodeName, incarnation }, tokenSecrets, log)
  return {
    node,
    store,
    outbox: streams?.stream('outbox') ?? null,
    owedAnalyses: streams?.owedAnalyses(store.patient) ?? null,
    storeLost: (what, count) => {
      if (count === 0) return
      log.error({ what, count }, LOST_LINES[what])
      lost({ what }).inc(count)
    },
    onForgotten: (work) => void whenForgotten.push(work),
    storeHome: {
      home,
      url: address === undefined ? null : shownRedisUrl(address),
      up: () => store.up,
    },
    keeper,
    attempts,
    callerMemory,
    lines,
    effects: {
      mayAct: (call, confirm, patient) => node.mayAct(call, confirm, patient),
      intend: (key) => effects.intend(key),
      settle: (key, result) => effects.settle(key, result),
    },
    close: async () => {
      await keeper.close()
      await node.stop()
      await network?.listener.close()
      network?.peers.close()
      await store.close()
    },
  }
}

/** Opens the store that all nodes share, and returns the store's location. */
async function openStore({ config, tokenSecrets, store }: FleetSideOptions, log: Log) {
  const { redisUrl: url, redisPrefix: prefix } = config
  if (url === null)
    return {
      redis: null,
      shared: store ?? new MemoryStore(Date.now),
      home: store === null ? 'memory' : 'supervisor',
      address: undefined,
    } as const
  const address = parseRedisUrl(url)
  if (address !== undefined) warnOfExposure(address, log)
  // Imported only here, because the client needs 14 MB of memory.
  const redis = await (
    await import('../fleet/store/redis-store.js')
  ).connectRedis({ url, prefix, secrets: tokenSecrets, log })
  return { redis, shared: redis, home: 'redis', address } as const
}

function storeMetrics(metrics: Metrics) {
  const seconds = metrics.defineHistogram(
    'store_seconds',
    'Operations of the call store, by operation',
    ['op'],
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25],
  )
  const lost = metrics.defineCounter(
    'store_lost',
    'Data that Redis lost in a restart, by kind; a node restored do-not-call and analyses',
    ['what'],
  )
  for (const what of Object.keys(LOST_LINES)) lost({ what })
  return { seconds, lost }
}

/**
 * Opens the two streams in Redis, for messages and for owed analyses. The entries are sealed with the fleet's secrets.
 */
function streamsOf(
  redis: Awaited<ReturnType<typeof connectRedis>>,
  node: FleetNode,
  self: { readonly name: string; readonly incarnation: string },
  secrets: readonly string[],
  log: Log,
) {
  const seal = (callSid: string, text: string) => new SealedCall(callSid, secrets).seal('message', text)
  const open = (callSid: string, sealed: Uint8Array) => new SealedCall(callSid, secrets).open('message', sealed)
  const stream = (name: 'outbox' | 'analyses') =>
    new SharedOutbox({
      stream: name,
      run: (script, lua, key, args) => redis.evaluate(`outbox-${script}`, lua, key, args),
      seal,
      open,
      node: self,
      isJoined: () => node.clockAheadMs !== null,
      isGone: (other, run) =>
        !node
          .others()
          .some(({ name: at, incarnation, seen }) => at === other && incarnation === run && seen !== 'gone'),
      wallClock: Date.now,
      log,
    })
  return {
    stream,
    owedAnalyses: (store: CallStore) => new OwedAnalyses({ stream: stream('analyses'), store, seal, open, log }),
  }
}

function warnOfExposure(address: RedisAddress, log: Log): void {
  const redis = shownRedisUrl(address)
  for (const missing of redisExposure(address, isLoopback))
    if (missing === 'tls')
      log.warn({ redis, allowed: 'rediss://' }, 'the call store is on another host, and reached without TLS')
    else log.warn({ redis }, 'the call store is on another host, and REDIS_URL has no password')
}

/**
 * Origin of this node's ops port, for operators at another node. Null if the port cannot be reached from other
 * machines, or is not known yet. Such a node is shown through another node's ops port.
 */
export function opsOrigin(config: Pick<Config, 'opsHost' | 'opsPort' | 'internalUrl' | 'redisUrl'>): string | null {
  const { opsHost, opsPort, internalUrl, redisUrl } = config
  if (opsPort === 0) return null
  const origin = (host: string): string => `http://${host.includes(':') ? `[${host}]` : host}:${opsPort}`
  // Without Redis all nodes are on one machine, so a loopback address is enough.
  if (redisUrl === null) return origin(isWildcard(opsHost) ? '127.0.0.1' : opsHost)
  if (isLoopback(opsHost)) return null
  if (!isWildcard(opsHost)) return origin(opsHost)
  // The ops port listens at all addresses of the machine, so it can be reached at the address that other nodes use.
  return internalUrl === null ? null : `http://${new URL(internalUrl).hostname}:${opsPort}`
}

/** Opens this node's internal listener, and the client for the other nodes' listeners; null without other nodes. */
async function openNetwork(
  config: Config,
  secrets: readonly string[],
  incarnation: string,
  clock: Clock,
  log: Log,
  heard: (node: string, incarnation: string) => void,
): Promise<NodeNetwork | null> {
  if (config.internalPort === null) return null
  const self = { node: config.nodeName, incarnation }
  const tls = internalTls(config)
  const shared = { self, secrets, tls, clock, wallClock: Date.now, log }
  const listener = new PeerListener({
    ...shared,
    host: config.internalHost,
    port: config.internalPort,
    url: config.internalUrl,
    onHeard: ({ node, incarnation: run }) => {
      heard(node, run)
    },
  })
  const url = await listener.listen()
  return { peers: new Peers(shared), listener, url }
}

function newsOf(calls: CallRegistry, nowMs: number): NodeStatus {
  const observed = calls.behaviour.observed(nowMs)
  return {
    capacity: calls.capacity,
    free: calls.free,
    callsByAgent: calls.liveByAgent(),
    callsByCaller: calls.liveByCaller(),
    diskFull: calls.diskFull,
    afterStream: observed === null ? null : { seen: observed.seen, atMs: Math.round(Date.now() - observed.agoMs) },
  }
}
