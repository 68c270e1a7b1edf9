import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Environment } from '../agents/file/template.js'
import type { Handoff } from '../call/documents/handoff.js'
import type { CallRecord } from '../call/documents/record.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { STORE_REWRITTEN_MS } from '../core/limits.js'
import { readReceivers } from '../config/messages-file.js'
import type { Config } from '../config/settings.js'
import type { StatesOnDisk } from '../fleet/store/durable-store.js'
import type { LeftCall } from '../fleet/earlier-run.js'
import { Outbox, RESULTS } from '../messages/outbox.js'
import type { HandoffNews, Message, MessageNews } from '../messages/message.js'
import type { Receiver } from '../messages/receivers.js'
import type { OpenCallRecords, RecordCall } from '../workers/main/main-thread-context.js'
import { callRecordSchema } from '../call/documents/record.js'
import { Archive } from '../telemetry/archive/archive.js'
import { CallFinder } from '../telemetry/archive/index/call-finder.js'
import { keptDocumentSchema } from '../telemetry/archive/archive-messages.js'
import type { DocumentKind, KeptDocument, StoredValue } from '../telemetry/archive/archive-messages.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import { KEPT_KINDS, keptFolder } from '../telemetry/archive/kept-files.js'
import { keptHandoff } from '../telemetry/archive/redaction.js'
import type { DataFolder } from '../telemetry/archive/data-folder.js'
import type { ErasedObjects, ObjectStorage } from '../telemetry/archive/objects/object-storage.js'
import { findKept } from '../telemetry/archive/stored-file.js'
import type { StoredFile } from '../telemetry/archive/stored-file.js'
import type { Log } from '../telemetry/log.js'
import { fileEnvironment } from './agents/agent-environment.js'
import type { FleetSide } from './fleet-side.js'
import type { IdleFolders } from './process-plan.js'
import { objectStorageOf, openObjectStorage } from './storage-side.js'
import type { Metrics } from '../telemetry/metrics.js'

/** Archive of calls. It stores records, handoff packets and recordings, and sends the messages about calls. */
export class CallArchive {
  /** Records of earlier runs, oldest first. */
  readonly ended: readonly CallRecord[]
  /**
   * Records of calls that were live when an earlier process died. Such a call may have continued, here or at another
   * node.
   */
  readonly left: readonly (LeftCall & { readonly record: CallRecord })[]
  /** Recorder of calls; null if calls are not stored. */
  readonly record: RecordCall | null
  /** Records of live calls; null if calls are not stored. */
  readonly openRecords: OpenCallRecords | null
  /** States of live calls on the disk; null if calls are not stored. */
  readonly states: StatesOnDisk | null
  /** Messages to receivers. */
  readonly outbox: Outbox
  /** Finds ended calls; null if calls are not stored. */
  readonly finder: CallFinder | null
  readonly #opened: Opened
  readonly #archive: Archive | null
  readonly #telling = new Set<Promise<void>>()
  /** Calls that ended here and whose owner is not yet known. An erased call is removed. */
  readonly #deciding = new Map<CallSid, Promise<void>>()

