import { appendFile, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { agentWith } from '../../src/agents/tools/call-variables.js'
import { allCallsOn } from '../../src/backends/split.js'
import { humanFirst } from '../../src/agents/file/human-first.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { passedLimit } from '../../src/campaigns/call-back-limits.js'
import { CALL_BACKS, campaignSchema, policyOf, readWindow } from '../../src/campaigns/campaign.js'
import type { Campaign, Row, TryResult } from '../../src/campaigns/campaign.js'
import { Campaigns } from '../../src/campaigns/campaigns.js'
import type { CampaignStatus, PlacedStanding } from '../../src/campaigns/campaigns.js'
import { CampaignDesk } from '../../src/campaigns/campaign-desk.js'
import { FileDoNotCall } from '../../src/campaigns/do-not-call.js'
import type { KeptEntry } from '../../src/campaigns/do-not-call.js'
import type { LostRows, Next, RowQueue } from '../../src/campaigns/row-queue.js'
import { FileQueue } from '../../src/campaigns/file-queue.js'
import { RedisDoNotCall, RedisQueue } from '../../src/campaigns/redis-queue.js'
import { readDateAndTime } from '../../src/core/local-time.js'
import { afterTry, verdictOf } from '../../src/campaigns/scheduler.js'
import type { Facts } from '../../src/campaigns/scheduler.js'
import type { KeptCall, KeptState } from '../../src/call/documents/kept-call.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { GatewayError } from '../../src/core/errors.js'
import { parseRedisUrl } from '../../src/fleet/store/redis-url.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { CarrierApiError } from '../../src/sautikit-api/http.js'
import { countryZone } from '../../src/sautikit/phone.js'
import { campaignMessage } from '../../src/gateway/campaigns-side.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { runTextCall } from '../../src/simulator/scenarios/text-call.js'
import { openTextMedia } from '../../src/simulator/scenarios/text-gateway.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import type { CallerAct } from '../../src/simulator/caller-script.js'
import { createLog } from '../../src/telemetry/log.js'
import { outboundRecord, unreachedRecord } from '../../src/workers/main/call/call-record.js'
import type { CallBackOrder } from '../../src/workers/main/main-thread-context.js'
import type { OutboundOrder } from '../../src/workers/main/outbound-calls.js'
import { keptCall, keptState } from '../support/kept-call.js'
import { endedCall } from '../support/record.js'
import { hasRedis, startRedis, startSentinel } from '../support/redis.js'
import { succeeds, until } from '../support/until.js'
import { NEW_ROW } from './appointments.js'

const NAIROBI = 'Africa/Nairobi'
/** A Friday, 10:00 in Nairobi. */
const FRIDAY_10 = Date.parse('2026-11-27T10:00:00+03:00')
const MINUTE = 60_000
const HOUR = 60 * MINUTE

const campaign = (more: Partial<Campaign> = {}): Campaign =>
  campaignSchema.parse({
    version: 1,
    id: 'reminders-1',
    name: 'reminders',
    agent: 'appointments',
    window: 'Mon-Sat 09:00-18:00',
    timeZone: NAIROBI,
    state: 'running',
    why: null,
    createdAt: '2026-11-27T06:00:00.000Z',
    rows: 1,
    ...more,
  })

const row = (n: number, more: Partial<Row> = {}): Row => ({
  ...NEW_ROW,
  id: `r${n}`,
  campaign: 'reminders-1',
  to: `+2547000001${String(n).padStart(2, '0')}`,
  ...more,
})

const FREE: Facts = { doNotCall: false, line: 'free', walletMinor: null, budgetSpent: false, capacity: 100, free: 100 }

t.test('calling windows are parsed, and wrong windows rejected', (t) => {
  t.match(readWindow('Mon-Sat 09:00-18:00'), { mon: ['09:00-18:00'], sat: ['09:00-18:00'] })
  t.notOk('sun' in (readWindow('Mon-Sat 09:00-18:00') as object))
  t.equal(Object.keys(readWindow('08:00-12:00')).length, 7, 'without days: each day')
  t.same(readWindow('Sun 10:00-12:00, Fri-Mon 14:00-16:00'), {
    sun: ['10:00-12:00', '14:00-16:00'],
    fri: ['14:00-16:00'],
    sat: ['14:00-16:00'],
    mon: ['14:00-16:00'],
  })
  for (const wrong of ['9-18', 'Foo 09:00-18:00', 'Mon-Bar 09:00-18:00', '', 'Mon 25:00-26:00'])
    t.match(readWindow(wrong), /is not a time window; allowed: such as Mon-Sat 09:00-18:00/, wrong)
  t.end()
})

t.test('the verdict says if a row may be called now', (t) => {
  const verdict = (more: Partial<Campaign>, facts = FREE, nowMs = FRIDAY_10, one = row(1)) =>
    verdictOf(policyOf(campaign(more)), one, facts, nowMs)
  t.same(verdict({}), { do: 'call' })
  t.match(verdict({}, FREE, FRIDAY_10 - 2 * HOUR), { do: 'wait', why: 'closed', untilMs: FRIDAY_10 - HOUR, all: true })
  t.match(verdict({}, FREE, FRIDAY_10 + 8 * HOUR), { why: 'closed', untilMs: FRIDAY_10 + 23 * HOUR })
  t.match(verdict({ state: 'paused' }), { do: 'wait', why: 'paused', all: true })
  t.match(verdict({ state: 'stopped' }), { do: 'end', result: 'stopped' })
  t.match(verdict({ endAt: '2026-11-27T09:59:00+03:00' }), { do: 'end', result: 'expired' })
  t.match(verdict({ endAt: '2026-11-27T20:00:00+03:00' }, FREE, FRIDAY_10 + 8.5 * HOUR), { result: 'expired' })
  t.match(verdict({ startAt: '2026-11-27T11:00:00+03:00' }), { why: 'not-begun', untilMs: FRIDAY_10 + HOUR })
  t.match(verdict({}, { ...FREE, doNotCall: true }), { do: 'end', result: 'do-not-call' })
  t.match(verdict({}, { ...FREE, walletMinor: 9999 }), { why: 'wallet', all: true })
  t.match(verdict({}, { ...FREE, walletMinor: 10_000 }), { do: 'call' })
  t.match(verdict({}, { ...FREE, budgetSpent: true }), { do: 'wait', why: 'budget', all: true })
  const back = row(1, { campaign: CALL_BACKS })
  t.match(verdict({}, { ...FREE, budgetSpent: true }, FRIDAY_10, back), { why: 'budget', all: false })
  t.match(
    verdict({}, { ...FREE, free: 20 }),
    { why: 'inbound', all: true },
    'a fifth stays free for calls that come in',
  )
  t.match(verdict({}, { ...FREE, free: 21 }), { do: 'call' })
  const abroad = row(1, { timeZone: 'America/New_York' })
  t.match(verdict({}, FREE, FRIDAY_10, abroad), { why: 'closed', all: false }, 'there it is 2 at night')
  const nowhere = row(1, { timeZone: 'Africa/Nowhere' })
  t.match(
    verdict({}, FREE, FRIDAY_10, nowhere),
    { do: 'end', result: 'invalid-zone' },
    'a zone that is none allows nothing',
  )
  t.end()
})

t.test("the result of a try decides a row's next state", (t) => {
  const after = (result: TryResult, tries: number, more: Partial<Campaign> = {}) => {
    const tried = { label: 'x', atMs: 0, callSid: null, result, durationMs: 0, human: false }
    return afterTry(
      policyOf(campaign(more)),
      row(1, { tries: Array.from({ length: tries }, () => tried) }),
      result,
      0,
      0,
    )
  }
  t.match(after('person', 1), { result: 'person' })
  t.match(after('busy', 1), { result: null, dueMs: 30 * MINUTE })
  t.match(after('busy', 2), { result: null, dueMs: 120 * MINUTE })
  t.match(after('busy', 3), { result: 'busy' })
  t.match(after('no-answer', 1), { result: null, dueMs: 120 * MINUTE })
  t.match(after('no-answer', 2), { result: null, dueMs: 18 * HOUR }, 'at another time of day')
  t.match(after('machine', 1), { result: 'machine' })
  t.match(after('machine', 1, { voicemail: 'later' }), { result: null })
  for (const final of ['refused', 'failed', 'uncertain'] as const) t.match(after(final, 1), { result: final })
  t.end()
})

t.test("a caller's local time follows their number's time zone", (t) => {
  t.equal(countryZone('+254700000001'), NAIROBI)
  t.equal(countryZone('+12125550100'), null, 'a country with several says nothing')
  t.equal(readDateAndTime(NAIROBI, '2026-11-27T15:00'), Date.parse('2026-11-27T15:00:00+03:00'))
  t.equal(readDateAndTime('Europe/Berlin', '2026-03-29T03:30'), Date.parse('2026-03-29T03:30:00+02:00'))
  t.equal(readDateAndTime(NAIROBI, 'tomorrow'), null)
  t.equal(readDateAndTime(NAIROBI, '2026-13-27T15:00'), null)
  t.end()
})

// --- the queue of one process, on the test's clock ------------------------------------------------------------

const AGENT = {
  version: 1,
  name: 'appointments',
  instructions: 'Remind people.',
  escalation: { numbers: ['+254720000010'] },
  callbacks: {},
  outbound: { from: '+254700000000' },
} satisfies AgentInput

/** A carrier that rings a label once, as ours does. */
class Carrier {
  readonly rung = new Map<string, OutboundOrder>()
  orders = 0
}

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-campaigns-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

async function desk(
  t: Test,
  more: {
    readonly folder?: string
    readonly carrier?: Carrier
    readonly store?: MemoryStore
    readonly prefixes?: readonly string[]
  } = {},
) {
  const folder = more.folder ?? (await folderOf(t))
  const time = { nowMs: FRIDAY_10 }
  let timers: { readonly atMs: number; readonly run: () => void }[] = []
  const later = (ms: number, run: () => void) => {
    const timer = { atMs: time.nowMs + ms, run }
    timers.push(timer)
    return () => {
      timers = timers.filter((other) => other !== timer)
    }
  }
  const log = createLog({ level: 'silent' })
  const queue = await FileQueue.start({ folder: join(folder, 'campaigns'), wallClock: () => time.nowMs, log, later })
  const doNotCall = await FileDoNotCall.open(join(folder, 'do-not-call.jsonl'))
  const carrier = more.carrier ?? new Carrier()
  const news: CampaignStatus[] = []
  const held: string[] = []
  const refuse: { with: Error | null } = { with: null }
  const facts = {
    capacity: 100,
    free: 100,
    walletMinor: null as number | null,
    budgetSpent: false,
    human: null as string | null,
    agentLost: false,
    inCall: [] as string[],
    unasked: false,
    stands: 'unknown' as PlacedStanding,
  }
  const agent = agentSchema.parse(AGENT)
  const placed: OutboundOrder[] = []
  const looks: string[] = []
  const humansOf: string[] = []
  const campaigns = new Campaigns({
    queue,
    doNotCall,
    place: (order) => {
      carrier.orders++
      if (refuse.with !== null) return Promise.reject(refuse.with)
      placed.push(order)
      carrier.rung.set(order.clientRequestId ?? '', order)
      return Promise.resolve({ callSid: `HD_${order.clientRequestId ?? ''}` })
    },
    standing: (callSid, label) => {
      looks.push(`${callSid} ${label}`)
      return Promise.resolve(facts.stands)
    },
    claims: more.store ?? new MemoryStore(() => time.nowMs),
    agent: (name) =>
      facts.agentLost
        ? undefined
        : name === agent.name
          ? agent
          : name === 'reception'
            ? { ...agent, name, callbacks: null }
            : undefined,
    humanFirst: (name) => {
      humansOf.push(name)
      return facts.human
    },
    lines: {
      hold: (number) => Promise.resolve(facts.unasked ? 'unknown' : facts.inCall.includes(number) ? 'busy' : 'free'),
      released: () => Promise.resolve(),
    },
    prefixes: more.prefixes ?? [],
    callBackLimits: { perNumberDay: 2, perNumberWeek: 4, perCallerDay: 3 },
    slots: () => ({ capacity: facts.capacity, free: facts.free }),
    walletMinor: () => facts.walletMinor,
    budgetSpent: () => facts.budgetSpent,
    keepMs: 90 * 24 * HOUR,
    walletEmpty: () => {
      facts.walletMinor = 0
    },
    perMinute: 600,
    wallClock: () => time.nowMs,
    random: () => 0,
    log,
    counted: (_agent, what, why) => void held.push(why ?? what),
    told: (one) => void news.push(one),
    later: (ms, run) => void later(ms, run),
  })
  await campaigns.look()
  t.teardown(() => campaigns.close(0))
  /** The clock goes on, second by second. */
  const pass = async (ms: number): Promise<void> => {
    const untilMs = time.nowMs + ms
    while (time.nowMs < untilMs) {
      const next = Math.min(untilMs, ...timers.map(({ atMs }) => atMs))
      time.nowMs = Math.max(time.nowMs, next)
      const due = timers.filter(({ atMs }) => atMs <= time.nowMs)
      timers = timers.filter((timer) => !due.includes(timer))
      for (const { run } of due) run()
      // Until it is on disk.
      for (let i = 0; i < 8; i++) {
        await queue.written
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
  }
  const over = (
    order: OutboundOrder,
    result: 'person' | 'busy' | 'no-answer',
    joined: 'answered' | 'busy' | 'not known' | null = null,
  ): void => {
    const one = {
      ...order,
      from: '+254700000000',
      clientRequestId: order.clientRequestId ?? '',
      orderedAtMs: 0,
      ringMs: 0,
      variables: {},
      externalId: null,
      leaveMessage: true,
      promised: false,
      joins: null,
    }
    const outbound = outboundRecord(one, {
      streamOpened: result === 'person',
      endReason: null,
      lastState: result === 'person' ? 'answered' : result,
      ringMs: 0,
    })
    const record: CallRecord = unreachedRecord(one, parseCallSid('HD_row000000001'), outbound, time.nowMs, '')
    const escalation = {
      reason: 'a promised call back',
      strategy: 'after-stream-dial' as const,
      outcome: joined === 'not known' ? null : joined,
      attempts: [],
      callback: null,
    }
    campaigns.ended(joined === null ? record : { ...record, escalation })
  }
  return {
    campaigns,
    queue,
    doNotCall,
    carrier,
    placed,
    looks,
    humansOf,
    news,
    held,
    refuse,
    facts,
    time,
    pass,
    over,
    folder,
  }
}

const rowsOf = async (queue: FileQueue): Promise<Row[]> =>
  [...(await queue.rows('reminders-1'))].sort((a, b) => a.id.localeCompare(b.id))

t.test('the limits for concurrent calls and calls per minute hold', async (t) => {
  const { campaigns, queue, placed, pass, over } = await desk(t)
  const rows = Array.from({ length: 12 }, (_, n) => row(n))
  t.equal(await queue.add('reminders-1', rows), 12)
  t.equal(await queue.add('reminders-1', rows), 0, 'a row that is there is not added again')
  await campaigns.keep(campaign({ atOnce: 3, perMinute: 6 }))
  await pass(25_000)
  t.equal(placed.length, 3, 'one each 10 s, and no more at once')
  for (const order of [...placed]) over(order, 'person')
  await pass(MINUTE)
  t.equal(placed.length, 6)
  for (let i = 0; i < 4; i++) {
    for (const order of placed.slice(-3)) over(order, 'person')
    await pass(MINUTE)
  }
  t.equal(placed.length, 12)
  t.equal(new Set(placed.map(({ to }) => to)).size, 12)
  for (const order of placed.slice(-3)) over(order, 'person')
  await until(async () => (await rowsOf(queue)).every(({ result }) => result === 'person'), 2000, 'the rows')
})

t.test('a busy row is called again later', async (t) => {
  const { campaigns, queue, placed, held, facts, time, pass, over } = await desk(t)
  await queue.add('reminders-1', [row(1)])
  facts.free = 10
  await campaigns.keep(campaign({ tries: 2 }))
  await pass(5000)
  t.equal(placed.length, 0, 'calls that come in have the slots')
  t.ok(held.includes('inbound'))
  facts.free = 100
  await pass(5000)
  t.equal(placed.length, 1)
  over(placed[0] as OutboundOrder, 'busy')
  await pass(29 * MINUTE)
  t.equal(placed.length, 1)
  await campaigns.keep(campaign({ tries: 2, state: 'paused' }))
  await pass(2 * MINUTE)
  t.equal(placed.length, 1, 'it is paused')
  await campaigns.keep(campaign({ tries: 2 }))
  await pass(10_000)
  t.equal(placed.length, 2)
  t.not(placed[0]?.clientRequestId, placed[1]?.clientRequestId, 'another try is another order')
  over(placed[1] as OutboundOrder, 'busy')
  await until(async () => (await rowsOf(queue))[0]?.result === 'busy', 2000, 'the row')
  t.ok(time.nowMs < FRIDAY_10 + HOUR)
})

t.test('a temporary refusal does not count as a try', async (t) => {
  const { campaigns, queue, carrier, facts, refuse, pass, news } = await desk(t)
  await queue.add('reminders-1', [row(1)])
  refuse.with = new CarrierApiError('empty', { status: 402 })
  await campaigns.keep(campaign())
  await pass(10_000)
  t.equal(facts.walletMinor, 0)
  t.same((await rowsOf(queue))[0]?.tries, [], 'nothing rang')
  facts.walletMinor = null
  refuse.with = new GatewayError('RATE_LIMITED', 'too many', { retryable: true })
  await pass(2 * MINUTE)
  t.ok(carrier.orders > 1)
  refuse.with = new GatewayError('CALL_REFUSED', 'numbers that begin so may not be called')
  await pass(MINUTE)
  t.match((await rowsOf(queue))[0], { result: 'not-allowed' })
  t.match(news, [{ type: 'campaign.row', row: { id: 'r1', result: 'not-allowed' } }])
  const from = '+254709000000'
  t.equal(campaignMessage({ type: 'campaign.row', row: row(1, { from }) }).number, from, 'its receivers are told')
  t.equal(campaignMessage({ type: 'campaign.paused', campaign: campaign({ from }) }).number, from)
})

t.test('rows wait for an unusable agent for a day', async (t) => {
  const folder = await folderOf(t)
  const { campaigns, queue, placed, facts, pass } = await desk(t, { folder })
  await queue.add('reminders-1', [row(1), row(2)])
  await queue.add(CALL_BACKS, [row(3, { campaign: CALL_BACKS, timeZone: NAIROBI })])
  await campaigns.keep(campaign())
  await pass(1000)
  t.equal(placed.length, 2, 'the first row, and the call back')
  const next = await desk(t, { folder })
  facts.agentLost = next.facts.agentLost = true
  await next.queue.add(CALL_BACKS, [row(4, { campaign: CALL_BACKS, timeZone: NAIROBI })])
  await next.pass(30 * MINUTE)
  t.equal(next.placed.length, 0)
  t.match(await rowsOf(next.queue), [
    { result: null, tries: [{ result: null }] },
    { result: null, tries: [] },
  ])
  t.ok(next.held.includes('agent'))
  next.facts.agentLost = false
  await next.pass(6 * MINUTE)
  t.same(
    next.placed.map(({ to }) => to).sort(),
    [1, 2, 3, 4].map((n) => row(n).to),
    'it is there again',
  )
  t.equal((await next.queue.rows('reminders-1')).find(({ id }) => id === 'r2')?.agentLostMs, null)

  next.facts.agentLost = true
  await next.queue.add('reminders-1', [row(5), row(6, { result: 'do-not-call' })])
  await next.pass(25 * HOUR)
  t.match((await rowsOf(next.queue)).slice(2), [{ result: 'not-allowed' }, { result: 'do-not-call' }])
})

t.test('a campaign with failing calls pauses itself', async (t) => {
  const { campaigns, queue, refuse, carrier, pass, news } = await desk(t)
  await queue.add(
    'reminders-1',
    Array.from({ length: 40 }, (_, n) => row(n)),
  )
  refuse.with = new CarrierApiError('no', { status: 422 })
  await campaigns.keep(campaign({ perMinute: 600, atOnce: 1 }))
  await pass(MINUTE)
  t.equal(carrier.orders, 20)
  t.match(await queue.campaigns(), [{ state: 'paused', why: '30 % of the newest calls failed' }])
  t.ok(news.some(({ type }) => type === 'campaign.paused'))
})

t.test('a number on the do-not-call list is not called', async (t) => {
  const { campaigns, queue, doNotCall, placed, pass } = await desk(t)
  await doNotCall.add('0700000101', 'caller', 0)
  await queue.add('reminders-1', [row(1)])
  await campaigns.keep(campaign())
  await pass(10_000)
  t.equal(placed.length, 0)
  t.match(await rowsOf(queue), [{ result: 'do-not-call' }])
})

t.test('a process that dies mid-call causes no second ring', async (t) => {
  const folder = await folderOf(t)
  const carrier = new Carrier()
  const first = await desk(t, { folder, carrier })
  await first.queue.add('reminders-1', [row(1), row(2)])
  await first.campaigns.keep(campaign({ perMinute: 600 }))
  await first.pass(1000)
  t.equal(carrier.rung.size, 2)
  // It is gone: nothing of it is asked any more. Its store was in its memory.
  const text = await readFile(join(folder, 'campaigns/reminders-1.rows.jsonl'), 'utf8')
  t.match(text, /"result":null,"durationMs":0/, 'that they are being called is on the disk')
  const second = await desk(t, { folder, carrier })
  await second.pass(10_000)
  t.equal(carrier.rung.size, 2, 'the carrier is asked for the same calls')
  t.equal(second.placed.length, 2)
  for (const order of second.placed) second.over(order, 'person')
  await until(async () => (await rowsOf(second.queue)).every(({ result }) => result === 'person'), 2000, 'the rows')
  await second.pass(HOUR)
  t.equal(carrier.rung.size, 2)
})

t.test('an outcome known to another node is adopted', async (t) => {
  const store = new MemoryStore(() => FRIDAY_10)
  const { campaigns, queue, carrier, pass } = await desk(t, { store })
  await queue.add('reminders-1', [row(1), row(2)])
  await campaigns.keep(campaign({ perMinute: 600 }))
  await pass(1000)
  const [label = ''] = [...carrier.rung.keys()]
  await store.settle(`try:${label}`, JSON.stringify({ result: 'busy', callSid: null, durationMs: 0 }), HOUR)
  await pass(5000)
  t.match((await rowsOf(queue))[0], { tries: [{ result: 'busy' }], result: null })
  t.match((await rowsOf(queue))[1], { tries: [{ result: null }], result: null })
})

t.test("an outcome is kept for the row's next node [4]", async (t) => {
  const store = new MemoryStore(() => FRIDAY_10)
  const { campaigns, queue, carrier, placed, pass, over } = await desk(t, { store })
  await queue.add('reminders-1', [row(1)])
  await campaigns.keep(campaign({ perMinute: 600 }))
  await pass(1000)
  const [order] = placed
  if (order === undefined) throw new Error('nobody was called')
  over(order, 'person')
  await pass(100)
  const [label = ''] = [...carrier.rung.keys()]
  t.match(JSON.parse((await store.standing(`try:${label}`)) ?? 'null'), { result: 'person' })
})

/** A desk whose only row is being called, and nobody will tell its outcome. */
async function untold(t: Test, more: Parameters<typeof desk>[1] = {}) {
  const one = await desk(t, more)
  await one.queue.add('reminders-1', [row(1)])
  await one.campaigns.keep(campaign({ perMinute: 600, tries: 1 }))
  await one.pass(1000)
  t.equal(one.carrier.rung.size, 1)
  return one
}

t.test('an unreported outcome is read from the record [5]', async (t) => {
  const { queue, carrier, facts, looks, time, pass } = await untold(t)
  facts.stands = 'lives'
  time.nowMs += 2 * HOUR
  await pass(15_000)
  t.match((await rowsOf(queue))[0], { tries: [{ result: null }], result: null }, 'a human has been on the line for 2 h')
  const callSid = 'HD_row000000001'
  // Its node did not know the order.
  const timeline = [{ name: 'stream-opened', atMs: 20, detail: '' }]
  const talk = endedCall({ callSid, durationMs: 7_200_000, timeline, outbound: null })
  const repeated = endedCall({ callSid, durationMs: 0, endReason: 'not-taken', outbound: null })
  facts.stands = [repeated, talk]
  await pass(15_000)
  const label = [...carrier.rung.keys()].join()
  t.match((await rowsOf(queue))[0], {
    tries: [{ label, callSid: 'HD_row000000001', durationMs: 7_200_000 }],
    result: 'person',
  })
  t.equal(looks.at(-1), `HD_${label} ${label}`)
  t.equal(carrier.orders, 1)
})

t.test('a call without a record is uncertain after a minute [6]', async (t) => {
  const { queue, carrier, facts, pass } = await untold(t)
  facts.stands = []
  await pass(50_000)
  t.match((await rowsOf(queue))[0], { result: null })
  facts.stands = 'unknown'
  await pass(20_000)
  facts.stands = []
  await pass(50_000)
  t.match((await rowsOf(queue))[0], { result: null }, 'a node was silent in between')
  await pass(20_000)
  t.match((await rowsOf(queue))[0], { result: 'uncertain' })
  t.equal(carrier.orders, 1, 'nobody is rung again')
})

t.test('a live call keeps its row open beyond 3 h', async (t) => {
  const { queue, facts, time, pass } = await untold(t)
  facts.stands = 'lives'
  time.nowMs += 4 * HOUR
  await pass(15_000)
  t.match((await rowsOf(queue))[0], { result: null })
  facts.stands = 'unknown'
  await pass(15_000)
  t.match((await rowsOf(queue))[0], { result: 'uncertain' })
})

t.test('a call that seems live for a day is uncertain', async (t) => {
  const { queue, facts, time, pass } = await untold(t)
  facts.stands = 'lives'
  time.nowMs += 23 * HOUR
  await pass(15_000)
  t.match((await rowsOf(queue))[0], { result: null })
  time.nowMs += HOUR
  await pass(15_000)
  t.match((await rowsOf(queue))[0], { result: 'uncertain' })
})

t.test('a person on the line keeps their row open [7]', async (t) => {
  const folder = await folderOf(t)
  const first = await untold(t, { folder })
  const { queue, carrier, facts, time, pass } = await desk(t, { folder, carrier: first.carrier })
  facts.inCall = [row(1).to]
  time.nowMs += 2 * HOUR
  await pass(15_000)
  t.equal(carrier.orders, 1, 'the person is on the line')
  t.match((await rowsOf(queue))[0], { result: null })
})

t.test('a repeated order gets its outcome from the record', async (t) => {
  const folder = await folderOf(t)
  const first = await untold(t, { folder })
  const { queue, carrier, facts, pass } = await desk(t, { folder, carrier: first.carrier })
  facts.stands = [
    {
      ...endedCall({ callSid: 'HD_row000000001', durationMs: 0, endReason: 'caller-hung-up' }),
      timeline: [{ name: 'stream-opened', atMs: 20, detail: '' }],
      outbound: null,
    },
  ]
  await pass(20_000)
  t.equal(carrier.orders, 2)
  t.equal(carrier.rung.size, 1, 'under the same label')
  t.match((await rowsOf(queue))[0], { tries: [{ result: 'person' }], result: 'person' })
})

function orderOf({ kept }: KeptState): CallBackOrder {
  const { callback } = kept.escalation?.history ?? {}
  if (callback == null) throw new Error('no call back is wanted')
  return callback
}

t.test('a call back resumes the conversation at the promised time', async (t) => {
  const { campaigns, queue, placed, pass, over, time, folder } = await desk(t)
  const state = (wantedAt: string | null, note: string) => {
    const kept = keptCall({ agent: 'appointments', from: '+254700000101', to: '+254700000000' })
    const callback = {
      asked: 'words' as const,
      number: '+254700000101',
      note,
      at: new Date(FRIDAY_10).toISOString(),
      ...(wantedAt === null ? {} : { wantedAt }),
    }
    const history = {
      reason: 'a call back',
      strategy: 'callback' as const,
      outcome: 'answered' as const,
      attempts: [],
      callback,
    }
    const escalation = { history, packet: null, newsSent: { settled: 0, callbacks: 1 }, machine: null }
    const session = { ...kept.session, usage: { inputTokens: 1, outputTokens: 1, audioInMs: 0, audioOutMs: 0 } }
    const used = { models: [], usedMs: 60_000 }
    return keptState({
      ...kept,
      escalation,
      session: session as KeptCall['session'],
      backendState: { version: 2, used, serving: null },
    })
  }
  for (const note of ['the stock for Kitale', 'the stock for Kitale, ask for Baraka']) {
    const promised = state('2026-11-27T15:00', note)
    await campaigns.promise(promised, orderOf(promised))
  }
  t.equal((await queue.rows('call-backs')).length, 1, 'a call is promised one')
  await pass(5 * HOUR - 1000)
  t.equal(placed.length, 0)
  await pass(10_000)
  t.match(placed, [
    {
      agent: 'appointments',
      to: '+254700000101',
      from: '+254700000000',
      variables: { note: 'the stock for Kitale, ask for Baraka.' },
    },
  ])
  t.ok(placed[0]?.recovers, 'with the conversation')
  const { session, backendState } = placed[0]?.recovers?.kept ?? {}
  t.same([session?.usage, backendState], [undefined, null], 'and a budget of its own: the first call has its record')
  over(placed[0] as OutboundOrder, 'busy')
  await pass(11 * MINUTE)
  t.equal(placed.length, 2, 'and soon again, where the line was busy')
  over(placed[1] as OutboundOrder, 'no-answer')
  await pass(119 * MINUTE)
  t.equal(placed.length, 2)
  await pass(2 * MINUTE)
  t.equal(placed.length, 3, 'later, where nobody was there')
  over(placed[2] as OutboundOrder, 'person')
  await until(async () => (await queue.rows('call-backs'))[0]?.result === 'person', 2000, 'the rows')
  t.equal((await queue.rows('call-backs'))[0]?.recovers, null, 'what was said is kept no longer')
  await pass(1000)
  t.notMatch(
    await readFile(join(folder, 'campaigns/call-backs.rows.jsonl'), 'utf8'),
    /"streamMs"|"rootSid"/,
    'nor in the file',
  )
  t.ok(time.nowMs > FRIDAY_10)
})

/** A call in which a call back is wanted. */
function wish(n: number, from: string, number = from, more: Partial<KeptCall> = {}) {
  const kept = keptCall({ callSid: `HD_wish00000${n}`, agent: 'appointments', from, to: '+254700000000', ...more })
  return [keptState(kept), { asked: 'words', number, note: '', at: new Date(FRIDAY_10).toISOString() }] as const
}

t.test('a refused call back leaves no row', async (t) => {
  const { campaigns, queue, doNotCall } = await desk(t)
  await doNotCall.add('+254700000109', 'operator', FRIDAY_10)
  const theirs = '+254700000101'
  const placed = { ...keptCall().placed, clientRequestId: 'x', promised: true } as unknown as KeptCall['placed']
  for (const [asked, why, text] of [
    [wish(1, theirs, '0900223344'), 'number', /never rung/],
    [wish(1, theirs, '+881612345678'), 'number', /never rung/],
    [wish(1, theirs, '+19005551234'), 'number', /never rung/],
    [wish(1, theirs, '+256712345678'), 'number', /another country/],
    [wish(1, theirs, '0733'), 'number', /ask the caller for it again/],
    [wish(1, theirs, '+254700000109'), 'do-not-call', /no calls/],
    [
      wish(1, '+254700000000', '+254700000102', { direction: 'outbound', to: theirs, placed }),
      'third-number',
      /only the number that was called/,
    ],
  ] as const) {
    const refusal = await campaigns.promise(...asked)
    t.match(refusal, { why, text })
    t.same(await campaigns.refusal(...asked), refusal, 'also when it is only asked')
    t.notOk(refusal?.text.includes(asked[1].number), 'no number')
  }
  t.same(await queue.rows(CALL_BACKS), [])
  t.equal(
    await campaigns.promise(...wish(2, '+254700000000', theirs, { direction: 'outbound', to: theirs, placed })),
    null,
  )
})

t.test('a promised number outside OUTBOUND_PREFIXES is refused', async (t) => {
  const { campaigns } = await desk(t, { prefixes: ['+25471'] })
  t.match(await campaigns.promise(...wish(1, '+254722000101')), { why: 'number', text: /allowed: \+25471/ })
  t.equal(await campaigns.promise(...wish(2, '+254712000101')), null)
})

t.test('each number and each caller has one pending call back', async (t) => {
  const { campaigns, queue } = await desk(t)
  const why = async (...asked: ReturnType<typeof wish>): Promise<string | null> =>
    (await campaigns.promise(...asked))?.why ?? null
  t.equal(await why(...wish(1, '+254700000101')), null)
  t.equal(await why(...wish(1, '+254700000101')), null, 'the same call again')
  t.equal(await why(...wish(2, '+254700000102', '+254700000101')), 'open', 'a victim has one')
  t.equal(await why(...wish(3, '+254700000101', '+254700000103')), 'caller-open')
  t.equal(await why(...wish(4, '', '+254700000104')), null, 'without a number of their own')
  t.equal(await why(...wish(5, '', '+254700000105')), null)
  t.equal(await campaigns.refusal(...wish(6, '+254700000106')), null)
  t.equal((await queue.rows(CALL_BACKS)).length, 3, 'and whoever only asks leaves no row')
})

t.test('call backs are limited per number and per caller', (t) => {
  const limits = { perNumberDay: 2, perNumberWeek: 4, perCallerDay: 3 }
  const [DAY, now] = [24 * HOUR, FRIDAY_10]
  const back = (n: number, to: string, by: string, agoMs: number): Row =>
    row(n, { campaign: CALL_BACKS, to, result: 'person', asked: { by, atMs: now - agoMs } })
  const [victim, other] = ['+254700000101', '+254700000102']
  const to = (...agoMs: number[]) => agoMs.map((ms, i) => back(i + 1, victim, `25470000020${i}`, ms))
  const wanted = back(50, victim, '254700000209', 0)
  for (const [rows, passed] of [
    [to(HOUR), null],
    [to(HOUR, 2 * HOUR), 'number'],
    [to(HOUR, 25 * HOUR), null],
    [to(HOUR, 2 * DAY, 3 * DAY, 6 * DAY), 'number'],
    [to(HOUR, 2 * DAY, 3 * DAY, 8 * DAY), null],
    [[1, 2, 3].map((n) => back(n, other, '254700000208', n * HOUR)), null],
    [[1, 2, 3].map((n) => back(n, `+25470000030${n}`, '254700000209', n * HOUR)), 'caller'],
    [[1, 2, 3].map((n) => back(n, `+25470000030${n}`, '254700000209', 25 * HOUR)), null],
    [[{ ...back(1, victim, 'x', 0), result: null }], 'open'],
    [[{ ...back(1, victim, 'x', 0), to: '', result: 'erased' as const }], null],
    [[{ ...wanted, result: null }], null],
  ] as const)
    t.equal(passedLimit(wanted, rows, limits, now), passed)
  t.equal(passedLimit(wanted, [], { ...limits, perNumberDay: 0 }, now), 'number', '0: none')
  t.end()
})

t.test('a number in a call waits without using a try', async (t) => {
  const store = new MemoryStore(() => FRIDAY_10)
  const { campaigns, queue, placed, facts, pass, held } = await desk(t, { store })
  await queue.add('reminders-1', [row(1), row(2)])
  facts.inCall.push(row(1).to)
  await campaigns.keep(campaign({ perMinute: 600 }))
  await pass(60_000)
  t.match(placed, [{ to: row(2).to }], 'others go on')
  t.same((await queue.rows('reminders-1')).find(({ id }) => id === 'r1')?.tries, [])
  t.ok(held.includes('in-call'))
  facts.inCall.length = 0
  facts.unasked = true
  await pass(60_000)
  t.equal(placed.length, 1, 'nobody says whether it is over')
  t.ok(held.includes('line-unknown'))
  facts.unasked = false
  await pass(60_000)
  t.equal(placed.length, 2)

  const asked = wish(9, '+254700000199')
  const owner = { node: 'gw-1', incarnation: 'one', nonce: 'n' }
  const { owner: token } = await store.claim('HD_wish000009', owner, 0)
  await campaigns.promise(...asked)
  await pass(HOUR)
  t.equal(placed.length, 2, 'the call of the promise goes on, at another node')
  await store.over('HD_wish000009', token)
  await pass(60_000)
  t.match(placed[2], { to: '+254700000199' })
})

// --- what an operator does ------------------------------------------------------------------------------------

const READER = agentSchema.parse({
  ...AGENT,
  greeting: 'Hello {{call.variables.firstName}}, your visit is at {{call.variables.time}}.',
})

/** Ours, without the facts that the agent reads. */
const UNLISTED = '+254700000099'

async function officeOf(t: Test, more: Parameters<typeof desk>[1] = {}) {
  const rig = await desk(t, more)
  const office = new CampaignDesk({
    campaigns: rig.campaigns,
    queue: rig.queue,
    doNotCall: rig.doNotCall,
    agent: (name, from) => (name === 'appointments' && from !== UNLISTED ? READER : undefined),
    agentNames: () => ['appointments'],
    prefixes: ['+254'],
    wallClock: () => rig.time.nowMs,
  })
  const order = { name: 'Clinic reminders', agent: 'appointments', window: 'Mon-Sat 09:00-18:00', timeZone: NAIROBI }
  return { ...rig, office, order }
}

const CSV = `\ufeffPhone;ID;First name;Time
0700000101;row-1;Wanjiru;09:30
+254 700 000 102;row-2;"Otieno; J";10:00
`.replace('First name', 'firstName')

t.test('a promised call back is kept once despite lost requests [3]', async (t) => {
  for (const lost of ['request', 'answer'] as const) {
    const { campaigns, queue, pass } = await desk(t)
    const add = queue.add.bind(queue)
    let fails = 2
    queue.add = async (...rows) => {
      const added = lost === 'answer' || fails === 0 ? await add(...rows) : 0
      if (fails === 0) return added
      fails--
      throw new Error('Command aborted due to connection close')
    }
    const kept = keptCall({ agent: 'appointments', from: '+254700000101', to: '+254700000000' })
    const callback = { asked: 'words' as const, number: kept.from, note: 'x', at: new Date(FRIDAY_10).toISOString() }
    const history = {
      ...{
        reason: 'a call back',
        strategy: 'callback' as const,
        outcome: 'answered' as const,
        attempts: [],
        callback,
      },
    }
    const escalation = { history, packet: null, newsSent: { settled: 0, callbacks: 1 }, machine: null }
    const promised = campaigns.promise(keptState({ ...kept, escalation }), callback)
    await pass(25_000)
    await promised
    t.match(await queue.rows(CALL_BACKS), [{ to: kept.from, tries: [], result: null }], lost)
    t.equal((await queue.rows(CALL_BACKS)).length, 1, lost)
  }
})

t.test('a promise after an agent handover uses the promising agent', async (t) => {
  const { campaigns, queue, placed, facts, pass, over, humansOf } = await desk(t)
  const callback = { asked: 'key' as const, number: '+254700000101', note: '', at: new Date(FRIDAY_10).toISOString() }
  const history = {
    ...{ reason: '', strategy: 'callback' as const, outcome: 'answered' as const, attempts: [], callback },
  }
  const escalation = { history, packet: null, newsSent: { settled: 0, callbacks: 1 }, machine: null }
  const kept = keptCall({ agent: 'reception', from: callback.number, to: '+254700000000', escalation })
  const handovers = [{ atMs: 1, from: 'reception', to: 'appointments', summary: '' }]
  await campaigns.promise(keptState(kept, { handovers }), callback)
  facts.human = '+254720000010'
  await pass(HOUR)
  t.match(placed, [{ agent: 'appointments', to: facts.human, joins: callback.number }])
  t.same([...new Set(humansOf)], ['appointments'])
  over(placed[0] as OutboundOrder, 'no-answer')
  await pass(5000)
  t.match(placed[1], { agent: 'reception', to: callback.number, recovers: { log: { handovers } } }, 'as it was kept')
  over(placed[1] as OutboundOrder, 'person')
  await until(async () => (await queue.rows(CALL_BACKS))[0]?.result === 'person', 2000, 'the rows')
})

t.test('human-first call backs ring a human before the agent calls', async (t) => {
  const { queue, placed, facts, pass, over, refuse } = await desk(t)
  const HUMAN = '+254720000010'
  const backs = () => queue.rows(CALL_BACKS)
  const back = (n: number) => row(n, { campaign: CALL_BACKS, timeZone: NAIROBI, variables: { note: 'the stock.' } })
  facts.human = HUMAN
  await queue.add(CALL_BACKS, [back(1)])
  await pass(2000)
  t.match(placed, [{ to: HUMAN, joins: '+254700000101', variables: { note: 'the stock.' } }])
  t.notOk(placed[0]?.recovers, 'who answers is not the caller')
  over(placed[0] as OutboundOrder, 'no-answer')
  await pass(2000)
  t.match(placed[1], { to: '+254700000101', joins: undefined }, 'nobody took it: the agent calls')
  over(placed[1] as OutboundOrder, 'no-answer')
  await pass(31 * MINUTE)
  t.match(placed[2], { to: HUMAN }, 'with the next try a human is asked again')
  over(placed[2] as OutboundOrder, 'person', 'busy')
  await pass(3 * HOUR)
  t.match(placed[3], { to: HUMAN }, 'the caller was busy: that is a try of theirs')
  over(placed[3] as OutboundOrder, 'person', 'answered')
  await pass(1000)
  t.match(await backs(), [{ result: 'person', tries: [{ human: false }, { human: true }, { result: 'person' }] }])
  t.equal(new Set(placed.map(({ clientRequestId }) => clientRequestId)).size, placed.length, 'each has its own label')

  await queue.add(CALL_BACKS, [back(2)])
  await pass(2000)
  over(placed[4] as OutboundOrder, 'person')
  await pass(2000)
  t.match(placed[5], { to: '+254700000102' }, 'a human who declines has not called')
  over(placed[5] as OutboundOrder, 'person')

  await queue.add(CALL_BACKS, [back(3)])
  await pass(2000)
  over(placed[6] as OutboundOrder, 'person', 'not known')
  await pass(5 * HOUR)
  t.equal(placed.length, 7, 'who may have been put through is not called again')
  t.match(
    (await backs()).find(({ id }) => id === 'r3'),
    { result: 'uncertain' },
  )

  refuse.with = new GatewayError('CALL_REFUSED', 'numbers that begin so may not be called')
  await queue.add(CALL_BACKS, [back(4)])
  await pass(500)
  t.match(
    (await backs()).find(({ id }) => id === 'r4'),
    { withoutHuman: true },
    'a human who may not be rung is left out',
  )
})

t.test('a faulty file is rejected with all its faults', async (t) => {
  const { office, order, queue } = await officeOf(t)
  const wrong = `number,id,firstName,time_zone
2.54713E+11,a,Wanjiru,
0700000101,b,,Africa/Nowhere
0700000101,c,Otieno,
+49301234567,d,Achieng,
secret,e,Kamau,
`
  const { faults, campaign: none } = await office.create({ ...order, csv: wrong })
  t.equal(none, null)
  t.same(faults, [
    'line 1: lacks time, which the agent reads',
    'line 2: has a number that a spreadsheet has shortened; format the column as text before it is saved',
    'line 3: has a time zone that does not exist; allowed: such as Africa/Nairobi',
    'line 3: has no firstName, which the agent reads',
    'line 4: has the number of line 3',
    'line 5: has a number that begins as none that may be called; allowed: +254 (OUTBOUND_PREFIXES)',
    'line 6: has a number that is none; allowed: such as +254712345678 or 0712345678',
  ])
  t.same(await queue.campaigns(), [], 'nothing is made')
  for (const [body, message] of [
    [{ ...order, csv: CSV, timeZone: 'Africa/Nowhere' }, /timeZone: allowed: an IANA zone/],
    [{ ...order, csv: CSV, window: 'always' }, /window: 'always' is not a time window/],
    [{ ...order, csv: CSV, agent: 'other' }, /agent: there is no agent of that name; allowed: appointments/],
    [{ ...order, csv: CSV, from: UNLISTED }, /from: lacks facts that the agent reads/],
    [{ ...order, csv: CSV, voicemail: 'message' }, /has no outbound.amd.message/],
    [{ ...order, csv: CSV, atOnce: 0 }, /atOnce/],
    [7, /expected object/i],
  ] as const)
    await t.rejects(office.create(body), { code: 'CONFIG_INVALID', message })
  t.match(await office.create({ ...order, csv: 'name\nx\n' }), { faults: [/no column for the number/] })
  t.match(await office.create({ ...order, csv: 'number,a\n"x' }), { faults: [/is not CSV/] })
  t.match(await office.create({ ...order, csv: 'number,firstName,time\n' }), { faults: ['there is no row'] })
})

t.test('files of different spreadsheets are read as intended', async (t) => {
  const { office, order } = await officeOf(t)
  const faultsOf = async (csv: string) => (await office.create({ ...order, csv, dryRun: true })).faults
  const NO_NUMBER =
    'has a number that does not exist in its country; allowed: such as +254712345678 or 0712345678, with all its digits'
  for (const [what, csv, line] of [
    ['a decimal comma between semicolons', 'phone;firstName;time\n0712345678;Asha, K;1,5\n071;a;b', 3],
    ['quoted commas and trailing empty columns', 'phone,firstName,time,,\n0712345678,"a, b","1;2",,\n071,a,b,,', 3],
    [
      'a line break in quotes, and Windows line ends',
      'phone,firstName,time\r\n0712345678,"a\r\nb",c\r\n071,a,b\r\n',
      4,
    ],
    ['blank lines, and rows of empty cells', 'phone,firstName,time\n\n0712345678,a,b\n,,\n \n071,a,b\n\n,,\n', 6],
    ['the separator line of Excel', 'sep=;\r\nphone;firstName;time\r\n0712345678;a;b\r\n071;a;b', 4],
    [
      'tabs, old line ends, invisible marks in the header',
      '\ufeff\u200bphone\tfirstName\ttime\r0712345678\ta\tb\r071\ta\tb',
      3,
    ],
    ['a quoted header with commas', '"phone";"firstName";"time";"a, b, c, d"\n0712345678;a;b;c\n071;a;b;c', 3],
  ] as const)
    t.same(await faultsOf(csv), [`line ${line}: ${NO_NUMBER}`], what)
  t.same(await faultsOf('phone,firstName,time\n0712345678,a,1,5\n'), [
    'line 2: has a value in column 4, which has no name in line 1',
  ])
  t.match(await faultsOf('phone,firstName,time\n0712345678,\ufffd,b\n'), [/^line 2: has letters that were lost/])
  t.match(await faultsOf('p\0h\0o\0n\0e\0'), [/^line 1: is not text; allowed: CSV/])
})

t.test('an empty cell is reported with its column [11]', async (t) => {
  const { office, order, queue } = await officeOf(t)
  const csv = `phone,First Name,time,note
0712345678,null,09:30,#REF!
0712345679,#REF!,########,
0712345670,+254712345670,hakuna,
0712345671,Amina,1.23457E+11,
`
  const { faults } = await office.create({ ...order, csv, dryRun: true })
  t.match(faults, [
    /^line 2: has in firstName a word for no value/,
    /^line 3: has in firstName an error of the spreadsheet/,
    /^line 3: has in time ######/,
    /^line 4: has in firstName a number where a name belongs/,
    /^line 4: has in time a word for no value/,
    /^line 5: has in time a number that a spreadsheet has shortened/,
  ])
  t.equal(faults.length, 6)
  t.notMatch(faults.join('\n'), /712345670|hakuna/, 'without the words of the file')
  const unread = 'simu,firstName,time,note,due\n0712345678,Amina,09:30,#N/A,45987\n0712345679,Juma,10:30,x,2026-01-31\n'
  t.match(await office.create({ ...order, csv: unread }), { added: 2, faults: [] })
  const [row] = await queue.rows('clinic-reminders')
  t.same(row?.variables, { firstName: 'Amina', time: '09:30' }, 'columns that nothing reads are left out')
})

t.test('a number on the do-not-call list matches in any notation', async (t) => {
  const { office, order } = await officeOf(t)
  for (const number of ['254712345678.0', '\u202a0712 345 679\u202c'])
    t.equal(await office.doNotCall(number, true), true)
  await t.rejects(office.doNotCall('0712345678 (2)', true), {
    message: /number: is one that has something else beside it/,
  })
  await t.rejects(office.doNotCall('07123456789', true), {
    message: /number: is one that does not exist in its country/,
  })
  const csv = 'phone,firstName,time\n00254712345678,a,b\n712345679.0,c,d\n0712345670,e,f\n'
  t.match(await office.create({ ...order, csv }), {
    added: 3,
    campaign: { waiting: 1, results: { 'do-not-call': 2 } },
  })
})

t.test('a campaign is created, started, paused, stopped and reported', async (t) => {
  const { office, order, placed, pass, over, doNotCall, queue } = await officeOf(t)
  await doNotCall.add('+254700000102', 'operator', 0)
  t.match(await office.create({ ...order, csv: CSV, dryRun: true }), { added: 2, campaign: null })
  const { preview } = await office.create({ ...order, csv: CSV, dryRun: true })
  t.match(preview, [{ externalId: 'row-1', timeZone: null, says: 'Hello Wanjiru, your visit is at 09:30.' }, {}])
  t.match(preview[0]?.number, /^\+2547…01$/)
  const made = await office.create({ ...order, csv: CSV })
  t.match(made, {
    added: 2,
    campaign: { id: 'clinic-reminders', stands: 'draft', waiting: 1, results: { 'do-not-call': 1 } },
  })
  await pass(MINUTE)
  t.equal(placed.length, 0, 'a draft calls nobody')
  t.match(await office.create({ ...order, csv: CSV }), { added: 0 }, 'the same rows are there')
  const more = { ...order, csv: `${CSV}+254700000109;row-9;Another;10:30\n`, onlyNew: true }
  const isTaken = {
    campaign: null,
    added: 0,
    faults: ['name: there is a campaign of that name; allowed: another name'],
  }
  t.match(await office.create({ ...more, dryRun: true }), isTaken)
  t.match(await office.create(more), isTaken)
  t.match(await office.view('clinic-reminders'), { rows: 2 }, 'nothing was added')
  await t.rejects(office.create({ ...order, csv: CSV, atOnce: 3 }), { code: 'CALL_REFUSED', message: /other settings/ })
  await t.rejects(office.command('clinic-reminders', 'pause'), { message: /is draft; pause is allowed from: running/ })
  await t.rejects(office.view('other'), { code: 'CAMPAIGN_UNKNOWN' })
  t.match(await office.command('clinic-reminders', 'start'), { state: 'running' })
  await pass(10_000)
  t.match(placed, [{ to: '+254700000101', externalId: 'row-1', variables: { firstName: 'Wanjiru', time: '09:30' } }])
  t.match(await office.list(), [{ calling: 1 }])
  over(placed[0] as OutboundOrder, 'person')
  await until(async () => (await office.view('clinic-reminders')).stands === 'done', 2000, 'the end')
  t.match(
    await office.report('clinic-reminders'),
    /^number,id,state,result,.*\r\n\+254700000101,row-1,done,person,1,2026-11-27T07:0\d:.*,0,HD_row000000001,\r\n/,
  )
  t.match(await office.ofNumber('0700000101'), {
    rows: [{ campaign: 'clinic-reminders', to: '+254700000101', variables: { firstName: 'Wanjiru' } }],
    doNotCall: false,
  })
  t.match(await office.ofNumber('+254700000102'), { rows: [{ result: 'do-not-call' }], doNotCall: true })
  t.equal(await office.forget({ number: '0700000101' }), 1)
  const rows = await queue.rows('clinic-reminders')
  t.notMatch(JSON.stringify(rows), /700000101|Wanjiru|row-1/, 'an erased person is in no row')
  t.match(await office.command('clinic-reminders', 'stop'), { state: 'stopped' })
  await t.rejects(office.command('clinic-reminders', 'resume'), { code: 'CALL_REFUSED' })
})

t.test('an erasure also removes promised call backs', async (t) => {
  for (const target of [{ number: '0700000101' }, { number: '0700000102' }, { sid: 'HD_kept00000001' }]) {
    const { campaigns, queue, placed, pass, office } = await officeOf(t)
    const promise = (callSid: string, from: string, number: string) => {
      const callback = { asked: 'words' as const, number, note: 'a secret', at: new Date(FRIDAY_10).toISOString() }
      const history = {
        ...{ reason: '', strategy: 'callback' as const, outcome: 'answered' as const, attempts: [], callback },
      }
      const escalation = { history, packet: null, newsSent: { settled: 0, callbacks: 1 }, machine: null }
      const kept = keptCall({ callSid, agent: 'appointments', from, to: '+254700000000', escalation })
      return campaigns.promise(
        keptState(kept, { transcript: [{ role: 'caller', text: 'words', startMs: 0, endMs: 1 }] }),
        callback,
      )
    }
    await promise('HD_kept00000001', '+254700000101', '+254700000102')
    await promise('HD_kept00000002', '+254700000103', '+254700000103')
    if ('number' in target) t.match((await office.ofNumber(target.number)).rows, [{ id: 'back-HD_kept00000001' }])
    t.equal(await office.forget(target), 1)
    const [erased, other] = await queue.rows(CALL_BACKS)
    t.match(erased, { to: '', result: 'erased', recovers: null, variables: {} })
    t.match(other, { to: '+254700000103', result: null })
    await pass(HOUR)
    t.match(placed, [{ to: '+254700000103' }], 'nobody is called about what is erased')
  }
})

t.test('an erasure of the asker also covers finished call backs', async (t) => {
  const { queue, office } = await officeOf(t)
  const asked = { by: '254700000109', atMs: FRIDAY_10 }
  await queue.add(CALL_BACKS, [row(1, { campaign: CALL_BACKS, result: 'person', asked })])
  t.match((await office.ofNumber('0700000109')).rows, [{ id: 'r1' }])
  t.equal(await office.forget({ number: '0700000109' }), 1)
  t.match(await queue.rows(CALL_BACKS), [{ to: '', asked: null }])
})

/** Turns of rows at a queue, which end as a test says. */
async function heldTurns(queue: RowQueue, ids: readonly string[]) {
  const ends = new Map<string, (next: (row: Row) => Next) => void>()
  const stood = new Map<string, boolean>()
  const later: string[] = []
  await queue.serve('reminders-1', { atOnce: 10, perMinute: 6000 }, async (one, { save, stands }) => {
    if (one.tries.length > 0) {
      later.push(one.id)
      return { next: 'done', row: { ...one, result: one.result ?? 'person' } }
    }
    const begun = { label: one.id, atMs: 1, callSid: null, result: null, durationMs: 0, human: false }
    const calling = { ...one, tries: [begun] }
    await save(calling)
    const next = await new Promise<(row: Row) => Next>((resolve) => ends.set(one.id, resolve))
    stood.set(one.id, await stands())
    return next({ ...calling, tries: [{ ...begun, callSid: 'HD_called0000001', result: 'busy' }] })
  })
  await until(() => ids.every((id) => ends.has(id)), 10_000, 'the turns')
  const end = (id: string, next: (row: Row) => Next): void => ends.get(id)?.(next)
  return { end, stood, later }
}

/** In memory with its file, and two nodes at one Redis; `again` reads what is kept. */
async function eachQueue(t: Test) {
  const log = createLog({ level: 'silent' })
  const folder = await folderOf(t)
  const files = () => FileQueue.start({ folder, wallClock: Date.now, log })
  const file = await files()
  const one = { name: 'in files', queue: file, other: file as RowQueue, again: files as () => Promise<RowQueue> }
  if (!hasRedis(t)) return [one]
  const server = await startRedis()
  t.teardown(() => server.close())
  const address = parseRedisUrl(server.url)
  if (address === undefined) throw new Error('no address')
  const secrets = ['a-secret-of-the-tests-of-32-characters']
  const node = () => {
    const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets, log })
    t.teardown(() => queue.close(0))
    return queue
  }
  const [queue, other] = [node(), node()]
  return [one, { name: 'in Redis', queue, other, again: () => Promise.resolve(other) }]
}

t.test('rows of a newer version are kept but not called', async (t) => {
  const folder = await folderOf(t)
  const log = createLog({ level: 'silent' })
  const start = () => FileQueue.start({ folder, wallClock: Date.now, log })
  const first = await start()
  await first.add('reminders-1', [row(1), row(2)])
  await first.close(0)
  const file = join(folder, 'reminders-1.rows.jsonl')
  const newer = JSON.stringify({ ...row(2), tries: 'in another form' })
  // The last line was cut off by a death.
  await appendFile(file, `${newer}\n{"id":"r3","to"`)
  const queue = await start()
  t.match(await queue.counts('reminders-1'), { rows: 1 })
  t.equal(await queue.unread(), 1)
  t.equal(await queue.add('reminders-1', [row(2)]), 0, 'nor added again')
  await queue.change('reminders-1', (one) => ({ ...one, result: 'erased' }))
  await queue.close(0)
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n')
  t.equal(lines.length, 2)
  t.equal(lines[1], newer)
})

t.test('a row erased during its turn stays erased', async (t) => {
  for (const { name, queue, other, again } of await eachQueue(t)) {
    await queue.add('reminders-1', [row(1), row(2), row(3), row(4)])
    const { end, stood, later } = await heldTurns(queue, ['r1', 'r2', 'r3', 'r4'])
    t.match(await other.counts('reminders-1'), { rows: 4, waiting: 0, calling: 4, results: {} }, name)
    const erased = (one: Row): Row | null => (one.id === 'r4' ? null : { ...one, to: '', result: 'erased' })
    t.equal(await other.change('reminders-1', erased), 3, name)
    t.match(await other.counts('reminders-1'), { rows: 4, waiting: 0, calling: 4, results: { erased: 3 } }, 'at once')
    const nowMs = Date.now()
    end('r1', (one) => ({ next: 'done', row: { ...one, result: 'person' } }))
    end('r2', (one) => ({ next: 'later', row: one, atMs: nowMs }))
    end('r3', (one) => ({ next: 'hold', row: one, untilMs: nowMs }))
    end('r4', (one) => ({ next: 'done', row: { ...one, result: 'person' } }))
    await queue.close(2000)
    const kept = await again()
    const rows = [...(await kept.rows('reminders-1'))].sort((a, b) => a.id.localeCompare(b.id))
    const gone = { to: '', result: 'erased', tries: [{ callSid: null, result: null }] }
    t.match(rows, [gone, gone, gone, { to: row(4).to, result: 'person' }], name)
    t.match(await kept.counts('reminders-1'), { rows: 4, calling: 0, results: { erased: 3, person: 1 } }, name)
    t.same(
      [...stood].sort(),
      [
        ['r1', false],
        ['r2', false],
        ['r3', false],
        ['r4', true],
      ],
      'a turn can know it',
    )
    t.same(later, [], 'and they have no other turn')
  }
})

t.test('a person erased during their call is not called again', async (t) => {
  for (const result of ['person', 'busy'] as const) {
    const { campaigns, queue, placed, pass, over, office, news, folder } = await officeOf(t)
    await queue.add('reminders-1', [row(1), row(2, { dueMs: FRIDAY_10 + 20 * MINUTE })])
    await campaigns.keep(campaign({ rows: 2 }))
    await pass(10_000)
    t.equal(placed.length, 1)
    t.equal(await office.forget({ number: row(1).to }), 1)
    t.match(await office.view('reminders-1'), { calling: 1, waiting: 1, results: { erased: 1 }, stands: 'running' })
    over(placed[0] as OutboundOrder, result)
    await pass(HOUR)
    t.match(
      placed.map(({ to }) => to),
      [row(1).to, row(2).to],
      'only the other one is called',
    )
    over(placed[1] as OutboundOrder, 'person')
    await until(() => news.length === 1, 2000, 'the other row')
    t.match(news, [{ row: { id: 'r2' } }])
    t.match(await office.view('reminders-1'), { stands: 'done', results: { erased: 1, person: 1 } })
    await queue.written
    t.notMatch(await readFile(join(folder, 'campaigns', 'reminders-1.rows.jsonl'), 'utf8'), row(1).to)
    t.match(await queue.rows('reminders-1'), [{ to: '', result: 'erased' }, { result: 'person' }])
  }
})

t.test("a call's result survives a failover of Redis", async (t) => {
  const inRedis = (await eachQueue(t))[1]
  if (inRedis === undefined) return
  const { queue, other } = inRedis
  await other.add('reminders-1', [row(1)])
  const { redis, prefix } = other as RedisQueue
  const key = `${prefix}:reminders-1:r1`
  const before = (await redis.hget(key, 'data')) ?? ''
  const { end, stood } = await heldTurns(queue, ['r1'])
  await redis.hset(key, 'data', before)
  end('r1', (one) => ({ next: 'done', row: { ...one, result: 'person' } }))
  await queue.close(2000)
  t.ok(stood.get('r1'))
  t.match(await other.rows('reminders-1'), [{ result: 'person', tries: [{ callSid: 'HD_called0000001' }] }])
  t.match(await other.counts('reminders-1'), { results: { person: 1 } })
})

t.test('a person erased just before the call is not rung', async (t) => {
  const { campaigns, queue, placed, pass, office, doNotCall } = await officeOf(t)
  await queue.add('reminders-1', [row(1)])
  doNotCall.has = async () => {
    await office.forget({ number: row(1).to })
    return false
  }
  await campaigns.keep(campaign())
  await pass(HOUR)
  t.same(placed, [])
  t.match(await queue.rows('reminders-1'), [{ to: '', result: 'erased', tries: [] }])
})

t.test('an erasure finds a row whose turn begins during it', async (t) => {
  const inRedis = (await eachQueue(t))[1]
  if (inRedis === undefined) return
  const { queue, other } = inRedis
  await other.add('reminders-1', [row(1, { dueMs: Date.now() + 300 })])
  const { redis } = other as RedisQueue
  const send = redis.sendCommand.bind(redis) as (...args: unknown[]) => unknown
  const begun = heldTurns(queue, ['r1'])
  let sent = 0
  redis.sendCommand = ((...args: unknown[]) =>
    ++sent > 2 ? begun.then(() => send(...args)) : send(...args)) as typeof redis.sendCommand
  t.equal(await other.change('reminders-1', (one) => ({ ...one, to: '', result: 'erased' })), 1)
  const { end } = await begun
  end('r1', (one) => ({ next: 'later', row: one, atMs: Date.now() }))
  await queue.close(2000)
  t.match(await other.rows('reminders-1'), [{ to: '', result: 'erased' }])
})

t.test("a dead process's erased row is not ordered again", async (t) => {
  const folder = await folderOf(t)
  const carrier = new Carrier()
  const before = await desk(t, { folder, carrier })
  await before.queue.add('reminders-1', [row(1)])
  await before.campaigns.keep(campaign())
  await before.pass(10_000)
  t.equal(carrier.orders, 1)
  const after = await desk(t, { folder, carrier })
  await after.pass(2000)
  await after.queue.change('reminders-1', (one) => ({ ...one, to: '', result: 'erased' }))
  await after.pass(MINUTE)
  t.equal(carrier.orders, 1)
  t.match(await after.queue.rows('reminders-1'), [{ to: '', result: 'erased' }])
})

/** The disk takes nothing below a folder until the answer is called. */
async function full(folder: string): Promise<() => Promise<void>> {
  await rename(folder, `${folder}.away`)
  return () => rename(`${folder}.away`, folder)
}

t.test('results are kept once a full disk has space [8]', async (t) => {
  const folder = await folderOf(t)
  const { campaigns, queue, placed, pass, over } = await desk(t, { folder })
  await queue.add('reminders-1', [row(1), row(2), row(3)])
  await campaigns.keep(campaign({ atOnce: 2 }))
  await pass(5000)
  t.equal(placed.length, 2)
  const room = await full(join(folder, 'campaigns'))
  for (const order of placed) over(order, 'person')
  await pass(MINUTE)
  t.equal(placed.length, 2, 'nobody is called of whom nothing could be kept')
  await room()
  await pass(MINUTE)
  t.equal(placed.length, 3)
  t.equal(new Set(placed.map(({ to }) => to)).size, 3)
  const next = await desk(t, { folder })
  t.same(
    (await rowsOf(next.queue)).map(({ result, tries }) => [result, tries.length]),
    [
      ['person', 1],
      ['person', 1],
      [null, 1],
    ],
  )
})

t.test('a line cut off by a full disk damages none [10]', async (t) => {
  const folder = await folderOf(t)
  const { campaigns, queue, placed, doNotCall, pass } = await desk(t, { folder })
  await queue.add('reminders-1', [row(1)])
  const handle = await open(join(folder, 'campaigns/reminders-1.rows.jsonl'))
  await handle.close()
  const files = Object.getPrototypeOf(handle) as Pick<typeof handle, 'appendFile'>
  const room = files.appendFile
  files.appendFile = async function (this: typeof handle, text) {
    await room.call(this, String(text).slice(0, 30))
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  }
  await campaigns.keep(campaign())
  await pass(2000)
  await t.rejects(doNotCall.add('+254700000001', 'caller', 0), { code: 'ENOSPC' })
  files.appendFile = room
  await pass(MINUTE)
  await doNotCall.add('+254700000002', 'caller', 0)
  t.equal(placed.length, 1)
  const next = await desk(t, { folder })
  t.equal((await rowsOf(next.queue))[0]?.tries.length, 1)
  t.same(await Promise.all(['1', '2'].map((last) => next.doNotCall.has(`070000000${last}`))), [false, true])
})

t.test('a failed write is reported and can be repeated [9]', async (t) => {
  const folder = await folderOf(t)
  const { campaigns, queue, office } = await officeOf(t, { folder })
  await queue.add('reminders-1', [row(1), row(2)])
  await campaigns.keep(campaign({ state: 'paused' }))
  const room = await full(join(folder, 'campaigns'))
  await t.rejects(office.forget({ number: row(1).to }), { code: 'ENOENT' })
  await t.rejects(office.command('reminders-1', 'stop'), { code: 'ENOENT' })
  await t.rejects(queue.add('reminders-1', [row(3)]), { code: 'ENOENT' })
  t.match(await queue.campaigns(), [{ state: 'paused' }])
  await room()
  t.equal(await office.forget({ number: row(1).to }), 1)
  t.match(await office.command('reminders-1', 'stop'), { state: 'stopped' })
  t.equal(await queue.add('reminders-1', [row(3)]), 1)
  const next = await desk(t, { folder })
  t.same(await next.queue.rows('reminders-1'), await queue.rows('reminders-1'))
  t.match(await next.queue.campaigns(), [{ state: 'stopped' }])
  t.notMatch(await readFile(join(folder, 'campaigns/reminders-1.rows.jsonl'), 'utf8'), row(1).to)
})

t.test('the do-not-call list survives a restart and a truncated line', async (t) => {
  const path = join(await folderOf(t), 'list.jsonl')
  const list = await FileDoNotCall.open(path)
  await list.add('+254700000001', 'caller', 0)
  await list.add('+254700000002', 'operator', 0)
  t.equal(await list.remove('0700000002', 1), true)
  t.equal(await list.remove('0700000002', 1), false)
  await appendFile(path, '{"number":"2547000')
  const again = await FileDoNotCall.open(path)
  await again.add('+254700000003', 'caller', 2)
  const third = await FileDoNotCall.open(path)
  t.same(await Promise.all(['1', '2', '3'].map((last) => third.has(`070000000${last}`))), [true, false, true])
})

t.test("a node's copy of the do-not-call list is complete", async (t) => {
  const folder = await folderOf(t)
  const path = join(folder, 'node/list.jsonl')
  const entry = (n: number): KeptEntry => ({
    number: String(254700000000 + n),
    at: '2026-11-27T00:00:00.000Z',
    by: 'caller',
    removed: false,
  })
  const list = await FileDoNotCall.open(path)
  await list.follow([entry(1)], { list: 'one', version: 1 })
  const room = await full(join(folder, 'node'))
  await t.rejects(list.follow([entry(2)], { list: 'one', version: 2 }), { code: 'ENOENT' })
  await t.rejects(list.remove('+254700000001', 1), { code: 'ENOENT' })
  t.equal(await list.has('+254700000001'), true, 'it was not taken off')
  await room()
  await list.follow([entry(3)], { list: 'one', version: 3 })
  const again = await FileDoNotCall.open(path)
  t.same([...again.entries()], [entry(1), entry(2), entry(3)])
  t.same(again.synced, { list: 'one', version: 3 })
  const long = Array.from({ length: 130_000 }, (_, n) => entry(n))
  await t.resolves(FileDoNotCall.inMemory().follow(long, { list: 'one', version: 4 }))
})

t.test('a caller takes back only their own do-not-call entry', async (t) => {
  const path = join(await folderOf(t), 'list.jsonl')
  const list = await FileDoNotCall.open(path)
  await list.add('+254700000001', 'operator', 1000)
  await list.add('+254700000001', 'caller', 2000)
  t.equal(await list.takeBack('+254700000001', 2000, 3000), false, 'an operator had put it there before')
  await list.add('+254700000002', 'caller', 1000)
  await list.add('+254700000002', 'caller', 2000)
  t.equal(await list.takeBack('+254700000002', 2000, 3000), false, 'and so had an earlier call')
  await list.add('+254700000003', 'caller', 2000)
  t.equal(await list.takeBack('0700000003', 2000, 3000), true)
  t.equal(await list.takeBack('0700000003', 2000, 3000), false)
  await list.add('+254700000004', 'caller', 2000)
  await list.add('+254700000004', 'operator', 2000)
  t.equal(await list.takeBack('+254700000004', 2000, 3000), false, 'an operator has put it there meanwhile')
  const again = await FileDoNotCall.open(path)
  t.same(await Promise.all(['1', '2', '3', '4'].map((last) => again.has(`070000000${last}`))), [
    true,
    true,
    false,
    true,
  ])
})

t.test('do-not-call entries in other notations match', async (t) => {
  const path = join(await folderOf(t), 'list.jsonl')
  const written = ['0712345678', '+254 712 345 679', '712345670', '4512345678', '254712345671.0']
  const line = (number: string): string => `${JSON.stringify({ number, at: '2026-11-27T00:00:00Z', by: 'operator' })}\n`
  await appendFile(path, written.map(line).join(''))
  const list = await FileDoNotCall.open(path)
  for (const number of ['+254712345678', '+254712345679', '+254712345670', '+4512345678', '+254712345671'])
    t.equal(await list.has(number), true, number)
  t.equal(await list.remove('0712345678', 1), true)
})

const ids = (all: readonly Campaign[]): string[] => all.map(({ id }) => id).sort()

t.test('a row in an unsupported language is rejected', async (t) => {
  const { office, order } = await officeOf(t)
  const csv = 'phone,firstName,time,language\n0700000101,Wanjiru,09:30,sw\n0700000102,Otieno,09:30,fr\n'
  t.match(await office.create({ ...order, csv }), {
    faults: [/^line 2: has a language .*; allowed: en$/, /^line 3: has a language/],
  })
})

t.test('a finished campaign is deleted after its retention time', async (t) => {
  const { campaigns, queue, pass, time, office } = await officeOf(t)
  await queue.add('reminders-1', [row(1, { result: 'person' }), row(2, { result: 'busy' })])
  await campaigns.keep(campaign())
  t.match(await office.view('reminders-1'), { stands: 'done', waiting: 0, results: { person: 1, busy: 1 } })
  await campaigns.keep(campaign({ id: 'draft', state: 'draft' }))
  await campaigns.keep(campaign({ id: 'waits', state: 'paused' }))
  await queue.add('waits', [row(3, { campaign: 'waits' })])
  await queue.add(CALL_BACKS, [row(4, { campaign: CALL_BACKS, result: 'person' })])
  await t.rejects(office.remove('waits'), { message: /is paused; remove is allowed from: draft, stopped, done/ })
  await t.rejects(office.remove('nobody'), { code: 'CAMPAIGN_UNKNOWN' })
  await office.remove('draft')
  await pass(11 * MINUTE)
  t.type((await office.view('reminders-1')).endedAt, 'string', 'it is noticed that it is over')
  time.nowMs += 89 * 24 * HOUR
  await pass(11 * MINUTE)
  t.same(ids(await office.list()), ['reminders-1', 'waits'])
  time.nowMs += 24 * HOUR
  await pass(11 * MINUTE)
  t.same(ids(await office.list()), ['waits'], 'it is deleted, and what waits is not')
  t.same(await queue.rows('reminders-1'), [])
  t.same(await queue.rows(CALL_BACKS), [])
  t.equal((await queue.rows('waits')).length, 1)
})

t.test('commands that wait for an absent Redis are bounded', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const address = parseRedisUrl(server.url)
  if (address === undefined) throw new Error('no address')
  const refused: string[] = []
  const queue = new RedisQueue({
    ...{ address, prefix: 'mkondo:', secrets: ['token-secret-of-a-test'], log: createLog({ level: 'silent' }) },
    onRefused: () => void refused.push('one'),
  })
  t.teardown(() => queue.close(0))
  await until(() => succeeds(queue.reach()), 5000, 'Redis')
  await server.kill()
  await until(() => queue.redis.status !== 'ready', 5000, 'the end of the connection')
  const asked = Array.from({ length: 10_003 }, () => queue.redis.incr('asked'))
  const settled = Promise.allSettled(asked)
  await t.rejects(async () => void (await asked.at(-1)), {
    code: 'STORE_DOWN',
    message: /10000 commands wait for Redis already/,
  })
  t.equal(refused.length, 3)
  await server.restart()
  const answers = await settled
  t.equal(answers.filter(({ status }) => status === 'fulfilled').length, 10_000)
  t.equal(await queue.redis.get('asked'), '10000', 'there is room again')
})

