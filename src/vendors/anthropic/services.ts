import { forgetOldest } from '../../core/forget-oldest.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { parseArguments } from '../../backends/tool-text.js'
import { usageNumber } from '../../backends/watch.js'
import { alternatingTurns, KEPT_WITH_CALLS_MAX } from '../../backends/cascade/alternating-turns.js'
import type { ChatOptions } from '../../backends/cascade/chat-requests.js'
import { eventData, overHttp } from '../../backends/cascade/http-service.js'
import { ModelRequests } from '../../backends/cascade/model-requests.js'
import { anthropic as facts } from './facts.js'
import type {
  ChatMessage,
  LanguageModel,
  ModelDelta,
  ModelRequest,
  ServiceFactory,
} from '../../backends/cascade/service.js'
import type { Cached, TextBlock, Thought, Block, AnthropicRequest, Usage, AnthropicEvent } from './wire.js'

/** Options without a temperature, because version 2026-10-21 of the protocol removed it. */
interface AnthropicOptions extends Omit<ChatOptions, 'baseUrl' | 'temperature'> {
  /** Address with or without `/v1`. Default: the public address. */
  readonly baseUrl?: string
}

/** Version of the protocol, as sent by the vendor's own client (@anthropic-ai/sdk 1.14.0). */
const VERSION = '2026-10-21'
const TIMEOUT_MS = 8000
/** Limit of tokens per answer, required by the service; a spoken answer is far shorter. */
const MAX_TOKENS = 4096

const CACHED: Required<Cached> = { cache_control: { type: 'ephemeral' } }

const CUT: Readonly<Record<string, 'length' | 'filter'>> = {
  max_tokens: 'length',
  model_context_window_exceeded: 'length',
  refusal: 'filter',
}

/** HTTP statuses of the vendor's errors. An error during an answer has no status. */
const STATUS: Readonly<Record<string, number>> = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
}

/** A language model on Anthropic's Messages API, with tools. The service caches instructions and tools. */
export function anthropic(options: AnthropicOptions): ServiceFactory<LanguageModel> {
  const baseUrl = `${(options.baseUrl ?? facts.services.llm.anthropic.own.baseUrl).replace(/\/*(?:\/v1)?\/*$/, '')}/v1`
  return overHttp('llm', 'anthropic', TIMEOUT_MS, { ...options, baseUrl }, AnthropicRequests)
}

class AnthropicRequests extends ModelRequests<ChatOptions> {
  /** Reasoning, by the id of the first tool call that follows the reasoning. */
  readonly #thoughts = new Map<string, readonly Thought[]>()

  protected override headers(): Readonly<Record<string, string>> {
    // API key header as sent by the vendor's own client (@anthropic-ai/sdk 1.14.0).
    return { 'anthropic-version': VERSION, ...super.headers() }
  }

