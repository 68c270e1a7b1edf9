import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import { LevelDetector, type Refusal } from '../../simulator/vendors/double.js'
import { type DoubleEar, RecogniserSession, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { type Json, textIn, VoiceSession, type VoiceSpeech } from '../../simulator/vendors/voice-double.js'
import { TERMS, SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

/** Number of words after which `/v1/listen` finalises a range of audio during a turn. */
const RANGE_WORDS = 3
/** Minimum pause between words, in milliseconds. Shorter silence is part of a word. */
const PAUSE_MS_MIN = 100

/**
 * Deepgram's `/v1/listen` and `/v2/listen` on loopback, written from the types and messages of `@deepgram/sdk` 5.13.0.
 * A turn ends at `Finalize` or `ForceEndTurn`. On `/v1/listen` it also ends after the silence of `endpointing`.
 */
export class DeepgramDouble extends ServiceDouble<DeepgramListenSession> {
  protected override refusalOf(url: URL, headers: IncomingHttpHeaders): Refusal | null {
    return refusalOf(url, headers, /^\/v[12]\/listen$/, this.key) ?? refusedQuery(this.objection(url.search))
  }

  protected override accept(client: WebSocket, { pathname, searchParams }: URL): DeepgramListenSession {
    const Client = pathname.startsWith('/v2') ? FluxSession : NovaSession
    return new Client(client, searchParams, this)
  }
}

function refusalOf(
  { pathname, searchParams }: URL,
  { authorization }: IncomingHttpHeaders,
  path: RegExp,
  key: string | null,
): Refusal | null {
  if (!path.test(pathname)) return refusal(404, 'NOT_FOUND', 'Not found.')
  // Like the service, the double repeats the client's API key in its error message.
  if (key !== null && authorization !== `Token ${key}`)
    return refusal(401, 'INVALID_AUTH', `Invalid credentials: ${authorization ?? ''}.`)
  if (pathname.startsWith('/v2') !== (searchParams.get('model') ?? '').startsWith('flux-'))
    return refusal(400, 'INVALID_QUERY_PARAMETER', 'No such model.')
  return null
}

function refusedQuery(why: string | null): Refusal | null {
  return why === null ? null : refusal(400, 'INVALID_QUERY_PARAMETER', why)
}

function refusal(status: number, err_code: string, err_msg: string): Refusal {
  return { status, body: JSON.stringify({ err_code, err_msg, request_id: randomUUID() }) }
}

abstract class DeepgramListenSession extends RecogniserSession {
  protected override readonly ear: DoubleEar
  /** Times at which the client ended turns, from `performance.now`. */
  readonly endsAtMs: number[] = []

  constructor(client: WebSocket, query: URLSearchParams, double: DeepgramDouble) {
    super(client, query, double)
    this.ear = this.earAt(Number(this.query.get('sample_rate') ?? 16_000))
  }

  protected override audio(bytes: Buffer): void {
    this.hear(this.samples(bytes, this.query.get('encoding') === 'mulaw' ? 'mulaw' : 'pcm16'))
  }

  protected hear(pcm: Int16Array): void {
    this.ear.hear(pcm)
  }

  protected override text(text: string): void {
    const { type } = JSON.parse(text) as { readonly type?: string }
    if (type === 'CloseStream') return this.ended()
    if (type === 'KeepAlive') this.double.keepalives++
    else if (type === this.endMessage) {
      this.endsAtMs.push(performance.now())
      this.turnOver()
    } else {
      this.sendJson({ type: 'Error', code: 'UNPARSABLE_CLIENT_MESSAGE', description: 'Unknown message.' })
      this.client.close(1008, 'DATA-0000')
    }
  }

  protected abstract readonly endMessage: string
  protected abstract turnOver(): void
  protected abstract ended(): void
}

class NovaSession extends DeepgramListenSession {
  protected override readonly endMessage = 'Finalize'
  /** Number of the turn's words in final ranges. */
  #settled = 0
  #rangeFromMs = 0
  readonly #pauses: LevelDetector | null

  constructor(client: WebSocket, query: URLSearchParams, double: DeepgramDouble) {
    super(client, query, double)
    const silenceMs = Number(this.query.get('endpointing') ?? NaN)
    const sampleRateHz = Number(this.query.get('sample_rate') ?? 16_000)
    this.#pauses =
      silenceMs > 0 ? new LevelDetector({ sampleRateHz, silenceMs: Math.max(PAUSE_MS_MIN, silenceMs) }) : null
  }

  protected override hear(pcm: Int16Array): void {
    super.hear(pcm)
    if (this.#pauses?.hear(pcm).includes('stopped') === true) this.#end(false)
  }

  protected override words(words: readonly SpokenWord[]): void {
    const open = words.slice(this.#settled)
    if (open.length <= RANGE_WORDS) return this.#tell(open, false)
    this.#settled += RANGE_WORDS
    this.#tell(open.slice(0, RANGE_WORDS), true, open[RANGE_WORDS]?.startMs)
    this.#tell(open.slice(RANGE_WORDS), false)
  }

  protected override turnOver(): void {
    this.#end(true)
  }

  /** @param asked  true if the client requested the end; false if the service detected the end itself */
  #end(asked: boolean): void {
    this.ear.end((words) => {
      const open = words.slice(this.#settled)
      const told = this.#settled > 0 || words.length > 0
      this.#settled = 0
      // A turn without words is not answered.
      if (this.double.faults.noAnswer || (!told && !this.double.faults.emptyAnswer)) return
      const toMs = this.ear.heardMs
      this.afterEnd(() => this.#tell(open, true, toMs, asked, !asked))
    })
  }

  protected override ended(): void {
    this.ear.end((words) => {
      this.#tell(words.slice(this.#settled), true)
      this.sendJson({ type: 'Metadata', request_id: randomUUID(), duration: this.ear.heardMs / 1000, channels: 1 })
      this.client.close(1000)
    })
  }

  #tell(
    words: readonly SpokenWord[],
    final: boolean,
    toMs = this.ear.heardMs,
    finalized = false,
    endpoint = false,
  ): void {
    const start = this.#rangeFromMs / 1000
    if (final) this.#rangeFromMs = toMs
    this.sendJson({
      type: 'Results',
      channel_index: [0, 1],
      start,
      duration: toMs / 1000 - start,
      is_final: final,
      speech_final: endpoint,
      from_finalize: finalized,
      channel: {
        alternatives: [
          {
            transcript: words.map(({ text }) => text).join(' '),
            confidence: words.length === 0 ? 0 : 0.98,
            words: words.map(({ text, startMs, endMs }) => ({
              word: text.toLowerCase(),
              punctuated_word: text,
              start: startMs / 1000,
              end: endMs / 1000,
              confidence: 0.98,
              ...(this.query.get('language') === 'multi' ? { language: 'en' } : {}),
            })),
          },
        ],
      },
      metadata: {
        request_id: randomUUID(),
        model_uuid: randomUUID(),
        model_info: { name: 'double', version: '1', arch: 'double' },
      },
    })
  }
}

class FluxSession extends DeepgramListenSession {
  protected override readonly endMessage = 'ForceEndTurn'
  #sequence = 0
  #turn = 0
  #begun = false
  /**
   * Words of earlier turns of the caller that belong to the service's current turn, because the service missed an end
   * of turn.
   */
  #before: readonly SpokenWord[] = []

  constructor(client: WebSocket, query: URLSearchParams, double: DeepgramDouble) {
    super(client, query, double)
    this.sendJson({ type: 'Connected', request_id: randomUUID(), sequence_id: this.#sequence++ })
  }

  protected override words(words: readonly SpokenWord[]): void {
    this.#tell(this.#begun ? 'Update' : 'StartOfTurn', [...this.#before, ...words])
    this.#begun = true
  }

  protected override turnOver(): void {
    this.ear.end((words) => {
      const all = [...this.#before, ...words]
      if (this.double.faults.noAnswer) {
        this.#before = all
        return
      }
      // A turn without speech cannot end.
      if (!this.#begun) return
      this.afterEnd(() => {
        this.#tell('EndOfTurn', all, 'manual')
        this.#turn++
        this.#begun = false
        this.#before = []
      })
    })
  }

  protected override ended(): void {
    this.client.close(1000)
  }

  #tell(event: string, words: readonly SpokenWord[], trigger?: string): void {
    this.sendJson({
      type: 'TurnInfo',
      request_id: randomUUID(),
      sequence_id: this.#sequence++,
      event,
      turn_index: this.#turn,
      audio_window_start: (words[0]?.startMs ?? 0) / 1000,
      audio_window_end: this.ear.heardMs / 1000,
      transcript: words.map(({ text }) => text).join(' '),
      words: words.map(({ text, startMs, endMs }) => ({
        word: text,
        confidence: 0.98,
        start: startMs / 1000,
        end: endMs / 1000,
      })),
      end_of_turn_confidence: event === 'EndOfTurn' ? 0.9 : 0.1,
      ...(trigger === undefined ? {} : { trigger }),
    })
  }
}

// --- the voice ----------------------------------------------------------------------------------------------

const SPEED_MIN = 0.5
const SPEED_MAX = 1.5

/**
 * Deepgram's `/v2/speak` on loopback, written from the types and messages of `@deepgram/sdk` 5.13.0. It speaks one turn
 * at a time. Its answer to `Interrupt` contains the heard words.
 */
export class DeepgramVoiceDouble extends ServiceDouble<DeepgramVoiceSession> {
  protected override refusalOf(url: URL, headers: IncomingHttpHeaders): Refusal | null {
    return refusalOf(url, headers, /^\/v2\/speak$/, this.key)
  }

  protected override accept(client: WebSocket, { searchParams }: URL): DeepgramVoiceSession {
    return new DeepgramVoiceSession(client, this, searchParams)
  }
}

class DeepgramVoiceSession extends VoiceSession {
  readonly query: URLSearchParams
  #turn: { readonly id: string; readonly speech: VoiceSpeech; readonly fromMs: number } | null = null
  /** Duration of the sound of all turns, in milliseconds. An `Interrupt` reduces it to the played part. */
  #soundMs = 0
  #interruptedAtMs = 0

  constructor(client: WebSocket, double: DeepgramVoiceDouble, query: URLSearchParams) {
    super(client, double)
    this.query = query
    this.sendJson({
      type: 'Connected',
      request_id: randomUUID(),
      model_name: query.get('model'),
      model_version: '1',
      model_uuids: [randomUUID()],
    })
  }

  protected receive(message: Json): void {
    switch (message['type']) {
      case 'Speak':
        return this.#speech().say(textIn(message['text']))
      case 'Flush': {
        const turn = this.#turn
        if (turn === null) return this.#warn('NO_ACTIVE_SPEECH')
        this.sendJson({ type: 'Flushed', speech_id: turn.id })
        return turn.speech.end()
      }
      case 'Interrupt':
        return this.#interrupt(message['playback_offset'] as { readonly value?: unknown } | undefined)
      case 'Configure': {
        const speed = Number(message['speed'])
        const objection = this.double.objection(JSON.stringify(message))
        if (objection !== null)
          return this.sendJson({
            type: 'ConfigureFailure',
            code: 'UNSUPPORTED_FIELD',
            field: 'speed',
            value: speed,
            description: objection,
          })
        if (speed < SPEED_MIN || speed > SPEED_MAX)
          return this.sendJson({
            type: 'ConfigureFailure',
            code: 'SPEED_OUT_OF_RANGE',
            field: 'speed',
            value: speed,
            description: 'Out of range.',
          })
        return this.sendJson({ type: 'ConfigureSuccess', applied: { speed } })
      }
      case 'Close':
        return this.client.close(1000)
      default:
        this.sendJson({ type: 'Error', code: 'MESSAGE-0000', description: 'Unknown message.' })
        this.client.close(1008)
    }
  }

  #warn(code: string): void {
    this.sendJson({ type: 'Warning', code, description: 'The message was ignored.' })
  }

  #speech(): VoiceSpeech {
    if (this.#turn !== null) return this.#turn.speech
    const id = `dg_sp_${randomUUID().replaceAll('-', '').slice(0, 12)}`
    const speech = this.speech(Number(this.query.get('sample_rate') ?? 24_000), {
      frame: ({ bytes, ms }) => {
        this.#soundMs += ms
        this.sendRaw(bytes)
      },
      done: () => {
        this.#turn = null
        this.sendJson({ type: 'SpeechMetadata', ...this.#metadata(id, speech) })
      },
    })
    this.#turn = { id, speech, fromMs: this.#soundMs }
    this.sendJson({ type: 'SpeechStarted', speech_id: id })
    return speech
  }

  #interrupt(offset: { readonly value?: unknown } | undefined): void {
    const turn = this.#turn
    if (this.double.faults.noAcknowledgement) return turn?.speech.stop()
    if (this.#soundMs === 0) return this.#warn('NO_AUDIO_GENERATED')
    const atMs = offset === undefined ? this.#soundMs : Number(offset.value)
    if (offset !== undefined && atMs <= this.#interruptedAtMs) return this.#warn('INVALID_INTERRUPT_OFFSET')
    if (turn === null) return this.#warn('NO_ACTIVE_SPEECH')
    this.double.cancelled++
    const { speech, id, fromMs } = turn
    this.#turn = null
    if (this.double.faults.lateSound) this.client.send(Buffer.alloc(3200, 1))
    const heard = speech.heardUntil(atMs - fromMs)
    this.sendJson({
      type: 'SpeechInterrupted',
      audio_played_ms: atMs,
      ...(offset === undefined ? {} : { text_spoken: heard, text_remaining: speech.text.slice(heard.length) }),
      metadata: this.#metadata(id, speech),
    })
    speech.stop()
    this.#soundMs = atMs
    this.#interruptedAtMs = atMs
  }

  #metadata(id: string, { characters, spokenMs }: VoiceSpeech): Json {
    return {
      speech_id: id,
      audio_duration_ms: Math.round(spokenMs),
      input_character_count: characters,
      billable_character_count: characters,
      controls_applied: { pronunciations_applied: 0, breaks_applied: 0, pronunciation_warnings: 0 },
    }
  }
}

export const doubles = {
  deepgram: [
    [DeepgramDouble, 'DEEPGRAM_STT_URL'],
    [DeepgramVoiceDouble, 'DEEPGRAM_TTS_URL'],
  ],
}

export const optionalFields: OptionalFieldsOf = {
  stt: {
    deepgram: [
      {
        wished: TERMS,
        fields: {
          smart_format: [/smart_format/, 'smart_format is not supported for this language.'],
          no_delay: [/no_delay/, 'no_delay is not supported.'],
          keyterm: [/keyterm/, 'Keyterm is not supported for this model.'],
        },
      },
      {
        wished: TERMS,
        fields: {
          language_hint: [/language_hint/, 'language_hint: unknown language.'],
          keyterm: [/keyterm/, 'Keyterm is not supported for this model.'],
        },
        needed: { model: 'flux-general-multi' },
      },
    ],
  },
  tts: { deepgram: [{ wished: SPEED, fields: speedIn(/"speed"/, 'This voice takes no speed.') }] },
}
