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
import type { ParsedArguments } from '../tool-text.js'
import { Base64Audio } from './base64-audio.js'
import { CallerUplink } from './caller-uplink.js'
import type { CallerUplinkOptions } from './caller-uplink.js'
import { noMessages } from './message-reader.js'
import { VendorConnection } from './vendor-connection.js'
import type { VendorConnectionOptions } from './vendor-connection.js'
import type { CloseFault, VendorFault } from './vendor-fault.js'

/** The longest message of caller audio in G.711: less than 600 ms at 8 kHz. */
const G711_BYTES_MAX = 4800

// Shared by all calls of a thread: each message is encoded and sent at once.
const g711 = Buffer.allocUnsafeSlow(G711_BYTES_MAX)

/** How long before the end of a session `expiring` is emitted. */
const EXPIRING_LEAD_MS = 5 * 60_000

/** Options of these services from an agent's file and the settings. Plain data except for the clock. */
export interface RealtimeOptions {
  /** Null sends none, for a server of one's own. Never logged. */
  readonly apiKey: string | null
  readonly model: string
  /** The vendor's own address when not given; http(s) and ws(s) alike. */
  readonly baseUrl?: string
  /** More headers, such as Azure's `api-key` or `OpenAI-Organization`. Values are treated as secrets. */
  readonly headers?: Readonly<Record<string, string>>
  /** In metrics and records; the usual name of the backend when not given. */
  readonly name?: string
  /** For agents that name no voice; the service's default when not given. */
  readonly voice?: string
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  /** EXPIRING_LEAD_MS when not given. */
  readonly expiringLeadMs?: number
  /** `performance.now` when not given. */
  readonly nowMs?: Clock
}
type RealtimeStats = ReturnType<typeof noRealtimeStats>

/**
 * Shared base of the backends of realtime services: the life of the connection, the caller's audio on its way out, keys,
 * the end of a session that is near, and how a tool call is reported. A service is a class that extends it with its
 * messages.
 */
export abstract class RealtimeBackend<
  Options extends RealtimeOptions,
  Stats extends RealtimeStats & Readonly<Record<keyof Stats, number>>,
> {
  readonly capabilities: BackendCapabilities
  abstract readonly stats: Stats
  protected readonly options: Options
  /** Texts that must never be shown. */
  protected readonly secrets: readonly (string | null)[]
  protected readonly sink: BackendSink
  protected readonly nowMs: Clock
  protected readonly connection: VendorConnection
  protected readonly uplink: CallerUplink
  /** Decodes what the service says. */
  protected readonly audio: Base64Audio
  protected readonly keys: KeyEntry
  /** The one that `connect` was called with. */
  protected session: BackendSession | null = null
  /** Number of the newest answer. */
  protected generation = 0
  /** Text of the caller's item that is still growing. */
  protected callerText = ''
  readonly #service: RealtimeService<Options>
  #keyItems = 0
  #callerItems = 0
  readonly #expiry = new Alarm()

  constructor(sink: BackendSink, service: RealtimeService<Options>) {
    const { capabilities, options, target, law } = service
    this.sink = sink
    this.options = options
    this.secrets = [options.apiKey, ...Object.values(options.headers ?? {}), ...(service.secrets ?? [])]
    this.capabilities = capabilities
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
  /** As `VendorConnectionOptions.ended`; what is kept here has been freed. */
  protected abstract ended(): void

  /** As `VendorConnectionOptions.recovers`. */
  protected recovers(_fault: VendorFault): boolean {
    return false
  }

  /** True if the service takes the caller's audio now, where it is ready. */
  protected takesAudio(): boolean {
    return true
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.session = session
    this.generation = resumedGeneration(session.resume)
    return this.connection.connect(signal)
  }

  /** A service that cannot resume a session: a new one gets the history, and only the numbering of answers goes on. */
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

  /** The words of a text: an empty one of the gateway's asks to begin. */
  protected wordsOf(text: string, role: TextOptions['role']): string {
    return text === '' && role === 'system' && this.session !== null ? openingText(this.session) : text
  }

  protected sendJson(json: string): void {
    this.connection.send(json)
  }

  /** Sends the first `length` bytes of audio, as the service takes it. */
  protected sendSamples(audio: Buffer, length: number): void {
    const { before, after } = this.#service.audioMessage
    this.connection.sendAudio(before, audio, length, after)
  }

  /** Sets the greeting, if it is still to come. */
  protected greetWith(greeting: string | null | undefined): void {
    if (greeting !== undefined && this.session !== null) this.session = { ...this.session, greeting }
  }

  /** The session ends after `sessionMs`: says so before. */
  protected expiresAfter(sessionMs: number): void {
    const inMs = Math.min(this.options.expiringLeadMs ?? EXPIRING_LEAD_MS, sessionMs)
    this.#expiry.set(sessionMs - inMs, () => this.sink.event({ type: 'expiring', inMs }))
  }

  /** @param quiet  the model says nothing when it gets the result */
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

  /** Reports the usage since the last call, and `audioOutMs` of sound. */
  protected used(usage: Omit<BackendUsage, 'audioInMs' | 'audioOutMs'>, audioOutMs: number): void {
    this.sink.event({ type: 'usage', usage: { ...usage, audioInMs: this.uplink.takeSentMs(), audioOutMs } })
  }

  /** More words of the caller came, of a service that gives their items no ids. */
  protected callerSaid(words: string, final: boolean): void {
    if (this.callerText === '') this.#callerItems++
    this.callerText = (this.callerText + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.emitCaller(final)
  }

  protected emitCaller(final: boolean): void {
    this.heard(`caller-${this.#callerItems}`, this.callerText, final)
  }

  /** Context that its transcription got in advance. */
  protected get told(): Told {
    return {}
  }

  /** @returns the caller's words: none where the service returns what its transcription was given */
  protected heard(itemId: string, words: string, final: boolean): string {
    const said = words.trim()
    const text = isTold(said, this.told) ? '' : said
    // The transcript belongs to the answer that it causes, which may not have started yet.
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

/** The coding of a service that takes and gives G.711. */
interface Law {
  readonly encode: (samples: Int16Array, out: Uint8Array) => number
  readonly decode: (bytes: Uint8Array, out: Int16Array) => number
}

/** Traits of a service that are known from the start. */
interface RealtimeService<Options extends RealtimeOptions> extends Pick<VendorConnectionOptions, 'target'> {
  readonly capabilities: BackendCapabilities
  readonly options: Options
  /** Texts that must never be shown, besides the key and the headers. */
  readonly secrets?: readonly string[]
  readonly closeFault: CloseFault
  readonly uplink: Omit<CallerUplinkOptions, 'sampleRateHz' | 'waitingMsMax' | 'send'>
  /** The JSON around a piece of the caller's audio. */
  readonly audioMessage: { readonly before: string; readonly after: string }
  readonly law: Law | null
}

/** The address of a service's WebSocket, from an address that ends with `path` or is to. */
export function socketUrl(baseUrl: string, path: string): URL {
  const url = new URL(baseUrl)
  url.protocol = url.protocol.replace('http', 'ws')
  // An address without a path has the path `/`.
  const base = url.pathname.replace(/\/+$/, '')
  url.pathname = base.endsWith(path) ? base : base + path
  return url
}

/** Counters that all of these services have; plain fields. */
export function noRealtimeStats() {
  return {
    ...noMessages(),
    malformedAudio: 0,
    invalidToolArguments: 0,
    /** Arguments that were not a plain JSON object, but certainly meant one. */
    mendedToolArguments: 0,
  }
}
