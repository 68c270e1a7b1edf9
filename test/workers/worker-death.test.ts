import t from 'tap'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'
import type { TestHost } from '../support/host.js'

// Calls are spoken in real time.
t.setTimeout(200_000)

/** The call goes on alone after the first death, on a worker beside the others. */
const terminateAll = (test: TestHost): Promise<unknown> =>
  Promise.all(test.host.threads.map((thread) => thread.terminate()))

t.test('a media worker is terminated in mid-call: the socket stays open and the conversation goes on', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const [where, yes] = await Promise.all([callerSays('Where is my order?'), callerSays('No, thank you. Goodbye.')])
  const call = test.host.prepare({
    callSid: sid('HD_death0000001'),
    agent: 'order-status',
    from: '+254700000001',
    to: '+254709000000',
    direction: 'inbound',
  })
  const line = new TestLine(call)
  line.start()
  t.teardown(() => line.stop())
  await line.agentQuiet(700)
  line.say(where)
  const before = line.frames.length
  await until(() => line.frames.length > before + 10, 10_000, 'the answer to begin')

  // In the middle of the answer: what lies in the ring must play on, then another worker goes on.
  const killedAtMs = performance.now()
  await test.host.threads[0]?.terminate()
  await until(() => line.soundSince(killedAtMs + 200), 20_000, 'speech after the death')
  await line.agentQuiet(900)
  t.equal(line.closedWith, null, 'the carrier never noticed')
  t.equal(call.view().rehomes, 1)
  line.say(yes)
  // People say it again when nothing follows: on a busy machine a gap in the answer passes for its end.
  const again = setInterval(() => line.say(yes), 10_000)
  t.teardown(() => clearInterval(again))
  const record = await test.recordOf(call.callSid)
  t.equal(line.closedWith, 1000)
  t.equal(record.rehomes, 1)
  t.equal(record.outcome, 'contained')
  t.equal(record.endReason, 'agent-goodbye')
  t.equal(record.toolCalls.filter((tool) => tool.name === 'lookup_order').length >= 1, true)
  const said = record.transcript
    .filter((entry) => entry.role === 'agent')
    .map((entry) => entry.text)
    .join(' ')
  t.match(said, /out for delivery/i)
  const greetings = record.transcript.filter(
    (entry) => entry.role === 'agent' && /welcome|hello|thank you for calling/i.test(entry.text),
  )
  t.ok(greetings.length <= 2, 'the caller is not greeted again')
})

t.test('a call that loses its worker twice ends with words and a human, not with silence', async (t) => {
  const test = await startHost()
  t.teardown(() => test.close())
  const call = test.host.prepare({
    callSid: sid('HD_death0000002'),
    agent: 'order-status',
    from: '+254700000001',
    to: '+254709000000',
    direction: 'inbound',
  })
  const line = new TestLine(call)
  line.start()
  t.teardown(() => line.stop())
  await line.agentQuiet(300)
  await terminateAll(test)
  await until(
    () => call.timeline().timeline.some(({ name }) => name === 'taken-over'),
    20_000,
    'another worker to go on',
  )
  t.equal(call.view().rehomes, 1)
  await terminateAll(test)
  await until(() => line.closedWith !== null, 20_000, 'the socket to close')
  t.equal(line.closedWith, 1011)
  const verbs = call.continuation('after-stream').map((action) => action.verb)
  t.same(verbs, ['say', 'dial', 'hangup'])
  const record = await test.recordOf(call.callSid)
  t.equal(record.outcome, 'failed')
  t.equal(record.endReason, 'call-fault')
  t.match(record.endDetail, /its media worker ended/)
})
