import Anthropic from '@anthropic-ai/sdk'
import { GoogleGenAI } from '@google/genai'
import { text as textOf } from 'node:stream/consumers'
import t from 'tap'
import type { Test } from 'tap'
import { anthropic } from '../../src/vendors/anthropic/services.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { gemini } from '../../src/vendors/gemini/services.js'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import { ServiceFault } from '../../src/backends/cascade/service-fault.js'
import type {
  CallPiece,
  ChatMessage,
  LanguageModel,
  ModelDelta,
  ModelRequest,
  ServiceFactory,
} from '../../src/backends/cascade/service.js'
import { WrittenCalls } from '../../src/backends/cascade/written-calls.js'
import type { BackendUsage } from '../../src/call/backend-events.js'
import { AnthropicDouble } from '../../src/vendors/anthropic/double.js'
import { GeminiTextDouble } from '../../src/vendors/gemini/text-double.js'
import { LocalHttpServer } from '../../src/system/local-http-server.js'

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
function modelOf(factory: ServiceFactory<LanguageModel>): {
  readonly model: LanguageModel
  readonly used: BackendUsage[]
  readonly malformed: () => number
  readonly shortened: () => number
} {
  const used: BackendUsage[] = []
  let malformed = 0
  let shortened = 0
  const model = factory.make(
    serviceContext('cascade', () => 0, new AbortController().signal, {
      used: (usage) => used.push(usage),
      malformed: () => malformed++,
      shortened: () => shortened++,
    }),
  )
  return { model, used, malformed: () => malformed, shortened: () => shortened }
}

interface Answer {
  readonly text: string
  readonly cut: readonly string[]
  /** The messages with which the conversation goes on after the calls were run. */
  readonly next: (results: readonly string[]) => ChatMessage[]
  readonly calls: WrittenCalls['all']
}

async function answered(model: LanguageModel, request: ModelRequest): Promise<Answer> {
  const deltas: ModelDelta[] = []
  for await (const delta of model.answer(request, new AbortController().signal)) deltas.push(delta)
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

async function faultOf(work: Promise<unknown>): Promise<ServiceFault['fault']> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof ServiceFault)) throw new Error(`no fault of the model: ${String(error)}`)
  return error.fault
}

t.test("Anthropic's own client exchanges text and tools with the double", async (t) => {
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

t.test('Anthropic: parallel tool results go back with their reasoning', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { model, used } = modelOf(
    anthropic({ apiKey: KEY, baseUrl: `${double.baseUrl}/v1/`, model: 'claude-haiku-5-5' }),
  )
  await model.open(new AbortController().signal, true)
  double.thinking = 'They ask for an order.'
  double.script.reply({ say: 'One moment, please.', calls: BOTH }, { say: 'It was sent.' })
  const first = await answered(model, { messages: [SYSTEM, ASKS], tools: TOOLS })
  t.equal(first.text, 'One moment, please.', 'reasoning is not spoken')
  t.same(
    first.calls.map(({ id, name, argumentsText }) => [id, name, argumentsText]),
    [
      ['c1', 'lookup_order', '{"orderNumber":"4711"}'],
      ['c2', 'opening_hours', '{}'],
    ],
  )
  const messages = first.next(['{"status":"sent"}', '{"open":true}'])
  const second = await answered(model, { messages, tools: TOOLS })
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
  const priced = `claude-haiku-5-5@${new URL(double.baseUrl).host}`
  t.match(used, [
    { model: priced, inputTokens: 1520, inputCachedTokens: 0, inputCacheWriteTokens: 1500, outputTokens: 10 },
    { model: priced, inputTokens: 1520, inputCachedTokens: 1500, inputCacheWriteTokens: 0, outputTokens: 10 },
  ])
})

t.test("Anthropic accepts conversations with notes and another service's calls", async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { model } = modelOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm', maxTokens: 50 }))
  await answered(model, { messages: [SYSTEM], tools: [] })
  await answered(model, {
    messages: [
      SYSTEM,
      { role: 'assistant', content: 'Hello, this is the shop.' },
      ASKS,
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'functions.lookup:0', type: 'function', function: { name: 'lookup_order', arguments: '' } }],
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
})

t.test('Anthropic: cut, failed and malformed answers are reported', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { model, used, malformed } = modelOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  const request = { messages: [ASKS], tools: [] }
  for (const [reason, cut] of [
    ['max_tokens', ['length']],
    ['model_context_window_exceeded', ['length']],
    ['refusal', ['filter']],
    ['end_turn', []],
  ] as const) {
    double.stopReason = reason
    t.same((await answered(model, request)).cut, cut, reason)
  }
  double.garbage = ['data: {"type"\n\n', 'data: 7\n\n']
  t.equal((await answered(model, request)).text, 'Yes.')
  t.equal(malformed(), 2)
  used.splice(0)
  for (const [error, code] of [
    ['overloaded_error', 'internal'],
    ['rate_limit_error', 'rate_limit'],
    ['authentication_error', 'auth'],
    ['a_new_error', 'internal'],
  ] as const) {
    double.failure = error
    t.match(await faultOf(answered(model, request)), { code, fatal: false }, error)
  }
  t.equal(used.length, 4, 'what was broken off is charged too')
})

