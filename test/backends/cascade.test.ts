import t from 'tap'
import type { Test } from 'tap'
import type { BackendFactory, BackendSession } from '../../src/backends/backend.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { heardOf } from '../../src/backends/cascade/conversation.js'
import { messageTaker } from '../../src/backends/cascade/message-taker.js'
import { Sentences } from '../../src/backends/cascade/sentences.js'
import { whisper } from '../../src/vendors/self-hosted/whisper-requests.js'
import { SpeechBody } from '../../src/backends/cascade/speech-body.js'
import { RateConverter } from '../../src/media/resample/rate-converter.js'
import type { CascadeOptions } from '../../src/backends/cascade/cascade-backend.js'
import { CallBackend } from '../../src/backends/call-backend.js'
import { clockTimers } from '../../src/backends/timers.js'
import { CALLBACK_TOOL, END_CALL_TOOL, ESCALATE_TOOL, sessionTools } from '../../src/call/tools/gateway-tools.js'
import { noUsage } from '../../src/call/usage.js'
import { OFFER } from '../support/tool-offer.js'
import { Recorder, conformanceSession, speakTo } from '../../src/backends/conformance.js'
import { writeWav } from '../../src/media/wav.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { CASCADE_TEST_KEY, cascadeOptions } from './cascade-harness.js'
import { polled } from './socket-peers.js'

interface Line {
  readonly double: CascadeDouble
  readonly backend: CascadeBackend
  readonly recorder: Recorder
}

async function line(
  t: Test,
  options: Partial<CascadeOptions> = {},
  session: Partial<BackendSession> = {},
  timeoutMs?: number,
): Promise<Line> {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const recorder = new Recorder()
  const backend = new CascadeBackend(recorder, { ...cascadeOptions(double, timeoutMs), ...options })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
  })
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { double, backend, recorder }
}

const ask = (backend: CascadeBackend): void => backend.sendText('Hello', { role: 'caller', respond: true })

t.test('the first sentence is spoken before the second is written', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'Your order left the shop this morning. It will be with you before noon tomorrow.' })
  ask(backend)
  await recorder.next('turn-done')
  t.same(double.spoken, ['Your order left the shop this morning.', 'It will be with you before noon tomorrow.'])
  const words = recorder.all('transcript').filter((entry) => entry.role === 'agent')
  t.equal(words[0]?.text, 'Your order left the shop this morning.', 'with its first sample')
  t.equal(words.at(-1)?.final, true)
})

t.test("the voice gets a name's pronunciation, the transcript its spelling", async (t) => {
  const { double, backend, recorder } = await line(t, {}, { pronunciations: [{ match: 'Muindi', say: 'Moo-in-dee' }] })
  double.script.reply({ say: 'It is at Muindi Street.' })
  ask(backend)
  await recorder.next('turn-done')
  t.same(double.spoken, ['It is at Moo-in-dee Street.'])
  t.equal(recorder.all('transcript').findLast((entry) => entry.role === 'agent')?.text, 'It is at Muindi Street.')
})

t.test('an idle connection is opened again while the caller speaks', async (t) => {
  let skippedMs = 0
  const { double, backend, recorder } = await line(t, { timers: clockTimers(() => performance.now() + skippedMs) })
  await speakTo(backend, 400)
  await recorder.next('turn-done')
  t.equal(double.warmings, 0, 'it was used a moment ago')
  // As the service or the client ends connections that nobody uses.
  double.breakOff()
  await polled()
  skippedMs = 5000
  backend.speechStart(performance.now() + skippedMs)
  await recorder.until('the connection', () => double.warmings > 0)
  await speakTo(backend, 400)
  await recorder.next('turn-done', 2)
  t.equal(double.warmings, 1, 'once for the three services, which are one host here')
  t.equal(double.clientPorts.stt, double.clientPorts.warming, 'the words go where the connection was opened for them')
  skippedMs = 10_000
  double.breakOff()
  await speakTo(backend, 400)
  await recorder.next('turn-done', 3)
  t.same(recorder.all('error'), [], 'one that breaks is no fault')
})

