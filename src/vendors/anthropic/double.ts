import type { IncomingMessage } from 'node:http'
import type {
  ContentBlockParam,
  MessageCreateParamsStreaming,
  RawMessageStreamEvent,
  StopReason,
  Usage,
} from '@anthropic-ai/sdk/resources/messages'
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import type { Refusal } from '../../simulator/vendors/double.js'
import { ModelDouble, userSaid } from '../../simulator/vendors/model-double.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

/** A stand-in for Anthropic's Messages API with a scripted model, written from the vendor's published types. */
export class AnthropicDouble extends ModelDouble<MessageCreateParamsStreaming> {
  /** Stop reason of the next answers; null: `end_turn`, or `tool_use` after tool calls. */
  stopReason: StopReason | null = null
  /** Reasoning of the model before its next answers; null: no reasoning. */
  thinking: string | null = null
  /** Error that replaces the last event of the next answers; null: no error. */
  failure: string | null = null
  /** Content that was marked for the cache. */
  readonly #cache = new Set<string>()

  protected keyOf({ authorization }: IncomingMessage['headers']): string | null {
    return authorization?.replace(/^Bearer /, '') ?? null
  }

  protected wrongKey(key: string): Refusal {
    return errorOf(401, 'authentication_error', `invalid API key: ${key}`)
  }

  protected models(path: string): string | null {
    return path === '/v1/models' ? '{"data":[],"has_more":false,"first_id":null,"last_id":null}' : null
  }

  protected refusalOf(
    path: string,
    { messages, max_tokens, stream, ...other }: MessageCreateParamsStreaming,
    headers: IncomingMessage['headers'],
  ): Refusal | null {
    if (path !== '/v1/messages') return errorOf(404, 'not_found_error', 'Not found')
    const invalid = (words: string): Refusal => this.badRequest(words)
    if (headers['anthropic-version'] !== '2026-10-21') return invalid('anthropic-version: header is required')
    if (!stream || !(max_tokens >= 1)) return invalid('max_tokens: Field required')
    if ('temperature' in other) return invalid('temperature: Extra inputs are not permitted')
    if (messages[0]?.role !== 'user') return invalid('messages: first message must use the "user" role')
    if (messages.at(-1)?.role !== 'user') return invalid('This model does not support assistant message prefill.')
    let open: string[] = []
    for (const { role, content } of messages) {
      const blocks = typeof content === 'string' ? [] : content
      if (blocks.some((block) => block.type === 'text' && block.text.trim() === ''))
        return invalid('messages: text content blocks must be non-empty')
      const answered = blocks.flatMap((block) => (block.type === 'tool_result' ? [block.tool_use_id] : []))
      if (open.some((id) => !answered.includes(id)))
        return invalid('`tool_use` ids were found without `tool_result` blocks immediately after')
      if (answered.some((id) => !open.includes(id))) return invalid('unexpected `tool_use_id` found')
      open = blocks.flatMap((block) => (role === 'assistant' && block.type === 'tool_use' ? [block.id] : []))
      if (open.some((id) => !/^[\w-]+$/.test(id))) return invalid("tool_use.id: should match '^[a-zA-Z0-9_-]+$'")
    }
    return null
  }

  protected badRequest(words: string): Refusal {
    return errorOf(400, 'invalid_request_error', words)
  }

  protected saidIn({ system = '', messages }: MessageCreateParamsStreaming): readonly ChatCompletionMessageParam[] {
    const instructions = typeof system === 'string' ? system : system.map(({ text }) => text).join('')
    return [
      { role: 'system', content: instructions },
      ...messages.flatMap(({ role, content }) => {
        const blocks: readonly ContentBlockParam[] =
          typeof content === 'string' ? [{ type: 'text', text: content }] : content
        return blocks.flatMap((block) => saidInBlock(block, role === 'assistant'))
      }),
    ]
  }

