import { LRUCache } from 'lru-cache'
import { atMost } from '../core/at-most.js'
import type { Clock } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { CALL_TTL_MS, FALLBACK_AFTER_MS, PEER_ANSWER_MS, STORE_REST_MS } from '../core/limits.js'
import { CONTINUATION_MS } from '../escalation/documents.js'
import { carrierState, isTerminal } from '../sautikit/carrier-state.js'
import type { CarrierState } from '../sautikit/carrier-state.js'
import { CarrierApiError } from '../sautikit-api/http.js'
import type { Log } from '../telemetry/log.js'
import { continuationOf, withoutAgent } from '../workers/main/kept-call.js'
import type { KeptCall, KeptState } from '../call/documents/kept-call.js'
import type { OutboundCarrier } from '../workers/main/outbound-calls.js'
import { isOwner } from './store/call-store.js'
import type { NodeRecord, OwnerToken, StoredCall } from './store/call-store.js'
import type { FleetNode, TakeOverPermit } from './fleet-node.js'
import { takeOverRequestSchema } from './peer-requests.js'
import type { TakeOverRequest } from './peer-requests.js'
import { answered, NOT_HERE } from './proven-webhook.js'
import type { ProvenWebhook, Routed } from './proven-webhook.js'

/** Pause in ms before a recovery repeats an operation that the store did not answer. */
const RECOVERY_AGAIN_MS = 500
/** Time in ms after which the operation is no longer repeated. */
const RECOVERY_WITHIN_MS = 4000
/**
 * Time limit in ms for a node's answer if the carrier does not wait for this answer. It is long, so that a slow node
 * keeps its call.
 */
const BUSY_ANSWER_MS = 2000
/** Maximum number of calls of a dead node that this node recovers at the same time. */
const CALLS_RECOVERED_AT_ONCE_MAX = 8
/**
 * Maximum number of calls of dead nodes that this node has taken over but not opened. The carrier may still ask for
 * them.
 */
const TAKEN_CALLS_MAX = 10_000
/** Time in ms in which a caller is rung back only once per root call. */
const CALLBACK_ONCE_MS = 24 * 3_600_000

/** Maximum number of requests to the store whether this node still owns a call. */
const ASKS_MAX = 4
/** Pause in ms before the store is asked again. During the pause the store is not used. */
const ASK_AGAIN_MS = STORE_REST_MS + 50

/**
 * Recovers calls whose owner is gone. The carrier's webhooks and the nodes' heartbeats show which calls these are. Each
 * call is claimed first, so that only one surviving node acts. The store gets more time for its answers here
 * (STORE_PATIENCE_MS), because these callers have no other help.
 */
export class Recovery<Answer extends object> {
  readonly counters = {
    /** Number of calls that continued with a new stream, or with their escalation. */
    resumed: 0,
    /** Number of calls that started again from the beginning, because their node had not stored a state. */
    anew: 0,
    /** Number of callers who heard the agent's fallback. */
    words: 0,
    /** Number of calls that the carrier held in silence, and ended at our request. */
    'hung-up': 0,
    /** Number of callers who are rung back. */
    'called-back': 0,
    /** Number of callers who could have been rung back but were not. The log has the reasons. */
    'not-called-back': 0,
    /** Number of callers who had hung up. */
    left: 0,
    /** Number of calls whose state could not be read. */
    unreadable: 0,
    /** Number of webhooks that a full node passed to a node that accepts calls. */
    passed: 0,
    /** Number of calls for which the carrier's API or the store failed. */
    failed: 0,
  }
  readonly #options: RecoveryOptions<Answer>
  /** Calls that this node took over but has not opened. The carrier may still ask for them. */
  readonly #taken = new LRUCache<string, OwnerToken>({ ...atMost(TAKEN_CALLS_MAX), ttl: CALL_TTL_MS })
  /** Calls of this node that are moving to another node. */
  readonly #moving = new Map<string, Promise<Answer | null>>()
  /** Claims under way. */
  readonly #claiming = new Map<string, Promise<Taken | null>>()

