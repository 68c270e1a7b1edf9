import { httpFault } from '../../backends/transport/vendor-fault.js'
import type { Mark, ServiceContext, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'
import { cartesia } from './facts.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import type { ServiceMessage } from '../../backends/cascade/service-socket.js'
import { marksAt, StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

/** The protocol of `@cartesia/cartesia-js` 4.2.0. */
const VERSION = '2026-08-14'
/** The one of the client's own examples. */
const VOICE_DEFAULT = 'e07c00bc-4134-4eae-9ea4-1a55fb45746b'
const LANGUAGE_DEFAULT = 'en'
/** Contexts of one call at the same time. The account's plan has its own limit, which it reports. */
const CONTEXTS_MAX = 4

/** Cartesia's voice over a WebSocket: each answer is one context, which tells when each word sounds. */
export function cartesiaTextToSpeech(options: StreamedVoiceOptions): ServiceFactory<TextToSpeech> {
  return overSocket('tts', 'cartesia', cartesia.services.tts.cartesia.own, options, StreamedVoice, wireOf)
}

function wireOf({ apiKey, model, baseUrl, dictionary, what }: VoiceService, context: ServiceContext): VoiceWire {
  const faultOf = ({ type, status_code: status, title, message }: ServiceMessage) => {
    if (type !== 'error') return null
    const body = [title, message].filter((text) => typeof text === 'string').join(': ')
    return serviceRefusal(httpFault(what, { status: typeof status === 'number' ? status : 500, body }, [apiKey]))
  }
  /** By context: how its texts are spoken, which goes with each of them. */
  const manners = new Map<string, Readonly<Record<string, unknown>>>()
  const piece = (id: string, transcript: string, more: boolean): Readonly<Record<string, unknown>> => ({
    ...manners.get(id),
    context_id: id,
    transcript,
    continue: more,
  })
  return {
    // With the delay below each text is spoken as it comes, and must make sense by itself.
    input: 'sentences',
    speeds: cartesia.services.tts.cartesia.speeds,
    socket: {
      url: socketUrl(baseUrl, 'tts/websocket'),
      headers: { Authorization: `Bearer ${apiKey}`, 'Cartesia-Version': VERSION },
      faultOf: (message) => (message['context_id'] == null ? faultOf(message) : null),
    },
    placesMax: CONTEXTS_MAX,
    // Nothing is promised to follow, and what is being generated may still come: it is dropped by its id.
    acknowledges: false,
    begin: (id, { language, speed, voice = VOICE_DEFAULT }) => {
      manners.set(id, {
        model_id: model,
        voice: { mode: 'id', id: voice },
        language: language === '' ? LANGUAGE_DEFAULT : language,
        output_format: { container: 'raw', encoding: 'pcm_s16le', sample_rate: context.legRateHz },
        add_timestamps: true,
        // When it is not set, the service collects text for 3 s.
        max_buffer_delay_ms: 0,
        generation_config: speed === 1 ? undefined : { speed },
        pronunciation_dict_id: dictionary?.id,
      })
      return []
    },
    // Texts of a context are joined as they are.
    text: (id, text) => [piece(id, `${text.trim()} `, true)],
    end: (id) => [piece(id, '', false)],
    cancel: (id) => {
      manners.delete(id)
      return [{ context_id: id, cancel: true }]
    },
    read: (message) => {
      const { context_id: id, type, data, word_timestamps: timestamps } = message
      if (typeof id !== 'string') return null
      const fault = faultOf(message)
      const over = type === 'done' || fault !== null
      if (over) manners.delete(id)
      return {
        id,
        fault,
        audio: type === 'chunk' ? data : null,
        marks: type === 'timestamps' ? marksOf(timestamps) : [],
        done: over,
        over,
      }
    },
  }
}

/** Words with their times in seconds since the beginning of the context. */
function marksOf(timestamps: unknown): Mark[] {
  const { words, start, end } = Object(timestamps) as Readonly<Record<string, unknown>>
  return marksAt(words, start, end, 1000).map((mark) => ({ ...mark, text: `${mark.text} ` }))
}

export const services = { tts: { cartesia: cartesiaTextToSpeech } }
