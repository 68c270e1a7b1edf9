/** When the disk is told to keep what was written: after each line, once a second, or when the system likes. */
export type FsyncPolicy = 'each' | 'second' | 'never'

/** What is kept under DATA_DIR, and how much of it. Plain data; given to the thread at its start. */
export interface ArchiveLimits {
  /** Has `records/` and `recordings/`. */
  readonly folder: string
  /** Folders of the same kind that no process writes to any more: they are read by nobody, and age like this one. */
  readonly leftFolders?: readonly string[]
  /** True when the folders are locked: what was being written in them when this process started is a dead process's. */
  readonly alone?: boolean
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

/** What the thread is started with. */
export interface ArchiveStart {
  readonly limits: ArchiveLimits
  /** False where a thread replaces one that died: the calls whose records are open are live. */
  readonly first: boolean
}

export type ToArchive =
  /** What is known of a live call; replaces what was known before, until its record comes. As text: a third cheaper to pass than its objects. */
  | { readonly type: 'open-record'; readonly callSid: string; readonly json: string }
  | { readonly type: 'document'; readonly kind: DocumentKind; readonly callSid: string; readonly document: unknown }
  | { readonly type: 'find'; readonly id: number; readonly kind: DocumentKind; readonly callSid: string }
  /** `announced`: the caller knows. Until then what is written is nobody's to keep. */
  | { readonly type: 'recording-begin'; readonly callSid: string; readonly rateHz: number; readonly announced: boolean }
  | { readonly type: 'recording-announced'; readonly callSid: string }
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
  | {
      readonly type: 'ready'; readonly newest: readonly unknown[]; readonly torn: number; readonly recovered: number
      /** Records of calls that were open when an earlier process died; they are among the newest too. */
      readonly died: readonly unknown[]
    }
  | { readonly type: 'open-record-done' }
  /** A recording could not be begun: nothing of it is on the disk. */
  | { readonly type: 'recording-failed'; readonly callSid: string }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  /** A document was written or dropped. */
  | { readonly type: 'document-done'; readonly kind: DocumentKind; readonly ok: boolean }
  | { readonly type: 'rows-done'; readonly bytes: number; readonly ok: boolean }
  | ArchiveFault
