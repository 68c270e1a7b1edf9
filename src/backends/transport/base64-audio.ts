import { BYTES_PER_SAMPLE } from '../../core/units.js'
import { Views } from '../../core/views.js'
import { decodeBase64, decodedBytes } from './base64.js'

/**
 * Maximum number of base64 characters that are decoded at once; a multiple of 4. It also limits the number of samples
 * in one delivery.
 */
const PIECE_CHARS = 32 * 1024
const PIECE_BYTES = (PIECE_CHARS / 4) * 3

const decodedSamples = new Views(
  new Int16Array(decodedBytes.buffer, decodedBytes.byteOffset, decodedBytes.length / BYTES_PER_SAMPLE),
)
// Samples of one piece of G.711, one byte per sample. Shared by all calls of a thread.
const expanded = new Int16Array(PIECE_BYTES)

/**
 * Conversion of bytes to samples. The bytes are samples already (s16le), or a table converts each byte (such as
 * mu-law).
 */
type SampleFormat = 'pcm16' | { readonly expand: (bytes: Uint8Array, out: Int16Array) => number }

/**
 * Decodes the base64 of one audio stream. If a message ends within a sample, the odd byte is stored for the next
 * message.
 */
export class Base64Audio {
  readonly #format: SampleFormat
  #oddByte = -1

  constructor(format: SampleFormat) {
    this.#format = format
  }

  /** Prepares for another item. An odd byte of the previous item is dropped. */
  reset(): void {
    this.#oddByte = -1
  }

  /**
   * @param text  base64, as a string or as its bytes
   * @param out receives the samples in pieces of at most 12,288 (G.711: 24,576); the memory is valid only until `out`
   * returns
   * @returns false if the text is not base64; pieces before the fault were delivered
   */
  decode(text: Buffer | string, out: (samples: Int16Array) => void): boolean {
    for (let at = 0; at < text.length; at += PIECE_CHARS)
      if (!this.#piece(text, at, Math.min(text.length, at + PIECE_CHARS), out)) return false
    return true
  }

  #piece(text: Buffer | string, from: number, to: number, out: (samples: Int16Array) => void): boolean {
    const kept = this.#oddByte >= 0 ? 1 : 0
    const written = decodeBase64(text, from, to, kept)
    if (kept === 1) decodedBytes[0] = this.#oddByte
    this.#oddByte = -1
    if (written < 0) return false
    const bytes = written + kept
    if (this.#format !== 'pcm16') {
      const samples = this.#format.expand(decodedBytes.subarray(0, bytes), expanded)
      if (samples > 0) out(expanded.subarray(0, samples))
      return true
    }
    const samples = bytes >> 1
    if ((bytes & 1) === 1) this.#oddByte = decodedBytes[bytes - 1] as number
    if (samples > 0) out(decodedSamples.at(0, samples))
    return true
  }
}

/** Minimum length in characters of a string that is cut out before the message is parsed. */
const CUT_CHARS_MIN = 512
/** Maximum number of occurrences of the key that are checked. After that, the parser gets the whole message. */
const KEY_PLACES_MAX = 4

/** Key of the id that some services add to each message. This code does not read the id. */
const ID_KEY = '"event_id":"'

const QUOTE = 0x22
const COLON = 0x3a
const BACKSLASH = 0x5c

/**
 * Finds the audio in the messages of one session: the first long string under `key`. A parser would copy the whole
 * message into a string, and then copy the audio out of that string. The garbage collector, which stops all calls of
 * the thread, would have more work.
 *
 * Most messages with audio differ only in the audio and the message's id. So, after a message was parsed, call `keep`.
 * If `alike` then returns true for the next message, all other fields are equal and need not be parsed.
 */
export class AudioCut {
  readonly #key: string
  #from = 0
  #to = 0
  /**
   * The bytes of the kept message before and after its audio, and the position of the message's id in the bytes before
   * the audio.
   */
  #before = Buffer.alloc(0)
  #after = Buffer.alloc(0)
  #idFrom = 0
  #idTo = 0

  constructor(key: string) {
    this.#key = `"${key}"`
  }

  /** @returns false if no audio was found; the whole message must then be parsed */
  find(message: Buffer): boolean {
    if (message.length < CUT_CHARS_MIN) return false
    let at = 0
    for (let places = 0; places < KEY_PLACES_MAX; places++) {
      at = message.indexOf(this.#key, at, 'latin1')
      if (at < 0) return false
      at += this.#key.length
      let from = afterBlanks(message, at)
      if (message[from] !== COLON) continue
      from = afterBlanks(message, from + 1)
      if (message[from] !== QUOTE) continue
      const to = message.indexOf(QUOTE, from + 1)
      if (to < 0) return false
      at = to
      if (to - from - 1 < CUT_CHARS_MIN) continue
      if (hasEscape(message, from + 1, to)) return false
      this.#from = from + 1
      this.#to = to
      return true
    }
    return false
  }

  /** Keeps the message that `find` got, for `alike`. */
  keep(message: Buffer): void {
    this.#before = Buffer.from(message.subarray(0, this.#from))
    this.#after = Buffer.from(message.subarray(this.#to))
    const id = this.#before.indexOf(ID_KEY)
    this.#idFrom = id < 0 ? 0 : id + ID_KEY.length
    this.#idTo = id < 0 ? 0 : this.#before.indexOf(QUOTE, this.#idFrom)
  }

  /**
   * True if a message differs from the kept message only in audio and id. `audio` then returns the new audio, as after
   * `find`.
   */
  alike(message: Buffer): boolean {
    const before = this.#before
    const after = this.#after
    const to = message.length - after.length
    if (to - before.length < CUT_CHARS_MIN) return false
    for (let i = 0; i < before.length; i++) {
      const byte = message[i] as number
      if (i < this.#idFrom || i >= this.#idTo ? byte !== before[i] : byte === QUOTE || byte === BACKSLASH) return false
    }
    for (let i = 0; i < after.length; i++) if (message[to + i] !== after[i]) return false
    if (message.indexOf(QUOTE, before.length) !== to || hasEscape(message, before.length, to)) return false
    this.#from = before.length
    this.#to = to
    return true
  }

  /** The message that `find` got, with an empty string instead of the audio. */
  rest(message: Buffer): string {
    return message.toString('utf8', 0, this.#from) + message.toString('utf8', this.#to)
  }

  /** The audio in the message that `find` or `alike` got, as a view of the message's bytes. */
  bytes(message: Buffer): Buffer {
    return message.subarray(this.#from, this.#to)
  }
}

/** Some JSON writers escape the slashes of base64. Such a message is parsed, because the parser removes the escapes. */
function hasEscape(message: Buffer, from: number, to: number): boolean {
  const at = message.indexOf(BACKSLASH, from)
  return at >= 0 && at < to
}

function afterBlanks(message: Buffer, from: number): number {
  let at = from
  while (message[at] === 0x20 || message[at] === 0x0a || message[at] === 0x0d || message[at] === 0x09) at++
  return at
}
