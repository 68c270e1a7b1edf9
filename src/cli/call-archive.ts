import type { CallRecord } from '../call/record.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { HANDOFF_POSTS_CLOSE_MS } from '../core/limits.js'
import type { Config } from '../config/settings.js'
import { HandoffPost } from '../shard/handoff-post.js'
import type { HandoffNews } from '../shard/handoff-post.js'
import { callRecordSchema } from '../shard/record-format.js'
import { Archive } from '../telemetry/archive/archive.js'
import type { RecordingSink } from '../telemetry/archive/archive.js'
import type { DocumentKind } from '../telemetry/archive/archive-messages.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'

/** What outlives a call: its record, what a human was given with it, its recording, and who was told of it. */
export interface CallArchive {
  /** Records of earlier runs, oldest first. */
  readonly ended: readonly CallRecord[]
  /** Null where nothing is kept. */
  readonly record: ((callSid: CallSid, rateHz: number) => RecordingSink) | null
  /** An ended call's record, and again when there is more to say of it. */
  keep(record: CallRecord): void
  handoff(news: HandoffNews): void
  find(kind: DocumentKind, callSid: CallSid): Promise<unknown>
  recording(callSid: string): Promise<Uint8Array | null>
  close(): Promise<void>
}

const MB = 1024 * 1024

/**
 * Opens what the settings ask for. A disk that cannot be used is logged and counted; the gateway starts all the same.
 * @param leftFolders  of processes that there are no more, whose records and recordings are to age all the same
 * @param workerEnv  `process.env` of the thread that writes
 */
export async function openCallArchive(
  config: Config, log: Log, metrics: Metrics, leftFolders: readonly string[], workerEnv: Readonly<Record<string, string>>,
): Promise<CallArchive> {
  const posts = new HandoffPost({ url: config.handoffUrl, secret: config.handoffSecret, wallClock: Date.now, log: log.room('shard') })
  const archive = !config.keepCalls ? null : await Archive.start({
    folder: config.dataDir, leftFolders, fsync: config.recordsFsync, fileBytes: config.recordsFileMb * MB,
    recordsKeepDays: config.recordsKeepDays, recordsKeepBytes: config.recordsKeepMb * MB,
    recordingsKeepDays: config.recordingsKeepDays, recordingsKeepBytes: config.recordingsKeepMb * MB,
  }, log.room('telemetry'), workerEnv)
  count(metrics, archive, posts)
  return {
    ended: (archive?.newest ?? []).flatMap((document) => {
      const read = callRecordSchema.safeParse(document)
      return read.success ? [read.data] : []
    }),
    record: archive === null ? null : (callSid, rateHz) => archive.record(callSid, rateHz),
    keep: (record) => {
      if (isCallSid(record.callSid)) archive?.keepRecord(record.callSid, record)
    },
    handoff: (news) => {
      if (isCallSid(news.handoff.callSid)) archive?.keepHandoff(news.handoff.callSid, news.handoff)
      posts.post(news)
    },
    find: (kind, callSid) => archive?.find(kind, callSid) ?? Promise.resolve(undefined),
    recording: (callSid) => (archive === null || !isCallSid(callSid) ? Promise.resolve(null) : archive.recording(callSid)),
    close: async () => {
      await posts.close(HANDOFF_POSTS_CLOSE_MS)
      await archive?.close()
    },
  }
}

/** Copied once a second. */
function count(metrics: Metrics, archive: Archive | null, posts: HandoffPost): void {
  const documents = metrics.defineCounter('archive_documents', 'Records and handoffs of calls, by what became of them', ['result'])
  metrics.countFrom(documents({ result: 'written' }), () => archive?.counters.written ?? 0)
  metrics.countFrom(documents({ result: 'lost' }), () => archive?.counters.lost ?? 0)
  metrics.countFrom(metrics.defineCounter('archive_faults', 'Writes to the archive that failed', [])({}), () => archive?.counters.faults ?? 0)
  metrics.countFrom(
    metrics.defineCounter('archive_recording_bytes_dropped', 'Bytes of recordings that the disk did not take in time', [])({}),
    () => archive?.counters.recordingBytesDropped ?? 0,
  )
  const told = metrics.defineCounter('handoff_posts', 'News of handoffs and call backs, by what became of them', ['result'])
  metrics.countFrom(told({ result: 'delivered' }), () => posts.delivered)
  metrics.countFrom(told({ result: 'retried' }), () => posts.retries)
  metrics.countFrom(told({ result: 'failed' }), () => posts.failed)
}
