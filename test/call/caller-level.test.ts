import t from 'tap'
import { Rig } from './rig.js'

/** Time passes with voice at a level. */
function voice(rig: Rig, ms: number, levelDbfs: number, doubtful = false): void {
  rig.speak(ms, { levelDbfs, doubtful })
}

function spoken(): Rig {
  const rig = Rig.talking()
  voice(rig, 1000, -20)
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  return rig
}

t.test('a voice 20 dB below the caller neither pauses nor interrupts the agent', async (t) => {
  const rig = spoken()
  voice(rig, 3000, -41)
  t.same([rig.all('playout-pause'), rig.all('playout-clear'), rig.all('backend-speech-start')], [[], [], []])
  t.match(
    rig.all('mark').find(({ name }) => name === 'quieter-voice'),
    { detail: /-40 dBFS, the caller's level -19 dBFS/ },
  )
})

t.test('a caller who speaks 10 dB softer than before interrupts all the same', async (t) => {
  const rig = spoken()
  voice(rig, 300, -30)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('before words were understood no voice is refused', async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  voice(rig, 300, -60)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('a blip of doubtful voice does not pause the agent', async (t) => {
  const rig = spoken()
  voice(rig, 80, -20, true)
  rig.run(700)
  t.same(rig.all('playout-pause'), [])
  voice(rig, 100, -20, true)
  t.equal(rig.all('playout-pause').length, 1)
  t.ok(
    rig
      .all('mark')
      .some(({ detail }) => detail?.includes('100 ms of voice, 100 ms of it doubtful over the agent, 100 needed')),
    'the timeline says why',
  )
})

t.test('doubtful voice interrupts only after a second', async (t) => {
  const rig = spoken()
  voice(rig, 960, -20, true)
  t.same([rig.all('playout-pause').length, rig.all('playout-clear').length], [1, 0])
  voice(rig, 60, -20, true)
  t.equal(rig.all('playout-clear').length, 1)
  t.match(rig.onlyLogged('barge-in'), { why: /ms of it doubtful, 1000 needed/ })
})

t.test('a television that was on before the caller spoke is not learnt with the caller', async (t) => {
  const rig = Rig.talking()
  voice(rig, 30_000, -45)
  voice(rig, 1000, -20)
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  voice(rig, 3000, -42)
  t.same(rig.all('playout-pause'), [])
  voice(rig, 300, -20)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('a caller who has moved away from the telephone is heard again once only that voice answers us', async (t) => {
  const rig = spoken()
  rig.run(10_000)
  for (let question = 0; question < 3 && rig.all('mark').every(({ name }) => name !== 'level-forgotten'); question++) {
    rig.run(9000)
    voice(rig, 800, -42)
  }
  t.match(
    rig.all('mark').find(({ name }) => name === 'level-forgotten'),
    { detail: /it answers us: \d+ ms of voice/ },
  )
  rig.run(800)
  rig.log.length = 0
  voice(rig, 1000, -42)
  t.equal(rig.all('backend-speech-start').length, 1)
  t.same(rig.all('end-stream'), [])
})
