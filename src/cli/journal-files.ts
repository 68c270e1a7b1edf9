import { createWriteStream, mkdirSync } from 'node:fs'
import type { WriteStream } from 'node:fs'
import { join } from 'node:path'
import type { CallSid } from '../core/ids.js'
import { JOURNAL_FILES_MAX, JOURNAL_PENDING_BYTES_MAX } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'

/**
 * One file a call under `DATA_DIR/journals`. A disk that is full or slow ends the journal of that call and nothing
 * else: what waits to be written is bounded, and the first failure is logged once.
 */
export class JournalFiles {
  /** Lines that were not written. */
  dropped = 0
  readonly #folder: string
  readonly #log: Log
  readonly #files = new Map<string, WriteStream | null>()

  constructor(folder: string, log: Log) {
    mkdirSync(folder, { recursive: true })
    this.#folder = folder
    this.#log = log
  }

  append(callSid: CallSid, lines: readonly string[]): void {
    const file = this.#open(callSid)
    if (file === null || file.writableLength > JOURNAL_PENDING_BYTES_MAX) {
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
    const file = createWriteStream(join(this.#folder, `${callSid}.jsonl`), { flags: 'a', mode: 0o600 })
    file.on('error', (thrown) => {
      this.#log.error({ err: thrown, call_sid: callSid }, 'the journal of a call cannot be written')
      if (this.#files.has(callSid)) this.#files.set(callSid, null)
    })
    this.#files.set(callSid, file)
    return file
  }
}
