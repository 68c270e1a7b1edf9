import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { assert, assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { CONNECT_ATTEMPT_MS, ENDED_CALLS_KEPT } from '../../core/limits.js'
import type {
  ArchiveFault,
  ArchiveStart,
  DocumentKind,
  FromArchive,
  KeptDocument,
  StoredValue,
  ToArchive,
} from './archive-messages.js'
import { ABANDONED_AFTER_MS, keptFolder, retain } from './kept-files.js'
import { KeptLog } from './kept-log.js'
import { OpenRecordFiles } from './open-record-files.js'
import type { LeftRecord } from './open-record-files.js'
import { RecordingFiles } from './recording-files.js'
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
    logs[kind].append(callSid, document, Date.now(), days)
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
  writeUpload(limits.folder, { kind, callSid, days, json: JSON.stringify(document) }, Date.now())
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

function upkeep(): void {
  attempt('upkeep', null, () => values.tidy(Date.now()))
  const { leftFolders = [], spareFolder = null } = limits
  for (const folder of [limits.folder, ...leftFolders, ...(spareFolder === null ? [] : [spareFolder])]) {
    attempt('upkeep', null, () => recordingsIn(folder).recover(Date.now()))
    retain(folder, {
      rules: {
        records: { days: limits.recordsKeepDays, bytes: limits.recordsKeepBytes },
        recordings: { days: limits.recordingsKeepDays, bytes: limits.recordingsKeepBytes },
      },
      nowMs: Date.now(),
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
    if (isRecord) logs.record.append(callSid, left.document, left.atWallMs, days)
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
  if (++ticks % UPKEEP_TICKS === 0) upkeep()
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
      attempt('record', null, () => values.write(message.value, Date.now(), limits.fsync === 'each'))
      return post({ type: 'open-record-done' })
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
  attempt('upkeep', null, () => logs.record.load(Date.now()))
  attempt('upkeep', null, () => logs.handoff.load(Date.now()))
  left = first ? [limits.folder, ...(limits.leftFolders ?? [])].flatMap(leftRecords) : []
  for (const one of left) held.set(one.callSid, one)
  attempt('upkeep', null, () => {
    if (first) valuesLeft = values.load(Date.now())
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
