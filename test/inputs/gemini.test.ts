import { type FunctionDeclaration, GoogleGenAI, type LiveServerMessage, Modality, Type } from '@google/genai'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { toolParametersSchema } from '../../src/agents/tools/json-schema.js'
import type { BackendSession } from '../../src/backends/backend.js'
import { conformanceSession, Recorder, speakTo } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { type GeminiLiveOptions, traitsOf } from '../../src/vendors/gemini/live/setup.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { GEMINI_TEST_KEY } from '../backends/gemini-harness.js'
import { until } from '../support/until.js'

async function double(t: Test): Promise<GeminiDouble> {
  const started = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
  t.teardown(() => started.close())
  return started
}

async function line(
  t: Test,
  service: GeminiDouble,
  model: string,
  options: Partial<GeminiLiveOptions> = {},
  session: Partial<BackendSession> = {},
): Promise<{ readonly backend: GeminiLiveBackend; readonly recorder: Recorder }> {
  const recorder = new Recorder()
  const backend = new GeminiLiveBackend(recorder, {
    apiKey: GEMINI_TEST_KEY,
    model,
    baseUrl: service.baseUrl,
    ...options,
  })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { backend, recorder }
}

const greet = (backend: GeminiLiveBackend): void => backend.sendText('', { role: 'system', respond: true })

const CLASSIC = [
  'gemini-2.5-flash-native-audio-preview-12-2025',
  'models/gemini-2.5-flash-native-audio-latest',
  'gemini-live-2.5-flash-preview-native-audio-09-2025',
  'gemini-2.5-flash-preview-native-audio-dialog',
  'gemini-2.5-flash-exp-native-audio-thinking-dialog',
  'gemini-2.0-flash-live-001',
]

const TOOLS: Readonly<Record<string, readonly [schema: string, args: Record<string, unknown>]>> = {
  book_table: [
    '{ properties: { at: { type: string, format: date-time }, seats: { type: integer, minimum: 1 } }, required: [at] }',
    { at: '2026-11-27T19:30:00+03:00', seats: 4 },
  ],
  find_branch: ['{ properties: { near: { anyOf: [{ type: string }, { type: "null" }] } } }', { near: 'Nakuru' }],
  pay_bill: [
    '{ properties: { bill: { $ref: "#/$defs/Bill" } }, $defs: { Bill: { type: object, properties: { till: { type: string }, amount: { type: number } } } } }',
    { bill: { till: '522533', amount: 1500.5 } },
  ],
  rate_call: [
    '{ properties: { stars: { enum: [1, 2, 3, 4, 5], type: integer }, why: { type: string } } }',
    { stars: 5 },
  ],
  order_all: [
    '{ properties: { skus: { type: array, items: { type: string, pattern: "^[A-Z]{2}$" }, minItems: 1 } }, required: [skus], additionalProperties: false }',
    { skus: ['AB', 'CD'] },
  ],
}
const tools = Object.entries(TOOLS).map(([name, [schema]]) => ({
  name,
  description: 'A tool.',
  parameters: toolParametersSchema.parse(parse(schema)),
}))

t.test("every Gemini model receives its tools' schemas", async (t) => {
  for (const model of [...CLASSIC, 'gemini-3.8-live', 'gemini-3.1-flash-live-preview', 'gemini-4.1-live']) {
    const service = await double(t)
    service.script.reply({
      say: 'One moment.',
      calls: Object.entries(TOOLS).map(([name, [, args]]) => ({ callId: name, name, args })),
    })
    const { backend, recorder } = await line(t, service, model, {}, { tools })
    greet(backend)
    await recorder.next('tool-call', tools.length)
    for (const { name, args } of recorder.all('tool-call')) t.same(args, TOOLS[name]?.[1], `${model}: ${name}`)
    const declared = (service.session.setup?.tools ?? []).flatMap((tool) =>
      'functionDeclarations' in tool ? (tool.functionDeclarations ?? []) : [],
    )
    const classic = !traitsOf({ model }).jsonSchema
    for (const { name, parameters, parametersJsonSchema } of declared) {
      t.equal(parametersJsonSchema === undefined, classic, `${model}: one of the two fields for ${name}`)
      t.equal(parameters?.type, classic ? Type.OBJECT : undefined)
    }
  }
})

