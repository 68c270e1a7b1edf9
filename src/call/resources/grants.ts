/**
 * Resources of the call, each with the reasons for a grant in order of precedence. If several grants are held, the
 * first reason in the list has the resource, and the other reasons wait. Each reason belongs to one feature, which
 * takes and returns the grant.
 */
export const PRECEDENCE = {
  /** Reasons for which the model's responses are not played. */
  floor: ['next-agent', 'line', 'recording', 'digits', 'consent', 'caller', 'greeting'],
  /** Reasons for which the caller cannot interrupt the gateway's sound. */
  sound: ['tones', 'consent'],
  /** Features that take the caller's DTMF digits, before the backend. */
  keypad: ['consent', 'digits', 'call-back', 'ring-back'],
  /** Features that take the caller's words, before the model. */
  input: ['digits'],
} as const

export type ReasonOf<Resource extends keyof typeof PRECEDENCE> = (typeof PRECEDENCE)[Resource][number]

/** The grants of one resource. */
export class Grants<Resource extends keyof typeof PRECEDENCE> {
  readonly #order: readonly ReasonOf<Resource>[]
  /** Bit i is set while the grant for reason i is held. */
  #held = 0
  /** Bit i is set if reason i was held at the last `mark` and has been held since. */
  #marked = 0

  constructor(resource: Resource) {
    this.#order = PRECEDENCE[resource]
  }

  /** Takes a grant. @returns true if the grant was not held before */
  take(reason: ReasonOf<Resource>): boolean {
    const before = this.#held
    this.#held |= this.#bit(reason)
    return this.#held !== before
  }

  /** Returns a grant. @returns true if the grant was held */
  giveBack(reason: ReasonOf<Resource>): boolean {
    const before = this.#held
    this.#held &= ~this.#bit(reason)
    this.#marked &= this.#held
    return this.#held !== before
  }

  set(reason: ReasonOf<Resource>, held: boolean): void {
    if (held) this.take(reason)
    else this.giveBack(reason)
  }

  /** Marks all grants that are held now, to distinguish them from later grants. */
  mark(): void {
    this.#marked = this.#held
  }

  /** True if the grant is held and was taken after `mark`. */
  isNewer(reason: ReasonOf<Resource>): boolean {
    return (this.#held & ~this.#marked & this.#bit(reason)) !== 0
  }

  has(...reasons: readonly ReasonOf<Resource>[]): boolean {
    return reasons.some((reason) => (this.#held & this.#bit(reason)) !== 0)
  }

  /** Reason that has the resource now; null if the resource is free. */
  get holder(): ReasonOf<Resource> | null {
    return this.#order.find((reason) => this.has(reason)) ?? null
  }

  #bit(reason: ReasonOf<Resource>): number {
    return 1 << this.#order.indexOf(reason)
  }
}
