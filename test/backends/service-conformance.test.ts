import t from 'tap'
import { services } from '../../src/vendors/openai/services.js'
import { anthropic } from '../../src/vendors/anthropic/services.js'
import { azureSpeechToText, azureTextToSpeech } from '../../src/vendors/azure/services.js'
import { cartesiaTextToSpeech } from '../../src/vendors/cartesia/services.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { deepgramSpeechToText, deepgramTextToSpeech } from '../../src/vendors/deepgram/services.js'
import { elevenLabsTextToSpeech } from '../../src/vendors/elevenlabs/services.js'
import { gemini } from '../../src/vendors/gemini/services.js'
import { googleSpeechToText } from '../../src/vendors/google/speech-to-text.js'
import { googleTextToSpeech } from '../../src/vendors/google/text-to-speech.js'
import { openAiSpeechToText } from '../../src/backends/cascade/openai-speech-to-text.js'
import { sherpaSpeechToText, voskSpeechToText } from '../../src/vendors/own-recognisers/services.js'
import { sonioxSpeechToText, sonioxTextToSpeech } from '../../src/vendors/soniox/services.js'
import { speech } from '../../src/backends/cascade/speech-requests.js'
import type { ServiceFactory } from '../../src/backends/cascade/service.js'
import { whisper } from '../../src/backends/cascade/whisper-requests.js'
import { LLM_CHECKS, STT_CHECKS, TTS_CHECKS } from '../../src/backends/conformance.js'
import type { ServiceSetup } from '../../src/backends/conformance.js'
import { AnthropicDouble } from '../../src/vendors/anthropic/double.js'
import { AzureSpeechDouble } from '../../src/vendors/azure/double.js'
import { CartesiaVoiceDouble } from '../../src/vendors/cartesia/double.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { DeepgramDouble, DeepgramVoiceDouble } from '../../src/vendors/deepgram/double.js'
import type { DoubleSession, SocketDouble } from '../../src/simulator/vendors/double.js'
import { ElevenLabsVoiceDouble } from '../../src/vendors/elevenlabs/double.js'
import { SherpaDouble, VoskDouble } from '../../src/vendors/own-recognisers/double.js'
import { GeminiTextDouble } from '../../src/vendors/gemini/text-double.js'
import { GoogleSpeechDouble } from '../../src/vendors/google/speech-double.js'
import { GoogleVoiceDouble } from '../../src/vendors/google/voice-double.js'
import { ModelDouble } from '../../src/simulator/vendors/model-double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { TranscriptionDouble } from '../../src/vendors/openai/double.js'

const KEY = 'sk-service-0123456789abcdef'
const service = (baseUrl: string): { baseUrl: string; apiKey: string } => ({ baseUrl, apiKey: KEY })

type Running =
  CascadeDouble | GoogleSpeechDouble | GoogleVoiceDouble | ModelDouble<unknown> | SocketDouble<DoubleSession>

/** A service on one of the doubles; only those with a connection can lose it. */
const on =
  <Service>(
    double: { start(options: { readonly key: string }): Promise<Running> },
    make: (baseUrl: string) => ServiceFactory<Service>,
  ): (() => Promise<ServiceSetup<Service>>) =>
  async () => {
    const running = await double.start({ key: KEY })
    return {
      factory: make(running.baseUrl),
      callerSays: (...texts) => running.script.callerSays(...texts),
      reply: (...replies) => running.script.reply(...replies),
      breakOff: () => {
        if ([CascadeDouble, GoogleVoiceDouble, ModelDouble].some((kind) => running instanceof kind)) return false
        running.breakOff()
        return true
      },
      secret: KEY,
      close: () => running.close(),
    }
  }

const STT = {
  whisper: on(CascadeDouble, (url) => whisper({ ...service(url), model: 'w' })),
  soniox: on(SonioxDouble, (url) => sonioxSpeechToText(service(url))),
  'deepgram nova': on(DeepgramDouble, (url) => deepgramSpeechToText(service(url))),
  'deepgram flux': on(DeepgramDouble, (url) => deepgramSpeechToText({ ...service(url), model: 'flux-general-en' })),
  azure: on(AzureSpeechDouble, (url) => azureSpeechToText(service(url))),
  google: on(GoogleSpeechDouble, (url) => googleSpeechToText(service(url))),
  openai: on(TranscriptionDouble, (url) => services.stt.openai(service(url))),
  vllm: on(TranscriptionDouble, (url) => openAiSpeechToText({ ...service(url), model: 'v', dialect: 'vllm' })),
  vosk: on(VoskDouble, (baseUrl) => voskSpeechToText({ baseUrl })),
  sherpa: on(SherpaDouble, (baseUrl) => sherpaSpeechToText({ baseUrl })),
}
const LLM = {
  chat: on(CascadeDouble, (url) => chat({ ...service(url), model: 'c' })),
  anthropic: on(AnthropicDouble, (url) => anthropic({ ...service(url), model: 'claude-haiku-5-5' })),
  gemini: on(GeminiTextDouble, (url) => gemini({ ...service(url), model: 'gemini-3.8-flash' })),
}
const TTS = {
  speech: on(CascadeDouble, (url) => speech({ ...service(url), model: 's' })),
  soniox: on(SonioxDouble, (url) => sonioxTextToSpeech(service(url))),
  deepgram: on(DeepgramVoiceDouble, (url) => deepgramTextToSpeech(service(url))),
  azure: on(AzureSpeechDouble, (url) => azureTextToSpeech(service(url))),
  google: on(GoogleVoiceDouble, (url) => googleTextToSpeech(service(url))),
  cartesia: on(CartesiaVoiceDouble, (url) => cartesiaTextToSpeech(service(url))),
  elevenlabs: on(ElevenLabsVoiceDouble, (url) => elevenLabsTextToSpeech(service(url))),
}

for (const [name, setup] of Object.entries(STT))
  for (const check of STT_CHECKS) t.test(`stt ${name} ${check.name}`, async () => check.run(setup))
for (const [name, setup] of Object.entries(LLM))
  for (const check of LLM_CHECKS) t.test(`llm ${name} ${check.name}`, async () => check.run(setup))
for (const [name, setup] of Object.entries(TTS))
  for (const check of TTS_CHECKS) t.test(`tts ${name} ${check.name}`, async () => check.run(setup))
