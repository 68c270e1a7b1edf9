import { END_CALL_TOOL } from '../call/gateway-tools.js'
import type { SampleRateHz } from '../core/units.js'
import type {
  Backend,
  BackendCapabilities,
  BackendEvent,
  BackendFactory,
  BackendSession,
  BackendSink,
  BackendUsage,
  ToolReply,
  ToolSpec,
  TextOptions,
} from './backend.js'
import type { CostMeter, ModelUsage } from './cost-meter.js'
import { Alarm } from './timers.js'
import type { BackendTimers } from './timers.js'

/** A call whose budget is spent has this long for its goodbye. */
const BUDGET_GOODBYE_MS = 15_000

/** What one call may use; a limit that is not given does not apply. */
export interface BudgetLimits {
  readonly maxMs?: number
  /** Input and output together. */
  readonly maxTokens?: number
  readonly maxOutputTokens?: number
  /** In the currency of the prices. */
  readonly maxCost?: number
}

export interface BudgetOptions {
  readonly inner: BackendFactory
  readonly limits: BudgetLimits
  readonly timers: BackendTimers
  /** Counts what the call uses. */
  readonly meter: CostMeter
  /** How long the model has for its goodbye. */
  readonly goodbyeMs?: number
}

/** Whether a call reached a limit. Plain data for the call record. */
export interface BudgetReport {
  /** The limit that was reached; null for none. */
  readonly spent: keyof BudgetLimits | null
  /** Who then ended the call: the model, or this guard. */
  readonly endedBy: 'agent' | 'guard' | null
}

const GOODBYE =
  'The time for this call is used up. Tell the caller so in one short sentence, say goodbye, and then call end_call.'
/** Prefix of the ids of the guard's own `end_call`; a number follows, because each id is answered once. */
const CALL_ID = 'budget-end-'
/** How many more goodbyes there are when the caller speaks during one. */
const GOODBYE_RETRIES_MAX = 2

/**
 * Ends a call that has reached a limit of its budget, with a goodbye.
 *
 *     open    --a limit is reached--> spent                the model is asked to say goodbye, when nobody speaks
 *     spent   --the model calls `end_call`--> ending       the model ends the call
 *     spent   --its goodbye is over | goodbyeMs--> ending  the guard calls `end_call` for the model
 *     ending  --the caller speaks during the goodbye, GOODBYE_RETRIES_MAX times--> spent
 *     ending  --once more--> over                          a fatal `quota` error: the call ends or escalates
 *
 * `end_call` is the call session's own tool: it plays the last words to their end, and says a goodbye if there were
 * none.
 */
export class BudgetBackend implements Backend {
  readonly #sink: BackendSink
  readonly #options: BudgetOptions
  readonly #inner: Backend
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
  #readyAtMs: number | null = null
  readonly #limitAlarm: Alarm
  readonly #goodbyeAlarm: Alarm

