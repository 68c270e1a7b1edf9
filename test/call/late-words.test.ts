import t from 'tap'
import { escalation, Rig } from './rig.js'

const rules = { words: { phrases: ['fed up'], times: 2 }, vip: null, failures: null }

/** A caller whose words come 2.5 s after the speech, when the answer was already heard. */
function lateWords(): Rig {
  const rig = Rig.talking({ escalation })
  rig.speak(800)
  rig.run(700)
  rig.answer(2, 'answer', 1500, 'It is out for delivery.')
  rig.run(2500)
  rig.heardWords('Where is my order?', 'c1')
  return rig
}

t.test('documents have the words in the order in which they were said', (t) => {
  const rig = lateWords()
  const expected = ['Hello.', 'Where is my order?', 'It is out for delivery.']
  t.same(
    rig.session.log.transcript.map(({ text }) => text),
    ['Hello.', 'It is out for delivery.', 'Where is my order?'],
    'they became final in another order',
  )
  t.same(
    rig.session.log.conversation.map(({ text }) => text),
    expected,
  )
  t.same(
    rig.mirror.conversation.map(({ text }) => text),
    expected,
    'the main thread makes record and live view from this',
  )
  rig.toolCall('t1', 'escalate_to_human', { reason: 'asks for a human', summary: '' }, 3)
  t.same(
    rig.only('escalate').packet.transcript.map(({ text }) => text),
    expected,
    'the human reads them in this order too',
  )
  t.end()
})

t.test('a service that repeats the words of an item says them once', (t) => {
  const rig = Rig.talking({ rules, escalation })
  for (let times = 0; times < 3; times++) {
    rig.speak(400)
    rig.heardWords('I am fed up.', 'c1')
  }
  t.equal(rig.session.log.transcript.filter(({ role }) => role === 'caller').length, 1)
  t.same(rig.all('escalate'), [], 'one sentence is no second one')
  rig.backend({ type: 'transcript', role: 'caller', text: 'I am fed', final: false, itemId: 'c1', generation: 0 })
  t.equal(rig.session.log.transcript.filter(({ role }) => role === 'caller').length, 1, 'late partial words neither')
  rig.heardWords('I said that I am fed up.', 'c2')
  t.match(rig.only('escalate').packet, { reason: 'The caller is upset.' })
  t.end()
})

t.test('repeated words of the agent stand once', (t) => {
  const rig = Rig.talking({})
  rig.answer(2, 'answer', 500, 'It is out for delivery.')
  rig.run(1500)
  rig.backend({
    ...{ type: 'transcript', role: 'agent', itemId: 'answer', generation: 2, final: true },
    text: 'It is out for delivery.',
  })
  rig.run(1500)
  t.same(
    rig.session.log.transcript.map(({ text }) => text),
    ['Hello.', 'It is out for delivery.'],
  )
  t.equal(rig.session.counters.lateEventsDropped, 1)
  t.end()
})
