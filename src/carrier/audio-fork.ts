/**
 * The carrier's side of the media socket, modelled on the carrier's fork module: raw handshake, one text frame, caller
 * audio in 20 ms frames that are buffered while the socket cannot be written to, a playout queue with a hold-back,
 * `killAudio`, marks, and the module's ways to end. docs/SIMULATOR.md has the figures. "The lineage" is the open-source
 * code that the carrier's module is built on.
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
  /** Rate of the audio that goes out. */
  readonly sampleRateHz: 8000 | 16000
  readonly channels: 1 | 2
  /** Text right after the connection, before any audio; null sends none. */
  readonly firstText: string | null
  /** Audio frames that go out before the first text; the lineage sends the text first. */
  readonly framesBeforeFirstText?: number
  /** False: the carrier ignores `killAudio`. It is not known whether Sautikit honours it. */
  readonly honourKill?: boolean
  /** False: the carrier ignores marks. It is not known whether Sautikit answers them. */
  readonly answerMarks?: boolean
  /** Frames that go out as one message: 1 is a clean network. */
  readonly coalesceFrames?: number
}

export interface ForkClosed {
  /** Who ended the socket. */
  readonly by: 'gateway' | 'carrier' | 'network'
  /** Close code that was seen on the wire; null without a close frame. */
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
  readonly playout = new PlayoutQueue()
  readonly buffer: ForkBuffer
  /** Counts of one media socket. */
  readonly counters = {
    messagesSent: 0,
    messagesReceived: 0,
    kills: 0,
    marksPlayed: 0,
  }
  /** How the socket ended; null while it is open. */
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

  /** Simulates a network stall: nothing is sent until `untilMs`, then all buffered audio goes out as one message. */
  stallUntil(untilMs: number): void {
    this.#stalledUntilMs = untilMs
  }

  /** Plays 20 ms of what the gateway sent. Queued audio still plays after the socket has ended. */
  play(out: Int16Array): number {
    const { samples, marks } = this.playout.tick(out)
    for (const name of marks) {
      this.counters.marksPlayed++
      this.#sendMark(name, 'playout')
    }
    return samples
  }

  /** Ends the stream as the module does: close 1000 without a reason, and FIN without waiting. */
  close(): void {
    if (this.closed !== null) return
    this.#connection.close(1000)
    this.#end({ by: 'carrier', code: 1000, reason: '' })
  }

  /** The leg is lost: resets the connection without a close frame. */
  abort(): void {
    this.#connection.abort()
    this.#end({ by: 'carrier', code: null, reason: 'abrupt loss' })
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
    // The lineage reports other types, such as `disconnect` and `transfer`, to its application; nothing listens here.
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
  /** True while what was sent has not left. */
  readonly isFull: boolean
  /** Receives from now on. Once. */
  listen(events: ForkConnectionEvents): void
  send(payload: Buffer, isBinary: boolean): void
  /** Ends it with a close frame without a reason, and without waiting for the other side. */
  close(code: number): void
  /** Ends it without a close frame. */
  abort(): void
}

/** A WebSocket like that of the carrier's module. */
class MediaWebSocket implements ForkConnection {
  readonly #socket: Socket
  readonly #head: Buffer

  /** @param head  bytes that came after the response head */
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
    // The server's close frame; 1005 where it has no code. The lineage echoes the code without the reason.
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
    // One whole, masked, unfragmented frame; `payload` is overwritten by its mask.
    const frame = framing.Sender.frame(payload, { fin: true, mask: true, opcode, readOnly: false })
    for (const part of frame) this.#socket.write(part)
    this.#socket.uncork()
  }

  /** Without this, a peer that never closes its half would keep the connection and the process alive. */
  #letGo(): void {
    this.#socket.setTimeout(2000, () => {
      this.#socket.destroy()
    })
  }
}

/**
 * The two framing classes of the `ws` package, which exports them but does not type them. Its own client cannot be
 * used: it adds headers, offers extensions and waits for the server's close frame. The carrier does none of this.
 */
interface FramingClasses {
  readonly Sender: {
    frame(data: Buffer, options: { fin: boolean; mask: boolean; opcode: number; readOnly: boolean }): Buffer[]
  }
  readonly Receiver: new (options: { isServer: boolean; maxPayload: number; maxFragments: number }) => Writable
}

// The package's types leave both classes out; the shape above is that of ws 8.23.
const framing = ws as unknown as FramingClasses

const OPCODE = { text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const

/** The lineage takes messages of any size; the bound here is ten minutes of audio in one message. */
const MESSAGE_BYTES_MAX = 32 * 1024 * 1024
const FRAGMENTS_MAX = 64 * 1024

/** Length of audio that the fork module buffers while its socket cannot be written to. */
const BUFFER_S = 2
/**
 * The module's buffer is this much larger than two seconds: in a stall of 2.5 s it was observed to lose 64,016 bytes.
 */
const BUFFER_SLACK_BYTES = 16

/**
 * Caller audio that waits for the socket. All of it is sent as one message. As in the carrier's lineage, a full buffer
 * is discarded as a whole, even in the middle of a frame, and then fills again.
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

  /** Removes and returns all buffered audio as a copy that the caller owns; null if the buffer is empty. */
  take(): Buffer | null {
    if (this.#filledBytes === 0) return null
    const message = Buffer.from(this.#bytes.subarray(0, this.#filledBytes))
    this.#filledBytes = 0
    return message
  }
}

/** RFC 6455 section 4.2.2. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** A response head longer than this is refused. */
const RESPONSE_HEAD_BYTES_MAX = 16 * 1024

const SUBPROTOCOL = 'audio.drachtio.org'

interface HandshakeOptions {
  /** `ws://` or `wss://`; path and query go out as given. */
  readonly url: string
  readonly timeoutMs: number
}

/** The upgrade was refused or not answered. `status` is null if there was no HTTP answer. */
export class HandshakeRefused extends Error {
  readonly status: number | null

  constructor(status: number | null, message: string) {
    super(message)
    this.name = 'HandshakeRefused'
    this.status = status
  }
}

/**
 * The headers of the upgrade as libwebsockets 4.1 writes them for the fork module: these, in this order, no others, no
 * extensions, and no port in Host.
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
 * Opens the media socket. There is one attempt, because the lineage never repeats a handshake.
 * @throws HandshakeRefused if the answer is not an upgrade, names another subprotocol or has the wrong accept key
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
  // The lineage's build was observed to accept an answer without a subprotocol, but not one with another name.
  if (chosen !== undefined && chosen !== SUBPROTOCOL)
    throw new HandshakeRefused(101, `the subprotocol ${chosen} was never offered`)
  if (headers['sec-websocket-extensions'] !== undefined)
    throw new HandshakeRefused(101, 'an extension that was never offered')
}

/**
 * Ends a connection as if its host were gone. One that is being ended already is only destroyed: libuv refuses to reset
 * it, and Node 20 and 22 then wait for its handle for ever when the process exits.
 */
export function resetConnection(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
