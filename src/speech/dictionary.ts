import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { GatewayError, messageOf } from '../core/errors.js'
import { speechPackage } from './speech-packages.js'

/**
 * @returns the folder of the recogniser's models, with a trailing slash. The package's default is relative to the
 * working directory
 * @throws GatewayError CONFIG_INVALID if the package is not installed
 */
export const modelBase = (): string => join(dirname(speechPackage('soundswallower')), 'model/')
/** The recogniser's default model. */
const MODEL = 'en-us'
/** Number of hash slots per line. With 134,784 lines, the total is rounded to a power of two. */
const SLOTS_PER_LINE = 2
const NEWLINE = 0x0a
const SPACE = 0x20
/** FNV-1a, 32 bit. */
const HASH_START = 0x811c9dc5
const HASH_FACTOR = 0x01000193

/**
 * The recogniser's pronouncing dictionary, usable without the recogniser. It consists of the recogniser's file (3.2
 * MB), and a hash table with the offset of each word's line. A decoder needs 28 MB and at least 190 ms. The dictionary
 * needs 5 MB, takes 35 ms once, and leaves no garbage.
 */
export class Dictionary {
  readonly #bytes: Buffer
  /** Hash table with open addressing. A value is the offset of a line, plus 1; the value 0 marks a free slot. */
  readonly #slots: Int32Array

  /** @throws GatewayError SPEECH_FAULT if the model's files cannot be read */
  static async load(): Promise<Dictionary> {
    const path = join(modelBase(), MODEL, 'dict.txt')
    try {
      return new Dictionary(await readFile(path))
    } catch (cause) {
      throw new GatewayError('SPEECH_FAULT', `the recogniser's dictionary cannot be read: ${messageOf(cause)}`, {
        cause,
      })
    }
  }

  private constructor(bytes: Buffer) {
    this.#bytes = bytes
    let lines = 1
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines++
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(lines * SLOTS_PER_LINE)))
    let start = 0
    let hash = HASH_START
    let inWord = true
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] as number
      if (byte === NEWLINE) {
        start = at + 1
        hash = HASH_START
        inWord = true
      } else if (inWord && byte === SPACE) {
        this.#put(start, hash)
        inWord = false
      } else if (inWord) {
        hash = Math.imul(hash ^ byte, HASH_FACTOR)
      }
    }
  }

  has(word: string): boolean {
    const bytes = Buffer.from(`${word} `)
    let hash = HASH_START
    for (let at = 0; at < bytes.length - 1; at++) hash = Math.imul(hash ^ (bytes[at] as number), HASH_FACTOR)
    const mask = this.#slots.length - 1
    for (let slot = (hash >>> 0) & mask; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const start = (this.#slots[slot] as number) - 1
      if (bytes.equals(this.#bytes.subarray(start, start + bytes.length))) return true
    }
    return false
  }

  #put(start: number, hash: number): void {
    const mask = this.#slots.length - 1
    let slot = (hash >>> 0) & mask
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
    this.#slots[slot] = start + 1
  }
}

/** The phones of the model, ARPAbet without stress digits. @throws GatewayError SPEECH_FAULT */
export async function modelPhones(): Promise<readonly string[]> {
  const path = join(modelBase(), MODEL, 'phoneset.json')
  try {
    const phones = JSON.parse(await readFile(path, 'utf8')) as Record<string, string>
    // The other phones stand for silence and noise.
    return Object.keys(phones).filter((phone) => /^[A-Z]{1,2}$/.test(phone))
  } catch (cause) {
    throw new GatewayError('SPEECH_FAULT', `the recogniser's sounds cannot be read: ${messageOf(cause)}`, { cause })
  }
}
