import { noUsage } from '../../call/usage.js'
import { pricedModel } from '../prices.js'
import { Base64Audio } from '../transport/base64-audio.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { sonioxFault, sonioxSocket } from './soniox-socket.js'
import type { Mark, SpeechListener, StageContext, StageFactory, TextToSpeech, Utterance } from './stage.js'
import type { StageMessage, StageSocket } from './stage-socket.js'

interface SonioxTtsOptions {
  /** `wss://tts-rt.soniox.com` when not given; http(s) and ws(s) alike. */
  readonly baseUrl?: string
  /** Never logged. */
  readonly apiKey: string
  readonly model?: string
  /** Goes before the voice that the agent names; `Adrian` when neither is given. */
  readonly voice?: string
  /** 0.7 to 1.3; 1 when not given. */
  readonly speed?: number
  readonly connectTimeoutMs?: number
}

const BASE_URL = 'wss://tts-rt.soniox.com'
const SONIOX_TTS_MODEL = 'tts-rt-v2'
const VOICE_DEFAULT = 'Adrian'
/** For a session without a language. */
const LANGUAGE_DEFAULT = 'en'
/** The service closes a connection that gets nothing for 30 s. */
const KEEPALIVE_MS = 15_000
/** Streams of one connection at the service; those that were cancelled count until they are acknowledged. */
const STREAMS_MAX = 5

/** Soniox's voice over a WebSocket: each answer is one stream, which gets its words while they are written. */
export function sonioxTextToSpeech(options: SonioxTtsOptions): StageFactory<TextToSpeech> {
  const { model = SONIOX_TTS_MODEL, baseUrl = BASE_URL } = options
  return {
    service: 'soniox',
    model: pricedModel(model, baseUrl),
    make: (context) => new SonioxTextToSpeech({ ...options, model, baseUrl }, context),
  }
}

const UNHEARD: SpeechListener = {
  audio: () => undefined,
  clause: () => undefined,
  marks: () => undefined,
  done: () => undefined,
  failed: () => undefined,
}

type Options = SonioxTtsOptions & { readonly model: string; readonly baseUrl: string }

interface Stream {
  readonly listener: SpeechListener
  readonly audio: Base64Audio
  /** Messages that wait for a free place at the service; null once it has begun. */
  waiting: Record<string, unknown>[] | null
  characters: number
  cancelled: boolean
}

class SonioxTextToSpeech implements TextToSpeech {
  readonly input = 'words'
  readonly #options: Options
  readonly #context: StageContext
  readonly #what: string
  #socket: StageSocket | null = null
  #lostListener: ((fault: VendorFault) => void) | null = null
  /** By id; until the service has ended them. */
  readonly #streams = new Map<string, Stream>()
  #ids = 0
  #keepalive: NodeJS.Timeout | null = null

