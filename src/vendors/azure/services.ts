import { randomUUID } from 'node:crypto'
import { objectsIn } from '../../core/json.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { xmlDocument } from '../../core/xml.js'
import type { SampleRateHz } from '../../core/units.js'
import { wavHeader } from '../../media/wav.js'
import { vendorFault } from '../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../backends/transport/vendor-fault.js'
import { termsOf } from '../../backends/vocabulary.js'
import { numberIn, wordIn } from '../../backends/cascade/recogniser-turns.js'
import type { Piece } from '../../backends/cascade/recogniser-turns.js'
import { azure } from './facts.js'
import { localeOf, localeOfVoice } from '../../backends/cascade/spoken-locales.js'
import type {
  Mark,
  SpeechToText,
  ServiceContext,
  ServiceFactory,
  TextToSpeech,
} from '../../backends/cascade/service.js'
import { overSocket, serviceRefusal, socketUrl } from '../../backends/cascade/service-socket.js'
import type { SentMessage, ServiceMessage } from '../../backends/cascade/service-socket.js'
import { StreamedRecogniser } from '../../backends/cascade/streamed-recogniser.js'
import type {
  RecogniserOptions,
  RecogniserService,
  RecogniserWire,
} from '../../backends/cascade/streamed-recogniser.js'
import { StreamedVoice } from '../../backends/cascade/streamed-voice.js'
import type { StreamedVoiceOptions, VoiceService, VoiceWire } from '../../backends/cascade/streamed-voice.js'

// Azure Speech over its WebSockets, in the protocol of microsoft-cognitiveservices-speech-sdk 1.52.0. The API key is
// sent only in a header. The vendor's client also writes the key into the URL, and proxies log URLs.

/** Options of the service. The address contains the resource's region. */
interface AzureOptions {
  readonly baseUrl: string
}

const KEY_HEADER = 'Ocp-Apim-Subscription-Key'
/** Milliseconds per unit of the service's times and durations: 100 ns. */
const TICK_MS = 1e-4
const CONFIG = {
  context: { system: { name: 'SpeechSDK', version: '1.52.0', build: 'JavaScript', lang: 'JavaScript' } },
}

// --- messages: headers as in HTTP, and a body ----------------------------------------------------------------

function headersOf(path: string, requestId: string, type: string | null): string {
  const typed = type === null ? '' : `Content-Type: ${type}\r\n`
  return `Path: ${path}\r\nX-RequestId: ${requestId}\r\nX-Timestamp: ${new Date().toISOString()}\r\n${typed}`
}

function textMessage(path: string, requestId: string, type: string, body: string): string {
  return `${headersOf(path, requestId, type)}\r\n${body}`
}

function jsonMessage(path: string, requestId: string, body: object): string {
  return textMessage(path, requestId, 'application/json', JSON.stringify(body))
}

/** Builds an audio message, which begins with the length of the headers in two bytes. */
function audioMessage(requestId: string, body: Uint8Array, type: string | null = null): Buffer {
  const headers = Buffer.from(headersOf('audio', requestId, type), 'latin1')
  const length = Buffer.alloc(2)
  length.writeUInt16BE(headers.length)
  return Buffer.concat([length, headers, body])
}

function headerIn(headers: string, name: string): string | undefined {
  return new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'im').exec(headers)?.[1]
}

/** Reads a text message of the service. Path and request id are added to the fields of its JSON. */
function readMessage(text: string): ServiceMessage {
  const at = text.indexOf('\r\n\r\n')
  const headers = at < 0 ? text : text.slice(0, at)
  let body: unknown = null
  try {
    body = at < 0 ? null : JSON.parse(text.slice(at + 4))
  } catch {
    // Ignored, because some messages have no body.
  }
  return {
    ...(Object(body) as ServiceMessage),
    path: headerIn(headers, 'Path')?.toLowerCase(),
    requestId: headerIn(headers, 'X-RequestId')?.toUpperCase(),
  }
}

function requestIdNow(): string {
  return randomUUID().replaceAll('-', '').toUpperCase()
}

/**
 * Converts a close code to a fault. Users reported the codes (cognitive-services-speech-sdk#2785,
 * cognitive-services-speech-sdk-js#471, #896). 1007 means a refused setting, or a limit of sessions or requests. Only
 * the text of the reason distinguishes these cases.
 */
