import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../src/core/errors.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import { seededRandom } from '../../src/carrier/random.js'
import type { Fleet, FleetCall, FleetNode } from '../../test/support/fleet.js'
import { resumedMs, startFleet } from '../../test/support/fleet.js'
import { until } from '../../test/support/until.js'
import { judged } from '../kit/command.js'
import { messagesOf, startReceiver } from '../kit/receiver.js'
import type { CountingReceiver } from '../kit/receiver.js'
import { columns } from '../terminal.js'

const HELP = `npm run bench -- --soak [--minutes N] [--calls N] [--seed N] [--json FILE]
  Two gateways, Redis with a Sentinel and HAProxy, all real processes, for an hour: callers of all kinds come and go, and each minute
  something fails: a gateway is killed, or restarted in order, Redis fails over, a disk takes nothing more, an API is slow.
  Prints calls, failures by cause, memory and handles, and each message that is missing or came twice. Needs redis-server,
  redis-sentinel, haproxy and prlimit (Debian).
  --minutes N  3 to 1440 (default 60)
  --calls N    calls at once (default 40)
  --seed N     of who calls, and for how long (default 1)
  --json FILE  where results go (default bench/results/)`

/** Minimum and maximum duration of a call in ms. */
const CALL_MS_MIN = 15_000
const CALL_MS_MAX = 150_000
/** Minimum time in ms between two new callers. */
const ARRIVAL_MS = 400
const FAULT_EACH_MS = 60_000
const FAULT_FROM_MS = 20_000
/** Time in ms for which a disk is full. SLOW_MS: time in ms for which an API is slow. */
const DISK_FULL_MS = 20_000
const SLOW_MS = 20_000
const SLOW_ANSWER_MS = 6000
/**
 * Maximum time in ms after the last call in which its messages must arrive. It is enough for two tries and the restart
 * of a node that died.
 */
const MESSAGES_WITHIN_MS = 120_000
/** Time in ms after the start at which memory is first measured. */
const SETTLED_MS = 600_000
const SHOWN_MAX = 20
/** Time in ms without calls after which V8 has released the memory of the calls. */
const IDLE_MS = 60_000
/** Maximum increase of memory, as a share, at a node that ran for the whole test. */
const RSS_MORE_MAX = 0.25

/**
 * Behaviour of callers, by the last two digits of their number (`test/support/tone-backend.ts`), with the share of
 * callers who behave in this way.
 */
const CALLERS = [
  { kind: 'talks', digits: '01', share: 0.6, stays: true },
  { kind: 'wants a ticket', digits: '02', share: 0.25, stays: true },
  { kind: 'wants a human', digits: '03', share: 0.1, stays: false },
  { kind: 'wants a call back', digits: '04', share: 0.05, stays: false },
] as const

interface Fault {
  readonly name: string
  happens(fleet: Fleet): Promise<void>
}

/** The node that the faults affect. The other node runs for the whole test and shows whether its memory grows. */
const victimOf = ({ nodes }: Fleet): FleetNode => nodes.at(-1) as FleetNode

const FAULTS: readonly Fault[] = [
  {
    name: 'killed',
    happens: async (fleet) => {
      await victimOf(fleet).kill()
      await sleep(5000)
      await victimOf(fleet).start()
    },
  },
  {
    name: 'restarted in order',
    happens: async (fleet) => {
      await victimOf(fleet).drain()
      await victimOf(fleet).start()
    },
  },
  {
    name: 'Redis fails over',
    happens: async ({ redis, sentinel }) => {
      if (sentinel === null) throw new Error('there is no Sentinel')
      const before = await sentinel.masterPort()
      const isFirst = before === redis.port
      if (isFirst) await redis.kill()
      // If the replica is the master, it fails over back to the first server.
      else await sentinel.command('SENTINEL', 'FAILOVER', sentinel.masterName)
      await until(async () => (await sentinel.masterPort()) !== before, 20_000, 'another master')
      await sleep(3000)
      if (isFirst) await redis.restart()
    },
  },
  {
    name: 'a disk takes nothing',
    happens: async (fleet) => {
      victimOf(fleet).disk(false)
      await sleep(DISK_FULL_MS)
      victimOf(fleet).disk(true)
    },
  },
  {
    name: 'an API is slow',
    happens: async ({ shop }) => {
      shop.answerAfter(SLOW_ANSWER_MS)
      await sleep(SLOW_MS)
      shop.answerAfter(0)
    },
  },
]

interface Ended {
  readonly callSid: string
  readonly kind: (typeof CALLERS)[number]['kind']
  readonly streams: number
  /** Time in ms from the carrier's question to the agent's sound, for a call whose stream broke. */
  readonly backMs: number | null
  readonly webhooksFailed: number
  /** Problem of the call, and the fault that was being injected; null if the call had no problem. */
  readonly cause: string | null
}

