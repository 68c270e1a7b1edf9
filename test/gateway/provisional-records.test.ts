import t from 'tap'
import type { RecordPlace } from '../../src/edge/ops/ops-fleet.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { LeftRecords } from '../../src/fleet/left-records.js'
import { ProvisionalRecords } from '../../src/gateway/provisional-records.js'
import { createLog } from '../../src/telemetry/log.js'
import { endedCall } from '../support/record.js'

t.test('a record without its end is dropped when a node that was away shows the end [1]', async (t) => {
  const others: { name: string; incarnation: string; seen: string }[] = []
  const node = { others: () => others, leftRecords: new LeftRecords('a') } as unknown as FleetNode
  const asked: string[] = []
  const dropped: string[] = []
  let place: RecordPlace = 'nowhere'
  const provisional = new ProvisionalRecords({
    node,
    recordAt: (callSid) => {
      asked.push(callSid)
      return Promise.resolve(place)
    },
    drop: (callSid) => Promise.resolve(void dropped.push(callSid)),
    log: createLog({ level: 'silent' }),
  })
  const callSid = 'HD_died00000001'
  provisional.add(endedCall({ callSid, endReason: 'process-died' }))
  provisional.add(endedCall({ callSid: 'HD_whole0000001' }))
  t.same([node.leftRecords.yields(callSid), node.leftRecords.yields('HD_whole0000001')], [true, false])
  await provisional.look()
  t.same(asked, [], 'there is nobody to ask')

  others.push({ name: 'b', incarnation: 'b1', seen: 'gone' })
  await provisional.look()
  t.same(asked, [], 'nor is one that is gone')
  others[0] = { name: 'b', incarnation: 'b1', seen: 'alive' }
  await provisional.look()
  await provisional.look()
  t.equal(asked.length, 1, 'each run once')

  place = 'unknown'
  others[0] = { name: 'b', incarnation: 'b2', seen: 'alive' }
  for (let look = 0; look < 20; look++) await provisional.look()
  t.equal(asked.length, 13, 'a run that does not answer is asked again, a minute long')

  place = 'elsewhere'
  await provisional.look()
  t.same(dropped, [])
  others.push({ name: 'c', incarnation: 'c1', seen: 'alive' })
  await provisional.look()
  t.same([dropped, provisional.replaced, node.leftRecords.yields(callSid)], [[callSid], 1, false])
})

t.test('after a fault the next look asks again', async (t) => {
  const others = [{ name: 'b', incarnation: 'b1', seen: 'alive' }]
  const node = { others: () => others, leftRecords: new LeftRecords('a') } as unknown as FleetNode
  const faults = new Set(['recordAt', 'drop'])
  const dropped: string[] = []
  const once = (callSid: string, name: string): void => {
    if (callSid === 'HD_died00000001' && faults.delete(name)) throw new Error('the disk is full')
  }
  const provisional = new ProvisionalRecords({
    node,
    recordAt: async (callSid) => {
      once(callSid, 'recordAt')
      return 'elsewhere'
    },
    drop: async (callSid) => {
      once(callSid, 'drop')
      dropped.push(callSid)
    },
    log: createLog({ level: 'silent' }),
  })
  for (const callSid of ['HD_died00000001', 'HD_died00000002'])
    provisional.add(endedCall({ callSid, endReason: 'process-died' }))
  await provisional.look()
  t.same(dropped, ['HD_died00000002'], 'a fault of one record does not concern others')
  await provisional.look()
  await provisional.look()
  t.same([dropped, provisional.replaced], [['HD_died00000002', 'HD_died00000001'], 2])
})

t.test('the number of watched records has a bound', (t) => {
  const node = { others: () => [], leftRecords: new LeftRecords('a') } as unknown as FleetNode
  const options = { node, recordAt: () => Promise.reject(new Error()), drop: () => Promise.reject(new Error()) }
  const provisional = new ProvisionalRecords({ ...options, log: createLog({ level: 'silent' }) })
  for (let i = 0; i <= 1000; i++)
    provisional.add(endedCall({ callSid: `HD_${String(i).padStart(12, '0')}`, endReason: 'process-died' }))
  t.same(
    [0, 1].map((i) => node.leftRecords.yields(`HD_${String(i).padStart(12, '0')}`)),
    [false, true],
  )
  t.end()
})
