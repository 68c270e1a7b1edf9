import { noUsage } from '../../call/usage.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { readSamples } from '../../media/pcm.js'
import { Base64Audio } from '../transport/base64-audio.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { askedSpeed } from './service.js'
import type { Mark, SpeechListener, SpeechManner, ServiceContext, TextToSpeech, Utterance } from './service.js'
import { ServiceSocket } from './service-socket.js'
import type { SentMessage, SocketService, SocketServiceOptions, SocketWire, ServiceMessage } from './service-socket.js'

/**
 * Maximum time in ms without sound while a service has to send sound. After this time, the service counts as out of
 * order. The service's options may set another time.
 */
const SILENT_MS = 5000
/**
 * Maximum time in ms until the service has ended a cancelled utterance. After this time, a new connection is opened.
 * The limit is shorter if another utterance waits for the slot.
 */
const ACKNOWLEDGE_MS = 5000
const ACKNOWLEDGE_ONLY_PLACE_MS = 1500
/**
 * Time in ms from the last text of an utterance until the end of the utterance is requested, if sound has already
 * arrived. If no sound has arrived, the end is requested with the next sound. The time limit is needed because all
 * sound may arrive before the last text.
 */
const CLOSE_AFTER_MS = 500
/**
 * Maximum number of utterances that wait for a slot at the service. If a further utterance arrives, the oldest fails.
 */
const WAITING_MAX = 8

/** Options of every voice over a WebSocket. */
export interface StreamedVoiceOptions extends SocketServiceOptions {
  readonly apiKey: string
  /** Name or id of a voice; overrides the agent's voice. Not used for models with a single voice. */
  readonly voice?: string
  /** Speaking speed; it must be in the range `speeds` of the service. Default: 1. */
  readonly speed?: number
  /** A pronunciation dictionary that is stored in the service's account. Some dictionaries have a version. */
  readonly dictionary?: { readonly id: string; readonly version?: string }
  /** Maximum time in ms without sound while the service has to send sound. Default: SILENT_MS. */
  readonly timeoutMs?: number
}

export type VoiceService = SocketService<StreamedVoiceOptions>

/**
 * A voice over a WebSocket. An utterance is one stream of the service:
 *
 *     waiting   --a slot is free--> running
 *     waiting   --cancel--> (gone)
 *     running   --all sound came--> done
 *     running   --cancel--> cancelled
 *     cancelled --at once, or when the service has ended the utterance (`acknowledges`)--> (gone)
 *
 * If an utterance is done or cancelled, messages with its id are dropped. If messages have no id, the old utterance
 * keeps its slot until the service has ended it. So the sound of the old utterance never counts as sound of the next
 * utterance.
 */
export class StreamedVoice implements TextToSpeech {
  readonly input: 'sentences' | 'words'
  readonly #service: VoiceService
  readonly #wire: VoiceWire
  readonly #context: ServiceContext
  #socket: ServiceSocket | null = null
  #lostListener: ((fault: VendorFault) => void) | null = null
  /** Utterances by id, oldest first, until the service has ended them. */
  readonly #streams = new Map<string, Stream>()
  #ids = 0
  /**
   * Duration of this connection's sound that was played, in milliseconds. Of an interrupted utterance, only the heard
   * part counts.
   */
  #clockMs = 0
  /** The last cancelled utterance whose heard words were requested by `cancel`. */
  #asked: { readonly id: string; readonly heard: (text: string) => void } | null = null
  #keepalive: NodeJS.Timeout | undefined

