import { END_CALL_TOOL } from '../call/tools/gateway-tools.js'
import type { SampleRateHz } from '../core/units.js'
import type { Backend, BackendEvent, BackendSink, BackendUsage } from './backend.js'
import type { CostMeter, ModelUsage } from './cost-meter.js'
import type { CallRecord } from '../call/documents/record.js'
import { Alarm } from './timers.js'
import type { BackendTimers } from './timers.js'

/** Time for the goodbye of a call that has used its budget, in milliseconds. */
const BUDGET_GOODBYE_MS = 15_000

/** Limits of one call. An absent limit does not apply. */
export interface BudgetLimits {
  readonly maxMs?: number
  /** Maximum number of input and output tokens together. */
  readonly maxTokens?: number
  readonly maxOutputTokens?: number
  /** Maximum cost in the currency of the prices. */
  readonly maxCost?: number
}

export interface BudgetOptions {
  readonly limits: BudgetLimits
  /** Meter that counts the call's usage. */
  readonly meter: CostMeter
  /** Time for the model's goodbye, in milliseconds. */
  readonly goodbyeMs?: number
}

type BudgetReport = NonNullable<CallRecord['budget']>

const GOODBYE =
  'The time for this call is used up. Tell the caller so in one short sentence, say goodbye, and then call end_call.'
/**
 * Prefix of the ids of the budget's own calls of `end_call`. A number follows, because each id may be used only once.
 */
const CALL_ID = 'budget-end-'
/** Maximum number of further goodbyes, if the caller speaks during the goodbye. */
const GOODBYE_RETRIES_MAX = 2

/**
 * Counts the usage of a call, and ends the call with a goodbye when a limit of its budget is reached. All events from
 * the backend to the call pass through here.
 *
 *     open   --a limit is reached--> spent: when both sides are silent, the model is asked to say goodbye
 *     spent  --the model calls `end_call`--> ending: the model ends the call
 *     spent --the goodbye is over, or `goodbyeMs` passed--> ending: the budget calls `end_call` for the model
 *     ending --`goodbyeMs` after the model's `end_call`--> ending: the budget calls `end_call`, as the model's tool call may be lost
 *     ending --the caller speaks during the goodbye--> spent, at most GOODBYE_RETRIES_MAX times
 *     ending --the caller speaks during the last goodbye--> over: a fatal `quota` error ends or escalates the call
 *
 * `end_call` is the call session's own tool. It plays the agent's last words to their end. If the agent has not said
 * goodbye, the tool plays a goodbye.
 */
export class Budget implements BackendSink {
  readonly #sink: BackendSink
  readonly #backend: Pick<Backend, 'sendText' | 'close'>
  readonly #timers: BackendTimers
  readonly #options: BudgetOptions
  #state: 'open' | 'spent' | 'ending' | 'over' = 'open'
  #spent: keyof BudgetLimits | null = null
  #endedBy: BudgetReport['endedBy'] = null
  /** Id of the model's own `end_call` until it has a result. */
  #agentEnd: string | null = null
  #goodbyeAsked = false
  #speaking = false
  #generation = 0
  readonly #answering = new Set<number>()
  #goodbyeRetries = 0
  /** Duration of the phone call on earlier workers or nodes, in ms; and its start time on this worker. */
  #usedBeforeMs = 0
  #recorded: UsedBudget['recorded']
  #readyAtMs: number | null = null
  readonly #limitAlarm: Alarm
  readonly #goodbyeAlarm: Alarm

  constructor(
    sink: BackendSink,
    backend: Pick<Backend, 'sendText' | 'close'>,
    timers: BackendTimers,
    options: BudgetOptions,
  ) {
    this.#sink = sink
    this.#backend = backend
    this.#timers = timers
    this.#options = options
    this.#limitAlarm = new Alarm(timers)
    this.#goodbyeAlarm = new Alarm(timers)
  }

  /** Adds usage that another worker or node counted. */
  restore(used: UsedBudget | null): void {
    if (used === null) return
    this.#options.meter.restore(used.models)
    this.#usedBeforeMs = used.usedMs
    this.#recorded = used.recorded
  }

