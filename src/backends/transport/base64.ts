import { readFileSync } from 'node:fs'
import { assert } from '../../core/assert.js'
import { Views } from '../../core/views.js'

/**
 * Converts base64 without JavaScript strings. Node's own functions make a string of 4 KB per message in each direction.
 * These strings were most of a media worker's allocation. Together with the code around them, Node's functions also
 * need twice the time (docs/LATENCY.md, "What made it cheaper"). `base64-kernel/` uses one memory, which all calls of a
 * thread share in turn.
 */

/** Maximum number of characters that are encoded or decoded at once; a multiple of 4. */
const BASE64_CHARS_MAX = 64 * 1024
// Size of an area in bytes, including the bytes past its end that the kernel reads or writes.
const AREA_BYTES = BASE64_CHARS_MAX + 32
const INPUT_AT = 32
const OUTPUT_AT = INPUT_AT + AREA_BYTES

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1')
const PAD = 0x3d
/** Value of a character, including the URL alphabet; negative for any other character. */
const VALUES = new Int32Array(256).fill(-1)
for (let i = 0; i < 64; i++) VALUES[ALPHABET[i] as number] = i
VALUES[0x2d] = 62
VALUES[0x5f] = 63

/** Exports of base64-kernel/index.ts; the types must agree with that file. */
interface Kernel {
  readonly memory: WebAssembly.Memory
  encode(from: number, bytes: number, to: number, key: number): void
  decode(from: number, chars: number, to: number): number
}

const kernel = new WebAssembly.Instance(
  new WebAssembly.Module(readFileSync(new URL('./base64-kernel.wasm', import.meta.url))),
).exports as unknown as Kernel
const input = Buffer.from(kernel.memory.buffer, INPUT_AT, AREA_BYTES)
const output = Buffer.from(kernel.memory.buffer, OUTPUT_AT, AREA_BYTES)
const encoded = new Views(output)
/** Memory to which `decodeBase64` writes. It begins at an even address, so that the bytes can be read as samples. */
export const decodedBytes = output

/** Number of base64 characters for `bytes` bytes, with padding. */
export function base64Chars(bytes: number): number {
  return Math.ceil(bytes / 3) * 4
}

/** Number of bytes in `chars` characters, with or without padding; -1 if no base64 text has this length. */
function bytesOfChars(text: Buffer, from: number, to: number): number {
  let chars = to - from
  if (chars > 0 && text[to - 1] === PAD) chars -= chars > 1 && text[to - 2] === PAD ? 2 : 1
  return chars % 4 === 1 ? -1 : Math.floor((chars * 3) / 4)
}

/**
 * Encodes the first `length` bytes; the result has at most BASE64_CHARS_MAX characters. Every four characters are
 * masked with `key`; the key's lowest byte masks the first character.
 * @returns a view of memory that the next call of this module overwrites
 */
export function encodeBase64(bytes: Buffer, length: number, key: number): Buffer {
  const chars = base64Chars(length)
  assert(chars <= BASE64_CHARS_MAX, `${length} bytes are too many to be encoded at once`)
  input.set(length === bytes.length ? bytes : bytes.subarray(0, length))
  const whole = length - (length % 12)
  kernel.encode(INPUT_AT, whole, OUTPUT_AT, key)
  let to = (whole / 12) * 16
  for (let i = whole; i < length; i += 3) {
    const left = length - i
    const group = (byteAt(i) << 16) | (left > 1 ? byteAt(i + 1) << 8 : 0) | (left > 2 ? byteAt(i + 2) : 0)
    output[to++] = (ALPHABET[group >> 18] as number) ^ key
    output[to++] = (ALPHABET[(group >> 12) & 63] as number) ^ (key >> 8)
    output[to++] = (left > 1 ? (ALPHABET[(group >> 6) & 63] as number) : PAD) ^ (key >> 16)
    output[to++] = (left > 2 ? (ALPHABET[group & 63] as number) : PAD) ^ (key >> 24)
  }
  return encoded.at(0, chars)
}

/**
 * Decodes the characters `from` to `to` of a text into `decodedBytes`. There are at most BASE64_CHARS_MAX characters,
 * with or without padding, in the usual or the URL alphabet.
 * @param at  index of the first byte in `decodedBytes`: 0 or 1
 * @returns the number of bytes; -1 if the text is not base64
 */
export function decodeBase64(text: Buffer | string, from: number, to: number, at: number): number {
  assert(to - from <= BASE64_CHARS_MAX, `${to - from} characters are too many to be decoded at once`)
  if (typeof text !== 'string') text.copy(input, 0, from, to)
  else if (input.write(text.slice(from, to), 'utf8') !== to - from) return -1 // characters outside ASCII
  const end = to - from
  const bytes = bytesOfChars(input, 0, end)
  if (bytes < 0) return -1
  let whole = bytes - (bytes % 12)
  // If the kernel reports a fault, the code below decodes the whole text, because the kernel does not support the URL
  // alphabet.
  if (kernel.decode(INPUT_AT, (whole / 12) * 16, OUTPUT_AT + at) === 0) whole = 0
  let all = 0
  let i = (whole / 12) * 16
  for (let done = whole; done < bytes; done += 3) {
    const left = bytes - done
    const group =
      (valueAt(i) << 18) |
      (valueAt(i + 1) << 12) |
      (left > 1 ? valueAt(i + 2) << 6 : 0) |
      (left > 2 ? valueAt(i + 3) : 0)
    // `all` becomes negative if a character is not in the alphabet.
    all |= group
    output[at + done] = group >> 16
    output[at + done + 1] = group >> 8
    output[at + done + 2] = group
    i += 4
  }
  return all < 0 ? -1 : bytes
}

function byteAt(at: number): number {
  return input[at] as number
}

function valueAt(at: number): number {
  return VALUES[input[at] as number] as number
}
