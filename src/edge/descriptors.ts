import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import type { Log } from '../telemetry/log.js'

/**
 * Share of the file descriptors that connections may not use: an eighth, at most 256. They are reserved for live calls
 * (backends, tools, files) and the ops port.
 */
const DESCRIPTORS_RESERVED_SHARE = 1 / 8
const DESCRIPTORS_RESERVED_MAX = 256

/** If more than this share of the file descriptors is in use, each client address may use only its own share. */
const DESCRIPTORS_SCARCE_SHARE = 1 / 2

/**
 * Time in ms between two counts while fewer descriptors than DESCRIPTORS_SCARCE_SHARE are in use. Otherwise each check
 * counts. A count reads a whole folder of /proc.
 */
export const DESCRIPTORS_COUNT_MS = 1000

/** Data about the process for the guard; tests give their own. */
export interface DescriptorSource {
  /** Maximum number of descriptors that the process may open; null if the system does not report it. */
  readonly limit: number | null
  /** Number of open descriptors. Rejects with EMFILE or ENFILE if no descriptor is left for the count. */
  count(): Promise<number>
}

interface DescriptorGuardOptions {
  readonly source: DescriptorSource
  readonly log: Log
  /** Closes the connection that has waited longest for a complete head, if there is one. */
  readonly evict: () => void
  /** Stops accepting connections at once. */
  readonly pause: () => void
  /** Accepts connections again. Called again at each check until it succeeds. */
  readonly resume: () => Promise<void>
}

/**
 * Keeps this process from running out of file descriptors. Without a free descriptor, uWebSockets.js retries to accept
 * without a pause, which uses a whole core. Backends of live calls, tools and the ops port would fail, too. So no
 * connections are accepted while only a reserve is left. They are accepted again when twice the reserve is free. When
 * descriptors become scarce, each new connection first replaces a connection without a complete head.
 */
export class DescriptorGuard {
  /** Number of times that accepting was paused. */
  pauses = 0
  readonly #options: DescriptorGuardOptions
  readonly #pauseAt: number
  /**
   * Number of open descriptors from which each new connection replaces an old silent connection. Below this number, a
   * closed port is opened again.
   */
  readonly #resumeAt: number
  /**
   * Estimated number of open descriptors: the last count, plus the connections opened and minus the connections closed
   * since then.
   */
  #open = 0
  /** Numbers of connections that were opened and closed while a count ran. The count may or may not include them. */
  #opened = 0
  #closed = 0
  #countedAtMs = -Infinity
  #low = false
  #looking = false
  #resumeFailed = false

  constructor(options: DescriptorGuardOptions) {
    this.#options = options
    const { limit } = options.source
    const reserved = Math.min(DESCRIPTORS_RESERVED_MAX, Math.floor((limit ?? Infinity) * DESCRIPTORS_RESERVED_SHARE))
    this.#pauseAt = limit === null ? Infinity : limit - reserved
    this.#resumeAt = limit === null ? Infinity : limit - 2 * reserved
  }

  /** True while no connections are accepted. */
  get low(): boolean {
    return this.#low
  }

  /** True if descriptors are scarce, so that one address gets only its share. */
  get scarce(): boolean {
    return this.#open >= (this.#options.source.limit ?? Infinity) * DESCRIPTORS_SCARCE_SHARE
  }

  /** The reason why connections are not accepted, with the numbers of open and allowed descriptors. */
  get why(): string {
    return `${this.#open} of ${this.#options.source.limit ?? 'any number of'} file descriptors are open; at most ${this.#pauseAt} may be open`
  }

  /**
   * Counts a connection that was opened (1) or closed (-1). Hundreds may come between two calls of `look`. The end of
   * an audio socket is not reported; the next `look` corrects the count.
   */
  connection(change: number): void {
    this.#open += change
    if (change > 0) this.#opened += change
    else this.#closed -= change
    if (change > 0 && this.#open >= this.#resumeAt) this.#options.evict()
    if (this.#open >= this.#pauseAt) this.#pause()
  }

  /** Counts the open descriptors if a count is due; called by the edge's one timer. */
  async look(nowMs: number): Promise<void> {
    if (this.#looking || this.#pauseAt === Infinity) return
    if (!this.#low && !this.scarce && nowMs - this.#countedAtMs < DESCRIPTORS_COUNT_MS) return
    this.#countedAtMs = nowMs
    this.#looking = true
    try {
      this.#opened = this.#closed = 0
      const counted = await this.#count()
      // The count may or may not include connections of this moment. So it only limits the running number, from below
      // and from above.
      this.#open = Math.min(Math.max(this.#open, counted - this.#closed), counted + this.#opened)
      if (this.#open >= this.#pauseAt) this.#pause()
      else if (this.#low && this.#open < this.#resumeAt) await this.#resume()
    } finally {
      this.#looking = false
    }
  }

  async #count(): Promise<number> {
    const { source } = this.#options
    try {
      return await source.count()
    } catch (error) {
      // Counting needs a descriptor too, so these errors mean that all descriptors are in use. Any other error leaves
      // the number unknown.
      const code = error instanceof Error && 'code' in error ? error.code : null
      return code === 'EMFILE' || code === 'ENFILE' ? (source.limit ?? 0) : this.#open
    }
  }

  #pause(): void {
    if (this.#low) return
    this.#low = true
    this.pauses++
    this.#options.pause()
    this.#options.log.error(
      { open: this.#open, limit: this.#options.source.limit, paused_at: this.#pauseAt },
      'file descriptors run out: the public port is closed to new connections',
    )
  }

  async #resume(): Promise<void> {
    const { log, resume } = this.#options
    try {
      await resume()
    } catch (error) {
      if (!this.#resumeFailed) log.error({ err: error }, 'the public port cannot be reopened; the gateway keeps trying')
      this.#resumeFailed = true
      return
    }
    this.#low = false
    this.#resumeFailed = false
    log.info({ open: this.#open }, 'file descriptors are available again: the public port is open')
  }
}

/**
 * Descriptors of this process, on a system with /proc (Linux); elsewhere the limit is unknown and the guard does
 * nothing.
 */
export function ownDescriptors(): DescriptorSource {
  return { limit: ownLimit(), count: async () => (await readdir('/proc/self/fd')).length }
}

function ownLimit(): number | null {
  let limits: string
  try {
    limits = readFileSync('/proc/self/limits', 'utf8')
  } catch {
    return null // not Linux
  }
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
  return soft === undefined ? null : Number(soft)
}