function closeFault(what: string, code: number, words: string): VendorFault | null {
  const message = `${what} closed the session with ${code}${words === '' ? '' : `: ${words}`}`
  if (code === 4429 || /throttl|too many|quota/i.test(words)) return vendorFault('rate_limit', message, false)
  if ([1002, 1003, 1007, 4000].includes(code)) return serviceRefusal(vendorFault('bad_request', message, false))
  return code === 1011 || code === 1013 ? vendorFault('internal', message, false) : null
}

// --- the recogniser ------------------------------------------------------------------------------------------

interface AzureRecogniserOptions extends RecogniserOptions {
  readonly baseUrl: string
  /**
   * Locales of the callers' languages, such as `sw-TZ`. If a language has no locale in this list, Kenya's locale is
   * used.
   */
  readonly locales?: readonly string[]
}

/** Maximum wait in ms, after the end of the audio, for the last phrase and `turn.end`. */
const FINALIZE_MS = 700
const ANSWER_MS = 3000
/** Size of an audio message in bytes, as in the service's own client. */
const MESSAGE_BYTES_MAX = 3200
const RATES: readonly SampleRateHz[] = [8000, 16_000]
/** Faults by the service's status of a phrase. All other statuses mean pauses or noise. */
const STATUS_FAULTS: Readonly<Record<string, Parameters<typeof vendorFault>[0]>> = {
  Error: 'internal',
  BadRequest: 'bad_request',
  // A free account has used its free hours.
  Forbidden: 'quota',
  TooManyRequests: 'rate_limit',
}

/**
 * Azure's recogniser. Each turn has its own connection: on a shared connection a turn would wait for the end of the
 * previous turn.
 */
export function azureSpeechToText(options: AzureRecogniserOptions): ServiceFactory<SpeechToText> {
  const own = { ...azure.services.stt.azure.own, baseUrl: options.baseUrl }
  const { locales } = options
  const wireOf = (service: RecogniserService, context: ServiceContext): RecogniserWire =>
    recogniserWire(service, context, locales)
  return { ...overSocket('stt', 'azure', own, options, StreamedRecogniser, wireOf), rates: RATES }
}

function recogniserWire(
  service: RecogniserService,
  { languages, vocabulary, inputRateHz, wishes }: ServiceContext,
  regions: readonly string[] | undefined,
): RecogniserWire {
  const { what, apiKey, baseUrl } = service
  const spoken = (languages.length === 0 ? ['en'] : languages).map((code) => localeOf(code, regions))
  const [first = ''] = spoken
  const requestId = requestIdNow()
  const items = termsOf(service.terms, vocabulary).map((text) => ({ text }))
  // By default the service masks words that may also be names. The name "Fanny" becomes `*****`, which no rule of the
  // agent matches.
  const { profanity } = wishes.of({ profanity: 'raw' })
  const phrases = wishes.of({ dgi: items.length > 0 ? { groups: [{ type: 'Generic', items }], bias: 1 } : undefined })
  const settled: Piece[] = []
  return {
    socket: {
      url: socketUrl(baseUrl, 'speech/recognition/conversation/cognitiveservices/v1', {
        language: first,
        format: 'simple',
        ...omitNullish({ profanity }),
        ...(spoken.length > 1 ? { lidEnabled: true } : {}),
      }),
      headers: { [KEY_HEADER]: apiKey ?? '', 'X-ConnectionId': requestIdNow() },
      parse: readMessage,
      faultOf: ({ path, RecognitionStatus: status }) => {
        const code = path === 'speech.phrase' ? STATUS_FAULTS[String(status)] : undefined
        if (code === undefined) return null
        return serviceRefusal(vendorFault(code, `${what}: ${String(status)}`, false))
      },
      closeFault: (code, words) => closeFault(what, code, words),
    },
    audio: { framed: (bytes) => framesOf(requestId, bytes) },
    hello: jsonMessage('speech.config', requestId, CONFIG),
    begin: [
      jsonMessage('speech.context', requestId, {
        phraseDetection: {
          ...(spoken.length > 1 ? {} : { language: first }),
          ...(profanity === undefined ? {} : { enrichment: { profanity: 'Raw' } }),
        },
        ...(spoken.length > 1 ? { languageId: candidates(spoken) } : {}),
        phraseOutput: { interimResults: { resultType: 'Auto' }, phraseResults: { resultType: 'Always' } },
        ...phrases,
      }),
      // The first audio message is the header of a WAV file without an end. The header states the sample format.
      audioMessage(requestId, wavHeader({ sampleRateHz: inputRateHz, channels: 1, dataBytes: 0 }), 'audio/x-wav'),
    ],
    finalize: () => audioMessage(requestId, new Uint8Array(0)),
    finalizeMs: FINALIZE_MS,
    answerMs: ANSWER_MS,
    oneTurn: true,
    hears: ({ path }) => path !== 'turn.start',
    read: (message, turns) => {
      const turn = turns.oldest
      if (turn === null || message['requestId'] !== requestId) return
      switch (message['path']) {
        case 'speech.hypothesis':
        case 'speech.fragment':
          return turns.told(turn, settled, piecesOf(message, message['Text']))
        case 'speech.phrase':
          // A caller's pause ends a phrase, so a turn may have several phrases.
          settled.push(...piecesOf(message, message['DisplayText']))
          return turns.told(turn, settled)
        case 'turn.end':
          return turns.answered(turn)
        default:
      }
    },
  }
}

