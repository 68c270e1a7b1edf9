import { randomFillSync } from 'node:crypto'
import type { ClientRequestArgs } from 'node:http'
import { connect as connectPlain } from 'node:net'
import type { Socket } from 'node:net'
import { Views } from '../../core/views.js'
import { base64Chars, encodeBase64 } from './base64.js'
import type { TlsClient } from './tls-client.js'

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

/** Maximum number of bytes per read, equal to Node's own reads. */
const READ_BYTES = 64 * 1024
// Buffer for the reads of all sockets of a thread. One buffer is enough, because each read is processed before the next
// read begins.
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)
const messages = new Views(readBuffer)

/**
 * The TCP or TLS connection of a WebSocket, for the `createConnection` option of `ws`. The lane itself delivers most
 * messages: if a message is complete in one read, `message` gets it without a copy. All other bytes are copied and
 * passed to `ws`, in order. These bytes are the response to the upgrade, fragmented messages, pings, the close frame,
 * and all bytes after a protocol violation.
 *
 * So `ws` still handles the protocol, its errors and the flow control. A usual message needs no allocation and does not
 * pass through two streams (docs/LATENCY.md, "What made it cheaper").
 */
export class MessageLane {
  readonly #message: (data: Buffer, binary: boolean) => void
  readonly #frames = new FrameScanner()
  #socket: Socket | null = null
  #secure = false
  /**
   * Separate writer for this plain socket, from the first frame on that the kernel did not accept at once; null before
   * this frame.
   */
  #writer: FrameWriter | null = null
  #opened = false
  /** True while `ws` processes a read that may contain the response to the upgrade. */
  #passingUpgrade = false
  /** Number of bytes after the response in the read that contains it. */
  #earlyBytes = 0

  /**
   * @param message  receives the payload of a text or binary message. The payload's memory is valid only until
   * `message` returns
   */
  constructor(message: (data: Buffer, binary: boolean) => void) {
    this.#message = message
  }

  /**
   * Opens the connection as `ws` does, but with reads into the shared buffer.
   * @param options  options of an HTTP request
   * @param tls  null for a plain connection
   */
  connect(options: ClientRequestArgs & { readonly servername?: string }, tls: TlsClient | null): Socket {
    const onread = { buffer: readBuffer, callback: (bytes: number): boolean => this.#read(bytes) }
    // `path` is removed, because it is the URL's path. For a connection, it would mean the path of a local socket.
    const plain = { ...options, path: options.socketPath, onread } as unknown as Parameters<typeof connectPlain>[0]
    this.#secure = tls !== null
    this.#socket = tls === null ? connectPlain(plain) : tls.connect(options, onread)
    return this.#socket
  }

  /** Records that the upgrade is complete. Called inside the `open` event of `ws`. */
  opened(): void {
    this.#opened = true
    // Bytes after the response stay in the stream until `ws` reads them.
    this.#earlyBytes = this.#socket?.readableLength ?? 0
    // These bytes arrived in earlier reads, so it is not known where a frame begins.
    if (this.#earlyBytes > 0 && !this.#passingUpgrade) this.stop()
  }

  /**
   * Sends a text message of an open WebSocket in one write.
   * @returns false if the message must go through `ws`
   */
  send(message: string): boolean {
    const length = Buffer.byteLength(message)
    const writer = this.#writerFor(length)
    if (writer === null) return false
    this.#write(writer.text(message, length))
    return true
  }

  /**
   * Sends a JSON text in one write: `before`, then `length` bytes of `audio` as base64, then `after`. `before` and
   * `after` are ASCII.
   * @returns false if the message must go through `ws`
   */
  sendAudio(before: string, audio: Buffer, length: number, after: string): boolean {
    const writer = this.#writerFor(before.length + base64Chars(length) + after.length)
    if (writer === null) return false
    this.#write(writer.audio(before, audio, length, after))
    return true
  }

  /**
   * Sends the first `length` bytes of `audio` as a binary message in one write.
   * @returns false if the message must go through `ws`
   */
  sendBytes(audio: Buffer, length: number): boolean {
    const writer = this.#writerFor(length)
    if (writer === null) return false
    this.#write(writer.bytes(audio, length))
    return true
  }

  #writerFor(bytes: number): FrameWriter | null {
    const socket = this.#socket
    // The writer is used only if all earlier data was written, because only then its buffer is free.
    if (socket === null || !this.#opened || socket.writableLength !== 0 || !FrameWriter.takes(bytes)) return null
    return this.#writer ?? frameWriter
  }

  #write(frame: Buffer): void {
    const socket = this.#socket as Socket // `#writerFor` has looked
    socket.write(frame)
    // The kernel may read this frame later, so its memory must not be used again. With TLS this is not necessary,
    // because an encrypted copy of the frame waits.
    if (socket.writableLength !== 0 && this.#writer === null && !this.#secure) {
      this.#writer = frameWriter
      frameWriter = new FrameWriter()
    }
  }

  /** Passes all further bytes to `ws`. */
  stop(): void {
    this.#frames.stop()
  }

  /** @returns false if the socket must not read until the stream requests more data */
  #read(bytes: number): boolean {
    if (this.#opened) return this.#scan(bytes)
    this.#passingUpgrade = true
    const more = this.#pass(0, bytes)
    this.#passingUpgrade = false
    if (this.#opened) this.#follow(bytes)
    return more
  }

  /**
   * Finds the ends of frames that arrived in one read with the response to the upgrade. `ws` itself processes these
   * bytes.
   */
  #follow(bytes: number): void {
    let at = bytes - this.#earlyBytes
    if (at < 0) this.stop()
    else while (at < bytes) at = this.#frames.next(readBuffer, at, bytes)
  }

  #scan(bytes: number): boolean {
    const frames = this.#frames
    let more = true
    // Index of the first byte that is not delivered yet.
    let kept = 0
    for (let at = 0; at < bytes;) {
      const next = frames.next(readBuffer, at, bytes)
      if (frames.whole) {
        const { from: payload, to } = frames
        if (kept < at) more = this.#pass(kept, at)
        kept = at
        // A message must not be delivered before earlier bytes that `ws` has not read yet.
        if (this.#streamIsEmpty()) {
          kept = next
          this.#message(messages.at(payload, to - payload), frames.binary)
        }
      }
      at = next
    }
    return kept < bytes ? this.#pass(kept, bytes) : more
  }

