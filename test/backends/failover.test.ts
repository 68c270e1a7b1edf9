import t from 'tap'
import type { Test } from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { Line, settled } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'
import type { Fed, ScriptedBackend } from './failover/scripted.js'

const textsOf = (backend: ScriptedBackend): string[] => backend.fed.flatMap((fed) => (fed.type === 'text' ? [fed.text] : []))
const marksOf = (backend: ScriptedBackend): Fed['type'][] => backend.fed.map((fed) => fed.type)

const PRE_ROLL = 16 * 400

/** `heard` is the newest `samples` of what was said, without a gap or a repetition. */
function isUnbrokenTail(t: Test, heard: readonly number[], said: readonly number[], samples: number): void {
  t.equal(heard.length, samples)
  const from = said.length - heard.length
  t.equal(heard.findIndex((sample, i) => sample !== said[from + i]), -1, 'each sample once and in its place')
}

t.test('a backend that dies in mid-sentence is replaced, and the question is replayed to the next one', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
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
  t.same(next.session?.history.map((entry) => entry.role), ['agent', 'agent'], 'words whose audio is replayed are not in the history')
  t.equal(next.session?.history[0]?.text, 'Welcome to the shop.')
  const heard = next.session?.history[1]?.text ?? ''
  t.ok(heard.length > 4 && 'Your order is on its way'.startsWith(heard), `only what 600 ms had time for: ${heard}`)
  t.notOk(line.recorder.all('error').some((error) => error.fatal), 'the call is not told of a fatal error')
  next.answer(1, 'It is on its way.', 900)
  const generations = line.recorder.audioPieces.map((piece) => piece.generation)
  t.same(generations, [...generations].sort((x, y) => x - y))
  t.equal(new Set(line.recorder.audioPieces.map((piece) => piece.itemId)).size, 3, 'items of two backends are told apart')
  t.match(line.recorder.all('turn-done').map((done) => done.status), ['completed', 'cancelled', 'completed'])
  t.equal(line.backend.capabilities.name, 'b')
})

