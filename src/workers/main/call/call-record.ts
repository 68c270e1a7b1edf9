import type { z } from 'zod'
import type { CallTimelineView, LiveCallRow, LiveCallView } from '../../../call/documents/call-view.js'
import { streamOpenedMs, timelineOf } from '../../../call/documents/call-view.js'
import { CALL_RECORD_VERSION, callRecordSchema } from '../../../call/documents/record.js'
import { CallLog } from '../../../call/call-log.js'
import type { ToolCallEnd } from '../../../call/call-log.js'
import type { CallLogEntry, LoggedToolCall } from '../../../call/documents/log-entry.js'
import type { CarrierState } from '../../../sautikit/carrier-state.js'
import type { CallCheckpoint } from '../../../call/documents/checkpoint.js'
import type { Handoff } from '../../../call/documents/handoff.js'
import { servedOf } from '../../../call/documents/served.js'
import { isSilentTurn } from '../../../call/turns/heard-turns.js'
import { noUsage } from '../../../call/usage.js'
import type {
  BargeInRecord,
  CallRecord,
  EscalationHistory,
  OutboundRecord,
  ResumedRecord,
  SpokenTurn,
  StopRecord,
  ToolCallRecord,
  TurnRecord,
  WaitRecord,
} from '../../../call/documents/record.js'
import { assertNever } from '../../../core/assert.js'
import type { ErrorCode } from '../../../core/errors.js'
import { maskNumber, maskNumbersIn } from '../../../sautikit/phone.js'
import { WORDED_BY_A_MODEL } from '../../../telemetry/archive/redaction.js'
import { MODULE_PREFIX } from '../../../backends/registry.js'
import { BOUND_COUNTERS } from '../../../backends/request-bound.js'
import { parseCallSid } from '../../../core/ids.js'
import type { CallSid } from '../../../core/ids.js'
import type { CallNumbers, CallSeries } from '../../../telemetry/call-series.js'
import type { LogFields } from '../../../telemetry/log.js'
import type { Metrics } from '../../../telemetry/metrics.js'
import type { CallResult, KeptCall, KeptState, KeptWait } from '../../../call/documents/kept-call.js'
import { partsOf } from '../kept-call.js'
import type { FromCall } from '../../shared/call-messages.js'
import { CallTimeline } from '../../shared/call-timeline.js'
import type { MainThreadContext } from '../main-thread-context.js'
import type { CallStarted, NewCall, PlacedCall, RefusedCall } from '../live-call.js'

/** Maximum number of backend sessions that a call's record names. */
const BACKEND_SESSIONS_KEPT = 32
/** Maximum number of the agent's turns that a record names; the newest stay. */
const SPOKEN_TURNS_KEPT = 1000

/**
 * Main-thread data of a call: log, timeline and backend sessions. This class counts the call in the metrics. Only this
 * class makes the live view, the timeline and the record; it masks phone numbers in them.
 */
export class CallRecordBuilder {
  readonly #call: NewCall & Pick<CallRecord, 'agentVersion'>
  /** Name of the backend that answers now. */
  #backend: string
  readonly #metrics: Metrics
  readonly #series: CallSeries
  readonly #numbers: CallNumbers
  readonly #startedAt: string
  readonly log: CallLog
  readonly timeline: CallTimeline
  readonly #sessions: CallRecord['backends']['sessions'][number][]
  readonly #speech: SpokenTurn[] = []
  readonly #resumed: readonly ResumedRecord[]
  readonly #recoveredFrom: string | null
  readonly #rootSid: string
  readonly #masksNumbers: boolean