  constructor(sink: BackendSink, options: BudgetOptions) {
    this.#sink = sink
    this.#options = options
    this.#limitAlarm = new Alarm(options.timers)
    this.#goodbyeAlarm = new Alarm(options.timers)
    this.#inner = options.inner({
      event: (event) => this.#event(event),
      audio: (pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number) => {
        if (this.#state !== 'over') sink.audio(pcm, sampleRateHz, itemId, generation)
      },
    })
  }

  get capabilities(): BackendCapabilities {
    return this.#inner.capabilities
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    const before = snapshotIn(session.resume)
    if (before === null) return this.#inner.connect(session, signal)
    this.#options.meter.restore(before.models)
    this.#usedBeforeMs = before.usedMs
    return this.#inner.connect({ ...session, resume: before.inner }, signal)
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.#inner.pushAudio(pcm, voiced)
  }

  speechStart(atMs: number): void {
    this.#speaking = true
    this.#inner.speechStart(atMs)
  }

  speechEnd(atMs: number, unless?: readonly string[]): void {
    this.#speaking = false
    this.#inner.speechEnd(atMs, unless)
  }

  sendText(text: string, options: TextOptions): void {
    this.#inner.sendText(text, options)
  }

  dtmf(digit: string): void {
    this.#inner.dtmf(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    const ours = callId.startsWith(CALL_ID)
    if (!ours) this.#inner.toolResult(callId, reply)
    if (!ours && callId !== this.#agentEnd) return
    // `end_call` gets a result only when the caller speaks during the goodbye.
    this.#agentEnd = null
    if (this.#state === 'ending') this.#goodbyeInterrupted()
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    this.#inner.interrupt(heard)
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    this.#inner.updateSession(update)
  }

  /** The budget is the whole call's, whichever worker or node goes on with it. */
  snapshot(): BudgetSnapshot {
    return {
      budget: 2,
      models: this.#options.meter.rows(),
      usedMs: this.#usedMs,
      inner: this.#inner.snapshot(),
    }
  }

  close(reason: string): Promise<void> {
    this.#stop()
    return this.#inner.close(reason)
  }

  budgetReport(): BudgetReport {
    return { spent: this.#spent, endedBy: this.#endedBy }
  }

  #event(event: BackendEvent): void {
    if (this.#state === 'over' && event.type !== 'closed') return
    switch (event.type) {
      case 'ready': {
        const { maxMs } = this.#options.limits
        this.#readyAtMs ??= this.#options.timers.nowMs()
        if (maxMs !== undefined) this.#limitAlarm.set(Math.max(0, maxMs - this.#usedMs), () => this.#reached('maxMs'))
        this.#sink.event(event)
        return
      }
      case 'usage':
        this.#sink.event(event)
        this.#used(event.backend ?? this.#inner.capabilities.name, event.usage)
        return
      case 'turn-start':
        this.#generation = Math.max(this.#generation, event.generation)
        this.#answering.add(event.generation)
        this.#sink.event(event)
        return
      case 'turn-done':
        this.#answering.delete(event.generation)
        this.#sink.event(event)
        if (this.#goodbyeAsked && event.status === 'completed') this.#goodbyeSaid()
        else this.#askWhenQuiet()
        return
      case 'speech-started':
      case 'speech-stopped':
        this.#speaking = event.type === 'speech-started'
        this.#sink.event(event)
        return
      case 'tool-call':
        if (event.name === END_CALL_TOOL && event.invalid === undefined) this.#agentEnds(event.callId)
        this.#sink.event(event)
        return
      case 'closed':
        this.#stop()
        this.#sink.event(event)
        return
      default:
        this.#sink.event(event)
    }
  }

  #used(backend: string, usage: BackendUsage): void {
    const { meter, limits } = this.#options
    meter.add(backend, usage)
    if (this.#state !== 'open') return
    const { maxTokens, maxOutputTokens, maxCost } = limits
    const { inputTokens, outputTokens } = meter.total()
    if (maxTokens !== undefined && inputTokens + outputTokens >= maxTokens) this.#reached('maxTokens')
    else if (maxOutputTokens !== undefined && outputTokens >= maxOutputTokens) this.#reached('maxOutputTokens')
    // What is known is a lower bound, and already too much.
    else if (maxCost !== undefined && meter.cost().known >= maxCost) this.#reached('maxCost')
  }

  get #usedMs(): number {
    return this.#usedBeforeMs + (this.#readyAtMs === null ? 0 : this.#options.timers.nowMs() - this.#readyAtMs)
  }

  #reached(limit: keyof BudgetLimits): void {
    if (this.#state !== 'open') return
    this.#state = 'spent'
    this.#spent = limit
    this.#limitAlarm.clear()
    // The model is already saying its own goodbye.
    if (this.#agentEnd !== null) {
      this.#state = 'ending'
      this.#endedBy = 'agent'
      return
    }
    this.#goodbye()
  }

  #goodbye(): void {
    this.#goodbyeAsked = false
    this.#goodbyeAlarm.set(this.#options.goodbyeMs ?? BUDGET_GOODBYE_MS, () => this.#endCall())
    this.#askWhenQuiet()
  }

  /** Asks for the goodbye, but not during an answer and not while the caller speaks. */
  #askWhenQuiet(): void {
    if (this.#state !== 'spent' || this.#goodbyeAsked || this.#speaking || this.#answering.size > 0) return
    this.#goodbyeAsked = true
    this.#inner.sendText(GOODBYE, { role: 'system', respond: true })
  }

  #goodbyeSaid(): void {
    if (this.#state === 'spent') this.#endCall()
  }

  #agentEnds(callId: string): void {
    this.#agentEnd = callId
    if (this.#state !== 'spent') return
    this.#goodbyeAlarm.clear()
    this.#state = 'ending'
    this.#endedBy = 'agent'
  }

  #endCall(): void {
    if (this.#state !== 'spent') return
    this.#goodbyeAlarm.clear()
    this.#state = 'ending'
    this.#endedBy = 'guard'
    // A new generation, so that an interruption of the last answer does not cancel it.
    this.#sink.event({
      type: 'tool-call',
      callId: `${CALL_ID}${this.#goodbyeRetries + 1}`,
      name: END_CALL_TOOL,
      args: { reason: `the budget of this call is used up (${this.#spent ?? ''})` },
      generation: this.#generation + 1,
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
    void this.close('the budget of this call is used up')
  }

  #stop(): void {
    this.#limitAlarm.clear()
    this.#goodbyeAlarm.clear()
  }
}

/** What the budget of a call needs when another worker or node goes on with it. JSON. */
interface BudgetSnapshot {
  readonly budget: 2
  readonly models: readonly ModelUsage[]
  readonly usedMs: number
  readonly inner: unknown
}

/** The budget's snapshot in `resume`; null for anything else. */
function snapshotIn(resume: unknown): BudgetSnapshot | null {
  if (typeof resume !== 'object' || resume === null) return null
  const { budget, models, usage, usedMs, inner } = resume as Readonly<Record<string, unknown>>
  if (typeof usedMs !== 'number') return null
  if (budget === 2 && Array.isArray(models)) return resume as BudgetSnapshot
  // Of a build before: by backend only.
  if (budget !== 1 || typeof usage !== 'object' || usage === null) return null
  const sums = Object.entries(usage as Readonly<Record<string, BackendUsage>>)
  return { budget: 2, models: sums.map(([backend, sum]) => ({ backend, model: null, usage: sum })), usedMs, inner }
}
