import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { atMost } from '../core/at-most.js'
import { assertNever } from '../core/assert.js'
import type { Clock, WallClock } from '../core/clock.js'
import { isCallSid } from '../core/ids.js'
import {
  CONFIRMS_AT_ONCE_MAX,
  HEARTBEAT_MS,
  PEER_ANSWER_MS,
  STORE_DEADLINE_MS,
  STORE_PATIENCE_MS,
  STORE_REWRITTEN_MS,
} from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { OverAnswer } from '../workers/main/main-thread-context.js'
import { isOwner } from './store/call-store.js'
import type { CallStore, FleetView, NodeRecord, Owner, OwnerToken, StoredNode } from './store/call-store.js'
import type { GuardedStore } from './store/guarded-store.js'
import { LeftRecords } from './left-records.js'
import { Ownership } from './ownership.js'
import type { OwnershipInput, OwnershipOutput } from './ownership-events.js'
import type { PeerListener } from './peer-listener.js'
import { streamsRequestSchema, yieldRequestSchema } from './peer-requests.js'
import type { PeerRequest, YieldRequest } from './peer-requests.js'
import type { PeerResult, Peers } from './peers.js'

/** Maximum number of given-up calls that this node remembers. Their webhooks may still come to this node. */
const GIVEN_UP_CALLS_MAX = 10_000
/** Maximum time in ms to wait until this node may act for a call. A call that has just opened is not confirmed yet. */
const ACT_WAIT_MS = STORE_PATIENCE_MS
/** Pause in ms between two checks whether this node may act. */
const ACT_PAUSE_MS = 50
/** Like ACT_WAIT_MS, for effects that may come late. It is long enough for an outage of Redis. */
const PATIENT_ACT_WAIT_MS = 10 * 60_000
const PATIENT_ACT_PAUSE_MS = 250
/** Maximum number of placed orders and calls without a stream so far. */
const RESERVED_CALLS_MAX = 10_000

/**
 * Minimum number of a caller's calls at this node from which heartbeats list the caller. Most callers have only one
 * call.
 */
const BUSY_CALLER_CALLS = 2
/** Maximum number of callers in a heartbeat, about 2 KB. The callers with most calls are listed. */
const BUSY_CALLERS_MAX = 64

/** Maximum number of tries to claim an entry. A try fails if a late claim of another node changes the entry first. */
const SETTLE_TRIES = 3

/**
 * Time in ms after which this node counts as alone if the store lists no other node. It is longer than another node's
 * restart or loss of the store.
 */
const COMPANY_MS = 120_000

/** Makes a random name of a run or of a claim. */
export function newNonce(): string {
  return randomBytes(9).toString('base64url')
}

/**
 * One node of the fleet: its heartbeats, its view of other nodes, and its own calls. `Ownership` makes the decisions.
 * This class carries them out by requests to the store and to other nodes.
 */
export class FleetNode {
  readonly name: string
  readonly incarnation: string
  readonly store: GuardedStore
  readonly leftRecords: LeftRecords
  readonly counters = {
    /** Number of takeovers of nodes and of single calls, by evidence. */
    takeOvers: { refused: 0, 'new-incarnation': 0, silent: 0, 'stream-over': 0 },
    /** Number of calls of this node that it gave up, by reason. */
    givenUp: { lost: 0, isolated: 0 },
    /** Number of calls that were opened while the store was down. */
    unclaimed: 0,
  }
  readonly #options: FleetNodeOptions
  readonly #ownership: Ownership
  readonly #startedAtMs: number
  readonly #tokens = new Map<string, OwnerToken>()
  /**
   * Epoch of this node's first claim, by call. Contains only calls that this node has claimed more than once and always
   * owned.
   */
  readonly #epochs = new Map<string, number>()
  /** Claims of orders that this node places, and of the calls that the carrier created for these orders. */
  readonly #reserved = new LRUCache<string, OwnerToken>(atMost(RESERVED_CALLS_MAX))
  /** Running confirmations, at most one for each call. */
  readonly #confirming = new Map<string, Promise<Confirmation>>()
  /**
   * `#confirms`: number of patient confirmations that wait for the store. `#turns`: queue of confirmations that wait
   * for their turn.
   */
  #confirms = 0
  readonly #turns: (() => void)[] = []
  /** `#gaveUp`: calls that this node gave up. `#endedHere`: calls that ended at this node. */
  readonly #gaveUp = new LRUCache<string, true>(atMost(GIVEN_UP_CALLS_MAX))
  readonly #endedHere = new LRUCache<string, true>(atMost(GIVEN_UP_CALLS_MAX))
  readonly #alerts = new Set<string>()
  #recover: (callSids: readonly string[], permit: TakeOverPermit) => void = () => undefined
  #recovers: (callSid: string) => boolean = () => false
  #view: FleetView = { nodes: [], storeTimeMs: 0 }
  #viewWallMs = 0
  #forgottenMs = -Infinity
  #storeDownMs = -Infinity
  /** Time in ms, on the monotonic clock, at which the store last listed another node. */
  #companyMs = -Infinity
  #state: NodeRecord['state'] = 'open'
  #notReady: string | null = 'starting'
  #beat = 0
  #timer: NodeJS.Timeout | null = null
  #stopped = false
  #leavesBehind = false

