import type { CallCore } from '../call-core.js'
import type { CallerValues, KnownCaller, Withheld } from '../caller-data.js'
import type { CallLogRecords } from '../documents/log-entry.js'
import { earlierIn, logBefore, logSince, mayTell } from '../earlier-call.js'
import type { EarlierPart, ProofNeeded } from '../documents/checkpoint.js'
import type { Identity } from '../owner.js'
import { VERIFY_TOOL } from '../tools/gateway-tools.js'

const NOTHING: CallerValues = {}

/** Person on the line, and the proof of their identity. */
export class Person {
  #identity: Identity | null
  #known: KnownCaller | null
  /** True until the look-up, or this agent's memory, has answered. */
  #open: boolean
  #earlierPart: EarlierPart | null
  /** True in a call back until the person was given the earlier call. */
  #withheld: boolean
  #greeted: boolean
  readonly #core: CallCore

  constructor(core: CallCore) {
    this.#core = core
    const { resume, log, options } = core
    this.#greeted = resume?.greeted ?? false
    this.#identity = resume?.identity ?? null
    this.#earlierPart = resume === null ? null : earlierIn(resume, log)
    this.#withheld = resume?.callBack === 'asks'
    const { source, of, memoryOf } = options.caller ?? {}
    const kept = resume?.caller
    this.#known = kept !== undefined && kept.source === source && kept.of === of ? kept : null
    // Each agent has a memory of its own, but the caller's data from an earlier look-up stays valid.
    this.#open = options.caller !== null && (this.#known === null || this.#known.memoryOf !== memoryOf)
    if (this.#open && this.#known !== null) this.#known = { ...this.#known, earlier: NOTHING }
  }

  /** Identity of the caller, verified by a tool; null before verification. */
  get identity(): Identity | null {
    return this.#identity
  }

  /** Result of the look-up of the caller; null before the result. */
  get known(): KnownCaller | null {
    return this.#known
  }

  /** Part of the log that belongs to the earlier call; null if the call is no call back. */
  get earlierPart(): EarlierPart | null {
    return this.#earlierPart
  }

  /** True in a call back until the person was given the earlier call. */
  get withheld(): boolean {
    return this.#withheld
  }

  /** True in a call back until the person has said that they want to go on. */
  get asked(): boolean {
    return this.#withheld && this.#earlierPart?.agreed !== true
  }

  /** True if the person has proved what they have to prove before they may hear the earlier call. */
  get mayHear(): boolean {
    return this.#earlierPart === null || this.#mayHear(this.#earlierPart.proof)
  }

  /** True if a proof that the person can still give would let them hear the earlier call. */
  get canProve(): boolean {
    const { proof } = this.#earlierPart ?? {}
    return this.#verifies && this.#identity === null && !(proof?.needs === 'owner' && proof.owner === null)
  }

  /** Log of the earlier call; null if the call is no call back. */
  get logBefore(): CallLogRecords | null {
    return logBefore(this.#core.log, this.#earlierPart)
  }

  /** Log of this call alone. */
  get logSince(): CallLogRecords {
    return logSince(this.#core.log, this.#earlierPart)
  }

  /** Log of the call, without the entries that the person may not hear. */
  get told(): CallLogRecords {
    return this.#withheld ? this.logSince : this.#core.log
  }

  /** True if the caller was greeted, or the model was asked to greet. */
  get greeted(): boolean {
    return this.#greeted
  }

  /** @param withheld  values of the look-up that a journal left out; null if the look-up has these values */
  identify(identity: Identity, withheld: Withheld | null): void {
    this.#identity = identity
    if (withheld === null || this.#known === null) return
    const values = { ...this.#known.values, ...withheld.values }
    this.#known = { ...this.#known, values, earlier: withheld.earlier }
  }

  lookedUp(known: KnownCaller): void {
    this.#known = known
    this.#open = false
  }

  /** Notes that the called person wants to continue. @returns true if they may hear the earlier call now */
  agree(): boolean {
    if (this.#earlierPart !== null) this.#earlierPart = { ...this.#earlierPart, agreed: true }
    if (this.mayHear) this.#withheld = false
    return !this.#withheld
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

  /** Values from an earlier call of this number; empty until the caller has proved to be who was verified then. */
  get earlier(): CallerValues {
    const { earlier = NOTHING, owner } = this.#known ?? {}
    // Memories of earlier builds do not say who was verified.
    return this.#mayHear(owner === undefined ? { needs: 'proof' } : { needs: 'owner', owner }) ? earlier : NOTHING
  }

  #mayHear(needed: ProofNeeded): boolean {
    return mayTell(needed, { identity: this.#identity, verifies: this.#verifies })
  }

  get #verifies(): boolean {
    return this.#core.options.toolNames.includes(VERIFY_TOOL)
  }
}
