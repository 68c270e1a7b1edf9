import { forgetOldest } from '../core/forget-oldest.js'
import { HEARTBEAT_MS } from '../core/limits.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log } from '../telemetry/log.js'
import { entrySchema } from './entry.js'
import type { Entry } from './entry.js'
import { SCRIPTS } from './shared-outbox-scripts.js'
import type { SharedScript } from './shared-outbox-scripts.js'

/** Messages of a whole fleet that wait; one more is refused. */
const SHARED_MAX = 100_000
/** Messages of a fleet that are tried no more; beyond, the oldest is deleted. */
const SHARED_DEAD_MAX = 10_000
/** Messages that one look brings; the next one follows at once. They are opened on the thread that sends audio. */
const TAKEN_MAX = 20
/** How long the order of a call's messages is remembered. All tries together take a day and a half. */
const ORDER_TTL_MS = 8 * 86_400_000
/**
 * A node is gone when it has not been among the live ones for so long: two heartbeats, since the others have not yet seen the
 * first one of a run that has just begun to take messages.
 */
const GONE_AFTER_MS = 2 * HEARTBEAT_MS
/** A message that another node has just claimed is not claimed again. */
const CLAIMED_MS = 2000
/** How long after a fault this node looks for what it took without knowing: what it gave up may still be done. */
const DOUBT_MS = 30_000
/** Own messages whose keys one step of a search for lost ones reads. */
const OWN_KEYS_MAX = 1000
/** Calls whose messages one erasure looks for at once. */
const SCAN_COUNT = 1000

/**
 * The outbox that the nodes of a fleet share: a stream of Redis with one consumer group, in which each run of a node is a
 * consumer. A message is in it before `add` resolves, sealed, and until a receiver has taken it or no more is tried. Any
 * node takes what is new; what a run that is gone had taken, another one claims. Two nodes that claim or send the same
 * message at once send the same id. All its methods throw while the store cannot be reached.
 *
 * An operation that threw may have been done, or be done late. What was taken without this node learning of it stands
 * there as taken by this node: `claim` compares it with what the node holds. What was sent and could not be removed is
 * remembered here, and removed before anything else is taken.
 */
export class SharedOutbox {
  readonly #options: SharedOutboxOptions
  /** Since when a consumer has not been among the live nodes. */
  readonly #missing = new Map<string, number>()
  /** Removals that threw: arguments of `remove`, by key. At most SHARED_MAX; one that is forgotten is sent again. */
  readonly #unremoved = new Map<string, readonly (string | number)[]>()
  /** Calendar time. */
  #doubtUntilMs = 0
  /** Keys of what this node took and cannot open. At most SHARED_MAX. */
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

  /** @param key  `<call SID>.<hash>`: of this message to this receiver */
  add(key: string, queue: string, entry: Entry): Promise<'added' | 'known' | 'full'> {
    return this.#add(key, queue, entry, [])
  }

  /** As `add`, to the stream of this node alone: no other node takes from it while this one lives. */
  addOwn(key: string, queue: string, entry: Entry): Promise<'added' | 'known' | 'full'> {
    return this.#add(key, queue, entry, [this.#consumer])
  }

  /** False: nothing is taken or claimed yet. */
  get isJoined(): boolean {
    return this.#options.isJoined()
  }

  /** Takes new entries, at most TAKEN_MAX. From here on this node sends them. */
  async take(): Promise<readonly SharedEntry[]> {
    if (!this.isJoined) return []
    await this.#removeAgain()
    return this.#opened(await this.#run('take', [this.#consumer, TAKEN_MAX]), 'tries')
  }

