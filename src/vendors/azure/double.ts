import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { SaxesParser } from 'saxes'
import type { WebSocket } from 'ws'
import { samplesOf } from '../../media/pcm.js'
import { wavHead } from '../../media/wav.js'
import type { Refusal } from '../../simulator/vendors/double.js'
import { RecogniserSession, type SpokenWord } from '../../simulator/vendors/recogniser-double.js'
import { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { type Json, VoiceSession, type VoiceSpeech } from '../../simulator/vendors/voice-double.js'
import { TERMS, SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

const LISTEN_PATH = '/speech/recognition/conversation/cognitiveservices/v1'
const SPEAK_PATH = '/tts/cognitiveservices/websocket/v1'
/** Some of the service's languages. The service's own client also sends `en-US` if it lists candidates. */
const LOCALES = ['sw-KE', 'sw-TZ', 'en-KE', 'en-TZ', 'en-US', 'en-GB', 'fr-FR', 'am-ET', 'so-SO']
const VOICES =
  /^(?:sw-KE-(?:Zuri|Rafiki)|sw-TZ-(?:Rehema|Daudi)|en-KE-(?:Asilia|Chilemba)|en-TZ-(?:Imani|Elimu)|en-US-AvaMultilingual)Neural$/
const FORMATS = /^raw-(8|16|24|48)khz-16bit-mono-pcm$/
const CANDIDATES_MAX = 10
/** Maximum size of an audio message, in bytes. */
const CHUNK_BYTES_MAX = 8192
const SSML_CHARS_MAX = 64 * 1024
/** Number of words of a phrase: after this number, the double sends a phrase as final, before the turn's end. */
const PHRASE_WORDS = 3
const MS_TICKS = 10_000
/** Some of the words that the service masks by default; one of the words is also a name. */
const PROFANE = ['fanny', 'bloody', 'damn']

interface Message {
  readonly path: string
  readonly requestId: string
  readonly type: string
  readonly body: Buffer
}

/**
 * Azure Speech on loopback, recogniser and voice, written from `microsoft-cognitiveservices-speech-sdk` 1.52.0. If a
 * client breaks the protocol, the double closes with 1007 and names the fault.
 */
export class AzureSpeechDouble extends ServiceDouble<AzureListenSession | AzureVoiceSession> {
  /** Time in ms after which the double closes an idle connection. */
  idleMs = 300_000
  /** Number of closed connections. */
  closed = 0
  /** Maximum audio of a turn, in milliseconds. */
  turnMsMax = 600_000

  protected override refusalOf({ pathname, searchParams }: URL, headers: IncomingHttpHeaders): Refusal | null {
    const refusal = (status: number, code: string, message: string): Refusal => ({
      status,
      body: JSON.stringify({ error: { code, message } }),
    })
    if (pathname !== LISTEN_PATH && pathname !== SPEAK_PATH) return refusal(404, '404', 'Resource not found')
    const given = headers['ocp-apim-subscription-key'] ?? searchParams.get('Ocp-Apim-Subscription-Key')
    // A key of another region is refused like an unknown key.
    if (this.key !== null && given !== this.key)
      return refusal(401, '401', 'Access denied due to invalid subscription key or wrong API endpoint.')
    const locale = searchParams.get('language')
    if (pathname === LISTEN_PATH && (locale === null || !LOCALES.includes(locale)))
      return refusal(400, 'BadRequest', `Unsupported language ${locale ?? ''}.`)
    const objection = this.objection(searchParams.toString())
    return objection === null ? null : refusal(400, 'BadRequest', objection)
  }

  protected override accept(
    client: WebSocket,
    { pathname, searchParams }: URL,
  ): AzureListenSession | AzureVoiceSession {
    return pathname === LISTEN_PATH
      ? new AzureListenSession(client, searchParams, this)
      : new AzureVoiceSession(client, this)
  }

  get listeners(): AzureListenSession[] {
    return this.sessions.filter((session) => session instanceof AzureListenSession)
  }

  get voices(): AzureVoiceSession[] {
    return this.sessions.filter((session) => session instanceof AzureVoiceSession)
  }
}

/**
 * Reads the messages of a connection of the recogniser or the voice. A message that breaks the protocol closes the
 * connection.
 */
class Messages {
  readonly #client: WebSocket
  readonly #idle: NodeJS.Timeout
  #configured = false

  constructor(client: WebSocket, double: AzureSpeechDouble) {
    this.#client = client
    this.#idle = setTimeout(() => client.close(1000, 'idle for too long'), double.idleMs).unref()
    client.on('close', () => {
      clearTimeout(this.#idle)
      double.closed++
    })
  }

  refuse(why: string): void {
    this.#client.close(1007, why)
  }

  /** @returns the message; null if the message makes the service close the connection */
  read(bytes: Buffer, binary: boolean): Message | null {
    this.#idle.refresh()
    const [from, at] = binary ? [2, 2 + bytes.readUInt16BE(0)] : [0, bytes.indexOf('\r\n\r\n')]
    if (at < from || at > bytes.length) return this.#refused('The headers have no end')
    const lines = bytes.toString('latin1', from, at).split('\r\n')
    const headers = new Map(
      lines.map((line) => [line.split(':')[0]?.toLowerCase() ?? '', line.replace(/^[^:]*:\s*/, '')]),
    )
    const [path = '', requestId = '', timestamp = ''] = ['path', 'x-requestid', 'x-timestamp'].map((name) =>
      headers.get(name),
    )
    if (!/^[0-9a-f]{32}$/i.test(requestId)) return this.#refused('X-RequestId is no UUID without dashes')
    if (Number.isNaN(Date.parse(timestamp))) return this.#refused('X-Timestamp is no time')
    if (!this.#configured && path !== 'speech.config') return this.#refused('speech.config does not come first')
    this.#configured = true
    return { path, requestId, type: headers.get('content-type') ?? '', body: bytes.subarray(binary ? at : at + 4) }
  }

  text(path: string, requestId: string, body: object): string {
    return `X-RequestId:${requestId}\r\nContent-Type:application/json; charset=utf-8\r\nPath:${path}\r\n\r\n${JSON.stringify(body)}`
  }

  json({ body }: Message): Json | null {
    try {
      return JSON.parse(body.toString()) as Json
    } catch {
      return this.#refused('The body is no JSON')
    }
  }

  #refused(why: string): null {
    this.refuse(why)
    return null
  }
}

interface Context {
  readonly phraseDetection?: { readonly language?: string; readonly enrichment?: { readonly profanity?: string } }
  readonly languageId?: { readonly languages?: readonly string[]; readonly mode?: string }
  readonly dgi?: { readonly groups?: readonly { readonly items?: readonly { readonly text?: string }[] }[] }
}

/** A turn of the recogniser, from its context message to `turn.end`. */
interface Turn {
  readonly requestId: string
  readonly candidates: readonly string[]
  headed: boolean
  ended: boolean
  /** Number of words in final phrases. */
  settled: number
}

class AzureListenSession extends RecogniserSession {
  /** The newest context of a turn. */
  context: Context = {}
  readonly #azure: AzureSpeechDouble
  readonly #messages: Messages
  #turn: Turn | null = null

  constructor(client: WebSocket, query: URLSearchParams, double: AzureSpeechDouble) {
    super(client, query, double)
    this.#azure = double
    this.#messages = new Messages(client, double)
  }

  protected override text(text: string): void {
    const message = this.#messages.read(Buffer.from(text), false)
    const body = message === null ? null : this.#messages.json(message)
    if (message === null || body === null || ['speech.config', 'telemetry'].includes(message.path)) return
    if (message.path !== 'speech.context') return this.#messages.refuse(`Unknown path ${message.path}`)
    if (this.#turn !== null) return this.#messages.refuse('Another turn started before current completed')
    const objection = this.#azure.objection(text)
    if (objection !== null) return this.#messages.refuse(objection)
    this.context = body
    const { languageId, phraseDetection } = this.context
    const candidates = languageId?.languages ?? []
    if (candidates.length > 0 && this.query.get('lidEnabled') !== 'true')
      return this.#messages.refuse('lidEnabled is missing')
    if (candidates.length > CANDIDATES_MAX) return this.#messages.refuse('Too many candidate languages')
    if (new Set(candidates.map((locale) => locale.split('-')[0])).size < candidates.length)
      return this.#messages.refuse('Two candidates of one language')
    const unknown = [...candidates, phraseDetection?.language ?? 'en-US'].find((locale) => !LOCALES.includes(locale))
    if (unknown !== undefined) return this.#messages.refuse(`Unsupported language ${unknown}`)
    this.#turn = { requestId: message.requestId, candidates, headed: false, ended: false, settled: 0 }
  }

  protected override audio(bytes: Buffer): void {
    const message = this.#messages.read(bytes, true)
    if (message === null) return
    const turn = this.#turn
    if (message.path !== 'audio' || turn === null) return this.#messages.refuse('Audio without speech.context')
    if (message.requestId !== turn.requestId) return this.#messages.refuse('Audio of another request')
    if (message.body.length > CHUNK_BYTES_MAX) return this.#messages.refuse('The chunk of audio is too long')
    if (message.body.length === 0) return this.#end(turn)
    if (turn.ended) return this.#messages.refuse('Audio after its end')
    if (turn.headed) return this.#hear(turn, message.body)
    const head = wavHead(message.body)
    if (typeof head === 'string' || message.type !== 'audio/x-wav')
      return this.#messages.refuse('No header of the audio')
    const { bits, channels, rateHz } = head.format
    if (bits !== 16 || channels !== 1 || ![8000, 16_000].includes(rateHz))
      return this.#messages.refuse('Unsupported audio format')
    turn.headed = true
    this.ear ??= this.earAt(rateHz)
    this.#send('turn.start', turn, { context: { serviceTag: randomUUID() } })
  }

  protected override words(words: readonly SpokenWord[]): void {
    const turn = this.#turn
    if (turn === null) return
    const open = words.slice(turn.settled)
    if (open.length <= PHRASE_WORDS) return this.#hypothesis(turn, open)
    this.#phrase(turn, open.slice(0, PHRASE_WORDS))
    turn.settled += PHRASE_WORDS
    this.#hypothesis(turn, open.slice(PHRASE_WORDS))
  }

  #hear(turn: Turn, body: Buffer): void {
    this.ear?.hear(samplesOf(body))
    if ((this.ear?.heardMs ?? 0) > this.#azure.turnMsMax) this.client.close(1000, 'The longest time of a turn is over')
    else if (turn !== this.#turn) this.#messages.refuse('Audio after the turn')
  }

  #end(turn: Turn): void {
    // The vendor's own client sends the end of a turn twice, so the second end is ignored.
    if (turn.ended) return
    turn.ended = true
    if (this.ear === null) return this.#over(turn)
    this.end((words) => {
      const open = words.slice(turn.settled)
      if (open.length > 0) this.#phrase(turn, open)
      else if (words.length === 0)
        this.#send('speech.phrase', turn, { RecognitionStatus: 'NoMatch', Offset: 0, Duration: 0 })
      this.#over(turn)
    })
  }

  #over(turn: Turn): void {
    this.#send('speech.endDetected', turn, { Offset: Math.round((this.ear?.heardMs ?? 0) * MS_TICKS) })
    this.#send('turn.end', turn, {})
    this.#turn = null
  }

  #hypothesis(turn: Turn, words: readonly SpokenWord[]): void {
    // Interim words have no capitals and no punctuation.
    const text = this.#textOf(words).toLowerCase()
    this.#send('speech.hypothesis', turn, { Id: randomUUID(), Text: text, ...this.#spans(turn, words) })
  }

  #phrase(turn: Turn, words: readonly SpokenWord[]): void {
    const status = { Id: randomUUID(), RecognitionStatus: 'Success', DisplayText: this.#textOf(words) }
    this.#send('speech.phrase', turn, { ...status, ...this.#spans(turn, words), Channel: 0 })
  }

  #textOf(words: readonly SpokenWord[]): string {
    const { profanity = this.query.get('profanity') ?? 'masked' } = this.context.phraseDetection?.enrichment ?? {}
    const masks = profanity.toLowerCase() !== 'raw'
    return words
      .map(({ text }) => (masks && PROFANE.includes(text.toLowerCase()) ? '*'.repeat(text.length) : text))
      .join(' ')
  }

  #spans({ candidates }: Turn, words: readonly SpokenWord[]) {
    const [from, to] = [words[0]?.startMs ?? 0, words.at(-1)?.endMs ?? 0]
    const [first = ''] = candidates
    const { languageOf } = this.double.options
    const code = languageOf?.(words[0]?.text ?? '')
    const Language = candidates.find((locale) => locale.split('-')[0] === code) ?? first
    const primary = candidates.length === 0 ? {} : { PrimaryLanguage: { Language, Confidence: 'High' } }
    return { Offset: Math.round(from * MS_TICKS), Duration: Math.round((to - from) * MS_TICKS), ...primary }
  }

  #send(path: string, { requestId }: Turn, body: object): void {
    this.sendRaw(this.#messages.text(path, requestId, body))
  }
}

