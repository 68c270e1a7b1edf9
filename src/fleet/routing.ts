import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import {
  ASK_ANSWER_MS,
  CALL_TTL_MS,
  FALLBACK_AFTER_MS,
  NODES_MAX,
  PEER_ANSWER_MS,
  SAVED_WITHIN_MS,
  STORE_DEADLINE_MS,
  STORE_REST_MS,
  STORE_REWRITTEN_MS,
  SUSPECT_MS,
} from '../core/limits.js'
import type { CallDirectory, LiveCall } from '../workers/main/live-call.js'
import type { OutboundCarrier } from '../workers/main/outbound-calls.js'
import { orderKey } from './store/call-store.js'
import type { NodeRecord, Owner, OwnerToken, StoredCall } from './store/call-store.js'
import type { FleetNode } from './fleet-node.js'
import { answered, NOT_HERE } from './proven-webhook.js'
import type { NoRoom, ProvenWebhook, Routed } from './proven-webhook.js'
import { isFirst, isOutbound, newsOf, stateOf } from './recovery.js'
import type { Recovery } from './recovery.js'

/** How often a node looks whether a claim of another has become a call. */
const CLAIM_LOOK_MS = 50
/**
 * How long the gateway waits before it offers a stream again that the carrier could not open: a balancer that has just
 * started may not know the gateway's address yet.
 */
const STREAM_AGAIN_MS = 400
/** How often, and for how long, a question after the stream waits for the end of a socket that is still open here. */
const STREAM_END_LOOK_MS = 20
const STREAM_END_WAIT_MS = 400

/**
 * How long a node that was chosen for a new call may take to answer while another can be asked. One that works answers
 * within some 20 ms, and the balancer asks another node after 500 ms.
 */
const PLACE_ANSWER_MS = 200
/**
 * After this a store that did not answer is asked once more who owns the call that a carrier asks for: it rests until then.
 * The balancer gives a node 2 s for its answer.
 */
const STORE_AGAIN_MS = STORE_REST_MS + 50

/**
 * Leads each proven webhook to the node that owns its call. A call's webhooks may come to any node, on many connections,
 * but only its owner can answer them. The owner of a new call is chosen here, by the node that got its first webhook.
 */
export class WebhookRouting<Answer extends object> {
  /** Webhooks that reached another node than their call's owner; plain fields, copied at each scrape. */
  readonly counters = {
    /** Answered by the node to which they were forwarded. */
    forwarded: 0,
    /** New calls that a node could not take and that went to the next one. */
    passed: 0,
    /** Forwarded to a node that was gone, or did not answer in time. */
    unanswered: 0,
    /** First webhooks of a call that another node claimed at the same time. */
    'claim-lost': 0,
    /** Answered by this node because the store could not be asked. */
    'without-store': 0,
    /** Webhooks of calls whose owner is gone. */
    orphaned: 0,
    /** Questions after a stream that the carrier is to ask again, because the store has not said how the call goes on. */
    held: 0,
  }
  readonly #options: WebhookRoutingOptions<Answer>
  /** New calls that are being placed: a repeated first webhook waits for the first. */
  readonly #placing = new Map<string, Promise<Answer>>()

  /** Runs of nodes that did not answer: until their heartbeat shows that they stand still, others are chosen first. */
  readonly #unanswered = new LRUCache<string, true>({ max: NODES_MAX, ttl: SUSPECT_MS })

  constructor(options: WebhookRoutingOptions<Answer>) {
    this.#options = options
    options.node.onRequest('webhook', (request) => this.#forwarded(request as Forwarded))
    options.node.onRequest('orphan', (webhook) => this.#passed(webhook as ProvenWebhook))
  }

  /** Returns a promise unless the call is here. */
  route(webhook: ProvenWebhook): Answer | Promise<Answer> {
    const answer = this.#route(webhook)
    return answer instanceof Promise && newsOf(webhook) === 'asks' ? this.#inTime(webhook, answer) : answer
  }

  /** Work for a call goes on meanwhile: the next question finds its result. */
  async #inTime(webhook: ProvenWebhook, answering: Promise<Answer>, withinMs = ASK_ANSWER_MS): Promise<Answer> {
    const late = sleep(withinMs, null, { ref: false })
    return (await Promise.race([answering, late])) ?? this.#held(webhook) ?? answering
  }

  #held(webhook: ProvenWebhook): Answer | null {
    const held = this.#options.held(webhook)
    if (held !== null) this.counters.held++
    return held
  }

