import type { CallPiece, ChatMessage } from './service.js'

// Types for the used part of `/chat/completions`, with the vendor's field names. test/backends/cascade-wire.test.ts
// compares these types with the vendor's published types.

export interface ChatRequest {
  readonly model: string
  readonly messages: SentMessage[]
  readonly stream: true
  readonly stream_options?: { readonly include_usage: true }
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
  readonly seed?: number
}

/** A message of the conversation. Its tool calls contain the data that the service requires back. */
export type SentMessage = ChatMessage & { readonly [field in ReasoningField]?: string }

/**
 * Fields with the model's reasoning before a tool call. DeepSeek and Kimi refuse every later request without this
 * reasoning. Groq, Ollama and vLLM use the second field.
 */
export type ReasoningField = 'reasoning_content' | 'reasoning'

/** A piece of a streamed answer; a complete answer has `message` instead of `delta`. */
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

export interface ChatDelta {
  /** Text, or a list of parts, as some servers stream it. */
  readonly content?: string | readonly (string | { readonly type?: string; readonly text?: unknown })[] | null
  /** Words of a refusal instead of an answer; they are spoken like all other words. */
  readonly refusal?: string | null
  readonly tool_calls?: readonly CallPiece[]
  readonly reasoning_content?: string | null
  readonly reasoning?: string | null
}
