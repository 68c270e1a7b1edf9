/**
 * The carrier's side of the media socket, modelled on the carrier's fork module. The fork has a raw handshake and one
 * text frame. Caller audio is sent in 20 ms frames, which are buffered while the socket cannot be written to. The fork
 * has a playout queue with a hold-back, and supports `killAudio`, marks, and the module's ways to end.
 * docs/SIMULATOR.md has the numbers. "The lineage" is the open-source code on which the carrier's module is built.
 */
import { createHash, randomBytes } from 'node:crypto'
import { type IncomingMessage, request as requestTcp } from 'node:http'
import { request as requestTls } from 'node:https'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import * as ws from 'ws'
import { messageOf } from '../core/errors.js'
import { jsonObject } from '../core/json.js'
import { BYTES_PER_SAMPLE } from '../core/units.js'
import { PlayoutQueue } from './playout-queue.js'

/** Layout of a leg's audio on the socket. */
export type TrackLayout = 'mono' | 'mixed' | 'stereo'

export interface AudioForkOptions extends HandshakeOptions {
  /** Rate of the sent audio in Hz. */
  readonly sampleRateHz: 8000 | 16000
  readonly channels: 1 | 2
  /** Text sent right after the connection, before any audio; null sends no text. */
  readonly firstText: string | null
  /** Number of audio frames sent before the first text; the lineage sends the text first. */
  readonly framesBeforeFirstText?: number
  /** False: the carrier ignores `killAudio`. It is unknown if Sautikit supports `killAudio`. */
  readonly honourKill?: boolean
  /** False: the carrier ignores marks. It is unknown if Sautikit answers marks. */
  readonly answerMarks?: boolean
  /** Number of frames sent as one message: 1 for a clean network. */
  readonly coalesceFrames?: number
  /** False: audio plays without the lineage's hold-back (80 ms at first, then 40 ms). Default: true. */
  readonly holdsBack?: boolean
}

export interface ForkClosed {
  /** The side that ended the socket. */
  readonly by: 'gateway' | 'carrier' | 'network'
  /** Close code received from the peer; null if there was no close frame. */
  readonly code: number | null
  readonly reason: string
}

interface ForkConnectionEvents {
  readonly onMessage: (data: Buffer, isBinary: boolean) => void
  readonly onClosed: (closed: ForkClosed) => void
}

/** Opens the connection of a fork. @throws HandshakeRefused if the only attempt fails */
export type ConnectFork = (options: HandshakeOptions) => Promise<ForkConnection>

export class AudioFork {
  readonly playout: PlayoutQueue
  readonly buffer: ForkBuffer
  /** Counts of one media socket. */
  readonly counters = {
    messagesSent: 0,
    messagesReceived: 0,
    kills: 0,
    marksPlayed: 0,
  }
  /** End of the socket; null while the socket is open. */
  closed: ForkClosed | null = null
  readonly #connection: ForkConnection
  readonly #options: AudioForkOptions
  readonly #onClosed: (closed: ForkClosed) => void
  #stalledUntilMs = 0
  #framesWaiting = 0
  #framesCaptured = 0
  #firstTextSent = false

  /**
   * Opens a media socket and sends the first text.
   * @throws HandshakeRefused if the only attempt fails
   */
  static async connect(
    options: AudioForkOptions,
    onClosed: (closed: ForkClosed) => void = () => undefined,
    connect: ConnectFork = openMediaSocket,
  ): Promise<AudioFork> {
    return new AudioFork(await connect(options), options, onClosed)
  }

  private constructor(connection: ForkConnection, options: AudioForkOptions, onClosed: (closed: ForkClosed) => void) {
    this.#connection = connection
    this.#options = options
    this.#onClosed = onClosed
    this.playout = new PlayoutQueue(options.holdsBack ?? true)
    this.buffer = new ForkBuffer({ sampleRateHz: options.sampleRateHz, channels: options.channels })
    if ((options.framesBeforeFirstText ?? 0) === 0) this.#sendFirstText()
    connection.listen({
      onMessage: (data, isBinary) => this.#onMessage(data, isBinary),
      onClosed: (closed) => this.#end(closed),
    })
  }

  /** Buffers 20 ms of the leg's audio, interleaved for two channels. `flush` sends it. */
  capture(frame: Int16Array): void {
    if (this.closed !== null) return
    this.buffer.write(frame)
    this.#framesWaiting++
    this.#framesCaptured++
  }

