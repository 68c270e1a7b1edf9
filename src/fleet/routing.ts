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
import { forwardedSchema, provenWebhookSchema } from './peer-requests.js'
import type { Forwarded } from './peer-requests.js'
import type { NoRoom, ProvenWebhook, Routed } from './proven-webhook.js'
import { answersOrder, isFirst, isOutbound, newsOf, stateOf } from './recovery.js'
import type { Recovery } from './recovery.js'

/** Time in ms between two checks whether a call that another node has claimed is open. */
const CLAIM_LOOK_MS = 50
/**
 * Pause in ms before a stream that the carrier could not open is offered again. A load balancer that has just started
 * may not know the gateway's address yet.
 */
const STREAM_AGAIN_MS = 400
/**
 * Time in ms between two checks whether a socket has ended. The carrier sometimes asks for the next document while the
 * stream's socket is still open here.
 */
const STREAM_END_LOOK_MS = 20
/** Maximum time in ms that the answer waits for the socket's end. */
const STREAM_END_WAIT_MS = 400

/**
 * Time limit in ms for the answer of the node that was chosen for a new call, if other nodes can still be tried. A node
 * usually answers in about 20 ms. The balancer waits for 500 ms.
 */
const PLACE_ANSWER_MS = 200
/**
 * Pause in ms before a silent store is asked again for a call's owner. During this time the store is not used. The
 * balancer gives a node 2 s for its answer.
 */
const STORE_AGAIN_MS = STORE_REST_MS + 50

/**
 * Routes each proven webhook to the owner of its call, because only the owner can answer. For a new call, the node that
 * receives the first webhook chooses the owner.
 */
export class WebhookRouting<Answer extends object> {
  /** Counts of webhooks that did not reach their call's owner directly. Plain fields, copied at each scrape. */
  readonly counters = {
    /** Webhooks that another node answered after they were forwarded to it. */
    forwarded: 0,
    /** New calls that were passed to the next node, because a node could not accept them. */
    passed: 0,
    /** Webhooks that were forwarded to a node that was gone or did not answer in time. */
    unanswered: 0,
    /** First webhooks whose call another node claimed at the same time. */
    'claim-lost': 0,
    /** Webhooks that this node answered because the store did not answer. */
    'without-store': 0,
    /** Webhooks of calls whose owner is gone. */
    orphaned: 0,
    /**
     * Questions of the carrier after a stream that the carrier must repeat, because it is not known yet how the call
     * continues.
     */
    held: 0,
  }
  readonly #options: WebhookRoutingOptions<Answer>
  /** New calls for which a node is being chosen. A repeated first webhook waits for the result of the first webhook. */
  readonly #placing = new Map<string, Promise<Answer>>()

  /**
   * Runs of nodes that did not answer. Other nodes are preferred until heartbeats show whether these runs are alive.
   */
  readonly #unanswered = new LRUCache<string, true>({ max: NODES_MAX, ttl: SUSPECT_MS })

  constructor(options: WebhookRoutingOptions<Answer>) {
    this.#options = options
    options.node.onRequest('webhook', (request) => this.#forwarded(forwardedSchema.parse(request)))
    options.node.onRequest('orphan', (webhook) => this.#passed(provenWebhookSchema.parse(webhook)))
  }

  /** Routes a webhook. Returns a promise unless this node has the call. */
  route(webhook: ProvenWebhook): Answer | Promise<Answer> {
    const answer = this.#route(webhook)
    if (webhook.route === 'continue') return this.#whoeverWaits(webhook, answer)
    return answer instanceof Promise && newsOf(webhook) === 'asks' ? this.#inTime(webhook, answer) : answer
  }

  /**
   * Offers a tool's outcome to other nodes if this node does not wait for it. Another node may wait: two nodes may have
   * the call, or an older node may have answered for a lost call.
   */
  async #whoeverWaits(webhook: ProvenWebhook, answering: Answer | Promise<Answer>): Promise<Answer> {
    const { node, isLate, isTaken, answer } = this.#options
    const late = await answering
    if (!isLate(late)) return late
    const forwarded: Forwarded = { webhook, token: null, opens: false }
    // Suspect nodes are asked too, because a slow node may be the one that waits for this outcome.
    const others = node.others().filter(({ seen }) => seen !== 'gone')
    const asked = others.map(async ({ name, incarnation }) => {
      const owner = { node: name, incarnation }
      const { result, ...more } = await node.ask(owner, 'webhook', forwarded, PEER_ANSWER_MS + SAVED_WITHIN_MS)
      const routed = 'answer' in more ? (more.answer as Routed<Answer>) : NOT_HERE
      return { result, said: routed.is === 'answered' && !isLate(routed.answer) ? routed.answer : null }
    })
    const taking = asked.map(async (one) => {
      const { said } = await one
      if (said === null || !isTaken(said)) throw new Error('it does not take it')
      return said
    })
    const orElse = async (): Promise<Answer | null> =>
      (await Promise.all(asked)).find((one) => one.said !== null)?.said ?? null
    const found = await Promise.any(taking).catch(orElse)
    if (found !== null) {
      this.counters.forwarded++
      return found
    }
    const isUnknown = (await Promise.all(asked)).some(({ result }) => result === 'silent' || result === 'failed')
    return isUnknown ? answer(webhook, 'owner-unknown') : late
  }

  /**
   * Answers within `withinMs`. If the result is late, the carrier is asked to repeat its question. The work continues,
   * and the repeated question gets its result.
   */
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

  /**
   * Finds a live call of this node. The result is undefined if this node gave the call up, even if its worker is still
   * ending it.
   */
  #call(callSid: CallSid): LiveCall | undefined {
    const { node, calls } = this.#options
    return node.gaveUp(callSid) ? undefined : calls.find(callSid)
  }