  constructor(options: RecoveryOptions<Answer>) {
    this.#options = options
    options.node.onTakeOver(
      (callSids, permit) => void this.takeOver(callSids, permit),
      (callSid) => this.has(callSid),
    )
    options.node.onRequest('take-over', (given) => this.#given(takeOverRequestSchema.parse(given)))
  }

  /** True if this node has taken over this call and has not opened it, or is taking it over now. */
  has(callSid: string): boolean {
    return this.#taken.has(callSid) || this.#claiming.has(callSid)
  }

  /**
   * Recovers a call like `recover`. If this node cannot accept calls, another node recovers the call. Never rejects.
   */
  async orphaned(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Routed<Answer>> {
    const passed = await this.#pass(webhook, callSid)
    return passed === null ? this.recover(webhook, callSid, entry) : answered(passed)
  }

  /**
   * Gives a call that has lost its stream to another node, because this node is stopping. Never rejects.
   * @returns null if no other node accepts calls
   */
  moved(webhook: ProvenWebhook, callSid: CallSid): Promise<Answer | null> {
    const moving = this.#moving.get(callSid) ?? this.#move(webhook, callSid)
    this.#moving.set(callSid, moving)
    return moving
  }

  async #move(webhook: ProvenWebhook, callSid: CallSid): Promise<Answer | null> {
    const { node, held } = this.#options
    const answer = await this.#pass(webhook, callSid, BUSY_ANSWER_MS)
    this.#moving.delete(callSid)
    // A node that did not answer may have taken the call. So the carrier is asked to repeat its question later.
    if (answer === null) return this.#taker() === undefined ? null : held(webhook)
    node.handedOver(callSid)
    return answer
  }

  /**
   * Gives a call to another node, because this node is stopping. The other node reads the call's state from the store.
   * Never rejects.
   * @returns true if the other node has the call
   */
  async give(callSid: CallSid): Promise<boolean> {
    const { node } = this.#options
    const other = this.#taker()
    const token = node.token(callSid)
    if (other === undefined || token === null) return false
    const given: TakeOverRequest = { callSid, token }
    await node.ask({ node: other.name, incarnation: other.incarnation }, 'take-over', given, BUSY_ANSWER_MS)
    // The store is asked for the result, because the other node's answer may be late or lost.
    return (await node.confirm(callSid)) === 'lost'
  }

  async #given({ callSid, token }: TakeOverRequest): Promise<null> {
    await this.takeOver([callSid], { mayAsk: false, isLost: (owner) => isOwner(owner, token), mayClaim: () => true })
    return null
  }

  /**
   * Answers a webhook of a call whose owner is gone, or of a call that this node took over. Never rejects.
   * @returns `not-here` if a node has reopened the call
   */
  async recover(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Routed<Answer>> {
    const { node, noted, words, held } = this.#options
    const news = newsOf(webhook)
    const asks = this.asks(webhook, callSid, entry)
    try {
      // A call that this node has taken over is left out. Otherwise the node would ask itself again and again.
      if (news === 'stream-over' && !node.isThisRun(entry.owner)) void this.#streamOver(webhook, callSid, entry.owner)
      if (news === 'left') void this.#left(webhook, callSid, entry)
      return asks ? await this.#asked(webhook, callSid, entry) : answered(await noted(webhook))
    } catch (thrown) {
      this.counters.failed++
      this.#log(callSid).error({ err: thrown }, 'a call of a lost node could not be recovered')
      if (!asks) return answered(await noted(webhook))
      return answered((isUnanswered(thrown) ? held(webhook) : null) ?? words(webhook, webhook.agent))
    }
  }

  /**
   * Handles the end of a stream if the call's owner did not answer. An owner that is only busy handles the end itself
   * and may have opened the next stream. Never rejects.
   */
  async #streamOver(webhook: ProvenWebhook, callSid: CallSid, owner: OwnerToken): Promise<void> {
    if (!(await this.#lives(webhook, owner))) this.#options.node.streamOver(callSid, owner)
  }

  /**
   * True if an owner that did not answer is only busy. The owner is asked once more, with a longer time limit. Never
   * rejects.
   */
  async #lives(webhook: ProvenWebhook, owner: OwnerToken): Promise<boolean> {
    const { node } = this.#options
    if (node.isThisRun(owner)) return false
    const asked = await node.ask(owner, 'webhook', { webhook, token: owner }, BUSY_ANSWER_MS)
    return asked.result === 'answered' && (asked.answer as Routed<Answer>).is !== 'not-here'
  }

  /**
   * If this node drains or is full, passes the webhook to a node that accepts calls.
   * @returns the other node's answer; null if this node can open the call, or if the other node did not answer it
   */
  async #pass(webhook: ProvenWebhook, callSid: CallSid, answerMs = PEER_ANSWER_MS): Promise<Answer | null> {
    const other = this.#options.takes() ? undefined : this.#taker()
    if (other === undefined) return null
    const { name, incarnation } = other
    const asked = await this.#options.node.ask({ node: name, incarnation }, 'orphan', webhook, answerMs)
    // The answer's form was checked by `Peers`.
    const routed = asked.result === 'answered' ? (asked.answer as Routed<Answer>) : NOT_HERE
    if (routed.is !== 'answered') return null
    this.#taken.delete(callSid)
    this.counters.passed++
    return routed.answer
  }

