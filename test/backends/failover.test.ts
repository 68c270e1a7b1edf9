import t from 'tap'
import type { Test } from 'tap'
import type { CallBackendOptions } from '../../src/backends/call-backend.js'
import { GatewayError } from '../../src/core/errors.js'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { Line, settled } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'
import type { Fed, ScriptedBackend } from './failover/scripted.js'

const textsOf = (backend: ScriptedBackend): string[] =>
  backend.fed.flatMap((fed) => (fed.type === 'text' ? [fed.text] : []))
const marksOf = (backend: ScriptedBackend): Fed['type'][] => backend.fed.map((fed) => fed.type)

const PRE_ROLL = 16 * 400

/** A call that the first of two backends has greeted. */
async function greeted(t: Test, options?: Partial<CallBackendOptions>) {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  return { a, b, line: await Line.greeted(t, a, [a, b], options) }
}

/** Checks that `heard` is the newest `samples` of `said`, without a gap or a repetition. */
function isUnbrokenTail(t: Test, heard: readonly number[], said: readonly number[], samples: number): void {
  t.equal(heard.length, samples)
  const from = said.length - heard.length
  t.equal(
    heard.findIndex((sample, i) => sample !== said[from + i]),
    -1,
    'each sample once and in its place',
  )
}

t.test('a backend that dies during an answer is replaced', async (t) => {
  const { a, b, line } = await greeted(t)
  await line.frames(3000)
  const before = line.said.length
  await line.speech(1200)
  a.now.hears('Where is my order?', 2)
  a.now.speak(2, 'Your order is on its way to Nakuru and will be there tomorrow.', 600)
  a.now.die()
  await settled()
  t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'network' }])
  t.equal(line.failovers[0]?.gapMs, 0, 'a backend that connects at once leaves no gap')
  await line.frames(200)
  const next = b.now
  isUnbrokenTail(t, next.samples, line.said, PRE_ROLL + line.said.length - before)
  const [start, end] = next.fed
  t.match([start?.type, end?.type], ['speech-start', 'speech-end'])
  t.equal(line.said.length - next.samples.length + (start?.at ?? 0), before, 'speech begins at its first sample')
  t.same(
    next.session?.history.map((entry) => entry.role),
    ['agent', 'agent'],
    'words whose audio will be replayed are not in the history',
  )
  t.equal(next.session?.history[0]?.text, 'Welcome to the shop.')
  const heard = next.session?.history[1]?.text ?? ''
  t.ok(heard.length > 4 && 'Your order is on its way'.startsWith(heard), `only the words of 600 ms: ${heard}`)
  t.notOk(
    line.recorder.all('error').some((error) => error.fatal),
    'the call gets no fatal error',
  )
  next.answer(1, 'It is on its way.', 900)
  const generations = line.recorder.audioPieces.map((piece) => piece.generation)
  t.same(
    generations,
    [...generations].sort((x, y) => x - y),
  )
  t.equal(
    new Set(line.recorder.audioPieces.map((piece) => piece.itemId)).size,
    3,
    'items of two backends have different ids',
  )
  t.match(
    line.recorder.all('turn-done').map((done) => done.status),
    ['completed', 'cancelled', 'completed'],
  )
  t.equal(line.backend.capabilities.name, 'b')
})

t.test("a takeover during the caller's speech loses no audio", async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b', ['later'])]
  const line = await Line.greeted(t, a, [a, b])
  await line.frames(2000)
  await line.frames(40)
  line.backend.speechStart(line.timers.now - 40)
  await line.frames(500)
  a.now.die()
  await line.frames(700)
  b.now.becomeReady()
  await settled()
  await line.frames(600)
  line.backend.speechEnd(line.timers.now - 600)
  isUnbrokenTail(t, b.now.samples, line.said, 16 * (1700 + 600))
  t.same(marksOf(b.now), ['speech-start', 'speech-end'])
  t.equal(line.failovers[0]?.gapMs, 700)
  t.equal(line.backend.stats.gapMsMax, 700)
  t.equal(line.backend.stats.lostSamples, 0)
})

t.test('late events and audio of a failed backend are dropped', async (t) => {
  const { a, line } = await greeted(t)
  a.now.speak(2, 'One two', 300)
  const dead = a.now
  dead.die()
  await settled()
  const seen = [line.recorder.events.length, line.recorder.audioPieces.length]
  dead.sink.audio(new Int16Array(320), 16_000, 'item2', 2)
  dead.call(3, 'call_x', 'get_account', {})
  dead.emit({ type: 'closed', code: 1000, reason: 'late', clean: true })
  t.same([line.recorder.events.length, line.recorder.audioPieces.length], seen)
  t.not(dead.closedWith, null, 'it is closed')
  t.equal(line.backend.stats.lateDropped, 7)
  t.equal(dead.aborted, true)
})

