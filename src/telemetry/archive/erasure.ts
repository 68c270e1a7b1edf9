import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { basename, join } from 'node:path'
import { jsonObject } from '../../core/json.js'
import { maskNumber, sameNumber } from '../../sautikit/phone.js'
import { KEPT_FILES, KEPT_KINDS, keptFolder, keptNames } from './kept-files.js'
import type { KeptFile } from './kept-files.js'
import { ERASED, linesOf } from './line-log.js'
import { forgetKeys } from './objects/object-keys.js'

const ERASED_KINDS = [
  'calls',
  // Lines of the logs of records, and open records. A record whose carrier's detail was joined has two.
  'records',
  'handoffs',
  // Files; a call that went on after its stream was lost has several.
  'recordings',
  'carrierRecordings',
  'journals',
  // That were not delivered yet, or never were.
  'messages',
  // Rows of campaigns and call backs, of which the person is forgotten.
  'rows',
  // In the object storage: their key is forgotten, so that nobody can read them; and those that could not be deleted.
  'objects',
  'objectsLeft',
] as const
type ErasedKind = (typeof ERASED_KINDS)[number]

/** Counts of an erasure: calls, and documents of each kind. */
export type ErasedCounts = Readonly<Record<ErasedKind, number>>

/** An object with a value for each of these counts. */
export function eachErased<T>(valueOf: (kind: ErasedKind) => T): Record<ErasedKind, T> {
  return Object.fromEntries(ERASED_KINDS.map((kind) => [kind, valueOf(kind)])) as Record<ErasedKind, T>
}

/** SIDs of the calls of a number. */
export interface FoundCalls {
  readonly exact: readonly string[]
  /** Their record has the number masked, and what it shows is the same. They may be somebody else's. */
  readonly alike: readonly string[]
}

/** Either question or both, for the thread that reads whole archives. */
export interface ErasureTask {
  /** Data folders: DATA_DIR, and those of other processes that are gone. */
  readonly folders: readonly string[]
  /** Calls of this number are looked for. */
  readonly number: string | null
  /** These calls are erased. */
  readonly callSids: readonly string[]
  /** The country of numbers in old documents that have no country code. */
  readonly country: string
}

/** Kind that counts where a file, or a line, is erased. Null: a copy. Keys are counted by what they encrypt. */
const COUNTED: Readonly<Record<KeptFile, ErasedKind | null>> = {
  records: 'records',
  handoffs: 'handoffs',
  openRecords: 'records',
  recordings: 'recordings',
  carrierRecordings: 'carrierRecordings',
  outbox: 'messages',
  journals: 'journals',
  uploads: null,
  index: null,
  fetched: null,
  recordKeys: null,
  recordingKeys: null,
}

/**
 * Erases all that data folders hold of calls. Lines of records are overwritten with spaces in their place, so that a log
 * to which another thread or process appends stays valid; every other document is a file of its own and is deleted.
 * Synchronous: not for a thread that carries calls.
 * @throws what the file system throws
 */
export function eraseCalls(folders: readonly string[], callSids: readonly string[]): ErasedCounts {
  const wanted = new Set(callSids)
  const erased = eachErased(() => 0)
  const touched = new Set<string>()
  // No process runs in the others; that of the first forgets the calls itself.
  for (const folder of folders.slice(1)) rmSync(keptFolder(folder, 'index'), { recursive: true, force: true })
  for (const folder of folders) {
    for (const kind of ['recordKeys', 'recordingKeys'] as const)
      for (const callSid of callSids) {
        const { length } = forgetKeys(folder, kind, callSid)
        erased.objects += length
        erased.objectsLeft += length
        if (length > 0) touched.add(callSid)
      }
    for (const kind of KEPT_KINDS)
      for (const name of keptNames(folder, kind)) {
        const path = join(keptFolder(folder, kind), name)
        const count =
          KEPT_FILES[kind].log === null ? removeFile(path, wanted, touched) : blankLines(path, wanted, touched)
        const counted = COUNTED[kind]
        if (counted !== null) erased[counted] += count
      }
  }
  return { ...erased, calls: touched.size }
}

/**
 * The calls of a number: those in which it is the other party's, or was left for a call back. Our own numbers have no
 * calls here. Synchronous, as `eraseCalls`.
 */
export function findCalls(folders: readonly string[], number: string): FoundCalls {
  const exact = new Set<string>()
  const alike = new Set<string>()
  const note = (document: NumberedDocument | null): void => {
    if (typeof document?.callSid !== 'string') return
    const how = isOfNumber(document, number)
    if (how === 'exact') exact.add(document.callSid)
    else if (how === 'alike') alike.add(document.callSid)
  }
  for (const folder of folders) {
    for (const kind of ['records', 'handoffs'] as const)
      for (const name of keptNames(folder, kind))
        for (const { line } of linesOf(readFileSync(join(keptFolder(folder, kind), name)))) note(jsonObject(line))
    for (const name of keptNames(folder, 'openRecords'))
      note(jsonObject(readFileSync(join(keptFolder(folder, 'openRecords'), name))))
  }
  return { exact: [...exact], alike: [...alike].filter((callSid) => !exact.has(callSid)) }
}

/** A record or a handoff packet, as far as it says whose call it was. */
interface NumberedDocument {
  readonly callSid?: unknown
  readonly direction?: unknown
  readonly from?: unknown
  readonly to?: unknown
  readonly escalation?: { readonly callback?: { readonly number?: unknown } | null } | null | undefined
}

/** Says whether a record or handoff packet is of a call of this number. `alike`: it is masked, and may be. */
export function isOfNumber(document: NumberedDocument, number: string): 'exact' | 'alike' | 'other' {
  // In a handoff packet, `from` is the caller, whoever called.
  const theirs = document.direction === 'outbound' ? document.to : document.from
  const numbers = [theirs, document.escalation?.callback?.number].filter((each) => typeof each === 'string')
  if (numbers.some((each) => sameNumber(each, number))) return 'exact'
  const masked = maskNumber(number)
  return numbers.some((each) => each.includes('…') && each === masked) ? 'alike' : 'other'
}

/** @returns how many files were deleted */
function removeFile(path: string, wanted: ReadonlySet<string>, touched: Set<string>): number {
  const callSid = basename(path).split('.')[0] ?? ''
  if (!wanted.has(callSid)) return 0
  rmSync(path, { force: true })
  touched.add(callSid)
  return 1
}

/** @returns how many lines were overwritten */
function blankLines(path: string, wanted: ReadonlySet<string>, touched: Set<string>): number {
  const places: { readonly at: number; readonly bytes: number; readonly callSid: string }[] = []
  for (const { line, at } of linesOf(readFileSync(path))) {
    const callSid = jsonObject(line)?.['callSid']
    if (typeof callSid === 'string' && wanted.has(callSid)) places.push({ at, bytes: line.length, callSid })
  }
  if (places.length === 0) return 0
  const file = openSync(path, 'r+')
  try {
    for (const { at, bytes, callSid } of places) {
      const blank = Buffer.alloc(bytes, ERASED)
      for (let from = 0; from < bytes;) from += writeSync(file, blank, from, bytes - from, at + from)
      touched.add(callSid)
    }
    fdatasyncSync(file)
  } finally {
    closeSync(file)
  }
  return places.length
}
