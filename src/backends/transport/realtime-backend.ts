import type { Clock } from '../../core/clock.js'
import { BACKEND_TRANSCRIPT_CHARS_MAX, BACKEND_WAITING_AUDIO_MS } from '../../core/limits.js'
import { samplesOf } from '../../media/pcm.js'
import type { BackendCapabilities, BackendSession, BackendSink, BackendUsage, TextOptions } from '../backend.js'
import { KeyEntry, keysTranscript } from '../key-entry.js'
import { keysText, openingText } from '../prompts.js'
import { resumedGeneration } from '../resumed-generation.js'
import { isTold } from '../told.js'
import type { Told } from '../told.js'
import { Alarm } from '../timers.js'
import { Wishes } from '../wishes.js'
import type { ParsedArguments } from '../tool-text.js'
import { Base64Audio } from './base64-audio.js'
import { CallerUplink } from './caller-uplink.js'
import type { CallerUplinkOptions } from './caller-uplink.js'
import { noMessages } from './message-reader.js'
import { VendorConnection } from './vendor-connection.js'
import type { VendorConnectionOptions } from './vendor-connection.js'
import type { CloseFault, VendorFault } from './vendor-fault.js'

/** Maximum size in bytes of a message with caller audio in G.711. Messages are shorter than this: 600 ms at 8 kHz. */
const G711_BYTES_MAX = 4800

// Buffer for encoded audio. All calls of a thread share the buffer, because each message is encoded and sent at once.
const g711 = Buffer.allocUnsafeSlow(G711_BYTES_MAX)

/** Time in ms before the end of a session at which `expiring` is emitted. */
const EXPIRING_LEAD_MS = 5 * 60_000

/** Options of realtime services from an agent's file and the settings. Plain data except for the clock. */
export interface RealtimeOptions {
  /** API key; null if no key is sent to the operator's own server. Never logged. */
  readonly apiKey: string | null
  readonly model: string
  /** Address, http(s) or ws(s). Default: the vendor's own address. */
  readonly baseUrl?: string
  /** Further headers, such as `api-key`. Their values are treated as secrets. */
  readonly headers?: Readonly<Record<string, string>>
  /** Name in metrics and records. Default: the usual name of the backend. */
  readonly name?: string
  /** Voice for agents whose file names no voice. Default: the service's default voice. */
  readonly voice?: string
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /** Time in ms before the end of a session at which `expiring` is emitted. Default: EXPIRING_LEAD_MS. */
  readonly expiringLeadMs?: number
  /** Clock. Default: `performance.now`. */
  readonly nowMs?: Clock
}
type RealtimeStats = ReturnType<typeof noRealtimeStats>

/**
 * Shared base of the backends of realtime services. It contains the connection, outgoing caller audio, DTMF digits, the
 * warning before a session's end, and the report of a tool call. Each service has a subclass with the service's
 * messages.
 */
export abstract class RealtimeBackend<
  Options extends RealtimeOptions,
  Stats extends RealtimeStats & Readonly<Record<keyof Stats, number>>,
