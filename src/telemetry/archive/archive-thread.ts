import {
  closeSync,
  existsSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { assert, assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { ARCHIVE_BACKLOG_MAX, ENDED_CALLS_KEPT } from '../../core/limits.js'
import type { ArchiveFault, ArchiveStart, DocumentKind, FromArchive, ToArchive } from './archive-messages.js'
import { LineLog, retainLeftLog } from './line-log.js'
import { ABANDONED_AFTER_MS, RecordingFiles } from './recording-files.js'

const FILE = /^([A-Za-z0-9_-]{1,64})\.json$/
const PART = /^[A-Za-z0-9_-]{1,64}\.json\.part$/

/** A call that was live when its process died. */
interface LeftRecord {
  readonly callSid: string
  readonly document: Readonly<Record<string, unknown>>
  /** Calendar time at which the call was last known to be live. */
  readonly atWallMs: number
}

/**
 * The open record of each live call, `SID.json`: written to a temporary file and renamed, so that it is always whole. A
 * call's file is deleted when its record is in the log, so a start finds here the calls whose process died.
 *
 * Synchronous, for a thread that has nothing else to do. Methods throw what the file system throws.
 */
class OpenRecordFiles {
  /** Files that are not records: half-written when the machine died, or foreign. */
  unreadable = 0
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @param sync  whether to wait until the disk has it */
  write(callSid: string, json: string, sync: boolean): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const beside = `${this.#path(callSid)}.part`
    const handle = openSync(beside, 'w', 0o600)
    try {
      writeFileSync(handle, json)
      if (sync) fdatasyncSync(handle)
    } finally {
      closeSync(handle)
    }
    renameSync(beside, this.#path(callSid))
  }

  remove(callSid: string): void {
    rmSync(this.#path(callSid), { force: true })
    rmSync(`${this.#path(callSid)}.part`, { force: true })
  }

  /** The open records of dead processes, oldest first. Unreadable ones are deleted. */
  left(): LeftRecord[] {
    const left: LeftRecord[] = []
    for (const name of this.#names()) {
      const path = join(this.#folder, name)
      const callSid = FILE.exec(name)?.[1]
      if (callSid !== undefined) {
        const document = readObject(path)
        if (document?.['callSid'] === callSid) {
          left.push({ callSid, document, atWallMs: statSync(path).mtimeMs })
          continue
        }
        this.unreadable++
      }
      if (callSid !== undefined || PART.test(name)) rmSync(path, { force: true })
    }
    return left.sort((a, b) => a.atWallMs - b.atWallMs)
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder)
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw thrown
    }
  }

  #path(callSid: string): string {
    return join(this.#folder, `${callSid}.json`)
  }
}

/** Null for anything that is no JSON object. */
function readObject(path: string): Readonly<Record<string, unknown>> | null {
  try {
    const document = JSON.parse(readFileSync(path, 'utf8')) as unknown
    return typeof document === 'object' && document !== null ? (document as Readonly<Record<string, unknown>>) : null
  } catch {
    return null
  }
}

/**
 * The thread that writes the archive. It alone waits for the disk: a slow, full or missing disk blocks
 * nothing else, not even the name lookups that share Node's own thread pool.
 */

const TICK_MS = 1000
const UPKEEP_TICKS = 600
const DAY_MS = 86_400_000

const { limits, first } = workerData as ArchiveStart
assert(parentPort !== null, 'the archive is a worker thread')
const port = parentPort
const post = (message: FromArchive): void => port.postMessage(message)

const logOf = (name: string): LineLog =>
  new LineLog({
    folder: join(limits.folder, 'records'),
    name,
    fileBytes: limits.fileBytes,
    keepDays: limits.recordsKeepDays,
    keepBytes: limits.recordsKeepBytes,
  })
const LOG_NAMES = ['calls', 'handoffs'] as const
const logs: Readonly<Record<DocumentKind, LineLog>> = { record: logOf(LOG_NAMES[0]), handoff: logOf(LOG_NAMES[1]) }
const recordings = new RecordingFiles(join(limits.folder, 'recordings'))
const openRecordsIn = (folder: string): OpenRecordFiles => new OpenRecordFiles(join(folder, 'records', 'open'))
const openRecords = openRecordsIn(limits.folder)
/** Documents that could not be written; tried again once a second. */
const backlog: { readonly kind: DocumentKind; readonly callSid: string; readonly document: unknown }[] = []
let ticks = 0

function attempt(what: ArchiveFault['what'], callSid: string | null, work: () => void): boolean {
  try {
    work()
    return true
  } catch (thrown) {
    post({ type: 'fault', what, callSid, message: messageOf(thrown), lost: 0 })
    return false
  }
}

function write(kind: DocumentKind, callSid: string, document: unknown): boolean {
  return attempt(kind, callSid, () => {
    logs[kind].append(callSid, document, Date.now())
    if (limits.fsync === 'each') logs[kind].sync()
    if (kind === 'record') openRecords.remove(callSid)
  })
}

function keep(kind: DocumentKind, callSid: string, document: unknown): void {
  // After the waiting ones, because the newest document of a call wins.
  if (backlog.length === 0 && write(kind, callSid, document)) return post({ type: 'document-done', kind, ok: true })
  backlog.push({ kind, callSid, document })
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
    if (!write(oldest.kind, oldest.callSid, oldest.document)) return
    backlog.shift()
    post({ type: 'document-done', kind: oldest.kind, ok: true })
  }
}

function upkeep(): void {
  attempt('upkeep', null, () => {
    logs.record.retain(Date.now())
    logs.handoff.retain(Date.now())
    recordings.recover(Date.now())
    recordings.retain(Date.now(), limits.recordingsKeepDays, limits.recordingsKeepBytes)
  })
  const { leftFolders = [], spareFolder = null } = limits
  for (const folder of [...leftFolders, ...(spareFolder === null ? [] : [spareFolder])])
    attempt('upkeep', null, () => {
      retainLeft(folder)
    })
}

/** Files of further processes of an earlier start are kept as long as our own. */
function retainLeft(folder: string): void {
  const recordsOf = {
    folder: join(folder, 'records'),
    keepDays: limits.recordsKeepDays,
    keepBytes: limits.recordsKeepBytes,
  }
  for (const name of LOG_NAMES) retainLeftLog({ ...recordsOf, name }, Date.now())
  const left = new RecordingFiles(join(folder, 'recordings'))
  left.recover(Date.now())
  left.retain(Date.now(), limits.recordingsKeepDays, limits.recordingsKeepBytes)
}

/** Open records that a crash of the machine left unfinished. */
let openTorn = 0

/** An open record of a dead process, as it becomes the call's record. */
interface Left extends LeftRecord {
  readonly files: OpenRecordFiles
}

/** Those that wait for `left-record`. */
const held = new Map<string, Left>()

/** The calls that were live when their process died. What is too old, or has a record, is deleted. */
function leftRecords(folder: string): Left[] {
  const files = openRecordsIn(folder)
  const nowMs = Date.now()
  const tooOldMs = nowMs - limits.recordsKeepDays * DAY_MS
  const left: Left[] = []
  attempt('record', null, () => {
    for (const { callSid, document, atWallMs } of files.left()) {
      if (nowMs - atWallMs < untouchedMs) continue
      if (atWallMs < tooOldMs || logs.record.find(callSid) !== undefined) {
        files.remove(callSid)
        continue
      }
      const path = document['recording']
      const recording =
        typeof path === 'string' && existsSync(join(folder, path)) ? join(relative(limits.folder, folder), path) : null
      left.push({ callSid, document: { ...document, recording }, atWallMs, files })
    }
  })
  openTorn += files.unreadable
  return left
}

/**
 * Makes open records the records of their calls, with their own dates, so that they are kept as long as any other. When
 * the disk fails they stay for the next start.
 */
function closeLeft(left: readonly Left[]): void {
  attempt('record', null, () => {
    for (const { callSid, document, atWallMs } of left) logs.record.append(callSid, document, atWallMs)
    if (limits.fsync !== 'never') logs.record.sync()
    for (const { callSid, files } of left) files.remove(callSid)
  })
}

function settleLeft(callSid: string, isRecord: boolean): void {
  const left = held.get(callSid)
  if (left === undefined) return
  held.delete(callSid)
  if (isRecord) closeLeft([left])
  else attempt('record', callSid, () => left.files.remove(callSid))
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

/** Erased calls: nothing of them is written any more. */
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

const timer = setInterval(() => {
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
      return keep(message.kind, message.callSid, message.document)
    case 'find':
      return post({ type: 'answer', id: message.id, value: find(message.kind, message.callSid) })
    case 'forget':
      forget(new Set(message.callSids))
      return post({ type: 'answer', id: message.id, value: null })
    case 'left-record':
      return settleLeft(message.callSid, message.isRecord)
    case 'open-record-gone':
      return void attempt('record', message.callSid, () => openRecords.remove(message.callSid))
    case 'open-record':
      // The call has come back to this node, and this file is live again.
      held.delete(message.callSid)
      attempt('record', message.callSid, () =>
        openRecords.write(message.callSid, message.json, limits.fsync === 'each'),
      )
      return post({ type: 'open-record-done' })
    case 'recording-begin':
      if (
        attempt('recording', message.callSid, () =>
          recordings.begin(message.callSid, message.rateHz, message.announced),
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

// A folder that cannot be read or created is a fault like a full disk: the gateway still takes calls.
attempt('upkeep', null, () => logs.record.load(Date.now()))
attempt('upkeep', null, () => logs.handoff.load(Date.now()))
/** A file that was not written to for this long has no writer. */
const untouchedMs = first && limits.alone === true ? -Infinity : ABANDONED_AFTER_MS
let recovered = 0
attempt('upkeep', null, () => {
  recovered = recordings.recover(Date.now(), untouchedMs)
})
const left = first ? [limits.folder, ...(limits.leftFolders ?? [])].flatMap(leftRecords) : []
if (limits.holdsLeft === true) for (const one of left) held.set(one.callSid, one)
else closeLeft(left)
let newest: readonly unknown[] = []
attempt('upkeep', null, () => {
  newest = logs.record.newest(ENDED_CALLS_KEPT)
})
upkeep()
post({
  type: 'ready',
  newest,
  torn: logs.record.torn + logs.handoff.torn + openTorn,
  recovered,
  died: left.map(({ document }) => document),
})
