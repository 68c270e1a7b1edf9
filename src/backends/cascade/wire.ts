/**
 * The parts of the OpenAI-compatible HTTP endpoints that are used: `/audio/transcriptions`, `/chat/completions` and
 * `/audio/speech`. Field names are the vendor's. Checked against the vendor's published types by
 * test/backends/cascade-wire.test.ts.
 */

export interface ToolCallMessage {
  readonly id: string
  readonly type: 'function'
  readonly function: { readonly name: string; readonly arguments: string }
}

export type ChatMessage =
  | { readonly role: 'system' | 'user'; readonly content: string }
  | { readonly role: 'assistant'; readonly content: string | null; readonly tool_calls?: ToolCallMessage[] }
  | { readonly role: 'tool'; readonly tool_call_id: string; readonly content: string }

export interface ChatRequest {
  readonly model: string
  readonly messages: ChatMessage[]
  readonly stream: true
  readonly stream_options: { readonly include_usage: true }
  readonly tools?: { readonly type: 'function'; readonly function: { readonly name: string; readonly description: string; readonly parameters: Record<string, unknown> } }[]
  readonly tool_choice?: 'auto'
  readonly temperature?: number
  readonly max_tokens?: number
}

export interface SpeechRequest {
  readonly model: string
  readonly input: string
  readonly voice: string
  readonly response_format: 'pcm'
  readonly speed?: number
}

/** A piece of a streamed answer; a whole one has `message` in place of `delta`. */
export interface ChatChunk {
  readonly choices?: readonly {
    readonly delta?: ChatDelta
    readonly message?: ChatDelta
    readonly finish_reason?: string | null
  }[]
  readonly usage?: { readonly prompt_tokens?: number; readonly completion_tokens?: number } | null
  readonly error?: { readonly message?: string; readonly code?: unknown } | string
}

export interface ChatDelta {
  readonly content?: string | null
  readonly tool_calls?: readonly {
    readonly index?: number
    readonly id?: string
    readonly function?: { readonly name?: string; readonly arguments?: string }
  }[]
}
