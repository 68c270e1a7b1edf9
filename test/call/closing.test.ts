import t from 'tap'
import { isClosing } from '../../src/call/closing-cues.js'
import { Rig } from './rig.js'

t.test('words that say that this is all, in English, in Swahili and mixed', async (t) => {
  for (const words of [
    "That's all, thank you.",
    'No, that is all. Thanks a lot, bye!',
    'Okay thank you, goodbye.',
    'Hayo tu.',
    'Hapana, hayo tu, asante sana.',
    'Asante, kwaheri.',
    'Sawa, hakuna kingine. Thank you, bye bye.',
    'Nothing else, have a nice day',
  ])
    t.ok(isClosing(words), words)
  for (const words of [
    '',
    'Bye.',
    'Kwaheri.',
    'Thank you very much.',
    'Asante sana.',
    'No, thank you.',
    'Sawa sawa.',
    "That's all wrong, I want the other one.",
    'Is that all?  And my refund?',
    'Hayo tu yamefika, mengine yako wapi?',
    'I said bye to the courier.',
  ])
    t.notOk(isClosing(words), words)
})

/** A caller who was answered says `words`; the agent answers with `answer`. */
function saidAndAnswered(words: string, answer: string, overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking({ goodbyeText: 'Thank you for calling. Goodbye.', ...overrides })
  rig.speak(600)
  rig.run(700)
  rig.heardWords(words)
  rig.answer(2, 'a2', 800, answer)
  rig.run(900)
  return rig
}

t.test('a caller who says that this is all is answered once, then the call ends with a goodbye', async (t) => {
  const rig = saidAndAnswered("That's all, thank you.", 'You are welcome.')
  rig.run(2500)
  t.same(rig.texts(), [])
  rig.run(700)
  t.same(rig.texts(), ['Thank you for calling. Goodbye.'])
  rig.run(2000)
  t.match(rig.only('end-stream'), { reason: 'agent-goodbye', hangup: true })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'contained' })
})

t.test('a goodbye of the agent is not said twice, and its question is left to the caller', async (t) => {
  const said = saidAndAnswered('Asante, kwaheri.', 'Asante kwa kupiga, kwaheri.')
  said.run(5000)
  t.same(said.texts(), [])
  t.match(said.only('end-stream'), { reason: 'agent-goodbye' })

  const asks = saidAndAnswered("That's all, thanks.", 'Is there anything else?')
  asks.run(6000)
  t.same(asks.all('end-stream'), [])
})

t.test('a caller who goes on, in those 3 s or over the goodbye, keeps the call', async (t) => {
  const before = saidAndAnswered("That's all, thank you.", 'You are welcome.')
  before.run(1000)
  before.speak(600)
  before.run(700)
  before.heardWords('Oh, and the other order?', 'c2')
  before.answer(3, 'a3', 500)
  before.run(5000)
  t.same(before.all('end-stream'), [])

  const over = saidAndAnswered("That's all, thank you.", 'You are welcome.')
  over.run(3400)
  t.equal(over.texts().length, 1)
  over.speak(800)
  over.run(3000)
  t.same(over.all('end-stream'), [])
  t.equal(over.session.state, 'live')
})

t.test('without the setting, or without an answer, nothing ends', async (t) => {
  const off = saidAndAnswered("That's all, thank you.", 'You are welcome.', { closing: null })
  off.run(5000)
  t.same(off.all('end-stream'), [])

  const waiting = Rig.talking()
  waiting.speak(600)
  waiting.run(700)
  waiting.heardWords("That's all, thank you.")
  waiting.run(6000)
  t.same(waiting.all('end-stream'), [])
})
