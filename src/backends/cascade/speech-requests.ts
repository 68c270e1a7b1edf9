import type { SampleRateHz } from '../../core/units.js'
import { ahead, HttpService, overHttp } from './http-service.js'
import type { HttpServiceOptions } from './http-service.js'
import { SpeechBody, TTS_RATE_HZ, UnplayableSpeech } from './speech-body.js'
import { faultOf } from './service-fault.js'
import { askedSpeed } from './service.js'
import type { SpeechListener, SpeechManner, ServiceFactory, TextToSpeech, Utterance } from './service.js'

interface SpeechOptions extends HttpServiceOptions {
  /** Voice; overrides the agent's voice. If the agent has no voice, the default is `alloy`. */
  readonly voice?: string
  readonly speed?: number
  /** Rate of raw samples in Hz, 8,000 to 48,000. Default: 24,000. The header of a WAV file overrides this rate. */
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

/** Maximum time in milliseconds without data from the service during an answer. */
export const SPEECH_TIMEOUT_MS = 5000
const VOICE_DEFAULT = 'alloy'
/** Maximum number of concurrent requests of one utterance: one for the current clause, and one for the next clause. */
const AT_ONCE_MAX = 2

/** A voice with the endpoint `/audio/speech`. Each clause is one request, and its sound is delivered as it arrives. */
export function speech(options: SpeechOptions): ServiceFactory<TextToSpeech> {
  return overHttp('tts', 'speech', SPEECH_TIMEOUT_MS, options, SpeechRequests)
}

/** A voice that sends one request for each clause. */
export abstract class ClauseVoice<
  Options extends HttpServiceOptions & { readonly sampleRateHz?: number; readonly speed?: number },
>
  extends HttpService<Options>
  implements TextToSpeech
{
  readonly input = 'clauses'
  /** Minimum and maximum speed that the service accepts. */
  protected abstract readonly speeds: readonly [slowest: number, fastest: number]
  readonly #abort = new AbortController()

  /**
   * Begins an utterance that consists of clauses, each with its own request. All requests share one signal and end
   * together.
   */
  begin(manner: SpeechManner, listener: SpeechListener): Utterance {
    const abort = new AbortController()
    const signal = AbortSignal.any([this.#abort.signal, abort.signal])
    const waiting: string[] = []
    /** Requests in the order of their clauses; the sound of the first request is being delivered. */
    const bodies: AsyncGenerator<Piece>[] = []
    let clauses = 0
    let delivering = false
    let ended = false
    const advance = (): void => {
      if (signal.aborted) return
      while (bodies.length < AT_ONCE_MAX && waiting.length > 0)
        bodies.push(ahead(this.#speak(waiting.shift() as string, manner, signal)))
      if (delivering) return
      const [body] = bodies
      if (body === undefined) {
        if (ended) listener.done()
        return
      }
      delivering = true
      deliver(clauses++, body, listener, signal).then(
        () => {
          delivering = false
          bodies.shift()
          advance()
        },
        (error: unknown) => {
          if (signal.aborted) return
          abort.abort()
          listener.failed(faultOf(error), false)
        },
      )
    }
    return {
      text: (piece) => {
        waiting.push(piece.trim())
        advance()
      },
      end: () => {
        ended = true
        advance()
      },
      cancel: () => abort.abort(),
    }
  }

  protected speed(manner: SpeechManner): number {
    return askedSpeed(this.context.wishes, this.options.speed, manner, this.speeds)
  }

  override close(): void {
    this.#abort.abort()
  }

  /** Requests the speech of a clause. */
  protected abstract ask(input: string, manner: SpeechManner, signal: AbortSignal): ReturnType<HttpService['post']>

  /** Yields the samples of one clause as they arrive. */
  async *#speak(input: string, manner: SpeechManner, signal: AbortSignal): AsyncGenerator<Piece> {
    const { sampleRateHz = TTS_RATE_HZ } = this.options
    const body = await this.ask(input, manner, signal)
    this.used({ speechCharacters: input.length })
    const sound = new SpeechBody(sampleRateHz)
    try {
      for await (const bytes of body.pieces()) yield { pcm: sound.push(bytes), sampleRateHz: sound.sampleRateHz }
      yield { pcm: sound.end(), sampleRateHz: sound.sampleRateHz }
    } catch (error) {
      if (!(error instanceof UnplayableSpeech)) throw error
      throw this.fault('bad_request', `cannot be played: ${error.message}`, true)
    }
  }
}

class SpeechRequests extends ClauseVoice<SpeechOptions> {
  protected override readonly speeds = [0.25, 4] as const

  protected override ask(input: string, manner: SpeechManner, signal: AbortSignal) {
    const { model } = this.options
    const voice = this.options.voice ?? manner.voice ?? this.context.voice ?? VOICE_DEFAULT
    const speed = this.speed(manner)
    const request: SpeechRequest = {
      model,
      input,
      voice,
      response_format: 'pcm',
      ...(speed === 1 ? {} : { speed }),
    }
    return this.post('/audio/speech', request, signal)
  }
}

/** Delivers the sound of one clause as it arrives. */
async function deliver(
  index: number,
  body: AsyncGenerator<Piece>,
  listener: SpeechListener,
  signal: AbortSignal,
): Promise<void> {
  let begun = false
  for await (const { pcm, sampleRateHz } of body) {
    signal.throwIfAborted()
    if (pcm.length === 0) continue
    if (!begun) listener.clause(index)
    begun = true
    listener.audio(pcm, sampleRateHz)
    signal.throwIfAborted()
  }
}
