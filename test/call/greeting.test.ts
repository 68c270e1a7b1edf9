import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { escalation, Rig } from './rig.js'

t.test('an open stream and a ready backend request one greeting', async (t) => {
  for (const order of ['ready first', 'stream first']) {
    const rig = new Rig()
    if (order === 'ready first') rig.ready()
    else rig.open()
    t.same(rig.all('backend-text'), [], order)
    if (order === 'ready first') rig.open()
    else rig.ready()
    t.same(rig.only('backend-text'), { type: 'backend-text', text: 'greet', role: 'system', respond: true })
    rig.ready()
    rig.run(1000)
    t.equal(rig.all('backend-text').length, 1)
    t.equal(rig.session.state, 'live')
  }
})

const GREETS = { greeting: 'Welcome.' }

t.test('the gateway greets if the model stays silent [5]', async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.ready()
  rig.run(2980)
  t.same(rig.texts(), [])
  rig.run(200)
  t.same(rig.texts(), ['Welcome.'])
  t.equal(rig.session.greetingMs, 3020)
  const [kickOff, told] = rig.all('backend-text')
  t.match(kickOff, { text: 'greet', respond: true })
  t.match(told, { role: 'agent', respond: false, text: 'Welcome.' })
  rig.run(13_000)
  t.match(rig.session.log.transcript[0], { role: 'agent', text: 'Welcome.' })
  t.notOk(rig.types().includes('end-stream'), 'the caller owes the next word, not the model')
})

t.test('a late greeting is dropped, the next answer plays [6]', async (t) => {
  for (const serverVad of [false, true]) {
    const rig = new Rig({ ...GREETS, serverVad })
    rig.open()
    rig.ready()
    rig.run(3500)
    rig.backend({ type: 'turn-start', generation: 1 })
    t.match(rig.only('backend-interrupt'), { itemId: null, playedMs: 0 })
    t.notOk(rig.audio(1, 'late', 400))
    rig.backend({ type: 'transcript', role: 'agent', text: 'Welcome.', final: true, itemId: 'late', generation: 1 })
    rig.run(1500)
    rig.speak(600)
    if (serverVad) rig.backend({ type: 'speech-started' })
    t.notOk(rig.audio(1, 'late', 400), 'also not once the caller has spoken')
    rig.run(700)
    if (serverVad) rig.backend({ type: 'speech-stopped' })
    rig.backend({ type: 'turn-done', generation: 1, status: 'cancelled' })
    rig.answer(2, 'answer', 800, 'It is on its way.')
    rig.run(1500)
    t.same(
      rig.session.log.transcript.map(({ text }) => text),
      ['Welcome.', 'It is on its way.'],
    )
  }
})

t.test('a caller who speaks early hears the greeting and answer', async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.ready()
  rig.run(1000)
  rig.speak(600)
  rig.run(1700)
  t.same(rig.texts(), ['Welcome.'])
  rig.run(1500)
  rig.answer(1, 'answer', 800, 'It is on its way.')
  rig.run(1500)
  t.equal(rig.session.log.transcript.at(-1)?.text, 'It is on its way.')
  t.equal(rig.logged('turn').length, 1)
})

t.test("the gateway's greeting waits while the caller speaks", async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.ready()
  rig.run(2800)
  rig.speak(1000)
  t.same(rig.texts(), [])
  rig.run(700)
  t.same(rig.texts(), ['Welcome.'])
})

t.test("a model that greets in time replaces the gateway's greeting", async (t) => {
  for (const afterMs of [500, 2960]) {
    const rig = new Rig(GREETS)
    rig.open()
    rig.ready()
    rig.run(afterMs)
    rig.answer(1, 'own', 1000, 'Welcome to the shop.')
    rig.run(8000)
    t.notOk(rig.texts().includes('Welcome.'), `${afterMs} ms`)
    t.equal(rig.all('backend-text').length, 1)
  }
})

t.test('without a greeting text the gateway says a filler', async (t) => {
  const rig = new Rig()
  rig.open()
  rig.ready()
  rig.run(3200)
  t.same(rig.texts(), ['One moment, please.'])
  rig.answer(1, 'own', 1000, 'Welcome to the shop.')
  rig.run(2500)
  t.equal(rig.session.log.transcript.at(-1)?.text, 'Welcome to the shop.')
})

t.test('a backend that connects after the greeting is not asked', async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.run(3300)
  t.same(rig.texts(), ['Welcome.'])
  rig.ready()
  t.match(rig.only('backend-text'), { respond: false, text: 'Welcome.', role: 'agent' })
})

t.test('a backend that stays silent fails at the first turn', async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.ready()
  rig.run(4500)
  rig.speak(600)
  rig.run(700)
  rig.heardWords('Where is my order?')
  rig.run(12_000)
  t.equal(rig.texts().at(-1), 'I am sorry, I have a technical problem.')
})

