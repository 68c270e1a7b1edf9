import fc from 'fast-check'
import t from 'tap'
import { lineSample } from '../../bench/kit/line-samples.js'
import { CallerAudio } from '../../src/backends/failover/caller-audio.js'
import { CircuitBreaker, Circuits, retryAfterMs } from '../../src/backends/failover/circuit-breaker.js'
import { CIRCUITS_MAX } from '../../src/core/limits.js'
import { FRAME, Line, settled } from './failover/line.js'
import { ScriptedService } from './failover/scripted.js'

t.test('the circuit opens after three failures, then one call probes', async (t) => {
  const breaker = new CircuitBreaker('a')
  let now = 0
  const fail = (): void => breaker.enter(now).failed('network', '', now)
  fail()
  fail()
  t.equal(breaker.allows(now), true)
  fail()
  t.equal(breaker.state(now), 'open')
  t.equal(breaker.allows(now + 4999), false)
  now = 5000
  t.equal(breaker.state(now), 'half-open')
  const probe = breaker.enter(now)
  t.equal(breaker.allows(now), false, 'the others wait for the probe')
  probe.failed('timeout', '', now)
  t.equal(breaker.allows(now + 9999), false, 'twice as long')
  now += 10_000
  const released = breaker.enter(now)
  released.released()
  t.equal(breaker.allows(now), true, 'a probe whose caller hung up is replaced by the next call')
  breaker.enter(now)
  t.equal(breaker.allows(now + 29_999), false)
  t.equal(breaker.allows(now + 30_000), true, 'and so is one that never reports')
  const good = breaker.enter(now + 30_000)
  good.succeeded(now + 30_000)
  t.equal(breaker.state(now + 30_000), 'closed')
  t.match(breaker, { opened: 2, failures: 4, successes: 1 })
})

t.test('a success resets the count of failures', async (t) => {
  const breaker = new CircuitBreaker('a')
  for (let i = 0; i < 5; i++) {
    breaker.enter(0).failed('internal', '', 0)
    breaker.enter(0).succeeded(0)
  }
  t.equal(breaker.state(0), 'closed')
})

t.test('a session that dies after answering counts as failed', async (t) => {
  const breaker = new CircuitBreaker('a')
  const passes = [breaker.enter(0), breaker.enter(0), breaker.enter(0)]
  for (const pass of passes) pass.succeeded(0)
  for (const pass of passes) pass.failed('network', '', 0)
  t.equal(breaker.state(0), 'open')
  for (const pass of passes) pass.failed('network', '', 0)
  t.equal(breaker.failures, 3, 'each once')
})

t.test('a wrong key or empty account opens the circuit immediately', async (t) => {
  for (const code of ['auth', 'quota'] as const) {
    const breaker = new CircuitBreaker('a')
    breaker.enter(0).failed(code, '', 0)
    t.equal(breaker.allows(299_999), false, code)
    t.equal(breaker.allows(300_000), true, code)
  }
  const breaker = new CircuitBreaker('a')
  for (let i = 0; i < 20; i++) breaker.enter(0).failed(i % 2 === 0 ? 'bad_request' : 'session_expired', '', 0)
  t.equal(breaker.state(0), 'closed')
})

t.test('a rate-limited service is not tried before its retry time', async (t) => {
  const breaker = new CircuitBreaker('a')
  breaker.enter(0).failed('rate_limit', 'a: Rate limit reached. Please try again in 20s.', 0)
  t.equal(breaker.allows(19_999), false)
  t.equal(breaker.allows(20_000), true)
  t.equal(retryAfterMs('Please try again in 6m0s. Visit'), 360_000)
  t.equal(retryAfterMs('try again in 820ms'), 820)
  t.equal(retryAfterMs('try again in 1.5s'), 1500)
  t.equal(retryAfterMs('HTTP 429, Retry-After: 30'), 30_000)
  t.equal(retryAfterMs('too many requests'), null)
})

t.test('late failures do not keep the circuit open longer', async (t) => {
  const breaker = new CircuitBreaker('a')
  const live = [breaker.enter(0), breaker.enter(0), breaker.enter(0)]
  for (let i = 0; i < 3; i++) breaker.enter(0).failed('network', '', 0)
  for (const [i, pass] of live.entries()) pass.failed('network', '', i * 100)
  t.equal(breaker.allows(5000), true)
  const late = breaker.enter(0)
  late.succeeded(500)
  t.equal(breaker.state(5000), 'half-open', 'and a late success of one of them does not close it')
})

