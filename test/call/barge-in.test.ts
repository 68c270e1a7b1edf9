import t from 'tap'
import { type CallSessionOptions, DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { BARGE_IN, callerFrame, escalation, Rig } from './rig.js'

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
  const bargeIn = { ...BARGE_IN, protectGreeting: true }
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
    bargeIn: { ...BARGE_IN, onDtmf: false, protectGreeting: false },
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
  const bargeIn = { ...BARGE_IN, protectGreeting: false, protectEscalation: false }
  const rig = Rig.talking({ escalation, bargeIn })
  rig.announceMs = 4000
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(500)
  rig.speak(300)
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })
})

const { bargeIn: bargeInByWords } = DEFAULT_CALL_OPTIONS

/** A caller who listens to a long answer. */
function listeningToALongAnswer(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking({ bargeIn: bargeInByWords, ...overrides })
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
  const rig = listeningToALongAnswer()
  rig.speak(400)
  rig.run(1500)
  t.same(floor(rig), [1, 1, 0])
  t.match(rig.onlyLogged('barge-in'), { committed: false, why: /400 ms of voice in .* under 600 \(backchannel\)/ })
  t.equal(rig.session.counters.backchannels, 1)
})

t.test(
  'a model whose turns the gateway marks never hears of listening, also when its answer is finished',
  async (t) => {
    const rig = listeningToALongAnswer()
    rig.speak(400)
    rig.run(10_000)
    t.same(rig.all('backend-speech-start'), [])
    t.same(rig.logged('turn'), [])
    t.same(floor(rig), [1, 1, 0])
  },
)

t.test('a longer sound interrupts, and an agent without backchannels is interrupted by a short one', async (t) => {
  const longer = listeningToALongAnswer()
  longer.speak(620)
  t.same(floor(longer), [1, 0, 1])
  t.match(longer.onlyLogged('barge-in'), { committed: true, why: /600 ms of voice, 600 needed/ })

  const without = listeningToALongAnswer({ bargeIn: { ...bargeInByWords, backchannel: null } })
  without.speak(400)
  t.same(floor(without), [1, 0, 1])
})

t.test('a short answer to the end of a question interrupts at once', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords })
  rig.answer(2, 'question', 3000, 'Is that right?')
  rig.run(2000)
  rig.log.length = 0
  rig.speak(300)
  t.same(floor(rig), [1, 0, 1])
})

t.test('words decide where the backend can weigh them: any but a backchannel interrupts', async (t) => {
  const words = DEFAULT_CALL_OPTIONS.bargeIn.backchannel?.words ?? []
  const asks = listeningToALongAnswer({ weighsSpeech: true })
  asks.speak(400)
  asks.run(620)
  t.match(asks.only('backend-speech-end'), { unless: words })
  asks.heardWords('Which one?')
  t.same(floor(asks), [1, 0, 1])
  t.match(asks.onlyLogged('barge-in'), { committed: true, why: /words in 400 ms of voice/ })
  asks.answer(3, 'answer', 500)
  asks.run(700)
  t.equal(asks.logged('turn').length, 1, 'and what they asked is a turn')

  const listener = listeningToALongAnswer({ weighsSpeech: true })
  listener.speak(400)
  listener.run(2000)
  t.same(floor(listener), [1, 1, 0])
  t.same(listener.logged('turn'), [])
})

t.test('a service that hears the caller interrupts, unless the gateway decides that', async (t) => {
  const service = listeningToALongAnswer({ serverVad: true })
  service.backend({ type: 'speech-started' })
  t.same(floor(service), [0, 0, 1])

  const gateway = listeningToALongAnswer({ serverVad: true, serverInterrupts: false })
  gateway.backend({ type: 'speech-started' })
  gateway.speak(400)
  gateway.run(1500)
  t.same(floor(gateway), [1, 1, 0])
  gateway.speak(700)
  t.same(floor(gateway), [2, 1, 1])
  t.equal(gateway.all('backend-interrupt').length, 1)
})

const overTheAgent = (): Rig => listeningToALongAnswer({ serverVad: true, serverInterrupts: false })

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
    const rig = listeningToALongAnswer({ serverVad: true, serverInterrupts: false, weighsSpeech: true })
    shortSound(rig)
    t.match(rig.all('backend-speech-end'), [{ unless: bargeInByWords.backchannel?.words ?? [] }])
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
