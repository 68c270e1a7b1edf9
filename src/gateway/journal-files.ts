import { createWriteStream, mkdirSync, unlink } from 'node:fs'
import type { WriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config/settings.js'
import type { Clock } from '../core/clock.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { keptFolder } from '../telemetry/archive/kept-files.js'
import { findKept } from '../telemetry/archive/stored-file.js'
import type { StoredFile } from '../telemetry/archive/stored-file.js'
import type { Log } from '../telemetry/log.js'

/** Maximum number of open journals. */
const JOURNAL_FILES_MAX = 2000
/** Maximum number of bytes of one journal that wait to be written. */
const JOURNAL_PENDING_BYTES_MAX = 256 * 1024

/** Time in ms after a failed write in which no new journal is started. */
const OFF_AFTER_FAILURE_MS = 60_000

/**
 * Journals: one file per call under `DATA_DIR/journals`. If a write fails or too many bytes wait, the journal ends, but
 * its call continues. For the next minute no journal is started.
 */
export class JournalFiles {
  /** Number of lines that were not written. */
  dropped = 0
  readonly #dataFolder: string
  readonly #log: Log
  readonly #clock: Clock
  /** Open files by call; null if the journal ended before its call. */
  readonly #files = new Map<string, WriteStream | null>()
  #offUntilMs = -Infinity

  constructor(dataFolder: string, log: Log, clock: Clock) {
    mkdirSync(keptFolder(dataFolder, 'journals'), { recursive: true, mode: 0o700 })
    this.#dataFolder = dataFolder
    this.#log = log
    this.#clock = clock
  }

  /** @param days time in days for which the journal is stored; null for the default of the settings */
  append(callSid: CallSid, lines: readonly string[], days: number | null = null): void {
    const file = this.#open(callSid, days)
    if (file === null || file.writableLength > JOURNAL_PENDING_BYTES_MAX) {
      // A journal with a gap cannot be replayed, so the journal ends here.
      if (file !== null) this.#end(callSid, file)
      this.dropped += lines.length
      return
    }
    file.write(`${lines.join('\n')}\n`)
  }

  /** Deletes a call's journal. Further lines of this call are not written. */
  discard(callSid: string): void {
    const file = this.#files.get(callSid) ?? null
    this.#files.set(callSid, null)
    file?.end(() => unlink(file.path, () => undefined))
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

  #open(callSid: CallSid, days: number | null): WriteStream | null {
    const known = this.#files.get(callSid)
    if (known !== undefined) return known
    if (this.#files.size >= JOURNAL_FILES_MAX) return null
    if (this.#clock() < this.#offUntilMs) {
      this.#files.set(callSid, null)
      return null
    }
    const folder = keptFolder(this.#dataFolder, 'journals', days)
    if (days !== null) makeFolder(folder)
    const file = createWriteStream(join(folder, `${callSid}.jsonl`), { flags: 'a', mode: 0o600 })
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

/**
 * @returns null if journals are not stored. A journal contains the call's words, and the requests and answers of its
 * tools
 */
export function openJournals(
  { dataDir, journalCalls, recordsTranscript }: Pick<Config, 'dataDir' | 'journalCalls' | 'recordsTranscript'>,
  log: Log,
  clock: Clock,
): JournalFiles | null {
  if (journalCalls === 'off') return null
  if (recordsTranscript !== 'none') return new JournalFiles(dataDir, log, clock)
  log.warn({}, 'no journals are kept: RECORDS_TRANSCRIPT=none keeps no words')
  return null
}

/** Creates the folder. A failure is ignored here, because the later error of the file gives the reason. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch {
    // The error of the file reports this fault.
  }
}

/** Path of a call's journal, from this run or an earlier run; null if there is none. */
export function findJournal(dataFolder: string, callSid: string): Promise<StoredFile | null> {
  return isCallSid(callSid) ? findKept(dataFolder, 'journals', [`${callSid}.jsonl`]) : Promise.resolve(null)
}
