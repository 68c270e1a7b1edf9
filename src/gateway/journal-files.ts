import { createWriteStream, mkdirSync } from 'node:fs'
import type { WriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../core/clock.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { findFile } from '../telemetry/archive/stored-file.js'
import type { StoredFile } from '../telemetry/archive/stored-file.js'
import type { Log } from '../telemetry/log.js'

/** Journals that are open at once. */
const JOURNAL_FILES_MAX = 2000
/** Bytes of one journal that may wait for the disk. */
const JOURNAL_PENDING_BYTES_MAX = 256 * 1024

/** How long no new journal is begun after a write failed. */
const OFF_AFTER_FAILURE_MS = 60_000

/**
 * One file a call under `DATA_DIR/journals`. A journal ends when a write fails or when too much waits to be written.
 * After a failed write no new journal is begun for a minute, and one line is logged, not one a call. Calls are not
 * affected.
 */
export class JournalFiles {
  /** Lines that were not written. */
  dropped = 0
  readonly #folder: string
  readonly #log: Log
  readonly #clock: Clock
  /** Null: this call's journal ended before the call. */
  readonly #files = new Map<string, WriteStream | null>()
  #offUntilMs = -Infinity

  constructor(folder: string, log: Log, clock: Clock) {
    mkdirSync(folder, { recursive: true })
    this.#folder = folder
    this.#log = log
    this.#clock = clock
  }

  append(callSid: CallSid, lines: readonly string[]): void {
    const file = this.#open(callSid)
    if (file === null || file.writableLength > JOURNAL_PENDING_BYTES_MAX) {
      // A journal with a gap cannot be replayed, so it ends here.
      if (file !== null) this.#end(callSid, file)
      this.dropped += lines.length
      return
    }
    file.write(`${lines.join('\n')}\n`)
  }

  close(callSid: string): void {
    this.#files.get(callSid)?.end()
    this.#files.delete(callSid)
  }

  async closeAll(): Promise<void> {
    const open = [...this.#files.values()].filter((file) => file !== null)
    this.#files.clear()
    await Promise.all(open.map((file) => new Promise<void>((resolve) => file.end(() => resolve()))))
  }

  #open(callSid: CallSid): WriteStream | null {
    const known = this.#files.get(callSid)
    if (known !== undefined) return known
    if (this.#files.size >= JOURNAL_FILES_MAX) return null
    if (this.#clock() < this.#offUntilMs) {
      this.#files.set(callSid, null)
      return null
    }
    const file = createWriteStream(join(this.#folder, `${callSid}.jsonl`), { flags: 'a', mode: 0o600 })
    file.on('error', (thrown) => this.#failed(callSid, thrown))
    this.#files.set(callSid, file)
    return file
  }

  #end(callSid: CallSid, file: WriteStream): void {
    file.end()
    this.#files.set(callSid, null)
  }

  #failed(callSid: CallSid, thrown: Error): void {
    if (this.#files.has(callSid)) this.#files.set(callSid, null)
    const nowMs = this.#clock()
    if (nowMs >= this.#offUntilMs)
      this.#log.error({ err: thrown }, 'journals cannot be written: no new journal for a minute')
    this.#offUntilMs = nowMs + OFF_AFTER_FAILURE_MS
  }
}

/** The journal of a call, of any run; null when there is none. */
export function findJournal(folder: string, callSid: string): Promise<StoredFile | null> {
  return isCallSid(callSid) ? findFile(join(folder, `${callSid}.jsonl`)) : Promise.resolve(null)
}
