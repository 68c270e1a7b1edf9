import t from 'tap'
import type { Test } from 'tap'
import type { Backend, BackendFactory, ToolSpec } from '../../src/backends/backend.js'
import { conformanceSession } from '../../src/backends/conformance/harness.js'
import { Recorder } from '../../src/backends/conformance/recorder.js'
import { DeafWatch } from '../../src/backends/failover/deaf-watch.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { until } from '../support/until.js'
import { FakeTimers } from './failover/scripted.js'

// Complaints of users of other projects, each with a double that does it. The checks mostly wait for a double, so they run side by side;
// those whose backend waits no longer than a moment for something, alone.
t.jobs = 32
const check = (name: string, run: (t: Test) => Promise<void>): unknown => t.test(name, { buffered: true }, run)
const checkAlone = (name: string, run: (t: Test) => Promise<void>): unknown => t.test(name, run)

const KEY = 'key-of-a-test-0123456789'
const STALL_MS = 2000
const TOOLS: readonly ToolSpec[] = ['lookup_order', 'cancel_order'].map((name) => ({
  name,
  description: 'A tool.',
  parameters: { type: 'object', properties: {} },
}))
const SESSION = conformanceSession({ tools: TOOLS })

async function geminiDouble(t: Test): Promise<GeminiDouble> {
  const double = await GeminiDouble.start({ key: KEY })
  t.teardown(() => double.close())
  return double
}

async function openAiDouble(t: Test): Promise<OpenAiDouble> {
  const double = await OpenAiDouble.start({ key: KEY })
  t.teardown(() => double.close())
  return double
}

const toGemini =
  (double: GeminiDouble, by: 'server' | 'gateway' = 'gateway', model = 'gemini-3.8-live') =>
  (sink: Recorder): GeminiLiveBackend =>
    new GeminiLiveBackend(sink, { apiKey: KEY, model, baseUrl: double.baseUrl, turns: { by } })
const toOpenAi =
  (double: OpenAiDouble) =>
  (sink: Recorder): OpenAiRealtimeBackend =>
    new OpenAiRealtimeBackend(sink, { apiKey: KEY, model: 'gpt-realtime-2.1', baseUrl: double.baseUrl })

async function connected<B extends Backend>(t: Test, make: (sink: Recorder) => B) {
  const recorder = new Recorder()
  const backend = make(recorder)
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(SESSION, new AbortController().signal)
  return { backend, recorder }
}

/** Backends in their order, whose time passes when the test says so: however busy the machine is, none is late. */
const list =
  (timers: FakeTimers, ...factories: readonly ((sink: Recorder) => Backend)[]) =>
  (sink: Recorder) =>
    new CallBackend(sink, {
      candidates: factories.map((create) => ({ create: create as unknown as BackendFactory })),
      timers,
      stallMs: STALL_MS,
    })

const ask = (backend: Backend): void => backend.sendText('Hello', { role: 'caller', respond: true })

/** The caller's line, faster than real time. `pcm` is voiced to the gateway's own detector, or not. */
function frames(backend: Backend, ms: number, voiced: boolean): void {
  const { inputRateHz } = backend.capabilities
  const frame = Int16Array.from({ length: inputRateHz / 50 }, (_, i) =>
    voiced ? Math.round(9000 * Math.sin((2 * Math.PI * 300 * i) / inputRateHz)) : 0,
  )
  for (let done = 0; done < ms; done += 20) backend.pushAudio(frame, voiced)
}

/** A greeting, after which the caller is asked: the agent's sound and its echo are over. */
async function greeted(backend: Backend, recorder: Recorder, timers: FakeTimers): Promise<void> {
  ask(backend)
  await recorder.next('turn-done')
  await timers.pass(750)
}

const wordsOf = (recorder: Recorder): string[] =>
  recorder
    .all('transcript')
    .filter(({ role, final }) => role === 'agent' && final)
    .map(({ text }) => text)

// --- deaf after the greeting --------------------------------------------------------------------------------

