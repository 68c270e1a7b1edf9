/** When the disk is told to keep what was written: after each line, once a second, or when the system likes. */
export type FsyncPolicy = 'each' | 'second' | 'never'

/** What is kept under DATA_DIR, and how much of it. Plain data; given to the thread at its start. */
export interface ArchiveLimits {
  /** Has `records/` and `recordings/`. */
  readonly folder: string
  /** Folders of the same kind that no process writes to any more: they are read by nobody, and age like this one. */
  readonly leftFolders?: readonly string[]
  readonly fsync: FsyncPolicy
  /** A file of records that is this large is followed by the next. */
  readonly fileBytes: number
  readonly recordsKeepDays: number
  readonly recordsKeepBytes: number
  readonly recordingsKeepDays: number
  readonly recordingsKeepBytes: number
}

/** `record`: of an ended call. `handoff`: what a human gets with a caller, and how that came out. */
export type DocumentKind = 'record' | 'handoff'

export type ToArchive =
  | { readonly type: 'document'; readonly kind: DocumentKind; readonly callSid: string; readonly document: unknown }
  | { readonly type: 'find'; readonly id: number; readonly kind: DocumentKind; readonly callSid: string }
  | { readonly type: 'recording-begin'; readonly callSid: string; readonly rateHz: number }
  /** `at`: the first row's place; what was dropped before it stays silent. */
  | { readonly type: 'recording-rows'; readonly callSid: string; readonly at: number; readonly bytes: Uint8Array }
  | { readonly type: 'recording-end'; readonly callSid: string }
  | { readonly type: 'recording-discard'; readonly callSid: string }
  | { readonly type: 'close'; readonly id: number }

/** What could not be done. `lost`: documents that are gone for good. */
export interface ArchiveFault {
  readonly type: 'fault'
  readonly what: DocumentKind | 'recording' | 'upkeep'
  readonly callSid: string | null
  readonly message: string
  readonly lost: number
}

export type FromArchive =
  | { readonly type: 'ready'; readonly newest: readonly unknown[]; readonly torn: number; readonly recovered: number }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  /** A document was dealt with, for better or worse. */
  | { readonly type: 'document-done'; readonly kind: DocumentKind; readonly ok: boolean }
  | { readonly type: 'rows-done'; readonly bytes: number; readonly ok: boolean }
  | ArchiveFault
