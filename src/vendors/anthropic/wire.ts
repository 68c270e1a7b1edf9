// The parts of `/v1/messages` that are used. Field names are the vendor's. Checked against the vendor's published types by
// test/backends/cascade-wire.test.ts.

/** The request up to this mark, in the order tools, system, messages, is read from the cache in the next request. */
export interface Cached {
  readonly cache_control?: { readonly type: 'ephemeral' }
}

export interface TextBlock extends Cached {
  readonly type: 'text'
  readonly text: string
}
/** Reasoning, which is never spoken; a model that reasons wants it back with the calls that it led to. */
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
  /** Neither read from the cache nor written to it. */
  readonly input_tokens?: number | null
  readonly cache_creation_input_tokens?: number | null
  readonly cache_read_input_tokens?: number | null
  readonly output_tokens?: number | null
}

/** An event of the stream; only fields of the types that are used. */
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
  /** Change of a block, or of the message at its end. */
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
