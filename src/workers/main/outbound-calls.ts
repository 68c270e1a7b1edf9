import { createHash, randomUUID } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { callVariablesSchema } from '../../agents/tools/call-variables.js'
import { valueFault } from '../../call/tools/value-fault.js'
import type { CarrierState } from '../../sautikit/carrier-state.js'
import { streamOpenedMs } from '../../call/documents/call-view.js'
import type { CallRecord, OutboundRecord } from '../../call/documents/record.js'
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
import type { Log } from '../../telemetry/log.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import type { PlacedCall } from './live-call.js'
import { answeredBy, outboundRecord, unreachedRecord } from './call/call-record.js'
import type { OverAnswer } from './main-thread-context.js'

/** Maximum number of calls that ring at the same time. */
const OUTBOUND_CALLS_WAITING_MAX = 200
/** Time in ms that we wait for the carrier's message after the ringing time. Then we hang the call up. */
const OUTBOUND_GRACE_MS = 5000
/**
 * Maximum number of remembered orders that have a key of their own. `KEYED_ORDER_MS`: time in ms for which such an
 * order is remembered.
 */
const KEYED_ORDERS_MAX = 10_000
const KEYED_ORDER_MS = 24 * 3_600_000
const LABEL_CHARS_MAX = 200

const label = z.string().min(1).max(LABEL_CHARS_MAX)

/** Order for a call, in the form that `POST /api/calls` accepts. */
export const outboundOrderSchema = z.strictObject({
  agent: z.string().describe('Name of an agent.'),
  /** Never logged. */
  to: z.string().describe('Number to ring, E.164.'),
  from: z.string().optional().describe("Our number, E.164. Default: the agent's `outbound.from`."),
  /** Never logged. */
  variables: callVariablesSchema
    .optional()
    .describe(
      'Values that the agent reads as {{call.variables.NAME}}. All variables that the agent reads must have a value. At most 50 values, of at most 1000 characters each.',
    ),
  externalId: label.optional().describe('Your own identifier of the call, which is stored in its record.'),
  idempotencyKey: label
    .optional()
    .describe(
      'Idempotency key. Equal requests with the same key ring once, and get the same answer for 24 hours. A different request with the same key is refused (409). Default: every request rings.',
    ),
})

const E164 = /^\+[1-9]\d{6,14}$/

/**
 * Calls that this gateway places. A call waits here until the carrier's webhook opens its stream. An unanswered call is
 * hung up after its ringing time, and leaves a record.
 */
export class OutboundCalls {
  /** Counts since the start. */
  readonly counters = {
    placed: 0,
    refused: 0,
    unreached: 0,
    /** Number of placed calls that were answered, and whose webhooks went to another process. */
    elsewhere: 0,
  }
  readonly #options: OutboundCallsOptions
  readonly #waiting = new Map<string, Waiting>()
  readonly #orders: RateLimit
  readonly #recoveries: RateLimit
  /**
   * Orders with a key, by their label at the carrier. Each entry contains a digest of the order, and the answer to it.
   */
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

