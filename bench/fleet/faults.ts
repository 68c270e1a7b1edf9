import { setTimeout as sleep } from 'node:timers/promises'
import type { AfterStream } from '../../src/carrier/choices.js'
import type { Fleet, FleetCall, FleetNode, FleetOptions } from '../../test/support/fleet.js'
import { until } from '../../test/support/until.js'

/** Fault during live calls, or an operator's action on these calls. */
export interface Fault {
  readonly name: string
  readonly fleet: FleetOptions
  readonly afterStream: AfterStream
  /** Time in ms after which the carrier tries a refused connection once more; if absent, the default for all faults. */
  readonly connectRetryMs?: number
  /**
   * Way in which callers whose streams break must hear the agent again; null if no stream may break. All other callers
   * must not notice the fault.
   */
  readonly breaks: 'resumed' | 'rung' | null
  /**
   * True: the fleet has capacity for exactly `--calls` calls. Three quarters of these calls are live before the fault.
   */
  readonly full?: true
  /** Number of calls that each node can take in addition to its share of `--calls`. */
  readonly room?: number
  /**
   * Maximum time in ms that callers may wait for the agent, and that the carrier may wait for an answer; if absent, the
   * default for all faults.
   */
  readonly backMsMax?: number
  /**
   * @param calls  calls that were live before the fault
   * @param everyone  these calls, and all calls that have come later
   * @param arrive  rings for this time, with ten calls per second. If `node` is given, this node claims the calls for
   * the other nodes, because it is fuller. Otherwise the balancer chooses the node
   * @returns the calls whose streams the fault breaks
   */
  happens(
    fleet: Fleet,
    calls: readonly FleetCall[],
    everyone: () => readonly FleetCall[],
    arrive: (ms: number, node?: FleetNode) => Promise<void>,
  ): Promise<readonly FleetCall[]>
}

/** Time limit in ms in which the fleet must bring its callers back. */
const BACK_MS = 16_000
/** Options that most faults have in common, so that these faults run on one fleet, one after another. */
export const CONTINUES: FleetOptions = { env: { SAUTIKIT_AFTER_STREAM: 'continues' } }

/** Time in ms for which a carrier waits for the answer to a webhook. The balancer waits equally long for a gateway. */
const ASKED_MS = 10_000
const STARTED_AFTER_MS = 2000
/**
 * Duration in ms for which callers arrive quickly while a node is paused. It is limited because a gateway's capacity is
 * limited.
 */
const PAUSED_ARRIVALS_MS = 5000
/**
 * Time in ms for recovery. Calls that were opened while the store did not answer are claimed with the next heartbeat,
 * and stored a second later.
 */
const CAUGHT_UP_MS = 5000

