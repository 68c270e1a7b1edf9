import { relative, sep } from 'node:path'
import { watch } from 'chokidar'

/** Time within which several edits are read together, in milliseconds. */
const SETTLE_MS = 300
/**
 * Maximum delay of an edit, in milliseconds. The limit is needed if one file is written continuously, so that edits of
 * other files are read.
 */
const UNREAD_MS_MAX = 3000

interface EditWatchOptions {
  /** Path of a file or a folder. */
  readonly path: string
  /** Number of folder levels below the path that are watched. */
  readonly depth: number
  /** Reads the edited files. Only one run is active at a time. The promise never rejects. */
  readonly read: () => Promise<void>
  /** Called if the path cannot be watched. */
  readonly onError: (error: unknown) => void
}

/** Watches files. Several edits within a short time cause one reading. */
export class EditWatch {
  /** Resolves when the watch is ready to detect edits. */
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
      // Names that begin with two dots are watched too. If a mounted ConfigMap changes, its link `..data` is replaced.
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
    // Without this line, chokidar 5 would notice missing files even after `close`, start again, and watch the parent
    // folder.
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
