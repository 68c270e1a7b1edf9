import type { IncomingMessage } from 'node:http'
import type { WebSocket } from 'ws'
import { decodeMuLaw, samplesOf } from '../../media/pcm.js'
import { SocketDouble, type Refusal } from './double.js'
import { DoubleEar, NO_RECOGNISER_FAULTS } from './recogniser-double.js'
import type { RecogniserDoubleOptions, RecogniserFaults, SpokenWord } from './recogniser-double.js'
import { NO_VOICE_FAULTS, textIn, VoiceSpeech } from './voice-double.js'
import type { Json, SpokenFrame, VoiceDoubleOptions, VoiceFaults } from './voice-double.js'

interface SonioxDoubleOptions extends RecogniserDoubleOptions, VoiceDoubleOptions {
  /** The language that a word is told to be in. Default: the first of the hints. */
  readonly languageOf?: (word: string) => string
}

const ENDED = 1000

/**
 * Soniox's recogniser and voice on loopback, written from the types and the source of `@soniox/node` 2.3.0 and from what
 * that client sends: tokens that are pieces of words, `<fin>`, streams that are cancelled with an acknowledgement, times of
 * characters. The words of a turn are the script's.
 */
export class SonioxDouble extends SocketDouble<SonioxSession> {
  readonly faults: RecogniserFaults & VoiceFaults = { ...NO_RECOGNISER_FAULTS, ...NO_VOICE_FAULTS }
  readonly options: SonioxDoubleOptions
  /** Texts that were given to the voice, by stream. */
  readonly spoken: string[] = []
  callerAudioMs = 0
  unheardMs = 0
  keepalives = 0
  cancelled = 0
  /** How sessions are refused after their first message; null accepts them. */
  refuseSession: { readonly code: number; readonly message: string } | null = null

  private constructor(options: SonioxDoubleOptions) {
    super(options)
    this.options = options
  }

  static start(options: SonioxDoubleOptions = {}): Promise<SonioxDouble> {
    return new SonioxDouble(options).listen()
  }

  get baseUrl(): string {
    return `http://${this.at}`
  }

  /** Sessions of the recogniser, the newest last. */
  get listeners(): readonly ListenSession[] {
    return this.sessions.filter((session) => session instanceof ListenSession)
  }

  get voices(): readonly SpeakSession[] {
    return this.sessions.filter((session) => session instanceof SpeakSession)
  }

  protected override refusalOf(request: IncomingMessage): Refusal | null {
    return /^\/(transcribe|tts)-websocket$/.test(request.url ?? '')
      ? null
      : { status: 404, body: '{"error_message":"Not found"}' }
  }

  protected override accept(client: WebSocket, request: IncomingMessage): SonioxSession {
    const session = request.url?.startsWith('/tts') ? new SpeakSession(client, this) : new ListenSession(client, this)
    client.on('message', (data, binary) => {
      const bytes = data as Buffer
      if (binary) return session.bytes(bytes)
      const text = bytes.toString()
      // An empty frame ends the audio.
      if (text === '') return session.bytes(Buffer.alloc(0))
      session.json(JSON.parse(text) as Json)
    })
    client.on('close', () => session.stop())
    client.on('error', () => undefined)
    return session
  }

  /** @returns why the service does not begin a session with this key */
  refusal(key: unknown): { readonly code: number; readonly message: string } | null {
    if (this.refuseSession !== null) return this.refuseSession
    // The service repeats the given key in its error, and so does the double.
    return this.key === null || key === this.key ? null : { code: 401, message: `Incorrect API key: ${String(key)}` }
  }
}

abstract class SonioxSession {
  protected readonly client: WebSocket
  protected readonly double: SonioxDouble
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor(client: WebSocket, double: SonioxDouble) {
    this.client = client
    this.double = double
  }

  abstract json(message: Json): void
  abstract bytes(bytes: Buffer): void

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  protected send(message: object): void {
    if (this.client.readyState === this.client.OPEN) this.client.send(JSON.stringify(message))
  }

  protected refuse({ code, message }: { readonly code: number; readonly message: string }): void {
    this.send({ error_code: code, error_message: message })
    this.client.close(ENDED)
  }

  protected later(ms: number, work: () => void): void {
    if (ms <= 0) return work()
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      work()
    }, ms)
    this.#timers.add(timer)
  }
}

/** A session of the recogniser. */
class ListenSession extends SonioxSession {
  config: Json | null = null
  finalized = 0
  readonly #expanded = new Int16Array(65_536)
  #ear: DoubleEar | null = null

