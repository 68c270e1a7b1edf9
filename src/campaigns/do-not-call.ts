import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import { jsonOrNull } from '../core/json.js'
import { partyKey } from '../sautikit/phone.js'
import { appendWhole } from '../telemetry/archive/whole-file.js'

/** Numbers on the list. One more is refused: nobody who asked is forgotten. */
export const DO_NOT_CALL_MAX = 1_000_000

export const doNotCallEntrySchema = z.object({
  /** `partyKey`: the digits. */
  number: z.string(),
  /** ISO 8601. */
  at: z.string(),
  /** Who put it there: the caller, by the agent's tool or by an answer, or an operator. */
  by: z.enum(['caller', 'operator']),
  /** True: taken off again. */
  removed: z.boolean().default(false),
})
export type KeptEntry = z.output<typeof doNotCallEntrySchema>
export type DoNotCallEntry = Omit<KeptEntry, 'removed'>

/** Position in a fleet's list: the list, and the last change that a file contains. */
const syncedSchema = z.object({ synced: z.object({ list: z.string(), version: z.number() }) })
type Synced = z.output<typeof syncedSchema>['synced']

/** Who wants no calls from us. An erasure leaves it as it is: it is how their wish is kept. */
export interface DoNotCall {
  has(number: string): Promise<boolean>
  /** Resolves when it is kept. An operator's entry takes the place of a caller's, which may be taken back. */
  add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void>
  /** @returns false where it was not there */
  remove(number: string, wallMs: number): Promise<boolean>
  /** Removes what `add` has written for a caller at `addedMs`. @returns false where that does not stand, or another entry */
  takeBack(number: string, addedMs: number, wallMs: number): Promise<boolean>
  /** The newest first. */
  list(max: number): Promise<readonly DoNotCallEntry[]>
  /** Follows what other nodes have changed. */
  look(): Promise<void>
}

/**
 * The list of one process, or a node's copy of the list of its fleet: a file, a line for each change; all of it is in
 * memory too, and numbers that were taken off again.
 */
export class FileDoNotCall implements DoNotCall {
  readonly #path: string | null
  readonly #entries = new Map<string, KeptEntry>()
  #synced: Synced | null = null
  /** False: the file lacks what the disk did not take. */
  #whole = true
  #writing: Promise<unknown> = Promise.resolve()

  private constructor(path: string | null) {
    this.#path = path
  }

  /** One that dies with the process. */
  static inMemory(): FileDoNotCall {
    return new FileDoNotCall(null)
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

  /** All of it, and what was taken off again. */
  entries(): Iterable<KeptEntry> {
    return this.#entries.values()
  }

  /** Null: it was never a copy of a fleet's list. */
  get synced(): Synced | null {
    return this.#synced
  }

  /** Takes entries as the list of the fleet has them, and notes how far they go. */
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
      // Who asks again is written then.
      if (before === undefined) this.#entries.delete(entry.number)
      else this.#entries.set(entry.number, before)
      throw thrown
    }
  }

  /** True if an entry stands that such another one does not replace. */
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

  /** True if the entry that stands is one that a caller has made at that time. */
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

/** The `partyKey` of an entry, also where somebody wrote it into the file in another form. */
function keyOf(number: string): string {
  const key = /^[1-9]/.test(number) ? partyKey(`+${number}`) : partyKey(number)
  return key === '' ? partyKey(number) || number : key
}

/** Those that are on the list, the newest first. */
export function shownOf(entries: readonly KeptEntry[]): readonly DoNotCallEntry[] {
  return entries
    .flatMap(({ removed, ...entry }) => (removed ? [] : [entry]))
    .reverse()
    .sort((a, b) => b.at.localeCompare(a.at))
}

function same(one: KeptEntry, other: KeptEntry | undefined): boolean {
  return one.at === other?.at && one.by === other.by && one.removed === other.removed
}

/** As a fleet keeps one entry: by a keyed hash of the number, encrypted. */
export function readEntry(text: string): KeptEntry | null {
  const { data } = doNotCallEntrySchema.safeParse(jsonOrNull(text))
  return data === undefined ? null : { ...data, number: keyOf(data.number) }
}
