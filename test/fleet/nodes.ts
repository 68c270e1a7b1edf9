// How slow the store and a node are is what is tested, by what waits for them.
// eslint-disable-next-line no-restricted-syntax
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { EdgeOptions } from '../../src/edge/options.js'
import { GatewayError } from '../../src/core/errors.js'
import { PEER_ANSWER_MS } from '../../src/core/limits.js'
import type { CallStore } from '../../src/fleet/store/call-store.js'
import { FleetNode, newNonce } from '../../src/fleet/fleet-node.js'
import { GuardedStore } from '../../src/fleet/store/guarded-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { PeerListener } from '../../src/fleet/peer-listener.js'
import { Peers } from '../../src/fleet/peers.js'
import type { PeerResult } from '../../src/fleet/peers.js'
import { callerTags } from '../../src/fleet/secrets.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'
import { startGateway } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { ScriptedCalls } from '../edge/scripted-calls.js'
import type { ScriptedCall } from '../edge/scripted-calls.js'

interface StoreFault {
  readonly beforeMs?: number
  readonly afterMs?: number
  readonly unanswered?: true
}

export interface Fleet {
  readonly gateways: readonly Gateway[]
  readonly nodes: readonly FleetNode[]
  readonly store: CallStore
  /** While true every operation of the store rejects. */
  storeDown: boolean
  /** How much later it is for the nodes than on the clock of this process. */
  aheadMs: number
  /** Every operation of the store takes so much longer. */
  storeMs: number
  /** The same for single ones: before they are carried out, and after it, until their answer is here, or is lost. */
  storeFault: (op: string, args: readonly unknown[]) => StoreFault | null
  /** Requests that each node forwarded, as JSON. */
  readonly sent: string[]
  /** The node that has a call; -1 for none. */
  ownerOf(sid: string): number
  call(sid: string): ScriptedCall
  /** Every node sees what the others are now. */
  look(): Promise<void>
  /** Ends a node as SIGKILL does: nobody listens there any more, and its entries stay. */
  kill(index: number): Promise<void>
  /** The store loses what it held. */
  empty(): void
  /** A replica takes the store's place that knows all nodes, and of the calls what `write` gives it. */
  failover(write: (replica: CallStore) => Promise<unknown>): Promise<void>
  /** A node that gets requests of others and never answers, or answers them after that time. */
  freeze(index: number, ms?: number): void
}

const PATIENT_MS = 5000

/** However busy the machine is, nodes reach and answer each other, unless a test makes one or the store slow. */
class PatientPeers extends Peers {
  readonly #isSlow: () => boolean

  constructor(options: ConstructorParameters<typeof Peers>[0], isSlow: () => boolean) {
    super(options)
    this.#isSlow = isSlow
  }

