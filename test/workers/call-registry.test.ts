import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { SOCKET_WAIT_MS } from '../../src/core/limits.js'
import { ASKS_WITHIN_MS } from '../../src/workers/after-stream-behaviour.js'
import { processClock } from '../../src/workers/ticker.js'
import { TestLine, sid, startHost, until } from '../support/host.js'

const call = (callSid: string) => ({
  callSid: sid(callSid),
  agent: 'order-status',
  from: '+254700000001',
  to: '+254709000000',
  direction: 'inbound' as const,
})

const codeOf = (work: () => unknown): string => {
  try {
    work()
  } catch (thrown) {
    return thrown instanceof GatewayError ? thrown.code : String(thrown)
  }
  return 'accepted'
}

t.test('calls are taken up to the capacity, each once, and a slot is free again when its call has ended', async (t) => {
  const test = await startHost({ maxCalls: 2 })
  t.teardown(() => test.close())
  const first = test.host.prepare(call('HD_slots0000001'))
  t.equal(test.host.free, 1)
  t.equal(
    codeOf(() => test.host.prepare(call('HD_slots0000001'))),
    'DUPLICATE_CALL',
  )
  t.equal(
    codeOf(() => test.host.prepare({ ...call('HD_slots0000009'), agent: 'nobody' })),
    'AGENT_UNKNOWN',
  )
  test.host.prepare(call('HD_slots0000002'))
  t.equal(
    codeOf(() => test.host.prepare(call('HD_slots0000003'))),
    'CAPACITY',
  )
  const line = new TestLine(first)
  t.equal(
    codeOf(() => first.attach(line)),
    'DUPLICATE_CALL',
    'never a second socket',
  )
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  line.stop()
  first.detach(1006)
  const record = await test.recordOf(first.callSid)
  t.equal(record.endReason, 'caller-hung-up')
  t.equal(test.host.free, 1)
  t.equal(
    codeOf(() => test.host.prepare(call('HD_slots0000001'))),
    'DUPLICATE_CALL',
    'an ended call is not opened again',
  )
  t.equal(record.from, '+2547…01', 'numbers are masked in the record')
  t.notMatch(JSON.stringify(record), /254700000001/)
})

t.test('a call whose socket never comes gives its slot back', async (t) => {
  let aheadMs = 0
  const clock = processClock()
  const test = await startHost({ clock: () => clock() + aheadMs })
  t.teardown(() => test.close())
  const waiting = test.host.prepare(call('HD_waits0000001'))
  aheadMs = SOCKET_WAIT_MS + 100
  const record = await test.recordOf(waiting.callSid)
  t.equal(record.endReason, 'socket-never-came')
  t.equal(record.outcome, 'failed')
  t.equal(test.host.free, test.host.capacity)
})

t.test('a stream that the carrier could not open may be offered again; who is asked nothing ends', async (t) => {
  let aheadMs = 0
  const clock = processClock()
  const test = await startHost({ clock: () => clock() + aheadMs })
  t.teardown(() => test.close())
  const [asked, silent] = [test.host.prepare(call('HD_offer0000001')), test.host.prepare(call('HD_offer0000002'))]
  for (const one of [asked, silent]) {
    one.document = '<Response/>'
    one.carrierState('stream-error')
  }
  asked.document = '<Response/>'
  aheadMs = ASKS_WITHIN_MS + 100
  t.match(await test.recordOf(silent.callSid), { endReason: 'stream-error', outcome: 'failed' })
  t.match(asked, { state: 'waiting', streamOffers: 2 })
  const marks = asked.timeline().timeline.map(({ name }) => name)
  t.ok(marks.includes('stream-offered-again'))
})

t.test('a drain lets calls finish, says goodbye at its limit and takes none meanwhile', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const live = test.host.prepare(call('HD_drain0000001'))
  const line = new TestLine(live)
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  const drained = test.host.drain(200)
  t.equal(
    codeOf(() => test.host.prepare(call('HD_drain0000002'))),
    'DRAINING',
  )
  await drained
  t.equal((await test.recordOf(live.callSid)).endReason, 'drain-limit')
  t.equal(line.closedWith, 1001)
})

t.test('twenty calls come and go without leaving a slot, a task or a ring behind', async (t) => {
  const test = await startHost({ maxCalls: 20 })
  t.teardown(() => test.close())
  const lines = Array.from(
    { length: 20 },
    (_, i) => new TestLine(test.host.prepare(call(`HD_many000000${String(i).padStart(2, '0')}`))),
  )
  for (const line of lines) line.start()
  await until(() => lines.every((line) => line.frames.length > 0), 20_000, 'all greetings')
  for (const line of lines) {
    line.stop()
    line.call.detach(1000)
  }
  await Promise.all(lines.map((line) => test.recordOf(line.call.callSid)))
  t.equal(test.host.free, 20)
  t.equal([...test.host.live()].length, 0)
})
