import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { basename, join } from 'node:path'
import { jsonObject } from '../../core/json.js'
import { maskNumber, sameNumber } from '../../sautikit/phone.js'
import { keptDocuments } from './kept-documents.js'
import { KEPT_FILES, KEPT_KINDS, keptFolder, keptNames } from './kept-files.js'
import type { KeptFile } from './kept-files.js'
import { ERASED, linesOf } from './line-log.js'
import { forgetKeys } from './objects/object-keys.js'

const ERASED_KINDS = [
  'calls',
  // Lines in the logs of records, and open records. If a record was stored again with the carrier's details, it has two
  // lines.
  'records',
  'handoffs',
  // Files of recordings. If a call continued after its stream was lost, it has several files.
  'recordings',
  'carrierRecordings',
  'journals',
  // Messages that are not delivered yet, or that no receiver has accepted.
  'messages',
  // Rows of campaigns, and call backs, whose person was erased.
  'rows',
  // Objects in the object storage. They are unreadable when their keys are erased. `objectsLeft`: objects that could
  // not be deleted.
  'objects',
  'objectsLeft',
] as const
type ErasedKind = (typeof ERASED_KINDS)[number]

/** Counts of an erasure: calls, and the documents of each kind. */
export type ErasedCounts = Readonly<Record<ErasedKind, number>>

/** Creates an object that has a value for each kind of count. */
export function eachErased<T>(valueOf: (kind: ErasedKind) => T): Record<ErasedKind, T> {
  return Object.fromEntries(ERASED_KINDS.map((kind) => [kind, valueOf(kind)])) as Record<ErasedKind, T>
}

/** SIDs of the calls of a number. */
export interface FoundCalls {
  readonly exact: readonly string[]
  /**
   * Calls in whose record the number is masked, but its visible digits match. The number may belong to another person.
   */
  readonly alike: readonly string[]
}

/** Task for the thread that reads whole archives: a search, an erasure, or both. */
export interface ErasureTask {
  /** Data folders: DATA_DIR, and folders whose process no longer runs. */
  readonly folders: readonly string[]
  /** Number whose calls are searched. */
  readonly number: string | null
  /** SIDs of the calls to erase. */
  readonly callSids: readonly string[]
  /** Country of numbers without a country code in old documents. */
  readonly country: string
}

/**
 * Kind under which an erased file is counted, by the kind of the file; null for a mere copy. A key is counted as the
 * objects that it encrypts.
 */
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
 * Erases all data of calls in data folders. Lines of records are overwritten with spaces and not removed, because a
 * process may be appending to their log. All other documents are files, which are deleted. Synchronous: do not use it
 * on a thread that carries calls.
 * @throws errors of the file system
 */
export function eraseCalls(folders: readonly string[], callSids: readonly string[]): ErasedCounts {
  const wanted = new Set(callSids)
  const erased = eachErased(() => 0)
  const touched = new Set<string>()
  // The first folder's process removes the calls from its own index. The other folders have no process, so their
  // indexes are deleted as a whole.
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
 * Finds calls whose record contains a number: caller, called person, or number for a call back. Our own numbers do not
 * count. Synchronous, like `eraseCalls`.
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
      for (const document of keptDocuments(folder, kind)) note(document)
    for (const name of keptNames(folder, 'openRecords'))
      note(jsonObject(readFileSync(join(keptFolder(folder, 'openRecords'), name))))
  }
  return { exact: [...exact], alike: [...alike].filter((callSid) => !exact.has(callSid)) }
}

/** Record or handoff packet, reduced to the fields that identify the persons of the call. */
interface NumberedDocument {
  readonly callSid?: unknown
  readonly direction?: unknown
  readonly from?: unknown
  readonly to?: unknown
  readonly escalation?: { readonly callback?: { readonly number?: unknown } | null } | null | undefined
}

/**
 * Decides whether a record or a handoff packet is about a call of this number. `alike`: the number in the document is
 * masked, and may be this number.
 */
export function isOfNumber(document: NumberedDocument, number: string): 'exact' | 'alike' | 'other' {
  // In a handoff packet, `from` is always the caller.
  const theirs = document.direction === 'outbound' ? document.to : document.from
  const numbers = [theirs, document.escalation?.callback?.number].filter((each) => typeof each === 'string')
  if (numbers.some((each) => sameNumber(each, number))) return 'exact'
  const masked = maskNumber(number)
  return numbers.some((each) => each.includes('…') && each === masked) ? 'alike' : 'other'
}

/** @returns the number of deleted files */
function removeFile(path: string, wanted: ReadonlySet<string>, touched: Set<string>): number {
  const callSid = basename(path).split('.')[0] ?? ''
  if (!wanted.has(callSid)) return 0
  rmSync(path, { force: true })
  touched.add(callSid)
  return 1
}

/** @returns the number of overwritten lines */
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
