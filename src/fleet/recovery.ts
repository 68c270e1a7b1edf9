import { LRUCache } from 'lru-cache'
import { GatewayError } from '../core/errors.js'
import { isCallSid, parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import {
  BUSY_ANSWER_MS,
  CALLBACK_ONCE_MS,
  CALLS_RECOVERED_AT_ONCE_MAX,
  CALL_TTL_MS,
  TAKEN_CALLS_MAX,
} from '../core/limits.js'
import { CONTINUATION_MS } from '../escalation/documents.js'
import type { AfterStream } from '../escalation/escalation.js'
import { carrierState, isTerminal } from '../sautikit/carrier-state.js'
import type { CarrierState } from '../sautikit/carrier-state.js'
import type { Log } from '../telemetry/log.js'
import { goesOnWith } from '../workers/kept-call.js'
import type { KeptCall, KeptState } from '../workers/kept-call.js'
import type { OutboundCarrier } from '../workers/outbound-calls.js'
import type { NodeRecord, OwnerToken, StoredCall } from './call-store.js'
import type { FleetNode, TakeOverPermit } from './fleet-node.js'
import type { ProvenWebhook } from './proven-webhook.js'

/**
 * What becomes of a call whose node is gone:
 * - `resume`: it gets a new stream, in which its agent goes on;
 * - `escalation`: the escalation goes on without a stream, and answers the carrier;
 * - `words`: the caller hears the agent's fallback, which may dial a human;
 * - `hang-up`: the carrier holds the leg in silence, so it is asked to end the call.
 */
type RecoveryPlan = 'resume' | 'escalation' | 'words' | 'hang-up'

/**
 * @param kept  the call's state; null where none can be read
 * @param asked  the carrier asks how the call continues
 * @param afterStream  whether the carrier obeys a document after the stream
 */
export function recoveryPlan(kept: KeptCall | null, asked: boolean, afterStream: AfterStream): RecoveryPlan {
  const onward = kept === null ? 'nobody' : goesOnWith(kept)
  if (onward === 'human') return 'escalation'
  if (!asked) return 'hang-up'
  // Where it is not known that a new stream works, the caller gets words that surely do.
  return onward === 'agent' && afterStream === 'continues' ? 'resume' : 'words'
}

interface RecoveryCounters {
  /** Calls that went on with a new stream, or with their escalation. */
  resumed: number
  /** Callers who heard the agent's fallback. */
  words: number
  /** Calls that the carrier held in silence, and was asked to end. */
  hungUp: number
  /** Callers who are rung again. */
  calledBack: number
  /** Callers who could have been, and were not: see the log. */
  notCalledBack: number
  /** Callers who had left by themselves. */
  left: number
  /** Calls whose state could not be read. */
  unreadable: number
  /** Webhooks that a node which takes no calls gave to one that does. */
  passed: number
  /** Calls for which the carrier's API, or the store, failed. */
  failed: number
}

export interface RecoveryOptions<Answer extends object> {
  readonly node: FleetNode
  /** The state of a call as its owner kept it; null when there is none. Rejects when it cannot be read. */
  readonly kept: (callSid: CallSid) => Promise<KeptState | null>
  readonly afterStream: () => AfterStream
  /** Whether this node can open a call now. */
  readonly takes: () => boolean
  /** Opens the call here, with what was kept. @throws GatewayError when this node cannot take it */
  readonly open: (kept: KeptState) => void
  /** The document with the stream of a call that `open` opened. @param host  the `Host` of the webhook that asks */
  readonly document: (callSid: CallSid, host: string) => Answer
  /** Answers with the fallback of the agent that the call had. Must not throw. */
  readonly words: (webhook: ProvenWebhook, agent: string | null) => Answer
  /** Takes note of a webhook of a call that is not here. Must not throw. */
  readonly noted: (webhook: ProvenWebhook) => Answer
  /** Routes a webhook of a call that another node has taken meanwhile. */
  readonly again: (webhook: ProvenWebhook) => Answer | Promise<Answer>
  /** Null without an API key. */
  readonly carrier: Pick<OutboundCarrier, 'hangup' | 'getCall'> | null
  /** Rings the caller again, if agent, settings and hours allow it. @returns whether it does */
  readonly callBack: (kept: KeptState) => Promise<boolean>
  readonly log: Log
  readonly sleep: (ms: number) => Promise<void>
}

/**
 * Recovers calls whose owner is gone: from the carrier's webhooks, which come to any node, and from the heartbeats,
 * which show that a node is dead. Each call is claimed first, so that one survivor acts.
 */
export class Recovery<Answer extends object> {
  readonly counters: RecoveryCounters = {
    resumed: 0,
    words: 0,
    hungUp: 0,
    calledBack: 0,
    notCalledBack: 0,
    left: 0,
    unreadable: 0,
    passed: 0,
    failed: 0,
  }
  readonly #options: RecoveryOptions<Answer>
  /** Calls that this node took over and has not opened: the carrier may still ask for them. */
  readonly #taken = new LRUCache<string, OwnerToken>({ max: TAKEN_CALLS_MAX, ttl: CALL_TTL_MS })
  /** Claims under way, for as long as the store may take. */
  readonly #claiming = new Map<string, Promise<OwnerToken | null>>()

  constructor(options: RecoveryOptions<Answer>) {
    this.#options = options
    options.node.onRequest('orphan', (webhook) => this.#passedHere(webhook as ProvenWebhook))
  }

  /** Whether this node has taken over that call without opening it, or is about to. */
  has(callSid: string): boolean {
    return this.#taken.has(callSid) || this.#claiming.has(callSid)
  }

  /** Answers a webhook of a call whose owner is gone, or that `has` is true for. Does not reject. */
  async orphaned(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Answer> {
    return (await this.#pass(webhook, callSid)) ?? this.#recover(webhook, callSid, entry)
  }

  /** Does not reject. */
  async #recover(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Answer> {
    const { node, noted, words } = this.#options
    try {
      const news = newsOf(webhook)
      // A call that this node has taken over itself: it would ask itself, and answer from here, in circles.
      if (news === 'stream-over' && !node.isThisRun(entry.owner)) void this.#streamOver(webhook, callSid, entry.owner)
      if (news === 'left') await this.#left(callSid, entry)
      return news === 'asks' ? await this.#asked(webhook, callSid, entry) : noted(webhook)
    } catch (thrown) {
      this.counters.failed++
      this.#log(callSid).error({ err: thrown }, 'a call of a lost node could not be recovered')
      return newsOf(webhook) === 'asks' ? words(webhook, webhook.agent) : noted(webhook)
    }
  }

  /**
   * The stream of a call is over whose owner did not answer. A busy owner has seen that end itself, and may have opened
   * the next stream, so it is asked once more, with more time. Does not reject.
   */
  async #streamOver(webhook: ProvenWebhook, callSid: CallSid, owner: OwnerToken): Promise<void> {
    const { node } = this.#options
    const asked = await node.ask(owner, 'webhook', { webhook, token: owner }, BUSY_ANSWER_MS)
    const lives = asked.result === 'answered' && !(Object(asked.answer) as { notHere?: true }).notHere
    if (!lives) node.streamOver(callSid, owner)
  }

  /**
   * A node that drains or is full gives the webhook to one that takes calls, once: that one answers, with words if it has
   * to.
   * @returns null when this node can open the call itself, or no other answers
   */
  async #pass(webhook: ProvenWebhook, callSid: CallSid): Promise<Answer | null> {
    const other = this.#options.takes() ? undefined : this.#taker()
    if (other === undefined) return null
    const { name, incarnation } = other
    const asked = await this.#options.node.ask({ node: name, incarnation }, 'orphan', webhook)
    if (asked.result !== 'answered' || asked.answer === null) return null
    this.#taken.delete(callSid)
    this.counters.passed++
    // Both ends are authenticated, and run this program.
    return asked.answer as Answer
  }

  /** @returns null when the store does not know the call as a live one of another node */
  async #passedHere(webhook: ProvenWebhook): Promise<Answer | null> {
    const { node } = this.#options
    const callSid = parseCallSid(webhook.callSid)
    const entry = await node.store.read(callSid)
    return entry === null || entry.phase === 'over' || (node.isThisRun(entry.owner) && !this.has(callSid))
      ? null
      : this.#recover(webhook, callSid, entry)
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
        if (!isCallSid(callSid)) continue // an order that was not carried out
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
  async #asked(webhook: ProvenWebhook, callSid: CallSid, entry: StoredCall): Promise<Answer> {
    const { document, words, again, noted, afterStream } = this.#options
    const token = await this.#claim(callSid, entry)
    if (token === null) return again(webhook)
    const kept = await this.#read(callSid)
    const plan = recoveryPlan(kept?.kept ?? null, true, afterStream())
    const opened = kept === null || plan === 'words' ? 'cannot' : await this.#open(callSid, token, kept)
    // Its escalation answers, or its new stream.
    if (opened === 'opened') return plan === 'resume' ? document(callSid, webhook.host) : noted(webhook)
    if (opened === 'here') return again(webhook)
    // The dialled leg's own failure says nothing to a caller who was not being connected.
    if (webhook.route === 'voice' && isTerminal(stateOf(webhook))) return noted(webhook)
    await this.#over(callSid, token)
    this.counters.words++
    return words(webhook, kept?.kept.agent ?? webhook.agent)
  }

  async #takeOne(callSid: CallSid, { mayAsk, isLost, mayClaim }: TakeOverPermit): Promise<void> {
    const { node, sleep, afterStream } = this.#options
    const entry = await node.store.read(callSid)
    if (entry === null || entry.phase === 'over' || !isLost(entry.owner) || !mayClaim()) return
    const token = await this.#claim(callSid, entry)
    if (token === null) return // another survivor has it
    const kept = await this.#read(callSid)
    const plan = recoveryPlan(kept?.kept ?? null, false, afterStream())
    if (kept !== null && plan === 'escalation' && (await this.#open(callSid, token, kept)) !== 'cannot') return
    if (mayAsk) await sleep(CONTINUATION_MS)
    if (!this.#taken.has(callSid)) return // asked for meanwhile
    node.expect(callSid, token)
    const ended = await this.#endHeld(callSid, kept?.kept.rootSid ?? callSid, () => this.#taken.has(callSid))
    if (!this.#taken.has(callSid)) return
    await this.#over(callSid, token)
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
    const { carrier, node } = this.#options
    if (carrier === null) {
      const why = 'the caller may be held in silence: without SAUTIKIT_API_KEY nobody can end the call'
      this.#log(callSid).error({}, why)
      return false
    }
    const { status } = await carrier.getCall(callSid)
    if (!still()) return false
    if (isTerminal(carrierState(status))) {
      this.counters.left++
      return false
    }
    // Without a socket nothing shows that the call is still this node's.
    if (!(await node.mayAct(callSid, true)) || !still()) return false
    await carrier.hangup(callSid, { idempotencyKey: `${rootSid === callSid ? '' : `${rootSid}:`}${callSid}:lost` })
    this.counters.hungUp++
    return true
  }

  /** Once per root call, and only where nobody else talks to the caller, or was asked to. */
  async #ringBack(state: KeptState): Promise<void> {
    const { node, callBack } = this.#options
    const { rootSid } = state.kept
    if (goesOnWith(state.kept) !== 'agent') return
    if ((await node.store.once(`recover:${rootSid}`, node.name, CALLBACK_ONCE_MS)) !== null) return
    if (await callBack(state)) this.counters.calledBack++
    else this.counters.notCalledBack++
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

  /** The caller has left: nothing more happens for the call. */
  async #left(callSid: CallSid, entry: StoredCall): Promise<void> {
    const token = await this.#claim(callSid, entry)
    if (token === null) return
    this.counters.left++
    await this.#over(callSid, token)
  }

  /**
   * Takes a call over. Until it is opened or over, its webhooks come to `orphaned`: it must not be taken for a new one.
   * @returns this node's ownership; null when another node has the call
   */
  async #claim(callSid: CallSid, entry: StoredCall): Promise<OwnerToken | null> {
    const taken = this.#taken.get(callSid)
    if (taken !== undefined) return taken
    const claiming = this.#claiming.get(callSid) ?? this.#claimOnce(callSid, entry)
    this.#claiming.set(callSid, claiming)
    return claiming.finally(() => this.#claiming.delete(callSid))
  }

  async #claimOnce(callSid: CallSid, entry: StoredCall): Promise<OwnerToken | null> {
    const { node } = this.#options
    const claim = node.claimFor(null)
    const { owner } = await node.store.claim(callSid, claim, entry.owner.epoch)
    if (owner.nonce !== claim.nonce) return null
    this.#taken.set(callSid, owner)
    return owner
  }

  async #over(callSid: CallSid, token: OwnerToken): Promise<void> {
    this.#taken.delete(callSid)
    this.#options.node.released(callSid)
    await this.#options.node.store.over(callSid, token)
  }

  async #read(callSid: CallSid): Promise<KeptState | null> {
    try {
      return await this.#options.kept(callSid)
    } catch (thrown) {
      this.counters.unreadable++
      this.#log(callSid).error({ err: thrown }, 'the state of a call of a lost node cannot be read')
      return null
    }
  }

  #log(callSid: CallSid): Log {
    return this.#options.log.call(callSid)
  }
}

export function stateOf({ content }: ProvenWebhook): CarrierState {
  if (content === null) return 'unknown'
  return 'state' in content ? content.state : content.event
}

/** What a webhook says of a call whose stream may be lost. */
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
    case 'events':
    case 'stream-status':
      return streamOver ? 'stream-over' : 'other'
  }
}
