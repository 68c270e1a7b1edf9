import { randomFillSync } from 'node:crypto'
import { Views } from '../../core/views.js'

const WHOLE_TEXT = 0x81
const MASKED = 0x80
const LENGTH_16 = 126
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

/**
 * Frames of a WebSocket client (RFC 6455, 5.2) for messages that are many and alike, in one memory that is used again: what was
 * made last is overwritten by the next one.
 */
export class FrameWriter {
  #frame: Buffer = Buffer.alloc(0)
  #words: Int32Array = new Int32Array(0)
  #views = new Views(this.#frame)

  /** Payloads of so many bytes are framed here; others take other forms of the header. */
  static takes(bytes: number): boolean {
    return bytes >= LENGTH_16 && bytes < LENGTHS_16
  }

  /** The frame of a text message that `takes` its length; `message` is only read. */
  text(message: Buffer): Buffer {
    const { length } = message
    const end = HEADER_BYTES + length
    if (this.#frame.length < end) this.#grow(end)
    const frame = this.#frame
    const words = this.#words
    const key = nextKey()
    frame[0] = WHOLE_TEXT
    frame[1] = MASKED | LENGTH_16
    frame[2] = length >> 8
    frame[3] = length
    words[1] = key
    frame.set(message, HEADER_BYTES)
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
