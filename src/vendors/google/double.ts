import { GoogleSpeechDouble } from './speech-double.js'
import { GoogleVoiceDouble } from './voice-double.js'

export const doubles = {
  google: [
    [GoogleSpeechDouble, 'GOOGLE_STT_URL'],
    [GoogleVoiceDouble, 'GOOGLE_TTS_URL'],
  ],
}