for (const [name, deafLine] of [
  [
    'Gemini',
    async (t: Test, timers: FakeTimers) => {
      const [deaf, good] = [await geminiDouble(t), await geminiDouble(t)]
      return { deaf, good, make: list(timers, toGemini(deaf, 'server'), toGemini(good, 'server')) }
    },
  ],
  [
    'OpenAI',
    async (t: Test, timers: FakeTimers) => {
      const [deaf, good] = [await openAiDouble(t), await openAiDouble(t)]
      return { deaf, good, make: list(timers, toOpenAi(deaf), toOpenAi(good)) }
    },
  ],
] as const) {
  check(`${name}, deaf after its greeting, is replaced within stallMs`, async (t) => {
    const timers = new FakeTimers()
    const { deaf, good, make } = await deafLine(t, timers)
    deaf.script.reply({ say: 'Welcome.', audioMs: 100 })
    deaf.faults.deaf = true
    good.script.reply({ say: 'I heard you.', audioMs: 300 })
    const { backend, recorder } = await connected(t, make)
    await greeted(backend, recorder, timers)
    frames(backend, 900, true)
    frames(backend, 600, false)
    await timers.pass(STALL_MS)
    const { reason } = await recorder.next('failover')
    t.equal(reason, 'deaf')
    frames(backend, 600, false)
    await recorder.next('turn-done', 2)
    t.equal(wordsOf(recorder).at(-1), 'I heard you.', 'the other one got what the caller had said')
    t.match(recorder.all('error'), [{ code: 'timeout', fatal: false }])
  })
}

check('after heard speech, two unheard utterances count as deafness', async (t) => {
  const timers = new FakeTimers()
  let deaf = 0
  const watch = new DeafWatch(timers, 1000, () => deaf++)
  const voice = async (ms: number, { agentSounds = false, then = 600 } = {}): Promise<void> => {
    for (let at = 0; at < ms + then; at += 20) {
      watch.frame(at < ms, agentSounds ? Infinity : -Infinity)
      await timers.pass(20)
    }
  }
  await voice(480)
  await voice(2000, { agentSounds: true })
  await timers.pass(2000)
  t.equal(deaf, 0, 'a cough, and the echo of the agent')
  await voice(500, { then: 400 })
  await timers.pass(579)
  t.equal(deaf, 0)
  await timers.pass(1)
  t.equal(deaf, 1, 'one utterance, stallMs after its end')
  watch.reset()
  await voice(900)
  watch.heard()
  await timers.pass(2000)
  await voice(900)
  await timers.pass(2000)
  t.equal(deaf, 1, 'one after it was heard may be a noise')
  await voice(900)
  await timers.pass(2000)
  t.equal(deaf, 2)
  await voice(900)
  watch.answers()
  await voice(900)
  await timers.pass(2000)
  t.equal(deaf, 2, 'an answer in between begins the count again')
  watch.reset()
  await voice(900)
  watch.answers()
  await voice(900)
  await timers.pass(2000)
  t.equal(deaf, 3, 'but an answer, as to a text, shows no hearing')
})

check('pressed keys do not count as heard speech', async (t) => {
  const [deaf, good] = [await openAiDouble(t), await openAiDouble(t)]
  deaf.faults.deaf = true
  const timers = new FakeTimers()
  const { backend, recorder } = await connected(t, list(timers, toOpenAi(deaf), toOpenAi(good)))
  await greeted(backend, recorder, timers)
  backend.dtmf('4')
  backend.dtmf('#')
  await recorder.next('turn-done', 2)
  await timers.pass(1200)
  frames(backend, 900, true)
  frames(backend, 600, false)
  await timers.pass(STALL_MS)
  t.equal((await recorder.next('failover')).reason, 'deaf')
})

check('a single deaf service reconnects twice at most', async (t) => {
  const deaf = await openAiDouble(t)
  deaf.faults.deaf = true
  const timers = new FakeTimers()
  const { backend, recorder } = await connected(t, list(timers, toOpenAi(deaf)))
  await greeted(backend, recorder, timers)
  for (let i = 1; i <= 2; i++) {
    frames(backend, 900, true)
    frames(backend, 600, false)
    await timers.pass(STALL_MS)
    await recorder.next('failover', i)
  }
  frames(backend, 900, true)
  frames(backend, 600, false)
  await timers.pass(STALL_MS + 200)
  t.equal(recorder.all('failover').length, 2, 'then the line may be at fault')
  t.equal(deaf.connections, 3)
})

