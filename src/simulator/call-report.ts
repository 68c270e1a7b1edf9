import type {
  BargeInRecord,
  CallOutcome,
  ToolCallRecord,
  TranscriptEntry,
  TurnRecord,
} from '../call/documents/record.js'
import type { SimulatedCallResult } from '../carrier/call-options.js'
import type { CallerLatency } from '../carrier/caller-leg.js'
import type { GatewayCall, NotReady } from './gateway-view.js'
import { hasPattern, ordersIn, spokenWords, type TextPattern } from './spoken-words.js'
import type { OrderFacts } from '../carrier/caller-end.js'

/** Goal of a call. */
export interface Expectation {
  /** The caller's goal. `talk`: the agent only has to be heard. */
  readonly kind: 'order' | 'human' | 'talk'
  readonly order: string | null
  /** Status by order number, from the shop; empty when the shop was not asked. */
  readonly statuses: ReadonlyMap<string, string>
  /** The agent says each of these. */
  readonly texts: readonly TextPattern[]
  /** Each of these tools runs and succeeds. */
  readonly tools: readonly string[]
  /** The outcome is one of these; empty: anything but `failed`. */
  readonly outcomes: readonly CallOutcome[]
}

/** One expectation, and what happened instead. */
interface Expected {
  readonly expected: string
  readonly met: boolean
  readonly came: string
}

interface Goal {
  readonly reached: boolean
  readonly why: string
}

/** The gateway's report of one call. */
export interface GatewaySays {
  readonly call: GatewayCall | null
  /** Why the gateway takes no calls; null if it takes calls or its ops port does not answer. */
  readonly notReady: NotReady | null
}

/** One call in the JSON of `mkondo call` and of the demo. */
export interface CallReport {
  readonly callSid: string
  readonly agent: string | null
  readonly backend: string | null
  readonly outcome: CallOutcome | null
  /** Milliseconds since the stream opened. */
  readonly transcript: readonly Pick<TranscriptEntry, 'role' | 'text' | 'startMs' | 'endMs'>[]
  readonly toolCalls: readonly Pick<ToolCallRecord, 'name' | 'args' | 'ms' | 'ok'>[]
  readonly turns: readonly Pick<TurnRecord, 'firstSoundMs' | 'answerMs'>[]
  readonly bargeIns: readonly {
    readonly stopMs: number | null
    readonly committed: BargeInRecord['committed'] | null
  }[]
  readonly recording: string | null
  /** Words that the caller understood, from the sound alone; order, status and eta where the caller asked about an order. */
  readonly heard: { readonly text: readonly string[] } & Partial<OrderFacts>
  /** Caller-perceived latency: measured at the caller, carrier and line included. */
  readonly callerHeard: CallerLatency
  readonly goal: Goal
  /** Expectations of `--expect`, `--expect-tool` and `--expect-outcome`. */
  readonly expectations: readonly Expected[]
  readonly ended: SimulatedCallResult['ended']
  /** Every webhook with its answer, and the verbs that were run. */
  readonly webhooks: SimulatedCallResult['webhooks']
  readonly verbs: readonly string[]
  readonly dials: SimulatedCallResult['dials']
  /** Faults that a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  /** `caller`: the ops port did not answer, so this is only what the caller said and heard. */
  readonly source: 'gateway' | 'caller'
}

/** Says whether the call did what was asked: the agent took it, it did not fail, and the caller got what they called for. */
export function goalOf(result: SimulatedCallResult, gateway: GatewaySays, expected: Expectation): Goal {
  const untaken = whyUntaken(result, gateway)
  if (untaken !== null) return { reached: false, why: untaken }
  const unmet = expectationsOf(result, gateway.call, expected).find(({ met }) => !met)
  if (unmet !== undefined) return { reached: false, why: `expected ${unmet.expected}; ${unmet.came}` }
  const record = gateway.call?.record ?? null
  if (record?.outcome === 'failed' && expected.outcomes.length === 0)
    return { reached: false, why: `the outcome is failed: ${endOf(record)}` }
  return callersGoal(result, expected)
}

/** Why no agent took the call; null when one did. A gateway refuses with a document without a Stream. */
function whyUntaken(result: SimulatedCallResult, { call, notReady }: GatewaySays): string | null {
  if (result.stream !== null) return null
  const first = result.webhooks.find(({ url }) => url === 'voice')
  if (first !== undefined && first.status !== 200) {
    const hint = first.status === 401 ? ': it wants another signature (--secret)' : ''
    return `the call was not answered: the gateway answered the webhook with ${first.status ?? first.fault ?? 'nothing'}${hint}`
  }
  if (first === undefined || first.verbs.length === 0) return `the call was not answered: ${result.ended.why}`
  if (first.verbs.includes('Stream')) return 'the media socket was never opened'
  const record = call?.record ?? null
  const refused = record?.outcome === 'refused' ? `: it was refused (${endOf(record)})` : ''
  const why = notReady === null ? refused : `: the gateway is ${notReady}`
  return `no agent took the call; the gateway answered with its fallback document (${first.verbs.join(', ')})${why}`
}