  json(message: Json): void {
    if (this.config === null) {
      this.config = message
      const refusal = this.double.refusal(message['api_key'])
      if (refusal !== null) return this.refuse(refusal)
      this.#ear = new DoubleEar(this.double, Number(message['sample_rate'] ?? 16_000), {
        // All words are uncertain before the end, and each message repeats them.
        words: (words) => this.#tell(words.flatMap((word) => this.#tokens(word, false))),
        broke: () => this.client.terminate(),
      })
      return
    }
    if (message['type'] === 'keepalive') this.double.keepalives++
    if (message['type'] === 'finalize') this.#finalize()
  }

  bytes(bytes: Buffer): void {
    const ear = this.#ear
    if (ear === null) return
    if (bytes.length === 0) {
      if (ear.heardMs === 0) return this.refuse({ code: 400, message: 'No audio received.' })
      return ear.end((words) => {
        this.#tell([...words.flatMap((word) => this.#tokens(word, true)), { text: '<end>', is_final: true }])
        this.send({ tokens: [], finished: true, final_audio_proc_ms: ear.heardMs, total_audio_proc_ms: ear.heardMs })
        this.client.close(ENDED)
      })
    }
    const mulaw = this.config?.['audio_format'] === 'mulaw'
    ear.hear(mulaw ? this.#expanded.subarray(0, decodeMuLaw(bytes, this.#expanded)) : samplesOf(bytes))
  }

  #finalize(): void {
    this.finalized++
    this.#ear?.end((words) => {
      if (this.double.faults.noAnswer) return
      this.later(this.double.options.finalMs ?? 0, () => {
        const tokens = words.flatMap((word) => this.#tokens(word, true))
        // Words and marker may come in one message, or the words in pieces.
        if (tokens.length > 1) this.#tell(tokens.splice(0, 1))
        this.#tell([...tokens, { text: '<fin>', is_final: true }])
      })
    })
  }

  /** A long word is two tokens, and only the first has the space. */
  #tokens({ text: word, startMs }: SpokenWord, final: boolean): object[] {
    const text = ` ${word}`
    const { languageOf = () => hints?.[0] ?? 'en' } = this.double.options
    const pieces = text.length > 6 ? [text.slice(0, 4), text.slice(4)] : [text]
    const hints = this.config?.['language_hints'] as readonly string[] | undefined
    return pieces.map((piece, i) => ({
      text: piece,
      start_ms: startMs + i * 100,
      end_ms: startMs + (i + 1) * 100,
      confidence: 0.9,
      is_final: final,
      language: languageOf(word),
    }))
  }

  #tell(tokens: readonly object[]): void {
    const heardMs = this.#ear?.heardMs ?? 0
    this.send({ tokens, final_audio_proc_ms: heardMs, total_audio_proc_ms: heardMs })
  }
}

/** A connection of the voice. */
class SpeakSession extends SonioxSession {
  readonly configs: Json[] = []
  /** The same, with what was spoken. */
  readonly utterances: { readonly config: Json; readonly speech: VoiceSpeech }[] = []
  readonly #streams = new Map<string, VoiceSpeech>()

  json(message: Json): void {
    const id = textIn(message['stream_id'])
    if (message['keep_alive'] === true) {
      this.double.keepalives++
      return
    }
    if (message['api_key'] !== undefined) {
      const refusal = this.double.refusal(message['api_key'])
      if (refusal !== null) return this.refuse(refusal)
      this.configs.push(message)
      this.#open(id, message)
      return
    }
    const speech = this.#streams.get(id)
    if (speech === undefined) {
      this.send({ stream_id: id, error_code: 400, error_message: 'Unknown stream.' })
      return
    }
    if (message['cancel'] === true) return this.#cancel(id, speech)
    const text = textIn(message['text'])
    if (text !== '') speech.say(text)
    if (message['text_end'] === true) speech.end()
  }

  bytes(): void {
    // The voice hears nothing.
  }

  override stop(): void {
    super.stop()
    for (const speech of this.#streams.values()) speech.stop()
    this.#streams.clear()
  }

  #open(id: string, config: Json): void {
    const speech = new VoiceSpeech(this.double, Number(config['sample_rate'] ?? 24_000), {
      frame: (frame) => this.#frame(id, frame, config['return_timestamps'] === true),
      done: () => {
        this.#streams.delete(id)
        this.send({ stream_id: id, audio: '', audio_end: true })
        this.send({ stream_id: id, terminated: true })
      },
      broke: () => this.client.terminate(),
    })
    this.#streams.set(id, speech)
    this.utterances.push({ config, speech })
  }

  #cancel(id: string, speech: VoiceSpeech): void {
    this.double.cancelled++
    speech.stop()
    if (this.double.faults.noAcknowledgement) return
    this.#streams.delete(id)
    if (this.double.faults.lateSound) this.send({ stream_id: id, audio: Buffer.alloc(3200).toString('base64') })
    this.send({ stream_id: id, terminated: true })
  }

  #frame(id: string, { bytes, text, fromMs, ms }: SpokenFrame, timestamps: boolean): void {
    const characters = [...text]
    const each = ms / 1000 / Math.max(1, characters.length)
    this.send({
      stream_id: id,
      audio: bytes.toString('base64'),
      ...(timestamps
        ? {
            timestamps: {
              characters,
              character_start_times_seconds: characters.map((_, i) => fromMs / 1000 + i * each),
              character_end_times_seconds: characters.map((_, i) => fromMs / 1000 + (i + 1) * each),
            },
          }
        : {}),
    })
  }
}