t.test('a caller who is speaking while it happens loses nothing either', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b', ['later'])]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
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

t.test('what the dead backend still says is not heard', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
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

t.test('a tool that was run for the first backend is not run for the second', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.call(2, 'call_1', 'book_slot', { day: 'Monday', at: 9 })
  const [call] = line.recorder.all('tool-call')
  line.backend.toolResult(call?.callId ?? '', { ok: true, value: { booked: 'B-1' } })
  a.now.speak(3, 'You are', 200)
  a.now.die('internal')
  await settled()
  t.match(b.now.session?.toolLedger, [{ name: 'book_slot', args: { day: 'Monday', at: 9 }, ok: true, result: { booked: 'B-1' } }])
  b.now.call(1, 'call_1', 'book_slot', { at: 9, day: 'Monday' })
  t.equal(line.recorder.all('tool-call').length, 1, 'the call hears of one')
  t.match(b.now.fed.at(-1), { type: 'tool-result', callId: 'call_1', reply: { ok: true, value: { booked: 'B-1' } } })
  b.now.answer(2, 'You are booked.', 500)
  await line.speech(800)
  b.now.call(3, 'call_2', 'book_slot', { day: 'Monday', at: 9 })
  t.equal(line.recorder.all('tool-call').length, 2, 'a caller who asks for it again gets it again')
  t.equal(line.backend.stats.toolsSpared, 1)
})

t.test('a tool that still runs answers the second backend, whether it asks or not', async (t) => {
  for (const asks of [true, false]) {
    const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
    const line = new Line(t, [a, b])
    await line.connect()
    await line.greeted(a)
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

t.test('a refused connection is tried elsewhere before the call notices', async (t) => {
  const [a, b] = [new ScriptedService('a', ['auth']), new ScriptedService('b')]
  const circuits = new Circuits()
  const line = new Line(t, [a, b], { circuits })
  await line.connect()
  t.match(line.recorder.all('error'), [{ code: 'auth', fatal: false }])
  t.equal(line.recorder.all('ready').length, 1)
  t.equal(line.failovers.length, 0, 'nobody was served by the first')
  line.backend.sendText('', { role: 'system', respond: true })
  t.same(textsOf(b.now), [''])
  t.equal(circuits.of('a').state(line.timers.now), 'open', 'a wrong key needs no second proof')
  const second = new Line(t, [a, b], { circuits })
  await second.connect()
  t.equal(a.sessions.length, 1, 'the next call does not try it')
})

t.test('a candidate that cannot even be made is left out, and a list of such candidates is refused', async (t) => {
  const b = new ScriptedService('b')
  const broken = { create: () => { throw new GatewayError('SPEECH_FAULT', 'the speech pool is down') } }
  const line = new Line(t, [], { candidates: [broken, { create: b.create, voice: 'marin' }] })
  await line.connect({ voice: 'slt' })
  t.equal(line.backend.capabilities.name, 'b')
  t.equal(b.now.session?.voice, 'marin', 'each has its own voice')
  t.throws(() => new Line(t, [], { candidates: [broken] }), { code: 'SPEECH_FAULT' })
  t.throws(() => new Line(t, []), { code: 'AGENT_INVALID' })
  t.throws(() => new Line(t, [b, new ScriptedService('c', ['ready'], { inputRateHz: 24_000 })]), { message: /16000 Hz.*no resampler/ })
})

t.test('a dialogue that is scripted is begun before it hears the question', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [], { candidates: [{ create: a.create }, { create: b.create, scripted: true }], stallMs: 1000 })
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.die()
  await settled()
  t.same(marksOf(b.now), ['text', 'speech-start', 'speech-end'])
  t.match(b.now.fed[0], { text: '', role: 'system', respond: true })
  await line.timers.pass(30_000)
  t.equal(line.failovers.length, 1, 'it may be silent where it has nothing to say')
})

t.test('where every candidate detects turns itself, all that was said since the last answer is replayed', async (t) => {
  const ears = { serverVad: true }
  const [a, b] = [new ScriptedService('a', ['ready'], ears), new ScriptedService('b', ['ready'], ears)]
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

t.test('where services detect the turns, the voice without an answer is replayed, and of silence only the newest', async (t) => {
  const MARGIN_MS = 1700
  const PRE_ROLL_MS = 400
  const takeover = (name: string, ms: number, before: (line: Line, a: ScriptedService) => Promise<void>) => t.test(name, async (t) => {
    const ears = { serverVad: true }
    const [a, b] = [new ScriptedService('a', ['ready'], ears), new ScriptedService('b', ['ready'], ears)]
    const line = new Line(t, [a, b])
    await line.connect()
    await line.greeted(a)
    await line.frames(3000, false)
    await before(line, a)
    a.now.die()
    await settled()
    isUnbrokenTail(t, b.now.samples, line.said, 16 * ms)
    t.equal(line.backend.stats.lostSamples, 0)
  })
  await takeover('silence', MARGIN_MS, async () => undefined)
  await takeover('voice that the service never reported', PRE_ROLL_MS + 4000, async (line) => {
    await line.frames(1000)
    await line.frames(3000, false)
  })
  await takeover('voice that has its answer', MARGIN_MS, async (line, a) => {
    await line.frames(1000)
    await line.frames(500, false)
    a.now.answer(2, 'Yes.', 300)
    await line.frames(3000, false)
  })
  await takeover('voice whose answer ended a moment ago', 600, async (line, a) => {
    await line.frames(1000)
    await line.frames(100, false)
    a.now.speak(2, 'Yes.', 300)
    await line.frames(100, false)
    a.now.finish(2)
    await line.frames(500, false)
  })
  await takeover('voice after the beginning of the answer to what was said before', 2500, async (line, a) => {
    await line.frames(1000)
    a.now.speak(2, 'Yes.', 300)
    await line.frames(500)
    await line.frames(2000, false)
    a.now.finish(2)
  })
  await takeover('a question, and voice into its answer', PRE_ROLL_MS + 4500, async (line, a) => {
    await line.frames(1000)
    a.now.speak(2, 'Yes.', 300)
    await line.frames(500)
    await line.frames(3000, false)
    a.now.speak(2, 'Yes. And more.', 300)
  })
  await takeover('voice that a service spoke on over', MARGIN_MS, async (line, a) => {
    a.now.speak(2, 'Are you there?', 300)
    await line.frames(500)
    await line.frames(2000, false)
    a.now.speak(2, 'Are you there? Hello?', 300)
  })
  await takeover('voice that a service speaks on over, until it must have heard it', PRE_ROLL_MS + 1600, async (line, a) => {
    a.now.speak(2, 'Are you there?', 300)
    await line.frames(500)
    await line.frames(1100, false)
    a.now.speak(2, 'Are you there? Hello?', 300)
  })
})

t.test('a backend that does not get ready is left for the next, and the last one is waited for', async (t) => {
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
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { stallMs: 4000 })
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.hears('Are you there?', 2)
  await line.frames(3980)
  t.equal(line.failovers.length, 0)
  await line.frames(40)
  t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'stall' }])
  t.equal(line.recorder.all('holding').length, 1, 'the caller has waited long enough for a word')
  t.same(marksOf(b.now), ['speech-start', 'speech-end'])
})

