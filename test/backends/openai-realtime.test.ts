import t from 'tap'
import type { Test } from 'tap'
import type { Backend, BackendSession } from '../../src/backends/backend.js'
import { Recorder, conformanceSession, speakTo } from '../../src/backends/conformance.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { realtimeUrl } from '../../src/vendors/self-hosted/realtime/session-config.js'
import type { OpenAiRealtimeOptions } from '../../src/vendors/self-hosted/realtime/session-config.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import type { OpenAiDoubleOptions } from '../../src/vendors/self-hosted/double.js'
import { TEST_KEY } from './openai-harness.js'

interface Line {
  readonly double: OpenAiDouble
  readonly backend: OpenAiRealtimeBackend
  readonly recorder: Recorder
}

async function line(
  t: Test,
  options: Partial<OpenAiRealtimeOptions> = {},
  doubleOptions: OpenAiDoubleOptions = {},
  session: Partial<BackendSession> = {},
): Promise<Line> {
  const double = await OpenAiDouble.start({ key: TEST_KEY, ...doubleOptions })
  const recorder = new Recorder()
  const backend = new OpenAiRealtimeBackend(recorder, {
    apiKey: TEST_KEY,
    model: 'gpt-realtime-2.1',
    baseUrl: double.baseUrl,
    ...options,
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
  })
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { double, backend, recorder }
}

const ask = (backend: Backend): void => backend.sendText('Hello', { role: 'caller', respond: true })

t.test('events of hosted MCP tools and SIP calls are ignored', async (t) => {
  const { double, backend, recorder } = await line(t)
  for (const type of [
    'mcp_list_tools.in_progress',
    'mcp_list_tools.completed',
    'response.mcp_call_arguments.done',
    'response.mcp_call.failed',
    'input_audio_buffer.dtmf_event_received',
    'output_audio_buffer.cleared',
    'conversation.item.retrieved',
    'response.content_part.added',
    'response.of_next_year',
  ])
    double.session.sendRaw(JSON.stringify({ type, event_id: 'e', item_id: 'i', event: '5', received_at: 1 }))
  ask(backend)
  await recorder.next('turn-done')
  t.match(backend.counters(), { hostedMcpEvents: 4, sipEvents: 2, unknownEvents: 1, malformedEvents: 0 })
  t.equal(recorder.all('error').length, 0)
})

t.test('a transcription that repeats its keywords is ignored', async (t) => {
  const { double, recorder } = await line(t, { keywords: ['M-Pesa', 'Nakuru', 'Kisumu'] })
  const heard = (item_id: string, transcript: string): void =>
    double.session.send({
      type: 'conversation.item.input_audio_transcription.completed',
      ...{ item_id, transcript, content_index: 0, usage: { type: 'duration', seconds: 2 } },
    })
  heard('i1', 'M-Pesa, Nakuru, Kisumu.')
  heard('i2', 'I paid by M-Pesa in Nakuru')
  await recorder.next('transcript', 2)
  t.same(
    recorder.all('transcript').map(({ text }) => text),
    ['', 'I paid by M-Pesa in Nakuru'],
  )
})

t.test('audio whose base64 has escapes is decoded', async (t) => {
  const { double, recorder } = await line(t)
  const delta = Buffer.alloc(3000, 0xff).toString('base64')
  double.session.sendRaw(
    `{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"${delta.replaceAll('/', '\\/')}"}`,
  )
  await recorder.until('audio', () => recorder.audioPieces.length > 0)
  t.equal(recorder.audioMs(1), 1500 / 24)
})

t.test('a tool call of a cancelled response is not run', async (t) => {
  const { double, backend, recorder } = await line(t)
  const { session } = double
  session.send({ type: 'response.created', response: { id: 'r1' } })
  session.send({
    type: 'response.function_call_arguments.done',
    response_id: 'r1',
    item_id: 'i',
    output_index: 0,
    call_id: 'c1',
    name: 'lookup_order',
    arguments: '{"orderNum',
  })
  session.send({
    type: 'response.done',
    response: { id: 'r1', status: 'cancelled', status_details: { type: 'cancelled', reason: 'turn_detected' } },
  })
  await recorder.next('turn-done')
  t.equal(recorder.all('tool-call').length, 0)
  t.equal(backend.stats.toolCallsGivenUp, 1)
  t.match(recorder.all('interrupted'), [{ generation: 1 }])
})

t.test('a response refused for an active response is requested again', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'Let me think.', audioMs: 500, paceMs: 10 }, { say: 'Here you are.' })
  double.session.answerNow()
  ask(backend)
  await recorder.until(
    'both answers',
    () => recorder.all('turn-done').filter((done) => done.status === 'completed').length === 2,
  )
  t.ok(double.session.errors.every((error) => error.code === 'conversation_already_has_active_response'))
  t.equal(recorder.all('error').length, 0, 'the race is not reported')
  t.equal(double.script.answers, 2)
})