t.test('an interruption ends every request of the turn at once', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({
    say: 'One sentence. Another sentence. A third sentence. A fourth one.',
    audioMs: 8000,
    paceMs: 20,
  })
  ask(backend)
  await recorder.until('audio', () => recorder.audioPieces.length >= 2)
  const requests = double.requests.tts
  backend.interrupt({ itemId: recorder.audioPieces[0]?.itemId ?? null, playedMs: 50 })
  await recorder.until('the requests to end', () => double.aborted >= 1)
  double.script.reply({ say: 'Another answer.' })
  ask(backend)
  await recorder.next('turn-done', 2)
  t.equal(double.requests.tts, requests + 1, 'no more sentences of the first answer are requested')
  t.equal(recorder.all('error').length, 0)
})

t.test('a caller who continues after a pause is answered once', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('My order number is', 'four seven one one')
  double.delayMs.stt = 60
  await speakTo(backend, 600, 0)
  backend.speechStart(0)
  const frame = new Int16Array(320).fill(3000)
  for (let i = 0; i < 30; i++) backend.pushAudio(frame)
  await recorder.until('the first words', () => recorder.all('transcript').length === 1)
  t.equal(double.chats.length, 0, 'the caller still speaks')
  backend.speechEnd(0)
  await recorder.next('turn-done')
  t.equal(double.chats.length, 1)
  t.same(
    double.chats[0]?.messages.filter((message) => message.role === 'user').map((message) => message.content),
    ['My order number is four seven one one'],
  )
})

t.test('noise is not answered', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('[BLANK_AUDIO]')
  await speakTo(backend, 120)
  await speakTo(backend, 800)
  await recorder.until('both', () => backend.stats.noises === 2)
  t.equal(double.requests.stt, 1, 'speech that is too short is not transcribed')
  t.equal(double.chats.length, 0)
})

/** How long a question sounds. */
const SOUND_MS = 1000

for (const [language, question] of [
  ['English', 'What is your order number?'],
  ['Swahili', 'Namba ya agizo lako ni ipi?'],
] as const)
  t.test(`a question is asked again once after noise: ${language}`, async (t) => {
    const { double, backend, recorder } = await line(t)
    double.script.reply({ say: question, audioMs: SOUND_MS }, { say: 'Thank you.' })
    ask(backend)
    await recorder.next('turn-done')
    let saidAtMs = performance.now()
    const noise = async (count: number, text: string): Promise<void> => {
      double.script.callerSays(text)
      await speakTo(backend, 800)
      await recorder.until('the noise', () => backend.stats.noises === count)
    }
    await noise(1, '[BLANK_AUDIO]')
    t.equal(recorder.all('turn-start').length, 1, 'while the question sounds nothing is repeated')
    await recorder.until('the end of the question', () => performance.now() > saidAtMs + 2 * SOUND_MS)
    await noise(2, '')
    await recorder.until('the question', () => recorder.all('turn-done').length === 2)
    t.equal(recorder.all('transcript').findLast(({ role }) => role === 'agent')?.text, question)
    saidAtMs = performance.now()
    await recorder.until('its end', () => performance.now() > saidAtMs + 2 * SOUND_MS)
    await noise(3, '[noise]')
    t.equal(recorder.all('turn-start').length, 2, 'and the next time it is left to the prompts of silence')
    t.equal(double.chats.length, 1, 'the model is not asked')
    double.script.callerSays('four one two seven')
    await speakTo(backend, 800)
    await recorder.until('the answer', () => double.chats.length === 2)
  })