  #route(webhook: ProvenWebhook, untilMs = this.#options.clock() + FALLBACK_AFTER_MS): Answer | Promise<Answer> {
    const { node, calls } = this.#options
    const { callSid } = webhook
    const call = callSid === null ? undefined : this.#call(callSid)
    if (call !== undefined) return this.#ofCall(webhook, call)
    if (callSid === null || (calls.known(callSid) && !node.gaveUp(callSid))) return this.#here(webhook)
    return this.#elsewhere(webhook, callSid, untilMs)
  }

  /** A call that this node has. One that it gave up ends here, and its worker may not have heard of it. */
  #call(callSid: CallSid): LiveCall | undefined {
    const { node, calls } = this.#options
    return node.gaveUp(callSid) ? undefined : calls.find(callSid)
  }

  /** A webhook of a call that this node has. */
  #ofCall(webhook: ProvenWebhook, call: LiveCall): Answer | Promise<Answer> {
    const asks = newsOf(webhook) === 'asks'
    if (asks && call.state === 'streaming') return this.#whenStreamEnds(webhook, call)
    if (asks && call.state === 'cut' && this.#options.calls.draining) return this.#elsewhereOrHere(webhook, call)
    if (asks && call.state === 'waiting') return this.#beforeOffer(webhook, call)
    return this.#here(webhook)
  }

  /** The stream of a call could not be opened, and before it is offered again, the call may turn out to be elsewhere. */
  async #beforeOffer(webhook: ProvenWebhook, call: LiveCall): Promise<Answer> {
    const [confirmed] = await Promise.all([this.#options.node.confirm(call.callSid), sleep(STREAM_AGAIN_MS)])
    return confirmed === 'lost' ? this.#route(webhook) : this.#here(webhook)
  }

  /**
   * The carrier asks how a call goes on after its stream, and the socket is still open here: its end is on its way, or
   * is lost with the network. A carrier that still sends repeats an old question.
   */
  async #whenStreamEnds(webhook: ProvenWebhook, call: LiveCall): Promise<Answer> {
    const { clock } = this.#options
    const untilMs = clock() + STREAM_END_WAIT_MS
    while (call.state === 'streaming' && clock() < untilMs) await sleep(STREAM_END_LOOK_MS)
    call.streamOver()
    const moves = call.state === 'cut' && this.#options.calls.draining
    return moves ? this.#elsewhereOrHere(webhook, call) : this.#here(webhook)
  }

  /** A call that has lost its stream does not keep a node that is being stopped. */
  async #elsewhereOrHere(webhook: ProvenWebhook, { callSid }: LiveCall): Promise<Answer> {
    this.#options.calls.afterStream(callSid, 'asked')
    return (await this.#options.recovery.moved(webhook, callSid)) ?? this.#here(webhook)
  }

  /** @param asked  all nodes were asked for the call just now */
  async #elsewhere(webhook: ProvenWebhook, callSid: CallSid, untilMs: number, asked = false): Promise<Answer> {
    const { node, turnedAway, placed, clock } = this.#options
    let entry: StoredCall | null
    let order: StoredCall | null = null
    const asks = newsOf(webhook) === 'asks'
    try {
      if (asks) {
        const reading = node.store.patient.read(callSid)
        const late = sleep(STORE_DEADLINE_MS, true, { ref: false })
        // The owner, if it lives, is found without the store.
        const answered = (await Promise.race([reading.then(() => false), late]))
          ? await this.#atLiveNode(webhook, callSid)
          : null
        if (answered !== null) return answered
        entry = await reading
      } else entry = await node.store.read(callSid)
      // A webhook of a call that one of the nodes places: only that node knows the order.
      if (entry === null && webhook.clientRequestId !== null)
        order = await node.store.read(orderKey(webhook.clientRequestId))
    } catch (thrown) {
      // Nobody else knows of the call of a lost node.
      const refused = thrown instanceof GatewayError && thrown.code === 'STORE_REFUSED'
      if (refused || !asks) return this.#withoutStore(webhook, callSid, untilMs)
      const answered = await this.#atLiveNode(webhook, callSid)
      if (answered !== null) return answered
      if (clock() >= untilMs) return this.#held(webhook) ?? this.#options.answer(webhook, 'owner-unknown')
      await sleep(STORE_AGAIN_MS)
      return this.#route(webhook, untilMs)
    }
    if (entry !== null) return this.#toOwner(webhook, callSid, entry, untilMs, asked)
    if (order === null && (await this.#mayBeForgotten(webhook))) return this.#withoutStore(webhook, callSid, untilMs)
    // A call that was opened while the store was down may not have been claimed yet. A ringing one is new almost always.
    const here = placed(webhook)
    const ask = order === null && !here && !asked && this.#mayBeUnclaimed(webhook)
    const answered = ask ? await this.#askAll(webhook) : null
    if (answered !== null) return answered
    // Only a voice webhook can open a call; whatever else comes for one that nobody has is answered here.
    if (webhook.route !== 'voice' || webhook.content === null) return this.#here(webhook)
    if (turnedAway(callSid) || hasTalked(webhook)) return this.#options.answer(webhook, 'known')
    const before = this.#placing.get(callSid)
    if (before !== undefined) return before.then(() => this.#route(webhook))
    const first = here ? node.claimFor(null) : (order?.owner ?? null)
    const placing = this.#place(webhook, callSid, 0, untilMs, first).finally(() => this.#placing.delete(callSid))
    this.#placing.set(callSid, placing)
    return placing
  }

  /**
   * The store may have lost this call. Live ones are soon written again; one that is over, or whose node is gone, is
   * never again, and its `completed` must not open it anew.
   */
  async #mayBeForgotten(webhook: ProvenWebhook): Promise<boolean> {
    const { node } = this.#options
    return newsOf(webhook) === 'left' ? node.forgottenNow(CALL_TTL_MS) : node.forgotten(STORE_REWRITTEN_MS)
  }

  #mayBeUnclaimed(webhook: ProvenWebhook): boolean {
    // The node that placed a call may not have reached the store to say so.
    if (isOutbound(webhook)) return true
    return stateOf(webhook) !== 'ringing' || this.#options.node.storeWasDown(STORE_REWRITTEN_MS)
  }

  async #toOwner(
    webhook: ProvenWebhook,
    callSid: CallSid,
    entry: StoredCall,
    untilMs: number,
    asked = false,
  ): Promise<Answer> {
    const { node, calls, recovery, placed, clock } = this.#options
    const { owner, phase } = entry
    if (phase === 'over') return this.#afterEnd(webhook, owner)
    const isHere = node.isThisRun(owner)
    // With a state it was live at a node that is gone, and this run's claim came late: it is not opened anew.
    const wasLive = entry.state !== null && !calls.known(callSid)
    const first = isFirst(webhook) && recovery.asks(webhook, callSid, entry)
    const recovered = (): Promise<Answer> => {
      const answering = this.#again(webhook, recovery.orphaned(webhook, callSid, entry))
      return first ? this.#inTime(webhook, answering, Math.max(0, untilMs - clock())) : answering
    }
    if (isHere && (recovery.has(callSid) || wasLive)) return recovered()
    // Only the node that sent a claim knows whether it still stands: where its answer came late, that node has
    // opened the call itself. So nobody else opens a call that is only claimed.
    const claimed = phase === 'claimed'
    let routed: Routed<Answer> = NOT_HERE
    if (isHere) {
      const call = calls.find(callSid)
      if (call !== undefined) return this.#ofCall(webhook, call)
      if (!claimed || placed(webhook)) {
        routed = await this.#open(webhook, callSid, owner, 'open')
        if (routed.is === 'not-here') return this.#options.answer(webhook, 'known')
      }
    } else {
      // Its owner may wait for the end of the stream, or before it offers another.
      const asks = newsOf(webhook) === 'asks'
      const keeps = webhook.route === 'continue' ? SAVED_WITHIN_MS : 0
      const waitMs = asks ? Math.max(STREAM_END_WAIT_MS, STREAM_AGAIN_MS) : keeps
      routed = await this.#ask(owner, webhook, owner, !claimed, first ? PLACE_ANSWER_MS : PEER_ANSWER_MS + waitMs)
    }
    if (routed.is === 'answered') return routed.answer
    // Its owner may live, so an outcome is not late.
    if (routed.is === 'failed')
      return this.#options.answer(webhook, webhook.route === 'continue' ? 'owner-unknown' : 'known')
    if (claimed) {
      const opens = webhook.route === 'voice'
      const atLast = clock() >= untilMs
      // It may be at the node that claimed it for another.
      const ask = !opens || atLast || (!asked && this.#mayBeUnclaimed(webhook))
      const answered = ask ? await this.#askAll(webhook) : null
      if (answered !== null) return answered
      if (opens && atLast) return this.#atLast(webhook, callSid, owner.epoch)
      if (opens) {
        await sleep(CLAIM_LOOK_MS)
        return this.#elsewhere(webhook, callSid, untilMs, asked || ask)
      }
    }
    this.counters.orphaned++
    // Nothing is kept of it, and its owner has answered neither the carrier nor this node.
    if (first && entry.state === null) return this.#place(webhook, callSid, owner.epoch, untilMs, null)
    return recovered()
  }

  /** For a call that is over: its last owner knows whether a repeated outcome is the one that it took. */
  async #afterEnd(webhook: ProvenWebhook, owner: OwnerToken): Promise<Answer> {
    const { node, answer } = this.#options
    const elsewhere = webhook.route === 'continue' && !node.isThisRun(owner)
    const routed = elsewhere ? await this.#ask(owner, webhook, owner, false, PEER_ANSWER_MS) : NOT_HERE
    return routed.is === 'answered' ? routed.answer : answer(webhook, 'known')
  }

  /**
   * Gives a new call to a node: to the best of two random ones and this one, by free slots. One that is full or silent is
   * followed by this node, then by the others, until FALLBACK_AFTER_MS have passed.
   * @param first  the node that placed this call, which is asked before all others
   */
  async #place(
    webhook: ProvenWebhook,
    callSid: CallSid,
    epochBefore: number,
    untilMs: number,
    first: Owner | null,
  ): Promise<Answer> {
    const { node, calls, clock } = this.#options
    let epoch = epochBefore
    let claimed: OwnerToken | null = null
    const candidates = this.#candidates(first)
    const roomHere = node.state === 'open' && calls.free > 0
    for (const [i, candidate] of candidates.entries()) {
      // This node is asked too late rather than not at all.
      if (candidate !== null && clock() >= untilMs) continue
      let entry: StoredCall
      const claim = node.claimFor(candidate)
      try {
        entry = await node.store.claim(callSid, claim, epoch)
      } catch {
        return this.#withoutStore(webhook, callSid, untilMs)
      }
      if (entry.owner.nonce !== claim.nonce) {
        this.counters['claim-lost']++
        return this.#toOwner(webhook, callSid, entry, untilMs)
      }
      claimed = entry.owner
      epoch = claimed.epoch
      let routed: Routed<Answer>
      if (candidate === null) routed = await this.#open(webhook, callSid, claimed, 'open-or-decline')
      else {
        // One that answered until now, and after which nobody is left to ask, may take all the time that is left.
        const others = candidates.slice(i + 1).some((other) => other !== null || roomHere)
        const patient = !others && !this.#unanswered.has(candidate.incarnation)
        const leftMs = untilMs - clock()
        routed = await this.#ask(claimed, webhook, claimed, true, patient ? leftMs : Math.min(PLACE_ANSWER_MS, leftMs))
      }
      if (routed.is === 'answered') return routed.answer
      if (routed.is === 'no-room') this.counters.passed++
    }
    if (claimed !== null) this.#isOver(callSid, claimed)
    // No node has room for a call of which this is the end, as it seems.
    if (stateOf(webhook) === 'completed') return this.#options.answer(webhook, 'known')
    // No node takes the call: this one, which has the connection, answers with words for the caller.
    return this.#options.answer(webhook, 'late')
  }

  /** Takes a new call whose claim was not confirmed in time: a document of this node must not lead to a call of another. */
  async #atLast(webhook: ProvenWebhook, callSid: CallSid, epoch: number): Promise<Answer> {
    const { node } = this.#options
    const claim = node.claimFor(null)
    let owner: OwnerToken
    try {
      owner = (await node.store.claim(callSid, claim, epoch)).owner
    } catch {
      return this.#withoutStore(webhook, callSid, this.#options.clock() + PLACE_ANSWER_MS)
    }
    if (owner.nonce !== claim.nonce) return this.#options.answer(webhook, 'late')
    const routed = await this.#open(webhook, callSid, owner, 'open')
    return routed.is === 'answered' ? routed.answer : this.#options.answer(webhook, 'late')
  }

  /** A caller was turned away: whatever the carrier says of the call later, to any node, opens nothing. */
  #isOver(callSid: CallSid, token: OwnerToken): void {
    // Without the store the nodes that turned it away know, and are asked.
    this.#options.node.store.over(callSid, token).catch(() => undefined)
  }

  /** Where a new call may go, best first; null stands for this node. */
  #candidates(first: Owner | null): readonly (NodeRecord | null)[] {
    const { node, calls, random } = this.#options
    if (first !== null) {
      const placer = node.isThisRun(first) ? null : node.alive().find(({ name }) => name === first.node)
      if (placer !== undefined) return [placer, ...this.#candidates(null)]
    }
    const takes = node.alive().filter(({ free, state }) => free > 0 && state === 'open')
    const silent = takes.filter(({ incarnation }) => this.#unanswered.has(incarnation))
    const open = takes.filter((record) => !silent.includes(record))
    const two = [take(open, random), take(open, random)].filter((record) => record !== undefined)
    const share = (free: number, capacity: number): number => free / Math.max(1, capacity)
    const best = two.sort((a, b) => share(b.free, b.capacity) - share(a.free, a.capacity))[0]
    const ours = node.state === 'open' ? share(calls.free, calls.capacity) : 0
    const others = [...[...two, ...open].filter((record) => record !== best), ...silent]
    if (best === undefined) return [null, ...silent]
    return ours + NEARLY_EQUAL >= share(best.free, best.capacity) ? [null, best, ...others] : [best, null, ...others]
  }

  /** Opens a call that this node was given, or answers a webhook of one that it has. */
  async #open(
    webhook: ProvenWebhook,
    callSid: CallSid,
    token: OwnerToken,
    how: 'open' | 'open-or-decline',
  ): Promise<Routed<Answer>> {
    const { node, calls, answer, turnedAway } = this.#options
    if (calls.find(callSid) !== undefined || calls.known(callSid)) return answered(await this.#here(webhook))
    node.expect(callSid, token, true)
    const offered = await (how === 'open' ? answer(webhook, how) : answer(webhook, how))
    if (calls.find(callSid) === undefined) {
      node.released(callSid)
      if (turnedAway(callSid)) this.#isOver(callSid, token)
    }
    // The document leaves only when the call is this node's for sure, or when the store cannot say.
    else if ((await node.confirm(callSid)) === 'lost') return NOT_HERE
    return 'noRoom' in offered ? { is: 'no-room' } : answered(offered)
  }

  #here(webhook: ProvenWebhook): Answer | Promise<Answer> {
    return this.#options.answer(webhook, 'open')
  }

  /** A forwarded webhook: this node has the call, or is to open it, as also one that it has placed. */
  async #forwarded({ webhook, token, opens: asked }: Forwarded): Promise<Routed<Answer>> {
    const { calls, node, recovery, turnedAway, placed } = this.#options
    const { callSid } = webhook
    if (callSid === null) return NOT_HERE
    const call = this.#call(callSid)
    if (call !== undefined) return answered(await this.#ofCall(webhook, call))
    if (token === null && (turnedAway(callSid) || (calls.known(callSid) && !node.gaveUp(callSid))))
      return answered(await this.#options.answer(webhook, 'known'))
    const opens = asked || placed(webhook)
    if (token === null && opens) return this.#openUnclaimed(webhook, callSid)
    if (token === null || !node.isThisRun(token)) return NOT_HERE
    // Taken over here by another evidence, while the carrier asked there.
    if (recovery.has(callSid)) {
      const entry = { owner: token, phase: 'claimed', state: null, log: [] } as const
      return answered(await this.#again(webhook, recovery.orphaned(webhook, callSid, entry)))
    }
    return opens || calls.known(callSid) ? this.#open(webhook, callSid, token, 'open-or-decline') : NOT_HERE
  }

  /** A webhook of a call whose owner is gone, from a node that takes no calls. */
  async #passed(webhook: ProvenWebhook): Promise<Routed<Answer>> {
    const { node, recovery } = this.#options
    const callSid = parseCallSid(webhook.callSid)
    const entry = await node.store.patient.read(callSid)
    if (entry === null || entry.phase === 'over' || (node.isThisRun(entry.owner) && !recovery.has(callSid)))
      return NOT_HERE
    return answered(await this.#again(webhook, recovery.recover(webhook, callSid, entry)))
  }

  /** Answer of the recovery; a webhook of a call that is open meanwhile is routed again. */
  async #again(webhook: ProvenWebhook, recovered: Promise<Routed<Answer>>): Promise<Answer> {
    const routed = await recovered
    return routed.is === 'answered' ? routed.answer : this.#route(webhook)
  }

  /**
   * The store cannot be asked. A live call's owner is found by asking all nodes; a new call is opened here, or where there
   * is room, and claimed when the store is back.
   */
  async #withoutStore(webhook: ProvenWebhook, callSid: CallSid, untilMs: number): Promise<Answer> {
    const { answer, clock } = this.#options
    const found = await this.#atLiveNode(webhook, callSid)
    if (found !== null) return found
    // A call that ends is not a new one, where nobody can say whether it was known.
    if (webhook.route !== 'voice' || stateOf(webhook) === 'completed') return answer(webhook, 'owner-unknown')
    let routed = await this.#openUnclaimed(webhook, callSid)
    for (const other of routed.is === 'no-room' ? this.#withRoom(callSid) : []) {
      if (clock() >= untilMs) break
      routed = await this.#ask({ ...other, node: other.name }, webhook, null, true, PLACE_ANSWER_MS)
      if (routed.is === 'answered') break
      if (routed.is === 'no-room') this.counters.passed++
    }
    return routed.is === 'answered' ? routed.answer : answer(webhook, 'owner-unknown')
  }

  /** Opens a new call without the store, which no node has; it is claimed later. */
  async #openUnclaimed(webhook: ProvenWebhook, callSid: CallSid): Promise<Routed<Answer>> {
    const { node, calls, answer } = this.#options
    const offered = await answer(webhook, 'open-or-decline')
    if (calls.find(callSid) !== undefined) node.openedUnclaimed(callSid)
    return 'noRoom' in offered ? { is: 'no-room' } : answered(offered)
  }

  /**
   * The other nodes by their last heartbeats, for a new call that no claim leads to one of them. Their order is the call's
   * own (rendezvous hashing with the free slots as weights), so that its webhooks lead to one node, wherever they come;
   * those that did not answer come last, and before them those that were full.
   */
  #withRoom(callSid: CallSid): readonly NodeRecord[] {
    const open = this.#options.node.alive().filter(({ state }) => state === 'open')
    const ranked = open.map((record) => {
      const drawn = createHash('sha256').update(`${callSid} ${record.name}`).digest().readUInt32BE() / 2 ** 32
      const rank = -Math.log(drawn) / record.free
      return { record, silent: this.#unanswered.has(record.incarnation), rank }
    })
    ranked.sort((a, b) => Number(a.silent) - Number(b.silent) || a.rank - b.rank)
    return ranked.map(({ record }) => record)
  }

  async #atLiveNode(webhook: ProvenWebhook, callSid: CallSid): Promise<Answer | null> {
    this.counters['without-store']++
    const answered = await this.#askAll(webhook)
    if (answered !== null) return answered
    const call = this.#call(callSid)
    return call === undefined ? null : this.#ofCall(webhook, call)
  }

  /** @returns the answer of the node that owns this call; null when no other node does */
  #askAll(webhook: ProvenWebhook): Promise<Answer | null> {
    const asked = this.#options.node.alive().map(async ({ name, incarnation }) => {
      const routed = await this.#ask({ node: name, incarnation }, webhook, null, false, PEER_ANSWER_MS)
      if (routed.is !== 'answered') throw new Error('not there')
      return routed.answer
    })
    return Promise.any(asked).catch(() => null)
  }

  async #ask(
    owner: Pick<OwnerToken, 'node' | 'incarnation'>,
    webhook: ProvenWebhook,
    token: OwnerToken | null,
    opens: boolean,
    answerMs: number,
  ): Promise<Routed<Answer>> {
    const forwarded: Forwarded = { webhook, token, opens }
    const asked = await this.#options.node.ask(owner, 'webhook', forwarded, answerMs)
    if (asked.result !== 'answered') {
      this.counters.unanswered++
      if (asked.result === 'failed') return { is: 'failed' }
      this.#unanswered.set(owner.incarnation, true)
      return { is: 'gone' }
    }
    // Both ends are authenticated, and run this program.
    const routed = asked.answer as Routed<Answer>
    if (routed.is === 'answered') this.counters.forwarded++
    return routed
  }
}