  /** The other node with the most remaining capacity. */
  #taker(): NodeRecord | undefined {
    return this.#options.node
      .alive()
      .filter(({ free, state }) => free > 0 && state === 'open')
      .sort((a, b) => b.free - a.free)[0]
  }

  /**
   * Takes over calls whose node is gone, as the permit shows. Resolves when each of these calls continues or is over.
   */
  async takeOver(callSids: readonly string[], permit: TakeOverPermit): Promise<void> {
    // A full node leaves the calls to other nodes, which have the same evidence. It could not ring the callers back.
    if (!permit.mayAsk && !this.#options.takes() && this.#taker() !== undefined) return
    const left = [...callSids]
    const work = async (): Promise<void> => {
      for (let callSid = left.shift(); callSid !== undefined; callSid = left.shift()) {
        if (!isCallSid(callSid)) continue
        try {
          await this.#takeOne(callSid, permit)
        } catch (thrown) {
          this.counters.failed++
          this.#log(callSid).error({ err: thrown }, 'a call of a lost node could not be taken over')
        }
      }
    }
    await Promise.all(Array.from({ length: CALLS_RECOVERED_AT_ONCE_MAX }, work))
  }

  /** Answers the carrier's question about how the call continues. */
  async #asked(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Routed<Answer>> {
    const { document, words, noted } = this.#options
    const taken = await this.#claim(callSid, entry)
    if (taken === null) return NOT_HERE
    const { token } = taken
    const kept = this.#kept(callSid, taken)
    // The call has had its stream, so this webhook is a late copy and the carrier does not ask now.
    if (answersOrder(webhook) && taken.entry !== null && !this.#rings(callSid, taken.entry))
      return answered(await noted(webhook))
    const plan = recoveryPlan(kept?.kept ?? null, true)
    // The end of a dial leg concerns only a caller who was being connected to a human.
    const legOver = webhook.route === 'voice' && isTerminal(stateOf(webhook))
    const goesOn = kept !== null && plan !== 'words' && !(legOver && plan === 'resume')
    const opened = goesOn ? await this.#open(callSid, token, kept) : 'cannot'
    // The answer to the carrier is a document with the new stream, or comes from the escalation.
    if (opened === 'opened') return answered(plan === 'resume' ? document(callSid, webhook.host) : await noted(webhook))
    if (opened === 'here') return NOT_HERE
    if (legOver) return answered(await noted(webhook))
    const anew = kept === null && taken.entry?.state === null ? await this.#anew(webhook, callSid, token) : null
    if (anew !== null) return anew
    await this.#over(callSid, token, kept)
    this.counters.words++
    return answered(words(webhook, kept?.kept.agent ?? webhook.agent))
  }

  /**
   * Starts a call again from the beginning, because its node died before it stored a state. The caller has heard at
   * most a greeting.
   * @returns null if the carrier does not ask for a stream, or this node cannot accept the call
   */
  async #anew(webhook: ProvenWebhook, callSid: CallSid, token: OwnerToken): Promise<Routed<Answer> | null> {
    const { node, anew } = this.#options
    if (webhook.route === 'human' || stateOf(webhook) === 'dial-completed' || !this.#taken.has(callSid)) return null
    node.expect(callSid, token)
    const begun = anew(webhook)
    if (begun === null) return null
    if (!begun.isOpen) {
      await this.#over(callSid, token, null)
      this.counters.words++
      return answered(begun.answer)
    }
    this.#taken.delete(callSid)
    if ((await node.confirm(callSid)) === 'lost') return NOT_HERE
    this.counters.anew++
    return answered(begun.answer)
  }

  async #takeOne(callSid: CallSid, { mayAsk, isLost, mayClaim }: TakeOverPermit): Promise<void> {
    const { node, sleep } = this.#options
    const entry = await node.store.patient.read(callSid)
    if (entry === null || entry.phase === 'over' || !isLost(entry.owner) || !mayClaim()) return
    if ((await this.#isOthers(callSid, entry)) || !mayClaim()) return
    const taken = await this.#claim(callSid, entry)
    if (taken === null) return // another surviving node took the call
    const { token } = taken
    const kept = this.#kept(callSid, taken)
    const plan = recoveryPlan(kept?.kept ?? null, false)
    if (kept !== null && plan === 'escalation' && (await this.#open(callSid, token, kept)) !== 'cannot') return
    if (mayAsk) await sleep(CONTINUATION_MS)
    if (!this.#taken.has(callSid)) return // the carrier has asked how the call continues, and was answered
    node.expect(callSid, token)
    const ended = await this.#endHeld(callSid, kept?.kept.rootSid ?? callSid, () => this.#taken.has(callSid))
    if (!this.#taken.has(callSid)) return
    await this.#over(callSid, token, kept)
    if (ended && kept !== null) await this.#ringBack(kept)
  }

  /**
   * True if a call without stored state is at another node, or still rings and will be opened by another node. Nodes of
   * earlier versions open such a call without a claim. Never rejects.
   */
  async #isOthers(callSid: CallSid, entry: StoredCall): Promise<boolean> {
    if (entry.state !== null || this.#kept(callSid, { token: entry.owner, entry }) !== null) return false
    if (await this.#stillRings(callSid)) return true
    // The called person may have answered just now. The pause gives the node that receives this webhook time to claim
    // the call.
    await this.#options.sleep(FALLBACK_AFTER_MS)
    return this.#options.isElsewhere(callSid)
  }

  /** True if the carrier reports that a call has not been answered yet. Never rejects. */
  async #stillRings(callSid: CallSid): Promise<boolean> {
    const call = await this.#options.carrier?.getCall(callSid).catch(() => null)
    return carrierState(call?.status) === 'ringing'
  }

  /**
   * Ends this node's call that has lost its stream, and rings the caller back. Never rejects.
   * @param cut returns false if the caller has left, or if the carrier has asked how the call continues
   */
  async streamLost(state: KeptState, cut: () => boolean): Promise<void> {
    const { callSid, rootSid } = state.kept
    if (!isCallSid(callSid)) return
    try {
      if (await this.#endHeld(callSid, rootSid, cut)) await this.#ringBack(state)
    } catch (thrown) {
      this.counters.failed++
      this.#log(callSid).error({ err: thrown }, 'a call whose stream was lost could not be recovered')
    }
  }

  /**
   * Ends the call leg if it is still open at the carrier.
   * @param still returns false if the call was decided otherwise since
   * @returns true if the leg was ended
   */
  async #endHeld(callSid: CallSid, rootSid: string, still: () => boolean): Promise<boolean> {
    const { carrier } = this.#options
    if (carrier === null) {
      const why = 'the caller may be held in silence: without SAUTIKIT_API_KEY nobody can end the call'
      this.#log(callSid).error({}, why)
      return false
    }
    const there = await carrier.getCall(callSid).catch((thrown: unknown) => {
      // The carrier has no such leg, for example because the call came from the console.
      if (thrown instanceof CarrierApiError && thrown.status === 404) return null
      throw thrown
    })
    if (there === null || !still()) return false
    if (isTerminal(carrierState(there.status))) {
      this.counters.left++
      return false
    }
    if (!(await this.#mayEnd(callSid, still))) return false
    await carrier.hangup(callSid, { idempotencyKey: `${rootSid === callSid ? '' : `${rootSid}:`}${callSid}:lost` })
    this.counters['hung-up']++
    this.#log(callSid).warn(
      { state: there.status },
      'the carrier held the call without a stream: the gateway asked the carrier to end the call',
    )
    return true
  }

  /**
   * True if a call without a socket still belongs to this node, according to the store. A silent store is asked again,
   * because no other node will end the leg.
   */
  async #mayEnd(callSid: CallSid, still: () => boolean): Promise<boolean> {
    const { node, sleep } = this.#options
    for (let asks = 1; still() && !node.gaveUp(callSid); asks++) {
      if (await node.mayAct(callSid, true)) return still()
      if (asks >= ASKS_MAX) {
        this.counters.failed++
        this.#log(callSid).error({}, 'the caller may be held in silence: the store does not say whose call it is')
        return false
      }
      await sleep(ASK_AGAIN_MS)
    }
    return false
  }

  /**
   * Rings the caller back, at most once for the root call of a chain. The store's `once` prevents a second node from
   * ringing.
   */
  async #ringBack(state: KeptState): Promise<void> {
    const { node, callBack } = this.#options
    const { rootSid } = state.kept
    if (continuationOf(state.kept) !== 'agent') return
    if ((await node.store.patient.once(`recover:${rootSid}`, node.name, CALLBACK_ONCE_MS)) !== null) return
    if (await callBack(state)) this.counters['called-back']++
    else this.counters['not-called-back']++
  }

  /**
   * Opens a call here.
   * @returns `here` if another webhook about the stream's end has already opened the call. `cannot` if this node cannot
   * accept the call, or has lost it
   */
  async #open(callSid: CallSid, token: OwnerToken, kept: KeptState): Promise<'opened' | 'here' | 'cannot'> {
    const { node, open } = this.#options
    node.expect(callSid, token)
    try {
      open(kept)
    } catch (thrown) {
      if (thrown instanceof GatewayError && thrown.code === 'DUPLICATE_CALL') return 'here'
      this.#log(callSid).error({ err: thrown }, 'a call of a lost node cannot continue here')
      return 'cannot'
    }
    this.#taken.delete(callSid)
    if ((await node.confirm(callSid)) === 'lost') return 'cannot'
    this.counters.resumed++
    return 'opened'
  }

  /**
   * Ends a call whose caller has left, and makes its record. An owner that is only busy does this itself. Never
   * rejects.
   */
  async #left(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<void> {
    try {
      if (await this.#lives(webhook, entry.owner)) return
      const taken = await this.#claim(callSid, entry)
      if (taken === null) return
      this.counters.left++
      await this.#over(callSid, taken.token, this.#kept(callSid, taken))
    } catch (thrown) {
      this.counters.failed++
      this.#log(callSid).error({ err: thrown }, 'a call of a lost node could not be ended')
    }
  }

  /**
   * Claims a call and remembers it in `#taken`. Until the call is open or over, its webhooks are handled by `orphaned`
   * and not like a new call's.
   * @returns this node's ownership; null if another node has the call
   */
  async #claim(callSid: CallSid, entry: StoredCall): Promise<Taken | null> {
    const token = this.#taken.get(callSid)
    if (token !== undefined)
      return { token, entry: await this.#patiently(() => this.#options.node.store.patient.read(callSid)) }
    const claiming = this.#claiming.get(callSid) ?? this.#claimOnce(callSid, entry)
    this.#claiming.set(callSid, claiming)
    return claiming.finally(() => this.#claiming.delete(callSid))
  }

  async #claimOnce(callSid: CallSid, before: StoredCall): Promise<Taken | null> {
    const { node } = this.#options
    const claim = node.claimFor(null)
    const entry = await this.#patiently(() => node.store.patient.claim(callSid, claim, before.owner.epoch))
    const token = entry.owner
    if (token.nonce !== claim.nonce) return null
    this.#taken.set(callSid, token)
    return { token, entry }
  }

  /**
   * Repeats an operation that the store did not answer. A claim may be repeated: if the first claim succeeded without
   * an answer, the second succeeds too.
   */
  async #patiently<T>(operation: () => Promise<T>): Promise<T> {
    const { clock, sleep } = this.#options
    for (const untilMs = clock() + RECOVERY_WITHIN_MS; ;) {
      try {
        return await operation()
      } catch (thrown) {
        if (!isUnanswered(thrown) || clock() >= untilMs) throw thrown
        await sleep(RECOVERY_AGAIN_MS)
      }
    }
  }

  /** Ends a lost node's call that cannot continue. Only a node whose claim is still valid makes the call's record. */
  async #over(callSid: CallSid, token: OwnerToken, kept: KeptState | null): Promise<void> {
    const { node, lost } = this.#options
    if (!this.#taken.has(callSid)) return
    // A tool's outcome may still come. The caller will not hear it, but the record and the messages need it, so the
    // call waits.
    const waits = kept === null ? null : withoutAgent(kept)
    if (waits !== null && (await this.#open(callSid, token, waits)) !== 'cannot') return
    if (!this.#taken.delete(callSid)) return
    node.released(callSid)
    if ((await node.store.patient.over(callSid, token)) === 'ok' && kept !== null) lost(kept)
  }

  #kept(callSid: CallSid, { entry }: Taken): KeptState | null {
    if (entry === null) return null
    try {
      return this.#options.kept(callSid, entry)
    } catch (thrown) {
      this.counters.unreadable++
      this.#log(callSid).error({ err: thrown }, 'the state of a call of a lost node cannot be read')
      return null
    }
  }

  /**
   * True if the answer to this webhook decides how the call continues:
   * - The carrier asks.
   * - The carrier repeats a first webhook that did not lead to a stream.
   * - A person answers whom a node has rung.
   */
  asks(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): boolean {
    if (newsOf(webhook) === 'asks') return true
    if (isFirst(webhook)) return this.has(callSid) || this.#rings(callSid, entry)
    return answersOrder(webhook) && this.#rings(callSid, entry)
  }

  /**
   * True if the call's stream had not opened when the owner last stored the state, or if there is no state. False if
   * the state cannot be read.
   */
  #rings(callSid: CallSid, entry: StoredCall): boolean {
    if (entry.state === null) return true
    const { streamOpenedMs, streamMs } = this.#kept(callSid, { token: entry.owner, entry })?.kept ?? {}
    return streamOpenedMs === null && streamMs === 0
  }

  #log(callSid: CallSid): Log {
    return this.#options.log.call(callSid)
  }
}

/**
 * Plan for a call whose node is gone:
 * - `resume`: the call gets a new stream, in which its agent continues;
 * - `escalation`: without a stream, the escalation or the wait for a tool's outcome continues, and answers the carrier;
 * - `words`: the caller hears the agent's fallback, which may dial a human;
 * - `hang-up`: the carrier holds the leg in silence, so the carrier is asked to end the call.
 */
type RecoveryPlan = 'resume' | 'escalation' | 'words' | 'hang-up'

export interface RecoveryOptions<Answer extends object> {
  readonly node: FleetNode
  /**
   * Returns the state of a call that its owner stored; null if the owner stored no state. Throws if the state cannot be
   * read.
   */
  readonly kept: (callSid: CallSid, entry: StoredCall) => KeptState | null
  /** True if this node can open a call now. */
  readonly takes: () => boolean
  /**
   * Opens the call here from its stored state.
   * @throws GatewayError if this node cannot accept the call
   */
  readonly open: (kept: KeptState) => void
  /**
   * Makes the document with the stream of a call that `open` has opened.
   * @param host  `Host` of the webhook that asks
   */
  readonly document: (callSid: CallSid, host: string) => Answer
  /** True if another node answers that the call is live there. Must not reject. */
  readonly isElsewhere: (callSid: CallSid) => Promise<boolean>
  /**
   * Makes the record of a call that cannot continue, unless the call's node has already made a record. Must not throw.
   */
  readonly lost: (kept: KeptState) => void
  /**
   * Opens a call as a new call. Must not throw.
   * @returns the call's document, or words for a refused caller; null if this webhook cannot open a call
   */
  readonly anew: (webhook: ProvenWebhook) => { readonly answer: Answer; readonly isOpen: boolean } | null
  /** See `WebhookRouting`. */
  readonly held: (webhook: ProvenWebhook) => Answer | null
  /** Answers with the fallback of the call's agent. Must not throw. */
  readonly words: (webhook: ProvenWebhook, agent: string | null) => Answer
  /** Processes a webhook of a call that is not here. Must not throw. */
  readonly noted: (webhook: ProvenWebhook) => Answer | Promise<Answer>
  /** Carrier's REST API; null without an API key. */
  readonly carrier: Pick<OutboundCarrier, 'hangup' | 'getCall'> | null
  /**
   * Rings the caller back, if the agent, the settings and the time of day allow it.
   * @returns true if the caller is being rung
   */
  readonly callBack: (kept: KeptState) => Promise<boolean>
  readonly log: Log
  readonly clock: Clock
  readonly sleep: (ms: number) => Promise<void>
}

/** True if the store did not answer an operation. The store may have executed it. */
function isUnanswered(thrown: unknown): boolean {
  return thrown instanceof GatewayError && thrown.code === 'STORE_DOWN'
}

export function stateOf({ content }: ProvenWebhook): CarrierState {
  if (content === null || 'waitId' in content) return 'unknown'
  return 'state' in content ? content.state : content.event
}

/** True if the carrier marks a call as outbound, or if it omits the direction and names an order. */
export function isOutbound({ content, clientRequestId }: ProvenWebhook): boolean {
  if (content === null || !('direction' in content)) return false
  return content.direction === 'outbound' || (content.direction === null && clientRequestId !== null)
}

/**
 * True for a caller's first webhook and its repetitions. If the answer is late, a balancer sends the webhook to another
 * node again.
 */
export function isFirst(webhook: ProvenWebhook): boolean {
  if (webhook.route !== 'voice' || webhook.content?.kind !== null || isOutbound(webhook)) return false
  return webhook.content.state === 'ringing' || webhook.content.state === 'unknown'
}

/**
 * True if a person answers whom a node has rung. A webhook without a state counts too, because it may be about the
 * answer.
 */
export function answersOrder(webhook: ProvenWebhook): boolean {
  if (webhook.route !== 'voice' || webhook.content?.kind !== null || !isOutbound(webhook)) return false
  return webhook.content.state === 'answered' || webhook.content.state === 'unknown'
}

/** Meaning of a webhook for a call whose stream may be lost. */
export function newsOf(webhook: ProvenWebhook): 'asks' | 'stream-over' | 'left' | 'other' {
  const state = stateOf(webhook)
  if (state === 'completed') return 'left'
  const streamOver = state === 'stream-stopped' || state === 'stream-error'
  switch (webhook.route) {
    case 'after-stream':
    case 'human':
      return 'asks'
    case 'voice':
      if (webhook.content?.kind !== null) return streamOver ? 'stream-over' : 'other'
      return streamOver || state === 'dial-completed' || isTerminal(state) ? 'asks' : 'other'
    case 'continue':
      return 'other'
    case 'events':
    case 'stream-status':
      return streamOver ? 'stream-over' : 'other'
  }
}

/**
 * @param kept the call's state; null if it cannot be read
 * @param asked true if the carrier asks how the call continues. Its question proves that it continues the call, even if
 * SAUTIKIT_AFTER_STREAM says otherwise
 */
export function recoveryPlan(kept: KeptCall | null, asked: boolean): RecoveryPlan {
  const onward = kept === null ? 'nobody' : continuationOf(kept)
  if (onward === 'human' || onward === 'outcome') return 'escalation'
  if (!asked) return 'hang-up'
  return onward === 'agent' ? 'resume' : 'words'
}

/** Call that this node has taken over. `entry` is the store's entry; null if the store has lost it. */
interface Taken {
  readonly token: OwnerToken
  readonly entry: StoredCall | null
}