t.test("a recogniser's own prompt is not taken as caller speech", async (t) => {
  const prompt = 'Calls to Sokoni, a shop in Nairobi.'
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => double.close())
  const service = { baseUrl: double.baseUrl, apiKey: CASCADE_TEST_KEY, model: 'whisper' }
  const { backend, recorder } = await line(t, { stt: [whisper({ ...service, prompt })] })
  double.script.callerSays(prompt, 'Where is my order?')
  await speakTo(backend, 1500)
  await recorder.until('noise', () => backend.stats.noises === 1)
  await speakTo(backend, 800)
  await recorder.next('transcript')
  t.equal(recorder.all('transcript')[0]?.text, 'Where is my order?')
})

t.test('an unrecognised interruption makes the agent ask again', async (t) => {
  const { double, backend, recorder } = await line(t)
  const cutOff = async (turn: number): Promise<void> => {
    await recorder.until('sound', () => recorder.audioPieces.some(({ generation }) => generation === turn))
    double.script.callerSays('[inaudible]')
    backend.speechStart(0)
    backend.interrupt({ itemId: `cascade-${turn}`, playedMs: 100 })
    const frame = new Int16Array(320).fill(3000)
    for (let i = 0; i < 40; i++) backend.pushAudio(frame)
    backend.speechEnd(0)
  }
  double.script.reply({ say: 'We are open from eight to six.', paceMs: 20 }, { say: 'Sorry, once more?', paceMs: 20 })
  backend.sendText('When are you open?', { role: 'caller', respond: true })
  await cutOff(1)
  await recorder.until('the second answer', () => double.chats.length === 2)
  t.match(double.chats[1]?.messages.at(-1), { role: 'system', content: /was not understood/ }, 'by the model')
  await cutOff(2)
  await recorder.until('the question', () => recorder.all('turn-start').length === 3)
  await recorder.next('audio-done')
  t.equal(recorder.all('transcript').at(-1)?.text, 'Sorry, once more?', 'or with the question that was cut off')
  t.equal(double.chats.length, 2)
  double.script.callerSays('[inaudible]')
  await speakTo(backend, 800)
  await recorder.until('the noise', () => backend.stats.noises === 3)
  t.equal(recorder.all('turn-start').length, 3, 'noise that cut nothing off is not answered')
})

for (const words of ['Subiri kidogo.', 'Ngoja kidogo tafadhali', 'Wait, please.', 'Hold on a second.'])
  t.test(`a caller's request to wait costs no model request: ${words}`, async (t) => {
    const { double, backend, recorder } = await line(t, { waitWords: true })
    double.script.reply({ say: 'We are open from eight to six.', paceMs: 20 })
    ask(backend)
    await recorder.until('sound', () => recorder.audioPieces.length > 0)
    double.script.callerSays(words)
    backend.speechStart(0)
    backend.interrupt({ itemId: 'cascade-1', playedMs: 100 })
    await speakTo(backend, 800)
    await recorder.until('the words', () => recorder.all('transcript').some(({ role }) => role === 'caller'))
    await recorder.until('the wait', () => backend.stats.waitsUnanswered === 1)
    double.script.callerSays(words)
    await speakTo(backend, 800)
    await recorder.until('the wait', () => backend.stats.waitsUnanswered === 2)
    t.equal(double.chats.length, 1)
    double.script.callerSays('Where is my order?')
    await speakTo(backend, 800)
    await recorder.until('the answer', () => double.chats.length === 2)
    t.match(JSON.stringify(double.chats[1]?.messages), new RegExp(words.replace('.', '')), 'the model knows of it')
  })

t.test('without waitWords a request to wait reaches the model', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('Subiri kidogo.')
  await speakTo(backend, 800)
  await recorder.until('the request', () => double.chats.length === 1)
  t.equal(backend.stats.waitsUnanswered, 0)
})

