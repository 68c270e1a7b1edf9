import { LRUCache } from 'lru-cache'
import { atMost } from '../core/at-most.js'
import type { Clock } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { CALL_TTL_MS, PEER_ANSWER_MS, STORE_REST_MS } from '../core/limits.js'
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
import { answered, NOT_HERE } from './proven-webhook.js'
import type { ProvenWebhook, Routed } from './proven-webhook.js'

/** After an operation of a recovery that the store did not answer, the next one, and when no more is sent. */
const RECOVERY_AGAIN_MS = 500
const RECOVERY_WITHIN_MS = 4000
/** The same where no carrier waits, before a call is taken from a node that is there and slow. */
const BUSY_ANSWER_MS = 2000
/** Calls of a dead node that a survivor works on at once. */
const CALLS_RECOVERED_AT_ONCE_MAX = 8
/** Calls of dead nodes that a survivor has taken over and the carrier may still ask for. */
const TAKEN_CALLS_MAX = 10_000
/** A caller is rung again once per root call. */
const CALLBACK_ONCE_MS = 24 * 3_600_000

/**
 * How often, and after how long, the store is asked again whether a call is still this node's: it rests in between.
 */
const ASKS_MAX = 4
const ASK_AGAIN_MS = STORE_REST_MS + 50

/**
 * Recovers calls whose owner is gone: from the carrier's webhooks, which come to any node, and from the heartbeats,
 * which show that a node is dead. Each call is claimed first, so that one survivor acts. The store has more time here
 * (STORE_PATIENCE_MS): these callers have nobody else.
 */
export class Recovery<Answer extends object> {
  readonly counters = {
    /** Calls that went on with a new stream, or with their escalation. */
    resumed: 0,
    /** Callers who heard the agent's fallback. */
    words: 0,
    /** Calls that the carrier held in silence, and was asked to end. */
    'hung-up': 0,
    /** Callers who are rung again. */
    'called-back': 0,
    /** Callers who could have been, and were not: see the log. */
    'not-called-back': 0,
    /** Callers who had left by themselves. */
    left: 0,
    /** Calls whose state could not be read. */
    unreadable: 0,
    /** Webhooks that a node which takes no calls gave to one that does. */
    passed: 0,
    /** Calls for which the carrier's API, or the store, failed. */
    failed: 0,
  }
  readonly #options: RecoveryOptions<Answer>
  /** Calls that this node took over and has not opened: the carrier may still ask for them. */
  readonly #taken = new LRUCache<string, OwnerToken>({ ...atMost(TAKEN_CALLS_MAX), ttl: CALL_TTL_MS })
  /** Calls of this node that are being given to another, for as long as that takes. */
  readonly #moving = new Map<string, Promise<Answer | null>>()
  /** Claims under way, for as long as the store may take. */
  readonly #claiming = new Map<string, Promise<Taken | null>>()

