import t from 'tap'
import { escalation, Rig, callerFrame } from './rig.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'

/** A caller who has heard 1 s of a 5 s answer. */
function listening(overrides: Partial<CallSessionOptions> = {}): Rig {
  const rig = Rig.talking(overrides)
  rig.answer(2, 'long', 5000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  return rig
}

t.test(
  'the agent falls silent within two frames when the caller speaks, and stops for good after 200 ms of voice',
  async (t) => {
    const rig = listening()
    const startMs = rig.nowMs
    rig.speak(40)
    t.same(rig.types(), ['playout-pause'])
    rig.speak(140)
    t.same(rig.types(), ['playout-pause'], 'nothing thrown away yet')
    rig.speak(20)
    t.same(rig.types(), [
      'playout-pause',
      'playout-clear',
      'backend-interrupt',
      'transcript',
      'backend-speech-start',
      'barge-in',
    ])
    t.match(rig.only('backend-speech-start'), { atMs: startMs }, 'the backend gets the speech from its first sample')
    const { stopMs, committed, why } = rig.onlyLogged('barge-in')
    t.ok(committed)
    t.ok(stopMs !== null && stopMs >= 0 && stopMs <= 40, `stopMs ${stopMs}`)
    t.match(why, /200 ms of voice/)
    t.match(rig.session.log.bargeIns, [{ committed: true, atMs: startMs - 1000 }])
  },
)

t.test('the backend is told how much was heard when the caller began to speak', async (t) => {
  const rig = listening()
  rig.speak(200)
  const { itemId, playedMs } = rig.only('backend-interrupt')
  t.equal(itemId, 'long')
  // 1,040 ms after its first sample, of which the carrier's hold-back of 40 ms is not heard yet.
  t.ok(playedMs > 960 && playedMs <= 1040, `played ${playedMs}`)
  t.match(rig.onlyLogged('transcript'), {
    role: 'agent',
    text: 'A long answer.',
    interrupted: true,
    playedMs: playedMs,
  })
})

t.test('late audio of the dead response is dropped and counted, the next response is heard', async (t) => {
  const rig = listening()
  rig.speak(300)
  t.notOk(rig.audio(2, 'long', 200))
  t.notOk(rig.audio(2, 'more', 200))
  t.equal(rig.session.counters.lateAudioDropped, 2)
  rig.backend({ type: 'transcript', role: 'agent', text: 'Never said.', final: true, itemId: 'more', generation: 2 })
  rig.toolCall('late', 'refund', {}, 2)
  t.same(rig.all('run-tool'), [])
  t.equal(rig.session.counters.lateEventsDropped, 2)
  t.ok(rig.audio(3, 'next', 200))
  t.notMatch(rig.session.log.transcript, [{ text: 'Never said.' }])
})

t.test('a false interruption only pauses the agent', async (t) => {
  const rig = listening()
  rig.speak(100)
  rig.run(880)
  t.same(rig.types(), ['playout-pause'])
  rig.run(60)
  t.same(rig.types(), ['playout-pause', 'playout-resume', 'barge-in'])
  t.match(rig.onlyLogged('barge-in'), { committed: false, why: /100 ms of voice in \d+ ms, under 200/ })
  rig.run(6000)
  t.same(rig.all('backend-speech-start'), [], 'the backend never hears of it')
  t.same(rig.all('backend-speech-end'), [])
  t.same(rig.logged('turn'), [])
  t.equal(rig.onlyLogged('transcript').interrupted, undefined, 'the agent said all of it')
})

t.test('a caller who is not quiet yet keeps the agent waiting', async (t) => {
  const rig = listening()
  rig.speak(60)
  rig.run(860)
  rig.speak(60)
  rig.run(100)
  t.same(rig.types(), ['playout-pause'], 'the second sound came just before the second was over')
  rig.run(200)
  t.same(rig.types(), ['playout-pause', 'playout-resume', 'barge-in'])
})

t.test('two sounds that make 200 ms of voice together are speech', async (t) => {
  const rig = listening()
  rig.speak(120)
  rig.run(200)
  rig.speak(80)
  t.equal(rig.onlyLogged('barge-in').committed, true)
})

t.test("a caller who answers in the last moment of the agent's words is not taken for an interruption", async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'short', 500)
  rig.run(460)
  t.ok(rig.ledger.audible(rig.nowMs))
  t.equal(rig.ledger.pendingMs(), 0)
  rig.speak(400)
  t.same(rig.all('playout-pause'), [])
  t.equal(rig.all('backend-speech-start').length, 1)
})

t.test('a response that has not made a sound yet is cancelled too', async (t) => {
  const rig = Rig.talking()
  rig.speak(500)
  rig.run(620)
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.log.length = 0
  rig.run(100)
  rig.speak(400)
  t.same(rig.types(), ['playout-pause', 'playout-clear', 'backend-interrupt', 'backend-speech-start', 'barge-in'])
  t.match(rig.only('backend-interrupt'), { itemId: null, playedMs: 0 })
  t.equal(rig.onlyLogged('barge-in').stopMs, null, 'nothing was audible')
  t.notOk(rig.audio(2, 'late', 100))
})

t.test('between two items of one response the first counts as heard in full', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'one', 500)
  rig.ledger.finished('one')
  rig.run(800)
  t.notOk(rig.ledger.audible(rig.nowMs))
  rig.speak(200)
  t.match(rig.only('backend-interrupt'), { itemId: 'one', playedMs: 500 })
})