t.test('rows are called after Sentinels got a new password', async (t) => {
  if (!hasRedis(t)) return
  const password = 'siri kuu'
  const master = await startRedis({ password })
  const sentinel = await startSentinel({ master })
  t.teardown(() => Promise.all([sentinel, master].map((server) => server.close())))
  const address = parseRedisUrl(sentinel.url)
  if (address === undefined) throw new Error('no address')
  const log = createLog({ level: 'silent' })
  const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets: ['token-secret-of-a-test'], log })
  t.teardown(() => queue.close(0))
  const called: string[] = []
  await queue.serve('reminders-1', { atOnce: 1, perMinute: 6000 }, (one) => {
    called.push(one.id)
    return Promise.resolve({ next: 'done', row: { ...one, result: 'person' } })
  })
  await queue.add('reminders-1', [row(1)])
  await until(() => called.includes('r1'), 10_000, 'a row to be called')
  await sentinel.command('ACL', 'SETUSER', 'default', 'resetpass', `>${password}`)
  await master.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await queue.add('reminders-1', [row(2)])
  await until(() => called.includes('r2'), 10_000, 'another row to be called')
})

t.test('the campaigns of a fleet are counted without being read', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const address = parseRedisUrl(server.url)
  if (address === undefined) throw new Error('no address')
  const log = createLog({ level: 'silent' })
  const secrets = ['a-secret-of-the-tests-of-32-characters']
  const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets, log })
  // Reads no row: it has another secret.
  const blind = new RedisQueue({
    address,
    prefix: 'mkondo:',
    secrets: ['another-secret-of-the-tests-of-32-chars'],
    log,
  })
  t.teardown(() => Promise.all([queue.close(2000), blind.close(2000)]))
  const office = new CampaignDesk({
    campaigns: { keep: (one) => queue.keep(one), remove: (id) => queue.remove(id) },
    queue: blind,
    doNotCall: new RedisDoNotCall(queue, { secrets }),
    agent: () => READER,
    agentNames: () => [READER.name],
    prefixes: [],
    wallClock: Date.now,
  })
  await until(() => succeeds(queue.reach()), 5000, 'Redis')
  await queue.keep(campaign())
  await queue.add('reminders-1', [row(1), row(2, { result: 'do-not-call' }), row(3), row(4)])
  t.match(await office.view('reminders-1'), { rows: 1, waiting: 3, calling: 0, results: { 'do-not-call': 1 } })
  await queue.serve('reminders-1', { atOnce: 5, perMinute: 6000 }, (one) =>
    Promise.resolve({ next: 'done', row: { ...one, result: one.result ?? 'person' } }),
  )
  await until(async () => (await office.view('reminders-1')).results.person === 3, 10_000, 'the rows')
  t.match(await office.view('reminders-1'), { stands: 'done', waiting: 0, results: { person: 3, 'do-not-call': 1 } })
  t.equal(await queue.change('reminders-1', (one) => (one.id === 'r1' ? { ...one, to: '' } : null)), 1)
  t.match((await office.view('reminders-1')).results, { person: 3 }, 'what is counted stays counted once')
  await office.remove('reminders-1')
  t.same(await office.list(), [])
  t.same(await queue.rows('reminders-1'), [])
  // BullMQ's own marks of the last turn, of at most 10 s, go by themselves.
  const left = async (): Promise<readonly unknown[]> => (await server.command('KEYS', '*reminders-1*')) as unknown[]
  await until(async () => (await left()).length === 0, 30_000, 'nothing of it is left')
  server.freeze()
  const asked = performance.now()
  await t.rejects(
    office.reached(() => office.list()),
    { code: 'STORE_DOWN', message: /does not answer/ },
  )
  t.ok(performance.now() - asked < 10_000)
  server.thaw()
  t.same(await office.reached(() => office.list()), [])
  const reading = office.reached(() => new Promise(() => undefined))
  server.freeze()
  await t.rejects(reading, { code: 'STORE_DOWN' }, 'also where it goes away in the middle of a request')
  server.thaw()
})