  constructor(options: Options, context: StageContext) {
    this.#options = options
    this.#context = context
    this.#what = `${context.name}: tts soniox`
  }

  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    const { baseUrl, apiKey, connectTimeoutMs } = this.#options
    const socket = sonioxSocket({
      what: this.#what,
      baseUrl,
      path: 'tts-websocket',
      apiKey,
      connectTimeoutMs,
      message: (message) => this.#message(message),
      lost: (fault) => this.#lost(fault),
    })
    this.#socket = socket
    await socket.open(signal, probe)
    this.#keepalive = setInterval(() => socket.send({ keep_alive: true }), KEEPALIVE_MS).unref()
    // Only the first stream tells whether the key is good: this one says nothing.
    if (probe) this.begin({ name: null, language: '' }, UNHEARD).end()
  }

  lost(listener: (fault: VendorFault) => void): void {
    this.#lostListener = listener
  }

  begin(
    { name, language }: { readonly name: string | null; readonly language: string },
    listener: SpeechListener,
  ): Utterance {
    const { apiKey, model, voice, speed } = this.#options
    const id = `answer-${++this.#ids}`
    const stream: Stream = {
      listener,
      audio: new Base64Audio('pcm16'),
      waiting: [],
      characters: 0,
      cancelled: false,
    }
    this.#streams.set(id, stream)
    this.#send(stream, {
      api_key: apiKey,
      model,
      language: language === '' ? LANGUAGE_DEFAULT : language,
      voice: voice ?? name ?? VOICE_DEFAULT,
      audio_format: 'pcm_s16le',
      sample_rate: this.#context.legRateHz,
      return_timestamps: true,
      stream_id: id,
      ...(speed === undefined ? {} : { speed }),
    })
    this.#advance()
    return {
      text: (text) => {
        stream.characters += text.length
        this.#send(stream, { stream_id: id, text, text_end: false })
      },
      end: () => {
        // A stream without text has nothing to say, and no audio would end it.
        if (stream.characters > 0) return this.#send(stream, { stream_id: id, text: '', text_end: true })
        this.#cancel(id, stream)
        listener.done()
      },
      cancel: () => this.#cancel(id, stream),
    }
  }

  close(): void {
    if (this.#keepalive !== null) clearInterval(this.#keepalive)
    this.#streams.clear()
    this.#socket?.close()
    this.#socket = null
  }

  #send(stream: Stream, message: Record<string, unknown>): void {
    if (stream.cancelled) return
    if (stream.waiting === null) this.#socket?.send(message)
    else stream.waiting.push(message)
  }

  /** Begins the oldest waiting streams while the service has places for them. */
  #advance(): void {
    let running = [...this.#streams.values()].filter(({ waiting }) => waiting === null).length
    for (const stream of this.#streams.values()) {
      if (running >= STREAMS_MAX) return
      if (stream.waiting === null) continue
      const messages = stream.waiting
      stream.waiting = null
      running++
      for (const message of messages) this.#socket?.send(message)
    }
  }

  #cancel(id: string, stream: Stream): void {
    if (stream.cancelled || !this.#streams.has(id)) return
    stream.cancelled = true
    this.#charge(stream)
    // It keeps its place until the service has ended it; what comes for it until then is dropped.
    if (stream.waiting === null) this.#socket?.send({ stream_id: id, cancel: true })
    else this.#streams.delete(id)
  }

  #message(message: StageMessage): void {
    const { stream_id: id, audio, timestamps, audio_end: end, terminated } = message
    const stream = typeof id === 'string' ? this.#streams.get(id) : undefined
    if (typeof id !== 'string' || stream === undefined) return
    const fault = sonioxFault(message, { what: this.#what, apiKey: this.#options.apiKey })
    if (fault !== null) {
      this.#over(id, stream)
      if (!stream.cancelled) stream.listener.failed(fault, false)
      return
    }
    if (!stream.cancelled) {
      const marks = marksOf(timestamps)
      if (marks.length > 0) stream.listener.marks(marks)
      if (typeof audio === 'string' && audio !== '' && !this.#deliver(stream, audio)) this.#context.malformed()
    }
    const cancelled = stream.cancelled
    if (end === true && !cancelled) {
      this.#charge(stream)
      // The listener is told first: nothing that follows belongs to it.
      stream.cancelled = true
      stream.listener.done()
    }
    if (terminated === true) {
      this.#over(id, stream)
      if (!stream.cancelled) {
        stream.cancelled = true
        stream.listener.done()
      }
    }
  }

  #deliver(stream: Stream, base64: string): boolean {
    return stream.audio.decode(base64, (pcm) => {
      if (!stream.cancelled) stream.listener.audio(pcm, this.#context.legRateHz)
    })
  }

  #over(id: string, stream: Stream): void {
    this.#charge(stream)
    this.#streams.delete(id)
    this.#advance()
  }

  #charge(stream: Stream): void {
    const { model, baseUrl } = this.#options
    if (stream.characters > 0)
      this.#context.used({ ...noUsage(), model: pricedModel(model, baseUrl), speechCharacters: stream.characters })
    stream.characters = 0
  }

  #lost(fault: VendorFault): void {
    const streams = [...this.#streams.values()].filter(({ cancelled }) => !cancelled)
    this.#streams.clear()
    for (const stream of streams) {
      stream.cancelled = true
      stream.listener.failed(fault, true)
    }
    if (streams.length === 0) this.#lostListener?.(fault)
  }
}

/** Characters with their times in seconds; empty for anything else. */
function marksOf(timestamps: unknown): Mark[] {
  if (typeof timestamps !== 'object' || timestamps === null) return []
  const {
    characters,
    character_start_times_seconds: starts,
    character_end_times_seconds: ends,
  } = timestamps as Readonly<Record<string, unknown>>
  if (!Array.isArray(characters) || !Array.isArray(starts) || !Array.isArray(ends)) return []
  return (characters as readonly unknown[]).flatMap((text, i) => {
    const [from, to] = [(starts as readonly unknown[])[i], (ends as readonly unknown[])[i]]
    if (typeof text !== 'string' || typeof from !== 'number' || typeof to !== 'number') return []
    return [{ text, fromMs: from * 1000, toMs: to * 1000 }]
  })
}