check('a silent service reconnects if the gateway detects turns', async (t) => {
  const double = await geminiDouble(t)
  const timers = new FakeTimers()
  const { backend, recorder } = await connected(t, list(timers, toGemini(double)))
  await greeted(backend, recorder, timers)
  double.faults.deaf = true
  backend.speechStart(timers.now)
  frames(backend, 900, true)
  await timers.pass(900)
  backend.speechEnd(timers.now)
  await timers.pass(STALL_MS)
  await recorder.until('another session', () => double.sessions.length > 1)
  t.match(recorder.all('error'), [{ code: 'timeout', fatal: false }])
})

// --- phantom interruptions and empty turns ------------------------------------------------------------------

for (const by of ['gateway', 'server'] as const) {
  check(`an interruption without speech drops no audio: ${by} detects turns`, async (t) => {
    const double = await geminiDouble(t)
    const { backend, recorder } = await connected(t, toGemini(double, by))
    double.script.reply({ say: 'A long answer.', audioMs: 3000, paceMs: 10 }, { say: 'And the next.', audioMs: 200 })
    ask(backend)
    await recorder.until('sound', () => recorder.audioMs(1) >= 500)
    frames(backend, 200, false)
    double.session.interruptForNothing()
    t.match(await recorder.next('turn-done'), { status: 'completed', reason: 'interrupted by nothing' })
    t.equal(recorder.all('interrupted').length, 0, 'so nothing that waits to be played is thrown away')
    t.match(backend.stats, { phantomInterruptions: 1, latePieces: 0 })
    ask(backend)
    await recorder.next('turn-done', 2)
    t.match(backend.stats, { emptyTurns: 0, phantomInterruptions: 1 })
  })
}

check('the caller can interrupt without words', async (t) => {
  const double = await geminiDouble(t)
  const { backend, recorder } = await connected(t, toGemini(double, 'server'))
  double.script.reply({ say: 'A long answer.', audioMs: 3000, paceMs: 10 })
  ask(backend)
  await recorder.until('sound', () => recorder.audioMs(1) >= 300)
  frames(backend, 400, true)
  t.equal((await recorder.next('interrupted')).generation, 1)
  t.equal(backend.stats.phantomInterruptions, 0)
})

/** A backend whose turns the service decides, and whether it stops its answer for what it hears. */
async function withServerVad(t: Test, interruptResponse: boolean) {
  const double = await openAiDouble(t)
  const turns = { by: 'server_vad', interruptResponse } as const
  const options = { apiKey: KEY, model: 'gpt-realtime-2.1', baseUrl: double.baseUrl, turns }
  return { double, ...(await connected(t, (sink) => new OpenAiRealtimeBackend(sink, options))) }
}

check("with interruptResponse false a noise does not stop OpenAI's answer", async (t) => {
  for (const interruptResponse of [true, false]) {
    const { double, recorder, backend } = await withServerVad(t, interruptResponse)
    double.script.reply({ say: 'A long answer.', audioMs: 1000, paceMs: 10 })
    ask(backend)
    await recorder.until('sound', () => recorder.audioMs(1) >= 300)
    double.session.hearSpeechInNoise()
    const { status } = await recorder.next('turn-done')
    t.equal(status, interruptResponse ? 'cancelled' : 'completed')
    if (!interruptResponse) t.equal(recorder.audioMs(1), 1000)
  }
})

// A service that has finished its answer while the caller still hears it answers what it hears over it.

const transcript = (itemId: string, text: string) => ({
  type: 'conversation.item.input_audio_transcription.completed' as const,
  item_id: itemId,
  content_index: 0,
  transcript: text,
  usage: { type: 'duration' as const, seconds: 1 },
})

/** An answer of 4 s that has come whole, and a sound over it that the call gives to the backend as one in doubt. */
async function soundOver(t: Test) {
  const { double, recorder, backend } = await withServerVad(t, false)
  double.script.reply(
    { say: 'A long answer.', audioMs: 4000 },
    { say: 'What did you say?', audioMs: 700 },
    { say: 'And the next.', audioMs: 300 },
  )
  ask(backend)
  await recorder.next('turn-done')
  recorder.onEvent = (event) => {
    if (event.type === 'speech-stopped') backend.speechEnd(performance.now(), ['mm hm', 'okay'])
  }
  const { session } = double
  session.send({ type: 'input_audio_buffer.speech_started', audio_start_ms: 0, item_id: 'sound' })
  session.send({ type: 'input_audio_buffer.speech_stopped', audio_end_ms: 300, item_id: 'sound' })
  await recorder.next('speech-stopped')
  t.equal(backend.capabilities.weighsSpeech, true)
  return { double, session, recorder, backend }
}