t.test('a tool result is reused after a takeover', async (t) => {
  const { a, b, line } = await greeted(t)
  await line.speech(800)
  a.now.call(2, 'call_1', 'book_slot', { day: 'Monday', at: 9 })
  const [call] = line.recorder.all('tool-call')
  line.backend.toolResult(call?.callId ?? '', { ok: true, value: { booked: 'B-1' } })
  a.now.speak(3, 'You are', 200)
  a.now.die('internal')
  await settled()
  t.match(b.now.session?.toolLedger, [
    { name: 'book_slot', args: { day: 'Monday', at: 9 }, ok: true, result: { booked: 'B-1' } },
  ])
  b.now.call(1, 'call_1', 'book_slot', { at: 9, day: 'Monday' })
  t.equal(line.recorder.all('tool-call').length, 1, 'the call gets one')
  t.match(b.now.fed.at(-1), { type: 'tool-result', callId: 'call_1', reply: { ok: true, value: { booked: 'B-1' } } })
  b.now.answer(2, 'You are booked.', 500)
  await line.speech(800)
  b.now.call(3, 'call_2', 'book_slot', { day: 'Monday', at: 9 })
  t.equal(line.recorder.all('tool-call').length, 2, 'after a whole answer the same call is run again')
  t.equal(line.backend.stats.toolsSpared, 1)
})

t.test('a failed or aborted tool may run again after takeover', async (t) => {
  const { a, b, line } = await greeted(t)
  await line.speech(800)
  a.now.call(2, 'call_1', 'book_slot', { day: 'Monday' })
  const [call] = line.recorder.all('tool-call')
  line.backend.toolResult(call?.callId ?? '', { ok: false, value: { error: 'cut off' } })
  a.now.speak(3, 'I am', 200)
  a.now.die('internal')
  await settled()
  b.now.call(1, 'call_1', 'book_slot', { day: 'Monday' })
  t.equal(line.recorder.all('tool-call').length, 2, 'the call itself decides')
  t.equal(line.backend.stats.toolsSpared, 0)
})

t.test('a pending tool answer is not taken for an outcome', async (t) => {
  for (const early of [true, false]) {
    const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
    const line = await Line.greeted(t, a, [], {
      candidates: [{ create: a.create }, { create: b.create, scripted: true }],
    })
    await line.speech(800)
    const pay = ['charge', { order: '4127' }] as const
    a.now.call(2, 'call_1', ...pay)
    const callId = line.recorder.all('tool-call')[0]?.callId ?? ''
    line.backend.toolResult(callId, { ok: true, value: { pending: true }, pending: true })
    a.now.die()
    await settled()
    t.match(b.now.session?.toolLedger, [{ name: 'charge', pending: true }])
    const taken: string[] = []
    Object.assign(b.now, { toolOutcome: (inner: string) => taken.push(inner) > 0 })
    b.now.answer(1, 'Where were we?', 500)
    const paid = { ok: true, value: { receipt: 'QX1' } }
    if (early) t.equal(line.backend.toolOutcome(callId, paid), false, 'it has not asked')
    b.now.call(2, 'offline-1', ...pay)
    t.match(b.now.fed.at(-1), { callId: 'offline-1', reply: early ? paid : { pending: true } })
    if (!early) t.equal(line.backend.toolOutcome(callId, paid), true)
    t.same(taken, early ? [] : ['offline-1'])
    t.equal(line.recorder.all('tool-call').length, 1, 'nothing is asked for twice')
    b.now.answer(3, 'It is paid.', 500)
    b.now.call(4, 'offline-2', ...pay)
    t.equal(line.recorder.all('tool-call').length, 2, 'after its outcome the same call is another one')
  }
})

t.test('the next backend gets the result of a running tool', async (t) => {
  for (const asks of [true, false]) {
    const { a, b, line } = await greeted(t)
    await line.speech(800)
    a.now.call(2, 'call_1', 'lookup_order', { orderNumber: '4711' })
    const [call] = line.recorder.all('tool-call')
    a.now.die()
    await settled()
    if (asks) b.now.call(1, 'call_9', 'lookup_order', { orderNumber: '4711' })
    line.backend.toolResult(call?.callId ?? '', { ok: true, value: { status: 'out for delivery' } })
    line.backend.toolResult(call?.callId ?? '', { ok: true, value: 'again' })
    t.equal(line.recorder.all('tool-call').length, 1)
    const told = b.now.fed.filter((fed) => fed.type === 'tool-result')
    if (asks) t.match(told, [{ callId: 'call_9', reply: { value: { status: 'out for delivery' } } }])
    else t.ok(told.length === 0 && textsOf(b.now).some((text) => text.includes('out for delivery')))
  }
})

