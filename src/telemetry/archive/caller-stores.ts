import { KEPT_FILES } from './kept-files.js'
import type { KeptFile } from './kept-files.js'

/** A store that may contain identities or words of callers, and how an erasure and an export treat it. */
export interface CallerStore {
  readonly data: string
  /** How `mkondo erase` treats the data, or the reason why the data is not erased. */
  readonly erased: string
  /** Location of the data in `mkondo export`, or the reason why the data is left out. */
  readonly exported: string
  /** Names directly below DATA_DIR. */
  readonly disk?: readonly string[]
  /** Families of keys in Redis, after REDIS_PREFIX. */
  readonly redis?: readonly string[]
  readonly elsewhere?: string
}

const WITH_RECORD = 'as part of its call'

/** One entry for each kind of file of a call. The compiler reports a missing entry. */
const OF_FILES: Readonly<Record<KeptFile, Omit<CallerStore, 'disk'>>> = {
  records: {
    data: 'records, with their transcripts and analyses',
    erased: 'overwritten',
    exported: '`SID/record.json`',
  },
  handoffs: { data: 'handoff packets', erased: 'overwritten', exported: '`SID/handoff.json`' },
  openRecords: {
    data: 'open records of calls whose process died; without Redis also memory of callers and outcomes of tools',
    erased: 'calls and memory are deleted; outcomes of tools expire within a day',
    exported: '`SID/record.json` when the call has a record; memory as `remembered.json`',
  },
  recordings: { data: 'our recordings', erased: 'deleted', exported: '`SID/recording.wav`' },
  carrierRecordings: {
    data: "copies of the carrier's recordings",
    erased: 'deleted',
    exported: '`SID/carrier-recording.*`',
  },
  outbox: {
    data: 'messages that are not yet delivered',
    erased: 'deleted',
    exported: '`messages.json`: type, receiver, time of the next try',
  },
  journals: { data: 'journals', erased: 'deleted', exported: '`SID/journal.jsonl`' },
  uploads: { data: 'copies that wait for their upload to a bucket', erased: 'deleted', exported: WITH_RECORD },
  recordKeys: {
    data: 'encryption keys of records in a bucket',
    erased: 'deleted: the object cannot be decrypted any more',
    exported: WITH_RECORD,
  },
  recordingKeys: {
    data: 'encryption keys of recordings in a bucket',
    erased: 'deleted: the object cannot be decrypted any more',
    exported: WITH_RECORD,
  },
  index: {
    data: 'search index of ended calls: words and terms',
    erased: 'removed, and overwritten',
    exported: WITH_RECORD,
  },
  fetched: { data: 'files read back from a bucket', erased: 'deleted', exported: WITH_RECORD },
}

/**
 * All stores with data of callers. `mkondo erase`, `mkondo export` and docs/OPERATIONS.md use this list. A test
 * compares the list with the data in DATA_DIR and in Redis.
 */
export const CALLER_STORES = {
  ...OF_FILES,
  campaigns: {
    data: "rows of campaigns, and promised call backs with the caller's note",
    erased: 'emptied, even if no node serves the queue now; a row whose call is live is not called again',
    exported: '`campaigns.json`',
    disk: ['campaigns'],
    redis: ['campaigns'],
  },
  callBackLines: {
    data: 'ids of the call backs of a number and of a caller, under a keyed hash',
    erased: 'left: they expire within 120 days, and the rows with these ids are emptied',
    exported: 'left out: a count without words',
    redis: ['campaigns'],
  },
  doNotCall: {
    data: 'the do-not-call list',
    erased: 'left: the caller asked not to be called (`mkondo do-not-call remove` removes a number)',
    exported: '`README.txt` says if the number is on the list',
    disk: ['do-not-call.jsonl'],
    redis: ['campaigns'],
  },
  keptCalls: {
    data: 'states from which another node continues a call',
    erased: 'deleted, with the waits of tools and the messages that these waits still have to send',
    exported: 'left out: the call is live; the export lists it as missing',
    redis: ['call', 'calls-of'],
  },
  memory: {
    data: "memory of a caller's last calls",
    erased: 'deleted; with `--sid` it is hidden at once',
    exported: '`remembered.json`',
    redis: ['once'],
  },
  effects: {
    data: 'outcomes of tools with an effect, under a keyed hash',
    erased: 'left: they expire within a day, and cannot be found by the caller',
    exported: WITH_RECORD,
    redis: ['once'],
  },
  attempts: {
    data: 'counts of wrong answers and of calls, under a keyed hash of the number',
    erased: 'left: they expire within a day, and protect against guessing',
    exported: 'left out: a count without words',
    redis: ['tally', 'once'],
  },
  ringing: {
    data: 'mark of a number that is about to be called, under a keyed hash',
    erased: 'left: it expires within two minutes',
    exported: 'left out: a mark without words',
    redis: ['once'],
  },
  sharedMessages: {
    data: 'messages of a fleet that are not yet delivered',
    erased: 'deleted',
    exported: '`messages.json`',
    redis: ['outbox'],
  },
  owedAnalyses: {
    data: 'ended calls that wait for their analysis',
    erased: 'deleted',
    exported: WITH_RECORD,
    redis: ['analyses'],
  },
  bucket: {
    data: 'records and recordings in a bucket',
    erased: 'their keys are deleted, then the objects; objects that could not be deleted are counted',
    exported: 'like records and recordings on the disk',
    elsewhere: 'the bucket (STORAGE_BUCKET)',
  },
  callersMemory: {
    data: "audio band of the caller's line, the caller's language, and the caller's row of the customer list",
    erased: 'deleted with `--number`',
    exported: 'left out: this memory ends with the process',
    elsewhere: 'memory of the process',
  },
  audit: {
    data: 'log lines and the audit log, with SIDs and without words or phone numbers',
    erased: 'left: delete them where you store the log',
    exported: 'left out',
    elsewhere: 'the log',
  },
} as const satisfies Readonly<Record<string, CallerStore>>

/** Names, below DATA_DIR and in Redis, of data that does not concern callers. */
export const WITHOUT_CALLERS = {
  disk: /^(?:voices|daily-budgets\.json|canaries\.json|campaigns-seen\.json|process-\d+|placed-.*|\..*|lock.*|owner.*)$/,
  redis: ['nodes'],
} as const

/** Text with the locations of a store. */
export function placesOf(name: keyof typeof CALLER_STORES): readonly string[] {
  const { disk = [], redis = [], elsewhere }: CallerStore = CALLER_STORES[name]
  const file = name in KEPT_FILES ? [KEPT_FILES[name as KeptFile].folder] : []
  return [
    ...[...file, ...disk].map((each) => `\`DATA_DIR/${each}\``),
    ...(redis.length === 0 ? [] : ['Redis']),
    ...(elsewhere === undefined ? [] : [elsewhere]),
  ]
}
