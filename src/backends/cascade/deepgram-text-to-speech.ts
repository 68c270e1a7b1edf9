import { pricedModel } from '../prices.js'
import type { StageContext, StageFactory, TextToSpeech } from './stage.js'
import { deepgramFault } from './deepgram-fault.js'
import { socketUrl } from './stage-socket.js'
import { StreamedVoice } from './streamed-voice.js'
import type { StreamedVoiceOptions, VoiceWire } from './streamed-voice.js'

/** The voice is part of the model: `flux-alexis-en`. It goes before the voice that the agent names. */
type DeepgramVoiceOptions = Omit<StreamedVoiceOptions, 'voice'>

const BASE_URL = 'wss://api.deepgram.com'
/** The example of `SpeakV2Model` in `@deepgram/sdk` 5.13.0. */
const MODEL = 'flux-alexis-en'
const SPEED_MIN = 0.5
const SPEED_MAX = 1.5
/** Other speeds are refused. */
const SPEED_STEP = 0.05
/** Warnings after which an Interrupt has done nothing. */
const IGNORED = /^(NO_AUDIO_GENERATED|INTERRUPT_IN_PROGRESS|INVALID_INTERRUPT_OFFSET|NO_ACTIVE_SPEECH)$/

/** Deepgram's Flux voice, `/v2/speak`: one answer at a time, and the service tells which words were heard of it. */
export function deepgramTextToSpeech(options: DeepgramVoiceOptions): StageFactory<TextToSpeech> {
  const { baseUrl = BASE_URL } = options
  return {
    service: 'deepgram',
    // The voices of a model cost the same, and the agent's is not known yet.
    model: pricedModel(options.model ?? MODEL, baseUrl),
    make: (context) => new StreamedVoice(wireOf({ ...options, baseUrl }, context), context),
  }
}

function wireOf(options: DeepgramVoiceOptions & { readonly baseUrl: string }, context: StageContext): VoiceWire {
  const { apiKey, baseUrl, connectTimeoutMs, timeoutMs, speed: own = 1 } = options
  const what = `${context.name}: tts deepgram`
  const model = options.model ?? context.voice ?? MODEL
  let speedNow = 1
  /** The utterance that was given text last: without text there is nothing to interrupt, and nothing that would end. */
  let given: string | null = null
  /** The utterance that the last Interrupt is for, until it is answered. */
  let interrupted: string | null = null
  /** Each Interrupt must be later than the one before it. */
  let interruptedAtMs = 0
  return {
    service: 'deepgram',
    model: pricedModel(options.model ?? MODEL, baseUrl),
    input: 'words',
    timeoutMs,
    socket: {
      url: socketUrl(baseUrl, 'v2/speak', { model, encoding: 'linear16', sample_rate: context.legRateHz }),
      headers: { Authorization: `Token ${apiKey}` },
      apiKey,
      connectTimeoutMs,
      faultOf: (message) => deepgramFault(message, what, apiKey),
    },
    placesMax: 1,
    acknowledges: true,
    begin: (_id, { speed }) => {
      const wanted = Math.min(SPEED_MAX, Math.max(SPEED_MIN, Math.round((own * speed) / SPEED_STEP) * SPEED_STEP))
      if (Math.abs(wanted - speedNow) < SPEED_STEP / 2) return []
      speedNow = wanted
      return [{ type: 'Configure', speed: Number(wanted.toFixed(2)) }]
    },
    text: (id, text) => {
      given = id
      return { type: 'Speak', text }
    },
    end: () => [{ type: 'Flush' }],
    cancel: (id, atMs) => {
      if (id !== given) return []
      interrupted = id
      if (atMs === null) return [{ type: 'Interrupt' }]
      interruptedAtMs = Math.max(interruptedAtMs + 1, atMs)
      return [{ type: 'Interrupt', playback_offset: { type: 'time_ms', value: interruptedAtMs } }]
    },
    read: ({ type, code, audio_played_ms: playedMs, text_spoken: spoken }, current) => {
      switch (type) {
        case 'SpeechMetadata':
          return current === null ? null : { id: current, done: true, over: true }
        case 'SpeechInterrupted': {
          const id = interrupted ?? current
          interrupted = null
          if (typeof playedMs === 'number') interruptedAtMs = playedMs
          return id === null
            ? null
            : {
                id,
                over: true,
                ...(typeof playedMs === 'number' ? { playedMs } : {}),
                ...(typeof spoken === 'string' ? { heard: spoken } : {}),
              }
        }
        case 'Warning': {
          if (interrupted === null || !IGNORED.test(String(code))) return null
          const ignored = interrupted
          interrupted = null
          // What it was for is spoken to its end, which nobody hears.
          return ignored === current ? { id: current, send: [{ type: 'Flush' }] } : null
        }
        default:
          return null
      }
    },
  }
}
