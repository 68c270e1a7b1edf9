import { assertNever } from '../core/assert.js'
import {
  CLOCK_SKEW_MS_MAX,
  CONFIRMS_AT_ONCE_MAX,
  HEARTBEAT_MS,
  NODES_MAX,
  STORE_DEADLINE_MS,
  SUSPECT_MS,
} from '../core/limits.js'
import type { FleetView, NodeRecord, OwnerToken, StoredCall, StoredNode } from './store/call-store.js'
import type { OwnershipInput, TakeOverEvidence, NotReady, OwnershipOutput } from './ownership-events.js'

/**
 * Probes of a suspect that all stay unanswered for this long are evidence of its death: 20 s, and HEARTBEAT_MS, since its
 * last heartbeat may be so much older than the moment at which it fell silent. One that stands still for 25 s keeps its
 * calls, whatever the moment.
 */
const PROBES_SILENT_MS = 22_000
/** A node that reaches neither the store nor another node for this long gives its calls up. */
const ISOLATED_MS = 20_000
/**
 * A node that others may have missed confirms each of its calls before it acts, until this long after it is back: by then
 * they have seen its heartbeat, and no claim on the old evidence is under way.
 */
export const DOUBT_MS = 10_000

/**
 * One node's part in the fleet: decides when it sends a heartbeat, who is suspect, whom to probe, which calls of others
 * may be taken over on which evidence, and which of its own calls may act. Inputs with their time go in, outputs come
 * out; it has no sockets, timers, clocks or logs.
 *
 * Another run of a node:
 *
 *     alive   --heartbeat stands still for SUSPECT_MS while the store is readable throughout--> suspect
 *     suspect --heartbeat moves; a read of the store fails; our own loop stood still--> alive
 *     suspect --evidence--> gone        take-over, TAKEOVERS_MAX times
 *     gone    --heartbeat moves--> alive
 *
 * Evidence is a refused connection, a new run under its name, or PROBES_SILENT_MS of unanswered probes. A probe that
 * the suspect run answers contradicts all of it: that run has lost the store, not its calls. The first two are proof,
 * and act as soon as a probe shows them. Silence is no evidence where many are suspect: then it has other causes.
 *
 * Why two nodes do not act for one call. Times are of the moments when a request was sent or processed.
 *   - A taker decides only on a read of the store, and claims only until shortly after. An owner that the others may
 *     have missed (its loop stood still, or it reached neither the store nor all others for ISOLATED_MS, which is
 *     shorter than SUSPECT_MS + PROBES_SILENT_MS) is in doubt until DOUBT_MS after it is back. By then every taker has
 *     seen its heartbeat or has claimed, and the owner confirms once more.
 *   - In doubt, without an open stream (the carrier's word about the stream is enough for another node), or after a
 *     stall, an owner acts only within STORE_DEADLINE_MS of sending a question that the store answered with `ok`. Who
 *     took a call over waits as long after its claim. So an owner that asked before the claim has acted before the
 *     taker does, and one that asked after it gets `lost`.
 *
 * Why a late answer of the store cuts no call. The stream is the claim: of two nodes that have a new call the store is
 * made to agree with the one that has its stream (`settle`, `yields`). Neither acts for the call before the store names
 * it.
 *
 * It cannot see an effect that waits in the network, a firewall that refuses connections for a node that lives, a
 * stream that only the carrier knows to be over while the owner is cut off from the others, and a node that joined the
 * fleet while this one was away from the store. Effects therefore carry keys.
 */
export class Ownership {
  readonly #options: OwnershipOptions
  readonly #outputs: OwnershipOutput[] = []
  /** By `runKey`. */
  readonly #runs = new Map<string, Run>()
  readonly #calls = new Map<string, OwnedCall>()
  #nowMs = 0
  /** The last input's time; null before the first. */
  #heardMs: number | null = null
  #stalledMs = -Infinity

  #beat = 0
  #beatAtMs = -Infinity
  /** When the newest heartbeat was sent that the store answered. */
  #storeMs = -Infinity
  /** The last heartbeat failed. */
  #storeFails = false
  /** The last heartbeat is not answered yet. */
  #beatPending = false
  /** Earlier events are no observations: this node was not there, or has just started. */
  #awakeMs = 0
  /** When this node was last in a condition in which others may take its calls over by evidence. */
  #doubtMs = -Infinity
  /** Some calls are not sure. */
  #unsure = false
  #isolated = false
  #manySuspects = false