t.test('one unending response causes only one error', async (t) => {
  const { double, backend, recorder } = await line(t)
  const refuse = (): void => {
    const last = double.session.received.findLast((event) => event.type === 'response.create')
    if (last !== undefined)
      double.session.error(
        'conversation_already_has_active_response',
        'Conversation already has an active response',
        last.event_id ?? null,
      )
  }
  double.session.silent = true
  ask(backend)
  const poll = setInterval(() => {
    double.session.silent = false
    refuse()
    double.session.silent = true
  }, 20)
  t.teardown(() => clearInterval(poll))
  const error = await recorder.next('error')
  t.match(error, { code: 'internal', fatal: false })
  t.ok(backend.stats.createRefusals >= 5)
})

t.test('a failed response reports its reason', async (t) => {
  const { double, recorder } = await line(t)
  const { session } = double
  const fail = (id: string, code: string): void => {
    session.send({ type: 'response.created', response: { id } })
    session.send({
      type: 'response.done',
      response: { id, status: 'failed', status_details: { type: 'failed', error: { type: 'x', code } } },
    })
  }
  fail('r1', 'rate_limit_exceeded')
  t.match(await recorder.next('turn-done'), { status: 'failed', reason: 'rate_limit_exceeded' })
  t.match(await recorder.next('error'), { code: 'rate_limit', fatal: false, retryable: true })
  fail('r2', 'server_error')
  t.match(await recorder.next('error', 2), { code: 'internal', fatal: false })
  fail('r3', 'insufficient_quota')
  t.match(await recorder.next('error', 3), { code: 'quota', fatal: true, retryable: false })
  await recorder.next('closed')
})

t.test("the session's end after an hour is reported as session_expired", async (t) => {
  const { double, recorder } = await line(t)
  double.session.error('session_expired', 'Your session hit the maximum duration of 60 minutes.')
  t.match(await recorder.next('error'), { code: 'session_expired', fatal: true, retryable: true })
})

t.test('no error repeats the key', async (t) => {
  const double = await OpenAiDouble.start({ key: 'another' })
  t.teardown(() => double.close())
  const recorder = new Recorder()
  const backend = new OpenAiRealtimeBackend(recorder, { apiKey: TEST_KEY, model: 'm', baseUrl: double.baseUrl })
  await t.rejects(backend.connect(conformanceSession(), new AbortController().signal), {
    code: 'BACKEND_AUTH',
    retryable: false,
  })
  t.notMatch(JSON.stringify(recorder.events), TEST_KEY)
  t.match(recorder.all('error')[0]?.message, /401/)
  t.equal(double.connections, 1)
})

t.test('a half-open connection is detected', async (t) => {
  const { double, recorder } = await line(t, { pingMs: 40 })
  double.session.freeze()
  t.match(await recorder.next('error'), { code: 'network', fatal: true, retryable: true })
})

t.test('G.711 is used in both directions at 8 kHz', async (t) => {
  const { double, backend, recorder } = await line(t, { audio: 'pcmu' })
  t.match(backend.capabilities, { inputRateHz: 8000, outputRateHz: 8000 })
  double.script.reply({ say: 'Hello', audioMs: 500 })
  await speakTo(backend, 700)
  const done = await recorder.next('turn-done')
  t.equal(recorder.audioMs(done.generation), 500)
  t.match(double.session.config?.audio?.input?.format, { type: 'audio/pcmu' })
})

t.test("a server with the beta's names can hold a conversation", async (t) => {
  const { double, backend, recorder } = await line(t, { dialect: 'beta' }, { dialect: 'beta' })
  double.script.reply(
    { say: 'One.', audioMs: 300 },
    { calls: [{ callId: 'c1', name: 'get_account', args: {} }] },
    { say: 'Two.', audioMs: 300 },
  )
  ask(backend)
  await recorder.next('turn-done')
  await speakTo(backend, 700)
  const call = await recorder.next('tool-call')
  backend.toolResult(call.callId, { ok: true, value: {} })
  await recorder.next('turn-done', 3)
  t.equal(
    recorder.audioPieces.reduce((sum, piece) => sum + piece.ms, 0),
    600,
  )
  t.same(
    recorder.all('turn-start').map((event) => event.generation),
    [1, 2, 3],
  )
})

t.test('a response without an end is ended after a while', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.send({
    type: 'response.output_audio.delta',
    response_id: 'r',
    item_id: 'i',
    output_index: 0,
    content_index: 0,
    delta: Buffer.alloc(4800).toString('base64'),
  })
  await recorder.until('audio', () => recorder.audioPieces.length > 0)
  ask(backend)
  t.equal((await recorder.next('turn-done')).generation, 1)
  t.equal((await recorder.next('turn-done', 2)).generation, 2)
  t.equal(backend.stats.endsMissing, 1)
})