t.test('the next candidate is tried after a refused connection', async (t) => {
  const [a, b] = [new ScriptedService('a', ['auth']), new ScriptedService('b')]
  const circuits = new Circuits()
  const line = new Line(t, [a, b], { circuits })
  await line.connect()
  t.match(line.recorder.all('error'), [{ code: 'auth', fatal: false }])
  t.equal(line.recorder.all('ready').length, 1)
  t.equal(line.failovers.length, 0, 'the first one never served the call')
  line.backend.sendText('', { role: 'system', respond: true })
  t.same(textsOf(b.now), [''])
  t.equal(circuits.of('a').state(line.timers.now), 'open', 'a wrong key opens the circuit at once')
  const second = new Line(t, [a, b], { circuits })
  await second.connect()
  t.equal(a.sessions.length, 1, 'the next call does not try it')
})

t.test('a candidate that cannot be created is left out', async (t) => {
  const b = new ScriptedService('b')
  const broken = {
    create: () => {
      throw new GatewayError('SPEECH_FAULT', 'the speech pool is down')
    },
  }
  const line = new Line(t, [], { candidates: [broken, { create: b.create, voice: 'marin' }] })
  await line.connect({ voice: 'slt' })
  t.equal(line.backend.capabilities.name, 'b')
  t.equal(b.now.session?.voice, 'marin', 'each has its own voice')
  t.throws(() => new Line(t, [], { candidates: [broken] }), { code: 'SPEECH_FAULT' })
  t.throws(() => new Line(t, []), { code: 'AGENT_INVALID' })
  t.throws(() => new Line(t, [b, new ScriptedService('c', ['ready'], { inputRateHz: 24_000 })]), {
    message: /16000 Hz.*no resampler/,
  })
})

t.test('a scripted dialogue begins before the question is replayed', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [], {
    candidates: [{ create: a.create }, { create: b.create, scripted: true }],
    stallMs: 1000,
  })
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.die()
  await settled()
  t.same(marksOf(b.now), ['text', 'speech-start', 'speech-end'])
  t.match(b.now.fed[0], { text: '', role: 'system', respond: true })
  await line.timers.pass(30_000)
  t.equal(line.failovers.length, 1, 'its silence is no stall')
})

t.test('all unanswered speech is replayed if services detect turns', async (t) => {
  const detecting = { serverVad: true }
  const [a, b] = [new ScriptedService('a', ['ready'], detecting), new ScriptedService('b', ['ready'], detecting)]
  const line = new Line(t, [a, b], { stallMs: 3000 })
  await line.connect()
  t.equal(line.backend.capabilities.serverVad, true)
  await line.greeted(a)
  await line.frames(2000)
  a.now.emit({ type: 'speech-started' })
  await line.frames(1000)
  a.now.emit({ type: 'speech-stopped' })
  t.equal(line.recorder.all('speech-stopped').length, 1)
  await line.frames(3020)
  t.match(line.failovers, [{ to: 'b', reason: 'stall' }])
  isUnbrokenTail(t, b.now.samples, line.said, line.said.length)
  t.same(marksOf(b.now), [])
})

