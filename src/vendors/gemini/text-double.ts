import type { IncomingMessage } from 'node:http'
import type { Content, FinishReason, Part, Tool } from '@google/genai'
import type { Refusal } from '../../simulator/vendors/double.js'
import { ModelDouble } from '../../simulator/vendors/model-double.js'

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
  /** Why the next answers end; null: `STOP`. */
  finishReason: `${FinishReason}` | null = null
  /** Refuses to answer the next requests for this reason. */
  blockReason: string | null = null
  /** Thoughts of the model before its next answers. */
  thinking: string | null = null
  /** Calls have ids, which models of older generations lack. */
  callIds = true
  /** Ends the next answers with an error of this code, in place of their last event. */
  failure: number | null = null
  /** Instructions and tools of requests so far. */
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
    const invalid = (words: string): Refusal => errorOf(400, 'INVALID_ARGUMENT', words)
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

  protected *events(request: Request): Generator<string> {
    const { say = '', calls = [] } = this.script.nextReply()
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

  /** The common part of requests is read from the cache from the second one on. */
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
