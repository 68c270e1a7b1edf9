import type { DeletedFor, KeptFile } from './kept-files.js'

/** When written data is synced to the disk: after each line, once a second, or when the system does it. */
export type FsyncPolicy = 'each' | 'second' | 'never'

/** Files kept under DATA_DIR, and their limits. Plain data; given to the thread at its start. */
export interface ArchiveLimits {
  /** Has `records/` and `recordings/`. */
  readonly folder: string
  /** Folders of the same kind that no process uses any more; the same retention applies. */
  readonly leftFolders?: readonly string[]
  /** Another one, in which another process may be writing now: only what is too old is deleted. Null: there is none. */
  readonly spareFolder?: string | null
  /** True when the folders are locked: any unfinished file in them at the start is that of a dead process. */
  readonly alone?: boolean
  /** True: nothing is read or written; what is there is still deleted when it is too old. */
  readonly retainOnly?: boolean
  /** True: each document is also written for the object storage (`uploads.ts`). */
  readonly uploads?: boolean
  readonly fsync: FsyncPolicy
  /** A file of records that reaches this size is followed by a new one. */
  readonly fileBytes: number
  readonly recordsKeepDays: number
  readonly recordsKeepBytes: number
  readonly recordingsKeepDays: number
  readonly recordingsKeepBytes: number
}

/** A document of a call. `days`: how long it is kept; null: as long as the settings say. */
export interface KeptDocument {
  readonly kind: DocumentKind
  readonly callSid: string
  readonly document: unknown
  readonly days: number | null
}

/** `record`: of an ended call. `handoff`: the handoff packet of an escalation, and its outcome. */
export type DocumentKind = 'record' | 'handoff'

/** Start data of the thread. */
export interface ArchiveStart {
  readonly limits: ArchiveLimits
  /** False where a thread replaces one that died: the calls whose records are open are live. */
  readonly first: boolean
}

/** The sealed state of a live call, as in the fleet's store. */
export interface SealedState {
  readonly state: Uint8Array
  /** Oldest first. */
  readonly log: readonly Uint8Array[]
}

/** Value that the fleet's store has written once. */
export interface StoredValue {
  readonly key: string
  readonly value: string
  /** Calendar time from which it counts no more. */
  readonly untilMs: number
}

/** Its change. */
export interface SealedChange {
  readonly callSid: string
  /** Replaces the one before. */
  readonly state?: Uint8Array | undefined
  /** Appended to the log. */
  readonly append?: readonly Uint8Array[] | undefined
  /** True: `append` is the whole log. */
  readonly replace?: boolean | undefined
}

/** A call that was live when its process died, or that ended with it: its record so far. */
export interface LeftDocument {
  readonly document: unknown
  /** Calendar time at which it was last written. */
  readonly atWallMs: number
  /** Null where none was kept. */
  readonly sealed: SealedState | null
}

export type ToArchive =
  /**
   * The open record of a live call. Replaces the previous one, until the final record comes. As text, because objects
   * cost half as much again to pass. `ended`: the call is over, and this is its record; no state of it is kept any more.
   */
  | { readonly type: 'open-record'; readonly callSid: string; readonly json: string; readonly ended: boolean }
  /** Changes of the sealed states of live calls. */
  | { readonly type: 'sealed'; readonly id: number; readonly changes: readonly SealedChange[] }
  | { readonly type: 'value'; readonly value: StoredValue }
  /** The state of a call is of no use any more. */
  | { readonly type: 'sealed-gone'; readonly callSid: string }
  | ({ readonly type: 'document' } & KeptDocument)
  /** The call is another node's: its record is there. */
  | { readonly type: 'open-record-gone'; readonly callSid: string }
  /** Record of a call that was open when an earlier process died. `isRecord`: the open record becomes its record. */
  | { readonly type: 'left-record'; readonly callSid: string; readonly isRecord: boolean; readonly days: number | null }
  | { readonly type: 'find'; readonly id: number; readonly kind: DocumentKind; readonly callSid: string }
  /** `announced`: the caller has been informed. Until then the recording must not be kept. */
  | {
      readonly type: 'recording-begin'
      readonly callSid: string
      readonly rateHz: number
      readonly announced: boolean
      readonly days: number | null
    }
  | { readonly type: 'recording-announced'; readonly callSid: string }
  /** `at`: the place of the first row; rows that were dropped before it become silence. */
  | { readonly type: 'recording-rows'; readonly callSid: string; readonly at: number; readonly bytes: Uint8Array }
  | { readonly type: 'recording-end'; readonly callSid: string }
  | { readonly type: 'recording-discard'; readonly callSid: string }
  /** Documents of these calls that wait for the disk are dropped. The answer comes when all before it is done. */
  | { readonly type: 'forget'; readonly id: number; readonly callSids: readonly string[] }
  /** Answers with the documents that wait for the disk. */
  | { readonly type: 'unwritten'; readonly id: number }
  /** Another node has these documents: they are written here no more. */
  | { readonly type: 'handed-over'; readonly kind: DocumentKind; readonly callSid: string }
  | { readonly type: 'close'; readonly id: number }

/** A fault. `lost`: documents that are permanently lost. */
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
      /** Calls that were open when an earlier process died; each waits for `left-record`. */
      readonly died: readonly LeftDocument[]
      readonly values: readonly StoredValue[]
    }
  | { readonly type: 'open-record-done' }
  /** The disk takes no records any more, or takes them again. */
  | { readonly type: 'disk'; readonly isFull: boolean }
  /** A recording could not be begun: nothing of it is on the disk. */
  | { readonly type: 'recording-failed'; readonly callSid: string }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  /** A document was written or dropped. */
  | { readonly type: 'document-done'; readonly kind: DocumentKind; readonly ok: boolean }
  | { readonly type: 'rows-done'; readonly bytes: number; readonly ok: boolean }
  /** Retention deleted a file. */
  | { readonly type: 'deleted'; readonly kind: KeptFile; readonly reason: DeletedFor }
  | ArchiveFault
