import { randomUUID } from 'node:crypto'
import { forgetOldest } from '../../core/forget-oldest.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { exactJson } from '../../core/json.js'
import { functionParameters } from '../../backends/tool-schema.js'
import { objectArguments, parseArguments } from '../../backends/tool-text.js'
import { usageNumber } from '../../backends/watch.js'
import { alternatingTurns, KEPT_WITH_CALLS_MAX } from '../../backends/cascade/alternating-turns.js'
import type { ChatOptions } from '../../backends/cascade/chat-requests.js'
import { eventData, overHttp } from '../../backends/cascade/http-service.js'
import { ModelRequests } from '../../backends/cascade/model-requests.js'
import { gemini as facts } from './facts.js'
import type {
  ChatMessage,
  LanguageModel,
  ModelDelta,
  ModelRequest,
  ServiceFactory,
} from '../../backends/cascade/service.js'
import type { ThinkingLevel, Part, GeminiRequest, Usage, GeminiChunk } from './text-wire.js'

interface GeminiOptions extends Omit<ChatOptions, 'baseUrl'> {
  /** Address without the version; http(s) or ws(s). Default: the public address. */
  readonly baseUrl?: string
  /** Depth of the model's reasoning. Default: the model's own depth. */
  readonly thinkingLevel?: ThinkingLevel
}

const TIMEOUT_MS = 8000
/** Signature for a tool call that another model made. Models from version 3 refuse a request without a signature. */
const NO_SIGNATURE = 'skip_thought_signature_validator'

const CUT: Readonly<Record<string, 'length' | 'filter'>> = {
  MAX_TOKENS: 'length',
  SAFETY: 'filter',
  RECITATION: 'filter',
  LANGUAGE: 'filter',
  BLOCKLIST: 'filter',
  PROHIBITED_CONTENT: 'filter',
  SPII: 'filter',
}

/** Data that the service sent with a tool call. */
interface Kept {
  /** The service's id of the tool call; absent for models that send no id. */
  readonly id?: string
  readonly thoughtSignature?: string
}

