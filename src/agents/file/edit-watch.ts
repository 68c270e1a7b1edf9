import { realpath, stat } from 'node:fs/promises'
import { relative, sep } from 'node:path'
import { watch } from 'chokidar'

/** Time within which several edits are read together, in milliseconds. */
const SETTLE_MS = 300
/**
 * Maximum delay of an edit, in milliseconds. The limit is needed if one file is written continuously, so that edits of
 * other files are read.
 */
const UNREAD_MS_MAX = 3000
/** Time between two checks that the path still leads to the watched file or folder, in milliseconds. */
const SAME_PLACE_MS = 1000

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

/**
 * Watches files. Several edits within a short time cause one reading.
 *
 * The operating system watches files and not paths. If a link in the path is replaced, or the folder is removed or
 * replaced, the path leads to another place. Then the other place is read and watched.
 */
export class EditWatch {
  /** Resolves when the watch is ready to detect edits. */
  readonly ready: Promise<void>
  readonly #options: EditWatchOptions
  #watcher: ReturnType<typeof watch>
  /** Place to which the path led at the last check. */
  #place: string
  #placeTimer: NodeJS.Timeout | null = null
  #timer: NodeJS.Timeout | null = null
  #unreadSinceMs: number | null = null
  #reading: Promise<void> = Promise.resolve()
  #closed = false

  constructor(options: EditWatchOptions) {
    this.#options = options
    this.#place = GONE
    this.#watcher = this.#watch()
    const isWatching = new Promise<void>((resolve) => this.#watcher.once('ready', resolve))
    this.ready = Promise.all([isWatching, placeOf(options.path)]).then(([, place]) => {
      this.#place = place
      this.#checkLater()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#placeTimer !== null) clearTimeout(this.#placeTimer)
    await closeWatcher(this.#watcher)
    await this.#reading
  }

  #watch(): ReturnType<typeof watch> {
    const { path: root, depth, onError } = this.#options
    const watcher = watch(root, {
      ignoreInitial: true,
      depth,
      // Names that begin with two dots are watched too. If a mounted ConfigMap changes, its link `..data` is replaced.
      ignored: (path) =>
        relative(root, path)
          .split(sep)
          .some((part) => part === 'node_modules' || /^\.[^.]/.test(part)),
    })
    watcher.on('all', () => this.#settle())
    watcher.on('error', onError)
    return watcher
  }

  #checkLater(): void {
    if (!this.#closed) this.#placeTimer = setTimeout(() => void this.#checkPlace(), SAME_PLACE_MS).unref()
  }

  async #checkPlace(): Promise<void> {
    const place = await placeOf(this.#options.path)
    if (place !== this.#place && !this.#closed) {
      this.#place = place
      const before = this.#watcher
      this.#watcher = this.#watch()
      // Files that were edited before the new watch was ready are read then.
      this.#watcher.once('ready', () => this.#settle())
      this.#settle()
      await closeWatcher(before)
    }
    this.#checkLater()
  }

  #settle(): void {
    if (this.#closed) return
    if (this.#timer !== null) clearTimeout(this.#timer)
    const nowMs = performance.now()
    this.#unreadSinceMs ??= nowMs
    const waitMs = Math.max(0, Math.min(SETTLE_MS, this.#unreadSinceMs + UNREAD_MS_MAX - nowMs))
    this.#timer = setTimeout(() => {
      this.#unreadSinceMs = null
      this.#reading = this.#reading.then(() => (this.#closed ? undefined : this.#options.read()))
    }, waitMs)
  }
}

const GONE = 'gone'

/** Returns a text that is different for each file or folder to which a path may lead. An inode may be used again. */
async function placeOf(path: string): Promise<string> {
  try {
    const { dev, ino, birthtimeNs } = await stat(path, { bigint: true })
    return `${await realpath(path)} ${dev} ${ino} ${birthtimeNs}`
  } catch {
    return GONE
  }
}

async function closeWatcher(watcher: ReturnType<typeof watch>): Promise<void> {
  // Without this line, chokidar 5 would notice missing files even after `close`, start again, and watch the parent
  // folder.
  watcher.add = () => watcher
  await watcher.close()
}
