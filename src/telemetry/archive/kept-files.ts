import { readdirSync, statSync, unlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { DAY_MS } from '../../core/units.js'
import { messageOf, whereThere } from '../../core/errors.js'

/** Age and size up to which files are kept. */
interface KeepRule {
  readonly days: number
  /** All files under the rule together, in one data folder; the oldest are deleted first. */
  readonly bytes: number
}

/** Under which settings a file is kept: RECORDS_KEEP_DAYS and _MB, or RECORDINGS_KEEP_DAYS and _MB. */
type KeptAs = 'records' | 'recordings'

type KeepRules = Readonly<Record<KeptAs, KeepRule>>

interface FileKind {
  /** Below a data folder. */
  readonly folder: string
  /** Other files in the folder are not ours. */
  readonly name: RegExp
  readonly keptAs: KeptAs
  /**
   * The name of a `LineLog`: its files have the documents of many calls of one day. Null: each file is of one call, and
   * its name begins with the call's SID.
   */
  readonly log: string | null
  /** True: not deleted for its size. */
  readonly small?: boolean
}

const ANY = /^[A-Za-z0-9_-]{1,64}\./

/**
 * The inventory: every kind of file below DATA_DIR that holds what callers said or who they are. Retention and erasure
 * go through it, and `keptFolder` is the only way to a folder for such files, so that no kind is forgotten.
 */
export const KEPT_FILES = {
  records: { folder: 'records', name: logFiles('calls'), keptAs: 'records', log: 'calls' },
  handoffs: { folder: 'records', name: logFiles('handoffs'), keptAs: 'records', log: 'handoffs' },
  openRecords: {
    folder: join('records', 'open'),
    name: /^(?:[A-Za-z0-9_-]{1,64}\.(?:json|kept)|values\.jsonl)(?:\.part)?$/,
    keptAs: 'records',
    log: null,
  },
  recordings: { folder: 'recordings', name: ANY, keptAs: 'recordings', log: null },
  carrierRecordings: { folder: 'carrier-recordings', name: ANY, keptAs: 'recordings', log: null },
  outbox: { folder: 'outbox', name: ANY, keptAs: 'records', log: null },
  // With JOURNAL_CALLS=audio a journal is a recording.
  journals: { folder: 'journals', name: ANY, keptAs: 'recordings', log: null },
  // Records and handoff packets on their way to the object storage.
  uploads: { folder: 'uploads', name: ANY, keptAs: 'records', log: null },
  // Keys of what is in the object storage: without its key an object is nothing.
  recordKeys: { folder: join('keys', 'records'), name: ANY, keptAs: 'records', log: null, small: true },
  recordingKeys: { folder: join('keys', 'recordings'), name: ANY, keptAs: 'recordings', log: null, small: true },
  // Terms by which ended calls are found. It counts for the size, and is deleted for its age alone.
  index: { folder: 'index', name: /^index\.sqlite/, keptAs: 'records', log: null, small: true },
  // Files read back from there, kept for minutes.
  fetched: { folder: 'fetched', name: ANY, keptAs: 'recordings', log: null },
} as const satisfies Readonly<Record<string, FileKind>>

export type KeptFile = keyof typeof KEPT_FILES

export const KEPT_KINDS = Object.keys(KEPT_FILES) as readonly KeptFile[]

/** A folder below that of a kind: files that an agent's `retention` keeps for another number of days than the settings. */
const OWN_DAYS = /^(\d{1,5})d$/

/** @param days  of an agent's `retention`; null: the settings' */
export function keptFolder(dataFolder: string, kind: KeptFile, days: number | null = null): string {
  const folder = join(dataFolder, KEPT_FILES[kind].folder)
  return days === null ? folder : join(folder, `${days}d`)
}

/** The retentions under which there may be files of a kind; null, the settings', is the first. @throws as `keptNames` */
export function keptDays(dataFolder: string, kind: KeptFile): (number | null)[] {
  const own = namesIn(keptFolder(dataFolder, kind)).flatMap((name) => OWN_DAYS.exec(name)?.[1] ?? [])
  return [null, ...own.map(Number).sort((a, b) => a - b)]
}

/**
 * Names of a kind's files, below its folder: `SID.wav`, or `30d/SID.wav` under an agent's retention.
 * @throws what the file system throws, except where there is no folder
 */
export function keptNames(dataFolder: string, kind: KeptFile): string[] {
  return keptDays(dataFolder, kind).flatMap((days) =>
    namesIn(keptFolder(dataFolder, kind, days))
      .filter((name) => KEPT_FILES[kind].name.test(name))
      .map((name) => (days === null ? name : join(`${days}d`, name))),
  )
}

function namesIn(folder: string): string[] {
  return whereThere(() => readdirSync(folder), [])
}

/** The retention of a file by its name below its kind's folder; null: the settings'. */
export function daysOf(name: string): number | null {
  const days = OWN_DAYS.exec(name.split('/')[0] ?? '')?.[1]
  return days === undefined ? null : Number(days)
}

/** The files of a log; the first group is the day, the second the number. */
export function logFiles(log: string): RegExp {
  return new RegExp(`^${log}-(\\d{4}-\\d{2}-\\d{2})-(\\d{4,})\\.jsonl$`)
}

/** A file that was written to this recently has a writer, possibly in another process. */
export const ABANDONED_AFTER_MS = 60_000

/** Why a file was deleted. */
export type DeletedFor = 'age' | 'size'

interface RetainOptions {
  readonly rules: KeepRules
  /** Calendar time. */
  readonly nowMs: number
  readonly onDeleted: (kind: KeptFile, reason: DeletedFor) => void
  /** A file could not be deleted; the others are. */
  readonly onFault: (message: string) => void
}

/**
 * Deletes what is too old in a data folder, and the oldest of what is too much. The age of a call's file is that of its
 * last write. A log's file is as old as the end of its day, so a record is kept up to a day longer than the setting. No
 * file that may have a writer is deleted for its size, and no small one.
 *
 * Synchronous, for a thread that has nothing else to do.
 */
export function retain(dataFolder: string, { rules, nowMs, onDeleted, onFault }: RetainOptions): void {
  for (const keptAs of ['records', 'recordings'] as const) {
    const rule = rules[keptAs]
    const files = KEPT_KINDS.filter((kind) => KEPT_FILES[kind].keptAs === keptAs)
      .flatMap((kind) => filesOf(dataFolder, kind, nowMs, onFault))
      .sort((a, b) => a.atMs - b.atMs)
    let bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    for (const file of files) {
      const old = nowMs - file.atMs > (file.days ?? rule.days) * DAY_MS
      if (!old && (bytes <= rule.bytes || file.ageOnly)) continue
      try {
        unlinkSync(file.path)
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') onFault(messageOf(thrown))
        continue
      }
      bytes -= file.bytes
      onDeleted(file.kind, old ? 'age' : 'size')
    }
  }
}

interface FileOnDisk {
  readonly path: string
  readonly kind: KeptFile
  /** Days of an agent's own retention; null: the settings'. */
  readonly days: number | null
  readonly atMs: number
  readonly bytes: number
  /** It may have a writer, or frees nothing: it is deleted for its age alone. */
  readonly ageOnly: boolean
}

function filesOf(dataFolder: string, kind: KeptFile, nowMs: number, onFault: (message: string) => void): FileOnDisk[] {
  try {
    const { log, name: pattern, small = false }: FileKind = KEPT_FILES[kind]
    const names = keptNames(dataFolder, kind).sort()
    return names.flatMap((name, index) => {
      const path = join(keptFolder(dataFolder, kind), name)
      const stat = statSync(path, { throwIfNoEntry: false }) // a call may have finished it meanwhile
      if (stat?.isFile() !== true) return []
      const { size: bytes, mtimeMs } = stat
      const days = daysOf(name)
      if (log === null)
        return [{ path, kind, days, atMs: mtimeMs, bytes, ageOnly: small || nowMs - mtimeMs < ABANDONED_AFTER_MS }]
      const atMs = Date.parse(pattern.exec(basename(name))?.[1] ?? '') + DAY_MS
      const next = names[index + 1]
      return [{ path, kind, days, atMs, bytes, ageOnly: next === undefined || daysOf(next) !== days }]
    })
  } catch (thrown) {
    onFault(messageOf(thrown))
    return []
  }
}