function callersGoal(result: SimulatedCallResult, expected: Expectation): Goal {
  const { heard } = result
  if (expected.kind === 'talk') {
    return result.heardPieces.length > 0
      ? { reached: true, why: 'the agent was heard' }
      : { reached: false, why: 'the agent was never heard' }
  }
  if (expected.kind === 'human') {
    const last = result.dials.at(-1)
    return last === undefined
      ? { reached: false, why: 'nobody was dialled' }
      : { reached: last.outcome === 'answered', why: `a human was dialled: ${last.outcome}` }
  }
  if (heard.status === null) return { reached: false, why: 'the caller never heard a status' }
  const isKnown = expected.statuses.size > 0
  // A caller who does not know what the shop answers takes some of its words for digits.
  const named = isKnown ? [heard.order] : [heard.order, ...heard.text.flatMap((text) => ordersIn(spokenWords(text)))]
  if (expected.order !== null && !named.includes(expected.order)) {
    return {
      reached: false,
      why:
        heard.order === null
          ? `the caller never heard order ${expected.order} named`
          : `the caller asked about ${expected.order} and heard ${heard.order}`,
    }
  }
  const order = expected.order ?? heard.order
  const rightStatuses =
    order !== null && expected.statuses.has(order) ? [expected.statuses.get(order)] : [...expected.statuses.values()]
  if (isKnown && !rightStatuses.includes(heard.status)) {
    return {
      reached: false,
      why: `the caller heard "${heard.status}", and the shop says "${rightStatuses.join('" or "')}"`,
    }
  }
  const unknown = isKnown ? '' : '; which status is right is not known (--shop-url)'
  return {
    reached: true,
    why: `the caller heard "${heard.status}"${order === null ? '' : ` for order ${order}`}${unknown}`,
  }
}

/** Checks every `--expect…` option. Words count if the caller heard them or the gateway's transcript has them. */
export function expectationsOf(
  result: SimulatedCallResult,
  call: GatewayCall | null,
  { texts, tools, outcomes }: Expectation,
): Expected[] {
  const heard = result.heard.text
  const said = (call?.transcript ?? []).filter(({ role }) => role === 'agent').map(({ text }) => text)
  const spoken = [...heard, heard.join(' '), ...said, said.join(' ')]
  const found: Expected[] = texts.map((pattern) => {
    const met = spoken.some((text) => hasPattern(text, pattern))
    const instead = said.length > 0 ? said : heard
    const came = met
      ? 'it was said'
      : `the agent said ${instead.length === 0 ? 'nothing that was understood' : instead.map((text) => JSON.stringify(text)).join(', ')}`
    return { expected: pattern.expression === null ? JSON.stringify(pattern.source) : pattern.source, met, came }
  })
  for (const name of tools) {
    const calls = call?.toolCalls ?? []
    const met = calls.some((one) => one.name === name && one.ok)
    const ran = calls.map((one) => (one.ok ? one.name : `${one.name} (failed)`))
    found.push({
      expected: `the tool ${name}`,
      met,
      came: call === null ? NO_RECORD : ran.length === 0 ? 'no tool ran' : `tools that ran: ${ran.join(', ')}`,
    })
  }
  if (outcomes.length > 0) {
    const record = call?.record ?? null
    found.push({
      expected: `the outcome ${outcomes.join(' or ')}`,
      met: record !== null && outcomes.includes(record.outcome),
      came: record === null ? NO_RECORD : `the outcome is ${record.outcome} (${endOf(record)})`,
    })
  }
  return found
}

const NO_RECORD = 'the gateway has no record of this call (--ops-url, OPS_TOKEN)'

function endOf({ endReason, endDetail }: { readonly endReason: string; readonly endDetail: string }): string {
  return endDetail === '' ? endReason : `${endReason}: ${endDetail}`
}

/** Combines the gateway's record of a call with what the caller heard. */
export function reportOf(
  result: SimulatedCallResult,
  says: GatewaySays,
  expected: Expectation,
  recording: string | null,
): CallReport {
  const { call: gateway } = says
  const record = gateway?.record ?? null
  return {
    callSid: result.callSid,
    agent: gateway?.agent ?? null,
    backend: gateway?.backend ?? null,
    outcome: record?.outcome ?? null,
    transcript:
      gateway === null || result.stream === null
        ? spokenTranscript(result)
        : gateway.transcript.map(({ role, text, startMs, endMs }) => ({ role, text, startMs, endMs })),
    toolCalls: (gateway?.toolCalls ?? []).map(({ name, args, ms, ok }) => ({ name, args, ms, ok })),
    turns:
      record === null
        ? result.callerHeard.turns.map(({ firstSoundMs }) => ({ firstSoundMs, answerMs: null }))
        : record.turns.map(({ firstSoundMs, answerMs }) => ({ firstSoundMs, answerMs })),
    bargeIns:
      record === null
        ? result.callerHeard.bargeIns.map(({ stopMs }) => ({ stopMs, committed: null }))
        : record.bargeIns.map(({ stopMs, committed }) => ({ stopMs, committed })),
    recording,
    heard: expected.kind === 'order' ? result.heard : { text: result.heard.text },
    callerHeard: result.callerHeard,
    goal: goalOf(result, says, expected),
    expectations: expectationsOf(result, gateway, expected),
    ended: result.ended,
    webhooks: result.webhooks,
    verbs: result.verbs,
    dials: result.dials,
    complaints: result.complaints,
    source: gateway === null ? 'caller' : 'gateway',
  }
}

/** Transcript of the line, with the words that the caller made out. */
export function spokenTranscript(result: SimulatedCallResult): CallReport['transcript'] {
  const openedMs = result.stream?.openedMs ?? 0
  const said = result.said.map((one) => ({ ...one, role: 'caller' as const }))
  const heard = result.heardPieces
    .filter((piece) => piece.text !== '')
    .map((one) => ({ ...one, role: 'agent' as const }))
  return [...said, ...heard]
    .sort((a, b) => a.startMs - b.startMs)
    .map(({ role, text, startMs, endMs }) => ({ role, text, startMs: startMs - openedMs, endMs: endMs - openedMs }))
}
