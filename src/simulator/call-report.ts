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
import { factsOfTurns, hasPattern, ordersIn, spokenWords, type TextPattern } from './spoken-words.js'
import type { OrderFacts } from '../carrier/caller-end.js'
import type { AgentVocabulary } from './vocabulary.js'

/** Goal of a call. */
export interface Expectation {
  /**
   * The caller's goal. `talk`: hear the agent. `answered`: hear the agent again after the caller spoke. `scenario`: the
   * call meets the scenario's expectations.
   */
  readonly kind: 'order' | 'human' | 'talk' | 'answered' | 'scenario'
  readonly order: string | null
  /** Status by order number, from the shop; empty if the shop was not asked. */
  readonly statuses: ReadonlyMap<string, string>
  /** Phrases of the agent for each status. */
  readonly phrases: AgentVocabulary['statuses']
  /** Texts that the agent must say. */
  readonly texts: readonly TextPattern[]
  /** Tools that must run and succeed. */
  readonly tools: readonly string[]
  /** Accepted outcomes; empty: all except `failed`. */
  readonly outcomes: readonly CallOutcome[]
}

/** One expectation, and the observed result if it failed. */
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
  /** Reason why the gateway refuses calls; null if it accepts calls or its ops port does not answer. */
  readonly notReady: NotReady | null
  /** The caller's scenario, and the differences from its expectations. Absent without a scenario. */
  readonly scenario?: { readonly name: string; readonly findings: readonly string[] } | undefined
}

/** One call in the JSON of `mkondo call` and of the demo. */
export interface CallReport {
  readonly callSid: string
  readonly agent: string | null
  readonly backend: string | null
  readonly outcome: CallOutcome | null
  /** Times in milliseconds since the stream opened. */
  readonly transcript: readonly Pick<TranscriptEntry, 'role' | 'text' | 'startMs' | 'endMs'>[]
  readonly toolCalls: readonly Pick<ToolCallRecord, 'name' | 'args' | 'ms' | 'ok'>[]
  readonly turns: readonly Pick<TurnRecord, 'firstSoundMs' | 'answerMs'>[]
  readonly bargeIns: readonly {
    readonly stopMs: number | null
    readonly committed: BargeInRecord['committed'] | null
  }[]
  readonly recording: string | null
  /**
   * Words that the caller understood from the sound. If the caller asked about an order, also order, status and eta.
   */
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
  /** Errors of the gateway that a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  /**
   * `caller`: the ops port did not answer, so the report contains only the caller's words and the words that the caller
   * heard.
   */
  readonly source: 'gateway' | 'caller'
}

/**
 * Decides if the call reached its goal: the agent answered the call, the call did not fail, and the caller got the
 * wanted answer.
 */
export function goalOf(result: SimulatedCallResult, gateway: GatewaySays, expected: Expectation): Goal {
  const untaken = whyUntaken(result, gateway)
  if (untaken !== null) return { reached: false, why: untaken }
  const unmet = expectationsOf(result, gateway.call, expected).find(({ met }) => !met)
  if (unmet !== undefined) return { reached: false, why: `expected ${unmet.expected}; ${unmet.came}` }
  const record = gateway.call?.record ?? null
  if (expected.kind === 'scenario') return scenariosGoal(gateway)
  if (record?.outcome === 'failed' && expected.outcomes.length === 0)
    return { reached: false, why: `the outcome is failed: ${endOf(record)}` }
  return callersGoal(result, gateway.call, expected)
}

/**
 * @returns the reason why no agent answered the call; null if an agent answered. To refuse a call, a gateway answers
 * with a document without a Stream
 */
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

function scenariosGoal({ call, scenario }: GatewaySays): Goal {
  if (scenario === undefined) return { reached: false, why: NO_RECORD }
  const { name, findings } = scenario
  if (findings.length === 0) return { reached: true, why: `the call is as the scenario ${name} expects` }
  const why = (call?.record ?? null) === null ? NO_RECORD : findings.join('; ')
  return { reached: false, why: `scenario ${name}: ${why}` }
}

/** Goal of `answered`: the caller hears the greeting, and hears the agent again after the caller's first words. */
function answeredGoal({ said, heardPieces }: SimulatedCallResult): Goal {
  const [first] = said
  if (heardPieces.length === 0) return { reached: false, why: 'the agent was never heard' }
  if (first === undefined) return { reached: false, why: 'the agent was heard, and the caller never spoke' }
  return heardPieces.some(({ startMs }) => startMs > first.endMs)
    ? { reached: true, why: 'the agent was heard and answered' }
    : { reached: false, why: 'the agent was heard, and never answered the caller' }
}