  constructor(options: FleetNodeOptions) {
    this.#options = options
    this.name = options.name
    this.incarnation = options.incarnation
    this.store = options.store
    this.leftRecords = new LeftRecords(options.name)
    this.#startedAtMs = options.wallClock()
    const { name, incarnation, random } = options
    this.#ownership = new Ownership({ name, incarnation, random, startedAtMs: this.#startedAtMs })
    this.onRequest('yield', (body) => Promise.resolve(this.#yields(yieldRequestSchema.parse(body))))
    this.onRequest('streams', (callSids) => this.#having(streamsRequestSchema.parse(callSids)))
  }

  /** Joins the fleet. Resolves after the first heartbeat, even if the store is down. */
  async start(): Promise<void> {
    await this.#sendNextBeat()
    this.#handle({ type: 'timer' })
  }

  /**
   * Makes the stop leave this run's calls and last heartbeat in the store, so that another node or this node's next run
   * recovers the calls.
   */
  leaveBehind(): void {
    this.#leavesBehind = true
  }

  /** Leaves the fleet. Idempotent. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#leavesBehind) return
    // A failure is ignored, because this node's entry expires.
    await this.store.leave(this.name, this.incarnation).catch(() => undefined)
  }

  // --- the nodes ------------------------------------------------------------------------------------------

  get state(): NodeRecord['state'] {
    return this.#state
  }

  /** Sets whether this node gets new calls. Sends a heartbeat at once. */
  set state(state: NodeRecord['state']) {
    this.#state = state
    void this.#sendNextBeat()
  }

  /** Reason why this node cannot accept calls; null if it can. */
  get notReady(): string | null {
    return this.#notReady
  }

  /** Alerts that are currently active. */
  get alerts(): readonly string[] {
    return [...this.#alerts]
  }

  /** Other nodes in the store's last answer. */
  others(): readonly (StoredNode & { readonly seen: 'alive' | 'suspect' | 'gone' })[] {
    return this.#view.nodes
      .filter(({ name }) => name !== this.name)
      .map((node) => ({ ...node, seen: this.#ownership.stateOf(node.name) ?? 'gone' }))
  }

  /** Record of this node that its heartbeats contain. */
  get record(): NodeRecord {
    const { version, opsUrl, network, news } = this.#options
    const { capacity, free, callsByAgent, callsByCaller, liveCosts, agents, afterStream, diskFull } = news()
    return {
      name: this.name,
      incarnation: this.incarnation,
      beat: this.#beat,
      startedAtMs: this.#startedAtMs,
      internalUrl: network?.url ?? null,
      opsUrl,
      version,
      capacity,
      free: this.#state === 'open' ? free : 0,
      state: this.#state,
      callsByAgent,
      clockAheadMs: this.clockAheadMs,
      busyCallers: network === null ? {} : this.#busyCallers(callsByCaller),
      liveCosts,
      ...(agents === undefined ? {} : { agents }),
      ...(diskFull === true && { diskFull }),
      afterStream,
    }
  }

  /** Number of live nodes whose last heartbeat shows other versions of agents for new calls than this node uses. */
  get nodesWithOtherAgents(): number {
    const { agents } = this.record
    if (agents === undefined) return 0
    return this.others().filter((node) => node.seen === 'alive' && (node.agents ?? agents) !== agents).length
  }

  /**
   * Time in ms by which this node's calendar clock is ahead of the store's clock; null before the first answered
   * heartbeat.
   */
  get clockAheadMs(): number | null {
    return this.#viewWallMs === 0 ? null : this.#viewWallMs - this.#view.storeTimeMs
  }

  /** Number of live calls of an agent at other nodes, from their last heartbeats. */
  callsElsewhere(agent: string): number {
    return this.others().reduce((sum, { seen, callsByAgent }) => {
      return seen === 'alive' ? sum + (callsByAgent[agent] ?? 0) : sum
    }, 0)
  }

  /**
   * Number of live calls of a caller at other nodes, from their last heartbeats. A heartbeat lists only callers with
   * several calls.
   */
  callsOfCallerElsewhere(caller: string): number {
    const others = this.others()
    if (others.length === 0) return 0
    const tag = this.#options.callerTag(caller)
    return others.reduce((sum, { seen, busyCallers }) => sum + (seen === 'alive' ? (busyCallers?.[tag] ?? 0) : 0), 0)
  }

  #busyCallers(callsByCaller: ReadonlyMap<string, number>): Record<string, number> {
    const { callerTag } = this.#options
    const busy = [...callsByCaller].filter(([caller, calls]) => caller !== '' && calls >= BUSY_CALLER_CALLS)
    const most = busy.sort(([, a], [, b]) => b - a).slice(0, BUSY_CALLERS_MAX)
    return Object.fromEntries(most.map(([caller, calls]) => [callerTag(caller), calls]))
  }

  /** Other nodes that can take a call. */
  alive(): readonly NodeRecord[] {
    return this.#ownership.aliveNodes()
  }

  /** True if another node accepts calls now and its disk has space for their records. */
  get keepsElsewhere(): boolean {
    return this.alive().some(({ free, state, diskFull }) => free > 0 && state === 'open' && diskFull !== true)
  }

  /**
   * Availability of other nodes for calls. `now`: another node accepts calls. `soon`: another node will probably accept
   * calls in some seconds, because it restarts or the store fails over.
   */
  get takesCallsElsewhere(): 'now' | 'soon' | 'never' {
    if (this.alive().some(({ free, state }) => free > 0 && state === 'open')) return 'now'
    return this.#options.clock() - this.#companyMs <= COMPANY_MS ? 'soon' : 'never'
  }

  /**
   * Registers the handler of requests with this name from other nodes. Call it once for each name.
   * @param handler  also gets the sender's name
   */
  onRequest(name: PeerRequest, handler: (body: unknown, from: string) => Promise<unknown>): void {
    this.#options.network?.listener.handle(name, (body, { node }) => handler(body, node))
  }

  /** Sends a request to one run of a node. Never rejects. */
  async ask(
    { node, incarnation }: Pick<Owner, 'node' | 'incarnation'>,
    name: PeerRequest,
    body: unknown,
    answerMs = PEER_ANSWER_MS,
  ): Promise<PeerResult> {
    const { network } = this.#options
    // The view of the last heartbeat lacks runs that started later.
    const known = this.#view.nodes.find((record) => record.name === node && record.incarnation === incarnation)
    if (known === undefined) await this.#sendNextBeat()
    const url = this.#view.nodes.find((record) => record.name === node)?.internalUrl ?? null
    if (network === null || url === null) return { result: 'refused', reason: 'host-unknown', answeredBy: null }
    return network.peers.ask({ url, node, incarnation }, name, body, answerMs)
  }

  /** Notes an authenticated request of another node, which shows that the node is alive. */
  heard(node: string, incarnation: string): void {
    this.#handle({ type: 'heard', node, incarnation })
  }

  // --- ownership ------------------------------------------------------------------------------------------

  isThisRun({ node, incarnation }: Pick<Owner, 'node' | 'incarnation'>): boolean {
    return node === this.name && incarnation === this.incarnation
  }

  /** Makes a claim for another node, or for this node if `record` is null. */
  claimFor(record: NodeRecord | null): Owner {
    const { name, incarnation } = record ?? this
    return { node: name, incarnation, nonce: newNonce() }
  }

  /** This node's ownership of a call; null if this node does not own the call, or has not claimed it yet. */
  token(callSid: string): OwnerToken | null {
    const token = this.#held(callSid)
    return token === null || token.epoch === 0 ? null : token
  }

  /** True if this node has owned the call since `epoch` without interruption. */
  heldIn(callSid: string, epoch: number): boolean {
    const now = this.token(callSid)?.epoch ?? 0
    const first = this.#epochs.get(callSid) ?? now
    return epoch <= Math.max(first, now) && epoch >= Math.min(first, now)
  }

  /** This node's ownership of a call, like `token`. It includes calls that were opened without the store (epoch 0). */
  #held(callSid: string): OwnerToken | null {
    return this.#tokens.get(callSid) ?? this.#reserved.get(callSid) ?? null
  }

  /**
   * Registers that this node owns a call, which it was given or took over. Must run before the call is opened.
   * @param isNew true: no node had the call before
   */
  expect(callSid: string, token: OwnerToken, isNew = false): void {
    this.#gaveUp.delete(callSid)
    this.#epochs.delete(callSid)
    this.#tokens.set(callSid, token)
    this.#handle({ type: 'owned', callSid, token, savedMs: null, isNew })
  }

  /** Notes that a call is over on this node, or could not be opened. */
  released(callSid: string): void {
    this.#epochs.delete(callSid)
    // A call that this node gave up has not ended: another node may have it now.
    if (this.#tokens.delete(callSid) && !this.#gaveUp.has(callSid)) this.#endedHere.set(callSid, true)
    this.#handle({ type: 'released', callSid })
  }

  /**
   * Asks the store to confirm that this node owns a call. If the call was opened without the store, or the store has
   * lost the call, this method claims the call.
   */
  confirm(callSid: string): Promise<Confirmation> {
    const before = this.#confirming.get(callSid)
    if (before === undefined) return this.#confirmOnce(callSid, () => this.#confirm(callSid, this.store))
    // A patient confirmation may be running. It may take longer than code that uses this method can wait.
    return Promise.race([before, sleep(STORE_DEADLINE_MS, 'store-down' as const, { ref: false })])
  }

  /**
   * Confirms a call with the patient store, because no code waits for the result. At most CONFIRMS_AT_ONCE_MAX of these
   * confirmations run at once, because after a failover every call may be in doubt.
   */
  #confirmPatiently(callSid: string): Promise<Confirmation> {
    return this.#confirmOnce(callSid, async () => {
      if (this.#confirms < CONFIRMS_AT_ONCE_MAX) this.#confirms++
      else await new Promise<void>((resolve) => this.#turns.push(resolve))
      try {
        return await this.#confirm(callSid, this.store.patient)
      } finally {
        const next = this.#turns.shift()
        if (next === undefined) this.#confirms--
        else next()
      }
    })
  }

  #confirmOnce(callSid: string, confirm: () => Promise<Confirmation>): Promise<Confirmation> {
    const before = this.#confirming.get(callSid)
    if (before !== undefined) return before
    const confirming = confirm().finally(() => this.#confirming.delete(callSid))
    this.#confirming.set(callSid, confirming)
    return confirming
  }

  async #confirm(callSid: string, store: CallStore): Promise<Confirmation> {
    const token = this.#held(callSid)
    if (token === null) return 'store-down'
    const askedMs = this.#options.clock()
    let settled: OwnerToken | Confirmation
    try {
      settled = token.epoch === 0 ? 'lost' : await store.save(callSid, token, {})
      if (settled === 'lost') settled = await this.#settle(callSid, token, store)
    } catch {
      settled = 'store-down'
    }
    const again = typeof settled === 'object' ? settled : null
    const result = typeof settled === 'object' ? 'ok' : settled
    this.#handle({ type: 'confirmed', callSid, token: again ?? token, askedMs, result })
    return result
  }

  /** @returns the new token if the call was claimed again; `lost` or `unknown` otherwise */
  async #settle(callSid: string, token: OwnerToken, store: CallStore): Promise<OwnerToken | 'lost' | 'unknown'> {
    for (let tries = 0; tries < SETTLE_TRIES; tries++) {
      const entry = await store.read(callSid)
      let todo: 'claim' | 'ask-owner' | 'lost' | 'unknown' = this.#ownership.settle(callSid, entry)
      if (todo === 'ask-owner' && entry !== null) todo = await this.#askOwner(callSid, entry.owner)
      if (todo === 'lost' || todo === 'unknown') return todo
      const { owner } = await store.claim(callSid, this.claimFor(null), entry?.owner.epoch ?? token.epoch)
      // If the owner comes from an earlier claim of this node that the store executed late, this owner is valid too.
      if (!this.isThisRun(owner) || (await store.save(callSid, owner, {})) === 'lost') continue
      const held = this.#held(callSid)
      // If the call has ended during the claim, its entry must not show a live call. A given-up call is left out,
      // because it may be live at another node.
      if (held === null && !this.#gaveUp.has(callSid)) await store.over(callSid, owner)
      if (held?.nonce !== token.nonce) return held === null ? 'lost' : 'unknown'
      if (!this.#epochs.has(callSid)) this.#epochs.set(callSid, token.epoch)
      this.#tokens.set(callSid, owner)
      this.#handle({ type: 'owned', callSid, token: owner, savedMs: this.#options.clock() })
      return owner
    }
    return 'unknown'
  }

  async #askOwner(callSid: string, owner: OwnerToken): Promise<'claim' | 'lost' | 'unknown'> {
    const streams = this.#ownership.streams(callSid)
    const asked = await this.ask(owner, 'yield', { callSid, streams } satisfies YieldRequest)
    // A fault between the nodes does not show who owns the call.
    if (asked.result === 'failed') return 'unknown'
    const answer = asked.result === 'answered' ? (asked.answer as YieldAnswer).yields : asked.result
    return this.#ownership.settleAsked(owner, answer)
  }

  /** Answers another node that has a call which, according to the store, this node owns. */
  #yields({ callSid, streams }: YieldRequest): YieldAnswer {
    const yields = this.#recovers(callSid) ? 'no' : this.#ownership.yields(callSid, streams)
    if (yields === 'yes') this.#handle({ type: 'yielded', callSid })
    return { yields }
  }

  /**
   * Confirms a call again and again after the store refused its `token`, until the owner is known. Either another node
   * has the call, or the store has lost the call.
   */
  lost(callSid: string, token: OwnerToken): void {
    void (async () => {
      const isOurs = (): boolean => !this.#stopped && this.#tokens.get(callSid)?.nonce === token.nonce
      const settled = (result: Confirmation): boolean => result === 'ok' || result === 'lost'
      while (isOurs() && !settled(await this.#confirmPatiently(callSid)))
        await sleep(HEARTBEAT_MS, undefined, { ref: false })
    })()
  }

  /**
   * True if this node noticed in the last `withinMs` that the store lost its data (Redis was emptied or replaced). A
   * call that the store does not list may then exist.
   */
  forgotten(withinMs: number): boolean {
    return this.#options.clock() - this.#forgottenMs <= withinMs
  }

  /** The answer of `forgotten` after a new heartbeat, which also detects a very recent loss. */
  async forgottenNow(withinMs: number): Promise<boolean> {
    await this.#sendNextBeat()
    return this.forgotten(withinMs)
  }

  /**
   * True if the store did not answer at some time in the last `withinMs`. Nodes may then have opened calls without a
   * claim.
   */
  storeWasDown(withinMs: number): boolean {
    return this.#options.clock() - this.#storeDownMs <= withinMs
  }

  /** Claims all calls of this node again. */
  #claimAllAgain(): void {
    this.#forgottenMs = this.#options.clock()
    const callSids = [...this.#tokens.keys()]
    this.#options.log.error({ calls: callSids.length }, 'the store has lost its data: the live calls are written again')
    this.#options.onForgotten()
    for (const callSid of callSids) void this.#confirmPatiently(callSid)
  }

  /** Registers that a stream opened, and marks its nonce as used in the store. */
  async streamOpened(callSid: string, nonce: string): Promise<'ok' | 'used' | 'lost' | 'store-down'> {
    this.#handle({ type: 'stream', callSid, open: true })
    const token = this.token(callSid)
    if (token === null) return 'store-down'
    const result = await this.store.attach(callSid, token, nonce).catch(() => 'store-down' as const)
    if (result === 'lost') this.lost(callSid, token)
    return result
  }

  streamClosed(callSid: string): void {
    this.#handle({ type: 'stream', callSid, open: false })
  }

  /** Registers a call that was opened while the store was down. The call is claimed when the store answers again. */
  openedUnclaimed(callSid: string): void {
    this.counters.unclaimed++
    this.expect(callSid, { ...this.claimFor(null), epoch: 0 }, true)
  }

  /**
   * Claims an order that this node places, or the order's call. Never rejects. Without the claim, another node might
   * open the call, but it does not know the order.
   * @param name clientRequestId or SID
   */
  async reserve(name: string, key = name): Promise<void> {
    try {
      const claim = this.claimFor(null)
      let { owner, state, phase } = await this.store.claim(key, claim, 0)
      // A dead run had placed this order before. The carrier then answers with the earlier call, which no node has
      // opened, so this node claims it.
      if (key === name && isCallSid(key) && state === null && phase !== 'over' && this.#isGone(owner))
        ({ owner, state, phase } = await this.store.claim(key, claim, owner.epoch))
      if (owner.nonce !== claim.nonce) return
      await this.store.save(key, owner, {})
      this.#reserved.set(name, owner)
    } catch (thrown) {
      this.#options.log.warn(
        { err: thrown },
        'an outbound call could not be claimed: another node may answer its webhooks',
      )
    }
  }

  /**
   * True if the owner's run is gone. It is an earlier run of this node, or a run of another node that no heartbeat
   * shows as alive.
   */
  #isGone(owner: Owner): boolean {
    if (owner.node === this.name) return !this.isThisRun(owner)
    return !this.others().some(
      ({ name, incarnation, seen }) => name === owner.node && incarnation === owner.incarnation && seen !== 'gone',
    )
  }

  /**
   * Ends a call that this node has placed and that seems unanswered. Never rejects.
   * @returns the store's answer; `in-doubt` if this node had not reserved the call
   */
  async unreached(callSid: string): Promise<OverAnswer> {
    const token = this.#reserved.get(callSid)
    if (token === undefined) return 'in-doubt'
    this.#reserved.delete(callSid)
    return this.store.patient.over(callSid, token).catch(() => 'unknown')
  }

  /** Notes that another node has taken a call that this node gave to it. */
  handedOver(callSid: string): void {
    this.#gaveUp.set(callSid, true)
    this.#reserved.delete(callSid)
    this.released(callSid)
    this.#options.onGivenUp([callSid], 'lost')
  }

  /** True for a call that this node gave up. Its webhooks belong to the call's new owner. */
  gaveUp(callSid: string): boolean {
    return this.#gaveUp.has(callSid)
  }

  /** True if another node may have taken this node's call without this node's knowledge; see `Ownership.inDoubt`. */
  inDoubt(callSid: string): boolean {
    return this.#ownership.inDoubt(callSid, this.#options.clock())
  }

  /**
   * True if this node may cause effects outside the gateway for a call.
   * @param confirm true: the store must confirm now that this node owns the call
   * @param patient true: waits for up to PATIENT_ACT_WAIT_MS
   */
  async mayAct(callSid: string, confirm: boolean, patient = false): Promise<boolean> {
    const { clock } = this.#options
    if (this.#reserved.has(callSid) && !this.#tokens.has(callSid)) return true
    const [waitMs, pauseMs] = patient ? [PATIENT_ACT_WAIT_MS, PATIENT_ACT_PAUSE_MS] : [ACT_WAIT_MS, ACT_PAUSE_MS]
    const untilMs = clock() + waitMs
    for (let first = true; ; first = false) {
      const may = this.#ownership.mayAct(callSid, clock())
      // An effect after the call's end is allowed, for example the last handoff post, because no node takes over an
      // ended call.
      if (may === 'no') return this.#endedHere.has(callSid)
      if (may === 'yes' && !(confirm && first)) return true
      const result = await this.#confirmPatiently(callSid)
      if (result === 'lost' || (result === 'unknown' && !patient)) return false
      if (result === 'ok' && this.#ownership.mayAct(callSid, clock()) === 'yes') return true
      if (clock() >= untilMs || this.#stopped) return false
      await sleep(pauseMs, undefined, { ref: !patient })
    }
  }

  /**
   * The calls of the list that other nodes already have. The store may lack these nodes' claims if a replica has
   * replaced the store's master.
   */
  async havingElsewhere(callSids: readonly string[]): Promise<readonly string[]> {
    if (callSids.length === 0) return []
    // Before `start`, this node does not know other nodes.
    if (this.#viewWallMs === 0) await this.#sendNextBeat()
    return (await this.#askHaving(callSids)).flatMap((each) => each ?? [])
  }

  /**
   * Sets the function that recovers calls. Call it once, before `start`.
   * @param recovers  returns true if this node has taken the call over
   */
  onTakeOver(
    recover: (callSids: readonly string[], permit: TakeOverPermit) => void,
    recovers: (callSid: string) => boolean,
  ): void {
    this.#recover = recover
    this.#recovers = recovers
  }

  /**
   * Handles the carrier's message that the stream of a call is over, if the call's owner is another node that did not
   * answer.
   */
  streamOver(callSid: string, owner: OwnerToken): void {
    this.#handle({ type: 'stream-over', callSid, owner })
  }

  // --- the machine ----------------------------------------------------------------------------------------

  #handle(input: OwnershipInput): void {
    if (this.#stopped) return
    const { clock } = this.#options
    this.#ownership.handle(input, clock())
    for (let output = this.#ownership.poll(); output !== null; output = this.#ownership.poll()) this.#carryOut(output)
    if (this.#timer !== null) clearTimeout(this.#timer)
    const wakeMs = this.#ownership.nextWakeMs()
    if (wakeMs === null) return
    this.#timer = setTimeout(() => this.#handle({ type: 'timer' }), Math.max(1, wakeMs - clock()))
    this.#timer.unref()
  }

  #carryOut(output: OwnershipOutput): void {
    const { log } = this.#options
    switch (output.type) {
      case 'beat':
        this.#beat = Math.max(this.#beat + 1, output.beat)
        void this.#sendBeat(this.store.patient)
        return
      case 'probe':
        void this.#probe(output.node, output.incarnation, output.internalUrl)
        return
      case 'confirm':
        for (const callSid of output.callSids) void this.#confirmPatiently(callSid)
        return
      case 'cut':
        return this.#giveUp(output.callSids, output.why)
      case 'take-over':
        void this.#takeOver(output)
        return
      case 'take-over-call':
        this.counters.takeOvers['stream-over']++
        // A call that is skipped here is taken over later if heartbeats show that its owner is dead.
        void this.#recoverLost(
          [output.callSid],
          { mayAsk: true, isLost: (owner) => isOwner(owner, output.owner), mayClaim: () => true },
          true,
        )
        return
      case 'alert':
        if (output.over) this.#alerts.delete(output.what)
        else this.#alerts.add(output.what)
        log[output.over ? 'info' : 'error'](
          { what: output.what },
          output.over ? 'a fleet alert is over' : 'fleet alert',
        )
        return
      case 'ready':
        this.#notReady = output.ready ? null : output.why
        return
      case 'exit':
        log.fatal({ node: this.name }, 'another live node has this NODE_NAME: this node ends')
        return this.#options.onNameTaken()
      default:
        assertNever(output)
    }
  }

  #sendNextBeat(): Promise<void> {
    this.#beat++
    return this.#sendBeat(this.store)
  }

  async #sendBeat(store: CallStore): Promise<void> {
    const { clock, wallClock } = this.#options
    const askedMs = clock()
    try {
      const stored = await store.beat(this.record)
      const wallMs = wallClock()
      // A view without this node's previous heartbeat shows that the store has lost its data.
      if (this.#viewWallMs !== 0 && !stored.nodes.some(({ name }) => name === this.name)) this.#claimAllAgain()
      const view = this.forgotten(STORE_REWRITTEN_MS) ? withEarlier(stored, this.#view) : stored
      this.#view = view
      if (this.others().length > 0) this.#companyMs = clock()
      this.#viewWallMs = wallMs
      this.#options.onView(view)
      this.#handle({ type: 'beat-done', askedMs, view, wallMs })
    } catch {
      // The store's guard has counted and reported this failure.
      this.#storeDownMs = clock()
      this.#handle({ type: 'beat-failed' })
      return
    }
  }

  async #probe(node: string, incarnation: string, url: string): Promise<void> {
    const { network, clock } = this.#options
    if (network === null) return
    const askedMs = clock()
    const probed = await network.peers.ping({ url, node, incarnation })
    // A fault between the nodes shows nothing about the other node's state.
    if (probed.result === 'failed') return
    this.#handle({
      type: 'probe-result',
      node,
      incarnation,
      askedMs,
      result: probed.result === 'refused' && probed.answeredBy !== null ? 'answered' : probed.result,
      answeredBy: probed.result === 'answered' ? incarnation : probed.result === 'refused' ? probed.answeredBy : null,
    })
  }

  #giveUp(callSids: readonly string[], why: 'lost' | 'isolated'): void {
    const { log, onGivenUp } = this.#options
    this.counters.givenUp[why] += callSids.length
    for (const callSid of callSids) {
      this.#gaveUp.set(callSid, true)
      if (why !== 'lost') continue
      this.#reserved.delete(callSid)
      this.#tokens.delete(callSid)
      this.#epochs.delete(callSid)
    }
    log.error({ calls: callSids.length, why }, 'calls are given up: other nodes may have taken them over')
    onGivenUp(callSids, why)
  }

  async #takeOver(output: Extract<OwnershipOutput, { readonly type: 'take-over' }>): Promise<void> {
    const { log, clock } = this.#options
    const { node, incarnation, evidence, untilMs, leaves } = output
    // `incarnation` null means all earlier runs under this node's name.
    const isLost = (owner: Pick<Owner, 'node' | 'incarnation'>): boolean =>
      owner.node === node && (incarnation === null ? !this.isThisRun(owner) : owner.incarnation === incarnation)
    try {
      const owned = (await this.store.patient.callsOf(node)).filter(({ key }) => isCallSid(key))
      this.#handle({ type: 'owners', node, incarnations: [...new Set(owned.map((each) => each.incarnation))] })
      // Calls that another run under the name owns are not lost, for example ringing calls.
      const lost = owned.filter(({ incarnation: run }) => isLost({ node, incarnation: run }))
      const callSids = lost.map(({ key }) => key)
      if (callSids.length === 0) return
      this.counters.takeOvers[evidence]++
      log.error(
        { peer: node, incarnation, calls: callSids.length, evidence },
        'a node is lost: its calls are being recovered',
      )
      await this.#recoverLost(callSids, { mayAsk: false, isLost, mayClaim: () => clock() < untilMs }, leaves)
    } catch (thrown) {
      log.error({ err: thrown, peer: node }, 'the calls of a lost node cannot be read')
    }
  }

  /** @param leaves true: another attempt will follow, so this attempt stops if a node does not report its calls */
  async #recoverLost(callSids: readonly string[], permit: TakeOverPermit, leaves: boolean): Promise<void> {
    const here = await this.#having(callSids)
    const answers = await this.#askHaving(callSids)
    if (leaves && answers.includes(null))
      return this.#options.log.warn(
        { calls: callSids.length },
        'calls of a lost node are not recovered yet: another node has not reported which of them it has',
      )
    const live = new Set([here, ...answers].flatMap((each) => each ?? []))
    this.#recover(
      callSids.filter((callSid) => !live.has(callSid)),
      permit,
    )
  }

  /**
   * Asks the nodes that may be alive which of these calls they have. The result is null for a node that did not answer,
   * because it may have any of these calls.
   */
  #askHaving(callSids: readonly string[]): Promise<readonly (readonly string[] | null)[]> {
    const others = this.others().filter(({ seen }) => seen !== 'gone')
    const asked = others.map(async ({ name: node, incarnation }) => {
      const asked = await this.ask({ node, incarnation }, 'streams', callSids, HAVING_ANSWER_MS)
      if (asked.result === 'answered') return asked.answer as readonly string[]
      return asked.result === 'silent' ? null : []
    })
    return Promise.all(asked)
  }

