import { AsyncResource } from 'node:async_hooks'
import dns from 'node:dns'
import type { LookupAddress, LookupAllOptions, LookupOptions } from 'node:dns'
import { isIP } from 'node:net'
import { forgetOldest } from '../core/forget-oldest.js'

/** An answer this old is used without asking again. Services that change their addresses do so by the minute. */
const FRESH_MS = 30_000
/** An older answer is used where the resolver fails or is slow; an outage of it seldom lasts longer. */
const STALE_MS = 10 * 60_000
/** How long such an answer is held back for a new one: a resolver that works needs a few milliseconds. */
const STALE_WAIT_MS = 250
/** Without any answer a look-up fails after this. The system's resolver gives up after 10 to 30 s. */
const DEADLINE_MS = 3000
/** A failure is not asked about again: retries come in crowds. */
const FAILED_MS = 1000
/** Names that are kept. */
const NAMES_MAX = 256
/**
 * Names that are asked about at once, in one thread. Each holds one of libuv's threads, of which there are
 * UV_THREADPOOL_SIZE for the process; look-ups get half of them.
 */
const ASKED_MAX = 16

/** How look-ups ended: with an answer that is not older than FRESH_MS, an older one, none, none in time. */
const LOOKUP_RESULTS = ['fresh', 'stale', 'failed', 'timed-out'] as const
type LookupResult = (typeof LOOKUP_RESULTS)[number]

/** Look-ups of all threads of the process, in shared memory. */
export class LookupCounts {
  readonly memory: SharedArrayBuffer
  readonly #counts: Int32Array

