import { createParser } from 'eventsource-parser'
import type { Clock } from '../../core/clock.js'
import type { BackendUsage } from '../../call/backend-events.js'
import { noUsage } from '../../call/usage.js'
import { messageOf } from '../../core/errors.js'
import { BACKEND_FAULT_BYTES_MAX, BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { writeWav } from '../../media/wav.js'
import { pricedModel } from '../prices.js'
import { usageNumber } from '../watch.js'
import { httpFault, retryAfterOf, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { SpeechBody, TTS_RATE_HZ, UnplayableSpeech } from './speech-body.js'

/** One of the three services. */
interface StageOptions {
  /** Up to and including the version: `http://10.0.0.5:8000/v1`. */
  readonly baseUrl: string
  /** Null or missing: no `Authorization` header. Never logged. */
  readonly apiKey?: string | null
  readonly model: string
  /** Longest time without data, in milliseconds: until the first byte, and between two pieces of an answer. */
  readonly timeoutMs?: number
}

/** Plain data except for the clock. */
export interface CascadeOptions {
  readonly stt: StageOptions & {
    /** Words that callers are likely to say, such as names of products. */
    readonly prompt?: string
  }
  readonly llm: StageOptions & {
    readonly temperature?: number
    readonly maxTokens?: number
  }
  readonly tts: StageOptions & {
    /** For agents that name no voice; `alloy` when not given. */
    readonly voice?: string
    readonly speed?: number
    /** Rate of raw samples, 8,000 to 48,000; 24,000 when not given. A WAV file's header overrides it. */
    readonly sampleRateHz?: number
  }
  /** In metrics and records; `cascade` when not given. */
  readonly name?: string
  /** Ask each service for its models when the call begins, so that a wrong key is found then; true when not given. */
  readonly probe?: boolean
  /** Transcripts that the recogniser is known to return for noise; compared in lower case without punctuation. */
  readonly artefacts?: readonly string[]
  /** `performance.now` when not given. */
  readonly nowMs?: Clock
}

const STT_TIMEOUT_MS = 10_000
const LLM_TIMEOUT_MS = 8000
const TTS_TIMEOUT_MS = 5000
const PROBE_TIMEOUT_MS = 2000
/** Node's HTTP client closes a connection that was idle for 4 s. */
const COLD_AFTER_MS = 3000
/** Rate of the caller's speech. */
const STT_RATE_HZ = 16_000

// The parts of the OpenAI-compatible HTTP endpoints that are used: `/audio/transcriptions`, `/chat/completions` and
// `/audio/speech`. Field names are the vendor's. Checked against the vendor's published types by
// test/backends/cascade-wire.test.ts.

interface ToolCallMessage {
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
  readonly usage?: {
    readonly prompt_tokens?: number
    readonly completion_tokens?: number
    readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null
  } | null
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

/** The error of a stage. An aborted request throws the reason of its signal instead. */
export class StageFault extends Error {
  readonly fault: VendorFault

  constructor(fault: VendorFault) {
    super(fault.message)
    this.fault = fault
  }
}

/** Requests to the three services. The requests of one turn share a signal and end together. */
export class Stages {
  readonly #options: CascadeOptions
  readonly #stats: { malformedChunks: number }
  readonly #used: (usage: BackendUsage) => void
  readonly #name: string
  readonly #nowMs: Clock
  /** When the last request to each host began. */
  readonly #askedAtMs = new Map<string, number>()

  /**
   * @param used  told what each request is charged for
   * @param stats  `malformedChunks` counts the events of streamed answers that are not valid chunks
   */
  constructor(options: CascadeOptions, stats: { malformedChunks: number }, used: (usage: BackendUsage) => void) {
    this.#used = used
    this.#options = options
    this.#stats = stats
    this.#name = options.name ?? 'cascade'
    this.#nowMs = options.nowMs ?? (() => performance.now())
  }

  /** Asks each service for its models. A service that lacks this endpoint has answered, which is enough. */
  async probe(signal: AbortSignal): Promise<void> {
    const seen = new Map<string, { readonly stage: string; readonly options: StageOptions }>()
    for (const [stage, options] of Object.entries({
      stt: this.#options.stt,
      llm: this.#options.llm,
      tts: this.#options.tts,
    })) {
      const key = `${options.baseUrl} ${options.apiKey ?? ''}`
      if (!seen.has(key)) seen.set(key, { stage, options })
    }
    await Promise.all(
      [...seen.values()].map(async ({ stage, options }) => {
        const timeoutMs = Math.min(options.timeoutMs ?? PROBE_TIMEOUT_MS, PROBE_TIMEOUT_MS)
        const response = await this.#fetch(
          stage,
          { ...options, timeoutMs },
          '/models',
          { method: 'GET' },
          signal,
          [404, 405, 501],
        )
        // Read to its end, so that the connection stays open for the greeting.
        await response.body.text()
      }),
    )
  }

  /**
   * Opens the connections that the next turn needs, as far as they were closed in the meantime: while the caller speaks
   * nobody waits for that. What comes of it does not matter.
   */
  warm(signal: AbortSignal): void {
    for (const { baseUrl } of [this.#options.stt, this.#options.llm, this.#options.tts]) {
      const askedAtMs = this.#askedAtMs.get(new URL(baseUrl).host) ?? -Infinity
      if (this.#nowMs() - askedAtMs < COLD_AFTER_MS) continue
      const timeout = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)])
      this.#asks(baseUrl)
      // Not HEAD, after which Node's client closes the connection.
      fetch(baseUrl, { method: 'OPTIONS', redirect: 'manual', signal: timeout })
        .then((response) => response.text())
        .catch(() => undefined)
    }
  }

  #asks(baseUrl: string): void {
    this.#askedAtMs.set(new URL(baseUrl).host, this.#nowMs())
  }

  /** @param pcm  s16 mono at 16 kHz */
  async transcribe(pcm: Int16Array, language: string, signal: AbortSignal): Promise<string> {
    const { stt } = this.#options
    const form = new FormData()
    // Every recogniser takes a WAV file.
    const wav = writeWav({ sampleRateHz: STT_RATE_HZ, channels: 1, samples: pcm })
    form.set('file', new Blob([wav], { type: 'audio/wav' }), 'turn.wav')
    form.set('model', stt.model)
    form.set('response_format', 'json')
    if (language !== '') form.set('language', language)
    if (stt.prompt !== undefined) form.set('prompt', stt.prompt)
    const { body } = await this.#fetch(
      'stt',
      { timeoutMs: STT_TIMEOUT_MS, ...stt },
      '/audio/transcriptions',
      { method: 'POST', body: form },
      signal,
    )
    const text = await body.text()
    this.#used({
      ...noUsage(),
      model: pricedModel(stt.model, stt.baseUrl),
      sessionSeconds: samplesToMs(pcm.length, STT_RATE_HZ) / 1000,
    })
    try {
      const parsed = JSON.parse(text) as { readonly text?: unknown } | null
      if (typeof parsed?.text === 'string') return parsed.text.trim()
    } catch {
      // Reported below.
    }
    throw new StageFault(
      vendorFault('internal', `${this.#name}: stt answers with something else than a transcript`, false),
    )
  }

  /** The chunks of a model's answer as they arrive. */
  async *chat(request: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatChunk> {
    const { llm } = this.#options
    const { temperature, maxTokens } = llm
    const { body, contentType } = await this.#fetch(
      'llm',
      { timeoutMs: LLM_TIMEOUT_MS, ...llm },
      '/chat/completions',
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...request,
          ...(temperature === undefined ? {} : { temperature }),
          ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
        }),
      },
      signal,
    )
    // A server that does not stream answers with one JSON document.
    const texts = contentType.includes('application/json')
      ? [await body.text()]
      : eventData(body.pieces(), () => {
          this.#stats.malformedChunks++
        })
    for await (const text of texts) {
      const chunk = this.#chunk(text)
      if (chunk === null) continue
      if (chunk.usage != null) this.#tokens(chunk.usage)
      yield chunk
    }
  }

  #tokens({ prompt_tokens, completion_tokens, prompt_tokens_details }: NonNullable<ChatChunk['usage']>): void {
    const { llm } = this.#options
    this.#used({
      ...noUsage(),
      model: pricedModel(llm.model, llm.baseUrl),
      inputTokens: usageNumber(prompt_tokens),
      inputCachedTokens: usageNumber(prompt_tokens_details?.cached_tokens),
      outputTokens: usageNumber(completion_tokens),
    })
  }

  /** The samples of one sentence as they arrive. */
  async *speak(
    input: string,
    voice: string,
    signal: AbortSignal,
  ): AsyncGenerator<{ readonly pcm: Int16Array; readonly sampleRateHz: SampleRateHz }> {
    const { tts } = this.#options
    const request: SpeechRequest = {
      model: tts.model,
      input,
      voice,
      response_format: 'pcm',
      ...(tts.speed === undefined ? {} : { speed: tts.speed }),
    }
    const { body } = await this.#fetch(
      'tts',
      { timeoutMs: TTS_TIMEOUT_MS, ...tts },
      '/audio/speech',
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
      },
      signal,
    )
    this.#used({ ...noUsage(), model: pricedModel(tts.model, tts.baseUrl), speechCharacters: input.length })
    const speech = new SpeechBody(tts.sampleRateHz ?? TTS_RATE_HZ)
    try {
      for await (const bytes of body.pieces()) {
        const pcm = speech.push(bytes)
        if (pcm.length > 0) yield { pcm, sampleRateHz: speech.sampleRateHz }
      }
      const pcm = speech.end()
      if (pcm.length > 0) yield { pcm, sampleRateHz: speech.sampleRateHz }
    } catch (error) {
      if (!(error instanceof UnplayableSpeech)) throw error
      throw new StageFault(vendorFault('bad_request', `${this.#name}: tts cannot be played: ${error.message}`, true))
    }
  }

  #chunk(text: string): ChatChunk | null {
    let value: unknown = null
    try {
      value = JSON.parse(text)
    } catch {
      // Counted below.
    }
    if (typeof value !== 'object' || value === null) {
      this.#stats.malformedChunks++
      return null
    }
    const chunk = value as ChatChunk
    if (chunk.error === undefined) return chunk
    const body = JSON.stringify({ error: chunk.error })
    throw new StageFault({
      ...httpFault(`${this.#name}: llm failed in the middle`, { status: 500, body }, this.#secrets),
      fatal: false,
    })
  }

  get #secrets(): readonly (string | null)[] {
    const { stt, llm, tts } = this.#options
    return [stt.apiKey ?? null, llm.apiKey ?? null, tts.apiKey ?? null]
  }

  async #fetch(
    stage: string,
    options: StageOptions,
    path: string,
    init: RequestInit,
    signal: AbortSignal,
    alsoGood: readonly number[] = [],
  ): Promise<{ readonly body: Body; readonly contentType: string }> {
    const what = `${this.#name}: ${stage}`
    const silence = new SilenceTimeout(options.timeoutMs ?? TTS_TIMEOUT_MS)
    const both = AbortSignal.any([signal, silence.signal])
    const faultOf = (error: unknown): unknown => {
      if (signal.aborted || error instanceof StageFault) return error
      if (silence.signal.aborted)
        return new StageFault(vendorFault('timeout', `${what} was silent for ${silence.ms} ms`, false))
      return new StageFault(vendorFault('network', `${what}: no connection (${networkCode(error)})`, false))
    }
    let response: Response
    this.#asks(options.baseUrl)
    try {
      response = await fetch(`${options.baseUrl.replace(/\/+$/, '')}${path}`, {
        ...init,
        headers: {
          ...(init.headers as Record<string, string> | undefined),
          ...(options.apiKey == null ? {} : { authorization: `Bearer ${options.apiKey}` }),
        },
        redirect: 'error',
        signal: both,
      })
    } catch (error) {
      silence.end()
      throw faultOf(error)
    }
    const body = new Body(response, silence, faultOf)
    if (response.ok || alsoGood.includes(response.status))
      return { body, contentType: response.headers.get('content-type') ?? '' }
    const words = await body.text(BACKEND_FAULT_BYTES_MAX).catch(() => '')
    const retryAfterMs = retryAfterOf((name) => response.headers.get(name), Date.now())
    const fault = httpFault(what, { status: response.status, body: words, retryAfterMs }, this.#secrets)
    // A wrong key, an empty account or a wrong address does not change within the call.
    throw new StageFault({
      ...fault,
      fatal: fault.code === 'auth' || fault.code === 'quota' || response.status === 404,
    })
  }
}

