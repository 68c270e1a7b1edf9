import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import protobuf from 'protobufjs/light.js'
import { GOOGLE_SPEECH_MESSAGES, GOOGLE_SPEECH_METHODS } from './speech-to-text.js'
import type { GoogleRecognitionConfig } from './speech-to-text.js'
import type { Clock } from '../../core/clock.js'
import { samplesOf } from '../../media/pcm.js'
import { LocalHttpServer } from '../../system/local-http-server.js'
import { type Refusal, Script } from '../../simulator/vendors/double.js'
import { googleKeyRefusal, type GoogleDoubleOptions, type GoogleRefusal, INVALID_ARGUMENT } from './keys-double.js'
import { DoubleEar, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { NO_SERVICE_FAULTS, type ServiceFaults } from '../../simulator/vendors/service-double.js'

/** Some of the service's languages, each with its models. */
const MODELS: Readonly<Record<string, readonly string[]>> = {
  'sw-KE': ['default', 'command_and_search'],
  'sw-TZ': ['default', 'command_and_search'],
  'en-KE': ['default', 'command_and_search'],
  'en-GB': ['default', 'command_and_search', 'latest_long', 'latest_short', 'telephony'],
  'en-US': ['default', 'command_and_search', 'latest_long', 'latest_short', 'telephony', 'phone_call'],
  'fr-FR': ['default', 'command_and_search', 'latest_long', 'latest_short', 'telephony'],
}
const ALTERNATIVES_MAX = 3
const RATE_HZ = { min: 8000, max: 48_000 }
const PHRASE_CHARS_MAX = 100
const AUDIO_BYTES_MAX = 25 * 1024
/**
 * Minimum time between pings, in milliseconds. After more frequent pings, the connection is closed, even after its
 * streams have ended.
 */
const PINGS_APART_MS = 30_000
/** Maximum lead of a stream's audio, and maximum speed. The service's own limits are not published. */
const AHEAD_MS_MAX = 8000
const SPEED_MAX = 10
/** Number of words after which a part of the audio is final within a stream. */
const PART_WORDS = 3

const root = protobuf.Root.fromJSON(GOOGLE_SPEECH_MESSAGES).resolveAll()

function read<Message>(type: string, bytes: Uint8Array): Message {
  const found = root.lookupType(type)
  return found.toObject(found.decode(bytes), { enums: String, arrays: true }) as Message
}

/** gRPC codes by HTTP status. An account without credit is refused like a missing permission. */
const CODES: Readonly<Record<number, number>> = { 400: 3, 401: 16, 402: 7, 403: 7, 404: 5, 429: 8 }
const INTERNAL = 13

/**
 * Google Cloud's Speech-to-Text over gRPC on loopback, written from `@google-cloud/speech`: its types and its messages.
 * Its errors are worded as users report them.
 */
export class GoogleSpeechDouble extends LocalHttpServer<Http2Server> {
  readonly script: Script
  readonly options: GoogleDoubleOptions
  readonly faults: ServiceFaults = { ...NO_SERVICE_FAULTS }
  callerAudioMs = 0
  unheardMs = 0
  /**
   * Number of connections, number of streams on each connection, and number of requests that only check the API key.
   */
  connections = 0
  readonly streams: GoogleSpeechStream[] = []
  probes = 0
  pings = 0
  /** Clock of the pings. */
  clock: Clock = () => performance.now()
  /** Number of open streams. */
  open = 0
  refuse: Refusal | 'never' | null = null
  /** Invalid bytes to send on each configured stream; null: only valid messages. */
  garbage: Buffer | null = null
  /** Time in ms after which a stream without audio is ended. */
  idleMs = 10_000
  /** Maximum audio of a stream, in milliseconds. */
  streamMsMax = 305_000
  readonly #sessions = new Set<ServerHttp2Session>()

  constructor(options: GoogleDoubleOptions = {}) {
    super(options, createServer())
    this.options = options
    this.script = options.script ?? new Script()
    this.server.on('session', (session) => {
      this.connections++
      this.#sessions.add(session)
      session.on('close', () => this.#sessions.delete(session))
      session.on('error', () => undefined)
      let pingedAtMs = -Infinity
      session.on('ping', () => {
        this.pings++
        const sinceMs = this.clock() - pingedAtMs
        pingedAtMs = this.clock()
        if (sinceMs >= PINGS_APART_MS) return
        session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'))
        setImmediate(() => session.destroy())
      })
    })
    this.server.on('stream', (stream, headers) => this.#answer(stream, headers))
  }

  /** Asks all clients to open no more streams on their connections. Running streams may end normally. */
  goAway(): void {
    for (const session of this.#sessions) session.goaway()
  }

  #answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', () => undefined)
    const { refuse } = this
    if (refuse === 'never') return
    const answer = new Answer(stream)
    const { stream: streaming, once } = GOOGLE_SPEECH_METHODS
    const path = headers[':path']
    if (refuse !== null) {
      const code = CODES[refuse.status] ?? INTERNAL
      return answer.end(code, refuse.status === 402 ? `Billing is not enabled. ${refuse.body}` : refuse.body)
    }
    const refusal = googleKeyRefusal(headers, this.options)
    if (refusal !== null) return answer.refuse(refusal)
    if (path === streaming.path) this.streams.push(new GoogleSpeechStream(this, stream, answer))
    else if (path === once.path) this.#recognise(stream, answer)
    else answer.end(12, `Method not found: ${path ?? ''}`)
  }

  #recognise(stream: ServerHttp2Stream, answer: Answer): void {
    messagesOf(stream, answer, (bytes) => {
      this.probes++
      const { config, audio } = read<{ config?: Config; audio?: { content?: Uint8Array } }>('RecognizeRequest', bytes)
      const why = objection(config ?? {}) ?? this.objection(JSON.stringify(config))
      if (why !== null) return answer.refuse(INVALID_ARGUMENT(why))
      if ((audio?.content?.length ?? 0) === 0) return answer.refuse(INVALID_ARGUMENT('RecognitionAudio not set.'))
      answer.send(Buffer.alloc(5))
      answer.end(0, '')
    })
  }
}

/** Makes the frame of a message: a flag for no compression, the length, and the bytes. */
function framed(type: string, message: object): Buffer {
  const found = root.lookupType(type)
  const bytes = found.encode(found.fromObject(message)).finish()
  const head = Buffer.alloc(5)
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

type Config = Partial<Omit<GoogleRecognitionConfig, 'encoding'>> & { readonly encoding?: string }

interface StreamingRequest {
  readonly streamingConfig?: { readonly config?: Config; readonly interimResults?: boolean }
  readonly audioContent?: Uint8Array
}

/** Calls `take` with each message of a request. */
function messagesOf(stream: ServerHttp2Stream, answer: Answer, take: (bytes: Buffer) => void): void {
  let rest = Buffer.alloc(0)
  stream.on('data', (piece: Buffer) => {
    rest = Buffer.concat([rest, piece])
    while (!answer.ended && rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
      const until = 5 + rest.readUInt32BE(1)
      if (rest[0] !== 0) return answer.end(12, 'The message is compressed')
      take(rest.subarray(5, until))
      rest = rest.subarray(until)
    }
  })
}

/** Answer to one request: messages, then a status in the trailers. */
class Answer {
  ended = false
  readonly #stream: ServerHttp2Stream

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream
  }

  send(bytes: Buffer): void {
    if (this.ended || this.#stream.destroyed) return
    if (!this.#stream.headersSent)
      this.#stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    this.#stream.write(bytes)
  }

  end(code: number, message: string): void {
    if (this.ended) return
    this.ended = true
    const status = { 'grpc-status': String(code), 'grpc-message': encodeURI(message) }
    if (this.#stream.destroyed) return
    if (!this.#stream.headersSent)
      return this.#stream.respond(
        { ':status': 200, 'content-type': 'application/grpc', ...status },
        { endStream: true },
      )
    this.#stream.once('wantTrailers', () => this.#stream.sendTrailers(status))
    this.#stream.end()
  }

  refuse({ grpc, message }: GoogleRefusal): void {
    this.end(grpc, message)
  }
}

function objection({
  encoding,
  sampleRateHertz = 0,
  languageCode = '',
  alternativeLanguageCodes = [],
  model = 'default',
  speechContexts = [],
}: Config): string | null {
  const bad = (why: string): string => `Invalid recognition 'config': ${why}`
  if (encoding !== 'LINEAR16') return bad('bad encoding..')
  if (sampleRateHertz < RATE_HZ.min || sampleRateHertz > RATE_HZ.max) return bad('bad sample rate hertz.')
  if (alternativeLanguageCodes.length > ALTERNATIVES_MAX) return bad('too many alternative language codes.')
  for (const code of [languageCode, ...alternativeLanguageCodes]) {
    if (!Object.hasOwn(MODELS, code)) return bad(`bad language code ${code}.`)
    if (MODELS[code]?.includes(model) !== true)
      return bad(`The requested model is currently not supported for language : ${code}.`)
  }
  return speechContexts.some(({ phrases }) => phrases.some(({ length }) => length > PHRASE_CHARS_MAX))
    ? bad('phrase too long.')
    : null
}

class GoogleSpeechStream {
  config: Config = {}
  readonly #double: GoogleSpeechDouble
  readonly #answer: Answer
  readonly #idle: NodeJS.Timeout
  #ear: DoubleEar | null = null
  #interim = false
  /** Number of words in final parts. */
  #settled = 0
  #begunAtMs = 0

  constructor(double: GoogleSpeechDouble, stream: ServerHttp2Stream, answer: Answer) {
    this.#double = double
    this.#answer = answer
    this.#idle = setTimeout(
      () =>
        answer.end(
          11,
          'Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.',
        ),
      double.idleMs,
    ).unref()
    messagesOf(stream, answer, (bytes) => this.#take(read<StreamingRequest>('StreamingRecognizeRequest', bytes)))
    stream.on('end', () => this.#end())
    double.open++
    stream.on('close', () => {
      double.open--
      clearTimeout(this.#idle)
    })
  }

  #take({ streamingConfig, audioContent }: StreamingRequest): void {
    const ear = this.#ear
    if (ear === null) {
      if (streamingConfig === undefined)
        return this.#refuse('Malformed request: the first message must contain a streaming_config.')
      this.#begunAtMs = performance.now()
      this.config = streamingConfig.config ?? {}
      this.#interim = streamingConfig.interimResults === true
      const why = objection(this.config) ?? this.#double.objection(JSON.stringify(this.config))
      if (why !== null) return this.#refuse(why)
      this.#ear = new DoubleEar(this.#double, this.config.sampleRateHertz ?? 0, {
        words: (words) => this.#words(words),
        broke: () => this.#double.breakOff(),
      })
      const { garbage } = this.#double
      if (garbage !== null) this.#answer.send(garbage)
      return
    }
    if (audioContent === undefined) return this.#refuse('Malformed request: the message must contain audio.')
    if (audioContent.length > AUDIO_BYTES_MAX) return this.#refuse('Request audio can be a maximum of 25600 bytes.')
    this.#idle.refresh()
    ear.hear(samplesOf(Buffer.from(audioContent)))
    if (ear.heardMs > this.#double.streamMsMax)
      this.#answer.end(11, 'Exceeded maximum allowed stream duration of 305 seconds.')
    else if (ear.heardMs > AHEAD_MS_MAX + SPEED_MAX * (performance.now() - this.#begunAtMs))
      this.#answer.end(
        11,
        'Audio data is being streamed too fast. Please stream audio data approximately at real time.',
      )
  }

  #end(): void {
    clearTimeout(this.#idle)
    const ear = this.#ear
    if (ear === null) return this.#refuse('Malformed request: there is no streaming_config.')
    ear.end((words) => {
      const { faults, options } = this.#double
      if (faults.noAnswer) return
      const over = (): void => {
        const open = words.slice(this.#settled)
        if (open.length > 0) this.#tell([this.#result(open, true)])
        this.#answer.end(0, '')
      }
      const { finalMs = 0 } = options
      if (finalMs === 0) over()
      else setTimeout(over, finalMs).unref()
    })
  }

  #words(words: readonly SpokenWord[]): void {
    const open = words.slice(this.#settled)
    const parts = open.length > PART_WORDS ? [this.#result(open.slice(0, PART_WORDS), true)] : []
    if (parts.length > 0) this.#settled += PART_WORDS
    const rest = words.slice(this.#settled)
    // The last word is uncertain and comes as a separate result.
    const interim = [rest.slice(0, -1), rest.slice(-1)].filter(({ length }) => length > 0)
    this.#tell([...parts, ...(this.#interim ? interim.map((some) => this.#result(some, false)) : [])])
  }

  #tell(results: readonly object[]): void {
    this.#answer.send(framed('StreamingRecognizeResponse', { results }))
  }

  #result(words: readonly SpokenWord[], isFinal: boolean): object {
    const text = words.map((word) => word.text).join(' ')
    const endMs = words.at(-1)?.endMs ?? 0
    const { languageCode = '', alternativeLanguageCodes = [] } = this.config
    const code = this.#double.options.languageOf?.(words[0]?.text ?? '')
    const spoken = [languageCode, ...alternativeLanguageCodes].find((locale) => locale.split('-')[0] === code)
    return {
      // The first part does not begin with a space.
      alternatives: [
        { transcript: (words[0]?.startMs ?? 0) < 250 ? text : ` ${text}`, ...(isFinal ? { confidence: 0.9 } : {}) },
      ],
      isFinal,
      ...(isFinal ? {} : { stability: 0.9 }),
      resultEndTime: { seconds: Math.floor(endMs / 1000), nanos: Math.round((endMs % 1000) * 1e6) },
      languageCode: (spoken ?? languageCode).toLowerCase(),
    }
  }

  #refuse(why: string): void {
    this.#answer.refuse(INVALID_ARGUMENT(why))
  }
}