  /** @param memory  that of another thread */
  constructor(memory = new SharedArrayBuffer(LOOKUP_RESULTS.length * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory
    this.#counts = new Int32Array(memory)
  }

  add(result: LookupResult): void {
    Atomics.add(this.#counts, LOOKUP_RESULTS.indexOf(result), 1)
  }

  get all(): readonly { readonly result: LookupResult; readonly count: () => number }[] {
    return LOOKUP_RESULTS.map((result, index) => ({ result, count: () => Atomics.load(this.#counts, index) }))
  }
}

type Answered = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void
type Resolve = (hostname: string, options: LookupAllOptions, answered: Answered) => void

interface NameLookupParts {
  /** Asks the system, as `dns.lookup` does. */
  readonly resolve: Resolve
  readonly count: (result: LookupResult) => void
  readonly nowMs: () => number
  /** Calls `work` after `ms`. @returns cancels it */
  readonly after: (ms: number, work: () => void) => () => void
}

interface Name {
  /** The newest answer; null before any, and when the name does not exist. */
  addresses: LookupAddress[] | null
  answeredAtMs: number
  error: NodeJS.ErrnoException | null
  failedAtMs: number
  /** Since when the resolver is asked; null while it is not. */
  askedAtMs: number | null
  readonly waiting: Set<(result: 'answered' | 'failed') => void>
}

/**
 * Looks up names for every connection of a thread: each name once at a time, with a deadline, and with the last answer
 * where the resolver has none. `dns.lookup` asks the system's resolver on one of libuv's few threads for each
 * connection, and holds the thread until the resolver gives up: a single name that does not resolve, such as a model's,
 * soon holds them all, and then no connection of the process is made (and no file is read).
 */
export class NameLookup {
  readonly #parts: NameLookupParts
  readonly #names = new Map<string, Name>()
  #asked = 0

  constructor(parts: NameLookupParts) {
    this.#parts = parts
  }

  /** As `dns.lookup` with `all`; `answered` is never called before this returns. */
  lookup(hostname: string, options: LookupAllOptions, answered: Answered): void {
    // A waiting look-up is answered by another one's, which may be of another call.
    const settle = AsyncResource.bind((result: LookupResult, name: Name) => {
      this.#parts.count(result)
      if (name.addresses !== null && (result === 'fresh' || result === 'stale')) answered(null, name.addresses)
      else answered(result === 'timed-out' ? noAnswer(hostname) : (name.error ?? noAnswer(hostname)), [])
    })
    const nowMs = this.#parts.nowMs()
    const name = this.#nameOf(hostname, options)
    if (name.addresses !== null && nowMs - name.answeredAtMs < FRESH_MS) {
      queueMicrotask(() => settle('fresh', name))
      return
    }
    const asks = name.askedAtMs === null && nowMs - name.failedAtMs >= FAILED_MS && this.#asked < ASKED_MAX
    if (asks) this.#ask(hostname, options, name, nowMs)
    const usable = (): boolean => name.addresses !== null && this.#parts.nowMs() - name.answeredAtMs < STALE_MS
    const waitMs = (name.askedAtMs ?? -Infinity) + (usable() ? STALE_WAIT_MS : DEADLINE_MS) - nowMs
    if (waitMs <= 0) {
      const result = usable() ? 'stale' : name.askedAtMs === null ? 'failed' : 'timed-out'
      queueMicrotask(() => settle(result, name))
      return
    }
    const cancel = this.#parts.after(waitMs, () => {
      name.waiting.delete(done)
      settle(usable() ? 'stale' : 'timed-out', name)
    })
    const done = (result: 'answered' | 'failed'): void => {
      cancel()
      settle(result === 'answered' ? 'fresh' : usable() ? 'stale' : 'failed', name)
    }
    name.waiting.add(done)
  }

  #ask(hostname: string, options: LookupAllOptions, name: Name, nowMs: number): void {
    name.askedAtMs = nowMs
    this.#asked++
    this.#parts.resolve(hostname, options, (error, addresses) => {
      this.#asked--
      name.askedAtMs = null
      if (error === null) {
        name.addresses = addresses
        name.answeredAtMs = this.#parts.nowMs()
      } else {
        name.error = error
        name.failedAtMs = this.#parts.nowMs()
        // The resolver works: there is no such name any more.
        if (error.code === 'ENOTFOUND') name.addresses = null
      }
      const waiting = [...name.waiting]
      name.waiting.clear()
      // Later, because a resolver may answer at once.
      queueMicrotask(() => waiting.forEach((done) => done(error === null ? 'answered' : 'failed')))
    })
  }

  #nameOf(hostname: string, options: LookupAllOptions): Name {
    const key = `${hostname} ${JSON.stringify(options)}`
    let name = this.#names.get(key)
    if (name === undefined) {
      name = {
        addresses: null,
        answeredAtMs: -Infinity,
        error: null,
        failedAtMs: -Infinity,
        askedAtMs: null,
        waiting: new Set(),
      }
      this.#names.set(key, name)
      forgetOldest(this.#names, NAMES_MAX)
    }
    return name
  }
}

function noAnswer(hostname: string): NodeJS.ErrnoException {
  const error = new Error(`no answer of the resolver for ${hostname} in time`)
  return Object.assign(error, { code: 'ETIMEOUT', syscall: 'getaddrinfo', hostname })
}

/**
 * Puts a `NameLookup` in the place of this thread's `dns.lookup`, which every connection of Node uses, also those that
 * packages make (Redis, the trace exporter).
 * @returns puts back what was there
 */
export function installNameLookup(counts: LookupCounts): () => void {
  const before = dns.lookup
  const names = new NameLookup({
    resolve: (hostname, options, answered) => before(hostname, options, answered),
    count: (result) => counts.add(result),
    nowMs: () => performance.now(),
    after: (ms, work) => {
      const timer = setTimeout(work, ms)
      return () => clearTimeout(timer)
    },
  })
  type OneOrAll = (error: NodeJS.ErrnoException | null, found?: string | LookupAddress[], family?: number) => void
  const system = before as unknown as (hostname: string, options: LookupOptions, answered?: OneOrAll) => void
  const lookup = (hostname: string, given: LookupOptions | number | OneOrAll | null, callback?: OneOrAll): void => {
    const options: LookupOptions =
      typeof given === 'number' ? { family: given } : typeof given === 'object' ? (given ?? {}) : {}
    const answered = typeof given === 'function' ? given : callback
    // An address takes no thread, and wrong arguments are Node's to refuse.
    if (answered === undefined || typeof hostname !== 'string' || hostname === '' || isIP(hostname) !== 0)
      return system(hostname, options, answered)
    const { all = false, ...how } = options
    names.lookup(hostname, { ...how, all: true }, (error, addresses) => {
      const [first] = addresses
      if (error !== null || all) answered(error, addresses)
      else answered(null, first?.address, first?.family)
    })
  }
  // With what `promisify` needs to know of it.
  const {
    name: _,
    length: __,
    prototype: ___,
    ...own
  } = Object.getOwnPropertyDescriptors(before) as PropertyDescriptorMap
  dns.lookup = Object.defineProperties(lookup, own) as unknown as typeof dns.lookup
  const installed = dns.lookup
  return () => {
    if (dns.lookup === installed) dns.lookup = before
  }
}
