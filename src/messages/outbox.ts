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

/** Messages that wait, of all receivers; one more is dropped and counted. A thousand calls a minute for an hour and a half. */
const WAITING_MAX = 100_000
/** Messages that nobody took; beyond, the oldest is deleted and counted. */
const DEAD_MAX = 10_000
/** Files of earlier runs that are read at once. */
const READ_AT_ONCE = 64
/** How often this node looks for messages in the fleet's store, and, each fifth time, for those of nodes that are gone. */
const SHARED_LOOK_MS = 1000
const CLAIM_EACH = 5
/** A store that has been away for this long is waited for no more: messages go out from the disk, and may pass older ones. */
const ALONE_AFTER_MS = 10_000
/** Messages that are on the way to one receiver at once. */
const SENDING_MAX = 8
/** Pauses before the second and every later try, of which a fifth is random: a day and a half in all. */
const PAUSES_MS: readonly number[] = [5, 60, 300, 1800, 7200, 28_800, 86_400].map((seconds) => seconds * 1000)
const PAUSE_RANDOM_SHARE = 0.2
/**
 * Failures in a row after which one message alone is tried, again after this pause, until one is taken. Tries that were under
 * way together are one failure: what broke one connection has broken all of them.
 */
const CIRCUIT_FAILURES = 5
const CIRCUIT_PAUSE_MS = 30_000
/** The receiver will not take anything any more. */
const GONE = 410

/** Version of the body that HANDOFF_URL gets; `schema/handoff.schema.json` describes the handoff in it. */
const HANDOFF_POST_VERSION = 1

/**
 * Messages to receivers: at least once each, the same id with every try, in order for each call and receiver.
 *
 * In a fleet a message is in its store, from which any node takes it (`SharedOutbox`), and the node that added it has a copy
 * on its disk (`Copies`); otherwise it is on the disk alone.
 *
 * A message is a file from before `add` resolves until a receiver has taken it, so a process that dies at any moment sends
 * it after its next start; one that died between a receiver's answer and the end of the file sends it twice. The file's
 * name begins with the call's SID: erasure and retention of `telemetry/archive` find it, and a file that is gone is sent no
 * more. What changes is in the name, so that no write brings back what was erased meanwhile. Bodies are not kept in memory.
 */
export class Outbox {
  readonly counts: ReadonlyMap<string, Record<Result, number>>
  /** Writes that failed, to the disk or to the store of the fleet. */
  faults = 0
  readonly #options: OutboxOptions
  readonly #delivery: Delivery
  readonly #closing = new AbortController()
  readonly #later: (ms: number, run: () => void) => void
  readonly #disk: Disk
  /** Null without a fleet. */
  readonly #copies: Copies | null
  /** By URL. */
  readonly #lines = new Map<string, ReceiverState>()
  /** Messages of one call to one URL, oldest first. */
  readonly #queues = new Map<string, Waiting[]>()
  /** All that waits, by key. At most WAITING_MAX. */
  readonly #waiting = new Map<string, Waiting>()
  /** By key, oldest first. At most DEAD_MAX. */
  readonly #dead = new Map<string, Waiting>()
  readonly #active = new Set<Promise<void>>()
  #order = 0
  /** A look for messages of the fleet that is under way, whether another follows it, and how many there were. */
  #looking: Promise<void> | null = null
  #looksAgain = false
  #looks = 0
  /** Since when the store of the fleet has not answered; calendar time. */
  #downSinceMs: number | null = null
  /** When the store was last asked for this node's copies; calendar time. */
  #copiesSeenMs = -Infinity
  /** True if this node may have taken more last time than it knows. */
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

  /** Reads what earlier runs left, and begins to send it. @throws what the file system throws */
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

