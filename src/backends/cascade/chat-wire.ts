import type { CallPiece, ChatMessage } from './service.js'

// The parts of `/chat/completions` that are used. Field names are the vendor's. Checked against the vendor's published
// types by test/backends/cascade-wire.test.ts.

export interface ChatRequest {
  readonly model: string
  readonly messages: SentMessage[]
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
  readonly seed?: number
}

/** A message of the conversation, with what the service wants back with its calls. */
export type SentMessage = ChatMessage & { readonly [field in ReasoningField]?: string }

/** Reasoning before a call. DeepSeek and Kimi refuse every later request without it; Groq, Ollama and vLLM have the second name. */
export type ReasoningField = 'reasoning_content' | 'reasoning'

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

export interface ChatDelta {
  /** Some servers stream parts, as requests have them. */
  readonly content?: string | readonly (string | { readonly type?: string; readonly text?: unknown })[] | null
  /** In place of an answer; words for the caller like any other. */
  readonly refusal?: string | null
  readonly tool_calls?: readonly CallPiece[]
  readonly reasoning_content?: string | null
  readonly reasoning?: string | null
}
