import t from 'tap'
import { escalation, Rig } from './rig.js'

/** What sounds for 20 s without words, and is answered as a backend answers what it does not understand. */
function onHold(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking(overrides)
  rig.speak(20_000)
  return rig
}

const marks = (rig: Rig, name: string): (string | undefined)[] =>
  rig.all('mark').flatMap((mark) => (mark.name === name ? [mark.detail] : []))

t.test('sound that goes on without words is asked about once, then waited out, then ends the call', async (t) => {
  const rig = onHold()
  t.same(rig.texts(), ['Sorry, could you say that again?'])
  t.match(marks(rig, 'put-on-hold'), [/\d{4,5} ms of voice without words, 8000 needed/])
  t.same(rig.all('playout-pause'), [], 'the question is not interrupted')
  rig.speak(55_000)
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /put on hold for 60000 ms/ })
})

t.test('an agent that can call back offers it before it gives up', async (t) => {
  const calledBack = { offerText: 'Shall we call you back? Press one.', confirmedText: 'We will.', numberKnown: true }
  const rig = onHold({ escalation: { ...escalation, callback: calledBack } })
  rig.speak(50_000)
  t.equal(rig.texts().at(-1), 'Shall we call you back? Press one.')
  const pressed = rig.session.checkpoint()
  t.equal(pressed.state, 'live')
  rig.in({ type: 'dtmf', digit: '1' })
  t.match(rig.only('callback'), { wish: { asked: 'key', packet: { reason: 'put on hold' } } })
  t.same(rig.all('end-stream'), [], 'somebody is there again')

  const nobody = onHold({ escalation: { ...escalation, callback: calledBack } })
  nobody.speak(80_000)
  t.match(nobody.only('end-stream'), { reason: 'silence-limit', detail: /after the offer of a call back/ })
})

t.test('words end the wait, and the next one begins at nothing', async (t) => {
  const rig = onHold({ weighsSpeech: true })
  rig.speak(40_000)
  rig.run(700)
  rig.heardWords('I am back.')
  t.same(marks(rig, 'put-on-hold-over'), ['words, or a digit'])
  rig.answer(2, 'answer', 1000)
  rig.run(1500)
  rig.speak(50_000)
  t.equal(rig.session.counters.putOnHold, 2)
  t.same(rig.all('end-stream'), [])
})

t.test('what sounds while we wait is given to a backend that answers only words', async (t) => {
  const rig = onHold({ weighsSpeech: true })
  rig.run(700)
  rig.log.length = 0
  rig.speak(1000)
  rig.run(700)
  t.equal(rig.all('backend-speech-start').length, 1)
  t.match(rig.only('backend-speech-end'), { unless: [] })
  t.notOk(rig.all('announce').length, 'and it is not asked about')
})

t.test('who comes back after a pause is heard in one piece, however long the line sounded before it', async (t) => {
  for (let beforeMs = 500; beforeMs <= 6000; beforeMs += 500) {
    const rig = onHold({ weighsSpeech: true })
    rig.run(700)
    rig.speak(beforeMs)
    rig.run(1500)
    rig.log.length = 0
    rig.speak(4000)
    rig.run(700)
    t.equal(rig.all('backend-speech-start').length, 1, `after ${beforeMs} ms`)
    t.equal(rig.all('backend-speech-end').length, 1)
  }
})

t.test('where a backend answers whatever it is given, a pause ends the wait, and the limit stays', async (t) => {
  const rig = onHold()
  rig.log.length = 0
  rig.run(700)
  rig.speak(1000)
  rig.run(700)
  t.same(rig.all('backend-speech-start'), [], 'the sound goes on')
  rig.run(1500)
  rig.speak(1000)
  rig.run(700)
  t.same(
    [rig.all('backend-speech-start').length, rig.only('backend-speech-end')],
    [1, { type: 'backend-speech-end', atMs: rig.only('backend-speech-end').atMs }],
  )

  const radio = onHold()
  for (let minute = 0; minute < 10 && radio.all('end-stream').length === 0; minute++) {
    radio.run(2500)
    radio.speak(57_500)
  }
  t.match(radio.only('end-stream'), { reason: 'silence-limit' })
})

t.test('an agent that is never put on hold asks until it says goodbye', async (t) => {
  const rig = Rig.talking({ putOnHold: null })
  rig.speak(60_000)
  t.match(rig.only('end-stream'), { detail: 'asked 3 times, and nothing was understood' })
})

t.test('a partial result does not end the wait', async (t) => {
  const rig = onHold({ weighsSpeech: true })
  rig.backend({ type: 'understood' })
  t.same(marks(rig, 'put-on-hold-over'), [])
})
