import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import type { ChartGroup, ChartRange } from '../../../call/documents/call-charts.js'
import type { CallSearch, WrittenRecord } from '../../../call/documents/call-search.js'
import { GatewayError } from '../../../core/errors.js'
import { homeCountry } from '../../../sautikit/phone.js'
import type { Log } from '../../log.js'
import type { FoundPage } from './call-index.js'

/** How often the index looks for new records. */
const FOLLOW_EVERY_MS = 5000
/** Searches and look-ups that wait for the index; more are refused. */
const TASKS_WAITING_MAX = 32

/** A record is garbage as soon as it is indexed: more of it at once would only take memory. */
const YOUNG_MB = 4

/** Start data of the thread. */
export interface IndexStart {
  /** The index is in the first. */
  readonly dataFolders: readonly [string, ...string[]]
  readonly country: string
}

export type IndexTask =
  | { readonly what: 'follow' | 'close' }
  | {
      readonly what: 'find'
      readonly search: CallSearch
      readonly before: number | null
      readonly limit: number
      readonly numbers: readonly string[] | null
    }
  | { readonly what: 'chart'; readonly range: ChartRange; readonly numbers: readonly string[] | null }
  | { readonly what: 'record'; readonly callSid: string }
  | { readonly what: 'forget'; readonly callSids: readonly string[] }

/** `current`: all records are indexed. `fault`: why they are not. */
interface Followed {
  readonly current: boolean
  readonly fault: string | null
}

/** Hits of one node. */
export type FoundCalls = FoundPage & Pick<Followed, 'current'>

/** Figures of one node. */
export type ChartedCalls = { readonly groups: readonly ChartGroup[] } & Pick<Followed, 'current'>

export type IndexAnswer = Followed | FoundCalls | ChartedCalls | WrittenRecord | undefined

/**
 * Finds ended calls of this process and of earlier ones by the index beside their records; the main thread's side. The
 * index has a thread of its own, which starts with the first look: nothing here waits for the disk, and a thread that
 * died is replaced.
 */
export class CallFinder {
  /** Times that records could not be indexed. */
  faults = 0
  /** Searches and look-ups that were refused, because too many waited. */
  refused = 0
  /** False until all records are indexed. */
  current = false
  readonly #pool: Piscina<IndexTask, IndexAnswer>
  readonly #log: Log
  #timer: NodeJS.Timeout
  #waiting = 0
  #isFaulty = false
  #closed = false

  /** @param workerEnv  `process.env` of its thread */
  constructor(dataFolders: IndexStart['dataFolders'], log: Log, workerEnv: Readonly<Record<string, string>>) {
    this.#log = log
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('./call-index-thread.js', import.meta.url)),
      ...{ minThreads: 0, maxThreads: 1, idleTimeout: Infinity, recordTiming: false },
      ...{ execArgv: [], env: { ...workerEnv }, resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB } },
      workerData: { dataFolders, country: homeCountry() } satisfies IndexStart,
    })
    // Error of a thread that died without a task; the next task starts another one.
    this.#pool.on('error', () => undefined)
    this.#timer = this.#followIn(FOLLOW_EVERY_MS)
  }

  /**
   * @param before  see `CallIndex.find`, as for the others
   * @throws GatewayError CAPACITY when too many searches wait, STORAGE when the index cannot be read
   */
  find(
    search: CallSearch,
    before: number | null,
    limit: number,
    numbers: readonly string[] | null,
  ): Promise<FoundCalls> {
    return this.#ask<FoundCalls>({ what: 'find', search, before, limit, numbers })
  }

  /** Figures over time, by agent or version. @throws as `find` */
  chart(range: ChartRange, numbers: readonly string[] | null): Promise<ChartedCalls> {
    return this.#ask<ChartedCalls>({ what: 'chart', range, numbers })
  }

  /** The record of a call, of any run. @throws as `find` */
  record(callSid: string): Promise<WrittenRecord | undefined> {
    return this.#ask<WrittenRecord | undefined>({ what: 'record', callSid })
  }

  /** Erases what the index has of calls, whose records are erased. @throws what the file system throws */
  async forget(callSids: readonly string[]): Promise<void> {
    await this.#pool.run({ what: 'forget', callSids })
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    if (this.#pool.threads.length > 0) await this.#pool.run({ what: 'close' }).catch(() => undefined)
    await this.#pool.destroy()
  }

  async #ask<T extends IndexAnswer>(task: IndexTask): Promise<T> {
    if (this.#waiting >= TASKS_WAITING_MAX) {
      this.refused++
      throw new GatewayError('CAPACITY', 'too many searches for calls wait at this node; ask again')
    }
    this.#waiting++
    try {
      return (await this.#pool.run(task)) as T
    } catch (cause) {
      throw new GatewayError('STORAGE', 'the index of calls cannot be read', { cause })
    } finally {
      this.#waiting--
    }
  }

  #followIn(ms: number): NodeJS.Timeout {
    return setTimeout(() => void this.#follow(), ms).unref()
  }

  async #follow(): Promise<void> {
    const fromMs = performance.now()
    const { current, fault } = await (this.#pool.run({ what: 'follow' }) as Promise<Followed>).catch((): Followed => ({
      current: false,
      fault: 'its thread died',
    }))
    if (this.#closed) return
    this.current = current
    if (fault !== null) this.faults++
    if ((fault !== null) !== this.#isFaulty) {
      this.#isFaulty = fault !== null
      if (fault === null) this.#log.info({}, 'records of calls are indexed again')
      else this.#log.error({ reason: fault }, 'records of calls cannot be indexed, and newer ones are not found')
    }
    // As long a rest as it took: a start after an upgrade reads all records, beside live calls.
    this.#timer = this.#followIn(current || fault !== null ? FOLLOW_EVERY_MS : performance.now() - fromMs)
  }
}
