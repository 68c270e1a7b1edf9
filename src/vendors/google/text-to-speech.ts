import { googleHeaders } from './account.js'
import type { GoogleKeys } from './facts.js'
import type { HttpServiceOptions } from '../../backends/cascade/http-service.js'
import { overHttp } from '../../backends/cascade/http-service.js'
import { google } from './facts.js'
import { localeOf, localeOfVoice } from '../../backends/cascade/spoken-locales.js'
import { ClauseVoice, SPEECH_TIMEOUT_MS } from '../../backends/cascade/speech-requests.js'
import type { SpeechManner, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'

interface GoogleOptions extends Omit<HttpServiceOptions, 'apiKey'>, GoogleKeys {
  /** Full name of a voice, or a Chirp 3 HD voice's short name: `Kore`. Overrides the agent's voice. */
  readonly voice?: string
  readonly speed?: number
}

/** The request of `text:synthesize`. test/backends/cascade-wire.test.ts checks it against the vendor's types. */
export interface GoogleSpeechRequest {
  readonly input: { readonly text: string }
  readonly voice: { readonly languageCode: string; readonly name: string }
  readonly audioConfig: {
    /** The service returns the sound as a WAV file. */
    readonly audioEncoding: 'LINEAR16'
    readonly sampleRateHertz: number
    readonly speakingRate?: number
  }
}

const VOICE_DEFAULT = 'Aoede'
/** Locales of English: Chirp 3 HD has no voice for Kenya's locale. */
const LOCALES = ['en-GB']

/** Google Cloud's voices, with one request per sentence. */
export function googleTextToSpeech(
  options: Omit<GoogleOptions, 'baseUrl' | 'model'> & Partial<GoogleOptions>,
): ServiceFactory<TextToSpeech> {
  const { baseUrl, model } = { ...google.services.tts.google.own, ...options }
  const versioned = `${baseUrl.replace(/\/*(?:\/v1)?\/*$/, '')}/v1`
  return overHttp('tts', 'google', SPEECH_TIMEOUT_MS, { ...options, model, baseUrl: versioned }, GoogleRequests)
}

class GoogleRequests extends ClauseVoice<GoogleOptions> {
  protected override readonly speeds = google.services.tts.google.speeds

  protected override get probePath(): string {
    return `/voices?languageCode=${this.#locale(this.context.languages[0] ?? 'en')}`
  }

  protected override headers(): Readonly<Record<string, string>> {
    return googleHeaders(this.options)
  }

  protected override ask(text: string, manner: SpeechManner, signal: AbortSignal) {
    const language = manner.language === '' ? (this.context.languages[0] ?? 'en') : manner.language
    const { voice = manner.voice ?? this.context.voice ?? VOICE_DEFAULT } = this.options
    const own = localeOfVoice(voice)
    const locale = own ?? this.#locale(language)
    const speakingRate = this.speed(manner)
    const request: GoogleSpeechRequest = {
      input: { text },
      voice: { languageCode: locale, name: own === undefined ? `${locale}-Chirp3-HD-${voice}` : voice },
      audioConfig: {
        audioEncoding: 'LINEAR16',
        sampleRateHertz: this.context.legRateHz,
        ...(speakingRate === 1 ? {} : { speakingRate }),
      },
    }
    return this.post('/text:synthesize', request, signal)
  }

  #locale(language: string): string {
    return localeOf(language, LOCALES)
  }
}
