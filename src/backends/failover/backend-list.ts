import { textIn } from '../../call/spoken/localized-text.js'
import type { ServingSnapshot } from '../call-snapshot.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { GatewayError } from '../../core/errors.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { BACKEND_ITEMS_KEPT } from '../../core/limits.js'
import { frameSamples } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { ResamplerBank, StreamResampler } from '../../media/resample/resampler.js'
import type {
  Backend,
  BackendCapabilities,
  BackendEvent,
  BackendFactory,
  BackendSession,
  BackendSink,
  RateLimit,
} from '../backend.js'
import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'
import { faultCodeOf, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { UNWATCHED, addCounters } from '../watch.js'
import type { BackendWatch, SessionRole } from '../watch.js'
import { Circuits } from './circuit-breaker.js'
import type { CircuitBreaker, CircuitPass } from './circuit-breaker.js'

/** A backend that failed within this call is not asked again within this, while there is another. */
const FAILOVER_REST_MS = 60_000

/** How long to wait for sessions to close: the call itself must end within a second. */
const SESSION_CLOSE_MS = 900

/**
 * One session of one candidate: resamples the caller's audio to its rate, and maps its generations and ids to the
 * call's.
 *
 *     new --connect--> connecting --resolved--> ready --retire--> over
 *     connecting --rejected, fatal, too slow, retire--> over
 *
 * In `over`, all events and audio of the backend are dropped, but what it says that it has used.
 */
export class CandidateSession implements BackendSink {
  readonly candidate: Candidate
  readonly backend: Backend
  phase: 'new' | 'connecting' | 'ready' | 'over' = 'new'
  /** Number of this session in the call, from 1; every id that it passes on begins with it. */
  serial = 0
  pass: CircuitPass | null = null
  role: SessionRole = 'first'
  /** `CallHistory.toolAnswers` and `CallHistory.activity` when it was connected. */
  toolAnswersKnown = 0
  activityKnown = 0
  /** Something may have been said since it was connected: a takeover sends it a recap. */
  stale = false
  /** It has made a sound, and its circuit knows. */
  hasSounded = false
  readonly #listener: CandidateListener
  readonly #owner: BackendList
  readonly #abort = new AbortController()
  #resampler: StreamResampler | null = null
  #resampled = new Int16Array(0)
  /** The call's generation for each generation of the backend. */
  readonly #mapped = new Map<number, number>()
  #innerHighest = 0
  #audioItem = ''
  #audioItemOut = ''

  constructor(candidate: Candidate, listener: CandidateListener, owner: BackendList) {
    this.candidate = candidate
    this.#listener = listener
    this.#owner = owner
    this.backend = candidate.given.create(this)
  }

  get name(): string {
    return this.backend.capabilities.name
  }

  /**
   * @param resampler  from the call's rate to the backend's, owned by this session; null where the rates are equal
   * @param frameSamplesMax  the most that `feed` is given
   */
  connect(session: BackendSession, resampler: StreamResampler | null, frameSamplesMax: number): Promise<void> {
    this.phase = 'connecting'
    this.#resampler = resampler
    this.#resampled = new Int16Array(resampler?.outputSamplesMax(frameSamplesMax) ?? 0)
    return this.backend.connect(session, this.#abort.signal)
  }

  /** Caller audio at the call's rate, a frame or less; `voiced` as in `Backend.pushAudio`. */
  feed(pcm: Int16Array, voiced: boolean | undefined): void {
    if (this.#resampler === null) return this.backend.pushAudio(pcm, voiced)
    const samples = this.#resampler.process(pcm, this.#resampled)
    const whole = samples === this.#resampled.length
    this.backend.pushAudio(whole ? this.#resampled : this.#resampled.subarray(0, samples), voiced)
  }

  /** The backend's own id; null for an id of another session. */
  inner(id: string): string | null {
    const prefix = `${this.serial}.`
    return id.startsWith(prefix) ? id.slice(prefix.length) : null
  }

  async retire(reason: string): Promise<void> {
    if (this.phase === 'over') return
    this.phase = 'over'
    this.pass?.released()
    this.#abort.abort()
    this.#resampler?.release()
    await this.backend.close(reason)
  }

  event(event: BackendEvent): void {
    // The last account of what it has used comes with its end.
    if (this.phase === 'over' && event.type !== 'usage') return this.#listener.late()
    const mapped = this.#map(event)
    if (mapped !== null) this.#listener.sessionEvent(this, mapped)
  }

  asks(): boolean {
    return this.phase !== 'over' && this.#listener.sessionAsks(this)
  }

  rateLimits(limits: readonly RateLimit[]): void {
    if (this.phase !== 'over') this.#owner.limits(this, limits)
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, innerGeneration: number): void {
    const generation = this.phase === 'over' ? null : this.#generation(innerGeneration)
    if (generation === null) return this.#listener.late()
    if (itemId !== this.#audioItem) {
      this.#audioItem = itemId
      this.#audioItemOut = this.#outer(itemId)
    }
    this.#listener.sessionAudio(this, pcm, sampleRateHz, this.#audioItemOut, generation)
  }

  /** Makes an id unique: two sessions of one service may use the same id. */
  #outer(id: string): string {
    return `${this.serial}.${id}`
  }

  #map(event: BackendEvent): BackendEvent | null {
    switch (event.type) {
      case 'turn-start':
      case 'turn-done':
      case 'interrupted': {
        const generation = this.#generation(event.generation)
        return generation === null ? null : { ...event, generation }
      }
      case 'audio-done':
      case 'transcript': {
        const generation = this.#generation(event.generation)
        return generation === null ? null : { ...event, generation, itemId: this.#outer(event.itemId) }
      }
      case 'tool-call': {
        const generation = this.#generation(event.generation)
        return generation === null ? null : { ...event, generation, callId: this.#outer(event.callId) }
      }
      case 'tool-cancel':
        return { ...event, callIds: event.callIds.map((callId) => this.#outer(callId)) }
      default:
        return event
    }
  }

  /** The call's generation for the backend's; null for an answer that is too old to be known. */
  #generation(inner: number): number | null {
    const known = this.#mapped.get(inner)
    if (known !== undefined) return known
    // The first event of a generation need not be `turn-start`: a caller's transcript has the generation of the answer
    // to it.
    if (inner <= this.#innerHighest && this.#mapped.size > 0) return null
    this.#innerHighest = inner
    const generation = ++this.#owner.generation
    this.#mapped.set(inner, generation)
    forgetOldest(this.#mapped, BACKEND_ITEMS_KEPT)
    return generation
  }
}

export interface CandidateOptions {
  /** In the order in which they are tried; one or more. */
  readonly candidates: readonly FailoverCandidate[]
  readonly timers: BackendTimers
  /** The worker's, shared by its calls; circuits of this call alone when not given. */
  readonly circuits?: Circuits
  /** Needed when a candidate's rate differs from the call's. */
  readonly resamplers?: ResamplerBank
  /** Rate of the caller's audio for `pushAudio`, best the leg's own; default: the candidates' highest. */
  readonly inputRateHz?: SampleRateHz
  /** Receives sessions, faults and changes of circuits. */
  readonly watch?: BackendWatch
  /**
   * There is one candidate, and no other session ever takes its place. Default: false. So it is for the embedded backend,
   * whose session never ends, and for a module, which decides for itself what happens after a fault. It is the primary from
   * `connect` on, everything goes to it at once, and its first fatal fault ends the session. It may repeat a tool call that
   * was made before a checkpoint: no session took over, so the call itself decides about its effects.
   */
  readonly alone?: boolean
}

/** One backend of the list. Its name is the one in its capabilities. */
interface FailoverCandidate {
  readonly create: BackendFactory
  /**
   * True for the embedded backend: its dialogue must be asked to begin before it gets input, also when it takes over. A
   * model is asked for an answer only when the caller waits for one.
   */
  readonly scripted?: boolean
  /** The voice, because each service has its own voice names; default: the session's. Null: the service's default. */
  readonly voice?: LocalizedText | null
  /** Less than what the call was to be: tried only when no other candidate is left. Default: false. */
  readonly lastResort?: boolean
}

/** Receives a session's events, with the generations and ids of the call. */
export interface CandidateListener {
  sessionEvent(session: CandidateSession, event: BackendEvent): void
  sessionAudio(
    session: CandidateSession,
    pcm: Int16Array,
    sampleRateHz: SampleRateHz,
    itemId: string,
    generation: number,
  ): void
  /** The session wants to ask a model. @returns whether it may */
  sessionAsks(session: CandidateSession): boolean
  /** Something came from a session that is over, or for an answer that is too old to be known. */
  late(): void
  connected(session: CandidateSession): void
  /** A session is lost, in any role, or could not be connected. */
  failed(session: CandidateSession, fault: VendorFault): void
}

/** One backend of the list, and what the call knows of it. */
export class Candidate {
  readonly given: FailoverCandidate
  readonly scripted: boolean
  readonly lastResort: boolean
  readonly name: string
  readonly circuit: CircuitBreaker
  /** Made to read its capabilities; later the first session. */
  unused: CandidateSession | null
  /** Already tried in the current search. */
  tried = false
  restsUntilMs = -Infinity
  /** Not tried again on this call: a wrong key, an empty account, or a request that it does not accept. */
  out = false

  constructor(given: FailoverCandidate, circuits: Circuits, listener: CandidateListener, owner: BackendList) {
    this.given = given
    this.scripted = given.scripted === true
    this.lastResort = given.lastResort === true
    this.unused = new CandidateSession(this, listener, owner)
    this.name = this.unused.name
    this.circuit = circuits.of(this.name)
  }

  get isFree(): boolean {
    return !this.tried && !this.out
  }
}

/**
 * The backends of a list and their sessions. A search tries each candidate once, in the order of the list: first those
 * whose circuit allows a try and that have not just failed, then the others, before the call is given up.
 *
 * Candidates may differ in their rates and in who marks the caller's turns. The call sees one rate, and `serverVad`
 * only when every candidate detects turns itself. Otherwise the gateway marks the turns, and a candidate that detects
 * them itself gets the same audio without `speechStart` and `speechEnd`. Such a list works best with all candidates set
 * to the gateway's turns.
 */
export class BackendList {
  readonly capabilities: BackendCapabilities
  readonly watch: BackendWatch
  /** The highest generation in the call, over all its sessions. */
  generation = 0
  readonly #options: CandidateOptions
  readonly #timers: BackendTimers
  readonly #listener: CandidateListener
  readonly #all: readonly Candidate[]
  readonly #circuits: Circuits
  readonly #live = new Set<CandidateSession>()
  readonly #closings = new Set<Promise<void>>()
  readonly #irregular: Record<string, Record<string, number>> = {}
  #serials = 0
  /** The snapshot of a checkpoint, until the session that resumes it is connected. */
  #resumed: ServingSnapshot | null = null

  /** @throws GatewayError when no candidate can be made, or rates differ and there is no resampler */
  constructor(options: CandidateOptions, listener: CandidateListener) {
    this.#options = options
    this.#timers = options.timers
    this.#listener = listener
    this.watch = options.watch ?? UNWATCHED
    this.#circuits = options.circuits ?? new Circuits()
    this.#all = this.#usable()
    const all = this.#all.map(({ unused }) => (unused as CandidateSession).backend.capabilities)
    const [only] = all
    if (options.alone === true && only !== undefined) {
      this.capabilities = only
      return
    }
    const inputRateHz = options.inputRateHz ?? highest(all.map((one) => one.inputRateHz))
    const serverVad = all.every((one) => one.serverVad)
    this.capabilities = {
      name: this.first.name,
      inputRateHz,
      outputRateHz: highest(all.map((one) => one.outputRateHz)),
      serverVad,
      serverInterrupts: all.some((one) => one.serverInterrupts ?? one.serverVad),
      // True for any candidates: the history for the next one is always cut to what was heard.
      truncate: true,
      // Where the gateway marks the turns, one that finds its own gets no such speech.
      weighsSpeech: all.every((one) => one.weighsSpeech === true || (one.serverVad && !serverVad)),
      changesTools: all.every((one) => one.changesTools !== false),
      maxSessionMs: null,
    }
    const odd = all.find((one) => one.inputRateHz !== inputRateHz)
    if (odd !== undefined && options.resamplers === undefined) {
      throw new GatewayError(
        'AGENT_INVALID',
        `backend ${odd.name} needs ${odd.inputRateHz} Hz and the list ${inputRateHz} Hz, but there is no resampler`,
      )
    }
  }

  // --- which one is next ------------------------------------------------------------------------------------

  beginSearch(): void {
    for (const candidate of this.#all) candidate.tried = false
  }

  /**
   * @param inCall  a caller is being served already: then a key whose limit is used up is better than nothing
   * @returns the candidate to try next; null when none is left. Changes nothing.
   */
  next(preferred: Candidate | null = null, inCall = true): Candidate | null {
    if (preferred?.isFree === true) return preferred
    const free = this.#regular.filter(({ isFree }) => isFree)
    const good = free.find((candidate) => this.#isGood(candidate))
    return good ?? free.find((candidate) => inCall || this.#exhaustedForMs(candidate) === 0) ?? null
  }

  /** @returns the candidate that is tried when `next` has none left; null when there is none, or it was tried */
  lastResort(): Candidate | null {
    return this.#all.find(({ lastResort, isFree }) => lastResort && isFree) ?? null
  }

  /** Candidates that are no last resort. */
  get regularCount(): number {
    return this.#regular.length
  }

  get #regular(): readonly Candidate[] {
    return this.#all.filter(({ lastResort }) => !lastResort)
  }

  /** Reports the candidates that were not tried because a limit of their key is used up. @returns the fault; null for none */
  exhausted(): VendorFault | null {
    let fault: VendorFault | null = null
    for (const candidate of this.#all) {
      const forMs = this.#exhaustedForMs(candidate)
      if (!candidate.isFree || forMs === 0) continue
      // The words that `retryAfterMs` reads.
      fault ??= vendorFault(
        'rate_limit',
        `${candidate.name}: a limit of its key is used up; retry after ${Math.ceil(forMs / 1000)} s`,
        true,
      )
      this.watch.session({ backend: candidate.name, role: 'first', connectMs: null, fault: 'rate_limit' })
    }
    return fault
  }

  limits(session: CandidateSession, limits: readonly RateLimit[]): void {
    session.candidate.circuit.limits(limits, this.#timers.nowMs())
    this.watch.limits(session.name, limits)
  }

  #exhaustedForMs(candidate: Candidate): number {
    return candidate.circuit.exhaustedForMs(this.#timers.nowMs())
  }

  /** True if another candidate than this is worth trying. @param anyAtAll  the last resort too */
  hasBetterThan(candidate: Candidate, anyAtAll = false): boolean {
    return (anyAtAll ? this.#all : this.#regular).some((one) => one !== candidate && this.#isGood(one))
  }

  /** Half to one and a half of `ms`: calls that failed together do not try again together. */
  jittered(ms: number): number {
    return ms * (0.5 + this.#circuits.random())
  }

  /** As `CircuitBreaker.closedForMs`. A scripted candidate needs no connection. */
  closedForMs(candidate: Candidate): number {
    return candidate.scripted ? 0 : candidate.circuit.closedForMs(this.#timers.nowMs())
  }

  /** As `CircuitBreaker.turnMs`. */
  turnMs(candidate: Candidate): number {
    return candidate.scripted ? 0 : candidate.circuit.turnMs(this.#timers.nowMs())
  }

  /** True if any candidate, tried or not, may be tried again by then. */
  anyBy(untilMs: number): boolean {
    return this.#regular.some(
      (candidate) => !candidate.out && this.#timers.nowMs() + this.closedForMs(candidate) <= untilMs,
    )
  }

  failed(candidate: Candidate, retryable: boolean): void {
    candidate.restsUntilMs = this.#timers.nowMs() + FAILOVER_REST_MS
    if (!retryable) candidate.out = true
  }

  // --- their sessions ---------------------------------------------------------------------------------------

  /** Continues from a checkpoint. @returns the candidate that served the call, or null */
  resume(snapshot: ServingSnapshot | null): Candidate | null {
    this.#resumed = snapshot
    this.#serials = snapshot?.serial ?? 0
    this.generation = snapshot?.generation ?? 0
    return this.#all.find(({ name }) => name === snapshot?.member) ?? null
  }

  snapshotOf({ name, serial, backend }: CandidateSession): ServingSnapshot {
    return { member: name, serial, generation: this.generation, state: backend.snapshot() }
  }

  /** The first candidate. */
  get first(): Candidate {
    return this.#all[0] as Candidate // the list is not empty
  }

  /** A session of the candidate that is not connected yet. */
  take(candidate: Candidate): CandidateSession {
    const { unused } = candidate
    candidate.unused = null
    return unused ?? new CandidateSession(candidate, this.#listener, this)
  }

  /**
   * A session of another candidate than `primary`, for a standby; null when none is good. Scripted candidates connect
   * at once and need no standby.
   */
  takeStandby(primary: Candidate): CandidateSession | null {
    const candidate = this.#regular.find((one) => one !== primary && !one.scripted && this.#isGood(one))
    return candidate === undefined ? null : this.take(candidate)
  }

  /** @param state  snapshot of the session of the same candidate that this one replaces */
  connect(session: CandidateSession, role: SessionRole, base: BackendSession, state: unknown = null): void {
    session.role = role
    const connectAtMs = this.#timers.nowMs()
    this.#live.add(session)
    const resumed = this.#resumed?.member === session.name ? this.#resumed : null
    // Ids from before the checkpoint must belong to the session that resumes it.
    session.serial = resumed === null ? ++this.#serials : resumed.serial
    if (resumed !== null) this.#resumed = null
    if (this.#options.alone !== true) session.pass = session.candidate.circuit.enter(this.#timers.nowMs())
    const voice = base.voices?.[session.name] ?? session.candidate.given.voice
    const { resamplers } = this.#options
    const { inputRateHz } = session.backend.capabilities
    const resampler =
      resamplers === undefined || inputRateHz === this.capabilities.inputRateHz
        ? null
        : resamplers.open(this.capabilities.inputRateHz, inputRateHz)
    const own = {
      ...base,
      ...(voice === undefined ? {} : { voice: voice === null ? null : textIn(voice, base.language) }),
      resume: resumed === null ? state : resumed.state,
    }
    session.connect(own, resampler, frameSamples(this.capabilities.inputRateHz)).then(
      () => {
        const connectMs = this.#timers.nowMs() - connectAtMs
        session.pass?.connected()
        if (session.phase === 'connecting') this.watch.session({ backend: session.name, role, connectMs, fault: null })
        this.#listener.connected(session)
      },
      (error: unknown) => this.#listener.failed(session, faultOf(session.name, error)),
    )
  }

  /** Reports to the candidate's circuit that a session answered (`null`) or failed. */
  reportToCircuit(session: CandidateSession, fault: VendorFault | null): void {
    const { pass } = session
    if (pass === null) return
    const { circuit } = session.candidate
    const nowMs = this.#timers.nowMs()
    const { opened } = circuit
    const before = circuit.state(nowMs)
    if (fault === null) pass.succeeded(nowMs)
    else pass.failed(fault.code, fault.message, nowMs)
    if (circuit.opened !== opened || circuit.state(nowMs) !== before) this.watch.circuit(circuit.report(nowMs))
  }

  /** Counters of the backends so far, by backend name; a copy. */
  irregular(): Record<string, Record<string, number>> {
    const sums = structuredClone(this.#irregular)
    for (const session of this.#live) addCounters((sums[session.name] ??= {}), session.backend.counters?.() ?? {})
    for (const [name, counters] of Object.entries(sums)) if (Object.keys(counters).length === 0) delete sums[name]
    return sums
  }

  /** Adds to the counters of a backend what the call itself has counted of it. */
  count(session: CandidateSession, kind: string): void {
    addCounters((this.#irregular[session.name] ??= {}), { [kind]: 1 })
  }

  retire(session: CandidateSession, reason: string): void {
    if (this.#live.delete(session))
      addCounters((this.#irregular[session.name] ??= {}), session.backend.counters?.() ?? {})
    const closing: Promise<void> = session
      .retire(reason)
      // A module of somebody's own: what it throws may hold secrets.
      .catch(() => {
        const message = `${session.name}: did not close in order`
        this.watch.fault({ backend: session.name, code: 'internal', message, sessionLost: false })
      })
      .finally(() => this.#closings.delete(closing))
    this.#closings.add(closing)
  }

  retireAll(reason: string): void {
    for (const session of [...this.#live]) this.retire(session, reason)
    for (const { unused } of this.#all) if (unused !== null) this.retire(unused, reason)
  }

  /** Resolves when all retired sessions are closed, at the latest after SESSION_CLOSE_MS. */
  async closed(): Promise<void> {
    if (this.#closings.size === 0) return
    const alarm = new Alarm(this.#timers)
    const deadline = new Promise<void>((resolve) => alarm.set(SESSION_CLOSE_MS, resolve))
    await Promise.race([Promise.all([...this.#closings]), deadline])
    alarm.clear()
  }

  #isGood({ out, restsUntilMs, circuit }: Candidate): boolean {
    const nowMs = this.#timers.nowMs()
    return !out && nowMs >= restsUntilMs && circuit.allows(nowMs)
  }

  /**
   * Each candidate with a session. One that cannot be made (embedded without a speech pool) is left out if there are
   * others.
   */
  #usable(): Candidate[] {
    const usable: Candidate[] = []
    let first: unknown = new GatewayError('AGENT_INVALID', 'the list of backends is empty; allowed: one or more')
    for (const [i, given] of this.#options.candidates.entries()) {
      try {
        usable.push(new Candidate(given, this.#circuits, this.#listener, this))
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
        if (i === 0) first = error
      }
    }
    if (usable.length === 0) throw first
    return usable
  }
}

function highest(rates: readonly SampleRateHz[]): SampleRateHz {
  return rates.reduce((a, b) => (a > b ? a : b))
}

/** A rejection of `connect` as a fault. */
function faultOf(name: string, error: unknown): VendorFault {
  // An error in the backend's own code: its message may hold secrets.
  if (!(error instanceof GatewayError))
    return { ...vendorFault('internal', `${name}: failed while it connected`, true), retryable: false }
  return { code: faultCodeOf(error), message: error.message, fatal: true, retryable: error.retryable }
}
