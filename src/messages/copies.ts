import { entrySchema } from './entry.js'
import type { Entry } from './entry.js'
import type { SharedOutbox } from './shared-outbox.js'

/**
 * Maximum number of copies on this node. A message above this number is only in the fleet's store, which counts as a
 * fault.
 */
const COPIES_MAX = 100_000
/** Maximum number of copies about which one check asks the store. The next check continues after these copies. */
const LOOKED_MAX = 1000

interface CopiesOptions {
  readonly shared: Pick<SharedOutbox, 'states' | 'add'>
  readonly disk: Disk
  /** Called with a fault of the disk. */
  readonly onFault: (thrown: unknown) => void
  /** Called when the store had lost a message and the message was added again. */
  readonly onRestored: (entry: Entry) => void
  /** Queue of an entry in the store. */
  readonly queueOf: (entry: Entry) => string
}

/**
 * Copies on this node's disk of messages that this node added to the fleet's store. A file is kept until its message is
 * over, at whichever node. If the store has lost messages after a failover, they are added again from these files, with
 * the same key and id.
 */
export class Copies {
  readonly #options: CopiesOptions
  /** Paths by key, in the order of the messages. At most COPIES_MAX. */
  readonly #paths = new Map<string, string>()
  /** Last key of the previous check, after which the next check begins; null to begin with the oldest message. */
  #lookedTo: string | null = null

  constructor(options: CopiesOptions) {
    this.#options = options
  }

  /**
   * Writes a file for a message. When the store has the message, `keep` registers the file as a copy.
   * @returns true if the file was written
   */
  async write(path: string, entry: Entry): Promise<boolean> {
    if (this.#paths.size >= COPIES_MAX) {
      this.#options.onFault(new RangeError(`there are ${COPIES_MAX} messages on the disk that the store has`))
      return false
    }
    try {
      await this.#options.disk.write(path, JSON.stringify(entry))
    } catch (thrown) {
      this.#options.onFault(thrown)
      return false
    }
    return true
  }

  /** Registers an existing file as a copy. */
  keep(key: string, path: string): void {
    this.#paths.set(key, path)
  }

  /** Removes the copy of a message that is over. */
  async remove(key: string): Promise<void> {
    const path = this.#paths.get(key)
    if (path === undefined) return
    this.#paths.delete(key)
    try {
      await this.#options.disk.remove(path)
    } catch (thrown) {
      // A missing file is not a fault, because it was erased.
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') this.#options.onFault(thrown)
    }
  }

  /** Removes the copies of these calls from memory. The erasure of the calls deletes the files. */
  forget(callSids: ReadonlySet<string>): void {
    for (const key of this.#paths.keys()) if (callSids.has(key.slice(0, key.lastIndexOf('.')))) this.#paths.delete(key)
  }

  /**
   * Asks the store about the next LOOKED_MAX copies. The files of messages that are over are deleted, and lost messages
   * are added again.
   * @throws if the store cannot be reached
   */
  async look(): Promise<void> {
    const keys = [...this.#paths.keys()]
    const from = this.#lookedTo === null ? 0 : keys.indexOf(this.#lookedTo) + 1
    const asked = keys.slice(from, from + LOOKED_MAX)
    this.#lookedTo = from + LOOKED_MAX < keys.length ? (asked.at(-1) ?? null) : null
    if (asked.length === 0) return
    const states = await this.#options.shared.states(asked)
    for (const [i, key] of asked.entries()) {
      const state = states[i]
      if (state === 'over' || state === 'dead') await this.remove(key)
      else if (state === 'lost') await this.#restore(key)
    }
  }

  async #restore(key: string): Promise<void> {
    const { shared, disk, onFault, onRestored, queueOf } = this.#options
    const path = this.#paths.get(key)
    if (path === undefined) return
    let entry: Entry
    try {
      entry = entrySchema.parse(JSON.parse(await disk.read(path)))
    } catch (thrown) {
      this.#paths.delete(key)
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') onFault(thrown)
      return
    }
    // If the store is full, a later check tries again.
    if ((await shared.add(key, queueOf(entry), entry)) === 'added') onRestored(entry)
  }
}

/** File system; tests may replace it. */
export interface Disk {
  readonly write: (path: string, text: string) => Promise<void>
  readonly read: (path: string) => Promise<string>
  readonly move: (from: string, to: string) => Promise<void>
  readonly remove: (path: string) => Promise<void>
}