  /** How long the oldest message has waited, in ms; 0 without one. */
  get oldestMs(): number {
    const oldest = this.#waiting.values().next()
    return oldest.done === true ? 0 : Math.max(0, this.#options.wallClock() - oldest.value.order)
  }

  /** True if a receiver wants it. */
  wanted(message: Message): boolean {
    return this.#delivery.receiversOf(message).length > 0
  }

  /** Resolves when the message is on the disk for everybody who wants it; never rejects. */
  async add(message: Message): Promise<void> {
    await Promise.all(
      this.#delivery
        .receiversOf(message)
        .map(([name, receiver]) => this.#add(message, name, null, bodyOf(receiver, message, this.#options.source))),
    )
  }

  /**
   * The same to HANDOFF_URL, or to an agent's own webhook.
   * @param url  the agent's own; null: HANDOFF_URL, and nobody where that is not set
   */
  async addHandoff(message: Message, url: string | null): Promise<void> {
    if (url === null && this.#options.handoff.url === null) return
    const { id, callSid, data: handoff } = message
    const kind = message.type.replace(/^escalation\./, 'handoff.')
    const body = JSON.stringify({ version: HANDOFF_POST_VERSION, kind, id, callSid, handoff })
    await this.#add(message, HANDOFF_RECEIVER, url, { type: 'application/json', body })
  }

  /**
   * Dead ones first, in a fleet of all its nodes, then those that wait here; oldest first.
   * @param of  of these calls alone
   */
  async list(max: number, of?: ReadonlySet<string>): Promise<readonly MessageView[]> {
    const dead = (await this.#ofFleet((shared) => shared.dead(of === undefined ? max : DEAD_MAX))) ?? []
    return [...dead.map((each) => waitingOf(each)), ...this.#dead.values(), ...this.#waiting.values()]
      .filter(({ callSid }) => of === undefined || of.has(callSid))
      .slice(0, max)
      .map(viewOf)
  }

  /**
   * Tries a dead message again, from the first try on, or one that waits at once.
   * @returns false where there is none of that key
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

  /** A dead one of the fleet is new again, for any node. */
  async #revive(key: string): Promise<boolean> {
    const entry = (await this.#ofFleet((shared) => shared.revive(key, sharedQueueOf))) ?? null
    if (entry === null) return false
    this.#line(entry).gone = false
    await this.#look()
    return true
  }

  /**
   * Forgets what these calls have in memory and in the store of the fleet; their files are erased by whoever erases the
   * call.
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
   * Waits at most `waitMs` for what is on its way. What is on the disk goes on after the next start, and so does what is added
   * from now on: a call's end may be settled after this.
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
      // A write that a death cut off: its message was never added.
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
    // The same message again: the record of a call that another run had begun to end.
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
    // A message that waits here for the same receiver is older, and unknown to the store.
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
      // Whoever looks first sends it, most often this node at once.
      if (added !== null) return void this.#look()
      if (this.#waiting.has(key)) {
        if (isWritten) this.#copies?.keep(key, path)
        return
      }
      // The store has not answered: the file is the message.
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

  /** Null without a fleet, or while its store cannot be reached. */
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

  /** Takes messages of the fleet, one look at a time. */
  #look(): Promise<void> {
    this.#looksAgain = true
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  async #lookOnce(): Promise<void> {
    // Its first look claims what its earlier runs had, and says nothing of a store that nobody has asked.
    if (this.#shared?.isJoined === false) return
    let claims = this.#looks++ % CLAIM_EACH === 0 || this.#missed
    while (this.#looksAgain && !this.#closing.signal.aborted && this.#waiting.size < WAITING_MAX) {
      this.#looksAgain = false
      const claimed = claims ? await this.#ofFleet((shared) => shared.claim(this.#held)) : []
      const fresh = await this.#ofFleet((shared) => shared.take())
      // One that failed may have taken messages all the same.
      this.#missed = claimed === null || fresh === null
      for (const each of [...(claimed ?? []), ...(fresh ?? [])]) await this.#taken(waitingOf(each))
      if (fresh !== null) await this.#lookAtCopies()
      // There may be more.
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
    // It is on the disk of this node too: that one is sent, and both are removed.
    if (here === undefined) await this.#ofFleet((shared) => shared.remove(key, sharedQueueOf(entry)))
    else here.stored = 'yes'
  }

  /** Entries of the store that this node holds. */
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
      // An entry of another node is older than those that came here since.
      const later = queue.findIndex(({ order }) => order > entry.order)
      queue.splice(later < 0 ? queue.length : later, 0, entry)
    }
    this.#enqueueIfHead(entry)
  }

  /** The oldest of a call is tried when it is due; the others wait for it. */
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

  /** @returns `kept` where the process ends, and the next run goes on */
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
      // The node that added it adds it again.
      if (this.#isCopied) return 'over'
      this.#options.onLost?.(1)
      return this.#settle(entry, 'lost')
    }
    // Erased, older than what is kept, or sent by another node.
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
    // One that the end of the process cut off has not used up its try.
    if (this.#closing.signal.aborted) return 'kept'
    // A receiver that answers is not down: what it refuses waits alone.
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

  /** The store knows the order of the call's messages: what could not be added goes there as soon as it answers. */
  async #givenBack(entry: Waiting, body: string): Promise<boolean> {
    const { id, receiver, url, type, callSid, order, contentType, key, home } = entry
    const whole: Entry = { version: 1, ...{ id, receiver, url, type, callSid, order, contentType, body } }
    const [state] = (await this.#ofFleet((shared) => shared.states([key]))) ?? []
    if (state === undefined) return false
    const path = home !== null && home !== 'fleet' ? pathOf(home.folder, entry) : null
    if (state === 'over' || state === 'dead') {
      // Another node has sent it, while this one was away.
      if (path !== null) await this.#onDisk(this.#disk.remove(path))
      return true
    }
    const added = await this.#ofFleet((shared) => shared.add(key, sharedQueueOf(entry), whole))
    if (added === null || added === 'full') return false
    if (path !== null) this.#copies?.keep(key, path)
    // This node may have taken it already.
    this.#missed = true
    setImmediate(() => void this.#look())
    return true
  }

  get #alone(): boolean {
    const { wallClock, aloneAfterMs = ALONE_AFTER_MS } = this.#options
    return this.#downSinceMs !== null && wallClock() - this.#downSinceMs >= aloneAfterMs
  }

  /** Messages that the store loses are on the disk of the node that added them. */
  get #isCopied(): boolean {
    return this.#options.folders.length > 0
  }

  /** The store has lost what it held: it is not waited for any more, and each node adds again what it has added. */
  storeForgot(): void {
    // One that is being sent may have been read before.
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
      'a message was not taken: no more tries',
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

  /** The next message of the same call may go. */
  #next(entry: Waiting): void {
    const next = this.#drop(entry)
    if (next !== undefined) this.#enqueueIfHead(next)
  }

  /** @returns the next message of the same call */
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

  /** As `SharedOutbox.next`, also of what is not in the store. @throws what the disk or the store throws */
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

  /** Changes an entry, and the name of its file. */
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

  /** A file that is gone was erased: no fault. */
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

/** Where an entry is: a folder, the store of the fleet, or in memory alone. */
type Home = { readonly folder: string } | 'fleet' | null

/** A message in a list, without words or numbers of anybody. */
export const messageViewSchema = z.object({
  /** Key of this message to this receiver; `retry` takes it. */
  key: z.string(),
  id: z.string(),
  type: z.string(),
  receiver: z.string(),
  callSid: z.string(),
  tries: z.int().min(0),
  /** ISO 8601; null where it is tried no more. */
  nextTryAt: z.string().nullable(),
  reason: z.string().nullable(),
})
export type MessageView = DocumentOf<typeof messageViewSchema>

export interface OutboxOptions extends DeliveryOptions {
  /** Folders of messages; new ones go to the first. None: all are in memory, and are lost with the process. */
  readonly folders: readonly string[]
  /** The fleet's: new messages go there, with a copy in the folder. Absent or null: no fleet. */
  readonly shared?: SharedOutbox | null
  /** `source` of the CloudEvents: which gateway speaks. */
  readonly source: string
  /** True when the store of the fleet has just lost what it held. Absent: it has not. */
  readonly forgotten?: () => Promise<boolean>
  /** Messages that only the store had are lost with it. */
  readonly onLost?: (count: number) => void
  readonly log: Log
  /** For tests; real timers, which keep no process alive, otherwise. */
  readonly later?: (ms: number, run: () => void) => void
  /** For tests; the real disk otherwise. */
  readonly disk?: Disk
  /** For tests. @defaultValue 1 s */
  readonly lookMs?: number
  /** For tests. @defaultValue ALONE_AFTER_MS */
  readonly aloneAfterMs?: number
}

/** Results that are counted. */
export const RESULTS = ['delivered', 'retried', 'dead', 'dropped', 'erased', 'lost', 'restored'] as const
type Result = (typeof RESULTS)[number]

const REAL_DISK: Disk = {
  write: writeWhole,
  read: (path) => readFile(path, 'utf8'),
  move: rename,
  remove: unlink,
}

/** Where the body is. A reason has no full stop in a file's name. */
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

/** In the store of the fleet, where no URL is shown. */
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

/** An entry without its body, in memory, with what its file's name says: `<call>.<hash>.<tries>.<due>.<reason>.json`. */
interface Waiting extends Omit<Entry, 'body' | 'version'> {
  home: Home
  /** Says whether the store of the fleet lists it as taken by this node; `perhaps`: its answer was lost, or came too late. */
  stored: 'yes' | 'no' | 'perhaps'
  /** The beginning of the file's name, which never changes. */
  readonly key: string
  tries: number
  /** Calendar time of the next try. */
  dueMs: number
  /** Calendar time of the next look, where disk or store did not answer, or an older message is not sent yet. In no file's name. */
  restsUntilMs: number
  /** Why it is tried no more; null while it is. */
  dead: string | null
  /** The body, where it is in memory alone. */
  body: string | null
}

/** State of one URL: its failures, and the messages under way to it. */
interface ReceiverState {
  /** Messages of which each is the oldest of its call, and due. */
  readonly ready: Set<Waiting>
  readonly sending: Set<Waiting>
  failures: number
  /** Calendar time before which nothing is tried. */
  closedUntilMs: number
  /** A timer for that time runs. */
  paused: boolean
  /** It answered 410. */
  gone: boolean
}
