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
import { clockFaultText } from './retention-clock.js'
import type { ClockFault } from './retention-clock.js'
import { findKept } from './stored-file.js'
import type { StoredFile } from './stored-file.js'

/** Maximum difference in ms of the store's clock that confirms the clock of this machine after a jump. */
const STORE_AGREES_MS = 3_600_000
/** Maximum number of documents that have been sent to the archive's thread and are not written yet. */
const ARCHIVE_DOCUMENTS_PENDING_MAX = 10_000
/** Minimum time in ms between two writes of one live call's record. */
export const OPEN_RECORD_EVERY_MS = 2000
/**
 * Time in ms between two writes of open records, of any calls. A write takes 0.2 ms for a minute of conversation and at
 * most 1.5 ms, which is 3 % of the main thread's time.
 */
const OPEN_RECORDS_SWEEP_MS = 50
/**
 * Maximum number of records of live calls that have been sent to the archive's thread and are not written yet. Further
 * records are sent later.
 */
export const OPEN_RECORDS_PENDING_MAX = 200
/** Pause in ms before an archive's thread that died is replaced. */
const ARCHIVE_RESTART_MS = 1000
/** Maximum number of bytes in all recordings that wait for the disk. It is enough for 100 calls for 10 s at 16 kHz. */
const RECORDING_PENDING_BYTES_MAX = 64 * 1024 * 1024

interface OpenRecordsOptions {
  readonly clock: Clock
  /**
   * @returns false if too many documents are waiting. In this case nothing was composed, and the call's write stays due
   */
  readonly write: (callSid: CallSid, compose: () => unknown) => boolean
}

interface OpenRecord {
  /** Composes the record that would count if the process died now. */
  readonly compose: () => unknown
  writtenAtMs: number
}

/**
 * Decides when changed records of live calls are written. A write contains all changes of the call so far, so there is
 * at most one waiting write for each call.
 */
export class OpenRecords {
  readonly #options: OpenRecordsOptions
  readonly #open = new Map<CallSid, OpenRecord>()
  /** Calls with changes. The call that has waited longest comes first. */
  readonly #changed = new Set<CallSid>()
  #timer: NodeJS.Timeout | null = null

  constructor(options: OpenRecordsOptions) {
    this.#options = options
  }

  /** Starts the record of a call when its stream opens. The first record is small, so it is written at once. */
  open(callSid: CallSid, compose: () => unknown): void {
    this.#open.set(callSid, { compose, writtenAtMs: -Infinity })
    this.changed(callSid)
    this.#write(callSid)
  }

  /** Notes that a call's state has changed, so that its record is written again. */
  changed(callSid: CallSid): void {
    if (!this.#open.has(callSid)) return
    this.#changed.add(callSid)
    if (this.#timer !== null) return
    this.#timer = setInterval(() => {
      this.sweep()
    }, OPEN_RECORDS_SWEEP_MS)
    this.#timer.unref()
  }

  /** Removes a call that is over. */
  close(callSid: CallSid): void {
    this.#open.delete(callSid)
    this.#changed.delete(callSid)
  }

  /** Writes the record that has waited longest, if its write is due. */
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

/** Recording that is being written. Its methods do not throw and do not wait. */
export interface RecordingSink {
  /** Path relative to DATA_DIR. */
  readonly path: string
  /** True if the recording could not be started, so the call is not recorded. */
  readonly failed: boolean
  /**
   * Writes rows of interleaved s16 samples, whose memory is transferred. `at`: index of the first row in the recording.
   * @returns false if the rows were dropped, which is counted
   */
  write(at: number, rows: Int16Array<ArrayBuffer>): boolean
  /** Notes that the caller has been informed. If the process crashes before this, the recording is deleted. */
  announced(): void
  end(): void
  /** Deletes the recording, because the caller refused the recording or could not be informed. */
  discard(): void
}

/**
 * Archive on disk: call records, handoff packets and recordings. This class runs on the main thread; a separate thread
 * writes the files. The queue between them is bounded. During a fault of the disk calls continue, and losses are
 * counted. A fault is logged once when it begins and once when it ends.
 */
export class Archive {
  /** Counts since the start. Plain fields, which each scrape copies to metrics. */
  readonly counters = {
    written: 0,
    /** Documents that were dropped. */
    lost: 0,
    /** Documents that another node stored, because this node's disk did not accept them until this process ended. */
    handedOver: 0,
    /** Writes, syncs and deletions that failed. */
    faults: 0,
    /** Bytes of recordings that were dropped because the disk failed or was too slow. */
    recordingBytesDropped: 0,
    threadDeaths: 0,
    /** Files that retention deleted. */
    deleted: Object.fromEntries(KEPT_KINDS.map((kind) => [kind, { age: 0, size: 0 }])) as Record<
      KeptFile,
      Record<DeletedFor, number>
    >,
    /** Lines and recordings that a crash left incomplete. They are found at the start. */
    linesTorn: 0,
    recordingsRecovered: 0,
  }
  /** Records of earlier runs, oldest first. They are not validated. */
  newest: readonly unknown[] = []
  /** Calls whose process died. Their records wait for `settleLeft`. */
  died: readonly LeftDocument[] = []
  /** Values that earlier runs stored with `keepValue` and that have not expired. */
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
  #clockFault: ClockFault | null = null
  /** Difference in ms between this machine's clock and the clock of the fleet's store; null without a store. */
  storeAheadMs: () => number | null = () => null
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
   * Resolves when the records of earlier runs have been read. A fault of the disk does not reject.
   * @param workerEnv  `process.env` of the archive's thread; null for this process's environment
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
   * Starts the open record of a call whose stream opened. If the process dies before `keepRecord`, the next start uses
   * the last result of `compose` as the call's record.
   * @param compose  makes the record that would count if the process died now; called on this thread, not after
   * `keepRecord`
   */
  openRecord(callSid: CallSid, compose: () => unknown): void {
    this.#open.open(callSid, compose)
  }

