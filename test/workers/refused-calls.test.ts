import t from 'tap'
import type { Test } from 'tap'
import type { Handoff } from '../../src/call/documents/handoff.js'
import { CALL_REFUSALS, callRecordSchema } from '../../src/call/documents/record.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { ENDED_CALLS_KEPT } from '../../src/core/limits.js'
import type { CallRegistryOptions } from '../../src/workers/call-registry.js'
import type { RefusedCall } from '../../src/workers/live-call.js'
import { handoffSchema } from '../../src/call/documents/handoff.js'
import { sid, startHost } from '../support/host.js'
import { endedCall } from '../support/record.js'

// Each test starts a registry with a real worker.
t.setTimeout(60_000)

let made = 0
const refusal = (changes: Partial<RefusedCall> = {}): RefusedCall => ({
  callSid: sid(`HD_refused${String(made++).padStart(6, '0')}`),
  agent: 'order-status',
  from: '+254700000001',
  to: '+254709000000',
  reason: 'agent-capacity',
  why: 'all 3 calls of the agent are live',
  ...changes,
})
const from = (caller: number): string => `+2547${String(caller).padStart(8, '0')}`

/** A registry whose clock can be moved, and what it has kept. */
async function registry(t: Test, changes: Partial<CallRegistryOptions> = {}) {
  const kept: (readonly [CallRecord, Handoff | null])[] = []
  const time = { laterMs: 0 }
  const test = await startHost({
    speech: null,
    clock: () => performance.now() + time.laterMs,
    onRefused: (record, handoff) => kept.push([record, handoff]),
    ...changes,
  })
  t.teardown(() => test.close())
  const { host, metrics, records } = test
  const metric = async (name: string): Promise<string[]> =>
    (await metrics.render()).split('\n').filter((line) => line.startsWith(`mkondo_${name}`))
  return { host, kept, records, time, metric }
}

t.test('a refused call leaves one record with its reason, and the whole number for whoever calls back', async (t) => {
  const { host, kept, records, metric } = await registry(t)
  for (const [index, reason] of CALL_REFUSALS.entries()) {
    const call = refusal({ reason, from: from(index), why: `because of ${reason}` })
    host.refused(call)
    host.refused(call)
    const record = host.record(call.callSid)
    t.match(
      callRecordSchema.parse(record),
      { outcome: 'refused', endReason: reason, endDetail: `because of ${reason}`, direction: 'inbound', durationMs: 0 },
      reason,
    )
    t.match(record?.from, /^\+2547…\d\d$/, 'masked as in every record')
    t.match(handoffSchema.parse(host.handoff(call.callSid)), { from: from(index), reason: `refused: ${reason}` })
  }
  t.same(
    kept.map(([record]) => record),
    host.ended(),
    'each is stored once',
  )
  t.equal(records.length, 0, 'none of them is an ended call')
  t.notMatch(await metric('calls_total'), [/refused/])
  t.notMatch(await metric('call_ends_total'), [/agent-capacity/])

  const withheld = refusal({ from: '', agent: null, reason: 'agent-unknown' })
  host.refused(withheld)
  t.match(host.record(withheld.callSid), { from: '', agent: 'none' })
  t.equal(host.handoff(withheld.callSid), undefined, 'nobody can be called back')

  t.ok(host.forget(kept[0]?.[0].callSid as never))
  t.equal(host.handoff(String(kept[0]?.[0].callSid)), undefined)
})

t.test('a call that is live or has ended is not refused too; whole numbers where records have them', async (t) => {
  const { host, kept } = await registry(t, { privacy: { maskNumbers: false, transcript: 'full' } })
  const { callSid } = host.prepare({ ...refusal(), agent: 'order-status', direction: 'inbound' })
  host.refused(refusal({ callSid }))
  t.equal(kept.length, 0)
  host.refused(refusal({ from: from(2) }))
  t.match(kept, [[{ from: from(2) }]])
})

t.test('neither one caller nor all of them fill the disk with records, and what has none is counted', async (t) => {
  const { host, kept, time, metric } = await registry(t)
  for (let index = 0; index < 1000; index++)
    host.refused(refusal({ from: index % 2 === 0 ? '+254700000001' : '00254700000001' }))
  t.equal(kept.length, 3)
  t.same(await metric('refused_records_dropped_total'), ['mkondo_refused_records_dropped_total 997'])
  time.laterMs += 20 * 60_000
  host.refused(refusal())
  t.equal(kept.length, 4, 'another one after 20 minutes')

  for (let caller = 100; caller < 1000; caller++) host.refused(refusal({ from: from(caller) }))
  t.ok(kept.length >= 120 && kept.length < 300, `${kept.length}: those of a minute, and what came back meanwhile`)
})

t.test('refused calls do not drive the records of others out of memory', async (t) => {
  const { host, time } = await registry(t)
  host.enterLeft(endedCall({ callSid: 'HD_ended00000001' }))
  const first = refusal({ from: '+254700999999' })
  host.refused(first)
  for (let caller = 0; caller < ENDED_CALLS_KEPT; caller++) {
    time.laterMs += 500
    host.refused(refusal({ from: from(caller) }))
  }
  t.equal(host.ended().length, 1 + ENDED_CALLS_KEPT / 2)
  t.ok(host.record('HD_ended00000001'))
  t.equal(host.record(first.callSid), undefined, 'the oldest refused ones leave first')
  t.equal(host.handoff(first.callSid), undefined)
})