t.test("the model gets a running tool's state, later its answer", async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('are you there?')
  double.script.reply(
    { calls: [{ callId: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } }] },
    { say: 'I am looking.' },
    { say: 'It is on its way.' },
  )
  ask(backend)
  const call = await recorder.next('tool-call')
  await recorder.next('turn-done')
  await speakTo(backend, 500)
  await recorder.next('turn-done', 2)
  backend.toolResult(call.callId, { ok: true, value: { status: 'on its way' } })
  await recorder.next('turn-done', 3)
  const roles = (chat: number): string => (double.chats[chat]?.messages ?? []).map((message) => message.role).join(' ')
  t.equal(roles(1), 'system user assistant tool user', 'every call has an answer, as the service demands')
  t.match(double.chats[1]?.messages[3]?.content, /still running/)
  t.match(double.chats[2]?.messages[3]?.content, /on its way/)
  t.match(double.chats[2]?.messages.at(-1), { role: 'system', content: /lookup_order has answered/ })
})

t.test('fragments of tool calls are joined by their index', async (t) => {
  const { double, backend, recorder } = await line(t)
  const piece = (index: number, call: object): string =>
    `data: ${JSON.stringify({ choices: [{ delta: { tool_calls: [{ index, ...call }] } }] })}\n\n`
  double.garbage = [
    piece(1, { id: 'c1', function: { name: 'lookup_order', arguments: '{"orderNumber":' } }),
    piece(2, { id: 'c2', function: { name: 'get_account', arguments: '' } }),
    piece(1, { function: { arguments: '"4711"' } }),
    piece(2, { function: { arguments: '{}' } }),
    piece(1, { function: { arguments: '}' } }),
  ]
  double.script.reply({ say: 'One moment.' })
  ask(backend)
  await recorder.next('turn-done')
  t.same(
    recorder.all('tool-call').map(({ callId, name, args }) => ({ callId, name, args })),
    [
      { callId: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } },
      { callId: 'c2', name: 'get_account', args: {} },
    ],
  )
})

t.test('malformed answers of the services are counted', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.garbage = [
    'data: {"choices":\n\n',
    'data: 7\n\n',
    ': ping\n\n',
    'data: {"choices":"none"}\n\n',
    'data: {"unknown":true}\n\n',
  ]
  double.script.reply({ say: 'Hello.' }, { calls: [{ callId: 'c1', name: 'nobody', args: '{"x": 1' }] })
  ask(backend)
  t.equal((await recorder.next('turn-done')).status, 'completed')
  t.equal(backend.stats.malformedChunks, 2)
  double.garbage = []
  ask(backend)
  t.ok((await recorder.next('tool-call')).invalid !== undefined)
  await recorder.next('turn-done', 2)
  t.equal(backend.stats.invalidToolArguments, 1)
  t.equal(recorder.all('error').length, 0)
})

t.test('a failed service fails one answer, unplayable speech the call', async (t) => {
  const { double, backend, recorder } = await line(t, {}, {}, 1200)
  double.refuse.llm = { status: 503, body: 'busy' }
  ask(backend)
  t.match(await recorder.next('turn-done'), { status: 'failed', reason: 'internal' })
  t.match(await recorder.next('error'), { code: 'internal', fatal: false, retryable: true })
  double.refuse.llm = 'never'
  ask(backend)
  t.match(await recorder.next('error', 2), { code: 'timeout', fatal: false, retryable: true })
  delete double.refuse.llm
  double.refuse.stt = { status: 429, body: '{"error":{"message":"Rate limit reached"}}' }
  await speakTo(backend, 600)
  t.match(await recorder.next('error', 3), { code: 'rate_limit', fatal: false })
  t.equal(recorder.all('turn-done').at(-1)?.reason, 'not understood')
  delete double.refuse.stt
  double.voice = 'mp3'
  ask(backend)
  t.match(await recorder.next('error', 4), { code: 'bad_request', fatal: true })
  await recorder.next('closed')
  t.notMatch(JSON.stringify(recorder.events), CASCADE_TEST_KEY)
})