t.test('names beyond the limit share a circuit', async (t) => {
  const circuits = new Circuits()
  for (let i = 0; i < CIRCUITS_MAX + 10; i++) circuits.of(`backend-${i}`)
  t.equal(circuits.of('one more'), circuits.of('another'))
  t.equal(circuits.of('backend-3'), circuits.of('backend-3'))
  t.equal(circuits.report(0).length, CIRCUITS_MAX + 1)
})

function push(history: CallerAudio, samples: number): void {
  history.push(Int16Array.from({ length: samples }, (_, i) => lineSample(history.written + i)))
}

t.test('kept audio is read back unchanged from any position', async () => {
  const step = fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 9000 }) }),
    fc.record({ forget: fc.integer({ min: -2000, max: 12_000 }) }),
  )
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 3000 }),
      fc.constantFrom(8000, 16_000),
      (steps, readSamples, rateHz) => {
        const history = new CallerAudio(rateHz, 2000)
        let forgotten = 0
        for (const one of steps) {
          if ('push' in one) push(history, one.push)
          else {
            history.forget(history.written - one.forget)
            forgotten = Math.max(forgotten, Math.min(history.written, history.written - one.forget))
          }
          if (history.oldest < forgotten) throw new Error('forgotten samples can be read')
          if (history.bytes > ((2000 + 100) * rateHz) / 1000) throw new Error(`${history.bytes} bytes`)
          const out = new Int16Array(readSamples)
          let at = history.oldest
          for (;;) {
            const samples = history.read(at, out)
            for (let i = 0; i < samples; i++) if (out[i] !== lineSample(at + i)) throw new Error(`sample ${at + i}`)
            at += samples
            if (samples < out.length) break
          }
          if (at !== history.written) throw new Error(`read to ${at} of ${history.written}`)
        }
        history.release()
      },
    ),
  )
})

t.test('two seconds of audio are kept', async (t) => {
  const history = new CallerAudio(16_000, 2000)
  for (let i = 0; i < 250; i++) push(history, 320)
  t.equal(history.written - history.oldest, 2100 * 16, 'in whole chunks')
})

t.test('memory is held only for kept audio', async (t) => {
  const history = new CallerAudio(16_000, 10_000)
  t.equal(history.bytes, 0)
  for (let i = 0; i < 1000; i++) {
    push(history, 320)
    history.forget(history.written - 8000)
  }
  t.equal(history.bytes, 8000)
  history.release()
  t.equal(history.bytes, 0)
  t.equal(history.read(history.oldest, new Int16Array(10)), 0)
})

type Step = 'quiet' | 'speak' | 'answer' | 'half-answer' | 'die' | 'die and wait' | 'stop waiting' | 'expire'

const step = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Step>('quiet') },
  { weight: 4, arbitrary: fc.constant<Step>('speak') },
  { weight: 3, arbitrary: fc.constantFrom<Step>('answer', 'half-answer') },
  { weight: 2, arbitrary: fc.constantFrom<Step>('die', 'die and wait') },
  { weight: 2, arbitrary: fc.constant<Step>('stop waiting') },
  { weight: 1, arbitrary: fc.constant<Step>('expire') },
)

/**
 * Whenever backends die, connect and are rotated: each session gets one unbroken piece of the caller's audio, and the
 * last one gets everything from the first sample without an answer at its takeover.
 */
