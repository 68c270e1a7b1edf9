import { setTimeout as sleep } from 'node:timers/promises'
import { newNonce } from '../../src/fleet/fleet-node.js'
import { CallKeeper } from '../../src/fleet/call-keeper.js'
import type { OwnerToken } from '../../src/fleet/store/call-store.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { CallLog } from '../../src/call/call-log.js'
import { HEARTBEAT_MS } from '../../src/core/limits.js'
import { createLog } from '../../src/telemetry/log.js'
import { keptCall } from '../../test/support/kept-call.js'
import { parseCallSid } from '../../src/core/ids.js'
import { startRedis } from '../../test/support/redis.js'
import { command } from '../kit/command.js'
import { machineLines, provenance } from '../kit/machine.js'
import { StoreMeter, forFleetOf, loadLines } from './store-load.js'

const HELP = `npm run bench -- --store [--nodes N] [--calls N] [--seconds S]
  What the heartbeats and the live calls of a large fleet ask of Redis: a redis-server, the heartbeats and the keepers of all
  nodes, without gateways. Every call changes every second. About a minute.
  --nodes N      nodes (default 100)
  --calls N      live calls of all of them (default 2000)
  --seconds S    of each phase (default 15)`

const SECRETS = ['secret-of-the-store-bench']
const AGENT = 'order-status'

const WHOLES = { nodes: [100, 1, 250], calls: [2000, 1, 1_000_000], seconds: [15, 1, 1_000_000] } as const

export const storeBench = command(HELP, { store: { type: 'boolean' } }, WHOLES, async (values, argv) => {
  const { nodes: count, calls, seconds } = values
  const facts = await provenance(`npm run bench -- ${argv.join(' ')}`)
  const server = await startRedis()
  const nodes: Node[] = []
  try {
    for (let i = 0; i < count; i++) nodes.push(await Node.start(server.url, `gw-${i}`))
    const meter = new StoreMeter(server)
    await sleep(2 * HEARTBEAT_MS)
    await meter.mark('idle')
    await sleep(seconds * 1000)
    await meter.mark('arriving')
    for (let i = 0; i < calls; i++) await (nodes[i % count] as Node).arrives(`HD_bench${String(i).padStart(7, '0')}`)
    await sleep(2000)
    await meter.mark('live')
    await sleep(seconds * 1000)
    await meter.mark('ending')
    for (const node of nodes) node.ends()
    await sleep(2000)
    await meter.mark('over')
    const load = meter.load(count, calls)
    for (const line of machineLines(facts)) console.log(line)
    console.log(`\n${count} nodes, ${calls} calls, Redis on this machine; nothing else of a gateway`)
    for (const line of loadLines(load, [forFleetOf(50_000, load, count)])) console.log(line)
    const failed = nodes.reduce((sum, { keeper }) => sum + keeper.counters.failed, 0)
    if (failed > 0) console.log(`${failed} writes failed: this machine is too slow for so many`)
    return 0
  } finally {
    await Promise.all(nodes.map((node) => node.close()))
    await server.close()
  }
})

/** Node with a heartbeat and a keeper. Its calls change once a second. */
class Node {
  readonly keeper: CallKeeper
  readonly #store: Awaited<ReturnType<typeof connectRedis>>
  readonly #name: string
  readonly #incarnation = newNonce()
  readonly #tokens = new Map<string, OwnerToken>()
  readonly #logs = new Map<string, CallLog>()
  readonly #timers: NodeJS.Timeout[] = []
  #beat = 0
  #words = 0

  static async start(url: string, name: string): Promise<Node> {
    const log = createLog({ level: 'silent' })
    return new Node(await connectRedis({ url, prefix: 'bench:', secrets: SECRETS, log, deadlineMs: 2000 }), name, log)
  }

  constructor(store: Awaited<ReturnType<typeof connectRedis>>, name: string, log: ReturnType<typeof createLog>) {
    this.#store = store
    this.#name = name
    this.keeper = new CallKeeper({
      node: name,
      alone: false,
      store,
      secrets: SECRETS,
      clock: () => performance.now(),
      log,
      tokenOf: (callSid) => this.#tokens.get(callSid) ?? null,
      inDoubt: () => false,
      lost: () => undefined,
    })
    this.#timers.push(
      setInterval(() => void this.#sendBeat(), HEARTBEAT_MS),
      setInterval(() => this.#speak(), 1000),
    )
  }

  async arrives(callSid: string): Promise<void> {
    const claim = { node: this.#name, incarnation: this.#incarnation, nonce: newNonce() }
    const { owner } = await this.#store.claim(callSid, claim, 0)
    await this.#store.save(callSid, owner, {})
    const log = new CallLog()
    this.#tokens.set(callSid, owner)
    this.#logs.set(callSid, log)
    const kept = keptCall({ callSid, node: this.#name, agent: AGENT })
    this.keeper.open(parseCallSid(callSid), { kept: () => kept, log: () => ({ log: log.records(), marks: [] }) })
  }

  ends(): void {
    for (const callSid of this.#logs.keys()) void this.keeper.over(parseCallSid(callSid))
    this.#logs.clear()
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    await this.keeper.close()
    await this.#store.close()
  }

  #speak(): void {
    for (const [callSid, log] of this.#logs) {
      const startMs = 1000 * this.#words++
      const text = 'Where is order four one two seven, please?'
      const entry = {
        kind: 'transcript' as const,
        record: { role: 'caller' as const, text, startMs, endMs: startMs + 900 },
      }
      log.append(entry)
      this.keeper.append(
        parseCallSid(callSid),
        [entry],
        [
          { name: 'speech-started', atMs: startMs },
          { name: 'answer', atMs: startMs },
        ],
      )
    }
  }

  async #sendBeat(): Promise<void> {
    await this.#store
      .beat({
        name: this.#name,
        incarnation: this.#incarnation,
        beat: ++this.#beat,
        startedAtMs: Date.now(),
        internalUrl: `https://${this.#name}.mkondo.default.svc.cluster.local:9600`,
        opsUrl: null,
        version: '0.1.0',
        capacity: 500,
        free: 500 - this.#logs.size,
        state: 'open',
        callsByAgent: { [AGENT]: this.#logs.size },
        clockAheadMs: 0,
        afterStream: null,
      })
      .catch(() => undefined)
  }
}
