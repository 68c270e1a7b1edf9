import { FAILOVER_REST_MS } from '../../core/limits.js'
import type { CircuitBreaker } from './circuit-breaker.js'

interface Candidate {
  readonly circuit: CircuitBreaker
  tried: boolean
  restsUntilMs: number
  /** Its fault does not mend within a call: a wrong key, an empty account, a request that it does not take. */
  out: boolean
}

/**
 * Which backend of the list is asked next. In one search each is tried once. First those that nothing speaks against, in
 * the order of the list; then, before a call is given up, those that failed a moment ago here or in other calls.
 */
export class Candidates {
  readonly #all: readonly Candidate[]

  constructor(circuits: readonly CircuitBreaker[]) {
    this.#all = circuits.map((circuit) => ({ circuit, tried: false, restsUntilMs: -Infinity, out: false }))
  }

  /** A new search. */
  begin(): void {
    for (const candidate of this.#all) candidate.tried = false
  }

  /** @returns its place in the list, or null when there is none left. Marks nothing. */
  next(nowMs: number, preferred: number | null = null): number | null {
    const isFree = (candidate: Candidate | undefined): boolean => candidate !== undefined && !candidate.tried && !candidate.out
    if (preferred !== null && isFree(this.#all[preferred])) return preferred
    const good = this.#all.findIndex((candidate) => isFree(candidate) && this.#isGood(candidate, nowMs))
    if (good >= 0) return good
    const last = this.#all.findIndex(isFree)
    return last >= 0 ? last : null
  }

  /** Somebody could take over from `index`, without a last resort. */
  hasBetterThan(index: number, nowMs: number): boolean {
    return this.#all.some((candidate, i) => i !== index && !candidate.out && this.#isGood(candidate, nowMs))
  }

  /** For the place beside `active`: only one that nothing speaks against. */
  beside(active: number, eligible: (index: number) => boolean, nowMs: number): number | null {
    const index = this.#all.findIndex((candidate, i) => i !== active && eligible(i) && !candidate.out && this.#isGood(candidate, nowMs))
    return index >= 0 ? index : null
  }

  isFree(index: number): boolean {
    const candidate = this.#all[index]
    return candidate !== undefined && !candidate.tried && !candidate.out
  }

  tried(index: number): void {
    const candidate = this.#all[index]
    if (candidate !== undefined) candidate.tried = true
  }

  failed(index: number, retryable: boolean, nowMs: number): void {
    const candidate = this.#all[index]
    if (candidate === undefined) return
    candidate.restsUntilMs = nowMs + FAILOVER_REST_MS
    if (!retryable) candidate.out = true
  }

  #isGood(candidate: Candidate, nowMs: number): boolean {
    return nowMs >= candidate.restsUntilMs && candidate.circuit.allows(nowMs)
  }
}
