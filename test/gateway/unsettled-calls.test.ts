import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { recordAt, withDecision } from '../../src/edge/ops/ops-fleet.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { LeftRecords } from '../../src/fleet/left-records.js'
import { messagesPart } from '../../src/gateway/parts/archive-parts.js'
import { newCallsPart } from '../../src/gateway/parts/service-parts.js'
import { LEFT_CALL_LOOKS_MAX, UnsettledCalls } from '../../src/gateway/unsettled-calls.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'
import { until } from '../support/until.js'

type UnsettledCallsOptions = ConstructorParameters<typeof UnsettledCalls>[0]

/** Of a node that has no call, and keeps what it has not decided. */
function unsettledCalls(
  given: Pick<UnsettledCallsOptions, 'recordAt'> & Partial<UnsettledCallsOptions>,
): UnsettledCalls {
  return new UnsettledCalls({
    earlier: [],
    onElsewhere: () => undefined,
    isKept: true,
    isLive: () => false,
    recordOf: () => undefined,
    log: createLog({ level: 'silent' }),
    ...given,
  })
}

/** A live call has no end. */
const LIVE = { status: 200, body: {} }
const records = ['HD_elsewhere001', 'HD_here00000001', 'HD_lost00000001', 'HD_later0000001', 'HD_never0000001'].map(
  (callSid) => endedCall({ callSid, endReason: 'process-died', outcome: 'failed' }),
)

t.test("a call that continued elsewhere has only that node's record [10]", async (t) => {
  let waits = 0
  const elsewhere: string[] = []
  const left = unsettledCalls({
    onElsewhere: (callSid) => elsewhere.push(callSid),
    isLive: (callSid) => callSid === 'HD_here00000001',
    recordAt: (callSid) =>
      Promise.resolve(
        callSid === 'HD_elsewhere001' || (callSid === 'HD_later0000001' && waits > 2)
          ? 'elsewhere'
          : callSid === 'HD_lost00000001'
            ? 'nowhere'
            : 'unknown',
      ),
    sleep: () => Promise.resolve(void waits++),
  })
  const decided = new Map<string, boolean>()
  await left.settle(records, (_, callSid, isRecord) => {
    t.notOk(decided.has(callSid), 'once')
    decided.set(callSid, isRecord)
  })
  t.same(Object.fromEntries(decided), {
    HD_elsewhere001: false,
    HD_here00000001: false,
    HD_lost00000001: true,
    HD_later0000001: false,
    HD_never0000001: true,
  })
  t.same(elsewhere, ['HD_elsewhere001', 'HD_later0000001'], 'not one that is live here')
  t.equal(waits, LEFT_CALL_LOOKS_MAX - 1, 'what stays unknown counts as lost in the end')
})

t.test('a call taken over before its end has one record [4]', async (t) => {
  const found = { HD_frozen000001: 'elsewhere', HD_frozen000002: 'nowhere' } as Record<string, 'elsewhere' | 'nowhere'>
  const [taken, late] = Object.keys(found).map((callSid) => endedCall({ callSid })) as [CallRecord, CallRecord]
  let asked = 0
  const left = unsettledCalls({
    // It has its own record, to which the carrier's is joined by now.
    recordOf: (callSid) => endedCall({ callSid, carrier: null }),
    recordAt: (callSid) => Promise.resolve(++asked === 2 ? 'unknown' : (found[callSid] ?? 'unknown')),
    sleep: () => Promise.resolve(),
  })
  t.equal(await left.isOurs(taken, 'lost'), false)
  t.equal(await left.isOurs(late, 'lost'), true, 'also when the others answer late')
  t.equal(asked, 3)
  t.equal(
    await left.isOurs(taken, 'unknown'),
    true,
    'where nobody can have gone on with it, the store is not waited for',
  )
})

t.test("a lost call keeps its earlier run's record [8]", async (t) => {
  const [left] = records as [CallRecord]
  const unsettled = unsettledCalls({
    earlier: [left],
    // Of what a node that died later had kept, which was no more of the call than the earlier run has left.
    recordOf: () => ({ ...left }),
    recordAt: () => Promise.resolve('nowhere'),
  })
  const decided: boolean[] = []
  await unsettled.settle([left], (_record, _callSid, isRecord) => decided.push(isRecord))
  t.same(decided, [false])
})

