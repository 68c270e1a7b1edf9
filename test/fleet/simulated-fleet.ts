import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import type {
  CallStore,
  FleetView,
  NodeRecord,
  Owner,
  OwnerToken,
  StoredCall,
} from '../../src/fleet/store/call-store.js'
import { Ownership } from '../../src/fleet/ownership.js'
import type { OwnershipInput, OwnershipOutput } from '../../src/fleet/ownership-events.js'
import { seededRandom } from '../../src/carrier/random.js'
import { EventQueue } from './model/event-queue.js'
import type { Due } from './model/event-queue.js'
import { Violation } from './seeds.js'
import type { Tally } from './seeds.js'

/**
 * A fleet of 1 to 5 nodes, each with the real `Ownership` and the real `MemoryStore` behind a network that delays and
 * loses, in virtual time. One seed decides everything: nodes, calls, faults, delays. Faults happen in the first
 * HEAL_MS; then all is repaired, but perhaps one node, and after SETTLED_MS every call must be accounted for.
 */

const HEAL_MS = 60_000
const SETTLED_MS = 120_000
const STORE_EPOCH_MS = 1_800_000_000_000
const OPERATION_MS = 250
const PEER_MS = 700
/** Before a call without a stream is ended by REST. */
const STREAMLESS_MS = 2000
/** Before a call whose stream never opened is over. */
const STREAM_NEVER_CAME_MS = 10_000
const CLAIM_TRIES = 30
/** How often a node looks whether a claim of its own, whose evidence is old by now, was carried out late. */
const LOOK_TRIES = 5
const SETTLE_TRIES = 3
/** How long a node looks for the owner of a call that is only claimed. */
const FIRST_WEBHOOK_MS = 1000

const STORE_FAULTS = ['answered late', 'answer lost', 'carried out late', 'carried out twice'] as const

interface Event extends Due {
  readonly happen: () => unknown
}

interface Call {
  readonly sid: string
  readonly createdMs: number
  readonly afterStream: 'continues' | 'holds'
  /** The run whose socket carries the call, as the carrier sees it; null while there is none. */
  streamAt: Node | null
  /** Why nobody needs to care for the call any more; null while the caller is on the line. */
  ended: string | null
  saved: boolean
  /** The nonce of the last claim that was won. */
  owner: string
  actedEpoch: number
  actedNonce: string
  /** The store lost data in its life: what it says about epochs is not the whole truth. */
  tainted: boolean
  /** It was taken from a node on evidence against that node, or because its stream was over. */
  takenOver: boolean
  /** Its first webhook went out twice. */
  rangTwice: boolean
}

/** A node's data of a call that it owns. */
interface Held {
  readonly call: Call
  token: OwnerToken
  streaming: boolean
  /** It is new, and has had no stream: nothing is done for it. */
  unopened: boolean
  streamlessMs: number
  nextActMs: number
}

export class SimulatedFleet {
  nowMs = 0
  readonly random: () => number
  readonly nodes: Node[] = []
  readonly calls: Call[] = []
  readonly tally: Tally
  readonly trace: string[] | null
  storeUp = true
  /** Pairs `a|b` of node addresses, or `store|address`, whose messages are lost. */
  readonly #cut = new Map<string, number>()
  #store: CallStore
  readonly #events = new EventQueue<Event>()
  #order = 0
  readonly #delayMs: number
  readonly #loss: number
  /** Share of the store's operations of which the request or the answer is late, is lost, or comes twice. */
  readonly #storeFaults: number
  #storeStillUntilMs = -Infinity
  /** Claims that were won, by their nonces. */
  readonly #won = new Set<string>()
  readonly #size: number
  #duplicate = false

  constructor(seed: number, tally: Tally, trace: string[] | null) {
    this.random = seededRandom(seed)
    this.tally = tally
    this.trace = trace
    this.#store = this.#newStore()
    this.#size = this.chance(0.06) ? 1 : this.between(2, 5)
    this.#delayMs = this.chance(0.2) ? 140 : 12
    this.#loss = this.chance(0.3) ? 0.1 : 0
    this.#storeFaults = this.chance(0.5) ? 0.02 + this.random() * 0.4 : 0
  }

