import { forgetOldest } from '../core/forget-oldest.js'
import { HEARTBEAT_MS } from '../core/limits.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log } from '../telemetry/log.js'
import { entrySchema } from './entry.js'
import type { Entry } from './entry.js'
import { SCRIPTS } from './shared-outbox-scripts.js'
import type { SharedScript } from './shared-outbox-scripts.js'

/** Maximum number of waiting messages of a whole fleet; a further message is refused. */
const SHARED_MAX = 100_000
/** Maximum number of dead messages of a fleet. Above this number the oldest message is deleted. */
const SHARED_DEAD_MAX = 10_000
/**
 * Maximum number of messages in one search; the next search follows at once. The number is small because messages are
 * decrypted on the thread that sends audio.
 */
const TAKEN_MAX = 20
/**
 * Time for which the order of a call's messages is stored, in milliseconds. It is longer than all tries together, which
 * take a day and a half.
 */
const ORDER_TTL_MS = 8 * 86_400_000
/**
 * Time in milliseconds for which a process must be missing among the live nodes before it counts as gone: two
 * heartbeats. A new process is missing for a moment, until other nodes have received its first heartbeat.
 */
const GONE_AFTER_MS = 2 * HEARTBEAT_MS
/** Time for which a claimed message is not claimed again, in milliseconds. */
const CLAIMED_MS = 2000
/**
 * Time in ms after a failed operation in which this node searches for messages that were assigned to it without its
 * knowledge. The store may still carry out the operation.
 */
const DOUBT_MS = 30_000
/** Number of keys that a node reads in one step when it searches its own messages for lost messages. */
const OWN_KEYS_MAX = 1000
/** Number of keys that one step of an erasure reads. */
const SCAN_COUNT = 1000

/**
 * Outbox of a whole fleet: a stream of Redis with one consumer group. Each process of a node is a consumer. A message
 * is encrypted and added to the stream before `add` resolves. It stays in the stream until it is over. Any node takes
 * new messages. A node also claims messages that a dead process had taken. If two nodes send one message, both use the
 * message's id, so the receiver can drop the second. All methods throw while the store cannot be reached.
 *
 * If an operation threw, the store may still carry it out. Such an operation may have assigned a message to this node
 * without its knowledge; `claim` finds this message. If a sent message could not be removed, this class removes it
 * before the next messages are taken.
 */
export class SharedOutbox {
  readonly #options: SharedOutboxOptions
  /** Time since which a consumer has been missing among the live nodes, by consumer. */
  readonly #missing = new Map<string, number>()
  /**
   * Arguments of each `remove` that failed, by key, so that it can be repeated. At most SHARED_MAX; if an entry is
   * dropped, its message is sent again.
   */
  readonly #unremoved = new Map<string, readonly (string | number)[]>()
  /** Calendar time until which this node searches for unknown messages after a fault. */
  #doubtUntilMs = 0
  /** Keys of messages that this node has taken and cannot decrypt. At most SHARED_MAX. */
  readonly #sealed = new Set<string>()
  readonly #unread: LimitedLog<'unread'>