  constructor(service: VoiceService, wire: () => VoiceWire, context: ServiceContext) {
    this.#service = service
    this.#wire = wire()
    this.#context = context
    this.input = this.#wire.input
    const [slowest, fastest] = this.#wire.speeds
    if (slowest === fastest) context.wishes.never('speed')
  }

  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    const { socket: wire, keepalive, probes } = this.#wire
    const socket = new ServiceSocket(this.#service, wire, {
      message: (message) => this.#message(message),
      bytes: (data) => this.#bytes(data),
      lost: (fault) => this.#lost(fault),
    })
    this.#socket = socket
    await socket.open(signal, probe)
    if (keepalive !== undefined)
      this.#keepalive = setInterval(() => {
        for (const message of keepalive.messages(this.#running().map(({ id }) => id))) socket.send(message)
      }, keepalive.everyMs).unref()
    if (probe && probes === true) this.begin({ language: '', speed: 1 }, UNHEARD).end()
  }

  lost(listener: (fault: VendorFault) => void): void {
    this.#lostListener = listener
  }

  begin(manner: SpeechManner, listener: SpeechListener): Utterance {
    const id = `answer-${++this.#ids}`
    const stream: Stream = {
      id,
      listener,
      audio: new Base64Audio('pcm16'),
      rest: Buffer.alloc(0),
      waiting: [],
      begun: false,
      characters: 0,
      words: false,
      soundMs: 0,
      fromMs: 0,
      ended: false,
      over: false,
      timer: undefined,
      closing: false,
      closes: undefined,
    }
    const [oldest, ...others] = [...this.#streams.values()].filter((one) => one.waiting !== null)
    if (oldest !== undefined && others.length + 1 >= WAITING_MAX) {
      this.#streams.delete(oldest.id)
      this.#fail(
        oldest,
        vendorFault('rate_limit', `${this.#service.what}: too many utterances at the same time`, false),
        false,
      )
    }
    this.#streams.set(id, stream)
    const { voice = manner.voice ?? this.#context.voice } = this.#service
    const speed = askedSpeed(this.#context.wishes, this.#service.speed, manner, this.#wire.speeds)
    this.#send(stream, this.#wire.begin(id, { ...manner, ...omitNullish({ voice }), speed }))
    this.#advance()
    return {
      text: (text) => {
        if (stream.over || text.trim() === '') return
        stream.characters += text.length
        stream.words ||= /[\p{L}\p{N}]/u.test(text)
        this.#send(stream, this.#wire.text(id, text))
        stream.begun ||= stream.waiting === null
        if (stream.soundMs === 0) this.#expect(stream)
        else this.#watch(stream)
      },
      end: () => {
        if (stream.over) return
        stream.ended = true
        // An utterance without text is not spoken, so the service would not report its end.
        if (stream.characters > 0) {
          const messages = this.#wire.end(id)
          if (messages === null) {
            this.#over(stream)
            return this.#done(stream)
          }
          this.#send(stream, messages)
          stream.closing = this.#wire.close !== undefined
          if (stream.closing && stream.soundMs > 0)
            stream.closes = setTimeout(() => this.#close(stream), CLOSE_AFTER_MS).unref()
          return this.#expect(stream)
        }
        this.#cancel(stream, null, null)
        listener.done()
      },
      cancel: (playedMs, heard) => this.#cancel(stream, playedMs, heard ?? null),
    }
  }

  close(): void {
    clearInterval(this.#keepalive)
    for (const stream of this.#streams.values()) {
      this.#charge(stream)
      quiet(stream)
    }
    this.#streams.clear()
    this.#socket?.close()
    this.#socket = null
  }

  #running(): Stream[] {
    return [...this.#streams.values()].filter(({ waiting }) => waiting === null)
  }

  #send(stream: Stream, messages: readonly SentMessage[]): void {
    if (stream.waiting !== null) return void stream.waiting.push(...messages)
    stream.begun ||= messages.length > 0
    for (const message of messages) this.#socket?.send(message)
  }

  /** Begins the oldest waiting utterances while the service has free slots. */
  #advance(): void {
    let running = this.#running().length
    for (const stream of this.#streams.values()) {
      if (running >= this.#wire.placesMax) return
      if (stream.waiting === null) continue
      const messages = stream.waiting
      stream.waiting = null
      stream.fromMs = this.#clockMs
      running++
      this.#send(stream, messages)
      if (stream.characters > 0) this.#expect(stream)
    }
  }

  /** Starts waiting for sound, or for the end of the utterance. */
  #expect(stream: Stream): void {
    const { timeoutMs = SILENT_MS } = this.#service
    if (stream.over || stream.waiting !== null) clearTimeout(stream.timer)
    else this.#failAfter(timeoutMs, stream, `sends no sound for ${timeoutMs} ms`)
  }

  /** Called when sound has arrived or was requested. Waits for more sound if the service has to send more. */
  #watch(stream: Stream): void {
    if (stream.ended || this.#wire.speaks?.(stream.id) === true) this.#expect(stream)
    else clearTimeout(stream.timer)
  }

  #failAfter(ms: number, stream: Stream, words: string): void {
    clearTimeout(stream.timer)
    const fault = vendorFault('timeout', `${this.#service.what} ${words}`, false)
    stream.timer = setTimeout(() => this.#socket?.fail(fault), ms).unref()
  }

  /** Requests the end of an utterance while its last text is being spoken. Only some services need this request. */
  #close(stream: Stream): void {
    clearTimeout(stream.closes)
    stream.closing = false
    if (!stream.over) this.#send(stream, this.#wire.close?.(stream.id) ?? [])
  }

  #cancel(stream: Stream, playedMs: number | null, heard: ((text: string) => void) | null): void {
    const kept = this.#streams.get(stream.id) === stream
    // If all sound of the utterance was delivered, no sound has to be stopped, but the service may still report the
    // heard words.
    if (kept ? stream.over : playedMs === null || heard === null || this.#running().length > 0) return
    quiet(stream)
    const without = stream.characters === 0
    this.#charge(stream)
    if (kept && (stream.waiting !== null || !stream.begun)) {
      // An utterance without text is not known to the service, so only `wire` removes the utterance.
      if (without) this.#wire.cancel(stream.id, null)
      return this.#over(stream)
    }
    const atMs = playedMs === null ? null : Math.round(stream.fromMs + playedMs)
    if (heard !== null) this.#asked = { id: stream.id, heard }
    const messages = this.#wire.cancel(stream.id, atMs)
    this.#send(stream, messages)
    if (!kept) return
    const { timeoutMs = Infinity } = this.#service
    const { acknowledges, placesMax } = this.#wire
    if (!acknowledges || messages.length === 0) return this.#over(stream)
    const ms = Math.min(timeoutMs, placesMax === 1 ? ACKNOWLEDGE_ONLY_PLACE_MS : ACKNOWLEDGE_MS)
    this.#failAfter(ms, stream, 'does not end a cancelled utterance')
  }

  #message(message: ServiceMessage): void {
    const current = this.#running()[0] ?? null
    const news = this.#wire.read(message, current?.id ?? null, (id) => this.#streams.get(id)?.soundMs ?? 0)
    if (news === null) return
    const { fault = null, marks = [], audio, done = false, heard, playedMs, send = [] } = news
    for (const answer of send) this.#socket?.send(answer)
    if (typeof playedMs === 'number') this.#clockMs = playedMs
    if (typeof heard === 'string' && this.#asked?.id === news.id) {
      this.#asked.heard(heard)
      this.#asked = null
    }
    const stream = this.#streams.get(news.id)
    if (stream === undefined) return
    if (fault !== null) {
      this.#over(stream)
      return this.#fail(stream, fault, false)
    }
    if (!stream.over && marks.length > 0) stream.listener.marks(marks)
    if (!stream.over && typeof audio === 'string' && audio !== '') {
      if (!stream.audio.decode(audio, (pcm) => this.#deliver(stream, pcm))) this.#context.malformed()
    }
    // The slot is freed before the events are emitted, because the listener may begin the next utterance at once.
    if (news.over === true) this.#over(stream)
    else if (!done && !stream.over && !stream.ended && this.#wire.speaks !== undefined) this.#watch(stream)
    if (done && !stream.over) this.#done(stream)
    else if (news.over === true && !stream.over)
      this.#fail(stream, vendorFault('internal', `${this.#service.what} ended an utterance too early`, false), false)
  }

  #bytes(data: Buffer): void {
    // Sound without an id belongs to the utterance that got its slot first.
    const own = this.#wire.bytes?.(data)
    if (own === null) return
    const stream = own === undefined ? this.#running()[0] : this.#streams.get(own.id)
    if (stream === undefined) return
    const samples = own?.samples ?? data
    // The service counts this sound as played until it reports another duration.
    if (stream.over) return void (this.#clockMs += samplesToMs(samples.length >> 1, this.#context.legRateHz))
    const bytes = stream.rest.length === 0 ? samples : Buffer.concat([stream.rest, samples])
    const pcm = new Int16Array(bytes.length >> 1)
    readSamples(bytes, 0, pcm, 0, pcm.length)
    stream.rest = Buffer.from(bytes.subarray(pcm.length * 2))
    if (pcm.length > 0) this.#deliver(stream, pcm)
  }

  #deliver(stream: Stream, pcm: Int16Array): void {
    if (stream.over) return
    const rateHz: SampleRateHz = this.#context.legRateHz
    const ms = samplesToMs(pcm.length, rateHz)
    stream.soundMs += ms
    this.#clockMs += ms
    if (stream.closing) this.#close(stream)
    this.#watch(stream)
    stream.listener.audio(pcm, rateHz)
  }

  #done(stream: Stream): void {
    this.#charge(stream)
    quiet(stream)
    // If a text has no sound, the answer has failed, even if the service reports no fault.
    if (stream.soundMs === 0 && stream.words)
      stream.listener.failed(vendorFault('internal', `${this.#service.what} did not speak a text`, false), false)
    else stream.listener.done()
  }

  #over(stream: Stream): void {
    this.#charge(stream)
    clearTimeout(stream.timer)
    this.#streams.delete(stream.id)
    this.#advance()
  }

  #fail(stream: Stream, fault: VendorFault, lost: boolean): void {
    if (stream.over) return
    quiet(stream)
    stream.listener.failed(fault, lost)
  }

  #charge(stream: Stream): void {
    if (stream.characters > 0)
      this.#context.used({ ...noUsage(), model: this.#service.priced, speechCharacters: stream.characters })
    stream.characters = 0
  }

  #lost(fault: VendorFault): void {
    clearInterval(this.#keepalive)
    const streams = [...this.#streams.values()]
    this.#streams.clear()
    const speaking = streams.filter(({ over }) => !over)
    for (const stream of streams) {
      this.#charge(stream)
      if (stream.over) quiet(stream)
    }
    for (const stream of speaking) this.#fail(stream, fault, true)
    if (speaking.length === 0) this.#lostListener?.(fault)
  }
}