  /** @throws Violation */
  async run(): Promise<void> {
    for (let i = 0; i < this.#size; i++)
      this.at(this.random() * 3000, () => this.#start(`n${i}`, `u${i}`, this.#skew()))
    const calls = this.between(2, 8)
    for (let i = 0; i < calls; i++) this.at(3000 + this.random() * 45_000, () => this.#firstWebhook(i))
    const faults = this.between(1, 5)
    for (let i = 0; i < faults; i++) this.at(4000 + this.random() * 45_000, () => this.#fault())
    this.at(HEAL_MS, () => this.#heal())
    for (let event = this.#events.pop(); event !== null && event.atMs <= SETTLED_MS; event = this.#events.pop()) {
      this.nowMs = event.atMs
      const done = event.happen()
      if (done instanceof Promise) await done
    }
    this.nowMs = SETTLED_MS
    this.#account()
  }

  // --- chance and time ------------------------------------------------------------------------------------

  chance(p: number): boolean {
    return this.random() < p
  }

  between(low: number, high: number): number {
    return low + Math.floor(this.random() * (high - low + 1))
  }

  pick<T>(of: readonly T[]): T | null {
    return of[Math.floor(this.random() * of.length)] ?? null
  }

  at(atMs: number, happen: () => unknown): void {
    this.#events.push({ atMs, order: this.#order++, happen })
  }

  after(ms: number, happen: () => unknown): void {
    this.at(this.nowMs + ms, happen)
  }

  log(line: () => string): void {
    this.trace?.push(`${(this.nowMs / 1000).toFixed(3).padStart(8)} ${line()}`)
  }

  fail(what: string): never {
    this.log(() => `VIOLATION: ${what}`)
    throw new Violation(what)
  }

  delayMs(): number {
    return 0.5 + this.random() * this.#delayMs
  }

  // --- the network and the store --------------------------------------------------------------------------

  isCut(a: string, b: string): boolean {
    return this.#cut.size > 0 && (this.#cut.get(a < b ? `${a}|${b}` : `${b}|${a}`) ?? 0) > 0
  }

  #setCut(a: string, b: string, by: number): void {
    const key = a < b ? `${a}|${b}` : `${b}|${a}`
    this.#cut.set(key, Math.max(0, (this.#cut.get(key) ?? 0) + by))
  }

  #newStore(): CallStore {
    return new MemoryStore(() => STORE_EPOCH_MS + this.nowMs, { calls: 100, once: 1 })
  }

  beat(record: NodeRecord): Promise<FleetView> {
    return this.#store.beat(record)
  }

  /** An operation of a node, with the store's deadline; `done` gets null for STORE_DOWN. */
  operate<T>(from: Node, operation: (store: CallStore) => Promise<T>, done: (result: T | null) => void): void {
    let answered = false
    const answer = (result: T | null) => {
      if (answered) return
      answered = true
      from.network(() => done(result))
    }
    this.after(OPERATION_MS, () => answer(null))
    if (!this.storeUp || this.isCut('store', from.url)) return
    const fault = this.nowMs < HEAL_MS && this.chance(this.#storeFaults) ? this.pick(STORE_FAULTS) : null
    if (fault !== null) this.tally.add(`store: ${fault}`)
    const carryOut = (): unknown => {
      if (!this.storeUp) return undefined
      if (this.nowMs < this.#storeStillUntilMs) return this.at(this.#storeStillUntilMs, carryOut)
      return operation(this.#store).then((result) => {
        const lateMs = fault === 'answered late' ? this.#late() : 0
        if (fault === 'answer lost') return
        this.after(this.delayMs() + lateMs, () => {
          if (!this.isCut('store', from.url)) answer(result)
        })
      })
    }
    this.after(this.delayMs() + (fault === 'carried out late' ? this.#late() : 0), carryOut)
    if (fault === 'carried out twice') this.after(this.delayMs() + this.#late(), carryOut)
  }

  #late(): number {
    return 100 + this.random() * 1500
  }

  async claim(store: CallStore, call: Call, owner: Owner, epoch: number): Promise<StoredCall> {
    const entry = await store.claim(call.sid, owner, epoch)
    if (entry.owner.nonce === owner.nonce) {
      call.owner = owner.nonce
      this.#won.add(owner.nonce)
    }
    return entry
  }

  hasWon(nonce: string): boolean {
    return this.#won.has(nonce)
  }

  async save(store: CallStore, call: Call, token: OwnerToken): Promise<'ok' | 'lost'> {
    const result = await store.save(call.sid, token, {})
    if (result === 'ok') call.saved = true
    return result
  }

  /** A request between nodes; `answer` is called at most once, with `refused`, `silent`, or what `serve` returned. */
  request<T>(
    from: Node,
    url: string,
    serve: (to: Node, reply: (r: T) => void) => void,
    answer: (r: T | 'refused' | 'silent') => void,
  ) {
    let answered = false
    const once = (result: T | 'refused' | 'silent') => {
      if (answered) return
      answered = true
      from.network(() => answer(result))
    }
    this.after(PEER_MS, () => once('silent'))
    const lost = () => this.isCut(from.url, url) || (this.#loss > 0 && this.nowMs < HEAL_MS && this.chance(this.#loss))
    if (lost()) return
    this.after(this.delayMs(), () => {
      const to = this.nodes.find((node) => node.url === url && node.up)
      if (to === undefined) {
        if (!this.hostDown(url)) this.after(this.delayMs(), () => once('refused'))
        return
      }
      to.network(() => {
        to.heard(from)
        serve(to, (result) => {
          if (!lost()) this.after(this.delayMs(), () => once(result))
        })
      })
    })
  }

  readonly #hostsDown = new Set<string>()
  hostDown(url: string): boolean {
    return this.#hostsDown.has(url)
  }

  // --- nodes and their faults -----------------------------------------------------------------------------

  #skew(): number {
    return this.chance(0.05) ? (this.chance(0.5) ? 45_000 : -45_000) : (this.random() - 0.5) * 20_000
  }

  #start(name: string, url: string, skewMs: number): Node {
    const node = new Node(this, name, url, `${name}.${this.nodes.length}`, skewMs)
    this.nodes.push(node)
    this.log(() => `${node.id} starts at ${url}`)
    node.start()
    this.noteContacts()
    return node
  }

  #crash(node: Node, host: boolean): void {
    if (!node.up) return
    this.log(() => `${node.id} ${host ? 'and its host die' : 'dies'}`)
    node.die()
    this.noteContacts()
    if (host) this.#hostsDown.add(node.url)
    // The kernel closes the sockets of a process; those of a host just fall silent.
    for (const call of this.calls)
      if (call.streamAt === node) this.after(host ? 10_000 : 20, () => this.streamLost(call, node))
  }

  restart(node: Node): void {
    this.#hostsDown.delete(node.url)
    if (!this.nodes.some((other) => other.up && other.url === node.url)) this.#start(node.name, node.url, node.skewMs)
  }

  #fault(): void {
    const up = this.nodes.filter((node) => node.up)
    const node = this.pick(up)
    if (node === null) return
    const other = this.pick(up.filter((candidate) => candidate !== node))
    const lasts = this.pick([2000, 5000, 9000, 15_000, 24_000, 35_000, 45_000]) as number
    const kind = this.between(0, 12)
    if (kind <= 2) {
      const host = this.chance(0.3)
      this.tally.add(host ? 'host crash' : 'crash')
      this.#crash(node, host)
      if (this.chance(0.7)) this.after(this.pick([1000, 4000, 15_000, 30_000]) as number, () => this.restart(node))
    } else if (kind <= 4) {
      // From 26 to 30 s the others take the calls over.
      const pauseMs = this.pick([
        800,
        3000,
        10_000,
        25_000,
        26_500 + Math.floor(this.random() * 4000),
        45_000,
      ]) as number
      this.tally.add(`pause ${pauseMs > 26_000 ? 'long' : pauseMs}`)
      this.log(() => `${node.id} stands still for ${pauseMs} ms`)
      node.pause(pauseMs)
    } else if (kind === 5) this.#partition([['store', node.url]], lasts)
    else if (kind === 6 && other !== null) this.#partition([[node.url, other.url]], lasts)
    else if (kind === 7) {
      // From the store and from some others, or all.
      const all = this.chance(0.5)
      const peers = up.filter((peer) => peer !== node && (all || this.chance(0.5)))
      this.#partition([['store', node.url], ...peers.map((peer) => [node.url, peer.url] as const)], lasts)
    } else if (kind === 8) {
      this.tally.add('store down')
      this.#storeIs(false)
      this.after(lasts, () => this.#storeIs(true))
    } else if (kind === 9) {
      this.#storeIs(false)
      this.#loseData()
      this.after(1000, () => this.#storeIs(true))
    } else if (kind === 10) {
      this.tally.add('balancer killed')
      this.log(() => 'the balancer dies, with all sockets')
      for (const call of this.calls) if (call.streamAt !== null) this.streamLost(call, call.streamAt)
    } else if (kind === 11) {
      // All waiting work is carried out afterwards.
      const stillMs = 300 + this.random() * 3000
      this.tally.add('store stands still')
      this.log(() => `the store stands still for ${Math.round(stillMs)} ms`)
      this.#storeStillUntilMs = this.nowMs + stillMs
    } else if (!this.#duplicate) {
      this.#duplicate = true
      this.tally.add('second node of one name')
      const second = this.#start(node.name, 'u-second', node.skewMs)
      second.second = true
    }
  }

  #partition(pairs: readonly (readonly [string, string])[], lasts: number): void {
    this.tally.add('partition')
    this.log(() => `${pairs.map((pair) => pair.join('|')).join(' ')} are cut off for ${lasts} ms`)
    const set = (by: number) => {
      for (const [a, b] of pairs) {
        this.#setCut(a, b, by)
        if (a === 'store' && by < 0) for (const node of this.nodes) if (node.url === b) node.storelessMs = this.nowMs
      }
      this.noteContacts()
    }
    set(1)
    this.after(lasts, () => {
      this.log(() => `${pairs.map((pair) => pair.join('|')).join(' ')} reach each other again`)
      set(-1)
    })
  }

  #storeIs(up: boolean): void {
    this.log(() => `the store is ${up ? 'up' : 'down'}`)
    this.storeUp = up
    this.noteContacts()
  }

  #loseData(): void {
    this.tally.add('store lost its data')
    this.log(() => 'the store lost its data')
    this.#store = this.#newStore()
    for (const call of this.calls) call.tainted = true
  }

  #heal(): void {
    this.log(() => 'all faults are repaired')
    this.#storeIs(true)
    for (const node of this.nodes) if (this.isCut('store', node.url)) node.storelessMs = this.nowMs
    this.#cut.clear()
    this.noteContacts()
    // A run whose record a second node replaced is known only to itself and to those who saw it.
    const left = this.#size > 1 && !this.#duplicate && this.chance(0.5) ? this.pick(this.nodes) : null
    const last = new Map(this.nodes.map((node) => [node.url, node]))
    for (const node of last.values()) {
      if (node.up || node.url === left?.url || node.second || node.left) continue
      this.after(this.random() * 2000, () => this.restart(node))
    }
  }

  /** When each node last reached the store or a node that runs, for long enough to notice. */
  noteContacts(): void {
    for (const node of this.nodes) {
      const inContact = node.runs && this.#inContact(node)
      if (inContact === node.inContact) continue
      if (node.inContact && this.nowMs - node.contactChangedMs > 5000) node.contactMs = this.nowMs
      node.inContact = inContact
      node.contactChangedMs = this.nowMs
    }
  }

  #inContact(node: Node): boolean {
    if (this.storeUp && !this.isCut('store', node.url)) return true
    return this.nodes.some(
      (peer) =>
        peer !== node &&
        peer.runs &&
        !peer.second &&
        node.machine.stateOf(peer.name) !== null &&
        peer.name !== node.name &&
        !this.isCut(peer.url, node.url),
    )
  }

