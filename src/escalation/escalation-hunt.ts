import { ESCALATION_NUMBERS_MAX } from '../core/limits.js'
import type { EscalationOptions } from './escalation-events.js'
import { isOpen } from './hours.js'

/** The numbers that can be rung at this hour, in their order, and whose turn it is. */
export class Hunt {
  #humans: readonly { readonly number: string; readonly place: number }[] = []
  #index = 0
  #closed = false

  /** Looks who is there. @param nowMs monotonic */
  begin({ humans, hours, wallOffsetMs }: EscalationOptions, nowMs: number): void {
    const wallMs = nowMs + wallOffsetMs
    const listed = humans.slice(0, ESCALATION_NUMBERS_MAX).map((human, index) => ({ ...human, place: index + 1 }))
    this.#humans = hours !== null && !isOpen(hours, wallMs)
      ? [] : listed.filter((human) => human.hours === null || isOpen(human.hours, wallMs))
    this.#closed = humans.length > 0 && this.#humans.length === 0
    this.#index = 0
  }

  /** There are numbers, and nobody is at any of them at this hour. */
  get closed(): boolean {
    return this.#closed
  }

  get someone(): boolean {
    return this.#humans.length > 0
  }

  get number(): string {
    return this.#humans[this.#index]?.number ?? ''
  }

  /** Place in the agent's list, from 1; null when the list is through. */
  get place(): number | null {
    return this.#humans[this.#index]?.place ?? null
  }

  /** For people: `number 2 of 3`. */
  get position(): string {
    return `number ${this.#index + 1} of ${this.#humans.length}`
  }

  /** @returns false when nobody is left */
  next(): boolean {
    this.#index++
    return this.#index < this.#humans.length
  }

  /** Another way begins with the first number. */
  again(): void {
    this.#index = 0
  }
}
