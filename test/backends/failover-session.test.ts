import t from 'tap'
import type { CallOutput } from '../../src/call/events.js'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { CostMeter } from '../../src/backends/cost-meter.js'
import { priceList } from '../../src/backends/prices.js'
import { conformanceSession } from '../../src/backends/conformance.js'
import { Rig } from '../call/rig.js'
import { FakeTimers, ScriptedService } from './failover/scripted.js'

const announced = (rig: Rig): string[] =>
  rig.log.flatMap(({ output }) => (output.type === 'announce' ? [output.text] : []))
const ended = (rig: Rig): CallOutput | undefined => rig.log.find(({ output }) => output.type === 'end-stream')?.output

t.test('a caller who waits for another backend hears a filler, unless somebody speaks', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'holding' })
  t.same(announced(rig), [DEFAULT_CALL_OPTIONS.filler.texts[0]])
  rig.backend({ type: 'holding' })
  t.equal(announced(rig).length, 1, 'not while one is playing')
  const speaking = Rig.talking()
  speaking.speak(400)
  speaking.backend({ type: 'holding' })
  t.same(announced(speaking), [])
})

t.test('a failover is in the timeline, and the new backend gets a full deadline to answer', async (t) => {
  const rig = Rig.talking({ silence: { afterMs: 60_000, prompts: [] } })
  rig.speak(600)
  rig.run(700)
  rig.backend({ type: 'transcript', role: 'caller', text: 'Where is it?', final: true, itemId: 'c1', generation: 2 })
  rig.run(11_000)
  rig.backend({ type: 'error', code: 'network', message: 'gone', fatal: false, retryable: true })
  rig.backend({ type: 'failover', from: 'a', to: 'b', gapMs: 250.4, reason: 'network' })
  rig.run(11_000)
  t.same(announced(rig), ['One moment, please.'], 'a filler for who waits, neither an apology nor an end')
  t.match(
    rig.all('mark').find((mark) => mark.name === 'backend-failover'),
    { detail: 'a to b in 250 ms: network' },
  )
  t.equal(rig.session.state, 'live')
})

t.test('a call whose budget is spent ends with its goodbye, like one that the agent ends', async (t) => {
  const rig = new Rig()
  const timers = new FakeTimers()
  const service = new ScriptedService('a')
  const backend = new CallBackend(
    {
      event: (event) => rig.backend(event),
      audio: () => undefined,
    },
    {
      candidates: [{ create: service.create }],
      timers,
      budget: { limits: { maxMs: 60_000 }, meter: new CostMeter(priceList([]), () => null), goodbyeMs: 5000 },
    },
  )
  t.teardown(() => backend.close('the test is over'))
  rig.open()
  await backend.connect(conformanceSession(), new AbortController().signal)
  rig.answer(1, 'greeting', 1000, 'Hello.')
  rig.run(1500)
  await timers.pass(65_000)
  rig.run(12_000)
  t.match(ended(rig), { reason: 'agent-goodbye', detail: 'the budget of this call is used up (maxMs)' })
})
