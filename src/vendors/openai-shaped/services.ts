import { chat } from '../../backends/cascade/chat-requests.js'
import { openAiSpeechToText } from '../../backends/cascade/openai-speech-to-text.js'
import { speech } from '../../backends/cascade/speech-requests.js'
import { whisper } from '../../backends/cascade/whisper-requests.js'

export const services = { stt: { whisper, realtime: openAiSpeechToText }, llm: { chat }, tts: { speech } }
