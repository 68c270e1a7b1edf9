import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock, WallClock } from '../core/clock.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { GIVEN_UP_CALLS_MAX, PEER_CONNECT_MS } from '../core/limits.js'
import type { Log } from '../telemetry/log.js'
import type { CallStore, NodeRecord, Owner, OwnerToken } from './call-store.js'
import { Ownership } from './ownership.js'
import type { OwnershipOutput } from './ownership.js'
import type { PeerListener, PeerResult, Peers } from './peers.js'

/** What a node tells the others of itself with each heartbeat. */
export type NodeNews = Pick<NodeRecord, 'capacity' | 'free' | 'callsByAgent' | 'afterStream'>

interface FleetNodeOptions {
  readonly name: string
  readonly version: string
  /** With deadlines: see `GuardedStore`. */
  readonly store: CallStore
  /** The way to other nodes and from them; null in a gateway that has none. */
  readonly network: { readonly peers: Peers; readonly listener: PeerListener; readonly url: string } | null
  readonly opsUrl: string | null
  readonly news: () => NodeNews
  readonly clock: Clock
  readonly wallClock: WallClock
  /** 0 to below 1. */
  readonly random: () => number
  readonly log: Log
  /** Calls of this node that it must give up: their sockets close, and nothing more is done for them outside. */
  readonly onCut: (callSids: readonly string[], why: 'lost' | 'isolated') => void
  /** Calls of a node that is dead by the evidence: each is claimed by one of the others. */
  readonly onTakeOver: (callSids: readonly string[], evidence: Evidence) => void
  /** Another live node has this node's name: this one must end. */
  readonly onNameTaken: () => void
}

/**
 * This node in its fleet: heartbeats, the other nodes, and which calls are its own. The rules are in `Ownership`; this
 * class does the asking.
 */
export class FleetNode {
  readonly name: string
  readonly incarnation = randomBytes(8).toString('base64url')
  readonly store: CallStore
  readonly #options: FleetNodeOptions
  readonly #ownership: Ownership
  readonly #startedAtMs: number
  readonly #tokens = new Map<string, OwnerToken>()
  /** Calls that were opened while the store was down, and are claimed when it is back. */
  readonly #unclaimed = new Set<string>()
  readonly #gaveUp = new LRUCache<string, true>({ max: GIVEN_UP_CALLS_MAX })
  /** Calendar times since which each alert stands. */
  readonly #alerts = new Map<string, number>()
  /** As of the last heartbeat that the store answered. */
  #view: readonly NodeRecord[] = []
  #clockDifferenceMs: number | null = null
  #state: NodeRecord['state'] = 'open'
  #notReady: string | null = 'the first heartbeat is due'
  #beats = 0
  #timer: NodeJS.Timeout | null = null
  #stopped = false

  constructor(options: FleetNodeOptions) {
    this.#options = options
    this.name = options.name
    this.store = options.store
    this.#startedAtMs = options.wallClock()
    this.#ownership = new Ownership({ name: options.name, incarnation: this.incarnation, random: options.random })
  }

  get state(): NodeRecord['state'] {
    return this.#state
  }

  /** No new calls from now on, by an operator's command or at the stop. */
  close(state: 'cordoned' | 'draining'): void {
    this.#state = state
    void this.#beat()
  }

  reopen(): void {
    this.#state = 'open'
    void this.#beat()
  }

  /** Why this node takes no calls; null when it takes them. */
  get notReady(): string | null {
    return this.#notReady
  }

  /** Joins the fleet. Resolves after the first heartbeat, also when the store is down. */
  async start(): Promise<void> {
    await this.#beat()
    this.#advance()
  }

