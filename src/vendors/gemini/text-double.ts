import type { IncomingMessage } from 'node:http'
import type { Content, FinishReason, Part, Tool } from '@google/genai'
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import type { Refusal } from '../../simulator/vendors/double.js'
import { ModelDouble, userSaid } from '../../simulator/vendors/model-double.js'

/** A request as the vendor's own client sends it. */
interface Request {
  readonly contents?: readonly Content[]
  readonly systemInstruction?: Content
  readonly tools?: readonly Tool[]
  readonly generationConfig?: Readonly<Record<string, unknown>>
}

const SIGNATURE = 'c2lnbmVk'

/** Gemini's `streamGenerateContent` with a scripted model, written from the vendor's published types. */
export class GeminiTextDouble extends ModelDouble<Request> {
  /** Finish reason of the next answers; null: `STOP`. */
  finishReason: `${FinishReason}` | null = null
  /** Reason to refuse the next requests; null: the double answers. */
  blockReason: string | null = null
  /** Reasoning of the model before its next answers; null: no reasoning. */
  thinking: string | null = null
  /** True if tool calls have ids. Models of older generations send no ids. */
  callIds = true
  /** Error code that replaces the last event of the next answers; null: no error. */
  failure: number | null = null
  /** Instructions and tools of all requests so far. */
  readonly #cache = new Set<string>()

  protected keyOf({ 'x-goog-api-key': key }: IncomingMessage['headers']): string | null {
    return typeof key === 'string' ? key : null
  }

  protected wrongKey(key: string): Refusal {
    return errorOf(400, 'INVALID_ARGUMENT', `API key not valid: ${key}. Please pass a valid API key.`)
  }

  protected models(path: string): string | null {
    return path.startsWith('/v1beta/models') ? '{"models":[]}' : null
  }

  protected refusalOf(path: string, { contents = [] }: Request): Refusal | null {
    if (!/^\/v1beta\/models\/[\w.-]+:streamGenerateContent\?alt=sse$/.test(path))
      return errorOf(404, 'NOT_FOUND', 'Requested entity was not found.')
    const invalid = (words: string): Refusal => this.badRequest(words)
    if (contents.length === 0) return invalid('contents is not specified')
    let open: (string | undefined)[] = []
    for (const [i, { role, parts = [] }] of contents.entries()) {
      if (role !== (i % 2 === 0 ? 'user' : 'model')) return invalid('Please ensure that roles alternate.')
      if (parts.some(({ text }) => text?.trim() === '')) return invalid('Unable to submit request: empty text.')
      const results = parts.flatMap(({ functionResponse }) => functionResponse?.name ?? [])
      if (results.join() !== open.join())
        return invalid('The number of function response parts is not equal to that of the function call parts.')
      const calls = parts.filter(({ functionCall }) => functionCall !== undefined)
      if (calls.length > 0 && calls[0]?.thoughtSignature === undefined)
        return invalid('Function call is missing a thought_signature in functionCall parts.')
      open = calls.map(({ functionCall }) => functionCall?.name)
    }
    return contents.at(-1)?.role === 'user' ? null : invalid('Please end with the role user.')
  }

  protected badRequest(words: string): Refusal {
    return errorOf(400, 'INVALID_ARGUMENT', words)
  }

  protected saidIn({ systemInstruction, contents = [] }: Request): readonly ChatCompletionMessageParam[] {
    const instructions = (systemInstruction?.parts ?? []).map(({ text = '' }) => text).join('')
    return [
      { role: 'system', content: instructions },
      ...contents.flatMap(({ role, parts = [] }) =>
        parts.flatMap(({ text, functionCall, functionResponse }): ChatCompletionMessageParam[] => {
          if (text !== undefined) return [role === 'model' ? { role: 'assistant', content: text } : userSaid(text)]
          if (functionCall !== undefined) {
            const { id, name = '', args = {} } = functionCall
            const call = { name, arguments: JSON.stringify(args) }
            return [{ role: 'assistant', tool_calls: [{ id: id ?? name, type: 'function', function: call }] }]
          }
          if (functionResponse === undefined) return []
          const { id, name = '', response } = functionResponse
          return [{ role: 'tool', tool_call_id: id ?? name, content: JSON.stringify(response) }]
        }),
      ),
    ]
  }

  protected *events(request: Request, _path: string, { say = '', calls = [] }: ScriptedReply): Generator<string> {
    const cached = this.#cached(request)
    const usageMetadata = {
      promptTokenCount: 20 + cached,
      ...(cached === 0 ? {} : { cachedContentTokenCount: cached }),
      candidatesTokenCount: 10,
      ...(this.thinking === null ? {} : { thoughtsTokenCount: 7 }),
    }
    const event = (data: object): string =>
      `data: ${JSON.stringify({ ...data, usageMetadata, modelVersion: 'double', responseId: 'r1' })}\r\n\r\n`
    const candidate = (parts: readonly Part[], finishReason?: string): string =>
      event({
        candidates: [
          { content: { parts, role: 'model' }, ...(finishReason === undefined ? {} : { finishReason }), index: 0 },
        ],
      })
    if (this.blockReason !== null) {
      yield event({ promptFeedback: { blockReason: this.blockReason } })
      return
    }
    if (this.thinking !== null) yield candidate([{ text: this.thinking, thought: true }])
    for (const text of say.match(/.{1,7}/gs) ?? []) yield candidate([{ text }])
    if (calls.length > 0)
      yield candidate(
        calls.map(({ callId, name, args }, i) => ({
          functionCall: {
            ...(this.callIds ? { id: callId } : {}),
            name,
            args: (typeof args === 'string' ? JSON.parse(args) : args) as Record<string, unknown>,
          },
          ...(i === 0 ? { thoughtSignature: SIGNATURE } : {}),
        })),
      )
    if (this.failure === null) yield candidate([{ text: '' }], this.finishReason ?? 'STOP')
    else yield `data: ${errorOf(this.failure, 'UNAVAILABLE', 'It did not work.').body}\r\n\r\n`
  }

  /** Simulates the prompt cache: from the second request on, the common part of the requests is read from it. */
  #cached({ systemInstruction, tools }: Request): number {
    const text = JSON.stringify([systemInstruction, tools])
    const known = this.#cache.has(text)
    this.#cache.add(text)
    return known ? 1500 : 0
  }
}

function errorOf(code: number, status: string, message: string): Refusal {
  return { status: code, body: JSON.stringify({ error: { code, message, status } }) }
}
