import type { ClientRequestArgs } from 'node:http'
import { connect as connectPlain, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectSecure } from 'node:tls'
import { Views } from '../../core/views.js'
import { FrameScanner } from './frame-scanner.js'
import { FrameWriter } from './frame-writer.js'

/** What one read takes at most; Node's own reads are as long. */
const READ_BYTES = 64 * 1024
// All sockets of a thread read into one place: what came is dealt with before the next read.
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)
const messages = new Views(readBuffer)
// And write from one place, as long as the kernel takes a frame at once.
let frameWriter = new FrameWriter()

/**
 * The connection below a WebSocket, for the `createConnection` of `ws`, with a shorter way for most of what comes in: a message that
 * lies whole in what was read is given away where it lies. All else goes to `ws` as bytes of their own, in its order: the answer
 * to the upgrade, messages in pieces, pings, the close, and everything after something that is against the protocol.
 *
 * So the protocol, its errors and the flow control stay those of `ws`, and the usual message costs neither memory nor the way
 * through two streams (docs/LATENCY.md, "A message to a backend and back").
 */
export class MessageLane {
  readonly #message: (data: Buffer) => void
  readonly #frames = new FrameScanner()
  #socket: Socket | null = null
  /** Memory of its own for frames, once one had to wait. */
  #writer: FrameWriter | null = null
  #opened = false
  /** A read is being passed on that may be the answer to the upgrade; of its bytes, so many came behind that. */
  #answering = false
  #early = 0

  /** @param message  gets the payload of a text or binary message; its memory is only valid during the call */
  constructor(message: (data: Buffer) => void) {
    this.#message = message
  }

  /** Opens the connection of a WebSocket as `ws` does by itself, but reads from it otherwise. */
  connect(options: ClientRequestArgs & { readonly servername?: string }, secure: boolean): Socket {
    const onread = { buffer: readBuffer, callback: (bytes: number): boolean => this.#read(bytes) }
    const { host, socketPath, servername } = options
    // In `http` these are of the request; of the connection, `path` is that of a local socket.
    const socket = secure
      ? connectSecure({ ...options, path: undefined, servername: servername ?? (isIP(host ?? '') === 0 ? host : ''), onread } as object)
      : connectPlain({ ...options, path: socketPath, onread } as unknown as Parameters<typeof connectPlain>[0])
    this.#socket = socket
    return socket
  }

  /** The upgrade was answered: to be called while `ws` says so. */
  opened(): void {
    this.#opened = true
    // What came behind the answer waits here for `ws` to take it.
    this.#early = this.#socket?.readableLength ?? 0
    // Bytes of reads before: it is not known where a frame begins.
    if (this.#early > 0 && !this.#answering) this.stop()
  }

  /**
   * Sends a text message of an open WebSocket in one write. `message` may be used again at once.
   * @returns false when it has to go through `ws`
   */
  send(message: Buffer): boolean {
    const socket = this.#socket
    // The frame's memory is free when everything before it was written.
    if (socket === null || !this.#opened || socket.writableLength !== 0 || !FrameWriter.takes(message.length)) return false
    socket.write((this.#writer ?? frameWriter).text(message))
    // Under TLS every frame waits a moment, so such a socket keeps the memory that its first one is in.
    if (socket.writableLength !== 0 && this.#writer === null) {
      this.#writer = frameWriter
      frameWriter = new FrameWriter()
    }
    return true
  }

  /** From now on `ws` gets everything. */
  stop(): void {
    this.#frames.stop()
  }

  /** @returns false when the socket is to read no further, until it is asked to */
  #read(bytes: number): boolean {
    if (this.#opened) return this.#scan(bytes)
    this.#answering = true
    const more = this.#pass(0, bytes)
    this.#answering = false
    if (this.#opened) this.#follow(bytes)
    return more
  }

  /** The first frames, when they came in one read with the answer to the upgrade: `ws` has them. */
  #follow(bytes: number): void {
    let at = bytes - this.#early
    if (at < 0) this.stop()
    else while (at < bytes) at = this.#frames.next(readBuffer, at, bytes)
  }

  #scan(bytes: number): boolean {
    const frames = this.#frames
    let more = true
    // What is before this was given away.
    let kept = 0
    for (let at = 0; at < bytes;) {
      const next = frames.next(readBuffer, at, bytes)
      if (frames.whole) {
        const { from: payload, to } = frames
        if (kept < at) more = this.#pass(kept, at)
        kept = at
        // Nothing may overtake what `ws` has not taken yet.
        if (this.#flows()) {
          kept = next
          this.#message(messages.at(payload, to - payload))
        }
      }
      at = next
    }
    return kept < bytes ? this.#pass(kept, bytes) : more
  }

  #flows(): boolean {
    const socket = this.#socket
    return socket !== null && socket.readableFlowing === true && socket.readableLength === 0
  }

  #pass(from: number, to: number): boolean {
    const socket = this.#socket
    // A message that came before these bytes may have ended it.
    if (socket === null || socket.destroyed) return false
    // Whoever gets it may keep it.
    return socket.push(Buffer.from(readBuffer.subarray(from, to)))
  }
}