t.test('the human hears the note and connects with a key', async (t) => {
  const media = await openTextMedia(backendSettings(loadConfig({}, null)), {})
  t.teardown(() => media.close())
  const agent = agentSchema.parse({ ...AGENT, languages: ['en', 'sw'], callbacks: { humanFirst: true } })
  const definition = humanFirst(agentWith(agent, { note: 'The stock for Kitale.' }), '+254700000101')
  const hosted = { definition, facts: agentFacts(definition), shares: allCallsOn('embedded') }
  const call = (act: CallerAct, outcome: 'answered' | 'busy') =>
    runTextCall(media, {
      scenario: {
        agent: definition.name,
        from: '+254720000010',
        to: '+254700000000',
        placed: { variables: {} },
        script: {
          ...{ name: 'human', order: null, reactionMs: 300, patienceMs: 10_000, rules: [] },
          steps: [{ act, heard: [], interruptAfterMs: null }],
        },
        pace: 1,
        afterStream: 'reposts',
        human: { outcome, ringMs: 1000, talkMs: 1000, greeting: 'Hello?' },
        ...{ telephone: [], settle: [], slow: [], earlier: null, promisedIn: null },
        atWallMs: FRIDAY_10,
        timeoutMs: 60_000,
      },
      agents: new Map([[definition.name, hosted]]),
      businesses: new Map(),
      env: {},
      vocabulary: vocabularyOf(null),
      seed: 1,
      signal: null,
    })
  const taken = await call({ type: 'press', keys: '1' }, 'answered')
  t.match(taken.record?.transcript[0]?.text, /was promised a call back. The stock for Kitale. Shall I connect you/)
  t.match(taken.record?.escalation, { outcome: 'answered', attempts: [{ human: 1 }] })
  t.match((await call({ type: 'say', text: 'Yes.' }, 'busy')).record?.escalation, { outcome: 'busy' })
  const declined = await call({ type: 'say', text: 'Not now.' }, 'answered')
  t.equal(declined.record?.escalation, null)
  t.match(declined.record, { outbound: { result: /person|silence/ }, endReason: 'agent-goodbye' })
})

