import { googleSpeechToText } from './speech-to-text.js'
import { googleTextToSpeech } from './text-to-speech.js'

export const services = { stt: { google: googleSpeechToText }, tts: { google: googleTextToSpeech } }