  override ask(...[peer, name, body, answerMs = PEER_ANSWER_MS]: Parameters<Peers['ask']>): Promise<PeerResult> {
    return super.ask(peer, name, body, this.#isSlow() ? answerMs : Math.max(answerMs, PATIENT_MS))
  }

  override ping(...[peer, answerMs = PEER_ANSWER_MS]: Parameters<Peers['ping']>): Promise<PeerResult> {
    return super.ping(peer, this.#isSlow() ? answerMs : Math.max(answerMs, PATIENT_MS))
  }
}

/** A node's message to the others about its calls. */
const news = (calls: ScriptedCalls) => ({
  capacity: calls.capacity,
  free: calls.draining ? 0 : calls.free,
  callsByAgent: calls.liveByAgent(),
  callsByCaller: calls.liveByCaller(),
  afterStream: null,
})

/**
 * Nodes with an edge, scripted calls, an internal listener and one store in memory; each on a port of its own unless
 * `options` have another.
 */
export async function fleet(
  t: Test,
  count: number,
  options: Partial<EdgeOptions> | ((index: number) => Partial<EdgeOptions>) = {},
  recovery: Partial<Omit<NonNullable<EdgeOptions['fleet']>, 'node'>> = {},
): Promise<Fleet> {
  let memory = new MemoryStore(Date.now)
  const clock = (): number => performance.now() + it.aheadMs
  const gateways: Gateway[] = []
  const nodes: FleetNode[] = []
  const listeners: PeerListener[] = []
  const frozen = new Map<number, Promise<void>>()
  const noFault = (): null => null
  const isSlow = (): boolean => frozen.size > 0 || it.storeMs > 0 || it.storeFault !== noFault
  const sent: string[] = []
  const it: Fleet = {
    gateways,
    nodes,
    get store() {
      return memory
    },
    aheadMs: 0,
    storeDown: false,
    storeMs: 0,
    storeFault: noFault,
    sent,
    ownerOf: (sid) => gateways.findIndex(({ calls }) => calls.find(sid) !== undefined),
    call: (sid) => (gateways[it.ownerOf(sid)] as Gateway).calls.get(sid),
    look: async () => {
      let round = 0
      const look = (): boolean => {
        for (const node of nodes) node.state = node.state // a heartbeat
        return ++round >= 2 && nodes.every((node) => seesOthers(node))
      }
      await until(look, 10_000, 'every node to see the others')
    },
    kill: async (index) => {
      await listeners[index]?.close()
      await (gateways[index] as Gateway).edge.close()
    },
    empty: () => {
      memory = new MemoryStore(Date.now)
    },
    failover: async (write) => {
      const replica = new MemoryStore(Date.now)
      for (const { record } of nodes) await replica.beat(record)
      await write(replica)
      memory = replica
    },
    freeze: (index, ms) => {
      frozen.set(index, ms === undefined ? new Promise(() => undefined) : sleep(ms))
    },
  }
  /** Whether a node knows how much room the others have. */
  const seesOthers = (node: FleetNode): boolean =>
    gateways.every(({ calls }, index) => {
      const record = node.alive().find(({ name }) => name === `gw-${index}`)
      const free = nodes[index]?.state === 'open' ? news(calls).free : 0
      return nodes[index] === node || record?.free === free
    })
  const store = new Proxy(memory, {
    get: (_, name) => {
      const operation = Reflect.get(memory, name) as (...args: unknown[]) => Promise<unknown>
      return async (...args: unknown[]) => {
        if (it.storeMs > 0) await sleep(it.storeMs)
        const { beforeMs = 0, afterMs = 0, unanswered } = it.storeFault(String(name), args) ?? {}
        if (beforeMs > 0) await sleep(beforeMs)
        if (it.storeDown) throw new Error('the store is down')
        const result = await operation.apply(memory, args)
        if (afterMs > 0) await sleep(afterMs)
        if (unanswered) throw new GatewayError('STORE_DOWN', 'the answer is lost')
        return result
      }
    },
  })
  for (let index = 0; index < count; index++) {
    const log = createLog({ level: 'silent' })
    const self = { node: `gw-${index}`, incarnation: newNonce() }
    const shared = { self, secrets: ['secret-of-nodes-in-a-test'], tls: null, clock, wallClock: Date.now, log }
    const listener = new PeerListener({ ...shared, host: '127.0.0.1', port: 0, url: null, onHeard: () => undefined })
    const handle = listener.handle.bind(listener)
    listener.handle = (name, handler) => {
      handle(name, async (body, from) => {
        await frozen.get(index)
        sent.push(JSON.stringify(body))
        return handler(body, from)
      })
    }
    const peers = new PatientPeers({ ...shared, connectMs: PATIENT_MS }, isSlow)
    listeners.push(listener)
    const calls = new ScriptedCalls()
    const node: FleetNode = new FleetNode({
      name: self.node,
      incarnation: self.incarnation,
      version: '0.0.0',
      store: new GuardedStore(store, { clock, onOp: () => undefined }),
      network: { peers, listener, url: await listener.listen() },
      callerTag: callerTags('secret-of-nodes-in-a-test'),
      opsUrl: index === 0 ? null : `http://10.0.0.${index}:9464`,
      news: () => news(calls),
      onView: () => undefined,
      clock,
      wallClock: Date.now,
      random: Math.random,
      log,
      onGivenUp: () => undefined,
      onForgotten: () => undefined,
      onNameTaken: () => undefined,
    })
    nodes.push(node)
    gateways.push(
      await startGateway(t, {
        fleet: {
          node,
          storeHome: { home: 'memory', url: null, up: () => !it.storeDown },
          kept: () => null,
          lost: () => undefined,
          left: () => undefined,
          carrier: null,
          callBack: () => Promise.resolve(false),
          ...recovery,
        },
        ...(typeof options === 'function' ? options(index) : options),
        calls,
      }),
    )
    t.teardown(async () => {
      await node.stop()
      await listener.close()
      peers.close()
    })
  }
  for (const node of nodes) await node.start()
  await it.look()
  return it
}