t.test('a backend that falls silent in the middle of an answer is replaced when its sound has run out', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { stallMs: 4000 })
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.speak(2, 'Your order is on its', 5000)
  await line.timers.pass(8900)
  t.equal(line.failovers.length, 0, 'five seconds are heard, and then four of silence')
  await line.timers.pass(200)
  t.match(line.failovers, [{ to: 'b', reason: 'stall' }])
  t.same(line.recorder.all('turn-done').map((done) => done.status), ['completed', 'cancelled'])
  b.now.answer(1, 'It is on its way.', 9000)
  await line.timers.pass(60_000)
  t.equal(line.failovers.length, 1, 'a whole answer may be as long as it likes')
})

t.test('an answer that was begun and never makes a sound is a stall, too', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { stallMs: 4000 })
  await line.connect()
  await line.greeted(a)
  await line.speech(800)
  a.now.emit({ type: 'turn-start', generation: 2 })
  await line.timers.pass(4100)
  t.match(line.failovers, [{ to: 'b', reason: 'stall' }])
})

t.test('silence after a noise, or while a tool runs, or with nobody to take over, is no fault', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { stallMs: 4000 })
  await line.connect()
  await line.greeted(a)
  await line.speech(100)
  await line.frames(6000)
  t.equal(line.failovers.length, 0, 'a cough')
  await line.speech(800)
  a.now.call(2, 'call_1', 'lookup_order', {})
  await line.frames(9000)
  t.equal(line.failovers.length, 0, 'a slow tool')
  const alone = new Line(t, [new ScriptedService('c')], { stallMs: 4000 })
  await alone.connect()
  alone.backend.sendText('', { role: 'system', respond: true })
  await alone.timers.pass(20_000)
  t.same(alone.recorder.events.map((event) => event.type), ['ready'])
})

