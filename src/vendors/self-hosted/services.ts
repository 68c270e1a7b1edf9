import { chat } from '../../backends/cascade/chat-requests.js'
import { openAiSpeechToText } from './realtime/speech-to-text.js'
import { speech } from '../../backends/cascade/speech-requests.js'
import { whisper } from './whisper-requests.js'

export const services = { stt: { whisper, realtime: openAiSpeechToText }, llm: { chat }, tts: { speech } }
