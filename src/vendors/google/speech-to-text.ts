import type { INamespace } from 'protobufjs'
import { objectsIn } from '../../core/json.js'
import { termsOf } from '../../backends/vocabulary.js'
import { googleHeaders } from './account.js'
import type { GoogleKeys } from './facts.js'
import { GrpcStream } from './grpc-stream.js'
import { numberIn, wordIn } from '../../backends/cascade/recogniser-turns.js'
import type { Piece } from '../../backends/cascade/recogniser-turns.js'
import { google } from './facts.js'
import { localeOf } from '../../backends/cascade/spoken-locales.js'
import type { SpeechToText, ServiceContext, ServiceFactory } from '../../backends/cascade/service.js'
import { overSocket } from '../../backends/cascade/service-socket.js'
import type { SocketService, ServiceMessage } from '../../backends/cascade/service-socket.js'
import { StreamedRecogniser } from '../../backends/cascade/streamed-recogniser.js'
import type { RecogniserOptions, RecogniserWire } from '../../backends/cascade/streamed-recogniser.js'

// Google Cloud's recogniser, version 1. Version 2 has no generally available stream for Swahili (see the pages of Chirp
// 2 and 3), and requires a project's name.

interface GoogleRecogniserOptions extends RecogniserOptions, GoogleKeys {
  /**
   * Locales of the callers' languages, such as `sw-TZ`. Default for a language without a locale here: Kenya's locale.
   */
  readonly locales?: readonly string[]
}

/**
 * Configuration in the form of the vendor's client. test/backends/cascade-wire.test.ts checks it against the vendor's
 * types.
 */
export interface GoogleRecognitionConfig {
  readonly encoding: 'LINEAR16'
  readonly sampleRateHertz: number
  readonly languageCode: string
  readonly alternativeLanguageCodes?: string[]
  readonly model?: string
  readonly enableAutomaticPunctuation?: true
  readonly speechContexts?: { readonly phrases: string[] }[]
}

/**
 * Maximum length of a phrase that the service accepts, in characters (https://cloud.google.com/speech-to-text/quotas).
 */
const PHRASE_CHARS_MAX = 100
/** Size of an audio message in bytes; the page of quotas allows 25 KB. */
const AUDIO_BYTES_MAX = 24_000
const MESSAGE_MS = 100
/** Interval of keep-alive audio, in milliseconds. The service ends a stream after about 10 s without audio. */
const KEEPALIVE_MS = 3000
const INVALID_ARGUMENT = 3
/** Maximum wait in ms, after the end of the audio, for the last words and the stream's end. */
const FINALIZE_MS = 700
const ANSWER_MS = 3000

const field = (id: number, type: string) => ({ id, type })
const list = (id: number, type: string) => ({ id, type, rule: 'repeated' })

/** Names and numbers of google/cloud/speech/v1/cloud_speech.proto that this file and the double use. */
export const GOOGLE_SPEECH_MESSAGES: INamespace = {
  nested: {
    StreamingRecognizeRequest: {
      oneofs: { streamingRequest: { oneof: ['streamingConfig', 'audioContent'] } },
      fields: { streamingConfig: field(1, 'StreamingRecognitionConfig'), audioContent: field(2, 'bytes') },
    },
    StreamingRecognitionConfig: {
      fields: {
        config: field(1, 'RecognitionConfig'),
        singleUtterance: field(2, 'bool'),
        interimResults: field(3, 'bool'),
      },
    },
    RecognizeRequest: { fields: { config: field(1, 'RecognitionConfig'), audio: field(2, 'RecognitionAudio') } },
    RecognitionAudio: { fields: { content: field(1, 'bytes') } },
    AudioEncoding: { values: { ENCODING_UNSPECIFIED: 0, LINEAR16: 1, FLAC: 2, MULAW: 3 } },
    RecognitionConfig: {
      fields: {
        encoding: field(1, 'AudioEncoding'),
        sampleRateHertz: field(2, 'int32'),
        languageCode: field(3, 'string'),
        alternativeLanguageCodes: list(18, 'string'),
        speechContexts: list(6, 'SpeechContext'),
        enableAutomaticPunctuation: field(11, 'bool'),
        model: field(13, 'string'),
      },
    },
    SpeechContext: { fields: { phrases: list(1, 'string') } },
    StreamingRecognizeResponse: {
      fields: { error: field(1, 'Status'), results: list(2, 'StreamingRecognitionResult') },
    },
    Status: { fields: { code: field(1, 'int32'), message: field(2, 'string') } },
    StreamingRecognitionResult: {
      fields: {
        alternatives: list(1, 'SpeechRecognitionAlternative'),
        isFinal: field(2, 'bool'),
        stability: field(3, 'float'),
        resultEndTime: field(4, 'Duration'),
        languageCode: field(6, 'string'),
      },
    },
    SpeechRecognitionAlternative: { fields: { transcript: field(1, 'string'), confidence: field(2, 'float') } },
    Duration: { fields: { seconds: field(1, 'int64'), nanos: field(2, 'int32') } },
  },
}

