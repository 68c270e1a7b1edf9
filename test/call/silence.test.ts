import t from 'tap'
import { Rig } from './rig.js'

t.test('a silent caller is asked, asked again, and let go with a goodbye', async (t) => {
  const rig = Rig.talking()
  rig.run(7000)
  t.same(rig.texts(), [])
  rig.run(1000)
  t.same(rig.texts(), ['Are you still there?'])
  rig.run(8600)
  t.equal(rig.texts().length, 1, 'eight seconds from the end of the prompt')
  rig.run(100)
  t.equal(rig.texts().length, 2)
  rig.run(9300)
  t.equal(rig.all('announce').at(-1)?.kind, 'goodbye')
  rig.run(1500)
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /after 2 prompts/ })
  t.equal(rig.session.counters.silencePrompts, 2)
})

t.test('comfort noise does not keep a muted line open', async (t) => {
  const rig = Rig.talking()
  for (let i = 0; i < 50 && rig.all('end-stream').length === 0; i++) {
    rig.speak(80)
    rig.run(720)
  }
  t.equal(rig.only('end-stream').reason, 'silence-limit')
})

t.test('speech, words and digits each start the clock again', async (t) => {
  for (const act of [
    (rig: Rig) => rig.speak(240),
    (rig: Rig) => rig.heardWords('hm'),
    (rig: Rig) => rig.in({ type: 'dtmf', digit: '1' }),
  ]) {
    const rig = Rig.talking({ answerTimeoutMs: 600_000 })
    rig.run(7000)
    act(rig)
    rig.run(7000)
    t.same(rig.texts(), [])
  }
})

t.test('a caller who answers a prompt gets all prompts again', async (t) => {
  const rig = Rig.talking({ serverVad: true })
  rig.run(8100)
  rig.run(1500)
  rig.speak(400)
  rig.run(8000)
  rig.run(500)
  t.same(rig.texts(), ['Are you still there?', 'Are you still there?'])
})

t.test('nobody is asked while the agent speaks, a tool runs or an answer is awaited', async (t) => {
  const speaking = Rig.talking()
  speaking.answer(2, 'long', 20_000)
  speaking.run(20_500)
  t.same(speaking.texts(), [])

  const working = Rig.talking({ filler: { texts: [], afterMs: 700, everyMs: 6000 } })
  working.toolCall('t1', 'find_order')
  working.run(20_000)
  t.same(working.texts(), [])

  const waiting = Rig.talking()
  waiting.speak(500)
  waiting.run(700)
  waiting.heardWords('Where is my order?')
  waiting.run(11_000)
  t.same(waiting.texts(), [])
})

t.test('a backend that forgets to end its response does not stop the clock for ever', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 500)
  rig.ledger.finished('a2')
  rig.run(22_000)
  t.same(rig.texts(), ['Are you still there?'])
})