t.test('no unanswered caller audio is lost in any event order', async (t) => {
  let takeovers = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 40 }), fc.boolean(), async (steps, serverVad) => {
      const [a, b] = [
        new ScriptedService('a', ['ready'], { serverVad }),
        new ScriptedService('b', ['ready'], { serverVad }),
      ]
      const line = new Line(t, [a, b], { failoversMax: 1000, connectMs: 60_000, stallMs: 3_600_000 })
      const begins = new Map<object, number>()
      const active = () => [...a.sessions, ...b.sessions].find((one) => one.closedWith === null)
      let unanswered: number | null = null
      let generation = 0
      await line.connect()
      for (const one of steps) {
        const now = active()
        if (one === 'quiet') await line.frames(200, false)
        else if (one === 'speak') {
          unanswered ??= line.said.length
          await line.frames(40)
          line.backend.speechStart(line.timers.now - 40)
          await line.frames(200)
          line.backend.speechEnd(line.timers.now)
        } else if (one === 'answer' || one === 'half-answer') {
          if (now === undefined || line.backend.snapshot() === null) continue
          generation += 1
          now.speak(generation, 'Yes.', 100)
          if (one === 'answer') {
            now.finish(generation)
            unanswered = null
          }
        } else if (one === 'expire') now?.emit({ type: 'expiring', inMs: 30_000 })
        else if (one === 'stop waiting') {
          for (const waiting of [...a.sessions, ...b.sessions]) waiting.becomeReady()
          await settled()
        } else {
          for (const service of [a, b])
            service.connects.splice(0, service.connects.length, one === 'die' ? 'ready' : 'later')
          if (line.backend.snapshot() !== null) now?.die()
          await settled()
        }
        // At its takeover a session must get all audio from here on.
        const serving = active()
        if (serving !== undefined && line.backend.snapshot() !== null && !begins.has(serving))
          begins.set(serving, unanswered ?? line.said.length)
      }
      for (const waiting of [...a.sessions, ...b.sessions]) waiting.becomeReady()
      await settled()
      await line.frames(100)
      for (const [i, session] of [...a.sessions, ...b.sessions].entries()) {
        const { samples } = session
        if (samples.length === 0) continue
        const at = line.said.findIndex((_, from) => samples.every((sample, k) => sample === line.said[from + k]))
        if (at === -1) throw new Error(`session ${i} did not get one unbroken piece`)
        const expectedFrom = begins.get(session)
        if (expectedFrom !== undefined && at > expectedFrom)
          throw new Error(`session ${i} begins at ${at}, ${at - expectedFrom} samples too late`)
        if (session === active() && at + samples.length !== line.said.length)
          throw new Error('the last words are missing')
        if (at % FRAME !== 0) throw new Error('frames are cut')
      }
      if (line.backend.stats.lostSamples !== 0) throw new Error(`${line.backend.stats.lostSamples} samples lost`)
      takeovers += line.backend.stats.failovers + line.backend.stats.rotations
      await line.backend.close('over')
    }),
    { numRuns: 150 },
  )
  t.ok(takeovers > 100, `${takeovers} takeovers`)
})

t.test('an expiring session is replaced while the line is silent', async (t) => {
  const a = new ScriptedService('a')
  const line = await Line.greeted(t, a, [a, new ScriptedService('b')])
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

t.test('a replacement gets all speech that begins while it connects', async (t) => {
  const a = new ScriptedService('a', ['ready', 'later'])
  const line = await Line.greeted(t, a, [a])
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

t.test('a replacement that missed a turn is replaced again', async (t) => {
  const a = new ScriptedService('a', ['ready', 'later', 'ready'])
  const line = await Line.greeted(t, a, [a])
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
})

t.test('with constant speech the rotation happens at the last moment', async (t) => {
  const a = new ScriptedService('a')
  const line = await Line.greeted(t, a, [a])
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
})

t.test('a service without warnings is rotated after maxSessionMs', async (t) => {
  const a = new ScriptedService('a', ['ready'], { maxSessionMs: 600_000 })
  const line = await Line.greeted(t, a, [a])
  await line.timers.pass(1_800_000)
  t.equal(line.backend.stats.rotations, 3)
  t.equal(a.sessions.length, 4)
  t.equal(line.recorder.all('error').length, 0)
})

t.test('an early expired session is replaced by the same service', async (t) => {
  const [a, b] = [new ScriptedService('a'), new ScriptedService('b')]
  const line = await Line.greeted(t, a, [a, b])
  a.now.die('session_expired')
  await settled()
  t.match(line.failovers, [{ from: 'a', to: 'a', reason: 'session_expired' }])
  t.equal(b.sessions.length, 0)
})

t.test('a connected standby takes over at once', async (t) => {
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

t.test('a failed standby is replaced a limited number of times', async (t) => {
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