t.test('a wrong key found during a call ends it', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.refuse.tts = {
    status: 401,
    body: JSON.stringify({ error: { message: `Incorrect API key provided: ${CASCADE_TEST_KEY}` } }),
  }
  ask(backend)
  t.match(await recorder.next('error'), { code: 'auth', fatal: true, retryable: false })
  t.notMatch(JSON.stringify(recorder.events), CASCADE_TEST_KEY)
})

const REFUSED = (id: number): { status: number; body: string } => ({
  status: 400,
  body: JSON.stringify({ error: { message: `Invalid 'tools': unknown field (request 4f2a99${id}0-aa)` } }),
})

t.test('a second refusal in a row is fatal', async (t) => {
  const model = await line(t)
  model.double.refuse.llm = REFUSED(11)
  ask(model.backend)
  t.match(await model.recorder.next('error'), { code: 'bad_request', fatal: false })
  t.match(model.recorder.all('turn-done').at(-1), { status: 'failed' })
  model.double.refuse.llm = REFUSED(22)
  ask(model.backend)
  t.match(await model.recorder.next('error', 2), { code: 'bad_request', fatal: true, message: /HTTP 400/ })
  await model.recorder.next('closed')
  t.equal(model.recorder.all('turn-done').length, 1)

  const recogniser = await line(t)
  recogniser.double.refuse.stt = REFUSED(11)
  await speakTo(recogniser.backend, 600)
  t.match(await recogniser.recorder.next('error'), { code: 'bad_request', fatal: false })
  await speakTo(recogniser.backend, 600)
  t.match(await recogniser.recorder.next('error', 2), { code: 'bad_request', fatal: true })
  t.equal(recogniser.recorder.all('turn-done').length, 1)
})

t.test('refusals with answers between them do not end the call', async (t) => {
  const { double, backend, recorder } = await line(t)
  for (const count of [1, 2]) {
    double.refuse.llm = REFUSED(count)
    ask(backend)
    t.match(await recorder.next('error', count), { code: 'bad_request', fatal: false })
    delete double.refuse.llm
    ask(backend)
    t.match(await recorder.next('turn-done', 2 * count), { status: 'completed' })
  }
})

t.test('after two refusals the next backend answers the question', async (t) => {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const other = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const recorder = new Recorder()
  const named = (name: string, at: CascadeDouble): { readonly create: BackendFactory } => ({
    create: (sink) => new CascadeBackend(sink, { ...cascadeOptions(at), name }),
  })
  const backend = new CallBackend(recorder, {
    timers: clockTimers(() => performance.now()),
    candidates: [named('cascade', double), named('other', other)],
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
    await other.close()
  })
  await backend.connect(conformanceSession({ greeting: null }), new AbortController().signal)
  double.refuse.llm = REFUSED(1)
  ask(backend as unknown as CascadeBackend)
  await recorder.next('turn-done')
  ask(backend as unknown as CascadeBackend)
  t.match(await recorder.next('failover'), { from: 'cascade', to: 'other' })
  await recorder.next('audio-done')
  t.equal(recorder.all('turn-done').filter(({ status }) => status === 'failed').length, 1)
  t.match(JSON.stringify(other.chats[0]?.messages), /Hello/)
})

/** A call whose only backend is a cascade, with the taker of messages behind it. */
async function messageLine(
  t: Test,
  session: Partial<BackendSession>,
): Promise<Line & { readonly said: () => string[] }> {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const recorder = new Recorder()
  const options = cascadeOptions(double)
  const phrases = {
    name: { en: 'I can take a message. What is your name?', sw: 'Naweza kuchukua ujumbe. Jina lako nani?' },
    about: { en: 'Thank you. What is it about?', sw: 'Asante. Ni kuhusu nini?' },
    number: { en: 'Which number can we call?', sw: 'Tukupigie kwa namba gani?' },
    noted: { en: 'It is noted. Goodbye.', sw: 'Nimeandika. Kwaheri.' },
    failed: 'I could not note it.',
    goodbye: 'Goodbye then.',
  }
  const timers = clockTimers(() => performance.now())
  const backend = new CallBackend(recorder, {
    timers,
    candidates: [
      { create: (sink) => new CascadeBackend(sink, options) },
      {
        create: (sink) =>
          new CascadeBackend(sink, { ...options, name: 'message', llm: [messageTaker(phrases)], speculate: false }),
        lastResort: true,
      },
    ],
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
  })
  await backend.connect(conformanceSession({ greeting: null, ...session }), new AbortController().signal)
  return {
    double,
    backend: backend as unknown as CascadeBackend,
    recorder,
    said: () => recorder.all('transcript').flatMap((one) => (one.role === 'agent' && one.final ? [one.text] : [])),
  }
}