export const GOOGLE_SPEECH_METHODS = {
  stream: {
    path: '/google.cloud.speech.v1.Speech/StreamingRecognize',
    request: 'StreamingRecognizeRequest',
    response: 'StreamingRecognizeResponse',
  },
  once: { path: '/google.cloud.speech.v1.Speech/Recognize', request: 'RecognizeRequest' },
} as const

/** Google's recogniser. Each turn has its own stream, because the service ends a stream after five minutes. */
export function googleSpeechToText(options: GoogleRecogniserOptions): ServiceFactory<SpeechToText> {
  return overSocket('stt', 'google', google.services.stt.google.own, options, StreamedRecogniser, recogniserWire)
}

function recogniserWire(
  service: SocketService<GoogleRecogniserOptions>,
  { languages, vocabulary, inputRateHz, wishes }: ServiceContext,
): RecogniserWire {
  const { baseUrl, model } = service
  const heard = (languages.length === 0 ? ['en'] : languages).slice(0, google.services.stt.google.languagesMax)
  const spoken = heard.map((code) => localeOf(code, service.locales))
  const [first = '', ...others] = spoken
  const phrases = termsOf(service.terms, vocabulary).filter(({ length }) => length <= PHRASE_CHARS_MAX)
  const config: GoogleRecognitionConfig = {
    encoding: 'LINEAR16',
    sampleRateHertz: inputRateHz,
    languageCode: first,
    // Without a model name the service chooses the model by language.
    ...(model === google.services.stt.google.own.model ? {} : { model }),
    ...wishes.of({
      enableAutomaticPunctuation: true as const,
      alternativeLanguageCodes: others.length === 0 ? undefined : others,
      speechContexts: phrases.length === 0 ? undefined : [{ phrases }],
    }),
  }
  const { stream, once } = GOOGLE_SPEECH_METHODS
  const settled: Piece[] = []
  return {
    socket: (listener) =>
      new GrpcStream(
        service,
        {
          baseUrl,
          messages: GOOGLE_SPEECH_MESSAGES,
          stream,
          audio: (bytes) => ({ audioContent: bytes }),
          audioBytesMax: AUDIO_BYTES_MAX,
          audioBytesPerMs: (2 * inputRateHz) / 1000,
          errorIn,
          // A request without audio costs nothing. With a valid key the answer is "RecognitionAudio not set".
          probe: {
            ...once,
            message: { config, audio: {} },
            answers: ({ code, details }) => code === INVALID_ARGUMENT && /audio/i.test(details),
          },
          metadata: () => googleHeaders(service),
        },
        listener,
      ),
    audio: 'pcm16',
    messageMs: MESSAGE_MS,
    keepalive: { everyMs: KEEPALIVE_MS, message: null },
    begin: [{ streamingConfig: { config, interimResults: true } }],
    finalize: () => new Uint8Array(0),
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    oneTurn: true,
    read: (message, turns) => {
      const turn = turns.oldest
      if (turn === null) return
      // At most one result is final, and it comes first. The other results replace the interim results of the previous
      // message.
      const results = objectsIn(message['results'])
      settled.push(...results.filter(({ isFinal }) => isFinal === true).flatMap(piecesOf))
      turns.told(turn, settled, results.filter(({ isFinal }) => isFinal !== true).flatMap(piecesOf))
    },
  }
}

function errorIn({ error }: ServiceMessage): { code: number; details: string } | null {
  if (error === undefined) return null
  const { code, message } = Object(error) as Readonly<Record<string, unknown>>
  return { code: numberIn(code) ?? NaN, details: wordIn(message) ?? '' }
}

/** @returns the words of a part of the turn, in the language that the service reports */
function piecesOf({ alternatives, languageCode, resultEndTime }: ServiceMessage): Piece[] {
  const [best] = objectsIn(alternatives)
  const language = wordIn(languageCode)?.split('-')[0]?.toLowerCase()
  const { seconds, nanos } = Object(resultEndTime) as Readonly<Record<string, unknown>>
  const fromMs = (numberIn(seconds, 1000) ?? 0) + (numberIn(nanos, 1e-6) ?? 0)
  return (wordIn(best?.['transcript']) ?? '')
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => ({ text: ` ${word}`, fromMs, language }))
}
