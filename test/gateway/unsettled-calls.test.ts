import t from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { recordAt } from '../../src/edge/ops-fleet.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { LEFT_CALL_LOOKS_MAX, UnsettledCalls } from '../../src/gateway/unsettled-calls.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'

const records = ['HD_elsewhere001', 'HD_here00000001', 'HD_lost00000001', 'HD_later0000001', 'HD_never0000001'].map(
  (callSid) => endedCall({ callSid, endReason: 'process-died', outcome: 'failed' }),
)

t.test('of a call that ended here and went on elsewhere, the record there is the only one', async (t) => {
  let waits = 0
  const left = new UnsettledCalls({
    earlier: [],
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

t.test('a call whose caller another node may have is asked for there before it has a record here', async (t) => {
  const left = new UnsettledCalls({
    earlier: [],
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
  t.equal(await recordAt(node(null), callSid, { durationMs: 1 }), 'unknown')
  t.equal(await recordAt(node(0), callSid, { durationMs: 1 }), 'nowhere')
})

t.test(
  'two nodes have a call that nobody has talked in: one of them has its record, and a conversation counts more',
  async (t) => {
    const callSid = parseCallSid('HD_twice0000001')
    const at = (name: string, body: object, ours: CallRecord) => {
      const other = name === 'a' ? 'b' : 'a'
      const node = {
        ...{ name, clockAheadMs: 0, store: { patient: { read: () => Promise.resolve({ phase: 'over' }) } } },
        others: () => [{ name: other, incarnation: 'i' }],
        ask: () => Promise.resolve({ result: 'answered', answer: { status: 200, body } }),
      } as unknown as FleetNode
      return recordAt(node, callSid, ours)
    }
    const empty = endedCall({ callSid, endReason: 'socket-never-came', durationMs: 0 })
    const talked = endedCall({ callSid })
    t.same(await Promise.all([at('a', empty, empty), at('b', empty, empty)]), ['nowhere', 'elsewhere'])
    t.same(await Promise.all([at('a', talked, empty), at('b', talked, empty)]), ['elsewhere', 'elsewhere'])
    t.same(await Promise.all([at('a', empty, talked), at('b', empty, talked)]), ['nowhere', 'nowhere'])
    const { outcome: _, endReason: __, ...live } = empty
    t.same(
      await Promise.all([at('a', live, empty), at('b', live, talked)]),
      ['elsewhere', 'elsewhere'],
      'it is live there',
    )
    const refused = endedCall({ callSid, outcome: 'refused', durationMs: 0 })
    t.equal(await at('a', refused, empty), 'elsewhere', 'its caller heard words there')
  },
)

t.test('a process that ends decides on nothing more: the next start asks again', async (t) => {
  const left: UnsettledCalls = new UnsettledCalls({
    earlier: [],
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