t.test('an unconfirmed tool call named by its item is run', async (t) => {
  const { double, recorder } = await line(t)
  const { session } = double
  session.sendRaw(
    JSON.stringify({
      type: 'response.output_item.added',
      response_id: 'r',
      item: { id: 'i', type: 'function_call', call_id: 'c1', name: 'get_account' },
    }),
  )
  session.sendRaw(
    JSON.stringify({
      type: 'response.function_call_arguments.done',
      response_id: 'r',
      item_id: 'i',
      call_id: 'c1',
      arguments: '{}',
    }),
  )
  t.match(await recorder.next('tool-call'), { callId: 'c1', name: 'get_account' })
})

t.test('a change of the output rate is followed', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.sendRaw(
    JSON.stringify({
      type: 'session.updated',
      session: { type: 'realtime', audio: { output: { format: { type: 'audio/pcm', rate: 16_000 } } } },
    }),
  )
  double.session.sendRaw(
    JSON.stringify({
      type: 'response.output_audio.delta',
      response_id: 'r',
      item_id: 'i',
      delta: Buffer.alloc(3200).toString('base64'),
    }),
  )
  await recorder.until('audio', () => recorder.audioPieces.length > 0)
  t.equal(recorder.audioMs(1), 100)
  t.equal(backend.stats.rateChanges, 1)
})

t.test('caller audio is sent in messages of the configured length', async (t) => {
  const { double, backend, recorder } = await line(t, { messageMs: 100 })
  for (let i = 0; i < 12; i++) backend.pushAudio(new Int16Array(480))
  // Messages keep their order: when this one has arrived, so have all that were sent before it.
  backend.sendText('Hello', { role: 'caller', respond: false })
  await recorder.until('the text', () => double.session.received.at(-1)?.type === 'conversation.item.create')
  t.equal(double.session.callerAudioMs, 200, 'two whole messages; the rest waits for the third')
})

t.test('message length follows the call until the turn ends', async (t) => {
  const { double, backend, recorder } = await line(t)
  const loud = new Int16Array(480).fill(6000)
  const arrived = async (): Promise<number> => {
    const before = double.session.received.length
    backend.sendText('Hello', { role: 'caller', respond: false })
    await recorder.until('the text', () => double.session.received.length > before)
    return double.session.callerAudioMs
  }
  for (let i = 0; i < 23; i++) backend.pushAudio(loud, true)
  t.equal(await arrived(), 420, 'two frames wait for the next long message')
  for (let i = 0; i < 12; i++) backend.pushAudio(new Int16Array(480), false)
  t.equal(await arrived(), 700, 'all of it in the silence that may end the turn')
  for (let i = 0; i < 30; i++) backend.pushAudio(new Int16Array(480), false)
  await recorder.until('the end of the turn', () => recorder.all('speech-stopped').length === 1)
  const atEnd = await arrived()
  backend.pushAudio(new Int16Array(480), false)
  t.equal(await arrived(), atEnd, 'after it, long messages again')
})

t.test('silence between turns is sent only if needed', async (t) => {
  const sentIn = async (options: Partial<OpenAiRealtimeOptions>): Promise<number> => {
    const { double, backend, recorder } = await line(t, options)
    const arrived = async (): Promise<number> => {
      const before = double.session.received.length
      backend.sendText('Hello', { role: 'caller', respond: false })
      await recorder.until('the text', () => double.session.received.length > before)
      return double.session.callerAudioMs
    }
    for (let i = 0; i < 40; i++) backend.pushAudio(new Int16Array(480).fill(6000), true)
    for (let i = 0; i < 60; i++) backend.pushAudio(new Int16Array(480), false)
    await recorder.until('the end of the turn', () => recorder.all('speech-stopped').length === 1)
    const atEnd = await arrived()
    for (let i = 0; i < 150; i++) backend.pushAudio(new Int16Array(480), false)
    return (await arrived()) - atEnd
  }
  // The message that was being collected when the service reported the end.
  t.ok((await sentIn({})) <= 60)
  t.ok((await sentIn({ turns: { by: 'semantic_vad' } })) <= 60)
  t.equal(await sentIn({ streamSilence: true }), 3000)
  t.equal(await sentIn({ turns: { by: 'server_vad', idleTimeoutMs: 5000 } }), 3000)
})

t.test('a short noise is not committed', async (t) => {
  const { double, backend, recorder } = await line(t, { turns: { by: 'gateway' } })
  backend.speechStart(0)
  for (let i = 0; i < 3; i++) backend.pushAudio(new Int16Array(480))
  backend.speechEnd(0)
  backend.sendText('Hello', { role: 'caller', respond: false })
  await recorder.until('the text', () => double.session.received.at(-1)?.type === 'conversation.item.create')
  t.match(double.session.received.at(-2), { type: 'input_audio_buffer.clear' })
  t.equal(double.session.errors.length, 0)
})

