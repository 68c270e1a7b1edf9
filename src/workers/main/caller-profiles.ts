import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'
import type { LegRateHz } from '../../core/units.js'
import type { CounterHandle, CounterOf } from '../../telemetry/metric-families.js'

/** Numbers whose line is known, and those whose language is; about 2 MB each when full. */
const LINES_MAX = 20_000
/** After this a line is heard at 16 kHz again: its owner may have another telephone by now. */
const KNOWN_FOR_MS = 7 * 24 * 3_600_000

/** The rate that an agent's file asks for. */
export type WantedRate = LegRateHz | 'auto'

/** The rate of a leg whose caller's line is not known. */
export function widestRateHz(wanted: WantedRate): LegRateHz {
  return wanted === 'auto' ? 16_000 : wanted
}

/**
 * What earlier calls of this process have learnt of callers' lines: which carry no more than a telephone's band, and
 * which language is spoken there.
 */
export class CallerProfiles {
  readonly #narrow: LRUCache<string, boolean>
  readonly #languages: LRUCache<string, string>
  readonly #legs: CounterOf<'rate'>

  constructor(clock: Clock, metrics: { readonly legs: CounterOf<'rate'>; readonly linesForgotten: CounterHandle }) {
    this.#legs = metrics.legs
    const bounds = {
      ...atMost(LINES_MAX),
      ttl: KNOWN_FOR_MS,
      ttlResolution: 0,
      perf: { now: clock },
      dispose: (_value: unknown, _key: string, reason: LRUCache.DisposeReason): void => {
        if (reason === 'evict') metrics.linesForgotten.inc()
      },
    }
    this.#narrow = new LRUCache<string, boolean>(bounds)
    this.#languages = new LRUCache<string, string>(bounds)
  }

  /**
   * The rate of a new call's leg.
   * @param key  of the number (`partyKey`); empty for a withheld one, of which nothing can be known
   * @param usesLegRate  the call's backend works at 8 kHz on a leg of 8 kHz
   */
  rateHz(wanted: WantedRate, key: string, usesLegRate: boolean): LegRateHz {
    const isNarrow = wanted === 'auto' && usesLegRate && key !== '' && this.#narrow.get(key) === true
    const rateHz = isNarrow ? 8000 : widestRateHz(wanted)
    this.#legs({ rate: String(rateHz) }).inc()
    return rateHz
  }

  /** A call has heard the line of this number. */
  heard(key: string, narrow: boolean): void {
    if (key !== '') this.#narrow.set(key, narrow)
  }

  /** The caller has spoken in a call of this language: `sw-KE`. */
  spoke(key: string, language: string): void {
    if (key !== '') this.#languages.set(key, language)
  }

  /** The language of the last call in which this caller spoke; undefined: not known. */
  languageOf(key: string): string | undefined {
    return this.#languages.get(key)
  }

  /** The owner of this number wants to be forgotten. */
  forget(key: string): void {
    this.#narrow.delete(key)
    this.#languages.delete(key)
  }
}
