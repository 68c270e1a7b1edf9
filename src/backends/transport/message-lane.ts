import { randomFillSync } from 'node:crypto'
import type { ClientRequestArgs } from 'node:http'
import { connect as connectPlain, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectSecure } from 'node:tls'
import { Views } from '../../core/views.js'

const FINAL = 0x80
const MASKED = 0x80
const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const PING = 9
const PONG = 10
const WHOLE_TEXT = FINAL | TEXT
const WHOLE_BINARY = FINAL | BINARY
const LENGTH_16 = 126
const LENGTH_64 = 127
const UINT32 = 2 ** 32

/** What one read takes at most; Node's own reads are as long. */
const READ_BYTES = 64 * 1024
// All sockets of a thread read into one place: what came is dealt with before the next read.
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)
const messages = new Views(readBuffer)

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
   * Sends a text message of an open WebSocket in one write.
   * @returns false when it has to go through `ws`
   */
  send(message: string): boolean {
    const length = Buffer.byteLength(message)
    const writer = this.#writerFor(length)
    if (writer === null) return false
    this.#write(writer.text(message, length))
    return true
  }

  /**
   * The same for a message of JSON around the base64 of `length` bytes of `audio`; `before` and `after` are ASCII.
   * @returns false when it has to go through `ws`
   */
  sendAudio(before: string, audio: Buffer, length: number, after: string): boolean {
    const writer = this.#writerFor(before.length + base64Chars(length) + after.length)
    if (writer === null) return false
    this.#write(writer.audio(before, audio, length, after))
    return true
  }

  #writerFor(bytes: number): FrameWriter | null {
    const socket = this.#socket
    // The frame's memory is free when everything before it was written.
    if (socket === null || !this.#opened || socket.writableLength !== 0 || !FrameWriter.takes(bytes)) return null
    return this.#writer ?? frameWriter
  }

  #write(frame: Buffer): void {
    const socket = this.#socket as Socket // `#writerFor` has looked
    socket.write(frame)
    // Under TLS every frame waits a moment, so such a socket keeps the memory that its first one is in.
    if (socket.writableLength !== 0 && this.#writer === null) {
      this.#writer = frameWriter
      frameWriter = new FrameWriter()
    }
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

/**
 * Knows where the frames of a WebSocket server begin and end (RFC 6455, 5.2), in bytes that come in pieces of any size, and which
 * of them are whole messages that need no protocol: text or binary, in one frame, without an extension, and all of it here.
 * Anything that a server must not send, and the frame that closes, ends the search for good. No memory of the bytes is kept.
 */
export class FrameScanner {
  /** The last step was a whole message, with its payload at `from` to `to`. */
  whole = false
  from = 0
  to = 0
  /** Bytes that the frame which has begun still has to come, its header apart. */
  #owed = 0
  /** Header of the frame that has begun: bytes that came, and what they said. */
  #headBytes = 0
  #firstByte = 0
  #shortLength = 0
  #length = 0
  /** Between the first and the last frame of a message in several. */
  #fragmented = false
  #blind = false

  /** No whole message is found any more. */
  stop(): void {
    this.#blind = true
  }

