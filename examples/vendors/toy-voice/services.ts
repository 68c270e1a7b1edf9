import { overHttp } from '../../backends/cascade/http-service.js'
import type { HttpServiceOptions } from '../../backends/cascade/http-service.js'
import type { ServiceFactory, SpeechManner, TextToSpeech } from '../../backends/cascade/service.js'
import { ClauseVoice, SPEECH_TIMEOUT_MS } from '../../backends/cascade/speech-requests.js'
import { toyVoice } from './facts.js'
import type { ToySpeechRequest } from './wire.js'

interface ToyVoiceOptions extends HttpServiceOptions {
  /** Goes before the agent's. */
  readonly voice?: string
  readonly speed?: number
}

const VOICE_DEFAULT = 'tausi'

function toyTextToSpeech(
  options: Omit<ToyVoiceOptions, 'baseUrl' | 'model'> & Partial<ToyVoiceOptions>,
): ServiceFactory<TextToSpeech> {
  const { own } = toyVoice.services.tts['toy-voice']
  return overHttp('tts', 'toy-voice', SPEECH_TIMEOUT_MS, { ...own, ...options }, ToyVoice)
}

class ToyVoice extends ClauseVoice<ToyVoiceOptions> {
  protected override readonly speeds = toyVoice.services.tts['toy-voice'].speeds

  protected override ask(text: string, manner: SpeechManner, signal: AbortSignal) {
    const { model } = this.options
    const { voice = manner.voice ?? this.context.voice ?? VOICE_DEFAULT } = this.options
    const speed = this.speed(manner)
    const request: ToySpeechRequest = { model, voice, text, ...(speed === 1 ? {} : { speed }) }
    return this.post('/speech', request, signal)
  }
}

export const services = { tts: { 'toy-voice': toyTextToSpeech } }