  /**
   * @param preparedAt  time of the webhook, on the common clock and in calendar time
   * @param masksNumbers  false: the record contains whole phone numbers; views and logs never do
   * @param before  state of the call from a lost node or stream; this record continues from it
   */
  constructor(
    call: NewCall & Pick<CallRecord, 'agentVersion'>,
    backend: string,
    metrics: Metrics,
    series: CallSeries,
    preparedAt: { readonly ms: number; readonly wallMs: number },
    masksNumbers = true,
    before: KeptState | null = null,
  ) {
    this.log = new CallLog(before?.log)
    this.timeline = new CallTimeline(preparedAt.ms)
    this.timeline.take(before?.marks ?? [])
    this.timeline.dropped += before?.kept.timelineDropped ?? 0
    this.#sessions = [...(before?.kept.sessions ?? [])]
    this.#resumed = before === null ? [] : partsOf(before)
    this.#recoveredFrom = before?.kept.recoveredFrom ?? null
    this.#rootSid = before?.kept.rootSid ?? call.rootSid ?? call.callSid
    this.#masksNumbers = masksNumbers
    this.#call = call
    this.#backend = backend
    this.#metrics = metrics
    this.#series = series
    this.#numbers = series.open(call.callSid, call.agent, backend)
    this.#startedAt = new Date(preparedAt.wallMs).toISOString()
  }

