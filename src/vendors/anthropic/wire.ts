// The used part of `/v1/messages`, in the vendor's field names. test/backends/cascade-wire.test.ts checks it against
// the vendor's published types.

/**
 * Mark for the prompt cache: the next request reads everything up to this mark (tools, system, messages) from the
 * cache.
 */
export interface Cached {
  readonly cache_control?: { readonly type: 'ephemeral' }
}

export interface TextBlock extends Cached {
  readonly type: 'text'
  readonly text: string
}
/**
 * Reasoning, which is never spoken. A reasoning model requires that the next request returns the reasoning together
 * with the tool calls that followed it.
 */
export type Thought =
  | { readonly type: 'thinking'; readonly thinking: string; readonly signature: string }
  | { readonly type: 'redacted_thinking'; readonly data: string }
export type Block =
  | TextBlock
  | Thought
  | { readonly type: 'tool_use'; readonly id: string; readonly name: string; readonly input: Record<string, unknown> }
  | { readonly type: 'tool_result'; readonly tool_use_id: string; readonly content: string }

export interface AnthropicRequest {
  readonly model: string
  readonly max_tokens: number
  readonly stream: true
  readonly system?: TextBlock[]
  readonly messages: { readonly role: 'user' | 'assistant'; readonly content: Block[] }[]
  readonly tools?: (Cached & {
    readonly name: string
    readonly description: string
    readonly input_schema: { readonly type: 'object'; readonly [keyword: string]: unknown }
  })[]
}

export interface Usage {
  /** Number of tokens that were neither read from the cache nor written to it. */
  readonly input_tokens?: number | null
  readonly cache_creation_input_tokens?: number | null
  readonly cache_read_input_tokens?: number | null
  readonly output_tokens?: number | null
}

/** An event of the stream, with only the fields that are used. */
export interface AnthropicEvent {
  readonly type: string
  readonly index?: number
  readonly message?: { readonly usage?: Usage }
  readonly content_block?: {
    readonly type: string
    readonly id?: string
    readonly name?: string
    readonly text?: string
    readonly data?: string
  }
  /** Change of a content block. In the event at the message's end: change of the message. */
  readonly delta?: {
    readonly type?: string
    readonly text?: string
    readonly partial_json?: string
    readonly thinking?: string
    readonly signature?: string
    readonly stop_reason?: string | null
  }
  readonly usage?: Usage
  readonly error?: { readonly type?: string; readonly message?: string }
}
