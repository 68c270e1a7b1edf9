import { once } from 'node:events'
import type * as Grpc from '@grpc/grpc-js'
import type { Client, ClientDuplexStream, Metadata } from '@grpc/grpc-js'
import type * as Protobuf from 'protobufjs'
import type { INamespace, Type } from 'protobufjs'
import { BACKEND_MESSAGE_BYTES_MAX, BACKEND_RATES, UNDERSTOOD_SPEECH_MS_MAX } from '../../core/limits.js'
import { StreamBudget } from '../../core/stream-budget.js'
import { msToSamples } from '../../core/units.js'
import {
  overrunFault,
  speaksOfKey,
  speaksOfQuota,
  vendorFault,
  vendorText,
} from '../../backends/transport/vendor-fault.js'
import type { VendorFault } from '../../backends/transport/vendor-fault.js'
import { faultOf, ServiceFault } from '../../backends/cascade/service-fault.js'
import { connectWithinMs, serviceRefusal } from '../../backends/cascade/service-socket.js'
import type {
  ConnectionListener,
  SentMessage,
  SocketService,
  SocketServiceOptions,
  ServiceConnection,
  ServiceMessage,
} from '../../backends/cascade/service-socket.js'

/**
 * Maximum number of streams of one connection. Google's front ends allow 100; further streams would wait in the
 * connection without a report.
 */
const STREAMS_MAX = 90
/** Maximum number of connections from one thread to one service. */
const CHANNELS_MAX = 8
/**
 * Limits of a stream's audio: its maximum lead over live speech, and its maximum speed relative to live speech. Without
 * these limits a repeated turn would be sent as fast as the connection allows. Google's recogniser has refused such
 * speed: "streamed too fast" (GoogleCloudPlatform/nodejs-docs-samples#420, googleapis/google-cloud-java#1534). Google
 * publishes no limit, so these limits are the gateway's own.
 */
const AHEAD_MS = 4000
const SPEED = 5
/** Maximum unsent audio of one stream in bytes: the longest turn, at 24 kHz, may have to be sent again. */
const UNSENT_BYTES_MAX = 2 * msToSamples(UNDERSTOOD_SPEECH_MS_MAX, 24_000)
/**
 * Interval of pings on a connection with streams, in ms. Google's front ends close a connection with more than one ping
 * in 30 s (googleapis/java-bigtable#528). The other 10 s are a reserve for delays.
 */
const PING_MS = 40_000
/**
 * Time to wait for a ping's answer, in milliseconds. An idle connection may be dead, so the first stream on it sends a
 * ping.
 */
const PONG_MS = 2500
/**
 * Minimum and maximum pause between two attempts to connect, in milliseconds. If the service is down, a call waits for
 * only one attempt.
 */
const BACKOFF_MS = { min: 250, max: 1000 }
const RETRY_MS = 1500
/** Time in ms after which a connection without streams is closed. */
const IDLE_MS = 5 * 60_000

/**
 * Connections of this thread by address; each stream sends its own API key. The settings limit the number of addresses.
 */
const channels = new Map<string, Channel[]>()
/** Protobuf types by set of messages, so that each set is parsed once. */
const types = new WeakMap<INamespace, (name: string) => Type>()

/**
 * A gRPC stream as a recogniser's connection. The first message opens it; an empty message ends its audio. Streams of a
 * thread share connections, without new handshakes.
 */
export class GrpcStream implements ServiceConnection {
  readonly #service: SocketService<SocketServiceOptions>
  readonly #wire: GrpcWire
  readonly #listener: ConnectionListener
  readonly #budget = new StreamBudget(BACKEND_RATES)
  #state: 'connecting' | 'open' | 'over' = 'connecting'
  #loaded: Libraries | null = null
  #channel: Channel | null = null
  #call: ClientDuplexStream<object, ServiceMessage> | null = null
  #overrun = false
  readonly #unsent: Buffer[] = []
  #unsentBytes = 0
  #sentBytes = 0
  #begunAtMs = 0
  /** Timer until the next audio is due. */
  #pace: NodeJS.Timeout | undefined
  #ended = false

  constructor(service: SocketService<SocketServiceOptions>, wire: GrpcWire, listener: ConnectionListener) {
    this.#service = service
    this.#wire = wire
    this.#listener = listener
  }

  get behindMs(): number {
    return this.#call === null ? 0 : this.#dueInMs(this.#unsentBytes)
  }