/** Nodes of a fleet that keep the do-not-call list, each with its copy below `folder`. */
async function listed(t: Test, url: string) {
  const address = parseRedisUrl(url)
  if (address === undefined) throw new Error('no Redis')
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-list-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const secrets = ['token-secret-of-a-test']
  return async (name: string) => {
    const queue = new RedisQueue({ address, prefix: 'mkondo:', secrets, log: createLog({ level: 'silent' }) })
    t.teardown(() => queue.close(0))
    const restored: number[] = []
    const copy = await FileDoNotCall.open(join(folder, `${name}.jsonl`))
    const list = new RedisDoNotCall(queue, { secrets, copy, onRestored: (entries) => restored.push(entries) })
    return { list, restored, queue }
  }
}

const [ASKED, OTHER, NOBODY] = ['+254700000001', '+254700000002', '+254700000003']

t.test('the do-not-call list survives an emptied Redis [1]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const node = await listed(t, server.url)
  const [one, two] = [await node('one'), await node('two')]
  await one.list.add(ASKED, 'caller', 1000)
  await one.list.add(OTHER, 'caller', 1000)
  t.ok(await two.list.has(ASKED))
  t.ok(await one.list.remove(OTHER, 2000))
  await one.list.add(NOBODY, 'caller', 3000)
  t.notOk(await two.list.takeBack(NOBODY, 2000, 4000), 'a wish of another time')
  t.ok(await two.list.takeBack(NOBODY, 3000, 4000), 'at any node')
  await two.list.add(ASKED, 'operator', 1000)
  await two.list.add(ASKED, 'caller', 1000)
  t.notOk(await one.list.takeBack(ASKED, 1000, 4000), 'an operator has put it there meanwhile')
  await Promise.all([one.list.look(), two.list.look()])
  await server.command('FLUSHALL')
  t.ok(await two.list.has(ASKED), 'a node that did not write it has it')
  t.notOk(await two.list.has(OTHER), 'and what was taken off again')
  t.notOk(await two.list.has(NOBODY))
  t.same(two.restored, [3], 'and says so')
  await server.command('FLUSHALL')
  const again = await node('one')
  t.ok(await again.list.has(ASKED), 'from the disk')
  t.same(again.restored, [3])
  await server.command('HDEL', '{mkondo:campaigns}:do-not-call', '!list')
  t.ok(await two.list.has(ASKED), 'a list that lost its mark is another one')
  t.same(
    (await two.list.list(10)).map(({ number }) => number),
    [ASKED.slice(1)],
  )
  t.ok(await (await node('three')).list.has(ASKED), 'a node whose disk is empty has it from Redis')
})

