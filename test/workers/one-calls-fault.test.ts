import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { agentFacts } from '../../src/gateway/hosted-agents.js'
import { TestLine, orderStatusAgent, sid, startHost, until } from '../support/host.js'

t.setTimeout(150_000)

t.test('a call that throws in the tick, in a timer or in a promise fails alone', async (t) => {
  const definition = await orderStatusAgent()
  const backend = `module:${new URL('./poison-backend.js', import.meta.url).href}`
  const test = await startHost({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn(backend) }]]),
  })
  t.teardown(() => test.close())
  const lineOf = (callSid: string): TestLine => {
    const line = new TestLine(
      test.host.prepare({
        callSid: sid(callSid),
        agent: 'order-status',
        from: '+254700000001',
        to: '+254709000000',
        direction: 'inbound',
      }),
    )
    line.start()
    return line
  }
  const fine = lineOf('HD_fine')
  await until(() => fine.frames.length > 20, 10_000, 'the bystander to hear its agent')
  const [before] = test.host.threads
  const poisonous = ['tick', 'timer', 'promise', 'refuse'].map((mistake) => lineOf(`HD_${mistake}`))
  await until(() => poisonous.every((line) => line.closedWith !== null), 20_000, 'the poisonous calls to end')

  for (const line of poisonous) {
    const record = await test.recordOf(line.call.callSid)
    t.match(
      record,
      { outcome: 'failed', endReason: 'call-fault', rehomes: 1 },
      `${line.call.callSid} was tried once more and then ended`,
    )
    t.equal(line.closedWith, 1011)
  }
  t.equal(test.host.threads[0], before, 'the worker lives')
  t.equal(fine.closedWith, null)
  t.equal(fine.call.view().rehomes, 0)
  const gaps = fine.frames.slice(10).map((frame, i) => frame.atMs - (fine.frames[i + 9]?.atMs ?? frame.atMs))
  t.ok(
    // A call that moves has a gap of seconds; this thread, which notes the times, may be late too.
    Math.max(...gaps) < 1000,
    `the bystander heard no gap (longest between two frames ${Math.round(Math.max(...gaps))} ms)`,
  )
  fine.call.hangup('operator-hangup', 'the test is over', false)
  t.equal((await test.recordOf(fine.call.callSid)).endReason, 'operator-hangup')

  const unwilling = lineOf('HD_close')
  await until(() => unwilling.frames.length > 5, 10_000, 'the call to begin whose backend will not close')
  unwilling.call.hangup('operator-hangup', 'the test is over', false)
  t.match(
    await test.recordOf(unwilling.call.callSid),
    { endReason: 'operator-hangup', rehomes: 0 },
    'a backend that does not close in order holds no call up',
  )
})
