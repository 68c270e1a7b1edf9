import { CALL_RECORD_VERSION } from '../call/record.js'
import { CallLog } from '../call/call-log.js'
import type { CallLogEntry, LoggedToolCall, ToolCallEnd } from '../call/call-log.js'
import type { BargeInRecord, CallRecord, EscalationHistory, OutboundRecord, ToolCallRecord, TurnRecord } from '../call/record.js'
import { assertNever } from '../core/assert.js'
import type { ErrorCode } from '../core/errors.js'
import type { SessionOpened } from '../backends/watch.js'
import { BACKEND_SESSIONS_KEPT } from '../core/limits.js'
import { maskNumber, maskNumbersIn } from '../sautikit/phone.js'
import { MODULE_PREFIX } from '../backends/registry.js'
import type { CallNumbers, CallSeries } from '../telemetry/call-series.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallResult, FromCall } from './call-messages.js'
import type { CallTimeline } from './call-timeline.js'
import type { LiveCallState, LiveCallView, NewCall } from './live-call.js'
import { reached } from './outbound-record.js'

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
export type CallNews = Extract<FromCall, { type: 'backend-session' | 'backend-error' | 'log' | 'failover' }>

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
  readonly log = new CallLog()
  readonly #sessions: SessionOpened[] = []
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
    const { callSid } = this.#call
    const metrics = this.#metrics
    switch (news.type) {
      case 'backend-session': {
        const { backend, role, connectMs } = news.opened
        this.#sessions.push({ ...news.opened, connectMs: wholeNumbers(connectMs) })
        if (this.#sessions.length > BACKEND_SESSIONS_KEPT) this.#sessions.shift()
        if (connectMs === null) return
        metrics.backendConnect({ backend, role }).observe(connectMs / 1000, callSid)
        // A module is called by its address until it has said its name.
        if (this.#backend.startsWith(MODULE_PREFIX) && role === 'first') this.#answering(backend)
        return
      }
      case 'backend-error':
        metrics.backendErrors({ backend: news.fault.backend, code: news.fault.code }).inc(1, callSid)
        return
      case 'log':
        for (const entry of news.entries) {
          this.log.append(entry)
          this.#observe(entry)
        }
        if (news.frameLatencyP99Ms !== null) this.#numbers.frameLatencyP99Ms = news.frameLatencyP99Ms
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
    }
  }

  #observe(entry: CallLogEntry): void {
    const { callSid, agent } = this.#call
    const labels = { agent, backend: this.#backend }
    switch (entry.kind) {
      case 'transcript':
        return
      case 'tool-call':
        this.#toolCall(entry)
        return
      case 'turn':
        this.#turn(entry.record, labels)
        return
      case 'turn-played': {
        const { firstSoundMs, answerMs } = entry.ear
        if (firstSoundMs !== null) this.#metrics.turnResponseEar(labels).observe(firstSoundMs / 1000, callSid)
        if (answerMs !== null) this.#metrics.turnAnswerEar(labels).observe(answerMs / 1000, callSid)
        return
      }
      case 'barge-in':
        this.#bargeIn(entry.record)
        return
      default:
        assertNever(entry)
    }
  }

  /** Tools of the agent's own that ran: the name of a refused call is whatever a model made up, and is no label. */
  #toolCall({ end, record: { name, ok, ms, error } }: LoggedToolCall): void {
    if (end === 'built-in' || end === 'refused') return
    const { callSid } = this.#call
    this.#metrics.toolSeconds({ tool: name, outcome: ok ? 'ok' : 'error' }).observe(ms / 1000, callSid)
    const code = END_CODES[end] ?? error
    if (code !== undefined) this.#metrics.toolErrors({ tool: name, code }).inc(1, callSid)
  }

  #answering(backend: string): void {
    this.#backend = backend
    this.#numbers.backend = backend
  }

  #turn(turn: TurnRecord, labels: { readonly agent: string; readonly backend: string }): void {
    const { callSid } = this.#call
    if (turn.answerMs !== null) this.#metrics.turnAnswer(labels).observe(turn.answerMs / 1000, callSid)
    if (turn.firstSoundMs === null) return
    this.#numbers.turnResponseLastMs = turn.firstSoundMs
    this.#metrics.turnResponse(labels).observe(turn.firstSoundMs / 1000, callSid)
  }

  #bargeIn(bargeIn: BargeInRecord): void {
    this.#metrics.bargeIns({ committed: bargeIn.committed ? 'yes' : 'no' }).inc(1, this.#call.callSid)
    if (!bargeIn.committed || bargeIn.stopMs === null) return
    this.#numbers.bargeInStopLastMs = bargeIn.stopMs
    this.#metrics.bargeInStop.observe(bargeIn.stopMs / 1000, this.#call.callSid)
  }

  /** Turns as they are known now, with what came to the caller's ear. */
  get turns(): readonly TurnRecord[] {
    return wholeNumbers(this.log.turns)
  }

  get bargeIns(): readonly BargeInRecord[] {
    return wholeNumbers(this.log.bargeIns)
  }

  /** Without their arguments, which may hold the caller's number. */
  get toolTimes(): readonly Pick<ToolCallRecord, 'name' | 'startMs' | 'ms' | 'ok'>[] {
    return this.log.toolCalls.map(({ record: { name, startMs, ms, ok } }) => ({ name, startMs: Math.round(startMs), ms: Math.round(ms), ok }))
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
      transcript: wholeNumbers(this.log.transcript),
      toolCalls: this.log.toolCalls.map(({ record }) => kept(record, true)),
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
      transcript: wholeNumbers(this.log.transcript),
      toolCalls: this.log.toolCalls.map(({ record }) => kept(record, this.#masksNumbers)),
      turns: this.turns,
      bargeIns: this.bargeIns,
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

/** Codes of tool calls that ended without an answer; the others have their own. */
const END_CODES: Readonly<Partial<Record<ToolCallEnd, ErrorCode>>> = { cancelled: 'TOOL_CANCELLED', overdue: 'TOOL_TIMEOUT', lost: 'WORKER_DIED' }

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