  /** Answers a webhook of a call at this node. */
  #ofCall(webhook: ProvenWebhook, call: LiveCall): Answer | Promise<Answer> {
    const asks = newsOf(webhook) === 'asks'
    if (asks && call.state === 'streaming') return this.#whenStreamEnds(webhook, call)
    if (asks && call.state === 'cut' && this.#options.calls.draining) return this.#elsewhereOrHere(webhook, call)
    if (asks && call.state === 'waiting') return this.#beforeOffer(webhook, call)
    return this.#here(webhook)
  }

  /**
   * Handles a webhook of a call whose stream could not be opened. Before the stream is offered again, checks whether
   * another node has the call.
   */
  async #beforeOffer(webhook: ProvenWebhook, call: LiveCall): Promise<Answer> {
    const [confirmed] = await Promise.all([this.#options.node.confirm(call.callSid), sleep(STREAM_AGAIN_MS)])
    return confirmed === 'lost' ? this.#route(webhook) : this.#here(webhook)
  }

  /**
   * Waits until the open socket ends, because the carrier's question means that the stream is over. If the socket does
   * not end in time, the end may be lost, or the question is an old one and audio still comes.
   */
  async #whenStreamEnds(webhook: ProvenWebhook, call: LiveCall): Promise<Answer> {
    const { clock } = this.#options
    const untilMs = clock() + STREAM_END_WAIT_MS
    while (call.state === 'streaming' && clock() < untilMs) await sleep(STREAM_END_LOOK_MS)
    call.streamOver()
    const moves = call.state === 'cut' && this.#options.calls.draining
    return moves ? this.#elsewhereOrHere(webhook, call) : this.#here(webhook)
  }

  /** Moves a call that has lost its stream to another node, because this node is stopping. */
  async #elsewhereOrHere(webhook: ProvenWebhook, { callSid }: LiveCall): Promise<Answer> {
    this.#options.calls.afterStream(callSid, 'asked')
    return (await this.#options.recovery.moved(webhook, callSid)) ?? this.#here(webhook)
  }

  /** @param asked true: all nodes have just been asked for the call */
  async #elsewhere(webhook: ProvenWebhook, callSid: CallSid, untilMs: number, asked = false): Promise<Answer> {
    const { node, turnedAway, placed, clock } = this.#options
    let entry: StoredCall | null
    let order: StoredCall | null = null
    const asks = newsOf(webhook) === 'asks'
    try {
      if (asks) {
        const reading = node.store.patient.read(callSid)
        const late = sleep(STORE_DEADLINE_MS, true, { ref: false })
        // If the store is late, the live nodes are asked: an owner that is alive is found without the store.
        const answered = (await Promise.race([reading.then(() => false), late]))
          ? await this.#atLiveNode(webhook, callSid)
          : null
        if (answered !== null) return answered
        entry = await reading
      } else entry = await node.store.read(callSid)
      // Only the node that placed the call knows its order, so this node is looked up by the order.
      if (entry === null && webhook.clientRequestId !== null)
        order = await node.store.read(orderKey(webhook.clientRequestId))
    } catch (thrown) {
      // A call of a lost node cannot be recovered without the store, so the store is asked again until `untilMs`.
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
    // The store may lack the claim of a call that was opened while the store was down. In this case all nodes are
    // asked, but not about a ringing call, which is almost always new.
    const here = placed(webhook)
    const ask = order === null && !here && !asked && this.#mayBeUnclaimed(webhook)
    const answered = ask ? await this.#askAll(webhook) : null
    if (answered !== null) return answered
    // Only a voice webhook can open a call. Other webhooks of an unknown call are answered at this node.
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
   * True if the store may have lost this call's entry. Live calls are soon written again, but ended calls are not. A
   * late `completed` event must not open its call again, so the check for it looks back further.
   */
  async #mayBeForgotten(webhook: ProvenWebhook): Promise<boolean> {
    const { node } = this.#options
    return newsOf(webhook) === 'left' ? node.forgottenNow(CALL_TTL_MS) : node.forgotten(STORE_REWRITTEN_MS)
  }