/**
 * Content of a service's message about one utterance. Values of type `unknown` are copied from the message without a
 * check.
 */
interface VoiceNews {
  readonly id: string
  /** Base64 of samples, s16le at the leg's rate. */
  readonly audio?: unknown
  readonly marks?: readonly Mark[]
  /** True if all sound of the utterance has arrived. */
  readonly done?: boolean
  /**
   * True if the service has ended the utterance, so that its slot is free. If `done` is not set, the utterance ended
   * because of `cancel` or a fault.
   */
  readonly over?: boolean
  readonly fault?: VendorFault | null
  /** The words of a cancelled utterance that the caller heard. */
  readonly heard?: unknown
  /** Duration of this connection's sound that the service counts as played, in milliseconds. */
  readonly playedMs?: unknown
  /** Messages to send to the service now. */
  readonly send?: readonly SentMessage[]
}

/**
 * The part that differs between voices: the messages of one service for each step. All these voices use one connection,
 * and get the text of an utterance while the model writes it.
 */
export interface VoiceWire {
  readonly input: 'sentences' | 'words'
  /** Minimum and maximum speed; other speeds are limited to this range. */
  readonly speeds: readonly [number, number]
  readonly socket: SocketWire
  /** Maximum number of utterances that the service speaks concurrently; further utterances wait. */
  readonly placesMax: number
  /** True if a cancelled utterance keeps its slot until the service has ended it. */
  readonly acknowledges: boolean
  /** True if the API key can be tested only with an utterance. */
  readonly probes?: true
  readonly keepalive?: {
    readonly everyMs: number
    readonly messages: (ids: readonly string[]) => readonly SentMessage[]
  }
  /** @param manner voice and speed, after options, agent and call were combined */
  begin(id: string, manner: SpeechManner): readonly SentMessage[]
  text(id: string, text: string): readonly SentMessage[]
  /** Ends the text of the utterance. @returns null if all sound of the utterance has arrived */
  end(id: string): readonly SentMessage[] | null
  /**
   * Requests the end of the utterance; called after `end`, when sound has arrived. Absent: `end` itself requests the
   * end.
   */
  close?(id: string): readonly SentMessage[]
  /**
   * True if the service is speaking a sentence of the utterance now, so that missing sound is a fault. If this method
   * is absent, missing sound is a fault only after `end`.
   */
  speaks?(id: string): boolean
  /**
   * @param atMs  milliseconds of this connection's sound that the caller has heard; null if not known
   * @returns an empty list if the service does not know the utterance
   */
  cancel(id: string, atMs: number | null): readonly SentMessage[]
  /**
   * @param current  the utterance that got its slot first; null if no utterance has a slot
   * @param soundMsOf returns the duration of an utterance's sound before this message
   */
  read(message: ServiceMessage, current: string | null, soundMsOf: (id: string) => number): VoiceNews | null
  /**
   * Finds the samples (s16le) in a binary message, and the utterance of the samples. The result is null if the message
   * has no samples. If this method is absent, the whole message consists of samples of `current`.
   */
  bytes?(data: Buffer): { readonly id: string; readonly samples: Buffer } | null
}