  constructor(options: SharedOutboxOptions) {
    this.#options = options
    this.#unread = new LimitedLog(
      options.log,
      'a message in the store does not open: it was written with another TOKEN_SECRET',
      'more messages in the store do not open',
    )
  }

  /** @param key  `<call SID>.<hash>` for this message and receiver */
  add(key: string, queue: string, entry: Entry): Promise<'added' | 'known' | 'full'> {
    return this.#add(key, queue, entry, [])
  }

  /**
   * Adds a message like `add` and assigns it to this node. Other nodes do not take the message while this node runs.
   */
  addOwn(key: string, queue: string, entry: Entry): Promise<'added' | 'known' | 'full'> {
    return this.#add(key, queue, entry, [this.#consumer])
  }

  /** True if this process has joined the fleet. Before that, the process does not take or claim messages. */
  get isJoined(): boolean {
    return this.#options.isJoined()
  }

  /** Takes new entries, at most TAKEN_MAX. From now on this node sends these messages. */
  async take(): Promise<readonly SharedEntry[]> {
    if (!this.isJoined) return []
    await this.#removeAgain()
    return this.#opened(await this.#run('take', [this.#consumer, TAKEN_MAX]), 'tries')
  }

  /**
   * Takes messages of dead processes, and messages that were assigned to this process by an answer that was lost.
   * @param held entries that this node has taken with its knowledge
   */
  async claim(held: Held): Promise<readonly SharedEntry[]> {
    if (!this.isJoined) return []
    await this.#removeAgain()
    const { isGone, wallClock, node, goneAfterMs = GONE_AFTER_MS } = this.#options
    const counted = (await this.#run('consumers', [])).map(String)
    const consumers = counted.filter((_, i) => i % 2 === 0)
    const own = Number(counted[counted.indexOf(this.#consumer) + 1] ?? 0)
    const missing = consumers.filter((consumer) => {
      const [name = '', incarnation = ''] = consumer.split(' ')
      // A process with our name and another id is an earlier one, so it has ended.
      return name === node.name ? consumer !== this.#consumer : isGone(name, incarnation)
    })
    for (const known of this.#missing.keys()) if (!missing.includes(known)) this.#missing.delete(known)
    const claimed: SharedEntry[] = []
    if (
      consumers.includes(this.#consumer) &&
      (wallClock() < this.#doubtUntilMs || own !== held.size + this.#sealed.size)
    )
      claimed.push(...(await this.#own(held)))
    for (const consumer of missing) {
      const sinceMs = this.#missing.get(consumer) ?? wallClock()
      this.#missing.set(consumer, sinceMs)
      if (!consumer.startsWith(`${node.name} `) && wallClock() - sinceMs < goneAfterMs) continue
      const idleMs = Math.min(CLAIMED_MS, goneAfterMs)
      claimed.push(...this.#opened(await this.#run('claim', [this.#consumer, consumer, TAKEN_MAX, idleMs]), 'tries'))
    }
    return claimed
  }

  /** Returns at most TAKEN_MAX messages that the store has assigned to this process without its knowledge. */
  async #own(held: Held): Promise<readonly SharedEntry[]> {
    const lost: string[] = []
    let from = '-'
    while (lost.length < TAKEN_MAX) {
      const found = (await this.#run('own', [this.#consumer, from, OWN_KEYS_MAX])).map(String)
      for (let i = 0; i + 1 < found.length; i += 2) {
        const [id = '', key = ''] = [found[i], found[i + 1]]
        if (key !== '' && !held.has(key) && !this.#unremoved.has(key) && !this.#sealed.has(key)) lost.push(key)
        from = `(${id}`
      }
      if (found.length < 2 * OWN_KEYS_MAX) break
    }
    if (lost.length === 0) return []
    const fetched = this.#opened(await this.#run('fetch', lost.slice(0, TAKEN_MAX)), 'tries')
    // A message that this process removed during the fetch is left out.
    return fetched.filter(({ key }) => !held.has(key))
  }

  /**
   * Reads the body of a message before it is sent; null if the message was erased, or if another node has sent it.
   * @returns `later` if an older message of the call waits for this receiver
   */
  async next(key: string, queue: string): Promise<'later' | { readonly body: string | null }> {
    const [when, sealed] = await this.#run('next', [key, queue])
    if (when !== undefined && String(when) === 'later') return 'later'
    return { body: sealed === undefined ? null : (this.#entry(key, sealed)?.body ?? null) }
  }

  /**
   * Returns the states of messages that were added; `lost`: the store does not have the message.
   * @returns one state for each key, in the order of the keys
   */
  async states(keys: readonly string[]): Promise<readonly ('waits' | 'dead' | 'over' | 'lost')[]> {
    return (await this.#run('states', keys)).map(String) as ('waits' | 'dead' | 'over' | 'lost')[]
  }

  async tried(key: string, tries: number, dueMs: number): Promise<void> {
    await this.#run('tried', [key, `${tries} ${dueMs}`])
  }

  /** Removes a message that is over. If this throws, the removal is repeated before the next messages are taken. */
  async remove(key: string, queue: string): Promise<void> {
    await this.#remove(key, [key, queue, SHARED_MAX, ORDER_TTL_MS])
  }

  /**
   * Removes a message like `remove`, but keeps it as a dead message.
   * @returns the number of older dead messages that were dropped
   */
  async bury(key: string, queue: string, why: string): Promise<number> {
    return this.#remove(key, [key, queue, SHARED_MAX, ORDER_TTL_MS, why, this.#options.wallClock(), SHARED_DEAD_MAX])
  }

  async #remove(key: string, args: readonly (string | number)[]): Promise<number> {
    try {
      const [dropped] = await this.#run('remove', args)
      this.#unremoved.delete(key)
      return Number(String(dropped ?? '0'))
    } catch (thrown) {
      this.#unremoved.set(key, args)
      forgetOldest(this.#unremoved, SHARED_MAX)
      throw thrown
    }
  }

  async #removeAgain(): Promise<void> {
    for (const [key, args] of this.#unremoved) await this.#remove(key, args)
  }

  /** Returns the dead messages, which are not tried any more; the oldest is first. */
  async dead(max: number): Promise<readonly SharedEntry[]> {
    return this.#opened(await this.#run('dead', [max]), 'why')
  }

  /**
   * Changes a dead message into a new message.
   * @param queueOf  returns the queue of an entry
   * @returns the message; null if the key is unknown
   */
  async revive(key: string, queueOf: (entry: Entry) => string): Promise<Entry | null> {
    const [sealed] = await this.#run('readDead', [key])
    const entry = sealed === undefined ? null : this.#entry(key, sealed)
    if (entry === null) return null
    this.#unremoved.delete(key)
    await this.#run('exhume', [key, queueOf(entry), ORDER_TTL_MS])
    return entry
  }

  /**
   * Erases the messages of these calls at every node.
   * @param queueOf  returns the queue of an entry
   * @returns the number of erased messages
   */
  async forget(callSids: readonly string[], queueOf: (entry: Entry) => string): Promise<number> {
    let erased = 0
    for (const callSid of callSids) {
      for (const key of await this.#keys(':ids', callSid)) {
        const [sealed] = await this.#run('read', [key])
        const entry = sealed === undefined ? null : this.#entry(key, sealed)
        await this.remove(key, entry === null ? '' : queueOf(entry))
        erased++
      }
      for (const key of await this.#keys(':dead', callSid)) {
        await this.#run('exhume', [key])
        erased++
      }
    }
    return erased
  }

  async #add(
    key: string,
    queue: string,
    entry: Entry,
    consumer: readonly string[],
  ): Promise<'added' | 'known' | 'full'> {
    const sealed = this.#options.seal(entry.callSid, JSON.stringify(entry))
    const [answer] = await this.#run('add', [key, queue, SHARED_MAX, ORDER_TTL_MS, sealed, ...consumer])
    const said = String(answer)
    return said === 'added' || said === 'known' ? said : 'full'
  }

  async #keys(hash: ':ids' | ':dead', callSid: string): Promise<readonly string[]> {
    const found: string[] = []
    let cursor = '0'
    do {
      const [next, ...keys] = (await this.#run('scan', [hash, cursor, `${callSid}.`, SCAN_COUNT])).map(String)
      found.push(...keys)
      cursor = next ?? '0'
    } while (cursor !== '0')
    return found
  }

  get #consumer(): string {
    const { name, incarnation } = this.#options.node
    return `${name} ${incarnation}`
  }

  #opened(answer: readonly Buffer[], second: 'tries' | 'why'): readonly SharedEntry[] {
    const found: SharedEntry[] = []
    for (let i = 0; i + 2 < answer.length; i += 3) {
      const [key, said] = [String(answer[i]), String(answer[i + 1])]
      const entry = this.#entry(key, answer[i + 2] as Buffer)
      if (entry === null) {
        if (second === 'tries') this.#sealed.add(key)
        forgetOldest(this.#sealed, SHARED_MAX)
        continue
      }
      const [tries = '0', dueMs = '0'] = second === 'tries' ? said.split(' ') : []
      found.push({ key, entry, tries: Number(tries), dueMs: Number(dueMs), dead: second === 'why' ? said : null })
    }
    return found
  }

  /** Decrypts an entry; null if another fleet wrote the entry. Such an entry stays in the store. */
  #entry(key: string, sealed: Buffer): Entry | null {
    try {
      return entrySchema.parse(JSON.parse(this.#options.open(key.split('.')[0] ?? '', sealed)))
    } catch {
      this.#unread.note('unread', {}, this.#options.wallClock())
      return null
    }
  }

  async #run(name: SharedScript, args: readonly (string | number | Uint8Array)[]): Promise<readonly Buffer[]> {
    try {
      return await this.#options.run(name, SCRIPTS[name], `{${this.#options.stream}}`, args)
    } catch (thrown) {
      this.#doubtUntilMs = this.#options.wallClock() + DOUBT_MS
      throw thrown
    }
  }
}

/** Entries that this node has taken with its knowledge. */
export interface Held {
  has(key: string): boolean
  /** Number of these entries that the store lists as taken by this node. */
  readonly size: number
}

/** An entry of the fleet, with the number of its tries. */
export interface SharedEntry {
  readonly key: string
  readonly entry: Entry
  readonly tries: number
  readonly dueMs: number
  /** Reason why the message is not tried any more; null while it is tried. */
  readonly dead: string | null
}

export interface SharedOutboxOptions {
  /** Name of the stream. */
  readonly stream: string
  /** Runs a script of this folder in the fleet's store, with one key. @throws if the store cannot be reached */
  readonly run: (
    name: SharedScript,
    lua: string,
    key: string,
    args: readonly (string | number | Uint8Array)[],
  ) => Promise<readonly Buffer[]>
  /** Encrypts and decrypts a message. @throws if another fleet has encrypted the message */
  readonly seal: (callSid: string, text: string) => Uint8Array
  readonly open: (callSid: string, sealed: Uint8Array) => string
  /** Name of this node and id of this process, without spaces. */
  readonly node: { readonly name: string; readonly incarnation: string }
  /**
   * True if this process has joined the fleet. Before this, the process does not see other processes, and they do not
   * see it.
   */
  readonly isJoined: () => boolean
  /** True if, according to the fleet's list, this process of another node has ended. */
  readonly isGone: (name: string, incarnation: string) => boolean
  /** Calendar time. */
  readonly wallClock: () => number
  readonly log: Log
  /** For tests. @defaultValue GONE_AFTER_MS */
  readonly goneAfterMs?: number
}
