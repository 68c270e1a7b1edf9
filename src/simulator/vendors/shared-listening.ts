import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { jsonOrNull } from '../../core/json.js'
import type { DictionaryEntry } from '../../speech/speech-protocol.js'

/** Doubles whose words are read; a file that was not written to for this long is one of a double that is over. */
const FILES_MAX = 16
const FORGOTTEN_MS = 3_600_000
const FILE = /^\d{1,10}\.json$/

/** The words of one conversation, for a recogniser: their grammar, how they sound, and which of them are digits. */
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
 * The words that doubles of one user on one machine listen for, so that the recogniser of one knows the conversation of
 * another's model: a file for each double.
 */
export class SharedListening {
  readonly #folder: string
  readonly #own: string

  /** @param folder  default: one in the folder for temporary files, which only this user may read */
  constructor(folder = defaultFolder(), name = String(process.pid)) {
    this.#folder = folder
    this.#own = `${name}.json`
  }

  /** Those of this double now, the newest first. Where the folder cannot be written, the others do not learn of them. */
  put(listening: readonly Listening[]): void {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
      writeFileSync(join(this.#folder, this.#own), JSON.stringify(listening), { mode: 0o600 })
    } catch {
      // A double works alone too.
    }
  }

  /** Those of the other doubles, the newest double first. */
  others(): readonly Listening[] {
    const { uid } = userInfo()
    try {
      // Another user's folder of that name says nothing.
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

  /** The double is over. */
  close(): void {
    rmSync(join(this.#folder, this.#own), { force: true })
  }
}

function defaultFolder(): string {
  return join(tmpdir(), `mkondo-doubles-${userInfo().uid}`)
}