  #mayBeUnclaimed(webhook: ProvenWebhook): boolean {
    // An outbound call may be unclaimed, because its node may have failed to write the claim to the store.
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
    // True if the entry has a state of a call that this node does not know: the call was live at a lost node, and this
    // node's claim came late. Such a call is recovered and not opened anew.
    const wasLive = entry.state !== null && !calls.known(callSid)
    const first = isFirst(webhook) && recovery.asks(webhook, callSid, entry)
    const recovered = (): Promise<Answer> => {
      const answering = this.#again(webhook, recovery.orphaned(webhook, callSid, entry))
      return first ? this.#inTime(webhook, answering, Math.max(0, untilMs - clock())) : answering
    }
    if (isHere && (recovery.has(callSid) || wasLive)) return recovered()
    // A call that is only claimed may be open already: a node that gets the store's answer late opens the call itself.
    // So other nodes do not open it.
    const claimed = phase === 'claimed'
    let routed: Routed<Answer> = NOT_HERE
    if (isHere) {
      const call = calls.find(callSid)
      if (call !== undefined) return this.#ofCall(webhook, call)
      if (!claimed || placed(webhook)) {
        routed = await this.#open(webhook, callSid, owner, 'open')
        // Another node has just claimed the call. The webhook is routed again, because otherwise a person who has
        // answered would hear silence.
        if (routed.is === 'not-here' && clock() < untilMs) return this.#elsewhere(webhook, callSid, untilMs, asked)
        if (routed.is === 'not-here') return this.#options.answer(webhook, 'known')
      }
    } else {
      // The time limit includes the owner's own waits: for the stream's end, or before it offers the stream again.
      const asks = newsOf(webhook) === 'asks'
      const keeps = webhook.route === 'continue' ? SAVED_WITHIN_MS : 0
      const waitMs = asks ? Math.max(STREAM_END_WAIT_MS, STREAM_AGAIN_MS) : keeps
      routed = await this.#ask(owner, webhook, owner, !claimed, first ? PLACE_ANSWER_MS : PEER_ANSWER_MS + waitMs)
    }
    if (routed.is === 'answered') return routed.answer
    // If the person has answered and the call has no stored state, another node opens the call, even if the owner is
    // still alive. Otherwise the person would hear silence.
    const answers = entry.state === null && routed.is !== 'not-here' && answersOrder(webhook)
    // After a fault between the nodes the owner may be alive. So a tool's outcome is not reported as late.
    if (routed.is === 'failed' && !answers)
      return this.#options.answer(webhook, webhook.route === 'continue' ? 'owner-unknown' : 'known')
    if (claimed) {
      const opens = webhook.route === 'voice'
      const atLast = clock() >= untilMs
      // All nodes are asked, because the node that claimed the call for another node may have opened it itself.
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
    if (answers || (entry.state === null && first)) return this.#place(webhook, callSid, owner.epoch, untilMs, null)
    return recovered()
  }