t.test('another possible owner is asked before a record is written [2]', async (t) => {
  const left = unsettledCalls({
    recordAt: (callSid) => Promise.resolve(callSid === 'HD_elsewhere001' ? 'elsewhere' : 'nowhere'),
  })
  for (const [endReason, told, durationMs = 30_000] of [
    // Its document was asked for twice, and the carrier got the other node's.
    ['socket-never-came', 'ok'],
    ['socket-never-came', 'unknown'],
    // It was left for the others to go on with, and the store has not learned that nobody did in time.
    ['socket-lost', 'unknown'],
    // An earlier run had placed it, and who took that one over has the person on the line.
    ['not-taken', 'in-doubt'],
    ['not-taken', 'unknown'],
    ['not-taken', 'lost'],
    // Another node may have taken it while this one stood still.
    ['caller-hung-up', 'in-doubt'],
    // Both nodes answered its webhook, and both learned from the carrier that the caller hung up.
    ['caller-hung-up', 'ok', 0],
  ] as const) {
    const record = (callSid: string): CallRecord => endedCall({ callSid, endReason, durationMs })
    t.equal(await left.isOurs(record('HD_elsewhere001'), told), false, `${endReason} ${told}`)
    t.equal(await left.isOurs(record('HD_nowhere00001'), told), true, `${endReason} ${told}`)
  }
  t.equal(await left.isOurs(endedCall({ callSid: 'HD_elsewhere001', endReason: 'socket-lost' }), 'ok'), true)
})

t.test('a newly started node waits for a heartbeat before deciding', async (t) => {
  const node = (clockAheadMs: number | null): FleetNode => {
    const store = { patient: { read: () => Promise.resolve({ phase: 'over', owner: { node: 'gone' } }) } }
    return { store, others: () => [], clockAheadMs, leftRecords: new LeftRecords('a') } as unknown as FleetNode
  }
  const callSid = parseCallSid('HD_later0000001')
  t.equal(await recordAt(node(null), callSid, endedCall()), 'unknown')
  t.equal(await recordAt(node(0), callSid, endedCall()), 'nowhere')
  const joins = { ...node(null), clockAheadMs: null as number | null }
  const read = async (): Promise<object> => {
    await turnOfEventLoop()
    joins.clockAheadMs = 0
    return { phase: 'over', owner: { node: 'gone' } }
  }
  const joining = Object.assign(joins, { store: { patient: { read } } }) as unknown as FleetNode
  t.equal(await recordAt(joining, callSid, endedCall()), 'unknown', 'it saw one after it had asked')
})

