export type ThinkingLevel = 'low' | 'medium' | 'high'

// The parts of `streamGenerateContent` that are used. Field names are the vendor's. Checked against the vendor's published
// types by test/backends/cascade-wire.test.ts.

export interface Part {
  readonly text?: string
  /** It is reasoning, which is never spoken. */
  readonly thought?: boolean
  /** The reasoning that led to a call; the service wants it back with the call. */
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
  /** With what came from the cache. */
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
  /** Why the request was not answered at all. */
  readonly promptFeedback?: { readonly blockReason?: string }
  /** So far. */
  readonly usageMetadata?: Usage
}