  /**
   * Answers a webhook of an ended call. A repeated outcome of a tool goes to the last owner, which can compare it with
   * the outcome that it accepted.
   */
  async #afterEnd(webhook: ProvenWebhook, owner: OwnerToken): Promise<Answer> {
    const { node, answer } = this.#options
    const elsewhere = webhook.route === 'continue' && !node.isThisRun(owner)
    const routed = elsewhere ? await this.#ask(owner, webhook, owner, false, PEER_ANSWER_MS) : NOT_HERE
    return routed.is === 'answered' ? routed.answer : answer(webhook, 'known')
  }

  /**
   * Gives a new call to the node with the most free capacity among this node and two random nodes. If the chosen node
   * is full or silent, this node is tried, then other nodes, until `untilMs`.
   * @param first node that placed the call; it is asked before all other nodes
   */
  async #place(
    webhook: ProvenWebhook,
    callSid: CallSid,
    epochBefore: number,
    untilMs: number,
    first: Owner | null,
  ): Promise<Answer> {
    const { node, clock } = this.#options
    let epoch = epochBefore
    let claimed: OwnerToken | null = null
    const candidates = this.#candidates(first)
    const roomHere = this.#hasRoom
    // True if the node that has the claim did not answer in time. It may have opened the call.
    let mayBeOpen = false
    for (const [i, candidate] of candidates.entries()) {
      // After the time limit only this node is tried, because a late answer is better than no answer.
      if (candidate !== null && clock() >= untilMs) continue
      // A claim for this node would end the call at the other node, and this node would refuse the call.
      if (candidate === null && mayBeOpen && !roomHere) continue
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
        // The last candidate may use all remaining time, but not if it has left an earlier request unanswered.
        const others = candidates.slice(i + 1).some((other) => other !== null || roomHere)
        const patient = !others && !this.#unanswered.has(candidate.incarnation)
        const leftMs = untilMs - clock()
        routed = await this.#ask(claimed, webhook, claimed, true, patient ? leftMs : Math.min(PLACE_ANSWER_MS, leftMs))
      }
      if (routed.is === 'answered') return routed.answer
      if (routed.is === 'no-room') this.counters.passed++
      mayBeOpen = routed.is === 'gone' || routed.is === 'failed'
    }
    if (claimed !== null && !mayBeOpen) this.#isOver(callSid, claimed)
    // If the webhook reports the end of a call that no node accepted, it needs no words for the caller.
    if (stateOf(webhook) === 'completed') return this.#options.answer(webhook, 'known')
    // No node accepts the call, so this node answers the carrier with words for the caller.
    return this.#options.answer(webhook, 'late')
  }

  /**
   * Claims a new call that another node has claimed but not opened in time, and opens it here. The claim is needed,
   * because two nodes must not open one call. A node without room does not claim: the other node may still open the
   * call, and would lose it.
   */
  async #atLast(webhook: ProvenWebhook, callSid: CallSid, epoch: number): Promise<Answer> {
    const { node } = this.#options
    if (!this.#hasRoom) return this.#options.answer(webhook, 'late')
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

  /** True if this node accepts new calls. */
  get #hasRoom(): boolean {
    const { node, calls } = this.#options
    return node.state === 'open' && calls.free > 0
  }

  /** Marks the call of a refused caller as over, so that later webhooks do not open the call on any node. */
  #isOver(callSid: CallSid, token: OwnerToken): void {
    // A failure does no harm: without the entry, later webhooks are sent to all nodes, and the nodes that refused the
    // caller know the call.
    this.#options.node.store.over(callSid, token).catch(() => undefined)
  }

  /** Candidates for a new call, best first; null means this node. */
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

  /** Opens a call that this node owns. If the call is already here, answers its webhook. */
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
    // The document is not sent if the store answers that another node owns the call.
    else if ((await node.confirm(callSid)) === 'lost') return NOT_HERE
    return 'noRoom' in offered ? { is: 'no-room' } : answered(offered)
  }

  #here(webhook: ProvenWebhook): Answer | Promise<Answer> {
    return this.#options.answer(webhook, 'open')
  }

  /**
   * Answers a webhook that another node forwarded, because this node has the call, must open the call, or has placed
   * it.
   */
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
    // This node has just taken the call over because of other evidence, so the call is recovered.
    if (recovery.has(callSid)) {
      const entry = { owner: token, phase: 'claimed', state: null, log: [] } as const
      return answered(await this.#again(webhook, recovery.orphaned(webhook, callSid, entry)))
    }
    return opens || calls.known(callSid) ? this.#open(webhook, callSid, token, 'open-or-decline') : NOT_HERE
  }

  /** Recovers a call whose owner is gone, at the request of a node that cannot accept calls. */
  async #passed(webhook: ProvenWebhook): Promise<Routed<Answer>> {
    const { node, recovery } = this.#options
    const callSid = parseCallSid(webhook.callSid)
    const entry = await node.store.patient.read(callSid)
    if (entry === null || entry.phase === 'over' || (node.isThisRun(entry.owner) && !recovery.has(callSid)))
      return NOT_HERE
    return answered(await this.#again(webhook, recovery.recover(webhook, callSid, entry)))
  }

  /** Waits for the recovery's answer. If another node or webhook has reopened the call, routes the webhook again. */
  async #again(webhook: ProvenWebhook, recovered: Promise<Routed<Answer>>): Promise<Answer> {
    const routed = await recovered
    return routed.is === 'answered' ? routed.answer : this.#route(webhook)
  }

  /**
   * Answers without the store. All nodes are asked whether the call is live there. If no node has the call, it is
   * opened here or at a node with capacity, and claimed later.
   */
  async #withoutStore(webhook: ProvenWebhook, callSid: CallSid, untilMs: number): Promise<Answer> {
    const { answer, clock } = this.#options
    const found = await this.#atLiveNode(webhook, callSid)
    if (found !== null) return found
    // A webhook about a call's end cannot open a call.
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

  /** Opens a new call that no node has, without the store. The call is claimed later. */
  async #openUnclaimed(webhook: ProvenWebhook, callSid: CallSid): Promise<Routed<Answer>> {
    const { node, calls, answer } = this.#options
    const offered = await answer(webhook, 'open-or-decline')
    if (calls.find(callSid) !== undefined) node.openedUnclaimed(callSid)
    return 'noRoom' in offered ? { is: 'no-room' } : answered(offered)
  }

  /**
   * Nodes for a new call without a claim, best first. The order comes from rendezvous hashing of the call, weighted by
   * capacity, so that all webhooks of the call try the same node first. Full nodes come late, silent nodes last.
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

  /** @returns the answer of the node that has this call; null if no node has the call */
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
    // The answer's form was checked by `Peers`.
    const routed = asked.answer as Routed<Answer>
    if (routed.is === 'answered') this.counters.forwarded++
    return routed
  }
}

