import t from 'tap'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { Rig } from './rig.js'

const WAITS = {
  refund: {
    say: { en: 'Enter your PIN.', sw: 'Weka PIN yako.' },
    still: { en: 'I am still waiting.', sw: 'Bado ninasubiri.' },
    everyMs: 20_000,
    onTimeout: { en: 'I have no confirmation.', sw: 'Sijapata uthibitisho.' },
  },
}

/** A call in which `refund` waits since just now, and its first words were heard. */
function waiting(overrides: ConstructorParameters<typeof Rig>[0] = {}): Rig {
  const rig = Rig.talking({ waits: WAITS, ...overrides })
  rig.toolCall('t1', 'refund', { order: 5 })
  rig.in({ type: 'tool-pending', callId: 't1', waitMs: 90_000 })
  rig.run(1500)
  return rig
}

const succeeded = { type: 'tool-outcome', callId: 't1', status: 'succeeded', value: { receipt: 'QX1' } } as const

t.test("the model gets a pending tool's outcome at a pause", async (t) => {
  const rig = waiting()
  t.same(rig.texts(), ['Enter your PIN.'])
  t.match(rig.only('backend-tool-result'), { callId: 't1', ok: true, pending: true, value: { pending: true } })
  t.equal(rig.audio(2, 'a2', 200), false, 'what the model adds to that is not wanted')
  rig.backend({ type: 'turn-done', generation: 2, status: 'cancelled' })
  rig.run(200)
  rig.in(succeeded)
  rig.run(100)
  t.match(rig.only('backend-tool-outcome'), { callId: 't1', ok: true, value: { receipt: 'QX1' }, respond: true })
  t.match(rig.toolCalls, [{ name: 'refund', ok: true, ms: 1700 }], 'one call, as long as it took')
  t.same(rig.all('wait'), [])
  rig.answer(3, 'a3', 800, 'It is paid.')
  rig.run(1200)
  t.match(rig.only('wait'), { callId: 't1', state: 'told' })
  rig.in(succeeded)
  rig.run(1000)
  t.equal(rig.all('backend-tool-outcome').length, 1, 'the same outcome again is nothing new')
})

t.test("a pending tool's first words count as the turn's answer", async (t) => {
  const rig = Rig.talking({ waits: WAITS })
  rig.speak(600)
  rig.run(500)
  rig.toolCall('t1', 'refund', { order: 5 })
  rig.in({ type: 'tool-pending', callId: 't1', waitMs: 90_000 })
  rig.run(2500)
  rig.speak(600)
  rig.run(25_000)
  t.equal(rig.texts().at(-1), 'I am still waiting.')
  rig.in(succeeded)
  rig.run(100)
  rig.answer(2, 'a2', 800, 'It is paid.')
  rig.run(1200)
  const [first, second] = rig.logged('turn')
  t.match(first, { answerMs: Number, firstSoundMs: first?.answerMs })
  t.ok((first?.answerMs ?? Infinity) < 1500, `${first?.answerMs} ms`)
  t.ok((second?.answerMs ?? 0) > 20_000, `${second?.answerMs} ms`)
})

t.test('without configured words the model announces the wait', async (t) => {
  const { say: _, ...rest } = WAITS.refund
  const rig = waiting({ waits: { refund: rest } })
  t.same(rig.texts(), [])
  t.ok(rig.audio(2, 'a2', 200))
})

t.test('a pending tool replaces silence prompts with its own words', async (t) => {
  const rig = waiting()
  rig.run(60_000)
  t.same(rig.texts(), ['Enter your PIN.', 'I am still waiting.', 'I am still waiting.'])
  t.equal(rig.session.counters.silencePrompts, 0)
  rig.in(succeeded)
  rig.run(500)
  rig.answer(2, 'a2', 500)
  rig.run(14_000)
  t.equal(rig.session.counters.silencePrompts, 1, 'afterwards silence counts again')
})

t.test('an outcome waits for silence and is repeated if interrupted', async (t) => {
  const rig = waiting()
  rig.speak(800)
  rig.in(succeeded)
  rig.speak(400)
  t.same(rig.all('backend-tool-outcome'), [], 'the caller speaks')
  rig.run(1200)
  t.equal(rig.all('backend-tool-outcome').length, 1)
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 4000)
  rig.run(300)
  rig.speak(600)
  rig.backend({ type: 'turn-done', generation: 2, status: 'cancelled' })
  rig.run(1500)
  const [, again] = rig.all('backend-tool-outcome')
  t.match(again?.text, /interrupted you/)
  t.same(rig.all('wait'), [], 'it was not heard')
})

