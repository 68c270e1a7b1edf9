import { keptDays, keptFolder, KEPT_FILES } from './kept-files.js'
import { LineLog } from './line-log.js'

interface KeptLogOptions {
  readonly dataFolder: string
  readonly kind: 'records' | 'handoffs'
  readonly fileBytes: number
}

/**
 * Documents of one kind. There is one log for each retention, so that all documents of a file expire together. Like
 * `LineLog`, this class is synchronous, and its methods throw.
 */
export class KeptLog {
  readonly #options: KeptLogOptions
  readonly #logs = new Map<number | null, LineLog>()

  constructor(options: KeptLogOptions) {
    this.#options = options
  }

  /** Number of lines that a crash has left incomplete. */
  get torn(): number {
    return this.#all.reduce((sum, log) => sum + log.torn, 0)
  }

  load(nowMs: number): void {
    for (const days of keptDays(this.#options.dataFolder, this.#options.kind)) this.#log(days).load(nowMs)
  }

  /** @param days time in days for which the document is stored; null for the default of the settings */
  append(key: string, document: unknown, nowMs: number, days: number | null): void {
    const isNew = !this.#logs.has(days)
    const log = this.#log(days)
    if (isNew) log.load(nowMs)
    log.append(key, document, nowMs)
  }

  find(key: string): unknown {
    for (const log of this.#all) {
      const found = log.find(key)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** The newest documents, oldest of them first. */
  newest(count: number): unknown[] {
    const all = this.#all.flatMap((log) => log.newest(count))
    return this.#logs.size < 2 ? all : all.sort((a, b) => (startOf(a) < startOf(b) ? -1 : 1)).slice(-count)
  }

  sync(): void {
    for (const log of this.#all) log.sync()
  }

  close(): void {
    for (const log of this.#all) log.close()
  }

  get #all(): LineLog[] {
    return [...this.#logs.values()]
  }

  #log(days: number | null): LineLog {
    const { dataFolder, kind, fileBytes } = this.#options
    const known = this.#logs.get(days)
    if (known !== undefined) return known
    const log = new LineLog({ folder: keptFolder(dataFolder, kind, days), name: KEPT_FILES[kind].log, fileBytes })
    this.#logs.set(days, log)
    return log
  }
}

/** Start time, ISO 8601; empty if a document does not have a start time. */
function startOf(document: unknown): string {
  const { startedAt } = document as { readonly startedAt?: unknown }
  return typeof startedAt === 'string' ? startedAt : ''
}
