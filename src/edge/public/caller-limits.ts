import { RateLimit } from '../../core/rate-limit.js'
import type { FleetNode } from '../../fleet/fleet-node.js'
import { partyKey } from '../../sautikit/phone.js'
import type { CallRefusal } from '../../call/documents/record.js'
import type { CallDirectory } from '../../workers/main/live-call.js'

/**
 * Maximum number of callers whose calls of the last minute are remembered. Above it, the callers that called least
 * recently are forgotten, and their counts restart.
 */
const CALLERS_MAX = 50_000

/** Limits of one caller at this gateway. */
export interface CallerLimitSettings {
  /** Maximum number of live calls of one number, in the whole fleet. */
  readonly calls: number
  /** Maximum number of new calls of one number in a minute, at each node. All of them may come at once. */
  readonly perMinute: number
  /** Maximum share in percent of a node's slots for all callers with a withheld number together. */
  readonly withheldPercent: number
  /** Numbers to which these limits do not apply. */
  readonly exempt: readonly string[]
}

/** Reason why a caller gets no stream although slots may be free. */
interface CallerRefusal {
  readonly reason: Extract<CallRefusal, 'caller-calls' | 'caller-rate' | 'withheld-calls'>
  readonly why: string
}

/**
 * Keeps one caller from taking every slot. Live calls are counted each time, so no count can become wrong. Callers with
 * a withheld number cannot be distinguished. They share a part of the slots, and have no rate limit of their own. Calls
 * that the gateway places do not count.
 */
export class CallerLimits {
  readonly #limits: CallerLimitSettings
  readonly #calls: Pick<CallDirectory, 'liveByCaller' | 'capacity'>
  readonly #node: Pick<FleetNode, 'callsOfCallerElsewhere'> | null
  readonly #exempt: ReadonlySet<string>
  readonly #rate: RateLimit

  constructor(
    limits: CallerLimitSettings,
    calls: Pick<CallDirectory, 'liveByCaller' | 'capacity'>,
    node: Pick<FleetNode, 'callsOfCallerElsewhere'> | null,
  ) {
    this.#limits = limits
    this.#calls = calls
    this.#node = node
    this.#exempt = new Set(limits.exempt.map(partyKey))
    this.#rate = new RateLimit({ perSecond: limits.perMinute / 60, burst: limits.perMinute, keysMax: CALLERS_MAX })
  }

  /** Refusal of a new call of this caller; null if the call may be taken. The call is not counted. */
  refusal(from: string, nowMs: number): CallerRefusal | null {
    const caller = partyKey(from)
    if (this.#exempt.has(caller)) return null
    const here = this.#calls.liveByCaller().get(caller) ?? 0
    const { calls, perMinute, withheldPercent } = this.#limits
    if (caller === '') {
      const share = Math.max(1, Math.floor((this.#calls.capacity * withheldPercent) / 100))
      if (here < share) return null
      return { reason: 'withheld-calls', why: `callers with a withheld number have all ${share} slots of their share` }
    }
    const live = here + (this.#node?.callsOfCallerElsewhere(caller) ?? 0)
    if (live >= calls) return { reason: 'caller-calls', why: `${live} calls of this number are live; at most ${calls}` }
    if (this.#rate.waitS(caller, nowMs) === 0) return null
    return { reason: 'caller-rate', why: `more than ${perMinute} calls of this number in a minute` }
  }

  /** Counts a new call of this caller that got a stream, or the agent's fallback. */
  answered(from: string, nowMs: number): void {
    const caller = partyKey(from)
    if (caller !== '' && !this.#exempt.has(caller)) this.#rate.take(caller, nowMs)
  }
}