t.test("a service's last usage is reported before the closed event", async (t) => {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => double.close())
  const options = cascadeOptions(double)
  const [stt] = options.stt as [CascadeOptions['stt'][number]]
  const charging: typeof stt = {
    ...stt,
    make: (context) => {
      const recogniser = stt.make(context)
      const close = recogniser.close.bind(recogniser)
      recogniser.close = () => {
        context.used({ ...noUsage(), model: 'charged-by-time', sessionSeconds: 3 })
        close()
      }
      return recogniser
    },
  }
  const recorder = new Recorder()
  const backend = new CascadeBackend(recorder, { ...options, stt: [charging] })
  await backend.connect(conformanceSession(), new AbortController().signal)
  await backend.close('the call is over')
  t.match(recorder.events.slice(-2), [{ type: 'usage', usage: { sessionSeconds: 3 } }, { type: 'closed' }])
})

t.test('the caller can leave a message after a model failure [1]', async (t) => {
  const { double, backend, recorder, said } = await messageLine(t, { tools: sessionTools(OFFER) })
  double.script.reply({ say: 'Hello.' })
  const say = (text: string): Promise<void> => {
    double.script.callerSays(text)
    return speakTo(backend, 600)
  }
  await say('Hello')
  await recorder.next('turn-done')
  double.refuse.llm = { status: 500, body: '{"error":{"message":"out of order"}}' }
  await say('Where is my order?')
  await recorder.until('a failed answer', () => recorder.all('turn-done').some(({ status }) => status === 'failed'))
  // Both are understood again by the one that takes over.
  double.script.callerSays('Where is my order?')
  await say('Where is my order, please?')
  const human = await recorder.next('tool-call')
  t.match(human, { name: ESCALATE_TOOL, args: { reason: 'technical problem', takesMessage: true } })
  t.match(recorder.all('failover'), [{ from: 'cascade', to: 'message', reason: 'responses-failed' }])
  backend.toolResult(human.callId, {
    ok: false,
    value: { error: 'No human could be reached.', say: 'Nobody is free.' },
  })
  await recorder.until('the first question', () => said().length === 2)
  await say('Otieno')
  await recorder.until('the second question', () => said().length === 3)
  await say('My refund of yesterday')
  const noted = await recorder.next('tool-call', 2)
  t.match(noted, { name: CALLBACK_TOOL, args: { note: 'Otieno: My refund of yesterday' } })
  t.notOk(
    said().some((text) => text.includes('noted')),
    'nothing is promised before it is saved',
  )
  backend.toolResult(noted.callId, { ok: true, value: { noted: true } })
  t.match(await recorder.next('tool-call', 3), { name: END_CALL_TOOL })
  t.same(said(), [
    'Hello.',
    'Nobody is free. I can take a message. What is your name?',
    'Thank you. What is it about?',
    'It is noted. Goodbye.',
  ])
})

