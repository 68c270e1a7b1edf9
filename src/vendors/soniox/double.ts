import type { WebSocket } from 'ws'
import type { Refusal } from '../../simulator/vendors/double.js'
import { RecogniserSession, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import {
  type Json,
  type SpokenFrame,
  textIn,
  VoiceSession,
  type VoiceSpeech,
} from '../../simulator/vendors/voice-double.js'
import { TERMS, ABOUT, SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

const ENDED = 1000

/**
 * Soniox's recogniser and voice on loopback, written from `@soniox/node` 2.3.0: its types, its source and its messages.
 *
 * Tokens are pieces of words; `<fin>` ends a turn. A cancelled stream is acknowledged. Characters have times. The words
 * of a turn come from the script.
 */
export class SonioxDouble extends ServiceDouble<ListenSession | SpeakSession> {
  /** Refusal of sessions after their first message; null accepts them. */
  refuseSession: { readonly code: number; readonly message: string } | null = null

  /** Sessions of the recogniser, newest last. */
  get listeners(): readonly ListenSession[] {
    return this.sessions.filter((session) => session instanceof ListenSession)
  }

  get voices(): readonly SpeakSession[] {
    return this.sessions.filter((session) => session instanceof SpeakSession)
  }

  protected override refusalOf({ pathname }: URL): Refusal | null {
    return /^\/(transcribe|tts)-websocket$/.test(pathname)
      ? null
      : { status: 404, body: '{"error_message":"Not found"}' }
  }

  protected override accept(client: WebSocket, { pathname, searchParams }: URL): ListenSession | SpeakSession {
    return pathname.startsWith('/tts') ? new SpeakSession(client, this) : new ListenSession(client, searchParams, this)
  }

  /**
   * Ends the session if its API key is refused.
   * @returns true if the key was refused
   */
  refuses(key: unknown, client: WebSocket): boolean {
    // Like the service, the double repeats the client's API key in its error message.
    const wrong =
      this.key === null || key === this.key ? null : { code: 401, message: `Incorrect API key: ${String(key)}` }
    const refusal = this.refuseSession ?? wrong
    if (refusal === null) return false
    refuse(client, refusal)
    return true
  }
}

function refuse(client: WebSocket, { code, message }: { readonly code: number; readonly message: string }): void {
  client.send(JSON.stringify({ error_code: code, error_message: message }))
  client.close(ENDED)
}

/** A session of the recogniser. */
class ListenSession extends RecogniserSession {
  config: Json | null = null
  finalized = 0
  readonly #soniox: SonioxDouble

  constructor(client: WebSocket, query: URLSearchParams, double: SonioxDouble) {
    super(client, query, double)
    this.#soniox = double
  }

  protected override text(text: string): void {
    // An empty frame ends the audio.
    if (text === '') return this.#ended()
    const objection = this.double.objection(text)
    if (objection !== null) return refuse(this.client, { code: 400, message: objection })
    const message = JSON.parse(text) as Json
    if (this.config === null) {
      this.config = message
      if (!this.#soniox.refuses(message['api_key'], this.client))
        this.ear = this.earAt(Number(message['sample_rate'] ?? 16_000))
      return
    }
    if (message['type'] === 'keepalive') this.double.keepalives++
    if (message['type'] === 'finalize') this.#finalize()
  }

  protected override audio(bytes: Buffer): void {
    if (bytes.length === 0) return this.#ended()
    this.ear?.hear(this.samples(bytes, this.config?.['audio_format'] === 'mulaw' ? 'mulaw' : 'pcm16'))
  }

  /** Reports words. Before the end of the turn all words are interim, and each message repeats them. */
  protected override words(words: readonly SpokenWord[]): void {
    this.#tell(words.flatMap((word) => this.#tokens(word, false)))
  }

  #ended(): void {
    const { ear } = this
    if (ear?.heardMs === 0) return refuse(this.client, { code: 400, message: 'No audio received.' })
    ear?.end((words) => {
      this.#tell([...words.flatMap((word) => this.#tokens(word, true)), { text: '<end>', is_final: true }])
      this.sendJson({ tokens: [], finished: true, final_audio_proc_ms: ear.heardMs, total_audio_proc_ms: ear.heardMs })
      this.client.close(ENDED)
    })
  }

  #finalize(): void {
    this.finalized++
    this.end((words) => {
      const tokens = words.flatMap((word) => this.#tokens(word, true))
      // Words and marker may arrive in one message, or the words in several pieces.
      if (tokens.length > 1) this.#tell(tokens.splice(0, 1))
      this.#tell([...tokens, { text: '<fin>', is_final: true }])
    })
  }

  /** Splits a long word into two tokens; only the first begins with the space. */
  #tokens({ text: word, startMs }: SpokenWord, final: boolean): object[] {
    const text = ` ${word}`
    const { languageOf = () => hints?.[0] ?? 'en' } = this.double.options
    const pieces = text.length > 6 ? [text.slice(0, 4), text.slice(4)] : [text]
    const hints = this.config?.['language_hints'] as readonly string[] | undefined
    return pieces.map((piece, i) => ({
      text: piece,
      start_ms: startMs + i * 100,
      end_ms: startMs + (i + 1) * 100,
      confidence: 0.9,
      is_final: final,
      language: languageOf(word),
    }))
  }

  #tell(tokens: readonly object[]): void {
    const heardMs = this.ear?.heardMs ?? 0
    this.sendJson({ tokens, final_audio_proc_ms: heardMs, total_audio_proc_ms: heardMs })
  }
}

