import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { WebSocket } from 'ws'
import type { Refusal } from './double.js'
import { textIn, VoiceDouble, type VoiceDoubleOptions, VoiceSession, VoiceSpeech, type Json } from './voice-double.js'

const SPEED_MIN = 0.5
const SPEED_MAX = 1.5

/**
 * Deepgram's `/v2/speak` on loopback, written from the types of `@deepgram/sdk` 5.13.0 and from what that client sends: one
 * turn at a time, binary sound without an id, and an `Interrupt` whose answer says which words were heard.
 */
export class DeepgramVoiceDouble extends VoiceDouble<DeepgramVoiceSession> {
  static start(options: VoiceDoubleOptions = {}): Promise<DeepgramVoiceDouble> {
    return new DeepgramVoiceDouble(options).listen()
  }

  protected override refusalOf({ url = '', headers: { authorization } }: IncomingMessage): Refusal | null {
    const { pathname, searchParams } = new URL(url, 'http://double')
    const refusal = (status: number, err_code: string, err_msg: string): Refusal => ({
      status,
      body: JSON.stringify({ err_code, err_msg, request_id: randomUUID() }),
    })
    if (pathname !== '/v2/speak') return refusal(404, 'NOT_FOUND', 'Not found.')
    if (this.key !== null && authorization !== `Token ${this.key}`)
      return refusal(401, 'INVALID_AUTH', `Invalid credentials: ${authorization ?? ''}.`)
    if (!/^flux-/.test(searchParams.get('model') ?? ''))
      return refusal(400, 'INVALID_QUERY_PARAMETER', 'No such model.')
    return null
  }

  protected override accept(client: WebSocket, request: IncomingMessage): DeepgramVoiceSession {
    return new DeepgramVoiceSession(client, this, new URL(request.url ?? '', 'http://double').searchParams)
  }
}

class DeepgramVoiceSession extends VoiceSession {
  readonly query: URLSearchParams
  readonly #double: DeepgramVoiceDouble
  #turn: { readonly id: string; readonly speech: VoiceSpeech; readonly fromMs: number } | null = null
  /** Of all turns; an `Interrupt` sets it to what was played. */
  #soundMs = 0
  #interruptedAtMs = 0

  constructor(client: WebSocket, double: DeepgramVoiceDouble, query: URLSearchParams) {
    super(client)
    this.#double = double
    this.query = query
    this.send({
      type: 'Connected',
      request_id: randomUUID(),
      model_name: query.get('model'),
      model_version: '1',
      model_uuids: [randomUUID()],
    })
  }

  stop(): void {
    this.#turn?.speech.stop()
    this.#turn = null
  }

  protected receive(message: Json): void {
    switch (message['type']) {
      case 'Speak':
        return this.#speech().say(textIn(message['text']))
      case 'Flush': {
        const turn = this.#turn
        if (turn === null) return this.#warn('NO_ACTIVE_SPEECH')
        this.send({ type: 'Flushed', speech_id: turn.id })
        return turn.speech.end()
      }
      case 'Interrupt':
        return this.#interrupt(message['playback_offset'] as { readonly value?: unknown } | undefined)
      case 'Configure': {
        const speed = Number(message['speed'])
        if (speed < SPEED_MIN || speed > SPEED_MAX)
          return this.send({
            type: 'ConfigureFailure',
            code: 'SPEED_OUT_OF_RANGE',
            field: 'speed',
            value: speed,
            description: 'Out of range.',
          })
        return this.send({ type: 'ConfigureSuccess', applied: { speed } })
      }
      case 'Close':
        return this.client.close(1000)
      default:
        this.send({ type: 'Error', code: 'MESSAGE-0000', description: 'Unknown message.' })
        this.client.close(1008)
    }
  }

  #warn(code: string): void {
    this.send({ type: 'Warning', code, description: 'The message was ignored.' })
  }

  #speech(): VoiceSpeech {
    if (this.#turn !== null) return this.#turn.speech
    const id = `dg_sp_${randomUUID().replaceAll('-', '').slice(0, 12)}`
    const speech = new VoiceSpeech(this.#double, Number(this.query.get('sample_rate') ?? 24_000), {
      frame: ({ bytes, ms }) => {
        this.#soundMs += ms
        if (this.client.readyState === this.client.OPEN) this.client.send(bytes)
      },
      done: () => {
        this.#turn = null
        this.send({ type: 'SpeechMetadata', ...this.#metadata(id, speech) })
      },
      broke: () => this.client.terminate(),
    })
    this.#turn = { id, speech, fromMs: this.#soundMs }
    this.send({ type: 'SpeechStarted', speech_id: id })
    return speech
  }

  #interrupt(offset: { readonly value?: unknown } | undefined): void {
    const turn = this.#turn
    if (this.#double.faults.noAcknowledgement) return turn?.speech.stop()
    if (this.#soundMs === 0) return this.#warn('NO_AUDIO_GENERATED')
    const atMs = offset === undefined ? this.#soundMs : Number(offset.value)
    if (offset !== undefined && atMs <= this.#interruptedAtMs) return this.#warn('INVALID_INTERRUPT_OFFSET')
    if (turn === null) return this.#warn('NO_ACTIVE_SPEECH')
    this.#double.cancelled++
    const { speech, id, fromMs } = turn
    this.#turn = null
    if (this.#double.faults.lateSound) this.client.send(Buffer.alloc(3200, 1))
    const heard = speech.heardUntil(atMs - fromMs)
    this.send({
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