  /** Leaves the fleet. Idempotent. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.store.leave(this.name, this.incarnation).catch(() => undefined)
  }

  // --- other nodes --------------------------------------------------------------------------------------------

  /** The other nodes that may get calls. */
  alive(): NodeRecord[] {
    return [...this.#ownership.alive()]
  }

  /** The newest heartbeats of all nodes, this one included. */
  nodes(): readonly NodeRecord[] {
    return this.#view
  }

  /** Nodes whose heartbeat stands still. */
  suspects(): ReadonlySet<string> {
    const names = this.#view.map(({ name }) => name)
    return new Set(names.filter((name) => this.#ownership.stateOf(name) !== 'alive'))
  }

  /** Live calls of an agent at the other nodes, by their last heartbeats. */
  callsElsewhere(agent: string): number {
    const others = this.#view.filter(({ name }) => name !== this.name && this.#ownership.stateOf(name) === 'alive')
    return others.reduce((sum, { callsByAgent }) => sum + (callsByAgent[agent] ?? 0), 0)
  }

  get alerts(): ReadonlyMap<string, number> {
    return this.#alerts
  }

  /** How far this node's clock is ahead of the store's; null before the first heartbeat. */
  get clockDifferenceMs(): number | null {
    return this.#clockDifferenceMs
  }

  /** Answers requests of other nodes. @param handler  gets the body and the sender's name */
  onRequest(request: string, handler: (body: unknown, from: string) => Promise<object>): void {
    this.#options.network?.listener.handle(request, (body, from) => handler(body, from.node))
  }

  onWebhook(handler: (request: unknown) => Promise<object>): void {
    this.#options.network?.listener.handle('webhook', handler)
  }

  /** Asks the node that owns a call. Never rejects. */
  async ask(owner: Owner, name: string, body: unknown, timeoutMs: number): Promise<PeerResult> {
    const url = this.#ownership.urlOf(owner.node)
    const { network } = this.#options
    if (network === null || url === null) return { result: 'refused' }
    return network.peers.ask({ url, name: owner.node, incarnation: owner.incarnation }, name, body, timeoutMs)
  }

  // --- ownership ----------------------------------------------------------------------------------------------

  /** Whether this is the present run of this node. */
  isThisRun({ node, incarnation }: Owner): boolean {
    return node === this.name && incarnation === this.incarnation
  }

  /** Whether the run of the node that owns a call lives, as far as this node knows. */
  isAlive(owner: Owner): boolean {
    return (
      this.isThisRun(owner) ||
      this.alive().some((node) => node.name === owner.node && node.incarnation === owner.incarnation)
    )
  }

  /** A claim for another node, or with null for this one. */
  claimFor(record: NodeRecord | null): Owner {
    return {
      node: record?.name ?? this.name,
      incarnation: record?.incarnation ?? this.incarnation,
      nonce: randomBytes(8).toString('base64url'),
    }
  }

  /** This node's ownership of a call; null for a call that is not its own, or not claimed yet. */
  token(callSid: string): OwnerToken | null {
    return this.#tokens.get(callSid) ?? null
  }

  /** This node was given a call, which is about to be opened. */
  expect(callSid: string, token: OwnerToken): void {
    this.#tokens.set(callSid, token)
  }

  /** A call is over here, or was not opened. */
  released(callSid: string): void {
    this.#tokens.delete(callSid)
    this.#unclaimed.delete(callSid)
    this.#handle({ type: 'released', callSid })
  }

  /** A call ended: its entry says so to webhooks that come late. */
  async ended(callSid: string): Promise<void> {
    const token = this.token(callSid)
    this.released(callSid)
    if (token !== null) await this.store.over(callSid, token).catch(() => undefined)
  }

  /** This node's claim becomes ownership. `lost`: another node has the call, and this one gives it up. */
  async confirm(callSid: string): Promise<'ok' | 'lost' | 'store-down'> {
    const token = this.token(callSid)
    if (token === null) return 'store-down'
    let result: 'ok' | 'lost'
    try {
      result = await this.store.save(callSid, token, {})
    } catch {
      // The claim stands or falls when the store is back: until then the call goes on.
      this.#unclaimed.add(callSid)
      return 'store-down'
    }
    if (result === 'lost') this.#giveUp([callSid], 'lost')
    else this.#handle({ type: 'owned', callSid, token })
    return result
  }

  /** A stream opened with the single token of its call. `lost`: the call is given up. */
  async attached(callSid: string, nonce: string): Promise<'ok' | 'used' | 'lost' | 'store-down'> {
    const token = this.token(callSid)
    if (token === null) return 'store-down'
    try {
      const result = await this.store.attach(callSid, token, nonce)
      if (result === 'lost') this.#giveUp([callSid], 'lost')
      return result
    } catch {
      return 'store-down'
    }
  }

  /** A call was opened while the store was down. */
  openedUnclaimed(callSid: string): void {
    this.#unclaimed.add(callSid)
  }

  /** Takes what this node is about to place: an order, or the call that the carrier made of it. */
  async reserve(key: string): Promise<void> {
    try {
      const claim = this.claimFor(null)
      const { owner } = await this.store.claim(key, claim, 0)
      if (owner.nonce !== claim.nonce) return
      await this.store.save(key, owner, {})
      this.#tokens.set(key, owner)
    } catch (thrown) {
      this.#options.log.warn({ err: thrown }, 'an order could not be claimed: its webhooks may open it elsewhere')
    }
  }

  /** True for a call that this node had and gave up: its webhooks belong to the owner. */
  gaveUp(callSid: string): boolean {
    return this.#gaveUp.has(callSid)
  }

  /** Whether this node may act outside for a call: tools with effects, the carrier's API, handoffs. */
  async mayAct(callSid: string): Promise<boolean> {
    const may = this.#ownership.mayAct(callSid)
    if (may === 'confirm-first') {
      const result = await this.confirm(callSid)
      return result === 'ok' || (result === 'store-down' && this.#unclaimed.has(callSid))
    }
    return may === 'yes'
  }

  /** The carrier says that the stream of another node's call is over, and that node did not answer. */
  streamOver(callSid: string, owner: OwnerToken): void {
    this.#handle({ type: 'stream-over', callSid, owner })
  }

  // --- the machine --------------------------------------------------------------------------------------------

  #handle(input: Parameters<Ownership['handle']>[0]): void {
    if (this.#stopped) return
    this.#ownership.handle(input, this.#options.clock())
    for (let output = this.#ownership.poll(); output !== null; output = this.#ownership.poll()) this.#carryOut(output)
    this.#advance()
  }

  #advance(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    const wakeMs = this.#ownership.nextWakeMs()
    if (wakeMs === null || this.#stopped) return
    this.#timer = setTimeout(() => this.#handle({ type: 'timer' }), Math.max(0, wakeMs - this.#options.clock()))
    this.#timer.unref()
  }

  #carryOut(output: OwnershipOutput): void {
    const { log, network } = this.#options
    switch (output.type) {
      case 'beat':
        void this.#beat()
        return
      case 'probe': {
        const { node, internalUrl } = output
        if (network === null || internalUrl === null) return
        void network.peers
          .ping({ url: internalUrl, name: node }, PEER_CONNECT_MS)
          .then((probed) => this.#handle({ type: 'probe-result', node, ...probed }))
        return
      }
      case 'confirm':
        for (const callSid of output.callSids)
          void this.confirm(callSid).then((result) => this.#handle({ type: 'confirmed', callSid, result }))
        return
      case 'cut':
        return this.#giveUp(output.callSids, output.why)
      case 'take-over':
        void this.#takeOver(output)
        return
      case 'alert':
        log[output.over ? 'info' : 'error']({ what: output.what }, output.over ? 'fleet alert is over' : 'fleet alert')
        return
      case 'ready':
        this.#notReady = output.ready ? null : output.why
        return
      case 'exit':
        log.fatal({ node: this.name }, 'another live node has this name')
        return this.#options.onNameTaken()
    }
  }

  #giveUp(callSids: readonly string[], why: 'lost' | 'isolated'): void {
    for (const callSid of callSids) {
      this.#gaveUp.set(callSid, true)
      this.released(callSid)
    }
    this.#options.log.error({ calls: callSids.length, why }, 'calls are given up: another node may have them')
    this.#options.onCut(callSids, why)
  }

  async #takeOver(output: Extract<OwnershipOutput, { type: 'take-over' }>): Promise<void> {
    const { log, onTakeOver } = this.#options
    try {
      const callSids = 'callSid' in output ? [output.callSid] : await this.store.callsOf(output.node)
      log.error({ calls: callSids.length, evidence: output.evidence }, 'calls of a node that is gone are taken over')
      onTakeOver(callSids, output.evidence)
    } catch (thrown) {
      log.error({ err: thrown }, 'calls of a node that is gone cannot be read')
    }
  }

  async #beat(): Promise<void> {
    const { name, version, opsUrl, network, news, wallClock } = this.#options
    const { capacity, free, callsByAgent, afterStream } = news()
    try {
      const view = await this.store.beat({
        name,
        incarnation: this.incarnation,
        beat: ++this.#beats,
        startedAtMs: this.#startedAtMs,
        internalUrl: network?.url ?? null,
        opsUrl,
        version,
        capacity,
        free: this.#state === 'open' ? free : 0,
        state: this.#state,
        callsByAgent,
        afterStream,
      })
      this.#handle({ type: 'beat-done', view, wallMs: wallClock() })
      await this.#claimUnclaimed()
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) this.#options.log.error({ err: thrown }, messageOf(thrown))
      this.#handle({ type: 'beat-failed' })
    }
  }

  /** Calls that were opened without the store get their owner: this node, unless another has opened them too. */
  async #claimUnclaimed(): Promise<void> {
    for (const callSid of [...this.#unclaimed]) {
      const claim = this.claimFor(null)
      const before = this.token(callSid)
      const { owner } = before === null ? await this.store.claim(callSid, claim, 0) : { owner: before }
      if (before === null && owner.nonce !== claim.nonce) {
        this.#giveUp([callSid], 'lost')
        continue
      }
      this.#tokens.set(callSid, owner)
      this.#unclaimed.delete(callSid)
      await this.confirm(callSid)
    }
  }
}
