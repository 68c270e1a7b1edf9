import t from 'tap'
import { HOLD_SENTENCE } from '../../src/simulator/caller-script.js'
import { TestLine, callerSays, sid, startHost, until } from '../support/host.js'

// A call of three quarters of a minute, in real time.
t.setTimeout(300_000)

const RATE_HZ = 16_000
const HOLD_MS = 30_000
const samplesIn = (ms: number): number => (RATE_HZ * ms) / 1000

t.test(
  'a caller who puts the agent on hold and comes back is served; the agent asks once, and nobody is rung',
  async (t) => {
    const test = await startHost()
    t.teardown(() => test.close())
    const announcer = await callerSays(HOLD_SENTENCE)
    const back = await callerSays('My order number is 4 1 2 7.')
    const call = test.host.prepare({
      callSid: sid('HD_putonhold00001'),
      agent: 'order-status',
      from: '+254700000009',
      to: '+254709000000',
      direction: 'inbound',
    })
    const line = new TestLine(call)
    line.start()
    t.teardown(() => line.stop())
    await line.agentQuiet(700)
    const heldAtMs = performance.now()
    line.say(Int16Array.from({ length: samplesIn(HOLD_MS) }, (_, i) => announcer[i % announcer.length] ?? 0))
    line.say(new Int16Array(samplesIn(1500)))
    line.say(back)
    await until(() => performance.now() - heldAtMs > HOLD_MS, HOLD_MS + 5000, 'the end of the hold')
    await line.agentQuiet(700, 30_000).catch((fault: unknown) => {
      t.comment(JSON.stringify(call.timeline().timeline))
      throw fault
    })
    const { timeline } = call.timeline()
    call.hangup('operator-hangup', 'the test is over', false)
    const record = await test.recordOf(call.callSid)
    const said = record.transcript.filter(({ role }) => role === 'agent').map(({ text }) => text)
    const told = `${said.join(' | ')} ${JSON.stringify(timeline)}`
    t.equal(record.escalation, null, 'nobody is rung')
    t.match(said.at(-1), /Order \d+/, `the caller is served: ${told}`)
    t.ok(said.length <= 4, `the greeting, a question, the answer: ${told}`)
    const onHold = timeline.filter(({ name }) => name === 'put-on-hold')
    t.match(onHold, [{ detail: /\d+ ms of voice without words, 8000 needed/ }], 'the agent knows that it waits')
    const words = timeline.find(({ name }) => name === 'put-on-hold-over')
    t.ok(
      timeline
        .filter(({ name, atMs }) => name === 'agent-sound' && atMs > (onHold[0]?.atMs ?? Infinity))
        .every(({ atMs }) => atMs > (words?.atMs ?? Infinity)),
      'it says nothing while it waits',
    )
  },
)
