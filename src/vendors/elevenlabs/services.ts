import { speaksOfKey, speaksOfQuota, vendorFault, vendorText } from '../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../backends/transport/vendor-fault.js'
import type { Mark, ServiceContext, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'
import { elevenLabs } from './facts.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import { marksAt, StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

/** The one of the client's own examples. */
const VOICE_DEFAULT = 'JBFqnCBsd6RMkjVDRZzb'
/** A sixth context of a connection is refused; closed ones count until their `isFinal` has come. */
const CONTEXTS_MAX = 5
/** A context that gets nothing for this long is closed; the most that the service allows. */
const INACTIVITY_S = 180
/** Well below that. */
const KEEPALIVE_MS = 60_000

/** ElevenLabs' voice over a WebSocket with several contexts: each answer is one, and tells when each character sounds. */
export function elevenLabsTextToSpeech(options: StreamedVoiceOptions): ServiceFactory<TextToSpeech> {
  return overSocket(
    'tts',
    'elevenlabs',
    elevenLabs.services.tts.elevenlabs.own,
    options,
    StreamedVoice,
    (service, context) => (DIALOGUE_MODEL.test(service.model) ? dialogueWire : wireOf)(service, context),
  )
}

/** The socket for speech refuses these models with 403; that for dialogues speaks them. */
const DIALOGUE_MODEL = /^eleven_v3/
/** A context of a dialogue that gets nothing for 20 s is closed. */
const DIALOGUE_KEEPALIVE_MS = 10_000

/** `TextToDialogueWebsocketClientMessageMulti` in `@elevenlabs/elevenlabs-js` 2.73.0: one voice, without a speed. */
function dialogueWire(service: VoiceService, context: ServiceContext): VoiceWire {
  const { model, baseUrl, dictionary } = service
  const voice = service.voice ?? context.voice ?? VOICE_DEFAULT
  return {
    ...wireOf(service, context),
    speeds: [1, 1],
    socket: {
      ...wireOf(service, context).socket,
      url: socketUrl(baseUrl, 'v1/text-to-dialogue/multi-stream-input', {
        model_id: model,
        output_format: `pcm_${context.legRateHz}`,
        sync_alignment: true,
      }),
    },
    keepalive: {
      everyMs: DIALOGUE_KEEPALIVE_MS,
      messages: (ids) => ids.map((id) => ({ context_id: id, keep_alive: true })),
    },
    begin: (id) => [
      {
        context_id: id,
        voices: [voice],
        pronunciation_dictionary_locators: locatorsOf(dictionary),
      },
    ],
    text: (id, text) => [{ context_id: id, inputs: [{ text: `${text.trim()} `, voice_id: voice }] }],
    end: (id) => [{ context_id: id, flush: true }],
  }
}

function locatorsOf(dictionary: VoiceService['dictionary']): readonly object[] | undefined {
  return dictionary && [{ pronunciation_dictionary_id: dictionary.id, version_id: dictionary.version }]
}

function wireOf(service: VoiceService, context: ServiceContext): VoiceWire {
  const { apiKey, model, baseUrl, dictionary, what } = service
  const voice = service.voice ?? context.voice ?? VOICE_DEFAULT
  const { languages, legRateHz } = context
  return {
    // With `auto_mode` the service speaks each text at once.
    input: 'sentences',
    // `RealtimeVoiceSettings` in `@elevenlabs/elevenlabs-js` 2.73.0.
    speeds: elevenLabs.services.tts.elevenlabs.speeds,
    socket: {
      url: socketUrl(baseUrl, `v1/text-to-speech/${encodeURIComponent(voice)}/multi-stream-input`, {
        model_id: model,
        output_format: `pcm_${legRateHz}`,
        auto_mode: true,
        sync_alignment: true,
        inactivity_timeout: INACTIVITY_S,
        ...(languages[0] === undefined ? {} : { language_code: languages[0] }),
      }),
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
      everyMs: KEEPALIVE_MS,
      // A message for a context that is not open would create one.
      messages: (ids) => ids.map((id) => ({ context_id: id, text: '' })),
    },
    begin: (id, { speed }) => [
      {
        context_id: id,
        text: ' ',
        voice_settings: speed === 1 ? undefined : { speed },
        pronunciation_dictionary_locators: locatorsOf(dictionary),
      },
    ],
    text: (id, text) => [{ context_id: id, text: `${text.trim()} ` }],
    end: (id) => [{ context_id: id, text: '', flush: true }],
    // A flush has no end of its own, and a context that is closed before it speaks may stay silent (pipecat-ai/pipecat#4681).
    close: (id) => [{ context_id: id, close_context: true }],
    cancel: (id) => [{ context_id: id, close_context: true }],
    // Its own client has both names for the end.
    read: (message, _current, soundMsOf) => {
      const { context_id: named, contextId: id = named, audio, alignment, isFinal, is_final: final = isFinal } = message
      if (typeof id !== 'string') return null
      // The times of a message begin with that message's own sound.
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
  if (/input_timeout|inactiv/i.test(words)) return vendorFault('session_expired', message, false)
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
