import { FormData, Response } from 'undici'
import { omitNullish } from '../../core/omit-nullish.js'
import { jsonOrNull, objectsIn } from '../../core/json.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import { writeWav } from '../../media/wav.js'
import type { Told } from '../told.js'
import { HttpService, overHttp } from './http-service.js'
import type { HttpServiceOptions } from './http-service.js'
import { faultOf } from './service-fault.js'
import type { Evidence, Heard, SpeechToText, ServiceFactory, SttListener } from './service.js'
import type { TurnSound } from './turn-sound.js'

interface WhisperOptions extends HttpServiceOptions {
  /** Words that callers are likely to say, such as names of products. */
  readonly prompt?: string
}

const TIMEOUT_MS = 10_000
/** The models hear 16 kHz; servers resample what has more. */
const RATES = [16_000, 24_000] as const
/** Long speech is also transcribed in pieces of this length while it lasts, only to learn whether it holds words. */
const PART_MS = 4000

/** A recogniser on `/audio/transcriptions`: each turn is one request, when it is over. */
export function whisper(options: WhisperOptions): ServiceFactory<SpeechToText> {
  return { ...overHttp('stt', 'whisper', TIMEOUT_MS, options, WhisperRequests), rates: RATES }
}

/** The means over the segments of a transcript. */
function evidenceOf(segments: unknown): Evidence {
  const mean = (key: string): number | undefined => {
    const told = objectsIn(segments).map((segment) => segment[key])
    const values = told.filter((value): value is number => typeof value === 'number' && Number.isFinite(value))
    return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length
  }
  return omitNullish({
    noSpeech: mean('no_speech_prob'),
    logprob: mean('avg_logprob'),
    compression: mean('compression_ratio'),
  })
}

class WhisperRequests extends HttpService<WhisperOptions> implements SpeechToText {
  readonly #abort = new AbortController()
  #listener: SttListener | null = null
  /** Turns without a final, and their audio. */
  readonly #turns = new Map<number, TurnSound>()
  /** `verbose_json` tells how sure the model is; some servers refuse it, and OpenAI's newer models. */
  #format: 'verbose_json' | 'json' = this.options.model.startsWith('gpt-') ? 'json' : 'verbose_json'
  /** Samples that the parts of the newest turn cover. */
  #partSamples = 0

  get told(): Told {
    return omitNullish({ text: this.options.prompt })
  }

  listen(listener: SttListener): void {
    this.#listener = listener
  }

  begin(turn: number, sound: TurnSound): void {
    this.#turns.set(turn, sound)
    this.#partSamples = 0
  }

  audio(): void {
    const [turn, sound] = [...this.#turns].at(-1) ?? []
    if (turn === undefined || sound === undefined) return
    if (sound.samples - this.#partSamples < msToSamples(PART_MS, this.context.inputRateHz)) return
    const pcm = sound.since(this.#partSamples)
    this.#partSamples = sound.samples
    this.#transcribe(pcm).then(
      (heard) => {
        if (this.#turns.has(turn)) this.#listener?.part(turn, heard.text)
      },
      // The turn itself is transcribed when it is over.
      () => undefined,
    )
  }

  finalize(turn: number): void {
    const sound = this.#turns.get(turn)
    if (sound === undefined) return
    this.#transcribe(sound.since(0)).then(
      (heard) => {
        if (this.#turns.delete(turn)) this.#listener?.final(turn, heard)
      },
      (error: unknown) => {
        if (this.#turns.delete(turn)) this.#listener?.failed(turn, faultOf(error))
      },
    )
  }

  abandon(turn: number): void {
    this.#turns.delete(turn)
  }

  override close(): void {
    this.#turns.clear()
    this.#abort.abort()
  }

  async #transcribe(pcm: Int16Array): Promise<Heard> {
    const { model, prompt } = this.options
    const form = new FormData()
    // Every recogniser takes a WAV file.
    const wav = writeWav({ sampleRateHz: this.context.inputRateHz, channels: 1, samples: pcm })
    form.set('file', new Blob([wav], { type: 'audio/wav' }), 'turn.wav')
    form.set('model', model)
    form.set('response_format', this.#format)
    // It takes one language; with several it is better to let it find out.
    const [language, ...others] = this.context.languages
    if (language !== undefined && others.length === 0) form.set('language', language)
    if (prompt !== undefined) form.set('prompt', prompt)
    const answer = await this.#post(form)
    this.used({ sessionSeconds: samplesToMs(pcm.length, this.context.inputRateHz) / 1000 })
    const { text, segments } = Object(jsonOrNull(answer)) as Readonly<Record<string, unknown>>
    if (typeof text === 'string') return { text: text.trim(), evidence: evidenceOf(segments) }
    throw this.fault('internal', 'answers with something else than a transcript', false)
  }

  async #post(form: FormData): Promise<string> {
    const send = async (): Promise<string> => {
      // Encoded here: from Node 24 on `undici.request` sends no form.
      const encoded = new Response(form)
      const headers = { 'content-type': encoded.headers.get('content-type') ?? '' }
      const sent = new Uint8Array(await encoded.arrayBuffer())
      const init = { method: 'POST', headers, body: sent } as const
      const body = await this.request('/audio/transcriptions', init, this.#abort.signal)
      return body.text()
    }
    try {
      return await send()
    } catch (error) {
      if (this.#format === 'json' || faultOf(error).code !== 'bad_request') throw error
      this.#format = 'json'
      form.set('response_format', this.#format)
      return send()
    }
  }
}