  protected *events(
    request: MessageCreateParamsStreaming,
    _path: string,
    { say = '', calls = [] }: ScriptedReply,
  ): Generator<string> {
    const event = (data: RawMessageStreamEvent): string => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
    const usage = { ...NO_USAGE, ...this.#cached(request), input_tokens: 20 }
    yield event({
      type: 'message_start',
      message: {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        model: request.model,
        content: [],
        container: null,
        diagnostics: null,
        stop_details: null,
        stop_reason: null,
        stop_sequence: null,
        usage,
      },
    })
    yield 'event: ping\ndata: {"type":"ping"}\n\n'
    let index = 0
    if (this.thinking !== null) {
      yield event({
        type: 'content_block_start',
        index,
        content_block: { type: 'thinking', thinking: '', signature: '' },
      })
      for (const thinking of this.thinking.match(/.{1,7}/gs) ?? [])
        yield event({ type: 'content_block_delta', index, delta: { type: 'thinking_delta', thinking } })
      yield event({ type: 'content_block_delta', index, delta: { type: 'signature_delta', signature: 'c2lnbmVk' } })
      yield event({ type: 'content_block_stop', index: index++ })
    }
    if (say !== '') {
      yield event({ type: 'content_block_start', index, content_block: { type: 'text', text: '', citations: null } })
      for (const text of say.match(/.{1,7}/gs) ?? [])
        yield event({ type: 'content_block_delta', index, delta: { type: 'text_delta', text } })
      yield event({ type: 'content_block_stop', index: index++ })
    }
    for (const { callId, name, args } of calls) {
      const block = { type: 'tool_use', id: callId, name, input: {}, caller: { type: 'direct' } } as const
      yield event({ type: 'content_block_start', index, content_block: block })
      for (const piece of ['', ...((typeof args === 'string' ? args : JSON.stringify(args)).match(/.{1,5}/gs) ?? [])])
        yield event({ type: 'content_block_delta', index, delta: { type: 'input_json_delta', partial_json: piece } })
      yield event({ type: 'content_block_stop', index: index++ })
    }
    if (this.failure !== null) {
      const error = { type: this.failure, message: 'It did not work.' }
      yield `event: error\ndata: ${JSON.stringify({ type: 'error', error, request_id: 'req_1' })}\n\n`
      return
    }
    yield event({
      type: 'message_delta',
      delta: {
        container: null,
        stop_details: null,
        stop_reason: this.stopReason ?? (calls.length > 0 ? 'tool_use' : 'end_turn'),
        stop_sequence: null,
      },
      usage: { ...usage, output_tokens: 10 },
    })
    yield event({ type: 'message_stop' })
  }

  /** Simulates the prompt cache: the first request writes its marked content, and later requests read it. */
  #cached({ system, tools }: MessageCreateParamsStreaming): Partial<Usage> {
    const marked = [...(tools ?? []), ...(typeof system === 'object' ? system : [])]
    if (!marked.some((block) => 'cache_control' in block && block.cache_control != null)) return {}
    const text = JSON.stringify(marked)
    const known = this.#cache.has(text)
    this.#cache.add(text)
    return known ? { cache_read_input_tokens: 1500 } : { cache_creation_input_tokens: 1500 }
  }
}

function saidInBlock(block: ContentBlockParam, agent: boolean): ChatCompletionMessageParam[] {
  switch (block.type) {
    case 'text':
      return [agent ? { role: 'assistant', content: block.text } : userSaid(block.text)]
    case 'tool_use': {
      const { id, name, input } = block
      const call = { name, arguments: JSON.stringify(input) }
      return [{ role: 'assistant', tool_calls: [{ id, type: 'function', function: call }] }]
    }
    case 'tool_result': {
      const { tool_use_id: id, content } = block
      return [{ role: 'tool', tool_call_id: id, content: typeof content === 'string' ? content : '' }]
    }
    default:
      return []
  }
}

const NO_USAGE: Usage = {
  cache_creation: null,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  inference_geo: null,
  input_tokens: 0,
  output_tokens: 1,
  output_tokens_details: null,
  server_tool_use: null,
  service_tier: 'standard',
  speed: 'standard',
}

function errorOf(status: number, type: string, message: string): Refusal {
  return { status, body: JSON.stringify({ type: 'error', error: { type, message }, request_id: 'req_1' }) }
}

export const doubles = { anthropic: [[AnthropicDouble, 'ANTHROPIC_BASE_URL']] }

export const optionalFields: OptionalFieldsOf = {
  llm: {
    anthropic: [
      {
        wished: {},
        fields: { cache_control: [/cache_control/, 'cache_control: not permitted'] },
        needed: { maxTokens: 4096 },
      },
    ],
  },
}
