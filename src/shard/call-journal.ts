import type { CallCheckpoint } from '../call/checkpoint.js'
import type { CallSessionOptions } from '../call/call-options.js'
import { JournalWriter } from '../call/journal.js'

/** Lines that are collected before they go to the main thread in one message. */
const LINES_PER_MESSAGE = 100

/** The journal of one call on its way to the main thread, which owns the files. */
export class CallJournal {
  readonly writer: JournalWriter
  readonly #post: (lines: readonly string[]) => void
  #lines: string[] = []

  /** @param post  gets some lines at a time; the array is the receiver's. */
  constructor(options: CallSessionOptions, resume: CallCheckpoint | null, post: (lines: readonly string[]) => void) {
    this.#post = post
    this.writer = new JournalWriter((line) => this.#lines.push(line), options, resume)
  }

  /** Once a tick: passes on what has collected. */
  pass(): void {
    if (this.#lines.length < LINES_PER_MESSAGE) return
    this.#post(this.#lines)
    this.#lines = []
  }

  /** At the end: passes on everything. */
  end(): void {
    this.writer.flush()
    if (this.#lines.length > 0) this.#post(this.#lines)
    this.#lines = []
  }
}