  /** Number of calls that ring now, or that will ring soon. */
  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Asks the carrier to ring a number. If a person answers, an agent talks to the person.
   * @param mayRing  rejects if the number may not be rung; not called if the same order has already rung
   * @throws GatewayError CALL_REFUSED, CAPACITY, DRAINING, RATE_LIMITED, AGENT_UNKNOWN; CarrierApiError; errors of
   * `mayRing`
   */
  async place(order: OutboundOrder, mayRing?: () => Promise<void>): Promise<OutboundPlaced> {
    const { idempotencyKey, ...ordered } = order
    if (idempotencyKey === undefined) return this.#place(order, mayRing)
    const label = `order-${digestOf(idempotencyKey)}`
    const text = digestOf(JSON.stringify(ordered, Object.keys(ordered).sort()) + JSON.stringify(order.variables ?? {}))
    const before = this.#keyed.get(label)
    if (before !== undefined) {
      if (before.order === text) return before.placed
      throw refusal('another order has used this idempotencyKey; allowed: a different key for each order')
    }
    // A restarted gateway has forgotten the key. It sends the order again with the same label, and the carrier rings
    // each label once.
    const placed = this.#place({ ...ordered, clientRequestId: label }, mayRing)
    this.#keyed.set(label, { order: text, placed })
    // A refused order may be repeated.
    placed.catch(() => this.#keyed.delete(label))
    return placed
  }

  async #place(order: OutboundOrder, mayRing?: () => Promise<void>): Promise<OutboundPlaced> {
    if (mayRing !== undefined) await mayRing()
    const { carrier, clock, wallClock, log, schedule = unrefTimer } = this.#options
    const { agent, to, from, url } = this.#check(order)
    if (carrier === null) throw refusal('SAUTIKIT_API_KEY is not set: this gateway cannot place calls')
    const { recovers } = order
    // This id is the idempotency key too. So if several nodes ring the same caller back, the carrier rings once.
    const clientRequestId =
      order.clientRequestId ?? (recovers === undefined ? `mkondo-${randomUUID()}` : `recover-${recovers.kept.callSid}`)
    // Another call to this number is ringing, or its answer is on its way.
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
    // The entry is set before the request, because the first webhook may arrive before the request's answer.
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

  /** True if a call to this number rings, or will ring soon. */
  isRinging(number: string): boolean {
    return [...this.#waiting.values()].some(({ to }) => sameNumber(to, number))
  }

  /**
   * Finds the placed call that a webhook reports. Undefined if we did not place the call, or if it no longer waits for
   * an answer.
   */
  find(callSid: CallSid, clientRequestId: string | null): PlacedCall | undefined {
    const waiting = this.#find(callSid, clientRequestId)
    if (waiting !== undefined) waiting.callSid = callSid
    return waiting
  }

  /** Notes that the call was answered with a stream document. From now on it is treated like any other call. */
  taken(placed: PlacedCall): void {
    this.#waiting.get(placed.clientRequestId)?.cancel()
    this.#waiting.delete(placed.clientRequestId)
  }

  /**
   * Takes a lifecycle event of the carrier.
   * @returns true if it ended a call that was not answered; such a call leaves a record
   */
  state(callSid: CallSid, clientRequestId: string | null, state: CarrierState): boolean {
    const waiting = this.#find(callSid, clientRequestId)
    if (waiting === undefined || !isTerminal(state)) return false
    waiting.callSid = callSid
    this.#over(waiting, state, `the carrier says ${state}`, false)
    return true
  }

  /** Hangs up all calls that ring. */
  close(): void {
    for (const waiting of [...this.#waiting.values()])
      this.#over(waiting, 'failed', 'the gateway is being stopped', true)
  }

  // --- before a call is placed ------------------------------------------------------------------------------

  #check(order: OutboundOrder): {
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
        'from is a number that lacks facts that the agent reads (NUMBERS_FILE); allowed: a number that has these facts',
      )
    // With `joins`, `to` is the number of a human, who is connected to `joins` after answering.
    const fault = ringFault(order.joins ?? to, from, prefixes)
    if (fault !== null) throw refusal(`to is a number that ${fault}`)
    // A caller who was cut off is rung back even if the budget of our number is used up.
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
   * The carrier is asked first. Another process with this address may have received the webhooks and taken the call.
   * Such a call must not be hung up.
   */
  async #ringTimedOut(waiting: Waiting, carrier: OutboundCarrier): Promise<void> {
    const name = waiting.callSid ?? waiting.callId
    const call = name === null ? null : await carrier.getCall(name).catch(() => null) // If our request fails, the call counts as not picked up.
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
    // If the carrier's SID is unknown, our own id replaces it.
    const callSid = isCallSid(name) ? name : (waiting.clientRequestId as CallSid)
    log.info({ call_sid: callSid, agent: waiting.agent, result: outbound.result }, 'an outbound call was not answered')
    const number = this.#options.isOurs?.(waiting.from) === true ? { number: waiting.from } : {}
    const record = unreachedRecord({ ...waiting, ...number }, callSid, outbound, waiting.orderedAtWallMs, detail)
    const told = onUnreached(record)
    if (hangUp && name !== null && carrier !== null) void this.#hangUp(waiting.clientRequestId, name, carrier, told)
  }

  /** The call has no socket here, so another node may have the person on the line now. */
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

/** Order for a call, with fields that only the gateway sets. */
export interface OutboundOrder extends z.output<typeof outboundOrderSchema> {
  /**
   * Label of the call at the carrier, which rings each label once. By default it is derived from the order's key;
   * without a key it is random.
   */
  readonly clientRequestId?: string
  /** False: do not leave a message on an answering machine. Default: the setting in the agent's file. */
  readonly leaveMessage?: boolean
  /**
   * State of the earlier call, if this call rings its caller back. With `clientRequestId`, the call back was promised
   * in the earlier call. Without it, the earlier call was cut off (limit RECOVERY_PER_MINUTE).
   */
  readonly recovers?: KeptState
  /** See `PlacedCall`. */
  readonly joins?: string
}

/** The carrier's answer. */
interface OutboundPlaced {
  /** Call SID. Null if the carrier's answer does not contain the SID; the first webhook contains it then. */
  readonly callSid: string | null
  readonly clientRequestId: string
  readonly status: string
}

/** Result of a placed call, read from its record. Absent if a node opened the call without knowing the order. */
export function answerOf({
  outbound,
  endReason,
  timeline,
}: Pick<CallRecord, 'outbound' | 'endReason' | 'timeline'>): OutboundRecord['result'] {
  if (outbound !== null) return outbound.result
  return answeredBy({ streamOpened: streamOpenedMs(timeline) !== null, endReason, lastState: 'unknown' })
}

/** The part of an agent that outbound calls need. */
interface OutboundAgent {
  readonly from: string | null
  readonly ringMs: number
  /** Variables that the agent reads; absent if it reads none. */
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
  /** Carrier's REST API; null without an API key. No calls can be placed then. */
  readonly carrier: OutboundCarrier | null
  /**
   * Finds an agent; undefined if it does not exist, or if our number lacks facts that the agent reads.
   * @param from  our number that calls
   */
  readonly agent: (name: string, from?: string) => OutboundAgent | undefined
  readonly agentNames: () => readonly string[]
  /** URL of the voice webhook of an agent's calls; null while our address is unknown. */
  readonly voiceUrl: (agent: string) => string | null
  /** Remaining capacity: the number of calls that this gateway can still take. */
  readonly free: () => number
  /** True while this node refuses new calls because it drains or is cordoned. */
  readonly draining: () => boolean
  /** True if an agent has the maximum number of calls that its file allows. */
  readonly agentFull: (agent: string) => boolean
  /** Maximum number of calls placed in one minute. */
  readonly perMinute: number
  /** Maximum number of callers rung back in one minute; 0 switches this off. */
  readonly recoveryPerMinute: number
  /** Number prefixes that may be rung (OUTBOUND_PREFIXES). */
  readonly prefixes: readonly string[]
  /** True if this number of ours is in NUMBERS_FILE. Records then show it. Absent if there is no such file. */
  readonly isOurs?: (number: string) => boolean
  /** True if this number of ours has used up its daily budget. Absent if numbers have no budgets. */
  readonly budgetSpent?: (number: string) => boolean
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly log: Log
  /** Receives the record of each placed call that was not answered. @returns see `CallKeeping.over` */
  readonly onUnreached: (record: CallRecord) => Promise<OverAnswer>
  /** Starts work later. If it is absent, real time is used; tests replace it. */
  readonly schedule?: (ms: number, work: () => void) => () => void
}

/** A placed call that is not answered yet. */
interface Waiting extends PlacedCall {
  readonly orderedAtWallMs: number
  callSid: CallSid | null
  /** Second id that the carrier gives the call. */
  callId: string | null
  cancel: () => void
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** Variables of an order that have a usable value. All other variables count as absent. */
function saidVariables({ variables = {}, to }: OutboundOrder): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(variables).filter(([field, value]) => valueFault(value, { field, own: to }) === null),
  )
}

function refusal(message: string): GatewayError {
  return new GatewayError('CALL_REFUSED', message)
}
