export type ThinkingLevel = 'low' | 'medium' | 'high'

// The used parts of `streamGenerateContent`, in the vendor's field names. test/backends/cascade-wire.test.ts checks them
// against the vendor's published types.

export interface Part {
  readonly text?: string
  /** True for reasoning, which is never spoken. */
  readonly thought?: boolean
  /** Signature of the reasoning before a tool call. The service requires the signature back with the tool call. */
  readonly thoughtSignature?: string
  readonly functionCall?: { readonly id?: string; readonly name?: string; readonly args?: Record<string, unknown> }
  readonly functionResponse?: {
    readonly id?: string
    readonly name?: string
    readonly response?: Record<string, unknown>
  }
}

export interface GeminiRequest {
  readonly systemInstruction?: { readonly parts: Part[] }
  readonly contents: { readonly role: 'user' | 'model'; readonly parts: Part[] }[]
  readonly tools?: {
    readonly functionDeclarations: {
      readonly name: string
      readonly description: string
      readonly parametersJsonSchema?: Record<string, unknown>
    }[]
  }[]
  readonly generationConfig: {
    readonly temperature?: number
    readonly maxOutputTokens?: number
    readonly seed?: number
    readonly thinkingConfig?: { readonly thinkingLevel: Uppercase<ThinkingLevel> }
  }
}

export interface Usage {
  /** Number of tokens of the prompt, including cached tokens. */
  readonly promptTokenCount?: number
  readonly cachedContentTokenCount?: number
  readonly candidatesTokenCount?: number
  readonly thoughtsTokenCount?: number
}

/** A piece of a streamed answer. */
export interface GeminiChunk {
  readonly candidates?: readonly {
    readonly content?: { readonly parts?: readonly Part[] }
    readonly finishReason?: string
  }[]
  /** Reason why the request got no answer. */
  readonly promptFeedback?: { readonly blockReason?: string }
  /** Token counts so far. */
  readonly usageMetadata?: Usage
}
