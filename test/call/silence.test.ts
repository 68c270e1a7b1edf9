import t from 'tap'
import { Rig } from './rig.js'

/** A call whose caller has spoken and was answered. */
function spoken(): Rig {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.answer(2, 'a2', 500)
  rig.run(600)
  return rig
}

t.test('a caller who has not spoken yet gets more time, and an offer', async (t) => {
  const rig = Rig.talking()
  rig.run(11_000)
  t.same(rig.texts(), [])
  rig.run(1000)
  t.same(rig.texts(), ['How can I help you?'])
  rig.run(9200)
  t.same(rig.texts(), ['How can I help you?', 'I cannot hear you. Are you still there?'])

  const plain = Rig.talking({ silence: { afterMs: 8000, prompts: ['Hm?'] } })
  plain.run(8100)
  t.same(plain.texts(), ['Hm?'], 'with nothing set for it')
})

t.test('a silent caller is asked, asked again, and let go with a goodbye', async (t) => {
  const rig = spoken()
  rig.run(7500)
  t.same(rig.texts(), [])
  rig.run(700)
  t.same(rig.texts(), ['Are you still there?'])
  rig.run(8400)
  t.equal(rig.texts().length, 1, 'eight seconds from the end of the prompt')
  rig.run(700)
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

t.test(
  'the prompts are those of the call; when all are used, the goodbye waits as long as they would have',
  async (t) => {
    const rig = Rig.talking({ serverVad: true })
    for (let prompt = 0; prompt < 2; prompt++) {
      rig.speak(400)
      rig.run(10_500)
    }
    t.same(rig.texts(), ['Are you still there?', 'I cannot hear you. Are you still there?'])
    rig.speak(400)
    rig.run(23_500)
    t.equal(rig.texts().length, 2)
    t.same(rig.all('end-stream'), [])
    rig.run(3000)
    t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /after 2 prompts/ })
  },
)

t.test('a prompt that nobody heard counts as not asked; without a voice the call ends all the same', async (t) => {
  const rig = spoken()
  rig.announceMs = null
  for (let failed = 0; failed < 2; failed++) {
    while (rig.all('announce').length === failed) rig.run(100)
    rig.in({ type: 'announce-failed', itemId: rig.all('announce').at(-1)?.itemId ?? '' })
  }
  t.same(rig.texts(), ['Are you still there?', 'Are you still there?'])
  while (rig.all('end-stream').length === 0) {
    rig.run(1000)
    for (const { itemId } of rig.all('announce').slice(-1)) rig.in({ type: 'announce-failed', itemId })
  }
  t.match(rig.only('end-stream'), { reason: 'silence-limit' })
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

  const waiting = Rig.talking({ filler: { texts: [], afterMs: 700, everyMs: 6000 } })
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
  rig.run(26_000)
  t.same(rig.texts(), ['How can I help you?'])
})

t.test('who was asked something gets more time, and who has asked for a moment still more', async (t) => {
  const asked = spoken()
  asked.answer(3, 'a3', 500, 'What is your order number?')
  asked.run(10_400)
  t.same(asked.texts(), [])
  asked.run(300)
  t.same(asked.texts(), ['Are you still there?'])

  const waits = spoken()
  waits.speak(500)
  waits.run(700)
  waits.heardWords('Subiri kidogo.', 'c2')
  waits.run(18_000)
  t.same(waits.texts(), [])
  waits.run(2500)
  t.same(waits.texts(), ['Are you still there?'])
})

t.test('nobody is asked while words come that may still change, however quiet the voice is', async (t) => {
  const rig = spoken()
  rig.run(6000)
  rig.backend({ type: 'transcript', role: 'caller', text: 'it is', final: false, itemId: 'c9', generation: 3 })
  rig.run(11_000)
  t.same(rig.texts(), [])
  rig.run(8000)
  t.same(rig.texts(), ['Are you still there?'], 'a recogniser that never ends its words does not keep the line open')
})
