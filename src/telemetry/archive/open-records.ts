import type { Clock } from '../../core/clock.js'
import type { CallSid } from '../../core/ids.js'
import { OPEN_RECORDS_SWEEP_MS, OPEN_RECORD_EVERY_MS } from '../../core/limits.js'

interface OpenRecordsOptions {
  readonly clock: Clock
  /** @returns false when too many wait already: nothing was composed, and it is tried again */
  readonly write: (callSid: CallSid, compose: () => unknown) => boolean
}

interface OpenRecord {
  /** Composes the record as it would be if the process died now. */
  readonly compose: () => unknown
  writtenAtMs: number
}

/**
 * Which live calls have news that is not on the disk yet, and when it goes there. Only the newest state of a call counts, so
 * nothing queues: a call whose turn has not come is written later, with all that happened meanwhile.
 */
export class OpenRecords {
  readonly #options: OpenRecordsOptions
  readonly #open = new Map<CallSid, OpenRecord>()
  /** Those with news, the one that has waited longest first. */
  readonly #changed = new Set<CallSid>()
  #timer: NodeJS.Timeout | null = null

  constructor(options: OpenRecordsOptions) {
    this.#options = options
  }

  /** A stream opened: its first record is small, and written at once. */
  open(callSid: CallSid, compose: () => unknown): void {
    this.#open.set(callSid, { compose, writtenAtMs: -Infinity })
    this.changed(callSid)
    this.#write(callSid)
  }

  /** There is more to know of a call. */
  changed(callSid: CallSid): void {
    if (!this.#open.has(callSid)) return
    this.#changed.add(callSid)
    if (this.#timer !== null) return
    this.#timer = setInterval(() => { this.sweep() }, OPEN_RECORDS_SWEEP_MS)
    this.#timer.unref()
  }

  /** The call is over. */
  close(callSid: CallSid): void {
    this.#open.delete(callSid)
    this.#changed.delete(callSid)
  }

  /** Writes one call, the first that is due. */
  sweep(): void {
    const dueMs = this.#options.clock() - OPEN_RECORD_EVERY_MS
    for (const callSid of this.#changed) {
      if ((this.#open.get(callSid)?.writtenAtMs ?? Infinity) <= dueMs) return this.#write(callSid)
    }
    if (this.#changed.size === 0) this.stop()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #write(callSid: CallSid): void {
    const record = this.#open.get(callSid)
    if (record === undefined || !this.#options.write(callSid, record.compose)) return
    record.writtenAtMs = this.#options.clock()
    this.#changed.delete(callSid)
  }
}
