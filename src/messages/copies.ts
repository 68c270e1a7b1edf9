import { entrySchema } from './entry.js'
import type { Entry } from './entry.js'
import type { SharedOutbox } from './shared-outbox.js'

/** Copies that this node has; a message beyond is in the fleet's store alone, and is counted as a fault. */
const COPIES_MAX = 100_000
/** Copies of which one look asks the store; the next look goes on. */
const LOOKED_MAX = 1000

interface CopiesOptions {
  readonly shared: Pick<SharedOutbox, 'states' | 'add'>
  readonly disk: Disk
  /** A fault of the disk. */
  readonly onFault: (thrown: unknown) => void
  /** Called when a message that the store had lost is in the store again. */
  readonly onRestored: (entry: Entry) => void
  /** Queue of an entry in the store. */
  readonly queueOf: (entry: Entry) => string
}

/**
 * Files of messages that the fleet's store has too: this node wrote them there, and its file stays until the message is
 * over, at whichever node. What the store has lost is added again from here, under the same key and id: a store that comes
 * back empty, and a replica that takes its master's place without the newest messages.
 */
export class Copies {
  readonly #options: CopiesOptions
  /** Path by key, in the order of the messages. At most COPIES_MAX. */
  readonly #paths = new Map<string, string>()
  /** The key after which the next look begins; null: at the oldest. */
  #lookedTo: string | null = null

  constructor(options: CopiesOptions) {
    this.#options = options
  }

  /** Writes a file that `keep` makes a copy once the store has the message. @returns whether it is there */
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

  /** A file that is there becomes a copy. */
  keep(key: string, path: string): void {
    this.#paths.set(key, path)
  }

  /** The message is over. */
  async remove(key: string): Promise<void> {
    const path = this.#paths.get(key)
    if (path === undefined) return
    this.#paths.delete(key)
    try {
      await this.#options.disk.remove(path)
    } catch (thrown) {
      // One that is gone was erased.
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') this.#options.onFault(thrown)
    }
  }

  /** Forgets the copies of these calls; whoever erases a call erases its files. */
  forget(callSids: ReadonlySet<string>): void {
    for (const key of this.#paths.keys()) if (callSids.has(key.slice(0, key.lastIndexOf('.')))) this.#paths.delete(key)
  }

  /**
   * Asks the store for the next LOOKED_MAX copies: files of messages that are over are deleted, and lost messages added again.
   * @throws when the store cannot be reached
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
    // Full: the next look tries again.
    if ((await shared.add(key, queueOf(entry), entry)) === 'added') onRestored(entry)
  }
}

/** The file system, as a test may break it. */
export interface Disk {
  readonly write: (path: string, text: string) => Promise<void>
  readonly read: (path: string) => Promise<string>
  readonly move: (from: string, to: string) => Promise<void>
  readonly remove: (path: string) => Promise<void>
}
