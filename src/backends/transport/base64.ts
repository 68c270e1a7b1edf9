import { readFileSync } from 'node:fs'
import { assert } from '../../core/assert.js'
import { Views } from '../../core/views.js'

/**
 * Base64 without strings. Node's own makes one on the way, of 4 KB for each message each way, and those were two thirds
 * of everything that a media worker allocated. Here `base64.wat` does it in a memory that all calls of a thread share,
 * one after the other; what is less than one step of it, or a machine without SIMD, is done below.
 */

/** Characters that are encoded or decoded at once, at most; a multiple of 4. */
export const BASE64_CHARS_MAX = 64 * 1024

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1')
const PAD = 0x3d
const INVALID = -1
// Room for what the kernel touches past the end.
const AREA_BYTES = BASE64_CHARS_MAX + 64
const INPUT_AT = 0
const OUTPUT_AT = AREA_BYTES

interface Kernel {
  readonly memory: WebAssembly.Memory
  encode(from: number, bytes: number, to: number): void
  decode(from: number, chars: number, to: number): number
}

const kernel = loadKernel()
const memory = kernel === null ? new ArrayBuffer(2 * AREA_BYTES) : kernel.memory.buffer
const input = new Uint8Array(memory, INPUT_AT, AREA_BYTES)
const output = new Uint8Array(memory, OUTPUT_AT, AREA_BYTES)
const outputViews = new Views(output)
/** Where `decodeBase64` puts bytes; begins at an even address, so that they can be read as samples. */
export const decodedBytes = output

/** Null where the machine has no SIMD. The shapes of the exports are fixed by base64.wat. */
function loadKernel(): Kernel | null {
  const code = readFileSync(new URL('./base64.wasm', import.meta.url))
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(code)).exports as unknown as Kernel
  } catch {
    return null
  }
}

// What a character stands for; the alphabet of URLs is understood as well.
const values = new Int32Array(256).fill(INVALID)
for (let i = 0; i < 64; i++) values[ALPHABET[i] as number] = i
values[0x2d] = 62
values[0x5f] = 63

/** Characters that `bytes` bytes become, padding included. */
export function charsOfBytes(bytes: number): number {
  return Math.ceil(bytes / 3) * 4
}

/** Bytes that the characters `from` to `to` stand for, with or without padding; -1 when no base64 has this length. */
function bytesOfChars(chars: Uint8Array, from: number, to: number): number {
  let count = to - from
  if (count > 0 && chars[to - 1] === PAD) count -= count > 1 && chars[to - 2] === PAD ? 2 : 1
  return count % 4 === 1 ? -1 : Math.floor((count * 3) / 4)
}

/**
 * The base64 of the first `length` bytes, at most three quarters of BASE64_CHARS_MAX, with padding.
 * @returns a view of memory that the next call of this module overwrites
 */
export function encodeBase64(bytes: Uint8Array, length: number): Uint8Array {
  const chars = charsOfBytes(length)
  assert(chars <= BASE64_CHARS_MAX, `${length} bytes are too many to be encoded at once`)
  input.set(length === bytes.length ? bytes : bytes.subarray(0, length))
  const steps = kernel === null ? 0 : Math.floor(length / 12)
  kernel?.encode(INPUT_AT, steps * 12, OUTPUT_AT)
  let to = steps * 16
  for (let i = steps * 12; i < length; i += 3) {
    const left = length - i
    const group = ((input[i] as number) << 16) | (left > 1 ? (input[i + 1] as number) << 8 : 0) | (left > 2 ? input[i + 2] as number : 0)
    output[to] = ALPHABET[group >> 18] as number
    output[to + 1] = ALPHABET[(group >> 12) & 63] as number
    output[to + 2] = left > 1 ? ALPHABET[(group >> 6) & 63] as number : PAD
    output[to + 3] = left > 2 ? ALPHABET[group & 63] as number : PAD
    to += 4
  }
  return outputViews.at(0, chars)
}

/**
 * Decodes the characters `from` to `to`, with or without padding, at most BASE64_CHARS_MAX, to `decodedBytes`.
 * @param at  where its first byte goes: 0 or 1
 * @returns how many bytes, or -1 when it was not base64
 */
export function decodeBase64(chars: Uint8Array, from: number, to: number, at: number): number {
  assert(to - from <= BASE64_CHARS_MAX, `${to - from} characters are too many to be decoded at once`)
  const bytes = bytesOfChars(chars, from, to)
  if (bytes < 0) return -1
  // A whole message goes over without a view of its piece, that is without an allocation.
  const whole = chars.length <= BASE64_CHARS_MAX
  input.set(whole ? chars : chars.subarray(from, to))
  const start = whole ? from : 0
  let steps = kernel === null ? 0 : Math.floor(bytes / 12)
  // Also where the kernel sees a fault: it does not know the other alphabet.
  if (kernel?.decode(INPUT_AT + start, steps * 16, OUTPUT_AT + at) === 0) steps = 0
  let i = start + steps * 16
  // Negative as soon as one character was none of the alphabet.
  let all = 0
  for (let done = steps * 12; done < bytes; done += 3) {
    const left = bytes - done
    const group = ((values[input[i] as number] as number) << 18) | ((values[input[i + 1] as number] as number) << 12)
      | (left > 1 ? (values[input[i + 2] as number] as number) << 6 : 0) | (left > 2 ? values[input[i + 3] as number] as number : 0)
    all |= group
    output[at + done] = group >> 16
    output[at + done + 1] = group >> 8
    output[at + done + 2] = group
    i += 4
  }
  return all < 0 ? -1 : bytes
}
