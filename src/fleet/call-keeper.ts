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

/** State and log of one call in the store. */
export const STORED_CALL_BYTES_MAX = 256 * 1024
/**
 * How often the state of one call is written at most; how often the calls are looked at that have to be, and how long
 * the main thread may take for that, which has a playout tick to keep.
 */
export const KEEP_EVERY_MS = 1000
const KEEP_SWEEP_MS = 20
const KEEP_SWEEP_BUSY_MS = 1
/** Calls that are over whose entries have not been deleted yet; beyond it the oldest are left to their TTL. */
const KEEP_OVER_MAX = 10_000

/** Most of the state's share; the rest is the log's. */
const STATE_BYTES_MAX = STORED_CALL_BYTES_MAX / 2
/** A log that is rewritten leaves room, so that it is not rewritten again a second later. */
const REWRITTEN_SHARE = 0.75
const RENEW_LOOK_MS = 60_000
/**
 * A batch ends with the first call that fills it: a node's whole logs after an outage must not take the store's deadline, nor
 * one command the store for long.
 */
const BATCH_BYTES_MAX = 512 * 1024
const BATCH_CALLS_MAX = 256

/**
 * Keeps the state of this node's live calls in the store, encrypted: a small state, which each write replaces, and the
 * log, of which each write appends what is new. What has changed goes to the store once in KEEP_EVERY_MS, all calls in one
 * batch, one batch at a time; it is sealed in slices of KEEP_SWEEP_BUSY_MS, and one timer serves all calls. Nothing here
 * waits for the store, and no caller waits for anything here: a write that fails is counted, and the next one writes the
 * whole log again. Only who answers for something to others waits for `saved`.
 */
export class CallKeeper implements CallKeeping {
  readonly node: string
  readonly counters = {
    written: 0,
    bytesWritten: 0,
    /** Writes and deletions that the store did not take. */
    failed: 0,
    /** Calls that turned out to have another owner. */
    lost: 0,
    /** Logs that were too large and written again. */
    rewritten: 0,
    /** Entries of logs, and marks, that this left out. */
    entriesDropped: 0,
    /** Backend states that were too large. */
    backendStatesDropped: 0,
    /** Ends of stored logs that could not be read. */
    endsCutOff: 0,
    /** Calls that were over and whose entries were left to their TTL. */
    oversDropped: 0,
  }
  readonly #options: CallKeeperOptions
  readonly #calls = new Map<CallSid, KeptEntry>()
  readonly #changed = new Set<KeptEntry>()
  /** Changed calls that are written at once: those never written, or whose write somebody waits for. */
  readonly #fresh = new Set<KeptEntry>()
  readonly #over = new Set<KeptEntry>()
  readonly #ending = new Set<Promise<void>>()
  /** The rest of what is to be sealed for the batch, and the batch. */
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
    this.#fresh.add(entry) // it does not wait for the next second
    this.#change(entry)
    return Promise.race([written, sleep(SAVED_WITHIN_MS, false, { ref: false })])
  }

  /** Another node has the call: nothing is written with this node's token any more, not even that the call is over. */
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
    if (entry.token === null) return Promise.resolve(this.#options.alone ? 'ok' : 'unknown') // it was never claimed
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

  /** Seals what is due, for as long as KEEP_SWEEP_BUSY_MS; the rest follows in the next, and then all of it is sent. */
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

  /** The store has lost what it held: all of every call is written again. */
  rewrite(): void {
    for (const entry of this.#calls.values()) {
      this.#forget(entry)
      this.#change(entry)
    }
  }

  /** Writes everything that waits, now. Resolves when each write was tried once; never rejects. */
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

  /** Writes what waits, and stops. The store stays open. */
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

  /** Puts what is new of a call into the batch. */
  #seal(entry: KeptEntry, nowMs: number): void {
    const { callSid, sealed } = entry
    this.#fresh.delete(entry)
    if (entry.busy || this.#calls.get(callSid) !== entry) return
    entry.triedAtMs = nowMs
    const token = this.#options.tokenOf(callSid)
    if (token === null || token.nonce !== entry.token?.nonce) this.#forget(entry)
    entry.token = token
    const waiting = entry.waiting.splice(0)
    // Without a token it is tried again; a lost one is replaced by another, or the call ends.
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
    // The store may only have forgotten it: then the call gets a new token, with which all of it is written.
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

  /** It is no longer known which part of the log the store has. */
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

  /** The end of the log that the store does not have yet, sealed; null when there is none. */
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
   * The state of a call of any node, from its entry; null when that has none.
   * @throws GatewayError KEPT_CALL_INVALID when it is not this call's, or cannot be read
   */
  opened(callSid: CallSid, { phase, state, log }: StoredCall): KeptState | null {
    if (phase === 'over' || state === null) return null
    const sealed = new SealedCall(callSid, this.#options.secrets)
    const kept = parseKeptCall(jsonOf(sealed.open('state', state)))
    if (kept.callSid !== callSid) throw new GatewayError('KEPT_CALL_INVALID', 'a stored state is of another call')
    return { kept, ...foldLog(this.#chunks(sealed, log)) }
  }

  /** A write that was cut off leaves an unreadable end; what came before it is whole. */
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
  /** True: nobody could read a state, so none is written; an entry only says that its call is over. */
  readonly alone: boolean
  readonly store: Pick<CallStore, 'saveAll' | 'over'>
  /** TOKEN_SECRET: the first encrypts, each decrypts. */
  readonly secrets: readonly string[]
  readonly clock: Clock
  readonly log: Log
  /** With which this node owns a call now; null where it does not, or not yet. */
  readonly tokenOf: (callSid: CallSid) => OwnerToken | null
  /** Another node may have taken the call, and this one has not heard of it. */
  readonly inDoubt: (callSid: CallSid) => boolean
  /** The store says that `token` does not own the call any more. */
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

/** How much of a list is dropped at a time, when a log is too large. */
const DROPPED_SHARE = 0.25

/**
 * A whole log as one piece, within `bytesMax`: the marks go first, then the oldest words, then turns and barge-ins. Tool
 * calls stay longest, because without them a tool might run again.
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

/** One live call, or one that is over and whose entry is still to be deleted. */
interface KeptEntry {
  readonly callSid: CallSid
  readonly source: KeptSource
  readonly sealed: SealedCall
  /** The log's new end. Empty while `whole`. */
  entries: CallLogEntry[]
  marks: TimelineMark[]
  /** It is not known what the store has: the next write replaces the log. */
  whole: boolean
  /** Bytes of the log in the store. */
  logBytes: number
  token: OwnerToken | null
  /** With this token the call was lost: nothing is written with it any more. */
  lostToken: OwnerToken | null
  triedAtMs: number
  /** It is in a batch, or its deletion is under way. */
  busy: boolean
  /** Wait for the next write that begins: those of `saved`, each for SAVED_WITHIN_MS at most. */
  waiting: ((kept: boolean) => void)[]
  /** Called once the store knows that the call is over, or has not answered. */
  told: (answer: OverAnswer) => void
}

/** One call of a batch. */
interface SealedWrite {
  readonly entry: KeptEntry
  readonly write: StoredWrite
  readonly logBytes: number
  readonly waiting: KeptEntry['waiting']
}
