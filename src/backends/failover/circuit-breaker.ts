import { CIRCUITS_MAX } from '../../core/limits.js'
import type { BackendErrorCode, RateLimit } from '../backend.js'

/** Consecutive failures, over all calls, that open the circuit. */
const CIRCUIT_FAILURES_TO_OPEN = 3
/** How long it stays open the first time; each time after that twice as long, up to CIRCUIT_OPEN_MS_MAX. */
const CIRCUIT_OPEN_MS = 5000
const CIRCUIT_OPEN_MS_MAX = 120_000
const CIRCUIT_FINAL_OPEN_MS = 300_000
/** A probing call that reports nothing is replaced by the next call after this. */
const CIRCUIT_PROBE_MS_MAX = 30_000
/** A key with less than this share of a limit left takes no new session: its first answers would be refused. */
const RATE_LIMIT_SPARE_RATIO = 0.01
/** Longest time that a reported limit keeps new sessions away. */
const RATE_LIMIT_REST_MS_MAX = 120_000

/** Reconnects that may begin at once: one caller whose session broke does not wait. */
const RECONNECTS_AT_ONCE = 2
/** Default rate of a worker. */
const RECONNECTS_PER_SECOND = 25
/** Calls that wait for an open circuit try again within this time after it, each at a moment of its own. */
const AFTER_OPEN_MS = 1000
/** While another call probes the backend, those that wait look once in this time, or in twice this time. */
const PROBE_LOOK_MS = 300

/** Reports one session's result to the circuit: one success, one failure, or first a success and then a failure. */
export interface CircuitPass {
  /** The session is ready. It has not answered yet, so the circuit stays as it is. */
  connected(): void
  /** The backend answered. Only the first call counts. */
  succeeded(nowMs: number): void
  failed(code: BackendErrorCode, message: string, nowMs: number): void
  /** The session ended without a verdict: the call ended first, or it failed for a reason of its own. */
  released(): void
}

const NO_VERDICT: ReadonlySet<BackendErrorCode> = new Set(['bad_request', 'session_expired'])

/**
 * Decides whether one backend is worth trying, from the sessions of all calls of a worker.
 *
 *     closed    --CIRCUIT_FAILURES_TO_OPEN failures in a row--> open
 *     closed    --rate_limit--> open for as long as the service says
 *     any       --auth, quota--> open for CIRCUIT_FINAL_OPEN_MS
 *     open      --its time is over--> half-open
 *     half-open --one call tries: `enter`--> half-open, all others are refused
 *     half-open --the probe succeeded--> closed
 *     half-open --the probe failed--> open, twice as long
 *     half-open --the probe ended without a verdict, or CIRCUIT_PROBE_MS_MAX passed--> half-open, the next call tries
 *
 * The probe is a real call: a failing backend makes one caller wait briefly, not all callers. `bad_request` (a mistake
 * of one agent) and `session_expired` say nothing about other sessions, so they do not count.
 *
 * A vendor's fault ends the sessions of all calls at once. So that they do not come back all at once, each asks
 * when it may try again: not while the circuit is open, and in turns, a limited number in a second.
 */
export class CircuitBreaker {
  readonly name: string
  /** Counters; plain fields. */
  opened = 0
  failures = 0
  successes = 0
  readonly #reconnectEveryMs: number
  readonly #random: () => number
  /** The turn of the last reconnect; the next one's is later. */
  #turnAtMs = -Infinity
  /** A session has connected since one could not. */
  #connects = true
  #openUntilMs: number | null = null
  /** The service reported a limit of the key as used up until then. */
  #exhaustedUntilMs = -Infinity
  #nextOpenMs = CIRCUIT_OPEN_MS
  #inARow = 0
  #probe: object | null = null
  #probeUntilMs = 0

  constructor(name: string, options: CircuitBreakerOptions = {}) {
    this.name = name
    this.#reconnectEveryMs = 1000 / (options.reconnectsPerSecond ?? RECONNECTS_PER_SECOND)
    this.#random = options.random ?? Math.random
  }