  /**
   * Takes what runs had that are gone, and what this run had taken without knowing it, because the answer was lost.
   * @param held  what this node has in its hands already
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
      // An earlier run under our name is over.
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

  /** At most TAKEN_MAX that stand as taken by this run, and that it does not hold. */
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
    // One that was removed meanwhile is not sent again.
    return fetched.filter(({ key }) => !held.has(key))
  }

  /**
   * The body of a message that is to be sent; null where it was erased, or another node has sent it.
   * @returns `later` where it is not the oldest of its call to its receiver: it waits, whichever node has the others
   */
  async next(key: string, queue: string): Promise<'later' | { readonly body: string | null }> {
    const [when, sealed] = await this.#run('next', [key, queue])
    if (when !== undefined && String(when) === 'later') return 'later'
    return { body: sealed === undefined ? null : (this.#entry(key, sealed)?.body ?? null) }
  }

  /**
   * States of messages that were added; `lost`: the store does not know the message.
   * @returns of each key, in their order
   */
  async states(keys: readonly string[]): Promise<readonly ('waits' | 'dead' | 'over' | 'lost')[]> {
    return (await this.#run('states', keys)).map(String) as ('waits' | 'dead' | 'over' | 'lost')[]
  }

  async tried(key: string, tries: number, dueMs: number): Promise<void> {
    await this.#run('tried', [key, `${tries} ${dueMs}`])
  }

  /** It is over. Where this throws, it is done again before anything else is taken. */
  async remove(key: string, queue: string): Promise<void> {
    await this.#remove(key, [key, queue])
  }

  /** It is tried no more; otherwise as `remove`. @returns how many dead ones were dropped for it */
  async bury(key: string, queue: string, why: string): Promise<number> {
    return this.#remove(key, [key, queue, why, this.#options.wallClock(), SHARED_DEAD_MAX])
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

  /** Entries that no node tries any more; oldest first. */
  async dead(max: number): Promise<readonly SharedEntry[]> {
    return this.#opened(await this.#run('dead', [max]), 'why')
  }

  /** A dead one is new again. @param queueOf  of an entry @returns it; null where there is none */
  async revive(key: string, queueOf: (entry: Entry) => string): Promise<Entry | null> {
    const [sealed] = await this.#run('readDead', [key])
    const entry = sealed === undefined ? null : this.#entry(key, sealed)
    if (entry === null) return null
    this.#unremoved.delete(key)
    await this.#run('exhume', [key, queueOf(entry), ORDER_TTL_MS])
    return entry
  }

  /** Erases what these calls have, at whichever node. @param queueOf  of an entry @returns how many were erased */
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
    const [answer] = await this.#run('add', [key, queue, sealed, SHARED_MAX, ORDER_TTL_MS, ...consumer])
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

  /** Null for what another fleet wrote: it stays where it is. */
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

/** Entries that this node knows to hold. */
export interface Held {
  has(key: string): boolean
  /** How many of them the store has as taken by this node. */
  readonly size: number
}

/** An entry of the fleet, with what is said of its tries. */
export interface SharedEntry {
  readonly key: string
  readonly entry: Entry
  readonly tries: number
  readonly dueMs: number
  /** Why it is tried no more; null while it is. */
  readonly dead: string | null
}

export interface SharedOutboxOptions {
  /** Name of the stream. */
  readonly stream: string
  /** Runs a script of this file in the fleet's store, with one key. @throws when the store cannot be reached */
  readonly run: (
    name: SharedScript,
    lua: string,
    key: string,
    args: readonly (string | number | Uint8Array)[],
  ) => Promise<readonly Buffer[]>
  /** Encrypts what a caller said, and opens it again. @throws when it was sealed by another fleet */
  readonly seal: (callSid: string, text: string) => Uint8Array
  readonly open: (callSid: string, sealed: Uint8Array) => string
  /** This run of this node: two words. */
  readonly node: { readonly name: string; readonly incarnation: string }
  /** True once this run has joined the fleet: before that it does not know who else is there, nor they of it. */
  readonly isJoined: () => boolean
  /** True if that run of another node is over, as far as the fleet knows. */
  readonly isGone: (name: string, incarnation: string) => boolean
  /** Calendar time. */
  readonly wallClock: () => number
  readonly log: Log
  /** For tests. @defaultValue GONE_AFTER_MS */
  readonly goneAfterMs?: number
}