> {
  readonly capabilities: BackendCapabilities
  abstract readonly stats: Stats
  protected readonly options: Options
  /** Secrets, which must never be shown. */
  protected readonly secrets: readonly (string | null)[]
  protected readonly sink: BackendSink
  protected readonly nowMs: Clock
  protected readonly connection: VendorConnection
  protected readonly uplink: CallerUplink
  /** Decodes the service's audio. */
  protected readonly audio: Base64Audio
  protected readonly keys: KeyEntry
  /** Optional fields of the session. */
  protected readonly wishes = new Wishes(() => this.stats.wishesRefused++)
  /** Argument of `connect`; null before `connect`. */
  protected session: BackendSession | null = null
  /** Number of the newest answer. */
  protected generation = 0
  /** Text of the caller's current item so far. */
  protected callerText = ''
  readonly #service: RealtimeService<Options>
  /** True if a session without the refused fields was requested and is not ready yet. */
  #askedForLess = false
  #keyItems = 0
  #callerItems = 0
  readonly #expiry = new Alarm()

  constructor(sink: BackendSink, service: RealtimeService<Options>) {
    const { capabilities, options, target, law } = service
    this.sink = sink
    this.options = options
    this.secrets = [options.apiKey, ...Object.values(options.headers ?? {}), ...(service.secrets ?? [])]
    const { wishes } = this
    const { turnEnd } = service.uplink
    this.capabilities = {
      ...capabilities,
      ...(turnEnd === null ? {} : { turnEndFromMs: turnEnd.fromMs, turnEndToMs: turnEnd.toMs }),
      get changesSpeed() {
        return capabilities.changesSpeed === true && !wishes.lacks('speed')
      },
    }
    this.#service = service
    this.nowMs = options.nowMs ?? (() => performance.now())
    this.audio = new Base64Audio(law === null ? 'pcm16' : { expand: law.decode })
    this.uplink = new CallerUplink({
      ...service.uplink,
      sampleRateHz: capabilities.inputRateHz,
      waitingMsMax: BACKEND_WAITING_AUDIO_MS,
      send: (pcm, length) => this.#append(pcm, length),
    })
    this.keys = new KeyEntry((keys) => {
      sink.event(keysTranscript(keys, ++this.#keyItems, this.generation + 1))
      this.sendText(keysText(keys), { role: 'caller', respond: true })
    })
    this.connection = new VendorConnection(sink, {
      service: capabilities.name,
      secrets: this.secrets,
      ...(options.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      target,
      opened: () => this.opened(),
      message: (data) => this.message(data),
      closeFault: (code, words) => service.closeFault(capabilities.name, code, words),
      recovers: (fault) => this.recovers(fault),
      ended: () => {
        this.#expiry.clear()
        this.keys.close()
        this.uplink.clear()
        this.ended()
      },
    })
  }

  abstract sendText(text: string, options: TextOptions): void
  protected abstract opened(): void
  protected abstract message(data: Buffer): void
  /**
   * Handles the end of the session (`VendorConnectionOptions.ended`); this class has already released its own
   * resources.
   */
  protected abstract ended(): void

  /** True if another connection may succeed (`VendorConnectionOptions.recovers`). */
  protected recovers(fault: VendorFault): boolean {
    const again = this.#askedForLess
    this.#askedForLess = false
    return !this.connection.isReady && (again || this.wishes.refuses(fault))
  }

  /**
   * True if a fault before the session is ready is about optional fields. The session is then requested again without
   * these fields.
   */
  protected asksForLess(fault: VendorFault): boolean {
    if (this.connection.isReady || !this.wishes.refuses(fault)) return false
    this.#askedForLess = true
    return true
  }

  /** True if a ready service accepts the caller's audio now. */
  protected takesAudio(): boolean {
    return true
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.session = session
    this.generation = resumedGeneration(session.resume)
    return this.connection.connect(signal)
  }

  /**
   * Snapshot for a service that cannot resume a session. The numbering of answers continues, and the new session gets
   * the history.
   */
  snapshot(): unknown {
    return { version: 1, generation: this.generation }
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.uplink.push(pcm, voiced)
  }

  dtmf(digit: string): void {
    this.keys.press(digit)
  }

  counters(): Readonly<Record<string, number>> {
    const { messagesIn: _, ...irregular }: RealtimeStats & Readonly<Record<string, number>> = this.stats
    return { ...irregular, audioDroppedMs: this.uplink.droppedMs }
  }

  close(reason: string): Promise<void> {
    return this.connection.close(reason)
  }

  /** @returns the words to send for a text; for an empty text of the gateway, a request to begin */
  protected wordsOf(text: string, role: TextOptions['role']): string {
    return text === '' && role === 'system' && this.session !== null ? openingText(this.session) : text
  }

  protected sendJson(json: string): void {
    this.connection.send(json)
  }

  /** Sends the first `length` bytes of audio in the service's form. */
  protected sendSamples(audio: Buffer, length: number): void {
    const { before, after } = this.#service.audioMessage
    this.connection.sendAudio(before, audio, length, after)
  }

  /** Replaces the greeting if the agent has not greeted yet. */
  protected greetWith(greeting: string | null | undefined): void {
    if (greeting !== undefined && this.session !== null) this.session = { ...this.session, greeting }
  }

  /** Schedules `expiring` for a session that ends after `sessionMs`. */
  protected expiresAfter(sessionMs: number): void {
    const inMs = Math.min(this.options.expiringLeadMs ?? EXPIRING_LEAD_MS, sessionMs)
    this.#expiry.set(sessionMs - inMs, () => this.sink.event({ type: 'expiring', inMs }))
  }

  /** @param quiet  true if the model stays silent when it receives the result */
  protected toolCalled(callId: string, name: string, given: ParsedArguments, generation: number, quiet = false): void {
    const { args, invalid, mended } = given
    if (invalid !== undefined) this.stats.invalidToolArguments++
    if (mended === true) this.stats.mendedToolArguments++
    this.sink.event({
      type: 'tool-call',
      callId,
      name,
      args,
      generation,
      ...(invalid === undefined ? {} : { invalid }),
      ...(quiet ? { quiet } : {}),
    })
  }

  /** Reports the usage since the previous report, with `audioOutMs` of the agent's sound. */
  protected used(usage: Omit<BackendUsage, 'audioInMs' | 'audioOutMs'>, audioOutMs: number): void {
    this.sink.event({ type: 'usage', usage: { ...usage, audioInMs: this.uplink.takeSentMs(), audioOutMs } })
  }

  /** Adds words of the caller. Used if the service has no ids for the caller's items. */
  protected callerSaid(words: string, final: boolean): void {
    if (this.callerText === '') this.#callerItems++
    this.callerText = (this.callerText + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.emitCaller(final)
  }

  protected emitCaller(final: boolean): void {
    this.heard(`caller-${this.#callerItems}`, this.callerText, final)
  }

  /** Texts that the service's transcription gets in advance. */
  protected get told(): Told {
    return {}
  }

  /** @returns the caller's words; '' if the service only repeated the texts that its transcription got in advance */
  protected heard(itemId: string, words: string, final: boolean): string {
    const said = words.trim()
    const text = isTold(said, this.told) ? '' : said
    // The transcript belongs to the answer that follows it. This answer may not have begun yet.
    const generation = this.generation + 1
    this.sink.event({ type: 'transcript', role: 'caller', text, final, itemId, generation })
    return text
  }

  #append(pcm: Buffer, length: number): boolean {
    if (!this.connection.isReady || this.connection.congested || !this.takesAudio()) return false
    const { law } = this.#service
    if (law === null) this.sendSamples(pcm, length)
    else this.sendSamples(g711, law.encode(samplesOf(pcm.subarray(0, length)), g711))
    return true
  }
}

/** The audio encoding of a service that uses G.711 in both directions. */
interface Law {
  readonly encode: (samples: Int16Array, out: Uint8Array) => number
  readonly decode: (bytes: Uint8Array, out: Int16Array) => number
}

/** Properties of a service that are known before the connection. */
interface RealtimeService<Options extends RealtimeOptions> extends Pick<VendorConnectionOptions, 'target'> {
  readonly capabilities: BackendCapabilities
  readonly options: Options
  /** Further secrets, in addition to the API key and the headers. */
  readonly secrets?: readonly string[]
  readonly closeFault: CloseFault
  readonly uplink: Omit<CallerUplinkOptions, 'sampleRateHz' | 'waitingMsMax' | 'send'>
  /** The JSON around a piece of the caller's audio. */
  readonly audioMessage: { readonly before: string; readonly after: string }
  readonly law: Law | null
}

/** @returns the address of a service's WebSocket; if the address does not end with `path`, `path` is appended */
export function socketUrl(baseUrl: string, path: string): URL {
  const url = new URL(baseUrl)
  url.protocol = url.protocol.replace('http', 'ws')
  // If an address has no path, `URL` returns the path `/`.
  const base = url.pathname.replace(/\/+$/, '')
  url.pathname = base.endsWith(path) ? base : base + path
  return url
}

/** Counters that all of these services have; plain fields. */
export function noRealtimeStats() {
  return {
    ...noMessages(),
    malformedAudio: 0,
    /** Number of optional fields that the service refused; later sessions omit these fields. */
    wishesRefused: 0,
    invalidToolArguments: 0,
    /** Number of tool arguments that were not a plain JSON object, but could be read as an object. */
    mendedToolArguments: 0,
  }
}
