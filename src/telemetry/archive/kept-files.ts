import { readdirSync, statSync, unlinkSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { DAY_MS } from '../../core/units.js'
import { messageOf, whereThere } from '../../core/errors.js'

/** Maximum age and maximum total size of stored files. */
interface KeepRule {
  readonly days: number
  /**
   * Maximum number of bytes of all files under this rule in one data folder. If there are more, the oldest files are
   * deleted first.
   */
  readonly bytes: number
}

/**
 * Settings that limit for how long a file is stored: RECORDS_KEEP_DAYS and RECORDS_KEEP_MB, or RECORDINGS_KEEP_DAYS and
 * RECORDINGS_KEEP_MB.
 */
type KeptAs = 'records' | 'recordings'

type KeepRules = Readonly<Record<KeptAs, KeepRule>>

interface FileKind {
  /** Below a data folder. */
  readonly folder: string
  /** Pattern of the gateway's file names. Other files in the folder are not touched. */
  readonly name: RegExp
  readonly keptAs: KeptAs
  /**
   * Name of a `LineLog`, whose files contain documents of many calls of one day. If null, each file belongs to one
   * call, and its name begins with the call's SID.
   */
  readonly log: string | null
  /** True if the size limit does not delete these files. */
  readonly small?: boolean
}

const ANY = /^[A-Za-z0-9_-]{1,64}\./

/**
 * All kinds of files below DATA_DIR with words or identities of callers. Retention and erasure use this list. The list
 * is complete, because code can get a folder only from `keptFolder`, which needs an entry here.
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
  // With JOURNAL_CALLS=audio, a journal counts as a recording.
  journals: { folder: 'journals', name: ANY, keptAs: 'recordings', log: null },
  // Records and handoff packets that wait for their upload to the object storage.
  uploads: { folder: 'uploads', name: ANY, keptAs: 'records', log: null },
  // Keys of objects in the object storage. Without its key, an object cannot be read.
  recordKeys: { folder: join('keys', 'records'), name: ANY, keptAs: 'records', log: null, small: true },
  recordingKeys: { folder: join('keys', 'recordings'), name: ANY, keptAs: 'recordings', log: null, small: true },
  // Search terms of ended calls. The index's size counts for the size limit, but the index is deleted only for its age.
  index: { folder: 'index', name: /^index\.sqlite/, keptAs: 'records', log: null, small: true },
  // Files that were read back from the object storage. They are stored for some minutes.
  fetched: { folder: 'fetched', name: ANY, keptAs: 'recordings', log: null },
} as const satisfies Readonly<Record<string, FileKind>>

export type KeptFile = keyof typeof KEPT_FILES

export const KEPT_KINDS = Object.keys(KEPT_FILES) as readonly KeptFile[]

/** Folder below a kind's folder. It contains the files of agents whose `retention` has its own number of days. */
const OWN_DAYS = /^(\d{1,5})d$/

/** @param days days in an agent's `retention`; null for the default of the settings */
export function keptFolder(dataFolder: string, kind: KeptFile, days: number | null = null): string {
  const folder = join(dataFolder, KEPT_FILES[kind].folder)
  return days === null ? folder : join(folder, `${days}d`)
}

/**
 * Retentions in days for which a kind has a folder of files. The first is null, the default of the settings.
 * @throws like `keptNames`
 */
export function keptDays(dataFolder: string, kind: KeptFile): (number | null)[] {
  const own = namesIn(keptFolder(dataFolder, kind)).flatMap((name) => OWN_DAYS.exec(name)?.[1] ?? [])
  return [null, ...own.map(Number).sort((a, b) => a - b)]
}

/**
 * Names of a kind's files, relative to its folder: `SID.wav`, or `30d/SID.wav` for an agent with its own retention.
 * @throws errors of the file system, unless the folder is missing
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

/** Retention in days of a file, from its name relative to its kind's folder; null for the default of the settings. */
export function daysOf(name: string): number | null {
  const days = OWN_DAYS.exec(name.split('/')[0] ?? '')?.[1]
  return days === undefined ? null : Number(days)
}

/** Pattern of the names of a log's files. Its first group is the day, its second group the number. */
export function logFiles(log: string): RegExp {
  return new RegExp(`^${log}-(\\d{4}-\\d{2}-\\d{2})-(\\d{4,})\\.jsonl$`)
}

/** Time in ms after a file's last write for which the file may still have a writer, here or in another process. */
export const ABANDONED_AFTER_MS = 60_000

/** Reason for which a file was deleted. */
export type DeletedFor = 'age' | 'size'

interface RetainOptions {
  readonly rules: KeepRules
  /** Calendar time. */
  readonly nowMs: number
  readonly onDeleted: (kind: KeptFile, reason: DeletedFor) => void
  /** Called if a file could not be deleted. The other files are still deleted. */
  readonly onFault: (message: string) => void
}

/**
 * Deletes old files in a data folder. If the remaining files exceed the size limit, deletes the oldest of them. The age
 * of a file is the time since its last write. The age of a log's file is the time since the end of the file's day. A
 * record may therefore be stored a day longer. The size limit does not delete files that may have a writer, or that are
 * `small`. Synchronous, for a thread without other work.
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

/** @returns the number of files that `retain` would delete for their age at `toMs`, and not at `fromMs` */
export function expiringBetween(dataFolder: string, rules: KeepRules, fromMs: number, toMs: number): number {
  let count = 0
  for (const file of allFiles(dataFolder, toMs)) {
    const untilMs = file.atMs + (file.days ?? rules[KEPT_FILES[file.kind].keptAs].days) * DAY_MS
    if (untilMs >= fromMs && untilMs < toMs) count++
  }
  return count
}

/** @returns the calendar time of the newest write; null without files */
export function newestWriteMs(dataFolder: string): number | null {
  const times = allFiles(dataFolder, 0).map(({ writtenAtMs }) => writtenAtMs)
  return times.length === 0 ? null : times.reduce((newest, ms) => Math.max(newest, ms))
}

/** Dates files with the time `toMs` whose last write has a wrong date. Files of a log are dated by their names. */
export function dateAgain(dataFolder: string, isWrong: (writtenAtMs: number) => boolean, toMs: number): void {
  for (const { path, kind, writtenAtMs } of allFiles(dataFolder, toMs))
    if (KEPT_FILES[kind].log === null && isWrong(writtenAtMs)) utimesSync(path, toMs / 1000, toMs / 1000)
}

function allFiles(dataFolder: string, nowMs: number): FileOnDisk[] {
  // A folder that cannot be read is reported by `retain`.
  return KEPT_KINDS.flatMap((kind) => filesOf(dataFolder, kind, nowMs, () => undefined))
}

interface FileOnDisk {
  readonly path: string
  readonly kind: KeptFile
  /** Days of the agent's own retention; null for the default of the settings. */
  readonly days: number | null
  /** Time from which the age counts. */
  readonly atMs: number
  readonly writtenAtMs: number
  readonly bytes: number
  /** True if the size limit does not delete the file: it may have a writer, or its deletion frees no space. */
  readonly ageOnly: boolean
}

function filesOf(dataFolder: string, kind: KeptFile, nowMs: number, onFault: (message: string) => void): FileOnDisk[] {
  try {
    const { log, name: pattern, small = false }: FileKind = KEPT_FILES[kind]
    const names = keptNames(dataFolder, kind).sort()
    return names.flatMap((name, index) => {
      const path = join(keptFolder(dataFolder, kind), name)
      const stat = statSync(path, { throwIfNoEntry: false }) // the file may have been renamed or removed since it was listed
      if (stat?.isFile() !== true) return []
      const { size: bytes, mtimeMs } = stat
      const days = daysOf(name)
      if (log === null)
        return [
          {
            ...{ path, kind, days, atMs: mtimeMs, writtenAtMs: mtimeMs, bytes },
            ageOnly: small || nowMs - mtimeMs < ABANDONED_AFTER_MS,
          },
        ]
      const atMs = Date.parse(pattern.exec(basename(name))?.[1] ?? '') + DAY_MS
      const next = names[index + 1]
      const ageOnly = next === undefined || daysOf(next) !== days
      return [{ path, kind, days, atMs, writtenAtMs: mtimeMs, bytes, ageOnly }]
    })
  } catch (thrown) {
    onFault(messageOf(thrown))
    return []
  }
}
