import t from 'tap'
import { Rig } from './rig.js'

/** A call in which the caller spoke while the stream was set up: the carrier sends that first. */
function spokeBefore(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = new Rig(overrides)
  rig.open()
  rig.ready()
  rig.answer(1, 'greeting', 3000, 'Welcome to the shop.')
  rig.run(40)
  rig.speak(1200, { early: true })
  return rig
}

t.test('what a caller said before the stream opened does not interrupt the greeting', async (t) => {
  for (const setting of [
    {},
    { weighsSpeech: true },
    { serverVad: true },
    { serverVad: true, serverInterrupts: true },
  ]) {
    const rig = spokeBefore(setting)
    if (setting.serverVad === true) rig.backend({ type: 'speech-started' })
    rig.run(1000)
    if (setting.serverVad === true) rig.backend({ type: 'speech-stopped' })
    else rig.only('backend-speech-end')
    rig.heardWords('Hello, where is my order?')
    rig.run(3000)
    t.same([...rig.all('playout-pause'), ...rig.all('playout-clear'), ...rig.all('backend-interrupt')], [])
    t.match(rig.session.log.transcript, [
      { role: 'caller', text: 'Hello, where is my order?' },
      { role: 'agent', text: 'Welcome to the shop.', endMs: 3060 },
    ])
  }
})

t.test('it goes to the backend: a turn, or where that can be weighed, one only if it holds words', async (t) => {
  const plain = spokeBefore()
  t.match(plain.all('backend-speech-start'), [{}])
  plain.run(1000)
  t.notHas(plain.only('backend-speech-end'), { unless: [] })
  const weighed = spokeBefore({ weighsSpeech: true })
  weighed.run(5000)
  t.match(weighed.only('backend-speech-end'), { unless: [] })
  t.same(weighed.logged('turn'), [], 'without words nothing was asked')
  t.notOk(weighed.session.log.transcript.some(({ text }) => text !== 'Welcome to the shop.'))
})

t.test('a caller who goes on speaking, or speaks again, interrupts as ever', async (t) => {
  const goesOn = spokeBefore()
  goesOn.speak(60)
  t.same(goesOn.all('playout-pause'), [], 'detectors lag')
  goesOn.speak(400)
  t.equal(goesOn.all('playout-pause').length, 1)
  goesOn.speak(600)
  t.equal(goesOn.all('playout-clear').length, 1)

  const again = spokeBefore()
  again.run(900)
  again.speak(60)
  t.equal(again.all('playout-pause').length, 1)
})

t.test('a digit that came before the opening interrupts nothing, one after it does', async (t) => {
  const rig = spokeBefore()
  rig.in({ type: 'dtmf', digit: '1' })
  t.same(rig.all('playout-clear'), [])
  rig.run(200)
  rig.in({ type: 'dtmf', digit: '2' })
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('it is no sign that the caller is there, and teaches no level', async (t) => {
  const quiet = new Rig()
  const spoke = new Rig({ weighsSpeech: true })
  for (const rig of [quiet, spoke]) {
    rig.open()
    rig.ready()
    rig.answer(1, 'greeting', 500, 'Welcome.')
    if (rig === spoke) rig.speak(1000, { early: true, levelDbfs: -6 })
    else rig.run(1000)
    rig.run(9000)
  }
  const promptedAtMs = (rig: Rig) =>
    rig.log.find(({ output }) => output.type === 'mark' && output.name === 'silence-prompt')
  t.equal(promptedAtMs(spoke)?.atMs, promptedAtMs(quiet)?.atMs)
  spoke.speak(300, { levelDbfs: -38 })
  t.notOk(spoke.all('mark').some(({ name }) => name === 'quieter-voice'))
})
