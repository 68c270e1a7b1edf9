import type { Wake } from '../core/clock.js'
import { smallArray } from '../core/small-arrays.js'

/**
 * A fixed set of named deadlines. A deadline is cleared before it fires, so its handler may set it again. Operators see
 * the name of the deadline as the reason for a wake-up.
 */
export class Deadlines<Name extends string> {
  readonly #names: readonly Name[]
  readonly #atMs: Float64Array
  #wake: Wake | null = null
  #stale = false

  constructor(names: readonly Name[]) {
    this.#names = names
    this.#atMs = smallArray(Float64Array, names.length).fill(Infinity)
  }

  set(name: Name, atMs: number): void {
    this.#atMs[this.#names.indexOf(name)] = atMs
    this.#stale = true
  }

  clear(name: Name): void {
    this.set(name, Infinity)
  }

  clearAll(): void {
    this.#atMs.fill(Infinity)
    this.#stale = true
  }

  /** Deadlines that are set, with their remaining time in milliseconds. */
  left(nowMs: number): Partial<Record<Name, number>> {
    return Object.fromEntries(
      this.#names.flatMap((name, index) => {
        const atMs = this.#atMs[index] as number
        return atMs < Infinity ? [[name, Math.max(0, atMs - nowMs)]] : []
      }),
    ) as Partial<Record<Name, number>>
  }

  /** Time until the deadline, in milliseconds; Infinity if the deadline is not set. */
  leftMs(name: Name, nowMs: number): number {
    return (this.#atMs[this.#names.indexOf(name)] as number) - nowMs
  }

  isSet(name: Name): boolean {
    return (this.#atMs[this.#names.indexOf(name)] as number) < Infinity
  }

  /** Clears and returns the earliest deadline that is due; null if no deadline is due. */
  takeDue(nowMs: number): Name | null {
    const first = this.#earliest()
    if (first < 0 || (this.#atMs[first] as number) > nowMs) return null
    this.#atMs[first] = Infinity
    this.#stale = true
    return this.#names[first] as Name
  }

  /** Returns the next wake-up; cached between changes because every tick reads it. */
  next(): Wake | null {
    if (!this.#stale) return this.#wake
    this.#stale = false
    const first = this.#earliest()
    this.#wake = first < 0 ? null : { atMs: this.#atMs[first] as number, reason: this.#names[first] as Name }
    return this.#wake
  }

  #earliest(): number {
    let first = -1
    let atMs = Infinity
    for (let i = 0; i < this.#atMs.length; i++) {
      const candidate = this.#atMs[i] as number
      if (candidate < atMs) {
        atMs = candidate
        first = i
      }
    }
    return first
  }
}
