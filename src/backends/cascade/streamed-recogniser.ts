import { noUsage } from '../../call/usage.js'
import { omitNullish } from '../../core/omit-nullish.js'
import { msToSamples, samplesToMs } from '../../core/units.js'
import { bytesOfSamples, encodeMuLaw } from '../../media/pcm.js'
import { MESSAGE_MS } from '../transport/caller-uplink.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { Told } from '../told.js'
import { termsOf } from '../vocabulary.js'
import { heardIn, RecogniserTurns } from './recogniser-turns.js'
import type { SessionTurn } from './recogniser-turns.js'
import { faultOf } from './service-fault.js'
import { ServiceSocket } from './service-socket.js'
import type {
  ConnectionListener,
  SentMessage,
  SocketService,
  SocketServiceOptions,
  SocketWire,
  ServiceConnection,
  ServiceMessage,
} from './service-socket.js'
import type { SpeechToText, ServiceContext, SttListener } from './service.js'
import type { TurnSound } from './turn-sound.js'

/** A session is replaced this long before the service would end it, in the first pause of the caller. */
const RENEW_BEFORE_MS = 5 * 60_000
/** Sent in place of a message where a service wants to hear something. */
const SILENCE_MS = 100

/** Options of every service of this kind. */
export interface RecogniserOptions extends SocketServiceOptions {
  /** Words and names that callers are likely to say. Not of vosk and sherpa-onnx. */
  readonly terms?: readonly string[]
  /** Subject of the calls, in a sentence or two. Soniox and OpenAI only. */
  readonly context?: string
  /** The service ends a session after this time; its own limit when not given. Of Soniox. */
  readonly sessionMs?: number
}

export type RecogniserService = SocketService<RecogniserOptions>

/** A recogniser over a connection. The gateway's VAD ends the turns: the service's own detection of their end is off. */
export class StreamedRecogniser implements SpeechToText {
  /** Null before `listen`, and once nothing is to be reported any more. */
  listener: SttListener | null = null
  readonly context: ServiceContext
  readonly #wire: () => RecogniserWire
  /** Not in sight of whoever prints a recogniser: the key is in it. */
  readonly #service: RecogniserService
  #signal = AbortSignal.abort()
  #current: Session | null = null
  /** Sessions that were replaced, until the text of their last turn is there. */
  readonly #draining = new Set<Session>()

  constructor(service: RecogniserService, wire: () => RecogniserWire, context: ServiceContext) {
    this.#service = service
    this.context = context
    this.#wire = wire
  }

  get told(): Told {
    const { context: text, terms } = this.#service
    return { ...omitNullish({ text }), terms: termsOf(terms, this.context.vocabulary) }
  }