  state(nowMs: number): 'closed' | 'open' | 'half-open' {
    if (this.#openUntilMs === null) return 'closed'
    return nowMs < this.#openUntilMs ? 'open' : 'half-open'
  }

  report(nowMs: number): CircuitReport {
    const { name, opened, failures, successes } = this
    return {
      name,
      state: this.state(nowMs),
      openForMs: Math.max(0, (this.#openUntilMs ?? nowMs) - nowMs),
      opened,
      failures,
      successes,
    }
  }

  /** The service reported its remaining limits. Live sessions go on; new ones wait until a used-up limit is reset. */
  limits(limits: readonly RateLimit[], nowMs: number): void {
    const resetMs = limits
      .filter(({ limit, remaining }) => remaining < Math.max(1, limit * RATE_LIMIT_SPARE_RATIO))
      .reduce((longest, one) => Math.max(longest, one.resetMs), -Infinity)
    this.#exhaustedUntilMs = nowMs + Math.min(resetMs, RATE_LIMIT_REST_MS_MAX)
  }

  /** How much longer a limit of the key is used up; 0 when none is. */
  exhaustedForMs(nowMs: number): number {
    return Math.max(0, this.#exhaustedUntilMs - nowMs)
  }

  /** True if a new session should be tried. Changes nothing. */
  allows(nowMs: number): boolean {
    if (this.exhaustedForMs(nowMs) > 0) return false
    const state = this.state(nowMs)
    return state === 'closed' || (state === 'half-open' && (this.#probe === null || nowMs >= this.#probeUntilMs))
  }

  /**
   * How long a call that lost its session, or failed to connect, waits until it asks again; 0 when it may try this
   * backend. It may while the circuit is open too, if a session has connected since one could not: sessions that break
   * say nothing about new ones.
   */
  closedForMs(nowMs: number): number {
    if (this.#connects || this.allows(nowMs)) return 0
    const openMs = Math.max(this.exhaustedForMs(nowMs), (this.#openUntilMs ?? nowMs) - nowMs)
    return openMs > 0 ? openMs + AFTER_OPEN_MS * this.#random() : PROBE_LOOK_MS * (1 + this.#random())
  }

  /** Takes a turn for such a call. @returns how long it waits for it */
  turnMs(nowMs: number): number {
    const everyMs = this.#reconnectEveryMs
    this.#turnAtMs = Math.max(this.#turnAtMs + everyMs, nowMs - (RECONNECTS_AT_ONCE - 1) * everyMs)
    const inMs = this.#turnAtMs - nowMs
    return inMs <= 0 ? 0 : inMs + everyMs * this.#random()
  }

  /** A session is tried; as a last resort also when `allows` returns false. */
  enter(nowMs: number): CircuitPass {
    const key = {}
    if (this.state(nowMs) === 'half-open' && this.allows(nowMs)) {
      this.#probe = key
      this.#probeUntilMs = nowMs + CIRCUIT_PROBE_MS_MAX
    }
    let phase: 'trying' | 'good' | 'over' = 'trying'
    let ready = false
    const endProbe = (): boolean => {
      if (this.#probe !== key) return false
      this.#probe = null
      return true
    }
    return {
      connected: () => {
        ready = true
        this.#connects = true
      },
      succeeded: (atMs) => {
        if (phase !== 'trying') return
        phase = 'good'
        this.#succeeded(endProbe(), atMs)
      },
      failed: (code, message, atMs) => {
        if (phase === 'over') return
        phase = 'over'
        if (!ready && !NO_VERDICT.has(code)) this.#connects = false
        this.#failed(code, message, endProbe(), atMs)
      },
      released: () => {
        phase = 'over'
        endProbe()
      },
    }
  }

  #succeeded(probe: boolean, nowMs: number): void {
    this.successes++
    this.#inARow = 0
    // A session from before the faults may still work; that says nothing about new sessions.
    if (!probe && this.state(nowMs) !== 'closed') return
    this.#openUntilMs = null
    this.#nextOpenMs = CIRCUIT_OPEN_MS
  }

  #failed(code: BackendErrorCode, message: string, probe: boolean, nowMs: number): void {
    if (NO_VERDICT.has(code)) return
    this.failures++
    this.#inARow++
    if (code === 'auth' || code === 'quota') return this.#open(nowMs + CIRCUIT_FINAL_OPEN_MS)
    // Sessions that were live when it opened may fail later; that must not keep it open longer.
    if (this.state(nowMs) !== 'closed' && !probe) return
    if (code !== 'rate_limit' && !probe && this.#inARow < CIRCUIT_FAILURES_TO_OPEN) return
    const openMs = code === 'rate_limit' ? (retryAfterMs(message) ?? this.#nextOpenMs) : this.#nextOpenMs
    this.#nextOpenMs = Math.min(CIRCUIT_OPEN_MS_MAX, this.#nextOpenMs * 2)
    this.#open(nowMs + Math.min(openMs, CIRCUIT_FINAL_OPEN_MS))
  }

  #open(untilMs: number): void {
    this.opened++
    this.#openUntilMs = Math.max(this.#openUntilMs ?? -Infinity, untilMs)
  }
}

interface CircuitBreakerOptions {
  /** Reconnects of all calls of a worker to one backend. */
  readonly reconnectsPerSecond?: number
  /** 0 to below 1. */
  readonly random?: () => number
}

/** The state of a circuit, for operators. Plain data. */
export interface CircuitReport {
  readonly name: string
  readonly state: 'closed' | 'open' | 'half-open'
  /** How much longer it stays open; 0 when it is not open. */
  readonly openForMs: number
  readonly opened: number
  readonly failures: number
  readonly successes: number
}

/**
 * How long a service asks callers to wait, from the text of its error: OpenAI writes "Please try again in 1.2s" (also
 * `6m0s`, `820ms`), others and `httpFault` write "retry after 30". Null without such a text.
 */
export function retryAfterMs(message: string): number | null {
  const bare = /retry[ -]?after[":= ]*(\d{1,5})(?![\d.]*\s*(?:ms|m\b))/i.exec(message)
  if (bare !== null) return Number(bare[1]) * 1000
  const words = /try again in ((?:\d{1,6}(?:\.\d{1,6})?(?:ms|s|m|h)){1,4})/i.exec(message)
  if (words === null) return null
  const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const
  let ms = 0
  for (const [, amount, unit] of (words[1] as string).matchAll(/([\d.]+)(ms|s|m|h)/gi)) {
    ms += Number(amount) * UNITS[(unit as string).toLowerCase() as keyof typeof UNITS]
  }
  return ms
}

/** The circuits of one worker, one for each backend by its name. */
export class Circuits {
  /** 0 to below 1. */
  readonly random: () => number
  readonly #options: CircuitBreakerOptions
  readonly #breakers = new Map<string, CircuitBreaker>()

  constructor(options: CircuitBreakerOptions = {}) {
    this.#options = options
    this.random = options.random ?? Math.random
  }

  /** The breaker of `name`, made on first use. Beyond CIRCUITS_MAX names, further names share one. */
  of(name: string): CircuitBreaker {
    const key = this.#breakers.has(name) || this.#breakers.size < CIRCUITS_MAX ? name : 'other'
    let breaker = this.#breakers.get(key)
    if (breaker === undefined) {
      breaker = new CircuitBreaker(key, this.#options)
      this.#breakers.set(key, breaker)
    }
    return breaker
  }

  /** For an operator: every circuit and its state. */
  report(nowMs: number): CircuitReport[] {
    return [...this.#breakers.values()].map((one) => one.report(nowMs))
  }
}