  /**
   * The calls of the list that this node has. Each is confirmed, and calls that turn out to belong to another node are
   * omitted.
   */
  async #having(callSids: readonly string[]): Promise<readonly string[]> {
    const having = new Set(callSids.filter((callSid) => this.#tokens.has(callSid)))
    const confirmed = [...having].map(async (callSid) => {
      if ((await this.#confirmPatiently(callSid)) === 'lost') having.delete(callSid)
    })
    // The wait for the store is limited, because a slow store must not make this node appear silent.
    await Promise.race([Promise.all(confirmed), sleep(PEER_ANSWER_MS, undefined, { ref: false })])
    return [...having]
  }
}

/** Time in ms in which another node must report its calls. */
const HAVING_ANSWER_MS = 4 * PEER_ANSWER_MS

/** Status of this node that each of its heartbeats contains. */
export interface NodeStatus extends Pick<NodeRecord, 'capacity' | 'free' | 'callsByAgent' | 'afterStream'> {
  /** Live calls by caller; see `CallDirectory.liveByCaller`. */
  readonly callsByCaller: ReadonlyMap<string, number>
  readonly liveCosts?: Readonly<Record<string, number>>
  /** See `NodeRecord`. */
  readonly agents?: string
  readonly diskFull?: boolean
}

/** Requests to other nodes, and from other nodes. */
export interface NodeNetwork {
  readonly peers: Peers
  readonly listener: PeerListener
  /** Origin of the listener for other nodes. */
  readonly url: string
}

interface FleetNodeOptions {
  readonly name: string
  readonly incarnation: string
  readonly version: string
  readonly store: GuardedStore
  /** Network to other nodes; null if this gateway has no network to other nodes. */
  readonly network: NodeNetwork | null
  /**
   * Returns the tag of a caller in heartbeats. All nodes of the fleet calculate the tag with the fleet's secret, so
   * that it does not reveal the number.
   */
  readonly callerTag: (caller: string) => string
  readonly opsUrl: string | null
  readonly news: () => NodeStatus
  /** Called with the heartbeats of all nodes. */
  readonly onView: (view: FleetView) => void
  readonly clock: Clock
  readonly wallClock: WallClock
  /** Returns a number in [0, 1). */
  readonly random: () => number
  readonly log: Log
  /**
   * Called with the calls that this node gives up. It must close their streams. Effects outside the gateway are no
   * longer allowed for these calls.
   */
  readonly onGivenUp: (callSids: readonly string[], why: 'lost' | 'isolated') => void
  /** Called if the store has lost its data, while this node claims its calls again. */
  readonly onForgotten: () => void
  /** Called if another live node has this node's name. This process must then end. */
  readonly onNameTaken: () => void
}

/** Calls that the evidence allows to take over. */
export interface TakeOverPermit {
  /**
   * True if the carrier has just reported the stream's end. Within CONTINUATION_MS the carrier may then ask how the
   * call continues.
   */
  readonly mayAsk: boolean
  /** True if the evidence is about this owner. */
  readonly isLost: (owner: OwnerToken) => boolean
  /** True while a claim may still be sent. Later, the evidence is too old. */
  readonly mayClaim: () => boolean
}

/**
 * Answer about this node's call. `lost`: another node has the call. `unknown`: the store names another node as owner,
 * but that node has not answered.
 */
type Confirmation = 'ok' | 'lost' | 'unknown' | 'store-down'

interface YieldAnswer {
  readonly yields: 'yes' | 'no' | 'later'
}

/**
 * View after the store was emptied: the nodes in the store, and nodes of the previous view that have not sent a
 * heartbeat since.
 */
function withEarlier(view: FleetView, before: FleetView): FleetView {
  const missing = before.nodes.filter(({ name }) => view.nodes.every((node) => node.name !== name))
  return { ...view, nodes: [...view.nodes, ...missing] }
}