  // --- the carrier ----------------------------------------------------------------------------------------

  #balance(): Node | null {
    return this.pick(this.nodes.filter((node) => node.up && node.ready)) ?? this.pick(this.nodes.filter(({ up }) => up))
  }

  #firstWebhook(i: number): void {
    const call: Call = {
      sid: `CA${i}`,
      createdMs: this.nowMs,
      afterStream: this.chance(0.6) ? 'continues' : 'holds',
      streamAt: null,
      ended: null,
      saved: false,
      owner: '',
      actedEpoch: 0,
      actedNonce: '',
      tainted: false,
      takenOver: false,
      rangTwice: this.chance(0.15),
    }
    this.calls.push(call)
    const node = this.#balance()
    this.log(() => `${call.sid} (${call.afterStream}) rings at ${node?.id ?? 'nobody'}`)
    if (node === null) return this.end(call, 'nobody took it')
    if (this.chance(0.4)) this.after(5000 + this.random() * 60_000, () => this.#callerLeaves(call))
    // Without an answer the carrier gives the call up.
    let answered = false
    this.after(10_000, () => {
      if (!answered) this.end(call, 'no answer to its first webhook')
    })
    node.network(() =>
      node.firstWebhook(call, (at) => {
        answered = true
        this.openStream(call, at)
      }),
    )
    // Two balancers, or an impatient one, send the same webhook twice.
    if (call.rangTwice) {
      const second = this.#balance()
      second?.network(() =>
        second.firstWebhook(call, (at) => {
          answered = true
          this.openStream(call, at)
        }),
      )
    }
  }

  openStream(call: Call, at: Node): void {
    this.after(30, () => {
      // A second answer does not open a second stream.
      if (call.ended !== null || call.streamAt !== null) return
      call.streamAt = at
      if (!at.up) return this.streamLost(call, at)
      this.log(() => `${call.sid} streams at ${at.id}`)
      at.network(() => at.stream(call, true))
    })
  }

  streamLost(call: Call, at: Node): void {
    if (call.ended !== null || call.streamAt !== at) return
    this.log(() => `${call.sid}: the stream at ${at.id} is over`)
    call.streamAt = null
    at.network(() => at.stream(call, false))
    if (call.afterStream === 'holds') return
    const ask = (tries: number): void => {
      if (call.ended !== null || call.streamAt !== null || tries === 0) return
      const node = this.#balance()
      if (node === null) return this.after(2000, () => ask(tries - 1))
      let answered = false
      let late = false
      node.network(() =>
        node.afterStream(
          call,
          () => late,
          (to) => {
            if (late || call.streamAt !== null) return
            answered = true
            if (to === null) this.end(call, 'a document')
            else this.openStream(call, to)
          },
        ),
      )
      return this.after(3000, () => {
        late = true
        if (!answered) ask(tries - 1)
      })
    }
    this.after(100 + this.random() * 400, () => ask(3))
  }

  #callerLeaves(call: Call): void {
    if (call.ended !== null) return
    const at = call.streamAt
    this.end(call, 'the caller left')
    if (at !== null) at.network(() => at.completed(call))
  }

  end(call: Call, why: string): void {
    if (call.ended !== null) return
    this.log(() => `${call.sid} is over: ${why}`)
    call.ended = why
    call.streamAt = null
  }

  // --- invariants -----------------------------------------------------------------------------------------

  /** An effect outside, under (call, epoch). */
  act(call: Call, node: Node, token: OwnerToken, what: 'tool' | 'hangup'): void {
    this.tally.add(`act: ${what}`)
    this.log(() => `${node.id} acts for ${call.sid} at epoch ${token.epoch}: ${what}`)
    if (!call.tainted) {
      if (token.epoch < call.actedEpoch)
        this.fail(`${node.id} acts for ${call.sid} at epoch ${token.epoch}, after epoch ${call.actedEpoch} acted`)
      if (token.epoch === call.actedEpoch && token.nonce !== call.actedNonce)
        this.fail(`two owners of ${call.sid} act at epoch ${token.epoch}`)
    }
    call.actedEpoch = Math.max(call.actedEpoch, token.epoch)
    call.actedNonce = token.nonce
    if (what === 'hangup') {
      const at = call.streamAt
      this.end(call, `${node.id} ended it by REST`)
      if (at !== null) at.network(() => at.completed(call))
    }
  }

  /** A claim has taken a call of another run. */
  taken(call: Call, by: Node, from: OwnerToken, evidence: string): void {
    this.tally.add(`taken: ${evidence}`)
    this.log(() => `${by.id} takes ${call.sid} from ${from.incarnation}: ${evidence}`)
    const owner = this.nodes.find((node) => node.incarnation === from.incarnation)
    if (owner === undefined || !owner.up) return
    // Its first webhook went out twice, and the other copy may have been answered: then that one's stream is the claim.
    if (evidence === 'own' || evidence === 'unanswered') return
    call.takenOver = true
    if (evidence === 'stream-over') {
      if (call.streamAt === owner) this.fail(`${call.sid} is taken from ${owner.id}, which has its stream`)
      return
    }
    // It counts while it runs: one that has just stood still has had no time to find out.
    const aloneMs = this.nowMs - Math.max(owner.contactChangedMs, owner.pausedMs)
    if (!owner.inContact && !owner.paused && aloneMs > 23_000 && call.streamAt === owner)
      this.fail(`${call.sid} is taken from ${owner.id}, which is isolated and has not cut it`)
    const storeless = this.isCut('store', owner.url) || this.nowMs - owner.storelessMs < 15_000
    const rival = this.nodes.some((node) => node !== owner && node.name === owner.name && node.up)
    if (!owner.paused && this.nowMs - owner.pausedMs > 15_000 && !storeless && !rival)
      this.fail(`${call.sid} is taken from ${owner.id}, which is well, by ${evidence}`)
  }

  isolated(node: Node): void {
    this.tally.add('cut: isolated')
    const inContactMs = node.inContact ? this.nowMs - node.contactChangedMs : 0
    if (this.nowMs - node.longPausedMs < 15_000) this.fail(`${node.id} cuts its calls right after a pause`)
    if (inContactMs > 8000 || this.nowMs - node.contactMs < 15_000)
      this.fail(`${node.id} cuts its calls ${this.nowMs - node.contactMs} ms after it was last in contact`)
  }

  lost(call: Call, node: Node, token: OwnerToken): void {
    this.tally.add('cut: lost')
    this.log(() => `${node.id} has lost ${call.sid}`)
    if (call.tainted || call.ended !== null) return
    if (call.streamAt === node && !call.takenOver) this.fail(`${node.id} cuts ${call.sid}, whose stream it has`)
    if (call.owner !== token.nonce || this.isYielding) return
    this.fail(`${node.id} is told that it lost ${call.sid}, whose owner it is`)
  }

  /** A node gives a call up because another one, which has its stream, asked for it. */
  isYielding = false

  /** The caller hears words in place of the call. */
  words(call: Call, from: Node): void {
    if (call.tainted || this.#loss > 0) return
    const names = new Set(from.machine.aliveNodes().map((node) => node.incarnation))
    for (const node of this.nodes)
      if (names.has(node.incarnation) && node.runs && !this.isCut(from.url, node.url) && node.holds(call))
        this.fail(`the caller of ${call.sid} hears the fallback from ${from.id}, and ${node.id} has the call`)
  }

  exits(node: Node): void {
    this.tally.add('exit: name taken')
    this.log(() => `${node.id} leaves: its name is taken`)
    node.left = true
    if (
      !this.nodes.some(
        (other) => other !== node && other.name === node.name && (other.up || this.nowMs - other.diedMs < 10_000),
      )
    )
      this.fail(`${node.id} leaves its name, which nobody else has`)
    this.#crash(node, false)
  }

  #account(): void {
    for (const call of this.calls) {
      if (call.ended !== null) continue
      const holders = this.nodes.filter((node) => node.up && node.holds(call))
      if (holders.length > 1) this.fail(`${call.sid} is at ${holders.map(({ id }) => id).join(' and ')}`)
      const at = call.streamAt
      if (at !== null && at.up && at.holds(call)) continue
      // Nobody can know a state that the store never had, or lost, when the owner is gone too.
      if (call.tainted || !call.saved) continue
      this.fail(`${call.sid} is lost: its stream is at ${at?.id ?? 'no node'}, and nobody has it`)
    }
    const names = new Map<string, Node[]>()
    for (const node of this.nodes) if (node.up) names.set(node.name, [...(names.get(node.name) ?? []), node])
    for (const [name, nodes] of names) {
      if (nodes.length > 1) this.fail(`${nodes.length} nodes live under the name ${name}`)
      const node = nodes[0] as Node
      // A wrong clock that most of the others share is the store's.
      const others = this.nodes.filter((other) => other.up && other !== node)
      const differ = others.filter(({ skewMs }) => Math.abs(skewMs - node.skewMs) > 30_000).length
      const ready = Math.abs(node.skewMs) <= 30_000 || differ <= others.length - differ
      if (node.ready !== ready) this.fail(`${node.id} is ${node.ready ? '' : 'not '}ready: ${node.notReady}`)
      for (const other of this.nodes) {
        if (!other.up || other === node) continue
        if (node.machine.stateOf(other.name) !== 'alive') this.fail(`${node.id} does not see that ${other.id} lives`)
      }
    }
  }
}

