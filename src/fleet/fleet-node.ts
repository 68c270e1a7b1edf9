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
import { Ownership } from './ownership.js'
import type { OwnershipInput, OwnershipOutput } from './ownership-events.js'
import type { PeerListener } from './peer-listener.js'
import type { PeerResult, Peers } from './peers.js'

/** Calls that a node gave up, for webhooks that still come to it. */
const GIVEN_UP_CALLS_MAX = 10_000
/**
 * How long an effect waits until this node may act for its call, and how often it is asked for meanwhile: right after a call
 * has opened, nobody has said yet whose it is.
 */
const ACT_WAIT_MS = STORE_PATIENCE_MS
const ACT_PAUSE_MS = 50
/** The same of one that may come late: an outage of Redis is over by then. */
const PATIENT_ACT_WAIT_MS = 10 * 60_000
const PATIENT_ACT_PAUSE_MS = 250
/** Orders and calls that this node has placed and that have not opened a stream. */
const RESERVED_CALLS_MAX = 10_000

/** A heartbeat names callers with at least this many calls at its node: most callers have one. */
const BUSY_CALLER_CALLS = 2
/** And at most this many of them, those with most calls first: about 2 KB. */
const BUSY_CALLERS_MAX = 64

/** Reads of an entry that changes each time before it can be claimed, because late claims arrive one after the other. */
const SETTLE_TRIES = 3

/** After this without another node there is none: one that restarts, or is cut off from the store, is back before. */
const COMPANY_MS = 120_000

/** A random name of a run or of a claim. */
export function newNonce(): string {
  return randomBytes(9).toString('base64url')
}

/**
 * This node in its fleet: its heartbeats, the other nodes, and which calls are its own. `Ownership` decides; this class
 * asks the store and the other nodes for it.
 */
