import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { assertNever } from '../../core/assert.js'
import type { Clock } from '../../core/clock.js'
import type { CallSid } from '../../core/ids.js'
import { CALL_PARTS_MAX } from '../../core/limits.js'
import type { Log } from '../log.js'
import type {
  ArchiveFault,
  ArchiveLimits,
  ArchiveStart,
  DocumentKind,
  FromArchive,
  KeptDocument,
  LeftDocument,
  SealedChange,
  StoredValue,
  ToArchive,
} from './archive-messages.js'
import { KEPT_KINDS, keptFolder } from './kept-files.js'
import type { DeletedFor, KeptFile } from './kept-files.js'
import { findKept } from './stored-file.js'
import type { StoredFile } from './stored-file.js'

/** Documents on their way to the archive's thread. */
const ARCHIVE_DOCUMENTS_PENDING_MAX = 10_000
/**
 * How often the record of a live call is written to disk: for each call at most every 2 s, over all calls one every 50
 * ms. Composing one takes 0.2 ms in a conversation of a minute and 1.5 ms in a long one: at most 3 % of the main
 * thread.
 */
export const OPEN_RECORD_EVERY_MS = 2000
const OPEN_RECORDS_SWEEP_MS = 50
/** Records of live calls on their way to the archive's thread at once; beyond it, a record is written later. */
export const OPEN_RECORDS_PENDING_MAX = 200
/** An archive's thread that died is replaced after this. */
const ARCHIVE_RESTART_MS = 1000
/** Bytes of all recordings that may wait for the disk: 100 calls for 10 s at 16 kHz. */
const RECORDING_PENDING_BYTES_MAX = 64 * 1024 * 1024

interface OpenRecordsOptions {
  readonly clock: Clock
  /** @returns false when too many documents wait: nothing was composed, and the call stays due */
  readonly write: (callSid: CallSid, compose: () => unknown) => boolean
}

interface OpenRecord {
  /** Composes the record as it would be if the process died now. */
  readonly compose: () => unknown
  writtenAtMs: number
}

/**
 * The live calls whose state has changed since it was last written, and when to write it. Only the newest state of a
 * call counts, so no states queue: a later write includes everything that happened until then.
 */
export class OpenRecords {
  readonly #options: OpenRecordsOptions
  readonly #open = new Map<CallSid, OpenRecord>()
  /** Calls with changes, the one that has waited longest first. */
  readonly #changed = new Set<CallSid>()
  #timer: NodeJS.Timeout | null = null

  constructor(options: OpenRecordsOptions) {
    this.#options = options
  }

  /** A stream opened: its first record is small, and written at once. */
  open(callSid: CallSid, compose: () => unknown): void {
    this.#open.set(callSid, { compose, writtenAtMs: -Infinity })
    this.changed(callSid)
    this.#write(callSid)
  }

  /** The state of a call has changed. */
  changed(callSid: CallSid): void {
    if (!this.#open.has(callSid)) return
    this.#changed.add(callSid)
    if (this.#timer !== null) return
    this.#timer = setInterval(() => {
      this.sweep()
    }, OPEN_RECORDS_SWEEP_MS)
    this.#timer.unref()
  }

  /** The call is over. */
  close(callSid: CallSid): void {
    this.#open.delete(callSid)
    this.#changed.delete(callSid)
  }

