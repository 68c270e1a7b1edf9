import Anthropic from '@anthropic-ai/sdk'
import { GoogleGenAI } from '@google/genai'
import t from 'tap'
import { anthropic } from '../../src/backends/cascade/anthropic-requests.js'
import { gemini } from '../../src/backends/cascade/gemini-requests.js'
import { stageContext } from '../../src/backends/cascade/stage-context.js'
import { StageFault } from '../../src/backends/cascade/stage-fault.js'
import type {
  ChatMessage,
  LanguageModel,
  ModelDelta,
  ModelRequest,
  StageFactory,
} from '../../src/backends/cascade/stage.js'
import { WrittenCalls } from '../../src/backends/cascade/written-calls.js'
import type { BackendUsage } from '../../src/call/backend-events.js'
import { AnthropicDouble } from '../../src/simulator/vendors/anthropic-double.js'
import { GeminiTextDouble } from '../../src/simulator/vendors/gemini-text-double.js'

const KEY = 'model-0123456789abcdef'
const TOOLS = ['lookup_order', 'opening_hours'].map((name) => ({
  name,
  description: `The tool ${name}.`,
  parameters: { type: 'object', properties: { orderNumber: { type: 'string' } } },
}))
const BOTH = [
  { callId: 'c1', name: 'lookup_order', args: { orderNumber: '4711' } },
  { callId: 'c2', name: 'opening_hours', args: {} },
]
const SYSTEM: ChatMessage = { role: 'system', content: 'Be brief.' }
const ASKS: ChatMessage = { role: 'user', content: 'Where is my order?' }

/** A model of a call, and what it reports. */
function stageOf(factory: StageFactory<LanguageModel>): {
  readonly stage: LanguageModel
  readonly used: BackendUsage[]
  readonly malformed: () => number
} {
  const used: BackendUsage[] = []
  let malformed = 0
  const stage = factory.make(
    stageContext('cascade', () => 0, new AbortController().signal, {
      used: (usage) => used.push(usage),
      malformed: () => malformed++,
    }),
  )
  return { stage, used, malformed: () => malformed }
}

interface Answer {
  readonly text: string
  readonly cut: readonly string[]
  /** The messages with which the conversation goes on after the calls were run. */
  readonly next: (results: readonly string[]) => ChatMessage[]
  readonly calls: WrittenCalls['all']
}

async function answered(stage: LanguageModel, request: ModelRequest): Promise<Answer> {
  const deltas: ModelDelta[] = []
  for await (const delta of stage.answer(request, new AbortController().signal)) deltas.push(delta)
  const text = deltas.map((delta) => delta.text ?? '').join('')
  const calls = new WrittenCalls('own')
  for (const delta of deltas) calls.collect(delta.calls ?? [])
  return {
    text,
    cut: deltas.flatMap(({ cut }) => cut ?? []),
    calls: calls.all,
    next: (results) => [
      ...request.messages,
      { role: 'assistant', content: text },
      {
        role: 'assistant',
        content: null,
        tool_calls: calls.entries().map(({ callId: id, name, argumentsText }) => ({
          id,
          type: 'function' as const,
          function: { name, arguments: argumentsText },
        })),
      },
      ...calls.all.map(({ id }, i): ChatMessage => ({
        role: 'tool',
        tool_call_id: id,
        content: results[i] ?? '{}',
      })),
    ],
  }
}

async function faultOf(work: Promise<unknown>): Promise<StageFault['fault']> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof StageFault)) throw new Error(`no fault of the stage: ${String(error)}`)
  return error.fault
}

t.test("Anthropic's own client gets text, tool calls, usage and errors from the double", async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const client = new Anthropic({ apiKey: KEY, baseURL: double.baseUrl, maxRetries: 0 })
  double.thinking = 'They ask for an order.'
  double.script.reply({ say: 'One moment, please.', calls: BOTH })
  const request = {
    model: 'claude-haiku-5-5',
    max_tokens: 100,
    messages: [{ role: 'user' as const, content: 'Hello' }],
  }
  const message = await client.messages.stream(request).finalMessage()
  t.same(
    message.content.map((block) => (block.type === 'tool_use' ? block.input : block.type)),
    ['thinking', 'text', { orderNumber: '4711' }, {}],
  )
  t.equal(message.stop_reason, 'tool_use')
  t.same([message.usage.input_tokens, message.usage.output_tokens], [20, 10])
  double.failure = 'overloaded_error'
  await t.rejects(client.messages.stream(request).finalMessage(), /overloaded_error/)
  const stranger = new Anthropic({ apiKey: 'another', baseURL: double.baseUrl, maxRetries: 0 })
  await t.rejects(stranger.messages.stream(request).finalMessage(), /authentication_error/)
  await t.rejects(client.messages.stream({ ...request, messages: [] }).finalMessage(), /invalid_request_error/)
  t.same((await client.models.list()).data, [])
})

