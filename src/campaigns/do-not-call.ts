import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { jsonOrNull } from '../core/json.js'
import { partyKey } from '../sautikit/phone.js'
import { appendWhole } from '../telemetry/archive/whole-file.js'

/**
 * Maximum number of phone numbers on the list. Further phone numbers are refused, so that an entry is never dropped.
 */
export const DO_NOT_CALL_MAX = 1_000_000

export const doNotCallEntrySchema = z.object({
  /** Phone number as `partyKey`: its digits. */
  number: z.string(),
  /** Time in ISO 8601 form. */
  at: z.string(),
  /** Source of the entry: a caller (by the agent's tool or by an answer), or an operator. */
  by: z.enum(['caller', 'operator']),
  /** True if the phone number was removed from the list again. */
  removed: z.boolean().default(false),
})
export type KeptEntry = z.output<typeof doNotCallEntrySchema>
export type DoNotCallEntry = Omit<KeptEntry, 'removed'>

/** Position in a fleet's list: the identity of the list, and the number of the last change that a file contains. */
const syncedSchema = z.object({ synced: z.object({ list: z.string(), version: z.number() }) })
type Synced = z.output<typeof syncedSchema>['synced']

/**
 * Phone numbers that the gateway must not call. When a person's data is erased, the person's number stays on this list,
 * because otherwise the wish would be lost.
 */
export interface DoNotCall {
  has(number: string): Promise<boolean>
  /**
   * Adds a phone number. Resolves when the entry is stored. An operator's entry replaces a caller's entry, because a
   * caller's entry may be removed by `takeBack`.
   */
  add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void>
  /** Removes a phone number. @returns false if the number was not on the list */
  remove(number: string, wallMs: number): Promise<boolean>
  /** Removes the entry that `add` wrote for a caller at `addedMs`. @returns false if that entry is not on the list */
  takeBack(number: string, addedMs: number, wallMs: number): Promise<boolean>
  /** Returns entries, the newest first. */
  list(max: number): Promise<readonly DoNotCallEntry[]>
  /** Reads the changes that other nodes have made. */
  look(): Promise<void>
}

/**
 * List of one process, or a node's copy of its fleet's list: a file with one line for each change. All entries are in
 * memory too, including removed numbers.
 */
export class FileDoNotCall implements DoNotCall {
  readonly #path: string | null
  readonly #entries = new Map<string, KeptEntry>()
  #synced: Synced | null = null
  /** False if entries are missing in the file because a write failed. */
  #whole = true
  #writing: Promise<unknown> = Promise.resolve()

  private constructor(path: string | null) {
    this.#path = path
  }

  /** Returns a list that is not stored on disk. */
  static inMemory(): FileDoNotCall {
    return new FileDoNotCall(null)
  }