t.test('a late outcome is reported after the wait expired [1]', async (t) => {
  const rig = waiting()
  rig.run(90_000)
  t.match(rig.all('wait'), [{ state: 'expired' }])
  t.equal(rig.texts().at(-1), 'I have no confirmation.')
  t.match(rig.only('backend-tool-outcome'), { ok: false, value: { status: 'expired' }, respond: false })
  t.match(rig.session.log.toolCalls, [{ end: 'expired', record: { ok: false } }])
  rig.in(succeeded)
  rig.run(500)
  t.match(rig.all('backend-tool-outcome').at(-1), { ok: true, respond: true, text: /after all/ })
  t.equal(rig.session.log.toolCalls.at(-1)?.record.ok, true)
})

t.test('a pending tool is not run again before its outcome', async (t) => {
  const rig = waiting()
  rig.toolCall('t2', 'refund', { order: 5 })
  rig.toolCall('t3', 'refund', { order: 6 })
  t.equal(rig.all('run-tool').length, 1)
  t.match(
    rig
      .all('backend-tool-result')
      .slice(1)
      .map(({ ok, value }) => ({ ok, value })),
    Array.from({ length: 2 }, () => ({ ok: false, value: { error: /waits for its outcome/ } })),
  )
  rig.in({ ...succeeded, status: 'failed', value: { code: 1032 } })
  rig.toolCall('t4', 'refund', { order: 5 })
  t.equal(rig.all('run-tool').at(-1)?.occurrence, 1, 'after a final outcome it is another request')
})

t.test('a repeated request after expiry keeps its key [2]', async (t) => {
  const rig = waiting()
  rig.run(91_000)
  rig.toolCall('t2', 'refund', { order: 5 })
  t.equal(rig.all('run-tool').at(-1)?.occurrence, 0)
})

for (const words of ['Cancel it, please.', 'Ghairi tu.'])
  t.test(`"${words}" cancels a pending tool [3]`, async (t) => {
    const rig = waiting()
    rig.heardWords(words)
    t.match(rig.only('wait'), { state: 'cancelled' })
    t.match(rig.only('backend-tool-outcome'), { ok: false, value: { status: 'cancelled' }, respond: false })
    rig.run(60_000)
    t.notOk(rig.texts().includes('I am still waiting.'))
  })

t.test('other questions are answered while a tool is pending', async (t) => {
  const rig = waiting()
  rig.speak(600)
  rig.run(700)
  rig.heardWords('Do not cancel my other order.')
  t.ok(rig.audio(2, 'a2', 500), 'and is answered')
  t.same(rig.all('wait'), [])
})

t.test('progress is passed to the model without an outcome', async (t) => {
  const rig = waiting()
  rig.in({ ...succeeded, status: 'progress', value: 'prompt shown' })
  t.match(rig.all('backend-text').at(-1), { role: 'system', respond: false, text: /prompt shown/ })
  t.same(rig.toolCalls, [])
})

t.test('an outcome that the backend cannot announce stays open', async (t) => {
  const rig = waiting()
  rig.in(succeeded)
  rig.run(100)
  rig.in({ type: 'tool-untold', callId: 't1' })
  rig.answer(3, 'a3', 800, 'What else can I do?')
  rig.run(20_000)
  t.same(rig.all('wait'), [], 'the caller has not heard it')
  t.equal(rig.all('backend-tool-outcome').length, 1, 'and it is not tried again')
  t.match(rig.session.checkpoint().waits, [{ callId: 't1', state: 'settled' }], 'but by whoever takes the call over')
})

t.test('another worker continues the wait and gets the outcome', async (t) => {
  const before = waiting()
  const resume = parseResume(JSON.parse(JSON.stringify(before.resume)))
  const elsewhere = (): Rig => {
    const rig = new Rig(
      { preparedAtMs: 500_000, wallOffsetMs: 1_700_000_000_000 + before.nowMs - 500_000, waits: WAITS },
      resume,
    )
    rig.nowMs = 500_000
    rig.open()
    rig.ready()
    return rig
  }
  const rig = elsewhere()
  t.same(rig.all('backend-tool-result'), [], 'the call is not lost')
  rig.toolCall('t9', 'refund', { order: 5 })
  t.equal(rig.all('run-tool').length, 0)
  rig.in(succeeded)
  rig.run(500)
  t.match(rig.only('backend-tool-outcome'), { callId: 't1', ok: true })
  t.match(rig.toolCalls.at(-1), { name: 'refund', ok: true, ms: before.nowMs - 2500 })
  const expires = elsewhere()
  expires.run(90_000)
  t.match(expires.all('wait'), [{ state: 'expired' }], 'and its time goes on')
})

t.test('a hang-up leaves the wait open for the main thread', async (t) => {
  const rig = waiting()
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.session.log.toolCalls, [{ end: 'abandoned', record: { ok: false, error: /no outcome/ } }])
  t.same(rig.all('wait'), [])
})

t.test('a call with a pending tool replays identically', async (t) => {
  const rig = waiting()
  rig.in(succeeded)
  rig.run(500)
  rig.answer(2, 'a2', 500)
  rig.run(1000)
  const { outputs, recorded } = replayJournal(rig.journal)
  t.ok(outputs.some(({ output }) => output.type === 'wait'))
  t.same(outputs, recorded)
})
