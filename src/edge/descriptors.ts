import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import type { Log } from '../telemetry/log.js'

/**
 * File descriptors that connections may not have: an eighth, at most 256. They are for the backends, tools and files of
 * live calls and for the ops port.
 */
const DESCRIPTORS_RESERVED_SHARE = 1 / 8
const DESCRIPTORS_RESERVED_MAX = 256

/** Share of the file descriptors in use from which each address may have no more than its own share. */
const DESCRIPTORS_SCARCE_SHARE = 1 / 2

/**
 * The open descriptors are counted this often while less than that share is in use, and at each look from there on: a count
 * reads a whole folder of /proc.
 */
export const DESCRIPTORS_COUNT_MS = 1000

/** The guard's view of the process; tests give their own. */
export interface DescriptorSource {
  /** Most descriptors that the process may have open; null where the system does not report it. */
  readonly limit: number | null
  /** How many are open. Rejects with EMFILE or ENFILE when none is left to count with. */
  count(): Promise<number>
}

interface DescriptorGuardOptions {
  readonly source: DescriptorSource
  readonly log: Log
  /** Closes the connection that has waited longest for a whole head, if there is one. */
  readonly evict: () => void
  /** Stops accepting connections at once. */
  readonly pause: () => void
  /** Accepts connections again. Called at each look until it does not reject. */
  readonly resume: () => Promise<void>
}

/**
 * Keeps this process from running out of file descriptors. Without a free one uWebSockets.js cannot accept and retries
 * without a pause, which uses a whole core; backends of live calls, tools and the ops port fail, too. So no connections
 * are accepted while only a reserve is left; they are accepted again when twice the reserve is free. Before that,
 * connections that have sent no whole head make room for new ones.
 */
export class DescriptorGuard {
  /** How often accepting was stopped. */
  pauses = 0
  readonly #options: DescriptorGuardOptions
  readonly #pauseAt: number
  /** From here on each new connection replaces an old one that has sent nothing; below it the port is opened again. */
  readonly #resumeAt: number
  /** Open descriptors at the last count, and the connections that were opened and closed since. */
  #open = 0
  /** Connections that were opened and closed during a count, which has seen some of them. */
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

  /** True if descriptors are scarce, so that one address gets no more than its share. */
  get scarce(): boolean {
    return this.#open >= (this.#options.source.limit ?? Infinity) * DESCRIPTORS_SCARCE_SHARE
  }

  /** Why connections are not accepted, with the figures that decided it. */
  get why(): string {
    return `${this.#open} of ${this.#options.source.limit ?? 'any number of'} file descriptors are open; ${this.#pauseAt} may be`
  }

  /**
   * A connection was opened (1) or closed (-1). Each one is counted, because hundreds may come between two calls of
   * `look`. The end of an audio socket is not reported; the next `look` corrects that.
   */
  connection(change: number): void {
    this.#open += change
    if (change > 0) this.#opened += change
    else this.#closed -= change
    if (change > 0 && this.#open >= this.#resumeAt) this.#options.evict()
    if (this.#open >= this.#pauseAt) this.#pause()
  }

  /** Counts the open descriptors if it is time to; called by the edge's one timer. */
  async look(nowMs: number): Promise<void> {
    if (this.#looking || this.#pauseAt === Infinity) return
    if (!this.#low && !this.scarce && nowMs - this.#countedAtMs < DESCRIPTORS_COUNT_MS) return
    this.#countedAtMs = nowMs
    this.#looking = true
    try {
      this.#opened = this.#closed = 0
      const counted = await this.#count()
      // The sum that was kept decides within what the count leaves open, so that no connection counts twice.
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
      // Counting needs a descriptor too. Any other error leaves the number unknown.
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

/** This process, where there is a /proc (Linux); elsewhere the limit is unknown and the guard does nothing. */
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
