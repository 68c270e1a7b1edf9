import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { SampleRateHz } from '../core/units.js'
import { parseWav, writeWav } from '../media/wav.js'

/**
 * Maximum number of files on disk, for all processes that share the folder. `FILE_BYTES_MAX`: maximum number of bytes
 * of these files.
 */
const FILES_MAX = 2000
const FILE_BYTES_MAX = 256 * 1024 * 1024
/**
 * Maximum number of bytes of phrases in the memory of one thread. A phrase that is not in memory is read again when it
 * is needed.
 */
const MEMORY_BYTES_MAX = 16 * 1024 * 1024
/** Maximum duration in ms of a phrase. Longer speech is not stored. */
export const PHRASE_MS_MAX = 30_000
/**
 * Minimum time in ms between two updates of the time at which a file was last used. The least recently used file is
 * removed first.
 */
const TOUCH_MS = 3_600_000

/** Speech that was synthesised once. */
export interface PhraseAudio {
  readonly pcm: Int16Array
  readonly sampleRateHz: SampleRateHz
}

interface Kept {
  readonly phrase: PhraseAudio
  touchedAtMs: number
}

/**
 * Fixed phrases of agents as WAV files, available even while the voice's service is down. The newest are in memory.
 * Unreadable files are removed.
 */
export class PhraseStore {
  evictions = 0
  unreadable = 0
  readonly #folder: string
  /** Phrases by key, least recently used first. */
  readonly #memory = new Map<string, Kept>()
  #memoryBytes = 0
  readonly #reading = new Set<string>()
  /** Promise that settles when the last file was written, and the oldest files were removed if there were too many. */
  #trimming: Promise<void> = Promise.resolve()

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @returns the key of a text that is spoken in this `manner`. Another manner gives another key */
  static key(manner: Readonly<Record<string, unknown>>, text: string): string {
    return createHash('sha256')
      .update(JSON.stringify([manner, text]))
      .digest('hex')
      .slice(0, 40)
  }

  /** Reads the newest files into memory until the limit of the memory is reached. The promise never rejects. */
  async load(): Promise<void> {
    for (const { key, bytes } of (await this.#files()).toReversed()) {
      if (this.#memoryBytes + bytes > MEMORY_BYTES_MAX) return
      await this.#read(key)
    }
  }

  /**
   * @returns the phrase; null if it is not in memory. If there is a file of the phrase, it is then read into memory, so
   * that the next call finds the phrase
   */
  find(key: string): PhraseAudio | null {
    const kept = this.#memory.get(key)
    if (kept === undefined) {
      void this.#read(key)
      return null
    }
    this.#memory.delete(key)
    this.#memory.set(key, kept)
    if (Date.now() - kept.touchedAtMs > TOUCH_MS) {
      kept.touchedAtMs = Date.now()
      void utimes(this.#path(key), new Date(), new Date()).catch(() => undefined)
    }
    return kept.phrase
  }

  /** True if the phrase is stored, in memory or on disk. */
  async has(key: string): Promise<boolean> {
    return this.#memory.has(key) || (await this.#read(key))
  }

  /** Stores a phrase. The promise never rejects: if the disk is full, only the phrase is lost, not the call. */
  async keep(key: string, phrase: PhraseAudio): Promise<void> {
    this.#remember(key, phrase)
    const { pcm, sampleRateHz } = phrase
    const path = this.#path(key)
    // Another thread may be writing this phrase now.
    const part = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}.part`
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 })
      await writeFile(part, writeWav({ sampleRateHz, channels: 1, samples: pcm }), { mode: 0o600 })
      await rename(part, path)
    } catch {
      await rm(part, { force: true }).catch(() => undefined)
    }
    this.#trimming = this.#trimming.then(() => this.#trim())
    await this.#trimming
  }

  #path(key: string): string {
    return join(this.#folder, `${key}.wav`)
  }

  #remember(key: string, phrase: PhraseAudio): void {
    const before = this.#memory.get(key)
    if (before !== undefined) this.#memoryBytes -= before.phrase.pcm.byteLength
    this.#memory.delete(key)
    this.#memory.set(key, { phrase, touchedAtMs: Date.now() })
    this.#memoryBytes += phrase.pcm.byteLength
    for (const [oldest, { phrase: old }] of this.#memory) {
      if (this.#memoryBytes <= MEMORY_BYTES_MAX) return
      this.#memory.delete(oldest)
      this.#memoryBytes -= old.pcm.byteLength
    }
  }

  /** @returns true if the phrase is in memory now */
  async #read(key: string): Promise<boolean> {
    if (this.#reading.has(key)) return false
    this.#reading.add(key)
    let bytes: Buffer
    try {
      bytes = await readFile(this.#path(key))
    } catch {
      return false
    } finally {
      this.#reading.delete(key)
    }
    try {
      const { samples, sampleRateHz, channels } = parseWav(bytes)
      const whole = writeWav({ sampleRateHz, channels: 1, samples })
      if (channels !== 1 || samples.length === 0 || !bytes.equals(whole)) throw new Error('another file')
      this.#remember(key, { pcm: samples, sampleRateHz })
      return true
    } catch {
      this.unreadable++
      await rm(this.#path(key), { force: true }).catch(() => undefined)
      return false
    }
  }

  /** @returns the files, least recently used first */
  async #files(): Promise<{ readonly key: string; readonly bytes: number; readonly usedAtMs: number }[]> {
    const names = await readdir(this.#folder).catch(() => [])
    const files = await Promise.all(
      names
        .filter((name) => name.endsWith('.wav'))
        .map(async (name) => {
          const info = await stat(join(this.#folder, name)).catch(() => null)
          return info === null ? null : { key: name.slice(0, -4), bytes: info.size, usedAtMs: info.mtimeMs }
        }),
    )
    return files.filter((file) => file !== null).toSorted((a, b) => a.usedAtMs - b.usedAtMs)
  }

  async #trim(): Promise<void> {
    const files = await this.#files()
    let bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    for (const [i, file] of files.entries()) {
      if (bytes <= FILE_BYTES_MAX && files.length - i <= FILES_MAX) return
      bytes -= file.bytes
      this.evictions++
      await rm(this.#path(file.key), { force: true }).catch(() => undefined)
    }
  }
}
