import { BYTES_PER_SAMPLE } from '../../core/units.js'
import { Views } from '../../core/views.js'
import { charsOfBytes, decodeBase64, decodedBytes, encodeBase64 } from './base64.js'

/**
 * Audio inside JSON, which is how the services carry it: a short object with one very long base64 string. Treating
 * that string as JSON costs 8 to 13 times what it has to (it is scanned for escapes on both sides), so the audio goes
 * around the JSON: written between two constants on the way out, cut out before parsing on the way in.
 */

/** The longest piece of base64 that is decoded at once; a multiple of 4. Bounds the scratch memory of all calls of a thread. */
const PIECE_CHARS = 32 * 1024
/** Strings shorter than this are not worth a detour around the parser. */
const CUT_CHARS_MIN = 128
/** Places of the key that are looked at before the parser is given the whole message. */
const KEY_PLACES_MAX = 4

const QUOTE = 0x22
const COLON = 0x3a
const BACKSLASH = 0x5c

// One piece of decoded audio and the odd byte before it. All calls of a thread decode into it, one after the other.
const decodedSamples = new Views(new Int16Array(decodedBytes.buffer, decodedBytes.byteOffset, (PIECE_CHARS / 4) * 3 / BYTES_PER_SAMPLE + 1))
const decodedPieces = new Views(decodedBytes)
// One piece of G.711 as samples; a byte each.
const expanded = new Int16Array((PIECE_CHARS / 4) * 3)
const expandedSamples = new Views(expanded)

/** One message of caller audio: constant JSON around base64. Its memory is reused: send it before the next one is made. */
export class AudioMessage {
  readonly #buffer: Buffer
  readonly #audioAt: number
  readonly #suffix: string
  #view: Buffer

  /**
   * @param prefix  JSON up to and with the quote before the audio
   * @param suffix  from the quote after it
   * @param audioBytesMax  of one message
   */
  constructor(prefix: string, suffix: string, audioBytesMax: number) {
    this.#suffix = suffix
    this.#audioAt = Buffer.byteLength(prefix)
    this.#buffer = Buffer.allocUnsafeSlow(this.#audioAt + charsOfBytes(audioBytesMax) + Buffer.byteLength(suffix))
    this.#buffer.write(prefix)
    this.#view = this.#buffer.subarray(0, 0)
  }

  /**
   * The message with `length` bytes of `audio`. A view of memory that the next call overwrites: a socket copies it
   * while it masks, so it may be sent and made again at once.
   */
  encode(audio: Uint8Array, length: number): Buffer {
    const end = this.#audioAt + charsOfBytes(length)
    this.#buffer.set(encodeBase64(audio, length), this.#audioAt)
    // Nearly all messages of a call have one length: view and suffix are made once.
    if (this.#view.length !== end + this.#suffix.length) {
      this.#view = this.#buffer.subarray(0, end + this.#buffer.write(this.#suffix, end))
    }
    return this.#view
  }
}

/** Where the value of a key lies in a message: the bytes between its quotes. */
export class AudioCut {
  from = 0
  to = 0
  readonly #key: string

  constructor(key: string) {
    this.#key = `"${key}"`
  }

  /** Finds the first long string under the key. @returns false when there is none: parse the message as it is. */
  find(message: Buffer): boolean {
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
      // Some writers escape the slashes of base64: that is the parser's work.
      const escape = message.indexOf(BACKSLASH, from + 1)
      if (escape >= 0 && escape < to) return false
      this.from = from + 1
      this.to = to
      return true
    }
    return false
  }

  /** The message without the value that was found: small, and with an empty string in its place. */
  rest(message: Buffer): string {
    return message.toString('utf8', 0, this.from) + message.toString('utf8', this.to)
  }
}

function afterBlanks(message: Buffer, from: number): number {
  let at = from
  while (message[at] === 0x20 || message[at] === 0x0a || message[at] === 0x0d || message[at] === 0x09) at++
  return at
}

/** How the bytes of a stream of audio become samples: as they are, or through a table such as mu-law's. */
export type SampleFormat = 'pcm16' | { readonly expand: (bytes: Uint8Array, out: Int16Array) => number }

/** Decodes the base64 of one stream of audio. A sample may be cut in two between messages: the odd byte waits here. */
export class Base64Audio {
  readonly #format: SampleFormat
  #oddByte = -1

  constructor(format: SampleFormat) {
    this.#format = format
  }

  /** Another item begins: what was left of the last one is not part of it. */
  reset(): void {
    this.#oddByte = -1
  }

  /**
   * Decodes the characters `from` to `to` of a message.
   * @param out  gets the samples in pieces of at most 12,288 (of G.711 24,576); the memory is only valid during the call
   * @returns false when it was not base64: what came before the fault was delivered
   */
  decode(message: Uint8Array, from: number, to: number, out: (samples: Int16Array) => void): boolean {
    for (let at = from; at < to; at += PIECE_CHARS) {
      if (!this.#piece(message, at, Math.min(to, at + PIECE_CHARS), out)) return false
    }
    return true
  }

  /** The same for a string that a parser has already taken out. */
  decodeText(text: string, out: (samples: Int16Array) => void): boolean {
    // As UTF-8, in which what is not ASCII has no byte of the alphabet.
    const chars = Buffer.from(text)
    return this.decode(chars, 0, chars.length, out)
  }

  #piece(chars: Uint8Array, from: number, to: number, out: (samples: Int16Array) => void): boolean {
    const kept = this.#oddByte >= 0 ? 1 : 0
    if (kept === 1) decodedBytes[0] = this.#oddByte
    this.#oddByte = -1
    const came = decodeBase64(chars, from, to, kept)
    if (came < 0) return false
    const bytes = came + kept
    if (this.#format !== 'pcm16') {
      const samples = this.#format.expand(decodedPieces.at(0, bytes), expanded)
      if (samples > 0) out(expandedSamples.at(0, samples))
      return true
    }
    const samples = bytes >> 1
    if ((bytes & 1) === 1) this.#oddByte = decodedBytes[bytes - 1] as number
    if (samples > 0) out(decodedSamples.at(0, samples))
    return true
  }
}
