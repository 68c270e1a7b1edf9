import { END_CALL_TOOL } from '../call/tools/gateway-tools.js'
import type { SampleRateHz } from '../core/units.js'
import type { Backend, BackendEvent, BackendSink, BackendUsage } from './backend.js'
import type { CostMeter, ModelUsage } from './cost-meter.js'
import type { CallRecord } from '../call/documents/record.js'
import { Alarm } from './timers.js'
import type { BackendTimers } from './timers.js'

/** A call whose budget is spent has this long for its goodbye. */
const BUDGET_GOODBYE_MS = 15_000

/** Limits of one call; a limit that is not given does not apply. */
export interface BudgetLimits {
  readonly maxMs?: number
  /** Input and output together. */
  readonly maxTokens?: number
  readonly maxOutputTokens?: number
  /** In the currency of the prices. */
  readonly maxCost?: number
}

export interface BudgetOptions {
  readonly limits: BudgetLimits
  /** Counts what the call uses. */
  readonly meter: CostMeter
  /** How long the model has for its goodbye. */
  readonly goodbyeMs?: number
}

type BudgetReport = NonNullable<CallRecord['budget']>

const GOODBYE =
  'The time for this call is used up. Tell the caller so in one short sentence, say goodbye, and then call end_call.'
/** Prefix of the ids of the guard's own `end_call`; a number follows, because each id is answered once. */
const CALL_ID = 'budget-end-'
/** How many more goodbyes there are when the caller speaks during one. */
const GOODBYE_RETRIES_MAX = 2

/**
 * Between the backend of a call and the call: counts what the call uses, and ends a call that has reached a limit of its
 * budget, with a goodbye. All events pass through here.
 *
 *     open    --a limit is reached--> spent                the model is asked to say goodbye, when nobody speaks
 *     spent   --the model calls `end_call`--> ending       the model ends the call
 *     spent   --its goodbye is over | goodbyeMs--> ending  the guard calls `end_call` for the model
 *     ending  --by the model, and goodbyeMs later the call goes on--> ending  the same: the model's may not have been taken
 *     ending  --the caller speaks during the goodbye, GOODBYE_RETRIES_MAX times--> spent
 *     ending  --once more--> over                          a fatal `quota` error: the call ends or escalates
 *
 * `end_call` is the call session's own tool: it plays the last words to their end, and says a goodbye if there were
 * none.
 */
export class Budget implements BackendSink {
  readonly #sink: BackendSink
  readonly #backend: Pick<Backend, 'sendText' | 'close'>
  readonly #timers: BackendTimers
  readonly #options: BudgetOptions
  #state: 'open' | 'spent' | 'ending' | 'over' = 'open'
  #spent: keyof BudgetLimits | null = null
  #endedBy: BudgetReport['endedBy'] = null
  /** Id of the model's own `end_call` that has no result yet. */
  #agentEnd: string | null = null
  #goodbyeAsked = false
  #speaking = false
  #generation = 0
  readonly #answering = new Set<number>()
  #goodbyeRetries = 0
  /** Time that the call used its backends before, on another worker or node, and when it began here. */
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

  /** Goes on with what another worker or node counted. */
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

  /** A tool call has its result. @returns true when the budget asked for it, and not a backend */
  asked(callId: string): boolean {
    const ours = callId.startsWith(CALL_ID)
    if (ours || callId === this.#agentEnd) {
      // `end_call` gets a result only when the caller speaks during the goodbye.
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
    // The call's reaction to the event may depend on it.
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
    // The known cost is a lower bound, and already too much.
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
    // The model is already saying its own goodbye.
    if (this.#agentEnd !== null) this.#ends('agent')
    else this.#askWhenQuiet()
  }

  /** Asks for the goodbye, but not during an answer and not while the caller speaks. */
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
    // A new generation, so that an interruption of the last answer does not cancel it.
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

/** Usage of the call, for the worker or node that goes on with it. JSON. */
export interface UsedBudget {
  readonly models: readonly ModelUsage[]
  readonly usedMs: number
  /** Its known price. Absent from an earlier build. */
  readonly cost?: { readonly currency: string; readonly known: number }
  /** Used by a call that was cut off and has a record of its own: it counts for the limits, and in no other cost. */
  readonly recorded?: Readonly<Record<'inputTokens' | 'outputTokens' | 'known', number>>
}
