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
