import type { CallRecord } from '../call/record.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { HANDOFF_POSTS_CLOSE_MS } from '../core/limits.js'
import type { Config } from '../config/settings.js'
import { HandoffPost } from '../workers/handoff-post.js'
import type { HandoffNews } from '../workers/handoff-post.js'
import type { OpenCallRecords, RecordCall } from '../workers/main-thread-context.js'
import { callRecordSchema } from '../workers/record-format.js'
import { Archive } from '../telemetry/archive/archive.js'
import type { DocumentKind } from '../telemetry/archive/archive-messages.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import type { DataFolder } from '../telemetry/archive/data-folder.js'
import type { Log } from '../telemetry/log.js'
import type { IdleFolders } from './process-plan.js'
import type { Metrics } from '../telemetry/metrics.js'

/** What is kept after a call: its record, its handoff packet, its recording; and the posts of handoffs. */
export interface CallArchive {
  /** Records of earlier runs, oldest first. */
  readonly ended: readonly CallRecord[]
  /** Of calls that were live when an earlier process died, and that may have gone on at another node. */
  readonly left: readonly CallRecord[]
  /** Data folders of processes that are gone, held by this one. */
  readonly leftFolders: readonly string[]
  /** Decides on one of `left`. @param isRecord  false: another node has the call's record */
  settleLeft(callSid: CallSid, isRecord: boolean): void
  /** Null where nothing is kept. */
  readonly record: RecordCall | null
  /** Null where nothing is kept. */
  readonly openRecords: OpenCallRecords | null
  /** Stores an ended call's record, and again when details were added to it. */
  keep(record: CallRecord): void
  handoff(news: HandoffNews): void
  find(kind: DocumentKind, callSid: CallSid): Promise<unknown>
  recording(callSid: string): Promise<Uint8Array | null>
  /** See `Archive.forget`. */
  forget(callSids: readonly CallSid[]): Promise<void>
  close(): Promise<void>
}

const MB = 1024 * 1024

/**
 * Opens what the settings ask for. A disk that fails later is logged and counted; calls are accepted anyway.
 * @param folder  DATA_DIR, which is released at the end; null where nothing is written to it
 * @param inFleet  other nodes may have gone on with calls of a process that died
 * @param idle  folders that no process has all the time; their records and recordings are still deleted when they are
 *   old
 * @param workerEnv  `process.env` of the thread that writes
 */
export async function openCallArchive(
  config: Config,
  folder: DataFolder | null,
  log: Log,
  metrics: Metrics,
  idle: IdleFolders,
  workerEnv: Readonly<Record<string, string>>,
  inFleet: boolean,
): Promise<CallArchive> {
  if (folder?.locked === false)
    log.warn(
      { data_dir: config.dataDir },
      'DATA_DIR cannot be locked: a second gateway that uses it would not be noticed',
    )
  const left = await holdLeftFolders(idle.left)
  const posts = new HandoffPost({
    url: config.handoffUrl,
    secret: config.handoffSecret,
    wallClock: Date.now,
    log: log.component('workers'),
  })
  const archive = !config.keepCalls
    ? null
    : await Archive.start(
        {
          folder: config.dataDir,
          leftFolders: left.map(({ path }) => path),
          spareFolder: idle.spare,
          alone: folder?.locked === true,
          holdsLeft: inFleet,
          fsync: config.recordsFsync,
          fileBytes: config.recordsFileMb * MB,
          recordsKeepDays: config.recordsKeepDays,
          recordsKeepBytes: config.recordsKeepMb * MB,
          recordingsKeepDays: config.recordingsKeepDays,
          recordingsKeepBytes: config.recordingsKeepMb * MB,
        },
        log.component('telemetry'),
        workerEnv,
      )
  count(metrics, archive, posts)
  const died = recordsOf(archive?.died ?? [])
  for (const record of died) {
    if (!inFleet) metrics.callEnded(record)
    log
      .component('workers')
      .warn({ call_sid: record.callSid, agent: record.agent }, 'call was live when an earlier process died')
  }
  return {
    ended: recordsOf(archive?.newest ?? []),
    left: inFleet ? died : [],
    leftFolders: left.map(({ path }) => path),
    settleLeft: (callSid, isRecord) => archive?.settleLeft(callSid, isRecord),
    record:
      archive === null ? null : (callSid, rateHz, announced, part) => archive.record(callSid, rateHz, announced, part),
    openRecords:
      archive === null
        ? null
        : {
            open: (callSid, compose) => archive.openRecord(callSid, compose),
            changed: (callSid) => archive.openRecordChanged(callSid),
            gone: (callSid) => archive.openRecordGone(callSid),
          },
    keep: (record) => {
      if (isCallSid(record.callSid)) archive?.keepRecord(record.callSid, record)
    },
    handoff: (news) => {
      if (isCallSid(news.handoff.callSid)) archive?.keepHandoff(news.handoff.callSid, news.handoff)
      posts.post(news)
    },
    find: (kind, callSid) => archive?.find(kind, callSid) ?? Promise.resolve(undefined),
    recording: (callSid) =>
      archive === null || !isCallSid(callSid) ? Promise.resolve(null) : archive.recording(callSid),
    forget: async (callSids) => archive?.forget(callSids),
    close: async () => {
      await posts.close(HANDOFF_POSTS_CLOSE_MS)
      await archive?.close()
      for (const held of left) held.folder.release()
      folder?.release()
    },
  }
}

/** Whether a gateway with these settings writes anything below DATA_DIR. */
export function usesDataFolder(config: Config): boolean {
  return config.keepCalls || config.journalCalls !== 'off' || (config.apiKey !== null && config.carrierRecordings)
}

/** Locks the folders that no process uses; a process of an earlier start may still be finishing its calls. */
async function holdLeftFolders(
  paths: readonly string[],
): Promise<{ readonly path: string; readonly folder: DataFolder }[]> {
  const held = await Promise.all(
    paths.map(async (path) => {
      try {
        return [{ path, folder: await holdDataFolder(path) }]
      } catch {
        return []
      }
    }),
  )
  return held.flat()
}

function recordsOf(documents: readonly unknown[]): CallRecord[] {
  return documents.flatMap((document) => {
    const read = callRecordSchema.safeParse(document)
    return read.success ? [read.data] : []
  })
}

/** Copied once a second. */
function count(metrics: Metrics, archive: Archive | null, posts: HandoffPost): void {
  const documents = metrics.defineCounter('archive_documents', 'Records and handoffs of calls, by result', ['result'])
  metrics.countFrom(documents({ result: 'written' }), () => archive?.counters.written ?? 0)
  metrics.countFrom(documents({ result: 'lost' }), () => archive?.counters.lost ?? 0)
  metrics.countFrom(
    metrics.defineCounter('archive_faults', 'Writes to the archive that failed', [])({}),
    () => archive?.counters.faults ?? 0,
  )
  metrics.countFrom(
    metrics.defineCounter(
      'archive_recording_bytes_dropped',
      'Bytes of recordings that the disk did not take in time',
      [],
    )({}),
    () => archive?.counters.recordingBytesDropped ?? 0,
  )
  const results = metrics.defineCounter('handoff_posts', 'Posts of handoffs and call backs, by result', ['result'])
  metrics.countFrom(results({ result: 'delivered' }), () => posts.delivered)
  metrics.countFrom(results({ result: 'retried' }), () => posts.retries)
  metrics.countFrom(results({ result: 'failed' }), () => posts.failed)
}
