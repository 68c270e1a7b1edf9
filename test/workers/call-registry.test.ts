import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { SOCKET_WAIT_MS } from '../../src/core/limits.js'
import { ASKS_WITHIN_MS } from '../../src/workers/after-stream-behaviour.js'
import { keptCall } from '../support/kept-call.js'
import { processClock } from '../../src/workers/ticker.js'
import { TestLine, sid, startHost, until } from '../support/host.js'

// Each test starts a registry with real workers.
t.setTimeout(60_000)

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

t.test('a call of a lost node that nobody goes on with gets one record, from what was kept', async (t) => {
  const test = await startHost({ speech: null })
  t.teardown(() => test.close())
  const kept = keptCall({ callSid: 'HD_lostnode0001', node: 'gw-9' })
  const entry = { role: 'caller' as const, text: 'where is it', startMs: 900, endMs: 1700 }
  const dropped = { transcript: 0, toolCalls: 0, turns: 0, bargeIns: 0, claims: 0 }
  const log = { transcript: [entry], toolCalls: [], turns: [], bargeIns: [], claims: [], dropped }
  for (let i = 0; i < 2; i++) test.host.enterLost({ kept, log, marks: [] })
  t.match(test.records, [{ endReason: 'process-died', outcome: 'failed', durationMs: 19_600, transcript: [entry] }])
  t.equal(test.records.length, 1)
  t.equal(test.records[0]?.resumed.length, 0)
  t.notMatch(JSON.stringify(test.records), /254700000001/)
  t.match(test.records[0]?.endDetail, /gw-9/)
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

t.test(
  'a carrier that has said nothing since a stream broke has 10 s to ask, one that has said something 3.5 s',
  async (t) => {
    const clock = processClock()
    let aheadMs = 0
    const test = await startHost({ clock: () => clock() + aheadMs })
    t.teardown(() => test.close())
    const [unheard, told] = [test.host.prepare(call('HD_breaks000001')), test.host.prepare(call('HD_breaks000002'))]
    const lines = [unheard, told].map((one) => new TestLine(one))
    for (const line of lines) line.start()
    await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
    for (const line of lines) {
      line.stop()
      line.call.detach(1006, { reason: 'socket-lost', detail: 'no close frame' })
    }
    told.carrierState('stream-stopped')
    aheadMs = ASKS_WITHIN_MS + 100
    t.match(await test.recordOf(told.callSid), { endReason: 'socket-lost' })
    t.equal(unheard.state, 'cut', 'its balancer may be away')
    aheadMs = 10_100
    t.match(await test.recordOf(unheard.callSid), { endReason: 'socket-lost' })
  },
)

t.test('a carrier that is known to hold callers in silence is given no more time for its not saying so', async (t) => {
  const clock = processClock()
  let aheadMs = 0
  const test = await startHost({ clock: () => clock() + aheadMs, afterStream: 'holds' })
  t.teardown(() => test.close())
  const held = test.host.prepare(call('HD_breaks000003'))
  const line = new TestLine(held)
  line.start()
  await until(() => line.frames.length > 0, 10_000, 'the greeting')
  line.stop()
  held.detach(1006, { reason: 'socket-lost', detail: 'no close frame' })
  aheadMs = ASKS_WITHIN_MS + 100
  t.match(await test.recordOf(held.callSid), { endReason: 'socket-lost' })
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

t.test(
  'at the limit of a drain calls move to another node, if the carrier is seen to ask after the first',
  async (t) => {
    const gone: string[] = []
    const test = await startHost({
      elsewhere: () => true,
      onGoneElsewhere: (callSid) => void gone.push(callSid),
    })
    t.teardown(() => test.close())
    const calls = ['HD_moves0000001', 'HD_moves0000002', 'HD_moves0000003'].map((sid) => test.host.prepare(call(sid)))
    const lines = calls.map((one) => new TestLine(one))
    for (const line of lines) line.start()
    await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
    const drained = test.host.drain(200)
    await until(() => calls[0]?.state === 'cut', 5000, 'the first call to be closed')
    t.same(
      lines.map(({ closedWith }) => closedWith),
      [1001, null, null],
      'one call shows what the carrier does',
    )
    test.host.afterStream(calls[0]?.callSid ?? '', 'asked')
    await until(() => calls.every(({ state }) => state === 'cut'), 5000, 'the others to be closed')
    t.equal(
      codeOf(() => test.host.prepare(call('HD_moves0000001'), calls[0]?.lostStream ?? null)),
      'DRAINING',
      'this node goes on with none of them',
    )
    for (const { callSid } of calls) test.host.giveUp(callSid, 'lost')
    await drained
    t.equal(test.records.length, 0, 'their records are made elsewhere')
    t.equal(gone.length, 3)
  },
)

t.test(
  'at the limit of a drain, and the carrier is seen to ask nothing: the other calls hear the goodbye',
  async (t) => {
    const clock = processClock()
    let aheadMs = 0
    const test = await startHost({ clock: () => clock() + aheadMs, elsewhere: () => true })
    t.teardown(() => test.close())
    const calls = ['HD_stays0000001', 'HD_stays0000002'].map((sid) => test.host.prepare(call(sid)))
    const lines = calls.map((one) => new TestLine(one))
    for (const line of lines) line.start()
    await until(() => lines.every(({ frames }) => frames.length > 0), 10_000, 'the greetings')
    const drained = test.host.drain(200)
    await until(() => calls[0]?.state === 'cut', 5000, 'the first call to be closed')
    aheadMs = ASKS_WITHIN_MS + 100
    await drained
    t.same(test.records.map(({ endReason }) => endReason).sort(), ['drain-limit', 'socket-lost'])
  },
)

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
