import { speaksOfKey, speaksOfQuota, vendorFault, vendorText } from '../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../backends/transport/vendor-fault.js'
import type { Mark, ServiceContext, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'
import { elevenLabs } from './facts.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import { marksAt, StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

/** Voice used in the examples of the vendor's client. */
const VOICE_DEFAULT = 'JBFqnCBsd6RMkjVDRZzb'
/**
 * Maximum number of contexts of a connection; the service refuses a sixth. A closed context counts until its `isFinal`.
 */
const CONTEXTS_MAX = 5
/** Maximum time in seconds of a context without text. After this time the service closes the context. */
const INACTIVITY_S = 180
/** Interval of keep-alive messages in ms, well below `INACTIVITY_S`. */
const KEEPALIVE_MS = 60_000
/**
 * Interval of keep-alive messages in ms, for contexts that the service closes after 20 s without text. These are
 * contexts of dialogues, and of services that refuse `inactivity_timeout`.
 */
const SHORT_KEEPALIVE_MS = 10_000

/**
 * ElevenLabs' voice over a WebSocket with several contexts. Each answer is one context, with the time of each character.
 */
export function elevenLabsTextToSpeech(options: StreamedVoiceOptions): ServiceFactory<TextToSpeech> {
  return overSocket(
    'tts',
    'elevenlabs',
    elevenLabs.services.tts.elevenlabs.own,
    options,
    StreamedVoice,
    (service, context) =>
      DIALOGUE_MODEL.test(service.model)
        ? dialogueWire(service, context)
        : wireOf(service, context, speechUrl(service, context)),
  )
}

/** Models that the socket for speech refuses with 403, but the socket for dialogues accepts. */
const DIALOGUE_MODEL = /^eleven_v3/

/** `TextToDialogueWebsocketClientMessageMulti` in `@elevenlabs/elevenlabs-js` 2.73.0: one voice, without a speed. */
function dialogueWire(service: VoiceService, context: ServiceContext): VoiceWire {
  const { model, baseUrl, dictionary } = service
  const voice = service.voice ?? context.voice ?? VOICE_DEFAULT
  return {
    ...wireOf(
      service,
      context,
      socketUrl(baseUrl, 'v1/text-to-dialogue/multi-stream-input', {
        model_id: model,
        output_format: `pcm_${context.legRateHz}`,
        ...context.wishes.of({ sync_alignment: true }),
      }),
    ),
    speeds: [1, 1],
    keepalive: {
      everyMs: SHORT_KEEPALIVE_MS,
      messages: (ids) => ids.map((id) => ({ context_id: id, keep_alive: true })),
    },
    begin: (id) => [
      {
        context_id: id,
        voices: [voice],
        ...context.wishes.of({ pronunciation_dictionary_locators: locatorsOf(dictionary) }),
      },
    ],
    text: (id, text) => [{ context_id: id, inputs: [{ text: `${text.trim()} `, voice_id: voice }] }],
    end: (id) => [{ context_id: id, flush: true }],
  }
}

function locatorsOf(dictionary: VoiceService['dictionary']): readonly object[] | undefined {
  return dictionary && [{ pronunciation_dictionary_id: dictionary.id, version_id: dictionary.version }]
}

function speechUrl({ baseUrl, model, ...service }: VoiceService, context: ServiceContext): string {
  const voice = service.voice ?? context.voice ?? VOICE_DEFAULT
  return socketUrl(baseUrl, `v1/text-to-speech/${encodeURIComponent(voice)}/multi-stream-input`, {
    model_id: model,
    output_format: `pcm_${context.legRateHz}`,
    auto_mode: true,
    ...context.wishes.of({
      sync_alignment: true,
      inactivity_timeout: INACTIVITY_S,
      language_code: context.languages[0],
    }),
  })
}

function wireOf({ apiKey, dictionary, what }: VoiceService, context: ServiceContext, url: string): VoiceWire {
  return {
    // With `auto_mode` the service speaks each text at once.
    input: 'sentences',
    // `RealtimeVoiceSettings` in `@elevenlabs/elevenlabs-js` 2.73.0.
    speeds: elevenLabs.services.tts.elevenlabs.speeds,
    socket: {
      url,
      headers: { 'xi-api-key': apiKey },
      faultOf: ({ error, message }) => {
        if (error === undefined) return null
        const words = [error, message].filter((text) => typeof text === 'string').join(': ')
        return closeFault(what, 1008, vendorText(words, [apiKey]))
      },
      closeFault: (code, words) => closeFault(what, code, words),
    },
    placesMax: CONTEXTS_MAX,
    acknowledges: true,
    keepalive: {
      everyMs: context.wishes.leavesOut('inactivity_timeout') ? SHORT_KEEPALIVE_MS : KEEPALIVE_MS,
      // Sends only ids of open contexts: a message with an unknown id would create a context.
      messages: (ids) => ids.map((id) => ({ context_id: id, text: '' })),
    },
    begin: (id, { speed }) => [
      {
        context_id: id,
        text: ' ',
        voice_settings: speed === 1 ? undefined : { speed },
        ...context.wishes.of({ pronunciation_dictionary_locators: locatorsOf(dictionary) }),
      },
    ],
    text: (id, text) => [{ context_id: id, text: `${text.trim()} ` }],
    end: (id) => [{ context_id: id, text: '', flush: true }],
    // A flush is not acknowledged, and a context that is closed before it speaks may stay silent
    // (pipecat-ai/pipecat#4681).
    close: (id) => [{ context_id: id, close_context: true }],
    cancel: (id) => [{ context_id: id, close_context: true }],
    // The end may have one of two names; the vendor's own client accepts both names.
    read: (message, _current, soundMsOf) => {
      const { context_id: named, contextId: id = named, audio, alignment, isFinal, is_final: final = isFinal } = message
      if (typeof id !== 'string') return null
      // The times in a message are relative to the start of the message's sound.
      return { id, audio, marks: marksOf(alignment, soundMsOf(id)), done: final === true, over: final === true }
    },
  }
}

function closeFault(what: string, code: number, words: string): VendorFault | null {
  const message = `${what} closed the session with ${code}${words === '' ? '' : `: ${words}`}`
  if (speaksOfQuota(words) || /quota/i.test(words)) return serviceRefusal(vendorFault('quota', message, false))
  if (/max_active_conversations|too many|rate_limit|concurren/i.test(words))
    return vendorFault('rate_limit', message, false)
  if (/auth|permission/i.test(words) || speaksOfKey(words)) return serviceRefusal(vendorFault('auth', message, false))
  if (/input_timeout|inactivity(?!_timeout)/i.test(words)) return vendorFault('session_expired', message, false)
  if (code === 1008) return serviceRefusal(vendorFault('bad_request', message, false))
  return code === 1011 ? vendorFault('internal', message, false) : null
}

function marksOf(alignment: unknown, fromMs: number): Mark[] {
  const {
    chars,
    char_start_times_ms: ownStarts,
    charStartTimesMs: starts = ownStarts,
    char_durations_ms: ownDurations,
    charDurationsMs: durations = ownDurations,
  } = Object(alignment) as Readonly<Record<string, unknown>>
  if (!Array.isArray(starts) || !Array.isArray(durations)) return []
  const ends = starts.map((start, i) => Number(start) + Number((durations as readonly unknown[])[i]))
  return marksAt(chars, starts, ends, 1, fromMs)
}

export const services = { tts: { elevenlabs: elevenLabsTextToSpeech } }
