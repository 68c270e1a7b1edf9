import { setTimeout as sleep } from 'node:timers/promises'
import type { AfterStream } from '../../src/simulator/choices.js'
import type { Fleet, FleetCall, FleetNode, FleetOptions } from '../../test/support/fleet.js'
import { until } from '../../test/support/until.js'

/** Something that goes wrong under live calls, or is done to them. */
export interface Fault {
  readonly name: string
  readonly fleet: FleetOptions
  readonly afterStream: AfterStream
  /**
   * Whose streams it breaks, by how their callers are to hear the agent again; null where no stream may break. All others
   * must not notice it.
   */
  readonly breaks: 'resumed' | 'rung' | null
  /**
   * @param calls  those that were live before
   * @param everyone  these, and who has come since
   * @returns the calls whose streams it breaks
   */
  happens(
    fleet: Fleet,
    calls: readonly FleetCall[],
    everyone: () => readonly FleetCall[],
  ): Promise<readonly FleetCall[]>
}

/** How long the fleet has for bringing its callers back. */
const BACK_MS = 16_000
/** The same of most faults, so that one fleet meets with them one after the other. */
export const CONTINUES: FleetOptions = { env: { SAUTIKIT_AFTER_STREAM: 'continues' } }

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
    name: 'HAProxy killed and started again',
    fleet: CONTINUES,
    afterStream: 'continues',
    breaks: 'resumed',
    happens: async ({ balancer }, calls) => {
      await balancer.kill()
      await balancer.start()
      await cameBack(calls)
      return calls
    },
  },
  steady('redis-server down for 5 s', CONTINUES, ({ redis }) => away(redis, 5000)),
  steady('redis-server down for 10 s', CONTINUES, ({ redis }) => away(redis, 10_000)),
  steady('redis-server frozen for 3 s', CONTINUES, async ({ redis }) => {
    redis.freeze()
    await sleep(3000)
    redis.thaw()
  }),
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
  happens: (fleet: Fleet, calls: readonly FleetCall[], everyone: () => readonly FleetCall[]) => Promise<void>,
): Fault {
  return {
    name,
    fleet,
    afterStream: 'continues',
    breaks: null,
    happens: async (running, calls, everyone) => {
      await happens(running, calls, everyone)
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

function paused(ms: number): Fault {
  return steady(`a node standing still for ${ms / 1000} s`, CONTINUES, async ({ nodes: [node] }) => {
    node?.pause()
    await sleep(ms)
    node?.resume()
    await sleep(3000)
  })
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