  /** Sends all buffered audio as one message if the socket can be written to. */
  flush(nowMs: number): void {
    if (this.closed !== null || nowMs < this.#stalledUntilMs) return
    if (this.#framesWaiting < (this.#options.coalesceFrames ?? 1) || this.#connection.isFull) return
    const message = this.buffer.take()
    this.#framesWaiting = 0
    if (message !== null) this.#send(message, true)
    if (!this.#firstTextSent && this.#framesCaptured >= (this.#options.framesBeforeFirstText ?? 0))
      this.#sendFirstText()
  }

  /** Simulates a network stall: no data is sent until `untilMs`, then all buffered audio is sent as one message. */
  stallUntil(untilMs: number): void {
    this.#stalledUntilMs = untilMs
  }

  /** Plays 20 ms of the gateway's audio. Queued audio still plays after the socket has ended. */
  play(out: Int16Array): number {
    const { samples, marks } = this.playout.tick(out)
    for (const name of marks) {
      this.counters.marksPlayed++
      this.#sendMark(name, 'playout')
    }
    return samples
  }

  /**
   * Ends the stream as the module does: sends close 1000 without a reason, then FIN, and does not wait for the peer.
   */
  close(): void {
    if (this.closed !== null) return
    this.#connection.close(1000)
    this.#end({ by: 'carrier', code: 1000, reason: '' })
  }

  /** Ends a lost leg: resets the connection without a close frame. */
  abort(): void {
    this.#connection.abort()
    this.#end({ by: 'carrier', code: null, reason: 'abrupt loss' })
  }

  /** Sends a DTMF digit of the caller as an event beside the audio. @param digit  0-9 * # A-D */
  sendDigit(digit: string): void {
    this.#sendText(JSON.stringify({ event: 'dtmf', dtmf: digit }))
  }

  #sendFirstText(): void {
    this.#firstTextSent = true
    if (this.#options.firstText !== null) this.#sendText(this.#options.firstText)
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (isBinary) {
      this.counters.messagesReceived++
      this.playout.push(data)
      return
    }
    // The lineage reports other types, such as `disconnect` and `transfer`, to its application; the simulator ignores
    // these types.
    const { type, data: mark } = (jsonObject(data) ?? {}) as { type?: unknown; data?: { name?: unknown } | null }
    if (type === 'killAudio') {
      this.counters.kills++
      if (this.#options.honourKill ?? true) this.#sendCleared(this.playout.kill())
    } else if (type === 'mark' && (this.#options.answerMarks ?? true)) {
      if (typeof mark?.name === 'string') this.playout.mark(mark.name)
    } else if (type === 'clearMarks') {
      this.#sendCleared(this.playout.clearMarks())
    }
  }

  #sendCleared(names: readonly string[]): void {
    for (const name of names) this.#sendMark(name, 'cleared')
  }

  #sendMark(name: string, event: 'playout' | 'cleared'): void {
    this.#sendText(JSON.stringify({ type: 'mark', data: { name, event } }))
  }

  #sendText(text: string): void {
    this.#send(Buffer.from(text), false)
  }

  #send(payload: Buffer, isBinary: boolean): void {
    if (this.closed !== null) return
    this.counters.messagesSent++
    this.#connection.send(payload, isBinary)
  }

  #end(closed: ForkClosed): void {
    if (this.closed !== null) return
    this.closed = closed
    this.#onClosed(closed)
  }
}

/** The connection under a fork. */
interface ForkConnection {
  /** True while sent data is still buffered. */
  readonly isFull: boolean
  /** Starts receiving events. Called once. */
  listen(events: ForkConnectionEvents): void
  send(payload: Buffer, isBinary: boolean): void
  /** Ends the connection with a close frame without a reason, and does not wait for the peer. */
  close(code: number): void
  /** Ends the connection without a close frame. */
  abort(): void
}

/** A WebSocket like the one in the carrier's module. */
class MediaWebSocket implements ForkConnection {
  readonly #socket: Socket
  readonly #head: Buffer

  /** @param head  bytes that arrived after the response head */
  constructor(socket: Socket, head: Buffer) {
    this.#socket = socket
    this.#head = head
  }

  get isFull(): boolean {
    return this.#socket.writableNeedDrain
  }

