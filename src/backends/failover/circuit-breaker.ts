import { CIRCUITS_MAX } from '../../core/limits.js'
import type { BackendErrorCode, RateLimit } from '../backend.js'

/** Number of failures in a row, in all calls, after which the circuit opens. */
const CIRCUIT_FAILURES_TO_OPEN = 3
/**
 * Time in ms for which the circuit stays open the first time. The time doubles with each further time, up to
 * CIRCUIT_OPEN_MS_MAX.
 */
const CIRCUIT_OPEN_MS = 5000
const CIRCUIT_OPEN_MS_MAX = 120_000
const CIRCUIT_FINAL_OPEN_MS = 300_000
/** Maximum time in ms until a probing call reports its result. After this time, the next call becomes the probe. */
const CIRCUIT_PROBE_MS_MAX = 30_000
/**
 * Minimum share of an API key's limit that must remain for a new session. If less remains, the service would refuse the
 * session's first answers.
 */
const RATE_LIMIT_SPARE_RATIO = 0.01
/** Maximum time in ms for which a reported limit prevents new sessions. */
const RATE_LIMIT_REST_MS_MAX = 120_000

/** Number of reconnections that may begin at once, so that a single call with a broken session does not wait. */
const RECONNECTS_AT_ONCE = 2
/** Default of the maximum number of reconnections per second and worker. */
const RECONNECTS_PER_SECOND = 25
/** Time in ms in which waiting calls try again at random moments, after the circuit's open time has ended. */
const AFTER_OPEN_MS = 1000
/**
 * Minimum time in ms until a waiting call checks again, if another call probes the backend. The real time is random and
 * at most twice this minimum.
 */
const PROBE_LOOK_MS = 300

/** Reports one session's result to the circuit: a success, a failure, or a success and then a failure. */
export interface CircuitPass {
  /** Reports that the session is ready. The circuit does not change, because the session has not answered yet. */
  connected(): void
  /** Reports that the backend answered. Only the first report counts. */
  succeeded(nowMs: number): void
  failed(code: BackendErrorCode, message: string, nowMs: number): void
  /**
   * Reports that the session ended without a result, because the call ended first or the session failed for another
   * reason.
   */
  released(): void
}

const NO_VERDICT: ReadonlySet<BackendErrorCode> = new Set(['bad_request', 'session_expired'])

/**
 * Decides from the sessions of a worker's calls if new sessions of one backend should be tried.
 *
 *     closed    --CIRCUIT_FAILURES_TO_OPEN failures in a row--> open
 *     closed    --`unheard` in CIRCUIT_FAILURES_TO_OPEN sessions in a row--> open
 *     closed --rate_limit--> open, for the time that the service requests
 *     any       --auth, quota--> open, for CIRCUIT_FINAL_OPEN_MS
 *     open      --its time is over--> half-open
 *     half-open --one call tries: `enter`--> half-open, all other calls are refused
 *     half-open --the probe succeeded--> closed
 *     half-open --the probe failed--> open, for twice the previous time
 *     half-open --the probe ended without success or failure, or CIRCUIT_PROBE_MS_MAX passed--> half-open, next call tries
 *
 * The probe is a real call. If the backend still fails, only this caller waits briefly. `bad_request` (a mistake of one
 * agent) and `session_expired` do not count, because other sessions are not affected.
 *
 * A vendor's fault ends the sessions of all calls at once, but the calls must not all reconnect at once. So each call
 * asks when it may try again. While the circuit is open, no call may try. Afterwards, a limited number of calls per
 * second may try.
 */
export class CircuitBreaker {
  readonly name: string
  /** Number of times that the circuit opened. */
  opened = 0
  failures = 0
  successes = 0
  readonly #reconnectEveryMs: number
  readonly #random: () => number
  /** Time of the reconnection that was reserved last. The next reconnection is later. */
  #turnAtMs = -Infinity
  /** True if no connection has failed since a session last connected. */
  #connects = true
  #openUntilMs: number | null = null
  /** Time until which a limit of the API key is used up, according to the service. */
  #exhaustedUntilMs = -Infinity
  #nextOpenMs = CIRCUIT_OPEN_MS
  #inARow = 0
  /** Number of sessions in a row, over all calls, that were closed because their answers had no audible sound. */
  #unheardInARow = 0
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

  /**
   * Records the remaining limits that the service reported. If a limit is used up, open sessions continue, but new
   * sessions wait until the limit is reset.
   */
  limits(limits: readonly RateLimit[], nowMs: number): void {
    const resetMs = limits
      .filter(({ limit, remaining }) => remaining < Math.max(1, limit * RATE_LIMIT_SPARE_RATIO))
      .reduce((longest, one) => Math.max(longest, one.resetMs), -Infinity)
    this.#exhaustedUntilMs = nowMs + Math.min(resetMs, RATE_LIMIT_REST_MS_MAX)
  }

