/**
 * The media socket as the carrier's fork module holds it: raw handshake, one text frame, caller audio in 20 ms frames
 * that pile up while the socket cannot be written to, a playout queue with a hold-back, `killAudio`, marks, and ends
 * of its own kind. Figures and oddities are those of docs/SIMULATOR.md.
 *
 * | state      | left by                                   | to         |
 * |------------|-------------------------------------------|------------|
 * | open       | `shutDownGracefully()`                    | silent     |
 * | open       | `close()`, `abort()`, server, network     | closed     |
 * | silent     | server, network, `abort()`                | closed     |
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { parseJsonSequence } from './json-sequence.js'
import { OPCODE, clientFrame, frameParser } from './client-framing.js'
import { ForkBuffer } from './fork-buffer.js'
import { openMediaSocket, type HandshakeOptions, type OpenedSocket } from './handshake.js'
import { PlayoutQueue } from './playout-queue.js'

/** What a leg's audio looks like on the socket. */
export type TrackLayout = 'mono' | 'mixed' | 'stereo'

export interface AudioForkOptions extends HandshakeOptions {
  /** Rate of the audio that goes out. */
  readonly sampleRateHz: 8000 | 16000
  readonly channels: 1 | 2
  /** Text right after the connection, before any audio; null sends none. */
  readonly firstText: string | null
  /** Audio frames that go out before the first text, against the lineage's habit. */
  readonly framesBeforeFirstText?: number
  /** False: the carrier ignores `killAudio`, as nobody has proved that this one honours it. */
  readonly honourKill?: boolean
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

export interface AudioForkEvents {
  onClosed?(closed: ForkClosed): void
  /** `disconnect`, `transfer` and whatever else the lineage only reports upward. */
  onCommand?(type: string): void
  onKill?(): void
}

/** How much of what was seen on one media socket. */
export interface ForkCounters {
  messagesSent: number
  bytesSent: number
  messagesReceived: number
  bytesReceived: number
  textsReceived: number
  kills: number
  marksPlayed: number
  marksCleared: number
  /** Text that is no JSON, or JSON without a type. */
  textsUnknown: number
  pings: number
}

export class AudioFork {
  readonly playout = new PlayoutQueue()
  readonly buffer: ForkBuffer
  readonly requestText: string
  readonly responseHeaders: ReadonlyMap<string, string>
  readonly counters: ForkCounters = {
    messagesSent: 0, bytesSent: 0, messagesReceived: 0, bytesReceived: 0, textsReceived: 0, kills: 0, marksPlayed: 0,
    marksCleared: 0, textsUnknown: 0, pings: 0,
  }
  readonly #socket: Socket
  readonly #parser: Writable
  readonly #options: AudioForkOptions
  readonly #events: AudioForkEvents
  #closed: ForkClosed | null = null
  #silent = false
  #stalledUntilMs = 0
  #framesWaiting = 0
  #framesCaptured = 0
  #firstTextSent = false

  /**
   * Opens a media socket and sends the first text.
   * @throws HandshakeRefused; there is one try only.
   */
  static async connect(options: AudioForkOptions, events: AudioForkEvents = {}): Promise<AudioFork> {
    return new AudioFork(await openMediaSocket(options), options, events)
  }

