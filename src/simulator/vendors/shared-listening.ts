import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { jsonOrNull } from '../../core/json.js'
import type { DictionaryEntry } from '../../speech/speech-protocol.js'

/**
 * Maximum number of doubles whose words are read. A file unchanged for `FORGOTTEN_MS` belongs to a double that has
 * ended.
 */
const FILES_MAX = 16
const FORGOTTEN_MS = 3_600_000
const FILE = /^\d{1,10}\.json$/

/** The words of one conversation, for a recogniser: their grammar, their phones, and the digits among them. */
const listeningSchema = z.object({
  jsgf: z.string(),
  words: z.array(z.tuple([z.string(), z.string()])),
  digits: z.array(z.string()),
})
export interface Listening {
  readonly jsgf: string
  readonly words: readonly DictionaryEntry[]
  readonly digits: readonly string[]
}

/**
 * The words that one user's doubles on one machine expect, with one file per double. So the recogniser of one double
 * knows the conversation of another double's model.
 */
export class SharedListening {
  readonly #folder: string
  readonly #own: string

  /** @param folder  default: a folder in the folder for temporary files, which only this user may read */
  constructor(folder = defaultFolder(), name = String(process.pid)) {
    this.#folder = folder
    this.#own = `${name}.json`
  }

  /**
   * Writes this double's words, newest first. If the folder cannot be written, other doubles do not receive the words.
   */
  put(listening: readonly Listening[]): void {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      writeFileSync(join(this.#folder, this.#own), JSON.stringify(listening), { mode: 0o600 })
    } catch {
      // A double works without the shared folder.
    }
  }

  /** @returns the words of all other doubles, newest double first */
  others(): readonly Listening[] {
    const { uid } = userInfo()
    try {
      // A folder of another user with this name is ignored.
      if (statSync(this.#folder).uid !== uid && uid >= 0) return []
      const files = readdirSync(this.#folder)
        .filter((name) => FILE.test(name) && name !== this.#own)
        .map((name) => ({ path: join(this.#folder, name), atMs: statSync(join(this.#folder, name)).mtimeMs }))
        .filter(({ atMs }) => Date.now() - atMs < FORGOTTEN_MS)
        .sort((a, b) => b.atMs - a.atMs)
      return files.slice(0, FILES_MAX).flatMap(({ path }) => {
        const { data = [] } = z.array(listeningSchema).safeParse(jsonOrNull(readFileSync(path, 'utf8')))
        return data
      })
    } catch {
      return [] // no other double has answered yet
    }
  }

  /** Removes the double's words. */
  close(): void {
    rmSync(join(this.#folder, this.#own), { force: true })
  }
}

function defaultFolder(): string {
  return join(tmpdir(), `mkondo-doubles-${userInfo().uid}`)
}