/**
 * How a node answers a proven webhook:
 * - `open`: it opens a new call; where it has no room, the caller hears the fallback
 * - `open-or-decline`: it opens a new call; where it has no room, it says so, because another node may
 * - `known`: the fleet has, or had, this call: it is not opened again
 * - `owner-unknown`: no store can be asked, and no node has the call; or an outcome cannot be given to its owner
 * - `late`: no node became the owner of a new call in time: it is not opened, and its caller hears the fallback
 */
export type AnswerHow = 'open' | 'open-or-decline' | 'known' | 'owner-unknown' | 'late'

/** A node's answer to a proven webhook. Must not throw, nor reject. */
interface AnswerWebhook<Answer extends object> {
  (webhook: ProvenWebhook, how: 'open-or-decline'): Answer | Promise<Answer> | NoRoom
  (webhook: ProvenWebhook, how: Exclude<AnswerHow, 'open-or-decline'>): Answer | Promise<Answer>
}

/** A webhook that one node forwards to another. Plain JSON. */
interface Forwarded {
  readonly webhook: ProvenWebhook
  /** The receiving node's ownership of the call; null: it may have the call, and no store can tell. */
  readonly token: OwnerToken | null
  /** A receiver that does not have the call opens it; without a token it claims it later. */
  readonly opens: boolean
}