/**
 * The data of each server-sent event, without the `[DONE]` that closes a stream. The last event needs no blank line
 * after it.
 * @param oversize  called when an event or a line is longer than BACKEND_MESSAGE_BYTES_MAX characters; its beginning is
 * dropped
 */
export async function* eventData(stream: AsyncIterable<Uint8Array>, oversize: () => void): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  const events: string[] = []
  const parser = createParser({
    maxBufferSize: BACKEND_MESSAGE_BYTES_MAX,
    onEvent: ({ data }) => {
      const text = data.trim()
      if (text !== '' && text !== '[DONE]') events.push(text)
    },
    onError: ({ type }) => {
      if (type !== 'max-buffer-size-exceeded') return
      oversize()
      parser.reset()
    },
  })
  for await (const bytes of stream) {
    parser.feed(decoder.decode(bytes, { stream: true }))
    yield* events.splice(0)
  }
  parser.feed(`${decoder.decode()}\n\n`)
  yield* events
}

/** Aborts a request whose server sends nothing for `ms`. */
class SilenceTimeout {
  readonly ms: number
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout

  constructor(ms: number) {
    this.ms = ms
    this.#timer = setTimeout(() => this.#controller.abort(), ms).unref()
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  restart(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

class Body {
  readonly #response: Response
  readonly #silence: SilenceTimeout
  readonly #faultOf: (error: unknown) => unknown

  constructor(response: Response, silence: SilenceTimeout, faultOf: (error: unknown) => unknown) {
    this.#response = response
    this.#silence = silence
    this.#faultOf = faultOf
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    try {
      const { body } = this.#response
      if (body === null) return
      for await (const piece of body as unknown as AsyncIterable<Uint8Array>) {
        this.#silence.restart()
        yield piece
      }
    } catch (error) {
      throw this.#faultOf(error)
    } finally {
      this.#silence.end()
    }
  }

  async text(bytesMax = BACKEND_MESSAGE_BYTES_MAX): Promise<string> {
    const pieces: Uint8Array[] = []
    let bytes = 0
    for await (const piece of this.pieces()) {
      bytes += piece.length
      pieces.push(piece)
      if (bytes > bytesMax) break
    }
    return Buffer.concat(pieces).toString('utf8', 0, Math.min(bytes, bytesMax))
  }
}

/** `ECONNREFUSED` and the like; never a URL. */
function networkCode(error: unknown): string {
  const cause = (error as { readonly cause?: { readonly code?: unknown } } | null)?.cause
  if (typeof cause?.code === 'string') return cause.code
  return messageOf(error) === 'terminated' ? 'connection lost' : 'no answer'
}
