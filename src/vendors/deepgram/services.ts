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

/** Interval of keep-alive messages, in milliseconds. The service closes a connection after 10 s without a message. */
const KEEPALIVE_MS = 4000
/**
 * Time in ms to wait for the answer to `Finalize`. The service does not answer after very little audio
 * (deepgram-js-sdk#343).
 */
const FINALIZE_MS = 400
/** Maximum wait for words in ms. It also applies to the first word, so that a turn without words gets an answer. */
const ANSWER_MS = 1000
/**
 * Time in ms to wait for the acknowledgement of a forced end of turn. The service does not acknowledge a turn without
 * recognised speech.
 */
const FORCE_END_MS = 700
/**
 * Maximum values of @deepgram/sdk 5.13.0 (ListenV2EotThreshold, ListenV2EotTimeoutMs). With these values the service
 * ends a turn by itself as late as possible, or never.
 */
const END_OF_TURN = { eot_threshold: 1, eot_timeout_ms: 60_000 }
/** Interval in ms at which Flux reports words. */
const FLUX_MESSAGE_MS = 80

// The used part of Deepgram's messages, in the vendor's field names. test/backends/cascade-wire.test.ts checks it
// against the vendor's published types.

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

/** Deepgram's recognisers: `/v2/listen` for models whose name begins with `flux`, `/v1/listen` for Nova. */
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
      // Without `no_delay`, `smart_format` would wait for the end of a number, to write the number in one piece.
      ...context.wishes.of({ smart_format: true, no_delay: true }),
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
      // A final result finalises its range of the audio; a turn may have several ranges.
      if (is_final === true) turns.heard(pieces, [], true)
      else turns.heard([], pieces)
      if (from_finalize !== true) return
      const turn = turns.at((numberIn(start, 1000) ?? 0) + (numberIn(duration, 1000) ?? 0) - 1)
      if (turn !== null) turns.answered(turn)
    },
  }
}

/**
 * Flux reports all words of its own turn. The turns of Flux can differ from the gateway's turns, because Flux may have
 * missed an end of turn.
 */
function flux(service: RecogniserService, context: ServiceContext): RecogniserWire {
  /** Words that Flux has finalised in the gateway's open turn; null before the first of these words. */
  let settled: { readonly turn: SessionTurn; readonly pieces: readonly Piece[] } | null = null
  return {
    ...common(service, context, 'v2/listen', {
      ...END_OF_TURN,
      ...context.wishes.of({ language_hint: service.model.endsWith('-multi') ? context.languages : undefined }),
    }),
    messageMs: FLUX_MESSAGE_MS,
    // Flux does not support KeepAlive.
    keepalive: { everyMs: KEEPALIVE_MS, message: null },
    finalize: () => ({ type: 'ForceEndTurn' }),
    finalizeMs: FORCE_END_MS,
    read: (message, turns) => {
      if (message['type'] !== 'TurnInfo') return
      const { event, words, languages: spoken, trigger } = message as DeepgramTurnInfo
      // Words without a time belong to the oldest turn that has no words yet.
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
  { inputRateHz, vocabulary, wishes }: ServiceContext,
  path: string,
  query: Readonly<Record<string, string | number | boolean | readonly string[]>>,
) {
  const { baseUrl, apiKey, model, what } = service
  const terms = termsOf(service.terms, vocabulary)
  // G.711 preserves all sound of an 8 kHz leg.
  const mulaw = inputRateHz === 8000
  return {
    socket: {
      url: socketUrl(baseUrl, path, {
        model,
        ...query,
        ...wishes.of({ keyterm: terms.length === 0 ? undefined : terms }),
        encoding: mulaw ? 'mulaw' : 'linear16',
        sample_rate: inputRateHz,
      }),
      headers: { Authorization: `Token ${apiKey}` },
      faultOf: (message: ServiceMessage) => deepgramFault(message, service),
      closeFault: (code: number, words: string) => {
        // NET-0001: the service got no audio for too long.
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

/** The model's name contains the voice: `flux-alexis-en`. So the model overrides the agent's voice. */
type DeepgramVoiceOptions = Omit<StreamedVoiceOptions, 'voice'>

/** Step between supported speeds; the service refuses other values. */
const SPEED_STEP = 0.05
/** Warnings about an Interrupt that has no effect. */
const IGNORED = /^(NO_AUDIO_GENERATED|INTERRUPT_IN_PROGRESS|INVALID_INTERRUPT_OFFSET|NO_ACTIVE_SPEECH)$/

/**
 * Deepgram's Flux voice, `/v2/speak`: one answer at a time. The service reports which words of an answer the caller
 * heard.
 */
export function deepgramTextToSpeech(options: DeepgramVoiceOptions): ServiceFactory<TextToSpeech> {
  // The agent's voice is not known yet, but all voices of a model have one price.
  return overSocket('tts', 'deepgram', deepgram.services.tts.deepgram.own, options, StreamedVoice, (service, context) =>
    voiceWire(service, options.model ?? context.voice ?? deepgram.services.tts.deepgram.own.model, context),
  )
}

function voiceWire(service: VoiceService, model: string, context: ServiceContext): VoiceWire {
  let speedNow = 1
  /** Speed before the last change. */
  let speedBefore = 1
  /** Utterance that last received text. An utterance without text cannot be interrupted and cannot end. */
  let given: string | null = null
  /** Utterance of the last Interrupt; null once the service has answered the Interrupt. */
  let interrupted: string | null = null
  /** Time of the last Interrupt, in milliseconds. Each Interrupt must be later than the previous Interrupt. */
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
      speedBefore = speedNow
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
    read: ({ type, code, field, audio_played_ms: playedMs, text_spoken: spoken }, current) => {
      switch (type) {
        case 'SpeechMetadata':
          return current === null ? null : { id: current, done: true, over: true }
        case 'SpeechInterrupted': {
          const id = interrupted ?? current
          interrupted = null
          if (typeof playedMs === 'number') interruptedAtMs = playedMs
          return id === null ? null : { id, over: true, playedMs, heard: spoken }
        }
        case 'ConfigureFailure':
          speedNow = speedBefore
          context.wishes.refuses(
            vendorFault('bad_request', `${service.what}: ${vendorWord(code)} (${vendorWord(field)})`, false),
          )
          // The service continues at the earlier speed.
          context.wishes.worked()
          return null
        case 'Warning': {
          if (interrupted === null || !IGNORED.test(String(code))) return null
          const ignored = interrupted
          interrupted = null
          // The service speaks the abandoned text to its end. The sound of this text is dropped.
          return ignored === current ? { id: current, send: [{ type: 'Flush' }] } : null
        }
        default:
          return null
      }
    },
  }
}

/** @returns the fault of a Deepgram `Error`, from recogniser or voice; null for other messages */
function deepgramFault(
  { type, code, description }: ServiceMessage,
  { what, apiKey }: SocketService<SocketServiceOptions>,
): VendorFault | null {
  if (type !== 'Error') return null
  const word = vendorWord(code)
  const text = typeof description === 'string' ? vendorText(description, [apiKey]) : ''
  const message = `${what}: ${word}${text === '' ? '' : `: ${text}`}`
  // NET-0001: the service got no audio for too long. Other NET codes are faults of the service.
  if (word === 'NET-0001') return vendorFault('session_expired', message, false)
  if (word.startsWith('NET-')) return vendorFault('internal', message, false)
  return serviceRefusal(vendorFault('bad_request', message, false))
}

export const services = { stt: { deepgram: deepgramSpeechToText }, tts: { deepgram: deepgramTextToSpeech } }
