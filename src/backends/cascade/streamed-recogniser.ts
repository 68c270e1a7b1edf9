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

/** Time in ms before a session's maximum duration. From then on, the session is replaced in the caller's next pause. */
const RENEW_BEFORE_MS = 5 * 60_000
/** Duration in ms of the silence that is sent to keep a connection open, if the service has no keepalive message. */
const SILENCE_MS = 100

/** Options of every recogniser over a connection. */
export interface RecogniserOptions extends SocketServiceOptions {
  /** Words and names that callers are likely to say. The servers vosk and sherpa-onnx do not accept this list. */
  readonly terms?: readonly string[]
  /** Subject of the calls, in one or two sentences. Not all services accept a subject. */
  readonly context?: string
  /**
   * Time in ms after which the service ends a session. Default: the service's own limit. Not all services use this
   * option.
   */
  readonly sessionMs?: number
}

export type RecogniserService = SocketService<RecogniserOptions>

/** A recogniser over a connection. The gateway's VAD ends the turns; the service's own turn detection is off. */
export class StreamedRecogniser implements SpeechToText {
  /** Listener; null before `listen` and after `close`. */
  listener: SttListener | null = null
  readonly context: ServiceContext
  readonly #wire: () => RecogniserWire
  /** Private, so that the API key does not appear when the recogniser object is printed. */
  readonly #service: RecogniserService
  #signal = AbortSignal.abort()
  #current: Session | null = null
  /** Replaced sessions that have not sent the text of their last turn yet. */
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
    // If the service ends its connection after each turn, there may be no session while the caller is silent.
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

  /** Called when a session is too old or has ended a turn. Replaces or closes the session if necessary. */
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
    // A new connection is opened now, so that the caller's next turn need not wait for it.
    if (session !== undefined) this.changed(session)
  }

  /** Opens a new connection, which gets the next turns. */
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

/** The part that differs between streaming recognisers. Each connection has its own object. */
export interface RecogniserWire {
  /** A WebSocket, or a function that makes a connection of another type. */
  readonly socket: SocketWire | ((listener: ConnectionListener) => ServiceConnection)
  /**
   * Format of the samples. With `before` and `after`, samples are sent as base64 between these two texts. `framed`
   * makes messages from s16le samples.
   */
  readonly audio:
    | 'mulaw'
    | 'pcm16'
    | 'float32'
    | { readonly before: string; readonly after: string; readonly law: 'mulaw' | 'pcm16' }
    | { readonly framed: (bytes: Uint8Array) => readonly Uint8Array[] }
  /**
   * Minimum audio of one message, in milliseconds. The last message of a turn may have less audio. Default:
   * `MESSAGE_MS`, which delays words by up to 40 ms.
   */
  readonly messageMs?: number
  /** First message of a connection. */
  readonly hello?: SentMessage
  /**
   * Message that keeps the connection open between turns; null if short silence is sent instead. Absent: the connection
   * needs no keepalive.
   */
  readonly keepalive?: { readonly everyMs: number; readonly message: SentMessage | null }
  /** Messages sent before the audio of a turn. */
  readonly begin?: readonly SentMessage[]
  /**
   * @returns the message after the audio of a turn. If `oneTurn` is absent, the message is sent after noise too, so
   * that the noise's words arrive before the words of the next turn
   * @param silenceMs silence between the caller's last word and the end of the audio
   */
  readonly finalize: (silenceMs: number) => SentMessage
  /**
   * True if the service sometimes sends no answer to `finalize`, after very little audio. Absent: the service always
   * answers.
   */
  readonly unsure?: true
  /**
   * Maximum time in ms without a message after `finalize`. After this time, the words so far become the turn's text.
   */
  readonly finalizeMs: number
  /**
   * Maximum total wait in ms after `finalize`. It applies if words continue to arrive, or if no words have arrived.
   * Default: `finalizeMs`.
   */
  readonly answerMs?: number
  /** True if the service ends the connection at the end of each turn. */
  readonly oneTurn?: true
  /** Time in ms after which the service ends a session. Absent: no limit. */
  readonly sessionMs?: number
  /**
   * Quantity that the service charges for: the open time of the session, the sent audio (default), or the usage that
   * `read` reports.
   */
  readonly charges?: 'session' | 'audio' | 'reported'
  /** True if the message shows that the service processes the audio. Absent: every message shows this. */
  readonly hears?: (message: ServiceMessage) => boolean
  /** Passes the content of a message to the turns. */
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
  /** Number of consecutive turns for which no words arrived in time. */
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

  /** True if the session cannot get another turn and the caller is silent. */
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

  /** @returns false if the turn does not belong to this session */
  end(ordinal: number, ending: SessionTurn['ending']): boolean {
    const turn = this.turns.all.find((one) => one.ordinal === ordinal)
    if (turn === undefined) return false
    turn.ending ??= turn.over ? 'abandon' : ending
    if (ending === 'abandon') turn.over = true
    this.pump()
    return true
  }

  /** Sends everything that was not sent yet, in the order of speech. */
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
      // No audio of the turn was sent, so the service will not answer.
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

  /**
   * True if the service counts as out of order, because it did not answer a turn, or sent no words for several turns in
   * a row.
   */
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
    // A service that ends its connection after each turn needs no keepalive between turns.
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
    // A service with `oneTurn` closes the connection itself, after it has sent all words.
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