  async open(signal: AbortSignal, probe: boolean): Promise<void> {
    signal.throwIfAborted()
    const timeoutMs = connectWithinMs(this.#service, probe)
    const over = new AbortController()
    const aborted = once(signal, 'abort', { signal: over.signal }).then(
      () => signal.throwIfAborted(),
      () => undefined,
    )
    try {
      await Promise.race([this.#connect(Date.now() + timeoutMs, timeoutMs, probe), aborted])
      if (this.#state === 'connecting') this.#state = 'open'
    } finally {
      over.abort()
    }
  }

  send(message: SentMessage): void {
    if (this.#state !== 'open') return
    if (!(message instanceof Uint8Array)) this.#begin()?.write(message as object, () => this.#flush())
    else if (message.length > 0) this.sendBytes(message)
    else {
      this.#ended = true
      this.#flush()
    }
  }

  sendBytes(bytes: Uint8Array): void {
    // Silence that keeps a stream open does not start a stream. Audio after the end is dropped.
    if (this.#state !== 'open' || this.#call === null || this.#ended) return
    this.#unsent.push(Buffer.from(bytes))
    this.#unsentBytes += bytes.length
    if (this.#unsentBytes > UNSENT_BYTES_MAX)
      return this.fail(vendorFault('network', `${this.#service.what} takes no audio`, false))
    this.#flush()
  }

  /**
   * Ends the stream, because an answer is missing. The connection may be dead, and pings would find this out too late.
   * So new streams use another connection; the other open streams stay.
   */
  fail(fault: VendorFault): void {
    if (this.#channel !== null) retire(this.#wire.baseUrl, this.#channel)
    this.#lost(fault)
  }

  #lost(fault: VendorFault): void {
    const was = this.#state
    this.#end()
    if (was === 'open') this.#listener.lost(fault)
  }

  close(): void {
    this.#end()
  }

  async #connect(untilMs: number, timeoutMs: number, probe: boolean): Promise<void> {
    const { what } = this.#service
    const loaded = await load()
    this.#loaded = loaded
    const channel = channelOf(this.#wire.baseUrl, loaded.grpc)
    if (channel === null) throw new ServiceFault(this.#tooMany())
    channel.streams++
    try {
      const fault = await connected(channel.client, untilMs, loaded.grpc)
      if (fault === 'timeout')
        throw new ServiceFault(vendorFault('timeout', `${what}: no connection after ${timeoutMs} ms`, false))
      // If there is no connection, a request fails at once and names the reason.
      if (probe || fault === 'network') await this.#ask(channel.client, untilMs, loaded)
    } finally {
      release(channel)
    }
  }

  /** Checks that the service accepts the key. */
  async #ask(client: Client, untilMs: number, { grpc, protobuf }: Libraries): Promise<void> {
    const { probe, messages } = this.#wire
    const typeOf = typesOf(messages, protobuf)
    const metadata = this.#metadata(grpc)
    const status = await new Promise<Status>((resolve) => {
      client.makeUnaryRequest(
        probe.path,
        encoder(typeOf(probe.request)),
        () => null,
        probe.message,
        metadata,
        { deadline: untilMs },
        (error) => resolve(error ?? { code: OK, details: '' }),
      )
    })
    if (status.code !== OK && !probe.answers(status)) throw new ServiceFault(this.#faultOf(status))
  }

  #begin(): ClientDuplexStream<object, ServiceMessage> | null {
    if (this.#call !== null || this.#loaded === null) return this.#call
    const { grpc, protobuf } = this.#loaded
    const { baseUrl, stream, messages } = this.#wire
    const channel = channelOf(baseUrl, grpc)
    if (channel === null) {
      this.#lost(this.#tooMany())
      return null
    }
    let metadata: Metadata
    try {
      metadata = this.#metadata(grpc)
    } catch (error) {
      this.#lost(faultOf(error))
      return null
    }
    this.#channel = channel
    channel.streams++
    const typeOf = typesOf(messages, protobuf)
    const response = typeOf(stream.response)
    const call: ClientDuplexStream<object, ServiceMessage> = channel.client.makeBidiStreamRequest(
      stream.path,
      encoder(typeOf(stream.request)),
      (bytes) => {
        this.#overrun = !this.#budget.take(bytes.length, 1, performance.now())
        if (this.#overrun) throw new Error('too much at once')
        return response.toObject(response.decode(bytes), { longs: Number, enums: String })
      },
      metadata,
    )
    call.on('data', (message: ServiceMessage) => {
      if (this.#state !== 'open') return
      const error = this.#wire.errorIn(message)
      if (error === null) this.#listener.message(message)
      else this.#lost(this.#faultOf(error))
    })
    call.on('error', () => undefined)
    call.on('status', (status: Status) => {
      const ended = (): void => this.#lost(this.#faultOf(status))
      // The last messages arrive before the stream's end, but the status may arrive before these messages.
      if (status.code === OK && !call.readableEnded) call.once('end', ended)
      else ended()
    })
    this.#call = call
    this.#begunAtMs = performance.now()
    return call
  }

  /** @returns the time until the next `bytes` of audio are due, in milliseconds */
  #dueInMs(bytes: number): number {
    const audioMs = (this.#sentBytes + bytes) / this.#wire.audioBytesPerMs
    return Math.max(0, this.#begunAtMs + (audioMs - AHEAD_MS) / SPEED - performance.now())
  }

  /**
   * Sends the collected audio in one message. Audio is collected while a message is being sent, and until the audio is
   * due.
   */
  #flush(): void {
    const call = this.#call
    if (call === null || call.writableLength > 0 || call.writableEnded) return
    if (this.#unsentBytes === 0) return this.#ended ? void call.end() : undefined
    const { audio, audioBytesMax } = this.#wire
    const dueInMs = this.#dueInMs(Math.min(this.#unsentBytes, audioBytesMax))
    clearTimeout(this.#pace)
    if (dueInMs > 0) {
      this.#pace = setTimeout(() => this.#flush(), Math.ceil(dueInMs)).unref()
      return
    }
    const all = Buffer.concat(this.#unsent.splice(0))
    const rest = all.subarray(audioBytesMax)
    if (rest.length > 0) this.#unsent.push(rest)
    this.#unsentBytes = rest.length
    this.#sentBytes += all.length - rest.length
    call.write(audio(all.subarray(0, audioBytesMax)), () => this.#flush())
  }

  #end(): void {
    this.#state = 'over'
    const [call, channel] = [this.#call, this.#channel]
    this.#call = null
    this.#channel = null
    clearTimeout(this.#pace)
    call?.cancel()
    if (channel !== null) release(channel)
  }

  /** @throws ServiceFault if the API key contains characters that cannot be sent */
  #metadata(grpc: Libraries['grpc']): Metadata {
    const metadata = new grpc.Metadata()
    for (const [name, value] of Object.entries(this.#wire.metadata())) {
      try {
        metadata.set(name, value)
      } catch {
        // The library's own error quotes the key.
        const words = `${this.#service.what}: the key has characters that cannot be sent; allowed: printable ASCII`
        throw new ServiceFault(vendorFault('auth', words, true))
      }
    }
    return metadata
  }

  #tooMany(): VendorFault {
    const most = STREAMS_MAX * CHANNELS_MAX
    return vendorFault('rate_limit', `${this.#service.what}: more than ${most} streams at the same time`, false)
  }

  #faultOf({ code, details }: Status): VendorFault {
    const { what, apiKey } = this.#service
    if (code === OK) return vendorFault('session_expired', `${what} ended the stream`, false)
    if (this.#overrun) return serviceRefusal(overrunFault(what))
    const words = vendorText(details, [apiKey])
    const name = this.#loaded?.grpc.status[code] ?? String(code)
    return serviceRefusal(
      vendorFault(faultCode(code, details), `${what}: ${name}${words === '' ? '' : `: ${words}`}`, false),
    )
  }
}

/** One gRPC method of a service. */
interface GrpcMethod {
  /** Path such as `/google.cloud.speech.v1.Speech/StreamingRecognize`. */
  readonly path: string
  /** Name of the request's message type. */
  readonly request: string
}

/** Status at the end of a stream or a request. */
interface Status {
  readonly code: number
  readonly details: string
}

/** Functions of a service that open streams and read their messages. */
interface GrpcWire {
  /** Address such as `https://speech.googleapis.com`; `http` means no TLS. */
  readonly baseUrl: string
  readonly messages: INamespace
  readonly stream: GrpcMethod & { readonly response: string }
  /** Makes the stream's message for audio of at most `audioBytesMax`. */
  readonly audio: (bytes: Uint8Array) => object
  readonly audioBytesMax: number
  readonly audioBytesPerMs: number
  /** Error in a message; null for any other message. */
  readonly errorIn: (message: ServiceMessage) => Status | null
  /** Request that checks the API key when the call begins. If `answers` is true for a refusal, the key is valid. */
  readonly probe: GrpcMethod & { readonly message: object; readonly answers: (status: Status) => boolean }
  /** Headers with the API key; made again for each request. */
  readonly metadata: () => Readonly<Record<string, string>>
}

/** Status codes of gRPC at the end of a stream or request. */
const OK = 0

const FAULTS: Readonly<Record<number, VendorFault['code']>> = {
  1: 'network', // CANCELLED
  3: 'bad_request', // INVALID_ARGUMENT
  4: 'timeout', // DEADLINE_EXCEEDED
  5: 'bad_request', // NOT_FOUND
  7: 'auth', // PERMISSION_DENIED
  8: 'rate_limit', // RESOURCE_EXHAUSTED
  9: 'bad_request', // FAILED_PRECONDITION
  10: 'network', // ABORTED
  11: 'timeout', // OUT_OF_RANGE: the stream is too long or too fast, or had no audio
  12: 'bad_request', // UNIMPLEMENTED
  14: 'network', // UNAVAILABLE
  16: 'auth', // UNAUTHENTICATED
}

interface Channel {
  readonly client: Client
  /** Number of streams on the connection, plus the calls that wait for the connection. */
  streams: number
  /** True if new streams must not use the connection; its last stream closes it. */
  retired: boolean
}

// The libraries are loaded when the first stream is opened, because only some gateways use a service over gRPC.
let libraries: Promise<Libraries> | null = null

interface Libraries {
  readonly grpc: Pick<typeof Grpc, 'Client' | 'Metadata' | 'credentials' | 'status' | 'connectivityState'>
  readonly protobuf: Pick<typeof Protobuf, 'Root'>
}

function load(): Promise<Libraries> {
  libraries ??= Promise.all([import('@grpc/grpc-js'), import('protobufjs/light.js')]).then(([grpc, protobuf]) => ({
    grpc: grpc.default,
    protobuf: protobuf.default,
  }))
  return libraries
}

function faultCode(code: number, words: string): VendorFault['code'] {
  if ((code === 7 || code === 8) && speaksOfQuota(words)) return 'quota'
  if (code === 3 && speaksOfKey(words)) return 'auth'
  return FAULTS[code] ?? 'internal'
}

function encoder(type: Type): (message: object) => Buffer {
  return (message) => Buffer.from(type.encode(type.fromObject(message)).finish())
}

function typesOf(messages: INamespace, { Root }: Libraries['protobuf']): (name: string) => Type {
  let found = types.get(messages)
  if (found === undefined) {
    const root = Root.fromJSON(messages).resolveAll()
    found = (name) => root.lookupType(name)
    types.set(messages, found)
  }
  return found
}

/** @returns a connection of this thread that can accept another stream; null if all connections are full */
function channelOf(baseUrl: string, { Client, credentials }: Libraries['grpc']): Channel | null {
  const own = channels.get(baseUrl) ?? []
  channels.set(baseUrl, own)
  const free = own.find(({ streams }) => streams < STREAMS_MAX)
  if (free !== undefined || own.length >= CHANNELS_MAX) return free ?? null
  const { protocol, hostname, port } = new URL(baseUrl)
  const secure = /^(?:https|wss):$/.test(protocol)
  const client = new Client(
    `${hostname}:${port === '' ? (secure ? 443 : 80) : port}`,
    secure ? credentials.createSsl() : credentials.createInsecure(),
    {
      'grpc.primary_user_agent': 'mkondo',
      'grpc.keepalive_time_ms': PING_MS,
      'grpc.keepalive_timeout_ms': PONG_MS,
      'grpc.initial_reconnect_backoff_ms': BACKOFF_MS.min,
      'grpc.max_reconnect_backoff_ms': BACKOFF_MS.max,
      'grpc.client_idle_timeout_ms': IDLE_MS,
      'grpc.max_receive_message_length': BACKEND_MESSAGE_BYTES_MAX,
      // gRPC must not retry: the cascade itself sends a lost turn again, on the next available service.
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_channelz': 0,
      // Without this option, two channels to one address would share a connection.
      'grpc.use_local_subchannel_pool': 1,
    },
  )
  const made = { client, streams: 0, retired: false }
  own.push(made)
  return made
}

function retire(baseUrl: string, channel: Channel): void {
  channel.retired = true
  channels.set(baseUrl, channels.get(baseUrl)?.filter((one) => one !== channel) ?? [])
}

function release(channel: Channel): void {
  channel.streams--
  if (channel.retired && channel.streams === 0) channel.client.close()
}

/**
 * Opens the connection.
 * @returns the fault; null if it is open
 */
async function connected(
  client: Client,
  untilMs: number,
  { connectivityState: { READY, TRANSIENT_FAILURE } }: Libraries['grpc'],
): Promise<'timeout' | 'network' | null> {
  const channel = client.getChannel()
  for (let tried = false; ; tried = true) {
    const state = channel.getConnectivityState(true)
    if (state === READY) return null
    const failing = state === TRANSIENT_FAILURE
    if (failing && tried) return 'network'
    // The last attempt to connect has failed, possibly for another call. The connection keeps this state until an
    // attempt succeeds.
    const lateMs = failing ? Math.min(untilMs, Date.now() + RETRY_MS) : untilMs
    const late = await new Promise<boolean>((resolve) =>
      channel.watchConnectivityState(state, lateMs, (error) => resolve(error !== undefined)),
    )
    if (late) return failing ? 'network' : 'timeout'
  }
}
