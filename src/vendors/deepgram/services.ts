import { objectsIn } from '../../core/json.js'
import { vendorFault, vendorText, vendorWord } from '../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../backends/transport/vendor-fault.js'
import { termsOf } from '../../backends/vocabulary.js'
import { numberIn, wordIn } from '../../backends/cascade/recogniser-turns.js'
import type { Piece, SessionTurn } from '../../backends/cascade/recogniser-turns.js'
import { deepgram } from './facts.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import type { SocketService, SocketServiceOptions, ServiceMessage } from '../../backends/cascade/service-socket.js'
import type { SpeechToText, ServiceContext, ServiceFactory, TextToSpeech } from '../../backends/cascade/service.js'
import { StreamedRecogniser } from '../../backends/cascade/streamed-recogniser.js'
import type {
  RecogniserOptions,
  RecogniserService,
  RecogniserWire,
} from '../../backends/cascade/streamed-recogniser.js'
import { StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

/** The service closes a connection that gets nothing for 10 s. */
const KEEPALIVE_MS = 4000
/** With little audio `Finalize` is answered by nothing (deepgram-js-sdk#343). */
const FINALIZE_MS = 400
/** Also while no word has arrived: without words nobody would get an answer. */
const ANSWER_MS = 1000
/** The end of a turn that was forced is acknowledged, unless the service heard no speech. */
const FORCE_END_MS = 700
/** @deepgram/sdk 5.13.0, ListenV2EotThreshold and ListenV2EotTimeoutMs: the service ends no turn by itself, or the latest. */
const END_OF_TURN = { eot_threshold: 1, eot_timeout_ms: 60_000 }
/** Flux tells the words of each 80 ms. */
const FLUX_MESSAGE_MS = 80

// The parts of Deepgram's messages that are used. Field names are the vendor's. Checked against the vendor's published
// types by test/backends/cascade-wire.test.ts.

export interface DeepgramResults {
  readonly is_final?: boolean | undefined
  readonly from_finalize?: boolean | undefined
  readonly start?: number
  readonly duration?: number
  readonly channel?: { readonly alternatives?: readonly { readonly words?: readonly object[] }[] }
}

export interface DeepgramTurnInfo {
  readonly event?: string
  readonly words?: readonly object[]
  readonly languages?: readonly string[] | undefined
  readonly trigger?: string | undefined
}

/** Deepgram's recognisers: models whose name begins with `flux` (`/v2/listen`), and Nova (`/v1/listen`). */
export function deepgramSpeechToText(options: RecogniserOptions): ServiceFactory<SpeechToText> {
  return overSocket(
    'stt',
    'deepgram',
    deepgram.services.stt.deepgram.own,
    options,
    StreamedRecogniser,
    (service, context) => (service.model.startsWith('flux') ? flux : nova)(service, context),
  )
}

function nova(service: RecogniserService, context: ServiceContext): RecogniserWire {
  const { languages } = context
  return {
    ...common(service, context, 'v1/listen', {
      language: languages.length > 1 ? 'multi' : (languages[0] ?? 'en'),
      interim_results: true,
      smart_format: true,
      // The service would wait for the rest of a number, which smart_format writes as one.
      no_delay: true,
      endpointing: false,
    }),
    keepalive: { everyMs: KEEPALIVE_MS, message: { type: 'KeepAlive' } },
    finalize: () => ({ type: 'Finalize' }),
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    read: (message, turns) => {
      if (message['type'] !== 'Results') return
      const { is_final, from_finalize, start, duration, channel } = message as DeepgramResults
      const pieces = piecesOf(channel?.alternatives?.[0]?.words, context)
      // A final result settles its range of the audio; a turn has several.
      if (is_final === true) turns.heard(pieces, [], true)
      else turns.heard([], pieces)
      if (from_finalize !== true) return
      const turn = turns.at((numberIn(start, 1000) ?? 0) + (numberIn(duration, 1000) ?? 0) - 1)
      if (turn !== null) turns.answered(turn)
    },
  }
}

/** Flux tells the whole of its own turns, which are not always those of the gateway: it may have missed the end of one. */
function flux(service: RecogniserService, context: ServiceContext): RecogniserWire {
  /** Words of the service's own turns that are over, of the gateway's turn that is open. */
  let settled: { readonly turn: SessionTurn; readonly pieces: readonly Piece[] } | null = null
  return {
    ...common(service, context, 'v2/listen', {
      ...END_OF_TURN,
      language_hint: service.model.endsWith('-multi') ? context.languages : [],
    }),
    messageMs: FLUX_MESSAGE_MS,
    // It knows no KeepAlive.
    keepalive: { everyMs: KEEPALIVE_MS, message: null },
    finalize: () => ({ type: 'ForceEndTurn' }),
    finalizeMs: FORCE_END_MS,
    read: (message, turns) => {
      if (message['type'] !== 'TurnInfo') return
      const { event, words, languages: spoken, trigger } = message as DeepgramTurnInfo
      // Words without a time are of the oldest turn that has not got all of its words.
      const told = [...turns.byTurn(piecesOf(words, context, wordIn(spoken?.[0])), turns.oldest)]
      for (const [turn, own] of told) {
        const pieces = [...(settled?.turn === turn ? settled.pieces : []), ...own]
        turns.told(turn, pieces)
        if (event === 'EndOfTurn') settled = { turn, pieces }
      }
      const ended = told.at(-1)?.[0] ?? turns.oldest
      if (event === 'EndOfTurn' && trigger === 'manual' && ended !== null) turns.answered(ended)
    },
  }
}

function common(
  service: RecogniserService,
  { inputRateHz, vocabulary }: ServiceContext,
  path: string,
  query: Readonly<Record<string, string | number | boolean | readonly string[]>>,
) {
  const { baseUrl, apiKey, model, terms, what } = service
  // G.711 has all that an 8 kHz leg carries.
  const mulaw = inputRateHz === 8000
  return {
    socket: {
      url: socketUrl(baseUrl, path, {
        model,
        ...query,
        keyterm: termsOf(terms, vocabulary),
        encoding: mulaw ? 'mulaw' : 'linear16',
        sample_rate: inputRateHz,
      }),
      headers: { Authorization: `Token ${apiKey}` },
      faultOf: (message: ServiceMessage) => deepgramFault(message, service),
      closeFault: (code: number, words: string) => {
        // NET-0001: nothing came for too long.
        if (words.includes('NET-0001') || code === 1000) return null
        const text = `${what} closed the session with ${code}${words === '' ? '' : `: ${words}`}`
        return vendorFault(code === 1008 ? 'bad_request' : 'internal', text, false)
      },
    },
    audio: mulaw ? 'mulaw' : 'pcm16',
    unsure: true,
  } as const
}

function piecesOf(words: unknown, { malformed }: ServiceContext, spoken?: string): Piece[] {
  return objectsIn(words).flatMap(({ word, punctuated_word: punctuated, start, language }) => {
    const text = wordIn(punctuated) ?? wordIn(word)
    if (text !== undefined)
      return { text: ` ${text}`, fromMs: numberIn(start, 1000), language: wordIn(language) ?? spoken }
    malformed()
    return []
  })
}

// --- the voice ---------------------------------------------------------------------------------------------

/** The voice is part of the model: `flux-alexis-en`. It goes before the voice that the agent names. */
type DeepgramVoiceOptions = Omit<StreamedVoiceOptions, 'voice'>

/** Other speeds are refused. */
const SPEED_STEP = 0.05
/** Warnings after which an Interrupt has done nothing. */
const IGNORED = /^(NO_AUDIO_GENERATED|INTERRUPT_IN_PROGRESS|INVALID_INTERRUPT_OFFSET|NO_ACTIVE_SPEECH)$/

/** Deepgram's Flux voice, `/v2/speak`: one answer at a time, and the service tells which words were heard of it. */
export function deepgramTextToSpeech(options: DeepgramVoiceOptions): ServiceFactory<TextToSpeech> {
  // The voices of a model cost the same, and the agent's is not known yet.
  return overSocket('tts', 'deepgram', deepgram.services.tts.deepgram.own, options, StreamedVoice, (service, context) =>
    voiceWire(service, options.model ?? context.voice ?? deepgram.services.tts.deepgram.own.model, context),
  )
}

function voiceWire(service: VoiceService, model: string, context: ServiceContext): VoiceWire {
  let speedNow = 1
  /** The utterance that was given text last: without text there is nothing to interrupt, and nothing that would end. */
  let given: string | null = null
  /** The utterance that the last Interrupt is for, until it is answered. */
  let interrupted: string | null = null
  /** Each Interrupt must be later than the one before it. */
  let interruptedAtMs = 0
  return {
    input: 'words',
    speeds: deepgram.services.tts.deepgram.speeds,
    socket: {
      url: socketUrl(service.baseUrl, 'v2/speak', { model, encoding: 'linear16', sample_rate: context.legRateHz }),
      headers: { Authorization: `Token ${service.apiKey}` },
      faultOf: (message) => deepgramFault(message, service),
    },
    placesMax: 1,
    acknowledges: true,
    begin: (_id, { speed }) => {
      const wanted = Math.round(speed / SPEED_STEP) * SPEED_STEP
      if (Math.abs(wanted - speedNow) < SPEED_STEP / 2) return []
      speedNow = wanted
      return [{ type: 'Configure', speed: Number(wanted.toFixed(2)) }]
    },
    text: (id, text) => {
      given = id
      return [{ type: 'Speak', text }]
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
          return id === null ? null : { id, over: true, playedMs, heard: spoken }
        }
        case 'Warning': {
          if (interrupted === null || !IGNORED.test(String(code))) return null
          const ignored = interrupted
          interrupted = null
          // The service speaks the abandoned text to its end, and nobody hears it.
          return ignored === current ? { id: current, send: [{ type: 'Flush' }] } : null
        }
        default:
          return null
      }
    },
  }
}

/** The fault for an `Error` of Deepgram's, of recogniser and voice alike; null for any other message. */
function deepgramFault(
  { type, code, description }: ServiceMessage,
  { what, apiKey }: SocketService<SocketServiceOptions>,
): VendorFault | null {
  if (type !== 'Error') return null
  const word = vendorWord(code)
  const text = typeof description === 'string' ? vendorText(description, [apiKey]) : ''
  const message = `${what}: ${word}${text === '' ? '' : `: ${text}`}`
  // NET-0001: nothing came for too long. The other NET codes are the service's own.
  if (word === 'NET-0001') return vendorFault('session_expired', message, false)
  if (word.startsWith('NET-')) return vendorFault('internal', message, false)
  return serviceRefusal(vendorFault('bad_request', message, false))
}

export const services = { stt: { deepgram: deepgramSpeechToText }, tts: { deepgram: deepgramTextToSpeech } }
