import { keptDays, keptFolder, KEPT_FILES } from './kept-files.js'
import { LineLog } from './line-log.js'

interface KeptLogOptions {
  readonly dataFolder: string
  readonly kind: 'records' | 'handoffs'
  readonly fileBytes: number
}

/**
 * The documents of a kind: a log for each retention, so that all documents of a file are deleted with it. Synchronous, and
 * throws, as `LineLog`.
 */
export class KeptLog {
  readonly #options: KeptLogOptions
  readonly #logs = new Map<number | null, LineLog>()

  constructor(options: KeptLogOptions) {
    this.#options = options
  }

  /** Lines that a crash had left unfinished. */
  get torn(): number {
    return this.#all.reduce((sum, log) => sum + log.torn, 0)
  }

  load(nowMs: number): void {
    for (const days of keptDays(this.#options.dataFolder, this.#options.kind)) this.#log(days).load(nowMs)
  }

  /** @param days  how long it is kept; null: as long as the settings say */
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

/** ISO 8601; empty where a document does not say. */
function startOf(document: unknown): string {
  const { startedAt } = document as { readonly startedAt?: unknown }
  return typeof startedAt === 'string' ? startedAt : ''
}
