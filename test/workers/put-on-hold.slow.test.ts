import t from 'tap'
import { HOLD_SENTENCE } from '../../src/simulator/caller-script.js'
import { callerSays } from '../support/caller-says.js'
import { inbound, TestLine } from '../support/host.js'
import { REAL_TIME, startThreads } from '../support/threads.js'
import { until } from '../support/until.js'

// A call of three quarters of a minute, in real time.
t.setTimeout(300_000)

const RATE_HZ = 16_000
const HOLD_MS = 30_000
/** Whoever has put the agent on hold hears it within this, and nothing more until words come. */
const LIMIT_MS = 8000
const samplesIn = (ms: number): number => (RATE_HZ * ms) / 1000

t.test(
  'a caller who puts the agent on hold and comes back is served; the agent asks once, and nobody is rung',
  async (t) => {
    const test = await startThreads()
    t.teardown(() => test.close())
    const announcer = await callerSays(HOLD_SENTENCE)
    const back = await callerSays('My order number is 4 1 2 7.')
    const call = test.host.prepare(inbound('HD_putonhold00001', { from: '+254700000009' }))
    const line = new TestLine(call, REAL_TIME)
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
    const loud = (samples: Int16Array): boolean => samples.some((sample) => Math.abs(sample) > 200)
    const asked = line.frames.find(({ atMs, samples }) => atMs > heldAtMs && loud(samples))?.atMs ?? Infinity
    t.ok(asked - heldAtMs <= LIMIT_MS, `the caller hears the agent after ${Math.round(asked - heldAtMs)} ms`)
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