/** A language model on Gemini's `generateContent`, with tools. The service caches the common beginning of requests. */
export function gemini(options: GeminiOptions): ServiceFactory<LanguageModel> {
  const baseUrl = `${(options.baseUrl ?? facts.services.llm.gemini.own.baseUrl).replace(/^ws/, 'http').replace(/\/+$/, '')}/v1beta`
  const model = options.model.replace(/^models\//, '')
  return overHttp('llm', 'gemini', TIMEOUT_MS, { ...options, model, baseUrl }, GeminiRequests)
}

class GeminiRequests extends ModelRequests<GeminiOptions & { readonly baseUrl: string }> {
  /** Data of tool calls by the tool call's id. */
  readonly #kept = new Map<string, Kept>()

  protected override headers(): Readonly<Record<string, string>> {
    return omitNullish({ 'x-goog-api-key': this.options.apiKey })
  }

  protected async *deltas(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    const path = `/models/${encodeURIComponent(this.options.model)}:streamGenerateContent?alt=sse`
    const body = await this.post(path, this.#body(request), signal)
    // Each event has the token counts so far. The vendor charges an interrupted answer for the tokens counted so far.
    let usage: Usage | null = null
    try {
      for await (const value of this.objects(eventData(body.pieces(), this.context.malformed))) {
        const { error } = value as { readonly error?: { readonly code?: unknown } | null }
        if (error != null) throw this.faultInBody(error, typeof error.code === 'number' ? error.code : undefined)
        const chunk: GeminiChunk = value
        usage = chunk.usageMetadata ?? usage
        const [candidate] = chunk.candidates ?? []
        for (const part of candidate?.content?.parts ?? []) {
          const delta = this.#delta(part)
          if (delta !== null) yield delta
        }
        const cut = chunk.promptFeedback?.blockReason === undefined ? CUT[candidate?.finishReason ?? ''] : 'filter'
        if (cut !== undefined) yield { cut }
      }
    } finally {
      if (usage !== null) this.#tokens(usage)
    }
  }

  #delta({ text, thought, thoughtSignature, functionCall: call }: Part): ModelDelta | null {
    if (call !== undefined) {
      const id = call.id ?? `call-${randomUUID()}`
      this.#kept.set(id, omitNullish({ id: call.id, thoughtSignature }))
      forgetOldest(this.#kept, KEPT_WITH_CALLS_MAX)
      return { calls: [{ id, function: { name: call.name ?? '', arguments: JSON.stringify(call.args ?? {}) } }] }
    }
    return thought === true || typeof text !== 'string' || text === '' ? null : { text }
  }

  #body({ messages, tools, seed }: ModelRequest): GeminiRequest {
    const { temperature, maxTokens, thinkingLevel } = this.options
    const functionDeclarations = tools.map(({ name, description, parameters }) => {
      const { schema } = functionParameters(parameters)
      // The service refuses an object without properties.
      return { name, description, ...(schema['properties'] === undefined ? {} : { parametersJsonSchema: schema }) }
    })
    const names = new Map(
      messages.flatMap((message) =>
        message.role === 'assistant'
          ? (message.tool_calls ?? []).map(({ id, function: { name } }) => [id, name] as const)
          : [],
      ),
    )
    const { instructions, turns } = alternatingTurns(
      messages,
      (message) => this.#parts(message, names),
      (text): Part => ({ text }),
    )
    return {
      ...(instructions.trim() === '' ? {} : { systemInstruction: { parts: [{ text: instructions }] } }),
      contents: turns.map(({ role, parts }) => ({ role: role === 'agent' ? 'model' : 'user', parts })),
      ...(functionDeclarations.length === 0 ? {} : { tools: [{ functionDeclarations }] }),
      generationConfig: this.context.wishes.of({
        temperature,
        maxOutputTokens: maxTokens,
        seed,
        thinkingConfig: thinkingLevel && { thinkingLevel: thinkingLevel.toUpperCase() as Uppercase<ThinkingLevel> },
      }),
    }
  }

  #parts(message: ChatMessage, names: ReadonlyMap<string, string>): Part[] {
    if (message.role === 'tool') {
      const { tool_call_id: callId, content } = message
      const { id } = this.#kept.get(callId) ?? {}
      return [
        {
          functionResponse: {
            ...omitNullish({ id }),
            name: names.get(callId) ?? callId,
            response: responseOf(content),
          },
        },
      ]
    }
    const text = message.content ?? ''
    const parts: Part[] = text.trim() === '' ? [] : [{ text }]
    if (message.role !== 'assistant') return parts
    for (const [i, { id, function: call }] of (message.tool_calls ?? []).entries()) {
      const kept = this.#kept.get(id)
      const args = { ...parseArguments(call.arguments).args }
      parts.push({
        functionCall: { ...omitNullish({ id: kept?.id }), name: call.name, args },
        // The first of several parallel tool calls includes the signature.
        ...omitNullish({ thoughtSignature: kept === undefined && i === 0 ? NO_SIGNATURE : kept?.thoughtSignature }),
      })
    }
    return parts
  }

  #tokens({ promptTokenCount, cachedContentTokenCount, candidatesTokenCount, thoughtsTokenCount }: Usage): void {
    this.used({
      inputTokens: usageNumber(promptTokenCount),
      inputCachedTokens: usageNumber(cachedContentTokenCount),
      // Reasoning is charged as output, but the candidate's token count does not include it.
      outputTokens: usageNumber(candidatesTokenCount) + usageNumber(thoughtsTokenCount),
    })
  }
}

/** The service accepts a result only as an object. */
function responseOf(content: string): Record<string, unknown> {
  try {
    const value = exactJson(content)
    const { args, invalid } = objectArguments(value)
    return invalid === undefined && typeof value === 'object' && value !== null ? { ...args } : { result: value }
  } catch {
    return { result: content }
  }
}

export const services = { llm: { gemini } }
