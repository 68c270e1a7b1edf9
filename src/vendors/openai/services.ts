import { openAiSpeechToText } from '../self-hosted/realtime/speech-to-text.js'
import type { OpenAiOptions } from '../self-hosted/realtime/speech-to-text.js'
import { openAi } from './facts.js'

export const services = {
  stt: {
    openai: (options: Partial<OpenAiOptions> & Pick<OpenAiOptions, 'apiKey'>) =>
      openAiSpeechToText({ ...openAi.services.stt.openai.own, ...options }),
  },
}