t.test('one of two nodes without a stream keeps the record [3]', async (t) => {
  const callSid = parseCallSid('HD_twice0000001')
  const at = (
    name: string,
    body: object,
    ours: CallRecord,
    entry: object | null = {},
    isLeft = false,
    isLast = false,
  ) => {
    const leftAtWallMs = isLeft ? 0 : null
    const other = name === 'a' ? 'b' : 'a'
    const read = (): Promise<object | null> =>
      entry instanceof Error
        ? Promise.reject(entry)
        : Promise.resolve(entry && { phase: 'over', owner: { node: 'gone' }, ...entry })
    const node = {
      ...{ name, clockAheadMs: 0, store: { patient: { read } }, leftRecords: new LeftRecords(name) },
      others: () => [{ name: other, incarnation: 'i' }],
      ask: () => Promise.resolve({ result: 'answered', answer: { status: 200, body } }),
    } as unknown as FleetNode
    return recordAt(node, callSid, ours, leftAtWallMs, isLast)
  }
  const empty = endedCall({ callSid, endReason: 'socket-never-came', durationMs: 0 })
  const talked = endedCall({ callSid })
  t.same(await Promise.all([at('a', empty, empty), at('b', empty, empty)]), ['nowhere', 'elsewhere'])
  const lost = endedCall({ callSid, endReason: 'socket-lost' })
  const part = { node: 'b', why: 'node-lost' as const, streamMs: 900, recording: null }
  const later = { ...lost, resumed: [part] }
  t.same(await Promise.all([at('a', lost, later), at('b', later, lost)]), ['nowhere', 'elsewhere'], 'who had it later')
  t.same(await Promise.all([at('a', later, lost), at('b', lost, later)]), ['elsewhere', 'nowhere'])
  t.same(await Promise.all([at('a', lost, lost), at('b', lost, lost)]), ['nowhere', 'elsewhere'])
  const owner = { node: 'b' }
  t.same(
    await Promise.all([at('a', lost, lost, { owner }), at('b', lost, lost, { owner })]),
    ['elsewhere', 'nowhere'],
    'or whose it is in the store',
  )
  t.same(
    await Promise.all([at('a', lost, talked, { owner }), at('b', talked, lost, { owner })]),
    ['elsewhere', 'nowhere'],
    'also where it ended in words at a node that did not know that it was taken over',
  )
  t.equal(await at('b', talked, lost, new Error('away')), 'unknown', 'the store does not answer: it is asked again')
  t.equal(await at('a', talked, talked, null), 'nowhere', 'both are alike, and the store knows of neither')
  t.equal(
    await at('a', talked, talked, null, true),
    'elsewhere',
    'left by an earlier run, and long decided by the others',
  )
  const left = { endReason: lost.endReason, resumed: [], isLeft: true }
  for (const entry of [null, {}])
    t.same(
      await Promise.all([at('a', left, lost, entry, true), at('b', left, lost, entry, true)]),
      ['nowhere', 'elsewhere'],
      'an earlier run of each has left it, and both have started together',
    )
  t.same(
    await Promise.all([at('a', left, lost, { owner }, true), at('b', left, lost, { owner }, true)]),
    ['elsewhere', 'nowhere'],
    'and the store knows whose it was',
  )
  t.same(
    await Promise.all([at('a', left, lost, null), at('b', lost, lost, null, true)]),
    ['nowhere', 'elsewhere'],
    'only one has left it, and the store knows of it no more',
  )
  const died = endedCall({ callSid, endReason: 'process-died', outcome: 'failed' })
  t.same(
    await Promise.all([at('a', talked, died, { owner: { node: 'a' } }), at('b', { ...died, isLeft: true }, talked)]),
    ['elsewhere', 'nowhere'],
    'of what a dead node had kept, also where that is whose it is in the store: the other has seen its end',
  )
  t.equal(await at('b', died, talked), 'elsewhere', 'it has been decided already, and is told')
  t.equal(await at('b', { ...died, asks: true }, talked), 'unknown', 'it is being decided')
  t.equal(await at('b', { ...died, asks: true }, talked, {}, false, true), 'nowhere', 'and no other look follows')
  t.same(
    await Promise.all([at('a', talked, { ...died, resumed: [part] }), at('b', { ...died, resumed: [part] }, talked)]),
    ['nowhere', 'elsewhere'],
    'unless it has more of the call',
  )
  t.same(await Promise.all([at('a', empty, lost), at('b', lost, empty)]), ['nowhere', 'elsewhere'])
  t.same(await Promise.all([at('a', talked, empty), at('b', talked, empty)]), ['elsewhere', 'elsewhere'])
  const unanswered = endedCall({ callSid, endReason: 'not-taken', durationMs: 0 })
  t.equal(await at('a', talked, unanswered), 'elsewhere', 'a person whom this node has rung talked there')
  t.equal(await at('b', unanswered, talked), 'nowhere')
  t.same(
    await Promise.all([at('a', unanswered, talked, { owner }, true), at('b', talked, unanswered, { owner })]),
    ['elsewhere', 'nowhere'],
    'whoever ended it in the store has a record of it, also where that of a repeated order stands over it',
  )
  t.same(
    await Promise.all([at('a', unanswered, empty, { owner }), at('b', empty, unanswered, { owner })]),
    ['elsewhere', 'nowhere'],
    'it was rung there, and no stream came here',
  )
  t.same(
    await Promise.all([at('a', talked, unanswered, new Error('away')), at('b', unanswered, talked, new Error('away'))]),
    ['elsewhere', 'unknown'],
    'the store does not answer: who talked has the record',
  )
  t.same(await Promise.all([at('a', empty, talked), at('b', empty, talked)]), ['nowhere', 'nowhere'])
  const { outcome: _, endReason: __, ...live } = empty
  t.same(
    await Promise.all([at('a', live, empty), at('b', live, talked)]),
    ['elsewhere', 'elsewhere'],
    'it is live there',
  )
  const refused = endedCall({ callSid, outcome: 'refused', durationMs: 0 })
  t.equal(await at('a', refused, empty), 'elsewhere', 'its caller heard words there')
  const hungUp = endedCall({ callSid, endReason: 'caller-hung-up', durationMs: 0 })
  t.same(
    await Promise.all([at('a', hungUp, empty), at('b', hungUp, empty)]),
    ['elsewhere', 'elsewhere'],
    'a node whose caller has hung up knows more',
  )
  t.same(
    await Promise.all([at('a', talked, hungUp), at('b', talked, hungUp)]),
    ['elsewhere', 'elsewhere'],
    'the conversation counts, not a caller who hung up before a stream came',
  )
  t.same(await Promise.all([at('a', hungUp, talked), at('b', hungUp, talked)]), ['nowhere', 'nowhere'])
  t.same(await Promise.all([at('a', hungUp, hungUp), at('b', hungUp, hungUp)]), ['nowhere', 'elsewhere'])
  t.equal(await at('b', empty, hungUp), 'nowhere', 'where it lost the call meanwhile, its record stays the one')
})