/** A request to the voice, from its context message to `turn.end`. */
interface Request {
  readonly id: string
  readonly rateHz: number
  readonly timed: boolean
  speech: VoiceSpeech | null
  /** Number of characters of the text whose words were already reported. */
  told: number
}

class AzureVoiceSession extends VoiceSession {
  /** Documents that the client sent, oldest first. */
  readonly documents: string[] = []
  readonly #messages: Messages
  #request: Request | null = null

  constructor(client: WebSocket, double: AzureSpeechDouble) {
    super(client, double)
    this.#messages = new Messages(client, double)
  }

  protected override take(bytes: Buffer, binary: boolean): void {
    const message = this.#messages.read(bytes, binary)
    if (message === null) return
    this.messages.push({ path: message.path, requestId: message.requestId })
    const objection = this.double.objection(message.body.toString())
    if (objection !== null) return this.#messages.refuse(objection)
    switch (message.path) {
      case 'speech.config':
        return void this.#messages.json(message)
      case 'synthesis.context':
        return this.#context(message)
      case 'ssml':
        return this.#ssml(message)
      case 'synthesis.control':
        return this.#stop()
      default:
        this.#messages.refuse(`Unknown path ${message.path}`)
    }
  }

  protected override receive(): void {
    // Empty, because the voice's messages have headers: `take` reads them.
  }

