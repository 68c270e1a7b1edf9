import { GoogleGenAI, Modality, Type } from '@google/genai'
import type { FunctionDeclaration, LiveServerMessage } from '@google/genai'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { toolParametersSchema } from '../../src/agents/json-schema.js'
import type { BackendSession } from '../../src/backends/backend.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/backends/gemini-live/gemini-backend.js'
import { traitsOf } from '../../src/backends/gemini-live/setup.js'
import type { GeminiLiveOptions } from '../../src/backends/gemini-live/setup.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
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

t.test('models of before 3.8 see what their tools take, and so do those after', async (t) => {
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

t.test("the double shows the vendor's own client what a model of 2.5 does not see", async (t) => {
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