  /** Writes one call, the first that is due. */
  sweep(): void {
    const dueMs = this.#options.clock() - OPEN_RECORD_EVERY_MS
    for (const callSid of this.#changed) {
      if ((this.#open.get(callSid)?.writtenAtMs ?? Infinity) <= dueMs) return this.#write(callSid)
    }
    if (this.#changed.size === 0) this.stop()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #write(callSid: CallSid): void {
    const record = this.#open.get(callSid)
    if (record === undefined || !this.#options.write(callSid, record.compose)) return
    record.writtenAtMs = this.#options.clock()
    this.#changed.delete(callSid)
  }
}

/** One recording that is being written. No method throws or waits. */
export interface RecordingSink {
  /** Relative to DATA_DIR. */
  readonly path: string
  /** It could not be started: nothing of it is on the disk. */
  readonly failed: boolean
  /**
   * Rows of interleaved s16 samples; the memory is transferred. `at`: the index of the first row in the recording.
   * @returns false when they were dropped and counted
   */
  write(at: number, rows: Int16Array<ArrayBuffer>): boolean
  /** The caller has been informed; until then a crash leaves no recording. */
  announced(): void
  end(): void
  /** The caller refused, or could not be informed: the recording is deleted. */
  discard(): void
}

/**
 * The archive on disk: call records, handoff packets and recordings. This is the main thread's side; a thread of its
 * own writes. Its queue is bounded, and calls go on whatever the disk does: losses are counted, and each fault is
 * logged once when it begins and once when it ends.
 */
export class Archive {
  /** Counts since the start; plain fields, copied to metrics at the scrape. */
  readonly counters = {
    written: 0,
    /** Documents that were dropped. */
    lost: 0,
    /** Documents that another node has, because the disk did not take them before the end of this process. */
    handedOver: 0,
    /** Writes, syncs and deletions that failed. */
    faults: 0,
    /** Bytes of recordings that were dropped because the disk was too slow, or failed. */
    recordingBytesDropped: 0,
    threadDeaths: 0,
    /** Files that retention deleted. */
    deleted: Object.fromEntries(KEPT_KINDS.map((kind) => [kind, { age: 0, size: 0 }])) as Record<
      KeptFile,
      Record<DeletedFor, number>
    >,
    /** Lines and recordings that a crash had left unfinished, found at the start. */
    linesTorn: 0,
    recordingsRecovered: 0,
  }
  /** Records of earlier runs, oldest first, as they were read: nothing has checked their shape. */
  newest: readonly unknown[] = []
  /** Calls whose process died, held back until `settleLeft`. */
  died: readonly LeftDocument[] = []
  /** Values that `keepValue` kept in earlier runs, as far as they still count. */
  values: readonly StoredValue[] = []
  readonly #workerEnv: Readonly<Record<string, string>> | null
  readonly #limits: ArchiveLimits
  readonly #log: Log
  readonly #waiting = new Map<number, (value: unknown) => void>()
  readonly #faults = new Set<ArchiveFault['what']>()
  readonly #open: OpenRecords
  /** Recordings that are being written. */
  readonly #recordings = new Map<string, { failed: boolean }>()
  #worker: Worker | null = null
  #questions = 0
  #isFull = false
  #documentsPending = 0
  #openPending = 0
  #rowsPending = 0
  #closed = false

  private constructor(limits: ArchiveLimits, log: Log, workerEnv: Readonly<Record<string, string>> | null) {
    this.#limits = limits
    this.#workerEnv = workerEnv
    this.#log = log
    this.#open = new OpenRecords({
      clock: () => performance.now(),
      write: (callSid, compose) => this.#writeOpen(callSid, compose),
    })
  }

  /**
   * Resolves when the records of earlier runs have been read; never rejects for a fault of the disk.
   * @param workerEnv  `process.env` of its thread; null: this process's own
   */
  static async start(
    limits: ArchiveLimits,
    log: Log,
    workerEnv: Readonly<Record<string, string>> | null = null,
  ): Promise<Archive> {
    const archive = new Archive(limits, log, workerEnv)
    await archive.#begin(true)
    return archive
  }

  /**
   * A stream opened. Until `keepRecord` the disk has the last result of `compose`: if the process dies, the next start
   * makes it the call's record.
   * @param compose  the record as it would be if the process died now; called on this thread, not after `keepRecord`
   */
  openRecord(callSid: CallSid, compose: () => unknown): void {
    this.#open.open(callSid, compose)
  }

  /** The state of a call has changed since its open record was written. */
  openRecordChanged(callSid: CallSid): void {
    this.#open.changed(callSid)
  }

  /** The call is another node's: its record is there. */
  openRecordGone(callSid: CallSid): void {
    this.#open.close(callSid)
    this.#post({ type: 'open-record-gone', callSid })
  }

  /**
   * Until `keepRecord` the disk has this as the record of a call that has just ended: if the process dies, the next start
   * finds it among `died`.
   */
  recordEnded(callSid: CallSid, record: unknown): void {
    this.#open.close(callSid)
    if (this.#worker === null) return
    this.#openPending++
    this.#post({ type: 'open-record', callSid, json: JSON.stringify(record), ended: true })
  }

  /** Resolves when they are in their files; false: too much waits for the disk, or it does not take all of them. */
  async keepSealed(changes: readonly SealedChange[]): Promise<boolean> {
    if (this.#worker === null || this.#openPending >= OPEN_RECORDS_PENDING_MAX) return false
    this.#openPending++
    return (await this.#ask((id) => ({ type: 'sealed', id, changes }))) === true
  }

  /** A value that is not taken, because too much waits for the disk, is counted as a fault. */
  keepValue(value: StoredValue): void {
    if (this.#worker === null || this.#openPending >= OPEN_RECORDS_PENDING_MAX) {
      this.counters.faults++
      return
    }
    this.#openPending++
    this.#post({ type: 'value', value })
  }

  sealedGone(callSid: CallSid): void {
    this.#post({ type: 'sealed-gone', callSid })
  }

  /** Decides on one of `died`. @param isRecord  false: the call goes on, here or elsewhere @param days  as `keepRecord` */
  settleLeft(callSid: CallSid, isRecord: boolean, days: number | null = null): void {
    this.#post({ type: 'left-record', callSid, isRecord, days })
  }

  /** @param days  how long it is kept; null: as long as the settings say */
  keepRecord(callSid: CallSid, record: unknown, days: number | null = null): void {
    this.#open.close(callSid)
    this.#keep({ kind: 'record', callSid, document: record, days })
  }

  /** @param days  as `keepRecord` */
  keepHandoff(callSid: CallSid, handoff: unknown, days: number | null = null): void {
    this.#keep({ kind: 'handoff', callSid, document: handoff, days })
  }

  /** The newest document of a call, of any run; undefined when there is none. */
  find(kind: DocumentKind, callSid: string): Promise<unknown> {
    return this.#ask((id) => ({ type: 'find', id, kind, callSid }))
  }

  /** Drops what waits to be written of erased calls; resolves when everything before it is written. */
  async forget(callSids: readonly CallSid[]): Promise<void> {
    await this.#ask((id) => ({ type: 'forget', id, callSids }))
  }

  /**
   * @param announced  whether the caller has been informed; if not, a crash before `announced` leaves no recording
   * @param part  from 1; a call that goes on after its node was lost begins another part
   * @param days  how long it is kept; null: as long as the settings say
   */
  record(sid: CallSid, rateHz: number, announced = true, part = 1, days: number | null = null): RecordingSink {
    const callSid = partName(sid, part)
    const state = { failed: this.#worker === null }
    this.#recordings.set(callSid, state)
    this.#post({ type: 'recording-begin', callSid, rateHz, announced, days })
    const over = (type: 'recording-end' | 'recording-discard'): void => {
      this.#recordings.delete(callSid)
      this.#post({ type, callSid })
    }
    return {
      path: join(keptFolder('', 'recordings', days), `${callSid}.wav`),
      get failed() {
        return state.failed
      },
      write: (at, rows) => {
        const bytes = rows.byteLength
        if (this.#rowsPending + bytes > RECORDING_PENDING_BYTES_MAX || this.#worker === null) {
          this.counters.recordingBytesDropped += bytes
          return false
        }
        this.#rowsPending += bytes
        this.#worker.postMessage(
          { type: 'recording-rows', callSid, at, bytes: new Uint8Array(rows.buffer) } satisfies ToArchive,
          [rows.buffer],
        )
        return true
      },
      announced: () => this.#post({ type: 'recording-announced', callSid }),
      end: () => over('recording-end'),
      discard: () => over('recording-discard'),
    }
  }

  /**
   * The WAV of an ended call; null when there is none.
   * @param callSid is checked by its type: it names a file
   * @param part  from 1; null: the newest that is here
   */
  recording(callSid: CallSid, part: number | null = null): Promise<StoredFile | null> {
    return findKept(this.#limits.folder, 'recordings', recordingNames(callSid, part))
  }

  /** True while the disk takes no records. */
  get isFull(): boolean {
    return this.#isFull
  }

  /**
   * Gives the documents that wait for the disk to another node, before this process ends. Does not reject.
   * @param give  resolves with true once it is kept there
   * @param untilMs  on the monotonic clock; what is not given by then waits on
   */
  async handOver(give: (document: KeptDocument) => Promise<boolean>, untilMs: number): Promise<void> {
    const waiting = ((await this.#ask((id) => ({ type: 'unwritten', id }))) ?? []) as readonly KeptDocument[]
    for (const document of waiting) {
      if (performance.now() >= untilMs) return
      const { kind, callSid } = document
      if (!(await give(document))) continue
      this.counters.handedOver++
      this.#post({ type: 'handed-over', kind, callSid })
    }
  }

  /** Writes what waits, and ends the thread. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#open.stop()
    await this.#ask((id) => ({ type: 'close', id }))
    await this.#worker?.terminate()
    this.#worker = null
  }

  #begin(first: boolean): Promise<void> {
    return new Promise((resolve) => {
      const worker = new Worker(new URL('./archive-thread.js', import.meta.url), {
        workerData: { limits: this.#limits, first } satisfies ArchiveStart,
        execArgv: [],
        ...(this.#workerEnv === null ? {} : { env: this.#workerEnv }),
      })
      this.#worker = worker
      worker.on('message', (message: FromArchive) => {
        if (message.type === 'ready') {
          this.newest = message.newest
          this.died = message.died
          this.values = message.values
          this.counters.linesTorn += message.torn
          this.counters.recordingsRecovered += message.recovered
          if (message.torn + message.recovered > 0) {
            this.#log.warn(
              { lines: message.torn, recordings: message.recovered },
              'incomplete records or recordings of an earlier run were repaired',
            )
          }
          resolve()
        } else {
          this.#receive(message)
        }
      })
      worker.on('error', (thrown) => this.#log.error({ err: thrown }, "the archive's thread failed"))
      worker.on('exit', () => {
        resolve()
        this.#died(worker)
      })
    })
  }

  #died(worker: Worker): void {
    if (this.#worker !== worker) return
    this.#worker = null
    for (const answer of this.#waiting.values()) answer(undefined)
    this.#waiting.clear()
    if (this.#closed) return
    this.counters.threadDeaths++
    this.counters.lost += this.#documentsPending
    this.counters.recordingBytesDropped += this.#rowsPending
    this.#documentsPending = 0
    this.#openPending = 0
    this.#rowsPending = 0
    setTimeout(() => {
      if (!this.#closed) void this.#begin(false)
    }, ARCHIVE_RESTART_MS).unref()
  }

  #keep(document: KeptDocument): void {
    const { kind, callSid } = document
    if (this.#worker === null || this.#documentsPending >= ARCHIVE_DOCUMENTS_PENDING_MAX) {
      this.counters.lost++
      this.#trouble({ type: 'fault', what: kind, callSid, message: 'too many documents wait to be written', lost: 1 })
      return
    }
    this.#documentsPending++
    this.#post({ type: 'document', ...document })
  }

  /** Not counted as dropped when the queue is full: the next state of the call replaces it. */
  #writeOpen(callSid: CallSid, compose: () => unknown): boolean {
    if (this.#worker === null || this.#openPending >= OPEN_RECORDS_PENDING_MAX) return false
    this.#openPending++
    this.#post({ type: 'open-record', callSid, json: JSON.stringify(compose()), ended: false })
    return true
  }

  #receive(message: Exclude<FromArchive, { type: 'ready' }>): void {
    switch (message.type) {
      case 'answer':
        this.#waiting.get(message.id)?.(message.value)
        this.#waiting.delete(message.id)
        return
      case 'document-done':
        this.#documentsPending--
        if (!message.ok) return
        this.counters.written++
        return this.#faultOver(message.kind)
      case 'open-record-done':
        this.#openPending--
        return
      case 'disk':
        this.#isFull = message.isFull
        return
      case 'recording-failed': {
        const recording = this.#recordings.get(message.callSid)
        if (recording !== undefined) recording.failed = true
        return
      }
      case 'rows-done':
        this.#rowsPending -= message.bytes
        if (message.ok) return this.#faultOver('recording')
        this.counters.recordingBytesDropped += message.bytes
        return
      case 'deleted':
        this.counters.deleted[message.kind][message.reason]++
        return
      case 'fault':
        this.counters.faults++
        this.counters.lost += message.lost
        return this.#trouble(message)
      default:
        return assertNever(message)
    }
  }

  #trouble(fault: ArchiveFault): void {
    if (this.#faults.has(fault.what)) return
    this.#faults.add(fault.what)
    this.#log.error(
      { kind: fault.what, call_sid: fault.callSid, reason: fault.message },
      'the archive of calls cannot be written',
    )
  }

  #faultOver(what: ArchiveFault['what']): void {
    if (this.#faults.delete(what)) this.#log.info({ kind: what }, 'the archive of calls can be written again')
  }

  #ask(question: (id: number) => ToArchive): Promise<unknown> {
    if (this.#worker === null) return Promise.resolve(undefined)
    const id = ++this.#questions
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve)
      this.#post(question(id))
    })
  }

  #post(message: ToArchive): void {
    this.#worker?.postMessage(message)
  }
}

/** Names of a call's recording, the newest part first. @param part  null: any */
export function recordingNames(callSid: CallSid, part: number | null): string[] {
  const parts = part === null ? Array.from({ length: CALL_PARTS_MAX }, (_, index) => CALL_PARTS_MAX - index) : [part]
  return parts.map((each) => `${partName(callSid, each)}.wav`)
}

/** The name of a recording's file, and of the recording in messages. */
function partName(callSid: CallSid, part: number): string {
  return part === 1 ? callSid : `${callSid}.${part}`
}