t.test('turn-detecting services get unanswered voice and only recent silence', async (t) => {
  const MARGIN_MS = 1700
  const PRE_ROLL_MS = 400
  const takeover = (name: string, ms: number, before: (line: Line, a: ScriptedService) => Promise<void>) =>
    t.test(name, async (t) => {
      const detecting = { serverVad: true }
      const [a, b] = [new ScriptedService('a', ['ready'], detecting), new ScriptedService('b', ['ready'], detecting)]
      const line = await Line.greeted(t, a, [a, b])
      await line.frames(3000, false)
      await before(line, a)
      a.now.die()
      await settled()
      isUnbrokenTail(t, b.now.samples, line.said, 16 * ms)
      t.equal(line.backend.stats.lostSamples, 0)
    })
  await takeover('silence', MARGIN_MS, async () => undefined)
  await takeover('voice without a report of the service', PRE_ROLL_MS + 4000, async (line) => {
    await line.frames(1000)
    await line.frames(3000, false)
  })
  await takeover('voice with an answer', MARGIN_MS, async (line, a) => {
    await line.frames(1000)
    await line.frames(500, false)
    a.now.answer(2, 'Yes.', 300)
    await line.frames(3000, false)
  })
  await takeover('voice after an answer that just ended', 600, async (line, a) => {
    await line.frames(1000)
    await line.frames(100, false)
    a.now.speak(2, 'Yes.', 300)
    await line.frames(100, false)
    a.now.finish(2)
    await line.frames(500, false)
  })
  await takeover('voice after an answer to earlier speech began', 2500, async (line, a) => {
    await line.frames(1000)
    a.now.speak(2, 'Yes.', 300)
    await line.frames(500)
    await line.frames(2000, false)
    a.now.finish(2)
  })
  await takeover('a question, then voice during its answer', PRE_ROLL_MS + 4500, async (line, a) => {
    await line.frames(1000)
    a.now.speak(2, 'Yes.', 300)
    await line.frames(500)
    await line.frames(3000, false)
    a.now.speak(2, 'Yes. And more.', 300)
  })
  await takeover('voice during which the service kept speaking', MARGIN_MS, async (line, a) => {
    a.now.speak(2, 'Are you there?', 300)
    await line.frames(500)
    await line.frames(2000, false)
    a.now.speak(2, 'Are you there? Hello?', 300)
  })
  await takeover('recent voice during which the service kept speaking', PRE_ROLL_MS + 1600, async (line, a) => {
    a.now.speak(2, 'Are you there?', 300)
    await line.frames(500)
    await line.frames(1100, false)
    a.now.speak(2, 'Are you there? Hello?', 300)
  })
})

t.test('a backend that is not ready in time is replaced', async (t) => {
  const [a, b] = [new ScriptedService('a', ['later']), new ScriptedService('b', ['later'])]
  const line = new Line(t, [a, b], { connectMs: 1000 })
  const ready = line.connect()
  await line.timers.pass(999)
  t.equal(b.sessions.length, 0)
  await line.timers.pass(1)
  t.equal(b.sessions.length, 1)
  await line.timers.pass(10_000)
  b.now.becomeReady()
  await ready
  a.now.becomeReady()
  await settled()
  t.equal(line.recorder.all('ready').length, 1)
})

t.test('a backend that is silent after a question is replaced', async (t) => {
  const { a, b, line } = await greeted(t, { stallMs: 4000 })
  await line.speech(800)
  a.now.hears('Are you there?', 2)
  await line.frames(3980)
  t.equal(line.failovers.length, 0)
  await line.frames(40)
  t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'stall' }])
  t.equal(line.recorder.all('holding').length, 1, 'the caller has waited longer than holdAfterMs')
  t.same(marksOf(b.now), ['speech-start', 'speech-end'])
})

t.test('a backend that stops during an answer is replaced', async (t) => {
  const { a, b, line } = await greeted(t, { stallMs: 4000 })
  await line.speech(800)
  a.now.speak(2, 'Your order is on its', 5000)
  await line.timers.pass(8900)
  t.equal(line.failovers.length, 0, '5 s of sound, then 4 s of silence')
  await line.timers.pass(200)
  t.match(line.failovers, [{ to: 'b', reason: 'stall' }])
  t.same(
    line.recorder.all('turn-done').map((done) => done.status),
    ['completed', 'cancelled'],
  )
  b.now.answer(1, 'It is on its way.', 9000)
  await line.timers.pass(60_000)
  t.equal(line.failovers.length, 1, 'a complete answer of any length is no stall')
})

t.test('an answer without sound is a stall', async (t) => {
  const { a, line } = await greeted(t, { stallMs: 4000 })
  await line.speech(800)
  a.now.emit({ type: 'turn-start', generation: 2 })
  await line.timers.pass(4100)
  t.match(line.failovers, [{ to: 'b', reason: 'stall' }])
})

t.test('silent audio is not played, and the backend is replaced [3]', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { stallMs: 4000 })
  await line.connect()
  line.backend.sendText('', { role: 'system', respond: true })
  a.now.emit({ type: 'turn-start', generation: 1 })
  // 11 s of zeros, as a vendor was seen to send, and the noise of a converter; then the end of the answer.
  for (let s = 0; s < 11; s++) a.now.sink.audio(new Int16Array(16_000).fill(s % 2 === 0 ? 0 : -32), 16_000, 'item1', 1)
  a.now.finish(1)
  t.equal(line.recorder.audioPieces.length, 0)
  t.match(line.recorder.all('turn-done'), [{ silentMs: 11_000 }], 'the call knows how much was claimed')
  await line.timers.pass(4100)
  t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'stall' }])
  t.match(b.now.fed, [{ type: 'text', text: '', respond: true }], 'asked to greet')
})

