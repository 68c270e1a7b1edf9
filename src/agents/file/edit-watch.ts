import { relative, sep } from 'node:path'
import { watch } from 'chokidar'

/** Edits that come closer together than this are one. */
const SETTLE_MS = 300
/** An edit is read after this time at the latest: a file that is written continuously must not delay edits of others. */
const UNREAD_MS_MAX = 3000

interface EditWatchOptions {
  /** A file or a folder. */
  readonly path: string
  /** Levels of folders below it. */
  readonly depth: number
  /** Reads what was edited; one at a time. Does not reject. */
  readonly read: () => Promise<void>
  /** It cannot be watched. */
  readonly onError: (error: unknown) => void
}

/** Follows edits of files, and has those read together that come within a short time. */
export class EditWatch {
  /** Resolves when edits are seen. */
  readonly ready: Promise<void>
  readonly #read: () => Promise<void>
  readonly #watcher: ReturnType<typeof watch>
  #timer: NodeJS.Timeout | null = null
  #unreadSinceMs: number | null = null
  #reading: Promise<void> = Promise.resolve()
  #closed = false

  constructor({ path: root, depth, read, onError }: EditWatchOptions) {
    this.#read = read
    this.#watcher = watch(root, {
      ignoreInitial: true,
      depth,
      // Names that begin with two dots are watched: a mounted ConfigMap changes by replacing its link `..data`.
      ignored: (path) =>
        relative(root, path)
          .split(sep)
          .some((part) => part === 'node_modules' || /^\.[^.]/.test(part)),
    })
    this.#watcher.on('all', () => this.#settle())
    this.#watcher.on('error', onError)
    this.ready = new Promise((resolve) => this.#watcher.once('ready', resolve))
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    // chokidar 5 opens itself again, and watches the folder above, where it learns after its end that files are gone.
    this.#watcher.add = () => this.#watcher
    await this.#watcher.close()
    await this.#reading
  }

  #settle(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    const nowMs = performance.now()
    this.#unreadSinceMs ??= nowMs
    const waitMs = Math.max(0, Math.min(SETTLE_MS, this.#unreadSinceMs + UNREAD_MS_MAX - nowMs))
    this.#timer = setTimeout(() => {
      this.#unreadSinceMs = null
      this.#reading = this.#reading.then(() => (this.#closed ? undefined : this.#read()))
    }, waitMs)
  }
}