/** A connection of the voice. */
class SpeakSession extends VoiceSession {
  readonly configs: Json[] = []
  /** Utterances with their configuration and their speech. */
  readonly utterances: { readonly config: Json; readonly speech: VoiceSpeech }[] = []
  readonly #soniox: SonioxDouble
  readonly #streams = new Map<string, VoiceSpeech>()

  constructor(client: WebSocket, double: SonioxDouble) {
    super(client, double)
    this.#soniox = double
  }

  protected override receive(message: Json): void {
    const id = textIn(message['stream_id'])
    if (message['keep_alive'] === true) {
      this.double.keepalives++
      return
    }
    if (message['api_key'] !== undefined) {
      if (this.#soniox.refuses(message['api_key'], this.client)) return
      const objection = this.double.objection(JSON.stringify(message))
      if (objection !== null) return this.sendJson({ stream_id: id, error_code: 400, error_message: objection })
      this.configs.push(message)
      this.#open(id, message)
      return
    }
    const speech = this.#streams.get(id)
    if (speech === undefined) return this.sendJson({ stream_id: id, error_code: 400, error_message: 'Unknown stream.' })
    if (message['cancel'] === true) return this.#cancel(id, speech)
    const text = textIn(message['text'])
    if (text !== '') speech.say(text)
    if (message['text_end'] === true) speech.end()
  }

  #open(id: string, config: Json): void {
    const speech = this.speech(Number(config['sample_rate'] ?? 24_000), {
      frame: (frame) => this.#frame(id, frame, config['return_timestamps'] === true),
      done: () => {
        this.#streams.delete(id)
        this.sendJson({ stream_id: id, audio: '', audio_end: true })
        this.sendJson({ stream_id: id, terminated: true })
      },
    })
    this.#streams.set(id, speech)
    this.utterances.push({ config, speech })
  }

  #cancel(id: string, speech: VoiceSpeech): void {
    this.double.cancelled++
    speech.stop()
    if (this.double.faults.noAcknowledgement) return
    this.#streams.delete(id)
    if (this.double.faults.lateSound) this.sendJson({ stream_id: id, audio: Buffer.alloc(3200).toString('base64') })
    this.sendJson({ stream_id: id, terminated: true })
  }

  #frame(id: string, { bytes, text, fromMs, ms }: SpokenFrame, timestamps: boolean): void {
    const characters = [...text]
    const each = ms / 1000 / Math.max(1, characters.length)
    this.sendJson({
      stream_id: id,
      audio: bytes.toString('base64'),
      ...(timestamps
        ? {
            timestamps: {
              characters,
              character_start_times_seconds: characters.map((_, i) => fromMs / 1000 + i * each),
              character_end_times_seconds: characters.map((_, i) => fromMs / 1000 + (i + 1) * each),
            },
          }
        : {}),
    })
  }
}

export const doubles = { soniox: [[SonioxDouble, 'SONIOX_STT_URL', 'SONIOX_TTS_URL']] }

export const optionalFields: OptionalFieldsOf = {
  stt: {
    soniox: [
      {
        wished: { ...TERMS, ...ABOUT },
        fields: {
          enable_language_identification: [
            /enable_language_id/,
            'Invalid enable_language_identification for this model.',
          ],
          language_hints: [/language_hints/, 'Invalid language_hints.'],
          context: [/"context"/, 'Context is not supported by this model.'],
          trailing_silence_ms: [/trailing_silence_ms/, 'Unknown field trailing_silence_ms.'],
        },
      },
    ],
  },
  tts: {
    soniox: [
      {
        wished: SPEED,
        fields: {
          return_timestamps: [/return_timestamps/, 'return_timestamps is not supported.'],
          ...speedIn(/"speed"/, 'Speed is not supported by this voice.'),
        },
      },
    ],
  },
}
