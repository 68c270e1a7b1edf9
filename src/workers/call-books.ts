import { CALL_RECORD_VERSION } from '../call/record.js'
import type {
  BargeInRecord, CallRecord, EarTimes, EscalationHistory, OutboundRecord, ToolCallRecord, TranscriptEntry, TurnRecord,
} from '../call/record.js'
import type { SessionOpened } from '../backends/watch.js'
import { BACKEND_SESSIONS_KEPT, CALL_RECORDS_MAX, TOOL_CALLS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import { maskNumber, maskNumbersIn } from '../sautikit/phone.js'
import { MODULE_PREFIX } from '../backends/registry.js'
import type { CallNumbers, CallSeries } from '../telemetry/call-series.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallResult, FromCall } from './call-messages.js'
import type { CallTimeline } from './call-timeline.js'
import type { LiveCallState, LiveCallView, NewCall } from './live-call.js'
import { reached } from './outbound-calls.js'

/** What the record and the view need that the books do not keep. */
export interface CallState {
  readonly state: LiveCallState
  /** Since the stream opened; 0 before. */
  readonly streamMs: number
  readonly rehomes: number
}

export interface CallEnding extends CallState {
  /** The worker's part; null when the call failed by a fault of ours. */
  readonly result: CallResult | null
  readonly fault: string | null
  readonly escalation: EscalationHistory | null
  /** File of the recording, below DATA_DIR. */
  readonly recording: string | null
  readonly packetsDropped: number
  readonly underruns: number
  /** Null for a call that we did not place. */
  readonly outbound: OutboundRecord | null
  readonly timeline: CallTimeline
}

/** The news of a call that are only counted or kept. */
export type CallNews = Extract<FromCall, { type: 'backend-session' | 'backend-error' | 'transcript' | 'tool' | 'turn' | 'ear' | 'barge-in' | 'failover' }>

/**
 * What the main thread writes down of a call: metrics as they come, and at the end the record. Phone numbers are
 * masked here, so that nothing that is shown has them.
 */
export class CallBooks {
  readonly #call: NewCall
  /** The one that answers now. */
  #backend: string
  readonly #metrics: Metrics
  readonly #series: CallSeries
  readonly #numbers: CallNumbers
  readonly #startedAt: string
  readonly #transcript: TranscriptEntry[] = []
  readonly #toolCalls: ToolCallRecord[] = []
  readonly #sessions: SessionOpened[] = []
  readonly #turns: TurnRecord[] = []
  readonly #bargeIns: BargeInRecord[] = []
  /** By the time at which the turn's caller stopped. */
  readonly #ears = new Map<number, EarTimes>()

  readonly #masksNumbers: boolean

  /**
   * @param startedAtWallMs  calendar time of the webhook
   * @param masksNumbers  false: the record has phone numbers as they are; views and logs never do
   */
  constructor(call: NewCall, backend: string, metrics: Metrics, series: CallSeries, startedAtWallMs: number, masksNumbers = true) {
    this.#masksNumbers = masksNumbers
    this.#call = call
    this.#backend = backend
    this.#metrics = metrics
    this.#series = series
    this.#numbers = series.open(call.callSid, call.agent, backend)
    this.#startedAt = new Date(startedAtWallMs).toISOString()
  }

  take(news: CallNews): void {
    const { callSid, agent } = this.#call
    const metrics = this.#metrics
    const labels = { agent, backend: this.#backend }
    switch (news.type) {
      case 'backend-session': {
        const { backend, role, connectMs } = news.opened
        keep(this.#sessions, { ...news.opened, connectMs: wholeNumbers(connectMs) }, BACKEND_SESSIONS_KEPT)
        if (connectMs === null) return
        metrics.backendConnect({ backend, role }).observe(connectMs / 1000, callSid)
        // A module is called by its address until it has said its name.
        if (this.#backend.startsWith(MODULE_PREFIX) && role === 'first') this.#answering(backend)
        return
      }
      case 'backend-error':
        metrics.backendErrors({ backend: news.fault.backend, code: news.fault.code }).inc(1, callSid)
        return
      case 'transcript':
        keep(this.#transcript, wholeNumbers(news.entry), TRANSCRIPT_ENTRIES_MAX)
        return
      case 'tool':
        keep(this.#toolCalls, news.call, TOOL_CALLS_MAX)
        metrics.toolSeconds({ tool: news.call.name, outcome: news.call.ok ? 'ok' : 'error' }).observe(news.call.ms / 1000, callSid)
        if (news.call.error !== undefined) metrics.toolErrors({ tool: news.call.name, code: news.call.error }).inc(1, callSid)
        return
      case 'turn':
        this.#turn(news.turn, labels)
        this.#numbers.frameLatencyP99Ms = news.frameLatencyP99Ms
        return
      case 'ear':
        if (this.#ears.size < CALL_RECORDS_MAX) this.#ears.set(Math.round(news.callerStoppedMs), news.ear)
        if (news.ear.firstSoundMs !== null) metrics.turnResponseEar(labels).observe(news.ear.firstSoundMs / 1000, callSid)
        if (news.ear.answerMs !== null) metrics.turnAnswerEar(labels).observe(news.ear.answerMs / 1000, callSid)
        return
      case 'failover':
        this.#answering(news.to)
        // A rotation is no failure: the same backend, with a fresh session.
        if (news.from === news.to) {
          metrics.backendRotations({ backend: news.to }).inc(1, callSid)
          return
        }
        metrics.backendFailovers({ from: news.from, to: news.to }).inc(1, callSid)
        metrics.backendFailoverGap({ to: news.to }).observe(news.gapMs / 1000, callSid)
        return
      case 'barge-in':
        this.#bargeIn(news.bargeIn)
        return
    }
  }

  #answering(backend: string): void {
    this.#backend = backend
    this.#numbers.backend = backend
  }

  #turn(turn: TurnRecord, labels: { readonly agent: string; readonly backend: string }): void {
    const { callSid } = this.#call
    keep(this.#turns, wholeNumbers(turn), CALL_RECORDS_MAX)
    if (turn.answerMs !== null) this.#metrics.turnAnswer(labels).observe(turn.answerMs / 1000, callSid)
    if (turn.firstSoundMs === null) return
    this.#numbers.turnResponseLastMs = turn.firstSoundMs
    this.#metrics.turnResponse(labels).observe(turn.firstSoundMs / 1000, callSid)
  }

  #bargeIn(bargeIn: BargeInRecord): void {
    keep(this.#bargeIns, wholeNumbers(bargeIn), CALL_RECORDS_MAX)
    this.#metrics.bargeIns({ committed: bargeIn.committed ? 'yes' : 'no' }).inc(1, this.#call.callSid)
    if (!bargeIn.committed || bargeIn.stopMs === null) return
    this.#numbers.bargeInStopLastMs = bargeIn.stopMs
    this.#metrics.bargeInStop.observe(bargeIn.stopMs / 1000, this.#call.callSid)
  }

  /** Turns as they are known now, with what came to the caller's ear. */
  turns(from: readonly TurnRecord[] = this.#turns): TurnRecord[] {
    return from.map((turn) => {
      const whole = wholeNumbers(turn)
      const ear = this.#ears.get(whole.callerStoppedMs)
      return ear === undefined ? whole : { ...whole, ear: wholeNumbers(ear) }
    })
  }

  get bargeIns(): readonly BargeInRecord[] {
    return this.#bargeIns
  }

  /** Without their arguments, which may hold the caller's number. */
  get toolTimes(): readonly Pick<ToolCallRecord, 'name' | 'startMs' | 'ms' | 'ok'>[] {
    return this.#toolCalls.map(({ name, startMs, ms, ok }) => ({ name, startMs: Math.round(startMs), ms: Math.round(ms), ok }))
  }

  get startedAt(): string {
    return this.#startedAt
  }

  view(now: CallState): LiveCallView {
    return {
      callSid: this.#call.callSid,
      agent: this.#call.agent,
      backend: this.#backend,
      state: now.state,
      direction: this.#call.direction,
      from: maskNumber(this.#call.from),
      to: maskNumber(this.#call.to),
      startedAt: this.#startedAt,
      durationMs: Math.round(now.streamMs),
      transcript: this.#transcript,
      toolCalls: this.#toolCalls.map((call) => kept(call, true)),
      rehomes: now.rehomes,
    }
  }

  #shown(number: string): string {
    return this.#masksNumbers ? maskNumber(number) : number
  }

  #escalation(history: EscalationHistory | null): EscalationHistory | null {
    if (history?.callback == null) return history
    const { callback } = history
    return { ...history, callback: { ...callback, number: this.#shown(callback.number) } }
  }

  /** The record as it is if the process dies now, before the call has come to its end. */
  open(end: CallEnding, nowWallMs: number): CallRecord {
    return {
      ...this.#record(end), outcome: 'failed', endReason: 'process-died',
      endDetail: `the gateway process died; what is here was written down at ${new Date(nowWallMs).toISOString()}`,
    }
  }

  #record(end: CallEnding): CallRecord {
    const { result, escalation } = end
    const { callSid, agent, direction, from, to } = this.#call
    const settled = escalation === null || escalation.outcome === 'answered'
    const untaken = end.outbound !== null && !reached(end.outbound.result) ? end.outbound.result : null
    return {
      version: CALL_RECORD_VERSION,
      callSid, agent, direction,
      backend: result?.backend ?? this.#backend,
      from: this.#shown(from),
      to: this.#shown(to),
      outcome: untaken !== null ? 'unreached' : settled ? result?.outcome ?? 'failed' : 'failed',
      endReason: untaken !== null ? 'not-taken' : result?.endReason ?? 'call-fault',
      endDetail: result?.endDetail ?? end.fault ?? '',
      startedAt: this.#startedAt,
      durationMs: Math.round(result?.durationMs ?? end.streamMs),
      greetingMs: wholeNumbers(result?.greetingMs ?? null),
      transcript: wholeNumbers(result?.transcript ?? this.#transcript),
      toolCalls: (result?.toolCalls ?? this.#toolCalls).map((call) => kept(call, this.#masksNumbers)),
      turns: this.turns(result?.turns),
      bargeIns: wholeNumbers(result?.bargeIns ?? this.#bargeIns),
      escalation: this.#escalation(escalation),
      timeline: wholeNumbers(end.timeline.marks),
      timelineDropped: end.timeline.dropped,
      stops: wholeNumbers(end.timeline.stops),
      usage: wholeNumbers(result?.usage ?? { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 }),
      audio: {
        framesIn: result?.framesIn ?? 0,
        framesConcealed: result?.framesConcealed ?? 0,
        framesDropped: (result?.framesDropped ?? 0) + end.packetsDropped,
        underruns: end.underruns,
        dtmf: result?.dtmf ?? 0,
      },
      backends: {
        sessions: this.#sessions,
        failover: plain(result?.report.failover ?? null),
        irregular: result?.report.irregular ?? {},
      },
      budget: plain(result?.report.budget ?? null),
      shadow: plain(result?.report.shadow ?? null),
      rehomes: end.rehomes,
      recording: end.recording,
      carrier: null,
      outbound: end.outbound,
    }
  }

  /** Closes the books. Once. */
  close(end: CallEnding): CallRecord {
    const record = this.#record(end)
    const { result } = end
    const { callSid, agent } = this.#call
    this.#series.end(this.#numbers)
    this.#metrics.callEnded(record)
    if (record.greetingMs !== null) this.#metrics.greeting({ agent, backend: this.#sessions[0]?.backend ?? this.#backend }).observe(record.greetingMs / 1000, callSid)
    this.#metrics.toolCallsRefused.inc(result?.toolCallsRefused ?? 0, callSid)
    for (const [backend, counters] of Object.entries(record.backends.irregular)) {
      for (const [kind, count] of Object.entries(counters)) this.#metrics.backendIrregular({ backend, kind }).inc(count, callSid)
    }
    this.#metrics.framesDropped({ where: 'caller' }).inc(record.audio.framesDropped, callSid)
    this.#metrics.framesDropped({ where: 'agent' }).inc(result?.agentFramesDropped ?? 0, callSid)
    return record
  }
}

function keep<T>(list: T[], entry: T, max: number): void {
  list.push(entry)
  if (list.length > max) list.shift()
}

/** Times in a record are whole milliseconds: what is behind the point is noise, and people read these. */
function wholeNumbers<T>(value: T): T {
  if (typeof value === 'number') return Math.round(value) as T
  if (Array.isArray(value)) return value.map(wholeNumbers) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, wholeNumbers(entry)])) as T
}

/** A report as the record keeps it: JSON, in whole numbers but for the cost. */
function plain(report: object | null): Readonly<Record<string, unknown>> | null {
  if (report === null) return null
  const rounded = wholeNumbers(report) as Record<string, unknown>
  return 'cost' in report ? { ...rounded, cost: report.cost } : rounded
}

/** Arguments may hold the caller's number. */
function kept(call: ToolCallRecord, masksNumbers: boolean): ToolCallRecord {
  const args = Object.entries(call.args)
    .map(([name, value]) => [name, masksNumbers && typeof value === 'string' ? maskNumbersIn(value) : value])
  return {
    ...call, startMs: Math.round(call.startMs), ms: Math.round(call.ms), args: Object.fromEntries(args) as ToolCallRecord['args'],
  }
}