/**
 * Two nodes that each have a record of one call, and decide on it at once.
 * @param late  turns after which the second one ends its call, of which the first does not hear from it before
 * @returns the names of those that keep theirs
 */
async function decided(
  ends: Readonly<Record<'a' | 'b', CallRecord['endReason']>>,
  owner: string | null,
  reads: Readonly<Record<'a' | 'b', number>>,
  late: number | null = null,
): Promise<readonly string[]> {
  const callSid = parseCallSid('HD_one0000000001')
  const has = { a: true, b: true }
  const turns = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) await turnOfEventLoop()
  }
  const nodes = {} as Record<'a' | 'b', FleetNode>
  for (const name of ['a', 'b'] as const) {
    const other = name === 'a' ? 'b' : 'a'
    const reading = (most: number) => async (): Promise<object | null> => {
      if (reads[name] > most) throw new Error('away')
      await turns(reads[name])
      return owner === null ? null : { phase: 'over', owner: { node: owner } }
    }
    const store = { read: reading(0), patient: { read: reading(1000) } }
    nodes[name] = {
      ...{ name, clockAheadMs: 0, leftRecords: new LeftRecords(name), store },
      others: () => [{ name: other, incarnation: 'i' }],
      ask: async (_node: object, _name: string, request: { readonly callSid: string; readonly leaves: boolean }) => {
        await turns(name === 'a' ? 1 : 4)
        if (late !== null && name === 'a') return turns(10).then(() => ({ result: 'silent', reason: 'timeout' }))
        const record = endedCall({ callSid, endReason: ends[other] })
        const body = has[other] ? await withDecision(nodes[other], request, name, record) : {}
        await turnOfEventLoop()
        return { result: 'answered', answer: { status: has[other] ? 200 : 404, body } }
      },
    } as unknown as FleetNode
  }
  const deciding = (['a', 'b'] as const).map(async (name) => {
    const unsettled = unsettledCalls({
      recordAt: (sid, ours, isLast) => recordAt(nodes[name], sid, ours, null, isLast),
      // Longer than an answer is waited for.
      sleep: () => turns(late === null ? 2 : 20),
    })
    if (late !== null && name === 'b') await turns(late)
    has[name] = await unsettled.isOurs(endedCall({ callSid, endReason: ends[name] }), 'lost')
  })
  await Promise.all(deciding)
  return (['a', 'b'] as const).filter((name) => has[name])
}

t.test("a dead node's record is looked for elsewhere once [6]", async (t) => {
  for (const found of ['elsewhere', 'unknown'] as const) {
    let asked = 0
    const unsettled = unsettledCalls({
      recordAt: (_callSid, _ours, isLast) => {
        asked++
        t.ok(isLast)
        return Promise.resolve(found)
      },
    })
    const lost = endedCall({ callSid: 'HD_lost00000001', endReason: 'process-died', outcome: 'failed' })
    t.equal(await unsettled.isOurs(lost, 'ok'), found === 'unknown')
    t.equal(asked, 1, 'nobody waits for a node that is gone')
  }
})