for (const [order, wordsFirst] of [
  ['begins before its words are known', false],
  ['begins after its words are known', true],
] as const)
  checkAlone(`OpenAI's answer to a late backchannel is dropped: it ${order}`, async (t) => {
    const { double, session, recorder, backend } = await soundOver(t)
    if (wordsFirst) session.send(transcript('sound', 'Mm-hm, okay.'))
    const before = backend.stats.messagesIn
    session.answerNow()
    if (!wordsFirst) {
      await until(() => backend.stats.messagesIn > before, 10_000, 'the answer')
      t.equal(recorder.all('turn-start').length, 1, 'it waits')
      session.send(transcript('sound', 'Mm-hm, okay.'))
    }
    t.match(await recorder.next('turn-done', 2), { generation: 2, status: 'cancelled', reason: 'backchannel' })
    await recorder.until('its usage', () => recorder.all('usage').some((one) => one.usage.inputTokens > 0))
    ask(backend)
    await recorder.until('the next answer', () => recorder.audioMs(3) === 300)
    t.equal(recorder.audioMs(2), 0)
    t.equal(backend.stats.backchannelAnswers, 1)
    if (!wordsFirst)
      t.match(double.session.truncations, [{ audioEndMs: 0 }], 'nor does the model think that it was heard')
    t.same(
      session.errors.filter(({ code }) => code !== 'response_cancel_not_active'),
      [],
    )
  })

checkAlone('words over a finished answer of OpenAI are answered', async (t) => {
  for (const interrupts of [false, true]) {
    const { session, recorder, backend } = await soundOver(t)
    const heard = recorder.onEvent
    recorder.onEvent = (event) => {
      heard?.(event)
      if (interrupts && event.type === 'transcript' && event.role === 'caller' && event.final)
        backend.interrupt({ itemId: recorder.audioPieces[0]?.itemId ?? null, playedMs: 900 })
    }
    const before = backend.stats.messagesIn
    session.answerNow()
    await until(() => backend.stats.messagesIn > before, 10_000, 'the answer')
    session.send(transcript('sound', 'And my refund?'))
    await recorder.until('the answer', () => recorder.audioMs(2) === 700)
    t.match(await recorder.next('turn-done', 2), { generation: 2, status: 'completed' })
    if (interrupts) await recorder.until('the cut', () => session.truncations[0]?.audioEndMs === 900)
    t.equal(session.truncations.length, interrupts ? 1 : 0)
    t.equal(backend.stats.backchannelAnswers, 0)
  }
})

checkAlone('a sound without a transcript is answered after a wait', async (t) => {
  const { session, recorder } = await soundOver(t)
  const sinceMs = performance.now()
  session.answerNow()
  await recorder.until('the answer', () => recorder.audioMs(2) === 700)
  t.ok(performance.now() - sinceMs >= 1000, 'it has waited')
})

checkAlone('another interruption cancels the waiting answer', async (t) => {
  const { session, recorder, backend } = await soundOver(t)
  const before = backend.stats.messagesIn
  session.answerNow()
  await until(() => backend.stats.messagesIn > before, 10_000, 'the answer')
  backend.interrupt({ itemId: null, playedMs: 0 })
  t.match(await recorder.next('turn-done', 2), { generation: 2, status: 'cancelled' })
  session.send(transcript('sound', 'And my refund?'))
  ask(backend)
  await recorder.until('the next answer', () => recorder.audioMs(3) === 300)
  t.equal(recorder.audioMs(2), 0)
})

check('an empty turn is requested once more, then fails', async (t) => {
  const [gemini, openai] = [await geminiDouble(t), await openAiDouble(t)]
  const one = await connected(t, toGemini(gemini))
  const two = await connected(t, toOpenAi(openai))
  gemini.faults.emptyTurns = 1
  openai.faults.emptyAnswers = 1
  for (const { backend, recorder } of [one, two]) {
    ask(backend)
    await recorder.until('an answer', () => recorder.audioPieces.length > 0)
    await recorder.until('its end', () => recorder.all('turn-done').some(({ status }) => status === 'completed'))
    t.equal(recorder.all('turn-done').filter(({ status }) => status === 'failed').length, 0)
  }
  t.equal(one.backend.stats.emptyTurns, 1)
  t.equal(two.backend.stats.emptyResponses, 1)
  gemini.faults.emptyTurns = 2
  openai.faults.emptyAnswers = 2
  for (const { backend, recorder } of [one, two]) {
    ask(backend)
    await recorder.until('a failure', () =>
      recorder.all('turn-done').some(({ status, reason }) => status === 'failed' && reason === 'empty'),
    )
  }
})

