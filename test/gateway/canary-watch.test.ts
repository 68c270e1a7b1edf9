import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { allCallsOn } from '../../src/backends/split.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { packageRoot } from '../../src/config/package-root.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { CanaryWatch, stoppedText } from '../../src/gateway/canary-watch.js'
import type { MessageNews } from '../../src/messages/message.js'
import { createLog } from '../../src/telemetry/log.js'
import { versionOf } from '../../src/workers/main/call/agent-version.js'
import { versionFor } from '../../src/workers/main/canary.js'
import type { HostedAgent } from '../../src/workers/main/main-thread-context.js'
import { endedCall } from '../support/record.js'

const { agents: shipped } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
const SUPPORT = shipped.get('support') as AgentDefinition

const agent = (instructions: string): HostedAgent => {
  const definition = { ...SUPPORT, name: 'desk', instructions }
  return { definition, facts: agentFacts(definition), shares: allCallsOn('x') }
}
const CANARY = agent('Be brief.')
const DESK: HostedAgent = { ...agent('Be kind.'), canary: { percent: 50, version: CANARY } }
const [AGENT_VERSION, CANARY_VERSION] = [versionOf(DESK), versionOf(CANARY)]

/** Two nodes on one store, with a clock that the test moves. */
function nodes(t: Test, agents: ReadonlyMap<string, HostedAgent> = new Map([['desk', DESK]])) {
  let nowMs = 0
  const timers = new Set<{ readonly atMs: number; readonly run: () => void }>()
  let store = new MemoryStore(() => nowMs)
  let away = false
  let losesMarks = false
  const told: MessageNews[] = []
  const lookedAt = <T>(look: () => Promise<T>): Promise<T> => (away ? Promise.reject(new Error('away')) : look())
  return {
    told,
    file: join(t.testdir({}), 'canaries.json'),
    open: async (file: string | null = null) => {
      const watch = await CanaryWatch.open({
        ...{ agents, file },
        store: {
          tally: (...args) =>
            lookedAt(async () => {
              const others = await store.tally(...args)
              if (losesMarks && args[0].startsWith('canary-stopped:') && args[2] > 0) throw new Error('lost')
              return others
            }),
          once: (...args) => lookedAt(() => store.once(...args)),
          standing: (...args) => lookedAt(() => store.standing(...args)),
        },
        tell: (news) => told.push(news),
        log: createLog({ level: 'silent' }),
        later: (ms, run) => {
          const timer = { atMs: nowMs + ms, run }
          timers.add(timer)
          return () => timers.delete(timer)
        },
      })
      // Its first look is over.
      await new Promise((resolve) => setImmediate(resolve))
      return watch
    },
    look: async () => {
      nowMs += 10_000
      for (const timer of [...timers]) if (timer.atMs <= nowMs && timers.delete(timer)) timer.run()
      await new Promise((resolve) => setImmediate(resolve))
    },
    loseMarks: (are: boolean) => {
      losesMarks = are
    },
    storeIs: (state: 'away' | 'there' | 'emptied') => {
      away = state === 'away'
      if (state === 'emptied') store = new MemoryStore(() => nowMs)
    },
  }
}

/** Calls of a version, of which some had the given changes. */
function calls(watch: CanaryWatch, version: string, count: number, some: number, changes: Partial<CallRecord>): void {
  for (let at = 0; at < count; at++)
    watch.ended(
      endedCall({
        ...{
          agent: 'desk',
          agentVersion: version,
          outcome: 'contained',
          served: 'answered',
          escalation: null,
          timeline: [],
          rootSid: '',
        },
        ...(at < some ? changes : {}),
      }),
    )
}

const NOT_UNDERSTOOD = { served: 'not-understood' } as const

