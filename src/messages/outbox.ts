import { createHash } from 'node:crypto'
import { mkdir, readFile, readdir, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { DocumentOf } from '../call/documents/document.js'
import { unrefTimer } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import { writeWhole } from '../telemetry/archive/whole-file.js'
import type { Log } from '../telemetry/log.js'
import { bodyOf } from './bodies.js'
import { Copies } from './copies.js'
import type { Disk } from './copies.js'
import { Delivery } from './delivery.js'
import type { DeliveryOptions } from './delivery.js'
import type { Message } from './message.js'
import { HANDOFF_RECEIVER, NUMBERS_LABEL } from './receivers.js'
import { entrySchema } from './entry.js'
import type { Entry } from './entry.js'
import type { Held, SharedEntry, SharedOutbox } from './shared-outbox.js'

/**
 * Maximum number of waiting messages of all receivers. Further messages are dropped and counted. The limit is enough
 * for an hour and a half with a thousand calls a minute.
 */
const WAITING_MAX = 100_000
/**
 * Maximum number of dead messages: messages that are not tried any more. Above this number the oldest message is
 * deleted and counted.
 */
const DEAD_MAX = 10_000
/** Number of files of earlier processes that are read at the same time. */
const READ_AT_ONCE = 64
/** Time between two searches of this node for messages in the fleet's store, in milliseconds. */
const SHARED_LOOK_MS = 1000
/** Number of searches of which one also claims messages of dead nodes. */
const CLAIM_EACH = 5
/**
 * Duration of an outage of the store after which messages no longer wait for the store, in milliseconds. They are then
 * sent from the disk, perhaps before older messages.
 */
const ALONE_AFTER_MS = 10_000
/** Maximum number of messages that are sent to one receiver at the same time. */
const SENDING_MAX = 8
/**
 * Pauses before the second and every later try, in milliseconds: a day and a half in total. A fifth of each pause is
 * random.
 */
const PAUSES_MS: readonly number[] = [5, 60, 300, 1800, 7200, 28_800, 86_400].map((seconds) => seconds * 1000)
const PAUSE_RANDOM_SHARE = 0.2
/**
 * Number of consecutive failures after which a receiver gets only one message at a time. Failures of simultaneous tries
 * count as one, because one broken connection fails all of them.
 */
const CIRCUIT_FAILURES = 5
/** Pause in milliseconds before each of these single tries, until a message is accepted. */
const CIRCUIT_PAUSE_MS = 30_000
/** HTTP status of a receiver that does not accept messages any more. */
const GONE = 410

/** Version of the body for HANDOFF_URL; `schema/handoff.schema.json` describes the handoff packet in this body. */
const HANDOFF_POST_VERSION = 1

/**
 * Messages to receivers. Each message is sent at least once, with one id for all tries. Messages of one call to one
 * receiver are sent in order.
 *
 * A message is written to a file before `add` resolves. The file is deleted after a receiver has accepted the message.
 * If the process dies, the next process sends the message, perhaps a second time. In a fleet, messages are in the
 * store, and any node may take them (`SharedOutbox`). The node that added a message has a copy on its disk (`Copies`).
 *
 * A file's name begins with the call's SID, so that erasure and retention in `telemetry/archive` find the file. A
 * message whose file was deleted is not sent. A change of state only renames the file, so that it cannot restore an
 * erased message. Bodies are not kept in memory.
 */
export class Outbox {
  readonly counts: ReadonlyMap<string, Record<Result, number>>
  /** Number of failed writes to the disk or to the store of the fleet. */
  faults = 0
  readonly #options: OutboxOptions
  readonly #delivery: Delivery
  readonly #closing = new AbortController()
  readonly #later: (ms: number, run: () => void) => void
  readonly #disk: Disk
  /** Copies of this node's messages; null without a fleet. */
  readonly #copies: Copies | null
  /** State of the receivers, by URL. */
  readonly #lines = new Map<string, ReceiverState>()
  /** Messages of each call to each URL, oldest first. */
  readonly #queues = new Map<string, Waiting[]>()
  /** All waiting messages, by key. At most WAITING_MAX. */
  readonly #waiting = new Map<string, Waiting>()
  /** Dead messages by key, oldest first. At most DEAD_MAX. */
  readonly #dead = new Map<string, Waiting>()
  readonly #active = new Set<Promise<void>>()
  #order = 0
  /** Running search for messages of the fleet; null without a running search. */
  #looking: Promise<void> | null = null
  /** True if another search must follow the running search. */
  #looksAgain = false
  #looks = 0
  /** Calendar time since which the fleet's store has not answered; null if the store answers. */
  #downSinceMs: number | null = null
  /** Calendar time of the last check of this node's copies at the store. */
  #copiesSeenMs = -Infinity
  /** True if the store may have assigned messages to this node in the last search without this node's knowledge. */
  #missed = false
  #lookTimer: NodeJS.Timeout | null = null

  private constructor(options: OutboxOptions) {
    this.#options = options
    this.#delivery = new Delivery(options)
    this.#later = options.later ?? unrefTimer
    this.#disk = options.disk ?? REAL_DISK
    const { shared = null } = options
    this.#copies =
      shared === null
        ? null
        : new Copies({
            ...{ shared, disk: this.#disk, queueOf: sharedQueueOf },
            onFault: (thrown) => this.#fault(thrown),
            onRestored: (entry) => this.#count(entry, 'restored'),
          })
    this.counts = new Map(
      [...options.receivers.map(({ name }) => name), HANDOFF_RECEIVER, NUMBERS_LABEL].map((name) => [
        name,
        { delivered: 0, retried: 0, dead: 0, dropped: 0, erased: 0, lost: 0, restored: 0 },
      ]),
    )
  }

  /** Reads messages of earlier processes, and begins to send these messages. @throws errors of the file system */
  static async open(options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(options)
    for (const folder of options.folders) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const names = await readdir(folder)
      for (let i = 0; i < names.length; i += READ_AT_ONCE)
        await Promise.all(names.slice(i, i + READ_AT_ONCE).map((name) => outbox.#found(folder, name)))
    }
    const found = [...outbox.#waiting.values()].sort((a, b) => a.order - b.order)
    outbox.#order = found.at(-1)?.order ?? 0
    for (const entry of found) outbox.#enqueue(entry)
    if (outbox.#shared !== null) {
      outbox.#lookTimer = setInterval(() => void outbox.#look(), options.lookMs ?? SHARED_LOOK_MS).unref()
      void outbox.#look()
    }
    return outbox
  }

  get waiting(): number {
    return this.#waiting.size
  }

  get dead(): number {
    return this.#dead.size
  }

  /** Waiting time of the oldest message, in milliseconds; 0 without a waiting message. */
  get oldestMs(): number {
    const oldest = this.#waiting.values().next()
    return oldest.done === true ? 0 : Math.max(0, this.#options.wallClock() - oldest.value.order)
  }

  /** True if at least one receiver gets this message. */
  wanted(message: Message): boolean {
    return this.#delivery.receiversOf(message).length > 0
  }

  /** Adds a message. Resolves when the message is on the disk for each of its receivers; never rejects. */
  async add(message: Message): Promise<void> {
    await Promise.all(
      this.#delivery
        .receiversOf(message)
        .map(([name, receiver]) => this.#add(message, name, null, bodyOf(receiver, message, this.#options.source))),
    )
  }

  /**
   * Adds a message for HANDOFF_URL, or for an agent's own webhook.
   * @param url  the agent's webhook; null for HANDOFF_URL. If HANDOFF_URL is not set, the message is dropped
   */
  async addHandoff(message: Message, url: string | null): Promise<void> {
    if (url === null && this.#options.handoff.url === null) return
    const { id, callSid, data: handoff } = message
    const kind = message.type.replace(/^escalation\./, 'handoff.')
    const body = JSON.stringify({ version: HANDOFF_POST_VERSION, kind, id, callSid, handoff })
    await this.#add(message, HANDOFF_RECEIVER, url, { type: 'application/json', body })
  }

  /**
   * Returns a list of messages, the oldest first: dead messages (in a fleet, of all nodes), then messages that wait on
   * this node.
   * @param of  calls whose messages are listed
   */
  async list(max: number, of?: ReadonlySet<string>): Promise<readonly MessageView[]> {
    const dead = (await this.#ofFleet((shared) => shared.dead(of === undefined ? max : DEAD_MAX))) ?? []
    return [...dead.map((each) => waitingOf(each)), ...this.#dead.values(), ...this.#waiting.values()]
      .filter(({ callSid }) => of === undefined || of.has(callSid))
      .slice(0, max)
      .map(viewOf)
  }

  /**
   * Tries a message again. A waiting message is tried at once. A dead message waits again, and its tries are counted
   * from 0.
   * @returns false if the key is unknown
   */
  async retry(key: string): Promise<boolean> {
    const dead = this.#dead.get(key)
    if (dead !== undefined) {
      this.#dead.delete(key)
      this.#waiting.set(key, dead)
      this.#line(dead).gone = false
      await this.#move(dead, { tries: 0, dueMs: this.#options.wallClock(), dead: null })
      this.#enqueue(dead)
      return true
    }
    const waiting = this.#waiting.get(key)
    if (waiting === undefined) return this.#revive(key)
    waiting.restsUntilMs = 0
    await this.#move(waiting, { dueMs: this.#options.wallClock() })
    this.#enqueueIfHead(waiting)
    return true
  }

  /** Makes a dead message of the fleet a new message, which any node may take. */
  async #revive(key: string): Promise<boolean> {
    const entry = (await this.#ofFleet((shared) => shared.revive(key, sharedQueueOf))) ?? null
    if (entry === null) return false
    this.#line(entry).gone = false
    await this.#look()
    return true
  }

  /**
   * Removes the messages of these calls from memory and from the fleet's store. The erasure of the calls deletes the
   * files.
   */
  async forget(callSids: readonly string[]): Promise<void> {
    const wanted = new Set(callSids)
    for (const index of [this.#waiting, this.#dead])
      for (const [key, { callSid }] of index) if (wanted.has(callSid)) index.delete(key)
    for (const [name, queue] of this.#queues) if (wanted.has(queue[0]?.callSid ?? '')) this.#queues.delete(name)
    this.#copies?.forget(wanted)
    await this.#shared?.forget(callSids, sharedQueueOf)
  }

  /**
   * Waits at most `waitMs` for messages that are being sent. The next process sends the messages on the disk. Messages
   * may be added even after this, if a call's end is settled late.
   */
  async close(waitMs: number): Promise<void> {
    if (this.#lookTimer !== null) clearInterval(this.#lookTimer)
    const timer = setTimeout(() => this.#closing.abort(), waitMs)
    while (this.#active.size > 0 && !this.#closing.signal.aborted) await Promise.all(this.#active)
    clearTimeout(timer)
    this.#closing.abort()
    await Promise.all([...this.#active, this.#looking])
    this.#delivery.close()
    for (const entry of this.#waiting.values()) if (entry.body !== null) this.#lost(entry, 'the process ends')
  }

  async #found(folder: string, name: string): Promise<void> {
    const state = /^([A-Za-z0-9_-]{1,64}\.[0-9a-f]{24})\.(\d+)\.(\d+)\.([^.]*)\.json$/.exec(name)
    try {
      // A `.part` file is left from a process that died during the write, so its message was never added.
      if (name.endsWith('.part')) await this.#disk.remove(join(folder, name))
      if (state === null) return
      const [, key = '', tries, dueMs, reason = ''] = state
      const { version: _, body: __, ...rest } = entrySchema.parse(JSON.parse(await this.#disk.read(join(folder, name))))
      const dead = reason === '' ? null : decodeURIComponent(reason)
      const entry: Waiting = {
        ...rest,
        home: { folder },
        stored: this.#shared === null ? 'no' : 'perhaps',
        restsUntilMs: 0,
        key,
        tries: Number(tries),
        dueMs: Number(dueMs),
        dead,
        body: null,
      }
      if (dead !== null) this.#dead.set(key, entry)
      else if (this.#delivery.urlOf(entry) === null) await this.#giveUp(entry, 'no receiver of that name')
      else this.#waiting.set(key, entry)
    } catch (thrown) {
      this.#fault(thrown)
    }
  }

  async #add(
    message: Message,
    receiver: string,
    url: string | null,
    { type: contentType, body }: ReturnType<typeof bodyOf>,
  ): Promise<void> {
    const { id, type, callSid } = message
    const { wallClock, folders } = this.#options
    const nowMs = wallClock()
    const key = `${callSid}.${createHash('sha256').update(`${receiver}\n${id}`).digest('hex').slice(0, 24)}`
    // The message may have been added before, by an earlier process that had begun to end the call.
    if (this.#waiting.has(key) || this.#dead.has(key)) return
    const [folder] = folders
    this.#order = Math.max(nowMs, this.#order + 0.001)
    const fixed = { id, receiver, url, type, callSid, order: this.#order, contentType }
    const entry: Waiting = {
      ...fixed,
      key,
      home: null,
      stored: 'no',
      restsUntilMs: 0,
      tries: 0,
      dueMs: nowMs,
      dead: null,
      body,
    }
    const whole: Entry = { version: 1, ...fixed, body }
    // If an older message of the call waits only on this node, the new message also waits here, because the store could
    // not keep the order.
    const older = this.#queues.get(queueOf(entry, this.#delivery.urlOf(entry)))
    if (this.#shared !== null && older?.some(({ home }) => home !== 'fleet') !== true) {
      const path = folder === undefined ? null : pathOf(folder, entry)
      const isWritten = path !== null && (await this.#copies?.write(path, whole)) === true
      const added = await this.#ofFleet((shared) => shared.add(key, sharedQueueOf(entry), whole))
      if (isWritten && added !== null) this.#copies?.keep(key, path)
      if (added === 'full') {
        await this.#copies?.remove(key)
        return this.#lost(entry, 'too many wait')
      }
      // The node that searches next sends the message. This node usually finds it at once.
      if (added !== null) return void this.#look()
      if (this.#waiting.has(key)) {
        if (isWritten) this.#copies?.keep(key, path)
        return
      }
      // The store has not answered, so the message is only in its file.
      if (isWritten && folder !== undefined) Object.assign(entry, { home: { folder }, body: null })
    }
    if (this.#waiting.size >= WAITING_MAX) return this.#lost(entry, 'too many wait')
    if (this.#shared !== null) entry.stored = 'perhaps'
    this.#waiting.set(key, entry)
    if (folder !== undefined && entry.home === null) {
      try {
        await this.#disk.write(pathOf(folder, entry), JSON.stringify(whole))
        entry.home = { folder }
        entry.body = null
      } catch (thrown) {
        this.#fault(thrown)
      }
    }
    if (this.#closing.signal.aborted && entry.home === null) return this.#lost(entry, 'the process ends')
    this.#enqueue(entry)
  }

  get #shared(): SharedOutbox | null {
    return this.#options.shared ?? null
  }

  /** Asks the fleet's store. Returns null without a fleet, or if the store cannot be reached. */
  async #ofFleet<T>(ask: (shared: SharedOutbox) => Promise<T>): Promise<T | null> {
    if (this.#shared === null) return null
    try {
      const answer = await ask(this.#shared)
      this.#downSinceMs = null
      return answer
    } catch (thrown) {
      this.#downSinceMs ??= this.#options.wallClock()
      this.#fault(thrown)
      return null
    }
  }

  /** Takes messages of the fleet. One search runs at a time. */
  #look(): Promise<void> {
    this.#looksAgain = true
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  async #lookOnce(): Promise<void> {
    // The store is not asked before this process has joined the fleet. The first search then claims messages of earlier
    // processes of this node.
    if (this.#shared?.isJoined === false) return
    let claims = this.#looks++ % CLAIM_EACH === 0 || this.#missed
    while (this.#looksAgain && !this.#closing.signal.aborted && this.#waiting.size < WAITING_MAX) {
      this.#looksAgain = false
      const claimed = claims ? await this.#ofFleet((shared) => shared.claim(this.#held)) : []
      const fresh = await this.#ofFleet((shared) => shared.take())
      // A failed operation may still have assigned messages to this node.
      this.#missed = claimed === null || fresh === null
      for (const each of [...(claimed ?? []), ...(fresh ?? [])]) await this.#taken(waitingOf(each))
      if (fresh !== null) await this.#lookAtCopies()
      // After a claim, another search follows, because the store may have further messages.
      claims = (claimed ?? []).length > 0
      if (claims || (fresh ?? []).length > 0) this.#looksAgain = true
    }
  }

  async #lookAtCopies(): Promise<void> {
    const { wallClock, lookMs = SHARED_LOOK_MS } = this.#options
    if (wallClock() - this.#copiesSeenMs < lookMs) return
    this.#copiesSeenMs = wallClock()
    await this.#ofFleet(() => this.#copies?.look() ?? Promise.resolve())
  }

  async #taken(entry: Waiting): Promise<void> {
    const { key } = entry
    const here = this.#waiting.get(key)
    if (here === undefined && !this.#dead.has(key)) {
      this.#waiting.set(key, entry)
      return this.#enqueue(entry)
    }
    // If the message is also on this node's disk, the message on the disk is sent. Then both are removed.
    if (here === undefined) await this.#ofFleet((shared) => shared.remove(key, sharedQueueOf(entry)))
    else here.stored = 'yes'
  }

  /** Entries that this node has taken from the store. */
  get #held(): Held {
    const [waiting, dead] = [this.#waiting, this.#dead]
    let size = 0
    for (const { stored } of waiting.values()) if (stored === 'yes') size++
    return { size, has: (key) => waiting.has(key) || dead.has(key) }
  }

  #enqueue(entry: Waiting): void {
    const name = queueOf(entry, this.#delivery.urlOf(entry))
    const queue = this.#queues.get(name)
    if (queue === undefined) this.#queues.set(name, [entry])
    else {
      // The queue is sorted by age, because an entry from another node may be older than the entries here.
      const later = queue.findIndex(({ order }) => order > entry.order)
      queue.splice(later < 0 ? queue.length : later, 0, entry)
    }
    this.#enqueueIfHead(entry)
  }

  /**
   * Tries the message when it is due, if it is the oldest of its call. Later messages of the call wait until it is
   * over.
   */
  #enqueueIfHead(entry: Waiting): void {
    const isHead = (): boolean => this.#queues.get(queueOf(entry, this.#delivery.urlOf(entry)))?.[0] === entry
    if (!isHead()) return
    const waitMs = Math.max(entry.dueMs, entry.restsUntilMs) - this.#options.wallClock()
    const ready = (): void => {
      const line = this.#line(entry)
      if (!isHead() || line.sending.has(entry)) return
      line.ready.add(entry)
      this.#send(line)
    }
    if (waitMs <= 0) ready()
    else this.#later(waitMs, ready)
  }

  #send(line: ReceiverState): void {
    for (const entry of line.ready) {
      if (this.#closing.signal.aborted) return
      const broken = line.failures >= CIRCUIT_FAILURES
      if (line.sending.size >= (broken ? 1 : SENDING_MAX) || line.paused) return
      const waitMs = line.closedUntilMs - this.#options.wallClock()
      if (broken && waitMs > 0) {
        line.paused = true
        this.#later(waitMs, () => {
          line.paused = false
          this.#send(line)
        })
        return
      }
      line.ready.delete(entry)
      line.sending.add(entry)
      const trying = this.#try(entry, line).finally(() => {
        this.#active.delete(trying)
        this.#send(line)
      })
      this.#active.add(trying)
    }
  }

  async #try(entry: Waiting, line: ReceiverState): Promise<void> {
    const next = await this.#result(entry, line)
    line.sending.delete(entry)
    if (next === 'again') this.#enqueueIfHead(entry)
    else if (next === 'over') this.#next(entry)
  }

  /** @returns `kept` if the process ends; the next process then sends the message */
  async #result(entry: Waiting, line: ReceiverState): Promise<'over' | 'again' | 'kept'> {
    const { wallClock, lookMs = SHARED_LOOK_MS } = this.#options
    const url = this.#delivery.urlOf(entry)
    let body: string | null
    try {
      const next = await this.#body(entry)
      if (next === 'later') {
        entry.restsUntilMs = wallClock() + lookMs
        return 'again'
      }
      body = next.body
    } catch (thrown) {
      this.#fault(thrown)
      entry.restsUntilMs = wallClock() + (entry.home === 'fleet' ? lookMs : (PAUSES_MS[0] ?? 0))
      return 'again'
    }
    const belongs = entry.home !== 'fleet' && entry.stored !== 'no' && entry.tries === 0
    if (body !== null && belongs && (await this.#givenBack(entry, body))) return 'over'
    if (body !== null && belongs && !this.#alone) {
      entry.restsUntilMs = wallClock() + lookMs
      return 'again'
    }
    if (body === null && entry.home === 'fleet' && (await this.#options.forgotten?.()) === true) {
      // The message is not lost: the node that added it has a copy and adds it again.
      if (this.#isCopied) return 'over'
      this.#options.onLost?.(1)
      return this.#settle(entry, 'lost')
    }
    // Without a body, the message was erased, expired, or was sent by another node.
    if (body === null) return this.#settle(entry, 'erased')
    if (url === null) return this.#giveUp(entry, 'no receiver of that name')
    if (line.gone) return this.#giveUp(entry, `answered ${GONE} before`)
    const { failures } = line
    const fault = await this.#delivery.post(url, { version: 1, ...entry, body }, this.#closing.signal)
    if (fault === null) {
      line.failures = 0
      return this.#settle(entry, 'delivered')
    }
    if (fault.status === GONE) line.gone = true
    if (fault.final) return this.#giveUp(entry, fault.why)
    // A try that was interrupted by the end of the process does not count.
    if (this.#closing.signal.aborted) return 'kept'
    // A fault of the receiver itself stops all its messages for a while. Otherwise only the refused message waits.
    if (fault.busy) {
      if (line.failures === failures) line.failures++
      line.closedUntilMs = wallClock() + CIRCUIT_PAUSE_MS
    }
    const pauseMs = PAUSES_MS[entry.tries]
    if (pauseMs === undefined) return this.#giveUp(entry, fault.why)
    this.#count(entry, 'retried')
    const spreadMs = pauseMs * (1 + PAUSE_RANDOM_SHARE * (Math.random() - 0.5))
    const dueMs = Math.round(wallClock() + Math.max(spreadMs, fault.retryAfterMs))
    await this.#move(entry, { tries: entry.tries + 1, dueMs })
    return 'again'
  }

  /**
   * Gives a message to the store, if the store answers again. The store needs all messages of the call, because it
   * keeps their order.
   */
  async #givenBack(entry: Waiting, body: string): Promise<boolean> {
    const { id, receiver, url, type, callSid, order, contentType, key, home } = entry
    const whole: Entry = { version: 1, ...{ id, receiver, url, type, callSid, order, contentType, body } }
    const [state] = (await this.#ofFleet((shared) => shared.states([key]))) ?? []
    if (state === undefined) return false
    const path = home !== null && home !== 'fleet' ? pathOf(home.folder, entry) : null
    if (state === 'over' || state === 'dead') {
      // Another node has handled the message while this node was not connected.
      if (path !== null) await this.#onDisk(this.#disk.remove(path))
      return true
    }
    const added = await this.#ofFleet((shared) => shared.add(key, sharedQueueOf(entry), whole))
    if (added === null || added === 'full') return false
    if (path !== null) this.#copies?.keep(key, path)
    // The store may have assigned the message to this node before.
    this.#missed = true
    setImmediate(() => void this.#look())
    return true
  }

  get #alone(): boolean {
    const { wallClock, aloneAfterMs = ALONE_AFTER_MS } = this.#options
    return this.#downSinceMs !== null && wallClock() - this.#downSinceMs >= aloneAfterMs
  }

  /**
   * True if messages have copies on disks. A message that the store loses is then still on the disk of the node that
   * added it.
   */
  get #isCopied(): boolean {
    return this.#options.folders.length > 0
  }

  /**
   * Drops messages that were taken from the store, because the store has lost its data. Each node adds its own messages
   * again.
   */
  storeForgot(): void {
    // A message that is being sent is kept, because its try may succeed.
    const lost = [...this.#waiting.values()].filter(
      (entry) => entry.home === 'fleet' && !this.#line(entry).sending.has(entry),
    )
    for (const entry of lost) {
      if (!this.#isCopied) this.#count(entry, 'lost')
      this.#line(entry).ready.delete(entry)
    }
    const left = lost.map((entry) => this.#drop(entry))
    for (const next of left) if (next !== undefined && this.#waiting.has(next.key)) this.#enqueueIfHead(next)
    if (!this.#isCopied) this.#options.onLost?.(lost.length)
    this.#copiesSeenMs = -Infinity
    void this.#look()
  }

  async #settle(entry: Waiting, result: 'delivered' | 'erased' | 'lost'): Promise<'over'> {
    this.#count(entry, result)
    await this.#remove(entry)
    return 'over'
  }

  async #giveUp(entry: Waiting, why: string): Promise<'over'> {
    this.#count(entry, 'dead')
    const { callSid, receiver, type } = entry
    this.#options.log.error(
      { call_sid: callSid, receiver, type, reason: why },
      'a message was not accepted, and is not tried again',
    )
    if (entry.home === 'fleet') {
      const dropped = await this.#ofFleet((shared) => shared.bury(entry.key, sharedQueueOf(entry), why))
      for (let i = 0; i < (dropped ?? 0); i++) this.#count(entry, 'dropped')
      await this.#copies?.remove(entry.key)
      return 'over'
    }
    if (entry.stored !== 'no') await this.#ofFleet((shared) => shared.remove(entry.key, sharedQueueOf(entry)))
    await this.#move(entry, { dead: why })
    this.#dead.set(entry.key, entry)
    const [oldest] = this.#dead.values()
    if (this.#dead.size > DEAD_MAX && oldest !== undefined) {
      this.#dead.delete(oldest.key)
      this.#count(oldest, 'dropped')
      await this.#remove(oldest)
    }
    return 'over'
  }

  /** Removes a message, and starts the next message of its call. */
  #next(entry: Waiting): void {
    const next = this.#drop(entry)
    if (next !== undefined) this.#enqueueIfHead(next)
  }

  /** Removes a waiting message. @returns the next message of its call */
  #drop(entry: Waiting): Waiting | undefined {
    this.#waiting.delete(entry.key)
    const name = queueOf(entry, this.#delivery.urlOf(entry))
    const queue = this.#queues.get(name)
    const at = queue?.indexOf(entry) ?? -1
    if (at >= 0) queue?.splice(at, 1)
    const [next] = queue ?? []
    if (next === undefined) this.#queues.delete(name)
    return next
  }

  #lost(entry: Waiting, why: string): void {
    this.#waiting.delete(entry.key)
    this.#count(entry, 'dropped')
    const { callSid, receiver, type } = entry
    this.#options.log.error({ call_sid: callSid, receiver, type, reason: why }, 'a message was dropped')
  }

  /**
   * Reads a body from the store (like `SharedOutbox.next`), from the disk or from memory.
   * @throws errors of the disk or the store
   */
  async #body(entry: Waiting): ReturnType<SharedOutbox['next']> {
    const { home, body, key } = entry
    if (home === null) return { body }
    if (home === 'fleet') return this.#shared?.next(key, sharedQueueOf(entry)) ?? { body: null }
    try {
      return entrySchema.parse(JSON.parse(await this.#disk.read(pathOf(home.folder, entry))))
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return { body: null }
      throw thrown
    }
  }

  /** Changes the state of an entry, and the name of its file. */
  async #move(entry: Waiting, change: Partial<Pick<Waiting, 'tries' | 'dueMs' | 'dead'>>): Promise<void> {
    const { home, key } = entry
    const before = { ...entry }
    Object.assign(entry, change)
    if (home === 'fleet') await this.#ofFleet((shared) => shared.tried(key, entry.tries, entry.dueMs))
    else if (home !== null) await this.#onDisk(this.#disk.move(pathOf(home.folder, before), pathOf(home.folder, entry)))
  }

  async #remove(entry: Waiting): Promise<void> {
    const { home, stored, key } = entry
    if (stored !== 'no') await this.#ofFleet((shared) => shared.remove(key, sharedQueueOf(entry)))
    await this.#copies?.remove(key)
    if (home !== null && home !== 'fleet') await this.#onDisk(this.#disk.remove(pathOf(home.folder, entry)))
  }

  /** Waits for a change on the disk and reports its fault. A missing file is not a fault, because it was erased. */
  async #onDisk(done: Promise<void>): Promise<void> {
    try {
      await done
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') this.#fault(thrown)
    }
  }

  #fault(thrown: unknown): void {
    this.faults++
    if (this.faults === 1) this.#options.log.error({ reason: messageOf(thrown) }, 'a message could not be kept')
  }

  #count(entry: Pick<Entry, 'receiver'>, result: Result): void {
    const counts = this.counts.get(entry.receiver.includes('/') ? NUMBERS_LABEL : entry.receiver)
    if (counts !== undefined) counts[result]++
  }

  #line(entry: Pick<Waiting, 'url' | 'receiver'>): ReceiverState {
    const url = this.#delivery.urlOf(entry) ?? ''
    const known = this.#lines.get(url)
    if (known !== undefined) return known
    const line: ReceiverState = {
      ready: new Set(),
      sending: new Set(),
      failures: 0,
      closedUntilMs: 0,
      paused: false,
      gone: false,
    }
    this.#lines.set(url, line)
    return line
  }
}

/** Location of an entry: a folder, the fleet's store, or only memory (null). */
type Home = { readonly folder: string } | 'fleet' | null

/** A message in a list, without words or phone numbers. */
export const messageViewSchema = z.object({
  key: z.string().describe('Key of this message for this receiver, for the command retry.'),
  id: z.string().describe('`webhook-id`, as the receiver gets it.'),
  type: z.string(),
  receiver: z.string(),
  callSid: z.string(),
  tries: z.int().min(0).describe('Number of failed tries.'),
  /** Time of the next try, ISO 8601; null if the message is not tried any more. */
  nextTryAt: z.string().nullable(),
  reason: z.string().nullable().describe('Reason why the message is not tried again; null while it is tried.'),
})
export type MessageView = DocumentOf<typeof messageViewSchema>

export interface OutboxOptions extends DeliveryOptions {
  /**
   * Folders of messages; new messages are stored in the first folder. Without a folder, messages are only in memory and
   * are lost when the process ends.
   */
  readonly folders: readonly string[]
  /** Store of the fleet; absent or null without a fleet. New messages are stored there, with a copy in the folder. */
  readonly shared?: SharedOutbox | null
  /** `source` of the CloudEvents: the name of this gateway. */
  readonly source: string
  /** Resolves to true if the fleet's store has just lost its data. If absent, the store never loses its data. */
  readonly forgotten?: () => Promise<boolean>
  /** Called with the number of messages that are lost, because only the store had them. */
  readonly onLost?: (count: number) => void
  readonly log: Log
  /** Timer for tests. By default a real timer is used that does not keep the process alive. */
  readonly later?: (ms: number, run: () => void) => void
  /** Disk for tests. By default the real disk is used. */
  readonly disk?: Disk
  /** Time between two searches in milliseconds, for tests. @defaultValue 1 s */
  readonly lookMs?: number
  /** For tests. @defaultValue ALONE_AFTER_MS */
  readonly aloneAfterMs?: number
}

/** Results of messages and of tries that are counted. */
export const RESULTS = ['delivered', 'retried', 'dead', 'dropped', 'erased', 'lost', 'restored'] as const
type Result = (typeof RESULTS)[number]

const REAL_DISK: Disk = {
  write: writeWhole,
  read: (path) => readFile(path, 'utf8'),
  move: rename,
  remove: unlink,
}

/** Returns the path of an entry's file. The reason in the file's name is encoded, so that it contains no full stops. */
function pathOf(
  folder: string,
  { key, tries, dueMs, dead }: Pick<Waiting, 'key' | 'tries' | 'dueMs' | 'dead'>,
): string {
  const reason = encodeURIComponent(dead ?? '').replaceAll('.', '%2E')
  return join(folder, `${key}.${tries}.${dueMs}.${reason}.json`)
}

function queueOf({ callSid }: Waiting, url: string | null): string {
  return `${callSid} ${url ?? ''}`
}

/** Returns the name of a queue in the fleet's store. The name must not contain a URL. */
function sharedQueueOf({ callSid, receiver, url }: Pick<Entry, 'callSid' | 'receiver' | 'url'>): string {
  return `${callSid}.${createHash('sha256')
    .update(`${receiver}\n${url ?? ''}`)
    .digest('hex')
    .slice(0, 24)}`
}

function waitingOf({ key, entry, tries, dueMs, dead }: SharedEntry): Waiting {
  const { version: _, body: __, ...rest } = entry
  return { ...rest, key, home: 'fleet', stored: 'yes', restsUntilMs: 0, tries, dueMs, dead, body: null }
}

function viewOf(entry: Waiting): MessageView {
  const { key, id, type, receiver, callSid, tries, dueMs, dead } = entry
  const nextTryAt = dead === null ? new Date(dueMs).toISOString() : null
  return { key, id, type, receiver, callSid, tries, nextTryAt, reason: dead }
}

/** An entry in memory, without its body. Its file's name is `<call>.<hash>.<tries>.<due>.<reason>.json`. */
interface Waiting extends Omit<Entry, 'body' | 'version'> {
  home: Home
  /**
   * `yes`: the fleet's store has the message and has assigned it to this node. `perhaps`: this is unknown, because the
   * store's answer was lost or late.
   */
  stored: 'yes' | 'no' | 'perhaps'
  /** Beginning of the file's name. It never changes. */
  readonly key: string
  tries: number
  /** Calendar time of the next try. */
  dueMs: number
  /**
   * Calendar time before which the message is not tried, because the disk or the store did not answer or an older
   * message is not sent yet. It is not in the file's name.
   */
  restsUntilMs: number
  /** Reason why the message is not tried any more; null while it is tried. */
  dead: string | null
  /** Body of the message if it is only in memory; null otherwise. */
  body: string | null
}

/** State of one URL: its failures, and the messages that are being sent to it. */
interface ReceiverState {
  /** Due messages; each is the oldest message of its call. */
  readonly ready: Set<Waiting>
  readonly sending: Set<Waiting>
  failures: number
  /** Calendar time before which messages are not tried. */
  closedUntilMs: number
  /** True while a timer for `closedUntilMs` runs. */
  paused: boolean
  /** True if the URL answered 410. */
  gone: boolean
}