  get service(): RecogniserService {
    return this.#service
  }

  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    this.#signal = signal
    this.#current = new Session(this, this.#wire())
    await this.#current.open(signal, probe)
  }

  listen(listener: SttListener): void {
    this.listener = listener
  }

  warm(): void {
    // One that was closed while nobody spoke, of a service whose connections are for one turn.
    if (this.#current?.state === 'over') this.#replace()
  }

  begin(turn: number, sound: TurnSound): void {
    this.warm()
    this.#current?.turns.add(turn, sound)
  }

  audio(): void {
    this.#current?.pump()
  }

  finalize(turn: number, silenceMs: number): void {
    this.#end(turn, { silenceMs })
  }

  abandon(turn: number): void {
    this.#end(turn, 'abandon')
  }

  close(): void {
    for (const session of [...this.#draining, this.#current]) session?.close()
    this.#draining.clear()
    this.#current = null
    this.listener = null
  }

  /** A session has aged, or one of its turns is over. */
  changed(session: Session): void {
    if (session === this.#current && session.isSpent) this.#replace()
    if (!this.#draining.has(session) || session.turns.awaited) return
    this.#draining.delete(session)
    session.close()
  }

  lost(session: Session, fault: VendorFault): void {
    const needed = session.turns.awaited || (session === this.#current && session.wire.oneTurn !== true)
    this.#draining.delete(session)
    if (needed) this.listener?.failed(null, fault)
  }

  #end(ordinal: number, ending: SessionTurn['ending']): void {
    const sessions = [...this.#draining, this.#current].filter((session) => session !== null)
    const session = sessions.find((one) => one.end(ordinal, ending))
    // A caller who begins at once finds a connection.
    if (session !== undefined) this.changed(session)
  }

  /** A fresh connection takes the turns from here on. */
  #replace(): void {
    const before = this.#current
    const session = new Session(this, this.#wire())
    this.#current = session
    session.open(this.#signal, false).catch((error: unknown) => this.lost(session, faultOf(error)))
    if (before === null) return
    this.#draining.add(before)
    this.changed(before)
  }
}

/** The part that differs between streaming recognisers. Made anew for each connection. */
export interface RecogniserWire {
  /** A WebSocket, or what makes a connection of another kind. */
  readonly socket: SocketWire | ((listener: ConnectionListener) => ServiceConnection)
  /** How samples are written: base64 is put between two parts of a message; `framed` makes messages of s16le. */
  readonly audio:
    | 'mulaw'
    | 'pcm16'
    | 'float32'
    | { readonly before: string; readonly after: string; readonly law: 'mulaw' | 'pcm16' }
    | { readonly framed: (bytes: Uint8Array) => readonly Uint8Array[] }
  /** The least audio of one message, in milliseconds, but for the last one of a turn; `MESSAGE_MS` when not given: words come up to 40 ms later. */
  readonly messageMs?: number
  /** Sent first. */
  readonly hello?: SentMessage
  /** Message that keeps the connection open while nobody speaks; null: a little silence. Absent: none is needed. */
  readonly keepalive?: { readonly everyMs: number; readonly message: SentMessage | null }
  /** Sent before the audio of a turn. */
  readonly begin?: readonly SentMessage[]
  /**
   * Sent after the audio of a turn; without `oneTurn` also after that of noise, so that its words are out of the way before
   * those of the next turn.
   * @param silenceMs  between the caller's last word and the end of the audio
   */
  readonly finalize: (silenceMs: number) => SentMessage
  /** The service does not answer `finalize` where it has little audio. Absent: it always does. */
  readonly unsure?: true
  /** After `finalize`, and then without news for this long, the words so far are the text. */
  readonly finalizeMs: number
  /** The longest wait after `finalize`, while more words come or none have come; `finalizeMs` when not given. */
  readonly answerMs?: number
  /** The service ends the connection with the turn. */
  readonly oneTurn?: true
  /** The service ends a session after this time; absent: never. */
  readonly sessionMs?: number
  /** Basis of the charge: the time the session is open, the audio that was sent (the default), or what `read` reports. */
  readonly charges?: 'session' | 'audio' | 'reported'
  /** The message says something of the audio. Absent: each does. */
  readonly hears?: (message: ServiceMessage) => boolean
  /** Puts what a message says into the turns. */
  readonly read: (message: ServiceMessage, turns: RecogniserTurns) => void
}

/** One connection. */
class Session {
  state: 'opening' | 'open' | 'over' = 'opening'
  readonly wire: RecogniserWire
  readonly #owner: StreamedRecogniser
  readonly #context: ServiceContext
  readonly #socket: ServiceConnection
  readonly turns: RecogniserTurns
  #aged = false
  #sentMs = 0
  #heardAtMs = -Infinity
  /** Turns in a row that had neither words nor an answer. */
  #unheard = 0
  #chargedFromMs = NaN
  #unchargedMs = 0
  #keepalive: NodeJS.Timeout | undefined
  #age: NodeJS.Timeout | undefined
  #bytes = Buffer.alloc(0)

  constructor(owner: StreamedRecogniser, wire: RecogniserWire) {
    const { service, context } = owner
    this.#owner = owner
    this.wire = wire
    this.#context = context
    this.turns = new RecogniserTurns({
      words: (turn) => {
        this.#unheard = 0
        if (!Number.isNaN(turn.askedAtMs)) this.#await(turn)
        owner.listener?.words(turn.ordinal, heardIn(turn))
      },
      answered: (turn) => {
        this.#unheard = 0
        this.#final(turn)
      },
      failed: (turn, reason) => {
        this.#over(turn)
        owner.listener?.failed(turn.ordinal, vendorFault('internal', `${service.what}: ${reason}`, false))
        owner.changed(this)
      },
    })
    const listener: ConnectionListener = {
      message: (message) => {
        if (wire.hears?.(message) !== false) this.#heardAtMs = context.nowMs()
        if (wire.unsure === true) this.#unheard = 0
        wire.read(message, this.turns)
      },
      lost: (fault) => this.#lost(fault),
    }
    this.#socket =
      typeof wire.socket === 'function' ? wire.socket(listener) : new ServiceSocket(service, wire.socket, listener)
  }

  /** It takes no further turn, and nobody speaks. */
  get isSpent(): boolean {
    return (this.#aged || (this.wire.oneTurn === true && this.turns.all.length > 0)) && !this.turns.open
  }

  /** @throws ServiceFault */
  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    try {
      await this.#socket.open(signal, probe)
    } catch (error) {
      this.close()
      throw error
    }
    if (this.state !== 'opening') return
    this.state = 'open'
    const { hello, keepalive, sessionMs } = this.wire
    if (hello !== undefined) this.#socket.send(hello)
    this.#chargedFromMs = this.#context.nowMs()
    if (keepalive !== undefined)
      this.#keepalive = setInterval(() => this.#keepAlive(keepalive.message), keepalive.everyMs).unref()
    if (sessionMs !== undefined)
      this.#age = setTimeout(
        () => {
          this.#aged = true
          this.#owner.changed(this)
        },
        sessionMs - Math.min(RENEW_BEFORE_MS, sessionMs / 2),
      ).unref()
    this.pump()
  }

  /** @returns false if the turn is none of this session */
  end(ordinal: number, ending: SessionTurn['ending']): boolean {
    const turn = this.turns.all.find((one) => one.ordinal === ordinal)
    if (turn === undefined) return false
    turn.ending ??= turn.over ? 'abandon' : ending
    if (ending === 'abandon') turn.over = true
    this.pump()
    return true
  }

  /** Sends what was not sent yet, in the order in which it was spoken. */
  pump(): void {
    if (this.state !== 'open') return
    for (const turn of this.turns.all) {
      if (!Number.isNaN(turn.askedAtMs)) continue
      this.#sendSound(turn)
      if (turn.ending === null) return
      this.#ask(turn)
    }
  }

  close(): void {
    if (this.state === 'over') return
    this.#end()
    this.#socket.close()
  }

  #sendSound(turn: SessionTurn): void {
    const { inputRateHz } = this.#context
    const fresh = turn.sound.samples - turn.sentSamples
    if (fresh <= 0 || (turn.ending === null && fresh < msToSamples(this.wire.messageMs ?? MESSAGE_MS, inputRateHz)))
      return
    if (Number.isNaN(turn.fromMs)) {
      turn.fromMs = this.#sentMs
      for (const message of this.wire.begin ?? []) this.#socket.send(message)
    }
    const pcm = turn.sound.since(turn.sentSamples)
    turn.sentSamples += pcm.length
    this.#sendSamples(pcm)
  }

  #ask(turn: SessionTurn): void {
    const { ending } = turn
    turn.askedAtMs = this.#context.nowMs()
    if (Number.isNaN(turn.fromMs)) {
      // None of it was sent, and the service is not asked.
      turn.answered = true
      if (!turn.over) this.#final(turn)
    } else if (ending === 'abandon') {
      if (this.wire.oneTurn !== true) this.#socket.send(this.wire.finalize(0))
      this.#charge()
    } else {
      this.#socket.send(this.wire.finalize(ending?.silenceMs ?? 0))
      turn.askedAtMs += this.#socket.behindMs ?? 0
      this.#await(turn)
    }
  }

  #await(turn: SessionTurn): void {
    const { finalizeMs, answerMs = finalizeMs } = this.wire
    clearTimeout(turn.timer)
    const nowMs = this.#context.nowMs()
    const leftMs = answerMs - (nowMs - turn.askedAtMs)
    const waitMs = turn.best.length === 0 ? leftMs : Math.min(Math.max(0, turn.askedAtMs - nowMs) + finalizeMs, leftMs)
    turn.timer = setTimeout(() => this.#late(turn), Math.max(0, waitMs))
  }

  #late(turn: SessionTurn): void {
    if (turn.best.length === 0 && this.#isDeaf(turn))
      this.#socket.fail(vendorFault('timeout', `${this.#owner.service.what} does not answer`, false))
    else this.#final(turn)
  }

  /** A service that said nothing at all, although there was voice, is out of order. */
  #isDeaf(turn: SessionTurn): boolean {
    if (this.wire.unsure !== true && this.#heardAtMs < turn.askedAtMs) return true
    return ++this.#unheard > 1
  }

  #final(turn: SessionTurn): void {
    this.#over(turn)
    this.#charge()
    this.#owner.listener?.final(turn.ordinal, heardIn(turn))
    this.#owner.changed(this)
  }

  #over(turn: SessionTurn): void {
    clearTimeout(turn.timer)
    turn.over = true
  }

  #sendSamples(pcm: Int16Array): void {
    const { audio } = this.wire
    const ms = samplesToMs(pcm.length, this.#context.inputRateHz)
    this.#sentMs += ms
    this.#unchargedMs += ms
    this.#keepalive?.refresh()
    if (typeof audio === 'string') this.#socket.sendBytes(this.#written(pcm, audio))
    else if ('framed' in audio) for (const message of audio.framed(bytesOfSamples(pcm))) this.#socket.send(message)
    else this.#socket.sendAudio?.(audio.before, this.#written(pcm, audio.law), audio.after)
  }

  #written(pcm: Int16Array, law: 'mulaw' | 'pcm16' | 'float32'): Uint8Array {
    if (law === 'pcm16') return bytesOfSamples(pcm)
    const bytes = law === 'mulaw' ? pcm.length : pcm.length * Float32Array.BYTES_PER_ELEMENT
    if (this.#bytes.length < bytes) this.#bytes = Buffer.alloc(bytes)
    if (law === 'mulaw') encodeMuLaw(pcm, this.#bytes)
    else for (const [i, sample] of pcm.entries()) this.#bytes.writeFloatLE(sample / 32_768, 4 * i)
    return this.#bytes.subarray(0, bytes)
  }

  #keepAlive(message: SentMessage | null): void {
    // A connection that waits for its one turn needs none.
    if (this.wire.oneTurn === true && !this.turns.open) return
    if (message === null) this.#sendSamples(new Int16Array(msToSamples(SILENCE_MS, this.#context.inputRateHz)))
    else this.#socket.send(message)
  }

  #charge(): void {
    const { charges = 'audio' } = this.wire
    const nowMs = this.#context.nowMs()
    const ms = charges === 'session' ? nowMs - this.#chargedFromMs : this.#unchargedMs
    this.#chargedFromMs = nowMs
    this.#unchargedMs = 0
    if (charges === 'reported' || Number.isNaN(ms) || ms <= 0) return
    this.#context.used({ ...noUsage(), model: this.#owner.service.priced, sessionSeconds: ms / 1000 })
  }

  #lost(fault: VendorFault): void {
    this.#end()
    const last = this.turns.all.at(-1)
    // A service whose connections are for one turn closes when it has said all.
    if (this.wire.oneTurn === true && fault.code === 'session_expired' && last !== undefined) this.turns.answered(last)
    this.#owner.lost(this, fault)
  }

  #end(): void {
    this.#charge()
    this.state = 'over'
    clearInterval(this.#keepalive)
    clearTimeout(this.#age)
    for (const { timer } of this.turns.all) clearTimeout(timer)
  }
}
