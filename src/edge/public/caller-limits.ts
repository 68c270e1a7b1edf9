import { RateLimit } from '../../core/rate-limit.js'
import type { FleetNode } from '../../fleet/fleet-node.js'
import { partyKey } from '../../sautikit/phone.js'
import type { CallRefusal } from '../../call/documents/record.js'
import type { CallDirectory } from '../../workers/main/live-call.js'

/** Callers whose calls of the last minute are remembered; of more, those not seen for longest start anew. */
const CALLERS_MAX = 50_000

/** Limits of one caller at this gateway. */
export interface CallerLimitSettings {
  /** Live calls of one number, in the whole fleet. */
  readonly calls: number
  /** New calls of one number in a minute, at each node. A minute's worth may come at once. */
  readonly perMinute: number
  /** The share of a node's slots that callers with a withheld number may have together. */
  readonly withheldPercent: number
  /** Numbers to which none of this applies. */
  readonly exempt: readonly string[]
}

/** Why a caller gets no stream, where there may be slots. */
interface CallerRefusal {
  readonly reason: Extract<CallRefusal, 'caller-calls' | 'caller-rate' | 'withheld-calls'>
  readonly why: string
}

/**
 * Keeps one caller from taking every slot. Live calls are counted, not added up and down, so nothing can leak. Callers
 * with a withheld number look alike: they share a part of the slots, and have no rate of their own. Calls that the
 * gateway places do not count.
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

  /** Says whether a new call of this caller is refused; null when it may be taken. Counts nothing. */
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

  /** A new call of this caller got a stream, or the agent's fallback. */
  answered(from: string, nowMs: number): void {
    const caller = partyKey(from)
    if (caller !== '' && !this.#exempt.has(caller)) this.#rate.take(caller, nowMs)
  }
}