  #context(message: Message): void {
    if (this.#request !== null) return this.#messages.refuse('Another turn started before current completed')
    const { synthesis } = (this.#messages.json(message) ?? {}) as {
      readonly synthesis?: {
        readonly audio?: { readonly outputFormat?: string; readonly metadataOptions?: Json }
      }
    }
    const { outputFormat = '', metadataOptions = {} } = synthesis?.audio ?? {}
    const format = FORMATS.exec(outputFormat)
    if (format === null) return this.#messages.refuse(`Unsupported output format ${outputFormat}`)
    const timed = String(metadataOptions['wordBoundaryEnabled']) === 'true'
    this.#request = { id: message.requestId, rateHz: Number(format[1]) * 1000, timed, speech: null, told: 0 }
  }

  #ssml({ requestId, type, body }: Message): void {
    const request = this.#request
    if (request?.id !== requestId || request.speech !== null)
      return this.#messages.refuse('ssml without synthesis.context')
    const document = body.toString()
    if (type !== 'application/ssml+xml' || document.length > SSML_CHARS_MAX) return this.#messages.refuse('No SSML')
    this.documents.push(document)
    const said = saidIn(document)
    if (typeof said === 'string') return this.#messages.refuse(said)
    const streamId = randomUUID().replaceAll('-', '').toUpperCase()
    this.#send('turn.start', request, { context: { serviceTag: randomUUID() } })
    this.#send('response', request, { context: { serviceTag: '' }, audio: { type: 'inline', streamId } })
    request.speech = this.speech(request.rateHz, {
      frame: ({ bytes, text, fromMs, ms }) => {
        const headers = Buffer.from(`X-RequestId:${request.id}\r\nX-StreamId:${streamId}\r\nPath:audio\r\n`)
        const length = Buffer.alloc(2)
        length.writeUInt16BE(headers.length)
        if (request.timed) this.#words(request, text, fromMs, ms)
        this.sendRaw(Buffer.concat([length, headers, bytes]))
      },
      done: () => this.#over(request),
    })
    request.speech.say(said.text)
    request.speech.end()
  }

  /** Reports the words that begin in a frame. */
  #words(request: Request, text: string, fromMs: number, ms: number): void {
    const each = ms / Math.max(1, text.length)
    const words = [...(request.speech?.text ?? '').matchAll(/[\p{L}\p{N}'-]+/gu)]
    const at = request.told
    request.told += text.length
    for (const { 0: word, index } of words.filter((one) => one.index >= at && one.index < at + text.length))
      this.#send('audio.metadata', request, {
        Metadata: [
          {
            Type: 'WordBoundary',
            Data: {
              Offset: Math.round((fromMs + (index - at) * each) * MS_TICKS),
              Duration: Math.round(word.length * each * MS_TICKS),
              text: { Text: word, Length: word.length, BoundaryType: 'WordBoundary' },
            },
          },
        ],
      })
  }

  #stop(): void {
    const request = this.#request
    if (request?.speech == null) return
    this.double.cancelled++
    const { faults } = this.double
    if (faults.lateSound) this.client.send(this.#late(request))
    request.speech.stop()
    if (!faults.noAcknowledgement) this.#over(request)
  }

  #late({ id }: Request): Buffer {
    const headers = Buffer.from(`X-RequestId:${id}\r\nX-StreamId:${id}\r\nPath:audio\r\n`)
    const length = Buffer.alloc(2)
    length.writeUInt16BE(headers.length)
    return Buffer.concat([length, headers, Buffer.alloc(3200, 1)])
  }

  #over(request: Request): void {
    this.#request = null
    this.#send('turn.end', request, {})
  }

  #send(path: string, { id }: Request, body: object): void {
    this.sendRaw(this.#messages.text(path, id, body))
  }
}

