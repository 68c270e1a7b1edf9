import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import { objectsIn } from '../../core/json.js'
import type { Refusal } from '../../simulator/vendors/double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { type Json, textIn, VoiceSession, type VoiceSpeech } from '../../simulator/vendors/voice-double.js'
import { SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

const CONTEXTS_MAX = 5
const POLICY = 1008
const DIALOGUE_PATH = '/v1/text-to-dialogue/multi-stream-input'
/**
 * Number of characters that the service collects before it speaks, without `auto_mode`. It is the first entry of the
 * service's schedule.
 */
const SCHEDULE_CHARS = 120

/**
 * ElevenLabs' voice with several contexts on loopback, written from `@elevenlabs/elevenlabs-js` 2.73.0: its types and
 * serialisers.
 *
 * The double opens at most five contexts. The times in a message are relative to the start of the message; `isFinal`
 * ends a context. Models from `eleven_v3` on work only on the socket for dialogues. A context that is closed before it
 * speaks stays silent.
 */
export class ElevenLabsVoiceDouble extends ServiceDouble<ElevenLabsVoiceSession> {
  /** Number of contexts refused because five were open. Each refusal ends the connection. */
  refusedContexts = 0

  protected override refusalOf({ pathname, searchParams }: URL, headers: IncomingHttpHeaders): Refusal | null {
    const refusal = (status: number, message: string): Refusal => ({
      status,
      body: JSON.stringify({ detail: { status: 'refused', message } }),
    })
    const isDialogue = pathname === DIALOGUE_PATH
    if (!isDialogue && !/^\/v1\/text-to-speech\/[^/]+\/multi-stream-input$/.test(pathname))
      return refusal(404, 'Not found.')
    const given = headers['xi-api-key']
    if (this.key !== null && given !== this.key) return refusal(401, `Invalid API key: ${String(given)}`)
    const model = searchParams.get('model_id') ?? ''
    if (isDialogue !== model.startsWith('eleven_v3')) return refusal(403, `${model} is not available here.`)
    return null
  }

  protected override accept(client: WebSocket, url: URL): ElevenLabsVoiceSession {
    return new ElevenLabsVoiceSession(client, this, url)
  }
}

interface Context {
  readonly speech: VoiceSpeech
  text: string
  closing: boolean
  sounded: boolean
}

class ElevenLabsVoiceSession extends VoiceSession {
  readonly url: URL
  readonly #service: ElevenLabsVoiceDouble
  readonly #contexts = new Map<string, Context>()

  constructor(client: WebSocket, double: ElevenLabsVoiceDouble, url: URL) {
    super(client, double)
    this.#service = double
    this.url = url
    const objection = double.objection(url.search)
    if (objection !== null) client.close(POLICY, objection)
  }

  get #isDialogue(): boolean {
    return this.url.pathname === DIALOGUE_PATH
  }

  protected receive(message: Json): void {
    const id = textIn(message['context_id']) || 'default'
    if (message['close_socket'] === true) return this.client.close(1000)
    const objection = this.double.objection(JSON.stringify(message))
    if (objection !== null) return this.client.close(POLICY, objection)
    const known = this.#contexts.get(id)
    if (message['close_context'] === true) return known === undefined ? undefined : this.#close(id, known)
    if (this.#isDialogue && known === undefined && !Array.isArray(message['voices']))
      return this.client.close(POLICY, 'voices: required in the first message of a context')
    const context = known ?? this.#open(id)
    if (context === null) return
    const text = this.#isDialogue ? inputsIn(message['inputs']) : textIn(message['text'])
    if (text === '' && message['flush'] !== true) {
      if (this.#isDialogue && message['keep_alive'] !== true) return
      this.double.keepalives++
      return
    }
    context.text += text === ' ' ? '' : text
    const auto = this.#isDialogue || this.url.searchParams.get('auto_mode') === 'true'
    if (context.text === '' || (!auto && message['flush'] !== true && context.text.length < SCHEDULE_CHARS)) return
    context.speech.say(context.text)
    context.text = ''
  }

  #open(id: string): Context | null {
    if (this.#contexts.size >= CONTEXTS_MAX) {
      this.#service.refusedContexts++
      this.client.close(POLICY, 'max_active_conversations')
      return null
    }
    const rateHz = Number(/^pcm_(\d+)$/.exec(this.url.searchParams.get('output_format') ?? '')?.[1] ?? 24_000)
    const speech = this.speech(rateHz, {
      frame: ({ bytes, text, ms }) => {
        const chars = [...text]
        const each = ms / Math.max(1, chars.length)
        const alignment = {
          chars,
          charStartTimesMs: chars.map((_, i) => Math.round(i * each)),
          charDurationsMs: chars.map(() => Math.floor(each)),
        }
        context.sounded = true
        const audio = bytes.toString('base64')
        const { charStartTimesMs: char_start_times_ms, charDurationsMs: char_durations_ms } = alignment
        if (this.#isDialogue)
          this.sendJson({ audio, alignment: { chars, char_start_times_ms, char_durations_ms }, context_id: id })
        else this.sendJson({ audio, alignment, normalizedAlignment: alignment, contextId: id })
      },
      done: () => this.#final(id),
    })
    const context: Context = { speech, text: '', closing: false, sounded: false }
    this.#contexts.set(id, context)
    return context
  }

  /** Closes a context. A flushed context is spoken to its end; a context that was not flushed ends at once. */
  #close(id: string, context: Context): void {
    const flushed = this.messages.some((message) => message['context_id'] === id && message['flush'] === true)
    const { faults } = this.double
    if (flushed && !context.closing && !context.sounded && this.double.faults.mute !== true) {
      context.speech.stop()
      return void this.#contexts.delete(id)
    }
    if (flushed && !context.closing) {
      context.closing = true
      return context.speech.end()
    }
    this.double.cancelled++
    if (!flushed || faults.noAcknowledgement) context.speech.stop()
    if (flushed || faults.noAcknowledgement) return
    if (faults.lateSound) this.sendJson({ audio: Buffer.alloc(3200, 1).toString('base64'), contextId: id })
    this.#final(id)
  }

  #final(id: string): void {
    this.#contexts.delete(id)
    this.sendJson(this.#isDialogue ? { is_final: true, context_id: id } : { isFinal: true, contextId: id })
  }
}

/** Joins the texts of a message for dialogues. */
function inputsIn(inputs: unknown): string {
  return objectsIn(inputs)
    .map(({ text }) => textIn(text))
    .join('')
}

export const doubles = { elevenlabs: [[ElevenLabsVoiceDouble, 'ELEVENLABS_TTS_URL']] }

export const optionalFields: OptionalFieldsOf = {
  tts: {
    elevenlabs: [
      {
        wished: { ...SPEED, dictionary: { id: 'dict-Zawadi', version: '1' } },
        fields: {
          sync_alignment: [/sync_alignment/, 'sync_alignment is not supported.'],
          inactivity_timeout: [/inactivity_timeout/, 'inactivity_timeout: out of range.'],
          language_code: [/language_code/, 'Model does not support the language_code.'],
          pronunciation_dictionary_locators: [/dictionary_locators/, 'pronunciation_dictionary_locators: not found.'],
          ...speedIn(/"speed"/, 'voice_settings.speed is not supported.'),
        },
      },
      {
        wished: { dictionary: { id: 'dict-Zawadi', version: '1' } },
        fields: {
          sync_alignment: [/sync_alignment/, 'sync_alignment is not supported.'],
          pronunciation_dictionary_locators: [/dictionary_locators/, 'pronunciation_dictionary_locators: not found.'],
        },
        needed: { model: 'eleven_v3' },
      },
    ],
  },
}
