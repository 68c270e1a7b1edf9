import { readFile } from 'node:fs/promises'
import type { z } from 'zod'
import { messageOf } from '../core/errors.js'
import { writeWhole } from '../telemetry/archive/whole-file.js'
import type { Log } from '../telemetry/log.js'

/** Time in ms from a change to the write of the file. */
const SAVE_MS = 1000

interface KeptCountsOptions<Kept> {
  /** Path of the file; null if the counts need not survive the process. */
  readonly file: string | null
  /** Returns the current content of the file. */
  readonly content: () => Kept
  /** Log line if the file cannot be written. */
  readonly notKept: string
  readonly log: Log
  /** Timer. @returns a function that cancels it */
  readonly later: (ms: number, run: () => void) => () => void
}

/** File with this process's part of counts that all nodes add up. */
export class KeptCounts<Kept> {
  readonly #options: KeptCountsOptions<Kept>
  #endSave: (() => void) | null = null
  #saving: Promise<void> = Promise.resolve()
  #faultSaid = false

  constructor(options: KeptCountsOptions<Kept>) {
    this.#options = options
  }

  /** Writes the counts within a second. Call it after each change of the counts. */
  saveSoon(): void {
    this.#endSave ??= this.#options.later(SAVE_MS, () => {
      this.#endSave = null
      void this.#save()
    })
  }

  /** Writes the file at once. */
  async close(): Promise<void> {
    this.#endSave?.()
    this.#endSave = null
    await this.#save()
  }

  #save(): Promise<void> {
    const { file, content, notKept, log } = this.#options
    if (file === null) return Promise.resolve()
    this.#saving = this.#saving.then(async () => {
      try {
        await writeWhole(file, JSON.stringify(content()))
        this.#faultSaid = false
      } catch (thrown) {
        if (!this.#faultSaid) log.error({ reason: messageOf(thrown) }, notKept)
        this.#faultSaid = true
      }
    })
    return this.#saving
  }
}

/**
 * Reads the file of an earlier run.
 * @param notRead  log line if the file cannot be read
 * @returns null if the file does not exist or cannot be read
 */
export async function keptCounts<Schema extends z.ZodType>(
  file: string | null,
  schema: Schema,
  log: Log,
  notRead: string,
): Promise<z.output<Schema> | null> {
  if (file === null) return null
  try {
    return schema.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') log.error({ file }, notRead)
    return null
  }
}