  private constructor(opened: OpenedSocket, options: AudioForkOptions, events: AudioForkEvents) {
    this.#socket = opened.socket
    this.#options = options
    this.#events = events
    this.requestText = opened.requestText
    this.responseHeaders = opened.headers
    this.buffer = new ForkBuffer({ sampleRateHz: options.sampleRateHz, channels: options.channels })
    this.#parser = frameParser({
      onMessage: (data, isBinary) => { this.#onMessage(data, isBinary) },
      onPing: (data) => {
        this.counters.pings++
        this.#write(OPCODE.pong, Buffer.from(data))
      },
      onPong: () => undefined,
      onClose: (code, reason) => { this.#onServerClose(code, reason) },
      onError: () => { this.#end({ by: 'network', code: null, reason: 'a frame of the gateway could not be read' }) },
    })
    this.#socket.on('data', (chunk: Buffer) => { this.#parser.write(chunk) })
    this.#socket.on('error', () => { this.#end({ by: 'network', code: null, reason: 'the connection broke' }) })
    this.#socket.on('close', () => { this.#end({ by: 'network', code: null, reason: 'the connection ended without a close frame' }) })
    if ((options.framesBeforeFirstText ?? 0) === 0) this.#sendFirstText()
    if (opened.head.length > 0) this.#parser.write(opened.head)
    this.#socket.resume()
  }

  /** How the socket ended; null while it is open. */
  get closed(): ForkClosed | null { return this.#closed }

  /** Takes 20 ms of the leg, interleaved when there are two channels. Call `flush` after it. */
  capture(frame: Int16Array): void {
    if (this.#closed !== null || this.#silent) return
    this.buffer.write(frame)
    this.#framesWaiting++
    this.#framesCaptured++
  }

  /** Sends all that waits as one message, if the socket takes it now. */
  flush(nowMs: number): void {
    if (this.#closed !== null || this.#silent || nowMs < this.#stalledUntilMs) return
    if (this.#framesWaiting < (this.#options.coalesceFrames ?? 1) || this.#socket.writableNeedDrain) return
    const message = this.buffer.take()
    this.#framesWaiting = 0
    if (message !== null) {
      this.counters.bytesSent += message.length
      this.#send(OPCODE.binary, message)
    }
    if (!this.#firstTextSent && this.#framesCaptured >= (this.#options.framesBeforeFirstText ?? 0)) this.#sendFirstText()
  }

  /** Nothing leaves until `untilMs`, as when the network stands still; what waits goes out as one message then. */
  stallUntil(untilMs: number): void {
    this.#stalledUntilMs = untilMs
  }

  /** Plays 20 ms of what the gateway sent; goes on after the socket's end while anything is queued. */
  play(out: Int16Array): number {
    const { samples, marks } = this.playout.tick(out)
    for (const name of marks) {
      this.counters.marksPlayed++
      this.#sendMark(name, 'playout')
    }
    return samples
  }

  /** A text of the carrier's own, such as a key pressed on another build of the module. */
  sendText(text: string): void {
    this.#send(OPCODE.text, Buffer.from(text))
  }

  /**
   * An empty binary message, then nothing more. From here on the module can neither send text nor close: the socket
   * stays until the gateway ends it.
   */
  shutDownGracefully(): void {
    if (this.#closed !== null || this.#silent) return
    this.#send(OPCODE.binary, Buffer.alloc(0))
    this.#silent = true
  }

  /** Ends the stream as the module does: final text, close 1000 without a reason, and FIN without waiting. */
  close(finalText?: string): void {
    if (this.#closed !== null || this.#silent) return
    if (finalText !== undefined) this.sendText(finalText)
    this.#sendClose(1000)
    this.#socket.end()
    this.#end({ by: 'carrier', code: 1000, reason: '' })
  }

  /** The leg is lost: the connection goes without a word. */
  abort(): void {
    this.#socket.resetAndDestroy()
    this.#end({ by: 'carrier', code: null, reason: 'abrupt loss' })
  }

  #sendFirstText(): void {
    this.#firstTextSent = true
    if (this.#options.firstText !== null) this.sendText(this.#options.firstText)
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (isBinary) {
      this.counters.messagesReceived++
      this.counters.bytesReceived += data.length
      this.playout.push(data)
      return
    }
    this.counters.textsReceived++
    const values = parseJsonSequence(data.toString('utf8'))
    if (values.length === 0) this.counters.textsUnknown++
    for (const value of values) this.#onCommand(value)
  }

  #onCommand(value: Readonly<Record<string, unknown>>): void {
    const type = value['type']
    if (type === 'killAudio') {
      this.counters.kills++
      if (this.#options.honourKill ?? true) this.#sendCleared(this.playout.kill())
      this.#events.onKill?.()
    } else if (type === 'mark') {
      const data = value['data']
      const name = typeof data === 'object' && data !== null ? (data as Readonly<Record<string, unknown>>)['name'] : null
      if (typeof name === 'string') this.playout.mark(name)
    } else if (type === 'clearMarks') {
      this.#sendCleared(this.playout.clearMarks())
    } else if (typeof type === 'string') {
      this.#events.onCommand?.(type)
    } else {
      this.counters.textsUnknown++
    }
  }

  #sendCleared(names: readonly string[]): void {
    for (const name of names) {
      this.counters.marksCleared++
      this.#sendMark(name, 'cleared')
    }
  }

  #sendMark(name: string, event: 'playout' | 'cleared'): void {
    this.sendText(JSON.stringify({ type: 'mark', data: { name, event } }))
  }

  #onServerClose(code: number, reason: string): void {
    if (this.#closed !== null) return
    // The lineage echoes the code and leaves the reason out.
    this.#sendClose(code)
    this.#socket.end()
    this.#end({ by: 'gateway', code: code === 1005 ? null : code, reason })
  }

  #sendClose(code: number): void {
    const payload = Buffer.alloc(code === 1005 ? 0 : 2)
    if (payload.length > 0) payload.writeUInt16BE(code)
    this.#write(OPCODE.close, payload)
  }

  #send(opcode: number, payload: Buffer): void {
    if (this.#closed !== null || this.#silent) return
    this.counters.messagesSent++
    this.#write(opcode, payload)
  }

  #write(opcode: number, payload: Buffer): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return
    this.#socket.cork()
    for (const part of clientFrame(opcode, payload)) this.#socket.write(part)
    this.#socket.uncork()
  }

  #end(closed: ForkClosed): void {
    if (this.#closed !== null) return
    this.#closed = closed
    // A peer that never closes its half would keep the connection, and the process, alive.
    this.#socket.setTimeout(2000, () => { this.#socket.destroy() })
    this.#events.onClosed?.(closed)
  }
}