  /** @throws errors of the file system */
  static async open(path: string): Promise<FileDoNotCall> {
    const list = new FileDoNotCall(path)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
      if (thrown.code === 'ENOENT') return ''
      throw thrown
    })
    // If the process died while it wrote, the last line is incomplete. A line break separates this line from the next
    // entry.
    if (text !== '' && !text.endsWith('\n')) await appendFile(path, '\n')
    for (const line of text.split('\n')) {
      const json = jsonOrNull(line)
      const { data: entry } = doNotCallEntrySchema.safeParse(json)
      if (entry === undefined) list.#synced = syncedSchema.safeParse(json).data?.synced ?? list.#synced
      else {
        const number = keyOf(entry.number)
        list.#entries.set(number, { ...entry, number })
      }
    }
    return list
  }

  look(): Promise<void> {
    return Promise.resolve()
  }

  has(number: string): Promise<boolean> {
    return Promise.resolve(this.#isOn(partyKey(number)))
  }

  /** Returns all entries, including removed numbers. */
  entries(): Iterable<KeptEntry> {
    return this.#entries.values()
  }

  /** Position in the fleet's list; null if this list was never a copy of a fleet's list. */
  get synced(): Synced | null {
    return this.#synced
  }

  /** Adds entries of the fleet's list, and stores the list's version. */
  async follow(entries: readonly KeptEntry[], synced: Synced): Promise<void> {
    const changed = entries.filter((entry) => !same(entry, this.#entries.get(entry.number)))
    for (const entry of entries) this.#entries.set(entry.number, entry)
    this.#synced = synced
    const lines = this.#whole ? changed : [...this.#entries.values()]
    this.#whole = false
    await this.#append([...lines, { synced }])
    this.#whole = true
  }

  #isOn(key: string): boolean {
    return this.#entries.get(key)?.removed === false
  }

  async add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void> {
    const key = partyKey(number)
    if (key === '' || this.stays(number, by)) return
    const before = this.#entries.get(key)
    if (before === undefined && this.#entries.size >= DO_NOT_CALL_MAX)
      throw new RangeError(`the list has ${DO_NOT_CALL_MAX} numbers already`)
    const entry: KeptEntry = { number: key, at: new Date(wallMs).toISOString(), by, removed: false }
    await this.#put(entry, before)
  }

  async #put(entry: KeptEntry, before: KeptEntry | undefined): Promise<void> {
    this.#entries.set(entry.number, entry)
    try {
      await this.#append([entry])
    } catch (thrown) {
      // The earlier state is restored in memory, so that a repeated request writes the entry again.
      if (before === undefined) this.#entries.delete(entry.number)
      else this.#entries.set(entry.number, before)
      throw thrown
    }
  }

  /** True if the current entry must not be replaced by an entry from this source. */
  stays(number: string, by: DoNotCallEntry['by']): boolean {
    const entry = this.#entries.get(partyKey(number))
    return entry?.removed === false && (by === 'caller' || entry.by === 'operator')
  }

  async remove(number: string, wallMs: number): Promise<boolean> {
    const entry = this.#entries.get(partyKey(number))
    if (entry === undefined || entry.removed) return false
    await this.#put({ ...entry, at: new Date(wallMs).toISOString(), removed: true }, entry)
    return true
  }

  async takeBack(number: string, addedMs: number, wallMs: number): Promise<boolean> {
    return this.wasAdded(number, addedMs) && (await this.remove(number, wallMs))
  }

  /** True if a caller made the current entry at that time. */
  wasAdded(number: string, wallMs: number): boolean {
    const entry = this.#entries.get(partyKey(number))
    return entry?.removed === false && entry.by === 'caller' && entry.at === new Date(wallMs).toISOString()
  }

  list(max: number): Promise<readonly DoNotCallEntry[]> {
    return Promise.resolve(shownOf([...this.#entries.values()]).slice(0, max))
  }

  #append(lines: readonly object[]): Promise<void> {
    const path = this.#path
    if (path === null) return Promise.resolve()
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    const mine = this.#writing.then(() => appendWhole(path, text))
    this.#writing = mine.catch(() => undefined)
    return mine
  }
}

/** Returns the `partyKey` of an entry, even if the number was written into the file by hand in another form. */
function keyOf(number: string): string {
  const key = /^[1-9]/.test(number) ? partyKey(`+${number}`) : partyKey(number)
  return key === '' ? partyKey(number) || number : key
}

/** Entries on the list, the newest first. */
export function shownOf(entries: readonly KeptEntry[]): readonly DoNotCallEntry[] {
  return entries
    .flatMap(({ removed, ...entry }) => (removed ? [] : [entry]))
    .reverse()
    .sort((a, b) => b.at.localeCompare(a.at))
}

function same(one: KeptEntry, other: KeptEntry | undefined): boolean {
  return one.at === other?.at && one.by === other.by && one.removed === other.removed
}

/** Reads an entry in the form of a fleet's list, after decryption. */
export function readEntry(text: string): KeptEntry | null {
  const { data } = doNotCallEntrySchema.safeParse(jsonOrNull(text))
  return data === undefined ? null : { ...data, number: keyOf(data.number) }
}
