import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { jsonOrNull } from '../core/json.js'
import { partyKey } from '../sautikit/phone.js'

/** Numbers on the list. One more is refused: nobody who asked is forgotten. */
export const DO_NOT_CALL_MAX = 1_000_000

const entrySchema = z.object({
  /** `partyKey`: the digits. */
  number: z.string(),
  /** ISO 8601. */
  at: z.string(),
  /** Who put it there: the caller, by the agent's tool or by an answer, or an operator. */
  by: z.enum(['caller', 'operator']),
  /** True: taken off again. */
  removed: z.boolean().default(false),
})
export type DoNotCallEntry = Omit<z.output<typeof entrySchema>, 'removed'>

/** Who wants no calls from us. An erasure leaves it as it is: it is how their wish is kept. */
export interface DoNotCall {
  has(number: string): Promise<boolean>
  /** Resolves when it is kept. */
  add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void>
  /** @returns false where it was not there */
  remove(number: string, wallMs: number): Promise<boolean>
  /** The newest first. */
  list(max: number): Promise<readonly DoNotCallEntry[]>
}

/** The list of one process: a file, a line for each change; all of it is in memory too. */
export class FileDoNotCall implements DoNotCall {
  readonly #path: string
  readonly #entries = new Map<string, DoNotCallEntry>()
  #writing: Promise<unknown> = Promise.resolve()

  private constructor(path: string) {
    this.#path = path
  }

  /** @throws what the file system throws */
  static async open(path: string): Promise<FileDoNotCall> {
    const list = new FileDoNotCall(path)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code === 'ENOENT') return ''
      throw thrown
    })
    // A line that a death cut off stays alone on its line.
    if (text !== '' && !text.endsWith('\n')) await appendFile(path, '\n')
    for (const line of text.split('\n')) {
      const read = entrySchema.safeParse(jsonOrNull(line))
      if (!read.success) continue
      const { removed, ...entry } = read.data
      const number = keyOf(entry.number)
      if (removed) list.#entries.delete(number)
      else list.#entries.set(number, { ...entry, number })
    }
    return list
  }

  has(number: string): Promise<boolean> {
    return Promise.resolve(this.#entries.has(partyKey(number)))
  }

  async add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void> {
    const key = partyKey(number)
    if (key === '' || this.#entries.has(key)) return
    if (this.#entries.size >= DO_NOT_CALL_MAX) throw new RangeError(`the list has ${DO_NOT_CALL_MAX} numbers already`)
    const entry: DoNotCallEntry = { number: key, at: new Date(wallMs).toISOString(), by }
    this.#entries.set(key, entry)
    try {
      await this.#append(entry)
    } catch (thrown) {
      // Who asks again is written then.
      this.#entries.delete(key)
      throw thrown
    }
  }

  async remove(number: string, wallMs: number): Promise<boolean> {
    const entry = this.#entries.get(partyKey(number))
    if (entry === undefined) return false
    this.#entries.delete(entry.number)
    await this.#append({ ...entry, at: new Date(wallMs).toISOString(), removed: true })
    return true
  }

  list(max: number): Promise<readonly DoNotCallEntry[]> {
    return Promise.resolve([...this.#entries.values()].reverse().slice(0, max))
  }

  #append(line: object): Promise<void> {
    const mine = this.#writing.then(() => appendFile(this.#path, `${JSON.stringify(line)}\n`, { mode: 0o600 }))
    this.#writing = mine.catch(() => undefined)
    return mine
  }
}

/** The `partyKey` of an entry, also where somebody wrote it into the file in another form. */
function keyOf(number: string): string {
  const key = /^[1-9]/.test(number) ? partyKey(`+${number}`) : partyKey(number)
  return key === '' ? partyKey(number) || number : key
}

/** As a fleet keeps one entry: by a keyed hash of the number, encrypted. */
export function readEntry(text: string): DoNotCallEntry | null {
  const read = entrySchema.safeParse(jsonOrNull(text))
  return read.success ? read.data : null
}
