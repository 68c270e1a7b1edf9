import { KEPT_FILES } from './kept-files.js'
import type { KeptFile } from './kept-files.js'

/** A store that may hold who a caller is, or what they said, and what an erasure and an export do with it. */
export interface CallerStore {
  readonly data: string
  /** How `mkondo erase` treats it, or why it leaves it. */
  readonly erased: string
  /** Where `mkondo export` puts it, or why it leaves it out. */
  readonly exported: string
  /** Names right below DATA_DIR. */
  readonly disk?: readonly string[]
  /** Families of keys in Redis, after REDIS_PREFIX. */
  readonly redis?: readonly string[]
  readonly elsewhere?: string
}

const WITH_RECORD = 'as part of its call'

/** Each kind of file of a call. A kind without a row does not compile. */
const OF_FILES: Readonly<Record<KeptFile, Omit<CallerStore, 'disk'>>> = {
  records: {
    data: 'records, with their transcripts and analyses',
    erased: 'overwritten',
    exported: '`SID/record.json`',
  },
  handoffs: { data: 'handoff packets', erased: 'overwritten', exported: '`SID/handoff.json`' },
  openRecords: {
    data: 'calls that a dead process left, and on one node without Redis the memory of callers and the outcomes of tools',
    erased: 'calls and memory are forgotten; outcomes of tools expire within a day',
    exported: '`SID/record.json` once the call is a record; memory as `remembered.json`',
  },
  recordings: { data: 'our recordings', erased: 'deleted', exported: '`SID/recording.wav`' },
  carrierRecordings: {
    data: "copies of the carrier's recordings",
    erased: 'deleted',
    exported: '`SID/carrier-recording.*`',
  },
  outbox: {
    data: 'messages that no receiver has taken',
    erased: 'deleted',
    exported: '`messages.json`: which, to whom, when next',
  },
  journals: { data: 'journals', erased: 'deleted', exported: '`SID/journal.jsonl`' },
  uploads: { data: 'copies on their way to a bucket', erased: 'deleted', exported: WITH_RECORD },
  recordKeys: {
    data: 'keys of records in a bucket',
    erased: 'forgotten: nobody can read the object',
    exported: WITH_RECORD,
  },
  recordingKeys: {
    data: 'keys of recordings in a bucket',
    erased: 'forgotten: nobody can read the object',
    exported: WITH_RECORD,
  },
  index: {
    data: 'words and terms by which calls are found',
    erased: 'forgotten, and overwritten',
    exported: WITH_RECORD,
  },
  fetched: { data: 'files read back from a bucket', erased: 'deleted', exported: WITH_RECORD },
}

/**
 * All stores with data of callers. `mkondo erase`, `mkondo export` and docs/OPERATIONS.md go by it, and a test compares it with
 * what is written to DATA_DIR and to Redis.
 */
export const CALLER_STORES = {
  ...OF_FILES,
  campaigns: {
    data: 'rows of campaigns, and promised call backs with what was said',
    erased: 'emptied, also of a queue that nobody serves now; a row that is called now is not repeated',
    exported: '`campaigns.json`',
    disk: ['campaigns'],
    redis: ['campaigns'],
  },
  callBackLines: {
    data: 'which call backs a number and a caller have, under a keyed hash',
    erased: 'left: they expire within 120 days, and the rows that they lead to are emptied',
    exported: 'left out: a count without words',
    redis: ['campaigns'],
  },
  doNotCall: {
    data: 'the do-not-call list',
    erased: 'left: it is how their wish is kept (`mkondo do-not-call remove`)',
    exported: '`README.txt` says if the number is on it',
    disk: ['do-not-call.jsonl'],
    redis: ['campaigns'],
  },
  keptCalls: {
    data: 'states from which another node goes on with a call',
    erased: 'forgotten, and with them waits of tools and what they owe',
    exported: 'left out: it is a live call, which is named',
    redis: ['call', 'calls-of'],
  },
  memory: {
    data: "memory of a caller's last calls",
    erased: 'forgotten; with `--sid` it is hidden at once',
    exported: '`remembered.json`',
    redis: ['once'],
  },
  effects: {
    data: 'outcomes of tools with an effect, under a keyed hash',
    erased: 'left: they expire within a day, and nothing leads from a caller to them',
    exported: WITH_RECORD,
    redis: ['once'],
  },
  attempts: {
    data: 'counts of wrong answers and of calls, under a keyed hash of the number',
    erased: 'left: they expire within a day, and keep guessers away',
    exported: 'left out: a count without words',
    redis: ['tally', 'once'],
  },
  ringing: {
    data: 'which number is about to ring, under a keyed hash',
    erased: 'left: it expires within two minutes',
    exported: 'left out: a mark without words',
    redis: ['once'],
  },
  sharedMessages: {
    data: 'messages of a fleet that no receiver has taken',
    erased: 'deleted',
    exported: '`messages.json`',
    redis: ['outbox'],
  },
  owedAnalyses: {
    data: 'calls whose analysis is owed',
    erased: 'deleted',
    exported: WITH_RECORD,
    redis: ['analyses'],
  },
  bucket: {
    data: 'records and recordings in a bucket',
    erased: 'their keys are forgotten, then they are deleted; what could not be deleted is counted',
    exported: 'as those on the disk',
    elsewhere: 'the bucket (STORAGE_BUCKET)',
  },
  callersMemory: {
    data: "whether the caller's line is narrow, the language spoken there, and what their sheet says of them",
    erased: 'forgotten with `--number`',
    exported: 'left out: it dies with the process',
    elsewhere: 'memory of the process',
  },
  audit: {
    data: 'log lines and the audit, with SIDs and without words or numbers',
    erased: 'left: whoever keeps the log deletes them',
    exported: 'left out',
    elsewhere: 'the log',
  },
} as const satisfies Readonly<Record<string, CallerStore>>

/** Names below DATA_DIR, and in Redis, of data without anything of a caller. */
export const WITHOUT_CALLERS = {
  disk: /^(?:voices|daily-budgets\.json|campaigns-seen\.json|process-\d+|placed-.*|\..*|lock.*|owner.*)$/,
  redis: ['nodes'],
} as const

/** Places of a store, in words. */
export function placesOf(name: keyof typeof CALLER_STORES): readonly string[] {
  const { disk = [], redis = [], elsewhere }: CallerStore = CALLER_STORES[name]
  const file = name in KEPT_FILES ? [KEPT_FILES[name as KeptFile].folder] : []
  return [
    ...[...file, ...disk].map((each) => `\`DATA_DIR/${each}\``),
    ...(redis.length === 0 ? [] : ['Redis']),
    ...(elsewhere === undefined ? [] : [elsewhere]),
  ]
}
