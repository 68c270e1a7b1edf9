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
import { CallIds } from '../transport/call-ids.js'
import { Alarm } from '../timers.js'
import type { BackendTimers } from '../timers.js'
import { faultCodeOf, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { UNWATCHED, addCounters } from '../watch.js'
import type { BackendWatch, SessionRole } from '../watch.js'
import { Circuits } from './circuit-breaker.js'
import type { CircuitBreaker, CircuitPass } from './circuit-breaker.js'

/** Time in ms for which a failed backend is not used in this call, if another backend is left. */
const FAILOVER_REST_MS = 60_000

/** Time limit in ms for closing sessions. It is below a second, because the call itself must end within a second. */
const SESSION_CLOSE_MS = 900

/**
 * One session of one candidate. The session resamples the caller's audio to the candidate's rate, and maps the
 * candidate's generations and ids to the generations and ids of the call.
 *
 *     new --connect--> connecting --resolved--> ready --retire--> over
 *     connecting --rejected, fatal, too slow, retire--> over
 *
 * In `over`, all events and audio of the backend are dropped, except its usage.
 */
export class CandidateSession implements BackendSink {
  readonly candidate: Candidate
  readonly backend: Backend
  phase: 'new' | 'connecting' | 'ready' | 'over' = 'new'
  /** Number of this session in the call; the first session is 1. The session's ids begin with this number. */
  serial = 0
  pass: CircuitPass | null = null
  role: SessionRole = 'first'
  /** Values that `CallHistory.toolAnswers` and `CallHistory.activity` had when the session was connected. */
  toolAnswersKnown = 0
  activityKnown = 0
  /**
   * True if the conversation may have continued since the session was connected. When the session takes over, it then
   * gets a summary of the later conversation.
   */
  stale = false
  /** True if the session's first sound was reported to its circuit. */
  hasSounded = false
  readonly #listener: CandidateListener
  readonly #owner: BackendList
  readonly #abort = new AbortController()
  #resampler: StreamResampler | null = null
  #resampled = new Int16Array(0)
  /** Generations of the call, by the backend's generation. */
  readonly #mapped = new Map<number, number>()
  readonly #callIds = new CallIds()
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
   * @param resampler  converts from the call's rate to the backend's rate; used only by this session. Null if the rates
   * are equal
   * @param frameSamplesMax maximum number of samples of one `feed`
   */
  connect(session: BackendSession, resampler: StreamResampler | null, frameSamplesMax: number): Promise<void> {
    this.phase = 'connecting'
    this.#resampler = resampler
    this.#resampled = new Int16Array(resampler?.outputSamplesMax(frameSamplesMax) ?? 0)
    return this.backend.connect(session, this.#abort.signal)
  }

  /** Sends caller audio at the call's rate; at most one frame. `voiced` has the meaning of `Backend.pushAudio`. */
  feed(pcm: Int16Array, voiced: boolean | undefined): void {
    if (this.#resampler === null) return this.backend.pushAudio(pcm, voiced)
    const samples = this.#resampler.process(pcm, this.#resampled)
    const whole = samples === this.#resampled.length
    this.backend.pushAudio(whole ? this.#resampled : this.#resampled.subarray(0, samples), voiced)
  }

  /** @returns the backend's own id for an id of the call; null for an id of another session */
  inner(id: string): string | null {
    const prefix = `${this.serial}.`
    return id.startsWith(prefix) ? this.#callIds.serviceId(id.slice(prefix.length)) : null
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
    // Usage is accepted even after the session's end, because the service may report its last usage late.
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

  /** Makes an id unique in the call, because two sessions of one service may use equal ids. */
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
        if (generation === null) return null
        // A repetition within a response keeps its id: the call handles it.
        const callId = this.#callIds.take(event.callId, generation) ?? this.#callIds.newest(event.callId)
        return { ...event, generation, callId: this.#outer(callId) }
      }
      case 'tool-cancel':
        return { ...event, callIds: event.callIds.map((callId) => this.#outer(this.#callIds.newest(callId))) }
      default:
        return event
    }
  }

  /** @returns the call's generation for a generation of the backend; null for an answer that is too old */
  #generation(inner: number): number | null {
    const known = this.#mapped.get(inner)
    if (known !== undefined) return known
    // A generation may begin with another event than `turn-start`, because a caller's transcript has the generation of
    // its answer.
    if (inner <= this.#innerHighest && this.#mapped.size > 0) return null
    this.#innerHighest = inner
    const generation = ++this.#owner.generation
    this.#mapped.set(inner, generation)
    forgetOldest(this.#mapped, BACKEND_ITEMS_KEPT)
    return generation
  }
}

export interface CandidateOptions {
  /** Candidates in order of use; at least one. */
  readonly candidates: readonly FailoverCandidate[]
  readonly timers: BackendTimers
  /** The worker's circuits, shared by its calls. Default: circuits for this call only. */
  readonly circuits?: Circuits
  /** Makes resamplers; required if a candidate's sample rate differs from the call's sample rate. */
  readonly resamplers?: ResamplerBank
  /**
   * Sample rate of the caller's audio for `pushAudio`, preferably the rate of the carrier's audio. Default: the highest
   * rate of the candidates.
   */
  readonly inputRateHz?: SampleRateHz
  /** Receives sessions, faults and changes of circuits. */
  readonly watch?: BackendWatch
  /**
   * True if there is only one candidate and its session is never replaced. Default: false. Used for the embedded
   * backend, whose session never ends, and for a module, which handles its own faults. The candidate is the primary
   * from `connect` and gets all input at once. Its first fatal fault ends the session. The candidate may repeat a tool
   * call from before a checkpoint; the call itself then handles the repetition.
   */
  readonly alone?: boolean
}

/** One backend of the list. The backend's capabilities contain its name. */
interface FailoverCandidate {
  readonly create: BackendFactory
  /**
   * True for the embedded backend, because its dialogue must get a request to begin before any input, even after a
   * takeover. A model gets a request only if the caller waits.
   */
  readonly scripted?: boolean
  /**
   * The candidate's voice, because each service has its own voice names. Null: the service's default voice. Absent: the
   * session's voice.
   */
  readonly voice?: LocalizedText | null
  /**
   * True if the candidate offers less than the call needs. It is then used only if no other candidate is left. Default:
   * false.
   */
  readonly lastResort?: boolean
}

/** Receives a session's events, with the call's generations and ids. */
export interface CandidateListener {
  sessionEvent(session: CandidateSession, event: BackendEvent): void
  sessionAudio(
    session: CandidateSession,
    pcm: Int16Array,
    sampleRateHz: SampleRateHz,
    itemId: string,
    generation: number,
  ): void
  /** Called before the session sends a request to a model. @returns true if the request is allowed */
  sessionAsks(session: CandidateSession): boolean
  /** Counts audio or an event that was dropped, because its session is over or its answer is too old. */
  late(): void
  connected(session: CandidateSession): void
  /** Reports that a session in any role is lost, or could not be connected. */
  failed(session: CandidateSession, fault: VendorFault): void
}

/** One backend of the list and its state in this call. */
export class Candidate {
  readonly given: FailoverCandidate
  readonly scripted: boolean
  readonly lastResort: boolean
  readonly name: string
  readonly circuit: CircuitBreaker
  /** Session that was made to read the backend's capabilities. It is used as the candidate's first session. */
  unused: CandidateSession | null
  /** True if the candidate was already tried in the current search. */
  tried = false
  restsUntilMs = -Infinity
  /**
   * True if the candidate is not tried again in this call, because of a wrong API key, an empty account, or a request
   * that the service does not accept.
   */
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
 * The backends of a list and their sessions. A search tries each candidate once, in the order of the list. Candidates
 * that have just failed or whose circuit is open are tried after all others.
 *
 * Candidates may differ in their rates and in their turn detection. The list reports one rate to the call, and reports
 * `serverVad` only if every candidate detects turns itself. Otherwise the gateway detects the turns. A candidate that
 * detects turns itself then gets only the audio, without `speechStart` and `speechEnd`. So, if possible, all candidates
 * should be set to use the gateway's turn detection.
 */
export class BackendList {
  readonly capabilities: BackendCapabilities
  readonly watch: BackendWatch
  /** Highest generation in the call, from all its sessions. */
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
  /** Snapshot from a checkpoint; kept until a session that resumes from the snapshot is connected. */
  #resumed: ServingSnapshot | null = null

  /** @throws GatewayError if no candidate can be made, or if rates differ and no resampler is given */
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
    const endsTurns = all.filter((one) => one.serverVad)
    this.capabilities = {
      name: this.first.name,
      inputRateHz,
      outputRateHz: highest(all.map((one) => one.outputRateHz)),
      serverVad,
      serverInterrupts: all.some((one) => one.serverInterrupts ?? one.serverVad),
      ...(endsTurns.length === 0
        ? {}
        : {
            turnEndFromMs: Math.min(...endsTurns.map((one) => one.turnEndFromMs ?? 0)),
            turnEndToMs: Math.max(...endsTurns.map((one) => one.turnEndToMs ?? Infinity)),
          }),
      fullDuplex: all.some((one) => one.fullDuplex === true),
      // True even if a candidate lacks this ability, because the next candidate always gets only the heard part of the
      // history.
      truncate: true,
      // If the gateway detects the turns, a candidate with its own turn detection never gets `speechEnd`, so its
      // ability does not matter.
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

  // --- the next candidate -----------------------------------------------------------------------------------

  beginSearch(): void {
    for (const candidate of this.#all) candidate.tried = false
  }

  /**
   * @param inCall  true if the call has begun; API keys with a used-up limit are then tried too
   * @returns the candidate to try next; null if none is left. Changes no state
   */
  next(preferred: Candidate | null = null, inCall = true): Candidate | null {
    if (preferred?.isFree === true) return preferred
    const free = this.#regular.filter(({ isFree }) => isFree)
    const good = free.find((candidate) => this.#isGood(candidate))
    return good ?? free.find((candidate) => inCall || this.#exhaustedForMs(candidate) === 0) ?? null
  }

  /** @returns the candidate to try if `next` returns null; null if there is no last resort or it was already tried */
  lastResort(): Candidate | null {
    return this.#all.find(({ lastResort, isFree }) => lastResort && isFree) ?? null
  }

  /** Number of candidates, excluding the last resort. */
  get regularCount(): number {
    return this.#regular.length
  }

  get #regular(): readonly Candidate[] {
    return this.#all.filter(({ lastResort }) => !lastResort)
  }

  /**
   * Reports the candidates that were not tried because a limit of their API key is used up.
   * @returns the fault to report; null if there are no such candidates
   */
  exhausted(): VendorFault | null {
    let fault: VendorFault | null = null
    for (const candidate of this.#all) {
      const forMs = this.#exhaustedForMs(candidate)
      if (!candidate.isFree || forMs === 0) continue
      // The fault's text has a form that `retryAfterMs` can parse.
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

  /** True if another candidate can probably serve the call. @param anyAtAll true if the last resort counts too */
  hasBetterThan(candidate: Candidate, anyAtAll = false): boolean {
    return (anyAtAll ? this.#all : this.#regular).some((one) => one !== candidate && this.#isGood(one))
  }

  /**
   * @returns a random time from half to one and a half of `ms`, so that calls which failed together do not retry
   * together
   */
  jittered(ms: number): number {
    return ms * (0.5 + this.#circuits.random())
  }

  /** `CircuitBreaker.closedForMs` of the candidate; 0 for a scripted candidate, which needs no connection. */
  closedForMs(candidate: Candidate): number {
    return candidate.scripted ? 0 : candidate.circuit.closedForMs(this.#timers.nowMs())
  }

  /**
   * Reserves a time for a reconnection, so that calls do not reconnect all at once.
   * @returns milliseconds until this time; 0 for a scripted candidate
   */
  turnMs(candidate: Candidate): number {
    return candidate.scripted ? 0 : candidate.circuit.turnMs(this.#timers.nowMs())
  }

  /** True if at least one candidate may be tried (again) before `untilMs`. */
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

  /** Continues from a checkpoint. @returns the candidate that served the call; null if the list does not contain it */
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
    return this.#all[0] as Candidate // the list has at least one candidate
  }

  /** @returns a session of the candidate that is not connected yet */
  take(candidate: Candidate): CandidateSession {
    const { unused } = candidate
    candidate.unused = null
    return unused ?? new CandidateSession(candidate, this.#listener, this)
  }

  /**
   * @returns a session of another candidate than `primary`, for a standby; null if no candidate is suitable. A scripted
   * candidate needs no standby, because it connects at once
   */
  takeStandby(primary: Candidate): CandidateSession | null {
    const candidate = this.#regular.find((one) => one !== primary && !one.scripted && this.#isGood(one))
    return candidate === undefined ? null : this.take(candidate)
  }

  /** @param state snapshot of the earlier session of this candidate, which the new session replaces */
  connect(session: CandidateSession, role: SessionRole, base: BackendSession, state: unknown = null): void {
    session.role = role
    const connectAtMs = this.#timers.nowMs()
    this.#live.add(session)
    const resumed = this.#resumed?.member === session.name ? this.#resumed : null
    // Ids from before the checkpoint belong to the session that resumes from the checkpoint.
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

  /**
   * Reports a session's result to the candidate's circuit; null reports an answer.
   * @param unheard true if the session failed because the caller could not hear its answers
   */
  reportToCircuit(session: CandidateSession, fault: VendorFault | null, unheard = false): void {
    const { pass } = session
    if (pass === null) return
    const { circuit } = session.candidate
    const nowMs = this.#timers.nowMs()
    const { opened } = circuit
    const before = circuit.state(nowMs)
    if (unheard) circuit.unheard(nowMs)
    if (fault === null) pass.succeeded(nowMs)
    else pass.failed(fault.code, fault.message, nowMs)
    if (circuit.opened !== opened || circuit.state(nowMs) !== before) this.watch.circuit(circuit.report(nowMs))
  }

  /** @returns a copy of the backends' counters so far, by backend name */
  irregular(): Record<string, Record<string, number>> {
    const sums = structuredClone(this.#irregular)
    for (const session of this.#live) addCounters((sums[session.name] ??= {}), session.backend.counters?.() ?? {})
    for (const [name, counters] of Object.entries(sums)) if (Object.keys(counters).length === 0) delete sums[name]
    return sums
  }

  /** Adds, to the counters of a backend, a number that the gateway itself counted. */
  count(session: CandidateSession, kind: string): void {
    addCounters((this.#irregular[session.name] ??= {}), { [kind]: 1 })
  }

  retire(session: CandidateSession, reason: string): void {
    if (this.#live.delete(session))
      addCounters((this.#irregular[session.name] ??= {}), session.backend.counters?.() ?? {})
    const closing: Promise<void> = session
      .retire(reason)
      // The message of a custom module's error may contain secrets.
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
   * Makes each candidate, with a session. A candidate that cannot be made, such as the embedded backend without a
   * speech pool, is skipped if other candidates remain.
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

/** @returns the fault for a rejection of `connect` */
function faultOf(name: string, error: unknown): VendorFault {
  // The message of an error in the backend's own code may contain secrets.
  if (!(error instanceof GatewayError))
    return { ...vendorFault('internal', `${name}: failed while it connected`, true), retryable: false }
  return { code: faultCodeOf(error), message: error.message, fatal: true, retryable: error.retryable }
}
