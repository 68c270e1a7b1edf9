/**
 * Reasons for which a resource of the call is held, each list in order of precedence: of several grants at once the first one
 * counts, and the others wait behind it. A grant is taken and returned by one feature.
 */
export const PRECEDENCE = {
  /** Reasons for which responses of the model are not played. */
  floor: ['next-agent', 'line', 'recording', 'digits', 'consent', 'caller', 'greeting'],
  /** Sound of ours that the caller cannot interrupt. */
  sound: ['tones', 'consent'],
  /** Takers of the caller's keys, before the backend. */
  keypad: ['consent', 'digits', 'call-back', 'ring-back'],
  /** Consumers of the caller's words, before the model. */
  input: ['digits'],
} as const

export type ReasonOf<Resource extends keyof typeof PRECEDENCE> = (typeof PRECEDENCE)[Resource][number]

/** The grants of one resource. */
export class Grants<Resource extends keyof typeof PRECEDENCE> {
  readonly #order: readonly ReasonOf<Resource>[]
  /** Bit i: the grant of reason i is held. */
  #held = 0
  /** Bit i: reason i was held when the grants were last marked, and ever since. */
  #marked = 0

  constructor(resource: Resource) {
    this.#order = PRECEDENCE[resource]
  }

  /** @returns true if it was not held */
  take(reason: ReasonOf<Resource>): boolean {
    const before = this.#held
    this.#held |= this.#bit(reason)
    return this.#held !== before
  }

  /** @returns true if it was held */
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

  /** Makes grants that are held now older than those that are taken from now on. */
  mark(): void {
    this.#marked = this.#held
  }

  /** True if it is held, and was taken after `mark`. */
  isNewer(reason: ReasonOf<Resource>): boolean {
    return (this.#held & ~this.#marked & this.#bit(reason)) !== 0
  }

  has(...reasons: readonly ReasonOf<Resource>[]): boolean {
    return reasons.some((reason) => (this.#held & this.#bit(reason)) !== 0)
  }

  /** The reason that counts; null if the resource is free. */
  get holder(): ReasonOf<Resource> | null {
    return this.#order.find((reason) => this.has(reason)) ?? null
  }

  #bit(reason: ReasonOf<Resource>): number {
    return 1 << this.#order.indexOf(reason)
  }
}