t.test('Anthropic: tools run in parallel, their results go back with the reasoning that led to them', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { stage, used } = stageOf(
    anthropic({ apiKey: KEY, baseUrl: `${double.baseUrl}/v1/`, model: 'claude-haiku-5-5' }),
  )
  await stage.open(new AbortController().signal, true)
  double.thinking = 'They ask for an order.'
  double.script.reply({ say: 'One moment, please.', calls: BOTH }, { say: 'It was sent.' })
  const first = await answered(stage, { messages: [SYSTEM, ASKS], tools: TOOLS })
  t.equal(first.text, 'One moment, please.', 'reasoning is not spoken')
  t.same(
    first.calls.map(({ id, name, argumentsText }) => [id, name, argumentsText]),
    [
      ['c1', 'lookup_order', '{"orderNumber":"4711"}'],
      ['c2', 'opening_hours', '{}'],
    ],
  )
  const messages = first.next(['{"status":"sent"}', '{"open":true}'])
  const second = await answered(stage, { messages, tools: TOOLS })
  t.equal(second.text, 'It was sent.')
  const cache = { cache_control: { type: 'ephemeral' } }
  t.same(double.asked[1], {
    model: 'claude-haiku-5-5',
    max_tokens: 4096,
    stream: true,
    system: [{ type: 'text', text: 'Be brief.', ...cache }],
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'Where is my order?' }] },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'They ask for an order.', signature: 'c2lnbmVk' },
          { type: 'text', text: 'One moment, please.' },
          { type: 'tool_use', id: 'c1', name: 'lookup_order', input: { orderNumber: '4711' } },
          { type: 'tool_use', id: 'c2', name: 'opening_hours', input: {} },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'c1', content: '{"status":"sent"}' },
          { type: 'tool_result', tool_use_id: 'c2', content: '{"open":true}' },
        ],
      },
    ],
    tools: TOOLS.map(({ name, description, parameters }, i) => ({
      name,
      description,
      input_schema: parameters,
      ...(i === 1 ? cache : {}),
    })),
  })
  const model = `claude-haiku-5-5@${new URL(double.baseUrl).host}`
  t.match(used, [
    { model, inputTokens: 1520, inputCachedTokens: 0, inputCacheWriteTokens: 1500, outputTokens: 10 },
    { model, inputTokens: 1520, inputCachedTokens: 1500, inputCacheWriteTokens: 0, outputTokens: 10 },
  ])
})

t.test(
  'Anthropic takes a conversation that the agent begins and ends, with notes and calls of other services',
  async (t) => {
    const double = await AnthropicDouble.start({ key: KEY })
    t.teardown(() => double.close())
    const { stage } = stageOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm', maxTokens: 50 }))
    await answered(stage, { messages: [SYSTEM], tools: [] })
    await answered(stage, {
      messages: [
        SYSTEM,
        { role: 'assistant', content: 'Hello, this is the shop.' },
        ASKS,
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'functions.lookup:0', type: 'function', function: { name: 'lookup_order', arguments: '' } },
          ],
        },
        { role: 'tool', tool_call_id: 'functions.lookup:0', content: '{}' },
        { role: 'system', content: 'The caller is in a hurry.' },
        { role: 'assistant', content: 'It was ' },
      ],
      tools: [],
    })
    const text = (words: string): { type: string; text: string } => ({ type: 'text', text: words })
    t.same(double.asked[0]?.messages, [{ role: 'user', content: [text('[The call begins.]')] }])
    t.same(double.asked[1]?.messages, [
      { role: 'user', content: [text('[The call begins.]')] },
      { role: 'assistant', content: [text('Hello, this is the shop.')] },
      { role: 'user', content: [text('Where is my order?')] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'functions_lookup_0', name: 'lookup_order', input: {} }] },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'functions_lookup_0', content: '{}' },
          text('[The caller is in a hurry.]'),
        ],
      },
      { role: 'assistant', content: [text('It was ')] },
      { role: 'user', content: [text('[Go on.]')] },
    ])
    t.match(double.asked[1], { max_tokens: 50, tools: undefined })
  },
)

t.test('Anthropic: an answer that is cut, an error in its middle and lines that cannot be read', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { stage, used, malformed } = stageOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  const request = { messages: [ASKS], tools: [] }
  for (const [reason, cut] of [
    ['max_tokens', ['length']],
    ['model_context_window_exceeded', ['length']],
    ['refusal', ['filter']],
    ['end_turn', []],
  ] as const) {
    double.stopReason = reason
    t.same((await answered(stage, request)).cut, cut, reason)
  }
  double.garbage = ['data: {"type"\n\n', 'data: 7\n\n']
  t.equal((await answered(stage, request)).text, 'Yes.')
  t.equal(malformed(), 2)
  used.splice(0)
  for (const [error, code] of [
    ['overloaded_error', 'internal'],
    ['rate_limit_error', 'rate_limit'],
    ['authentication_error', 'auth'],
    ['a_new_error', 'internal'],
  ] as const) {
    double.failure = error
    t.match(await faultOf(answered(stage, request)), { code, fatal: false }, error)
  }
  t.equal(used.length, 4, 'what was broken off is charged too')
})

