import type { CallLogEntry } from '../../call/documents/log-entry.js'
import { LRUCache } from 'lru-cache'
import type { CallerValues } from '../../call/caller-data.js'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'
import type { LegRateHz } from '../../core/units.js'
import type { CounterHandle, CounterOf } from '../../telemetry/metric-families.js'

/**
 * Maximum number of phone numbers in the table of lines, and in the table of languages. Each full table needs about 2
 * MB.
 */
const LINES_MAX = 20_000
/**
 * Time in ms for which a narrow line is remembered. After this time the line is tried at 16 kHz again, because its
 * owner may have a new telephone.
 */
const KNOWN_FOR_MS = 7 * 24 * 3_600_000

/**
 * Maximum number of remembered look-up results, of 12 KB each at most. `FOUND_FOR_MS`: time in ms for which a result is
 * remembered.
 */
const FOUND_MAX = 2000
const FOUND_FOR_MS = 3_600_000

/** Sample rate that an agent's file wants for its legs. */
export type WantedRate = LegRateHz | 'auto'

/** Sample rate of a leg if the caller's line is unknown. */
export function widestRateHz(wanted: WantedRate): LegRateHz {
  return wanted === 'auto' ? 16_000 : wanted
}

/**
 * Profiles of callers from earlier calls of this process. A profile has the band of the line (narrow: only a
 * telephone's band), the language spoken on the line, and the result of a look-up.
 */
export class CallerProfiles {
  readonly #narrow: LRUCache<string, boolean>
  readonly #languages: LRUCache<string, string>
  /** Results of look-ups, by caller and look-up (`foundKey`). */
  readonly #found: LRUCache<string, CallerValues>
  readonly #legs: CounterOf<'rate'>

  constructor(
    clock: Clock,
    metrics: {
      readonly legs: CounterOf<'rate'>
      readonly linesForgotten: CounterHandle
      readonly callersForgotten: CounterHandle
    },
  ) {
    this.#legs = metrics.legs
    const bounds = (entries: number, ttl: number, forgotten: CounterHandle) => ({
      ...atMost(entries),
      ttl,
      ttlResolution: 0,
      perf: { now: clock },
      dispose: (_value: unknown, _key: string, reason: LRUCache.DisposeReason): void => {
        if (reason === 'evict') forgotten.inc()
      },
    })
    const ofLines = bounds(LINES_MAX, KNOWN_FOR_MS, metrics.linesForgotten)
    this.#narrow = new LRUCache<string, boolean>(ofLines)
    this.#languages = new LRUCache<string, string>(ofLines)
    this.#found = new LRUCache<string, CallerValues>(bounds(FOUND_MAX, FOUND_FOR_MS, metrics.callersForgotten))
  }

  /**
   * The sample rate of a new call's leg.
   * @param key  the number's `partyKey`; empty for a withheld number
   * @param usesLegRate  true: the backend works at 8 kHz on such a leg
   */
  rateHz(wanted: WantedRate, key: string, usesLegRate: boolean): LegRateHz {
    const isNarrow = wanted === 'auto' && usesLegRate && key !== '' && this.#narrow.get(key) === true
    const rateHz = isNarrow ? 8000 : widestRateHz(wanted)
    this.#legs({ rate: String(rateHz) }).inc()
    return rateHz
  }

  /** Notes the band that a call measured on the line of this number. */
  heard(key: string, narrow: boolean): void {
    if (key !== '') this.#narrow.set(key, narrow)
  }

  /** Notes that the caller has spoken in a call of this language, such as `sw-KE`. */
  spoke(key: string, language: string): void {
    if (key !== '') this.#languages.set(key, language)
  }

  /** Notes the languages in the log of a call. If an agent has only one language, its entries do not name a language. */
  logged(key: string, entries: readonly CallLogEntry[]): void {
    for (const entry of entries)
      if (entry.kind === 'transcript' && entry.record.role === 'caller' && entry.record.language !== undefined)
        this.spoke(key, entry.record.language)
  }

  /** The language of the last call in which this caller spoke; undefined if unknown. */
  languageOf(key: string): string | undefined {
    return this.#languages.get(key)
  }

  /**
   * Notes the values that a look-up has found for the caller.
   * @param lookUp  our number, the agent and its version (`lookUpOf`)
   */
  found(key: string, lookUp: string, values: CallerValues): void {
    if (key !== '') this.#found.set(foundKey(key, lookUp), values)
  }

  /** Result of this look-up within the last hour; null if there is none. */
  foundOf(key: string, lookUp: string): CallerValues | null {
    return this.#found.get(foundKey(key, lookUp)) ?? null
  }

  /** Forgets all facts of this number, because its owner wants this. */
  forget(key: string): void {
    this.#narrow.delete(key)
    this.#languages.delete(key)
    const itsOwn = foundKey(key, '')
    for (const found of this.#found.keys()) if (found.startsWith(itsOwn)) this.#found.delete(found)
  }
}

/** A `partyKey` never contains a line break. */
function foundKey(key: string, lookUp: string): string {
  return `${key}\n${lookUp}`
}