  /** Records that a caller has heard an answer. */
  heard(): void {
    this.#unheardInARow = 0
  }

  /**
   * Records that a session was closed because its answers had no audible sound. Earlier sound of the session counts as
   * a success, so this fault is counted separately.
   */
  unheard(nowMs: number): void {
    if (++this.#unheardInARow < CIRCUIT_FAILURES_TO_OPEN || this.state(nowMs) !== 'closed') return
    this.#open(nowMs + this.#nextOpenMs)
    this.#nextOpenMs = Math.min(CIRCUIT_OPEN_MS_MAX, this.#nextOpenMs * 2)
  }

  /** Time in ms for which a limit of the API key is still used up; 0 if no limit is used up. */
  exhaustedForMs(nowMs: number): number {
    return Math.max(0, this.#exhaustedUntilMs - nowMs)
  }

  /** True if a new session should be tried. This method does not change the state. */
  allows(nowMs: number): boolean {
    if (this.exhaustedForMs(nowMs) > 0) return false
    const state = this.state(nowMs)
    return state === 'closed' || (state === 'half-open' && (this.#probe === null || nowMs >= this.#probeUntilMs))
  }

  /**
   * Time in ms that a call waits before it asks again, if its session was lost or could not connect; 0 if the call may
   * try now. Even if the circuit is open, a try is allowed if no connection has failed since a session last connected.
   * In this case only existing sessions broke, and new sessions may work.
   */
  closedForMs(nowMs: number): number {
    if (this.#connects || this.allows(nowMs)) return 0
    const openMs = Math.max(this.exhaustedForMs(nowMs), (this.#openUntilMs ?? nowMs) - nowMs)
    return openMs > 0 ? openMs + AFTER_OPEN_MS * this.#random() : PROBE_LOOK_MS * (1 + this.#random())
  }

  /** Reserves a time for a reconnection. @returns milliseconds until this time */
  turnMs(nowMs: number): number {
    const everyMs = this.#reconnectEveryMs
    this.#turnAtMs = Math.max(this.#turnAtMs + everyMs, nowMs - (RECONNECTS_AT_ONCE - 1) * everyMs)
    const inMs = this.#turnAtMs - nowMs
    return inMs <= 0 ? 0 : inMs + everyMs * this.#random()
  }

  /** Begins a try. For a last resort, a try is allowed even if `allows` returns false. */
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
    // A session that began before the faults may still work, but this does not show that a new session would work.
    if (!probe && this.state(nowMs) !== 'closed') return
    this.#openUntilMs = null
    this.#nextOpenMs = CIRCUIT_OPEN_MS
  }

  #failed(code: BackendErrorCode, message: string, probe: boolean, nowMs: number): void {
    if (NO_VERDICT.has(code)) return
    this.failures++
    this.#inARow++
    if (code === 'auth' || code === 'quota') return this.#open(nowMs + CIRCUIT_FINAL_OPEN_MS)
    // Sessions that began before the circuit opened may fail later. Such failures must not extend the circuit's open
    // time.
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
  /** Maximum number of reconnections to one backend per second, over all calls of a worker. */
  readonly reconnectsPerSecond?: number
  /** Returns a random number from 0 up to 1. */
  readonly random?: () => number
}

/** The state of a circuit, for operators. Plain data. */
export interface CircuitReport {
  readonly name: string
  readonly state: 'closed' | 'open' | 'half-open'
  /** Time in ms for which the circuit stays open; 0 if the circuit is not open. */
  readonly openForMs: number
  readonly opened: number
  readonly failures: number
  readonly successes: number
}

/**
 * @returns the time in ms that a client should wait, from a service's error text; null if the text contains no time.
 * Forms: "try again in 1.2s" (`6m0s`, `820ms`), "retry after 30"
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

/** The circuits of one worker, one circuit per backend name. */
export class Circuits {
  /** Returns a random number from 0 up to 1. */
  readonly random: () => number
  readonly #options: CircuitBreakerOptions
  readonly #breakers = new Map<string, CircuitBreaker>()

  constructor(options: CircuitBreakerOptions = {}) {
    this.#options = options
    this.random = options.random ?? Math.random
  }

  /**
   * @returns the circuit of `name`, which is made at its first use. After CIRCUITS_MAX names, all further names share
   * one circuit
   */
  of(name: string): CircuitBreaker {
    const key = this.#breakers.has(name) || this.#breakers.size < CIRCUITS_MAX ? name : 'other'
    let breaker = this.#breakers.get(key)
    if (breaker === undefined) {
      breaker = new CircuitBreaker(key, this.#options)
      this.#breakers.set(key, breaker)
    }
    return breaker
  }

  /** @returns every circuit and its state, for an operator */
  report(nowMs: number): CircuitReport[] {
    return [...this.#breakers.values()].map((one) => one.report(nowMs))
  }
}
