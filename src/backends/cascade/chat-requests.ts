import { functionParameters } from '../tool-schema.js'
import { noUsage } from '../../call/usage.js'
import { pricedModel } from '../prices.js'
import { usageNumber } from '../watch.js'
import { eventData, HttpStage } from './http-service.js'
import type { HttpStageOptions } from './http-service.js'
import type {
  CallPiece,
  ChatMessage,
  LanguageModel,
  ModelDelta,
  ModelRequest,
  StageContext,
  StageFactory,
} from './stage.js'

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
  return {
    service: 'chat',
    model: pricedModel(options.model, options.baseUrl),
    make: (context) => new ChatRequests(options, context),
  }
}

class ChatRequests extends HttpStage implements LanguageModel {
  readonly #options: ChatOptions
  readonly #context: StageContext

  constructor(options: ChatOptions, context: StageContext) {
    super('llm', options, TIMEOUT_MS, context)
    this.#options = options
    this.#context = context
  }

  async *answer(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    const { body, contentType } = await this.post('/chat/completions', this.#body(request), signal)
    // A server that does not stream answers with one JSON document.
    const texts = contentType.includes('application/json')
      ? [await body.text()]
      : eventData(body.pieces(), () => this.#context.malformed())
    for await (const text of texts) {
      const chunk = this.#chunk(text)
      if (chunk === null) continue
      if (chunk.usage != null) this.#tokens(chunk.usage)
      const choice = chunk.choices?.[0]
      const delta = choice?.delta ?? choice?.message
      const cut = choice?.finish_reason == null ? undefined : CUT[choice.finish_reason]
      if (delta == null && cut === undefined) continue
      const words = textOf(delta ?? {})
      yield {
        ...(words === '' ? {} : { text: words }),
        ...(cut === undefined ? {} : { cut }),
        ...(Array.isArray(delta?.tool_calls) ? { calls: delta.tool_calls as readonly CallPiece[] } : {}),
      }
    }
  }

  #body({ messages, tools }: ModelRequest): ChatRequest {
    const { model, temperature, maxTokens } = this.#options
    return {
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
      ...(tools.length === 0
        ? {}
        : {
            tools: tools.map(({ name, description, parameters }) => ({
              type: 'function',
              function: { name, description, parameters: functionParameters(parameters).schema },
            })),
            tool_choice: 'auto',
          }),
      ...(temperature === undefined ? {} : { temperature }),
      ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    }
  }

  #tokens({ prompt_tokens, completion_tokens, prompt_tokens_details }: NonNullable<ChatChunk['usage']>): void {
    this.#context.used({
      ...noUsage(),
      model: pricedModel(this.#options.model, this.#options.baseUrl),
      inputTokens: usageNumber(prompt_tokens),
      inputCachedTokens: usageNumber(prompt_tokens_details?.cached_tokens),
      outputTokens: usageNumber(completion_tokens),
    })
  }

  #chunk(text: string): ChatChunk | null {
    let value: unknown = null
    try {
      value = JSON.parse(text)
    } catch {
      // Counted below.
    }
    if (typeof value !== 'object' || value === null) {
      this.#context.malformed()
      return null
    }
    const chunk = value as ChatChunk
    if (chunk.error !== undefined) throw this.faultInBody(JSON.stringify({ error: chunk.error }))
    return chunk
  }
}