t.test('the double hides the same schema parts as Gemini 2.5', async (t) => {
  const callOf = async (model: string, declared: Omit<FunctionDeclaration, 'name'>): Promise<unknown> => {
    const service = await double(t)
    service.script.reply({ say: 'Wait.', calls: [{ callId: 'c1', name: 'find', args: { id: 7 } }] })
    const messages: LiveServerMessage[] = []
    const genai = new GoogleGenAI({ apiKey: GEMINI_TEST_KEY, httpOptions: { baseUrl: service.baseUrl } })
    const session = await genai.live.connect({
      model,
      config: {
        responseModalities: [Modality.AUDIO],
        tools: [{ functionDeclarations: [{ name: 'find', description: 'Finds.', ...declared }] }],
      },
      callbacks: { onmessage: (message) => messages.push(message) },
    })
    session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'Find it' }] }], turnComplete: true })
    await until(() => messages.some(({ toolCall }) => toolCall !== undefined), 5000, 'the call')
    session.close()
    return messages.find(({ toolCall }) => toolCall !== undefined)?.toolCall?.functionCalls?.[0]?.args
  }
  const json = { parametersJsonSchema: { type: 'object', properties: { id: { type: 'integer' } } } }
  const openApi = { parameters: { type: Type.OBJECT, properties: { id: { type: Type.INTEGER } } } }
  t.same(await callOf('gemini-2.5-flash-native-audio-latest', json), {})
  t.same(await callOf('gemini-live-2.5-flash', json), {})
  t.same(await callOf('gemini-2.5-flash-native-audio-latest', openApi), { id: 7 })
  t.same(await callOf('gemini-3.8-live', json), { id: 7 })
  t.same(await callOf('gemini-3.8-live', openApi), { id: 7 })
})

t.test('a known model gets texts in its form at once', async (t) => {
  for (const [model, texts] of [
    ['gemini-3.1-flash-live-preview', 'realtime'],
    ['models/gemini-3.1-flash-live-preview-11-2026', 'realtime'],
    ['gemini-2.5-flash-native-audio-latest', 'content'],
    ['gemini-live-2.5-flash', 'content'],
    ['gemini-3.8-live', 'content'],
    ['gemini-3.8-live-extended-thinking', 'content'],
  ] as const) {
    const service = await double(t)
    service.script.reply({ say: 'Welcome to the shop.', audioMs: 500 })
    // Content as history is taken by all of them.
    const { backend, recorder } = await line(t, service, model, {}, { history: [{ role: 'caller', text: 'Hello?' }] })
    greet(backend)
    t.equal((await recorder.next('turn-done')).status, 'completed', model)
    t.equal(recorder.audioMs(1), 500)
    t.equal(service.connections, 1)
    const live = service.session.received.some(({ realtimeInput }) => realtimeInput?.text !== undefined)
    t.equal(live, texts === 'realtime')
    t.same(recorder.all('error'), [])
  }
})

