import type { BargeInRecord, CallOutcome, TurnRecord } from '../call/record.js'
import type { SimulatedCallResult } from './call-options.js'
import type { CallerLatency } from './caller-latency.js'
import type { GatewayCall } from './gateway-view.js'
import type { HeardFacts } from './heard-facts.js'

/** What the caller should have been told; null where anything will do. */
export interface Expectation {
  readonly kind: 'order' | 'human' | 'talk'
  readonly order: string | null
  /** Status by order number, from the shop; empty when the shop was not asked. */
  readonly statuses: ReadonlyMap<string, string>
}

export interface Goal {
  readonly reached: boolean
  readonly why: string
}

/** One call in the JSON of `mkondo call` and of the demo. */
export interface CallReport {
  readonly callSid: string
  readonly agent: string | null
  readonly backend: string | null
  readonly outcome: CallOutcome | null
  /** Milliseconds since the stream opened. */
  readonly transcript: readonly { readonly role: 'caller' | 'agent'; readonly text: string; readonly startMs: number; readonly endMs: number }[]
  readonly toolCalls: readonly { readonly name: string; readonly args: Readonly<Record<string, unknown>>; readonly ms: number; readonly ok: boolean }[]
  readonly turns: readonly Pick<TurnRecord, 'firstSoundMs' | 'answerMs'>[]
  readonly bargeIns: readonly { readonly stopMs: number | null; readonly committed: BargeInRecord['committed'] | null }[]
  readonly recording: string | null
  /** What the caller understood, from the sound alone. */
  readonly heard: HeardFacts & { readonly text: readonly string[] }
  /** Measured at the caller's ear, carrier and line included. */
  readonly callerHeard: CallerLatency
  readonly goal: Goal
  readonly ended: SimulatedCallResult['ended']
  /** Every webhook with its answer, and the verbs that were run. */
  readonly webhooks: SimulatedCallResult['webhooks']
  readonly verbs: readonly string[]
  readonly dials: SimulatedCallResult['dials']
  /** What a real carrier would have stumbled over. */
  readonly complaints: readonly string[]
  /** `caller`: the ops port did not answer, so this is only what the caller said and heard. */
  readonly source: 'gateway' | 'caller'
}

/** Whether the caller got what they called for. */
export function goalOf(result: SimulatedCallResult, expected: Expectation): Goal {
  const { heard } = result
  if (!result.answered) return { reached: false, why: `the call was not answered: ${result.ended.why}` }
  if (expected.kind === 'talk') {
    return result.heardPieces.length > 0 ? { reached: true, why: 'the agent was heard' } : { reached: false, why: 'the agent was never heard' }
  }
  if (expected.kind === 'human') {
    const last = result.dials.at(-1)
    return last === undefined ? { reached: false, why: 'nobody was dialled' } : { reached: last.outcome === 'answered', why: `a human was dialled: ${last.outcome}` }
  }
  if (heard.status === null) return { reached: false, why: 'the caller never heard a status' }
  if (expected.order !== null && heard.order !== expected.order) {
    return { reached: false, why: heard.order === null ? `the caller never heard order ${expected.order} named` : `the caller asked about ${expected.order} and heard ${heard.order}` }
  }
  const order = expected.order ?? heard.order
  const rightStatuses = order !== null && expected.statuses.has(order) ? [expected.statuses.get(order)] : [...expected.statuses.values()]
  if (rightStatuses.length > 0 && !rightStatuses.includes(heard.status)) {
    return { reached: false, why: `the caller heard "${heard.status}", and the shop says "${rightStatuses.join('" or "')}"` }
  }
  return { reached: true, why: `the caller heard "${heard.status}"${order === null ? '' : ` for order ${order}`}` }
}

/** Joins what the gateway knows of a call with what the caller heard. */
export function reportOf(result: SimulatedCallResult, gateway: GatewayCall | null, expected: Expectation, recording: string | null): CallReport {
  const record = gateway?.record ?? null
  return {
    callSid: result.callSid,
    agent: gateway?.agent ?? null,
    backend: gateway?.backend ?? null,
    outcome: record?.outcome ?? null,
    transcript: gateway === null ? spokenTranscript(result)
      : gateway.transcript.map(({ role, text, startMs, endMs }) => ({ role, text, startMs, endMs })),
    toolCalls: (gateway?.toolCalls ?? []).map(({ name, args, ms, ok }) => ({ name, args, ms, ok })),
    turns: record === null ? result.callerHeard.turns.map(({ firstSoundMs }) => ({ firstSoundMs, answerMs: null }))
      : record.turns.map(({ firstSoundMs, answerMs }) => ({ firstSoundMs, answerMs })),
    bargeIns: record === null ? result.callerHeard.bargeIns.map(({ stopMs }) => ({ stopMs, committed: null }))
      : record.bargeIns.map(({ stopMs, committed }) => ({ stopMs, committed })),
    recording,
    heard: result.heard,
    callerHeard: result.callerHeard,
    goal: goalOf(result, expected),
    ended: result.ended,
    webhooks: result.webhooks, verbs: result.verbs, dials: result.dials,
    complaints: result.complaints,
    source: gateway === null ? 'caller' : 'gateway',
  }
}

function spokenTranscript(result: SimulatedCallResult): CallReport['transcript'] {
  const openedMs = result.stream?.openedMs ?? 0
  const said = result.said.map((one) => ({ ...one, role: 'caller' as const }))
  const heard = result.heardPieces.filter((piece) => piece.text !== '').map((one) => ({ ...one, role: 'agent' as const }))
  return [...said, ...heard].sort((a, b) => a.startMs - b.startMs)
    .map(({ role, text, startMs, endMs }) => ({ role, text, startMs: startMs - openedMs, endMs: endMs - openedMs }))
}