function callersGoal(result: SimulatedCallResult, call: GatewayCall | null, expected: Expectation): Goal {
  if (expected.kind === 'talk') {
    return result.heardPieces.length > 0
      ? { reached: true, why: 'the agent was heard' }
      : { reached: false, why: 'the agent was never heard' }
  }
  if (expected.kind === 'answered') return answeredGoal(result)
  if (expected.kind === 'human') {
    const last = result.dials.at(-1)
    return last === undefined
      ? { reached: false, why: 'nobody was dialled' }
      : { reached: last.outcome === 'answered', why: `a human was dialled: ${last.outcome}` }
  }
  return orderGoal(result, call, expected)
}

/** Minimum share of a line's time in which the caller heard sound. A voice pauses between and in sentences. */
const SOUND_SHARE_MIN = 0.6

/**
 * Lines of the agent, by the gateway's transcript, whose sound reached the caller. A line of which the sound was lost
 * on its way is left out.
 */
function arrived({ stream, heardPieces }: SimulatedCallResult, call: GatewayCall | null): string[] {
  const openedMs = stream?.openedMs ?? 0
  const soundMs = (startMs: number, endMs: number): number =>
    heardPieces.reduce(
      (sum, piece) =>
        sum + Math.max(0, Math.min(endMs, piece.endMs - openedMs) - Math.max(startMs, piece.startMs - openedMs)),
      0,
    )
  return (call?.transcript ?? [])
    .filter(
      ({ role, startMs, endMs }) =>
        role === 'agent' && endMs > startMs && soundMs(startMs, endMs) >= SOUND_SHARE_MIN * (endMs - startMs),
    )
    .map(({ text }) => text)
}

/**
 * Goal of `order`. A recogniser sometimes understands other words than were said, above all on a busy machine. So the
 * words that were said decide too, if their sound reached the caller; the answer then names both.
 */
function orderGoal(result: SimulatedCallResult, call: GatewayCall | null, expected: Expectation): Goal {
  const heard = statusGoal(result.heard, 'heard', expected)
  if (heard.reached) return heard
  const text = arrived(result, call)
  const told = statusGoal({ ...factsOfTurns(text, { statuses: expected.phrases }), text }, 'was told', expected)
  if (!told.reached) return heard
  return { reached: true, why: `${told.why}, and its sound arrived; understood otherwise: ${heard.why}` }
}

/** @param verb  how the caller got the facts, for the reason */
function statusGoal(heard: SimulatedCallResult['heard'], verb: 'heard' | 'was told', expected: Expectation): Goal {
  if (heard.status === null) return { reached: false, why: `the caller never ${verb} a status` }
  const isKnown = expected.statuses.size > 0
  // Without the shop's answers, the caller may have recognised wrong digits. So each number in the recognised words
  // counts.
  const named = isKnown ? [heard.order] : [heard.order, ...heard.text.flatMap((text) => ordersIn(spokenWords(text)))]
  if (expected.order !== null && !named.includes(expected.order)) {
    return {
      reached: false,
      why:
        heard.order === null
          ? `the caller never ${verb} order ${expected.order}`
          : `the caller asked about ${expected.order} and ${verb} ${heard.order}`,
    }
  }
  const order = expected.order ?? heard.order
  const rightStatuses =
    order !== null && expected.statuses.has(order) ? [expected.statuses.get(order)] : [...expected.statuses.values()]
  if (isKnown && !rightStatuses.includes(heard.status)) {
    return {
      reached: false,
      why: `the caller ${verb} "${heard.status}", and the shop says "${rightStatuses.join('" or "')}"`,
    }
  }
  const unknown = isKnown ? '' : '; which status is right is not known (--shop-url)'
  return {
    reached: true,
    why: `the caller ${verb} "${heard.status}"${order === null ? '' : ` for order ${order}`}${unknown}`,
  }
}

/** Checks every `--expect…` option. Words count if the caller heard them or the gateway's transcript contains them. */
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

/** Combines the gateway's record of a call with the words that the caller heard. */
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

/** @returns the transcript of the line, with the words that the caller understood */
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