/** One run of a node: the machine, and the least of a gateway around it. */
class Node {
  readonly fleet: SimulatedFleet
  readonly name: string
  readonly url: string
  readonly incarnation: string
  readonly skewMs: number
  readonly machine: Ownership
  up = true
  /** It was started under the name of a live node. */
  second = false
  /** It found its name taken. */
  left = false
  ready = false
  notReady = 'starting'
  diedMs = -Infinity
  /** When its last pause ended, the last one of more than 6 s, and its last time without the store. */
  pausedMs = -Infinity
  longPausedMs = -Infinity
  storelessMs = -Infinity
  inContact = false
  contactMs = -Infinity
  contactChangedMs: number
  readonly #startedAtMs: number
  #pausedUntilMs = -Infinity
  readonly #waiting: (() => unknown)[] = []
  #wakeAtMs = Infinity
  readonly #calls = new Map<string, Held>()
  /** Who waits until a call is this node's. */
  readonly #askers = new Map<string, ((node: Node) => void)[]>()
  /** Calls that it takes over. */
  readonly #recovers = new Set<string>()
  readonly #gaveUp = new Set<string>()
  /** Callbacks for the confirmation of a call, of those that are asked for now. */
  readonly #confirming = new Map<string, (() => void)[]>()
  #nonces = 0