t.test('a model with endless output is cut off [1]', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { model, malformed } = modelOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  const lines = 100_000
  const endless = Array.from({ length: lines / 100 }, () => 'data: 7\n\n'.repeat(100))
  const long = Array.from({ length: 40 }, () => `: ${'x'.repeat(1024 * 1024)}\n\n`)
  for (const garbage of [endless, long]) {
    double.garbage = garbage
    t.match(await faultOf(answered(model, { messages: [ASKS], tools: [] })), {
      code: 'overrun',
      message: /sends too much: at most 2000 messages and 4194304 bytes a second/,
      fatal: true,
      retryable: false,
    })
  }
  t.ok(malformed() < lines / 2, `${malformed()} were read`)
})

t.test('Anthropic: a refused request is reported without the key', async (t) => {
  const double = await AnthropicDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const wrong = modelOf(anthropic({ apiKey: 'a-wrong-key-0123', baseUrl: double.baseUrl, model: 'm' })).model
  const fault = await faultOf(wrong.open(new AbortController().signal, true))
  t.match(fault, { code: 'auth', fatal: true, retryable: false, message: /cascade: llm: HTTP 401/ })
  t.notMatch(fault.message, /a-wrong-key/)
  const { model } = modelOf(anthropic({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  for (const [status, type, code] of [
    [529, 'overloaded_error', 'internal'],
    [429, 'rate_limit_error', 'rate_limit'],
    [402, 'billing_error', 'quota'],
    [400, 'invalid_request_error', 'bad_request'],
  ] as const) {
    double.refuse = { status, body: JSON.stringify({ type: 'error', error: { type, message: 'No.' } }) }
    t.match(await faultOf(answered(model, { messages: [ASKS], tools: [] })), { code, fatal: code === 'quota' })
  }
})

t.test("Gemini's own client exchanges text and tools with the double", async (t) => {
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

t.test('Gemini: parallel tool results go back with their signature', async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  for (const callIds of [true, false]) {
    double.callIds = callIds
    double.asked.length = 0
    const { model, used } = modelOf(
      gemini({ apiKey: KEY, baseUrl: double.baseUrl, model: 'models/gemini-3.8-flash', thinkingLevel: 'low' }),
    )
    await model.open(new AbortController().signal, true)
    double.thinking = 'They ask for an order.'
    double.script.reply({ say: 'One moment, please.', calls: BOTH }, { say: 'It was sent.' })
    const first = await answered(model, { messages: [SYSTEM, ASKS], tools: TOOLS })
    t.equal(first.text, 'One moment, please.', 'reasoning is not spoken')
    t.same(
      first.calls.map(({ name, argumentsText }) => [name, argumentsText]),
      [
        ['lookup_order', '{"orderNumber":"4711"}'],
        ['opening_hours', '{}'],
      ],
    )
    const messages = first.next(['{"status":"sent"}', 'still running'])
    const second = await answered(model, { messages, tools: TOOLS })
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
    const priced = `gemini-3.8-flash@${new URL(double.baseUrl).host}`
    t.match(used.at(-1), { model: priced, inputTokens: 1520, inputCachedTokens: 1500, outputTokens: 17 })
  }
})

t.test("Gemini accepts a conversation with another service's unsigned calls", async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { model } = modelOf(gemini({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm', maxTokens: 50 }))
  await answered(model, {
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

t.test('Gemini: cut, refused and broken answers are reported', async (t) => {
  const double = await GeminiTextDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const { model, used, malformed } = modelOf(gemini({ apiKey: KEY, baseUrl: double.baseUrl, model: 'm' }))
  const request = { messages: [ASKS], tools: [] }
  for (const [reason, cut] of [
    ['MAX_TOKENS', ['length']],
    ['SAFETY', ['filter']],
    ['PROHIBITED_CONTENT', ['filter']],
    ['STOP', []],
  ] as const) {
    double.finishReason = reason
    t.same((await answered(model, request)).cut, cut, reason)
  }
  double.garbage = ['data: {"candidates"\n\n', 'data: 7\n\n']
  t.equal((await answered(model, request)).text, 'Yes.')
  t.equal(malformed(), 2)
  double.blockReason = 'PROHIBITED_CONTENT'
  t.match(await answered(model, request), { text: '', cut: ['filter'] })
  double.blockReason = null
  used.splice(0)
  for (const [status, code] of [
    [503, 'internal'],
    [429, 'rate_limit'],
  ] as const) {
    double.failure = status
    t.match(await faultOf(answered(model, request)), { code, fatal: false })
  }
  t.equal(used.length, 2, 'what was broken off is charged too')
  const wrong = modelOf(gemini({ apiKey: 'a-wrong-key-0123', baseUrl: double.baseUrl, model: 'm' })).model
  const fault = await faultOf(wrong.open(new AbortController().signal, true))
  t.match(fault, { code: 'auth', fatal: true, message: /API key not valid/ })
  t.notMatch(fault.message, /a-wrong-key/)
})

/** A service that answers each request with what the test says, and keeps what it was asked. */
class Service extends LocalHttpServer {
  readonly asked: string[] = []
  next: { readonly status?: number; readonly body: string }[] = []

  constructor() {
    super({}, (request, response) => {
      void textOf(request).then((body) => {
        this.asked.push(body)
        const { status = 200, body: answer } = this.next.shift() ?? { body: '' }
        response.writeHead(status, { 'content-type': status === 200 ? 'text/event-stream' : 'application/json' })
        response.end(answer)
      })
    })
  }
}

type Piece = object | string
function events(pieces: readonly Piece[]): { readonly body: string } {
  return {
    body: pieces.map((piece) => `data: ${typeof piece === 'string' ? piece : JSON.stringify(piece)}\n\n`).join(''),
  }
}

/** A dialect of language models: the same answers in its own words. */
interface Dialect {
  readonly name: string
  readonly make: (baseUrl: string) => ServiceFactory<LanguageModel>
  /** Two whole calls, numbered as the service numbers them, with what it wants back in later requests. */
  readonly calls: readonly Piece[]
  readonly wantsBack: readonly string[]
  /** An answer of three pieces, each with the usage so far: 20 in, 3 out at the end. */
  readonly counted: readonly Piece[]
  /** Refusals of a conversation that is too long. */
  readonly full: readonly { readonly status: number; readonly body: string }[]
  readonly says: (text: string) => readonly Piece[]
}

const ARGS = '{"orderNumber":"4711"}'
const chatDelta = (delta: object, usage?: object): object => ({
  choices: [{ index: 0, delta }],
  ...(usage && { usage }),
})
const refusal = (status: number, error: object): { readonly status: number; readonly body: string } => ({
  status,
  body: JSON.stringify({ error }),
})
const geminiParts = (parts: object[], usageMetadata?: object): object => ({
  candidates: [{ content: { parts, role: 'model' } }],
  ...(usageMetadata && { usageMetadata }),
})
const block = (index: number, content_block: object): object => ({ type: 'content_block_start', index, content_block })
const blockDelta = (index: number, delta: object): object => ({ type: 'content_block_delta', index, delta })
const chatSays = (text: string): Piece[] => [chatDelta({ content: text }), '[DONE]']
const chatCounted = [1, 2, 3].map((count) =>
  chatDelta({ content: 'Yes. ' }, { prompt_tokens: 20, completion_tokens: count, total_tokens: 20 + count }),
)

const DIALECTS: readonly Dialect[] = [
  {
    name: 'chat, as Gemini speaks it',
    make: (baseUrl) => chat({ baseUrl: `${baseUrl}/v1`, apiKey: KEY, model: 'm' }),
    calls: [
      chatDelta({
        tool_calls: [
          {
            index: 0,
            id: 'c1',
            type: 'function',
            function: { name: 'lookup_order', arguments: ARGS },
            extra_content: { google: { thought_signature: 'c2lnbmVk' } },
          },
        ],
      }),
      chatDelta({
        tool_calls: [{ index: 0, id: 'c2', type: 'function', function: { name: 'opening_hours', arguments: '{}' } }],
      }),
      '[DONE]',
    ],
    wantsBack: ['"extra_content":{"google":{"thought_signature":"c2lnbmVk"}}'],
    counted: chatCounted,
    full: [
      refusal(400, { message: 'The input token count (9000) exceeds the maximum number of tokens allowed (8192).' }),
    ],
    says: chatSays,
  },
  {
    name: 'chat, as DeepSeek and Kimi speak it',
    make: (baseUrl) => chat({ baseUrl: `${baseUrl}/v1`, apiKey: KEY, model: 'm' }),
    calls: [
      chatDelta({ reasoning_content: 'They ask ' }),
      chatDelta({ reasoning_content: 'for an order.' }),
      chatDelta({ tool_calls: [{ index: 0, id: 'c1', function: { name: 'lookup_order', arguments: '' } }] }),
      chatDelta({ tool_calls: [{ index: 0, function: { arguments: ARGS } }] }),
      chatDelta({ tool_calls: [{ index: 1, id: 'c2', function: { name: 'opening_hours', arguments: '{}' } }] }),
      '[DONE]',
    ],
    wantsBack: ['"reasoning_content":"They ask for an order."'],
    counted: chatCounted,
    full: [
      refusal(400, { message: "This model's maximum context length is 8192 tokens.", code: 'context_length_exceeded' }),
      refusal(400, { type: 'exceed_context_size_error', message: 'the request exceeds the available context size' }),
    ],
    says: chatSays,
  },
  {
    name: 'anthropic',
    make: (baseUrl) => anthropic({ baseUrl, apiKey: KEY, model: 'm' }),
    calls: [
      block(0, { type: 'thinking', thinking: '', signature: '' }),
      blockDelta(0, { type: 'thinking_delta', thinking: 'They ask for an order.' }),
      blockDelta(0, { type: 'signature_delta', signature: 'c2lnbmVk' }),
      block(1, { type: 'tool_use', id: 'c1', name: 'lookup_order' }),
      blockDelta(1, { type: 'input_json_delta', partial_json: ARGS }),
      block(2, { type: 'tool_use', id: 'c2', name: 'opening_hours' }),
      blockDelta(2, { type: 'input_json_delta', partial_json: '{}' }),
    ],
    wantsBack: ['"thinking":"They ask for an order.","signature":"c2lnbmVk"'],
    counted: [
      { type: 'message_start', message: { usage: { input_tokens: 20, output_tokens: 1 } } },
      block(0, { type: 'text', text: 'Yes.' }),
      { type: 'message_delta', delta: {}, usage: { output_tokens: 2 } },
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { input_tokens: 20, output_tokens: 3 } },
    ],
    full: [
      refusal(400, { type: 'invalid_request_error', message: 'prompt is too long: 208310 tokens > 200000 maximum' }),
      refusal(413, { type: 'request_too_large', message: 'Request exceeds the maximum size' }),
    ],
    says: (text) => [block(0, { type: 'text', text })],
  },
  {
    name: 'gemini',
    make: (baseUrl) => gemini({ baseUrl, apiKey: KEY, model: 'm' }),
    calls: [
      geminiParts([
        {
          functionCall: { id: 'c1', name: 'lookup_order', args: JSON.parse(ARGS) as object },
          thoughtSignature: 'c2lnbmVk',
        },
        { functionCall: { id: 'c2', name: 'opening_hours', args: {} } },
      ]),
    ],
    wantsBack: ['"thoughtSignature":"c2lnbmVk"'],
    counted: [1, 2, 3].map((count) =>
      geminiParts([{ text: 'Yes. ' }], { promptTokenCount: 20, candidatesTokenCount: count }),
    ),
    full: [
      refusal(400, {
        code: 400,
        status: 'INVALID_ARGUMENT',
        message: 'The input token count (9000) exceeds the maximum number of tokens allowed (8192).',
      }),
    ],
    says: (text) => [geminiParts([{ text }])],
  },
]

/** Checks that every dialect passes alike. */
const CHECKS: Readonly<
  Record<string, (t: Test, dialect: Dialect, service: Service, make: () => ReturnType<typeof modelOf>) => Promise<void>>
> = {
  'two calls stay separate and keep their extra data': async (t, { calls, says, wantsBack }, service, make) => {
    const { model } = make()
    service.next = [events(calls), events(says('Sent.')), events(says('Yes.'))]
    const first = await answered(model, { messages: [SYSTEM, ASKS], tools: TOOLS })
    t.same(
      first.calls.map(({ id, name, argumentsText }) => [id, name, argumentsText]),
      [
        ['c1', 'lookup_order', ARGS],
        ['c2', 'opening_hours', '{}'],
      ],
    )
    const messages = first.next(['{"status":"sent"}', '{}'])
    t.equal((await answered(model, { messages, tools: TOOLS })).text, 'Sent.')
    const later: ChatMessage[] = [...messages, { role: 'assistant', content: 'Sent.' }, ASKS]
    t.equal((await answered(model, { messages: later, tools: TOOLS })).text, 'Yes.')
    for (const body of service.asked.slice(1))
      for (const words of wantsBack) t.equal(body.split(words).length, 2, words)
  },
  'usage repeated in each event counts once': async (t, { counted }, service, make) => {
    const { model, used } = make()
    service.next = [events(counted), events(counted)]
    await answered(model, { messages: [ASKS], tools: [] })
    t.match(used.splice(0), [{ inputTokens: 20, outputTokens: 3 }])
    for await (const delta of model.answer({ messages: [ASKS], tools: [] }, new AbortController().signal))
      if (delta.text !== undefined) break
    t.equal(used.length, 1)
  },
  'a too long conversation is repeated without its older half': async (t, { full, says }, service, make) => {
    const call = (id: string): ChatMessage => ({
      role: 'assistant',
      content: null,
      tool_calls: [{ id, type: 'function', function: { name: 'lookup_order', arguments: '{}' } }],
    })
    const withResult: ChatMessage[] = [
      SYSTEM,
      { role: 'user', content: 'The first question' },
      call('a'),
      { role: 'tool', tool_call_id: 'a', content: JSON.stringify({ old: 'x'.repeat(4000) }) },
      { role: 'assistant', content: 'The first answer' },
      ASKS,
    ]
    const long: ChatMessage[] = [
      SYSTEM,
      ...Array.from({ length: 20 }, (_, i): ChatMessage[] => [
        { role: 'user', content: `Question ${i}.` },
        call(`c${i}`),
        { role: 'tool', tool_call_id: `c${i}`, content: '{}' },
        { role: 'assistant', content: `Answer ${i}.` },
      ]).flat(),
      ASKS,
    ]
    for (const refused of full) {
      const { model, shortened } = make()
      service.asked.length = 0
      service.next = [refused, events(says('Yes.')), events(says('No.'))]
      t.equal((await answered(model, { messages: withResult, tools: TOOLS })).text, 'Yes.')
      const [, again = ''] = service.asked
      t.notMatch(again, /xxxx/)
      for (const kept of ['Be brief.', 'The first question', 'The first answer', 'Where is my order?'])
        t.ok(again.includes(kept), kept)
      t.equal((await answered(model, { messages: withResult, tools: TOOLS })).text, 'No.')
      t.equal(service.asked.length, 3, 'a later request is shortened before it is sent')
      t.notMatch(service.asked[2], /xxxx/)
      t.equal(shortened(), 2)

      const other = make()
      service.asked.length = 0
      service.next = [refused, events(says('Yes.'))]
      t.equal((await answered(other.model, { messages: long, tools: TOOLS })).text, 'Yes.')
      t.notMatch(service.asked[1], /Question 4\./)
      t.match(service.asked[1], /Be brief\..*Question 19\..*Answer 19\..*Where is my order/s)
      service.next = [refused, refused, events(says('Yes.'))]
      t.match(await faultOf(answered(make().model, { messages: long, tools: TOOLS })), {
        code: 'bad_request',
      })
      t.equal(service.next.length, 1, 'once more, and no further')
    }
  },
}

for (const dialect of DIALECTS)
  for (const [check, run] of Object.entries(CHECKS))
    t.test(`every language model: ${check}: ${dialect.name}`, async (t) => {
      const service = await Service.start()
      t.teardown(() => service.close())
      const make = (): ReturnType<typeof modelOf> => modelOf(dialect.make(service.baseUrl))
      await run(t, dialect, service, make)
    })

t.test('tool calls without stable ids are kept apart', (t) => {
  const collected = (...pieces: readonly CallPiece[]): (readonly [string, string])[] => {
    const calls = new WrittenCalls('own')
    for (const piece of pieces) calls.collect([piece])
    return calls.all.map(({ name, argumentsText }) => [name, argumentsText])
  }
  const piece = (id: string, name: string | undefined, text: string): CallPiece => ({
    index: 0,
    id,
    function: { ...(name === undefined ? {} : { name }), arguments: text },
  })
  t.same(collected(piece('', 'a', '{}'), piece('', 'b', '{}')), [
    ['a', '{}'],
    ['b', '{}'],
  ])
  t.same(collected(piece('x1', 'a', ''), piece('x2', undefined, '{"n":'), piece('x3', undefined, '1}')), [
    ['a', '{"n":1}'],
  ])
  t.same(collected(piece('x1', 'a', '{"n":'), piece('x1', 'a', '1}')), [['a', '{"n":1}']])
  t.end()
})