const UNHEARD: SpeechListener = {
  audio: () => undefined,
  clause: () => undefined,
  marks: () => undefined,
  done: () => undefined,
  failed: () => undefined,
}

function quiet(stream: Stream): void {
  stream.over = true
  clearTimeout(stream.timer)
  clearTimeout(stream.closes)
}

/**
 * @returns texts with start and end times, from a service's three lists; empty if there are no lists
 * @param unitMs  milliseconds of one time unit
 * @param sinceMs  time of 0 in milliseconds
 */
export function marksAt(texts: unknown, starts: unknown, ends: unknown, unitMs: number, sinceMs = 0): Mark[] {
  if (!Array.isArray(texts) || !Array.isArray(starts) || !Array.isArray(ends)) return []
  return (texts as readonly unknown[]).flatMap((text, i) => {
    const [from, to] = [(starts as readonly unknown[])[i], (ends as readonly unknown[])[i]]
    if (typeof text !== 'string' || typeof from !== 'number' || typeof to !== 'number') return []
    return [{ text, fromMs: sinceMs + from * unitMs, toMs: sinceMs + to * unitMs }]
  })
}

interface Stream {
  readonly id: string
  readonly listener: SpeechListener
  readonly audio: Base64Audio
  /** First byte of a sample whose second byte is in the next binary message. */
  rest: Buffer
  /** Messages that wait for a free slot; null once the utterance has a slot. */
  waiting: SentMessage[] | null
  /** True if the utterance was begun at the service. */
  begun: boolean
  /** Number of characters that were sent to the service and are not in a usage report yet. */
  characters: number
  words: boolean
  soundMs: number
  /** Duration of this connection's sound before the utterance's first sample, in milliseconds. */
  fromMs: number
  ended: boolean
  /** True if no more sound of the utterance will be delivered. */
  over: boolean
  timer: NodeJS.Timeout | undefined
  /** True if the messages of `VoiceWire.close` must still be sent. */
  closing: boolean
  closes: NodeJS.Timeout | undefined
}
