import type { Clock } from '../../core/clock.js'
import { BACKEND_WAITING_AUDIO_MS } from '../../core/limits.js'
import { samplesOf } from '../../media/pcm.js'
import type { BackendCapabilities, BackendSession, BackendSink, TextOptions } from '../backend.js'
import { KeyEntry, keysTranscript } from '../key-entry.js'
import { keysText, openingText } from '../prompts.js'
import { parseArguments } from '../tool-text.js'
import { Base64Audio } from './base64-audio.js'
import { CallerUplink } from './caller-uplink.js'
import type { CallerUplinkOptions } from './caller-uplink.js'
import { VendorConnection } from './vendor-connection.js'
import type { VendorConnectionOptions } from './vendor-connection.js'
import type { VendorFault } from './vendor-fault.js'

/** The longest message of caller audio in G.711: less than 600 ms at 8 kHz. */
const G711_BYTES_MAX = 4800

// Shared by all calls of a thread: each message is encoded and sent at once.
const g711 = Buffer.allocUnsafeSlow(G711_BYTES_MAX)

/** The coding of a service that takes and gives G.711. */
interface Law {
  readonly encode: (samples: Int16Array, out: Uint8Array) => number
  readonly decode: (bytes: Uint8Array, out: Int16Array) => number
}

/** What an agent's file and the settings say of any of these services. */
export interface RealtimeOptions {
  readonly connectTimeoutMs?: number
  readonly pingMs?: number
  readonly nowMs?: Clock
}

/** What differs from one service to the next, and is known from the start. */
interface RealtimeService extends Pick<VendorConnectionOptions, 'secrets' | 'target'> {
  readonly capabilities: BackendCapabilities
  readonly options: RealtimeOptions
  readonly uplink: Omit<CallerUplinkOptions, 'sampleRateHz' | 'waitingMsMax' | 'send'>
  /** The JSON around a piece of the caller's audio. */
  readonly audioMessage: { readonly before: string; readonly after: string }
  readonly law: Law | null
}

/** Counters that all of these services have. */
interface RealtimeStats {
  readonly messagesIn: number
  audioDroppedMs: number
  invalidToolArguments: number
  /** Arguments that were not a plain JSON object, but certainly meant one. */
  mendedToolArguments: number
}

/**
 * What the backends of realtime services share: the life of the connection, the caller's audio on its way out, keys, the
 * end of a session that is near, and how a tool call is reported. A service is a class that extends it with its messages.
 */
export abstract class RealtimeBackend<Stats extends RealtimeStats & Readonly<Record<keyof Stats, number>>> {
  readonly capabilities: BackendCapabilities
  abstract readonly stats: Stats
  protected readonly sink: BackendSink
  protected readonly nowMs: Clock
  protected readonly connection: VendorConnection
  protected readonly uplink: CallerUplink
  /** Decodes what the service says. */
  protected readonly audio: Base64Audio
  protected readonly keys: KeyEntry
  /** The one that `connect` was called with. */
  protected session: BackendSession | null = null
  readonly #service: RealtimeService
  #keyItems = 0
  #expiry: NodeJS.Timeout | null = null

  constructor(sink: BackendSink, service: RealtimeService) {
    const { capabilities, options, secrets, target, law } = service
    this.sink = sink
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
      secrets,
      ...(options.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      target,
      opened: () => this.opened(),
      message: (data) => this.message(data),
      closeFault: (code, words) => this.closeFault(code, words),
      recovers: (fault) => this.recovers(fault),
      ended: () => {
        if (this.#expiry !== null) clearTimeout(this.#expiry)
        this.keys.close()
        this.uplink.clear()
        this.ended()
      },
    })
  }

  /** Number of the newest answer. */
  protected abstract get generation(): number
  abstract sendText(text: string, options: TextOptions): void
  protected abstract opened(): void
  protected abstract message(data: Buffer): void
  protected abstract closeFault(code: number, words: string): VendorFault
  /** As `VendorConnectionOptions.ended`; what is kept here has been freed. */
  protected abstract ended(): void

  /** As `VendorConnectionOptions.recovers`. */
  protected recovers(_fault: VendorFault): boolean {
    return false
  }

  /** Whether the service takes the caller's audio now, where it is ready. */
  protected takesAudio(): boolean {
    return true
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.uplink.push(pcm, voiced)
    this.stats.audioDroppedMs = this.uplink.droppedMs
  }

  dtmf(digit: string): void {
    this.keys.press(digit)
  }

  counters(): Readonly<Record<string, number>> {
    const { messagesIn: _, ...irregular }: RealtimeStats & Readonly<Record<string, number>> = this.stats
    return irregular
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

  /** The session ends after `sessionMs`: says so `leadMs` before. */
  protected expiresAfter(sessionMs: number, leadMs: number): void {
    const inMs = Math.min(leadMs, sessionMs)
    this.#expiry = setTimeout(() => this.sink.event({ type: 'expiring', inMs }), sessionMs - inMs).unref()
  }

  protected toolCalled(callId: string, name: string, argumentsText: string, generation: number): void {
    const { args, invalid, mended } = parseArguments(argumentsText)
    if (invalid !== undefined) this.stats.invalidToolArguments++
    if (mended === true) this.stats.mendedToolArguments++
    this.sink.event({
      type: 'tool-call',
      callId,
      name,
      args,
      generation,
      ...(invalid === undefined ? {} : { invalid }),
    })
  }

  #append(pcm: Buffer, length: number): boolean {
    if (!this.connection.isReady || this.connection.congested || !this.takesAudio()) return false
    const { law } = this.#service
    if (law === null) this.sendSamples(pcm, length)
    else this.sendSamples(g711, law.encode(samplesOf(pcm.subarray(0, length)), g711))
    return true
  }
}
