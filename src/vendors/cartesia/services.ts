import { httpFault } from '../../backends/transport/vendor-fault.js'
import type { Mark, ServiceContext, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'
import { cartesia } from './facts.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import type { ServiceMessage } from '../../backends/cascade/service-socket.js'
import { marksAt, StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

/** Version of the protocol in `@cartesia/cartesia-js` 4.2.0. */
const VERSION = '2026-08-14'
/** Voice used in the examples of the vendor's client. */
const VOICE_DEFAULT = 'e07c00bc-4134-4eae-9ea4-1a55fb45746b'
const LANGUAGE_DEFAULT = 'en'
/**
 * Maximum number of simultaneous contexts of one call. The account's plan has its own limit, which the service reports.
 */
const CONTEXTS_MAX = 4

/** Cartesia's voice over a WebSocket. Each answer is one context, with the times of its words. */
export function cartesiaTextToSpeech(options: StreamedVoiceOptions): ServiceFactory<TextToSpeech> {
  return overSocket('tts', 'cartesia', cartesia.services.tts.cartesia.own, options, StreamedVoice, wireOf)
}

function wireOf({ apiKey, model, baseUrl, dictionary, what }: VoiceService, context: ServiceContext): VoiceWire {
  const faultOf = ({ type, status_code: status, title, message }: ServiceMessage) => {
    if (type !== 'error') return null
    const body = [title, message].filter((text) => typeof text === 'string').join(': ')
    return serviceRefusal(httpFault(what, { status: typeof status === 'number' ? status : 500, body }, [apiKey]))
  }
  /** Settings of speech by context. Each message with a text of the context repeats these settings. */
  const manners = new Map<string, Readonly<Record<string, unknown>>>()
  const piece = (id: string, transcript: string, more: boolean): Readonly<Record<string, unknown>> => ({
    ...manners.get(id),
    context_id: id,
    transcript,
    continue: more,
  })
  return {
    // With the delay below, the service speaks each text as it arrives. So each text must be a whole sentence.
    input: 'sentences',
    speeds: cartesia.services.tts.cartesia.speeds,
    socket: {
      url: socketUrl(baseUrl, 'tts/websocket'),
      headers: { Authorization: `Bearer ${apiKey}`, 'Cartesia-Version': VERSION },
      faultOf: (message) => (message['context_id'] == null ? faultOf(message) : null),
    },
    placesMax: CONTEXTS_MAX,
    // The service does not always acknowledge a cancel. Sound that still arrives is dropped by its context id.
    acknowledges: false,
    begin: (id, { language, speed, voice = VOICE_DEFAULT }) => {
      manners.set(id, {
        model_id: model,
        voice: { mode: 'id', id: voice },
        language: language === '' ? LANGUAGE_DEFAULT : language,
        output_format: { container: 'raw', encoding: 'pcm_s16le', sample_rate: context.legRateHz },
        generation_config: speed === 1 ? undefined : { speed },
        // Without this delay the service waits 3 s for more text.
        ...context.wishes.of({
          add_timestamps: true,
          max_buffer_delay_ms: 0,
          pronunciation_dict_id: dictionary?.id,
        }),
      })
      return []
    },
    // The service joins the texts of a context without adding spaces.
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

/** @returns the words with their times in seconds since the beginning of the context */
function marksOf(timestamps: unknown): Mark[] {
  const { words, start, end } = Object(timestamps) as Readonly<Record<string, unknown>>
  return marksAt(words, start, end, 1000).map((mark) => ({ ...mark, text: `${mark.text} ` }))
}

export const services = { tts: { cartesia: cartesiaTextToSpeech } }
