import { Worker } from 'node:worker_threads'
import { GatewayError } from '../../../core/errors.js'
import type { CallSid } from '../../../core/ids.js'
import type { Log } from '../../log.js'
import type { DocumentKind } from '../archive-messages.js'
import { recordingNames } from '../archive.js'
import type { BucketSettings } from './s3-store.js'
import type { StoredFile } from '../stored-file.js'
import { NO_STATE } from './stored-objects.js'
import type { StorageState, StoredObjectsOptions } from './stored-objects.js'

/** Time in ms between two searches of the thread for files that wait for their upload. */
const LOOK_MS = 1000
/** Pause in ms before a thread that died is replaced. */
const RESTART_MS = 1000

export interface ObjectStorageOptions extends Omit<StoredObjectsOptions, 'store' | 'wallClock'> {
  readonly bucket: BucketSettings
  /** For tests. @defaultValue 1 s */
  readonly everyMs?: number
}

/** Start data of the thread. */
export type StorageStart = ObjectStorageOptions & { readonly everyMs: number }

type Question =
  | {
      readonly what: 'recording'
      readonly folder: 'recordings' | 'carrier-recordings'
      readonly callSid: string
      readonly names: readonly string[]
    }
  | { readonly what: 'document'; readonly kind: DocumentKind; readonly callSid: string }
  | { readonly what: 'erase'; readonly callSids: readonly string[] }
  | { readonly what: 'close' }
export type ToStorage = Question & { readonly id: number }

export type FromStorage =
  | { readonly type: 'state'; readonly state: StorageState }
  | { readonly type: 'renewed'; readonly keys: number }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'fault'; readonly id: number; readonly message: string }

/** Result of an erasure in the bucket. */
export interface ErasedObjects {
  /** Number of objects that the erasure made unreadable. */
  readonly erased: number
  /** Number of erased objects that could not be deleted. */
  readonly left: number
}

/**
 * Recordings, records and handoff packets in a bucket (docs/STORAGE.md). This class runs on the main thread. A separate
 * thread uploads files and reads them back. If that thread dies, a new thread continues with the files on the disk.
 */
export class ObjectStorage {
  readonly #options: StorageStart
  readonly #log: Log
  readonly #workerEnv: Readonly<Record<string, string>>
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #worker: Worker | null = null
  #questions = 0
  #closed = false
  #state = NO_STATE
  /** Sum of the counts of all threads that have died. */
  #before = NO_STATE

  /** @param workerEnv `process.env` of the thread. The SDK may look for credentials there */
  constructor(options: ObjectStorageOptions, log: Log, workerEnv: Readonly<Record<string, string>>) {
    this.#options = { everyMs: LOOK_MS, ...options }
    this.#log = log
    this.#workerEnv = workerEnv
    this.#begin()
  }

  /** Counts since the start, and the current number of waiting files. */
  get state(): StorageState {
    const { stored, failed, fetched, erased, left } = this.#before
    const now = this.#state
    return {
      ...now,
      stored: stored + now.stored,
      failed: failed + now.failed,
      fetched: fetched + now.fetched,
      erased: erased + now.erased,
      left: left + now.left,
    }
  }

  /**
   * Reads a call's recording back from the bucket into a file; null if the bucket has no recording.
   * @param part from 1; null for the newest part
   * @throws GatewayError STORAGE if the storage does not answer
   */
  async recording(callSid: CallSid, part: number | null): Promise<StoredFile | null> {
    const names = recordingNames(callSid, part)
    return (await this.#ask({ what: 'recording', folder: 'recordings', callSid, names })) as StoredFile | null
  }

  /** The carrier's recording. @throws as `recording` */
  async carrierRecording(callSid: CallSid, names: readonly string[]): Promise<StoredFile | null> {
    return (await this.#ask({ what: 'recording', folder: 'carrier-recordings', callSid, names })) as StoredFile | null
  }

  /**
   * Reads a document back; undefined if there is no document.
   * @throws as `recording`
   */
  document(kind: DocumentKind, callSid: CallSid): Promise<unknown> {
    return this.#ask({ what: 'document', kind, callSid })
  }

  /** Erases the keys of calls, and deletes the calls' objects if the storage can be reached. */
  async erase(callSids: readonly CallSid[]): Promise<ErasedObjects> {
    return (await this.#ask({ what: 'erase', callSids })) as ErasedObjects
  }

  /** Closes the storage. Remaining uploads wait for the next start. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#ask({ what: 'close' }).catch(() => undefined) // it has died
    await this.#worker?.terminate()
    this.#worker = null
  }

  #begin(): void {
    const worker = new Worker(new URL('./object-storage-thread.js', import.meta.url), {
      workerData: this.#options,
      execArgv: [],
      // The variable hides the SDK's notice about future Node versions. The notice is useless, because the SDK's
      // version is fixed.
      env: { ...this.#workerEnv, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
    })
    this.#worker = worker
    worker.on('message', (message: FromStorage) => this.#receive(message))
    worker.on('error', (thrown) => this.#log.error({ err: thrown }, 'the thread of the object storage failed'))
    worker.on('exit', () => this.#died(worker))
  }

  #died(worker: Worker): void {
    if (this.#worker !== worker) return
    this.#worker = null
    for (const { reject } of this.#waiting.values())
      reject(new GatewayError('STORAGE', 'the thread of the object storage ended', { retryable: true }))
    this.#waiting.clear()
    if (this.#closed) return
    this.#before = this.state
    this.#state = { ...this.#state, stored: 0, failed: 0, fetched: 0, erased: 0, left: 0 }
    setTimeout(() => {
      if (!this.#closed) this.#begin()
    }, RESTART_MS).unref()
  }

  #receive(message: FromStorage): void {
    switch (message.type) {
      case 'state': {
        const { fault } = this.#state
        this.#state = message.state
        const now = message.state.fault
        if (fault === null && now !== null)
          this.#log.error({ reason: now }, 'uploads to the object storage fail: files wait on the disk')
        if (fault !== null && now === null) this.#log.info({}, 'the object storage takes uploads again')
        return
      }
      case 'renewed':
        return this.#log.info({ keys: message.keys }, 'keys were encrypted with the new master key')
      case 'answer':
        this.#waiting.get(message.id)?.resolve(message.value)
        this.#waiting.delete(message.id)
        return
      case 'fault':
        this.#waiting.get(message.id)?.reject(new GatewayError('STORAGE', message.message, { retryable: true }))
        this.#waiting.delete(message.id)
        return
    }
  }

  #ask(question: Question): Promise<unknown> {
    const worker = this.#worker
    if (worker === null)
      return Promise.reject(
        new GatewayError('STORAGE', 'the thread of the object storage has ended', { retryable: true }),
      )
    const id = ++this.#questions
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      worker.postMessage({ ...question, id } satisfies ToStorage)
    })
  }
}