  constructor(opened: Opened) {
    const { config, retention, outbox, log } = opened
    const archive = config.keepCalls ? retention : null
    this.#opened = opened
    this.#archive = archive
    if (retention !== null) retention.storeAheadMs = () => opened.node?.clockAheadMs ?? null
    this.outbox = outbox
    opened.node?.onRequest(KEEP_DOCUMENT, (given) =>
      Promise.resolve<KeepAnswer>({ kept: this.#keepGiven(keptDocumentSchema.parse(given)) }),
    )
    this.finder = opened.finder
    this.ended = recordsOf(archive?.newest ?? [])
    this.left = (archive?.died ?? []).flatMap(({ document, atWallMs, sealed }) =>
      recordsOf([document]).flatMap((record) => {
        const { callSid, endReason } = record
        return isCallSid(callSid) ? [{ callSid, record, atWallMs, sealed, ended: endReason !== 'process-died' }] : []
      }),
    )
    for (const { record } of this.left.filter(({ ended }) => !ended))
      log
        .component('workers')
        .warn({ call_sid: record.callSid, agent: record.agent }, 'call was live when an earlier process died')
    this.record =
      archive === null
        ? null
        : (callSid, rateHz, announced, part, days) => archive.record(callSid, rateHz, announced, part, days)
    this.openRecords =
      archive === null
        ? null
        : {
            open: (callSid, compose) => archive.openRecord(callSid, compose),
            changed: (callSid) => archive.openRecordChanged(callSid),
            gone: (callSid) => archive.openRecordGone(callSid),
          }
    this.states =
      archive === null
        ? null
        : {
            keep: (changes) => archive.keepSealed(changes),
            value: (value) => archive.keepValue(value),
            gone: (callSid) => {
              if (isCallSid(callSid)) archive.sealedGone(callSid)
            },
          }
  }

  /** Values that earlier runs stored in the store with `once`. Each value is listed a single time. */
  get values(): readonly StoredValue[] {
    return this.#archive?.values ?? []
  }

  /** Data folders of processes that no longer run. This process has locked these folders. */
  get leftFolders(): readonly string[] {
    return this.#opened.left.map(({ path }) => path)
  }

  /**
   * Settles a call of `left`.
   * @param isRecord  false: the call continues, or another node has the call's record
   */
  settleLeft(callSid: CallSid, isRecord: boolean): void {
    const record = isRecord ? this.left.find((each) => each.callSid === callSid)?.record : undefined
    const days = this.#opened.recordsDaysOf(record?.agent ?? '')
    const settle = (): void => this.#archive?.settleLeft(callSid, isRecord, days)
    if (record === undefined) settle()
    else this.#post(recordNews('call.ended', record), settle)
  }

  /** Informs receivers that a call is over, then stores its record. */
  over(record: CallRecord): void {
    this.#post(recordNews('call.ended', record), () => this.#keep(record))
  }

  /** Stores the record of an ended call again, with the carrier's details, and informs receivers. */
  joined(record: CallRecord): void {
    if ((record.carrier?.recording ?? null) === null) return this.#keep(record)
    this.#post(recordNews('recording.ready', record), () => this.#keep(record))
  }

  /**
   * Stores a call's record again with its analysis, and sends a message to receivers. Resolves when the message is
   * stored.
   * @param part `record`: only store the record, because another node has informed receivers. `message`: only send the
   * message, because another node stores the record
   */
  analysed(record: CallRecord, part: 'record' | 'message' | 'both'): Promise<void> {
    return new Promise((resolve) => {
      const then = (): void => {
        if (part !== 'message') this.#keep(record)
        resolve()
      }
      if (part === 'record') then()
      else this.#post(recordNews('call.analysed', record), then)
    })
  }

  /**
   * Stores the record of a call that has just ended here, if `isOurs` resolves with true. If it resolves with false,
   * another node has the call's record. If the process dies before the decision, the next start decides. So each call
   * has only one record.
   * @param newest returns the call's newest record; undefined if it is no longer in memory
   * @param then called with the stored record, or with null if another node's record counts. It is not called if the
   * call was erased or has ended here a second time
   */
  keepIfOurs(
    record: CallRecord,
    isOurs: Promise<boolean>,
    newest: () => CallRecord | undefined,
    then: (stored: CallRecord | null) => void,
  ): void {
    const { callSid } = record
    if (!isCallSid(callSid)) return
    this.#archive?.recordEnded(callSid, record)
    const deciding = isOurs.then((ours) => {
      if (this.#deciding.get(callSid) !== deciding) return
      this.#deciding.delete(callSid)
      const stored = ours ? (newest() ?? record) : null
      if (stored === null) this.#archive?.openRecordGone(callSid)
      else this.over(stored)
      then(stored)
    })
    this.#deciding.set(callSid, deciding)
  }

  handoff({ kind, handoff, url, id, keepsWords }: HandoffNews): void {
    this.#keepHandoff(keptHandoff(handoff, keepsWords, this.#opened.config.recordsTranscript))
    const type =
      kind === 'callback.requested'
        ? kind
        : (`escalation.${kind === 'handoff.requested' ? 'requested' : 'settled'}` as const)
    const { callSid, agent, to } = handoff
    const message = messageAbout({ type, id, callSid, agent, number: to, data: handoff })
    this.#keeps(this.outbox.addHandoff(message, url))
    this.#keeps(this.outbox.add(message))
  }

  /** Informs receivers of an event. */
  tell(news: MessageNews): void {
    this.#keeps(this.outbox.add(messageAbout(news)))
  }

  /**
   * Informs receivers of a refused call, and stores the call's record. The handoff packet, for the person who calls
   * back, is only stored and not posted.
   */
  keepRefused(record: CallRecord, packet: Handoff | null): void {
    const data = { ...record, from: packet?.from ?? '' }
    this.#post({ ...recordNews('call.refused', record), data }, () => this.#keep(record))
    if (packet !== null) this.#keepHandoff(packet)
  }

  /**
   * Reads a document from the disk, or else from the object storage; undefined if neither has the document.
   * @throws as `recording`
   */
  async find(kind: DocumentKind, callSid: CallSid): Promise<unknown> {
    return (
      (await this.#archive?.find(kind, callSid)) ??
      (kind === 'record' ? await this.finder?.record(callSid) : undefined) ??
      this.#opened.storage?.document(kind, callSid)
    )
  }

  /**
   * Searches the object storage for the record of a call that an earlier run left. `elsewhere`: the storage has a newer
   * record than the disk. Never rejects.
   */
  async inStorage(callSid: CallSid): Promise<'elsewhere' | 'nowhere' | 'unknown'> {
    const { storage } = this.#opened
    if (storage === null) return 'nowhere'
    try {
      return (await storage.document('record', callSid)) === undefined ? 'nowhere' : 'elsewhere'
    } catch {
      return 'unknown'
    }
  }

  /**
   * Finds a recording, on the disk or in the object storage.
   * @param part  from 1; null for the newest part
   * @throws GatewayError STORAGE if the object storage does not answer
   */
  async recording(callSid: string, part: number | null): Promise<StoredFile | null> {
    if (this.#archive === null || !isCallSid(callSid)) return null
    return (await this.#archive.recording(callSid, part)) ?? this.#opened.storage?.recording(callSid, part) ?? null
  }

  /** Finds the carrier's recording. @throws as `recording` */
  async carrierRecording(callSid: string): Promise<StoredFile | null> {
    if (!isCallSid(callSid)) return null
    const { config, storage } = this.#opened
    const names = CARRIER_SUFFIXES.map((suffix) => `${callSid}.${suffix}`)
    const here = await findKept(config.dataDir, 'carrierRecordings', names)
    return here ?? storage?.carrierRecording(callSid, names) ?? null
  }

  /** Removes the keys of the calls' objects from the object storage; null without an object storage. */
  async eraseObjects(callSids: readonly CallSid[]): Promise<ErasedObjects | null> {
    return this.#opened.storage?.erase(callSids) ?? null
  }

  /** See `Archive.forget`. */
  async forget(callSids: readonly CallSid[]): Promise<void> {
    for (const callSid of callSids) this.#deciding.delete(callSid)
    await this.outbox.forget(callSids)
    await this.#archive?.forget(callSids)
  }

  /**
   * Waits until the owners of the last calls are known and the current deliveries of messages have ended. Call it when
   * no more calls can end. If a call's owner is not known in time, its message is stored later, or the next start makes
   * the message.
   * @param withinMs time limit in ms for both waits together
   */
  async closeMessages(withinMs = MESSAGES_CLOSE_MS): Promise<void> {
    const untilMs = performance.now() + withinMs
    await Promise.race([Promise.all(this.#deciding.values()), sleep(withinMs, undefined, { ref: false })])
    await this.#closeOutbox(untilMs)
    await this.#handOver(performance.now() + HAND_OVER_MS_MAX)
  }

  async close(): Promise<void> {
    await this.#closeOutbox(performance.now() + MESSAGES_CLOSE_MS)
    await closeOpened(this.#opened)
    this.#opened.folder?.release()
  }

  /** True while the disk is too full for records. */
  get isFull(): boolean {
    return this.#archive?.isFull === true
  }

  /**
   * Stores a document of a node that is stopping and has a full disk.
   * @returns false if this node cannot store the document either
   */
  #keepGiven({ kind, callSid, document, days }: KeptDocument): boolean {
    if (this.#archive === null || this.isFull || !isCallSid(callSid)) return false
    if (kind === 'record') this.#archive.keepRecord(callSid, document, days)
    else this.#archive.keepHandoff(callSid, document, days)
    return true
  }

  /**
   * Sends the records that do not fit on the disk to other nodes. Each record is stored by the first node that accepts
   * it.
   */
  async #handOver(untilMs: number): Promise<void> {
    const { node, log } = this.#opened
    if (node === null || this.#archive === null) return
    const give = async (document: KeptDocument): Promise<boolean> => {
      for (const { name, incarnation } of node.alive()) {
        const asked = await node.ask({ node: name, incarnation }, KEEP_DOCUMENT, document, HAND_OVER_ANSWER_MS)
        if (asked.result === 'answered' && (asked.answer as KeepAnswer).kept) return true
      }
      return false
    }
    await this.#archive.handOver(give, untilMs)
    const { handedOver } = this.#archive.counters
    if (handedOver > 0)
      log.warn({ documents: handedOver }, 'the disk is full: other nodes have the last records of calls')
  }

  #keep(record: CallRecord): void {
    if (isCallSid(record.callSid))
      this.#archive?.keepRecord(record.callSid, record, this.#opened.recordsDaysOf(record.agent))
  }

  #keepHandoff(packet: Handoff): void {
    if (isCallSid(packet.callSid))
      this.#archive?.keepHandoff(packet.callSid, packet, this.#opened.recordsDaysOf(packet.agent))
  }

  /**
   * Stores the message in the outbox, then calls `then`, which stores the final record. If the process dies between the
   * two steps, the message is sent again.
   */
  #post(news: MessageNews, then: () => void): void {
    const message = messageAbout(news)
    if (!this.outbox.wanted(message)) return then()
    this.#keeps(this.outbox.add(message).then(then))
  }

  /** Makes `close` wait until the message is stored. */
  #keeps(adding: Promise<void>): void {
    this.#telling.add(adding)
    void adding.then(() => this.#telling.delete(adding))
  }

  async #closeOutbox(untilMs: number): Promise<void> {
    await Promise.all(this.#telling)
    await this.outbox.close(Math.max(0, untilMs - performance.now()))
  }
}

/**
 * Maximum time in ms that a shutdown waits for messages that are being sent. Messages that wait are sent after the next
 * start.
 */
const MESSAGES_CLOSE_MS = 3000
/**
 * HAND_OVER_MS_MAX: maximum time in ms to send all documents that do not fit on the disk to other nodes.
 * HAND_OVER_ANSWER_MS: time limit in ms for another node's answer about one document.
 */
const HAND_OVER_MS_MAX = 3000
const HAND_OVER_ANSWER_MS = 1000
const KEEP_DOCUMENT = 'keep-document'
const MB = 1024 * 1024

/** Answer to KEEP_DOCUMENT. */
interface KeepAnswer {
  readonly kept: boolean
}
/** File formats of the carrier's recordings. */
const CARRIER_SUFFIXES = ['wav', 'mp3', 'ogg'] as const

/** Folder of a process that no longer runs. */
interface HeldFolder {
  readonly path: string
  readonly folder: DataFolder
}

interface Opened {
  readonly config: Config
  readonly log: Log
  readonly recordsDaysOf: (agent: string) => number | null
  /** DATA_DIR; null if the gateway writes no files. */
  readonly folder: DataFolder | null
  readonly left: readonly HeldFolder[]
  readonly storage: ObjectStorage | null
  readonly outbox: Outbox
  readonly retention: Archive | null
  /** This node; null without other nodes. */
  readonly node: FleetSide['node'] | null
  readonly finder: CallFinder | null
}

async function closeOpened({ left, storage, retention, finder }: Partial<Opened>): Promise<void> {
  await retention?.close()
  await finder?.close()
  await storage?.close()
  for (const held of left ?? []) held.folder.release()
}

/**
 * Opens the archive according to the settings. A later fault of the disk is logged and counted. During such a fault,
 * this node accepts a call only if no other node has capacity for it.
 * @param folder DATA_DIR; null if the gateway writes no files. It is released at the end, and stays locked if this
 * throws
 * @param idle folders whose process does not always run; old records and recordings in them are deleted too
 * @param workerEnv `process.env` of the thread that writes
 * @param env contains secrets of receivers, like the environment of the process
 * @param fleet stores the messages of its nodes. If it is null, or has no Redis, messages are only on this node's disk
 * @param recordsDaysOf time in days for which the records of an agent's calls are stored; null for the default of the
 * settings
 * @param receiversOfNumber current `messages` of one of our numbers in NUMBERS_FILE
 * @throws GatewayError if a setting is wrong or a folder cannot be used; all opened parts are then closed
 */
export async function openCallArchive(
  config: Config,
  folder: DataFolder | null,
  log: Log,
  metrics: Metrics,
  idle: IdleFolders,
  workerEnv: Readonly<Record<string, string>>,
  receiversOfNumber: (number: string) => readonly Receiver[] = () => [],
  fleet: Pick<FleetSide, 'outbox' | 'node' | 'storeLost' | 'onForgotten'> | null = null,
  env: Environment = {},
  recordsDaysOf: (agent: string) => number | null = () => null,
): Promise<CallArchive> {
  if (folder?.locked === false)
    log.warn(
      { data_dir: config.dataDir },
      'DATA_DIR cannot be locked: a second gateway that uses it would not be noticed',
    )
  const receivers =
    config.messagesFile === null
      ? []
      : readReceivers(config.messagesFile, fileEnvironment(process.env, env), config.numbersFile !== null)
  const left = await holdLeftFolders(idle.left)
  const folders = folder === null ? [] : [config.dataDir, ...left.map(({ path }) => path)]
  let storage: ObjectStorage | null = null
  let retention: Archive | null = null
  try {
    storage = await openObjectStorage(
      folder === null ? null : objectStorageOf(config, folders),
      log,
      metrics,
      workerEnv,
    )
    // The folder is opened even without KEEP_CALLS. It may contain journals, the carrier's recordings, and files of
    // earlier runs.
    if (folder !== null)
      retention = await Archive.start(
        {
          folder: config.dataDir,
          retainOnly: !config.keepCalls,
          leftFolders: left.map(({ path }) => path),
          spareFolder: idle.spare,
          alone: folder.locked,
          uploads: storage !== null,
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
    // Opened last, because it starts to send messages.
    const outbox = await Outbox.open({
      folders: folders.map((path) => keptFolder(path, 'outbox')),
      receivers,
      ofNumber: receiversOfNumber,
      shared: fleet?.outbox ?? null,
      forgotten: async () => (await fleet?.node.forgottenNow(STORE_REWRITTEN_MS)) === true,
      onLost: (count) => fleet?.storeLost('messages', count),
      handoff: { url: config.handoffUrl, secret: config.handoffSecret },
      source: `urn:mkondo:${config.nodeName}`,
      wallClock: Date.now,
      log: log.component('messages'),
    })
    fleet?.onForgotten(() => outbox.storeForgot())
    // Useless indexes are removed: the indexes of folders whose process no longer runs, and all indexes if records are
    // not stored.
    for (const path of config.keepCalls ? folders.slice(1) : folders)
      rmSync(keptFolder(path, 'index'), { recursive: true, force: true })
    const found: readonly [string, ...string[]] = [config.dataDir, ...left.map(({ path }) => path)]
    const counters = retention?.counters
    const changes = (): number =>
      counters === undefined ? 0 : counters.written + counters.deleted.records.age + counters.deleted.records.size
    const finder =
      config.keepCalls && folder !== null ? new CallFinder(found, log.component('telemetry'), workerEnv, changes) : null
    count(metrics, retention, outbox, finder)
    return new CallArchive({
      ...{ config, log, recordsDaysOf, folder, left, storage, outbox, retention, finder },
      node: fleet?.node ?? null,
    })
  } catch (thrown) {
    await closeOpened({ left, storage, retention })
    throw thrown
  }
}

/** True if a gateway with these settings and without other nodes continues its calls after a crash and restart. */
export function resumesAlone({ keepCalls, redisUrl, tokenSecrets }: Config): boolean {
  return keepCalls && redisUrl === null && tokenSecrets.length > 0
}

/** True if a gateway with these settings writes files below DATA_DIR. */
export function usesDataFolder(config: Config): boolean {
  return (
    config.keepCalls ||
    config.journalCalls !== 'off' ||
    config.messagesFile !== null ||
    config.numbersFile !== null ||
    config.handoffUrl !== null ||
    config.apiKey !== null
  )
}

/**
 * Locks those of the folders that no process uses. A folder may still be in use by a process of an earlier start, until
 * its calls have ended.
 */
async function holdLeftFolders(paths: readonly string[]): Promise<HeldFolder[]> {
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

function messageAbout({ type, callSid, agent, data, id, number = null, outcome = null }: MessageNews): Message {
  const time = new Date().toISOString()
  return { id: id ?? `${callSid}:${type}`, type, callSid, agent, number, outcome, time, data }
}

function recordNews(type: MessageNews['type'], record: CallRecord): MessageNews {
  const { callSid, agent, number = null, outcome } = record
  return { type, callSid, agent, number, outcome, data: record }
}

function recordsOf(documents: readonly unknown[]): CallRecord[] {
  return documents.flatMap((document) => {
    const read = callRecordSchema.safeParse(document)
    return read.success ? [read.data] : []
  })
}

/** Copies the counts to the metrics, once a second. */
function count(metrics: Metrics, archive: Archive | null, outbox: Outbox, finder: CallFinder | null): void {
  metrics.countOne('call_index_faults', 'Times that records could not be indexed', () => finder?.faults ?? 0)
  metrics.countOne(
    'call_index_refused',
    'Searches for ended calls that were refused because too many waited',
    () => finder?.refused ?? 0,
  )
  const documents = metrics.defineCounter('archive_documents', 'Records and handoffs of calls, by result', ['result'])
  metrics.countFrom(documents({ result: 'written' }), () => archive?.counters.written ?? 0)
  metrics.countFrom(documents({ result: 'lost' }), () => archive?.counters.lost ?? 0)
  metrics.countFrom(documents({ result: 'handed-over' }), () => archive?.counters.handedOver ?? 0)
  const deleted = metrics.defineCounter(
    'archive_deleted',
    'Files of calls that were deleted because of their age or the size limit',
    ['kind', 'reason'],
  )
  for (const kind of KEPT_KINDS)
    for (const reason of ['age', 'size'] as const)
      metrics.countFrom(deleted({ kind, reason }), () => archive?.counters.deleted[kind][reason] ?? 0)
  const clockFaults = metrics.defineLabelledGauge(
    'archive_clock_wrong',
    '1 while the age of stored data is not counted by the clock of the machine, by the direction of its jump',
    ['kind'],
    'max',
  )
  for (const kind of ['ahead', 'behind'] as const)
    clockFaults.from({ kind }, () => (archive?.clockFault?.kind === kind ? 1 : 0))
  metrics.countOne('archive_faults', 'Writes to the archive that failed', () => archive?.counters.faults ?? 0)
  metrics.countOne(
    'archive_recording_bytes_dropped',
    'Bytes of recordings that were dropped because the disk was too slow',
    () => archive?.counters.recordingBytesDropped ?? 0,
  )
  const results = metrics.defineCounter('messages', 'Messages to receivers, by result', ['receiver', 'result'])
  for (const [receiver, counts] of outbox.counts)
    for (const result of RESULTS) metrics.countFrom(results({ receiver, result }), () => counts[result])
  metrics.defineGauge('messages_waiting', 'Messages that are not delivered yet').from(() => outbox.waiting)
  metrics.defineGauge('messages_dead', 'Messages that are not tried again').from(() => outbox.dead)
  metrics
    .defineGauge('messages_oldest_seconds', 'Age of the oldest message that is not delivered yet')
    .from(() => outbox.oldestMs / 1000)
  metrics.countOne('messages_faults', 'Messages that could not be written to the disk', () => outbox.faults)
}