/** @returns the document's text; a string with the reason if the service refuses the document */
function saidIn(document: string): string | { readonly text: string } {
  const parser = new SaxesParser()
  const fault: { why: string | null } = { why: null }
  let text = ''
  let voices = 0
  parser.on('error', () => (fault.why ??= 'SSML parsing error'))
  parser.on('opentag', ({ name, attributes }) => {
    if (name === 'voice') voices++
    const voice = name === 'voice' ? String(attributes['name']) : null
    if (voice !== null && !VOICES.test(voice)) fault.why ??= `Unsupported voice ${voice}.`
    if (name === 'speak' && attributes['xml:lang'] === undefined) fault.why ??= 'SSML lacks xml:lang'
  })
  parser.on('text', (piece) => (text += piece))
  parser.write(document).close()
  if (fault.why === null && voices !== 1) return 'SSML has no voice'
  return fault.why ?? { text }
}

export const doubles = { azure: [[AzureSpeechDouble, 'AZURE_STT_URL', 'AZURE_TTS_URL']] }

export const optionalFields: OptionalFieldsOf = {
  stt: {
    azure: [
      {
        wished: TERMS,
        fields: {
          profanity: [/profanity/i, 'Unsupported value of profanity.'],
          dgi: [/"dgi"/, 'dgi is not available in this region.'],
        },
      },
    ],
  },
  tts: {
    azure: [
      {
        wished: SPEED,
        fields: {
          metadataOptions: [/metadataOptions/, 'Unsupported metadataOptions.'],
          ...speedIn(/<prosody/, 'The voice does not support prosody rate.'),
        },
      },
    ],
  },
}
