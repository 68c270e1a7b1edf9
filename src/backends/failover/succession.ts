import { FAILOVERS_MAX, FAILOVER_CONNECT_MS, FAILOVER_HOLD_MS, ROTATION_QUIET_MS } from '../../core/limits.js'
import type { BackendEvent, BackendSession, ToolSpec } from '../backend.js'
import { faultEvent, vendorFault } from '../transport/vendor-fault.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { SessionRole } from '../watch.js'
import type { CallSoFar, Told } from './call-so-far.js'
import { Candidates } from './candidates.js'
import type { Crew } from './crew.js'
import { Hold } from './hold.js'
import type { MemberSession } from './member-session.js'
import type { FailoverOptions, FailoverStats } from './options.js'
import { Rotation } from './rotation.js'
import type { FailoverSnapshot } from './snapshot.js'
import { Standby } from './standby.js'

/** Between two sessions: which one was there, and since when there is none. */
interface Loss {
  readonly from: string
  readonly atMs: number
  readonly reason: string
}

/** What the succession tells. */
export interface SuccessionCall {
  event(event: BackendEvent): void
  /** The one that served is gone. @returns since when somebody waits for its answer, or null */
  vacated(): number | null
  /** The first one is there; what the call does from within is entered in its books. */
  ready(): void
  /** A session was told everything and serves from now on. */
  serving(told: Told): void
  /** Nobody is left. */
  gaveUp(fault: VendorFault): void
}

/**
 * Who serves a call, and who after that.
 *
 *     seeking --a member is ready--> serving                      the call is told, and then the member everything
 *     seeking --it failed, or is too slow and there is another--> seeking, the next of `Candidates`
 *     seeking --nobody is left--> over
 *     serving --`failed`--> seeking: the successor, else the standby, else the next member
 *     serving --`Rotation`: a successor is ready, and knows all that was said--> serving
 */
export class Succession {
  active: MemberSession | null = null
  readonly stats: FailoverStats
  readonly #options: FailoverOptions
  readonly #crew: Crew
  readonly #books: CallSoFar
  readonly #call: SuccessionCall
  readonly #candidates: Candidates
  readonly #rotation: Rotation
  readonly #standby: Standby
  readonly #hold: Hold
  #session: BackendSession | null = null
  #incoming: MemberSession | null = null
  #successor: MemberSession | null = null
  #loss: Loss | null = null
  #served = false
  #over = false
  #connectTimer: (() => void) | null = null
  #activityPrepared = 0

