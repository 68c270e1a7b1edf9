import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { recordAt } from '../../src/edge/ops/ops-fleet.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { messagesPart } from '../../src/gateway/parts/archive-parts.js'
import { newCallsPart } from '../../src/gateway/parts/service-parts.js'
import { LEFT_CALL_LOOKS_MAX, UnsettledCalls } from '../../src/gateway/unsettled-calls.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'
import { until } from '../support/until.js'

/** A live call has no end. */
const LIVE = { status: 200, body: {} }
const records = ['HD_elsewhere001', 'HD_here00000001', 'HD_lost00000001', 'HD_later0000001', 'HD_never0000001'].map(
  (callSid) => endedCall({ callSid, endReason: 'process-died', outcome: 'failed' }),
)

t.test('of a call that ended here and went on elsewhere, the record there is the only one', async (t) => {
  let waits = 0
  const left = new UnsettledCalls({
    earlier: [],
    isKept: true,
    isLive: (callSid) => callSid === 'HD_here00000001',
    recordOf: () => undefined,
    recordAt: (callSid) =>
      Promise.resolve(
        callSid === 'HD_elsewhere001' || (callSid === 'HD_later0000001' && waits > 2)
          ? 'elsewhere'
          : callSid === 'HD_lost00000001'
            ? 'nowhere'
            : 'unknown',
      ),
    log: createLog({ level: 'silent' }),
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
  t.equal(waits, LEFT_CALL_LOOKS_MAX - 1, 'what stays unknown counts as lost in the end')
})

t.test('a call ended here while another node had it: one record, whichever of the two makes it', async (t) => {
  const found = { HD_frozen000001: 'elsewhere', HD_frozen000002: 'nowhere' } as Record<string, 'elsewhere' | 'nowhere'>
  const [taken, late] = Object.keys(found).map((callSid) => endedCall({ callSid })) as [CallRecord, CallRecord]
  let asked = 0
  const left = new UnsettledCalls({
    earlier: [],
    isKept: true,
    isLive: () => false,
    // It has its own record, to which the carrier's is joined by now.
    recordOf: (callSid) => endedCall({ callSid, carrier: null }),
    recordAt: (callSid) => Promise.resolve(++asked === 2 ? 'unknown' : (found[callSid] ?? 'unknown')),
    log: createLog({ level: 'silent' }),
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

t.test("a lost call has one record beside its earlier run's", async (t) => {
  const [left] = records as [CallRecord]
  const unsettled = new UnsettledCalls({
    earlier: [left],
    isKept: true,
    isLive: () => false,
    // Of what a node that died later had kept, which was no more of the call than the earlier run has left.
    recordOf: () => ({ ...left }),
    recordAt: () => Promise.resolve('nowhere'),
    log: createLog({ level: 'silent' }),
  })
  const decided: boolean[] = []
  await unsettled.settle([left], (_record, _callSid, isRecord) => decided.push(isRecord))
  t.same(decided, [false])
})

t.test('a call whose caller another node may have is asked for there before it has a record here', async (t) => {
  const left = new UnsettledCalls({
    earlier: [],
    isKept: true,
    isLive: () => false,
    recordOf: () => undefined,
    recordAt: (callSid) => Promise.resolve(callSid === 'HD_elsewhere001' ? 'elsewhere' : 'nowhere'),
    log: createLog({ level: 'silent' }),
  })
  for (const [endReason, told] of [
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
  ] as const) {
    const record = (callSid: string): CallRecord => endedCall({ callSid, endReason })
    t.equal(await left.isOurs(record('HD_elsewhere001'), told), false, `${endReason} ${told}`)
    t.equal(await left.isOurs(record('HD_nowhere00001'), told), true, `${endReason} ${told}`)
  }
  t.equal(await left.isOurs(endedCall({ callSid: 'HD_elsewhere001', endReason: 'socket-lost' }), 'ok'), true)
})

t.test('a node that was just started does not know of the others before it has seen a heartbeat', async (t) => {
  const node = (clockAheadMs: number | null): FleetNode => {
    const store = { patient: { read: () => Promise.resolve({ phase: 'over' }) } }
    return { store, others: () => [], clockAheadMs } as unknown as FleetNode
  }
  const callSid = parseCallSid('HD_later0000001')
  t.equal(await recordAt(node(null), callSid, endedCall()), 'unknown')
  t.equal(await recordAt(node(0), callSid, endedCall()), 'nowhere')
  const joins = { ...node(null), clockAheadMs: null as number | null }
  const read = async (): Promise<object> => {
    await turnOfEventLoop()
    joins.clockAheadMs = 0
    return { phase: 'over' }
  }
  const joining = Object.assign(joins, { store: { patient: { read } } }) as unknown as FleetNode
  t.equal(await recordAt(joining, callSid, endedCall()), 'unknown', 'it saw one after it had asked')
})

t.test(
  'two nodes to which the stream never came, or which both lost it: one has the record, and a conversation counts more',
  async (t) => {
    const callSid = parseCallSid('HD_twice0000001')
    const at = (name: string, body: object, ours: CallRecord, entry: object | null = {}, isLeft = false) => {
      const leftAtWallMs = isLeft ? 0 : null
      const other = name === 'a' ? 'b' : 'a'
      const read = (): Promise<object | null> =>
        entry instanceof Error
          ? Promise.reject(entry)
          : Promise.resolve(entry && { phase: 'over', owner: { node: 'gone' }, ...entry })
      const node = {
        ...{ name, clockAheadMs: 0, store: { patient: { read } } },
        others: () => [{ name: other, incarnation: 'i' }],
        ask: () => Promise.resolve({ result: 'answered', answer: { status: 200, body } }),
      } as unknown as FleetNode
      return recordAt(node, callSid, ours, leftAtWallMs)
    }
    const empty = endedCall({ callSid, endReason: 'socket-never-came', durationMs: 0 })
    const talked = endedCall({ callSid })
    t.same(await Promise.all([at('a', empty, empty), at('b', empty, empty)]), ['nowhere', 'elsewhere'])
    const lost = endedCall({ callSid, endReason: 'socket-lost' })
    const part = { node: 'b', why: 'node-lost' as const, streamMs: 900, recording: null }
    const later = { ...lost, resumed: [part] }
    t.same(
      await Promise.all([at('a', lost, later), at('b', later, lost)]),
      ['nowhere', 'elsewhere'],
      'who had it later',
    )
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
    t.same(await Promise.all([at('a', empty, lost), at('b', lost, empty)]), ['nowhere', 'elsewhere'])
    t.same(await Promise.all([at('a', talked, empty), at('b', talked, empty)]), ['elsewhere', 'elsewhere'])
    const unanswered = endedCall({ callSid, endReason: 'not-taken', durationMs: 0 })
    t.equal(await at('a', talked, unanswered), 'elsewhere', 'a person whom this node has rung talked there')
    t.equal(await at('b', unanswered, talked), 'nowhere')
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
      'a node whose caller has hung up asks nobody',
    )
    t.equal(await at('b', empty, hungUp), 'nowhere', 'where it lost the call meanwhile, its record stays the one')
  },
)

t.test('files of before a call ended make no record of its death', async (t) => {
  const callSid = parseCallSid('HD_snapshot0001')
  const endedAtMs = Date.now() - 3_400_000
  const died = endedCall({ callSid, endReason: 'process-died', outcome: 'failed' })
  const at = (leftAtWallMs: number | null, entry: object, ours = died) => {
    const read = () => Promise.resolve({ phase: 'over', owner: { node: 'a', incarnation: 'before' }, ...entry })
    const node = {
      ...{ name: 'a', clockAheadMs: 0, store: { patient: { read } }, others: () => [] },
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

t.test('a call that one node has is elsewhere, whatever store and other nodes take to answer', async (t) => {
  const node = {
    ...{ name: 'a', clockAheadMs: 0, store: { patient: { read: () => new Promise(() => undefined) } } },
    others: () => ['b', 'c'].map((name) => ({ name, incarnation: 'i' })),
    ask: ({ node: asked }: { readonly node: string }) =>
      asked === 'b' ? new Promise(() => undefined) : Promise.resolve({ result: 'answered', answer: LIVE }),
  } as unknown as FleetNode
  const found: string[] = []
  void recordAt(node, parseCallSid('HD_silent000001'), endedCall()).then((where) => found.push(where))
  await turnOfEventLoop()
  t.same(found, ['elsewhere'])
})

t.test('calls that ended with their process are asked for several at a time, and a few at most', async (t) => {
  let [asked, most] = [0, 0]
  const left = new UnsettledCalls({
    earlier: [],
    isKept: true,
    isLive: () => false,
    recordOf: () => undefined,
    recordAt: async () => {
      most = Math.max(most, ++asked)
      await turnOfEventLoop()
      asked--
      return 'nowhere'
    },
    log: createLog({ level: 'silent' }),
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

t.test(
  'a gateway decides on calls while it drains; at its end it asks once more, and keeps the rest for the next start',
  async (t) => {
    for (const isKept of [true, false]) {
      let found: 'elsewhere' | 'nowhere' | 'unknown' = 'unknown'
      const wake: (() => void)[] = []
      const left = new UnsettledCalls({
        earlier: [],
        isKept,
        isLive: () => false,
        recordOf: () => undefined,
        recordAt: (callSid) => Promise.resolve(callSid === 'HD_silent000001' ? 'unknown' : found),
        log: createLog({ level: 'silent' }),
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
  },
)

t.test('a campaign learns at the next start how the call of a row went whose node died', async (t) => {
  const record = endedCall({ callSid: 'HD_row000000001', endReason: 'process-died' })
  const others = endedCall({ callSid: 'HD_row000000002', endReason: 'process-died' })
  const learnt: string[] = []
  const nothing = (): void => undefined
  const shared = {
    inputs: {},
    fleet: { node: { start: nothing } },
    kept: { left: [{ record }, { record: others }], ended: [], settleLeft: nothing },
    unsettledCalls: new UnsettledCalls({
      earlier: [record, others],
      isKept: true,
      isLive: () => false,
      recordOf: () => undefined,
      recordAt: (callSid) => Promise.resolve(callSid === others.callSid ? 'elsewhere' : 'nowhere'),
      log: createLog({ level: 'silent' }),
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

t.test('a process that ends decides on nothing more: the next start asks again', async (t) => {
  const left: UnsettledCalls = new UnsettledCalls({
    earlier: [],
    isKept: true,
    isLive: () => false,
    recordOf: () => undefined,
    recordAt: () => Promise.resolve('unknown'),
    log: createLog({ level: 'silent' }),
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