t.test('times count from the opening of the socket', async (t) => {
  const rig = new Rig()
  const openedAtMs = rig.nowMs
  rig.ready()
  rig.run(600)
  rig.in({ type: 'stream-opened', sampleRateHz: 16000, openedAtMs })
  rig.answer(1, 'greeting', 1000)
  rig.run(1500)
  t.equal(rig.session.greetingMs, 620)
  t.equal(rig.session.streamMs(rig.nowMs), 2100)
  t.match(
    rig.all('mark').find(({ name }) => name === 'stream-opened'),
    { atMs: openedAtMs },
  )
})

t.test("the backend greets if the gateway's greeting cannot be synthesised", async (t) => {
  const late = new Rig(GREETS)
  late.announceMs = null
  late.open()
  late.ready()
  late.run(3100)
  late.in({ type: 'announce-failed', itemId: late.only('announce').itemId })
  late.answer(1, 'own', 1000, 'Welcome to the shop.')
  late.run(1500)
  t.equal(late.session.log.transcript.at(-1)?.text, 'Welcome to the shop.')

  const waiting = new Rig(GREETS)
  waiting.announceMs = null
  waiting.open()
  waiting.run(3100)
  waiting.in({ type: 'announce-failed', itemId: waiting.only('announce').itemId })
  waiting.ready()
  t.equal(waiting.only('backend-text').text, 'greet')
})

t.test('a backend that never connects leads to an apology [4]', async (t) => {
  const alone = new Rig()
  alone.open()
  alone.run(3980)
  t.same(alone.texts(), ['One moment, please.'])
  alone.run(40)
  t.same(alone.texts().slice(1), ['I am sorry, I have a technical problem.'])
  alone.run(2000)
  t.match(alone.only('end-stream'), { reason: 'backend-failed', hangup: true, code: 1000 })
  alone.in({ type: 'stream-closed', code: 1000 })
  t.match(alone.only('ended'), { outcome: 'failed', reason: 'backend-failed' })

  const helped = new Rig({ escalation })
  helped.open()
  helped.run(4020)
  t.match(helped.only('escalate').packet, { reason: 'technical problem', callSid: 'HD_test' })
  t.same(helped.texts().slice(1), ['I am sorry, I have a technical problem.'])
  helped.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  t.equal(helped.texts().at(-1), 'Connecting you.')
  helped.run(3000)
  t.match(helped.only('end-stream'), { reason: 'escalated', hangup: false })
})

t.test('a backend failure while ringing is noticed at the opening', async (t) => {
  const rig = new Rig()
  rig.backend({ type: 'error', code: 'auth', message: 'no', fatal: true, retryable: false })
  t.same(rig.types(), [])
  rig.open()
  t.same(rig.texts(), ['I am sorry, I have a technical problem.'])
})

t.test('a ready backend that never greets leads to an apology', async (t) => {
  const rig = new Rig()
  rig.open()
  rig.ready()
  rig.run(12_100)
  t.same(rig.texts(), ['One moment, please.', 'I am sorry, I have a technical problem.'])
})

t.test('`nextWake` returns the time and the reason', async (t) => {
  const rig = new Rig()
  t.equal(rig.session.nextWake(), null)
  rig.open()
  t.same(rig.session.nextWake(), { atMs: 4000, reason: 'greeting' })
  rig.run(3100)
  t.same(rig.session.nextWake(), { atMs: 5000, reason: 'backend-ready' })
  rig.ready()
  t.same(rig.session.nextWake(), { atMs: 12_100, reason: 'silence' })
})

const recorded = { consentText: 'This call is recorded.' }

t.test('the consent text comes first and cannot be interrupted', async (t) => {
  const rig = new Rig(recorded)
  rig.open()
  rig.ready()
  t.same(rig.texts(), ['This call is recorded.'])
  t.same(rig.all('backend-text'), [], 'the agent waits')
  rig.run(300)
  rig.speak(400)
  t.same(rig.all('playout-pause'), [])
  t.same(rig.all('recording-announced'), [])
  rig.run(600)
  t.equal(rig.all('recording-announced').length, 1)
  t.match(rig.all('backend-text'), [{ text: 'This call is recorded.', role: 'agent' }, { text: 'greet' }])
  t.equal(rig.session.state, 'live')
  t.same(
    rig.session.log.transcript.map(({ text }) => text),
    ['This call is recorded.'],
  )
})