t.test('a caller who waits for a slow takeover is told', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b', ['later'])]
  const line = new Line(t, [a, b], { holdAfterMs: 1500 })
  await line.connect()
  await line.greeted(a)
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

t.test('when nobody is left the call is told once, with one fatal error', async (t) => {
  const [a, b] = [new ScriptedService('a', ['ready', 'network']), new ScriptedService('b', ['ready', 'network'])]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
  a.now.die()
  await settled()
  b.now.die()
  await line.timers.pass(20_000)
  t.equal(line.recorder.all('error').filter((error) => error.fatal).length, 1)
  t.equal(line.recorder.events.at(-1)?.type, 'closed')
  t.equal(line.recorder.all('closed').length, 1)
  t.equal(line.timers.pending, 0, 'no timer is left')
})

t.test('one backend alone is connected again after a broken line, and not after a wrong key', async (t) => {
  const a = new ScriptedService('a')
  const line = new Line(t, [a])
  await line.connect()
  await line.greeted(a)
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

t.test('a list that fails again and again is given up', async (t) => {
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

t.test('answers that fail one after the other, and one that is rate-limited, change the backend', async (t) => {
  const failed = (reason: string) => async (t: Test): Promise<void> => {
    const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
    const line = new Line(t, [a, b])
    await line.connect()
    await line.greeted(a)
    const times = reason === 'rate_limit_exceeded' ? 1 : 2
    for (let i = 0; i < times; i++) {
      await line.speech(800)
      t.equal(line.failovers.length, 0)
      a.now.emit({ type: 'turn-start', generation: 2 + i })
      a.now.emit({ type: 'turn-done', generation: 2 + i, status: 'failed', reason })
    }
    await settled()
    t.match(line.failovers, [{ from: 'a', to: 'b', reason: 'responses-failed' }])
    t.equal(line.recorder.all('turn-done').at(-1)?.status, 'cancelled', 'the caller need not say it again')
    t.equal(b.now.fed.filter((fed) => fed.type === 'speech-start').length, times)
  }
  await t.test('two that failed', failed('server_error'))
  await t.test('one that is rate-limited', failed('rate_limit_exceeded'))
})

t.test('digits, notes and texts without an answer are replayed, in their order', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  line.backend.sendText('The caller is known.', { role: 'system', respond: false })
  await line.greeted(a)
  for (const digit of '47') line.backend.dtmf(digit)
  await line.frames(100)
  line.backend.sendText('Ask for the pin.', { role: 'system', respond: true })
  line.backend.updateSession({ instructions: 'Be brief.' })
  a.now.die()
  await settled()
  t.match(b.now.fed, [
    { type: 'text', text: 'The caller is known.', respond: false }, { type: 'digit', digit: '4' }, { type: 'digit', digit: '7' },
    { type: 'text', text: 'Ask for the pin.', respond: true },
  ])
  t.equal(b.now.session?.instructions, 'Be brief.')
})

t.test('of an answer that the caller interrupted only what they heard is in the history', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
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
    { role: 'agent', text: 'Welcome to the shop.' }, { role: 'caller', text: 'Tell me all.' }, { role: 'agent', text: 'One two three four five' },
  ])
  line.backend.interrupt({ itemId: item, playedMs: 2100 })
  t.match(b.now.fed.at(-1), { type: 'interrupt', itemId: null, playedMs: 0 }, 'an item of another backend means nothing to it')
})

t.test('speech beyond the most that is kept is lost and counted, and the rest is replayed whole', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b], { replayMs: 3000 })
  await line.connect()
  await line.greeted(a)
  await line.speech(6000)
  a.now.die()
  await settled()
  isUnbrokenTail(t, b.now.samples, line.said, 16 * 3100)
  t.equal(line.backend.stats.lostSamples, line.said.length - 16 * 3100)
  t.same(marksOf(b.now), ['speech-start', 'speech-end'], 'the marks of speech are replayed all the same')
})

t.test('a call can be ended in every state, and then nothing more comes', async (t) => {
  const until: Record<string, (line: Line, a: ScriptedService, b: ScriptedService) => Promise<void>> = {
    'not connected': async () => undefined,
    'connecting': async (line) => void line.connect().catch(() => undefined),
    'served': async (line, a) => {
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

t.test('a call that changed its worker goes on with the backend that served it', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = new Line(t, [a, b])
  await line.connect()
  await line.greeted(a)
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
  t.match(b.now.fed.at(-1), { type: 'tool-result', callId: 'call_1' }, 'an answer to a call from before finds its question')
  b.now.answer(1, 'Go on.', 300)
  t.ok((second.recorder.audioPieces[0]?.generation ?? 0) > (call?.generation ?? Infinity), 'numbers go on')
})
