import { CALL_RECORD_VERSION } from '../call/record.js'
import type { CallRecord, EscalationRecord, ToolCallRecord, TranscriptEntry } from '../call/record.js'
import { TOOL_CALLS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import { maskNumber, maskNumbersIn } from '../sautikit/phone.js'
import type { CallNumbers, CallSeries } from '../telemetry/call-series.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { CallResult, FromCall } from './call-messages.js'
import type { LiveCallState, LiveCallView, NewCall } from './live-call.js'

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
  readonly escalation: EscalationRecord | null
  readonly packetsDropped: number
  readonly underruns: number
}

/** The news of a call that are only counted or kept. */
export type CallNews = Extract<FromCall, { type: 'backend-ready' | 'backend-error' | 'transcript' | 'tool' | 'turn' | 'barge-in' | 'failover' }>

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

  /** @param startedAtWallMs  calendar time of the webhook */
  constructor(call: NewCall, backend: string, metrics: Metrics, series: CallSeries, startedAtWallMs: number) {
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
      case 'backend-ready':
        metrics.backendConnect({ backend: this.#backend }).observe(news.connectMs / 1000, callSid)
        return
      case 'backend-error':
        metrics.backendErrors({ backend: this.#backend, code: news.code }).inc(1, callSid)
        return
      case 'transcript':
        keep(this.#transcript, wholeNumbers(news.entry), TRANSCRIPT_ENTRIES_MAX)
        return
      case 'tool':
        keep(this.#toolCalls, masked(news.call), TOOL_CALLS_MAX)
        metrics.toolSeconds({ tool: news.call.name, outcome: news.call.ok ? 'ok' : 'error' }).observe(news.call.ms / 1000, callSid)
        return
      case 'turn':
        this.#numbers.frameLatencyP99Ms = news.frameLatencyP99Ms
        if (news.answerMs !== null) metrics.turnAnswer(labels).observe(news.answerMs / 1000, callSid)
        if (news.firstSoundMs === null) return
        this.#numbers.turnResponseLastMs = news.firstSoundMs
        metrics.turnResponse(labels).observe(news.firstSoundMs / 1000, callSid)
        return
      case 'failover':
        this.#backend = news.to
        this.#numbers.backend = news.to
        // A rotation is no failure: the same backend, with a fresh session.
        if (news.from !== news.to) metrics.backendFailovers({ from: news.from, to: news.to }).inc(1, callSid)
        return
      case 'barge-in':
        if (!news.committed || news.stopMs === null) return
        this.#numbers.bargeInStopLastMs = news.stopMs
        metrics.bargeInStop.observe(news.stopMs / 1000, callSid)
        return
    }
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
      toolCalls: this.#toolCalls,
      rehomes: now.rehomes,
    }
  }

  /** Closes the books. Once. */
  close(end: CallEnding): CallRecord {
    const { result, escalation } = end
    const { callSid, agent, direction, from, to } = this.#call
    const reached = escalation === null || escalation.outcome === 'answered'
    const record: CallRecord = {
      version: CALL_RECORD_VERSION,
      callSid, agent, direction,
      backend: result?.backend ?? this.#backend,
      from: maskNumber(from),
      to: maskNumber(to),
      outcome: reached ? result?.outcome ?? 'failed' : 'failed',
      endReason: result?.endReason ?? 'call-fault',
      endDetail: result?.endDetail ?? end.fault ?? '',
      startedAt: this.#startedAt,
      durationMs: Math.round(result?.durationMs ?? end.streamMs),
      greetingMs: wholeNumbers(result?.greetingMs ?? null),
      transcript: wholeNumbers(result?.transcript ?? this.#transcript),
      toolCalls: result?.toolCalls.map(masked) ?? this.#toolCalls,
      turns: wholeNumbers(result?.turns ?? []),
      bargeIns: wholeNumbers(result?.bargeIns ?? []),
      escalation,
      timeline: wholeNumbers(result?.timeline ?? []),
      usage: wholeNumbers(result?.usage ?? { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 }),
      audio: {
        framesIn: result?.framesIn ?? 0,
        framesConcealed: result?.framesConcealed ?? 0,
        framesDropped: (result?.framesDropped ?? 0) + end.packetsDropped,
        underruns: end.underruns,
        dtmf: result?.dtmf ?? 0,
      },
      budget: plain(result?.report.budget ?? null),
      shadow: plain(result?.report.shadow ?? null),
      rehomes: end.rehomes,
      recording: null,
    }
    this.#series.end(this.#numbers)
    this.#metrics.calls({ agent, outcome: record.outcome }).inc(1, callSid)
    this.#metrics.playoutUnderruns.inc(record.audio.underruns, callSid)
    this.#metrics.framesDropped({ where: 'caller' }).inc(record.audio.framesDropped, callSid)
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

/** Arguments may hold the caller's number; records do not show it. */
function masked(call: ToolCallRecord): ToolCallRecord {
  const args = Object.entries(call.args).map(([name, value]) => [name, typeof value === 'string' ? maskNumbersIn(value) : value])
  return {
    ...call, startMs: Math.round(call.startMs), ms: Math.round(call.ms), args: Object.fromEntries(args) as ToolCallRecord['args'],
  }
}