  constructor(options: FailoverOptions, crew: Crew, books: CallSoFar, stats: FailoverStats, call: SuccessionCall) {
    const { timers } = options
    this.#options = options
    this.#crew = crew
    this.#books = books
    this.stats = stats
    this.#call = call
    this.#candidates = new Candidates(crew.names.map((name) => crew.circuits.of(name)))
    this.#rotation = new Rotation(timers, {
      quiet: () => this.#quiet(), prepare: () => this.#prepareSuccessor(), preparing: () => this.#successor !== null,
    })
    this.#hold = new Hold(timers, options.holdAfterMs ?? FAILOVER_HOLD_MS, () => this.#tell({ type: 'holding' }))
    this.#standby = new Standby(timers, () => this.#findStandby())
  }

  /** Some member was ready once. */
  get served(): boolean {
    return this.#served
  }

  begin(session: BackendSession, snapshot: FailoverSnapshot | null): void {
    this.#session = session
    this.#seek(vendorFault('internal', 'no backend was tried', true), this.#crew.resume(snapshot))
  }

  connected(session: MemberSession): void {
    if (session.phase !== 'connecting') return
    session.phase = 'ready'
    if (session === this.#incoming) this.#promote(session)
    else if (session === this.#successor) this.#rotate(session)
  }

  /** The session that serves makes a sound. */
  sounded(session: MemberSession): void {
    this.#crew.judge(session, null)
    const soundMs = this.#hold.sounded()
    if (soundMs !== null) this.stats.soundMsLast = soundMs
  }

  expiring(session: MemberSession, inMs: number): void {
    if (session === this.active) this.#rotation.expiring(inMs)
    else if (session === this.#standby.session) this.#renewStandby(session)
  }

  /** Somebody could take over from it, without a last resort. */
  hasBetterThan(session: MemberSession): boolean {
    return this.#candidates.hasBetterThan(session.index, this.#options.timers.nowMs())
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    if (this.#session === null) return
    this.#session = { ...this.#session, ...update }
    for (const one of [this.active, this.#incoming, this.#standby.session, this.#successor]) one?.backend.updateSession(update)
  }

  end(reason: string): void {
    this.#over = true
    this.#rotation.stop()
    this.#connectTimer?.()
    this.#hold.stop()
    for (const session of [this.active, this.#incoming, this.#standby.session, this.#successor]) {
      if (session !== null) this.#crew.retire(session, reason)
    }
    this.#standby.stop()
    this.#crew.retireUnused(reason)
  }

  /** A session is of no use any more, whatever its part was. */
  failed(session: MemberSession, fault: VendorFault, reason: string = fault.code): void {
    if (session.phase === 'over') return
    const nowMs = this.#options.timers.nowMs()
    const { watch } = this.#crew
    if (session.phase === 'connecting') {
      watch.session({ backend: session.name, role: session.role, connectMs: null, fault: fault.code })
    }
    watch.fault({ backend: session.name, code: fault.code, message: fault.message, sessionLost: true })
    this.#crew.judge(session, fault)
    this.#crew.retire(session, 'failed')
    if (session === this.active) return this.#lost(session, fault, reason)
    this.#candidates.failed(session.index, fault.retryable, nowMs)
    if (session === this.#incoming) {
      this.#incoming = null
      if (this.#candidates.next(nowMs) !== null) this.#tell(faultEvent({ ...fault, fatal: false }))
      this.#seek(fault)
    } else if (session === this.#standby.session) {
      this.stats.standbysLost++
      this.#standby.lost()
    } else if (session === this.#successor) {
      this.#successor = null
      this.stats.rotationsAbandoned++
    }
  }

  /** The backend that served the call is gone. */
  #lost(session: MemberSession, fault: VendorFault, reason: string): void {
    const nowMs = this.#options.timers.nowMs()
    const waiting = this.#books.inputs.list.length > 0 || this.#books.answers.size > 0
    const waitingSinceMs = this.#letGo(session, reason) ?? nowMs
    if (this.#over) return
    this.stats.failovers++
    this.#candidates.begin()
    // At the end of its time the same service is as good as it was.
    const sameAgain = fault.code === 'session_expired'
    if (!sameAgain) this.#candidates.failed(session.index, fault.retryable, nowMs)
    if (this.stats.failovers > (this.#options.failoversMax ?? FAILOVERS_MAX) || this.#candidates.next(nowMs) === null) {
      return this.#call.gaveUp(fault)
    }
    this.#tell(faultEvent({ ...fault, fatal: false }))
    if (waiting) this.#hold.begin(waitingSinceMs)
    this.#seek(fault, sameAgain ? session.index : null)
  }

  /**
   * From here on nobody serves the call; the answers that were being given end with what was delivered of them.
   * @returns since when somebody waits, or null
   */
  #letGo(session: MemberSession, reason: string): number | null {
    this.active = null
    this.#loss = { from: session.name, atMs: this.#options.timers.nowMs(), reason }
    this.#rotation.stop()
    const waitingSinceMs = this.#call.vacated()
    for (const { generation, itemsOpen } of this.#books.answers.takeAll()) {
      for (const itemId of itemsOpen) this.#tell({ type: 'audio-done', generation, itemId })
      this.#tell({ type: 'turn-done', generation, status: 'cancelled', reason: 'failover' })
    }
    return waitingSinceMs
  }

  #seek(fault: VendorFault, preferred: number | null = null): void {
    this.#connectTimer?.()
    this.#connectTimer = null
    if (this.#over) return
    const successor = this.#successor
    if (successor !== null) {
      // The session that was to replace it anyway.
      this.#successor = null
      successor.stale ||= this.#books.activity !== this.#activityPrepared
      return this.#await(successor)
    }
    const standby = this.#standby.session
    const warm = standby?.phase === 'ready' && preferred === null && this.#candidates.isFree(standby.index)
    const index = warm ? standby.index : this.#candidates.next(this.#options.timers.nowMs(), preferred)
    if (index === null) return this.#call.gaveUp(fault)
    if (standby?.index === index) {
      this.#standby.take()
      return this.#await(standby)
    }
    const session = this.#crew.take(index)
    this.#await(session)
    this.#connect(session, this.#served ? 'takeover' : 'first')
  }

  /** A session that is there, on its way, or about to be connected takes over. */
  #await(session: MemberSession): void {
    this.#incoming = session
    this.#candidates.tried(session.index)
    if (session.phase === 'ready') return this.#promote(session)
    // While there is another, a slow one is not waited for.
    const { timers, connectMs = FAILOVER_CONNECT_MS } = this.#options
    if (this.#candidates.next(timers.nowMs()) === null) return
    this.#connectTimer = timers.after(connectMs, () => {
      this.#connectTimer = null
      this.failed(session, vendorFault('timeout', `${session.name}: not ready ${connectMs} ms after the connection was begun`, true))
    })
  }

  #connect(session: MemberSession, role: SessionRole, state: unknown = null): void {
    session.answersKnown = this.#books.tools.answers
    this.#crew.connect(session, role, { ...this.#session as BackendSession, ...this.#books.known }, state)
  }

  #promote(session: MemberSession): void {
    const { timers } = this.#options
    const loss = this.#loss
    const first = !this.#served
    this.#connectTimer?.()
    this.#connectTimer = null
    this.#incoming = null
    this.#loss = null
    this.#served = true
    // What the call does at once is entered in the books, and then given with the rest.
    if (first) this.#call.ready()
    if (this.#over) return
    this.active = session
    this.#candidates.begin()
    this.#rotation.begin(session.backend.capabilities.maxSessionMs)
    const told = this.#books.tell(session, this.#session as BackendSession, loss !== null && session.member.scripted === true)
    this.stats.reFedSamples += told.fedSamples
    this.stats.lostSamples += told.lostSamples
    // It may have died of what it was told.
    if (this.active !== session) return
    this.#call.serving(told)
    if (loss !== null) {
      const gapMs = timers.nowMs() - loss.atMs
      this.stats.gapMsLast = gapMs
      this.stats.gapMsMax = Math.max(gapMs, Number.isNaN(this.stats.gapMsMax) ? 0 : this.stats.gapMsMax)
      this.#tell({ type: 'failover', from: loss.from, to: session.name, gapMs, reason: loss.reason })
    }
    if (this.#options.standby === true && !this.#over) this.#standby.fill()
  }

  #quiet(): boolean {
    const { answers, inputs, tools, speaksUntilMs } = this.#books
    return this.active !== null && answers.size === 0 && inputs.list.length === 0 && !tools.running
      && this.#options.timers.nowMs() >= speaksUntilMs + ROTATION_QUIET_MS
  }

  #prepareSuccessor(): void {
    const active = this.active
    if (active === null) return
    const session = this.#crew.take(active.index)
    this.#successor = session
    this.#activityPrepared = this.#books.activity
    this.#connect(session, 'rotation', active.backend.snapshot())
  }

  #rotate(session: MemberSession): void {
    const old = this.active
    this.#successor = null
    session.stale ||= this.#books.activity !== this.#activityPrepared
    if (old === null || (session.stale && !this.#rotation.last)) {
      // Something was said meanwhile that it does not know.
      this.stats.rotationsAbandoned++
      this.#crew.retire(session, 'too late')
      return
    }
    this.stats.rotations++
    this.#crew.retire(old, 'replaced')
    this.#letGo(old, 'rotation')
    if (!this.#over) this.#promote(session)
  }

  #findStandby(): MemberSession | null {
    const active = this.active
    if (active === null) return null
    const worthIt = (index: number): boolean => this.#crew.members[index]?.scripted !== true
    const index = this.#candidates.beside(active.index, worthIt, this.#options.timers.nowMs())
    if (index === null) return null
    const session = this.#crew.take(index)
    session.stale = true
    // Before it connects: it may fail at once.
    this.#standby.session = session
    this.#connect(session, 'standby')
    return this.#standby.session
  }

  #renewStandby(session: MemberSession): void {
    this.#standby.take()
    this.#crew.retire(session, 'stood by for too long')
    this.#standby.fill()
  }

  #tell(event: BackendEvent): void {
    if (!this.#over) this.#call.event(event)
  }
}
