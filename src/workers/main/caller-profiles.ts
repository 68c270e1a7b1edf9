import type { CallLogEntry } from '../../call/documents/log-entry.js'
import { LRUCache } from 'lru-cache'
import type { CallerValues } from '../../call/caller-data.js'
import { atMost } from '../../core/at-most.js'
import type { Clock } from '../../core/clock.js'
import type { LegRateHz } from '../../core/units.js'
import type { CounterHandle, CounterOf } from '../../telemetry/metric-families.js'

/** Numbers whose line is known, and those whose language is; about 2 MB each when full. */
const LINES_MAX = 20_000
/** After this a line is heard at 16 kHz again: its owner may have another telephone by now. */
const KNOWN_FOR_MS = 7 * 24 * 3_600_000

/** Answers of look-ups that are remembered, at most 12 KB each, and for how long. */
const FOUND_MAX = 2000
const FOUND_FOR_MS = 3_600_000

/** The rate that an agent's file asks for. */
export type WantedRate = LegRateHz | 'auto'

/** The rate of a leg whose caller's line is not known. */
export function widestRateHz(wanted: WantedRate): LegRateHz {
  return wanted === 'auto' ? 16_000 : wanted
}

/**
 * Profiles of callers from earlier calls of this process: the lines that carry no more than a telephone's band, the
 * language spoken there, and the result of a look-up.
 */
export class CallerProfiles {
  readonly #narrow: LRUCache<string, boolean>
  readonly #languages: LRUCache<string, string>
  /** By caller and look-up (`foundKey`). */
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

  /** The same, from the log of a call; of agents with one language the entries have none. */
  logged(key: string, entries: readonly CallLogEntry[]): void {
    for (const entry of entries)
      if (entry.kind === 'transcript' && entry.record.role === 'caller' && entry.record.language !== undefined)
        this.spoke(key, entry.record.language)
  }

  /** The language of the last call in which this caller spoke; undefined: not known. */
  languageOf(key: string): string | undefined {
    return this.#languages.get(key)
  }

  /** A look-up has found this of the caller. @param lookUp  our number, the agent and its version (`lookUpOf`) */
  found(key: string, lookUp: string, values: CallerValues): void {
    if (key !== '') this.#found.set(foundKey(key, lookUp), values)
  }

  /** Result of that look-up within the hour; null: none. */
  foundOf(key: string, lookUp: string): CallerValues | null {
    return this.#found.get(foundKey(key, lookUp)) ?? null
  }

  /** The owner of this number wants to be forgotten. */
  forget(key: string): void {
    this.#narrow.delete(key)
    this.#languages.delete(key)
    const itsOwn = foundKey(key, '')
    for (const found of this.#found.keys()) if (found.startsWith(itsOwn)) this.#found.delete(found)
  }
}

/** No `partyKey` has a line break. */
function foundKey(key: string, lookUp: string): string {
  return `${key}\n${lookUp}`
}
