import { objectsIn } from '../../core/json.js'
import { httpFault, vendorFault } from '../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../backends/transport/vendor-fault.js'
import { termsOf } from '../../backends/vocabulary.js'
import { numberIn, wordIn } from '../../backends/cascade/recogniser-turns.js'
import type { Piece } from '../../backends/cascade/recogniser-turns.js'
import { soniox } from './facts.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import type { SocketService, SocketServiceOptions, ServiceMessage } from '../../backends/cascade/service-socket.js'
import type { SpeechToText, ServiceContext, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'
import { StreamedRecogniser } from '../../backends/cascade/streamed-recogniser.js'
import type {
  RecogniserOptions,
  RecogniserService,
  RecogniserWire,
} from '../../backends/cascade/streamed-recogniser.js'
import { marksAt, StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

/**
 * Interval of keep-alive messages, in milliseconds. The recogniser closes a session after 20 s without a message, the
 * voice a connection after 30 s.
 */
const KEEPALIVE_MS = 10_000
const VOICE_KEEPALIVE_MS = 15_000
/** Maximum wait in ms for the words after `finalize`, which the service acknowledges. */
const FINALIZE_MS = 700
/** Maximum duration of a session in ms, fixed by the service. */
const SESSION_MS = 300 * 60_000

/** Soniox's recogniser. */
export function sonioxSpeechToText(options: RecogniserOptions): ServiceFactory<SpeechToText> {
  return overSocket('stt', 'soniox', soniox.services.stt.soniox.own, options, StreamedRecogniser, recogniserWire)
}

function recogniserWire(service: RecogniserService, context: ServiceContext): RecogniserWire {
  const { baseUrl, apiKey, model, sessionMs = SESSION_MS } = service
  const terms = termsOf(service.terms, context.vocabulary)
  const about = service.context === '' ? undefined : service.context
  const { languages, inputRateHz, malformed, wishes } = context
  // G.711 preserves all sound of an 8 kHz leg.
  const mulaw = inputRateHz === 8000
  return {
    socket: {
      url: socketUrl(baseUrl, 'transcribe-websocket'),
      faultOf: (message) => sonioxFault(message, service),
    },
    audio: mulaw ? 'mulaw' : 'pcm16',
    hello: {
      api_key: apiKey,
      model,
      audio_format: mulaw ? 'mulaw' : 'pcm_s16le',
      sample_rate: inputRateHz,
      num_channels: 1,
      enable_endpoint_detection: false,
      ...wishes.of({
        enable_language_identification: true,
        language_hints: languages.length === 0 ? undefined : languages,
        context:
          terms.length === 0 && about === undefined
            ? undefined
            : { text: about, terms: terms.length === 0 ? undefined : terms },
      }),
    },
    keepalive: { everyMs: KEEPALIVE_MS, message: { type: 'keepalive' } },
    finalize: (silenceMs) => ({
      type: 'finalize',
      ...wishes.of({ trailing_silence_ms: silenceMs > 0 ? silenceMs : undefined }),
    }),
    finalizeMs: FINALIZE_MS,
    sessionMs,
    charges: 'session',
    read: ({ tokens }, turns) => {
      const stable: Piece[] = []
      const tentative: Piece[] = []
      let finalized = 0
      // A token is a piece of a word with its own leading space.
      for (const { text, start_ms, language, is_final } of objectsIn(tokens)) {
        if (typeof text !== 'string') malformed()
        else if (!/^<\w+>$/.test(text))
          (is_final === true ? stable : tentative).push({
            text,
            fromMs: numberIn(start_ms),
            language: wordIn(language),
          })
        else if (text === '<fin>' && is_final === true) finalized++
      }
      turns.heard(stable, tentative)
      for (; finalized > 0 && turns.oldest !== null; finalized--) turns.answered(turns.oldest)
    },
  }
}

// --- the voice ---------------------------------------------------------------------------------------------

const VOICE_DEFAULT = 'Adrian'
/** Default language of a session. */
const LANGUAGE_DEFAULT = 'en'
/**
 * Maximum number of streams of one connection. The service counts a cancelled stream until it has acknowledged the
 * cancel.
 */
const STREAMS_MAX = 5

/** Soniox's voice over a WebSocket. Each answer is one stream, which gets its words while the model writes them. */
export function sonioxTextToSpeech(options: StreamedVoiceOptions): ServiceFactory<TextToSpeech> {
  return overSocket('tts', 'soniox', soniox.services.tts.soniox.own, options, StreamedVoice, voiceWire)
}

function voiceWire(service: VoiceService, context: ServiceContext): VoiceWire {
  const { apiKey, model, baseUrl } = service
  return {
    input: 'words',
    speeds: soniox.services.tts.soniox.speeds,
    socket: {
      url: socketUrl(baseUrl, 'tts-websocket'),
      // An error of one utterance has an id; the utterance's own handler reads it.
      faultOf: (message) => (message['stream_id'] === undefined ? sonioxFault(message, service) : null),
    },
    placesMax: STREAMS_MAX,
    acknowledges: true,
    // The API key is only sent in the first message of a stream, so a probe is needed to check it.
    probes: true,
    keepalive: { everyMs: VOICE_KEEPALIVE_MS, messages: () => [{ keep_alive: true }] },
    begin: (id, { language, speed, voice: name = VOICE_DEFAULT }) => [
      {
        api_key: apiKey,
        model,
        language: language === '' ? LANGUAGE_DEFAULT : language,
        voice: name,
        audio_format: 'pcm_s16le',
        sample_rate: context.legRateHz,
        ...context.wishes.of({ return_timestamps: true }),
        stream_id: id,
        speed: speed === 1 ? undefined : speed,
      },
    ],
    text: (id, text) => [{ stream_id: id, text, text_end: false }],
    end: (id) => [{ stream_id: id, text: '', text_end: true }],
    cancel: (id) => [{ stream_id: id, cancel: true }],
    read: (message) => {
      const { stream_id: id, audio, timestamps, audio_end: end, terminated } = message
      if (typeof id !== 'string') return null
      const fault = sonioxFault(message, service)
      if (fault !== null) return { id, fault }
      const {
        characters,
        character_start_times_seconds: starts,
        character_end_times_seconds: ends,
      } = Object(timestamps) as Readonly<Record<string, unknown>>
      return {
        id,
        marks: marksAt(characters, starts, ends, 1000),
        audio,
        done: end === true || terminated === true,
        over: terminated === true,
      }
    },
  }
}

/** @returns the fault of a Soniox error, from recogniser or voice; null for other messages */
function sonioxFault(
  { error_code: code, error_message: text }: ServiceMessage,
  { what, apiKey }: SocketService<SocketServiceOptions>,
): VendorFault | null {
  if (code === undefined && text === undefined) return null
  const status = typeof code === 'number' ? code : 500
  const fault = httpFault(what, { status, body: typeof text === 'string' ? text : '' }, [apiKey])
  // 408: the session was idle too long. 503: the service restarts and requires a new session.
  if (status === 408 || status === 503) return vendorFault('session_expired', fault.message, false)
  return serviceRefusal(fault)
}

export const services = { stt: { soniox: sonioxSpeechToText }, tts: { soniox: sonioxTextToSpeech } }
