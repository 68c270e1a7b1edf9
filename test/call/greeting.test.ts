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

t.test(
  'a greeting of the gateway is spoken before the backend is ready, and the backend does not greet too',
  async (t) => {
    const rig = new Rig({ greeting: 'Welcome.' })
    rig.open()
    t.equal(rig.only('announce').text, 'Welcome.')
    rig.run(1500)
    rig.ready()
    rig.run(100)
    t.same(rig.all('backend-text'), [])
    t.equal(rig.session.greetingMs, 20)
    t.same(
      rig.session.log.transcript.map(({ role, text }) => ({ role, text })),
      [{ role: 'agent', text: 'Welcome.' }],
    )
  },
)

t.test('times count from the opening of the socket, although the session hears of it late', async (t) => {
  const rig = new Rig({ greeting: 'Welcome.' })
  const openedAtMs = rig.nowMs
  rig.run(600)
  rig.in({ type: 'stream-opened', sampleRateHz: 16000, openedAtMs })
  rig.run(1500)
  t.equal(rig.session.greetingMs, 620)
  t.equal(rig.session.streamMs(rig.nowMs), 2100)
  t.match(
    rig.all('mark').find(({ name }) => name === 'stream-opened'),
    { atMs: openedAtMs },
  )
})

t.test('a greeting that cannot be synthesised is left to the backend', async (t) => {
  const rig = new Rig({ greeting: 'Welcome.' })
  rig.announceMs = null
  rig.open()
  rig.ready()
  t.same(rig.all('backend-text'), [])
  rig.in({ type: 'announce-failed', itemId: rig.only('announce').itemId })
  t.equal(rig.only('backend-text').text, 'greet')
})

t.test('a caller whose backend never gets ready hears an apology, then a human or the end', async (t) => {
  const alone = new Rig()
  alone.open()
  alone.run(3980)
  t.same(alone.texts(), [])
  alone.run(40)
  t.same(alone.texts(), ['I am sorry, I have a technical problem.'])
  alone.run(2000)
  t.match(alone.only('end-stream'), { reason: 'backend-failed', hangup: true, code: 1000 })
  alone.in({ type: 'stream-closed', code: 1000 })
  t.match(alone.only('ended'), { outcome: 'failed', reason: 'backend-failed' })

  const helped = new Rig({ escalation })
  helped.open()
  helped.run(4020)
  t.match(helped.only('escalate').packet, { reason: 'technical problem', callSid: 'HD_test' })
  t.same(helped.texts(), ['I am sorry, I have a technical problem.'])
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
  t.same(rig.texts(), ['I am sorry, I have a technical problem.'])
})

t.test('nextWake says when and why', async (t) => {
  const rig = new Rig()
  t.equal(rig.session.nextWake(), null)
  rig.open()
  t.same(rig.session.nextWake(), { atMs: 5000, reason: 'backend-ready' })
  rig.ready()
  t.same(rig.session.nextWake(), { atMs: 9000, reason: 'silence' })
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
  t.equal(rig.only('backend-text').text, 'greet')
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