export const FAULTS: readonly Fault[] = [
  steady('each node restarted in turn', CONTINUES, async (fleet, _, everyone) => {
    for (const node of fleet.nodes) {
      const exit = node.drain()
      // Callers of the node hang up one after another, including callers that the node accepted before it received the
      // signal.
      const left = new Set<FleetCall>()
      const leaving = setInterval(() => {
        const call = everyone().find((one) => one.owners.at(-1) === node.name && !left.has(one))
        if (call === undefined) return
        left.add(call)
        call.hangUp()
      }, 100)
      await exit
      clearInterval(leaving)
      await node.start()
      await sleep(2000)
    }
  }),
  killed('continues', 'resumed', CONTINUES),
  killed('reposts', 'resumed', CONTINUES),
  {
    name: 'two of three nodes killed at once',
    fleet: CONTINUES,
    afterStream: 'continues',
    breaks: 'resumed',
    happens: async ({ nodes }, calls) => {
      const victims = nodes.slice(0, -1)
      const lost = calls.filter(({ owners }) => victims.some(({ name }) => name === owners[0]))
      await Promise.all(victims.map((node) => node.kill()))
      await cameBack(lost)
      await Promise.all(victims.map((node) => node.start()))
      return lost
    },
  },
  restarted('every node killed at once and started after 2 s', CONTINUES),
  {
    name: 'each node restarted in turn, calls longer than DRAIN_TIMEOUT',
    fleet: { env: { DRAIN_TIMEOUT: '3s' } },
    afterStream: 'continues',
    breaks: 'resumed',
    happens: async ({ nodes }, calls) => {
      const moved = new Set<FleetCall>()
      for (const node of nodes) {
        for (const call of calls) if (call.owners.at(-1) === node.name) moved.add(call)
        await node.drain()
        await node.start()
        await sleep(2000)
      }
      return [...moved]
    },
  },
  {
    name: 'five restarts of two nodes in turn, calls longer than DRAIN_TIMEOUT',
    fleet: { nodes: 2, env: { SAUTIKIT_AFTER_STREAM: 'continues', DRAIN_TIMEOUT: '1s' } },
    afterStream: 'continues',
    breaks: 'resumed',
    happens: async ({ nodes }, calls) => {
      for (let restart = 0; restart < 5; restart++) {
        const node = nodes[restart % nodes.length] as FleetNode
        await node.drain()
        await node.start()
        await sleep(2000)
      }
      return calls.filter(({ owners }) => owners.length > 1)
    },
  },
  { ...killed('continues', 'resumed', {}), name: 'a node killed, SAUTIKIT_AFTER_STREAM=learn' },
  restarted('one gateway without Redis killed and started after 2 s', { alone: true }),
  balancerAway('HAProxy killed and started again', 0),
  balancerAway('HAProxy killed and back after 1 s, the carrier asks after 5 s', 1000, 5000),
  steady('redis-server down for 5 s', CONTINUES, ({ redis }) => away(redis, 5000)),
  steady('redis-server down for 10 s', CONTINUES, ({ redis }) => away(redis, 10_000)),
  steady('redis-server frozen for 3 s', CONTINUES, async ({ redis }) => {
    redis.freeze()
    await sleep(3000)
    redis.thaw()
  }),
  steady(
    'answers to claims 400 ms late, calls come to one node',
    CONTINUES,
    async ({ nodes, redisProxy }, _calls, _everyone, arrive) => {
      redisProxy.claimAnswerMs = 400
      await arrive(2000, nodes[0])
      redisProxy.claimAnswerMs = 0
      await sleep(5000)
    },
  ),
  ...[1500, 3000].map((ms) =>
    steady(
      `redis-server frozen for ${ms / 1000} s, calls come to one node`,
      CONTINUES,
      async ({ nodes, redis }, _calls, _everyone, arrive) => {
        redis.freeze()
        await arrive(ms, nodes[0])
        redis.thaw()
        await sleep(5000)
      },
    ),
  ),
  ...[1500, 3000].map((ms) => ({
    ...steady(
      `redis-server frozen for ${ms / 1000} s, calls come to one node until it is full`,
      CONTINUES,
      async ({ nodes, redis }, _calls, _everyone, arrive) => {
        redis.freeze()
        await arrive(ms, nodes[0])
        redis.thaw()
        await sleep(5000)
      },
    ),
    room: ms / 150,
  })),
  steady('redis-server back after 2 s, empty', CONTINUES, async ({ redis }) => {
    await redis.command('FLUSHALL')
    await away(redis, 2000)
    await sleep(5000)
  }),
  steady(
    'connections to Redis cut while it stands still for 2.5 s, three times, and calls end',
    CONTINUES,
    async ({ redis, redisProxy }, calls) => {
      for (let round = 0; round < 3; round++) {
        redis.freeze()
        for (const call of calls.slice((round * calls.length) / 4, ((round + 1) * calls.length) / 4)) call.hangUp()
        await sleep(500)
        redisProxy.cut()
        await sleep(2000)
        redis.thaw()
        await sleep(3000)
      }
    },
  ),
  {
    name: 'the Redis master and a node killed at once',
    // A separate fleet is used, because a failover below loses the master of this fleet.
    fleet: { sentinel: true },
    afterStream: 'continues',
    breaks: 'resumed',
    // The limit includes the time that the Sentinel itself needs.
    backMsMax: 20_000,
    happens: async ({ nodes, redis }, calls) => {
      const [victim] = nodes as readonly [FleetNode]
      const lost = calls.filter(({ owners }) => owners[0] === victim.name)
      await Promise.all([victim.kill(), redis.kill()])
      await cameBack(lost)
      await victim.start()
      return lost
    },
  },
  ...[true, false].map((isOver) => ({
    name: `Redis 400 ms slow both ways, a node killed ${isOver ? 'afterwards' : 'meanwhile'}`,
    fleet: CONTINUES,
    afterStream: 'continues' as const,
    breaks: 'resumed' as const,
    happens: async (
      { nodes, redisProxy }: Fleet,
      _calls: unknown,
      everyone: () => readonly FleetCall[],
      arrive: (ms: number) => Promise<void>,
    ) => {
      redisProxy.eachWayMs = 400
      await arrive(3000)
      if (isOver) redisProxy.eachWayMs = 0
      await sleep(CAUGHT_UP_MS)
      const [victim] = nodes as readonly [FleetNode]
      const lost = everyone().filter(({ owners }) => owners[0] === victim.name)
      await victim.kill()
      await cameBack(lost)
      redisProxy.eachWayMs = 0
      await victim.start()
      return lost
    },
  })),
  {
    ...steady(
      'a full fleet at 150 % load, whose refused callers leave later than the others',
      CONTINUES,
      async (_, calls, _everyone, arrive) => {
        // The same number of calls comes again. A quarter of these calls gets capacity.
        await arrive(calls.length * 100)
        await sleep(2000)
        // Capacity becomes free when the carrier has reported that the refused callers left.
        for (const call of calls) call.hangUp()
        await Promise.all(calls.map(({ done }) => done))
        await sleep(1500)
      },
    ),
    full: true,
  },
  paused(3000),
  paused(10_000),
  paused(25_000),
  killed('holds', 'rung', {
    agent: { recovery: 'callback' },
    env: {
      SAUTIKIT_AFTER_STREAM: 'holds',
      RECOVERY_PER_MINUTE: '600',
      OUTBOUND_PER_MINUTE: '600',
      OUTBOUND_PREFIXES: '+254',
    },
  }),
  steady('failover by the Sentinel', { ...CONTINUES, sentinel: true }, async ({ redis, sentinel }) => {
    const before = await sentinel?.masterPort()
    await redis.kill()
    await until(async () => (await sentinel?.masterPort()) !== before, 15_000, 'another master')
    await sleep(3000)
  }),
]