t.test('an interruption within a long message drops its rest', async (t) => {
  const { double, backend, recorder } = await line(t)
  recorder.onAudio = (piece) => backend.interrupt({ itemId: piece.itemId, playedMs: 0 })
  double.session.sendRaw(
    JSON.stringify({
      type: 'response.output_audio.delta',
      response_id: 'r',
      item_id: 'i',
      delta: Buffer.alloc(4 * 48_000).toString('base64'),
    }),
  )
  double.session.sendRaw(
    JSON.stringify({
      type: 'response.output_audio.delta',
      response_id: 'r',
      item_id: 'i',
      delta: Buffer.alloc(4800).toString('base64'),
    }),
  )
  await recorder.until('the late message', () => backend.stats.lateEvents === 1)
  t.equal(recorder.audioPieces.length, 1)
  await recorder.until('the truncation', () =>
    double.session.received.some((event) => event.type === 'conversation.item.truncate'),
  )
})

t.test('the speed changes only between responses', async (t) => {
  const { double, backend, recorder } = await line(t, { speed: 1.2 })
  const speeds = () => (double.session.config?.audio?.output?.speed ?? 1).toFixed(2)
  recorder.onAudio = () => {
    recorder.onAudio = () => undefined
    backend.updateSession({ speed: 0.85 })
    t.equal(speeds(), '1.20', 'not while it speaks')
  }
  ask(backend)
  await recorder.next('turn-done')
  await recorder.until('the speed', () => speeds() === '1.02')
  backend.updateSession({ speed: 1 })
  await recorder.until('the speed of the options', () => speeds() === '1.20')
  t.equal(backend.stats.speedRefusals, 0)
  const next = await line(t, {}, {}, { speed: 0.7 })
  t.equal(next.double.session.config?.audio?.output?.speed, 0.7)
  const other = await line(t, { name: 'self-hosted' }, {}, { speed: 0.7 })
  t.equal(other.double.session.config?.audio?.output?.speed, undefined)
  t.equal(other.backend.capabilities.changesSpeed, false)
})

t.test('a refused speed change is sent at most three times', async (t) => {
  const { double, backend, recorder } = await line(t)
  backend.updateSession({ speed: 0.7 })
  for (let i = 0; i < 4; i++) {
    await recorder.until('the change', () => double.session.config?.audio?.output?.speed === 0.7)
    double.session.error('invalid_value', 'The speed can only be changed in between model turns.', 'mk-speed')
    await recorder.until('the refusal', () => backend.stats.speedRefusals === i + 1)
    ask(backend)
    await recorder.next('turn-done', i + 1)
  }
  const changes = double.session.received.filter(({ event_id }) => event_id === 'mk-speed')
  t.equal(changes.length, 3)
  t.equal(recorder.all('error').length, 0)
  t.equal(backend.capabilities.changesSpeed, true, 'a busy service may change it later')
})

t.test('the agent says that its speed change was refused', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.objection = (sent) => (sent.includes('"speed"') ? "Unknown parameter: 'session.audio.output.speed'." : null)
  backend.updateSession({ speed: 0.85 })
  await recorder.until('the refusal', () => backend.stats.wishesRefused === 1)
  await recorder.next('turn-done')
  const told = double.session.items.filter((item) => item.type === 'message' && item.role === 'system')
  t.match(JSON.stringify(told), /voice has refused to change its speed/)
  t.equal(backend.capabilities.changesSpeed, false)
  backend.updateSession({ speed: 0.7 })
  ask(backend)
  t.equal((await recorder.next('turn-done', 2)).status, 'completed')
  const changes = double.session.received.filter(({ event_id }) => event_id === 'mk-speed')
  t.equal(changes.length, 1, 'not asked for again')
  t.same(recorder.all('error'), [])
})

t.test("the session's end is announced early", async (t) => {
  const { recorder } = await line(t, { maxSessionMs: 300, expiringLeadMs: 200 })
  t.equal((await recorder.next('expiring')).inMs, 200)
  t.equal(recorder.all('error').length, 0)
})

t.test('the address accepts any form of the base URL', async (t) => {
  t.equal(realtimeUrl('https://api.openai.com/v1', 'm-1'), 'wss://api.openai.com/v1/realtime?model=m-1')
  t.equal(realtimeUrl('http://10.0.0.5:8080/v1/', 'a b'), 'ws://10.0.0.5:8080/v1/realtime?model=a+b')
  t.equal(realtimeUrl('wss://x.azure.com/openai/v1/realtime', 'd'), 'wss://x.azure.com/openai/v1/realtime?model=d')
})