t.test('one node keeps the record in any order of reads [5]', async (t) => {
  const ends = ['socket-never-came', 'not-taken', 'socket-lost'] as const
  for (const a of ends)
    for (const b of ends)
      for (const owner of ['a', 'b', 'gone', null])
        for (const readsA of [0, 1, 2, 3, Infinity])
          for (const readsB of [0, 1, 2, 3, Infinity]) {
            const kept = await decided({ a, b }, owner, { a: readsA, b: readsB })
            if (kept.length !== 1)
              t.fail(`a ${a}, b ${b}, of ${owner}, read after ${readsA} and ${readsB}: kept by ${kept.join(' and ')}`)
          }
  t.same(
    await decided({ a: 'process-died', b: 'caller-hung-up' }, 'a', { a: 0, b: Infinity }),
    ['b'],
    'of what a dead node had kept there is none beside that of a node which has seen the end',
  )
  for (const late of [0, 1, 2, 5, 8, 11, 20, 40])
    for (const reads of [
      { a: 0, b: 0 },
      { a: 0, b: 2 },
      { a: 0, b: Infinity },
      { a: Infinity, b: 0 },
    ])
      t.same(
        await decided({ a: 'process-died', b: 'caller-hung-up' }, 'a', reads, late),
        ['a'],
        `of a node that was not there while the other decided there is none, also where it comes back after ${late} turns`,
      )
  t.same(
    await decided({ a: 'socket-lost', b: 'not-taken' }, 'b', { a: 0, b: Infinity }),
    ['b'],
    'whoever cannot read the store goes by what the other has read',
  )
})

t.test('two nodes that leave each other a record keep one [7]', async (t) => {
  const [a, b] = [new LeftRecords('a'), new LeftRecords('b')]
  const both = [
    a.leave('HD_1', 'b', () => turnOfEventLoop().then(() => b.keeps('HD_1', 'a'))),
    b.leave('HD_1', 'a', () => turnOfEventLoop().then(() => a.keeps('HD_1', 'b'))),
  ]
  t.same(await Promise.all(both), [false, true])
  t.ok(a.isKeptFor('HD_1', 'b'))
  t.equal(await b.leave('HD_2', 'a', () => Promise.resolve(a.keeps('HD_2', 'b'))), true, 'to one that does not')
  const late = a.leave('HD_3', 'b', async () => {
    const answer = b.keeps('HD_3', 'a')
    t.equal(await b.leave('HD_3', 'a', () => Promise.resolve(a.keeps('HD_3', 'b'))), false, 'its answer is on its way')
    return answer
  })
  t.equal(await late, true)
})

t.test('outdated files record no process death for an ended call [1]', async (t) => {
  const callSid = parseCallSid('HD_snapshot0001')
  const endedAtMs = Date.now() - 3_400_000
  const died = endedCall({ callSid, endReason: 'process-died', outcome: 'failed' })
  const at = (leftAtWallMs: number | null, entry: object, ours = died) => {
    const read = () => Promise.resolve({ phase: 'over', owner: { node: 'a', incarnation: 'before' }, ...entry })
    const node = {
      ...{ name: 'a', clockAheadMs: 0, store: { patient: { read } }, others: () => [] },
      leftRecords: new LeftRecords('a'),
      isThisRun: ({ incarnation }: { readonly incarnation: string }) => incarnation === 'now',
    } as unknown as FleetNode
    return recordAt(node, callSid, ours, leftAtWallMs)
  }
  const over = { overAtMs: endedAtMs }
  t.equal(await at(endedAtMs - 200_000, over), 'elsewhere', 'it has gone on, and was over later')
  t.equal(await at(endedAtMs - 2000, over), 'nowhere', 'its process died as it ended')
  t.equal(await at(endedAtMs - 200_000, {}), 'nowhere', 'an older node does not say when it was over')
  t.equal(await at(endedAtMs - 200_000, { ...over, owner: { node: 'a', incarnation: 'now' } }), 'nowhere', 'only now')
  t.equal(await at(endedAtMs - 200_000, over, endedCall({ callSid })), 'nowhere', 'its record has its end')
  t.equal(await at(null, over), 'nowhere', 'a call of this run')
})

t.test('an answer from one node is enough for "elsewhere"', async (t) => {
  const node = {
    ...{ name: 'a', clockAheadMs: 0, leftRecords: new LeftRecords('a') },
    store: { patient: { read: () => new Promise(() => undefined) } },
    others: () => ['b', 'c'].map((name) => ({ name, incarnation: 'i' })),
    ask: ({ node: asked }: { readonly node: string }) =>
      asked === 'b' ? new Promise(() => undefined) : Promise.resolve({ result: 'answered', answer: LIVE }),
  } as unknown as FleetNode
  const found: string[] = []
  void recordAt(node, parseCallSid('HD_silent000001'), endedCall()).then((where) => found.push(where))
  await turnOfEventLoop()
  t.same(found, ['elsewhere'])
})