check("Gemini's empty turn after a noise is not requested again", async (t) => {
  const double = await geminiDouble(t)
  const { backend, recorder } = await connected(t, toGemini(double))
  double.script.callerSays('')
  double.faults.emptyTurns = 1
  backend.speechStart(performance.now())
  frames(backend, 300, true)
  backend.speechEnd(performance.now())
  await recorder.until('the empty turn', () => backend.stats.emptyTurns === 1)
  t.same(recorder.all('turn-done'), [])
  ask(backend)
  await recorder.next('turn-done')
  t.equal(double.script.answers, 1, 'only what was asked for')
})

check('a service with only empty turns is replaced', async (t) => {
  const [empty, good] = [await geminiDouble(t), await geminiDouble(t)]
  empty.faults.emptyTurns = 100
  good.script.reply({ say: 'I am here.', audioMs: 200 })
  const { backend, recorder } = await connected(t, list(new FakeTimers(), toGemini(empty), toGemini(good)))
  for (let i = 1; i <= 2; i++) {
    ask(backend)
    await recorder.next('turn-done', i)
  }
  await recorder.next('failover')
  await recorder.until('an answer', () => recorder.audioPieces.length > 0)
})

// --- tool calls ---------------------------------------------------------------------------------------------

const CALLS = [
  { callId: 'c1', name: 'lookup_order', args: { id: 1 } },
  { callId: 'c2', name: 'cancel_order', args: { id: 2 } },
]

for (const model of ['gemini-3.8-live', 'gemini-live-2.5-flash-preview'])
  check(`split and repeated parallel calls are run once: ${model}`, async (t) => {
    const double = await geminiDouble(t)
    double.faults.callsApart = true
    const { backend, recorder } = await connected(t, toGemini(double, 'gateway', model))
    double.script.reply({ say: 'One moment.', audioMs: 100, calls: CALLS }, { say: 'Both are done.', audioMs: 200 })
    ask(backend)
    await recorder.next('tool-call', 2)
    await recorder.until('the repetitions', () => backend.stats.repeatedToolCalls === 2)
    t.same(
      recorder.all('tool-call').map(({ callId }) => callId),
      ['c1', 'c2'],
    )
    backend.toolResult('c2', { ok: true, value: 2 })
    backend.toolResult('c1', { ok: true, value: 1 })
    backend.toolResult('c1', { ok: true, value: 'again' })
    await recorder.until('the answer', () => wordsOf(recorder).includes('Both are done.'))
    t.same(double.session.toolAnswers.map(({ callId }) => callId).sort(), ['c1', 'c2'])
    t.equal(backend.stats.lateToolResults, 1)
  })

check('repeated parallel calls of OpenAI are run once', async (t) => {
  const double = await openAiDouble(t)
  double.faults.callsTwice = true
  const { backend, recorder } = await connected(t, toOpenAi(double))
  double.script.reply({ say: 'One moment.', audioMs: 100, calls: CALLS }, { say: 'Both are done.', audioMs: 200 })
  ask(backend)
  await recorder.next('turn-done')
  t.same(
    recorder.all('tool-call').map(({ callId }) => callId),
    ['c1', 'c2'],
  )
  backend.toolResult('c2', { ok: true, value: 2 })
  const received = (): number => double.session.received.length
  const before = received()
  await until(() => received() > before, 10_000, 'the result')
  t.equal(double.script.answers, 1, 'it waits for the other result')
  backend.toolResult('c1', { ok: true, value: 1 })
  await recorder.next('turn-done', 2)
  t.equal(wordsOf(recorder).at(-1), 'Both are done.')
  t.equal(double.session.errors.length, 0)
})

const LOOK = 'Let me look that up for you.'
const call = (callId: string) => [{ callId, name: 'lookup_order', args: { callId } }]