  listen({ onMessage, onClosed }: ForkConnectionEvents): void {
    const lost = (reason: string): void => {
      this.#letGo()
      onClosed({ by: 'network', code: null, reason })
    }
    const limits = { isServer: false, maxPayload: MESSAGE_BYTES_MAX, maxFragments: FRAGMENTS_MAX }
    const receiver = new framing.Receiver(limits)
    receiver.on('message', onMessage)
    receiver.on('ping', (data: Buffer) => this.#write(OPCODE.pong, Buffer.from(data)))
    // The server's close frame; code 1005 if the frame has no code. The lineage echoes the code without the reason.
    receiver.on('conclude', (code: number, reason: Buffer) => {
      this.close(code)
      onClosed({ by: 'gateway', code: code === 1005 ? null : code, reason: reason.toString('utf8') })
    })
    receiver.on('error', () => lost('a frame of the gateway could not be read'))
    this.#socket.on('data', (chunk: Buffer) => receiver.write(chunk))
    this.#socket.on('error', () => lost('the connection broke'))
    this.#socket.on('close', () => lost('the connection ended without a close frame'))
    if (this.#head.length > 0) receiver.write(this.#head)
    this.#socket.resume()
  }

  send(payload: Buffer, isBinary: boolean): void {
    this.#write(isBinary ? OPCODE.binary : OPCODE.text, payload)
  }

  close(code: number): void {
    const payload = Buffer.alloc(code === 1005 ? 0 : 2)
    if (payload.length > 0) payload.writeUInt16BE(code)
    this.#write(OPCODE.close, payload)
    this.#socket.end()
    this.#letGo()
  }

  abort(): void {
    resetConnection(this.#socket)
  }

  #write(opcode: number, payload: Buffer): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return
    this.#socket.cork()
    // Makes one whole, masked, unfragmented frame. Masking overwrites `payload`.
    const frame = framing.Sender.frame(payload, { fin: true, mask: true, opcode, readOnly: false })
    for (const part of frame) this.#socket.write(part)
    this.#socket.uncork()
  }

  /**
   * Without this step, a peer that never closes its half of the connection would keep the connection and this process
   * alive.
   */
  #letGo(): void {
    this.#socket.setTimeout(2000, () => {
      this.#socket.destroy()
    })
  }
}

/**
 * The two framing classes of the `ws` package, which exports them without types. The package's own client is not used:
 * unlike the carrier, it adds headers, offers extensions and waits for the close frame.
 */
interface FramingClasses {
  readonly Sender: {
    frame(data: Buffer, options: { fin: boolean; mask: boolean; opcode: number; readOnly: boolean }): Buffer[]
  }
  readonly Receiver: new (options: { isServer: boolean; maxPayload: number; maxFragments: number }) => Writable
}

// The package's types leave both classes out; the shape above is taken from ws 8.23.
const framing = ws as unknown as FramingClasses