t.test("a dead process's calls are checked eight at once", async (t) => {
  let [asked, most] = [0, 0]
  const left = unsettledCalls({
    recordAt: async () => {
      most = Math.max(most, ++asked)
      await turnOfEventLoop()
      asked--
      return 'nowhere'
    },
  })
  const decided: string[] = []
  const many = Array.from({ length: 20 }, (_, n) => endedCall({ callSid: `HD_many0000000${n}` }))
  await left.settle(many, (_, callSid) => decided.push(callSid))
  t.equal(most, 8)
  t.same(
    decided,
    many.map(({ callSid }) => callSid),
  )
})

t.test('a gateway decides on calls while it drains [9]', async (t) => {
  for (const isKept of [true, false]) {
    let found: 'elsewhere' | 'nowhere' | 'unknown' = 'unknown'
    const wake: (() => void)[] = []
    const left = unsettledCalls({
      isKept,
      recordAt: (callSid) => Promise.resolve(callSid === 'HD_silent000001' ? 'unknown' : found),
      sleep: (_ms, signal) =>
        new Promise((resolve) => {
          wake.push(resolve)
          signal.addEventListener('abort', () => resolve())
        }),
    })
    const shared = {
      unsettledCalls: left,
      inputs: {},
      fleet: { node: {} },
      wallet: null,
      outbound: { close: () => undefined },
      kept: { closeMessages: () => undefined },
    } as unknown as Parameters<typeof newCallsPart>[0] & Parameters<typeof messagesPart>[0]
    const ours = new Map<string, boolean>()
    const ends = (callSid: string): void => {
      const record = endedCall({ callSid, endReason: 'socket-lost' })
      void left.isOurs(record, 'unknown').then((isOurs) => ours.set(callSid, isOurs))
    }
    await newCallsPart(shared).stop({ drainTimeoutMs: 0, byCommand: false })
    ends('HD_drains000001')
    await until(() => wake.length === 1, 10_000, 'the next look')
    found = 'nowhere'
    wake[0]?.()
    await until(() => ours.size === 1, 10_000, 'the decision while calls are live')
    found = 'unknown'
    ends('HD_moved0000001')
    ends('HD_silent000001')
    await until(() => wake.length === 3, 10_000, 'the next looks')
    found = 'elsewhere'
    await messagesPart(shared).stop({ drainTimeoutMs: 0, byCommand: false })
    const last = isKept ? {} : { HD_silent000001: true }
    await until(() => ours.size === (isKept ? 2 : 3), 10_000, 'the decisions at the end')
    await turnOfEventLoop()
    t.same(Object.fromEntries(ours), { HD_drains000001: true, HD_moved0000001: false, ...last })
  }
})

t.test("a campaign learns the result of a dead node's call", async (t) => {
  const record = endedCall({ callSid: 'HD_row000000001', endReason: 'process-died' })
  const others = endedCall({ callSid: 'HD_row000000002', endReason: 'process-died' })
  const learnt: string[] = []
  const nothing = (): void => undefined
  const shared = {
    inputs: {},
    fleet: { node: { start: nothing } },
    kept: { left: [{ record }, { record: others }], ended: [], settleLeft: nothing },
    unsettledCalls: unsettledCalls({
      earlier: [record, others],
      recordAt: (callSid) => Promise.resolve(callSid === others.callSid ? 'elsewhere' : 'nowhere'),
    }),
    calls: { addRecoveredCall: nothing },
    costs: { count: nothing },
    analyses: { takeLeft: () => Promise.resolve(), look: nothing },
    details: null,
    placing: { campaigns: { look: nothing, ended: ({ callSid }: CallRecord) => void learnt.push(callSid) } },
    wallet: null,
    metrics: { countOne: nothing, start: nothing, render: nothing },
  } as unknown as Parameters<typeof newCallsPart>[0]
  await newCallsPart(shared).start()
  await until(() => learnt.length > 0, 10_000, 'the campaign')
  await turnOfEventLoop()
  t.same(learnt, [record.callSid], 'and of a call that another node has from that node')
})

t.test('a process that ends leaves decisions to the next start', async (t) => {
  const left: UnsettledCalls = unsettledCalls({
    recordAt: () => Promise.resolve('unknown'),
    sleep: () => Promise.resolve(left.close()),
  })
  await left.settle(records, () => t.fail('decided'))
  const neverCame = endedCall({ callSid: 'HD_never0000001', endReason: 'socket-never-came' })
  t.equal(
    await left.isOurs(neverCame, 'ok'),
    true,
    'where the store has taken its end, the next start may be a long way off',
  )
})