  constructor(fleet: SimulatedFleet, name: string, url: string, incarnation: string, skewMs: number) {
    this.fleet = fleet
    this.name = name
    this.url = url
    this.incarnation = incarnation
    this.skewMs = skewMs
    this.contactChangedMs = fleet.nowMs
    this.#startedAtMs = STORE_EPOCH_MS + fleet.nowMs + skewMs
    this.machine = new Ownership({ name, incarnation, startedAtMs: this.#startedAtMs, random: fleet.random })
  }

  get id(): string {
    return this.incarnation
  }

  get paused(): boolean {
    return this.fleet.nowMs < this.#pausedUntilMs
  }

  get runs(): boolean {
    return this.up && !this.paused
  }

  start(): void {
    this.#in({ type: 'timer' })
    this.#lookAtCalls()
  }

  die(): void {
    this.up = false
    this.diedMs = this.fleet.nowMs
  }

  pause(ms: number): void {
    if (this.paused) return
    this.#pausedUntilMs = this.fleet.nowMs + ms
    this.fleet.noteContacts()
    this.fleet.after(ms, () => this.#resume(ms))
  }

  /** The event loop runs timers before it reads sockets. */
  #resume(pausedForMs: number): void {
    if (!this.up) return
    this.fleet.log(() => `${this.id} goes on`)
    this.pausedMs = this.fleet.nowMs
    if (pausedForMs > 6000) this.longPausedMs = this.fleet.nowMs
    this.fleet.noteContacts()
    if (this.fleet.chance(0.5)) this.#act()
    this.#in({ type: 'timer' })
    this.#act()
    for (const message of this.#waiting.splice(0)) if (this.up) message()
  }

  /** Something comes in from outside. */
  network(happen: () => unknown): void {
    if (this.paused && this.up) this.#waiting.push(happen)
    else if (this.up) happen()
  }

  heard(from: Node): void {
    this.#in({ type: 'heard', node: from.name, incarnation: from.incarnation })
  }

  holds(call: Call): boolean {
    return this.#calls.has(call.sid) && this.machine.mayAct(call.sid, this.fleet.nowMs) !== 'no'
  }

  // --- webhooks -------------------------------------------------------------------------------------------

  firstWebhook(call: Call, reply: (at: Node) => void): void {
    if (this.holds(call)) return reply(this)
    const names = new Set(this.machine.aliveNodes().map((node) => node.incarnation))
    const others = this.fleet.nodes.filter((node) => names.has(node.incarnation))
    const chosen = this.fleet.pick([this, ...others]) as Node
    const owner = { node: chosen.name, incarnation: chosen.incarnation, nonce: this.#nonce() }
    const untilMs = this.fleet.nowMs + FIRST_WEBHOOK_MS
    this.fleet.operate(
      this,
      (store) => this.fleet.claim(store, call, owner, 0),
      (entry) => {
        if (entry === null) return this.#withoutStore(call, reply)
        if (entry.owner.nonce !== owner.nonce) return this.#toOwner(call, entry, untilMs, reply)
        if (chosen === this) return this.take(call, entry.owner, reply)
        return this.#forwardFirst(call, entry.owner, reply)
      },
    )
  }

  /** The node that got the webhook asks the others, then answers itself, and claims later. */
  #withoutStore(call: Call, reply: (at: Node) => void): void {
    this.#askAll(call, (at) => {
      if (at !== null || this.holds(call)) return reply(at ?? this)
      this.#owned(call, { node: this.name, incarnation: this.incarnation, nonce: '', epoch: 0 }, null, true)
      return reply(this)
    })
  }

  /** A claim that another node sent: only that one opens a call by it. */
  #toOwner(call: Call, { owner, phase }: StoredCall, untilMs: number, reply: (at: Node) => void): void {
    if (phase === 'over') return undefined
    if (this.holds(call)) return reply(this)
    const later = () => {
      if (phase !== 'claimed') return
      if (this.fleet.nowMs < untilMs)
        return this.#later(50, () =>
          this.fleet.operate(
            this,
            (store) => store.read(call.sid).then((entry) => ({ entry })),
            (read) => {
              if (read === null) return this.#withoutStore(call, reply)
              return read.entry === null
                ? this.firstWebhook(call, reply)
                : this.#toOwner(call, read.entry, untilMs, reply)
            },
          ),
        )
      this.#askAll(call, (at) => {
        if (at !== null || this.holds(call)) return reply(at ?? this)
        this.#ask(call, reply)
        return this.#claim(call, owner, 'unanswered', Infinity)
      })
    }
    if (owner.incarnation === this.incarnation) return later()
    this.#askWhether(owner, call, (has) => {
      if (has === true) return reply(this.#runOf(owner))
      return later()
    })
  }

  #runOf({ incarnation }: OwnerToken): Node {
    return this.fleet.nodes.find((node) => node.incarnation === incarnation) as Node
  }

  #askWhether(owner: OwnerToken, call: Call, answer: (has: boolean | 'refused' | 'silent') => void): void {
    const to = this.#runOf(owner)
    this.fleet.request<boolean>(this, to.url, (node, answer) => answer(node === to && node.holds(call)), answer)
  }

  /** @param done  gets the node that has the call; null when no node says so */
  #askAll(call: Call, done: (at: Node | null) => void): void {
    const names = new Set(this.machine.aliveNodes().map((node) => node.incarnation))
    const asked = this.fleet.nodes.filter((node) => names.has(node.incarnation))
    let left = asked.length
    if (left === 0) return done(null)
    let found = false
    for (const to of asked)
      this.fleet.request<boolean>(
        this,
        to.url,
        (node, answer) => answer(node === to && node.holds(call)),
        (has) => {
          left--
          if (found || (has !== true && left > 0)) return
          found = true
          done(has === true ? to : null)
        },
      )
  }

  #forwardFirst(call: Call, owner: OwnerToken, reply: (at: Node) => void): void {
    const to = this.#runOf(owner)
    this.fleet.request<Node>(
      this,
      to.url,
      (node, answer) => node.take(call, owner, answer),
      (answer) => {
        if (typeof answer === 'object') return reply(answer)
        this.fleet.log(() => `${this.id} gets no answer from ${to.id} about ${call.sid}: ${answer}`)
        this.#ask(call, reply)
        return this.#claim(call, owner, 'unanswered', Infinity)
      },
    )
  }

  /** A call that was claimed for this node. */
  take(call: Call, token: OwnerToken, reply: (at: Node) => void): void {
    if (this.holds(call)) return reply(this)
    if (token.incarnation !== this.incarnation) return
    this.#ask(call, reply)
    this.#owned(call, token, null, true)
  }

  /** @param givenUp  whether the carrier waits no longer for the answer: then it is no news about the stream any more */
  afterStream(call: Call, givenUp: () => boolean, reply: (at: Node | null) => void): void {
    if (this.holds(call)) return reply(this)
    const words = (): void => {
      this.fleet.words(call, this)
      reply(null)
    }
    const elsewhere = (otherwise: () => void) =>
      this.#askAll(call, (at) => (at !== null || this.holds(call) ? reply(at ?? this) : otherwise()))
    this.fleet.operate(
      this,
      (store) => store.read(call.sid).then((entry) => ({ entry })),
      (read) => {
        if (this.holds(call)) return reply(this)
        if (read === null || read.entry === null) return elsewhere(words)
        const { owner, phase } = read.entry
        if (phase === 'over') return words()
        const orElsewhere = (otherwise: () => void) => (phase === 'claimed' ? elsewhere(otherwise) : otherwise())
        if (owner.incarnation === this.incarnation)
          return orElsewhere(() => {
            this.#ask(call, reply)
            this.#claim(call, owner, 'own', Infinity)
          })
        return this.#askWhether(owner, call, (has) => {
          if (has === true) return reply(this.#runOf(owner))
          return orElsewhere(() => {
            if (givenUp()) return
            this.#ask(call, reply)
            this.#in({ type: 'stream-over', callSid: call.sid, owner })
          })
        })
      },
    )
  }

  completed(call: Call): void {
    const held = this.#calls.get(call.sid)
    if (held === undefined) return
    this.#calls.delete(call.sid)
    this.#in({ type: 'released', callSid: call.sid })
    this.fleet.operate(
      this,
      (store) => store.over(call.sid, held.token),
      () => undefined,
    )
  }

  stream(call: Call, open: boolean): void {
    const held = this.#calls.get(call.sid)
    if (held === undefined) {
      if (open) this.fleet.streamLost(call, this)
      return
    }
    held.streaming = open
    held.unopened &&= !open
    held.streamlessMs = this.fleet.nowMs
    this.#in({ type: 'stream', callSid: call.sid, open })
  }

  // --- the machine ----------------------------------------------------------------------------------------

  #in(input: OwnershipInput): void {
    if (!this.up) return
    this.machine.handle(input, this.fleet.nowMs)
    for (let output = this.machine.poll(); output !== null; output = this.machine.poll()) {
      this.#out(output)
      if (!this.up) return
    }
    this.#scheduleWake()
  }

  #scheduleWake(): void {
    const atMs = Math.max(this.machine.nextWakeMs() ?? Infinity, this.fleet.nowMs)
    if (atMs >= this.#wakeAtMs || atMs === Infinity) return
    this.#wakeAtMs = atMs
    this.fleet.at(atMs, () => {
      if (!this.runs) this.#wakeAtMs = this.up ? Infinity : this.#wakeAtMs
      if (!this.runs || this.#wakeAtMs !== atMs) return
      this.#wakeAtMs = Infinity
      if ((this.machine.nextWakeMs() ?? Infinity) <= this.fleet.nowMs) this.#in({ type: 'timer' })
      else this.#scheduleWake()
    })
  }

  #out(output: OwnershipOutput): void {
    if (output.type !== 'beat' && output.type !== 'probe')
      this.fleet.log(() => `${this.id} says ${JSON.stringify(output)}`)
    switch (output.type) {
      case 'beat':
        return this.#beat(output.beat)
      case 'probe':
        return this.#probe(output)
      case 'take-over':
        return this.#takeOver(output)
      case 'take-over-call': {
        const call = this.fleet.calls.find(({ sid }) => sid === output.callSid) as Call
        return this.#claim(call, output.owner, 'stream-over', Infinity)
      }
      case 'confirm':
        for (const callSid of output.callSids) this.#confirm(callSid)
        return
      case 'cut':
        if (output.why === 'isolated') this.fleet.isolated(this)
        for (const callSid of output.callSids) this.#cut(callSid, output.why)
        return
      case 'alert':
        this.fleet.tally.add(`alert: ${output.what}`)
        return
      case 'exit':
        return this.fleet.exits(this)
      case 'ready':
        this.ready = output.ready
        this.notReady = output.why ?? ''
        return
    }
  }

  #beat(beat: number): void {
    const askedMs = this.fleet.nowMs
    const record: NodeRecord = {
      name: this.name,
      incarnation: this.incarnation,
      beat,
      startedAtMs: this.#startedAtMs,
      internalUrl: this.url,
      opsUrl: null,
      version: '1',
      capacity: 10,
      free: 10,
      state: 'open',
      callsByAgent: {},
      clockAheadMs: this.skewMs,
      afterStream: null,
    }
    this.fleet.operate(
      this,
      () => this.fleet.beat(record),
      (view) =>
        this.#in(
          view === null
            ? { type: 'beat-failed' }
            : { type: 'beat-done', askedMs, view, wallMs: STORE_EPOCH_MS + this.fleet.nowMs + this.skewMs },
        ),
    )
  }

  #probe({ node, incarnation, internalUrl }: Extract<OwnershipOutput, { readonly type: 'probe' }>): void {
    const askedMs = this.fleet.nowMs
    this.fleet.request<Node>(
      this,
      internalUrl,
      (to, answer) => answer(to),
      (answer) => {
        const by = typeof answer === 'object' ? answer : null
        const result = by === null ? (answer as 'refused' | 'silent') : by.name === node ? 'answered' : 'refused'
        this.#in({ type: 'probe-result', node, incarnation, askedMs, result, answeredBy: by?.incarnation ?? null })
      },
    )
  }

  #takeOver({ node, incarnation, evidence, untilMs }: Extract<OwnershipOutput, { readonly type: 'take-over' }>): void {
    this.fleet.tally.add(`take-over: ${evidence}`)
    this.fleet.operate(
      this,
      (store) => store.callsOf(node),
      (owned) => {
        const incarnations = new Set(owned?.map((each) => each.incarnation))
        this.#in({ type: 'owners', node, incarnations: [...incarnations] })
        for (const { key } of owned ?? [])
          this.fleet.operate(
            this,
            (store) => store.read(key),
            (entry) => {
              if (entry === null || entry.owner.node !== node || entry.owner.incarnation === this.incarnation) return
              if (incarnation !== null && entry.owner.incarnation !== incarnation) return
              const call = this.fleet.calls.find(({ sid }) => sid === key) as Call
              this.#claim(call, entry.owner, evidence, untilMs)
            },
          )
      },
    )
  }

  #claim(call: Call, from: OwnerToken, evidence: string, untilMs: number): void {
    if (this.fleet.nowMs >= untilMs) return
    if (evidence !== 'unanswered') this.#recovers.add(call.sid)
    const owner = { node: this.name, incarnation: this.incarnation, nonce: this.#nonce() }
    const isOurs = (entry: StoredCall | null) => entry?.owner.nonce === owner.nonce
    const settle = (entry: StoredCall, otherwise: () => void) => {
      if (isOurs(entry)) this.#save(call, entry.owner, CLAIM_TRIES, evidence === 'unanswered')
      else otherwise()
    }
    const givesUp = () => void this.#recovers.delete(call.sid)
    // While the evidence is good the same claim is sent again; after that one may still be on its way.
    const again = (tries: number): void => {
      if (this.fleet.nowMs < untilMs && tries > 0) return this.#later(1000, () => claim(tries - 1))
      return look(LOOK_TRIES)
    }
    const look = (tries: number): void =>
      this.#later(1000, () =>
        this.fleet.operate(
          this,
          (store) => store.read(call.sid).then((entry) => ({ entry })),
          (read) => {
            const otherwise = () => (tries > 0 ? look(tries - 1) : givesUp())
            if (read === null || read.entry === null) otherwise()
            else settle(read.entry, otherwise)
          },
        ),
      )
    const claim = (tries: number): void =>
      this.fleet.operate(
        this,
        async (store) => {
          const won = this.fleet.hasWon(owner.nonce)
          const entry = await this.fleet.claim(store, call, owner, from.epoch)
          if (isOurs(entry) && !won) this.fleet.taken(call, this, from, evidence)
          return entry
        },
        (entry) => {
          if (entry === null) again(tries)
          else settle(entry, givesUp)
        },
      )
    claim(CLAIM_TRIES)
  }

  #save(call: Call, token: OwnerToken, tries: number, isNew: boolean): void {
    const savedMs = this.fleet.nowMs
    this.fleet.operate(
      this,
      (store) => this.fleet.save(store, call, token),
      (result) => {
        if (result === 'ok') this.#owned(call, token, savedMs, isNew)
        else if (result === null && tries > 0) this.#later(1000, () => this.#save(call, token, tries - 1, isNew))
        else this.#recovers.delete(call.sid)
      },
    )
  }

  /** @param isNew  absent: as it was */
  #owned(call: Call, token: OwnerToken, savedMs: number | null, isNew?: boolean): void {
    const before = this.#calls.get(call.sid)
    this.#recovers.delete(call.sid)
    this.#gaveUp.delete(call.sid)
    this.#calls.set(call.sid, {
      call,
      token,
      streaming: before?.streaming ?? false,
      unopened: (isNew ?? before?.unopened ?? false) && before?.streaming !== true,
      streamlessMs: this.fleet.nowMs,
      nextActMs: 0,
    })
    this.#in({ type: 'owned', callSid: call.sid, token, savedMs, ...(isNew === undefined ? {} : { isNew }) })
    if (savedMs !== null) this.#answerAsker(call.sid)
  }

  /** Another node has this call, and the store says that it is ours. */
  yields(callSid: string, streamsThere: boolean): 'yes' | 'no' | 'later' {
    const yields = this.#recovers.has(callSid) ? 'no' : this.machine.yields(callSid, streamsThere)
    if (yields !== 'yes') return yields
    this.fleet.tally.add('yielded')
    this.fleet.log(() => `${this.id} yields ${callSid}`)
    this.fleet.isYielding = true
    this.#in({ type: 'yielded', callSid })
    this.fleet.isYielding = false
    return yields
  }

  #ask(call: Call, reply: (node: Node) => void): void {
    this.#askers.set(call.sid, [...(this.#askers.get(call.sid) ?? []), reply])
  }

  #answerAsker(callSid: string): void {
    const askers = this.#askers.get(callSid) ?? []
    this.#askers.delete(callSid)
    for (const asker of askers) asker(this)
  }

  #confirm(callSid: string, then: () => void = () => undefined): void {
    const held = this.#calls.get(callSid)
    if (held === undefined) return
    // One at a time for each call.
    const waiting = this.#confirming.get(callSid)
    if (waiting !== undefined) {
      waiting.push(then)
      return
    }
    const thens = [then]
    this.#confirming.set(callSid, thens)
    const { call, token } = held
    const askedMs = this.fleet.nowMs
    const result = (result: 'ok' | 'lost' | 'unknown' | 'store-down', by = token) => {
      this.#in({ type: 'confirmed', callSid, token: by, askedMs, result })
      this.#confirming.delete(callSid)
      // The document leaves when the call is this node's, or the store cannot say.
      if (result !== 'lost') this.#answerAsker(callSid)
      if (result === 'ok') for (const then of thens) then()
    }
    const again = (tries: number) => (tries > 1 ? settle(tries - 1) : result('unknown'))
    const claimAgain = (epoch: number, tries: number) => {
      const owner = { node: this.name, incarnation: this.incarnation, nonce: this.#nonce() }
      this.fleet.operate(
        this,
        (store) => this.fleet.claim(store, call, owner, epoch),
        (entry) => {
          if (entry === null) return result('store-down')
          if (entry.owner.incarnation !== this.incarnation) return again(tries)
          const savedMs = this.fleet.nowMs
          return this.fleet.operate(
            this,
            (store) => this.fleet.save(store, call, entry.owner),
            (saved) => {
              if (saved === null) return result('store-down')
              if (saved === 'lost') return again(tries)
              const now = this.#calls.get(callSid)
              if (now === undefined && !this.#gaveUp.has(callSid))
                this.fleet.operate(
                  this,
                  (store) => store.over(callSid, entry.owner),
                  () => undefined,
                )
              if (now?.token !== token) return result(now === undefined ? 'lost' : 'unknown')
              this.fleet.tally.add('claimed again')
              this.#owned(call, entry.owner, savedMs)
              return result('ok', entry.owner)
            },
          )
        },
      )
    }
    const settle = (tries: number) =>
      this.fleet.operate(
        this,
        (store) => store.read(callSid).then((entry) => ({ entry })),
        (read) => {
          if (read === null) return result('store-down')
          const { entry } = read
          this.fleet.log(() => `${this.id} reads ${callSid}: ${entry?.owner.nonce ?? 'nothing'} ${entry?.phase ?? ''}`)
          const carryOut = (todo: 'claim' | 'lost' | 'unknown') =>
            todo === 'claim' ? claimAgain(entry?.owner.epoch ?? token.epoch, tries) : result(todo)
          const todo = this.machine.settle(callSid, entry)
          if (todo !== 'ask-owner' || entry === null) return carryOut(todo === 'ask-owner' ? 'unknown' : todo)
          const to = this.#runOf(entry.owner)
          const streams = this.machine.streams(callSid)
          return this.fleet.request<'yes' | 'no' | 'later' | 'refused'>(
            this,
            to.url,
            (node, answer) => answer(node === to ? node.yields(callSid, streams) : 'refused'),
            (answer) => carryOut(this.machine.settleAsked(entry.owner, answer)),
          )
        },
      )
    if (token.epoch === 0) return settle(SETTLE_TRIES)
    this.fleet.operate(
      this,
      (store) => this.fleet.save(store, call, token),
      (saved) => {
        if (saved === null) result('store-down')
        else if (saved === 'ok') result('ok')
        else settle(SETTLE_TRIES)
      },
    )
  }

  #cut(callSid: string, why: 'lost' | 'isolated'): void {
    const held = this.#calls.get(callSid)
    if (held === undefined) return
    const { call, token } = held
    if (why === 'lost') {
      this.#calls.delete(callSid)
      this.#gaveUp.add(callSid)
      this.fleet.lost(call, this, token)
    } else {
      held.streaming = false
      held.streamlessMs = this.fleet.nowMs
      this.#in({ type: 'stream', callSid, open: false })
    }
    this.fleet.after(20, () => {
      if (call.streamAt === this) this.fleet.streamLost(call, this)
    })
  }

  // --- what a gateway does with its calls -------------------------------------------------------------------

  #lookAtCalls(): void {
    if (!this.up) return
    if (!this.paused) this.#act()
    this.fleet.after(600, () => this.#lookAtCalls())
  }

  #act(): void {
    const { nowMs } = this.fleet
    for (const held of [...this.#calls.values()]) {
      if (held.unopened && nowMs - held.streamlessMs > STREAM_NEVER_CAME_MS) {
        // Both copies of its first webhook were answered, by nodes that could not reach each other.
        if (held.call.rangTwice && held.call.streamAt !== null) held.call.tainted = true
        this.#endUnopened(held)
        continue
      }
      if (nowMs < held.nextActMs) continue
      if (held.unopened || (!held.streaming && nowMs - held.streamlessMs < STREAMLESS_MS)) continue
      held.nextActMs = nowMs + 600 + this.fleet.random() * 1500
      const may = this.machine.mayAct(held.call.sid, nowMs)
      this.fleet.tally.add(`may act: ${may}`)
      if (may === 'yes') this.#doAct(held)
      else if (may === 'confirm-first')
        this.#confirm(held.call.sid, () => {
          if (this.machine.mayAct(held.call.sid, this.fleet.nowMs) === 'yes') this.#doAct(held)
        })
    }
  }

  /** A stream that never came may have opened at a node that is lost: the carrier is asked to end the leg that it may hold. */
  #endUnopened(held: Held): void {
    const { call } = held
    const end = (): void => {
      if (this.#calls.get(call.sid) !== held) return
      const may = this.machine.mayAct(call.sid, this.fleet.nowMs)
      if (may === 'yes' && call.ended === null) this.fleet.act(call, this, held.token, 'hangup')
      if (may !== 'confirm-first') this.completed(call)
    }
    if (this.machine.mayAct(call.sid, this.fleet.nowMs) === 'confirm-first') this.#confirm(call.sid, end)
    else end()
  }

  #doAct(held: Held): void {
    if (this.#calls.get(held.call.sid) !== held) return
    // Without a stream there is a handoff to post, perhaps, before the call is ended.
    const hangsUp = !held.streaming && this.fleet.chance(0.3)
    this.fleet.act(held.call, this, held.token, hangsUp ? 'hangup' : 'tool')
    if (hangsUp) this.completed(held.call)
  }

  #later(ms: number, happen: () => void): void {
    this.fleet.after(ms, () => this.network(happen))
  }

  #nonce(): string {
    return `${this.incarnation}-${this.#nonces++}`
  }
}
