import { z } from 'zod'
import type { DeletedFor, KeptFile } from './kept-files.js'
import type { ClockFault } from './retention-clock.js'

/** Time at which written data is synced to the disk: after each line, once a second, or never by the gateway. */
export type FsyncPolicy = 'each' | 'second' | 'never'

/** Limits of the files under DATA_DIR. Plain data, which the thread gets at its start. */
export interface ArchiveLimits {
  /** Data folder with `records/` and `recordings/`. */
  readonly folder: string
  /** Data folders that no process uses any more. Retention applies to these folders too. */
  readonly leftFolders?: readonly string[]
  /**
   * Data folder to which another process may be writing; null if there is none. In this folder only old files are
   * deleted.
   */
  readonly spareFolder?: string | null
  /**
   * True if this process has locked the folders. Then an unfinished file found at the start belongs to a dead process.
   */
  readonly alone?: boolean
  /** True: documents are neither read nor written; only old files are deleted. */
  readonly retainOnly?: boolean
  /** True: each document is also written to a file for the object storage (`uploads.ts`). */
  readonly uploads?: boolean
  readonly fsync: FsyncPolicy
  /** Size in bytes at which a new file of records is started. */
  readonly fileBytes: number
  readonly recordsKeepDays: number
  readonly recordsKeepBytes: number
  readonly recordingsKeepDays: number
  readonly recordingsKeepBytes: number
}

/** Document of a call. `days`: time in days for which it is stored; null for the default of the settings. */
export interface KeptDocument {
  readonly kind: DocumentKind
  readonly callSid: string
  readonly document: unknown
  readonly days: number | null
}

/** Document that another node sent to this node for storage. */
export const keptDocumentSchema = z.object({
  kind: z.enum(['record', 'handoff']),
  callSid: z.string(),
  document: z.unknown(),
  days: z.number().nullable(),
}) satisfies z.ZodType<KeptDocument>

/** `record`: the record of an ended call. `handoff`: the handoff packet of an escalation, with its outcome. */
export type DocumentKind = 'record' | 'handoff'

/** Start data of the thread. */
export interface ArchiveStart {
  readonly limits: ArchiveLimits
  /** False if this thread replaces a dead thread. In this case the calls of open records are still live. */
  readonly first: boolean
}

/** Sealed state of a live call, in the form of the fleet's store. */
export interface SealedState {
  readonly state: Uint8Array
  /** Chunks of the log, oldest first. */
  readonly log: readonly Uint8Array[]
}

/** Value that the fleet's store has written with `once`. */
export interface StoredValue {
  readonly key: string
  readonly value: string
  /** Calendar time at which the value expires. */
  readonly untilMs: number
}

/** Change of a sealed state. */
export interface SealedChange {
  readonly callSid: string
  /** New state, which replaces the previous state. */
  readonly state?: Uint8Array | undefined
  /** Chunks appended to the log. */
  readonly append?: readonly Uint8Array[] | undefined
  /** True: `append` is the whole log and replaces the previous log. */
  readonly replace?: boolean | undefined
}

/** Unfinished record of a call that was live or had just ended when its process died. */
export interface LeftDocument {
  readonly document: unknown
  /** Calendar time of the last write. */
  readonly atWallMs: number
  /** Sealed state; null if it was not stored. */
  readonly sealed: SealedState | null
}

export type ToArchive =
  /**
   * Open record of a live call. It replaces the previous open record. It is text, because sending objects between
   * threads costs 50 % more. `ended`: the call has ended, so its state is deleted.
   */
  | { readonly type: 'open-record'; readonly callSid: string; readonly json: string; readonly ended: boolean }
  /** Changes of the sealed states of live calls. */
  | { readonly type: 'sealed'; readonly id: number; readonly changes: readonly SealedChange[] }
  | { readonly type: 'value'; readonly value: StoredValue }
  /** The state of a call is not needed any more. */
  | { readonly type: 'sealed-gone'; readonly callSid: string }
  | ({ readonly type: 'document' } & KeptDocument)
  /** The open record of a call is deleted, because another node owns the call and makes its record. */
  | { readonly type: 'open-record-gone'; readonly callSid: string }
  /**
   * Decision about a call that was open when an earlier process died. `isRecord`: its open record becomes the call's
   * record.
   */
  | { readonly type: 'left-record'; readonly callSid: string; readonly isRecord: boolean; readonly days: number | null }
  | { readonly type: 'find'; readonly id: number; readonly kind: DocumentKind; readonly callSid: string }
  /** `announced`: true if the caller has been informed. Without this, a recording must not be stored. */
  | {
      readonly type: 'recording-begin'
      readonly callSid: string
      readonly rateHz: number
      readonly announced: boolean
      readonly days: number | null
    }
  | { readonly type: 'recording-announced'; readonly callSid: string }
  /** `at`: index of the first row in the recording. Missing rows before this index become silence. */
  | { readonly type: 'recording-rows'; readonly callSid: string; readonly at: number; readonly bytes: Uint8Array }
  | { readonly type: 'recording-end'; readonly callSid: string }
  | { readonly type: 'recording-discard'; readonly callSid: string }
  /**
   * Drops documents of these calls that wait for the disk. The answer comes after all earlier messages have been
   * processed.
   */
  | { readonly type: 'forget'; readonly id: number; readonly callSids: readonly string[] }
  /** Requests the documents that wait for the disk. */
  | { readonly type: 'unwritten'; readonly id: number }
  /** The machine's clock is right, although it has jumped: the fleet's store has the same time. */
  | { readonly type: 'trust-clock' }
  /** Another node has stored this document, so it is not written here any more. */
  | { readonly type: 'handed-over'; readonly kind: DocumentKind; readonly callSid: string }
  | { readonly type: 'close'; readonly id: number }

/** Fault. `lost`: number of documents that are permanently lost. */
export interface ArchiveFault {
  readonly type: 'fault'
  readonly what: DocumentKind | 'recording' | 'upkeep'
  readonly callSid: string | null
  readonly message: string
  readonly lost: number
}

export type FromArchive =
  | {
      readonly type: 'ready'
      readonly newest: readonly unknown[]
      readonly torn: number
      readonly recovered: number
      /** Calls that were open when an earlier process died. Each of them waits for a `left-record` message. */
      readonly died: readonly LeftDocument[]
      readonly values: readonly StoredValue[]
    }
  | { readonly type: 'open-record-done' }
  /** The disk does not accept records any more, or accepts them again. */
  | { readonly type: 'disk'; readonly isFull: boolean }
  /** The clock of retention has a fault, or has none any more. Repeated each minute while there is a fault. */
  | { readonly type: 'clock'; readonly fault: ClockFault | null }
  /** A recording could not be started, so the call is not recorded. */
  | { readonly type: 'recording-failed'; readonly callSid: string }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  /** A document was written or dropped. */
  | { readonly type: 'document-done'; readonly kind: DocumentKind; readonly ok: boolean }
  | { readonly type: 'rows-done'; readonly bytes: number; readonly ok: boolean }
  /** Retention deleted a file. */
  | { readonly type: 'deleted'; readonly kind: KeptFile; readonly reason: DeletedFor }
  | ArchiveFault