interface Memory {
  readonly node: string
  readonly minute: number
  readonly rssMb: number
  readonly handles: number
  readonly descriptors: number
}

/** Runs a fleet for an hour. */
export const soakBench = judged(
  'soak',
  HELP,
  {},
  { minutes: [60, 3, 1440], calls: [40, 1, 200], seed: [1, 0, 1_000_000] },
  async ({ minutes, calls, seed }, { say, show }) => {
    const receiver = await startReceiver()
    show('the fleet starts')
    const fleet = await startFleet({
      nodes: 2,
      sentinel: true,
      env: {
        SAUTIKIT_AFTER_STREAM: 'continues',
        DRAIN_TIMEOUT: '10s',
        MAX_CALLS: String(2 * calls),
        MESSAGES_FILE: receiver.file,
        OUTBOUND_PREFIXES: '+254',
      },
    })
    try {
      const soak = new Soak(fleet, calls, seed)
      const memory = await soak.run(minutes, say, show)
      show('the last messages')
      const expected = messagesOf(soak.ended.flatMap(({ callSid, streams }) => (streams === 0 ? [] : callSid)))
      const missing = await receiver.missing(expected, MESSAGES_WITHIN_MS)
      return report({
        minutes,
        calls,
        ended: soak.ended,
        faults: soak.faults,
        memory,
        expected,
        missing,
        receiver,
      })
    } finally {
      await fleet.close()
      receiver.close()
    }
  },
)

/** Callers who come and go while faults are injected. */
class Soak {
  readonly ended: Ended[] = []
  /** Number of faults by name. Faults that could not be injected are listed with the reason. */
  readonly faults = new Map<string, number>()
  readonly #fleet: Fleet
  readonly #atOnce: number
  readonly #random: () => number
  /** Live calls, each with a function that makes its caller leave. */
  readonly #live = new Map<FleetCall, () => void>()
  readonly #over = new Set<Promise<void>>()
  /** The fault that was injected last. */
  #fault = 'none yet'
  #number = 0

  constructor(fleet: Fleet, atOnce: number, seed: number) {
    this.#fleet = fleet
    this.#atOnce = atOnce
    this.#random = seededRandom(seed)
  }