  /**
   * One step over the bytes `at` to `end`, which follow those of the last call: `whole` says over what.
   * @returns where the step ends, beyond `at` unless that is `end`
   */
  next(bytes: Uint8Array, at: number, end: number): number {
    this.whole = false
    if (this.#blind) return end
    if (this.#owed > 0) {
      const step = Math.min(this.#owed, end - at)
      this.#owed -= step
      return at + step
    }
    if (this.#headBytes === 0 && !this.#fragmented && this.#plain(bytes, at, end)) return this.to
    while (at < end) if (this.#head(bytes[at++] as number)) break
    return this.#blind ? end : at
  }

  /** A frame that is a message, and its end is here. */
  #plain(bytes: Uint8Array, at: number, end: number): boolean {
    if (end - at < 2) return false
    const first = bytes[at]
    if (first !== WHOLE_TEXT && first !== WHOLE_BINARY) return false
    let length = bytes[at + 1] as number
    let from = at + 2
    if (length === LENGTH_16 && end - at >= 4) {
      length = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
      from = at + 4
    } else if (length >= LENGTH_16) {
      return false
    }
    if (from + length > end) return false
    this.from = from
    this.to = from + length
    this.whole = true
    return true
  }

  /** One byte of a header. @returns true for its last one, or when nothing more is to be known */
  #head(byte: number): boolean {
    const place = this.#headBytes++
    if (place === 0) {
      this.#firstByte = byte
      return false
    }
    if (place === 1) {
      this.#shortLength = byte
      this.#length = byte < LENGTH_16 ? byte : 0
      if ((byte & MASKED) !== 0 || !this.#follows(this.#firstByte)) {
        this.#blind = true
        return true
      }
    } else {
      this.#length = this.#length * 256 + byte
    }
    const last = this.#shortLength < LENGTH_16 ? 1 : this.#shortLength < LENGTH_64 ? 3 : 9
    if (place < last) return false
    // Lengths beyond this are refused by everyone; sums of them would no longer be exact.
    this.#blind = this.#length >= UINT32
    this.#owed = this.#length
    this.#headBytes = 0
    return true
  }

  /** Whether a frame may follow here, and what it means for the next one. */
  #follows(firstByte: number): boolean {
    const final = (firstByte & FINAL) !== 0
    switch (firstByte & ~FINAL) {
      case TEXT:
      case BINARY:
        if (this.#fragmented) return false
        this.#fragmented = !final
        return true
      case CONTINUATION:
        if (!this.#fragmented) return false
        this.#fragmented = !final
        return true
      case PING:
      case PONG: return final
      default: return false
    }
  }
}

const LENGTHS_16 = 1 << 16
/** Two bytes of opcode and length, two of a longer length, four of the key: a payload begins at a whole word. */
const HEADER_BYTES = 8

// Keys must not be foreseen (RFC 6455, 10.3): fresh from the system, many at a time, used once each by all sockets of a thread.
const keys = new Int32Array(1024)
let keysUsed = keys.length

function nextKey(): number {
  if (keysUsed === keys.length) {
    randomFillSync(keys)
    keysUsed = 0
  }
  return keys[keysUsed++] as number
}

/** Characters of the base64 of so many bytes, with padding. */
function base64Chars(bytes: number): number {
  return Math.ceil(bytes / 3) * 4
}

/** Frames of a WebSocket client (RFC 6455, 5.2), in one memory that is used again: each frame overwrites the one before. */
class FrameWriter {
  #frame: Buffer = Buffer.alloc(0)
  #words: Int32Array = new Int32Array(0)
  #views = new Views(this.#frame)

  /** Whether a payload of this length has the form of header that is written here. */
  static takes(bytes: number): boolean {
    return bytes >= LENGTH_16 && bytes < LENGTHS_16
  }

  /**
   * The frame of a text message.
   * @param length  its bytes in UTF-8, which `takes` must accept
   */
  text(message: string, length: number): Buffer {
    const frame = this.#begin(length)
    // In ASCII, as nearly all of it is, by one copy.
    frame.write(message, HEADER_BYTES, length === message.length ? 'latin1' : 'utf8')
    return this.#masked(length)
  }

  /** The frame of a text message: the base64 of `length` bytes of `audio` between two pieces of ASCII. */
  audio(before: string, audio: Buffer, length: number, after: string): Buffer {
    const chars = base64Chars(length)
    const bytes = before.length + chars + after.length
    const frame = this.#begin(bytes)
    const at = HEADER_BYTES + before.length
    frame.write(before, HEADER_BYTES, 'latin1')
    frame.write(audio.toString('base64', 0, length), at, 'latin1')
    frame.write(after, at + chars, 'latin1')
    return this.#masked(bytes)
  }

  /** The memory of a frame with its header but for the key. */
  #begin(length: number): Buffer {
    const end = HEADER_BYTES + length
    if (this.#frame.length < end) this.#grow(end)
    const frame = this.#frame
    frame[0] = WHOLE_TEXT
    frame[1] = MASKED | LENGTH_16
    frame[2] = length >> 8
    frame[3] = length
    return frame
  }

  #masked(length: number): Buffer {
    const end = HEADER_BYTES + length
    const words = this.#words
    const key = nextKey()
    words[1] = key
    // By whole words, beyond the end too; four at a time, which is a third faster and needs no native module.
    for (let i = HEADER_BYTES / 4; i < end / 4; i += 4) {
      words[i] = (words[i] as number) ^ key
      words[i + 1] = (words[i + 1] as number) ^ key
      words[i + 2] = (words[i + 2] as number) ^ key
      words[i + 3] = (words[i + 3] as number) ^ key
    }
    return this.#views.at(0, end)
  }

  #grow(bytes: number): void {
    // Room for what the mask touches past the end.
    const words = Math.ceil(bytes / 16) * 4 + 4
    this.#frame = Buffer.allocUnsafeSlow(words * 4)
    this.#words = new Int32Array(this.#frame.buffer, this.#frame.byteOffset, words)
    this.#views = new Views(this.#frame)
  }
}

// All sockets of a thread write from one place, as long as the kernel takes a frame at once.
let frameWriter = new FrameWriter()