t.test("the backend's own decision to interrupt is committed at once", async (t) => {
  for (const event of [{ type: 'speech-started' }, { type: 'interrupted', generation: 2 }] as const) {
    const rig = listening({ serverVad: true })
    rig.backend(event)
    t.same(rig.types(), ['playout-clear', 'backend-interrupt', 'transcript'], event.type)
    rig.run(80)
    t.match(rig.onlyLogged('barge-in'), { committed: true, why: /the backend/ })
    t.notOk(rig.audio(2, 'long', 100))
  }
})

t.test("our decision and the backend's own are one barge-in", async (t) => {
  const rig = listening({ serverVad: true })
  rig.speak(300)
  rig.backend({ type: 'speech-started' })
  rig.backend({ type: 'interrupted', generation: 2 })
  rig.run(200)
  t.equal(rig.logged('barge-in').length, 1)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('a filler can be talked over, and the backend, which knows nothing of it, is left alone', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.run(900)
  t.equal(rig.only('announce').kind, 'filler')
  rig.speak(300)
  t.equal(rig.all('playout-clear').length, 1)
  t.same(rig.all('backend-interrupt'), [])
  t.same(rig.all('cancel-tools'), [], 'the tool goes on')
})

t.test('a protected greeting is not stopped, and the caller is heard all the same', async (t) => {
  const bargeIn = {
    commitMs: 200,
    doubtfulCommitMs: 400,
    backchannel: null,
    waitWords: true,
    quieterDb: null,
    resumeAfterMs: 1000,
    quietMs: 200,
    onDtmf: true,
    protectGreeting: true,
    protectEscalation: true,
  }
  for (const greeting of [null, 'Welcome to the shop.']) {
    const rig = new Rig({ bargeIn, greeting })
    rig.announceMs = 3000
    rig.open()
    rig.ready()
    if (greeting === null) rig.answer(1, 'g', 3000)
    rig.run(500)
    rig.speak(500)
    t.same(rig.all('playout-pause'), [])
    t.equal(rig.all('backend-speech-start').length, 1)
  }
})

t.test('the announcement of an escalation is not stopped, and the caller is heard all the same', async (t) => {
  const rig = Rig.talking({ escalation })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  rig.run(200)
  rig.speak(500)
  t.same(rig.all('playout-pause'), [])
  t.equal(rig.all('backend-speech-start').length, 1)
})

t.test('a digit interrupts at once, unless told not to', async (t) => {
  const rig = listening()
  rig.in({ type: 'dtmf', digit: '1' })
  t.same(rig.types().slice(0, 2), ['playout-clear', 'backend-interrupt'])
  rig.run(100)
  t.match(rig.onlyLogged('barge-in'), { committed: true, why: 'a digit' })

  const hashed = listening()
  hashed.in({ type: 'dtmf', digit: '#' })
  t.same(hashed.types(), ['backend-dtmf'], 'the # after a number does not cut the answer to it')

  const patient = listening({
    bargeIn: {
      commitMs: 200,
      doubtfulCommitMs: 400,
      backchannel: null,
      waitWords: true,
      quieterDb: null,
      resumeAfterMs: 1000,
      quietMs: 200,
      onDtmf: false,
      protectGreeting: false,
      protectEscalation: true,
    },
  })
  patient.in({ type: 'dtmf', digit: '1' })
  t.same(patient.types(), ['backend-dtmf'])
})

t.test('speech after a false interruption in one breath reaches the backend once the agent is through', async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'a2', 1600)
  rig.run(200)
  rig.speak(60)
  rig.run(1000)
  t.equal(rig.all('playout-resume').length, 1)
  rig.run(1800)
  rig.speak(300)
  t.equal(rig.all('backend-speech-start').length, 1)
})

t.test('frames alone, without any timer, end a segment and stop the agent', async (t) => {
  const rig = listening()
  let nowMs = rig.nowMs
  const frames = (count: number, voiced: boolean) => {
    for (let i = 0; i < count; i++) rig.session.callerFrame(callerFrame(voiced), (nowMs += 20))
  }
  frames(15, true)
  frames(40, false)
  const types: string[] = []
  for (let output = rig.session.pollOutput(); output !== null; output = rig.session.pollOutput()) {
    types.push(output.type)
  }
  for (const type of ['playout-pause', 'playout-clear', 'backend-speech-start', 'backend-speech-end']) {
    t.ok(types.includes(type), type)
  }
})

t.test('a backend that gives up an answer that was heard long ago interrupts nothing', async (t) => {
  const rig = Rig.talking({ serverVad: true })
  rig.backend({ type: 'interrupted', generation: 1 })
  rig.backend({ type: 'speech-started' })
  rig.run(100)
  t.same(rig.types(), [])
  t.notOk(rig.audio(1, 'more', 100))
  t.ok(rig.audio(2, 'next', 100))
})

t.test('an escalation that may be talked over goes on without its announcement', async (t) => {
  const bargeIn = {
    commitMs: 200,
    doubtfulCommitMs: 400,
    backchannel: null,
    waitWords: true,
    quieterDb: null,
    resumeAfterMs: 1000,
    quietMs: 200,
    onDtmf: true,
    protectGreeting: false,
    protectEscalation: false,
  }
  const rig = Rig.talking({ escalation, bargeIn })
  rig.announceMs = 4000
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(500)
  rig.speak(300)
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })
})
