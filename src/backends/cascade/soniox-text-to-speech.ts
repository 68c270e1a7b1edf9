import { pricedModel } from '../prices.js'
import { sonioxFault } from './soniox-fault.js'
import type { Mark, StageContext, StageFactory, TextToSpeech } from './stage.js'
import { socketUrl } from './stage-socket.js'
import { marksAt, StreamedVoice } from './streamed-voice.js'
import type { StreamedVoiceOptions, VoiceWire } from './streamed-voice.js'

const BASE_URL = 'wss://tts-rt.soniox.com'
const SONIOX_TTS_MODEL = 'tts-rt-v2'
const VOICE_DEFAULT = 'Adrian'
/** For a session without a language. */
const LANGUAGE_DEFAULT = 'en'
const SPEED_MIN = 0.7
const SPEED_MAX = 1.3
/** The service closes a connection that gets nothing for 30 s. */
const KEEPALIVE_MS = 15_000
/** Streams of one connection at the service; those that were cancelled count until they are acknowledged. */
const STREAMS_MAX = 5

/** Soniox's voice over a WebSocket: each answer is one stream, which gets its words while they are written. */
export function sonioxTextToSpeech(options: StreamedVoiceOptions): StageFactory<TextToSpeech> {
  const { model = SONIOX_TTS_MODEL, baseUrl = BASE_URL } = options
  return {
    service: 'soniox',
    model: pricedModel(model, baseUrl),
    make: (context) => new StreamedVoice(wireOf({ ...options, model, baseUrl }, context), context),
  }
}

function wireOf(
  options: StreamedVoiceOptions & { readonly model: string; readonly baseUrl: string },
  context: StageContext,
): VoiceWire {
  const { apiKey, model, baseUrl, connectTimeoutMs, timeoutMs, speed: own = 1 } = options
  const named = { what: `${context.name}: tts soniox`, apiKey }
  return {
    service: 'soniox',
    model: pricedModel(model, baseUrl),
    input: 'words',
    timeoutMs,
    socket: {
      url: socketUrl(baseUrl, 'tts-websocket'),
      apiKey,
      connectTimeoutMs,
      // An error of one utterance has its id, and is for whoever speaks it.
      faultOf: (message) => (message['stream_id'] === undefined ? sonioxFault(message, named) : null),
    },
    placesMax: STREAMS_MAX,
    acknowledges: true,
    // The key goes in the first message of a stream.
    probes: true,
    keepalive: { everyMs: KEEPALIVE_MS, messages: () => [{ keep_alive: true }] },
    begin: (id, { language, speed, voice = context.voice }) => [
      {
        api_key: apiKey,
        model,
        language: language === '' ? LANGUAGE_DEFAULT : language,
        voice: options.voice ?? voice ?? VOICE_DEFAULT,
        audio_format: 'pcm_s16le',
        sample_rate: context.legRateHz,
        return_timestamps: true,
        stream_id: id,
        ...(own * speed === 1 ? {} : { speed: Math.min(SPEED_MAX, Math.max(SPEED_MIN, own * speed)) }),
      },
    ],
    text: (id, text) => ({ stream_id: id, text, text_end: false }),
    end: (id) => [{ stream_id: id, text: '', text_end: true }],
    cancel: (id) => [{ stream_id: id, cancel: true }],
    read: (message) => {
      const { stream_id: id, audio, timestamps, audio_end: end, terminated } = message
      if (typeof id !== 'string') return null
      const fault = sonioxFault(message, named)
      if (fault !== null) return { id, fault }
      return {
        id,
        marks: marksOf(timestamps),
        ...(typeof audio === 'string' ? { audio } : {}),
        done: end === true || terminated === true,
        over: terminated === true,
      }
    },
  }
}

/** Characters with their times in seconds; empty for anything else. */
function marksOf(timestamps: unknown): Mark[] {
  if (typeof timestamps !== 'object' || timestamps === null) return []
  const {
    characters,
    character_start_times_seconds: starts,
    character_end_times_seconds: ends,
  } = timestamps as Readonly<Record<string, unknown>>
  return marksAt(characters, starts, ends, 1000)
}