t.test('a model that writes without an end is cut off, and is not asked again in this call', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { stage, malformed } = stageOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  const lines = 100_000
  const endless = Array.from({ length: lines / 100 }, () => 'data: 7\n\n'.repeat(100))
  const long = Array.from({ length: 40 }, () => `: ${'x'.repeat(1024 * 1024)}\n\n`)
  for (const garbage of [endless, long]) {
    double.garbage = garbage
    t.match(await faultOf(answered(stage, { messages: [ASKS], tools: [] })), {
      code: 'internal',
      message: /sends too much: at most 2000 messages and 4194304 bytes a second/,
      fatal: true,
      retryable: false,
    })
  }
  t.ok(malformed() < lines / 2, `${malformed()} were read`)
})

t.test('Anthropic: a refused request is a fault of its kind, without the key', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const wrong = stageOf(anthropic({ apiKey: 'a-wrong-key-0123', baseUrl: double.baseUrl, model: 'm' })).stage
  const fault = await faultOf(wrong.open(new AbortController().signal, true))
  t.match(fault, { code: 'auth', fatal: true, retryable: false, message: /cascade: llm: HTTP 401/ })
  t.notMatch(fault.message, /a-wrong-key/)
  const { stage } = stageOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  for (const [status, type, code] of [
    [529, 'overloaded_error', 'internal'],
    [429, 'rate_limit_error', 'rate_limit'],
    [402, 'billing_error', 'quota'],
    [400, 'invalid_request_error', 'bad_request'],
  ] as const) {
    double.refuse = { status, body: JSON.stringify({ type: 'error', error: { type, message: 'No.' } }) }
    t.match(await faultOf(answered(stage, { messages: [ASKS], tools: [] })), { code, fatal: code === 'quota' })
  }
})

t.test("Gemini's own client gets text, tool calls, usage and errors from the double", async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const clientOf = (apiKey: string): GoogleGenAI =>
    new GoogleGenAI({ apiKey, httpOptions: { baseUrl: double.baseUrl, retryOptions: { attempts: 1 } } })
  const ask = { model: 'gemini-3.8-flash', contents: 'Hello' }
  double.thinking = 'They ask for an order.'
  double.script.reply({ say: 'One moment, please.', calls: BOTH })
  let text = ''
  const calls: unknown[] = []
  let usage
  let finish
  for await (const chunk of await clientOf(KEY).models.generateContentStream(ask)) {
    const parts = chunk.candidates?.[0]?.content?.parts ?? []
    text += parts.map((part) => (part.thought === true ? '' : (part.text ?? ''))).join('')
    calls.push(...(chunk.functionCalls ?? []))
    usage = chunk.usageMetadata
    finish = chunk.candidates?.[0]?.finishReason
  }
  t.equal(text, 'One moment, please.')
  t.same(
    calls,
    BOTH.map(({ callId: id, name, args }) => ({ id, name, args })),
  )
  t.equal(finish, 'STOP')
  t.match(usage, { promptTokenCount: 20, candidatesTokenCount: 10, thoughtsTokenCount: 7 })
  await t.rejects(clientOf('another').models.generateContentStream(ask), /API key not valid/)
  await t.rejects(clientOf(KEY).models.generateContentStream({ ...ask, contents: [] }), /INVALID_ARGUMENT|required/)
})