  /** `newcomer`: our first heartbeat replaced that of another run, which may be alive. */
  #name: 'unknown' | 'newcomer' | 'ours' | 'taken' = 'unknown'
  /** The name is `ours` because the store did not answer. */
  #nameAssumed = false
  /** The other run that was last seen under our name, and how often its heartbeat moved. */
  #rival: { readonly record: StoredNode; readonly moves: number } | null = null
  /** Since when no other run was seen under our name, and how often the calls of those before were given to us. */
  #aloneMs = 0
  #rivalProbedMs = -Infinity
  #rivalSilent = false
  #ownTakeOvers = 0
  #ownTakenOverMs = -Infinity
  #skewed = false
  /** Heartbeats in a row at which our clock was the wrong one. */
  #oddBeats = 0
  #notReady: NotReady | null = 'starting'

  constructor(options: OwnershipOptions) {
    this.#options = options
  }

  handle(input: OwnershipInput, nowMs: number): void {
    if (this.#name === 'taken') return
    this.#nowMs = Math.max(nowMs, this.#nowMs)
    this.#watchGap()
    switch (input.type) {
      case 'beat-done':
        this.#onBeatDone(input.askedMs, input.view, input.wallMs)
        break
      case 'beat-failed':
        this.#onBeatFailed()
        break
      case 'probe-result':
        this.#onProbeResult(input)
        break
      case 'heard':
        this.#onHeard(input.node, input.incarnation)
        break
      case 'owners':
        this.#onOwners(input.node, input.incarnations)
        break
      case 'stream-over':
        this.#onStreamOver(input.callSid, input.owner)
        break
      case 'owned':
        this.#onOwned(input)
        break
      case 'stream': {
        const call = this.#calls.get(input.callSid)
        if (call === undefined) break
        call.streaming = input.open
        if (!input.open) break
        call.openedMs = this.#nowMs
        call.cut = false
        this.#unsure = true
        break
      }
      case 'released':
        this.#calls.delete(input.callSid)
        break
      case 'yielded':
        this.#lose(input.callSid)
        break
      case 'confirmed':
        this.#onConfirmed(input)
        break
      case 'timer':
        break
      default:
        assertNever(input)
    }
    this.#watchIsolation()
    this.#settleReady()
    this.#probe()
    this.#confirm()
    this.#sendBeat()
  }

  poll(): OwnershipOutput | null {
    return this.#outputs.shift() ?? null
  }

  /** When `timer` is wanted at the latest; null after `exit`. */
  nextWakeMs(): number | null {
    if (this.#name === 'taken') return null
    return Math.min(this.#beatAtMs, (this.#heardMs ?? -Infinity) + WATCH_MS)
  }

  /**
   * Says whether an effect outside (a tool, a REST call, a handoff) may happen for a call of this node now.
   * `confirm-first`: after a `save` that returned `ok`, given as `confirmed`, ask again at once; while the answer stays
   * `confirm-first`, the effect waits.
   */
  mayAct(callSid: string, nowMs: number): 'yes' | 'confirm-first' | 'no' {
    const call = this.#calls.get(callSid)
    if (call === undefined || this.#name === 'taken') return 'no'
    if (nowMs < call.actsFromMs || call.okMs === null) return 'confirm-first'
    if (nowMs - call.okMs <= STORE_DEADLINE_MS) return 'yes'
    const stalled = nowMs - (this.#heardMs ?? -Infinity) > STALL_MS || nowMs - this.#stalledMs < WATCH_MS
    return call.streaming && !stalled && this.#isSure(call) ? 'yes' : 'confirm-first'
  }

  /**
   * True if another node may have taken a call that the store has known as this one's: this node stood still a moment ago, or
   * was cut off, and the store has not said since that the call is its own.
   */
  inDoubt(callSid: string, nowMs: number): boolean {
    const call = this.#calls.get(callSid)
    if (call === undefined || call.token.epoch === 0) return false
    const stalledMs = nowMs - (this.#heardMs ?? -Infinity) > STALL_MS ? nowMs : this.#stalledMs
    const okMs = Math.max(call.okMs ?? -Infinity, call.ownedMs)
    return okMs < this.#doubtMs + DOUBT_MS || (okMs < stalledMs && nowMs - stalledMs < DOUBT_MS)
  }

  /**
   * Next step for a call of this node that its `save` did not confirm, and whose entry is read. An operation that was
   * not answered may have been carried out, and may still be: the entry may be a claim of ours for another node, which
   * never heard of it. And a replica that takes its master's place may lack the claim of this node: then the entry is of an
   * owner that is no newer. So the store alone does not take a call that has or had its stream here, whose document left without
   * the store, or that only a newer owner could have: the node that the entry names is asked (`yields`).
   *
   * `claim`: at the entry's epoch, or where there is no entry, at the call's own.
   */
  settle(callSid: string, entry: Pick<StoredCall, 'owner' | 'phase'> | null): 'claim' | 'ask-owner' | 'lost' {
    const call = this.#calls.get(callSid)
    if (call === undefined || entry?.phase === 'over') return 'lost'
    if (entry === null || this.#isThisRun(entry.owner)) return 'claim'
    const asks = hadStream(call) || call.token.epoch === 0 || entry.owner.epoch <= call.token.epoch
    return asks ? 'ask-owner' : 'lost'
  }

  /**
   * Consequence of that owner's answer, or of its absence, for the call. A run that is gone has no stream; one that does
   * not answer may still have one.
   */
  settleAsked(owner: OwnerToken, answer: 'yes' | 'no' | 'later' | 'refused' | 'silent'): 'claim' | 'lost' | 'unknown' {
    if (answer === 'no') return 'lost'
    if (answer === 'yes' || answer === 'refused') return 'claim'
    const run = this.#runs.get(runKey(owner.node, owner.incarnation))
    return answer === 'silent' && run !== undefined && stateOf(run) === 'gone' ? 'claim' : 'unknown'
  }

  /**
   * Another node has a call that the store says is ours. `yes`: it may claim it, and ours is given up. `later`: neither
   * has a stream yet.
   */
  yields(callSid: string, streamsThere: boolean): 'yes' | 'no' | 'later' {
    const call = this.#calls.get(callSid)
    if (call === undefined) return 'yes'
    if (!call.isNew || call.streaming) return 'no'
    if (streamsThere) return 'yes'
    return call.openedMs === -Infinity ? 'later' : 'no'
  }

  /**
   * True if the audio socket of a call of this node is open, or was: a node that has taken the call without it would wait for
   * a stream that is over, and its caller in silence.
   */
  streams(callSid: string): boolean {
    const call = this.#calls.get(callSid)
    return call !== undefined && hadStream(call)
  }

  /** The other nodes that can take a call, as the last view has them. */
  aliveNodes(): readonly NodeRecord[] {
    const alive: NodeRecord[] = []
    for (const run of this.#peers()) {
      if (stateOf(run) === 'alive' && run.reachable) alive.push(run.record)
    }
    return alive
  }

  /** `gone`: its calls were given to the others. Null for a name that the last view does not have. */
  stateOf(node: string): 'alive' | 'suspect' | 'gone' | null {
    if (node === this.#options.name) return 'alive'
    for (const run of this.#peers()) if (run.record.name === node) return stateOf(run)
    return null
  }

  // --- the event loop -------------------------------------------------------------------------------------

  #watchGap(): void {
    const gapMs = this.#heardMs === null ? Infinity : this.#nowMs - this.#heardMs
    if (this.#heardMs === null) this.#awakeMs = this.#aloneMs = this.#nowMs
    else if (gapMs > STALL_MS) this.#stalledMs = this.#nowMs
    this.#heardMs = this.#nowMs
    if (gapMs <= SUSPECT_MS || gapMs === Infinity) return
    this.#awakeMs = this.#nowMs
    this.#doubt()
    this.#forgetObservation()
    this.#beatAtMs = this.#nowMs
  }

  // --- the store ------------------------------------------------------------------------------------------

  #sendBeat(): void {
    if (this.#nowMs < this.#beatAtMs || this.#name === 'taken') return
    if (this.#beatPending) this.#onBeatFailed()
    this.#beatPending = true
    this.#beatAtMs = this.#nowMs + HEARTBEAT_MS * (1 - JITTER + 2 * JITTER * this.#options.random())
    this.#outputs.push({ type: 'beat', beat: ++this.#beat })
  }

  #onBeatDone(askedMs: number, view: FleetView, wallMs: number): void {
    if (askedMs <= this.#storeMs) return
    const throughout = !this.#storeFails && askedMs - this.#storeMs <= SUSPECT_MS
    this.#storeMs = askedMs
    this.#beatPending = false
    this.#storeFails = false
    if (!throughout) this.#forgetObservation()
    const fresh = this.#nowMs - askedMs <= FRESH_VIEW_MS
    this.#see(view)
    if (fresh) this.#compareClocks(wallMs - view.storeTimeMs)
    this.#settleName(view)
    for (const run of this.#runs.values())
      if (run.suspectMs === null && this.#nowMs - run.movedMs >= SUSPECT_MS) run.suspectMs = this.#nowMs
    this.#countSuspects()
    if (fresh) this.#takeOver()
    this.#beatAtMs = Math.min(this.#beatAtMs, this.#nextDecisionMs())
  }

  #onBeatFailed(): void {
    this.#beatPending = false
    this.#storeFails = true
    this.#forgetObservation()
    this.#countSuspects()
    // It serves without the store. Its heartbeat may have been carried out all the same, and have replaced another run's.
    if (this.#name === 'unknown') {
      this.#name = 'ours'
      this.#nameAssumed = true
    }
  }

  /** Observations until now prove no death: the store or this node was not there all the time. */
  #forgetObservation(): void {
    for (const run of this.#runs.values()) {
      run.movedMs = this.#nowMs
      run.suspectMs = null
      run.silentMs = null
      run.evidence = null
    }
    this.#aloneMs = this.#nowMs
  }

  #see(view: FleetView): void {
    const { name } = this.#options
    const names = new Set<string>()
    for (const run of this.#runs.values()) run.present = false
    for (const record of view.nodes) {
      if (record.name === name) continue
      names.add(record.name)
      const key = runKey(record.name, record.incarnation)
      const run = this.#runs.get(key)
      if (run === undefined) this.#runs.set(key, newRun(record, this.#nowMs))
      else {
        // One that is lower came late, or was put there again.
        if (record.beat > run.record.beat) {
          this.#isAlive(run)
          run.record = record
        }
        run.present = true
      }
    }
    // A node that left in order, or that was forgotten, has no calls that the store knows.
    for (const [key, run] of this.#runs) if (!names.has(run.record.name)) this.#runs.delete(key)
  }

  /** A run that died before this node saw it is known by its calls alone: from now on its heartbeat is waited for. */
  #onOwners(node: string, incarnations: readonly string[]): void {
    const present = [...this.#peers()].find(({ record }) => record.name === node)
    if (present === undefined) return
    for (const incarnation of incarnations) {
      const key = runKey(node, incarnation)
      if (this.#runs.has(key) || this.#runs.size >= RUNS_MAX) continue
      this.#runs.set(key, { ...newRun({ ...present.record, incarnation, beat: 0 }, this.#nowMs), present: false })
    }
  }

  #isAlive(run: Run): void {
    run.movedMs = this.#nowMs
    run.suspectMs = null
    run.silentMs = null
    run.evidence = null
    run.reachable = true
    run.takeOvers = 0
    run.takenOverMs = -Infinity
  }

  /** An extra heartbeat reads the store when a suspicion, or evidence, is due. */
  #nextDecisionMs(): number {
    let nextMs = Infinity
    for (const run of this.#runs.values()) {
      const dueMs =
        run.suspectMs === null
          ? [run.movedMs + SUSPECT_MS]
          : [run.suspectMs + SETTLE_MS, (run.silentMs ?? Infinity) + PROBES_SILENT_MS]
      for (const atMs of dueMs) if (atMs > this.#nowMs) nextMs = Math.min(nextMs, atMs)
    }
    return nextMs
  }

  // --- the name -------------------------------------------------------------------------------------------

  #settleName(view: FleetView): void {
    const { name, incarnation, startedAtMs } = this.#options
    const record = view.nodes.find((node) => node.name === name && node.incarnation !== incarnation)
    const rival = this.#rival
    if (record !== undefined) {
      const again = rival?.record.incarnation === record.incarnation
      // Old heartbeats that somebody writes again are no rival.
      const lives = view.storeTimeMs - record.writtenAtMs <= SUSPECT_MS
      this.#aloneMs = this.#nowMs
      this.#ownTakeOvers = 0
      this.#rival = { record, moves: again ? rival.moves + Number(lives && record.beat > rival.record.beat) : 0 }
      const younger =
        startedAtMs === record.startedAtMs ? incarnation > record.incarnation : startedAtMs > record.startedAtMs
      if (this.#name === 'unknown' || (this.#nameAssumed && younger)) this.#name = 'newcomer'
      this.#nameAssumed = false
      if (this.#rival.moves >= (this.#name === 'newcomer' ? 1 : younger ? RIVAL_BEATS : Infinity)) this.#exit()
      return
    }
    if (this.#name === 'unknown') this.#name = 'ours'
    if (this.#nowMs - this.#aloneMs < SUSPECT_MS) return
    this.#nameAssumed = false
    if (this.#name === 'newcomer') this.#name = 'ours'
  }

  #exit(): void {
    this.#setReady('name-taken')
    this.#name = 'taken'
    this.#outputs.push({ type: 'exit', why: 'name-taken' })
  }

  // --- the other nodes ------------------------------------------------------------------------------------

  #probe(): void {
    if (this.#name === 'taken') return
    for (const run of this.#runs.values()) {
      // Without the store, whom this node reaches decides whether it is isolated.
      if (run.suspectMs === null && !(this.#storeFails && run.present)) continue
      if (this.#nowMs - run.probedMs < HEARTBEAT_MS) continue
      run.probedMs = this.#nowMs
      this.#sendProbe(run.record)
    }
    const rival = this.#rival
    if (this.#name !== 'newcomer' || rival === null || this.#nowMs - this.#rivalProbedMs < HEARTBEAT_MS) return
    this.#rivalProbedMs = this.#nowMs
    this.#sendProbe(rival.record)
  }

  #sendProbe({ name, incarnation, internalUrl }: StoredNode): void {
    if (internalUrl !== null) this.#outputs.push({ type: 'probe', node: name, incarnation, internalUrl })
  }

  #onProbeResult(probe: Extract<OwnershipInput, { readonly type: 'probe-result' }>): void {
    if (probe.node === this.#options.name) {
      if (this.#name !== 'newcomer' || probe.incarnation !== this.#rival?.record.incarnation) return
      if (probe.result === 'answered' && probe.answeredBy === probe.incarnation) this.#exit()
      else if (probe.result !== 'silent') this.#name = 'ours'
      this.#rivalSilent = probe.result === 'silent'
      return
    }
    const run = this.#runs.get(runKey(probe.node, probe.incarnation))
    if (run === undefined) return
    run.reachable = probe.result === 'answered'
    if (probe.result === 'silent') {
      run.silentMs ??= probe.askedMs
      return
    }
    run.silentMs = null
    if (probe.result === 'refused') run.refusedMs = Math.max(run.refusedMs, probe.askedMs)
    else run.answeredMs = Math.max(run.answeredMs, probe.askedMs)
    const same = probe.result === 'answered' && probe.answeredBy === probe.incarnation
    if (same) run.evidence = null
    else if (run.suspectMs !== null) {
      run.evidence = probe.result === 'refused' ? 'refused' : 'new-incarnation'
      // A read of the store decides: that of the heartbeat under way, or of one now.
      if (run.takeOvers === 0 && !this.#beatPending)
        this.#beatAtMs = Math.min(this.#beatAtMs, Math.max(this.#nowMs, this.#storeMs + 1))
    }
  }

  /** It lives, and reaches us. That it hears us as well is not shown, so this is no sign against our own isolation. */
  #onHeard(node: string, incarnation: string): void {
    const run = this.#runs.get(runKey(node, incarnation))
    if (run === undefined) return
    run.heardMs = this.#nowMs
    run.silentMs = null
    run.evidence = null
  }

  /**
   * More than a third at once, and two at least: then the network or the store is the likelier cause of silence. One suspect is
   * never many, because otherwise no call of a dead node would be taken over in a fleet of two. Nodes whose calls were
   * given away count no more, so that the second death of a day is not held up by the first.
   */
  #countSuspects(): void {
    let nodes = 1
    let suspects = 0
    for (const run of this.#peers()) {
      if (stateOf(run) === 'gone') continue
      nodes++
      if (run.suspectMs !== null) suspects++
    }
    const many = suspects >= 2 && suspects * 3 > nodes
    if (many === this.#manySuspects) return
    this.#manySuspects = many
    this.#outputs.push({ type: 'alert', what: 'many-suspects', over: !many })
  }

  #takeOver(): void {
    if (this.#name === 'taken') return
    for (const [key, run] of this.#runs) {
      const evidence = run.suspectMs === null ? null : this.#evidenceOf(run)
      if (evidence === null || this.#nowMs - run.takenOverMs < TAKEOVER_PAUSE_MS) continue
      if (run.takeOvers >= TAKEOVERS_MAX) {
        if (!run.present) this.#runs.delete(key)
        continue
      }
      run.takeOvers++
      run.takenOverMs = this.#nowMs
      if (run.takeOvers > TAKEOVERS_LEAVING || this.#takesFirst(run.record.name))
        this.#giveTakeOver(run.record, evidence, run.takeOvers)
    }
    // A node that dies again and again within seconds leaves calls that no other node may have seen it own.
    const afterMs = SUSPECT_MS + (this.#rivalSilent ? PROBES_SILENT_MS : SETTLE_MS)
    if (this.#name !== 'ours' || this.#nowMs - this.#aloneMs < afterMs) return
    if (this.#ownTakeOvers >= TAKEOVERS_MAX || this.#nowMs - this.#ownTakenOverMs < TAKEOVER_PAUSE_MS) return
    this.#ownTakeOvers++
    this.#ownTakenOverMs = this.#nowMs
    this.#giveTakeOver({ name: this.#options.name, incarnation: null }, 'new-incarnation', this.#ownTakeOvers)
  }

  /** The next ones by name that have room take over first: each asks all others what they have. */
  #takesFirst(dead: string): boolean {
    const order = (name: string): string => `${name > dead ? 0 : 1} ${name}`
    const own = order(this.#options.name)
    let before = 0
    for (const run of this.#peers())
      if (stateOf(run) === 'alive' && run.record.free > 0 && order(run.record.name) < own) before++
    return before < TAKERS_MAX
  }

  #giveTakeOver(
    { name: node, incarnation }: { readonly name: string; readonly incarnation: string | null },
    evidence: TakeOverEvidence,
    times: number,
  ): void {
    const untilMs = this.#nowMs + TAKEOVER_PAUSE_MS / 2
    this.#outputs.push({ type: 'take-over', node, incarnation, evidence, untilMs, leaves: times <= TAKEOVERS_LEAVING })
  }

  #evidenceOf(run: Run): TakeOverEvidence | null {
    if (run.evidence !== null) return run.evidence
    if (run.suspectMs === null || this.#nowMs - run.suspectMs < SETTLE_MS) return null
    const answered = Math.max(run.answeredMs, run.heardMs) >= run.suspectMs
    // While its own address is silent the run before may be cut off, and not dead.
    if (!run.present && !answered && run.silentMs === null) return 'new-incarnation'
    if (this.#manySuspects || run.silentMs === null) return null
    return this.#nowMs - run.silentMs >= PROBES_SILENT_MS ? 'silent' : null
  }

  #onStreamOver(callSid: string, owner: OwnerToken): void {
    if (this.#isThisRun(owner) || (this.#calls.get(callSid)?.token.epoch ?? 0) > owner.epoch) return
    this.#outputs.push({ type: 'take-over-call', callSid, owner })
  }

  /** The nodes of the last view. */
  *#peers(): Iterable<Run> {
    for (const run of this.#runs.values()) if (run.present) yield run
  }

  /**
   * Without the store, others may take this node's calls over, if they do not reach it for long enough. A refused
   * connection is as good as an answer here: a node that does not run takes nothing.
   */
  #watchIsolation(): void {
    const since = (ms: number) => this.#nowMs - Math.max(ms, this.#awakeMs)
    let unheard = false
    let heard = false
    if (since(this.#storeMs) >= ISOLATED_MS)
      for (const run of this.#peers()) {
        if (run.record.internalUrl === null) continue
        if (since(Math.max(run.answeredMs, run.refusedMs)) >= ISOLATED_MS) unheard = true
        else if (since(run.answeredMs) < ISOLATED_MS) heard = true
      }
    this.#isolated = unheard && !heard
    if (unheard) this.#doubt()
    if (!this.#isolated) return
    const callSids: string[] = []
    for (const [callSid, call] of this.#calls) {
      if (call.cut) continue
      call.cut = true
      callSids.push(callSid)
    }
    if (callSids.length > 0) this.#outputs.push({ type: 'cut', callSids, why: 'isolated' })
  }

  // --- the calls of this node -----------------------------------------------------------------------------

  #isThisRun({ node, incarnation }: OwnerToken): boolean {
    return node === this.#options.name && incarnation === this.#options.incarnation
  }

  #onOwned({ callSid, token, savedMs, isNew }: Extract<OwnershipInput, { readonly type: 'owned' }>): void {
    const before = this.#calls.get(callSid)
    this.#calls.set(callSid, {
      token,
      streaming: before?.streaming ?? false,
      openedMs: before?.openedMs ?? -Infinity,
      okMs: savedMs,
      ownedMs: this.#nowMs,
      confirmMs: null,
      actsFromMs: token.epoch > 1 ? this.#nowMs + STORE_DEADLINE_MS : -Infinity,
      cut: false,
      isNew: isNew ?? before?.isNew ?? false,
    })
    this.#unsure = true
  }

  #lose(callSid: string): void {
    if (this.#calls.delete(callSid)) this.#outputs.push({ type: 'cut', callSids: [callSid], why: 'lost' })
  }

  #onConfirmed(answer: Extract<OwnershipInput, { readonly type: 'confirmed' }>): void {
    const call = this.#calls.get(answer.callSid)
    if (call?.token.nonce !== answer.token.nonce || call.token.epoch !== answer.token.epoch) return
    if (answer.result === 'lost') this.#lose(answer.callSid)
    else if (answer.result === 'unknown') {
      // The store does not say that it is ours: nothing is done for it outside until it does.
      call.okMs = null
      this.#unsure = true
    } else if (answer.result === 'ok') {
      call.okMs = Math.max(call.okMs ?? -Infinity, answer.askedMs)
      call.confirmMs = null
    }
  }

  #doubt(): void {
    this.#doubtMs = this.#nowMs
    this.#unsure = true
  }

  /**
   * The store has said that the call is ours since its stream opened, because another may have taken it while it had
   * none, and since no evidence against this node was left that could take the call from it.
   */
  #isSure({ okMs, openedMs }: OwnedCall): boolean {
    return okMs !== null && okMs >= openedMs && okMs >= this.#doubtMs + DOUBT_MS
  }

  /** Calls in doubt are confirmed at once, because a lost one has to be cut, and again when the doubt can end. */
  #confirm(): void {
    if (!this.#unsure || this.#storeFails || this.#name === 'taken') return
    this.#unsure = false
    let waiting = 0
    const due: string[] = []
    for (const [callSid, call] of this.#calls) {
      if (this.#isSure(call)) continue
      this.#unsure = true
      const asked = call.okMs !== null && call.okMs >= Math.max(call.openedMs, this.#doubtMs)
      if (call.confirmMs !== null && this.#nowMs - call.confirmMs < HEARTBEAT_MS) waiting++
      else if (!asked || this.#nowMs >= this.#doubtMs + DOUBT_MS) due.push(callSid)
    }
    const callSids = due.slice(0, Math.max(0, CONFIRMS_AT_ONCE_MAX - waiting))
    for (const callSid of callSids) (this.#calls.get(callSid) as OwnedCall).confirmMs = this.#nowMs
    if (callSids.length > 0) this.#outputs.push({ type: 'confirm', callSids })
  }

  // --- readiness ------------------------------------------------------------------------------------------

  #settleReady(): void {
    if (this.#name === 'taken' || this.#name === 'unknown') return
    if (this.#name === 'newcomer') this.#setReady('name-in-doubt')
    else if (this.#isolated) this.#setReady('isolated')
    else this.#setReady(this.#oddBeats >= ODD_BEATS ? 'clock-skew' : null)
  }

  /**
   * Where the other nodes are as far from the store's clock, that one is wrong, and nothing depends on it. A node whose
   * own clock is wrong is refused by the others, and takes no calls.
   */
  #compareClocks(aheadMs: number): void {
    const skewed = Math.abs(aheadMs) > CLOCK_SKEW_MS_MAX
    let agree = 0
    let differ = 0
    for (const run of this.#peers()) {
      const theirs = run.record.clockAheadMs
      if (theirs === null || stateOf(run) !== 'alive') continue
      if (Math.abs(theirs - aheadMs) > CLOCK_SKEW_MS_MAX) differ++
      else agree++
    }
    this.#oddBeats = skewed && differ > agree ? this.#oddBeats + 1 : 0
    if (skewed === this.#skewed) return
    this.#skewed = skewed
    this.#outputs.push({ type: 'alert', what: 'clock-skew', over: !skewed })
  }

  #setReady(notReady: NotReady | null): void {
    if (notReady === this.#notReady) return
    this.#notReady = notReady
    this.#outputs.push({ type: 'ready', ready: notReady === null, why: notReady })
  }
}

interface OwnershipOptions {
  readonly name: string
  readonly incarnation: string
  /** Calendar time, as in this node's record. */
  readonly startedAtMs: number
  /** In [0, 1); spreads the heartbeats of the nodes. */
  readonly random: () => number
}

/** How often the machine wants to be called at least: a longer gap shows that the event loop stood still. */
const WATCH_MS = 500
/**
 * After a gap of this length, news about a call (its stream is over) may still wait in the event loop behind a timer
 * that wants to act. After a gap of SUSPECT_MS the others may have missed this node too.
 */
const STALL_MS = 1000
/** Share of HEARTBEAT_MS by which a heartbeat comes early or late. */
const JITTER = 0.1
/**
 * From suspicion to a takeover that no probe has proven: every heartbeat that stopped in the same moment is suspect by then, so
 * that the failure of many nodes is seen as such.
 */
const SETTLE_MS = 1.25 * HEARTBEAT_MS
/** A view that took longer to arrive does not say what is true now. */
const FRESH_VIEW_MS = 2 * STORE_DEADLINE_MS
/** Heartbeats of a rival for our name that must be seen before the younger of two settled nodes leaves. */
const RIVAL_BEATS = 3
/** How often the calls of one dead node are looked for, and the pause between; claims are sent in its first half. */
const TAKEOVERS_MAX = 6
/** In the first of them a call is left alone that a node may have which does not answer: it may stand still for seconds. */
const TAKEOVERS_LEAVING = 2
const TAKEOVER_PAUSE_MS = 10_000
/** Nodes that take over in those first ones: all of a large fleet would send each other 65,000 requests at once. */
const TAKERS_MAX = 32
/** Runs of other nodes that are watched at once. */
const RUNS_MAX = 4 * NODES_MAX
/** After a jump of the store's clock the others' measurements are as old as their last heartbeats. */
const ODD_BEATS = 3

function hadStream({ openedMs }: OwnedCall): boolean {
  return openedMs !== -Infinity
}

/** Neither part has a space. */
function runKey(name: string, incarnation: string): string {
  return `${name} ${incarnation}`
}

function newRun(record: StoredNode, nowMs: number): Run {
  return {
    record,
    present: true,
    movedMs: nowMs,
    suspectMs: null,
    silentMs: null,
    probedMs: -Infinity,
    answeredMs: -Infinity,
    refusedMs: -Infinity,
    heardMs: -Infinity,
    reachable: true,
    evidence: null,
    takeOvers: 0,
    takenOverMs: -Infinity,
  }
}

function stateOf(run: Run): 'alive' | 'suspect' | 'gone' {
  if (run.takeOvers > 0) return 'gone'
  return run.suspectMs === null ? 'alive' : 'suspect'
}

/** One run of another node, as this node sees it. */
interface Run {
  record: StoredNode
  /** True if the last view contains it; otherwise there is a new run under its name. */
  present: boolean
  /** When its present heartbeat was first seen, or this observation began. */
  movedMs: number
  /** Since when it is suspect; null when it is not. */
  suspectMs: number | null
  /** When the first of an unbroken row of unanswered probes was sent. */
  silentMs: number | null
  /** When it was last probed, and the newest probes that it answered, and that showed that nothing listens there. */
  probedMs: number
  answeredMs: number
  refusedMs: number
  /** When it last sent us a request. */
  heardMs: number
  /** Result of its last probe; true until there is one. */
  reachable: boolean
  evidence: 'refused' | 'new-incarnation' | null
  /** How often its calls were given to the others since its heartbeat moved; then it is `gone`. */
  takeOvers: number
  takenOverMs: number
}

/** A call of this node. */
interface OwnedCall {
  token: OwnerToken
  streaming: boolean
  /** When its stream last opened. */
  openedMs: number
  /** When the newest question was sent that the store answered with `ok` for this token; null before. */
  okMs: number | null
  /** When this node got it, or claimed it again. */
  ownedMs: number
  /** When the last `confirm` went out; null when none waits for its answer. */
  confirmMs: number | null
  /** A call that was taken over does not act before. */
  actsFromMs: number
  /** Its stream is to be closed. */
  cut: boolean
  /** It came as a new call, and was not taken over. */
  isNew: boolean
}