/**
 * Ways in which a node answers a proven webhook:
 * - `open`: opens a new call; if the node is full, the caller hears the fallback
 * - `open-or-decline`: opens a new call; if the node is full, it declines, because another node may have capacity
 * - `known`: the fleet has, or had, this call, so the call is not opened again
 * - `owner-unknown`: the store does not answer and no node has the call, or an outcome cannot be given to its owner
 * - `late`: no node became a new call's owner in time, so the caller hears the fallback
 */
export type AnswerHow = 'open' | 'open-or-decline' | 'known' | 'owner-unknown' | 'late'

/** Makes a node's answer to a proven webhook. Must not throw or reject. */
interface AnswerWebhook<Answer extends object> {
  (webhook: ProvenWebhook, how: 'open-or-decline'): Answer | Promise<Answer> | NoRoom
  (webhook: ProvenWebhook, how: Exclude<AnswerHow, 'open-or-decline'>): Answer | Promise<Answer>
}

interface WebhookRoutingOptions<Answer extends object> {
  readonly node: FleetNode
  readonly calls: Pick<CallDirectory, 'find' | 'known' | 'free' | 'capacity' | 'draining' | 'afterStream'>
  readonly answer: AnswerWebhook<Answer>
  /** True if `answer` answered the first webhook of a call with the fallback instead of a stream. */
  readonly turnedAway: (callSid: CallSid) => boolean
  /** True if this node placed the webhook's call and the call is not open yet. Only this node has the order. */
  readonly placed: (webhook: ProvenWebhook) => boolean
  /** True if the answer says that this node does not wait for the tool's outcome. */
  readonly isLate: (answer: Answer) => boolean
  /** True if the answer says that the tool's outcome was accepted, now or before. */
  readonly isTaken: (answer: Answer) => boolean
  /**
   * Document that plays words to the caller and asks the carrier to repeat its question; null if the caller has already
   * waited too long.
   */
  readonly held: (webhook: ProvenWebhook) => Answer | null
  /** Answers webhooks of two kinds of calls: calls whose owner is gone, and calls that this node has taken over. */
  readonly recovery: Pick<Recovery<Answer>, 'has' | 'asks' | 'orphaned' | 'recover' | 'moved'>
  readonly clock: Clock
  /** Returns a number from 0 to below 1. */
  readonly random: () => number
}

/**
 * Difference up to which two nodes' shares of free capacity count as equal. If they are equal, the call stays at the
 * node that received its webhook.
 */
const NEARLY_EQUAL = 0.05

/**
 * True if the webhook reports the end of a call with a conversation: the call is not new. Some carriers send Completed
 * in a first webhook too.
 */
function hasTalked({ content }: ProvenWebhook): boolean {
  return content !== null && 'durationS' in content && content.state === 'completed' && (content.durationS ?? 0) > 0
}

/** Removes and returns a random element. */
function take<T>(list: T[], random: () => number): T | undefined {
  return list.splice(Math.floor(random() * list.length), 1)[0]
}

/**
 * Carrier that claims each order in the store before it sends the order, because the call's webhooks may come to any
 * node. When the carrier names the call, claims the call too.
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