  #streamIsEmpty(): boolean {
    const socket = this.#socket
    return socket !== null && socket.readableFlowing === true && socket.readableLength === 0
  }

  #pass(from: number, to: number): boolean {
    const socket = this.#socket
    // The listener of an earlier message may have closed the socket.
    if (socket === null || socket.destroyed) return false
    // The receiver may keep the bytes, so they are copied.
    return socket.push(Buffer.from(readBuffer.subarray(from, to)))
  }
}

/**
 * Finds the frames of a WebSocket server (RFC 6455, 5.2) in bytes that arrive in pieces of any size. The scanner also
 * finds messages that need no further processing. Such a message is text or binary, in one frame, without an extension,
 * and complete in one piece. After the close frame, or after data that a server must not send, the scanner finds no
 * more messages. The scanner stores no bytes.
 */
export class FrameScanner {
  /** True if the last step was a whole message; its payload is at `from` to `to`. */
  whole = false
  /** True if the message is binary, not text. */
  binary = false
  from = 0
  to = 0
  /** Number of payload bytes of the current frame that have not arrived yet. */
  #payloadLeft = 0
  /** Header of the current frame: number of its bytes so far, and their values. */
  #headBytes = 0
  #firstByte = 0
  #shortLength = 0
  #length = 0
  /** True between the first and the last frame of a fragmented message. */
  #fragmented = false
  #stopped = false

  /** Stops the search for messages. */
  stop(): void {
    this.#stopped = true
  }

  /**
   * Makes one step in the bytes from `at` to `end`, which follow the bytes of the previous call. Sets `whole`.
   * @returns the end of the step, which is after `at` unless `at` is `end`
   */
  next(bytes: Uint8Array, at: number, end: number): number {
    this.whole = false
    if (this.#stopped) return end
    if (this.#payloadLeft > 0) {
      const step = Math.min(this.#payloadLeft, end - at)
      this.#payloadLeft -= step
      return at + step
    }
    if (this.#headBytes === 0 && !this.#fragmented && this.#plain(bytes, at, end)) return this.to
    while (at < end) if (this.#head(bytes[at++] as number)) break
    return this.#stopped ? end : at
  }

  /** True if a whole message begins at `at` and is complete at `end`. */
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
    this.binary = first === WHOLE_BINARY
    return true
  }

  /** Processes one byte of a header. @returns true after the last byte, or if the search has stopped */
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
        this.#stopped = true
        return true
      }
    } else {
      this.#length = this.#length * 256 + byte
    }
    const last = this.#shortLength < LENGTH_16 ? 1 : this.#shortLength < LENGTH_64 ? 3 : 9
    if (place < last) return false
    // Longer frames are never accepted, and sums of such lengths would not be exact.
    this.#stopped = this.#length >= UINT32
    this.#payloadLeft = this.#length
    this.#headBytes = 0
    return true
  }

  /** True if a server may send this frame now. Also stores if a fragmented message continues with the next frame. */
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
      case PONG:
        return final
      default:
        return false
    }
  }
}