t.test('a failed consent text leaves the call unrecorded [1]', async (t) => {
  const broken = new Rig(recorded)
  broken.announceMs = null
  broken.open()
  broken.ready()
  broken.in({ type: 'announce-failed', itemId: broken.only('announce').itemId })
  t.equal(broken.session.state, 'live')
  t.same(broken.all('recording-announced'), [])

  const stuck = new Rig(recorded)
  stuck.announceMs = null
  stuck.open()
  stuck.ready()
  stuck.run(8000)
  t.equal(stuck.session.state, 'live')
  t.same(stuck.all('recording-announced'), [])

  const slow = new Rig(recorded)
  slow.open()
  slow.run(1500)
  t.equal(slow.all('recording-announced').length, 1, 'told while the backend connects')
  t.equal(slow.session.state, 'connecting')
  slow.ready()
  t.equal(slow.session.state, 'live')
})

const refusable = {
  consentText: { en: 'This call is recorded. Say no if you mind.', sw: 'Simu hii inarekodiwa. Ukikataa sema hapana.' },
  refusal: { waitMs: 2500, text: { en: 'Nothing is kept.', sw: 'Hatutahifadhi.' } },
}

/** A caller has heard that the call is recorded, and may say no. */
function asked(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = new Rig({ ...refusable, ...overrides })
  rig.open()
  rig.ready()
  rig.run(1150)
  return rig
}

t.test('a caller may refuse the recording before the conversation [2]', async (t) => {
  const rig = asked({ serverVad: true })
  t.same(rig.all('recording-announced'), [], 'not before the answer')
  t.equal(rig.session.state, 'connecting')
  rig.run(500)
  rig.speak(400)
  rig.run(700)
  // A backend that answers of itself.
  rig.backend({ type: 'turn-start', generation: 1 })
  t.equal(rig.all('backend-interrupt').length, 1, 'its answer is not wanted')
  rig.heardWords("No, I don't want that.")
  t.equal(rig.all('recording-refused').length, 1)
  t.same(rig.texts(), ['This call is recorded. Say no if you mind.', 'Nothing is kept.'])
  t.equal(rig.session.state, 'live')
  t.match(rig.all('backend-text').slice(-2), [
    { role: 'system', respond: false, text: /does? not want to be recorded|do not want to be recorded/ },
    { text: 'greet', respond: true },
  ])
  rig.run(1500)
  t.ok(rig.audio(2, 'a2', 500), 'and the greeting is heard')
  rig.run(10_000)
  t.same(rig.all('recording-announced'), [])
  t.match(
    rig.all('mark').filter(({ name }) => name === 'recording'),
    [{ detail: 'the caller was told' }, { detail: 'the caller said no' }],
  )

  const own = asked()
  own.speak(400)
  own.toolCall('t1', 'find_order')
  t.match(own.all('run-tool'), [{ callId: 't1' }], 'what a backend begins in the meantime is not lost')
  own.run(700)
  own.heardWords('No.')
  own.backend({ type: 'turn-start', generation: 1 })
  t.ok(own.audio(1, 'a1', 500), 'one whose turns we end answers the no of itself')
  t.notOk(own.all('backend-text').some(({ text }) => text === 'greet'))
})

t.test('only a refusal by word or key prevents recording [3]', async (t) => {
  const silent = asked()
  silent.run(2300)
  t.equal(silent.session.state, 'connecting')
  silent.run(300)
  t.equal(silent.session.state, 'live')
  t.equal(silent.all('recording-announced').length, 1)

  for (const [words, refused] of [
    ['Where is my order?', false],
    ['Yes.', false],
    ['No problem.', false],
    ['Hakuna shida.', false],
    ['No.', true],
    ['Hapana, sitaki.', true],
    ['Zii.', true],
  ] as const) {
    const rig = asked({ languages: ['en', 'sw'] })
    rig.heardWords(words)
    t.equal(rig.all('recording-refused').length === 1, refused, words)
    t.equal(rig.all('recording-announced').length === 1, !refused, words)
    t.equal(rig.session.state, 'live')
  }
  const asking = asked()
  asking.heardWords('Where is my order?')
  t.same(
    asking.all('backend-text').map(({ text }) => text),
    ['This call is recorded. Say no if you mind.'],
    'its own answer comes',
  )
  asking.backend({ type: 'turn-start', generation: 1 })
  t.ok(asking.audio(1, 'a1', 500))
  const hasty = asked({ serverVad: true })
  hasty.backend({ type: 'turn-start', generation: 1 }) // of itself, before its words are known
  hasty.heardWords('Where is my order?')
  t.match(hasty.all('backend-text').at(-1), { text: /answer what they have just said/, respond: true })
  t.notOk(hasty.audio(1, 'a1', 500))
  t.ok(hasty.audio(2, 'a2', 500))
  const inSwahili = asked({ languages: ['sw', 'en'] })
  inSwahili.heardWords('Hapana.')
  t.same(inSwahili.texts(), ['Simu hii inarekodiwa. Ukikataa sema hapana.', 'Hatutahifadhi.'])

  for (const digit of ['1', '2']) {
    const rig = asked()
    rig.in({ type: 'dtmf', digit })
    t.same(rig.all('backend-dtmf'), [], 'no digit for the agent')
    t.equal(rig.all('recording-refused').length === 1, digit === '2')
  }
})