  async run(minutes: number, say: (line: string) => void, show: (what: string) => void): Promise<readonly Memory[]> {
    const beginMs = performance.now()
    const memory: Memory[] = []
    const elapsedMs = (): number => performance.now() - beginMs
    let nextFaultMs = FAULT_FROM_MS
    let happening: Promise<void> = Promise.resolve()
    let faults = 0
    const firstMs = Math.min(SETTLED_MS, minutes * 30_000)
    while (elapsedMs() < minutes * 60_000) {
      if (this.#live.size < this.#atOnce) this.#ring()
      if (elapsedMs() >= nextFaultMs) {
        nextFaultMs += FAULT_EACH_MS
        const fault = FAULTS[faults++ % FAULTS.length] as Fault
        happening = happening.then(() => this.#happens(fault, say))
      }
      if (memory.length === 0 && elapsedMs() >= firstMs) memory.push(...(await this.#memory(elapsedMs())))
      show(`${Math.floor(elapsedMs() / 60_000)} min, ${this.#live.size} calls, ${this.ended.length} ended`)
      await sleep(ARRIVAL_MS)
    }
    await happening
    memory.push(...(await this.#memory(elapsedMs())))
    for (const leave of this.#live.values()) leave()
    await Promise.all(this.#over)
    await sleep(IDLE_MS)
    memory.push(...(await this.#memory(elapsedMs())))
    return memory
  }

  async #happens(fault: Fault, say: (line: string) => void): Promise<void> {
    this.#fault = fault.name
    let name = fault.name
    try {
      await fault.happens(this.#fleet)
    } catch (thrown) {
      name = `${fault.name}: NOT CARRIED OUT: ${messageOf(thrown)}`
    }
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1)
    say(
      `${name}; ${this.ended.length} calls are over, ${this.ended.filter(({ cause }) => cause !== null).length} of them badly`,
    )
  }

  #ring(): void {
    let left = this.#random()
    const caller = CALLERS.find(({ share }) => (left -= share) < 0) ?? CALLERS[0]
    const from = `+2547${String(++this.#number).padStart(6, '0')}${caller.digits}`
    const call = this.#fleet.call({ from })
    let leaves = false
    const leave = (): void => {
      leaves = true
      call.hangUp()
    }
    this.#live.set(call, leave)
    const timer = setTimeout(leave, CALL_MS_MIN + this.#random() * (CALL_MS_MAX - CALL_MS_MIN))
    const over = call.done
      .then((result) => {
        this.#live.delete(call)
        this.ended.push(this.#judged(result, caller, leaves))
      })
      .finally(() => {
        clearTimeout(timer)
        this.#over.delete(over)
      })
    this.#over.add(over)
  }

  #judged(result: SimulatedCallResult, { kind, stays }: (typeof CALLERS)[number], leaves: boolean): Ended {
    const { callSid, streams, webhooks, ended } = result
    const cause =
      streams.length === 0
        ? `no stream: ${result.verbs.join(' ')}`
        : stays && !leaves && ended.by !== 'caller'
          ? `cut off by the ${ended.by}: ${ended.why}`
          : null
    return {
      callSid,
      kind,
      streams: streams.length,
      backMs: streams.length > 1 ? resumedMs(result) : null,
      webhooksFailed: webhooks.filter(({ status }) => status === null || status >= 300).length,
      cause: cause === null ? null : `${cause} (after: ${this.#fault})`,
    }
  }

  async #memory(elapsedMs: number): Promise<readonly Memory[]> {
    const read = async (node: FleetNode): Promise<readonly Memory[]> => {
      try {
        return [
          {
            node: node.name,
            minute: Math.round(elapsedMs / 60_000),
            rssMb: Math.round((await node.metric('process_resident_memory_bytes')) / 2 ** 20),
            handles: await node.metric('nodejs_active_handles_total'),
            descriptors: await node.metric('process_open_fds'),
          },
        ]
      } catch {
        return [] // it is being started
      }
    }
    return (await Promise.all(this.#fleet.nodes.map(read))).flat()
  }
}

interface Outcome {
  readonly minutes: number
  readonly calls: number
  readonly ended: readonly Ended[]
  readonly faults: ReadonlyMap<string, number>
  readonly memory: readonly Memory[]
  readonly expected: readonly string[]
  readonly missing: readonly string[]
  readonly receiver: CountingReceiver
}

function report({ minutes, calls, ended, faults, memory, expected, missing, receiver }: Outcome) {
  const causes = new Map<string, number>()
  for (const { cause } of ended) if (cause !== null) causes.set(cause, (causes.get(cause) ?? 0) + 1)
  const twice = [...receiver.ids].map(([id, times]) => [id, times.length] as const).filter(([, times]) => times > 1)
  const broken = ended.filter(({ streams }) => streams > 1)
  const back = broken.flatMap(({ backMs }) => backMs ?? []).sort((a, b) => a - b)
  const kinds = CALLERS.map(({ kind }) => ({ kind, of: ended.filter((one) => one.kind === kind) }))
  const received = expected.length - missing.length
  const whole = memory.filter(({ node }) => node === memory[0]?.node)
  const [first, last] = [whole[0], whole.at(-1)]
  const grown = first !== undefined && last !== undefined && last.rssMb > first.rssMb * (1 + RSS_MORE_MAX)
  const missed = [
    ...(missing.length > 0 ? [`${missing.length} messages are missing`] : []),
    ...[...causes].map(([cause, count]) => `${count} calls: ${cause}`),
    ...[...faults.keys()].filter((name) => name.includes('NOT CARRIED OUT')),
    ...(grown ? [`${last.node} has grown from ${first.rssMb} to ${last.rssMb} MB`] : []),
  ]
  const lines = [
    `\n${minutes} minutes, ${calls} calls at once, two nodes, Redis with a Sentinel, HAProxy`,
    ...columns(
      kinds,
      ['callers', ({ kind }) => kind],
      ['calls', ({ of }) => of.length],
      ['badly', ({ of }) => of.filter(({ cause }) => cause !== null).length],
      ['streams broken', ({ of }) => of.filter(({ streams }) => streams > 1).length],
      ['webhooks failed', ({ of }) => of.reduce((sum, { webhooksFailed }) => sum + webhooksFailed, 0)],
    ),
    `\nof ${broken.length} callers with a broken stream ${back.length} heard the agent again, after ${back[Math.floor(back.length / 2)] ?? '-'} ms in the middle and ${back.at(-1) ?? '-'} ms at most`,
    `\nfaults: ${[...faults].map(([name, times]) => `${times} × ${name}`).join(', ')}`,
    '',
    ...columns(
      memory,
      ['node', ({ node }) => node],
      ['minute', ({ minute }) => minute],
      ['RSS MB', ({ rssMb }) => rssMb],
      ['handles', ({ handles }) => handles],
      ['descriptors', ({ descriptors }) => descriptors],
    ),
    `\nmessages of calls: ${expected.length} sent, ${received} received, ${missing.length} missing, ${twice.length} of all came twice`,
    ...missing.slice(0, SHOWN_MAX).map((id) => `  missing: ${id}`),
    ...twice.slice(0, SHOWN_MAX).map(([id, times]) => `  ${times} times: ${id}`),
    ...missed.map((what) => `NOT MET: ${what}`),
  ]
  const results = {
    ...{ minutes, calls, ended, memory, faults: Object.fromEntries(faults), causes: Object.fromEntries(causes) },
    messages: { sent: expected.length, received, missing, twice: Object.fromEntries(twice) },
  }
  return { ok: missed.length === 0, lines, results }
}
