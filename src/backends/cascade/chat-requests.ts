import { functionParameters } from '../tool-schema.js'
import { given } from '../../core/given.js'
import { usageNumber } from '../watch.js'
import { eventData, HttpStage, overHttp } from './http-service.js'
import type { HttpStageOptions } from './http-service.js'
import type { CallPiece, ChatMessage, LanguageModel, ModelDelta, ModelRequest, StageFactory } from './stage.js'

export interface ChatOptions extends HttpStageOptions {
  readonly temperature?: number
  readonly maxTokens?: number
}

const TIMEOUT_MS = 8000

// The parts of `/chat/completions` that are used. Field names are the vendor's. Checked against the vendor's published
// types by test/backends/cascade-wire.test.ts.

export interface ChatRequest {
  readonly model: string
  readonly messages: ChatMessage[]
  readonly stream: true
  readonly stream_options: { readonly include_usage: true }
  readonly tools?: {
    readonly type: 'function'
    readonly function: {
      readonly name: string
      readonly description: string
      readonly parameters: Record<string, unknown>
    }
  }[]
  readonly tool_choice?: 'auto'
  readonly temperature?: number
  readonly max_tokens?: number
}

/** A piece of a streamed answer; a whole one has `message` in place of `delta`. */
export interface ChatChunk {
  readonly choices?: readonly {
    readonly delta?: ChatDelta
    readonly message?: ChatDelta
    readonly finish_reason?: string | null
  }[]
  readonly usage?: {
    readonly prompt_tokens?: number
    readonly completion_tokens?: number
    readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null
  } | null
  readonly error?: { readonly message?: string; readonly code?: unknown } | string
}

interface ChatDelta {
  /** Some servers stream parts, as requests have them. */
  readonly content?: string | readonly (string | { readonly type?: string; readonly text?: unknown })[] | null
  /** In place of an answer; words for the caller like any other. */
  readonly refusal?: string | null
  readonly tool_calls?: readonly CallPiece[]
}

const CUT: Readonly<Record<string, 'length' | 'filter'>> = { length: 'length', content_filter: 'filter' }

/** The words of a piece; a model's reasoning is in fields or parts of its own. */
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

/** A language model on `/chat/completions`. */
export function chat(options: ChatOptions): StageFactory<LanguageModel> {
  return overHttp('llm', 'chat', TIMEOUT_MS, options, ChatRequests)
}

class ChatRequests extends HttpStage<ChatOptions> implements LanguageModel {
  async *answer(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    const body = await this.post('/chat/completions', this.#body(request), signal)
    // A server that does not stream answers with one JSON document.
    const texts = body.header('content-type')?.includes('application/json')
      ? [await body.text()]
      : eventData(body.pieces(), this.context.malformed)
    for await (const { error, usage, choices } of this.objects(texts) as AsyncGenerator<ChatChunk>) {
      if (error !== undefined) throw this.faultInBody(error)
      if (usage != null)
        this.used({
          inputTokens: usageNumber(usage.prompt_tokens),
          inputCachedTokens: usageNumber(usage.prompt_tokens_details?.cached_tokens),
          outputTokens: usageNumber(usage.completion_tokens),
        })
      const choice = choices?.[0]
      const delta = choice?.delta ?? choice?.message
      const cut = choice?.finish_reason == null ? undefined : CUT[choice.finish_reason]
      if (delta == null && cut === undefined) continue
      const calls = Array.isArray(delta?.tool_calls) ? (delta.tool_calls as readonly CallPiece[]) : null
      yield given({ text: textOf(delta ?? {}) || null, cut, calls })
    }
  }

  #body({ messages, tools }: ModelRequest): ChatRequest {
    const { model, temperature, maxTokens } = this.options
    const functions = tools.map(({ name, description, parameters }) => ({
      type: 'function' as const,
      function: { name, description, parameters: functionParameters(parameters).schema },
    }))
    return {
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      ...(functions.length === 0 ? {} : { tools: functions, tool_choice: 'auto' }),
      ...given({ temperature, max_tokens: maxTokens }),
    }
  }
}
