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

/** A service that owes sound, and sends none for this long, is out of order; unless its options say otherwise. */
const SILENT_MS = 5000
/**
 * A cancelled utterance that the service does not end within this time keeps its place for ever: a new connection. Less
 * where the next one waits for that place.
 */
const ACKNOWLEDGE_MS = 5000
const ACKNOWLEDGE_ONLY_PLACE_MS = 1500
/** An utterance that sounded before its end may get no sound after it: its end is asked for after this time. */
const CLOSE_AFTER_MS = 500
/** Utterances that wait for a place at the service; the oldest one fails. */
const WAITING_MAX = 8

/** Options of every service of this kind. */
export interface StreamedVoiceOptions extends SocketServiceOptions {
  readonly apiKey: string
  /** The name or id of a voice. Goes before the voice that the agent names; not for Deepgram, whose model has one voice. */
  readonly voice?: string
  /** Within the service's `speeds`; 1 when not given. */
  readonly speed?: number
  /** A pronunciation dictionary in the account there; ElevenLabs' has a version. Of Cartesia and ElevenLabs. */
  readonly dictionary?: { readonly id: string; readonly version?: string }
  /** How long the service may owe sound; SILENT_MS when not given. */
  readonly timeoutMs?: number
}

export type VoiceService = SocketService<StreamedVoiceOptions>

/**
 * A voice over a WebSocket. An utterance is one stream of the service:
 *
 *     waiting --place free--> running --all sound came--> done
 *     waiting --cancel--> (gone)
 *     running --cancel--> cancelled --the service has ended it, or at once--> (gone)
 *
 * What comes for an utterance that is done or cancelled is dropped by its id; where messages have none, the place is kept
 * until the service has ended the old one, so that nothing of it is taken for the next.
 */
export class StreamedVoice implements TextToSpeech {
  readonly input: 'sentences' | 'words'
  readonly #service: VoiceService
  readonly #wire: VoiceWire
  readonly #context: ServiceContext
  #socket: ServiceSocket | null = null
  #lostListener: ((fault: VendorFault) => void) | null = null
  /** By id, the oldest first; until the service has ended them. */
  readonly #streams = new Map<string, Stream>()
  #ids = 0
  /** Sound of this connection, as far as it was played: utterances that were cut short count with what was heard. */
  #clockMs = 0
  /** Who wants to know which words were heard of the utterance that was cancelled last. */
  #asked: { readonly id: string; readonly heard: (text: string) => void } | null = null
  #keepalive: NodeJS.Timeout | undefined

  constructor(service: VoiceService, wire: () => VoiceWire, context: ServiceContext) {
    this.#service = service
    this.#wire = wire()
    this.#context = context
    this.input = this.#wire.input
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

  wishes(manner: SpeechManner): boolean {
    return this.#speed(manner) !== 1
  }

  #speed(manner: SpeechManner): number {
    return askedSpeed(this.#service.speed, manner, this.#wire.speeds)
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
    const speed = this.#speed(manner)
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
        // An utterance without text has nothing to say, and no sound would end it.
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

  /** Begins the oldest waiting utterances while the service has places for them. */
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

  /** The service owes sound, or the end of it. */
  #expect(stream: Stream): void {
    const { timeoutMs = SILENT_MS } = this.#service
    if (stream.over || stream.waiting !== null) clearTimeout(stream.timer)
    else this.#failAfter(timeoutMs, stream, `sends no sound for ${timeoutMs} ms`)
  }

  /** More sound has come, or was asked for: the next is waited for where the service owes it. */
  #watch(stream: Stream): void {
    if (stream.ended || this.#wire.speaks?.(stream.id) === true) this.#expect(stream)
    else clearTimeout(stream.timer)
  }

  #failAfter(ms: number, stream: Stream, words: string): void {
    clearTimeout(stream.timer)
    const fault = vendorFault('timeout', `${this.#service.what} ${words}`, false)
    stream.timer = setTimeout(() => this.#socket?.fail(fault), ms).unref()
  }

  /** Where the service is to be asked for the end of an utterance only once it speaks the end of its text. */
  #close(stream: Stream): void {
    clearTimeout(stream.closes)
    stream.closing = false
    if (!stream.over) this.#send(stream, this.#wire.close?.(stream.id) ?? [])
  }

