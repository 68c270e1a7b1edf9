import { GatewayError } from '../../core/errors.js'
import { frameSamples } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { BackendCapabilities, BackendSession } from '../backend.js'
import { Circuits } from './circuit-breaker.js'
import { vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { UNWATCHED, addCounters } from '../watch.js'
import type { BackendWatch, SessionRole } from '../watch.js'
import { MemberSession } from './member-session.js'
import type { Numbering, SessionOwner } from './member-session.js'
import type { FailoverMember, FailoverOptions } from './options.js'
import type { FailoverSnapshot } from './snapshot.js'
import type { BackendTimers } from './timers.js'

/** A member that did not close in this time is not waited for: the call's own end must come within a second. */
const MEMBER_CLOSE_MS = 900

export interface CrewEvents extends SessionOwner {
  connected(session: MemberSession): void
  /** It could not be connected. Told as an event before, mostly. */
  refused(session: MemberSession, fault: VendorFault): void
}

/** The members of a list and the sessions that are made of them: how they are begun, numbered, and ended. */
export class Crew {
  readonly members: readonly FailoverMember[]
  readonly capabilities: BackendCapabilities
  readonly circuits: Circuits
  readonly numbering: Numbering = { highest: 0 }
  readonly watch: BackendWatch
  readonly #options: FailoverOptions
  readonly #timers: BackendTimers
  readonly #events: CrewEvents
  readonly #names: readonly string[]
  /** Made to see what they can do, and used when they are first needed. */
  readonly #unused: (MemberSession | null)[]
  readonly #closings = new Set<Promise<void>>()
  readonly #live = new Set<MemberSession>()
  readonly #irregular: Record<string, Record<string, number>> = {}
  #serials = 0
  /** Of the life before, until its heir is connected. */
  #snapshot: FailoverSnapshot | null = null

  /** @throws GatewayError when no member can be made, or rates differ and there is no resampler */
  constructor(options: FailoverOptions, events: CrewEvents) {
    this.#options = options
    this.#timers = options.timers
    this.#events = events
    this.circuits = options.circuits ?? new Circuits()
    this.watch = options.watch ?? UNWATCHED
    const usable = usableMembers(options.members, events, this.numbering)
    this.members = usable.map((session) => session.member)
    this.#unused = [...usable]
    this.#names = usable.map((session) => session.name)
    const all = usable.map((session) => session.backend.capabilities)
    const inputRateHz = options.inputRateHz ?? highest(all.map((one) => one.inputRateHz))
    this.capabilities = {
      name: this.#names[0] as string, // usableMembers gives one at least
      inputRateHz,
      outputRateHz: highest(all.map((one) => one.outputRateHz)),
      serverVad: all.every((one) => one.serverVad),
      // Whether a member cares or not: the memory of what was said does.
      truncate: true,
      maxSessionMs: null,
    }
    const odd = all.find((one) => one.inputRateHz !== inputRateHz)
    if (odd !== undefined && options.resamplers === undefined) {
      throw new GatewayError('AGENT_INVALID', `backend ${odd.name} takes ${odd.inputRateHz} Hz, the list ${inputRateHz} Hz, and there is no resampler`)
    }
  }

  get names(): readonly string[] {
    return this.#names
  }

  /** Goes on from an earlier life of the call. @returns the place of the member that served it, or null */
  resume(snapshot: FailoverSnapshot | null): number | null {
    this.#snapshot = snapshot
    this.#serials = snapshot?.serial ?? 0
    this.numbering.highest = snapshot?.generation ?? 0
    const index = snapshot === null ? -1 : this.#names.indexOf(snapshot.member)
    return index < 0 ? null : index
  }

  take(index: number): MemberSession {
    const unused = this.#unused[index] ?? null
    this.#unused[index] = null
    return unused ?? new MemberSession(index, this.members[index] as FailoverMember, this.#events, this.numbering)
  }

  /** @param state  of the session of the same member that this one replaces */
  connect(session: MemberSession, role: SessionRole, base: BackendSession, state: unknown = null): void {
    session.role = role
    session.connectAtMs = this.#timers.nowMs()
    this.#live.add(session)
    const snapshot = this.#snapshot
    const isHeir = snapshot !== null && snapshot.member === session.name
    // The ids that a checkpoint knows must still mean this session.
    session.serial = isHeir ? snapshot.serial : ++this.#serials
    if (isHeir) this.#snapshot = null
    session.pass = this.circuits.of(session.name).enter(this.#timers.nowMs())
    const { voice } = session.member
    const { resamplers } = this.#options
    const { inputRateHz } = session.backend.capabilities
    const resampler = resamplers === undefined || inputRateHz === this.capabilities.inputRateHz
      ? null : resamplers.open(this.capabilities.inputRateHz, inputRateHz)
    const told = { ...base, ...(voice === undefined ? {} : { voice }), resume: isHeir ? snapshot.state : state }
    session.connect(told, resampler, frameSamples(this.capabilities.inputRateHz)).then(
      () => {
        const connectMs = this.#timers.nowMs() - session.connectAtMs
        if (session.phase === 'connecting') this.watch.session({ backend: session.name, role, connectMs, fault: null })
        this.#events.connected(session)
      },
      (error: unknown) => this.#events.refused(session, faultOf(session.name, error)),
    )
  }

  /** A session failed or answered, as far as its backend's circuit is concerned. */
  judge(session: MemberSession, fault: VendorFault | null): void {
    const { pass } = session
    if (pass === null) return
    const circuit = this.circuits.of(session.name)
    const nowMs = this.#timers.nowMs()
    const { opened } = circuit
    const before = circuit.state(nowMs)
    if (fault === null) pass.succeeded(nowMs)
    else pass.failed(fault.code, fault.message, nowMs)
    if (circuit.opened !== opened || circuit.state(nowMs) !== before) this.watch.circuit(circuit.report(nowMs))
  }

  /** What was irregular with the members so far. */
  irregular(): Record<string, Record<string, number>> {
    const sums = structuredClone(this.#irregular)
    for (const session of this.#live) addCounters(sums[session.name] ??= {}, session.backend.counters?.() ?? {})
    for (const [name, counters] of Object.entries(sums)) if (Object.keys(counters).length === 0) delete sums[name]
    return sums
  }

  retire(session: MemberSession, reason: string): void {
    if (this.#live.delete(session)) addCounters(this.#irregular[session.name] ??= {}, session.backend.counters?.() ?? {})
    const closing: Promise<void> = session.retire(reason).finally(() => this.#closings.delete(closing))
    this.#closings.add(closing)
  }

  retireUnused(reason: string): void {
    for (const session of this.#unused) if (session !== null) this.retire(session, reason)
  }

  /** Resolves when all that were retired are closed, or are not waited for any longer. */
  async closed(): Promise<void> {
    if (this.#closings.size === 0) return
    let cancel: () => void = () => undefined
    const patience = new Promise<void>((resolve) => {
      cancel = this.#timers.after(MEMBER_CLOSE_MS, resolve)
    })
    await Promise.race([Promise.allSettled([...this.#closings]), patience])
    cancel()
  }
}

/** A member that cannot even be made (the embedded one without a speech pool) is left out while there are others. */
function usableMembers(members: readonly FailoverMember[], events: CrewEvents, numbering: Numbering): MemberSession[] {
  const usable: MemberSession[] = []
  let first: unknown = new GatewayError('AGENT_INVALID', 'a list of backends needs one at least')
  for (const [i, member] of members.entries()) {
    try {
      usable.push(new MemberSession(usable.length, member, events, numbering))
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      if (i === 0) first = error
    }
  }
  if (usable.length === 0) throw first
  return usable
}

function highest(rates: readonly SampleRateHz[]): SampleRateHz {
  return rates.reduce((a, b) => (a > b ? a : b))
}

const FAULT_CODES = {
  BACKEND_AUTH: 'auth', BACKEND_RATE_LIMIT: 'rate_limit', BACKEND_QUOTA: 'quota', BACKEND_SESSION_EXPIRED: 'session_expired',
  BACKEND_BAD_REQUEST: 'bad_request', BACKEND_NETWORK: 'network', BACKEND_TIMEOUT: 'timeout',
} as const

/** A rejection of `connect` as a fault. */
function faultOf(name: string, error: unknown): VendorFault {
  // A mistake of the member's; what it says may hold anything.
  if (!(error instanceof GatewayError)) return { ...vendorFault('internal', `${name}: failed while it connected`, true), retryable: false }
  const code = FAULT_CODES[error.code as keyof typeof FAULT_CODES] ?? 'internal'
  return { code, message: error.message, fatal: true, retryable: error.retryable }
}
