import t from 'tap'
import { escalation, Rig } from './rig.js'

t.test('the backend is asked to greet once, when the stream is open and it is ready', async (t) => {
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

t.test('a model that accepts and says nothing: the gateway greets after 3 s, and the model learns of it', async (t) => {
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

t.test('a greeting that comes too late is not spoken as a second one, and the answer to the caller is', async (t) => {
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

t.test('a caller who has spoken before that hears the greeting, and the answer that follows', async (t) => {
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

t.test('a caller who speaks at that moment is not spoken over', async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.ready()
  rig.run(2800)
  rig.speak(1000)
  t.same(rig.texts(), [])
  rig.run(700)
  t.same(rig.texts(), ['Welcome.'])
})

t.test('a model that greets in time, however little of it is heard yet, leaves nothing to the gateway', async (t) => {
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

t.test('without words of its own to greet with, the gateway says a filler, and the model is still asked', async (t) => {
  const rig = new Rig()
  rig.open()
  rig.ready()
  rig.run(3200)
  t.same(rig.texts(), ['One moment, please.'])
  rig.answer(1, 'own', 1000, 'Welcome to the shop.')
  rig.run(2500)
  t.equal(rig.session.log.transcript.at(-1)?.text, 'Welcome to the shop.')
})

t.test('a backend that is not ready when the gateway greets is not asked to greet', async (t) => {
  const rig = new Rig(GREETS)
  rig.open()
  rig.run(3300)
  t.same(rig.texts(), ['Welcome.'])
  rig.ready()
  t.match(rig.only('backend-text'), { respond: false, text: 'Welcome.', role: 'agent' })
})

t.test('a backend that never says anything fails with the first turn of the caller', async (t) => {
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

t.test('times count from the opening of the socket, although the session hears of it late', async (t) => {
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

t.test('a greeting that cannot be synthesised is left to the backend', async (t) => {
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

t.test('a caller whose backend never gets ready hears an apology, then a human or the end', async (t) => {
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

t.test('a backend that dies while the phone rings is noticed when the stream opens', async (t) => {
  const rig = new Rig()
  rig.backend({ type: 'error', code: 'auth', message: 'no', fatal: true, retryable: false })
  t.same(rig.types(), [])
  rig.open()
  t.same(rig.texts(), ['I am sorry, I have a technical problem.'])
})

t.test('a backend that is ready and never greets does not leave the caller in silence', async (t) => {
  const rig = new Rig()
  rig.open()
  rig.ready()
  rig.run(12_100)
  t.same(rig.texts(), ['One moment, please.', 'I am sorry, I have a technical problem.'])
})

t.test('nextWake says when and why', async (t) => {
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

t.test('a caller who is recorded hears so before anything else, and cannot interrupt it', async (t) => {
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

t.test('a caller who could not be told is served, and nothing of the recording is kept', async (t) => {
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
