import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import { type DoubleOptions, NOT_FOUND, type Refusal } from '../../simulator/vendors/double.js'
import { keyRefusal } from '../self-hosted/key-double.js'
import { RecogniserSession, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import type { Json } from '../../simulator/vendors/voice-double.js'
import { OpenAiDouble } from '../self-hosted/double.js'
import { OpenAiLiveDouble } from './live-double.js'
import { TERMS, ABOUT } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

/** Audio rate of vLLM in Hz. OpenAI's session states its own rate. */
const VLLM_RATE_HZ = 16_000
const PCM_RATE_HZ = 24_000

/**
 * Realtime transcription on loopback. OpenAI's protocol (`?intent=transcription`) is written from the types and
 * messages of `openai` 7.55.0; vLLM's protocol is written from the server's source. The two protocols use one path.
 */
export class TranscriptionDouble extends ServiceDouble<TranscriptionClient> {
  protected override readonly basePath = '/v1'
  protected override refusalOf({ pathname }: URL, headers: IncomingHttpHeaders): Refusal | null {
    return pathname === '/v1/realtime' ? keyRefusal(this.key, headers) : NOT_FOUND
  }

  protected override accept(client: WebSocket, { searchParams }: URL): TranscriptionClient {
    const Client = searchParams.get('intent') === 'transcription' ? OpenAiSession : VllmSession
    return new Client(client, searchParams, this)
  }
}

abstract class TranscriptionClient extends RecogniserSession {
  config: Json | null = null
  protected law: 'mulaw' | 'pcm16' = 'pcm16'
  #events = 0

  constructor(client: WebSocket, query: URLSearchParams, double: TranscriptionDouble) {
    super(client, query, double)
    this.event('session.created', {})
  }

  protected override audio(): void {
    this.client.close(1003, 'binary messages are not accepted')
  }

  protected override text(text: string): void {
    const message = JSON.parse(text) as Json
    switch (message['type']) {
      case 'session.update':
        this.config = message
        return this.#refused(text) ? undefined : this.configured(message)
      case 'input_audio_buffer.append':
        return this.ear?.hear(this.samples(Buffer.from(String(message['audio']), 'base64'), this.law))
      case 'input_audio_buffer.commit':
        return this.commit(message)
      default:
        return this.event('error', { error: { type: 'invalid_request_error', message: 'Unknown event.' } })
    }
  }

  #refused(sent: string): boolean {
    const message = this.double.objection(sent)
    if (message === null) return false
    this.event('error', { error: { type: 'invalid_request_error', code: 'unknown_parameter', message, param: null } })
    return true
  }

  protected event(type: string, fields: object): void {
    this.sendJson({ type, event_id: `event_${++this.#events}`, ...fields })
  }

  protected abstract configured(message: Json): void
  protected abstract commit(message: Json): void
}

/** @returns the words that were not sent yet, with a space before each word except the first word */
function rest(words: readonly SpokenWord[], sent: number): string {
  return words
    .slice(sent)
    .map(({ text }, i) => (sent + i === 0 ? text : ` ${text}`))
    .join('')
}

class OpenAiSession extends TranscriptionClient {
  #items = 0
  #sent = 0
  #committedAtMs = 0

  protected override configured({ session }: Json): void {
    const { audio } = session as { audio?: { input?: { format?: { type?: string } } } }
    this.law = audio?.input?.format?.type === 'audio/pcmu' ? 'mulaw' : 'pcm16'
    this.ear ??= this.earAt(this.law === 'mulaw' ? 8000 : PCM_RATE_HZ)
    this.event('session.updated', { session })
  }

  protected override words(words: readonly SpokenWord[]): void {
    this.#delta(this.#items, rest(words, this.#sent))
    this.#sent = words.length
  }

  protected override commit(): void {
    const heardMs = this.ear?.heardMs ?? 0
    if (heardMs - this.#committedAtMs < 100)
      return this.event('error', {
        error: {
          type: 'invalid_request_error',
          code: 'input_audio_buffer_commit_empty',
          message: 'Error committing input audio buffer: buffer too small.',
        },
      })
    this.#committedAtMs = heardMs
    const item = this.#items++
    const sent = this.#sent
    this.#sent = 0
    this.event('input_audio_buffer.committed', { item_id: `item_${item}`, previous_item_id: null })
    this.end((words) => {
      const more = rest(words, sent)
      if (more !== '') this.#delta(item, more)
      this.event('conversation.item.input_audio_transcription.completed', {
        item_id: `item_${item}`,
        content_index: 0,
        transcript: rest(words, 0),
        usage: { type: 'duration', seconds: 1 },
      })
    })
  }

  #delta(item: number, delta: string): void {
    this.event('conversation.item.input_audio_transcription.delta', {
      item_id: `item_${item}`,
      content_index: 0,
      delta,
    })
  }
}

class VllmSession extends TranscriptionClient {
  #generating = false
  #sent = 0

  protected override configured(): void {
    this.ear = this.earAt(VLLM_RATE_HZ)
  }

  protected override words(words: readonly SpokenWord[]): void {
    if (!this.#generating) return
    this.sendJson({ type: 'transcription.delta', delta: rest(words, this.#sent) })
    this.#sent = words.length
  }

  protected override commit({ final }: Json): void {
    if (this.config === null)
      return this.sendJson({ type: 'error', error: 'Model not validated.', code: 'model_not_validated' })
    if (final !== true) {
      this.#generating = true
      return
    }
    if (!this.#generating) return
    this.#generating = false
    this.end((words) => {
      const more = rest(words, this.#sent)
      if (more !== '') this.sendJson({ type: 'transcription.delta', delta: more })
      this.sendJson({ type: 'transcription.done', text: rest(words, 0), usage: null })
    })
  }
}

export const doubles = {
  openai: [[OpenAiDouble, 'OPENAI_BASE_URL']],
  'openai-live': [
    [
      { start: (options: DoubleOptions) => OpenAiLiveDouble.start({ ...options, continuous: true }) },
      'OPENAI_LIVE_URL',
    ],
  ],
  'openai-transcription': [[TranscriptionDouble, 'OPENAI_BASE_URL']],
}

export const optionalFields: OptionalFieldsOf = {
  stt: {
    openai: [
      {
        wished: { ...TERMS, ...ABOUT },
        fields: {
          languages: [/"languages"/, "Unknown parameter: 'session.audio.input.transcription.languages'."],
          keywords: [/"keywords"/, "Unknown parameter: 'session.audio.input.transcription.keywords'."],
          prompt: [/"prompt"/, "Unknown parameter: 'session.audio.input.transcription.prompt'."],
        },
        needed: { model: 'gpt-transcribe' },
      },
      {
        wished: ABOUT,
        fields: {
          language: [/"language":/, "Unknown parameter: 'session.audio.input.transcription.language'."],
          prompt: [/"prompt"/, "Unknown parameter: 'session.audio.input.transcription.prompt'."],
        },
        needed: { model: 'whisper-1' },
      },
    ],
  },
}