const LENGTH_16_END = 1 << 16
/**
 * Number of bytes before the payload: opcode and length 2, extended length 2, masking key 4. The sum is a multiple of
 * 4, so that whole words of the payload can be masked.
 */
const HEADER_BYTES = 8

// Random masking keys from the system (required by RFC 6455, 10.3), 1024 keys at a time. A thread uses each key once.
const keys = new Int32Array(1024)
let keysUsed = keys.length

function nextKey(): number {
  if (keysUsed === keys.length) {
    randomFillSync(keys)
    keysUsed = 0
  }
  return keys[keysUsed++] as number
}

/** Writes frames of a WebSocket client (RFC 6455, 5.2) into one buffer; each frame overwrites the previous frame. */
class FrameWriter {
  #frame: Buffer = Buffer.alloc(0)
  #words: Int32Array = new Int32Array(0)
  #views = new Views(this.#frame)

  /** True if a payload of this length needs a 16-bit length field, because this class writes only such headers. */
  static takes(bytes: number): boolean {
    return bytes >= LENGTH_16 && bytes < LENGTH_16_END
  }

  /**
   * Writes the frame of a text message.
   * @param length  number of bytes in UTF-8; `takes(length)` must be true
   */
  text(message: string, length: number): Buffer {
    const frame = this.#begin(WHOLE_TEXT, length)
    // Nearly all messages are ASCII, and writing them as `latin1` is a plain copy.
    frame.write(message, HEADER_BYTES, length === message.length ? 'latin1' : 'utf8')
    return this.#masked(length)
  }

  /** Writes the frame of a text message: the base64 of `length` bytes of `audio` between two ASCII texts. */
  audio(before: string, audio: Buffer, length: number, after: string): Buffer {
    const chars = base64Chars(length)
    const bytes = before.length + chars + after.length
    const frame = this.#begin(WHOLE_TEXT, bytes)
    const at = HEADER_BYTES + before.length
    const key = this.#key()
    frame.write(before, HEADER_BYTES, 'latin1')
    this.#mask(HEADER_BYTES, at, key)
    // The key is rotated, because the first character must be masked with the key byte for its position in the payload.
    const turn = (before.length % 4) * 8
    frame.set(encodeBase64(audio, length, (key >>> turn) | (key << (32 - turn))), at)
    frame.write(after, at + chars, 'latin1')
    this.#mask(at + chars, at + chars + after.length, key)
    return this.#views.at(0, HEADER_BYTES + bytes)
  }

  /** Writes the frame of a binary message: the first `length` bytes of `audio`. */
  bytes(audio: Buffer, length: number): Buffer {
    audio.copy(this.#begin(WHOLE_BINARY, length), HEADER_BYTES, 0, length)
    return this.#masked(length)
  }

  /** @returns the memory for a frame; the header is written, but not the key */
  #begin(first: number, length: number): Buffer {
    const end = HEADER_BYTES + length
    if (this.#frame.length < end) this.#grow(end)
    const frame = this.#frame
    frame[0] = first
    frame[1] = MASKED | LENGTH_16
    frame[2] = length >> 8
    frame[3] = length
    return frame
  }

  #masked(length: number): Buffer {
    const end = HEADER_BYTES + length
    const words = this.#words
    const key = this.#key()
    // Masks whole words, so bytes past the end may change too. Four words per step are a third faster than one word.
    for (let i = HEADER_BYTES / 4; i < end / 4; i += 4) {
      words[i] = (words[i] as number) ^ key
      words[i + 1] = (words[i + 1] as number) ^ key
      words[i + 2] = (words[i + 2] as number) ^ key
      words[i + 3] = (words[i + 3] as number) ^ key
    }
    return this.#views.at(0, end)
  }

  /** Writes a new key into the frame. */
  #key(): number {
    const key = nextKey()
    this.#words[1] = key
    return key
  }

  /** Masks a few bytes of the payload. */
  #mask(from: number, to: number, key: number): void {
    const frame = this.#frame
    for (let i = from; i < to; i++) frame[i] = (frame[i] as number) ^ (key >>> ((i % 4) * 8))
  }

  #grow(bytes: number): void {
    // Additional bytes, because masking may change bytes past the end.
    const words = Math.ceil(bytes / 16) * 4 + 4
    this.#frame = Buffer.allocUnsafeSlow(words * 4)
    this.#words = new Int32Array(this.#frame.buffer, this.#frame.byteOffset, words)
    this.#views = new Views(this.#frame)
  }
}

// Writer that all sockets of a thread share as long as the kernel accepts each frame at once.
let frameWriter = new FrameWriter()