  used(): UsedBudget {
    const { meter } = this.#options
    const { currency, known } = meter.cost()
    const recorded = this.#recorded === undefined ? {} : { recorded: this.#recorded }
    return { models: meter.rows(), usedMs: this.#usedMs, cost: { currency, known }, ...recorded }
  }

  report(): BudgetReport {
    return { spent: this.#spent, endedBy: this.#endedBy }
  }

  callerSpeaks(speaking: boolean): void {
    this.#speaking = speaking
  }

  /**
   * Records that a tool call has its result.
   * @returns true if the budget made the tool call; false if a backend made it
   */
  asked(callId: string): boolean {
    const ours = callId.startsWith(CALL_ID)
    if (ours || callId === this.#agentEnd) {
      // If the phone call continues after `end_call` has a result, the caller spoke during the goodbye.
      this.#agentEnd = null
      if (this.#state === 'ending') this.#goodbyeInterrupted()
    }
    return ours
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    if (this.#state !== 'over') this.#sink.audio(pcm, sampleRateHz, itemId, generation)
  }

  event(event: BackendEvent): void {
    if (this.#state === 'over' && event.type !== 'closed') return
    // The event is counted first, because the call's reaction to the event may depend on the count.
    switch (event.type) {
      case 'turn-start':
        this.#generation = Math.max(this.#generation, event.generation)
        this.#answering.add(event.generation)
        break
      case 'turn-done':
        this.#answering.delete(event.generation)
        break
      case 'speech-started':
      case 'speech-stopped':
        this.#speaking = event.type === 'speech-started'
        break
      case 'tool-call':
        if (event.name === END_CALL_TOOL && event.invalid === undefined) this.#agentEnds(event.callId)
        break
      case 'closed':
        this.stop()
        break
      default:
    }
    this.#sink.event(event)
    if (event.type === 'ready') this.#begin()
    else if (event.type === 'usage') this.#used(event.backend ?? '', event.usage)
    else if (event.type !== 'turn-done') return
    else if (this.#goodbyeAsked && event.status === 'completed') this.#goodbyeSaid()
    else this.#askWhenQuiet()
  }

  #begin(): void {
    const { maxMs } = this.#options.limits
    this.#readyAtMs ??= this.#timers.nowMs()
    if (maxMs !== undefined) this.#limitAlarm.set(Math.max(0, maxMs - this.#usedMs), () => this.#reached('maxMs'))
  }

  stop(): void {
    this.#limitAlarm.clear()
    this.#goodbyeAlarm.clear()
  }

  #used(backend: string, usage: BackendUsage): void {
    const { meter, limits } = this.#options
    meter.add(backend, usage)
    if (this.#state !== 'open') return
    const { maxTokens, maxOutputTokens, maxCost } = limits
    const before = this.#recorded ?? { inputTokens: 0, outputTokens: 0, known: 0 }
    const total = meter.total()
    const outputTokens = before.outputTokens + total.outputTokens
    const tokens = before.inputTokens + total.inputTokens + outputTokens
    if (maxTokens !== undefined && tokens >= maxTokens) this.#reached('maxTokens')
    else if (maxOutputTokens !== undefined && outputTokens >= maxOutputTokens) this.#reached('maxOutputTokens')
    // The known cost has reached the limit, and the real cost is at least as high.
    else if (maxCost !== undefined && before.known + meter.cost().known >= maxCost) this.#reached('maxCost')
  }

  get #usedMs(): number {
    return this.#usedBeforeMs + (this.#readyAtMs === null ? 0 : this.#timers.nowMs() - this.#readyAtMs)
  }

  #reached(limit: keyof BudgetLimits): void {
    if (this.#state !== 'open') return
    this.#state = 'spent'
    this.#spent = limit
    this.#limitAlarm.clear()
    this.#goodbye()
  }

  #goodbye(): void {
    this.#goodbyeAsked = false
    this.#goodbyeAlarm.set(this.#options.goodbyeMs ?? BUDGET_GOODBYE_MS, () => this.#endCall())
    // The model itself is saying goodbye, so it is not asked for a goodbye.
    if (this.#agentEnd !== null) this.#ends('agent')
    else this.#askWhenQuiet()
  }

  /** Requests the goodbye when neither the agent nor the caller speaks. */
  #askWhenQuiet(): void {
    if (this.#state !== 'spent' || this.#goodbyeAsked || this.#speaking || this.#answering.size > 0) return
    this.#goodbyeAsked = true
    this.#backend.sendText(GOODBYE, { role: 'system', respond: true })
  }

  #goodbyeSaid(): void {
    if (this.#state === 'spent') this.#endCall()
  }

  #agentEnds(callId: string): void {
    this.#agentEnd = callId
    if (this.#state === 'spent') this.#ends('agent')
  }

  #ends(by: 'agent' | 'guard'): void {
    this.#state = 'ending'
    this.#endedBy = by
  }

  #endCall(): void {
    this.#goodbyeAlarm.clear()
    if (this.#state === 'spent') this.#ends('guard')
    // The tool call gets a new generation, so that an interruption of the last answer does not cancel the tool call.
    this.#sink.event({
      type: 'tool-call',
      callId: `${CALL_ID}${this.#goodbyeRetries + 1}`,
      name: END_CALL_TOOL,
      args: { reason: `the budget of this call is used up (${this.#spent ?? ''})` },
      generation: this.#generation + 1,
      spent: true,
    })
  }

  #goodbyeInterrupted(): void {
    this.#endedBy = null
    if (++this.#goodbyeRetries <= GOODBYE_RETRIES_MAX) {
      this.#state = 'spent'
      this.#goodbye()
      return
    }
    this.#state = 'over'
    this.#sink.event({
      type: 'error',
      code: 'quota',
      message: `the budget of this call is used up (${this.#spent ?? ''})`,
      fatal: true,
      retryable: false,
    })
    void this.#backend.close('the budget of this call is used up')
  }
}

/** Usage of the call so far, for the worker or node that continues the call. JSON. */
export interface UsedBudget {
  readonly models: readonly ModelUsage[]
  readonly usedMs: number
  /** Known part of the cost. Absent in snapshots of an earlier version. */
  readonly cost?: { readonly currency: string; readonly known: number }
  /**
   * Usage of an earlier, interrupted call that has its own record. This usage counts for the limits, but not for this
   * call's reported cost.
   */
  readonly recorded?: Readonly<Record<'inputTokens' | 'outputTokens' | 'known', number>>
}