  constructor(options: RecoveryOptions<Answer>) {
    this.#options = options
    options.node.onTakeOver(
      (callSids, permit) => void this.takeOver(callSids, permit),
      (callSid) => this.has(callSid),
    )
    options.node.onRequest('take-over', (given) => this.#given(given as GivenCall))
  }

  /** True if this node has taken over that call without opening it, or is about to. */
  has(callSid: string): boolean {
    return this.#taken.has(callSid) || this.#claiming.has(callSid)
  }

  /** As `recover`, at another node if this one takes no calls. Does not reject. */
  async orphaned(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Routed<Answer>> {
    const passed = await this.#pass(webhook, callSid)
    return passed === null ? this.recover(webhook, callSid, entry) : answered(passed)
  }

  /**
   * The carrier asks for a call of this node that has lost its stream, and this node is being stopped: another goes on. Where
   * that one did not answer, the caller is asked to wait: it may have taken the call, and another is there all the same.
   * Does not reject.
   * @returns null when no other node takes calls
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
    if (answer === null) return this.#taker() === undefined ? null : held(webhook)
    node.handedOver(callSid)
    return answer
  }

  /**
   * This node is being stopped: a call that nobody asks for goes on at another, from the state that the store has of it.
   * Does not reject.
   * @returns whether it is there
   */
  async give(callSid: CallSid): Promise<boolean> {
    const { node } = this.#options
    const other = this.#taker()
    const token = node.token(callSid)
    if (other === undefined || token === null) return false
    const given: GivenCall = { callSid, token }
    await node.ask({ node: other.name, incarnation: other.incarnation }, 'take-over', given, BUSY_ANSWER_MS)
    // The store says what became of it, also where the answer was late.
    return (await node.confirm(callSid)) === 'lost'
  }

  async #given({ callSid, token }: GivenCall): Promise<null> {
    await this.takeOver([callSid], { mayAsk: false, isLost: (owner) => isOwner(owner, token), mayClaim: () => true })
    return null
  }

  /**
   * Answers a webhook of a call whose owner is gone, or that `has` is true for. Does not reject.
   * @returns `not-here` when the call is open meanwhile, here or at another node: the webhook is routed again
   */
  async recover(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Routed<Answer>> {
    const { node, noted, words, held } = this.#options
    const news = newsOf(webhook)
    const asks = this.asks(webhook, callSid, entry)
    try {
      // A call that this node has taken over itself: it would ask itself, and answer from here, in circles.
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
   * The stream of a call is over whose owner did not answer. A busy owner has seen that end itself, and may have opened
   * the next stream. Does not reject.
   */
  async #streamOver(webhook: ProvenWebhook, callSid: CallSid, owner: OwnerToken): Promise<void> {
    if (!(await this.#lives(webhook, owner))) this.#options.node.streamOver(callSid, owner)
  }

  /** True if an owner that did not answer is only busy: it is asked once more, with more time. Does not reject. */
  async #lives(webhook: ProvenWebhook, owner: OwnerToken): Promise<boolean> {
    const { node } = this.#options
    if (node.isThisRun(owner)) return false
    const asked = await node.ask(owner, 'webhook', { webhook, token: owner }, BUSY_ANSWER_MS)
    return asked.result === 'answered' && (asked.answer as Routed<Answer>).is !== 'not-here'
  }

  /**
   * A node that drains or is full gives the webhook to one that takes calls, once: that one answers, with words if it has
   * to.
   * @returns null when this node can open the call itself, or no other answers
   */
  async #pass(webhook: ProvenWebhook, callSid: CallSid, answerMs = PEER_ANSWER_MS): Promise<Answer | null> {
    const other = this.#options.takes() ? undefined : this.#taker()
    if (other === undefined) return null
    const { name, incarnation } = other
    const asked = await this.#options.node.ask({ node: name, incarnation }, 'orphan', webhook, answerMs)
    // Both ends are authenticated, and run this program.
    const routed = asked.result === 'answered' ? (asked.answer as Routed<Answer>) : NOT_HERE
    if (routed.is !== 'answered') return null
    this.#taken.delete(callSid)
    this.counters.passed++
    return routed.answer
  }

  /** The other node with the most room. */
  #taker(): NodeRecord | undefined {
    return this.#options.node
      .alive()
      .filter(({ free, state }) => free > 0 && state === 'open')
      .sort((a, b) => b.free - a.free)[0]
  }

  /** Takes over calls whose node is gone by the evidence. Resolves when each goes on, or is over. */
  async takeOver(callSids: readonly string[], permit: TakeOverPermit): Promise<void> {
    // The others have the same evidence of a dead node, and this one could ring nobody.
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

  /** The carrier asks how the call continues. */
  async #asked(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Routed<Answer>> {
    const { document, words, noted } = this.#options
    const taken = await this.#claim(callSid, entry)
    if (taken === null) return NOT_HERE
    const { token } = taken
    const kept = this.#kept(callSid, taken)
    const plan = recoveryPlan(kept?.kept ?? null, true)
    // The dialled leg's own failure says nothing to a caller who was not being connected.
    const legOver = webhook.route === 'voice' && isTerminal(stateOf(webhook))
    const goesOn = kept !== null && plan !== 'words' && !(legOver && plan === 'resume')
    const opened = goesOn ? await this.#open(callSid, token, kept) : 'cannot'
    // Its escalation answers, or its new stream.
    if (opened === 'opened') return answered(plan === 'resume' ? document(callSid, webhook.host) : await noted(webhook))
    if (opened === 'here') return NOT_HERE
    if (legOver) return answered(await noted(webhook))
    await this.#over(callSid, token, kept)
    this.counters.words++
    return answered(words(webhook, kept?.kept.agent ?? webhook.agent))
  }

  async #takeOne(callSid: CallSid, { mayAsk, isLost, mayClaim }: TakeOverPermit): Promise<void> {
    const { node, sleep } = this.#options
    const entry = await node.store.patient.read(callSid)
    if (entry === null || entry.phase === 'over' || !isLost(entry.owner) || !mayClaim()) return
    const taken = await this.#claim(callSid, entry)
    if (taken === null) return // another survivor took it
    const { token } = taken
    const kept = this.#kept(callSid, taken)
    const plan = recoveryPlan(kept?.kept ?? null, false)
    if (kept !== null && plan === 'escalation' && (await this.#open(callSid, token, kept)) !== 'cannot') return
    if (mayAsk) await sleep(CONTINUATION_MS)
    if (!this.#taken.has(callSid)) return // asked for meanwhile
    node.expect(callSid, token)
    const ended = await this.#endHeld(callSid, kept?.kept.rootSid ?? callSid, () => this.#taken.has(callSid))
    if (!this.#taken.has(callSid)) return
    await this.#over(callSid, token, kept)
    if (ended && kept !== null) await this.#ringBack(kept)
  }

  /**
   * A call of this node has lost its stream, and its carrier has asked nothing. Does not reject.
   * @param cut  false when the caller has left, or the carrier has asked meanwhile
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
   * Asks the carrier whether it still has the leg, and to end it.
   * @param still  false when that has been decided otherwise meanwhile
   * @returns whether it was ended, and so its caller did not leave
   */
  async #endHeld(callSid: CallSid, rootSid: string, still: () => boolean): Promise<boolean> {
    const { carrier } = this.#options
    if (carrier === null) {
      const why = 'the caller may be held in silence: without SAUTIKIT_API_KEY nobody can end the call'
      this.#log(callSid).error({}, why)
      return false
    }
    const there = await carrier.getCall(callSid).catch((thrown: unknown) => {
      // The carrier has no leg that could be ended: a call from the console never had one.
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
    return true
  }

  /**
   * Without a socket only the store shows that a call is still this node's. One that does not answer is asked again: nobody
   * else would end the leg.
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

  /** Once per root call, and only where nobody else talks to the caller, or was asked to. */
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
   * @returns `here` when the carrier's other news of the same end has opened it meanwhile; `cannot` when this node
   *   cannot take it, or does not own it any more
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

  /** The caller has left: nothing more happens for the call. A busy owner makes its record itself. Does not reject. */
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
   * Takes a call over. Until it is opened or over, its webhooks come to `orphaned`: it must not be taken for a new one.
   * @returns this node's ownership; null when another node has the call
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
   * Sends an operation again that the store did not answer. A claim may have been carried out all the same: given up, it
   * would leave the call to this node, which does not know. The same claim again has won if the first has.
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

  /** Nobody goes on with a call of a lost node. Only the survivor whose claim still stands makes its record. */
  async #over(callSid: CallSid, token: OwnerToken, kept: KeptState | null): Promise<void> {
    const { node, lost } = this.#options
    if (!this.#taken.has(callSid)) return
    // A tool may still get its outcome: no longer for the caller, but for the record and for messages.
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
   * True if the answer to a webhook of a call whose owner is gone is how the call goes on: the carrier asks that, or it sends a
   * first webhook again that has led to no stream yet.
   */
  asks(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): boolean {
    return newsOf(webhook) === 'asks' || (isFirst(webhook) && (this.has(callSid) || this.#rings(callSid, entry)))
  }

  /** True if no stream of a call was open when its owner last kept its state, as far as that can be read. */
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
 * - `resume`: it gets a new stream, in which its agent goes on;
 * - `escalation`: the escalation, or the wait for a tool's outcome, goes on without a stream, and answers the carrier;
 * - `words`: the caller hears the agent's fallback, which may dial a human;
 * - `hang-up`: the carrier holds the leg in silence, so it is asked to end the call.
 */
type RecoveryPlan = 'resume' | 'escalation' | 'words' | 'hang-up'

export interface RecoveryOptions<Answer extends object> {
  readonly node: FleetNode
  /** The state of a call as its owner kept it; null when there is none. Throws when it cannot be read. */
  readonly kept: (callSid: CallSid, entry: StoredCall) => KeptState | null
  /** True if this node can open a call now. */
  readonly takes: () => boolean
  /** Opens the call here, with what was kept. @throws GatewayError when this node cannot take it */
  readonly open: (kept: KeptState) => void
  /** The document with the stream of a call that `open` opened. @param host  the `Host` of the webhook that asks */
  readonly document: (callSid: CallSid, host: string) => Answer
  /** Makes the record of a call that nobody goes on with, where its node has made none. Must not throw. */
  readonly lost: (kept: KeptState) => void
  /** As in `WebhookRouting`. */
  readonly held: (webhook: ProvenWebhook) => Answer | null
  /** Answers with the fallback of the agent that the call had. Must not throw. */
  readonly words: (webhook: ProvenWebhook, agent: string | null) => Answer
  /** Takes note of a webhook of a call that is not here. Must not throw. */
  readonly noted: (webhook: ProvenWebhook) => Answer | Promise<Answer>
  /** Null without an API key. */
  readonly carrier: Pick<OutboundCarrier, 'hangup' | 'getCall'> | null
  /** Rings the caller again, if agent, settings and hours allow it. @returns whether it does */
  readonly callBack: (kept: KeptState) => Promise<boolean>
  readonly log: Log
  readonly clock: Clock
  readonly sleep: (ms: number) => Promise<void>
}

/** An operation of the store has no answer, and may have been carried out. */
function isUnanswered(thrown: unknown): boolean {
  return thrown instanceof GatewayError && thrown.code === 'STORE_DOWN'
}

export function stateOf({ content }: ProvenWebhook): CarrierState {
  if (content === null || 'waitId' in content) return 'unknown'
  return 'state' in content ? content.state : content.event
}

/** The carrier says so, or leaves it out where it names an order. */
export function isOutbound({ content, clientRequestId }: ProvenWebhook): boolean {
  if (content === null || !('direction' in content)) return false
  return content.direction === 'outbound' || (content.direction === null && clientRequestId !== null)
}

/** A caller's first webhook, or that one again: a balancer sends it to another node where its answer was late. */
export function isFirst(webhook: ProvenWebhook): boolean {
  if (webhook.route !== 'voice' || webhook.content?.kind !== null || isOutbound(webhook)) return false
  return webhook.content.state === 'ringing' || webhook.content.state === 'unknown'
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
 * @param kept  the call's state; null where none can be read
 * @param asked  the carrier asks how the call continues. That it asks is the proof that it continues the call, whatever
 *   it was seen to do before, and whatever SAUTIKIT_AFTER_STREAM says
 */
export function recoveryPlan(kept: KeptCall | null, asked: boolean): RecoveryPlan {
  const onward = kept === null ? 'nobody' : continuationOf(kept)
  if (onward === 'human' || onward === 'outcome') return 'escalation'
  if (!asked) return 'hang-up'
  return onward === 'agent' ? 'resume' : 'words'
}

/** From a node that is being stopped, to the one that goes on with its call. Plain JSON. */
interface GivenCall {
  readonly callSid: string
  /** The sender's ownership. */
  readonly token: OwnerToken
}

/** A call that this node has taken over, with its entry; null where the store has lost it meanwhile. */
interface Taken {
  readonly token: OwnerToken
  readonly entry: StoredCall | null
}
