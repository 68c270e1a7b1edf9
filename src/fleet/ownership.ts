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
 * Time in ms of unanswered probes that proves a node's death: 20 s plus the age of a heartbeat. So a node that pauses
 * for 25 s keeps its calls.
 */
const PROBES_SILENT_MS = 22_000
/** Time in ms without contact to the store and to other nodes after which a node gives up its calls. */
const ISOLATED_MS = 20_000
/**
 * Time in ms after an absence in which a node must confirm each call before it acts. After this time, other nodes have
 * seen its heartbeat and their old claims have ended.
 */
export const DOUBT_MS = 10_000

/**
 * Rules of one node in the fleet. The class decides when to send a heartbeat and which nodes are suspect and must be
 * probed. It also decides which calls of other nodes this node may take over, and which of its own calls may act. Each
 * input has a time, and each decision is an output. The class does not use sockets, timers, clocks or logs.
 *
 * States of another node's run:
 *
 *     alive   --heartbeat does not change for SUSPECT_MS while the store is readable throughout--> suspect
 *     suspect --heartbeat changes; a read of the store fails; our own event loop paused--> alive
 *     suspect --evidence--> gone        take-over, TAKEOVERS_MAX times
 *     gone    --heartbeat changes--> alive
 *
 * Evidence is a refused connection, a new run under the node's name, or PROBES_SILENT_MS of unanswered probes. The
 * first two are proof, so they count as soon as a probe shows them. If the suspect run answers a probe, no evidence
 * counts, because the run has lost the store but still has its calls. While many nodes are suspect, silence is not
 * evidence, because it probably has another cause.
 *
 * Two nodes never act for one call, for the following two reasons. All times are times at which a request was sent or
 * processed.
 * - A taker is a node that takes over a call. It decides only after a read of the store, and sends claims only for a
 *   short time after its decision. An owner is in doubt if other nodes may have had no contact with it: its event loop
 *   paused, or for ISOLATED_MS it reached neither the store nor all other nodes. (ISOLATED_MS is shorter than
 *   SUSPECT_MS + PROBES_SILENT_MS.) The doubt ends DOUBT_MS after the owner is back. By then each taker has seen the
 *   owner's heartbeat or has sent its claim, and the owner confirms its calls once more.
 * - An owner must ask the store before it acts if it is in doubt, if the call has no open stream, or after a pause. It
 *   then acts only within STORE_DEADLINE_MS of sending a request that the store answered with `ok`. (Without an open
 *   stream, another node needs no more evidence than the carrier's report about the stream.) A taker waits
 *   STORE_DEADLINE_MS after its claim. So an owner that asked before the claim has acted before the taker acts. An
 *   owner that asked after the claim gets `lost`.
 *
 * A late answer of the store does not cut a call. If two nodes have opened a new call, they agree that the node with
 * the stream owns it, and the store is changed (`settle`, `yields`). Until the store names one of the two nodes as
 * owner, neither acts for the call.
 *
 * This class cannot detect three cases. An effect may still be delayed in the network, or a firewall may refuse
 * connections to a live node. While the owner is cut off, only the carrier may know that a stream is over. A node may
 * have joined while this node could not reach the store. Effects therefore carry keys.
 */
export class Ownership {
  readonly #options: OwnershipOptions
  readonly #outputs: OwnershipOutput[] = []
  /** Runs of other nodes, by `runKey`. */
  readonly #runs = new Map<string, Run>()
  readonly #calls = new Map<string, OwnedCall>()
  #nowMs = 0
  /** Time of the last input; null before the first. */
  #heardMs: number | null = null
  #stalledMs = -Infinity

  #beat = 0
  #beatAtMs = -Infinity
  /** Send time of the newest heartbeat that the store answered. */
  #storeMs = -Infinity
  /** True if the last heartbeat failed. */
  #storeFails = false
  /** True while the last heartbeat is not answered. */
  #beatPending = false
  /** Start of the current observation. Before this time, this node was away or had not started. */
  #awakeMs = 0
  /** Last time at which other nodes may have had enough evidence to take over this node's calls. */
  #doubtMs = -Infinity
  /** True if some calls are not confirmed since the last doubt (`#isSure`). */
  #unsure = false
  #isolated = false
  #manySuspects = false

