import type { CallSid } from '../core/ids.js'
import type { Clock } from '../core/clock.js'
import { isLoopback, isWildcard } from '../config/exposure.js'
import { internalTls } from '../config/tls-files.js'
import type { Config } from '../config/settings.js'
import { CallKeeper } from '../fleet/call-keeper.js'
import type { CallStore } from '../fleet/call-store.js'
import { StoredEffects } from '../fleet/effects.js'
import { FleetNode, newNonce } from '../fleet/fleet-node.js'
import type { NodeNetwork, NodeNews } from '../fleet/fleet-node.js'
import type { StoreHome } from '../fleet/fleet-status.js'
import { GuardedStore } from '../fleet/guarded-store.js'
import { MemoryStore } from '../fleet/memory-store.js'
import { PeerListener } from '../fleet/peer-listener.js'
import { Peers } from '../fleet/peers.js'
import { parseRedisUrl, shownRedisUrl } from '../fleet/redis-url.js'
import type { Log } from '../telemetry/log.js'
import { countFleet } from './fleet-metrics.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallRegistry } from '../workers/call-registry.js'
import type { EffectGate } from '../workers/effects.js'

interface FleetSideOptions {
  /** Of this process. `internalPort` is null where it has no other nodes. */
  readonly config: Config
  /** At least one. */
  readonly tokenSecrets: readonly string[]
  /** The supervisor's memory, for one of several processes; null for any other. */
  readonly store: CallStore | null
  readonly version: string
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  /** Null until the calls can be taken. */
  readonly calls: () => CallRegistry | null
  readonly onNameTaken: () => void
}

/** This gateway as a node: alone with its own memory, or one of several. */
interface FleetSide {
  readonly node: FleetNode
  readonly store: GuardedStore
  readonly storeHome: StoreHome
  readonly keeper: CallKeeper
  readonly effects: EffectGate
  close(): Promise<void>
}

const NOTHING_YET: NodeNews = { capacity: 0, free: 0, callsByAgent: {}, afterStream: null }

/**
 * Connects to the store, and opens the way to other nodes. `node.start` joins the fleet.
 * @throws GatewayError CONFIG_INVALID or PORT_IN_USE
 */
export async function openFleet(options: FleetSideOptions): Promise<FleetSide> {
  const { config, tokenSecrets, version, clock, metrics, calls, onNameTaken } = options
  const log = options.log.component('fleet')
  const home = config.redisUrl !== null ? 'redis' : options.store !== null ? 'supervisor' : 'memory'
  const inner =
    config.redisUrl !== null
      ? // Imported only here: the client takes 14 MB.
        await (
          await import('../fleet/redis-store.js')
        ).connectRedis({ url: config.redisUrl, prefix: config.redisPrefix, log })
      : (options.store ?? new MemoryStore(Date.now))
  const seconds = metrics.defineHistogram(
    'store_seconds',
    'Operations of the call store, by operation',
    ['op'],
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25],
  )
  const store = new GuardedStore(inner, {
    clock,
    onOp: (op, durationMs) => seconds({ op }).observe(durationMs / 1000),
  })
  const address = config.redisUrl === null ? undefined : parseRedisUrl(config.redisUrl)
  const incarnation = newNonce()
  let heard: (node: string, incarnation: string) => void = () => undefined
  const network = await openNetwork(config, tokenSecrets, incarnation, clock, log, (node, run) => heard(node, run))
  const node: FleetNode = new FleetNode({
    name: config.nodeName,
    incarnation,
    version,
    store,
    network,
    opsUrl: opsOrigin(config),
    news: () => {
      const registry = calls()
      return registry === null ? NOTHING_YET : newsOf(registry, clock())
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
      for (const callSid of callSids) calls()?.giveUp(callSid, why)
    },
    onForgotten: () => keeper.rewrite(),
    onNameTaken,
  })
  heard = (name, run) => node.heard(name, run)
  const keeper: CallKeeper = new CallKeeper({
    node: config.nodeName,
    alone: home === 'memory',
    store,
    secrets: tokenSecrets,
    clock,
    log,
    tokenOf: (callSid: CallSid) => node.token(callSid),
    lost: (callSid, token) => node.lost(callSid, token),
  })
  const effects = new StoredEffects({ store, secrets: tokenSecrets, log })
  countFleet(metrics, { node, store, keeper, effects, network })
  return {
    node,
    store,
    storeHome: {
      home,
      url: address === undefined ? null : shownRedisUrl(address),
      up: () => store.up,
    },
    keeper,
    effects: {
      mayAct: (call, confirm) => node.mayAct(call, confirm),
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

/**
 * Origin of the ops port, for operators at another node. Null where they cannot reach it, or its port is not known before
 * it is open: then any node's own ops port still answers for this one.
 */
export function opsOrigin(config: Pick<Config, 'opsHost' | 'opsPort' | 'internalUrl' | 'redisUrl'>): string | null {
  const { opsHost, opsPort, internalUrl, redisUrl } = config
  if (opsPort === 0) return null
  const origin = (host: string): string => `http://${host.includes(':') ? `[${host}]` : host}:${opsPort}`
  // Without Redis all nodes are on one machine.
  if (redisUrl === null) return origin(isWildcard(opsHost) ? '127.0.0.1' : opsHost)
  if (isLoopback(opsHost)) return null
  if (!isWildcard(opsHost)) return origin(opsHost)
  // It listens at each address of the machine: also at the one at which the other nodes reach it.
  return internalUrl === null ? null : `http://${new URL(internalUrl).hostname}:${opsPort}`
}

/** The internal listener and the way to those of other nodes; null where there are none. */
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

function newsOf(calls: CallRegistry, nowMs: number): NodeNews {
  const observed = calls.behaviour.observed(nowMs)
  return {
    capacity: calls.capacity,
    free: calls.free,
    callsByAgent: calls.liveByAgent(),
    afterStream: observed === null ? null : { seen: observed.seen, atMs: Math.round(Date.now() - observed.agoMs) },
  }
}