t.test('a worse canary stops at all nodes with one message', async (t) => {
  const { open, look, told } = nodes(t)
  const [one, two] = [await open(), await open()]
  // Neither node has seen enough alone.
  for (const node of [one, two]) {
    calls(node, AGENT_VERSION, 30, 1, NOT_UNDERSTOOD)
    calls(node, CANARY_VERSION, 30, 7, NOT_UNDERSTOOD)
  }
  await look()
  await look()
  for (const node of [one, two]) {
    t.not(node.stopped('desk', CANARY_VERSION), undefined)
    t.equal(node.stopped('desk', AGENT_VERSION), undefined)
    t.same([node.count(true), node.count(false)], [1, 0])
  }
  t.equal(told.length, 1)
  t.match(told, [
    {
      type: 'canary.stopped',
      id: `desk:${CANARY_VERSION}:canary.stopped`,
      data: {
        version: CANARY_VERSION,
        percent: 50,
        why: { figure: 'misunderstood' },
        calls: { canary: { calls: 60 } },
      },
    },
  ])
  const why = [one, two].map((node) => stoppedText(node.stopped('desk', CANARY_VERSION) ?? null))
  t.same(why.toSorted(), [
    'its calls were worse, as another node found',
    "more of its calls were not understood: 23 %, and 3 % of the agent's calls; without a known cost: 60",
  ])
})

t.test('a stopped canary gets no new calls', (t) => {
  const canaryOnly: HostedAgent = { ...DESK, canary: { percent: 100, version: CANARY } }
  const key = { rootSid: 'HD_1', had: null }
  t.equal(versionFor(canaryOnly, key), CANARY)
  t.equal(
    versionFor(canaryOnly, key, (name, version) => name === 'desk' && version === CANARY_VERSION),
    canaryOnly,
  )
  t.equal(
    versionFor(canaryOnly, { ...key, had: CANARY_VERSION }, () => true),
    CANARY,
    'a call that goes on stays',
  )
  t.end()
})

t.test('a canary as good as its agent is not stopped', async (t) => {
  const { open, look, told } = nodes(t)
  const watch = await open()
  calls(watch, AGENT_VERSION, 400, 40, { outcome: 'escalated' })
  calls(watch, CANARY_VERSION, 400, 44, { outcome: 'escalated' })
  await look()
  t.equal(watch.stopped('desk', CANARY_VERSION), undefined)
  const few = await nodes(t).open()
  calls(few, CANARY_VERSION, 9, 9, { outcome: 'failed' })
  await look()
  t.equal(few.stopped('desk', CANARY_VERSION), undefined)
  t.same(told, [])
})

t.test('a more expensive canary is stopped', async (t) => {
  const { open, look } = nodes(t)
  const watch = await open()
  const cost = (amount: number) =>
    ({ wholeCost: { known: amount, amount, currency: 'USD' } }) as unknown as Partial<CallRecord>
  for (let at = 0; at < 20; at++) calls(watch, AGENT_VERSION, 1, 1, cost(1 + at / 10))
  await look()
  for (const version of [AGENT_VERSION, CANARY_VERSION]) {
    calls(watch, version, 60, 60, cost(version === CANARY_VERSION ? 2.5 : 1.2))
    calls(watch, version, 60, 60, cost(version === CANARY_VERSION ? 2.1 : 2.4))
  }
  await look()
  t.match(watch.stopped('desk', CANARY_VERSION), { figure: 'dear', agent: 0.5, canary: 1 })
})

t.test('a partly unknown cost is not compared', async (t) => {
  const { open, look } = nodes(t)
  const watch = await open()
  const cost = (known: number, amount: number | null) =>
    ({ wholeCost: { known, amount, currency: 'USD' } }) as unknown as Partial<CallRecord>
  for (let at = 0; at < 20; at++) calls(watch, CANARY_VERSION, 1, 1, cost(1 + at / 10, 1 + at / 10))
  await look()
  // The agent's model has no price.
  calls(watch, AGENT_VERSION, 200, 200, cost(0.1, null))
  calls(watch, CANARY_VERSION, 200, 200, cost(2.5, 2.5))
  await look()
  t.equal(watch.stopped('desk', CANARY_VERSION), undefined)
})

t.test("the message is sent although the mark's answer was lost", async (t) => {
  const { open, look, told, loseMarks } = nodes(t)
  const watch = await open()
  calls(watch, AGENT_VERSION, 120, 4, NOT_UNDERSTOOD)
  calls(watch, CANARY_VERSION, 120, 28, NOT_UNDERSTOOD)
  loseMarks(true)
  await look()
  t.same([told.length, watch.stopped('desk', CANARY_VERSION)], [0, undefined])
  loseMarks(false)
  await look()
  t.equal(told.length, 1)
  t.match(watch.stopped('desk', CANARY_VERSION), { figure: 'misunderstood' })
})