for (const [name, repeating] of [
  [
    'Gemini',
    async (t: Test) => {
      const double = await geminiDouble(t)
      return { double, ...(await connected(t, toGemini(double))) }
    },
  ],
  [
    'OpenAI',
    async (t: Test) => {
      const double = await openAiDouble(t)
      return { double, ...(await connected(t, toOpenAi(double))) }
    },
  ],
] as const) {
  check(`a sentence repeated before a tool call is dropped: ${name}`, async (t) => {
    const { double, backend, recorder } = await repeating(t)
    recorder.onEvent = (event) => {
      if (event.type === 'tool-call') backend.toolResult(event.callId, { ok: true, value: 1 })
    }
    double.script.reply(
      { say: LOOK, audioMs: 800, calls: call('c1') },
      { say: 'let me look that up for you', audioMs: 700, calls: call('c2') },
      { say: LOOK, audioMs: 600, calls: call('c3') },
      { say: 'It is on its way.', audioMs: 500 },
    )
    ask(backend)
    await recorder.until('the answer', () => wordsOf(recorder).includes('It is on its way.'))
    t.same(wordsOf(recorder), [LOOK, 'It is on its way.'])
    t.equal(
      recorder.audioPieces.reduce((sum, { ms }) => sum + ms, 0),
      1300,
      'as sound too',
    )
    t.equal(recorder.all('tool-call').length, 3, 'each tool is run')
    t.equal(backend.stats.repeatedSpeech, 2)
    // When the caller asks again, everything may be said again.
    double.script.reply({ say: LOOK, audioMs: 400, calls: call('c4') }, { say: 'Still on its way.', audioMs: 100 })
    ask(backend)
    await recorder.until('the next answer', () => wordsOf(recorder).includes('Still on its way.'))
    t.equal(wordsOf(recorder).filter((words) => words === LOOK).length, 2)
    t.equal(backend.stats.repeatedSpeech, 2)
  })

  check(`different, short and final words are all heard: ${name}`, async (t) => {
    const { double, backend, recorder } = await repeating(t)
    recorder.onEvent = (event) => {
      if (event.type === 'tool-call') backend.toolResult(event.callId, { ok: true, value: 1 })
    }
    const said = ['One moment.', 'One moment.', LOOK, 'Let me look into another drawer.', LOOK]
    double.script.reply(...said.slice(0, -1).map((say, i) => ({ say, audioMs: 300, calls: call(`c${i}`) })), {
      say: LOOK,
      audioMs: 300,
    })
    ask(backend)
    await recorder.until('all words', () => wordsOf(recorder).length === said.length)
    t.same(wordsOf(recorder), said)
    t.equal(
      recorder.audioPieces.reduce((sum, { ms }) => sum + ms, 0),
      300 * said.length,
    )
    t.equal(backend.stats.repeatedSpeech, 0)
  })

  check(`a tool call within a word cuts no audio: ${name}`, async (t) => {
    const { double, backend, recorder } = await repeating(t)
    double.faults.callAfterMs = 300
    recorder.onEvent = (event) => {
      if (event.type === 'tool-call') backend.toolResult(event.callId, { ok: true, value: 1 })
    }
    double.script.reply({ say: LOOK, audioMs: 800, paceMs: 5, calls: call('c1') }, { say: 'Found it.', audioMs: 200 })
    ask(backend)
    await recorder.until('the answer', () => wordsOf(recorder).includes('Found it.'))
    await recorder.until('all sound', () => recorder.audioPieces.reduce((sum, { ms }) => sum + ms, 0) === 1000)
    const generations = recorder.audioPieces.map(({ generation }) => generation)
    t.same(
      generations,
      [...generations].sort((a, b) => a - b),
      'in order',
    )
    t.equal(recorder.all('interrupted').length, 0)
    t.ok(recorder.all('turn-done').every(({ status }) => status === 'completed'))
    t.match(wordsOf(recorder), [LOOK, 'Found it.'])
  })
}

check('a call continues if Gemini drops part of a word', async (t) => {
  const double = await geminiDouble(t)
  double.faults.callAfterMs = 300
  double.faults.restOfWord = false
  const { backend, recorder } = await connected(t, toGemini(double))
  double.script.reply({ say: LOOK, audioMs: 800, calls: call('c1') }, { say: 'Found it.', audioMs: 200 })
  ask(backend)
  backend.toolResult((await recorder.next('tool-call')).callId, { ok: true, value: 1 })
  await recorder.until('the answer', () => wordsOf(recorder).includes('Found it.'))
  t.equal(recorder.all('interrupted').length, 0)
})