t.test('silence before sound or a tool call is not reported', async (t) => {
  const a = new ScriptedService('a')
  const line = new Line(t, [a])
  await line.connect()
  for (const [generation, act] of [
    [1, () => a.now.sink.audio(new Int16Array(16_000).fill(4000), 16_000, 'item1', 1)],
    [2, () => a.now.emit({ type: 'tool-call', callId: 't1', name: 'lookup', args: {}, generation: 2 })],
  ] as const) {
    a.now.emit({ type: 'turn-start', generation })
    for (let s = 0; s < 11; s++) a.now.sink.audio(new Int16Array(16_000), 16_000, `item${generation}`, generation)
    act()
    a.now.finish(generation)
  }
  t.same(
    line.recorder.all('turn-done').map(({ silentMs }) => silentMs),
    [undefined, undefined],
  )
})

/** What the call measures of a response of `claimedMs`: generations are those of the call. */
const heardOf = (line: Line, generation: number, heardMs: number, claimedMs = 2000): void =>
  line.backend.turnHeard({ generation, by: 'a', atMs: 0, claimedMs, heardMs })

t.test('two inaudible answers in a row replace the backend [4]', async (t) => {
  const { a, b, line } = await greeted(t)
  heardOf(line, 1, 1200)
  for (const generation of [2, 3]) {
    t.equal(line.failovers.length, 0)
    await line.speech(800)
    a.now.hears('Where is my order?', generation)
    a.now.answer(generation, 'Your order is on its way.', 0)
    heardOf(line, generation, 0)
    await settled()
  }
  t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'silent' }])
  t.match(line.recorder.all('error'), [{ fatal: false, message: /2 answers in a row that the caller could not hear/ }])
  t.match(b.now.fed, [{ type: 'text', text: '', role: 'system', respond: true }], 'it answers in its place')
  t.same(
    b.now.session?.history.map(({ text }) => text),
    ['Welcome to the shop.', 'Where is my order?', 'Where is my order?'],
    'what nobody heard was not said',
  )
  heardOf(line, 3, 0)
  heardOf(line, 2, 0)
  await settled()
  t.equal(line.failovers.length, 1, 'the answers of the session before do not count')
})

t.test('a heard answer resets the count of inaudible answers', async (t) => {
  const { line } = await greeted(t)
  for (const [generation, heardMs, claimedMs] of [
    [2, 0, 2000],
    [3, 1500, 2000],
    [4, 100, 2000],
    [5, 300, 400],
    [6, 0, 1500],
    [7, 0, 900],
  ] as const)
    heardOf(line, generation, heardMs, claimedMs)
  await settled()
  t.equal(line.failovers.length, 0)
  heardOf(line, 8, 0)
  await settled()
  t.match(line.failovers, [{ reason: 'silent' }], 'a short one proves nothing')
})

t.test('a single inaudible backend gets one new session [5]', async (t) => {
  const service = new ScriptedService('c')
  const line = await Line.greeted(t, service, [service])
  const first = service.now
  for (const generation of [2, 3]) heardOf(line, generation, 0)
  await line.timers.pass(2000)
  t.match(line.failovers, [{ from: 'c', to: 'c', reason: 'silent' }])
  t.not(service.now, first)
  service.now.answer(1, 'Welcome.', 0)
  service.now.answer(2, 'Are you there?', 0)
  for (const generation of [2, 3]) heardOf(line, generation, 0)
  await line.timers.pass(2000)
  t.match(
    line.recorder.all('error').filter(({ fatal }) => fatal),
    [{ code: 'internal' }],
    'the caller hears an apology',
  )
})

t.test('inaudible sessions of three calls open the circuit', async (t) => {
  const circuits = new Circuits({ random: () => 0.5 })
  for (const heard of [true, false]) {
    for (let call = 0; call < 3; call++) {
      const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
      const line = await Line.greeted(t, a, [a, b], { circuits })
      t.equal(circuits.of('a').state(line.timers.now), 'closed')
      if (heard && call === 2) heardOf(line, 1, 1200)
      else for (const generation of [2, 3]) heardOf(line, generation, 0)
      await settled()
    }
    t.equal(circuits.of('a').state(102_000), heard ? 'closed' : 'open')
  }
})

t.test('a scripted dialogue is not replaced for its silence', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const candidates = [{ create: a.create, scripted: true }, { create: b.create }]
  const line = await Line.greeted(t, a, [], { candidates })
  for (const generation of [2, 3, 4]) heardOf(line, generation, 0)
  await settled()
  t.equal(line.failovers.length, 0)
})