  /** `newcomer`: this node's first heartbeat replaced the heartbeat of another run, which may be alive. */
  #name: 'unknown' | 'newcomer' | 'ours' | 'taken' = 'unknown'
  /** True if `ours` is only an assumption, because the store did not answer. */
  #nameAssumed = false
  /** Run that was last seen under this node's name, and the number of times that the run's heartbeat changed. */
  #rival: { readonly record: StoredNode; readonly moves: number } | null = null
  /** Time since which no other run under this node's name was seen. */
  #aloneMs = 0
  #rivalProbedMs = -Infinity
  #rivalSilent = false
  /** Number of times that this node took over the calls of earlier runs under its own name. */
  #ownTakeOvers = 0
  #ownTakenOverMs = -Infinity
  #skewed = false
  /** Number of successive heartbeats that showed a wrong clock at this node. */
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

  /** Latest time of the next `timer`; null after `exit`. */
  nextWakeMs(): number | null {
    if (this.#name === 'taken') return null
    return Math.min(this.#beatAtMs, (this.#heardMs ?? -Infinity) + WATCH_MS)
  }

  /**
   * Decides whether this node may now cause effects for its call (tool, REST call, handoff). `confirm-first`: the
   * effect must wait for a `save` that is `confirmed`; then ask again.
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
   * True if another node may have taken a claimed call. This is so if this node's event loop paused or the node was cut
   * off, and the store has not confirmed the call since.
   */
  inDoubt(callSid: string, nowMs: number): boolean {
    const call = this.#calls.get(callSid)
    if (call === undefined || call.token.epoch === 0) return false
    const stalledMs = nowMs - (this.#heardMs ?? -Infinity) > STALL_MS ? nowMs : this.#stalledMs
    const okMs = Math.max(call.okMs ?? -Infinity, call.ownedMs)
    return okMs < this.#doubtMs + DOUBT_MS || (okMs < stalledMs && nowMs - stalledMs < DOUBT_MS)
  }

  /**
   * Decides the next step for this node's call after the store refused a `save`. `claim`: claim the call with the epoch
   * of the store's entry, or, without an entry, with the call's own epoch.
   */
  settle(callSid: string, entry: Pick<StoredCall, 'owner' | 'phase'> | null): 'claim' | 'ask-owner' | 'lost' {
    const call = this.#calls.get(callSid)
    if (call === undefined || entry?.phase === 'over') return 'lost'
    if (entry === null || this.#isThisRun(entry.owner)) return 'claim'
    // The entry alone does not prove that the call is lost. It may be this node's own late claim for another node, or
    // it may be older than this node's last claim because of a failover.
    const asks = hadStream(call) || call.token.epoch === 0 || entry.owner.epoch <= call.token.epoch
    return asks ? 'ask-owner' : 'lost'
  }

  /**
   * Decides about a call after the entry's owner was asked. A dead owner cannot have the call's stream, but a silent
   * owner may have it.
   */
  settleAsked(owner: OwnerToken, answer: 'yes' | 'no' | 'later' | 'refused' | 'silent'): 'claim' | 'lost' | 'unknown' {
    if (answer === 'no') return 'lost'
    if (answer === 'yes' || answer === 'refused') return 'claim'
    const run = this.#runs.get(runKey(owner.node, owner.incarnation))
    return answer === 'silent' && run !== undefined && stateOf(run) === 'gone' ? 'claim' : 'unknown'
  }

  /**
   * Decides whether another node may claim a call that belongs to this node according to the store. `yes`: this node
   * gives the call up. `later`: neither node has the stream yet.
   */
  yields(callSid: string, streamsThere: boolean): 'yes' | 'no' | 'later' {
    const call = this.#calls.get(callSid)
    if (call === undefined) return 'yes'
    if (!call.isNew || call.streaming) return 'no'
    if (streamsThere) return 'yes'
    return call.openedMs === -Infinity ? 'later' : 'no'
  }

  /**
   * True if the audio socket of this node's call is or was open. If another node took such a call, the caller would
   * hear silence until a new stream opens.
   */
  streams(callSid: string): boolean {
    const call = this.#calls.get(callSid)
    return call !== undefined && hadStream(call)
  }

  /** Other nodes in the last view that can take a call. */
  aliveNodes(): readonly NodeRecord[] {
    const alive: NodeRecord[] = []
    for (const run of this.#peers()) {
      if (stateOf(run) === 'alive' && run.reachable) alive.push(run.record)
    }
    return alive
  }

  /**
   * State of a node; null if the last view does not list the node. `gone`: the node's calls were given to other nodes.
   */
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
    // This node serves calls without the store and assumes that the name is its own. Its failed heartbeat may still
    // have replaced another run's heartbeat.
    if (this.#name === 'unknown') {
      this.#name = 'ours'
      this.#nameAssumed = true
    }
  }

  /** Discards all observations. They cannot prove a death, because the store or this node was away for some time. */
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
        // A heartbeat with a lower number came late, or was written a second time.
        if (record.beat > run.record.beat) {
          this.#isAlive(run)
          run.record = record
        }
        run.present = true
      }
    }
    // Runs of a name that the store does not list any more are dropped. Such a node left in an orderly way or was
    // forgotten, and owns no calls.
    for (const [key, run] of this.#runs) if (!names.has(run.record.name)) this.#runs.delete(key)
  }

  /**
   * Starts to watch runs that died before this node saw them. Only the calls that such a run owns show that it existed.
   */
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

  /** Time of the next extra heartbeat, which reads the store at the moment when a suspicion or evidence becomes due. */
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
      // An old heartbeat that was written again does not prove that the other run lives.
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

  // --- other nodes ----------------------------------------------------------------------------------------

  #probe(): void {
    if (this.#name === 'taken') return
    for (const run of this.#runs.values()) {
      // While the store does not answer, all nodes are probed, to find whether this node is isolated.
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
      // The decision needs a read of the store, which every heartbeat does. If no heartbeat is under way, one is sent
      // now.
      if (run.takeOvers === 0 && !this.#beatPending)
        this.#beatAtMs = Math.min(this.#beatAtMs, Math.max(this.#nowMs, this.#storeMs + 1))
    }
  }

  /**
   * Notes that another node has reached this node, so the other node is alive. It does not end this node's isolation,
   * because this node may be unable to reach the other node.
   */
  #onHeard(node: string, incarnation: string): void {
    const run = this.#runs.get(runKey(node, incarnation))
    if (run === undefined) return
    run.heardMs = this.#nowMs
    run.silentMs = null
    run.evidence = null
  }

  /**
   * Counts whether many nodes are suspect. In this case the network or the store is probably the cause, not the nodes.
   * Nodes whose calls were given to other nodes are not counted.
   */
  #countSuspects(): void {
    let nodes = 1
    let suspects = 0
    for (const run of this.#peers()) {
      if (stateOf(run) === 'gone') continue
      nodes++
      if (run.suspectMs !== null) suspects++
    }
    // A single suspect is never "many". Otherwise a fleet of two nodes would never take over the calls of a dead node.
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
    // This node also takes over calls of its own earlier runs. If it died several times within seconds, no other node
    // may have seen some of these runs.
    const afterMs = SUSPECT_MS + (this.#rivalSilent ? PROBES_SILENT_MS : SETTLE_MS)
    if (this.#name !== 'ours' || this.#nowMs - this.#aloneMs < afterMs) return
    if (this.#ownTakeOvers >= TAKEOVERS_MAX || this.#nowMs - this.#ownTakenOverMs < TAKEOVER_PAUSE_MS) return
    this.#ownTakeOvers++
    this.#ownTakenOverMs = this.#nowMs
    this.#giveTakeOver({ name: this.#options.name, incarnation: null }, 'new-incarnation', this.#ownTakeOvers)
  }

  /**
   * True if this node is one of the TAKERS_MAX nodes with free capacity whose names follow the dead node's name. Only
   * these nodes make the first attempts, because each of them asks all other nodes for their calls.
   */
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
    // A new run under the name is evidence, unless the earlier run's address is silent: the earlier run may then be cut
    // off and not dead.
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
   * Cuts all calls if this node can reach neither the store nor other nodes, because other nodes may take over the
   * calls. A node that refuses connections does not run, so it does not count as unreachable.
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
      // The store did not confirm the call, so this node may not act for the call until the store confirms it.
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
   * True if the store has confirmed the call since its stream opened and since the last doubt ended. Without this
   * confirmation, another node may have taken the call.
   */
  #isSure({ okMs, openedMs }: OwnedCall): boolean {
    return okMs !== null && okMs >= openedMs && okMs >= this.#doubtMs + DOUBT_MS
  }

  /**
   * Orders confirmations of calls in doubt: at once, because a lost call must be cut, and again at the time when the
   * doubt may end.
   */
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
   * Checks whether this node's clock is wrong, because other nodes would then refuse its requests. If all nodes differ
   * equally from the store, only the store's clock is wrong, which is harmless.
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
  /** Calendar time at which this node started, as in its record. */
  readonly startedAtMs: number
  /** Returns a number in [0, 1), which spreads the nodes' heartbeats over time. */
  readonly random: () => number
}

/**
 * Maximum time in ms between two inputs, because a timer comes at least as often. A longer gap shows that the event
 * loop paused.
 */
const WATCH_MS = 500
/**
 * Length in ms from which a pause of the event loop counts as a stall. After a stall, a timer may run before waiting
 * events about a call. After a pause of SUSPECT_MS, other nodes may suspect this node.
 */
const STALL_MS = 1000
/** Maximum random shift of a heartbeat's time, as a share of HEARTBEAT_MS. */
const JITTER = 0.1
/**
 * Minimum time in ms between a suspicion and a takeover without proof. If many nodes fail at once, all of them are
 * suspect after this time, so that the common failure is recognised.
 */
const SETTLE_MS = 1.25 * HEARTBEAT_MS
/** Maximum time in ms from a heartbeat's request to its view. A view that took longer is too old for decisions. */
const FRESH_VIEW_MS = 2 * STORE_DEADLINE_MS
/**
 * Number of heartbeats of another run under this node's name after which one of two settled runs must leave: the
 * younger run.
 */
const RIVAL_BEATS = 3
/** Maximum number of attempts to take over the calls of one dead node. */
const TAKEOVERS_MAX = 6
/**
 * Number of first attempts that skip a call if a node that may have the call does not answer. The silent node may only
 * pause for some seconds.
 */
const TAKEOVERS_LEAVING = 2
/** Pause in ms between two attempts. Claims of an attempt are sent in the first half of this pause. */
const TAKEOVER_PAUSE_MS = 10_000
/**
 * Number of nodes that make the first attempts. If all nodes of a large fleet did so, they would send each other 65,000
 * requests at once.
 */
const TAKERS_MAX = 32
/** Maximum number of runs of other nodes that are watched at the same time. */
const RUNS_MAX = 4 * NODES_MAX
/**
 * Number of successive heartbeats that must show a wrong clock. One is not enough: after a jump of the store's clock,
 * other nodes' measurements are out of date until their next heartbeats.
 */
const ODD_BEATS = 3

function hadStream({ openedMs }: OwnedCall): boolean {
  return openedMs !== -Infinity
}

/** Key of a run. It is unambiguous, because names and incarnations do not contain spaces. */
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
  /** True if the newest view lists this run. False: another run uses its name now. */
  present: boolean
  /** Time at which the run's current heartbeat was first seen, or at which this observation began. */
  movedMs: number
  /** Time at which the run became suspect; null if the run is not suspect. */
  suspectMs: number | null
  /** Send time of the first of the successive unanswered probes; null if the last probe was answered. */
  silentMs: number | null
  /** Send time of the last probe. */
  probedMs: number
  /** Send time of the newest probe that this run answered. */
  answeredMs: number
  /** Send time of the newest probe that was refused, because the address has no listener. */
  refusedMs: number
  /** Time at which the run last sent a request to this node. */
  heardMs: number
  /** True if the run answered its last probe, or was not probed yet. */
  reachable: boolean
  evidence: 'refused' | 'new-incarnation' | null
  /**
   * Number of takeovers of the run's calls since the run's heartbeat last changed. After the first takeover the run is
   * `gone`.
   */
  takeOvers: number
  takenOverMs: number
}

/** A call of this node. */
interface OwnedCall {
  token: OwnerToken
  streaming: boolean
  /** Time at which the call's stream last opened. */
  openedMs: number
  /**
   * Send time of the newest request for this token that the store answered with `ok`; null before the first such
   * answer.
   */
  okMs: number | null
  /** Time at which this node received the call or claimed it again. */
  ownedMs: number
  /** Time of the last `confirm` output; null if it was answered. */
  confirmMs: number | null
  /** Time before which this node must not act for the call, if the call was taken over. */
  actsFromMs: number
  /** True if the call's stream must be closed. */
  cut: boolean
  /** True if the call was new when it came, and not taken over. */
  isNew: boolean
}