  protected async *deltas(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    const body = await this.post('/messages', this.#body(request), signal)
    // Later events replace earlier token counts. The vendor charges an interrupted answer for the tokens counted so
    // far.
    let usage: Usage | null = null
    const thoughts: Thought[] = []
    try {
      const events = this.objects(eventData(body.pieces(), this.context.malformed))
      for await (const event of events as AsyncGenerator<AnthropicEvent>) {
        const { type, error } = event
        if (type === 'error') throw this.faultInBody(error, STATUS[error?.type ?? ''])
        const counted = event.message?.usage ?? event.usage
        if (counted != null) usage = withFigures(usage, counted)
        const delta = this.#delta(event, thoughts)
        if (delta !== null) yield delta
      }
    } finally {
      if (usage !== null) this.#tokens(usage)
    }
  }

  #delta({ type, index, content_block: block, delta }: AnthropicEvent, thoughts: Thought[]): ModelDelta | null {
    if (type === 'content_block_start' && block?.type === 'tool_use') {
      const { id = '', name = '' } = block
      if (thoughts.length > 0) this.#thoughts.set(id, thoughts.splice(0))
      forgetOldest(this.#thoughts, KEPT_WITH_CALLS_MAX)
      return { calls: [{ ...omitNullish({ index }), id, function: { name, arguments: '' } }] }
    }
    if (type === 'content_block_start' && block?.type === 'thinking')
      thoughts.push({ type: 'thinking', thinking: '', signature: '' })
    if (type === 'content_block_start' && block?.type === 'redacted_thinking')
      thoughts.push({ type: 'redacted_thinking', data: block.data ?? '' })
    if (type === 'content_block_start' && block?.type === 'text' && typeof block.text === 'string' && block.text !== '')
      return { text: block.text }
    if (delta == null) return null
    const cut = type === 'message_delta' && delta.stop_reason != null ? CUT[delta.stop_reason] : undefined
    if (cut !== undefined) return { cut }
    switch (delta.type) {
      case 'text_delta':
        return typeof delta.text === 'string' && delta.text !== '' ? { text: delta.text } : null
      case 'input_json_delta':
        return index === undefined ? null : { calls: [{ index, function: { arguments: delta.partial_json ?? '' } }] }
      case 'thinking_delta':
      case 'signature_delta': {
        const last = thoughts.at(-1)
        if (last?.type === 'thinking')
          thoughts[thoughts.length - 1] = {
            ...last,
            thinking: last.thinking + (delta.thinking ?? ''),
            signature: last.signature + (delta.signature ?? ''),
          }
        return null
      }
      default:
        return null
    }
  }

  #body({ messages, tools }: ModelRequest): AnthropicRequest {
    const { model, maxTokens = MAX_TOKENS } = this.options
    const { instructions, turns } = alternatingTurns(messages, (message) => this.#blocks(message), textBlock)
    const cached = this.context.wishes.of(CACHED)
    const functions = tools.map(({ name, description, parameters }, i) => ({
      name,
      description,
      input_schema: { ...parameters, type: 'object' as const },
      ...(i === tools.length - 1 ? cached : {}),
    }))
    return {
      model,
      max_tokens: maxTokens,
      stream: true,
      ...(instructions.trim() === '' ? {} : { system: [{ ...textBlock(instructions), ...cached }] }),
      messages: turns.map(({ role, parts }) => ({
        role: role === 'agent' ? 'assistant' : 'user',
        // The service requires the reasoning before the text. In the conversation, the reasoning is stored with the
        // tool calls, after the text.
        content: [...parts.filter(isThought), ...parts.filter((part) => !isThought(part))],
      })),
      ...(functions.length === 0 ? {} : { tools: functions }),
    }
  }

  #blocks(message: ChatMessage): Block[] {
    if (message.role === 'tool')
      return [{ type: 'tool_result', tool_use_id: idOf(message.tool_call_id), content: message.content }]
    // The service refuses a blank text.
    const text = message.content ?? ''
    const blocks: Block[] = text.trim() === '' ? [] : [textBlock(text)]
    if (message.role !== 'assistant') return blocks
    for (const { id, function: call } of message.tool_calls ?? [])
      blocks.push(...(this.#thoughts.get(id) ?? []), {
        type: 'tool_use',
        id: idOf(id),
        name: call.name,
        input: { ...parseArguments(call.arguments).args },
      })
    return blocks
  }

  #tokens(usage: Usage): void {
    const written = usageNumber(usage.cache_creation_input_tokens)
    const cached = usageNumber(usage.cache_read_input_tokens)
    this.used({
      inputTokens: usageNumber(usage.input_tokens) + written + cached,
      inputCachedTokens: cached,
      inputCacheWriteTokens: written,
      outputTokens: usageNumber(usage.output_tokens),
    })
  }
}

function textBlock(text: string): TextBlock {
  return { type: 'text', text }
}

function isThought(block: Block): block is Thought {
  return block.type === 'thinking' || block.type === 'redacted_thinking'
}

/**
 * Replaces characters that the service refuses. The tool call may come from another service, whose ids have other
 * characters.
 */
function idOf(callId: string): string {
  return callId.replace(/[^\w-]/g, '_')
}

/** Merges the token counts: a null in a later event keeps the earlier count. */
function withFigures(before: Usage | null, { ...later }: Usage): Usage {
  return { ...before, ...Object.fromEntries(Object.entries(later).filter(([, figure]) => figure !== null)) }
}

export const services = { llm: { anthropic } }