function candidates(languages: readonly string[]) {
  return {
    languages: languages.slice(0, azure.services.stt.azure.languagesMax),
    mode: 'DetectContinuous',
    onSuccess: { action: 'Recognize' },
    onUnknown: { action: 'None' },
    priority: 'PrioritizeLatency',
  }
}

function framesOf(requestId: string, bytes: Uint8Array): readonly Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / MESSAGE_BYTES_MAX) }, (_, i) =>
    audioMessage(requestId, bytes.subarray(i * MESSAGE_BYTES_MAX, (i + 1) * MESSAGE_BYTES_MAX)),
  )
}

/**
 * @returns the words of a phrase. All words of a phrase have one language. If there are several candidate languages,
 * the service names it
 */
function piecesOf({ Offset: offset, PrimaryLanguage: primary }: ServiceMessage, text: unknown): Piece[] {
  const { Language: spoken } = Object(primary) as { readonly Language?: unknown }
  const language = wordIn(spoken)?.split('-')[0]
  return (wordIn(text) ?? '')
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => ({ text: ` ${word}`, fromMs: numberIn(offset, TICK_MS), language }))
}

// --- the voice -----------------------------------------------------------------------------------------------

/** Voices by language. All other languages use a multilingual voice. */
const VOICES: Readonly<Record<string, string>> = { sw: 'sw-KE-ZuriNeural', en: 'en-KE-AsiliaNeural' }
const VOICE_DEFAULT = 'en-US-AvaMultilingualNeural'

/**
 * Maximum number of utterances whose sentences are queued here. Further utterances wait in `StreamedVoice`, as with
 * every service.
 */
const UTTERANCES_MAX = 5

/** A sentence that waits until the service has spoken the previous sentence. */
interface Sentence {
  readonly id: string
  readonly ssml: string
}

/** Azure's voice, with the times of words. One connection sends one request per sentence, in sequence. */
export function azureTextToSpeech(options: StreamedVoiceOptions & AzureOptions): ServiceFactory<TextToSpeech> {
  const own = { ...azure.services.tts.azure.own, baseUrl: options.baseUrl }
  return overSocket('tts', 'azure', own, options, StreamedVoice, voiceWire)
}