function steady(
  name: string,
  fleet: FleetOptions,
  happens: (...of: Parameters<Fault['happens']>) => Promise<void>,
): Fault {
  return {
    name,
    fleet,
    afterStream: 'continues',
    breaks: null,
    happens: async (...of) => {
      await happens(...of)
      return []
    },
  }
}

function killed(afterStream: AfterStream, breaks: 'resumed' | 'rung', fleet: FleetOptions): Fault {
  return {
    name: `a node killed, the carrier ${afterStream}`,
    fleet,
    afterStream,
    breaks,
    happens: async (running, calls) => {
      const [victim] = running.nodes as readonly [FleetNode]
      const lost = calls.filter(({ owners }) => owners[0] === victim.name)
      await victim.kill()
      await (breaks === 'rung' ? sleep(BACK_MS) : cameBack(lost))
      await victim.start()
      return lost
    },
  }
}

function balancerAway(name: string, ms: number, connectRetryMs?: number): Fault {
  return {
    name,
    fleet: CONTINUES,
    afterStream: 'continues',
    ...(connectRetryMs !== undefined && { connectRetryMs }),
    breaks: 'resumed',
    happens: async ({ balancer }, calls) => {
      await balancer.kill()
      await sleep(ms)
      await balancer.start()
      await cameBack(calls)
      return calls
    },
  }
}

function restarted(name: string, fleet: FleetOptions): Fault {
  return {
    name,
    fleet,
    afterStream: 'continues',
    breaks: 'resumed',
    // The limit includes the start of the gateways.
    backMsMax: ASKED_MS + 3000,
    happens: async ({ nodes }, calls) => {
      await Promise.all(nodes.map((node) => node.kill()))
      await sleep(STARTED_AFTER_MS)
      await Promise.all(nodes.map((node) => node.start()))
      await sleep(ASKED_MS - STARTED_AFTER_MS)
      await cameBack(calls)
      return calls
    },
  }
}

function paused(ms: number): Fault {
  return steady(
    `a node standing still for ${ms / 1000} s`,
    CONTINUES,
    async ({ nodes: [node] }, _calls, _everyone, arrive) => {
      node?.pause()
      await arrive(Math.min(ms, PAUSED_ARRIVALS_MS))
      await sleep(Math.max(0, ms - PAUSED_ARRIVALS_MS))
      node?.resume()
      await sleep(3000)
    },
  )
}

async function away(redis: Fleet['redis'], ms: number): Promise<void> {
  await redis.kill()
  await sleep(ms)
  await redis.restart()
  await sleep(3000)
}

/**
 * Waits until each of these calls has a second stream, and long enough to hear the agent. Calls without a second stream
 * are counted later.
 */
async function cameBack(calls: readonly FleetCall[]): Promise<void> {
  await until(() => calls.every(({ owners }) => owners.length > 1), BACK_MS, 'second streams').catch(() => undefined)
  await sleep(3000)
}