t.test('Gemini: tools run in parallel, their results go back with the signature of the reasoning', async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  for (const callIds of [true, false]) {
    double.callIds = callIds
    double.asked.length = 0
    const { stage, used } = stageOf(
      gemini({ apiKey: KEY, baseUrl: double.baseUrl, model: 'models/gemini-3.8-flash', thinkingLevel: 'low' }),
    )
    await stage.open(new AbortController().signal, true)
    double.thinking = 'They ask for an order.'
    double.script.reply({ say: 'One moment, please.', calls: BOTH }, { say: 'It was sent.' })
    const first = await answered(stage, { messages: [SYSTEM, ASKS], tools: TOOLS })
    t.equal(first.text, 'One moment, please.', 'reasoning is not spoken')
    t.same(
      first.calls.map(({ name, argumentsText }) => [name, argumentsText]),
      [
        ['lookup_order', '{"orderNumber":"4711"}'],
        ['opening_hours', '{}'],
      ],
    )
    const messages = first.next(['{"status":"sent"}', 'still running'])
    const second = await answered(stage, { messages, tools: TOOLS })
    t.equal(second.text, 'It was sent.')
    const [c1, c2] = callIds ? [{ id: 'c1' }, { id: 'c2' }] : [{}, {}]
    t.same(double.asked[1], {
      systemInstruction: { parts: [{ text: 'Be brief.' }] },
      contents: [
        { role: 'user', parts: [{ text: 'Where is my order?' }] },
        {
          role: 'model',
          parts: [
            { text: 'One moment, please.' },
            {
              functionCall: { ...c1, name: 'lookup_order', args: { orderNumber: '4711' } },
              thoughtSignature: 'c2lnbmVk',
            },
            { functionCall: { ...c2, name: 'opening_hours', args: {} } },
          ],
        },
        {
          role: 'user',
          parts: [
            { functionResponse: { ...c1, name: 'lookup_order', response: { status: 'sent' } } },
            { functionResponse: { ...c2, name: 'opening_hours', response: { result: 'still running' } } },
          ],
        },
      ],
      tools: [
        {
          functionDeclarations: TOOLS.map(({ name, description, parameters }) => ({
            name,
            description,
            parametersJsonSchema: parameters,
          })),
        },
      ],
      generationConfig: { thinkingConfig: { thinkingLevel: 'LOW' } },
    })
    const model = `gemini-3.8-flash@${new URL(double.baseUrl).host}`
    t.match(used.at(-1), { model, inputTokens: 1520, inputCachedTokens: 1500, outputTokens: 17 })
  }
})

t.test('Gemini takes a conversation with calls of another service, which have no signature', async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { stage } = stageOf(gemini({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm', maxTokens: 50 }))
  await answered(stage, {
    messages: [
      { role: 'assistant', content: 'Hello, this is the shop.' },
      ASKS,
      {
        role: 'assistant',
        content: null,
        tool_calls: ['a', 'b'].map((id) => ({
          id,
          type: 'function' as const,
          function: { name: 'lookup_order', arguments: '' },
        })),
      },
      { role: 'tool', tool_call_id: 'a', content: '[1]' },
      { role: 'tool', tool_call_id: 'b', content: '{}' },
      { role: 'system', content: 'The caller is in a hurry.' },
    ],
    tools: [{ name: 'now', description: 'The time.', parameters: { type: 'object' } }],
  })
  const call = { functionCall: { name: 'lookup_order', args: {} } }
  t.same(double.asked[0]?.contents?.slice(2), [
    ...[{ role: 'user', parts: [{ text: 'Where is my order?' }] }],
    { role: 'model', parts: [{ ...call, thoughtSignature: 'skip_thought_signature_validator' }, call] },
    {
      role: 'user',
      parts: [
        { functionResponse: { name: 'lookup_order', response: { result: [1] } } },
        { functionResponse: { name: 'lookup_order', response: {} } },
        { text: '[The caller is in a hurry.]' },
      ],
    },
  ])
  t.match(double.asked[0], {
    generationConfig: { maxOutputTokens: 50 },
    tools: [{ functionDeclarations: [{ name: 'now', description: 'The time.', parametersJsonSchema: undefined }] }],
  })
})

t.test('Gemini: an answer that is cut, refused or broken off, and a wrong key', async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { stage, used, malformed } = stageOf(gemini({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  const request = { messages: [ASKS], tools: [] }
  for (const [reason, cut] of [
    ['MAX_TOKENS', ['length']],
    ['SAFETY', ['filter']],
    ['PROHIBITED_CONTENT', ['filter']],
    ['STOP', []],
  ] as const) {
    double.finishReason = reason
    t.same((await answered(stage, request)).cut, cut, reason)
  }
  double.garbage = ['data: {"candidates"\n\n', 'data: 7\n\n']
  t.equal((await answered(stage, request)).text, 'Yes.')
  t.equal(malformed(), 2)
  double.blockReason = 'PROHIBITED_CONTENT'
  t.match(await answered(stage, request), { text: '', cut: ['filter'] })
  double.blockReason = null
  used.splice(0)
  for (const [status, code] of [
    [503, 'internal'],
    [429, 'rate_limit'],
  ] as const) {
    double.failure = status
    t.match(await faultOf(answered(stage, request)), { code, fatal: false })
  }
  t.equal(used.length, 2, 'what was broken off is charged too')
  const wrong = stageOf(gemini({ apiKey: 'a-wrong-key-0123', baseUrl: double.baseUrl, model: 'm' })).stage
  const fault = await faultOf(wrong.open(new AbortController().signal, true))
  t.match(fault, { code: 'auth', fatal: true, message: /API key not valid/ })
  t.notMatch(fault.message, /a-wrong-key/)
})
