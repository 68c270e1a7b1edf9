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

t.test('the agent pauses within 40 ms, stops after 200 ms', async (t) => {
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
})

t.test('the backend learns the played duration at the onset', async (t) => {
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

t.test('audio of an interrupted response is dropped', async (t) => {
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

t.test('voice during the pause keeps the agent paused', async (t) => {
  const rig = listening()
  rig.speak(60)
  rig.run(860)
  rig.speak(60)
  rig.run(100)
  t.same(rig.types(), ['playout-pause'], 'the second sound came just before the second was over')
  rig.run(200)
  t.same(rig.types(), ['playout-pause', 'playout-resume', 'barge-in'])
})

t.test('two sounds that total 200 ms are a barge-in', async (t) => {
  const rig = listening()
  rig.speak(120)
  rig.run(200)
  rig.speak(80)
  t.equal(rig.onlyLogged('barge-in').committed, true)
})

t.test("voice at the agent's last word is not a barge-in", async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'short', 500)
  rig.run(460)
  t.ok(rig.ledger.audible(rig.nowMs))
  t.equal(rig.ledger.pendingMs(), 0)
  rig.speak(400)
  t.same(rig.all('playout-pause'), [])
  t.equal(rig.all('backend-speech-start').length, 1)
})

t.test("a response without audio is cancelled by the caller's voice", async (t) => {
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

t.test('a finished item counts as played in full when interrupted', async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'one', 500)
  rig.ledger.finished('one')
  rig.run(800)
  t.notOk(rig.ledger.audible(rig.nowMs))
  rig.speak(200)
  t.match(rig.only('backend-interrupt'), { itemId: 'one', playedMs: 500 })
})

t.test('an interruption by the backend is committed at once', async (t) => {
  for (const event of [{ type: 'speech-started' }, { type: 'interrupted', generation: 2 }] as const) {
    const rig = listening({ serverVad: true })
    rig.backend(event)
    t.same(rig.types(), ['playout-clear', 'backend-interrupt', 'transcript'], event.type)
    rig.run(80)
    t.match(rig.onlyLogged('barge-in'), { committed: true, why: /the backend/ })
    t.notOk(rig.audio(2, 'long', 100))
  }
})

t.test("the gateway's and the backend's decision are one barge-in", async (t) => {
  const rig = listening({ serverVad: true })
  rig.speak(300)
  rig.backend({ type: 'speech-started' })
  rig.backend({ type: 'interrupted', generation: 2 })
  rig.run(200)
  t.equal(rig.logged('barge-in').length, 1)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('a barge-in over a filler does not interrupt the backend', async (t) => {
  const rig = Rig.talking()
  rig.toolCall('t1', 'find_order')
  rig.run(900)
  t.equal(rig.only('announce').kind, 'filler')
  rig.speak(300)
  t.equal(rig.all('playout-clear').length, 1)
  t.same(rig.all('backend-interrupt'), [])
  t.same(rig.all('cancel-tools'), [], 'the tool goes on')
})

t.test('a protected greeting plays on while the caller is heard', async (t) => {
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

t.test('an escalation announcement plays on while the caller is heard', async (t) => {
  const rig = Rig.talking({ escalation })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' })
  rig.run(200)
  rig.speak(500)
  t.same(rig.all('playout-pause'), [])
  t.equal(rig.all('backend-speech-start').length, 1)
})

t.test('a digit interrupts at once unless the agent disables it', async (t) => {
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

t.test('speech after a false interruption reaches the backend', async (t) => {
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

t.test('frames alone, without timers, stop the agent', async (t) => {
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

t.test('a cancelled response that was fully played interrupts nothing', async (t) => {
  const rig = Rig.talking({ serverVad: true })
  rig.backend({ type: 'interrupted', generation: 1 })
  rig.backend({ type: 'speech-started' })
  rig.run(100)
  t.same(rig.types(), [])
  t.notOk(rig.audio(1, 'more', 100))
  t.ok(rig.audio(2, 'next', 100))
})

t.test('an unprotected escalation continues after its announcement is interrupted', async (t) => {
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

const floor = (rig: Rig): readonly [number, number, number] => [
  rig.all('playout-pause').length,
  rig.all('playout-resume').length,
  rig.all('playout-clear').length,
]

t.test('a short sound over the agent is a backchannel', async (t) => {
  const rig = listeningToALongAnswer()
  rig.speak(400)
  rig.run(1500)
  t.same(floor(rig), [1, 1, 0])
  t.match(rig.onlyLogged('barge-in'), {
    committed: false,
    why: /400 ms of voice in .* under 600 \(backchannel\)/,
  })
  t.equal(rig.session.counters.backchannels, 1)
})

t.test('a backchannel never reaches a backend without turn detection', async (t) => {
  const rig = listeningToALongAnswer()
  rig.speak(400)
  rig.run(10_000)
  t.same(rig.all('backend-speech-start'), [])
  t.same(rig.logged('turn'), [])
  t.same(floor(rig), [1, 1, 0])
})

t.test('a sound longer than a backchannel interrupts the agent', async (t) => {
  const longer = listeningToALongAnswer()
  longer.speak(620)
  t.same(floor(longer), [1, 0, 1])
  t.match(longer.onlyLogged('barge-in'), { committed: true, why: /600 ms of voice, 600 needed/ })

  const without = listeningToALongAnswer({ bargeIn: { ...bargeInByWords, backchannel: null } })
  without.speak(400)
  t.same(floor(without), [1, 0, 1])
})

t.test('a short answer near the end of a question interrupts', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords })
  rig.answer(2, 'question', 3000, 'Is that right?')
  rig.run(2000)
  rig.log.length = 0
  rig.speak(300)
  t.same(floor(rig), [1, 0, 1])
})

t.test('recognised words other than backchannels interrupt', async (t) => {
  const words = DEFAULT_CALL_OPTIONS.bargeIn.backchannel?.words ?? []
  const asks = listeningToALongAnswer({ weighsSpeech: true })
  asks.speak(400)
  asks.run(620)
  t.match(asks.only('backend-speech-end'), { unless: words })
  asks.heardWords('Which one?')
  t.same(floor(asks), [1, 1, 1])
  asks.run(100)
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

t.test("`serverInterrupts` decides if a service's detection interrupts", async (t) => {
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

t.test('a backchannel detected by the service is not a turn', async (t) => {
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

t.test('a service that can withhold its answer gets the backchannels', async (t) => {
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
})

t.test("a short yes near a question's end answers it", async (t) => {
  const question = 'So you want two of the red ones?'
  const goesOn = ' And they will come to the shop.'.repeat(3)
  for (const yes of ['Yes.', 'Ndiyo.'])
    for (const [more, lengthMs, fromMs, wordsMs] of [
      [goesOn, 8000, 1700, 600],
      ['', 2600, 1000, 1800],
    ] as const) {
      const rig = Rig.talking({ bargeIn: bargeInByWords, serverVad: true, serverInterrupts: false, weighsSpeech: true })
      rig.answer(2, 'asks', lengthMs, question + more)
      rig.run(fromMs)
      rig.log.length = 0
      rig.backend({ type: 'speech-started' })
      rig.speak(140)
      rig.run(600)
      rig.backend({ type: 'speech-stopped' })
      rig.run(wordsMs)
      rig.heardWords(yes, 'c2')
      t.equal(rig.all('backend-interrupt').length, 1, `${yes} ${more === '' ? 'at the end' : 'before more'}`)
      for (const { unless } of rig.all('backend-speech-end')) t.same(unless, [], 'the service answers a yes too')
    }
})

t.test('a yes to the words before a question is ignored', async (t) => {
  const said = 'I have found the order of yesterday. Do you want the two?'
  for (const words of ['Yes.', 'Mm.']) {
    const rig = Rig.talking({ bargeIn: bargeInByWords, serverVad: true, serverInterrupts: false, weighsSpeech: true })
    rig.answer(2, 'asks', 4000, said)
    rig.run(500)
    rig.log.length = 0
    rig.backend({ type: 'speech-started' })
    rig.speak(140)
    rig.run(600)
    rig.backend({ type: 'speech-stopped' })
    rig.run(2900)
    rig.heardWords(words, 'c2')
    t.same(rig.all('backend-interrupt'), [], words)
  }
})

t.test('words recognised by the service interrupt after the sound', async (t) => {
  const rig = overTheAgent()
  shortSound(rig)
  rig.heardWords('Which one?', 'c2')
  t.same(floor(rig), [1, 1, 1])
  rig.run(100)
  t.match(rig.onlyLogged('barge-in'), { committed: true, why: /words in 400 ms of voice/ })
  t.equal(rig.all('backend-interrupt').length, 1)
  rig.answer(3, 'answer', 500)
  rig.run(700)
  t.equal(rig.logged('turn').length, 1)
})

t.test('late words of the previous turn do not interrupt', async (t) => {
  const rig = overTheAgent()
  rig.backend({ type: 'speech-started' })
  rig.speak(100)
  rig.heardWords('Where is my order?', 'c2')
  rig.run(1500)
  t.same(floor(rig), [0, 1, 0])
})

t.test('words over a finished answer do not cut the next', async (t) => {
  const rig = overTheAgent()
  shortSound(rig)
  rig.answer(3, 'next', 500, 'It comes tomorrow.')
  rig.heardWords('And when?', 'c2')
  t.same(rig.all('backend-interrupt'), [])
  rig.run(8000)
  t.equal(rig.logged('turn').length, 1)
})

t.test("words over the answer's end make the service answer", async (t) => {
  const rig = overTheAgent()
  rig.run(5000)
  shortSound(rig)
  rig.run(4000)
  rig.log.length = 0
  rig.heardWords('And when?', 'c2')
  t.match(rig.only('backend-interrupt'), { itemId: null, playedMs: 0 })
})

/** A caller whose loudness is known hears a long answer. */
function toAKnownCaller(): Rig {
  const rig = Rig.talking({ bargeIn: bargeInByWords })
  for (let i = 0; i < 50; i++) rig.speak(20, { levelDbfs: i % 5 === 0 ? -14 : -20 })
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  return rig
}

const orders = (rig: Rig, fromMs: number): (readonly [string, number])[] =>
  rig.log.flatMap(({ atMs, output }) =>
    output.type.startsWith('playout-') ? [[output.type, atMs - fromMs] as const] : [],
  )

t.test('a short sound ducks the agent without a pause', async (t) => {
  for (const [rateHz, ms] of [
    [16_000, 180],
    [8000, 140],
  ] as const) {
    const rig = new Rig({ bargeIn: bargeInByWords })
    rig.in({ type: 'stream-opened', sampleRateHz: rateHz })
    rig.ready()
    rig.answer(1, 'long', 8000, 'A long answer.')
    rig.run(1000)
    rig.log.length = 0
    const fromMs = rig.nowMs
    rig.speak(ms)
    rig.run(1500)
    t.same(orders(rig, fromMs), [
      ['playout-duck', 40],
      ['playout-resume', ms + 100],
    ])
    t.match(rig.onlyLogged('barge-in'), { committed: false, duckMs: 40 })
  }
})

t.test('a 400 ms "mm" pauses the agent for 300 ms', async (t) => {
  const rig = listeningToALongAnswer()
  const fromMs = rig.nowMs
  rig.speak(400)
  rig.run(1500)
  t.same(orders(rig, fromMs), [
    ['playout-duck', 40],
    ['playout-pause', 200],
    ['playout-resume', 500],
  ])
})

t.test('a soft voice ducks the agent instead of pausing it', async (t) => {
  const rig = toAKnownCaller()
  const fromMs = rig.nowMs
  rig.speak(300, { levelDbfs: -30 })
  rig.run(1500)
  t.same(orders(rig, fromMs), [
    ['playout-duck', 40],
    ['playout-resume', 400],
  ])
})

t.test('voice before and after a short pause adds up', async (t) => {
  const rig = listeningToALongAnswer()
  rig.speak(280)
  rig.run(200)
  rig.speak(320)
  t.equal(rig.onlyLogged('barge-in').committed, true)
})

t.test('a partial backchannel resumes the paused agent', async (t) => {
  const rig = listeningToALongAnswer({ weighsSpeech: true })
  rig.speak(300)
  t.equal(rig.paused, true)
  partly(rig, 'ndiyo')
  t.equal(rig.paused, false)
  rig.speak(300)
  t.equal(rig.paused, false, 'also while it goes on')
})

t.test('late words interrupt with the played duration at that time', async (t) => {
  const rig = listeningToALongAnswer({ weighsSpeech: true })
  rig.speak(400)
  rig.run(800)
  rig.heardWords('Which one?', 'c2')
  const { playedMs } = rig.only('backend-interrupt')
  // Heard for 1,000 ms before the sound and 200 during it, and again for 700 ms from 500 on, less the hold-back.
  t.ok(playedMs > 1800 && playedMs < 1960, `played ${playedMs}`)
})

t.test('without ducking the agent pauses at the onset', async (t) => {
  const rig = listeningToALongAnswer({ bargeIn: { ...bargeInByWords, duck: false } })
  const fromMs = rig.nowMs
  rig.speak(120)
  rig.run(1500)
  t.same(
    orders(rig, fromMs).map(([type]) => type),
    ['playout-pause', 'playout-resume'],
  )
})

/** Words that a recogniser gives while the caller still speaks, of the sound over the agent. */
function partly(rig: Rig, text: string, itemId = 'c2'): void {
  rig.backend({ type: 'transcript', role: 'caller', text, final: false, itemId, generation: 2 })
}

/** A recogniser that gives words early, and a service that detects turns and lets the gateway decide. */
const recognisers = {
  'own turns': (): Rig => listeningToALongAnswer({ weighsSpeech: true }),
  'service turns': (): Rig => {
    const rig = overTheAgent()
    rig.backend({ type: 'speech-started' })
    return rig
  },
}

for (const [backend, begins] of Object.entries(recognisers)) {
  t.test(`partial refusals and stop words interrupt: ${backend}`, async (t) => {
    for (const word of ['No', 'stop', 'Wait.', 'hapana', 'acha', 'subiri', 'simama', 'ngoja nione', 'mm, no']) {
      const rig = begins()
      rig.speak(260)
      t.same(floor(rig)[2], 0)
      partly(rig, word)
      t.same(floor(rig)[2], 1, word)
      rig.run(100)
      t.match(rig.onlyLogged('barge-in'), {
        committed: true,
        why: /^words in 260 ms of voice/,
      })
    }
  })

  t.test(`partial affirmations and backchannels never interrupt: ${backend}`, async (t) => {
    for (const word of ['ndiyo', 'mm', 'Yes', 'sawa', 'okay', 'That is right.', 'um', 'hakuna shida']) {
      const rig = begins()
      rig.speak(200)
      partly(rig, word)
      rig.speak(900)
      rig.run(1500)
      t.same(floor(rig)[2], 0, word)
    }
  })
}

t.test('other partial words interrupt while the caller speaks', async (t) => {
  const rig = recognisers['own turns']()
  rig.speak(300)
  partly(rig, 'which')
  t.same(floor(rig)[2], 0, 'one word may become a listening phrase')
  partly(rig, 'which one')
  t.same(floor(rig)[2], 1)
})

t.test("an agent's own stop words interrupt", async (t) => {
  const rig = listeningToALongAnswer({ weighsSpeech: true, bargeIn: { ...bargeInByWords, stopWords: ['halt'] } })
  rig.speak(260)
  partly(rig, 'Halt!')
  t.same(floor(rig)[2], 1)
})

t.test("an agent's own backchannels override the stop words", async (t) => {
  const bargeIn = { ...bargeInByWords, backchannel: { maxMs: 600, words: ['no'] } }
  const rig = listeningToALongAnswer({ weighsSpeech: true, bargeIn })
  rig.speak(260)
  partly(rig, 'no no')
  rig.run(1500)
  t.same(floor(rig)[2], 0)
})

t.test('partial words of the previous turn do not interrupt', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords, weighsSpeech: true })
  rig.speak(400)
  partly(rig, 'no', 'c1')
  rig.run(700)
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  rig.speak(160)
  partly(rig, 'no no', 'c1')
  rig.run(1500)
  t.same(floor(rig)[2], 0)
})

t.test('a recogniser gets a short "no" over the agent', async (t) => {
  const rig = listeningToALongAnswer({ weighsSpeech: true })
  rig.speak(120)
  rig.run(700)
  t.equal(rig.all('backend-speech-end').length, 1)
  rig.heardWords('No.', 'c2')
  t.same(floor(rig)[2], 1)
})

t.test('an affirmation interrupts at the end of a question', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords, weighsSpeech: true })
  rig.answer(2, 'question', 3000, 'Is that right?')
  rig.run(2000)
  rig.log.length = 0
  rig.speak(140)
  rig.run(700)
  t.match(rig.only('backend-speech-end'), { unless: [] })
  rig.heardWords('Ndiyo.', 'c2')
  t.same(floor(rig)[2], 1)
})

t.test('a recogniser with partial words gets more time for them', async (t) => {
  const rig = listeningToALongAnswer({ weighsSpeech: true })
  rig.speak(300)
  partly(rig, 'sawa')
  rig.run(1500)
  // Since "sawa" was understood, the caller's usual level is known.
  rig.speak(700, { levelDbfs: -24 })
  t.same(floor(rig)[2], 0, 'the words of this sound are not there yet')
  rig.speak(600, { levelDbfs: -24 })
  t.same(floor(rig)[2], 1, 'and never come')
})

t.test('without words a loud sound interrupts earlier than soft sound', async (t) => {
  const takesMs = (rig: Rig, levelDbfs: number): number => {
    let ms = 0
    while (floor(rig)[2] === 0 && ms < 3000) {
      rig.speak(20, { levelDbfs })
      ms += 20
    }
    return ms
  }
  const levels = [-12, -19.5, -24, -30]
  t.same(
    levels.map((level) => takesMs(listeningToALongAnswer(), level)),
    [480, 600, 680, 760],
    'a little, before the caller is known',
  )
  t.same(
    levels.map((level) => takesMs(toAKnownCaller(), level)),
    [420, 600, 820, 1200],
  )
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

t.test('a voice 20 dB below the caller does not interrupt', async (t) => {
  const rig = spoken()
  voice(rig, 3000, -41)
  t.same([rig.all('playout-pause'), rig.all('playout-clear'), rig.all('backend-speech-start')], [[], [], []])
  t.match(
    rig.all('mark').find(({ name }) => name === 'quieter-voice'),
    { detail: /-40 dBFS, the caller's level -19 dBFS/ },
  )
})

t.test('a caller who speaks 10 dB softer still interrupts', async (t) => {
  const rig = spoken()
  voice(rig, 300, -30)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('before the first recognised words any voice level interrupts', async (t) => {
  const rig = Rig.talking()
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(1000)
  voice(rig, 300, -60)
  t.equal(rig.all('playout-clear').length, 1)
})

t.test('80 ms of doubtful voice does not pause the agent', async (t) => {
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

t.test("a television is not learnt as the caller's level", async (t) => {
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

t.test("the caller's level is forgotten once a quieter voice answers", async (t) => {
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

/** Levels of frames vary as those of speech: the loudest at `levelDbfs`. */
function says(rig: Rig, ms: number, levelDbfs: number, pitchHz: number): void {
  for (let passed = 0; passed < ms; passed += 20)
    rig.speak(20, { levelDbfs: levelDbfs - (passed % 100 === 0 ? 0 : 4), pitchHz })
}

/** The caller, known by a sentence at -15 dBFS and 120 Hz, hears a long answer. */
function known(overrides: Partial<CallSessionOptions> = {}): Rig {
  const rig = Rig.talking({ bargeIn: bargeInByWords, ...overrides })
  says(rig, 2000, -15, 120)
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.answer(2, 'long', 120_000, 'A long answer.')
  rig.run(1000)
  rig.log.length = 0
  return rig
}

/** Somebody else talks for so long, with pauses. */
function neighbour(rig: Rig, seconds: number, belowDb: number, pitchHz: number): void {
  for (let second = 0; second < seconds; second += 2) {
    says(rig, 1700, -15 - belowDb, pitchHz)
    rig.run(300)
  }
}

for (const belowDb of [9, 12, 15, 20, 26]) {
  t.test(`a neighbour ${belowDb} dB softer does not interrupt again`, async (t) => {
    const rig = known()
    neighbour(rig, 6, belowDb, 220)
    if (floor(rig)[2] > 0) rig.answer(3, 'again', 120_000, 'Another answer.')
    t.ok(floor(rig)[2] <= 1, 'one while it is not known')
    rig.run(1000)
    rig.log.length = 0
    neighbour(rig, 60, belowDb, 220)
    t.same(floor(rig).slice(2), [0])
    says(rig, 800, -15, 120)
    t.same(floor(rig).slice(2), [1], 'and the caller does')
  })
}

t.test('a caller who speaks 9 dB softer still interrupts', async (t) => {
  const rig = known()
  for (let sentence = 0; sentence < 5; sentence++) {
    rig.log.length = 0
    says(rig, 2400, -24, 120)
    t.same(floor(rig)[2], 1, `sentence ${sentence}`)
    rig.run(700)
    rig.heardWords('And the other one?', `s${sentence}`)
    rig.answer(3 + sentence, `answer${sentence}`, 60_000, 'An answer.')
    rig.run(1500)
  }
})

t.test('a louder voice ends the hold that other voices caused', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords, silence: { ...DEFAULT_CALL_OPTIONS.silence } })
  neighbour(rig, 16, 12, 220)
  t.ok(rig.session.counters.putOnHold === 1, 'the agent waits')
  rig.log.length = 0
  says(rig, 1200, -15, 120)
  t.ok(rig.all('mark').some(({ name }) => name === 'voice-stands-out'))
  t.ok(rig.all('mark').some(({ name }) => name === 'put-on-hold-over'))
  rig.run(700)
  t.equal(rig.all('backend-speech-end').length, 1, 'and the caller is answered')
})

for (const words of ['Where is the bus now?', 'Basi liko wapi sasa?'])
  t.test(`recognised words of a neighbour do not interrupt: ${words}`, async (t) => {
    const rig = known({ weighsSpeech: true })
    neighbour(rig, 8, 9, 220)
    if (floor(rig)[2] > 0) rig.answer(3, 'again', 120_000, 'Another answer.')
    rig.run(4000)
    rig.log.length = 0
    for (let sentence = 0; sentence < 20; sentence++) {
      says(rig, 1500, -24, 220)
      // A loud syllable, which is as near to the caller as to the neighbour.
      rig.speak(140, { levelDbfs: -17, pitchHz: 220 })
      rig.run(700)
      rig.heardWords(words, `n${sentence}`)
    }
    t.equal(floor(rig)[2], 0)
    t.equal(marked(rig, 'words-of-another'), 20)
    t.same(rig.logged('turn'), [])
    says(rig, 300, -15, 120)
    rig.run(700)
    rig.heardWords('No, the other one.', 'c9')
    t.equal(floor(rig)[2], 1, 'and those of the caller do')
    t.equal(marked(rig, 'words-of-another'), 20)
  })

t.test('late words of a caller beside a neighbour are accepted', async (t) => {
  for (const sound of [
    { ms: 140, levelDbfs: -15, pitchHz: 120 },
    { ms: 400, levelDbfs: -15, pitchHz: 0, doubtful: true },
  ]) {
    const rig = known({ weighsSpeech: true })
    neighbour(rig, 12, 9, 220)
    rig.run(4000)
    rig.heardWords('Where is the bus now?', 'n1')
    rig.log.length = 0
    const { ms, ...figures } = sound
    rig.speak(ms, figures)
    neighbour(rig, 4, 9, 220)
    rig.heardWords('No, the other one.', 'c9')
    t.equal(marked(rig, 'words-of-another'), 0)
  }
})

t.test('softer words in the caller’s pitch are accepted', async (t) => {
  const rig = known({ weighsSpeech: true })
  neighbour(rig, 12, 9, 220)
  rig.run(4000)
  rig.log.length = 0
  says(rig, 1500, -24, 120)
  rig.run(700)
  rig.heardWords('No, the other one.', 'c9')
  t.equal(marked(rig, 'words-of-another'), 0)
})

t.test('words from keys beside a neighbour are accepted', async (t) => {
  const rig = known({ weighsSpeech: true })
  neighbour(rig, 12, 12, 220)
  rig.log.length = 0
  rig.in({ type: 'dtmf', digit: '4' })
  neighbour(rig, 2, 12, 220)
  rig.heardWords('4', 'keys-1')
  t.equal(marked(rig, 'words-of-another'), 0)
})

t.test('with `secondVoice` off a softer voice interrupts', async (t) => {
  const rig = known({ bargeIn: { ...bargeInByWords, secondVoice: false } })
  neighbour(rig, 4, 9, 220)
  t.same(floor(rig)[2], 1)
})

t.test('constant speech of another voice leads to an escalation [1]', async (t) => {
  const rig = known({ escalation, bargeIn: bargeInByWords })
  neighbour(rig, 6, 12, 220)
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  rig.in({ type: 'dtmf', digit: '5' })
  rig.answer(9, 'short', 500, 'Yes.')
  rig.run(700)
  rig.log.length = 0
  for (let i = 0; i < 40 && rig.all('escalate').length === 0; i++) neighbour(rig, 2, 12, 220)
  t.match(rig.texts()[0], /somebody else on the line/)
  t.equal(rig.all('escalate').length, 1)
  t.same(rig.all('end-stream'), [])
})

const marked = (rig: Rig, mark: string): number => rig.all('mark').filter(({ name }) => name === mark).length

/** Hold music without a word: a second of it as loud as the caller, then a second 6 dB softer. */
function holdMusic(rig: Rig, seconds: number): void {
  for (let second = 0; second < seconds; second += 2) {
    says(rig, 1000, -15, 120)
    says(rig, 1000, -22, 120)
  }
}

t.test('hold music of changing level keeps the agent on hold', async (t) => {
  const rig = known({ weighsSpeech: true, putOnHold: { afterMs: 8000, maxMs: 60_000 } })
  holdMusic(rig, 16)
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  holdMusic(rig, 60)
  t.equal(marked(rig, 'voice-stands-out'), 1, 'once without words')
  t.equal(rig.session.counters.putOnHold, 2, 'the agent waits again')
  holdMusic(rig, 60)
  t.match(rig.only('end-stream'), { reason: 'silence-limit', detail: /put on hold/ })
})

t.test('after words or a digit a louder voice is trusted', async (t) => {
  for (const understood of ['words', 'digit']) {
    const rig = known({ weighsSpeech: true })
    holdMusic(rig, 60)
    t.equal(marked(rig, 'voice-stands-out'), 1)
    if (understood === 'words') rig.heardWords('I am back.', 'back')
    else rig.in({ type: 'dtmf', digit: '1' })
    holdMusic(rig, 60)
    t.equal(marked(rig, 'voice-stands-out'), 2, understood)
  }
})

t.test('a caller never recognised before is not a second voice', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords })
  neighbour(rig, 10, 12, 120)
  says(rig, 1200, -15, 120)
  rig.run(700)
  neighbour(rig, 4, 12, 120)
  t.equal(marked(rig, 'voice-stands-out'), 0)
  t.equal(marked(rig, 'quieter-voice'), 0)
})

t.test('a stop word after "mm" interrupts at its own start', async (t) => {
  const rig = listeningToALongAnswer({ weighsSpeech: true })
  const fromMs = rig.nowMs
  rig.speak(300)
  rig.run(400)
  rig.speak(260)
  partly(rig, 'mm stop')
  const { playedMs } = rig.only('backend-interrupt')
  // Heard for 1,000 ms before, 200 of the "mm", 500 from its end on; less the hold-back and the lead.
  t.ok(playedMs > 1500 && playedMs < 1800, `played ${playedMs}`)
  rig.run(100)
  const { atMs, stopMs } = rig.onlyLogged('barge-in')
  t.equal(atMs, fromMs + 700 - 1000)
  t.ok(stopMs !== null && stopMs <= 220, `stopMs ${stopMs}`)
})

t.test('the backend gets speech over the agent from its start', async (t) => {
  const rig = listeningToALongAnswer()
  const atMs = rig.nowMs
  rig.speak(280)
  rig.run(200)
  rig.speak(340)
  t.match(rig.only('backend-speech-start'), { atMs })
})

t.test("the played duration includes audio before the agent's pause", async (t) => {
  const rig = listeningToALongAnswer()
  const before = rig.session.log.bargeIns.length
  rig.speak(620)
  t.equal(rig.session.log.bargeIns.length, before + 1)
  const { playedMs } = rig.only('backend-interrupt')
  // 1,000 ms before the onset, 200 ducked, and the lead that was sent.
  t.ok(playedMs > 1180 && playedMs < 1320, `played ${playedMs}`)
})

t.test('a short sound after a backchannel only ducks the agent', async (t) => {
  const rig = listeningToALongAnswer()
  const fromMs = rig.nowMs
  rig.speak(400)
  rig.run(300)
  rig.speak(40)
  rig.run(1500)
  t.same(orders(rig, fromMs), [
    ['playout-duck', 40],
    ['playout-pause', 200],
    ['playout-resume', 500],
    ['playout-duck', 720],
    ['playout-resume', 840],
  ])
})

for (const [backend, begins] of Object.entries(recognisers)) {
  t.test(`several backchannels do not add up to a barge-in: ${backend}`, async (t) => {
    const rig = begins()
    for (let i = 0; i < 4; i++) {
      rig.speak(300)
      rig.run(800)
    }
    rig.run(2000)
    t.same(floor(rig)[2], 0)
    t.equal(rig.logged('barge-in').length, 4)
  })
}

t.test('"no problem" is a backchannel when recognised late', async (t) => {
  for (const words of ['Hakuna shida.', 'No problem.']) {
    const rig = overTheAgent()
    shortSound(rig)
    rig.heardWords(words, 'c2')
    rig.run(2000)
    t.same(floor(rig)[2], 0, words)
    t.same(rig.logged('turn'), [])
  }
  const weighs = listeningToALongAnswer({ weighsSpeech: true })
  weighs.speak(300)
  weighs.run(620)
  const { unless } = weighs.only('backend-speech-end')
  t.ok(unless?.includes('hakuna shida') && unless.includes('no problem'))
})

t.test('a ducked agent has no stop time', async (t) => {
  const ducked = listeningToALongAnswer()
  ducked.speak(140)
  ducked.run(1500)
  t.equal(ducked.onlyLogged('barge-in').stopMs, null)
  const silenced = listeningToALongAnswer()
  silenced.speak(400)
  silenced.run(1500)
  const { stopMs } = silenced.onlyLogged('barge-in')
  t.ok(stopMs !== null && stopMs >= 180 && stopMs <= 220, `stopMs ${stopMs}`)
})

t.test('an affirmation after an "mm" answers a finished question', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords, weighsSpeech: true })
  const question = 'So you want two of the red ones?'
  rig.answer(2, 'long', 8000, `${question} ${'And they will come to the shop. '.repeat(3)}`)
  rig.run(1700)
  rig.log.length = 0
  rig.speak(140)
  rig.run(400)
  rig.speak(140)
  rig.run(700)
  t.equal(rig.only('backend-speech-end').unless?.length, 0)
  rig.heardWords('Ndiyo.', 'c2')
  t.same(floor(rig)[2], 1)
})

t.test('late final words of the previous turn do not interrupt', async (t) => {
  const rig = Rig.talking({ bargeIn: bargeInByWords, weighsSpeech: true })
  rig.speak(400)
  rig.run(620)
  rig.answer(2, 'long', 8000, 'A long answer.')
  rig.run(500)
  rig.log.length = 0
  rig.speak(160)
  rig.heardWords('No, the red one, please.', 'c1')
  t.same(floor(rig)[2], 0)
  rig.run(700)
  rig.heardWords('No.', 'c2')
  t.same(floor(rig)[2], 1, 'that of the sound does')
})

t.test("an agent's stop word may contain a backchannel", async (t) => {
  const bargeIn = { ...bargeInByWords, stopWords: ['okay lala'] }
  const rig = listeningToALongAnswer({ weighsSpeech: true, bargeIn })
  rig.speak(260)
  partly(rig, 'Okay, lala')
  t.same(floor(rig)[2], 1)
})

t.test('a closed backend clears only a paused playout', async (t) => {
  for (const [ms, cuts] of [
    [140, 0],
    [300, 1],
  ] as const) {
    const rig = listeningToALongAnswer()
    rig.speak(ms)
    rig.backend({ type: 'closed', code: 1006, reason: '', clean: false })
    t.equal(rig.all('playout-clear').length, cuts, `${ms} ms`)
  }
})

t.test('an onset of 200 ms pauses the agent without ducking', async (t) => {
  const rig = new Rig({
    bargeIn: bargeInByWords,
    speech: { ...DEFAULT_CALL_OPTIONS.speech, adaptive: false, onsetMs: 200 },
  })
  rig.open()
  rig.ready()
  rig.answer(1, 'long', 8000, 'A long answer.')
  rig.run(1000)
  rig.speak(220)
  t.same([marked(rig, 'barge-in-duck'), marked(rig, 'barge-in-pause')], [0, 1])
})

t.test('constant speech of another voice escalates only once', async (t) => {
  const rig = known({ escalation, bargeIn: bargeInByWords })
  neighbour(rig, 6, 12, 220)
  rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  rig.in({ type: 'dtmf', digit: '5' })
  rig.answer(9, 'short', 500, 'Yes.')
  rig.run(700)
  for (let i = 0; i < 40 && rig.all('escalate').length === 0; i++) neighbour(rig, 2, 12, 220)
  t.equal(rig.all('escalate').length, 1)
  rig.in({ type: 'escalation', step: { type: 'failed', outcome: 'busy', detail: '', closed: false } })
  for (let i = 0; i < 100 && rig.all('end-stream').length === 0; i++) neighbour(rig, 2, 12, 220)
  t.equal(rig.all('escalate').length, 1)
})