t.test("a single process's list becomes the list of its fleet", async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-list-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 'do-not-call.jsonl')
  await (await FileDoNotCall.open(path)).add(ASKED, 'caller', 1000)
  const { queue, list: other } = await (await listed(t, server.url))('other')
  const list = new RedisDoNotCall(queue, { secrets: ['token-secret-of-a-test'], copy: await FileDoNotCall.open(path) })
  await list.look()
  t.ok(await other.has(ASKED))
})

t.test('a removal that reaches Redis too late is not made', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { list, queue } = await (await listed(t, server.url))('one')
  await list.add(ASKED, 'caller', 1000)
  const evaluate = queue.redis.eval.bind(queue.redis) as (...args: unknown[]) => Promise<unknown>
  // As if its request had waited for an hour.
  queue.redis.eval = (...args: unknown[]) => {
    if (String(args[0]).includes("return 'late'")) args[4] = String(Number(args[4]) - 3_600_000)
    return evaluate(...args)
  }
  await t.rejects(list.remove(ASKED, 2000), { code: 'STORE_DOWN' })
  t.ok(await list.has(ASKED))
})

t.test('an emptied Redis shows its campaigns as lost [2]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const address = parseRedisUrl(server.url)
  if (address === undefined) throw new Error('no address')
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-seen-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const secrets = ['a-secret-of-the-tests-of-32-characters']
  const log = createLog({ level: 'silent' })
  const node = (name: string) => {
    const lost: LostRows[] = []
    const queue = new RedisQueue({
      ...{ address, prefix: 'mkondo:', secrets, log, seenFile: join(folder, `${name}.json`) },
      onLost: (one) => lost.push(one),
    })
    t.teardown(() => queue.close(0))
    const office = new CampaignDesk({
      campaigns: { keep: (one) => queue.keep(one), remove: (id) => queue.remove(id) },
      queue,
      doNotCall: FileDoNotCall.inMemory(),
      agent: () => READER,
      agentNames: () => [READER.name],
      prefixes: [],
      wallClock: Date.now,
    })
    return { queue, lost, office }
  }
  const [one, two] = [node('one'), node('two')]
  const order = {
    name: 'visits',
    agent: READER.name,
    from: '+254700000000',
    window: '09:00-18:00',
    timeZone: NAIROBI,
  }
  const csv = 'number,firstName,time\n+254712345678,Achieng,nine\n'
  await one.office.create({ ...order, csv })
  await one.office.command('visits', 'start')
  await one.queue.add(CALL_BACKS, [row(7, { campaign: CALL_BACKS })])
  t.match(await two.office.list(), [{ id: 'visits', stands: 'running', waiting: 1 }])
  await server.command('FLUSHALL')
  t.match(await two.office.list(), [
    { id: 'visits', stands: 'lost', why: 'Redis came back without its 1 rows', rows: 1 },
  ])
  t.match(two.lost, [{ campaigns: [{ id: 'visits' }], callBacks: 1 }])
  for (const asked of [
    () => one.office.create({ ...order, csv }),
    () => one.office.command('visits', 'resume'),
    () => one.office.command('visits', 'start'),
    () => one.office.report('visits'),
  ])
    await t.rejects(async () => void (await asked()), { code: 'CALL_REFUSED', message: /lost/ })
  t.equal((await one.queue.counts('visits')).rows, 0, 'nobody is called again')
  await one.office.remove('visits')
  t.same(await two.office.list(), [], 'one that was removed is not lost')
  await one.office.create({ ...order, name: 'more visits', csv })
  await server.command('FLUSHALL')
  const again = node('one')
  t.match(await again.office.list(), [{ id: 'more-visits', stands: 'lost' }], 'a node that was restarted knows it too')
  t.same(again.lost.length, 1)
})

t.test("another node's outcome is kept after the store returns", async (t) => {
  const store = new MemoryStore(() => FRIDAY_10)
  const once = store.once.bind(store)
  let asked = 0
  const kept: string[] = []
  store.once = async (key, value, ttlMs) => {
    if (++asked <= 3) throw new Error('the store is away')
    kept.push(value)
    return once(key, value, ttlMs)
  }
  const { pass, over } = await desk(t, { store })
  over({ agent: 'reminders', to: '+254712345678', clientRequestId: 'row-reminders-1-r0-1' }, 'busy')
  await pass(10_000)
  t.match(
    kept.map((value) => JSON.parse(value) as unknown),
    [{ result: 'busy' }],
  )
})