t.test('an unknown model that refuses content gets live input', async (t) => {
  for (const [name, model, options] of [
    ['by its version', 'gemini-3.5-flash-live', {}],
    ['without a version', 'gemini-live', {}],
    ['of the future', 'gemini-4.2-live', {}],
    ['of a name of its own', 'models/shop-7', {}],
    ['with turns of the service', 'gemini-3.6-live', { turns: { by: 'server' } }],
  ] as const) {
    const service = await double(t)
    service.faults.refusesContent = true
    service.script.reply({ say: 'Welcome to the shop.', audioMs: 500 })
    const history = [{ role: 'caller', text: 'Is anyone there?' }] as const
    const { backend, recorder } = await line(t, service, model, options, { history })
    backend.sendText('Be brief.', { role: 'system', respond: false })
    greet(backend)
    await recorder.until('the greeting', () => recorder.audioMs(1) === 500)
    t.equal(service.connections, 2, name)
    t.equal(backend.stats.contentRefused, 1)
    t.match(recorder.all('error'), [{ code: 'bad_request', fatal: false, message: /sent a text as content/ }])
    t.equal(recorder.all('ready').length, 1, 'the call sees one session')
    t.same(recorder.all('closed'), [])
    const [said, ...texts] = service.session.texts
    t.equal(said, 'Is anyone there?', 'the history, once')
    t.match(texts.join('\n'), /^\[Be brief\.\]\n\[/)
    const again = await line(t, service, model, options)
    greet(again.backend)
    await again.recorder.next('turn-done')
    t.equal(service.connections, 3, `${name}: the next session knows`)
    t.equal(again.backend.stats.contentRefused, 0)
  }
})

t.test("a caller's words during a refused text are kept", async (t) => {
  for (const turns of [{ by: 'gateway' }, { by: 'server' }] as const) {
    const service = await double(t)
    service.faults.refusesContent = true
    service.script.reply({ say: 'Welcome.', audioMs: 300 }, { say: 'It is on its way.', audioMs: 400 })
    service.script.callerSays(...(turns.by === 'gateway' ? [''] : []), 'where is my order')
    const { backend, recorder } = await line(t, service, 'gemini-3.5-flash-live', { turns })
    greet(backend)
    await speakTo(backend, 400)
    await recorder.until('the caller', () =>
      recorder.all('transcript').some(({ role, final }) => role === 'caller' && final),
    )
    await recorder.until('an answer', () => recorder.audioPieces.length > 0)
    t.ok(service.session.callerAudioMs >= 400, `${service.session.callerAudioMs} ms heard on the second connection`)
    t.equal(service.connections, 2)
    t.ok(service.session.texts.length > 0, 'and it was asked to greet')
  }
})

t.test('a text refused mid-call continues from the history', async (t) => {
  const service = await double(t)
  service.faults.refusesContent = true
  service.script.callerSays('where is my order')
  service.script.reply({ say: 'On its way.', audioMs: 300 }, { say: 'Goodbye.', audioMs: 200 })
  const { backend, recorder } = await line(t, service, 'gemini-3.5-flash-live')
  await speakTo(backend, 400)
  await recorder.next('turn-done')
  backend.sendText('Say goodbye.', { role: 'system', respond: true })
  await recorder.until('the goodbye', () => recorder.audioMs(2) === 200)
  t.match(service.session.setup, { sessionResumption: { handle: /^handle-/ } })
  t.same(service.session.texts, ['[Say goodbye.]'])
})

t.test('a model is not retried after it accepted content', async (t) => {
  const service = await double(t)
  const { backend, recorder } = await line(t, service, 'gemini-3.5-flash-live')
  greet(backend)
  await recorder.next('turn-done')
  service.session.closeWith(1007, 'Request contains an invalid argument.')
  t.match(
    await recorder.next('error'),
    { code: 'bad_request', fatal: true },
    'it had taken content: this is something else',
  )

  const refusing = await double(t)
  refusing.faults.refusesContent = true
  const told = await line(t, refusing, 'gemini-3.5-flash-live', { texts: 'content' })
  greet(told.backend)
  t.match(await told.recorder.next('error'), { fatal: true }, 'the setting is kept to')
  t.equal(refusing.connections, 1)

  const tried = await line(t, refusing, 'gemini-3.7-live')
  refusing.script.reply({ say: 'Too late.', audioMs: 2000, paceMs: 50 })
  tried.backend.sendText('Hello', { role: 'caller', respond: true })
  await tried.recorder.until(
    'a second connection',
    () => refusing.connections === 3 && refusing.session.texts.length > 0,
  )
  refusing.session.closeWith(1007, 'Request contains an invalid argument.')
  t.match(await tried.recorder.next('error', 2), { fatal: true })
  t.equal(refusing.connections, 3)
})
