import { noUsage } from '../../call/usage.js'
import type { SampleRateHz } from '../../core/units.js'
import { pricedModel } from '../prices.js'
import { ahead } from './ahead.js'
import { HttpStage } from './http-service.js'
import type { HttpStageOptions } from './http-service.js'
import { SpeechBody, TTS_RATE_HZ, UnplayableSpeech } from './speech-body.js'
import { faultOf } from './stage-fault.js'
import type { SpeechListener, SpeechManner, StageContext, StageFactory, TextToSpeech, Utterance } from './stage.js'

interface SpeechOptions extends HttpStageOptions {
  /** Goes before the voice that the agent names; `alloy` when neither is given. */
  readonly voice?: string
  readonly speed?: number
  /** Rate of raw samples, 8,000 to 48,000; 24,000 when not given. A WAV file's header overrides it. */
  readonly sampleRateHz?: number
}

export interface SpeechRequest {
  readonly model: string
  readonly input: string
  readonly voice: string
  readonly response_format: 'pcm'
  readonly speed?: number
}

interface Piece {
  readonly pcm: Int16Array
  readonly sampleRateHz: SampleRateHz
}

const TIMEOUT_MS = 5000
const VOICE_DEFAULT = 'alloy'
const SPEED_MIN = 0.25
const SPEED_MAX = 4
/** Requests of one utterance at the same time: the clause that is being delivered and the next one. */
const AT_ONCE_MAX = 2

/** A voice on `/audio/speech`: each clause is one request, whose sound is delivered as it arrives. */
export function speech(options: SpeechOptions): StageFactory<TextToSpeech> {
  return {
    service: 'speech',
    model: pricedModel(options.model, options.baseUrl),
    make: (context) => new SpeechRequests(options, context),
  }
}

class SpeechRequests extends HttpStage implements TextToSpeech {
  readonly input = 'clauses'
  readonly #options: SpeechOptions
  readonly #context: StageContext
  readonly #abort = new AbortController()

  constructor(options: SpeechOptions, context: StageContext) {
    super('tts', options, TIMEOUT_MS, context)
    this.#options = options
    this.#context = context
  }

  begin(manner: SpeechManner, listener: SpeechListener): Utterance {
    return new Clauses((text, signal) => this.#speak(text, manner, signal), listener, this.#abort.signal)
  }

  override close(): void {
    this.#abort.abort()
  }

  /** The samples of one clause as they arrive. */
  async *#speak(input: string, manner: SpeechManner, signal: AbortSignal): AsyncGenerator<Piece> {
    const { model, baseUrl, speed = 1, sampleRateHz } = this.#options
    const voice = this.#options.voice ?? manner.voice ?? this.#context.voice ?? VOICE_DEFAULT
    const factor = Math.min(SPEED_MAX, Math.max(SPEED_MIN, speed * manner.speed))
    const request: SpeechRequest = {
      model,
      input,
      voice,
      response_format: 'pcm',
      ...(factor === 1 ? {} : { speed: factor }),
    }
    const { body } = await this.post('/audio/speech', request, signal)
    this.#context.used({ ...noUsage(), model: pricedModel(model, baseUrl), speechCharacters: input.length })
    const sound = new SpeechBody(sampleRateHz ?? TTS_RATE_HZ)
    try {
      for await (const bytes of body.pieces()) {
        const pcm = sound.push(bytes)
        if (pcm.length > 0) yield { pcm, sampleRateHz: sound.sampleRateHz }
      }
      const pcm = sound.end()
      if (pcm.length > 0) yield { pcm, sampleRateHz: sound.sampleRateHz }
    } catch (error) {
      if (!(error instanceof UnplayableSpeech)) throw error
      throw this.fault('bad_request', `cannot be played: ${error.message}`, true)
    }
  }
}

/** An utterance in clauses, each spoken by a request of its own. All share one signal and end together. */
class Clauses implements Utterance {
  readonly #speak: (text: string, signal: AbortSignal) => AsyncGenerator<Piece>
  readonly #listener: SpeechListener
  readonly #abort = new AbortController()
  readonly #signal: AbortSignal
  readonly #waiting: string[] = []
  /** Requests in the order of their clauses, the first one being delivered. */
  readonly #bodies: AsyncGenerator<Piece>[] = []
  #delivering = false
  #ended = false
  #clause = 0

  constructor(
    speak: (text: string, signal: AbortSignal) => AsyncGenerator<Piece>,
    listener: SpeechListener,
    stage: AbortSignal,
  ) {
    this.#speak = speak
    this.#listener = listener
    this.#signal = AbortSignal.any([stage, this.#abort.signal])
  }

  text(piece: string): void {
    this.#waiting.push(piece.trim())
    this.#advance()
  }

  end(): void {
    this.#ended = true
    this.#advance()
  }

  cancel(): void {
    this.#abort.abort()
  }

  #advance(): void {
    if (this.#signal.aborted) return
    while (this.#bodies.length < AT_ONCE_MAX && this.#waiting.length > 0)
      this.#bodies.push(ahead(this.#speak(this.#waiting.shift() as string, this.#signal)))
    if (this.#delivering) return
    const body = this.#bodies[0]
    if (body === undefined) {
      if (this.#ended) this.#listener.done()
      return
    }
    this.#delivering = true
    this.#deliver(body).then(
      () => {
        this.#delivering = false
        this.#bodies.shift()
        this.#advance()
      },
      (error: unknown) => {
        if (this.#signal.aborted) return
        this.#abort.abort()
        this.#listener.failed(faultOf(error), false)
      },
    )
  }

  /** Delivers the clauses in order, even if their requests are answered in another order. */
  async #deliver(body: AsyncGenerator<Piece>): Promise<void> {
    const index = this.#clause++
    let begun = false
    for await (const { pcm, sampleRateHz } of body) {
      this.#signal.throwIfAborted()
      if (!begun) this.#listener.clause(index)
      begun = true
      this.#listener.audio(pcm, sampleRateHz)
      this.#signal.throwIfAborted()
    }
  }
}
