import { existsSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { GatewayError } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import { EXPORT_CALLS_MAX } from '../core/limits.js'
import type { CallSid } from '../core/ids.js'
import type { ErasureTarget, ErasureHere } from '../edge/options.js'
import type { CallKeeper } from '../fleet/call-keeper.js'
import type { CallStore } from '../fleet/store/call-store.js'
import type { MessageView } from '../messages/outbox.js'
import type { CarrierCall } from '../sautikit-api/carrier-call.js'
import { homeCountry, sameNumber } from '../sautikit/phone.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import type { DataFolder } from '../telemetry/archive/data-folder.js'
import { eachErased, isOfNumber } from '../telemetry/archive/erasure.js'
import type { ErasedCounts, ErasureTask, FoundCalls } from '../telemetry/archive/erasure.js'
import type { ErasedObjects } from '../telemetry/archive/objects/object-storage.js'
import type { CallRegistry } from '../workers/main/call-registry.js'

/** Maximum number of calls with a masked number for which one erasure asks the carrier. */
const ERASE_CARRIER_ASKS_MAX = 200

interface CallErasureOptions {
  /** Data folders of this process, and of processes that no longer run. */
  readonly folders: readonly string[]
  /**
   * Folder of a process that runs only at times; null if there is none. While this process runs, it erases the folder's
   * files itself.
   */
  readonly spareFolder: string | null
  readonly calls: Pick<CallRegistry, 'live' | 'find' | 'ended' | 'handoff' | 'forget' | 'forgetLine'>
  /**
   * Removes these calls' documents that are waiting to be written. Resolves when all other waiting documents are
   * written.
   */
  readonly forgetWaiting: (callSids: readonly CallSid[]) => Promise<void>
  /**
   * Removes the keys of the calls' objects from the object storage. Absent, or resolves to null, without an object
   * storage.
   */
  readonly eraseObjects?: (callSids: readonly CallSid[]) => Promise<ErasedObjects | null>
  /** Removes ended calls from the index. */
  readonly forgetIndexed: (callSids: readonly CallSid[]) => Promise<void>
  /** Cancels planned requests to the carrier about the call. */
  readonly forgetDetail: (callSid: CallSid) => void
  /**
   * Erases a person's data from rows of campaigns, including rows of earlier runs. The target is a number, or a call in
   * which a call back was promised. Never rejects.
   * @param folders data folders
   */
  readonly forgetRows: (
    target: ErasureTarget,
    folders: readonly string[],
  ) => Promise<{ readonly rows: number; readonly unlooked: readonly string[] }>
  /**
   * Erases the memory of a caller's last calls, or of one call, at all nodes. Absent if calls are not remembered.
   * @throws GatewayError STORE_DOWN
   */
  readonly forgetRemembered?: (target: ErasureTarget) => Promise<void>
  /**
   * Finds the memory of a caller at all nodes. Absent if calls are not remembered.
   * @throws GatewayError STORE_DOWN
   */
  readonly rememberedOf?: ErasureHere['rememberedOf']
  /** Data about a number in the rows of campaigns that `forgetRows` searches. Never rejects. */
  readonly campaignsOf: (number: string, folders: readonly string[]) => ReturnType<ErasureHere['campaignsOf']>
  /** Messages about calls that receivers have not accepted yet. Absent if messages are not sent. */
  readonly messagesOf?: (callSids: readonly string[]) => Promise<readonly MessageView[]>
  /** Informs receivers of the erased calls. Absent without receivers. */
  readonly told?: (callSids: readonly CallSid[]) => void
  readonly store: Pick<CallStore, 'read' | 'callsOf' | 'over'>
  readonly keeper: Pick<CallKeeper, 'opened'>
  /** The carrier's list of calls; null without an API key. */
  readonly carrierCall: ((callSid: CallSid) => Promise<Pick<CarrierCall, 'remoteNumber'>>) | null
  readonly workerEnv: Readonly<Record<string, string>>
}

/**
 * Erases ended calls from this process's memory, its data folders and the fleet's store. To find a number's calls, it
 * compares the number with every record. One erasure runs at a time.
 */
export class CallErasure implements ErasureHere {
  readonly #options: CallErasureOptions
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: CallErasureOptions) {
    this.#options = options
  }

  live(target: ErasureTarget): number {
    const { calls } = this.#options
    if ('sid' in target) return calls.find(target.sid) === undefined ? 0 : 1
    return [...calls.live()].filter((call) => call.isOf(target.number)).length
  }

  erase(target: ErasureTarget): ReturnType<ErasureHere['erase']> {
    return this.#alone((folders) => this.#eraseFrom(folders, target))
  }

  async find(target: Extract<ErasureTarget, { number: string }>): ReturnType<ErasureHere['find']> {
    const { sids, uncertain } = await this.#alone((folders) => this.#of(folders, target))
    const callSids = sids.slice(0, EXPORT_CALLS_MAX)
    const messages = (await this.#options.messagesOf?.(callSids)) ?? []
    return { callSids, more: sids.length - callSids.length, uncertain, messages }
  }

  campaignsOf(number: string): ReturnType<ErasureHere['campaignsOf']> {
    return this.#alone((folders) => this.#options.campaignsOf(number, folders))
  }

  rememberedOf(number: string): ReturnType<ErasureHere['rememberedOf']> {
    return this.#options.rememberedOf?.(number) ?? Promise.resolve([])
  }

  #alone<T>(work: (folders: readonly string[]) => Promise<T>): Promise<T> {
    const run = this.#last.then(() => this.#withSpare(work))
    this.#last = run.catch(() => undefined)
    return run
  }

  async #withSpare<T>(work: (folders: readonly string[]) => Promise<T>): Promise<T> {
    const spare = await this.#spare()
    try {
      return await work([...this.#options.folders, ...(spare === null ? [] : [spare.path])])
    } finally {
      spare?.folder.release()
    }
  }

  /** The spare folder; null if its process runs, or if the folder does not exist. */
  async #spare(): Promise<{ readonly path: string; readonly folder: DataFolder } | null> {
    const { spareFolder: path } = this.#options
    if (path === null || !existsSync(path)) return null
    try {
      return { path, folder: await holdDataFolder(path) }
    } catch {
      return null // The folder's process runs, and erases the folder's files itself.
    }
  }

  async #eraseFrom(folders: readonly string[], target: ErasureTarget): ReturnType<ErasureHere['erase']> {
    const { calls, forgetDetail, forgetIndexed, forgetWaiting } = this.#options
    if ('number' in target) calls.forgetLine(target.number)
    const { rows, unlooked } = await this.#options.forgetRows(target, folders)
    const { sids, uncertain } = 'sid' in target ? { sids: [target.sid], uncertain: 0 } : await this.#of(folders, target)
    // A call that has become live again since the search is not erased.
    const callSids = sids.filter(isCallSid).filter((callSid) => calls.find(callSid) === undefined)
    for (const callSid of callSids) forgetDetail(callSid)
    const inMemory = callSids.filter((callSid) => calls.forget(callSid)).length
    await forgetWaiting(callSids)
    // Objects are erased before the disk's files. The removal also stops uploads of these files.
    const objects = (callSids.length === 0 ? null : await this.#options.eraseObjects?.(callSids)) ?? null
    const erased =
      callSids.length === 0
        ? eachErased(() => 0)
        : ((await inThread({ folders, number: null, callSids }, this.#options)) as ErasedCounts)
    // The index is cleaned after the records are erased. Otherwise it might read the records again.
    if (callSids.length > 0) await forgetIndexed(callSids)
    if (callSids.length > 0) this.#options.told?.(callSids)
    return {
      erased: {
        ...erased,
        calls: Math.max(erased.calls, inMemory),
        rows,
        objects: erased.objects + (objects?.erased ?? 0),
        objectsLeft: erased.objectsLeft + (objects?.left ?? 0),
      },
      uncertain,
      unlooked,
    }
  }

  /** Finds the calls of a number, in memory and on the disk. */
  async #of(
    folders: readonly string[],
    { number, masked }: Extract<ErasureTarget, { number: string }>,
  ): Promise<{ readonly sids: readonly string[]; readonly uncertain: number }> {
    await this.#options.forgetWaiting([])
    const found = (await inThread({ folders, number, callSids: [] }, this.#options)) as FoundCalls
    const exact = new Set(found.exact)
    const alike = new Set(found.alike)
    for (const record of this.#options.calls.ended()) {
      // The number may be masked in the record, but not in the handoff packet.
      const packet = this.#options.calls.handoff(record.callSid)
      const known = packet !== undefined && isOfNumber(packet, number) === 'exact'
      const how = known ? 'exact' : isOfNumber(record, number)
      if (how === 'exact') exact.add(record.callSid)
      else if (how === 'alike') alike.add(record.callSid)
    }
    let uncertain = 0
    let asked = 0
    for (const callSid of alike) {
      if (exact.has(callSid)) continue
      const is = masked ? true : asked++ < ERASE_CARRIER_ASKS_MAX ? await this.#carrierSays(callSid, number) : null
      if (is === null) uncertain++
      else if (is) exact.add(callSid)
    }
    return { sids: [...exact], uncertain }
  }

  /** True if the carrier's record of a call contains this number; null if the carrier does not answer. */
  async #carrierSays(callSid: string, number: string): Promise<boolean | null> {
    const { carrierCall } = this.#options
    if (carrierCall === null || !isCallSid(callSid)) return null
    try {
      const { remoteNumber } = await carrierCall(callSid)
      return remoteNumber === null || remoteNumber === '' ? null : sameNumber(remoteNumber, number)
    } catch {
      return null // The client has counted this fault. The call counts as uncertain.
    }
  }

  /**
   * Erases data that nodes store for each other: the state of calls that will not continue, and the memory of callers.
   * @param nodes  names of all nodes
   * @throws GatewayError STORE_DOWN
   */
  async eraseKept(target: ErasureTarget, nodes: readonly string[]): Promise<number> {
    const { store, keeper } = this.#options
    await this.#options.forgetRemembered?.(target)
    const keys =
      'sid' in target
        ? [target.sid]
        : (await Promise.all(nodes.map((node) => store.callsOf(node)))).flat().map(({ key }) => key)
    let erased = 0
    for (const key of keys) {
      const entry = await store.read(key)
      if (entry === null || entry.phase === 'over' || !isCallSid(key)) continue
      if ('number' in target) {
        try {
          const kept = keeper.opened(key, entry)?.kept
          if (
            kept === undefined ||
            isOfNumber({ ...kept, escalation: kept.escalation?.history }, target.number) !== 'exact'
          )
            continue
        } catch (thrown) {
          if (thrown instanceof GatewayError) continue // A state that cannot be opened belongs to another program, so it is not erased.
          throw thrown
        }
      }
      if ((await store.over(key, entry.owner)) === 'ok' && entry.state !== null) erased++
    }
    return erased
  }
}

function inThread(
  task: Omit<ErasureTask, 'country'>,
  { workerEnv }: Pick<CallErasureOptions, 'workerEnv'>,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('../telemetry/archive/erasure-thread.js', import.meta.url), {
      workerData: { ...task, country: homeCountry() } satisfies ErasureTask,
      execArgv: [],
      env: workerEnv,
    })
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () =>
      reject(new GatewayError('CALL_FAULT', 'the thread of an erasure ended without an answer')),
    )
  })
}
