import { LRUCache } from 'lru-cache'
import type { Clock } from '../core/clock.js'
import type { LegRateHz } from '../core/units.js'
import type { CounterHandle, CounterOf } from '../telemetry/metric-families.js'

/** Numbers whose line is known; about 2 MB when full. */
const LINES_MAX = 20_000
/** After this a line is heard at 16 kHz again: its owner may have another telephone by now. */
const KNOWN_FOR_MS = 7 * 24 * 3_600_000

/** The rate that an agent's file asks for. */
export type WantedRate = LegRateHz | 'auto'

/** The rate of a leg whose caller's line is not known. */
export function widestRateHz(wanted: WantedRate): LegRateHz {
  return wanted === 'auto' ? 16_000 : wanted
}

/** Which callers' lines carry no more than a telephone's band, as earlier calls of this process have heard it. */
export class KnownLines {
  readonly #narrow: LRUCache<string, boolean>
  readonly #legs: CounterOf<'rate'>

  constructor(clock: Clock, metrics: { readonly legs: CounterOf<'rate'>; readonly linesForgotten: CounterHandle }) {
    this.#legs = metrics.legs
    this.#narrow = new LRUCache({
      max: LINES_MAX,
      ttl: KNOWN_FOR_MS,
      ttlResolution: 0,
      perf: { now: clock },
      dispose: (_narrow, _key, reason) => {
        if (reason === 'evict') metrics.linesForgotten.inc()
      },
    })
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

  /** The owner of this number wants to be forgotten. */
  forget(key: string): void {
    this.#narrow.delete(key)
  }
}
