import { setTimeout as sleep } from 'node:timers/promises'
import type { CallLogRecords, CallLogEntry } from '../call/documents/log-entry.js'
import type { TimelineMark } from '../call/documents/record.js'
import type { Clock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { forgetOldest } from '../core/forget-oldest.js'
import type { CallSid } from '../core/ids.js'
import { KEEP_RENEW_MS, SAVED_WITHIN_MS } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import { foldLog, logChunk, parseKeptCall } from '../call/documents/kept-call.js'
import type { KeptState } from '../call/documents/kept-call.js'
import type { CallKeeping, KeptSource, OverAnswer } from '../workers/main/main-thread-context.js'
import type { CallStore, OwnerToken, StoredCall, StoredWrite } from './store/call-store.js'
import { SealedCall } from './store/sealed-call.js'

/** Maximum size in bytes of one call in the store: its state and its log. */
export const STORED_CALL_BYTES_MAX = 256 * 1024
/** Minimum time in ms between two writes of one call's state. */
export const KEEP_EVERY_MS = 1000
/** Time in ms between two sweeps. A sweep finds and seals the calls that must be written. */
const KEEP_SWEEP_MS = 20
/** Maximum duration in ms of one sweep. It is short because the main thread must also send audio on time. */
const KEEP_SWEEP_BUSY_MS = 1
/**
 * Maximum number of ended calls whose entries are not deleted yet. If there are more, the oldest entries expire by
 * their TTL.
 */
const KEEP_OVER_MAX = 10_000

/** Maximum size in bytes of the state. The log may use the remaining bytes. */
const STATE_BYTES_MAX = STORED_CALL_BYTES_MAX / 2
/**
 * Maximum size of a rewritten log, as a share of the bytes that a log may have. The remaining space prevents another
 * rewrite a second later.
 */
const REWRITTEN_SHARE = 0.75
const RENEW_LOOK_MS = 60_000
/**
 * Size in bytes from which no more calls are added to a batch. After an outage, a single batch with all logs would miss
 * the store's deadline.
 */
const BATCH_BYTES_MAX = 512 * 1024
const BATCH_CALLS_MAX = 256

/**
 * Stores the state and log of this node's live calls, encrypted. A write replaces the small state and appends to the
 * log. Changed calls are sent in batches, each call at most once in KEEP_EVERY_MS. Only `saved` waits for the store. If
 * a write fails, the next write sends the whole log.
 */
export class CallKeeper implements CallKeeping {
  readonly node: string
  readonly counters = {
    written: 0,
    bytesWritten: 0,
    /** Writes and deletions that failed at the store. */
    failed: 0,
    /** Calls for which the store named another owner. */
    lost: 0,
    /** Number of logs that were rewritten because they were too large. */
    rewritten: 0,
    /** Number of log entries and marks that were dropped because a log was too large. */
    entriesDropped: 0,
    /** Number of backend states that were dropped because they were too large. */
    backendStatesDropped: 0,
    /** Number of stored logs whose last chunk could not be read. */
    endsCutOff: 0,
    /** Number of ended calls whose entries are not deleted but expire by their TTL. */
    oversDropped: 0,
  }
  readonly #options: CallKeeperOptions
  readonly #calls = new Map<CallSid, KeptEntry>()
  readonly #changed = new Set<KeptEntry>()
  /** Calls that are written without delay, because they were never written or because `saved` waits for them. */
  readonly #fresh = new Set<KeptEntry>()
  readonly #over = new Set<KeptEntry>()
  readonly #ending = new Set<Promise<void>>()
  /** `#due`: changed calls that are not sealed yet. `#batch`: sealed calls that are sent next. */
  #due: KeptEntry[] = []
  #batch: SealedWrite[] = []
  #batchBytes = 0
  #sending: Promise<void> | null = null
  #nextBatchMs = -Infinity
  #timer: NodeJS.Timeout | null = null
  #renewAtMs: number

  constructor(options: CallKeeperOptions) {
    this.#options = options
    this.node = options.node
    this.#renewAtMs = options.clock() + RENEW_LOOK_MS
  }

  // --- from the calls -------------------------------------------------------------------------------------

  open(callSid: CallSid, source: KeptSource): void {
    const entry: KeptEntry = {
      callSid,
      source,
      sealed: new SealedCall(callSid, this.#options.secrets),
      entries: [],
      marks: [],
      whole: true,
      logBytes: 0,
      token: null,
      lostToken: null,
      triedAtMs: -Infinity,
      busy: false,
      waiting: [],
      told: () => undefined,
    }
    this.#calls.set(callSid, entry)
    this.#fresh.add(entry)
    this.#change(entry)
  }

  append(callSid: CallSid, entries: readonly CallLogEntry[], marks: readonly TimelineMark[]): void {
    const entry = this.#calls.get(callSid)
    if (entry === undefined) return
    if (entries.length > 0) this.#change(entry)
    if (entry.whole) return
    entry.entries.push(...entries)
    entry.marks.push(...marks)
  }

  changed(callSid: CallSid): void {
    const entry = this.#calls.get(callSid)
    if (entry !== undefined) this.#change(entry)
  }

  async saved(callSid: CallSid): Promise<boolean> {
    if (this.#options.alone) return true
    const entry = this.#calls.get(callSid)
    if (entry === undefined) return false
    const written = new Promise<boolean>((resolve) => entry.waiting.push(resolve))
    this.#fresh.add(entry) // the call is written now, even if its last write was less than KEEP_EVERY_MS ago
    this.#change(entry)
    return Promise.race([written, sleep(SAVED_WITHIN_MS, false, { ref: false })])
  }

  /** Stops all writes of a call that another node has, even the write of the call's end. */
  gaveUp(callSid: CallSid): void {
    const entry = this.#calls.get(callSid)
    if (entry !== undefined) entry.lostToken = entry.token
  }

  over(callSid: CallSid): Promise<OverAnswer> {
    const entry = this.#calls.get(callSid)
    if (entry === undefined) return Promise.resolve('ok')
    this.#calls.delete(callSid)
    this.#changed.delete(entry)
    this.#fresh.delete(entry)
    entry.token = this.#options.tokenOf(callSid) ?? entry.token
    if (entry.token === null) return Promise.resolve(this.#options.alone ? 'ok' : 'unknown') // this node has never claimed the call
    if (entry.token.nonce === entry.lostToken?.nonce) return Promise.resolve('lost')
    entry.triedAtMs = -Infinity
    const unanswered = this.#options.inDoubt(callSid) ? 'in-doubt' : 'unknown'
    const [oldest] = this.#over
    this.#over.add(entry)
    if (forgetOldest(this.#over, KEEP_OVER_MAX)) {
      this.counters.oversDropped++
      oldest?.told('unknown')
    }
    this.#start()
    return new Promise((resolve) => {
      entry.told = (answer) => resolve(answer === 'unknown' ? unanswered : answer)
    })
  }

  // --- writing --------------------------------------------------------------------------------------------

  /**
   * Seals changed calls for at most KEEP_SWEEP_BUSY_MS. The next sweep seals the remaining calls. When all are sealed,
   * the batch is sent.
   */
  sweep(): void {
    const { clock } = this.#options
    const nowMs = clock()
    if (nowMs >= this.#renewAtMs) this.#renew(nowMs)
    const busy = (): boolean => clock() - nowMs > KEEP_SWEEP_BUSY_MS
    if (this.#sending === null) this.#fillBatch(nowMs, busy)
    for (const entry of this.#over) {
      if (busy()) break
      if (!entry.busy && entry.triedAtMs <= nowMs - KEEP_EVERY_MS) this.#end(entry, nowMs)
    }
    if (this.#calls.size === 0 && this.#over.size === 0) this.#stop()
  }

  #fillBatch(nowMs: number, busy: () => boolean): void {
    if (this.#due.length === 0 && nowMs >= this.#nextBatchMs && this.#changed.size > 0) {
      this.#due = [...this.#changed]
      this.#nextBatchMs = nowMs + KEEP_EVERY_MS
    } else if (this.#due.length === 0) this.#due = [...this.#fresh]
    while (this.#due.length > 0 && this.#batch.length < BATCH_CALLS_MAX && this.#batchBytes < BATCH_BYTES_MAX) {
      if (busy()) return
      this.#seal(this.#due.pop() as KeptEntry, nowMs)
    }
    if (this.#batch.length > 0) this.#send()
  }

  /** Writes all calls again, each in full, because the store has lost its data. */
  rewrite(): void {
    for (const entry of this.#calls.values()) {
      this.#forget(entry)
      this.#change(entry)
    }
  }

  /**
   * Writes all waiting changes now. Resolves when each change was sent once, even if its write failed. Never rejects.
   */
  async flush(): Promise<void> {
    const nowMs = this.#options.clock()
    await this.#sending
    this.#due = [...this.#changed]
    while (this.#due.length > 0 || this.#batch.length > 0) {
      this.#fillBatch(nowMs, () => false)
      await this.#sending
    }
    for (const entry of this.#over) if (!entry.busy) this.#end(entry, nowMs)
    await Promise.all(this.#ending)
  }

  /** Writes all waiting changes, and stops. The store stays open. */
  async close(): Promise<void> {
    await this.flush()
    this.#stop()
  }

  #change(entry: KeptEntry): void {
    if (this.#options.alone) return
    this.#changed.add(entry)
    this.#start()
  }

  #start(): void {
    this.#timer ??= setInterval(() => this.sweep(), KEEP_SWEEP_MS).unref()
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #renew(nowMs: number): void {
    this.#renewAtMs = nowMs + RENEW_LOOK_MS
    for (const entry of this.#calls.values()) if (nowMs - entry.triedAtMs >= KEEP_RENEW_MS) this.#changed.add(entry)
  }

  /** Seals the changes of a call into the batch. */
  #seal(entry: KeptEntry, nowMs: number): void {
    const { callSid, sealed } = entry
    this.#fresh.delete(entry)
    if (entry.busy || this.#calls.get(callSid) !== entry) return
    entry.triedAtMs = nowMs
    const token = this.#options.tokenOf(callSid)
    if (token === null || token.nonce !== entry.token?.nonce) this.#forget(entry)
    entry.token = token
    const waiting = entry.waiting.splice(0)
    // A call without a token is written later. A call whose token is lost either gets a new token or ends.
    if (token === null || token.nonce === entry.lostToken?.nonce) return tellAll(waiting, false)
    this.#changed.delete(entry)
    try {
      const state = sealed.seal('state', this.#stateOf(entry))
      const { chunk, replace } = this.#chunkOf(entry, state.length)
      const change = { state, ...(chunk === null ? {} : { append: [chunk] }), ...(replace ? { replace } : {}) }
      const bytes = state.length + (chunk?.length ?? 0)
      this.counters.bytesWritten += bytes
      this.#batchBytes += bytes
      const logBytes = (replace ? 0 : entry.logBytes) + (chunk?.length ?? 0)
      this.#batch.push({ entry, write: { key: callSid, token, change }, logBytes, waiting })
      entry.busy = true
    } catch (thrown) {
      this.#notWritten(entry, thrown)
      tellAll(waiting, false)
    }
  }

  #send(): void {
    const batch = this.#batch
    this.#batch = []
    this.#batchBytes = 0
    const settle = (answerOf: (i: number) => 'ok' | 'lost' | 'refused', why: unknown): void => {
      for (const [i, { entry, write, logBytes, waiting }] of batch.entries()) {
        entry.busy = false
        const answer = answerOf(i)
        if (answer === 'refused') this.#notWritten(entry, why)
        else if (answer === 'lost') this.#isLost(entry, write.token)
        else {
          this.counters.written++
          entry.logBytes = logBytes
        }
        tellAll(waiting, answer === 'ok')
      }
    }
    this.#sending = this.#options.store
      .saveAll(batch.map(({ write }) => write))
      .then(
        (answers) => settle((i) => answers[i] ?? 'refused', 'the entry is of another program'),
        (thrown: unknown) => settle(() => 'refused', thrown),
      )
      .finally(() => {
        this.#sending = null
      })
  }

  #isLost(entry: KeptEntry, token: OwnerToken): void {
    this.counters.lost++
    entry.lostToken = token
    this.#forget(entry)
    // If the store answered so only because it lost its data, the call gets a new token. The call is then written
    // completely with this token.
    if (this.#calls.get(entry.callSid) === entry) this.#changed.add(entry)
    this.#options.lost(entry.callSid, token)
  }

  #notWritten(entry: KeptEntry, thrown: unknown): void {
    this.#failed(entry, thrown)
    this.#forget(entry)
    if (this.#calls.get(entry.callSid) === entry) this.#changed.add(entry)
  }

  #end(entry: KeptEntry, nowMs: number): void {
    entry.triedAtMs = nowMs
    entry.busy = true
    const over = async (): Promise<void> => {
      let answer: OverAnswer = 'ok'
      try {
        if (entry.token !== null) answer = await this.#options.store.over(entry.callSid, entry.token)
        this.#over.delete(entry)
      } catch (thrown) {
        answer = 'unknown'
        this.#failed(entry, thrown)
      }
      entry.busy = false
      entry.told(answer)
    }
    const ending = over().finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }

  /** Marks the store's part of the log as unknown, so that the next write replaces the whole log. */
  #forget(entry: KeptEntry): void {
    entry.whole = true
    entry.entries = []
    entry.marks = []
  }

  #failed(entry: KeptEntry, thrown: unknown): void {
    this.counters.failed++
    this.#options.log.debug({ call_sid: entry.callSid, detail: messageOf(thrown) }, "a call's state was not stored")
  }

  #stateOf({ callSid, source }: KeptEntry): string {
    const kept = source.kept()
    const text = JSON.stringify(kept)
    const bytes = Buffer.byteLength(text)
    if (bytes <= STATE_BYTES_MAX) return text
    this.counters.backendStatesDropped++
    this.#options.log.warn(
      { call_sid: callSid, bytes, allowed: STATE_BYTES_MAX },
      'the state of a call is too large: its backend is left out',
    )
    return JSON.stringify({ ...kept, backendState: null })
  }

  /** Seals the part of the log that the store does not have yet. `chunk` is null if the store has the whole log. */
  #chunkOf(entry: KeptEntry, stateBytes: number): { readonly chunk: Uint8Array | null; readonly replace: boolean } {
    const { sealed } = entry
    const bytesMax = STORED_CALL_BYTES_MAX - stateBytes
    if (!entry.whole) {
      const { entries, marks } = entry
      entry.entries = []
      entry.marks = []
      if (entries.length + marks.length === 0) return { chunk: null, replace: false }
      const chunk = sealed.seal('log', logChunk({ entries, marks }))
      if (entry.logBytes + chunk.length <= bytesMax) return { chunk, replace: false }
      this.counters.rewritten++
    }
    const { text, dropped } = wholeLog(entry.source.log(), bytesMax * REWRITTEN_SHARE)
    this.counters.entriesDropped += dropped
    entry.whole = false
    return { chunk: sealed.seal('log', text), replace: true }
  }

  // --- reading --------------------------------------------------------------------------------------------

  /**
   * Opens the state in a call's entry; null if the call is over or was never saved.
   * @throws GatewayError KEPT_CALL_INVALID if the state belongs to another call, or cannot be read
   */
  opened(callSid: CallSid, { phase, state, log }: StoredCall): KeptState | null {
    if (phase === 'over' || state === null) return null
    const sealed = new SealedCall(callSid, this.#options.secrets)
    const kept = parseKeptCall(jsonOf(sealed.open('state', state)))
    if (kept.callSid !== callSid) throw new GatewayError('KEPT_CALL_INVALID', 'a stored state is of another call')
    return { kept, ...foldLog(this.#chunks(sealed, log)) }
  }

  /** If a write was interrupted, the last chunk cannot be read, but the chunks before it are complete. */
  #chunks(sealed: SealedCall, log: readonly Uint8Array[]): unknown[] {
    const chunks: unknown[] = []
    for (const [index, bytes] of log.entries()) {
      try {
        chunks.push(jsonOf(sealed.open('log', bytes)))
      } catch (thrown) {
        if (index === 0 || index < log.length - 1) throw thrown
        this.counters.endsCutOff++
      }
    }
    return chunks
  }
}

interface CallKeeperOptions {
  /** Name of this node. */
  readonly node: string
  /**
   * True if no other node can read the states. Then states are not written, and an entry only shows whether its call is
   * over.
   */
  readonly alone: boolean
  readonly store: Pick<CallStore, 'saveAll' | 'over'>
  /** Values of TOKEN_SECRET. The first encrypts; each of them can decrypt. */
  readonly secrets: readonly string[]
  readonly clock: Clock
  readonly log: Log
  /** Returns this node's ownership of a call; null if this node does not own the call, or not yet. */
  readonly tokenOf: (callSid: CallSid) => OwnerToken | null
  /** True if another node may have taken the call without this node's knowledge. */
  readonly inDoubt: (callSid: CallSid) => boolean
  /** Called if the store answers that `token` is not the call's owner. */
  readonly lost: (callSid: CallSid, token: OwnerToken) => void
}

function tellAll(waiting: KeptEntry['waiting'], kept: boolean): void {
  for (const tell of waiting) tell(kept)
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (thrown) {
    throw new GatewayError('KEPT_CALL_INVALID', 'a stored value is not JSON', { cause: thrown })
  }
}

/** Share of a log's list that is dropped in one step if the log is too large. */
const DROPPED_SHARE = 0.25

/**
 * Whole log, shortened to `bytesMax`. It drops marks first, then words, barge-ins and turns, each time the oldest. Tool
 * calls are dropped last, because a tool without an entry might run again.
 */
function wholeLog(
  source: Pick<KeptState, 'log' | 'marks'>,
  bytesMax: number,
): { readonly text: string; readonly dropped: number } {
  let { marks } = source
  let log: CallLogRecords = source.log
  let dropped = 0
  for (;;) {
    const text = logChunk({ base: log, entries: [], marks })
    const list = marks.length > 0 ? 'marks' : LISTS.find((name) => log[name].length > 0)
    if (Buffer.byteLength(text) <= bytesMax || list === undefined) return { text, dropped }
    if (list === 'marks') {
      const count = Math.ceil(marks.length * DROPPED_SHARE)
      marks = marks.slice(count)
      dropped += count
      continue
    }
    const count = Math.ceil(log[list].length * DROPPED_SHARE)
    dropped += count
    log = { ...log, [list]: log[list].slice(count), dropped: { ...log.dropped, [list]: log.dropped[list] + count } }
  }
}

const LISTS = ['transcript', 'bargeIns', 'turns', 'claims', 'toolCalls'] as const

/** Live call, or an ended call whose entry is not deleted yet. */
interface KeptEntry {
  readonly callSid: CallSid
  readonly source: KeptSource
  readonly sealed: SealedCall
  /** New entries of the log. The list is empty while `whole` is true. */
  entries: CallLogEntry[]
  marks: TimelineMark[]
  /** True if the store's part of the log is unknown. The next write then replaces the whole log. */
  whole: boolean
  /** Size in bytes of the log in the store. */
  logBytes: number
  token: OwnerToken | null
  /** Token with which this node lost the call. It is not used for writes any more. */
  lostToken: OwnerToken | null
  triedAtMs: number
  /** True while the call is in a batch, or while its entry is being deleted. */
  busy: boolean
  /** `saved` requests that wait for the next write of this call, each for at most SAVED_WITHIN_MS. */
  waiting: ((kept: boolean) => void)[]
  /** Called with the store's answer to the end of the call; `unknown` if the store did not answer. */
  told: (answer: OverAnswer) => void
}

/** One call of a batch. */
interface SealedWrite {
  readonly entry: KeptEntry
  readonly write: StoredWrite
  readonly logBytes: number
  readonly waiting: KeptEntry['waiting']
}
