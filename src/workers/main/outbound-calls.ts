import { createHash, randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { callVariablesSchema } from '../../agents/tools/call-variables.js'
import { valueFault } from '../../call/tools/value-fault.js'
import type { CarrierState } from '../../sautikit/carrier-state.js'
import type { CallRecord } from '../../call/documents/record.js'
import { atMost } from '../../core/at-most.js'
import { unrefTimer } from '../../core/clock.js'
import type { Clock, WallClock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { isCallSid } from '../../core/ids.js'
import type { CallSid } from '../../core/ids.js'
import { perMinute } from '../../core/rate-limit.js'
import type { RateLimit } from '../../core/rate-limit.js'
import { isTerminal } from '../../sautikit/carrier-state.js'
import { numberToCall, sameNumber } from '../../sautikit/phone.js'
import { ringFault } from '../../sautikit/ringing.js'
import type { RingWay } from '../../sautikit/ringing.js'
import type { Log } from '../../telemetry/log.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import type { PlacedCall } from './live-call.js'
import { outboundRecord, unreachedRecord } from './call/call-record.js'
import type { OverAnswer } from './main-thread-context.js'

/** Calls that ring at once. */
const OUTBOUND_CALLS_WAITING_MAX = 200
/** A call without a message from the carrier is hung up this long after its ringing time. */
const OUTBOUND_GRACE_MS = 5000
/** Orders with a key of their own that are remembered, each for so long. */
const KEYED_ORDERS_MAX = 10_000
const KEYED_ORDER_MS = 24 * 3_600_000
const LABEL_CHARS_MAX = 200

const label = z.string().min(1).max(LABEL_CHARS_MAX)

/** A call to place, as `POST /api/calls` takes it. */
export const outboundOrderSchema = z.strictObject({
  agent: z.string(),
  /** E.164, as `numberToCall` takes it. Never logged. */
  to: z.string(),
  /** Default: the agent's `outbound.from`. */
  from: z.string().optional(),
  /** Read as {{call.variables.NAME}}. Never logged. Default: none. */
  variables: callVariablesSchema.optional(),
  /** A name for the call, in its record. Default: none. */
  externalId: label.optional(),
  /** The same order with the same key rings once. Default: every order rings. */
  idempotencyKey: label.optional(),
})

const E164 = /^\+[1-9]\d{6,14}$/

/**
 * Calls that this gateway places. A call waits here from the order until the carrier's webhook opens its stream; then
 * it is a call like any other. A call that is not answered is hung up after its ringing time, and leaves a record.
 */
export class OutboundCalls {
  /** Counts since the start. */
  readonly counters = {
    placed: 0,
    refused: 0,
    unreached: 0,
    /** Answered, and its webhooks went to another process. */
    elsewhere: 0,
  }
  readonly #options: OutboundCallsOptions
  readonly #waiting = new Map<string, Waiting>()
  readonly #orders: RateLimit
  readonly #recoveries: RateLimit
  /** Orders with a key, by their label at the carrier: what was ordered, and the answer. */
  readonly #keyed: LRUCache<string, { readonly order: string; readonly placed: Promise<OutboundPlaced> }>

  constructor(options: OutboundCallsOptions) {
    this.#options = options
    this.#orders = perMinute(options.perMinute)
    this.#recoveries = perMinute(options.recoveryPerMinute)
    this.#keyed = new LRUCache({
      ...atMost(KEYED_ORDERS_MAX),
      ttl: KEYED_ORDER_MS,
      perf: { now: options.clock },
      ttlResolution: 0,
    })
  }

  /** Calls that ring, or will ring soon. */
  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Asks the carrier to ring a number; an agent talks to the person who answers.
   * @param way  by which the number came to be rung
   * @param mayRing  rejects where the number may not be rung; not asked of an order that has rung
   * @throws GatewayError CALL_REFUSED, CAPACITY, DRAINING, RATE_LIMITED, AGENT_UNKNOWN; CarrierApiError; what `mayRing` throws
   */
  async place(order: OutboundOrder, way: RingWay, mayRing?: () => Promise<void>): Promise<OutboundPlaced> {
    const { idempotencyKey, ...ordered } = order
    if (idempotencyKey === undefined) return this.#place(order, way, mayRing)
    const label = `order-${digestOf(idempotencyKey)}`
    const text = digestOf(JSON.stringify(ordered, Object.keys(ordered).sort()) + JSON.stringify(order.variables ?? {}))
    const before = this.#keyed.get(label)
    if (before !== undefined) {
      if (before.order === text) return before.placed
      throw refusal('another order has had this idempotencyKey; allowed: a key of its own for each order')
    }
    // A gateway that has forgotten the key asks the carrier under the same label, which rings it once.
    const placed = this.#place({ ...ordered, clientRequestId: label }, way, mayRing)
    this.#keyed.set(label, { order: text, placed })
    // One that was refused may be ordered again.
    placed.catch(() => this.#keyed.delete(label))
    return placed
  }

  async #place(order: OutboundOrder, way: RingWay, mayRing?: () => Promise<void>): Promise<OutboundPlaced> {
    if (mayRing !== undefined) await mayRing()
    const { carrier, clock, wallClock, log, schedule = unrefTimer } = this.#options
    const { agent, to, from, url } = this.#check(order, way)
    if (carrier === null) throw refusal('SAUTIKIT_API_KEY is not set: this gateway cannot place calls')
    const { recovers } = order
    // Also the idempotency key: whoever rings this caller back, the carrier does it once.
    const clientRequestId =
      order.clientRequestId ?? (recovers === undefined ? `mkondo-${randomUUID()}` : `recover-${recovers.kept.callSid}`)
    // Its answer is on its way, or it rings.
    if (this.#waiting.has(clientRequestId)) throw refusal('this order is being placed')
    const waiting: Waiting = {
      clientRequestId,
      agent: order.agent,
      from,
      to,
      ringMs: agent.ringMs,
      variables: saidVariables(order),
      externalId: order.externalId ?? null,
      leaveMessage: order.leaveMessage ?? true,
      promised: recovers !== undefined && order.clientRequestId !== undefined,
      joins: order.joins ?? null,
      orderedAtMs: clock(),
      orderedAtWallMs: wallClock(),
      callSid: null,
      callId: null,
      cancel: () => undefined,
      ...(recovers === undefined ? {} : { recovers }),
    }
    // Before the request: the first webhook may arrive before its answer.
    this.#waiting.set(clientRequestId, waiting)
    try {
      const created = await carrier.createCall({ from, to, voiceCallbackUrl: url, clientRequestId })
      this.counters.placed++
      if (isCallSid(created.callSid)) waiting.callSid = created.callSid
      waiting.callId = created.callId
      log.debug({ agent: order.agent, call_sid: created.callSid }, 'an outbound call is placed')
      if (this.#waiting.has(clientRequestId)) {
        waiting.cancel = schedule(waiting.ringMs + OUTBOUND_GRACE_MS, () => {
          void this.#ringTimedOut(waiting, carrier)
        })
      }
      return { callSid: created.callSid, clientRequestId, status: created.status }
    } catch (thrown) {
      this.#waiting.delete(clientRequestId)
      this.counters.refused++
      throw thrown
    }
  }

  /** True if a call to that number rings, or will ring soon. */
  isRinging(number: string): boolean {
    return [...this.#waiting.values()].some(({ to }) => sameNumber(to, number))
  }

  /** The placed call of a webhook; undefined when it is not ours, or no longer waits. */
  find(callSid: CallSid, clientRequestId: string | null): PlacedCall | undefined {
    const waiting = this.#find(callSid, clientRequestId)
    if (waiting !== undefined) waiting.callSid = callSid
    return waiting
  }

  /** The call was answered with a stream document: from here on it is a call like any other. */
  taken(placed: PlacedCall): void {
    this.#waiting.get(placed.clientRequestId)?.cancel()
    this.#waiting.delete(placed.clientRequestId)
  }

  /**
   * A lifecycle event of the carrier.
   * @returns true when it ended a call that was not answered, which leaves a record
   */
  state(callSid: CallSid, clientRequestId: string | null, state: CarrierState): boolean {
    const waiting = this.#find(callSid, clientRequestId)
    if (waiting === undefined || !isTerminal(state)) return false
    waiting.callSid = callSid
    this.#over(waiting, state, `the carrier says ${state}`, false)
    return true
  }

  /** Hangs up the calls that ring. */
  close(): void {
    for (const waiting of [...this.#waiting.values()])
      this.#over(waiting, 'failed', 'the gateway is being stopped', true)
  }

  // --- before a call is placed ------------------------------------------------------------------------------

  #check(
    order: OutboundOrder,
    way: RingWay,
  ): {
    readonly agent: OutboundAgent
    readonly to: string
    readonly from: string
    readonly url: string
  } {
    const { prefixes, agent: agentOf, agentNames, voiceUrl, free, draining, agentFull } = this.#options
    const agent = agentOf(order.agent)
    if (agent === undefined)
      throw new GatewayError('AGENT_UNKNOWN', `there is no agent of that name; allowed: ${agentNames().join(', ')}`)
    if (!E164.test(order.to)) throw refusal('to is not a number in E.164 form, such as +254700000001')
    const read = numberToCall(order.to)
    if ('fault' in read) throw refusal(`to is a number that ${read.fault}`)
    const { number: to } = read
    const from = order.from ?? agent.from
    const variables = saidVariables(order)
    const lacking = [...(agent.variables ?? [])].filter((name) => variables[name] === undefined)
    if (lacking.length > 0 && order.recovers === undefined && order.joins === undefined)
      throw refusal(
        `variables lacks ${lacking.join(', ')}, which the agent reads; a word for no value, such as N/A or #REF!, counts as none`,
      )
    if (from === null) throw refusal('from is missing, and the agent has no outbound.from')
    if (!E164.test(from)) throw refusal('from is not a number in E.164 form, such as +254700000001')
    if (agentOf(order.agent, from) === undefined)
      throw refusal(
        'from is a number that has not the facts that the agent reads (NUMBERS_FILE); allowed: one that has',
      )
    const fault =
      ringFault(way, to, from, prefixes) ??
      // The human who is rung first is put through to this one.
      (order.joins == null ? null : ringFault('call-back', order.joins, from, prefixes))
    if (fault !== null) throw refusal(`to is a number that ${fault}`)
    // A caller who was cut off is rung back all the same.
    const recovers = order.recovers !== undefined && order.clientRequestId === undefined
    if (!recovers && this.#options.budgetSpent?.(from) === true)
      throw new GatewayError('RATE_LIMITED', 'the number has used up its budget of the day', { retryable: true })
    const url = voiceUrl(order.agent)
    if (url === null) throw refusal('PUBLIC_URL is not set: the carrier could not reach this gateway')
    if (draining()) throw new GatewayError('DRAINING', 'this gateway accepts no new calls')
    if (agentFull(order.agent))
      throw new GatewayError('CAPACITY', 'the agent has reached its maxCalls', { retryable: true })
    if (this.#waiting.size >= Math.min(OUTBOUND_CALLS_WAITING_MAX, free())) {
      throw new GatewayError('CAPACITY', 'all call slots are in use', { retryable: true })
    }
    const [limit, allowed, setting] = recovers
      ? [this.#recoveries, this.#options.recoveryPerMinute, 'RECOVERY_PER_MINUTE']
      : [this.#orders, this.#options.perMinute, 'OUTBOUND_PER_MINUTE']
    if (limit.take('', this.#options.clock()) > 0)
      throw new GatewayError('RATE_LIMITED', `more than ${allowed} calls a minute (${setting})`, { retryable: true })
    return { agent, to, from, url }
  }

  // --- while it rings ---------------------------------------------------------------------------------------

  #find(callSid: CallSid, clientRequestId: string | null): Waiting | undefined {
    const labelled = clientRequestId === null ? undefined : this.#waiting.get(clientRequestId)
    if (labelled !== undefined) return labelled
    for (const waiting of this.#waiting.values())
      if (waiting.callSid === callSid || waiting.callId === callSid) return waiting
    return undefined
  }

  /**
   * Asks the carrier first: another process behind the same address may have got the webhooks and taken the call, which
   * must not be hung up.
   */
  async #ringTimedOut(waiting: Waiting, carrier: OutboundCarrier): Promise<void> {
    const name = waiting.callSid ?? waiting.callId
    const call = name === null ? null : await carrier.getCall(name).catch(() => null) // without an answer the call counts as not answered
    const taken = call !== null && (call.answeredAt !== null || /^(answered|in.?progress)$/i.test(call.status ?? ''))
    if (!taken) return this.#over(waiting, 'no-answer', 'it rang long enough', true)
    if (!this.#waiting.delete(waiting.clientRequestId)) return
    this.counters.elsewhere++
    this.#options.log.info(
      { call_sid: waiting.callSid, agent: waiting.agent },
      'an outbound call was answered, but its webhooks did not reach this gateway',
    )
  }

  #over(waiting: Waiting, state: CarrierState, detail: string, hangUp: boolean): void {
    const { carrier, clock, log, onUnreached } = this.#options
    if (!this.#waiting.delete(waiting.clientRequestId)) return
    waiting.cancel()
    this.counters.unreached++
    const name = waiting.callSid ?? waiting.callId
    const outbound = outboundRecord(waiting, {
      streamOpened: false,
      endReason: null,
      lastState: state,
      ringMs: clock() - waiting.orderedAtMs,
    })
    // Without the carrier's id, our own id names the call.
    const callSid = isCallSid(name) ? name : (waiting.clientRequestId as CallSid)
    log.info({ call_sid: callSid, agent: waiting.agent, result: outbound.result }, 'an outbound call was not answered')
    const number = this.#options.isOurs?.(waiting.from) === true ? { number: waiting.from } : {}
    const record = unreachedRecord({ ...waiting, ...number }, callSid, outbound, waiting.orderedAtWallMs, detail)
    const told = onUnreached(record)
    if (hangUp && name !== null && carrier !== null) void this.#hangUp(waiting.clientRequestId, name, carrier, told)
  }

  /** The call has no socket here: another node may have the person on the line by now. */
  async #hangUp(
    clientRequestId: string,
    name: string,
    carrier: OutboundCarrier,
    told: Promise<OverAnswer>,
  ): Promise<void> {
    const { log } = this.#options
    const answer = await told
    if (answer === 'lost' || answer === 'in-doubt') {
      this.counters.elsewhere++
      log.warn({ call_sid: name }, 'an unanswered call is not hung up: this node no longer owns it')
      return
    }
    try {
      await carrier.hangup(name, { idempotencyKey: `${clientRequestId}:hangup` })
    } catch (thrown) {
      log.warn({ err: thrown }, 'the carrier did not end an unanswered call')
    }
  }
}

/** A call to place. */
export interface OutboundOrder extends z.output<typeof outboundOrderSchema> {
  /** The label of the call at the carrier, which rings each once; default: made of the key, or random. */
  readonly clientRequestId?: string
  /** False: an answering machine gets no message. Default: what the agent's file says. */
  readonly leaveMessage?: boolean
  /**
   * Its caller is rung back: the call that was cut off (under RECOVERY_PER_MINUTE), or with a `clientRequestId` the one in
   * which that was promised.
   */
  readonly recovers?: KeptState
  /** As in `PlacedCall`. */
  readonly joins?: string
}

/** The carrier's answer. */
interface OutboundPlaced {
  /** Null when the answer does not name it; then the first webhook does. */
  readonly callSid: string | null
  readonly clientRequestId: string
  readonly status: string
}

/** The part of an agent that outbound calls need. */
interface OutboundAgent {
  readonly from: string | null
  readonly ringMs: number
  /** The variables that it reads; absent: none. */
  readonly variables?: ReadonlySet<string>
}

/** The part of the carrier's REST API that outbound calls need. Rejections carry the carrier's code and message. */
export interface OutboundCarrier {
  createCall(call: {
    readonly from: string
    readonly to: string
    readonly voiceCallbackUrl: string
    readonly clientRequestId: string
  }): Promise<{ readonly callSid: string | null; readonly callId: string | null; readonly status: string }>
  hangup(callSid: string, options?: { readonly idempotencyKey: string }): Promise<void>
  getCall(callSid: string): Promise<{ readonly status: string | null; readonly answeredAt: string | null }>
}

export interface OutboundCallsOptions {
  /** Null without an API key: then no calls can be placed. */
  readonly carrier: OutboundCarrier | null
  /** @param from  our number that calls; undefined too where it has not the facts that the agent reads */
  readonly agent: (name: string, from?: string) => OutboundAgent | undefined
  readonly agentNames: () => readonly string[]
  /** The voice webhook of an agent's calls; null while our address is not known. */
  readonly voiceUrl: (agent: string) => string | null
  /** Remaining capacity: how many more calls this gateway can take. */
  readonly free: () => number
  /** True while this node takes no new calls: it drains, or is cordoned. */
  readonly draining: () => boolean
  /** True if an agent has as many calls as its file allows. */
  readonly agentFull: (agent: string) => boolean
  /** Calls that may be placed in one minute. */
  readonly perMinute: number
  /** Callers who may be rung back in one minute; 0 for none. */
  readonly recoveryPerMinute: number
  /** OUTBOUND_PREFIXES. */
  readonly prefixes: readonly string[]
  /** True if NUMBERS_FILE has one of our numbers: records show it. Absent: it has none. */
  readonly isOurs?: (number: string) => boolean
  /** True if one of our numbers has used up its budget of the day. Absent: none has one. */
  readonly budgetSpent?: (number: string) => boolean
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly log: Log
  /** Receives the record of each placed call that was not answered. @returns as of `CallKeeping.over` */
  readonly onUnreached: (record: CallRecord) => Promise<OverAnswer>
  /** For tests; real time otherwise. */
  readonly schedule?: (ms: number, work: () => void) => () => void
}

/** A placed call that is not answered yet. */
interface Waiting extends PlacedCall {
  readonly orderedAtWallMs: number
  callSid: CallSid | null
  /** The carrier's other id of the call. */
  callId: string | null
  cancel: () => void
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** Variables of an order that say something: the others count as if they were not in it. */
function saidVariables({ variables = {}, to }: OutboundOrder): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(variables).filter(([field, value]) => valueFault(value, { field, own: to }) === null),
  )
}

function refusal(message: string): GatewayError {
  return new GatewayError('CALL_REFUSED', message)
}