const OPCODE = { text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const

/** Maximum size of a message: ten minutes of audio. The lineage accepts messages of any size. */
const MESSAGE_BYTES_MAX = 32 * 1024 * 1024
const FRAGMENTS_MAX = 64 * 1024

/** Duration in seconds of audio that the fork module buffers while its socket cannot be written to. */
const BUFFER_S = 2
/**
 * Additional bytes of the module's buffer above two seconds: in a stall of 2.5 s the module was observed to lose 64,016
 * bytes.
 */
const BUFFER_SLACK_BYTES = 16

/**
 * Caller audio that waits for the socket, to be sent as one message. As in the lineage, a full buffer is discarded as a
 * whole, and then fills again.
 */
export class ForkBuffer {
  bytesDropped = 0
  readonly #bytes: Buffer
  #filledBytes = 0

  constructor(options: { readonly sampleRateHz: number; readonly channels: number }) {
    const bytes = BUFFER_S * options.sampleRateHz * options.channels * BYTES_PER_SAMPLE + BUFFER_SLACK_BYTES
    this.#bytes = Buffer.alloc(bytes)
  }

  /** Appends `samples` as s16le. */
  write(samples: Int16Array): void {
    if (this.#filledBytes + samples.byteLength <= this.#bytes.length) {
      this.#bytes.set(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength), this.#filledBytes)
      this.#filledBytes += samples.byteLength
      return
    }
    for (const sample of samples) {
      if (this.#filledBytes + BYTES_PER_SAMPLE > this.#bytes.length) {
        this.bytesDropped += this.#filledBytes
        this.#filledBytes = 0
      }
      this.#bytes.writeInt16LE(sample, this.#filledBytes)
      this.#filledBytes += BYTES_PER_SAMPLE
    }
  }

  /** Removes and returns all buffered audio as a copy for the calling code; null if the buffer is empty. */
  take(): Buffer | null {
    if (this.#filledBytes === 0) return null
    const message = Buffer.from(this.#bytes.subarray(0, this.#filledBytes))
    this.#filledBytes = 0
    return message
  }
}

/** RFC 6455 section 4.2.2. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** Maximum size of a response head in bytes; a longer head is refused. */
const RESPONSE_HEAD_BYTES_MAX = 16 * 1024

const SUBPROTOCOL = 'audio.drachtio.org'

interface HandshakeOptions {
  /** `ws://` or `wss://`; path and query are sent as given. */
  readonly url: string
  readonly timeoutMs: number
}

/** Error for an upgrade that was refused or not answered. `status` is null without an HTTP answer. */
export class HandshakeRefused extends Error {
  readonly status: number | null

  constructor(status: number | null, message: string) {
    super(message)
    this.name = 'HandshakeRefused'
    this.status = status
  }
}

/**
 * Headers of the upgrade as libwebsockets 4.1 writes them for the fork module: exactly these, in this order. There are
 * no extensions, and Host has no port.
 */
function handshakeHeaders(url: URL, key: string): string[] {
  return [
    ...['Pragma', 'no-cache'],
    ...['Cache-Control', 'no-cache'],
    ...['Host', url.hostname],
    ...['Origin', `http${url.protocol === 'wss:' ? 's' : ''}://${url.hostname}`],
    ...['Upgrade', 'websocket'],
    ...['Connection', 'Upgrade'],
    ...['Sec-WebSocket-Key', key],
    ...['Sec-WebSocket-Protocol', SUBPROTOCOL],
    ...['Sec-WebSocket-Version', '13'],
  ]
}

/**
 * Opens the media socket with one attempt: the lineage never repeats a handshake.
 * @throws HandshakeRefused if the answer is not an upgrade, or has a wrong subprotocol or accept key
 */
async function openMediaSocket(options: HandshakeOptions): Promise<ForkConnection> {
  const url = new URL(options.url)
  if (!/^wss?:$/.test(url.protocol))
    throw new HandshakeRefused(null, `the url of the Stream verb has the scheme ${url.protocol} and not ws: or wss:`)
  const key = randomBytes(16).toString('base64')
  const { answer, socket, head } = await upgraded(url, handshakeHeaders(url, key), options.timeoutMs)
  try {
    checkAnswer(answer, key)
    return new MediaWebSocket(socket.setNoDelay(true), head)
  } catch (thrown) {
    socket.destroy()
    throw thrown
  }
}

interface Upgraded {
  readonly answer: IncomingMessage
  readonly socket: Socket
  /** Bytes after the answer's head. */
  readonly head: Buffer
}

/** @throws HandshakeRefused */
function upgraded(url: URL, headers: string[], timeoutMs: number): Promise<Upgraded> {
  const secure = url.protocol === 'wss:'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return new Promise((resolve, reject) => {
    const request = (secure ? requestTls : requestTcp)({
      host,
      port: url.port === '' ? (secure ? 443 : 80) : url.port,
      path: `${url.pathname}${url.search}`,
      headers,
      setHost: false,
      agent: false,
      maxHeaderSize: RESPONSE_HEAD_BYTES_MAX,
      ...(secure ? { servername: host } : {}),
    })
    const timer = setTimeout(() => {
      request.destroy(new Error(`no answer to the upgrade within ${timeoutMs} ms`))
    }, timeoutMs)
    request.once('upgrade', (answer: IncomingMessage, socket: Socket, head: Buffer) => {
      clearTimeout(timer)
      socket.pause()
      resolve({ answer, socket, head })
    })
    request.once('response', ({ statusCode = 0, statusMessage = '' }) => {
      clearTimeout(timer)
      request.destroy()
      reject(
        new HandshakeRefused(statusCode, `the upgrade was answered with "HTTP/1.1 ${statusCode} ${statusMessage}"`),
      )
    })
    request.on('error', (error) => {
      clearTimeout(timer)
      reject(new HandshakeRefused(null, `no connection to the media socket: ${messageOf(error)}`))
    })
    request.end()
  })
}

/** @throws HandshakeRefused */
function checkAnswer({ headers }: IncomingMessage, key: string): void {
  const accept = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64')
  if (headers['sec-websocket-accept'] !== accept) throw new HandshakeRefused(101, 'Sec-WebSocket-Accept is wrong')
  const chosen = headers['sec-websocket-protocol']
  // The lineage's build was observed to accept an answer without a subprotocol, but not with a wrong one.
  if (chosen !== undefined && chosen !== SUBPROTOCOL)
    throw new HandshakeRefused(101, `the subprotocol ${chosen} was never offered`)
  if (headers['sec-websocket-extensions'] !== undefined)
    throw new HandshakeRefused(101, 'an extension that was never offered')
}

/**
 * Ends a connection as if its host had disappeared. A connection that is ending is only destroyed: libuv refuses to
 * reset it, and Node 22 would never exit.
 */
export function resetConnection(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