t.test("a message is taken in the call's language", async (t) => {
  const callBack = sessionTools(OFFER).filter(({ name }) => name === CALLBACK_TOOL)
  const { double, backend, recorder, said } = await messageLine(t, { tools: callBack, language: 'sw-KE' })
  double.refuse.llm = { status: 401, body: '{"error":{"message":"no"}}' }
  const say = async (text: string): Promise<void> => {
    double.script.callerSays(text)
    await speakTo(backend, 600)
  }
  await say('Agizo langu liko wapi?')
  await recorder.until('the first question', () => said().length === 1)
  t.match(recorder.all('failover'), [{ to: 'message' }], 'a wrong key is not tried twice')
  await say('Njeri')
  await recorder.until('the second question', () => said().length === 2)
  await say('Ni kuhusu agizo langu')
  const withheld = await recorder.next('tool-call')
  backend.toolResult(withheld.callId, { ok: false, value: { error: "The caller's number is withheld." } })
  await recorder.until('the number', () => said().length === 3)
  await say('sifuri saba moja mbili tatu nne tano sita saba nane')
  t.match((await recorder.next('tool-call', 2)).args, { note: 'Njeri: Ni kuhusu agizo langu', number: '0712345678' })
  t.same(said(), ['Naweza kuchukua ujumbe. Jina lako nani?', 'Asante. Ni kuhusu nini?', 'Tukupigie kwa namba gani?'])
})

t.test('a caller can decline to leave a message', async (t) => {
  const taker = messageTaker({
    name: 'I can take a message. What is your name?',
    about: 'What is it about?',
    number: 'Which number?',
    noted: 'Noted.',
    failed: 'Not noted.',
    goodbye: 'Goodbye then.',
  }).make({} as never)
  const after = async (...messages: { role: 'user' | 'assistant'; content: string }[]) => {
    for await (const delta of taker.answer({ messages, tools: [] }, new AbortController().signal)) return delta
    return null
  }
  const cut = { role: 'assistant', content: 'I can take a message.… [the caller interrupted]' } as const
  t.match(await after(cut, { role: 'user', content: 'Hapana, hapana.' }), {
    text: 'Goodbye then.',
    calls: [{ function: { name: END_CALL_TOOL } }],
  })
  t.match(await after(cut, { role: 'user', content: 'Otieno' }), { text: 'What is it about?' })
  t.match(await after({ role: 'assistant', content: 'I' }), { text: 'I can take a message. What is your name?' })
})

t.test('a WAV file of any rate keeps its duration', async (t) => {
  for (const voice of ['wav', 'wav-22050'] as const) {
    const { double, backend, recorder } = await line(t)
    double.voice = voice
    double.script.reply({ say: 'Hello.', audioMs: 1000 })
    ask(backend)
    const done = await recorder.next('turn-done')
    const ms = recorder.audioMs(done.generation)
    t.ok(Math.abs(ms - 1000) < 3, `${voice}: ${ms} ms`)
  }
})

t.test("resampling keeps a tone's frequency", async (t) => {
  for (const fromHz of [22_050, 11_025, 44_100, 48_000]) {
    const converter = new RateConverter(fromHz, 24_000)
    const pcm = Int16Array.from({ length: fromHz }, (_, i) =>
      Math.round(10_000 * Math.sin((2 * Math.PI * 1000 * i) / fromHz)),
    )
    const out: number[] = []
    for (let at = 0; at < pcm.length; at += 777) out.push(...converter.process(pcm.subarray(at, at + 777)))
    out.push(...converter.flush())
    t.ok(Math.abs(out.length - 24_000) <= 30, `${fromHz}: ${out.length} samples`)
    let error = 0
    let worst = Infinity
    // The delay is a few whole samples of silence at the start; the loop finds it.
    for (let shift = -3; shift <= 3; shift++) {
      error = 0
      for (let i = 2000; i < 22_000; i++)
        error = Math.max(
          error,
          Math.abs((out[i] ?? 0) - 10_000 * Math.sin((2 * Math.PI * 1000 * (i + shift)) / 24_000)),
        )
      worst = Math.min(worst, error)
    }
    t.ok(worst < 60, `${fromHz}: at most ${Math.round(worst)} of 10000 off`)
  }
})

