import { createRequire, syncBuiltinESMExports } from 'node:module'
import { EventQueue } from './event-queue.js'
import type { Due } from './event-queue.js'

/** Whose code an event runs: a process that may die, or stand still. */
export interface Process {
  alive: boolean
  stillUntilMs: number
}

interface Event extends Due {
  readonly process: Process | null
  readonly happen: () => unknown
  cancelled: boolean
}

const WALL_START_MS = 1_800_000_000_000
const require = createRequire(import.meta.url)
const promises = require('node:timers/promises') as { setTimeout: unknown }
const crypto = require('node:crypto') as { randomBytes: unknown; randomUUID: unknown }
const realTurn = globalThis.setImmediate
/** Shortest interval of a repetition: as on a machine that is busy. */
const REPEAT_MS_MIN = 100

/**
 * Time that passes only from event to event, for all code of this thread: while `run` runs, the timers, clocks and chance
 * of Node are its own. A timer belongs to the process whose code set it: it fires for a process that lives, and when that
 * one no longer stands still.
 */
export class VirtualTime {
  nowMs = 0
  /** Whose code runs. */
  current: Process | null = null
  readonly random: () => number
  readonly #events = new EventQueue<Event>()
  #order = 0
  #goesOn: () => boolean = () => true

  constructor(random: () => number) {
    this.random = random
  }

  readonly clock = (): number => this.nowMs
  readonly wallClock = (): number => Math.floor(WALL_START_MS + this.nowMs)

  at(atMs: number, process: Process | null, happen: () => unknown): Event {
    const event = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, process, happen, cancelled: false }
    this.#events.push(event)
    return event
  }

  after(ms: number, process: Process | null, happen: () => unknown): Event {
    return this.at(this.nowMs + ms, process, happen)
  }

  /** No time passes until then after this event: the loader of modules works in time of its own. */
  hold(goesOn: () => boolean): void {
    this.#goesOn = goesOn
  }

  /** @throws what an event throws, or `failed` returns, after which nothing more happens */
  async run(untilMs: number, failed: () => Error | null): Promise<void> {
    const restore = this.#install()
    try {
      for (let event = this.#events.pop(); event !== null && event.atMs <= untilMs; event = this.#events.pop()) {
        const { process: runs } = event
        if (event.cancelled || runs?.alive === false) continue
        this.nowMs = event.atMs
        if (runs !== null && runs.stillUntilMs > this.nowMs) {
          // In the order in which they were due.
          event.atMs = runs.stillUntilMs
          this.#events.push(event)
          continue
        }
        this.current = runs
        event.happen()
        // All that follows from it, up to the next timer or socket; the disk takes no time.
        do await new Promise<void>((resolve) => realTurn(resolve))
        while (!this.#goesOn() || process.getActiveResourcesInfo().some((name) => name.startsWith('FSReq')))
        this.#goesOn = () => true
        this.current = null
        const failure = failed()
        if (failure !== null) throw failure
      }
      this.nowMs = untilMs
    } finally {
      restore()
    }
  }

  #install(): () => void {
    const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis
    const before = { setTimeout, clearTimeout, setInterval, clearInterval }
    const realSleep = promises.setTimeout
    const { now } = Date
    const { random } = Math
    const { randomBytes, randomUUID } = crypto
    const realNow = performance.now.bind(performance)
    const realTimeout = AbortSignal.timeout.bind(AbortSignal)
    const timer =
      (repeat: boolean) =>
      (work: (...args: unknown[]) => void, ms = 1, ...args: unknown[]) =>
        new Timer(this, Math.max(1, ms), repeat, () => work(...args))
    const clear = (timer: Timer | undefined) => (timer instanceof Timer ? timer.clear() : undefined)
    Object.assign(globalThis, {
      setTimeout: timer(false),
      clearTimeout: clear,
      setInterval: timer(true),
      clearInterval: clear,
    })
    promises.setTimeout = (ms = 1, value?: unknown, { signal }: { readonly signal?: AbortSignal } = {}) =>
      new Promise((resolve, reject) => {
        const abort = (): void => {
          timer.clear()
          reject(signal?.reason as Error)
        }
        const timer = new Timer(this, Math.max(1, ms), false, () => {
          signal?.removeEventListener('abort', abort)
          resolve(value)
        })
        signal?.addEventListener('abort', abort, { once: true })
      })
    const bytes = (count: number): Buffer =>
      Buffer.from(Array.from({ length: count }, () => Math.floor(this.random() * 256)))
    crypto.randomBytes = bytes
    crypto.randomUUID = () => bytes(16).toString('hex')
    syncBuiltinESMExports()
    Date.now = this.wallClock
    Math.random = this.random
    performance.now = this.clock
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController()
      new Timer(this, ms, false, () => controller.abort(new DOMException('timed out', 'TimeoutError')))
      return controller.signal
    }
    return () => {
      Object.assign(globalThis, before)
      promises.setTimeout = realSleep
      Object.assign(crypto, { randomBytes, randomUUID })
      syncBuiltinESMExports()
      Date.now = now
      Math.random = random
      performance.now = realNow
      AbortSignal.timeout = realTimeout
    }
  }
}

/** As Node's `Timeout`. */
class Timer {
  readonly #time: VirtualTime
  readonly #process: Process | null
  readonly #ms: number
  readonly #repeat: boolean
  readonly #work: () => void
  #event: Event

  constructor(time: VirtualTime, ms: number, repeat: boolean, work: () => void) {
    this.#time = time
    this.#process = time.current
    this.#ms = repeat ? Math.max(REPEAT_MS_MIN, ms) : ms
    this.#repeat = repeat
    this.#work = work
    this.#event = this.#set()
  }

  #set(): Event {
    return this.#time.after(this.#ms, this.#process, () => {
      if (this.#repeat) this.#event = this.#set()
      this.#work()
    })
  }

  clear(): void {
    this.#event.cancelled = true
  }

  refresh(): this {
    this.clear()
    this.#event = this.#set()
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return false
  }
}