  #cancel(stream: Stream, playedMs: number | null, heard: ((text: string) => void) | null): void {
    const kept = this.#streams.get(stream.id) === stream
    // Its sound was all delivered: nothing is to be stopped, but the service may know how much of it was heard.
    if (kept ? stream.over : playedMs === null || heard === null || this.#running().length > 0) return
    quiet(stream)
    const without = stream.characters === 0
    this.#charge(stream)
    if (kept && (stream.waiting !== null || !stream.begun)) {
      // One without text: the wire forgets how it was to be spoken, and the service knows nothing of it.
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
    // This comes before its listener, which may begin the next one at once.
    if (news.over === true) this.#over(stream)
    else if (!done && !stream.over && !stream.ended && this.#wire.speaks !== undefined) this.#watch(stream)
    if (done && !stream.over) this.#done(stream)
    else if (news.over === true && !stream.over)
      this.#fail(stream, vendorFault('internal', `${this.#service.what} ended an utterance too early`, false), false)
  }

  #bytes(data: Buffer): void {
    // Sound without an id is of the utterance that has had its place for the longest time.
    const own = this.#wire.bytes?.(data)
    if (own === null) return
    const stream = own === undefined ? this.#running()[0] : this.#streams.get(own.id)
    if (stream === undefined) return
    const samples = own?.samples ?? data
    // The service counts it until it says otherwise.
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
    // Text that was silently not spoken is a failed answer, not a short one.
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

/** Content of a service's message about one utterance; `unknown` is as the service wrote it. */
interface VoiceNews {
  readonly id: string
  /** Base64 of samples, s16le at the leg's rate. */
  readonly audio?: unknown
  readonly marks?: readonly Mark[]
  /** All of its sound has come. */
  readonly done?: boolean
  /** The service has forgotten it, and its place is free. Without `done`: as it was asked to, or for the fault. */
  readonly over?: boolean
  readonly fault?: VendorFault | null
  /** The words that were heard of a cancelled utterance. */
  readonly heard?: unknown
  /** The sound of this connection that the service takes for played. */
  readonly playedMs?: unknown
  /** Messages that the service needs now. */
  readonly send?: readonly SentMessage[]
}

/** How one service says what all of them do: one connection, and utterances that are given their text as it is written. */
export interface VoiceWire {
  readonly input: 'sentences' | 'words'
  /** The slowest and the fastest; what is beyond is cut to them. */
  readonly speeds: readonly [number, number]
  readonly socket: SocketWire
  /** Utterances that the service speaks at the same time; the others wait. */
  readonly placesMax: number
  /** A cancelled utterance keeps its place until the service has ended it. */
  readonly acknowledges: boolean
  /** Only an utterance finds out whether the key is good. */
  readonly probes?: true
  readonly keepalive?: {
    readonly everyMs: number
    readonly messages: (ids: readonly string[]) => readonly SentMessage[]
  }
  /** @param manner  with the voice and the speed that it comes to, of options, agent and call together */
  begin(id: string, manner: SpeechManner): readonly SentMessage[]
  text(id: string, text: string): readonly SentMessage[]
  /** No text follows. @returns null: all of its sound has come */
  end(id: string): readonly SentMessage[] | null
  /** Asks for the end of the utterance, once sound has come after `end`. Absent: `end` does. */
  close?(id: string): readonly SentMessage[]
  /** The service speaks a sentence of the utterance now, and is silent only where it is stuck. Absent: that is known after `end` alone. */
  speaks?(id: string): boolean
  /**
   * @param atMs  the sound of this connection that the caller has heard; null where it is not known
   * @returns nothing where the service knows of no utterance
   */
  cancel(id: string, atMs: number | null): readonly SentMessage[]
  /**
   * @param current  the utterance that has had its place for the longest time; null without one
   * @param soundMsOf  the sound of an utterance before this message
   */
  read(message: ServiceMessage, current: string | null, soundMsOf: (id: string) => number): VoiceNews | null
  /** Finds the samples of a binary message, s16le, and whose they are; null: it has none. Absent: it is samples, of `current`. */
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
 * Texts and when they begin and end, from three lists of a service; empty for lists that are not.
 * @param unitMs  what a time of 1 is
 * @param sinceMs  what a time of 0 is
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
  /** Half a sample, of binary messages. */
  rest: Buffer
  /** Messages that wait for a free place; null once it has one. */
  waiting: SentMessage[] | null
  /** The service knows of it. */
  begun: boolean
  /** Given to the service, and not charged for yet. */
  characters: number
  words: boolean
  soundMs: number
  /** Sound of this connection before its own first sample. */
  fromMs: number
  ended: boolean
  /** Nothing of it is delivered any more. */
  over: boolean
  timer: NodeJS.Timeout | undefined
  /** `VoiceWire.close` is to be sent. */
  closing: boolean
  closes: NodeJS.Timeout | undefined
}
