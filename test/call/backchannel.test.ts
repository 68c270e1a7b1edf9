import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { Rig } from './rig.js'

const { bargeIn } = DEFAULT_CALL_OPTIONS

/** A caller who listens to a long answer. */
function listening(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking({ bargeIn, ...overrides })
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  return rig
}

const floor = (rig: Rig): number[] => [
  rig.all('playout-pause').length,
  rig.all('playout-resume').length,
  rig.all('playout-clear').length,
]

t.test('a short sound over the agent is listening, and the agent goes on', async (t) => {
  const rig = listening()
  rig.speak(400)
  rig.run(1500)
  t.same(floor(rig), [1, 1, 0])
  t.match(rig.onlyLogged('barge-in'), { committed: false, why: /400 ms of voice in .* under 600 \(backchannel\)/ })
  t.equal(rig.session.counters.backchannels, 1)
})

t.test(
  'a model whose turns the gateway marks never hears of listening, also when its answer is finished',
  async (t) => {
    const rig = listening()
    rig.speak(400)
    rig.run(10_000)
    t.same(rig.all('backend-speech-start'), [])
    t.same(rig.logged('turn'), [])
    t.same(floor(rig), [1, 1, 0])
  },
)

t.test('a longer sound interrupts, and an agent without backchannels is interrupted by a short one', async (t) => {
  const longer = listening()
  longer.speak(620)
  t.same(floor(longer), [1, 0, 1])
  t.match(longer.onlyLogged('barge-in'), { committed: true, why: /600 ms of voice, 600 needed/ })

  const without = listening({ bargeIn: { ...bargeIn, backchannel: null } })
  without.speak(400)
  t.same(floor(without), [1, 0, 1])
})

t.test('a short answer to the end of a question interrupts at once', async (t) => {
  const rig = Rig.talking({ bargeIn })
  rig.answer(2, 'question', 3000, 'Is that right?')
  rig.run(2000)
  rig.log.length = 0
  rig.speak(300)
  t.same(floor(rig), [1, 0, 1])
})

t.test('words decide where the backend can weigh them: any but a backchannel interrupts', async (t) => {
  const words = DEFAULT_CALL_OPTIONS.bargeIn.backchannel.words
  const asks = listening({ weighsSpeech: true })
  asks.speak(400)
  asks.run(620)
  t.match(asks.only('backend-speech-end'), { unless: words })
  asks.heardWords('Which one?')
  t.same(floor(asks), [1, 0, 1])
  t.match(asks.onlyLogged('barge-in'), { committed: true, why: /words in 400 ms of voice/ })
  asks.answer(3, 'answer', 500)
  asks.run(700)
  t.equal(asks.logged('turn').length, 1, 'and what they asked is a turn')

  const listener = listening({ weighsSpeech: true })
  listener.speak(400)
  listener.run(2000)
  t.same(floor(listener), [1, 1, 0])
  t.same(listener.logged('turn'), [])
})

t.test('a service that hears the caller interrupts, unless the gateway decides that', async (t) => {
  const service = listening({ serverVad: true })
  service.backend({ type: 'speech-started' })
  t.same(floor(service), [0, 0, 1])

  const gateway = listening({ serverVad: true, serverInterrupts: false })
  gateway.backend({ type: 'speech-started' })
  gateway.speak(400)
  gateway.run(1500)
  t.same(floor(gateway), [1, 1, 0])
  gateway.speak(700)
  t.same(floor(gateway), [2, 1, 1])
  t.equal(gateway.all('backend-interrupt').length, 1)
})

const overTheAgent = (): Rig => listening({ serverVad: true, serverInterrupts: false })

/** A short sound over the agent, as a service reports it that detects turns and does not interrupt. */
function shortSound(rig: Rig): void {
  rig.backend({ type: 'speech-started' })
  rig.speak(400)
  rig.run(600)
  rig.backend({ type: 'speech-stopped' })
}

t.test('what a service hears over an agent that goes on is no turn, and nobody waits for an answer', async (t) => {
  const rig = overTheAgent()
  shortSound(rig)
  rig.heardWords('Mm, okay.', 'c2')
  rig.run(20_000)
  t.same(floor(rig), [1, 1, 0])
  t.same(rig.logged('turn'), [])
  t.same(rig.all('backend-interrupt'), [])
  t.same(
    rig.all('announce').filter(({ kind }) => kind === 'apology'),
    [],
    'no apology for an answer that nobody asked for',
  )
})

t.test(
  'a service that can hold its answer back is told what needs none, unless the agent has nearly finished',
  async (t) => {
    const rig = listening({ serverVad: true, serverInterrupts: false, weighsSpeech: true })
    shortSound(rig)
    t.match(rig.all('backend-speech-end'), [{ unless: bargeIn.backchannel?.words ?? [] }])
    t.same(rig.all('backend-speech-start'), [])
    rig.heardWords('Mm, okay.', 'c2')
    rig.run(5500)
    t.same(floor(rig), [1, 1, 0])
    rig.backend({ type: 'speech-started' })
    rig.run(300)
    rig.backend({ type: 'speech-stopped' })
    t.equal(rig.all('backend-speech-end').length, 1, 'a sound over the last words is its answer')
  },
)

t.test('other words than backchannels interrupt when the service has recognised them', async (t) => {
  const rig = overTheAgent()
  shortSound(rig)
  rig.heardWords('Which one?', 'c2')
  t.same(floor(rig), [1, 0, 1])
  t.match(rig.onlyLogged('barge-in'), { committed: true, why: /words in 400 ms of voice/ })
  t.equal(rig.all('backend-interrupt').length, 1)
  rig.answer(3, 'answer', 500)
  rig.run(700)
  t.equal(rig.logged('turn').length, 1)
})

t.test('words of the turn before, which come while the caller makes a sound, interrupt nothing', async (t) => {
  const rig = overTheAgent()
  rig.backend({ type: 'speech-started' })
  rig.speak(100)
  rig.heardWords('Where is my order?', 'c2')
  rig.run(1500)
  t.same(floor(rig), [1, 1, 0])
})

t.test('a service that had finished its answer has answered the words over it: nothing is cut off', async (t) => {
  const rig = overTheAgent()
  shortSound(rig)
  rig.answer(3, 'next', 500, 'It comes tomorrow.')
  rig.heardWords('And when?', 'c2')
  t.same(rig.all('backend-interrupt'), [])
  rig.run(8000)
  t.equal(rig.logged('turn').length, 1)
})

t.test('words over the end of an answer ask for one, which the busy service did not give', async (t) => {
  const rig = overTheAgent()
  rig.run(5000)
  shortSound(rig)
  rig.run(4000)
  rig.log.length = 0
  rig.heardWords('And when?', 'c2')
  t.match(rig.only('backend-interrupt'), { itemId: null, playedMs: 0 })
})
