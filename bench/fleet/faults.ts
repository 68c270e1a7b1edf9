import { setTimeout as sleep } from 'node:timers/promises'
import type { AfterStream } from '../../src/carrier/choices.js'
import type { Fleet, FleetCall, FleetNode, FleetOptions } from '../../test/support/fleet.js'
import { until } from '../../test/support/until.js'

/** Something that goes wrong under live calls, or is done to them. */
export interface Fault {
  readonly name: string
  readonly fleet: FleetOptions
  readonly afterStream: AfterStream
  /** After this the carrier tries a refused connection once more; absent: as for any other fault. */
  readonly connectRetryMs?: number
  /**
   * Whose streams it breaks, by how their callers are to hear the agent again; null where no stream may break. All others
   * must not notice it.
   */
  readonly breaks: 'resumed' | 'rung' | null
  /** The fleet takes `--calls` and no more; three quarters of them are live before. */
  readonly full?: true
  /** Calls that each node takes beyond its share of `--calls`. */
  readonly room?: number
  /** How long its callers may wait for the agent, and the carrier for an answer; absent: as for any other fault. */
  readonly backMsMax?: number
  /**
   * @param calls  those that were live before
   * @param everyone  these, and who has come since
   * @param arrive  rings for so long, ten times a second. One `node`: as it is fuller than the others, it claims these
   *   calls for them; else the balancer chooses
   * @returns the calls whose streams it breaks
   */
  happens(
    fleet: Fleet,
    calls: readonly FleetCall[],
    everyone: () => readonly FleetCall[],
    arrive: (ms: number, node?: FleetNode) => Promise<void>,
  ): Promise<readonly FleetCall[]>
}

/** How long the fleet has for bringing its callers back. */
const BACK_MS = 16_000
/** The same of most faults, so that one fleet meets with them one after the other. */
export const CONTINUES: FleetOptions = { env: { SAUTIKIT_AFTER_STREAM: 'continues' } }

/** A carrier waits this long for the answer to a webhook, and so does the balancer for a gateway. */
const ASKED_MS = 10_000
const STARTED_AFTER_MS = 2000
/** How long callers come quickly while a node stands still: a gateway's slots are bounded. */
const PAUSED_ARRIVALS_MS = 5000
/** Calls that were opened while the store did not answer are claimed with the next heartbeat, and kept a second later. */
const CAUGHT_UP_MS = 5000

export const FAULTS: readonly Fault[] = [
  steady('each node restarted in turn', CONTINUES, async (fleet, _, everyone) => {
    for (const node of fleet.nodes) {
      const exit = node.drain()
      // Its callers come to their ends, one after the other, also those whom it took before it knew of the signal.
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
    // Not the fleet of the failover below: its master is then gone.
    fleet: { sentinel: true },
    afterStream: 'continues',
    breaks: 'resumed',
    // The Sentinel's own time is a part of it.
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
        // As many again: a quarter finds a place.
        await arrive(calls.length * 100)
        await sleep(2000)
        // Slots are free when the carrier says that the refused ones have left.
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
    // The gateways' own start is a part of it.
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

/** Waits until each of these calls has a second stream, and long enough to hear it; calls that get none are counted later. */
async function cameBack(calls: readonly FleetCall[]): Promise<void> {
  await until(() => calls.every(({ owners }) => owners.length > 1), BACK_MS, 'second streams').catch(() => undefined)
  await sleep(3000)
}
