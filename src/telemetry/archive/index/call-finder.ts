import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import type { ChartGroup, ChartRange } from '../../../call/documents/call-charts.js'
import type { CallSearch, WrittenRecord } from '../../../call/documents/call-search.js'
import type { Usual } from '../../../call/why/usual.js'
import { GatewayError } from '../../../core/errors.js'
import { homeCountry } from '../../../sautikit/phone.js'
import type { Log } from '../../log.js'
import type { FoundPage } from './call-index.js'

const TIMES = {
  /** Time in ms between two checks of the index for new records. */
  followMs: 5000,
  /**
   * Time in ms without a task after which the index's file is closed. After twice this time the thread ends. A new
   * start of the thread takes 0.3 s of CPU time.
   */
  restMs: 60_000,
}
/** Maximum number of searches and look-ups that wait for the index. Further requests are refused. */
const TASKS_WAITING_MAX = 32

/**
 * Size in MB of the thread's young generation. A record becomes garbage as soon as it is indexed, so a larger young
 * generation would only use more memory.
 */
const YOUNG_MB = 4

/** Start data of the thread. */
export interface IndexStart {
  /** Data folders. The index is in the first of them. */
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
  | { readonly what: 'usual'; readonly agent: string; readonly beforeMs: number }
  | { readonly what: 'record'; readonly callSid: string }
  | { readonly what: 'forget'; readonly callSids: readonly string[] }

/** `current`: true if all records are indexed. `fault`: the reason why some records are not indexed. */
interface Followed {
  readonly current: boolean
  readonly fault: string | null
}

/** Hits of one node. */
export type FoundCalls = FoundPage & Pick<Followed, 'current'>

/** Figures of one node. */
export type ChartedCalls = { readonly groups: readonly ChartGroup[] } & Pick<Followed, 'current'>

export type IndexAnswer = Followed | FoundCalls | ChartedCalls | Usual | WrittenRecord | undefined

/**
 * Finds ended calls of this process and of earlier processes. This class runs on the main thread. The index has its own
 * thread, so that the main thread does not wait for the disk. The thread starts at the first search, ends after a time
 * without tasks, and is replaced if it dies.
 */
export class CallFinder {
  /** Number of times that indexing of records failed. */
  faults = 0
  /** Number of searches and look-ups that were refused because too many were waiting. */
  refused = 0
  /** False until all records are indexed. */
  current = false
  readonly #pool: Piscina<IndexTask, IndexAnswer>
  readonly #log: Log
  readonly #changes: () => number
  readonly #times: typeof TIMES
  /** Value of `changes` at the last time when all records were indexed. */
  #indexedChanges = NaN
  #lastTaskMs = performance.now()
  #open = false
  #timer: NodeJS.Timeout
  #waiting = 0
  #isFaulty = false
  #closed = false

  /**
   * @param workerEnv  `process.env` of the index's thread
   * @param changes  count that rises with each written or deleted record
   */
  constructor(
    dataFolders: IndexStart['dataFolders'],
    log: Log,
    workerEnv: Readonly<Record<string, string>>,
    changes: () => number,
    times = TIMES,
  ) {
    this.#log = log
    this.#times = times
    this.#changes = changes
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('./call-index-thread.js', import.meta.url)),
      ...{ minThreads: 0, maxThreads: 1, idleTimeout: 2 * times.restMs, recordTiming: false },
      ...{ execArgv: [], env: { ...workerEnv }, resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB } },
      workerData: { dataFolders, country: homeCountry() } satisfies IndexStart,
    })
    // If the thread dies while it has no task, the error is ignored, because the next task starts a new thread.
    this.#pool.on('error', () => undefined)
    this.#timer = this.#followIn(this.#times.followMs)
  }

  /**
   * @param before  see `CallIndex.find`, which describes all parameters
   * @throws GatewayError CAPACITY if too many searches are waiting, STORAGE if the index cannot be read
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

  /**
   * Usual values of an agent's calls that began before a given time.
   * @throws in the same cases as `find`
   */
  usual(agent: string, beforeMs: number): Promise<Usual> {
    return this.#ask<Usual>({ what: 'usual', agent, beforeMs })
  }

  /**
   * Record of a call from any run.
   * @throws as `find`
   */
  record(callSid: string): Promise<WrittenRecord | undefined> {
    return this.#ask<WrittenRecord | undefined>({ what: 'record', callSid })
  }

  /**
   * Erases calls from the index. Their records are erased elsewhere.
   * @throws errors of the file system
   */
  async forget(callSids: readonly string[]): Promise<void> {
    await this.#run({ what: 'forget', callSids })
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
      return (await this.#run(task)) as T
    } catch (cause) {
      throw new GatewayError('STORAGE', 'the index of calls cannot be read', { cause })
    } finally {
      this.#waiting--
    }
  }

  #run(task: IndexTask): Promise<IndexAnswer> {
    this.#lastTaskMs = performance.now()
    this.#open = true
    return this.#pool.run(task)
  }

  #followIn(ms: number): NodeJS.Timeout {
    return setTimeout(() => void this.#follow(), ms).unref()
  }

  async #follow(): Promise<void> {
    const fromMs = performance.now()
    const changes = this.#changes()
    if (changes === this.#indexedChanges) {
      if (this.#open && fromMs - this.#lastTaskMs >= this.#times.restMs) await this.#rest()
      if (!this.#closed) this.#timer = this.#followIn(this.#times.followMs)
      return
    }
    const { current, fault } = await (this.#run({ what: 'follow' }) as Promise<Followed>).catch((): Followed => ({
      current: false,
      fault: 'its thread died',
    }))
    if (this.#closed) return
    if (current) this.#indexedChanges = changes
    this.current = current
    if (fault !== null) this.faults++
    if ((fault !== null) !== this.#isFaulty) {
      this.#isFaulty = fault !== null
      if (fault === null) this.#log.info({}, 'records of calls are indexed again')
      else this.#log.error({ reason: fault }, 'records of calls cannot be indexed, and newer ones are not found')
    }
    // While there is more to index, the pause is as long as the step took. After an upgrade all records are indexed
    // again while calls are live.
    this.#timer = this.#followIn(current || fault !== null ? this.#times.followMs : performance.now() - fromMs)
  }

  /** Closes the index's file before the thread ends. Otherwise the file's lock would stay. */
  async #rest(): Promise<void> {
    this.#open = false
    await this.#pool.run({ what: 'close' }).catch(() => undefined)
  }
}