function voiceWire(
  { what, apiKey, baseUrl }: VoiceService,
  { legRateHz, languages, wishes }: ServiceContext,
): VoiceWire {
  const outputFormat = `raw-${legRateHz / 1000}khz-16bit-mono-pcm`
  /** Voice of each utterance, and duration of its sound so far, by utterance id. */
  const speeches = new Map<string, { voice: string; locale: string; speed: number; soundMs: number; ended: boolean }>()
  const waiting: Sentence[] = []
  /** The running request: its id, its utterance, and its start time within the utterance. */
  let spoken: { readonly requestId: string; readonly id: string; readonly fromMs: number } | null = null
  let configured = false

  const next = (): SentMessage[] => {
    const sentence = spoken === null ? waiting.shift() : undefined
    if (sentence === undefined) return []
    const requestId = requestIdNow()
    spoken = { requestId, id: sentence.id, fromMs: speeches.get(sentence.id)?.soundMs ?? 0 }
    const first = configured ? [] : [jsonMessage('speech.config', requestId, CONFIG)]
    configured = true
    const metadataOptions = { wordBoundaryEnabled: true, punctuationBoundaryEnabled: false, sessionEndEnabled: false }
    return [
      ...first,
      jsonMessage('synthesis.context', requestId, {
        synthesis: { audio: { ...wishes.of({ metadataOptions }), outputFormat }, language: { autoDetection: false } },
      }),
      textMessage('ssml', requestId, 'application/ssml+xml', sentence.ssml),
    ]
  }
  const owes = (id: string): boolean => spoken?.id === id || waiting.some((sentence) => sentence.id === id)
  return {
    input: 'sentences',
    speeds: azure.services.tts.azure.speeds,
    socket: {
      url: socketUrl(baseUrl, 'tts/cognitiveservices/websocket/v1'),
      headers: { [KEY_HEADER]: apiKey, 'X-ConnectionId': requestIdNow() },
      parse: readMessage,
      faultOf: () => null,
      closeFault: (code, words) => closeFault(what, code, words),
    },
    placesMax: UTTERANCES_MAX,
    acknowledges: true,
    speaks: (id) => spoken?.id === id,
    begin: (id, { language, speed, voice }) => {
      const code = language === '' ? (languages[0] ?? 'en') : language
      const name = voice ?? VOICES[code] ?? VOICE_DEFAULT
      const locale = (name === VOICE_DEFAULT ? undefined : localeOfVoice(name)) ?? localeOf(code)
      speeches.set(id, { voice: name, locale, speed, soundMs: 0, ended: false })
      return []
    },
    text: (id, text) => {
      const speech = speeches.get(id)
      if (speech !== undefined) waiting.push({ id, ssml: ssmlOf(text.trim(), speech) })
      return next()
    },
    end: (id) => {
      const speech = speeches.get(id)
      if (speech !== undefined) speech.ended = true
      if (owes(id)) return []
      speeches.delete(id)
      return null
    },
    cancel: (id) => {
      speeches.delete(id)
      for (let i = waiting.length - 1; i >= 0; i--) if (waiting[i]?.id === id) waiting.splice(i, 1)
      return spoken?.id === id ? [jsonMessage('synthesis.control', spoken.requestId, { action: 'stop' })] : []
    },
    bytes: (data) => {
      const length = data.length < 2 ? 0 : data.readUInt16BE(0)
      const headers = data.toString('latin1', 2, 2 + length)
      const samples = data.subarray(2 + length)
      if (spoken === null || headerIn(headers, 'X-RequestId')?.toUpperCase() !== spoken.requestId) return null
      const speech = speeches.get(spoken.id)
      if (speech !== undefined) speech.soundMs += samples.length / 2 / (legRateHz / 1000)
      return { id: spoken.id, samples }
    },
    read: (message) => {
      if (spoken === null || message['requestId'] !== spoken.requestId) return null
      const { id, fromMs } = spoken
      if (message['path'] === 'audio.metadata') return { id, marks: marksOf(message['Metadata'], fromMs) }
      if (message['path'] !== 'turn.end') return null
      spoken = null
      const speech = speeches.get(id)
      // A cancelled utterance ends when its running request ends.
      const over = speech === undefined || (speech.ended && !owes(id))
      if (over) speeches.delete(id)
      return { id, send: next(), done: over, over }
    },
  }
}

function ssmlOf(text: string, { voice, locale, speed }: { voice: string; locale: string; speed: number }): string {
  const said =
    speed === 1 ? text : [{ name: 'prosody', attributes: { rate: `${Math.round((speed - 1) * 100)}%` }, content: text }]
  const inLocale =
    voice === VOICE_DEFAULT ? [{ name: 'lang', attributes: { 'xml:lang': locale }, content: said }] : said
  return xmlDocument({
    name: 'speak',
    attributes: { version: '1.0', xmlns: 'http://www.w3.org/2001/10/synthesis', 'xml:lang': locale },
    content: [{ name: 'voice', attributes: { name: voice }, content: inLocale }],
  })
}

/** @returns the words with their times since the beginning of the request */
function marksOf(metadata: unknown, fromMs: number): Mark[] {
  return objectsIn(metadata).flatMap(({ Type: type, Data: data }) => {
    const { Offset, Duration, text } = Object(data) as Readonly<Record<string, unknown>>
    const word = wordIn((Object(text) as { readonly Text?: unknown }).Text)
    const [at, ms] = [numberIn(Offset, TICK_MS), numberIn(Duration, TICK_MS)]
    if (type !== 'WordBoundary' || word === undefined || at === undefined || ms === undefined) return []
    return [{ text: `${word} `, fromMs: fromMs + at, toMs: fromMs + at + ms }]
  })
}

export const services = { stt: { azure: azureSpeechToText }, tts: { azure: azureTextToSpeech } }