t.test('a refusal counts while the consent text plays', async (t) => {
  const rig = new Rig(refusable)
  rig.open()
  rig.ready()
  rig.run(500)
  rig.in({ type: 'dtmf', digit: '2' })
  t.equal(rig.all('recording-refused').length, 1)
  rig.run(5000)
  t.same(rig.all('recording-announced'), [])

  const asks = new Rig({ ...refusable, refusal: null })
  asks.open()
  asks.ready()
  asks.run(500)
  asks.heardWords('No.')
  t.same(asks.all('recording-refused'), [], 'where nobody was asked it is any other word')
})

t.test('a late refusal is heard, noise is not awaited forever', async (t) => {
  const late = asked()
  late.run(2200)
  late.speak(600)
  late.run(1500)
  t.equal(late.session.state, 'connecting', 'the words may still come')
  late.heardWords('No.')
  t.equal(late.all('recording-refused').length, 1)

  const noisy = asked()
  noisy.speak(8000)
  t.equal(noisy.session.state, 'live')
  t.equal(noisy.all('recording-announced').length, 1)

  const unheard = new Rig(refusable)
  unheard.announceMs = null
  unheard.open()
  unheard.ready()
  unheard.in({ type: 'announce-failed', itemId: unheard.only('announce').itemId })
  t.equal(unheard.session.state, 'live', 'nobody was asked')
  t.same(unheard.all('recording-announced'), [])
})

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

t.test('speech before the stream opened does not interrupt the greeting', async (t) => {
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

t.test('early speech reaches the backend as a turn', async (t) => {
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

t.test('speech that continues after the opening interrupts the greeting', async (t) => {
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

t.test('only a digit after the opening interrupts the greeting', async (t) => {
  const rig = spokeBefore()
  rig.in({ type: 'dtmf', digit: '1' })
  t.same(rig.all('playout-clear'), [])
  rig.run(200)
  rig.in({ type: 'dtmf', digit: '2' })
  t.equal(rig.all('playout-clear').length, 1)
})

t.test("early speech sets neither presence nor the caller's level", async (t) => {
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

const FIRST_MS = DEFAULT_CALL_OPTIONS.silence.firstAfterMs ?? 0

/** The gateway's lines that the backend got as the agent's own. */
const told = (rig: Rig) => rig.all('backend-text').flatMap(({ role, text }) => (role === 'agent' ? [text] : []))

t.test('the backend learns each spoken phrase of the gateway', async (t) => {
  const rig = Rig.talking()
  rig.run(FIRST_MS + 100)
  const [prompt] = rig.texts()
  t.same(told(rig), [], 'it is being said')
  rig.run(1500)
  t.same(told(rig), [prompt])

  const slow = Rig.talking()
  slow.answer(2, 'a2', 500, 'Yes, your order.')
  slow.toolCall('c1', 'find_order', {}, 2)
  slow.run(10_500)
  t.equal(slow.texts().length, 2, 'two fillers')
  t.same(told(slow), slow.texts())
  t.match(
    rig.log.filter(({ output }) => output.type === 'backend-text').map(({ output }) => output),
    [{ respond: false }],
    'nothing is to be answered',
  )
})

t.test('the backend learns interrupted phrases, but not failed phrases', async (t) => {
  const cut = Rig.talking()
  cut.run(FIRST_MS + 400)
  cut.speak(800)
  t.same(told(cut), [`${cut.texts()[0] ?? ''} [the caller interrupted]`])

  const mute = Rig.talking()
  mute.announceMs = null
  mute.run(FIRST_MS + 100)
  const announced = mute.all('announce').at(-1)
  mute.in({ type: 'announce-failed', itemId: announced?.itemId ?? '' })
  mute.run(100)
  t.same(told(mute), [])
  t.match(
    mute.session.log.transcript.at(-1),
    { text: announced?.text, interrupted: true, playedMs: 0 },
    'nor does the record say that it was heard',
  )
})

t.test('a failed or abandoned backend learns no phrases', async (t) => {
  const dead = Rig.talking({ onBackendFailure: 'hangup' })
  dead.backend({ type: 'error', code: 'internal', message: 'gone', fatal: true, retryable: false })
  dead.run(3000)
  t.ok(dead.texts().length > 0, 'the apology')
  t.same(told(dead), [])

  const left = Rig.talking()
  left.run(FIRST_MS + 100)
  left.in({ type: 'stream-closed', code: 1000 })
  t.same(told(left), [])
})
