import { randomUUID } from 'node:crypto'
import { functionParameters } from '../tool-schema.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { usageNumber } from '../watch.js'
import { KEPT_WITH_CALLS_MAX } from './alternating-turns.js'
import { eventData, overHttp } from './http-service.js'
import type { HttpServiceOptions } from './http-service.js'
import { ModelRequests } from './model-requests.js'
import type { CallPiece, ChatMessage, LanguageModel, ModelDelta, ModelRequest, ServiceFactory } from './service.js'
import type { ChatRequest, SentMessage, ReasoningField, ChatChunk, ChatDelta } from './chat-wire.js'

export interface ChatOptions extends HttpServiceOptions {
  readonly temperature?: number
  readonly maxTokens?: number
}

const TIMEOUT_MS = 8000

/** Data that the service sent with a tool call. */
interface Kept {
  readonly extra_content?: Readonly<Record<string, unknown>>
  readonly reasoning?: { readonly [field in ReasoningField]?: string }
}

const CUT: Readonly<Record<string, 'length' | 'filter'>> = { length: 'length', content_filter: 'filter' }

/** @returns the spoken words of a piece; the model's reasoning is in other fields or parts */
function textOf({ content, refusal }: ChatDelta): string {
  if (typeof content === 'string') return content
  const parts = Array.isArray(content) ? (content as readonly unknown[]) : []
  const texts = parts.map((part) => {
    if (typeof part === 'string') return part
    const { type = 'text', text } = Object(part) as { readonly type?: unknown; readonly text?: unknown }
    return typeof text === 'string' && (type === 'text' || type === 'output_text') ? text : ''
  })
  return texts.join('') || (refusal ?? '')
}

/** A language model with the endpoint `/chat/completions`. */
export function chat(options: ChatOptions): ServiceFactory<LanguageModel> {
  return overHttp('llm', 'chat', TIMEOUT_MS, options, ChatRequests)
}

class ChatRequests extends ModelRequests<ChatOptions> {
  /** Data of the service by the id of its tool call. */
  readonly #kept = new Map<string, Kept>()

  protected async *deltas(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    const body = await this.post('/chat/completions', this.#body(request), signal)
    // A server that does not stream answers with one JSON document.
    const texts = body.header('content-type')?.includes('application/json')
      ? [await body.text()]
      : eventData(body.pieces(), this.context.malformed)
    // Some servers report the usage so far in each event. If an answer is interrupted, its last reported usage is
    // charged.
    let used: ChatChunk['usage'] = null
    const reasoning: { [field in ReasoningField]?: string } = {}
    try {
      for await (const { error, usage, choices } of this.objects(texts) as AsyncGenerator<ChatChunk>) {
        if (error !== undefined) throw this.faultInBody(error)
        used = usage ?? used
        const choice = choices?.[0]
        const delta = choice?.delta ?? choice?.message
        const cut = choice?.finish_reason == null ? undefined : CUT[choice.finish_reason]
        if (delta == null && cut === undefined) continue
        for (const field of ['reasoning_content', 'reasoning'] as const) {
          const { [field]: before = '' } = reasoning
          const { [field]: text } = delta ?? {}
          if (typeof text === 'string' && before.length + text.length <= BACKEND_TOOL_TEXT_CHARS_MAX)
            reasoning[field] = before + text
        }
        const calls = Array.isArray(delta?.tool_calls)
          ? (delta.tool_calls as readonly CallPiece[]).map((piece) => this.#keptWith(piece, reasoning))
          : null
        yield omitNullish({ text: textOf(delta ?? {}) || null, cut, calls })
      }
    } finally {
      if (used !== null)
        this.used({
          inputTokens: usageNumber(used.prompt_tokens),
          inputCachedTokens: usageNumber(used.prompt_tokens_details?.cached_tokens),
          outputTokens: usageNumber(used.completion_tokens),
        })
    }
  }

  /**
   * Stores the reasoning so far with the first tool call that follows.
   * @returns the piece; if the piece begins a tool call, it has an id
   */
  #keptWith(piece: CallPiece, reasoning: { [field in ReasoningField]?: string }): CallPiece {
    const { id: own = '', function: call, extra_content: extra } = piece
    const begins = own !== '' || (typeof call?.name === 'string' && call.name !== '')
    const thought = Object.keys(reasoning).length > 0
    if (!begins || (extra === undefined && !thought)) return piece
    const id = own === '' ? `call-${randomUUID()}` : own
    const before = this.#kept.get(id) ?? {}
    this.#kept.set(id, {
      ...before,
      ...(extra === undefined ? {} : { extra_content: extra }),
      ...(thought ? { reasoning: { ...reasoning } } : {}),
    })
    forgetOldest(this.#kept, KEPT_WITH_CALLS_MAX)
    for (const field of Object.keys(reasoning)) delete reasoning[field as ReasoningField]
    return { ...piece, id }
  }

  /** @returns the message; its tool calls get the data that the service sent with them */
  #sent(message: ChatMessage): SentMessage {
    if (message.role !== 'assistant' || message.tool_calls === undefined) return message
    const kept = message.tool_calls.map(({ id }) => this.#kept.get(id))
    return {
      ...message,
      ...kept.find((one) => one?.reasoning !== undefined)?.reasoning,
      tool_calls: message.tool_calls.map((call, i) => ({
        ...call,
        ...omitNullish({ extra_content: kept[i]?.extra_content }),
      })),
    }
  }

  #body({ messages, tools, seed }: ModelRequest): ChatRequest {
    const { model, temperature, maxTokens } = this.options
    const functions = tools.map(({ name, description, parameters }) => ({
      type: 'function' as const,
      function: { name, description, parameters: functionParameters(parameters).schema },
    }))
    return {
      model,
      messages: messages.map((message) => this.#sent(message)),
      stream: true,
      ...(functions.length === 0 ? {} : { tools: functions }),
      // If this field is missing, the service reports no tokens.
      ...this.context.wishes.of({ stream_options: { include_usage: true as const } }, true),
      ...this.context.wishes.of({
        tool_choice: functions.length === 0 ? undefined : ('auto' as const),
        temperature,
        max_tokens: maxTokens,
        seed,
      }),
    }
  }
}