t.test('playback begins at the first sound and keeps later pauses', async (t) => {
  const { a, line } = await greeted(t, { stallMs: 4000 })
  const before = line.recorder.audioMs(2)
  a.now.emit({ type: 'turn-start', generation: 2 })
  a.now.sink.audio(new Int16Array(8000), 16_000, 'item2', 2)
  a.now.speak(2, 'Your order is on its way.', 1000)
  a.now.sink.audio(new Int16Array(4800), 16_000, 'item2', 2)
  const [itemId] = line.recorder.audioPieces.slice(-1).map((piece) => piece.itemId)
  t.equal(line.recorder.audioMs(2) - before, 1300)
  line.backend.interrupt({ itemId: itemId ?? '', playedMs: 700 })
  t.match(a.now.fed.at(-1), { type: 'interrupt', itemId: 'item2', playedMs: 1200 }, 'on the clock of the service')
})

t.test('a single silent service gets one new session', async (t) => {
  const service = new ScriptedService('c')
  const line = new Line(t, [service], { stallMs: 4000 })
  await line.connect()
  const first = service.now
  line.backend.sendText('', { role: 'system', respond: true })
  await line.timers.pass(4100)
  t.match(line.failovers, [{ from: 'c', to: 'c', reason: 'stall' }])
  t.not(service.now, first)
  await line.timers.pass(20_000)
  t.equal(line.failovers.length, 1)
})

t.test('a noise or a running tool causes no stall', async (t) => {
  const { a, line } = await greeted(t, { stallMs: 4000 })
  await line.speech(100)
  await line.frames(6000)
  t.equal(line.failovers.length, 0, 'a cough')
  await line.speech(800)
  a.now.call(2, 'call_1', 'lookup_order', {})
  await line.frames(9000)
  t.equal(line.failovers.length, 0, 'a slow tool')
  const c = new ScriptedService('c')
  const alone = await Line.greeted(t, c, [c], { stallMs: 4000 })
  alone.backend.sendText('And?', { role: 'caller', respond: true })
  await alone.timers.pass(20_000)
  t.equal(alone.failovers.length, 0)
})

t.test('a caller waiting for a slow takeover gets one `holding`', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b', ['later'])]
  const line = await Line.greeted(t, a, [a, b], { holdAfterMs: 1500 })
  await line.speech(800)
  a.now.die()
  await line.timers.pass(800)
  t.equal(line.recorder.all('holding').length, 0)
  await line.timers.pass(800)
  t.equal(line.recorder.all('holding').length, 1)
  b.now.becomeReady()
  await line.timers.pass(100)
  b.now.answer(1, 'Yes.', 300)
  await line.timers.pass(5000)
  t.equal(line.recorder.all('holding').length, 1, 'once')
  t.equal(line.backend.stats.soundMsLast, 1700)
})

t.test('without candidates the call gets one fatal error', async (t) => {
  const [a, b] = [new ScriptedService('a', ['ready', 'network']), new ScriptedService('b', ['ready', 'network'])]
  const line = await Line.greeted(t, a, [a, b])
  a.now.die()
  await settled()
  b.now.die()
  await line.timers.pass(20_000)
  t.equal(line.recorder.all('error').filter((error) => error.fatal).length, 1)
  t.equal(line.recorder.events.at(-1)?.type, 'closed')
  t.equal(line.recorder.all('closed').length, 1)
  t.equal(line.timers.pending, 0, 'no timer is left')
})

t.test('a single backend reconnects after a broken connection', async (t) => {
  const a = new ScriptedService('a')
  const line = await Line.greeted(t, a, [a])
  await line.speech(800)
  a.now.speak(2, 'I see', 200)
  a.now.die('network')
  await settled()
  t.equal(a.sessions.length, 2)
  t.match(line.failovers, [{ from: 'a', to: 'a', reason: 'network' }])
  t.same(marksOf(a.now), ['speech-start', 'speech-end'])
  a.now.die('auth')
  await settled()
  t.equal(a.sessions.length, 2)
  t.match(line.recorder.all('error').at(-1), { code: 'auth', fatal: true })
})

t.test('a single unreachable backend is tried after growing pauses [2]', async (t) => {
  const a = new ScriptedService('a', ['ready', 'network', 'network', 'ready'])
  const line = await Line.greeted(t, a, [a])
  a.now.die('network')
  await settled()
  t.equal(a.sessions.length, 2, 'at once')
  await line.timers.pass(200)
  t.equal(a.sessions.length, 3, 'after 200 ms, and with this third fault in a row the circuit opens for 5 s')
  await line.timers.pass(5000)
  t.equal(a.sessions.length, 3)
  await line.timers.pass(1000)
  t.equal(a.sessions.length, 4)
  t.match(line.failovers, [{ from: 'a', to: 'a' }])
  t.notOk(line.recorder.all('error').some((error) => error.fatal))

  const b = new ScriptedService('b', ['ready', 'network'])
  const lost = await Line.greeted(t, b, [b])
  b.now.die('network')
  await lost.timers.pass(10_000)
  t.equal(b.sessions.length, 4, 'within 10 s')
  t.equal(lost.recorder.all('error').filter((error) => error.fatal).length, 1)
  await lost.timers.pass(60_000)
  t.equal(b.sessions.length, 4, 'then never again')
  t.equal(lost.timers.pending, 0)
})