t.test('a loaded canary is never forgotten', async (t) => {
  const agents = new Map([['desk', DESK]])
  const { open, look, storeIs } = nodes(t, agents)
  const watch = await open()
  calls(watch, AGENT_VERSION, 120, 4, NOT_UNDERSTOOD)
  calls(watch, CANARY_VERSION, 120, 28, NOT_UNDERSTOOD)
  storeIs('away')
  for (let at = 0; at < 60; at++) {
    agents.set('edited', { ...agent(`Version ${at}.`), canary: { percent: 50, version: CANARY } })
    await look()
  }
  storeIs('emptied')
  await look()
  t.match(watch.stopped('desk', CANARY_VERSION), { figure: 'misunderstood' })
})

t.test('the counts and the stop survive a restart', async (t) => {
  const { open, look, file, storeIs, told } = nodes(t)
  const before = await open(file)
  calls(before, AGENT_VERSION, 120, 4, NOT_UNDERSTOOD)
  calls(before, CANARY_VERSION, 60, 14, NOT_UNDERSTOOD)
  await before.close()
  storeIs('emptied')
  const after = await open(file)
  calls(after, CANARY_VERSION, 60, 14, NOT_UNDERSTOOD)
  await look()
  t.match(after.stopped('desk', CANARY_VERSION), { figure: 'misunderstood' })
  await after.close()
  storeIs('emptied')
  const last = await open(file)
  t.match(last.stopped('desk', CANARY_VERSION), { figure: 'misunderstood' })
  await last.close()
  t.equal(told.length, 1)
})

t.test('an absent store stops no canary and loses no call', async (t) => {
  const { open, look, storeIs } = nodes(t)
  const watch = await open()
  storeIs('away')
  calls(watch, AGENT_VERSION, 120, 4, NOT_UNDERSTOOD)
  calls(watch, CANARY_VERSION, 120, 28, NOT_UNDERSTOOD)
  await look()
  t.equal(watch.stopped('desk', CANARY_VERSION), undefined)
  storeIs('there')
  await look()
  t.match(watch.stopped('desk', CANARY_VERSION), { figure: 'misunderstood' })
})

t.test('calls without evidence about the canary are not counted', async (t) => {
  const { open, look } = nodes(t)
  const watch = await open()
  for (const changes of [
    { outcome: 'unreached' },
    { outcome: 'refused' },
    { rootSid: 'HD_before' },
    { agentVersion: 'another' },
    { agent: 'another' },
  ] as Partial<CallRecord>[])
    calls(watch, CANARY_VERSION, 200, 200, { ...NOT_UNDERSTOOD, ...changes })
  calls(watch, AGENT_VERSION, 200, 0, {})
  await look()
  t.equal(watch.stopped('desk', CANARY_VERSION), undefined)
})

t.test('the report names the excluded calls', async (t) => {
  const { open, look, told } = nodes(t)
  const watch = await open()
  const costs = (amount: number | null) =>
    ({ wholeCost: { known: 1, amount, currency: 'USD' } }) as unknown as Partial<CallRecord>
  calls(watch, AGENT_VERSION, 120, 120, costs(1))
  calls(watch, CANARY_VERSION, 60, 60, { ...NOT_UNDERSTOOD, ...costs(1) })
  calls(watch, CANARY_VERSION, 7, 7, costs(null))
  calls(watch, CANARY_VERSION, 5, 5, { rootSid: 'HD_before' })
  calls(watch, CANARY_VERSION, 3, 3, { outcome: 'unreached' })
  await look()
  const leftOut = { continued: 5, unreached: 3, unpriced: 7 }
  t.match(told, [{ data: { why: { leftOut }, calls: { canary: { calls: 67, ...leftOut }, agent: { unpriced: 0 } } } }])
  t.match(
    stoppedText(watch.stopped('desk', CANARY_VERSION) ?? null),
    /; not counted: 5 that continued an earlier call, 3 that reached nobody; without a known cost: 7$/,
  )
})