export class FleetNode {
  readonly name: string
  readonly incarnation: string
  readonly store: GuardedStore
  readonly counters = {
    /** Takeovers of nodes and of single calls, by evidence. */
    takeOvers: { refused: 0, 'new-incarnation': 0, silent: 0, 'stream-over': 0 },
    /** Calls of this node that it gave up. */
    givenUp: { lost: 0, isolated: 0 },
    /** Calls that were opened while the store was down. */
    unclaimed: 0,
  }
  readonly #options: FleetNodeOptions
  readonly #ownership: Ownership
  readonly #startedAtMs: number
  readonly #tokens = new Map<string, OwnerToken>()
  /** By call that this node claimed again without having lost it: the epoch of its first claim. */
  readonly #epochs = new Map<string, number>()
  /** Orders of calls that this node places, and the calls that the carrier made of them. */
  readonly #reserved = new LRUCache<string, OwnerToken>(atMost(RESERVED_CALLS_MAX))
  /** One at a time for each call. */
  readonly #confirming = new Map<string, Promise<Confirmation>>()
  /** Patient ones that the store is asked for now, and the turns of those that wait: at most one for each call. */
  #confirms = 0
  readonly #turns: (() => void)[] = []
  /** Calls that this node gave up, and others that ended here. */
  readonly #gaveUp = new LRUCache<string, true>(atMost(GIVEN_UP_CALLS_MAX))
  readonly #endedHere = new LRUCache<string, true>(atMost(GIVEN_UP_CALLS_MAX))
  readonly #alerts = new Set<string>()
  #recover: (callSids: readonly string[], permit: TakeOverPermit) => void = () => undefined
  #recovers: (callSid: string) => boolean = () => false
  #view: FleetView = { nodes: [], storeTimeMs: 0 }
  #viewWallMs = 0
  #forgottenMs = -Infinity
  #storeDownMs = -Infinity
  /** When the store last knew another node. */
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
    this.#startedAtMs = options.wallClock()
    const { name, incarnation, random } = options
    this.#ownership = new Ownership({ name, incarnation, random, startedAtMs: this.#startedAtMs })
    this.onRequest('yield', (body) => Promise.resolve(this.#yields(body as YieldRequest)))
    this.onRequest('streams', (callSids) => this.#having(callSids as readonly string[]))
  }

  /** Joins the fleet. Resolves after the first heartbeat, also when the store is down. */
  async start(): Promise<void> {
    await this.#sendNextBeat()
    this.#handle({ type: 'timer' })
  }

  /**
   * Calls of this run stay in the store when it stops. Its last heartbeat stays with them, so that another node, or the next
   * run, finds them as those of a node that has died.
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
    // A store that is down forgets this node by itself.
    await this.store.leave(this.name, this.incarnation).catch(() => undefined)
  }

  // --- the nodes ------------------------------------------------------------------------------------------

  get state(): NodeRecord['state'] {
    return this.#state
  }

  /** Decides whether this node gets new calls; the others learn of it at once. */
  set state(state: NodeRecord['state']) {
    this.#state = state
    void this.#sendNextBeat()
  }

  /** Why this node takes no calls; null when it takes them. */
  get notReady(): string | null {
    return this.#notReady
  }

  /** Alerts that stand now. */
  get alerts(): readonly string[] {
    return [...this.#alerts]
  }

  /** The other nodes as the store last had them. */
  others(): readonly (StoredNode & { readonly seen: 'alive' | 'suspect' | 'gone' })[] {
    return this.#view.nodes
      .filter(({ name }) => name !== this.name)
      .map((node) => ({ ...node, seen: this.#ownership.stateOf(node.name) ?? 'gone' }))
  }

  /** Record of this node for the others. */
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

  /** Other live nodes whose new calls get other versions of agents than those of this one, by their last heartbeats. */
  get nodesWithOtherAgents(): number {
    const { agents } = this.record
    if (agents === undefined) return 0
    return this.others().filter((node) => node.seen === 'alive' && (node.agents ?? agents) !== agents).length
  }

  /** How far our calendar clock is ahead of the store's; null before the first heartbeat that it answered. */
  get clockAheadMs(): number | null {
    return this.#viewWallMs === 0 ? null : this.#viewWallMs - this.#view.storeTimeMs
  }

  /** Live calls of an agent at the other nodes, by their last heartbeats. */
  callsElsewhere(agent: string): number {
    return this.others().reduce((sum, { seen, callsByAgent }) => {
      return seen === 'alive' ? sum + (callsByAgent[agent] ?? 0) : sum
    }, 0)
  }

  /** Live calls of a caller at those other nodes where it has several, by their last heartbeats. */
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

  /** The other nodes that can take a call. */
  alive(): readonly NodeRecord[] {
    return this.#ownership.aliveNodes()
  }

  /** Another node takes calls now, and its disk their records. */
  get keepsElsewhere(): boolean {
    return this.alive().some(({ free, state, diskFull }) => free > 0 && state === 'open' && diskFull !== true)
  }

  /** Another node takes calls now, is likely to in some seconds (it restarts, or the store fails over), or never. */
  get takesCallsElsewhere(): 'now' | 'soon' | 'never' {
    if (this.alive().some(({ free, state }) => free > 0 && state === 'open')) return 'now'
    return this.#options.clock() - this.#companyMs <= COMPANY_MS ? 'soon' : 'never'
  }

  /** Handles the requests of other nodes by that name. Once for each name. @param handler  gets the sender's name */
  onRequest(name: string, handler: (body: unknown, from: string) => Promise<unknown>): void {
    this.#options.network?.listener.handle(name, (body, { node }) => handler(body, node))
  }

  /** Asks that run of a node. Does not reject. */
  async ask(
    { node, incarnation }: Pick<Owner, 'node' | 'incarnation'>,
    name: string,
    body: unknown,
    answerMs = PEER_ANSWER_MS,
  ): Promise<PeerResult> {
    const { network } = this.#options
    // A run that started since the last heartbeat is not in the view yet.
    const known = this.#view.nodes.find((record) => record.name === node && record.incarnation === incarnation)
    if (known === undefined) await this.#sendNextBeat()
    const url = this.#view.nodes.find((record) => record.name === node)?.internalUrl ?? null
    if (network === null || url === null) return { result: 'refused', reason: 'host-unknown', answeredBy: null }
    return network.peers.ask({ url, node, incarnation }, name, body, answerMs)
  }

  /** An authenticated request of another node came. */
  heard(node: string, incarnation: string): void {
    this.#handle({ type: 'heard', node, incarnation })
  }

  // --- ownership ------------------------------------------------------------------------------------------

  isThisRun({ node, incarnation }: Pick<Owner, 'node' | 'incarnation'>): boolean {
    return node === this.name && incarnation === this.incarnation
  }

  /** A claim for another node, or with null for this one. */
  claimFor(record: NodeRecord | null): Owner {
    const { name, incarnation } = record ?? this
    return { node: name, incarnation, nonce: newNonce() }
  }

  /** This node's ownership of a call; null for a call that is not its own, or not claimed yet. */
  token(callSid: string): OwnerToken | null {
    const token = this.#held(callSid)
    return token === null || token.epoch === 0 ? null : token
  }

  /** True if this node has had a call without a break since it owned it in `epoch`. */
  heldIn(callSid: string, epoch: number): boolean {
    const now = this.token(callSid)?.epoch ?? 0
    const first = this.#epochs.get(callSid) ?? now
    return epoch <= Math.max(first, now) && epoch >= Math.min(first, now)
  }

  /** As `token`, also of a call that was opened without the store: epoch 0. */
  #held(callSid: string): OwnerToken | null {
    return this.#tokens.get(callSid) ?? this.#reserved.get(callSid) ?? null
  }

  /** This node was given a call, or took it over, and is about to open it. @param isNew  nobody had the call before */
  expect(callSid: string, token: OwnerToken, isNew = false): void {
    this.#gaveUp.delete(callSid)
    this.#epochs.delete(callSid)
    this.#tokens.set(callSid, token)
    this.#handle({ type: 'owned', callSid, token, savedMs: null, isNew })
  }

  /** A call is over here, or was not opened. */
  released(callSid: string): void {
    this.#epochs.delete(callSid)
    // One that was given up may be another node's by now.
    if (this.#tokens.delete(callSid) && !this.#gaveUp.has(callSid)) this.#endedHere.set(callSid, true)
    this.#handle({ type: 'released', callSid })
  }

  /**
   * This node's claim becomes ownership. A call that was opened without the store is claimed, and one that the store has
   * lost is claimed again. `lost`: another node has the call, and this one gives it up. `unknown`: the store names another
   * node, which has not said whether it has the call.
   */
  confirm(callSid: string): Promise<Confirmation> {
    const before = this.#confirming.get(callSid)
    if (before === undefined) return this.#confirmOnce(callSid, () => this.#confirm(callSid, this.store))
    // A patient one may take longer than who asks here has time for.
    return Promise.race([before, sleep(STORE_DEADLINE_MS, 'store-down' as const, { ref: false })])
  }

  /** The same where nobody waits for it, CONFIRMS_AT_ONCE_MAX at once: after a failover every call may be in doubt. */
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

  /** @returns the new token where the call was claimed again */
  async #settle(callSid: string, token: OwnerToken, store: CallStore): Promise<OwnerToken | 'lost' | 'unknown'> {
    for (let tries = 0; tries < SETTLE_TRIES; tries++) {
      const entry = await store.read(callSid)
      let todo: 'claim' | 'ask-owner' | 'lost' | 'unknown' = this.#ownership.settle(callSid, entry)
      if (todo === 'ask-owner' && entry !== null) todo = await this.#askOwner(callSid, entry.owner)
      if (todo === 'lost' || todo === 'unknown') return todo
      const { owner } = await store.claim(callSid, this.claimFor(null), entry?.owner.epoch ?? token.epoch)
      // An earlier claim may only now have been carried out: one of ours is as good as this one.
      if (!this.isThisRun(owner) || (await store.save(callSid, owner, {})) === 'lost') continue
      const held = this.#held(callSid)
      // The call has ended meanwhile: no entry may say that it lives. One that was given up lives elsewhere.
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
    // A fault between the nodes says nothing about the owner.
    if (asked.result === 'failed') return 'unknown'
    const answer = asked.result === 'answered' ? (asked.answer as YieldAnswer).yields : asked.result
    return this.#ownership.settleAsked(owner, answer)
  }

  /** Another node has a call that the store says is this one's. */
  #yields({ callSid, streams }: YieldRequest): YieldAnswer {
    const yields = this.#recovers(callSid) ? 'no' : this.#ownership.yields(callSid, streams)
    if (yields === 'yes') this.#handle({ type: 'yielded', callSid })
    return { yields }
  }

  /** The store did not know `token` as the call's owner: another node has the call, or the store has lost it. */
  lost(callSid: string, token: OwnerToken): void {
    void (async () => {
      const isOurs = (): boolean => !this.#stopped && this.#tokens.get(callSid)?.nonce === token.nonce
      const settled = (result: Confirmation): boolean => result === 'ok' || result === 'lost'
      while (isOurs() && !settled(await this.#confirmPatiently(callSid)))
        await sleep(HEARTBEAT_MS, undefined, { ref: false })
    })()
  }

  /**
   * True if the store has lost what it held, within the last `withinMs` and as far as this node has seen: Redis was
   * emptied, or an empty one took over. What it does not know may then be known all the same.
   */
  forgotten(withinMs: number): boolean {
    return this.#options.clock() - this.#forgottenMs <= withinMs
  }

  /** As `forgotten`, also when it has lost it a moment ago. */
  async forgottenNow(withinMs: number): Promise<boolean> {
    await this.#sendNextBeat()
    return this.forgotten(withinMs)
  }

  /** True if the store did not answer this node within the last `withinMs`: other nodes may have calls unclaimed. */
  storeWasDown(withinMs: number): boolean {
    return this.#options.clock() - this.#storeDownMs <= withinMs
  }

  /** Claims each call of this node again. */
  #claimAllAgain(): void {
    this.#forgottenMs = this.#options.clock()
    const callSids = [...this.#tokens.keys()]
    this.#options.log.error({ calls: callSids.length }, 'the store has lost its data: the live calls are written again')
    this.#options.onForgotten()
    for (const callSid of callSids) void this.#confirmPatiently(callSid)
  }

  /** A stream opened with the single token of its call, or closed. */
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

  /** A call was opened while the store was down: it is claimed when the store is back. */
  openedUnclaimed(callSid: string): void {
    this.counters.unclaimed++
    this.expect(callSid, { ...this.claimFor(null), epoch: 0 }, true)
  }

  /**
   * Takes what this node is about to place: an order, or the call that the carrier made of it. Never rejects: without it
   * another node may open the call, without its order.
   * @param name  its clientRequestId or SID
   */
  async reserve(name: string, key = name): Promise<void> {
    try {
      const claim = this.claimFor(null)
      let { owner, state, phase } = await this.store.claim(key, claim, 0)
      // A run that is gone had placed it: the carrier has made the same call of the same order, and nobody has opened it.
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

  /** True for a run that has no calls any more: an earlier one of this node, or of another that is not seen to live. */
  #isGone(owner: Owner): boolean {
    if (owner.node === this.name) return !this.isThisRun(owner)
    return !this.others().some(
      ({ name, incarnation, seen }) => name === owner.node && incarnation === owner.incarnation && seen !== 'gone',
    )
  }

  /**
   * A call that this node has placed was not answered, as far as this node knows. Does not reject.
   * @returns the store's answer to its end; `in-doubt` where this node could not reserve it, because it may be another's
   */
  async unreached(callSid: string): Promise<OverAnswer> {
    const token = this.#reserved.get(callSid)
    if (token === undefined) return 'in-doubt'
    this.#reserved.delete(callSid)
    return this.store.patient.over(callSid, token).catch(() => 'unknown')
  }

  /** Another node has taken a call of this one, as it was asked to. */
  handedOver(callSid: string): void {
    this.#gaveUp.set(callSid, true)
    this.#reserved.delete(callSid)
    this.released(callSid)
    this.#options.onGivenUp([callSid], 'lost')
  }

  /** True for a call that this node had and gave up: its webhooks belong to its owner. */
  gaveUp(callSid: string): boolean {
    return this.#gaveUp.has(callSid)
  }

  /** True if another node may have taken a call of this one, and it is not known here: see `Ownership.inDoubt`. */
  inDoubt(callSid: string): boolean {
    return this.#ownership.inDoubt(callSid, this.#options.clock())
  }

  /**
   * True if this node may act outside for a call.
   * @param confirm  the store must say so now
   * @param patient  a store that cannot say it now is asked again, for at most 10 minutes
   */
  async mayAct(callSid: string, confirm: boolean, patient = false): Promise<boolean> {
    const { clock } = this.#options
    if (this.#reserved.has(callSid) && !this.#tokens.has(callSid)) return true
    const [waitMs, pauseMs] = patient ? [PATIENT_ACT_WAIT_MS, PATIENT_ACT_PAUSE_MS] : [ACT_WAIT_MS, ACT_PAUSE_MS]
    const untilMs = clock() + waitMs
    for (let first = true; ; first = false) {
      const may = this.#ownership.mayAct(callSid, clock())
      // An effect from before a call's end, such as its last handoff post, may follow it: nobody takes a call that is
      // over.
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
   * Calls that other nodes have, of some that the store says are a lost node's: a replica that takes its master's place may
   * lack the claim of who went on with them, and names the lost node.
   */
  async havingElsewhere(callSids: readonly string[]): Promise<readonly string[]> {
    if (callSids.length === 0) return []
    // Before `start` it knows no other node.
    if (this.#viewWallMs === 0) await this.#sendNextBeat()
    return (await this.#askHaving(callSids)).flatMap((each) => each ?? [])
  }

  /**
   * Sets what recovers calls that this node may claim. Once, before `start`.
   * @param recovers  whether it has taken that call over
   */
  onTakeOver(
    recover: (callSids: readonly string[], permit: TakeOverPermit) => void,
    recovers: (callSid: string) => boolean,
  ): void {
    this.#recover = recover
    this.#recovers = recovers
  }

  /** The carrier says that the stream of another node's call is over, and that node did not answer. */
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
        // One that is left alone is taken over when the heartbeats show that its owner is dead.
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
      // Each view has the heartbeat before, unless the store has lost it.
      if (this.#viewWallMs !== 0 && !stored.nodes.some(({ name }) => name === this.name)) this.#claimAllAgain()
      const view = this.forgotten(STORE_REWRITTEN_MS) ? withEarlier(stored, this.#view) : stored
      this.#view = view
      if (this.others().length > 0) this.#companyMs = clock()
      this.#viewWallMs = wallMs
      this.#options.onView(view)
      this.#handle({ type: 'beat-done', askedMs, view, wallMs })
    } catch {
      // The store's guard counts and reports it.
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
    // A fault between the nodes says nothing about the node.
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
    // Null: every run of our own name before this one.
    const isLost = (owner: Pick<Owner, 'node' | 'incarnation'>): boolean =>
      owner.node === node && (incarnation === null ? !this.isThisRun(owner) : owner.incarnation === incarnation)
    try {
      const owned = (await this.store.patient.callsOf(node)).filter(({ key }) => isCallSid(key))
      this.#handle({ type: 'owners', node, incarnations: [...new Set(owned.map((each) => each.incarnation))] })
      // Calls that another run of the name has claimed, such as those that ring, are none of the lost one's.
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

  /** @param leaves  there will be another occasion: where a node does not say which calls it has, all are left alone */
  async #recoverLost(callSids: readonly string[], permit: TakeOverPermit, leaves: boolean): Promise<void> {
    const here = await this.#having(callSids)
    const answers = await this.#askHaving(callSids)
    if (leaves && answers.includes(null))
      return this.#options.log.warn(
        { calls: callSids.length },
        'calls of a lost node are left alone for now: another node has not said which of them it has',
      )
    const live = new Set([here, ...answers].flatMap((each) => each ?? []))
    this.#recover(
      callSids.filter((callSid) => !live.has(callSid)),
      permit,
    )
  }

  /** Answers of the other nodes that may live; null: none came, and it may have any of them. */
  #askHaving(callSids: readonly string[]): Promise<readonly (readonly string[] | null)[]> {
    const others = this.others().filter(({ seen }) => seen !== 'gone')
    const asked = others.map(async ({ name: node, incarnation }) => {
      const asked = await this.ask({ node, incarnation }, 'streams', callSids, HAVING_ANSWER_MS)
      if (asked.result === 'answered') return asked.answer as readonly string[]
      return asked.result === 'silent' ? null : []
    })
    return Promise.all(asked)
  }

  /** Calls that this node has, of such: they are claimed again, and left out where they turn out to be another's. */
  async #having(callSids: readonly string[]): Promise<readonly string[]> {
    const having = new Set(callSids.filter((callSid) => this.#tokens.has(callSid)))
    const confirmed = [...having].map(async (callSid) => {
      if ((await this.#confirmPatiently(callSid)) === 'lost') having.delete(callSid)
    })
    // A slow store must not make this node a silent one.
    await Promise.race([Promise.all(confirmed), sleep(PEER_ANSWER_MS, undefined, { ref: false })])
    return [...having]
  }
}

/** How long another node may take to say which calls it has. */
const HAVING_ANSWER_MS = 4 * PEER_ANSWER_MS

/** Status of a node in each of its heartbeats. */
export interface NodeStatus extends Pick<NodeRecord, 'capacity' | 'free' | 'callsByAgent' | 'afterStream'> {
  /** Live calls by caller, as `CallDirectory.liveByCaller`. */
  readonly callsByCaller: ReadonlyMap<string, number>
  readonly liveCosts?: Readonly<Record<string, number>>
  /** As in `NodeRecord`. */
  readonly agents?: string
  readonly diskFull?: boolean
}

/** The way to other nodes, and from them. */
export interface NodeNetwork {
  readonly peers: Peers
  readonly listener: PeerListener
  /** Origin of the listener, as the others reach it. */
  readonly url: string
}

interface FleetNodeOptions {
  readonly name: string
  readonly incarnation: string
  readonly version: string
  readonly store: GuardedStore
  /** Null in a gateway that has no other nodes. */
  readonly network: NodeNetwork | null
  /** The name of a caller in heartbeats: the other nodes compute the same one, and nobody else can. */
  readonly callerTag: (caller: string) => string
  readonly opsUrl: string | null
  readonly news: () => NodeStatus
  /** Called with the heartbeats of all nodes. */
  readonly onView: (view: FleetView) => void
  readonly clock: Clock
  readonly wallClock: WallClock
  /** In [0, 1). */
  readonly random: () => number
  readonly log: Log
  /** Calls that this node gives up: their streams close, and nothing more is done for them outside. */
  readonly onGivenUp: (callSids: readonly string[], why: 'lost' | 'isolated') => void
  /** The store has lost what it held. The calls of this node are being claimed again. */
  readonly onForgotten: () => void
  /** Another live node has this node's name: this one must end. */
  readonly onNameTaken: () => void
}

/** Permission that the evidence gives for calls of another node. */
export interface TakeOverPermit {
  /** The carrier has just said that the stream is over: it may ask within CONTINUATION_MS how the call continues. */
  readonly mayAsk: boolean
  /** True if the evidence is about this owner. */
  readonly isLost: (owner: OwnerToken) => boolean
  /** True if a claim may still be sent: the evidence gets old. */
  readonly mayClaim: () => boolean
}

/** The store's answer about a call of this node. */
type Confirmation = 'ok' | 'lost' | 'unknown' | 'store-down'

/** From the node that has a call, to the one that the store names. Plain JSON. */
interface YieldRequest {
  readonly callSid: string
  /** Its stream is at the sender. */
  readonly streams: boolean
}

interface YieldAnswer {
  readonly yields: 'yes' | 'no' | 'later'
}

/** The nodes of an emptied store, and those of the view before that have not sent a heartbeat since. */
function withEarlier(view: FleetView, before: FleetView): FleetView {
  const missing = before.nodes.filter(({ name }) => view.nodes.every((node) => node.name !== name))
  return { ...view, nodes: [...view.nodes, ...missing] }
}