t.test('calls of a failed backend reconnect at a limited rate [1]', async (t) => {
  const lines = (a: ScriptedService) => {
    const circuits = new Circuits({ reconnectsPerSecond: 10, random: () => 0 })
    return Array.from({ length: 20 }, () => new Line(t, [a], { circuits }))
  }
  const pass = (all: readonly Line[], ms: number) => Promise.all(all.map((line) => line.timers.pass(ms)))
  const cut = async (a: ScriptedService, all: readonly Line[]) => {
    for (const line of all) await line.connect()
    for (const session of [...a.sessions]) session.die('network')
    await settled()
  }
  const [good, down] = [
    new ScriptedService('a'),
    new ScriptedService('b', [...Array.from({ length: 20 }, () => 'ready' as const), 'network']),
  ]
  const back = lines(good)
  await cut(good, back)
  t.equal(good.sessions.length, 22, 'two at once')
  await pass(back, 500)
  t.equal(good.sessions.length, 27, 'then ten in a second')
  await pass(back, 1300)
  t.equal(good.sessions.length, 40)
  const gone = lines(down)
  await cut(down, gone)
  await pass(gone, 4500)
  t.equal(down.sessions.length, 21, 'while the circuit is open nobody tries')
  await pass(gone, 5500)
  t.equal(down.sessions.length, 22, 'one call probes')
  t.ok(
    gone.every(({ recorder }) => recorder.all('error').some((error) => error.fatal)),
    'and the others are told',
  )
})

t.test('the call ends after failoversMax takeovers', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { failoversMax: 3 })
  await line.connect()
  for (let i = 0; i < 4; i++) {
    const active = [a, b].find((one) => one.capabilities.name === line.backend.capabilities.name)
    active?.now.die()
    await settled()
  }
  t.equal(line.failovers.length, 3)
  t.equal(line.recorder.all('error').filter((error) => error.fatal).length, 1)
})

t.test('failed or rate-limited answers cause a takeover', async (t) => {
  const failed =
    (reason: string) =>
    async (t: Test): Promise<void> => {
      const { a, b, line } = await greeted(t)
      const times = reason === 'rate_limit_exceeded' ? 1 : 2
      for (let i = 0; i < times; i++) {
        await line.speech(800)
        t.equal(line.failovers.length, 0)
        a.now.emit({ type: 'turn-start', generation: 2 + i })
        a.now.emit({ type: 'turn-done', generation: 2 + i, status: 'failed', reason })
      }
      await settled()
      t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'responses-failed' }])
      t.equal(line.recorder.all('turn-done').at(-1)?.status, 'cancelled', 'the caller need not repeat the question')
      t.equal(b.now.fed.filter((fed) => fed.type === 'speech-start').length, times)
    }
  await t.test('two failed answers', failed('server_error'))
  await t.test('a rate-limited answer', failed('rate_limit_exceeded'))
})

t.test('unanswered digits, notes and texts are replayed in order', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b', ['ready'], { changesSpeed: true })]
  const line = new Line(t, [a, b])
  await line.connect()
  line.backend.sendText('The caller is known.', { role: 'system', respond: false })
  await line.greeted(a)
  for (const digit of '47') line.backend.dtmf(digit)
  await line.frames(100)
  line.backend.sendText('Ask for the pin.', { role: 'system', respond: true })
  line.backend.updateSession({ instructions: 'Be brief.', speed: 0.85 })
  t.equal(line.backend.capabilities.changesSpeed, false)
  a.now.die()
  await settled()
  t.match(b.now.fed, [
    { type: 'text', text: 'The caller is known.', respond: false },
    { type: 'digit', digit: '4' },
    { type: 'digit', digit: '7' },
    { type: 'text', text: 'Ask for the pin.', respond: true },
  ])
  t.match(b.now.session, { instructions: 'Be brief.', speed: 0.85 })
  t.equal(line.backend.capabilities.changesSpeed, true, 'that of the one that answers')
  t.equal(line.backend.capabilities, line.backend.capabilities, 'a reader gets the same object again')
  Object.defineProperty(b.now.capabilities, 'changesSpeed', { value: false })
  t.equal(line.backend.capabilities.changesSpeed, false, 'its voice has refused another speed')
})

