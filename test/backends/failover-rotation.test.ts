import t from 'tap'
import { Line, settled } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'

t.test('a session that is about to end is replaced while nobody speaks', async (t) => {
  const a = new ScriptedService('a')
  const line = new Line(t, [a, new ScriptedService('b')])
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.hears('Where is my order?', 2)
  a.now.speak(2, 'On its way.', 3000)
  const old = a.now
  old.state = { handle: 'h1' }
  old.emit({ type: 'expiring', inMs: 60_000 })
  await line.timers.pass(2000)
  t.equal(a.sessions.length, 1, 'not in the middle of an answer')
  old.finish(2)
  await line.timers.pass(600)
  t.equal(a.sessions.length, 1, 'nor while it is still playing')
  await line.timers.pass(2000)
  t.equal(a.sessions.length, 2)
  t.match(line.failovers, [{ from: 'a', to: 'a', gapMs: 0, reason: 'rotation' }])
  t.equal(old.closedWith, 'replaced')
  t.same(a.now.session?.resume, { handle: 'h1' }, 'the new session gets the state of the old one')
  t.same(
    a.now.session?.history.map((entry) => entry.text),
    ['Welcome to the shop.', 'Where is my order?', 'On its way.'],
  )
  t.equal(line.recorder.all('error').length, 0)
  t.equal(line.recorder.all('expiring').length, 0, 'the list handles it')
  t.equal(line.backend.stats.rotations, 1)
  await line.speech(800)
  t.same(
    a.now.fed.map((fed) => fed.type),
    ['speech-start', 'speech-end'],
  )
  a.now.answer(1, 'Yes.', 200)
  t.equal(line.recorder.audioPieces.length, 3)
})

t.test('a replacement gets the speech that begins while it connects, from its first sample', async (t) => {
  const a = new ScriptedService('a', ['ready', 'later'])
  const line = new Line(t, [a])
  await line.connect()
  await line.greeted(a)
  await line.frames(2000)
  a.now.emit({ type: 'expiring', inMs: 60_000 })
  await line.frames(40)
  line.backend.speechStart(line.timers.now - 40)
  await line.frames(400)
  a.now.becomeReady()
  await settled()
  t.equal(line.backend.stats.rotations, 1)
  await line.frames(200)
  const heard = a.now.samples
  t.equal(heard.length, 16 * (1700 + 200), 'from before the speech on')
  t.same(heard, line.said.slice(line.said.length - heard.length))
})

t.test(
  'a replacement that missed a turn is dropped, and another one is connected at the next quiet moment',
  async (t) => {
    const a = new ScriptedService('a', ['ready', 'later', 'ready'])
    const line = new Line(t, [a])
    await line.connect()
    await line.greeted(a)
    await line.timers.pass(2000)
    const old = a.now
    old.emit({ type: 'expiring', inMs: 60_000 })
    t.equal(a.sessions.length, 2)
    await line.speech(600)
    old.hears('One more thing.', 2)
    old.answer(2, 'Yes?', 300)
    a.now.becomeReady()
    await settled()
    t.match(line.backend.stats, { rotations: 0, rotationsAbandoned: 1 })
    await line.timers.pass(2000)
    t.match(line.backend.stats, { rotations: 1, rotationsAbandoned: 1 })
    t.same(
      a.now.session?.history.map((entry) => entry.text),
      ['Welcome to the shop.', 'One more thing.', 'Yes?'],
    )
  },
)

t.test(
  'while the caller never stops, the rotation happens at the last moment, with a replay of their speech',
  async (t) => {
    const a = new ScriptedService('a')
    const line = new Line(t, [a])
    await line.connect()
    await line.greeted(a)
    await line.frames(1000)
    line.backend.speechStart(line.timers.now)
    await line.frames(100)
    a.now.emit({ type: 'expiring', inMs: 5000 })
    await line.frames(2900)
    t.equal(a.sessions.length, 1)
    await line.frames(400)
    t.equal(a.sessions.length, 2)
    t.equal(line.backend.stats.rotations, 1)
    await line.frames(500)
    t.same(a.now.samples, line.said.slice(line.said.length - a.now.samples.length))
    t.equal(a.now.samples.length, 16 * 4300)
  },
)

t.test('a service that sends no warning is rotated by its maxSessionMs, each time', async (t) => {
  const a = new ScriptedService('a', ['ready'], { maxSessionMs: 600_000 })
  const line = new Line(t, [a])
  await line.connect()
  await line.greeted(a)
  await line.timers.pass(1_800_000)
  t.equal(line.backend.stats.rotations, 3)
  t.equal(a.sessions.length, 4)
  t.equal(line.recorder.all('error').length, 0)
})

t.test('a session that ends before its rotation is replaced by one of the same service', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
  a.now.die('session_expired')
  await settled()
  t.match(line.failovers, [{ from: 'a', to: 'a', reason: 'session_expired' }])
  t.equal(b.sessions.length, 0)
})

t.test('a standby is connected from the start, gets no audio, and takes over at once', async (t) => {
  const [a, b] = [new ScriptedService('a', ['ready', 'later']), new ScriptedService('b', ['ready', 'later'])]
  const line = new Line(t, [a, b], { standby: true })
  await line.connect()
  await settled()
  t.equal(b.sessions.length, 1)
  await line.greeted(a)
  await line.frames(2000)
  line.backend.updateSession({ instructions: 'Be brief.' })
  await line.speech(900)
  a.now.call(2, 'call_1', 'lookup_order', { orderNumber: '4711' })
  line.backend.toolResult(line.recorder.all('tool-call')[0]?.callId ?? '', { ok: true, value: { status: 'lost' } })
  t.equal(b.now.samples.length, 0)
  a.now.die()
  await settled()
  t.match(line.failovers, [{ from: 'a', to: 'b', gapMs: 0 }])
  t.equal(b.sessions.length, 1)
  t.equal(b.now.updates, 1)
  const [recap, ...marks] = b.now.fed
  t.ok(
    recap?.type === 'text' &&
      !recap.respond &&
      recap.text.includes('Welcome to the shop.') &&
      recap.text.includes('"lost"'),
    'it gets a recap',
  )
  t.same(
    marks.map((fed) => fed.type),
    ['speech-start', 'speech-end'],
  )
  await line.timers.pass(31_000)
  t.equal(a.sessions.length, 1, 'one that failed a moment ago does not stand by')
  await line.timers.pass(60_000)
  t.equal(a.sessions.length, 2, 'later it does')
})

t.test('a standby that dies is replaced a limited number of times, and the call gets no event', async (t) => {
  const [a, b, c] = [
    new ScriptedService('a'),
    new ScriptedService('b', ['ready', 'network']),
    new ScriptedService('c', ['network']),
  ]
  const line = new Line(t, [a, b, c], { standby: true })
  await line.connect()
  await settled()
  b.now.die('internal')
  await line.timers.pass(3_600_000)
  t.match(
    line.recorder.events.map((event) => event.type),
    ['ready'],
  )
  t.equal(b.sessions.length + c.sessions.length, 6, 'STANDBY_TRIES_MAX and no more')
  t.equal(line.backend.stats.standbysLost, 6)
})
