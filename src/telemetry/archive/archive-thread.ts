import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { assert, assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { CONNECT_ATTEMPT_MS, ENDED_CALLS_KEPT } from '../../core/limits.js'
import { DAY_MS } from '../../core/units.js'
import type {
  ArchiveFault,
  ArchiveStart,
  DocumentKind,
  FromArchive,
  KeptDocument,
  StoredValue,
  ToArchive,
} from './archive-messages.js'
import { ABANDONED_AFTER_MS, dateAgain, expiringBetween, keptFolder, newestWriteMs, retain } from './kept-files.js'
import { KeptLog } from './kept-log.js'
import { OpenRecordFiles } from './open-record-files.js'
import type { LeftRecord } from './open-record-files.js'
import { RecordingFiles } from './recording-files.js'
import { RetentionClock, isUnsetDate } from './retention-clock.js'
import { StoredValues } from './stored-values.js'
import { writeUpload } from './objects/uploads.js'

/** Maximum number of documents that wait for a full disk. */
const ARCHIVE_BACKLOG_MAX = 1000

/**
 * Thread that writes the archive. It is the only thread that waits for the disk. So a slow, full or missing disk blocks
 * neither other threads nor Node's thread pool.
 */

const TICK_MS = 1000
const UPKEEP_TICKS = 600
const CLOCK_TICKS = 60
/** Probe file in the folder of records. It is about as large as a record with its transcript. */
const PROBE = '.disk'
const PROBE_BYTES = 64 * 1024

const { limits, first } = workerData as ArchiveStart
assert(parentPort !== null, 'the archive is a worker thread')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const port = parentPort
const post = (message: FromArchive): void => port.postMessage(message)

const logOf = (kind: 'records' | 'handoffs'): KeptLog =>
  new KeptLog({ dataFolder: limits.folder, kind, fileBytes: limits.fileBytes })
const logs: Readonly<Record<DocumentKind, KeptLog>> = { record: logOf('records'), handoff: logOf('handoffs') }
const recordings = new RecordingFiles(keptFolder(limits.folder, 'recordings'))
const recordingsIn = (folder: string): RecordingFiles =>
  folder === limits.folder ? recordings : new RecordingFiles(keptFolder(folder, 'recordings'))
const openRecordsIn = (folder: string): OpenRecordFiles => new OpenRecordFiles(keptFolder(folder, 'openRecords'))
const openRecords = openRecordsIn(limits.folder)
const values = new StoredValues(keptFolder(limits.folder, 'openRecords'))
const recordsFolder = keptFolder(limits.folder, 'records')
const { leftFolders = [], spareFolder = null } = limits
const folders = [limits.folder, ...leftFolders, ...(spareFolder === null ? [] : [spareFolder])]
const rules = {
  records: { days: limits.recordsKeepDays, bytes: limits.recordsKeepBytes },
  recordings: { days: limits.recordingsKeepDays, bytes: limits.recordingsKeepBytes },
}
const newestWrites = folders.flatMap((folder) => newestWriteMs(folder) ?? [])
const clock = new RetentionClock({
  folder: limits.folder,
  newestMs: newestWrites.length === 0 ? null : Math.max(...newestWrites),
  wallMs: Date.now,
  steadyMs: () => performance.now(),
})
let isFull = false
/** Documents that could not be written. They are tried again once a second. */
const backlog: KeptDocument[] = []
let ticks = 0

function attempt(what: ArchiveFault['what'], callSid: string | null, work: () => void): boolean {
  try {
    work()
    return true
  } catch (thrown) {
    post({ type: 'fault', what, callSid, message: messageOf(thrown), lost: 0 })
    if (what === 'record' || what === 'handoff') lookAtDisk()
    return false
  }
}

/** Checks whether the disk accepts records: writes and syncs the probe file. */
function lookAtDisk(): void {
  let takes = true
  try {
    mkdirSync(recordsFolder, { recursive: true, mode: 0o700 })
    writeFileSync(join(recordsFolder, PROBE), Buffer.alloc(PROBE_BYTES), { flush: true })
  } catch {
    takes = false
  }
  attempt('upkeep', null, () => rmSync(join(recordsFolder, PROBE), { force: true }))
  if (takes !== isFull) return
  isFull = !takes
  post({ type: 'disk', isFull })
}

function write({ kind, callSid, document, days }: KeptDocument): boolean {
  return attempt(kind, callSid, () => {
    logs[kind].append(callSid, document, clock.dateMs, days)
    if (limits.fsync === 'each') logs[kind].sync()
    if (limits.uploads === true) upload({ kind, callSid, document, days })
    if (kind === 'record') openRecords.remove(callSid)
  })
}

/**
 * Writes the document to a file of its own for the object storage, in addition to the log. The file stays until the
 * object storage has the document.
 */
function upload({ kind, callSid, document, days }: KeptDocument): void {
  writeUpload(limits.folder, { kind, callSid, days, json: JSON.stringify(document) }, clock.dateMs)
}

function keep(document: KeptDocument): void {
  // If documents are waiting, this document waits behind them, because the last written document of a call counts.
  if (backlog.length === 0 && write(document)) return post({ type: 'document-done', kind: document.kind, ok: true })
  backlog.push(document)
  if (backlog.length <= ARCHIVE_BACKLOG_MAX) return
  const oldest = backlog.shift()
  if (oldest === undefined) return
  post({
    type: 'fault',
    what: oldest.kind,
    callSid: oldest.callSid,
    message: 'too many documents wait for the disk',
    lost: 1,
  })
  post({ type: 'document-done', kind: oldest.kind, ok: false })
}

function tryBacklog(): void {
  for (let oldest = backlog[0]; oldest !== undefined; oldest = backlog[0]) {
    if (!write(oldest)) return
    backlog.shift()
    post({ type: 'document-done', kind: oldest.kind, ok: true })
  }
}

/** Time at which the machine's clock fell behind, and its newest time since then; null while it is not behind. */
let behind: { readonly fromMs: number; toMs: number } | null = null

/**
 * Looks at the machine's clock: reports a fault, and ends a fault if nothing would be lost. A day's share of the data
 * expires each day anyway.
 */
function lookAtClock(isMinute: boolean): void {
  const before = clock.fault
  if (before?.kind === 'ahead' && isMinute) {
    const [fromMs, toMs] = [clock.ageMs + DAY_MS, Date.now()]
    const isHarmless =
      folders.every((folder) => expiringBetween(folder, rules, fromMs, toMs) === 0) &&
      !values.expiresBetween(fromMs, toMs)
    if (isHarmless) clock.trust()
  }
  clock.look()
  const { fault } = clock
  if (fault?.kind === 'behind') {
    behind ??= { fromMs: Date.now() - TICK_MS, toMs: Date.now() }
    behind.toMs = Date.now()
  } else if (behind !== null) {
    dateFiles()
    behind = null
  }
  if (isMinute || fault?.kind !== reportedFault) post({ type: 'clock', fault })
  reportedFault = fault?.kind
}
let reportedFault: 'ahead' | 'behind' | undefined

/** Dates files again that were written while the clock was wrong, before their age deletes them. */
function dateFiles(): void {
  const isWrong = (ms: number): boolean =>
    isUnsetDate(ms) || (behind !== null && ms >= behind.fromMs && ms <= behind.toMs)
  for (const folder of folders) attempt('upkeep', null, () => dateAgain(folder, isWrong, clock.ageMs))
}

function upkeep(): void {
  attempt('upkeep', null, () => lookAtClock(true))
  dateFiles()
  attempt('upkeep', null, () => values.tidy(clock.ageMs))
  for (const folder of folders) {
    attempt('upkeep', null, () => recordingsIn(folder).recover(Date.now()))
    retain(folder, {
      rules,
      nowMs: clock.ageMs,
      onDeleted: (kind, reason) => post({ type: 'deleted', kind, reason }),
      onFault: (message) => post({ type: 'fault', what: 'upkeep', callSid: null, message, lost: 0 }),
    })
  }
}

/** Number of open records that are incomplete because the machine crashed. */
let openTorn = 0

/** An open record of a dead process, in the form of a call record. */
interface Left extends LeftRecord {
  readonly files: OpenRecordFiles
}

/** Records that wait for `left-record`, by call. */
const held = new Map<string, Left>()

/**
 * Open records of calls that were live when their process died. If the call has a record too, the open record is
 * deleted and left out.
 */
function leftRecords(folder: string): Left[] {
  const files = openRecordsIn(folder)
  const nowMs = Date.now()
  const left: Left[] = []
  attempt('record', null, () => {
    for (const { callSid, document, atWallMs, sealed } of files.left()) {
      if (nowMs - atWallMs < untouchedMs) continue
      if (logs.record.find(callSid) !== undefined) {
        files.remove(callSid)
        continue
      }
      const path = document['recording']
      const named = typeof path === 'string'
      const recording =
        named && existsSync(join(folder, path))
          ? { recording: join(relative(limits.folder, folder), path) }
          : { recording: null, ...(named ? { recordingState: 'missing' } : {}) }
      left.push({ callSid, document: { ...document, ...recording }, atWallMs, sealed, files })
    }
  })
  openTorn += files.unreadable
  return left
}

/**
 * Settles an open record: stores it as the call's record, or only removes it. A stored record has the date of the
 * call's last write, for retention. If the disk fails, the open record stays for the next start.
 */
function settleLeft(callSid: string, isRecord: boolean, days: number | null): void {
  const left = held.get(callSid)
  if (left === undefined) return
  held.delete(callSid)
  attempt('record', callSid, () => {
    const atMs = isUnsetDate(left.atWallMs) ? clock.ageMs : left.atWallMs
    if (isRecord) logs.record.append(callSid, left.document, atMs, days)
    if (isRecord && limits.uploads === true) upload({ kind: 'record', callSid, document: left.document, days })
    if (isRecord && limits.fsync !== 'never') logs.record.sync()
    left.files.remove(callSid)
  })
}

function find(kind: DocumentKind, callSid: string): unknown {
  const waiting = backlog.findLast((entry) => entry.kind === kind && entry.callSid === callSid)
  if (waiting !== undefined) return waiting.document
  let found: unknown
  attempt('upkeep', callSid, () => {
    found = logs[kind].find(callSid)
  })
  return found
}

/** Drops the documents of erased calls, so that they are not written any more. */
function forget(callSids: ReadonlySet<string>): void {
  for (const callSid of callSids) held.delete(callSid)
  for (let index = backlog.length - 1; index >= 0; index--) {
    const { kind, callSid } = backlog[index] as (typeof backlog)[number]
    if (!callSids.has(callSid)) continue
    backlog.splice(index, 1)
    post({ type: 'document-done', kind, ok: false })
  }
}

function close(): void {
  tryBacklog()
  for (const { kind, callSid } of backlog) {
    post({ type: 'fault', what: kind, callSid, message: 'the process ends before the disk took it', lost: 1 })
  }
  attempt('recording', null, () => recordings.closeAll())
  attempt('record', null, () => logs.record.close())
  attempt('handoff', null, () => logs.handoff.close())
  dateFiles()
  attempt('upkeep', null, () => clock.mark())
}

/** Drops a document that another node has stored, and its open record. */
function handedOver(kind: DocumentKind, callSid: string): void {
  for (let index = backlog.length - 1; index >= 0; index--) {
    const entry = backlog[index] as (typeof backlog)[number]
    if (entry.kind !== kind || entry.callSid !== callSid) continue
    backlog.splice(index, 1)
    post({ type: 'document-done', kind, ok: false })
  }
  if (kind === 'record') attempt('upkeep', callSid, () => openRecords.remove(callSid))
}

const timer = setInterval(() => {
  // This check detects free space on the disk even if no new records come.
  if (isFull || backlog.length > 0) lookAtDisk()
  tryBacklog()
  if (limits.fsync === 'second') {
    attempt('record', null, () => logs.record.sync())
    attempt('handoff', null, () => logs.handoff.sync())
  }
  ticks++
  if (ticks % UPKEEP_TICKS === 0) upkeep()
  else attempt('upkeep', null, () => lookAtClock(ticks % CLOCK_TICKS === 0))
}, TICK_MS)

port.on('message', (message: ToArchive) => {
  switch (message.type) {
    case 'document':
      return keep(message)
    case 'find':
      return post({ type: 'answer', id: message.id, value: find(message.kind, message.callSid) })
    case 'forget':
      forget(new Set(message.callSids))
      return post({ type: 'answer', id: message.id, value: null })
    case 'unwritten':
      tryBacklog()
      return post({ type: 'answer', id: message.id, value: backlog })
    case 'handed-over':
      return handedOver(message.kind, message.callSid)
    case 'left-record':
      return settleLeft(message.callSid, message.isRecord, message.days)
    case 'open-record-gone':
      return void attempt('record', message.callSid, () => openRecords.remove(message.callSid))
    case 'open-record':
      // The call has returned to this node, so its open record is live again.
      held.delete(message.callSid)
      attempt('record', message.callSid, () => {
        openRecords.write(message.callSid, message.json, limits.fsync === 'each')
        if (message.ended) openRecords.removeSealed(message.callSid)
      })
      return post({ type: 'open-record-done' })
    case 'sealed': {
      const written = message.changes.map((change) =>
        attempt('record', change.callSid, () => openRecords.writeSealed(change, limits.fsync === 'each')),
      )
      post({ type: 'open-record-done' })
      return post({ type: 'answer', id: message.id, value: written.every(Boolean) })
    }
    case 'value':
      attempt('record', null, () => values.write(message.value, clock.ageMs, limits.fsync === 'each'))
      return post({ type: 'open-record-done' })
    case 'trust-clock':
      return void attempt('upkeep', null, () => {
        clock.trust()
        lookAtClock(true)
      })
    case 'sealed-gone':
      return void attempt('record', message.callSid, () => openRecords.removeSealed(message.callSid))
    case 'recording-begin':
      if (
        attempt('recording', message.callSid, () =>
          recordings.begin(message.callSid, message.rateHz, message.announced, message.days),
        )
      )
        return
      return post({ type: 'recording-failed', callSid: message.callSid })
    case 'recording-announced':
      return void attempt('recording', message.callSid, () => recordings.announced(message.callSid))
    case 'recording-rows': {
      let written = false
      attempt('recording', message.callSid, () => {
        written = recordings.write(message.callSid, message.at, message.bytes)
      })
      return post({ type: 'rows-done', bytes: message.bytes.byteLength, ok: written })
    }
    case 'recording-end':
      return void attempt('recording', message.callSid, () => recordings.finish(message.callSid))
    case 'recording-discard':
      return void attempt('recording', message.callSid, () => recordings.discard(message.callSid))
    case 'close':
      clearInterval(timer)
      close()
      post({ type: 'answer', id: message.id, value: null })
      return port.close()
    default:
      return assertNever(message)
  }
})

/** Time in ms without a write after which a file counts as abandoned. */
const untouchedMs = first && limits.alone === true ? -Infinity : ABANDONED_AFTER_MS
let recovered = 0
attempt('upkeep', null, () => {
  recovered = recordings.recover(Date.now(), untouchedMs)
})
upkeep() // expired records are deleted before the records are read
let left: Left[] = []
let newest: readonly unknown[] = []
let valuesLeft: readonly StoredValue[] = []
if (limits.retainOnly !== true) {
  // A folder that cannot be read or created is a fault like a full disk: the gateway still accepts calls.
  attempt('upkeep', null, () => logs.record.load(clock.ageMs))
  attempt('upkeep', null, () => logs.handoff.load(clock.ageMs))
  left = first ? [limits.folder, ...leftFolders].flatMap(leftRecords) : []
  for (const one of left) held.set(one.callSid, one)
  attempt('upkeep', null, () => {
    if (first) valuesLeft = values.load(clock.ageMs)
  })
  attempt('upkeep', null, () => {
    newest = logs.record.newest(ENDED_CALLS_KEPT)
  })
}
post({
  type: 'ready',
  newest,
  torn: logs.record.torn + logs.handoff.torn + openTorn,
  recovered,
  died: left.map(({ document, atWallMs, sealed }) => ({ document, atWallMs, sealed })),
  values: valuesLeft,
})