t.test('the history has only the heard part of an answer', async (t) => {
  const { a, b, line } = await greeted(t)
  await line.speech(800)
  a.now.hears('Tell me all.', 2)
  a.now.answer(2, 'One two three four five six seven eight nine ten.', 4000)
  a.now.answer(3, 'And there is more to say.', 2000)
  const item = line.recorder.audioPieces[1]?.itemId ?? null
  await line.timers.pass(2000)
  line.backend.interrupt({ itemId: item, playedMs: 2000 })
  t.match(a.now.fed.at(-1), { type: 'interrupt', itemId: 'item2', playedMs: 2000 })
  a.now.die()
  await settled()
  t.same(b.now.session?.history, [
    { role: 'agent', text: 'Welcome to the shop.' },
    { role: 'caller', text: 'Tell me all.' },
    { role: 'agent', text: 'One two three four five' },
  ])
  line.backend.interrupt({ itemId: item, playedMs: 2100 })
  t.match(
    b.now.fed.at(-1),
    { type: 'interrupt', itemId: null, playedMs: 0 },
    "the id of another backend's item is not passed on",
  )
})

t.test('speech older than 10 s is lost and counted', async (t) => {
  const { a, b, line } = await greeted(t)
  await line.speech(13_000)
  a.now.die()
  await settled()
  isUnbrokenTail(t, b.now.samples, line.said, 16 * 10_100)
  t.equal(line.backend.stats.lostSamples, line.said.length - 16 * 10_100)
  t.same(marksOf(b.now), ['speech-start', 'speech-end'], 'speechStart and speechEnd are replayed all the same')
})

t.test('a call can be closed in every state', async (t) => {
  const until: Record<string, (line: Line, a: ScriptedService, b: ScriptedService) => Promise<void>> = {
    'not connected': async () => undefined,
    connecting: async (line) => void line.connect().catch(() => undefined),
    served: async (line, a) => {
      void line.connect().catch(() => undefined)
      a.now.becomeReady()
      await settled()
    },
    'between two': async (line, a) => {
      void line.connect().catch(() => undefined)
      a.now.becomeReady()
      await settled()
      a.now.die()
    },
  }
  for (const [name, arrive] of Object.entries(until)) {
    const [a, b] = [new ScriptedService('a', ['later']), new ScriptedService('b', ['later'])]
    const line = new Line(t, [a, b], { standby: true })
    await arrive(line, a, b)
    await Promise.all([line.backend.close('hung up'), line.backend.close('hung up')])
    const count = line.recorder.events.length
    t.equal(line.recorder.all('closed').length, 1, name)
    t.equal(line.recorder.events.at(-1)?.type, 'closed', name)
    for (const one of [...a.backends, ...b.backends]) {
      one.becomeReady()
      t.not(one.closedWith, null, `${name}: every backend that was made is closed`)
    }
    line.backend.pushAudio(new Int16Array(320))
    line.backend.speechStart(0)
    line.backend.dtmf('1')
    line.backend.sendText('Hello?', { role: 'caller', respond: true })
    line.backend.interrupt({ itemId: null, playedMs: 0 })
    line.backend.toolResult('1.x', { ok: true, value: 1 })
    line.backend.updateSession({})
    await line.timers.pass(60_000)
    t.equal(line.recorder.events.length, count, name)
    t.equal(line.timers.pending, 0, name)
  }
})

t.test('a moved call continues with its current backend', async (t) => {
  const { a, b, line } = await greeted(t)
  a.now.die()
  await settled()
  b.now.state = { inner: 7 }
  b.now.call(1, 'call_1', 'lookup_order', {})
  const [call] = line.recorder.all('tool-call')
  const snapshot: unknown = JSON.parse(JSON.stringify(line.backend.snapshot()))
  const second = new Line(t, [a, b])
  await second.connect({ resume: snapshot, history: [{ role: 'agent', text: 'Welcome to the shop.' }] })
  t.equal(second.backend.capabilities.name, 'b')
  t.same(b.now.session?.resume, { inner: 7 })
  second.backend.toolResult(call?.callId ?? '', { ok: false, value: { error: 'lost' } })
  t.match(b.now.fed.at(-1), { type: 'tool-result', callId: 'call_1' }, 'a result for an earlier tool call reaches it')
  b.now.answer(1, 'Go on.', 300)
  t.ok((second.recorder.audioPieces[0]?.generation ?? 0) > (call?.generation ?? Infinity), 'generations go on')
})
