import { AsyncResource } from 'node:async_hooks'
import dns from 'node:dns'
import type { LookupAddress, LookupAllOptions, LookupOptions } from 'node:dns'
import { isIP } from 'node:net'
import { forgetOldest } from '../core/forget-oldest.js'

/**
 * Maximum age of an answer that is used without a new request, in milliseconds. A change of a service's addresses takes
 * minutes, so a younger answer is good enough.
 */
const FRESH_MS = 30_000
/**
 * Maximum age of an answer that is used if the resolver fails or is slow, in milliseconds; outages of resolvers seldom
 * last longer.
 */
const STALE_MS = 10 * 60_000
/**
 * Time for which a look-up with an old answer waits for a new answer, in milliseconds. A working resolver needs a few
 * milliseconds.
 */
const STALE_WAIT_MS = 250
/**
 * Time after which a look-up without an old or new answer fails, in milliseconds. The system's resolver gives up after
 * 10 to 30 s.
 */
const DEADLINE_MS = 3000
/**
 * Pause after a failure, in milliseconds, in which no further requests are sent to the resolver, because many retries
 * come at once.
 */
const FAILED_MS = 1000
/** Maximum number of names in memory. */
const NAMES_MAX = 256
/**
 * Maximum number of names that one thread looks up simultaneously. Each look-up occupies one of libuv's
 * UV_THREADPOOL_SIZE threads, and look-ups may use half of them.
 */
const ASKED_MAX = 16

/**
 * Results of look-ups. `fresh`: a new answer, or one younger than FRESH_MS. `stale`: an older answer. `failed`: the
 * resolver failed. `timed-out`: no answer came in time.
 */
const LOOKUP_RESULTS = ['fresh', 'stale', 'failed', 'timed-out'] as const
type LookupResult = (typeof LOOKUP_RESULTS)[number]

/** Counts of look-ups of all threads of the process, in shared memory. */
export class LookupCounts {
  readonly memory: SharedArrayBuffer
  readonly #counts: Int32Array

  /** @param memory  memory of another thread's counts */
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
  /** Asks the system's resolver, as `dns.lookup` does. */
  readonly resolve: Resolve
  readonly count: (result: LookupResult) => void
  readonly nowMs: () => number
  /** Runs `work` after `ms`. @returns a function that cancels this */
  readonly after: (ms: number, work: () => void) => () => void
}

interface Name {
  /** Newest answer; null before the first answer, or if the name does not exist. */
  addresses: LookupAddress[] | null
  answeredAtMs: number
  error: NodeJS.ErrnoException | null
  failedAtMs: number
  /** Time of the request to the resolver; null if no request is open. */
  askedAtMs: number | null
  readonly waiting: Set<(result: 'answered' | 'failed') => void>
}

/**
 * Looks up names for every connection of a thread. At most one request runs for each name, and each request has a
 * deadline. If the resolver does not answer, the last answer is used.
 *
 * Node's own `dns.lookup` is not good enough: it occupies one of libuv's few threads for each connection, until the
 * system's resolver gives up. A single name that cannot be resolved, such as the name of a model's service, could
 * occupy all these threads. The process could then not open connections or read files.
 */
export class NameLookup {
  readonly #parts: NameLookupParts
  readonly #names = new Map<string, Name>()
  #asked = 0

  constructor(parts: NameLookupParts) {
    this.#parts = parts
  }

  /** Looks up a name like `dns.lookup` with `all`. `answered` is called only after this method has returned. */
  lookup(hostname: string, options: LookupAllOptions, answered: Answered): void {
    // Keeps the look-up's own async context, because one request answers waiting look-ups of different calls.
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
        // ENOTFOUND means that the resolver works and the name does not exist any more.
        if (error.code === 'ENOTFOUND') name.addresses = null
      }
      const waiting = [...name.waiting]
      name.waiting.clear()
      // The callbacks are delayed, because a resolver may answer before `lookup` has returned.
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
 * Replaces this thread's `dns.lookup` by a `NameLookup`. Every connection of Node then uses this `NameLookup`,
 * including connections of packages (Redis, the trace exporter).
 * @returns a function that restores the earlier `dns.lookup`
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
    // IP addresses and wrong arguments go to Node's own function: the first need no look-up, the second are refused.
    if (answered === undefined || typeof hostname !== 'string' || hostname === '' || isIP(hostname) !== 0)
      return system(hostname, options, answered)
    const { all = false, ...how } = options
    names.lookup(hostname, { ...how, all: true }, (error, addresses) => {
      const [first] = addresses
      if (error !== null || all) answered(error, addresses)
      else answered(null, first?.address, first?.family)
    })
  }
  // Copies the properties of `dns.lookup` that `promisify` reads.
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
