import type { CallCore } from '../call-core.js'
import type { CallerValues, KnownCaller, Withheld } from '../caller-data.js'

const NOTHING: CallerValues = {}

/** Who is on the line, as far as that is proven. */
export class Person {
  #identity: Readonly<Record<string, unknown>> | null
  #known: KnownCaller | null
  /** The look-up, or the memory of this agent, has no answer yet. */
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
    // Another agent's memory is its own; the caller's data of the same look-up stay known.
    this.#open = options.caller !== null && (this.#known === null || this.#known.memoryOf !== memoryOf)
    if (this.#open && this.#known !== null) this.#known = { ...this.#known, earlier: NOTHING }
  }

  /** Who the caller is, once a tool has established it; null before. */
  get identity(): Readonly<Record<string, unknown>> | null {
    return this.#identity
  }

  /** Result of the look-up of the caller; null: none yet. */
  get known(): KnownCaller | null {
    return this.#known
  }

  /** Number of transcript entries of the call that was cut off, while a person who is rung back has not confirmed; else null. */
  get unconfirmed(): number | null {
    return this.#unconfirmed
  }

  /** The caller is greeted, or the model was asked to greet. */
  get greeted(): boolean {
    return this.#greeted
  }

  /** @param withheld  values that the look-up had in a journal without their content; null: it has them */
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

  /** The person who was rung back continues. */
  confirm(): void {
    this.#unconfirmed = null
  }

  greet(greeted: boolean): void {
    this.#greeted = greeted
  }

  /** The look-up has no answer yet. */
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

  /** Values that an earlier call of this number has left: nothing before the caller has proved to be its owner. */
  get earlier(): CallerValues {
    return this.#identity === null ? NOTHING : (this.#known?.earlier ?? NOTHING)
  }
}