interface WebhookRoutingOptions<Answer extends object> {
  readonly node: FleetNode
  readonly calls: Pick<CallDirectory, 'find' | 'known' | 'free' | 'capacity' | 'draining' | 'afterStream'>
  readonly answer: AnswerWebhook<Answer>
  /** True if `answer` has given a call's first webhook the fallback in place of a stream. */
  readonly turnedAway: (callSid: CallSid) => boolean
  /** True if this node has placed the call of a webhook, and nobody has opened it yet: only this node knows the order. */
  readonly placed: (webhook: ProvenWebhook) => boolean
  /** Asks the carrier to come back with its question, after words for the caller; null where they have waited long enough. */
  readonly held: (webhook: ProvenWebhook) => Answer | null
  /** Answers webhooks of calls whose owner is gone, and of those that this node has taken over. */
  readonly recovery: Pick<Recovery<Answer>, 'has' | 'asks' | 'orphaned' | 'recover' | 'moved'>
  readonly clock: Clock
  /** 0 to below 1. */
  readonly random: () => number
}

/** Shares of free slots that differ by less than this are the same: the call stays where its webhook came. */
const NEARLY_EQUAL = 0.05

/** The end of a call in which somebody talked: it is not new. Some carriers' first post says Completed as well. */
function hasTalked({ content }: ProvenWebhook): boolean {
  return content !== null && 'durationS' in content && content.state === 'completed' && (content.durationS ?? 0) > 0
}

/** Removes a random element. */
function take<T>(list: T[], random: () => number): T | undefined {
  return list.splice(Math.floor(random() * list.length), 1)[0]
}

/**
 * Webhooks of a call that this node places may come to any node, and only this one knows the order. So this node claims
 * the order before it asks the carrier, and the call as soon as the carrier has named it.
 */
export function claimedOrders(carrier: OutboundCarrier, node: Pick<FleetNode, 'reserve'>): OutboundCarrier {
  return {
    createCall: async (call) => {
      await node.reserve(call.clientRequestId, orderKey(call.clientRequestId))
      const created = await carrier.createCall(call)
      if (created.callSid !== null) await node.reserve(created.callSid)
      return created
    },
    hangup: (callSid, options) => carrier.hangup(callSid, options),
    getCall: (callSid) => carrier.getCall(callSid),
  }
}