  /** Counts or stores a message of the worker's half, if the message belongs in the record. */
  take(message: FromCall): void {
    const { callSid } = this.#call
    const metrics = this.#metrics
    switch (message.type) {
      case 'backend-session': {
        const { backend, role, connectMs } = message.opened
        this.#sessions.push({ ...message.opened, connectMs: wholeNumbers(connectMs) })
        if (this.#sessions.length > BACKEND_SESSIONS_KEPT) this.#sessions.shift()
        // `rate()` misses the first count of a series, unless the series exists before with the value 0.
        for (const kind of Object.values(BOUND_COUNTERS)) metrics.backendIrregular({ backend, kind }).inc(0, callSid)
        if (connectMs === null) return
        metrics.backendConnect({ backend, role }).observe(connectMs / 1000, callSid)
        // Until the session is open, only the address of a backend module is known, not its name.
        if (this.#backend.startsWith(MODULE_PREFIX) && role === 'first') this.#answering(backend)
        return
      }
      case 'backend-error':
        metrics.backendErrors({ backend: message.fault.backend, code: message.fault.code }).inc(1, callSid)
        return
      case 'mcp': {
        const { server, event, failures } = message.news
        metrics.mcpServerEvents({ agent: this.#call.agent, server, event }).inc(1, callSid)
        if (failures > 0) metrics.mcpConnectFailures({ agent: this.#call.agent, server }).inc(failures, callSid)
        return
      }
      case 'turn-heard':
        this.#spoken(message.turn)
        return
      case 'tool-coerced':
        metrics.toolArgumentsCoerced({ backend: this.#backend, tool: message.tool }).inc(1, callSid)
        return
      case 'values-left-out':
        for (const field of message.fields)
          metrics.valuesLeftOut({ agent: this.#call.agent, source: message.tool, field }).inc(1, callSid)
        return
      case 'log':
        for (const entry of message.entries) {
          this.log.append(entry)
          this.#observe(entry)
        }
        if (message.frameLatencyP99Ms !== null) this.#numbers.frameLatencyP99Ms = message.frameLatencyP99Ms
        return
      case 'failover':
        this.#answering(message.to)
        // A rotation is not a failover: the same backend opened a new session.
        if (message.from === message.to) {
          metrics.backendRotations({ backend: message.to }).inc(1, callSid)
          return
        }
        metrics.backendFailovers({ from: message.from, to: message.to }).inc(1, callSid)
        metrics.backendFailoverGap({ to: message.to }).observe(message.gapMs / 1000, callSid)
        return
      default:
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
        this.#bargeIn(entry.record, labels)
        return
      case 'claim': {
        const { tool, verdict } = entry.record
        this.#metrics.claims({ ...labels, tool: tool ?? 'none', verdict }).inc(1, callSid)
        return
      }
      case 'stage':
      case 'fact':
      case 'handover':
        return
      default:
        assertNever(entry)
    }
  }

  /**
   * Only the agent's own tools that ran are counted. In a refused tool call the name may be invented by a model, so it
   * must not become a label.
   */
  #toolCall({ end, record: { name, ok, ms, error } }: LoggedToolCall): void {
    if (end === 'built-in' || end === 'refused') return
    const { callSid } = this.#call
    const backend = this.#backend
    this.#metrics.toolSeconds({ backend, tool: name, outcome: ok ? 'ok' : 'error' }).observe(ms / 1000, callSid)
    const code = END_CODES[end] ?? error
    if (code !== undefined) this.#metrics.toolErrors({ backend, tool: name, code }).inc(1, callSid)
  }

  #answering(backend: string): void {
    this.#backend = backend
    this.#numbers.backend = backend
  }

  #turn(turn: TurnRecord, labels: AgentLabels): void {
    const { callSid } = this.#call
    if (turn.answerMs !== null) this.#metrics.turnAnswer(labels).observe(turn.answerMs / 1000, callSid)
    if (turn.firstSoundMs === null) return
    this.#numbers.turnResponseLastMs = turn.firstSoundMs
    this.#metrics.turnResponse(labels).observe(turn.firstSoundMs / 1000, callSid)
  }

  #spoken(turn: SpokenTurn): void {
    const { callSid, agent } = this.#call
    const labels = { agent, backend: turn.by }
    this.#speech.push(turn)
    if (this.#speech.length > SPOKEN_TURNS_KEPT) this.#speech.shift()
    this.#metrics.speechClaimed(labels).inc(turn.claimedMs / 1000)
    this.#metrics.speechHeard(labels).inc(turn.heardMs / 1000)
    const silent = isSilentTurn(turn)
    // `rate()` misses the first count of a series, unless the series exists before with the value 0.
    const [no, yes] = [
      this.#metrics.agentTurns({ ...labels, heard: 'no' }),
      this.#metrics.agentTurns({ ...labels, heard: 'yes' }),
    ]
    ;(silent ? no : yes).inc(1, callSid)
  }

  #bargeIn(bargeIn: BargeInRecord, labels: AgentLabels): void {
    const { callSid } = this.#call
    this.#metrics.bargeIns({ ...labels, committed: bargeIn.committed ? 'yes' : 'no' }).inc(1, callSid)
    if (bargeIn.duckMs !== undefined)
      this.#metrics.bargeInDucks({ ...labels, ended: bargeIn.committed ? 'stop' : 'back' }).inc(1, callSid)
    if (!bargeIn.committed || bargeIn.stopMs === null) return
    this.#numbers.bargeInStopLastMs = bargeIn.stopMs
    this.#metrics.bargeInStop(labels).observe(bargeIn.stopMs / 1000, callSid)
  }

  get started(): CallStarted {
    const { callSid, agent, direction, from, to } = this.#call
    return {
      callSid,
      rootSid: this.#rootSid,
      agent,
      direction,
      from: this.#shown(from),
      to: this.#shown(to),
      ...numberOf(this.#call),
      startedAt: this.#startedAt,
    }
  }

  row(now: CallNow): LiveCallRow {
    const { turnResponseLastMs } = this.#numbers
    return {
      callSid: this.#call.callSid,
      agent: this.#call.agent,
      backend: this.#backend,
      state: now.state,
      direction: this.#call.direction,
      from: maskNumber(this.#call.from),
      to: maskNumber(this.#call.to),
      ...numberOf(this.#call),
      startedAt: this.#startedAt,
      durationMs: Math.round(now.durationMs),
      lastResponseMs: Number.isFinite(turnResponseLastMs) ? Math.round(turnResponseLastMs) : null,
    }
  }

  view(now: CallNow): LiveCallView {
    return {
      ...this.row(now),
      transcript: wholeNumbers(this.log.conversation),
      toolCalls: this.log.toolCalls.map(({ record }) => kept(record, true)),
      rehomes: now.rehomes,
    }
  }

  timelineView(live: boolean, traceId: string | null): CallTimelineView {
    const { callSid, agent, agentVersion } = this.#call
    const { turns, bargeIns, stages, toolCalls } = this.log
    const sofar = {
      ...{ callSid, agent, agentVersion, backend: this.#backend, startedAt: this.#startedAt },
      ...{ timeline: this.timeline.marks, timelineDropped: this.timeline.dropped },
      ...wholeNumbers({ turns, bargeIns, stages }),
      toolCalls: toolCalls.map(({ record }) => kept(record, true)),
    }
    return timelineOf(sofar, traceId, live)
  }

  /** Fields of the record in the kept state: another node continues them. */
  get kept(): Pick<KeptCall, 'sessions' | 'resumed' | 'recoveredFrom' | 'timelineDropped'> {
    return {
      sessions: [...this.#sessions],
      resumed: this.#resumed,
      recoveredFrom: this.#recoveredFrom,
      timelineDropped: this.timeline.dropped,
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

  /** Record that is used if the process dies before the end of the call. */
  open(end: CallEnding, nowWallMs: number): CallRecord {
    return {
      ...this.#record(end),
      outcome: 'failed',
      endReason: 'process-died',
      endDetail: `the gateway process died; what is here was written down at ${new Date(nowWallMs).toISOString()}`,
    }
  }

  #record(end: CallEnding): CallRecord {
    const record = this.#unserved(end)
    return { ...record, served: servedOf(record) }
  }

  #unserved(end: CallEnding): Omit<CallRecord, 'served'> {
    const { result, escalation } = end
    const { callSid, agent, agentVersion, direction, from, to } = this.#call
    const settled = escalation === null || escalation.outcome === 'answered'
    const notAnswered = end.outbound !== null && !pickedUp(end.outbound.result) ? end.outbound.result : null
    return {
      version: CALL_RECORD_VERSION,
      callSid,
      agent,
      agentVersion,
      direction,
      backend: result?.backend ?? this.#backend,
      from: this.#shown(from),
      to: this.#shown(to),
      ...numberOf(this.#call),
      outcome: notAnswered !== null ? 'unreached' : settled ? (result?.outcome ?? 'failed') : 'failed',
      endReason: notAnswered !== null ? 'not-taken' : (result?.endReason ?? 'call-fault'),
      endDetail: result?.endDetail ?? end.fault ?? '',
      startedAt: this.#startedAt,
      durationMs: Math.round(result?.durationMs ?? end.durationMs),
      language: end.language,
      greetingMs: wholeNumbers(result?.greetingMs ?? null),
      transcript: wholeNumbers(this.log.conversation),
      toolCalls: this.log.toolCalls.map(({ record }) => kept(record, this.#masksNumbers)),
      turns: wholeNumbers(this.log.turns),
      bargeIns: wholeNumbers(this.log.bargeIns),
      speech: wholeNumbers(this.#speech),
      claims: wholeNumbers(this.log.claims),
      waits: end.waits,
      stages: wholeNumbers(this.log.stages),
      facts: this.log.facts.map((fact) => ({ ...fact, atMs: Math.round(fact.atMs) })),
      handovers: wholeNumbers(this.log.handovers),
      caller: end.caller,
      escalation: this.#escalation(escalation),
      timeline: wholeNumbers(this.timeline.marks),
      timelineDropped: this.timeline.dropped,
      stops: wholeNumbers(this.timeline.stops),
      usage: wholeNumbers(result?.usage ?? noUsage()),
      audio: {
        framesIn: result?.framesIn ?? 0,
        framesConcealed: result?.framesConcealed ?? 0,
        framesDropped: (result?.framesDropped ?? 0) + end.packetsDropped,
        underruns: end.underruns,
        dtmf: result?.dtmf ?? 0,
      },
      backends: {
        sessions: this.#sessions,
        failover: wholeNumbers(result?.report.failover ?? null),
        irregular: result?.report.irregular ?? {},
      },
      cost: result?.report.cost ?? null,
      wholeCost: null,
      budget: result?.report.budget ?? null,
      budgetStep: this.#call.budgetStep ?? null,
      analysis: null,
      rehomes: end.rehomes,
      resumed: this.#resumed,
      recoveredFrom: this.#recoveredFrom,
      rootSid: this.#rootSid,
      consent: end.consent,
      recording: end.recording,
      recordingState: end.recordingState,
      carrier: null,
      outbound: end.outbound,
    }
  }

  /** Record of the call if it ended now. It is not counted in the metrics. */
  part(end: CallEnding): CallRecord {
    return this.#record(end)
  }

  /** Drops the record, because the call continues with another record, in this process or at another node. */
  drop(): void {
    this.#series.end(this.#numbers)
  }

  /** Makes the record of the ended call and counts it in the metrics. Call it once. */
  close(end: CallEnding): CallRecord {
    const record = this.#record(end)
    const { result } = end
    const { callSid, agent } = this.#call
    this.#series.end(this.#numbers)
    this.#metrics.callEnded(record)
    if (record.caller !== null) this.#metrics.callerLookups({ agent, state: record.caller.state }).inc(1, callSid)
    const stage = record.stages.at(-1)?.stage
    const last = record.handovers.at(-1)?.to ?? agent
    if (stage !== undefined) this.#metrics.stageEnds({ agent: last, stage, outcome: record.outcome }).inc(1, callSid)
    if (record.greetingMs !== null)
      this.#metrics
        .greeting({ agent, backend: this.#sessions[0]?.backend ?? this.#backend })
        .observe(record.greetingMs / 1000, callSid)
    this.#metrics.toolCallsRefused({ backend: record.backend }).inc(result?.toolCallsRefused ?? 0, callSid)
    // Absent in the result from a node with an earlier build.
    const ducks = result?.ducksUndecided ?? 0
    if (ducks > 0) this.#metrics.bargeInDucks({ agent, backend: record.backend, ended: 'none' }).inc(ducks, callSid)
    for (const [backend, counters] of Object.entries(record.backends.irregular)) {
      for (const [kind, count] of Object.entries(counters))
        this.#metrics.backendIrregular({ backend, kind }).inc(count, callSid)
    }
    this.#costs(record)
    this.#metrics.framesDropped({ where: 'caller' }).inc(record.audio.framesDropped, callSid)
    this.#metrics.framesDropped({ where: 'agent' }).inc(result?.agentFramesDropped ?? 0, callSid)
    return record
  }

  #costs({ callSid, agent, cost }: CallRecord): void {
    for (const { backend, model: name, amount, usage } of cost?.models ?? []) {
      const model = name ?? ''
      const { inputTokens, inputCachedTokens: read = 0, inputCacheWriteTokens: written = 0 } = usage
      for (const [cache, tokens] of Object.entries({ read, written, none: inputTokens - read - written }))
        // Zeros count too: if a cache was not used, its share is 0, not unknown.
        if (inputTokens > 0) this.#metrics.inputTokens({ agent, backend, cache }).inc(tokens, callSid)
      if (amount === null) this.#metrics.costUnknown({ agent, backend, model }).inc(1, callSid)
      else this.#metrics.cost({ agent, backend, model, currency: cost?.currency ?? '' }).inc(amount, callSid)
    }
  }
}

/** Labels for metrics of a call's agent and its current backend. */
interface AgentLabels {
  readonly agent: string
  readonly backend: string
}

/** The call's present state; `durationMs` is not rounded. */
type CallNow = Pick<LiveCallView, 'state' | 'durationMs' | 'rehomes'>

/**
 * Fields of the record that `CallRecordBuilder` does not know. `durationMs` is used only if the worker's part is
 * missing.
 */
export interface CallEnding
  extends
    Pick<
      CallRecord,
      | 'durationMs'
      | 'rehomes'
      | 'language'
      | 'escalation'
      | 'consent'
      | 'recording'
      | 'recordingState'
      | 'outbound'
      | 'waits'
      | 'caller'
    >,
    Pick<CallRecord['audio'], 'underruns'> {
  /** Part of the record from the worker; null if the call failed because of a fault in the gateway. */
  readonly result: CallResult | null
  readonly fault: string | null
  readonly packetsDropped: number
}

/** Names of the fields that a look-up found. The values are left out: they are personal, and belong to the company. */
export function callerRecord(checkpoint: CallCheckpoint | null | undefined): CallRecord['caller'] {
  if (checkpoint?.caller === undefined) return null
  const { source, from, state, ms, values, earlier } = checkpoint.caller
  return { source, from, state, ms: Math.round(ms), fields: Object.keys({ ...values, ...earlier }) }
}

/**
 * Record of a lost node's call that no node continues. The lost node would make an equal record at its next start. The
 * call's recording is on the lost node.
 */
export function recordOfLost(
  state: KeptState,
  { metrics, callSeries, maskNumbers }: Pick<MainThreadContext, 'metrics' | 'callSeries' | 'maskNumbers'>,
): CallRecord {
  const { kept } = state
  const { callSid, agent, direction, from, to, placed, sessions, preparedWallMs, elapsedMs, streamOpenedMs } = kept
  const call = { callSid: parseCallSid(callSid), agent, agentVersion: kept.agentHash, direction, from, to }
  const prepared = { ms: 0, wallMs: preparedWallMs }
  const backend = sessions.at(-1)?.backend ?? 'none'
  const builder = new CallRecordBuilder(call, backend, metrics, callSeries, prepared, maskNumbers, state)
  builder.drop()
  const end: CallEnding = {
    durationMs: kept.streamMs,
    rehomes: kept.rehomes,
    result: kept.result,
    language: kept.result?.language ?? kept.session?.language ?? null,
    fault: null,
    escalation: kept.escalation?.history ?? null,
    waits: waitRecords(kept.waits),
    recording: null,
    recordingState: kept.recording.file === null || kept.recording.refused ? 'off' : 'missing',
    caller: callerRecord(kept.session),
    consent: kept.recording.refused ? 'refused' : kept.recording.announced ? 'told' : null,
    packetsDropped: 0,
    underruns: 0,
    outbound:
      placed === null
        ? null
        : outboundRecord(placed, {
            streamOpened: streamOpenedMs !== null,
            endReason: kept.result?.endReason ?? null,
            lastState: 'unknown',
            ringMs: placed.orderedMs + (streamOpenedMs ?? elapsedMs),
          }),
  }
  const endDetail = `its node ${kept.node} was lost; what is here was kept at ${new Date(preparedWallMs + elapsedMs).toISOString()}`
  return { ...builder.part(end), outcome: 'failed', endReason: 'process-died', endDetail, resumed: kept.resumed }
}

/** Records of tool calls whose outcomes come later. Tool calls that the API has not answered yet are left out. */
export function waitRecords(waits: readonly KeptWait[]): WaitRecord[] {
  return waits
    .filter(({ phase }) => phase !== 'asked')
    .map(({ tool, startedWallMs, settledWallMs, waitUntilWallMs, status, told }) => ({
      tool,
      startedAt: new Date(startedWallMs).toISOString(),
      status: status ?? 'pending',
      ms: settledWallMs === null ? null : settledWallMs - startedWallMs,
      late: settledWallMs !== null && settledWallMs > waitUntilWallMs,
      told,
    }))
}

/** Error codes of tool calls that ended without an answer. If there is an answer, the answer contains the code. */
const END_CODES: Readonly<Partial<Record<ToolCallEnd, ErrorCode>>> = {
  cancelled: 'TOOL_CANCELLED',
  overdue: 'TOOL_TIMEOUT',
  lost: 'WORKER_DIED',
}

/** Times in a record are whole milliseconds: people read them, and fractions do not help. */
function wholeNumbers<T>(value: T): T {
  if (typeof value === 'number') return Math.round(value) as T
  if (Array.isArray(value)) return value.map(wholeNumbers) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, wholeNumbers(entry)])) as T
}

/** The arguments may contain the caller's number. */
function kept(call: ToolCallRecord, masksNumbers: boolean): ToolCallRecord {
  const args = Object.entries(call.args).map(([name, value]) => [
    name,
    masksNumbers && typeof value === 'string' ? maskNumbersIn(value) : value,
  ])
  return {
    ...call,
    startMs: Math.round(call.startMs),
    ms: Math.round(call.ms),
    args: Object.fromEntries(args) as ToolCallRecord['args'],
  }
}

// --- calls that we placed -----------------------------------------------------------------------------------

interface AnswerFacts {
  /** The carrier opened the stream. */
  readonly streamOpened: boolean
  readonly endReason: CallRecord['endReason'] | null
  /** Last state of the call that the carrier reported before the stream. */
  readonly lastState: CarrierState
  /** Time in ms from the order to the stream, or to the call's end if no stream came. */
  readonly ringMs: number
}

/** The answer to a call that we placed, for the call's record. */
export function outboundRecord(
  placed: Pick<PlacedCall, 'clientRequestId' | 'externalId'>,
  facts: AnswerFacts,
): OutboundRecord {
  const { clientRequestId, externalId } = placed
  return { result: answeredBy(facts), ringMs: Math.round(facts.ringMs), clientRequestId, externalId }
}

/** True if the call was picked up by a person or a machine, or if the line was picked up and stayed silent. */
function pickedUp(result: OutboundRecord['result']): boolean {
  return result === 'person' || result === 'machine' || result === 'silence'
}

/** Finds out if a person or a machine answered a placed call. */
export function answeredBy({
  streamOpened,
  endReason,
  lastState,
}: Omit<AnswerFacts, 'ringMs'>): OutboundRecord['result'] {
  if (streamOpened) {
    if (endReason === 'answering-machine') return 'machine'
    return endReason === 'nobody-there' ? 'silence' : 'person'
  }
  switch (lastState) {
    case 'busy':
      return 'busy'
    case 'refused':
      return 'refused'
    case 'failed':
    case 'stream-error':
      return 'failed'
    default:
      return 'no-answer'
  }
}

/** The record of a placed call whose stream never opened. */
export function unreachedRecord(
  placed: PlacedCall & Pick<NewCall, 'number'>,
  callSid: CallSid,
  outbound: OutboundRecord,
  startedAtWallMs: number,
  detail: string,
): CallRecord {
  return {
    ...recordWithoutStream({ ...placed, callSid, direction: 'outbound' }, startedAtWallMs, true),
    outcome: 'unreached',
    served: 'not-connected',
    endReason: 'not-taken',
    endDetail: detail,
    timeline: [{ name: 'ended', atMs: outbound.ringMs, detail: outbound.result }],
    recoveredFrom: placed.recovers?.kept.callSid ?? null,
    rootSid: placed.recovers?.kept.rootSid ?? callSid,
    outbound,
  }
}

// --- calls that were refused ----------------------------------------------------------------------------------

/** The record of a refused call. */
export function refusedRecord(refused: RefusedCall, startedAtWallMs: number, masksNumbers: boolean): CallRecord {
  const { agent, reason, why } = refused
  return {
    ...recordWithoutStream(
      { ...refused, agent: agent ?? NO_AGENT, direction: 'inbound' },
      startedAtWallMs,
      masksNumbers,
    ),
    outcome: 'refused',
    served: 'not-connected',
    endReason: reason,
    endDetail: why,
    timeline: [{ name: 'ended', atMs: 0, detail: reason }],
  }
}

/**
 * The packet for a person who calls a refused caller back, with the caller's whole number. Null if the number is
 * withheld.
 */
export function refusedHandoff(refused: RefusedCall, startedAtWallMs: number): Handoff | null {
  const { callSid, agent, from, to, reason, why } = refused
  if (from === '') return null
  return {
    version: 1,
    callSid,
    agent: agent ?? NO_AGENT,
    reason: `refused: ${reason}`,
    summary: why,
    identity: null,
    tried: [],
    transcript: [],
    at: new Date(startedAtWallMs).toISOString(),
    from,
    to,
    escalation: null,
  }
}

/** Agent's name in the record of a call whose path does not name an agent. */
const NO_AGENT = 'none'

function numberOf({ number }: Pick<NewCall, 'number'>): Pick<CallRecord, 'number'> {
  return number === undefined ? {} : { number }
}

/** Fields that the record lacks get the schema's default values. */
const streamlessSchema = callRecordSchema.omit({ outcome: true, endReason: true, endDetail: true, timeline: true })

export function recordWithoutStream(
  call: Pick<NewCall, 'callSid' | 'agent' | 'direction' | 'from' | 'to' | 'number'>,
  startedAtWallMs: number,
  masksNumbers: boolean,
): Omit<CallRecord, 'outcome' | 'endReason' | 'endDetail' | 'timeline'> {
  const { callSid, agent, direction, from, to } = call
  return streamlessSchema.parse({
    version: CALL_RECORD_VERSION,
    callSid,
    agent,
    direction,
    backend: 'none',
    from: masksNumbers ? maskNumber(from) : from,
    to: masksNumbers ? maskNumber(to) : to,
    ...numberOf(call),
    startedAt: new Date(startedAtWallMs).toISOString(),
    durationMs: 0,
    greetingMs: null,
    transcript: [],
    toolCalls: [],
    turns: [],
    bargeIns: [],
    escalation: null,
    timelineDropped: 0,
    stops: [],
    usage: noUsage(),
    audio: { framesIn: 0, framesConcealed: 0, framesDropped: 0, underruns: 0, dtmf: 0 },
    backends: { sessions: [], failover: null, irregular: {} },
    cost: null,
    budget: null,
    rehomes: 0,
    rootSid: callSid,
    recording: null,
    recordingState: 'off',
    carrier: null,
    outbound: null,
  } satisfies z.input<typeof streamlessSchema>)
}

// --- the log line of an ended call ---------------------------------------------------------------------------

/** The log line of an ended call, with outcome, latencies and faults. It is the call's only line at `info`. */
export function callSummary(record: CallRecord): LogFields {
  const { turns, bargeIns, audio, backends, escalation } = record
  return {
    direction: record.direction,
    started_at: record.startedAt,
    outcome: record.outcome,
    served: record.served,
    reason: record.endReason,
    ...(WORDED_BY_A_MODEL.has(record.endReason) ? {} : { detail: record.endDetail }),
    setup_ms: wholeNumbers(streamOpenedMs(record.timeline)),
    socket_closed: record.timeline.findLast(({ name }) => name === 'socket-closed')?.detail ?? null,
    backend: record.backend,
    backend_sessions: backends.sessions.length,
    backend_faults: backends.sessions.filter(({ fault }) => fault !== null).length,
    backend_changes: record.timeline.filter(({ name }) => name === 'backend-failover').length,
    duration_ms: Math.round(record.durationMs),
    greeting_ms: record.greetingMs,
    turns: turns.length,
    turns_unanswered: turns.filter((turn) => turn.answerMs === null).length,
    ...spread(
      'first_sound',
      turns.map((turn) => turn.firstSoundMs),
    ),
    ...spread(
      'answer',
      turns.map((turn) => turn.answerMs),
    ),
    tools: record.toolCalls.length,
    tools_failed: record.toolCalls.filter((call) => !call.ok).length,
    stage: record.stages.at(-1)?.stage ?? null,
    handovers: record.handovers.length,
    claims_unsupported: record.claims.filter(({ verdict }) => verdict !== 'done').length,
    barge_ins: bargeIns.filter((made) => made.committed).length,
    ...spread(
      'barge_in_stop',
      bargeIns.map((made) => (made.committed ? made.stopMs : null)),
    ),
    escalation: escalation?.outcome ?? null,
    ...(escalation === null
      ? {}
      : {
          escalation_strategy: escalation.strategy,
          escalation_attempts: escalation.attempts.length,
          callback: escalation.callback?.asked ?? null,
        }),
    ...(record.outbound === null ? {} : { placed: record.outbound.result, ring_ms: record.outbound.ringMs }),
    cost: record.cost?.amount ?? null,
    recorded: record.recording !== null,
    stops: stopsByKind(record.stops),
    rehomes: record.rehomes,
    resumed: record.resumed.length,
    underruns: audio.underruns,
    frames_dropped: audio.framesDropped,
    frames_concealed: audio.framesConcealed,
    marks_dropped: record.timelineDropped,
  }
}

/** Median and maximum of the measured values; empty if nothing was measured. */
function spread(name: string, valuesMs: readonly (number | null)[]): LogFields {
  const sorted = valuesMs.filter((value) => value !== null).sort((a, b) => a - b)
  const worst = sorted.at(-1)
  if (worst === undefined) return {}
  return { [`${name}_p50_ms`]: sorted[Math.floor((sorted.length - 1) / 2)], [`${name}_max_ms`]: worst }
}

function stopsByKind(stops: readonly StopRecord[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { kind } of stops) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}
