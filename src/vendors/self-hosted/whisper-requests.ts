import { FormData, Response } from 'undici'
import { omitNullish } from '../../core/omit-nullish.js'
import { jsonOrNull, objectsIn } from '../../core/json.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import { writeWav } from '../../media/wav.js'
import type { Told } from '../../backends/told.js'
import { HttpService, overHttp } from '../../backends/cascade/http-service.js'
import type { HttpServiceOptions } from '../../backends/cascade/http-service.js'
import { faultOf } from '../../backends/cascade/service-fault.js'
import type { Evidence, Heard, SpeechToText, ServiceFactory, SttListener } from '../../backends/cascade/service.js'
import type { TurnSound } from '../../backends/cascade/turn-sound.js'

interface WhisperOptions extends HttpServiceOptions {
  /** Words that callers will probably say, such as names of products. */
  readonly prompt?: string
}

const TIMEOUT_MS = 10_000
/** Rates that are sent, in Hz. The models use 16 kHz; servers resample higher rates. */
const RATES = [16_000, 24_000] as const
/**
 * Duration in ms of the pieces in which long speech is transcribed while it lasts. The only purpose is to find out if
 * the speech contains words.
 */
const PART_MS = 4000

/** A recogniser on `/audio/transcriptions`, with one request per turn after its end. */
export function whisper(options: WhisperOptions): ServiceFactory<SpeechToText> {
  return { ...overHttp('stt', 'whisper', TIMEOUT_MS, options, WhisperRequests), rates: RATES }
}

/** Averages the values of a transcript's segments. */
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
  /** Turns without a final transcript, with their audio. */
  readonly #turns = new Map<number, TurnSound>()
  /** Number of the newest turn's samples that were already transcribed in pieces. */
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
      // A failure is ignored: the whole turn is transcribed after its end.
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
    const { wishes } = this.context
    const hearing = this.#heard(pcm)
    // The optional fields of this request are read now, because they may change before the request fails.
    const { asked } = wishes
    try {
      const heard = await hearing
      wishes.worked(asked)
      return heard
    } catch (error) {
      const fault = faultOf(error)
      // The number of tries is limited, because each further try has fewer optional fields. A fatal fault, such as a
      // wrong address, is not caused by an optional field.
      if (!wishes.refuses(fault, !fault.fatal, asked)) throw error
      return this.#transcribe(pcm)
    }
  }

  async #heard(pcm: Int16Array): Promise<Heard> {
    const { model, prompt } = this.options
    const form = new FormData()
    // Every recogniser accepts a WAV file.
    const wav = writeWav({ sampleRateHz: this.context.inputRateHz, channels: 1, samples: pcm })
    form.set('file', new Blob([wav], { type: 'audio/wav' }), 'turn.wav')
    form.set('model', model)
    // The service accepts one language. If the agent has several, none is sent, and the service detects the language.
    const [language, ...others] = this.context.languages
    const wished = this.context.wishes.of({
      // Requests the model's confidence. Some servers and OpenAI's newer models refuse this field.
      verbose_json: model.startsWith('gpt-') ? undefined : true,
      language: others.length === 0 ? language : undefined,
      prompt,
    })
    form.set('response_format', wished.verbose_json === undefined ? 'json' : 'verbose_json')
    if (wished.language !== undefined) form.set('language', wished.language)
    if (wished.prompt !== undefined) form.set('prompt', wished.prompt)
    const answer = await this.#post(form)
    this.used({ sessionSeconds: samplesToMs(pcm.length, this.context.inputRateHz) / 1000 })
    const { text, segments } = Object(jsonOrNull(answer)) as Readonly<Record<string, unknown>>
    if (typeof text === 'string') return { text: text.trim(), evidence: evidenceOf(segments) }
    throw this.fault('internal', 'answers with something else than a transcript', false)
  }

  async #post(form: FormData): Promise<string> {
    // The form is encoded here, because from Node 24 `undici.request` does not send forms.
    const encoded = new Response(form)
    const headers = { 'content-type': encoded.headers.get('content-type') ?? '' }
    const sent = new Uint8Array(await encoded.arrayBuffer())
    const init = { method: 'POST', headers, body: sent } as const
    const body = await this.request('/audio/transcriptions', init, this.#abort.signal)
    return body.text()
  }
}