  /** Notes that a call's state has changed, so that its open record is written again. */
  openRecordChanged(callSid: CallSid): void {
    this.#open.changed(callSid)
  }

  /** Deletes the open record of a call that belongs to another node, because that node makes the record. */
  openRecordGone(callSid: CallSid): void {
    this.#open.close(callSid)
    this.#post({ type: 'open-record-gone', callSid })
  }

  /**
   * Stores the record of a call that has just ended here as its open record. If the process dies before `keepRecord`,
   * the next start finds the record in `died`.
   */
  recordEnded(callSid: CallSid, record: unknown): void {
    this.#open.close(callSid)
    if (this.#worker === null) return
    this.#openPending++
    this.#post({ type: 'open-record', callSid, json: JSON.stringify(record), ended: true })
  }

  /**
   * Resolves to true when all changes are in their files. Resolves to false if too many changes wait for the disk, or
   * the disk failed.
   */
  async keepSealed(changes: readonly SealedChange[]): Promise<boolean> {
    if (this.#worker === null || this.#openPending >= OPEN_RECORDS_PENDING_MAX) return false
    this.#openPending++
    return (await this.#ask((id) => ({ type: 'sealed', id, changes }))) === true
  }

  /**
   * Stores a value on the disk. If too many values are waiting for the disk, the value is dropped, and this counts as a
   * fault.
   */
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

  /**
   * Settles a call of `died`.
   * @param isRecord  false: the call continues, on this node or another node
   * @param days  see `keepRecord`
   */
  settleLeft(callSid: CallSid, isRecord: boolean, days: number | null = null): void {
    this.#post({ type: 'left-record', callSid, isRecord, days })
  }

  /** @param days time in days for which the record is stored; null for the default of the settings */
  keepRecord(callSid: CallSid, record: unknown, days: number | null = null): void {
    this.#open.close(callSid)
    this.#keep({ kind: 'record', callSid, document: record, days })
  }

  /** @param days  see `keepRecord` */
  keepHandoff(callSid: CallSid, handoff: unknown, days: number | null = null): void {
    this.#keep({ kind: 'handoff', callSid, document: handoff, days })
  }

  /** Finds the newest document of a call, from any run; undefined if there is no document. */
  find(kind: DocumentKind, callSid: string): Promise<unknown> {
    return this.#ask((id) => ({ type: 'find', id, kind, callSid }))
  }

  /** Drops waiting documents of erased calls. Resolves when all earlier documents have been written. */
  async forget(callSids: readonly CallSid[]): Promise<void> {
    await this.#ask((id) => ({ type: 'forget', id, callSids }))
  }

  /**
   * @param announced true if the caller has been informed. If false and the process crashes before `announced`, the
   * recording is deleted
   * @param part from 1; if a call continued after the loss of its node, its recording has several parts
   * @param days time in days for which the recording is stored; null for the default of the settings
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
   * Finds the WAV file of an ended call; null if there is no file.
   * @param callSid  checked, because the file's name contains it
   * @param part  from 1; null for the newest part here
   */
  recording(callSid: CallSid, part: number | null = null): Promise<StoredFile | null> {
    return findKept(this.#limits.folder, 'recordings', recordingNames(callSid, part))
  }

  /** Reason why retention does not use the machine's clock; null while it does. */
  get clockFault(): ClockFault | null {
    return this.#clockFault
  }

  /** True while the disk does not accept records. */
  get isFull(): boolean {
    return this.#isFull
  }

  /**
   * Gives documents that wait for the disk to other nodes, before this process ends. Never rejects.
   * @param give resolves to true when the other node has stored the document
   * @param untilMs time on the monotonic clock; documents that were not sent by then continue to wait for the disk
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

  /** Writes waiting documents and ends the thread. Idempotent. */
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

  /**
   * An open record that does not fit into the queue is not counted as dropped, because the call's next open record
   * replaces it.
   */
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
      case 'clock':
        return this.#clockSeen(message.fault)
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

  #clockSeen(fault: ClockFault | null): void {
    const before = this.#clockFault
    this.#clockFault = fault
    if (fault !== null && Math.abs(this.storeAheadMs() ?? Infinity) <= STORE_AGREES_MS)
      return this.#post({ type: 'trust-clock' })
    if (before?.kind === fault?.kind) return
    if (fault === null) this.#log.info({}, 'the age of stored data is counted by the clock of this machine again')
    else this.#log.error({ fault: clockFaultText(fault, this.#limits.folder) }, 'the clock of this machine has jumped')
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

/**
 * Names of a call's recordings, newest part first.
 * @param part  null for all parts
 */
export function recordingNames(callSid: CallSid, part: number | null): string[] {
  const parts = part === null ? Array.from({ length: CALL_PARTS_MAX }, (_, index) => CALL_PARTS_MAX - index) : [part]
  return parts.map((each) => `${partName(callSid, each)}.wav`)
}

/** File name of a recording. Messages use this name too. */
function partName(callSid: CallSid, part: number): string {
  return part === 1 ? callSid : `${callSid}.${part}`
}
