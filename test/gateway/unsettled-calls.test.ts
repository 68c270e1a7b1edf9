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
    isHere: (callSid) => callSid === 'HD_here00000001',
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
  const left = new UnsettledCalls({
    earlier: [],
    // As in the gateway: its own record does not decide.
    isHere: (_, record) => record !== taken && record !== late,
    recordAt: (callSid) => Promise.resolve(found[callSid] ?? 'unknown'),
    log: createLog({ level: 'silent' }),
  })
  t.equal(await left.isOurs(taken), false)
  t.equal(await left.isOurs(late), true)
})

t.test('a node that was just started does not know of the others before it has seen a heartbeat', async (t) => {
  const node = (clockAheadMs: number | null): FleetNode => {
    const store = { read: () => Promise.resolve({ phase: 'over' }) }
    return { store, others: () => [], clockAheadMs } as unknown as FleetNode
  }
  const callSid = parseCallSid('HD_later0000001')
  t.equal(await recordAt(node(null), callSid), 'unknown')
  t.equal(await recordAt(node(0), callSid), 'nowhere')
})

t.test('a process that ends decides on nothing more: the next start asks again', async (t) => {
  const left: UnsettledCalls = new UnsettledCalls({
    earlier: [],
    isHere: () => false,
    recordAt: () => Promise.resolve('unknown'),
    log: createLog({ level: 'silent' }),
    sleep: () => Promise.resolve(left.close()),
  })
  await left.settle(records, () => t.fail('decided'))
  t.end()
})