t.test('unplayable speech is refused with a reason', async (t) => {
  for (const bytes of [Buffer.from('ID3\u0004abc'), Buffer.from('OggS....'), Buffer.from([0xff, 0xfb, 0x90, 0x00])]) {
    t.throws(() => new SpeechBody(24_000).push(bytes), { message: /compressed/ })
  }
  const body = new SpeechBody(24_000)
  const file = writeWav({ sampleRateHz: 16_000, channels: 1, samples: Int16Array.from([1, 2, 3, 4]) })
  const out: number[] = []
  for (const byte of file) out.push(...body.push(Uint8Array.of(byte)))
  t.same(out, [1, 2, 3, 4], 'byte by byte')
  t.equal(body.sampleRateHz, 16_000)
})

t.test('text is cut into sentences and clauses', async (t) => {
  const cut = (text: string, step = 3): string[] => {
    const sentences = new Sentences()
    const out: string[] = []
    for (let at = 0; at < text.length; at += step) out.push(...sentences.push(text.slice(at, at + step)))
    return [...out, ...sentences.flush()]
  }
  t.same(cut('Hello. How are you?'), ['Hello. How are you?'], 'a lone word sounds cut off')
  t.same(cut('Your order is here. Bye.'), ['Your order is here.', 'Bye.'])
  t.same(cut('It costs 3.50 at Dr. Otieno today.'), ['It costs 3.50 at Dr. Otieno today.'])
  t.same(cut('**Order 4711** is `ready`.\n- Pick it up'), ['Order 4711 is ready.', 'Pick it up'])
  t.same(cut('<think>The caller wants. Their order.</think>On its way.'), ['On its way.'])
  t.same(cut('<think>never ends'), [])
  t.equal(
    cut('I have looked at your account and found it, and I can see that the order was sent yesterday evening.')[0],
    'I have looked at your account and found it,',
  )
  t.same(
    cut('word '.repeat(200)).map((piece) => piece.length),
    [299, 299, 299, 99],
  )
})

t.test('history keeps only the heard words', async (t) => {
  const sentences = [
    { text: 'One two three four.', ms: 1000 },
    { text: 'Five six seven eight.', ms: 1000 },
  ]
  t.equal(heardOf(sentences, 0), '')
  t.equal(heardOf(sentences, 500), 'One two…')
  t.equal(heardOf(sentences, 1000), 'One two three four.')
  t.equal(heardOf(sentences, 1500), 'One two three four. Five six…')
  t.equal(heardOf(sentences, 5000), 'One two three four. Five six seven eight.')
})

t.test('long speech is transcribed in pieces before it ends', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('I would like to know', '[Music]', 'I would like to know where my order is.')
  const speak = (seconds: number): void => {
    for (let frame = 0; frame < 50 * seconds; frame++) backend.pushAudio(new Int16Array(320).fill(1000))
  }
  backend.speechStart(0)
  speak(3)
  t.equal(double.requests.stt, 0, 'not in a sentence of usual length')
  speak(2)
  await recorder.until('the recogniser', () => recorder.all('understood').length === 1)
  speak(4)
  await recorder.until('the second piece', () => double.requests.stt === 2)
  t.same(
    recorder.all('transcript').filter(({ role }) => role === 'caller'),
    [],
    'no transcript before the end',
  )
  double.script.reply({ say: 'It is on its way.' })
  backend.speechEnd(9000)
  await recorder.next('turn-done')
  t.equal(recorder.all('understood').length, 1, 'a transcript of music does not count as words')
  t.match(
    recorder.all('transcript').filter(({ role }) => role === 'caller'),
    [{ text: 'I would like to know where my order is.' }],
  )
  t.same(
    double.heardBytes.map((bytes) => bytes / 32),
    [4000, 4000, 9000],
    'milliseconds of two pieces, then of the whole utterance',
  )
})
