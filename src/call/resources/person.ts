import type { CallCore } from '../call-core.js'
import type { CallerValues, KnownCaller, Withheld } from '../caller-data.js'

const NOTHING: CallerValues = {}

/** Person on the line, and the proof of their identity. */
export class Person {
  #identity: Readonly<Record<string, unknown>> | null
  #known: KnownCaller | null
  /** True until the look-up, or this agent's memory, has answered. */
  #open: boolean
  #unconfirmed: number | null
  #greeted: boolean
  readonly #core: CallCore

  constructor(core: CallCore) {
    this.#core = core
    const { resume, log, options } = core
    this.#greeted = resume?.greeted ?? false
    this.#identity = resume?.identity ?? null
    this.#unconfirmed = resume?.callBack === 'asks' ? log.transcript.length : null
    const { source, of, memoryOf } = options.caller ?? {}
    const kept = resume?.caller
    this.#known = kept !== undefined && kept.source === source && kept.of === of ? kept : null
    // Each agent has a memory of its own, but the caller's data from an earlier look-up stays valid.
    this.#open = options.caller !== null && (this.#known === null || this.#known.memoryOf !== memoryOf)
    if (this.#open && this.#known !== null) this.#known = { ...this.#known, earlier: NOTHING }
  }

  /** Identity of the caller, verified by a tool; null before verification. */
  get identity(): Readonly<Record<string, unknown>> | null {
    return this.#identity
  }

  /** Result of the look-up of the caller; null before the result. */
  get known(): KnownCaller | null {
    return this.#known
  }

  /**
   * Number of transcript entries of the cut-off call. Null in other calls, and after the person who is called back has
   * confirmed.
   */
  get unconfirmed(): number | null {
    return this.#unconfirmed
  }

  /** True if the caller was greeted, or the model was asked to greet. */
  get greeted(): boolean {
    return this.#greeted
  }

  /** @param withheld  values of the look-up that a journal left out; null if the look-up has these values */
  identify(identity: Readonly<Record<string, unknown>>, withheld: Withheld | null): void {
    this.#identity = identity
    if (withheld === null || this.#known === null) return
    const values = { ...this.#known.values, ...withheld.values }
    this.#known = { ...this.#known, values, earlier: withheld.earlier }
  }

  lookedUp(known: KnownCaller): void {
    this.#known = known
    this.#open = false
  }

  /** Notes that the called person has confirmed the wish to continue. */
  confirm(): void {
    this.#unconfirmed = null
  }

  greet(greeted: boolean): void {
    this.#greeted = greeted
  }

  /** True until the look-up has answered. */
  get open(): boolean {
    return this.#open
  }

  /** Values that may be said to this caller now. */
  get values(): CallerValues {
    if (this.#known === null) return NOTHING
    if (this.#identity !== null) return { ...this.earlier, ...this.#known.values }
    const { personal = [] } = this.#core.options.caller ?? {}
    return Object.fromEntries(Object.entries(this.#known.values).filter(([name]) => !personal.includes(name)))
  }

  /** Values from an earlier call of this number; empty until the caller has proved that the number is theirs. */
  get earlier(): CallerValues {
    return this.#identity === null ? NOTHING : (this.#known?.earlier ?? NOTHING)
  }
}
