import type { EscalationPacket } from '../../call/documents/handoff.js'
import type { CallRecord, ClaimRecord, ToolCallRecord, TranscriptEntry } from '../../call/documents/record.js'
import { codeOf } from '../../call/spoken/localized-text.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import type { RungOutcome } from '../../carrier/choices.js'
import { TIME_LIMIT } from '../caller.js'
import { spokenTranscript } from '../call-report.js'
import type { CallerLatency } from '../../carrier/caller-leg.js'
import type { SimulatedCallResult, SimulatorEvent } from '../../carrier/call-options.js'
import { hasPattern, isPattern, type TextPattern } from '../spoken-words.js'
import { spokenMs } from './text-speech.js'
import type { Expectations, ExpectedCall, ExpectedValues, ExpectedWords, Range, TimedThing } from './scenario.js'

/** A line of the conversation in a report. The carrier's lines are the texts of Say verbs. */
type SpokenLine = Pick<TranscriptEntry, 'text' | 'startMs' | 'endMs' | 'interrupted' | 'language'> & {
  readonly role: TranscriptEntry['role'] | 'carrier'
}

/** The judge's answer about one criterion. */
export interface Verdict {
  readonly name: string
  readonly verdict: 'pass' | 'fail' | 'unclear'
  /** Words of the agent that are in the transcript; null if there is no quote. */
  readonly quote: string | null
  /** The reason why the judge's answer is rejected; null if it is accepted. */
  readonly why: string | null
}

/** Results of the models in one call. */
export interface JudgedByModels {
  /** Fault of the caller's model; null if there is no fault or no model. */
  readonly callerFault: string | null
  /** Fault of the judge's model; null if there is no fault or no judge. */
  readonly judgeFault: string | null
  /** The judge's model; null if there is no judge. */
  readonly judge: string | null
  /** Verdicts in the order of the scenario's criteria. */
  readonly criteria: readonly Verdict[]
}

/** One call of a scenario as observed from outside. The expectations are checked against this data. */
export interface ObservedCall {
  readonly callSid: string
  /** The gateway's record; null if it is missing or the gateway cannot be reached. */
  readonly record: CallRecord | null
  /** The handoff packet; null if there was no escalation. */
  readonly packet: EscalationPacket | null
  readonly lines: readonly SpokenLine[]
  readonly dials: readonly { readonly outcome: RungOutcome }[]
  /** Caller-perceived latency. */
  readonly callerHeard: CallerLatency
  /** Duration in ms from the webhook to the end. */
  readonly durationMs: number
  readonly ended: string
  /** Errors of the gateway that a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  /** The reason why the call was ended by force, such as the scenario's time limit; null if it ended by itself. */
  readonly overdue: string | null
  /** Results of the models. Absent if no model called or judged. */
  readonly models?: JudgedByModels
}

/** Joins a simulated call and the gateway's data about it, for the checks. */
export function observedCall(
  result: SimulatedCallResult,
  events: readonly SimulatorEvent[],
  record: CallRecord | null,
  packet: EscalationPacket | null,
  timeoutMs: number,
): ObservedCall {
  const zeroMs = events.findLast(({ type }) => type === 'stream-opened')?.atMs ?? 0
  const said = events.flatMap((event): SpokenLine[] => {
    if (event.type !== 'verb' || event.text === undefined) return []
    const startMs = event.atMs - zeroMs
    return [{ role: 'carrier', text: event.text, startMs, endMs: startMs + spokenMs(event.text) }]
  })
  // If the caller refused the storage of data, the caller's words are not in the record.
  const onTheLine = record?.consent === 'refused' ? spokenTranscript(result) : []
  const { callSid, dials, callerHeard, durationMs, ended, complaints } = result
  return {
    ...{ callSid, record, packet, callerHeard, durationMs, complaints },
    lines: linesOf(record, [...said, ...onTheLine]),
    dials: dials.map(({ outcome }) => ({ outcome })),
    ended: ended.why,
    overdue: ended.why === TIME_LIMIT ? `the call did not end within ${timeoutMs / 1000} s` : null,
  }
}

/** The lines of a record's transcript and of the carrier, in order of time. */
export function linesOf(record: CallRecord | null, carrier: readonly SpokenLine[]): SpokenLine[] {
  return [...(record?.transcript ?? []), ...carrier].sort((a, b) => a.startMs - b.startMs)
}

/** One difference between a call and its expectations. */
export interface Finding {
  readonly what: string
  /** Time of the difference in the call, in milliseconds since the stream opened; null for the end of the call. */
  readonly nearMs: number | null
}

/** Every difference between a call and its expectations; empty if the call meets every expectation. */
export function findingsOf(call: ObservedCall, expect: Expectations): Finding[] {
  const { record, overdue, complaints, ended } = call
  const found = [
    ...(overdue === null ? [] : [finding(overdue)]),
    ...complaints.map((complaint) => finding(`a real carrier would not accept: ${complaint}`)),
    ...byTheModels(call.models),
  ]
  if (record === null) return [...found, finding(`the gateway has no record of the call (${ended})`)]
  return [
    ...found,
    ...inTheEnd(record, expect),
    ...inTheFields(record, expect),
    ...inTheStages(record, expect),
    ...withTheAgents(record, expect),
    ...inTheTools(record.toolCalls, expect),
    ...inTheWaits(record, expect),
    ...inTheClaims(record.claims),
    ...inTheWords(call.lines, expect),
    ...inTheEscalation(call, record, expect),
    ...inTheCounts(record, expect),
    ...inTheTimes(call, record, expect),
  ]
}

/** If a model fails or gives an unclear verdict, the call does not pass. */
function byTheModels(models: JudgedByModels | undefined): Finding[] {
  if (models === undefined) return []
  const { callerFault, judgeFault, criteria } = models
  return [
    ...(callerFault === null ? [] : [finding(`the caller's model: ${callerFault}`)]),
    ...(judgeFault === null ? [] : [finding(`the judge's model: ${judgeFault}`)]),
    ...criteria.flatMap(({ name, verdict, why, quote }) => {
      if (verdict === 'pass') return []
      const said = quote === null ? '' : `: "${quote}"`
      return [finding(`the judge says ${verdict} of ${name}${why === null ? '' : ` (${why})`}${said}`)]
    }),
  ]
}

function finding(what: string, nearMs: number | null = null): Finding {
  return { what, nearMs }
}

function inTheEnd(record: CallRecord, { outcome, served, endReason, language }: Expectations): Finding[] {
  const found: Finding[] = []
  const why = record.endDetail === '' ? record.endReason : `${record.endReason}: ${record.endDetail}`
  if (outcome.length > 0 && !outcome.some((one) => one === record.outcome))
    found.push(finding(`the outcome is ${record.outcome} (${why}); expected ${outcome.join(' or ')}`))
  if (served.length > 0 && !served.some((one) => one === record.served))
    found.push(finding(`the caller was served as ${record.served ?? 'not known'}; expected ${served.join(' or ')}`))
  if (endReason.length > 0 && !endReason.some((one) => one === record.endReason))
    found.push(finding(`the call ended by ${why}; expected ${endReason.join(' or ')}`))
  if (language !== undefined && codeOf(record.language ?? '') !== language)
    found.push(finding(`the call ended in language ${record.language ?? 'none'}; expected ${language}`))
  return found
}

function inTheFields({ analysis }: CallRecord, { fields: expected = {} }: Expectations): Finding[] {
  const wanted = Object.entries(expected)
  if (wanted.length === 0) return []
  if (analysis === null) return [finding('the call was not analysed: its agent has no `analysis`')]
  const fault = analysis.fault === null ? '' : `; ${analysis.fault}`
  return wanted.flatMap(([name, value]) => {
    const given = analysis.fields[name]?.value
    if (isValue(given, value)) return []
    return [finding(`the field ${name} is ${JSON.stringify(given ?? null)}; expected ${sourceOf(value)}${fault}`)]
  })
}

function inTheWaits({ waits }: CallRecord, { waits: expected }: Expectations): Finding[] {
  if (expected.length === 0) return []
  const words = ({ tool, status, told }: { tool: string; status: string; told?: boolean | undefined }): string =>
    `${tool} ${status}${told === undefined ? '' : told ? ', told' : ', not told'}`
  const right =
    waits.length === expected.length &&
    expected.every(({ tool, status, told }, index) => {
      const wait = waits[index]
      return wait?.tool === tool && wait.status === status && (told === undefined || wait.told === told)
    })
  if (right) return []
  const found = waits.map(words).join('; ') || 'none'
  return [finding(`tools waited: ${found}; expected ${expected.map(words).join('; ')}`)]
}

/** Checks the order of the expected stages; other stages may lie between them. */
function inTheStages(record: CallRecord, { stage: stages }: Expectations): Finding[] {
  const been = record.stages.map(({ stage }) => stage)
  const last = stages.at(-1)
  if (last === undefined) return []
  const at = stages.slice(0, -1).reduce((from, stage) => {
    const found = from < 0 ? -1 : been.indexOf(stage, from)
    return found < 0 ? -1 : found + 1
  }, 0)
  if (at >= 0 && at < been.length && been.at(-1) === last) return []
  return [finding(`the call went through the stages ${been.join(', ') || '(none)'}; expected ${stages.join(', ')}`)]
}

function withTheAgents({ agent, handovers }: CallRecord, { agents }: Expectations): Finding[] {
  if (agents === undefined) return []
  const had = [agent, ...handovers.map(({ to }) => to)].join(', ')
  const expected = agents.join(', ')
  return had === expected ? [] : [finding(`the call was with ${had}; expected ${expected}`)]
}

// --- tools ------------------------------------------------------------------------------------------------------

function inTheTools(calls: readonly ToolCallRecord[], { called, notCalled }: Expectations): Finding[] {
  const found: Finding[] = []
  for (const expected of called) {
    const ofThatName = calls.filter((call) => call.name === expected.tool)
    const matching = ofThatName.filter((call) => hasValues(call.args, expected.with))
    const fault = rangeFault(matching.length, expected.times)
    if (fault === null) continue
    const instead =
      ofThatName.length === 0
        ? `tools called: ${calls.map((call) => call.name).join(', ') || 'none'}`
        : `it was called with ${ofThatName.map((call) => JSON.stringify(call.args)).join(', ')}`
    const what = `${callText(expected)} was called ${times(matching.length)}; expected ${fault}; ${instead}`
    found.push(finding(what, ofThatName.at(-1)?.startMs))
  }
  for (const expected of notCalled) {
    const forbidden = calls.find((call) => call.name === expected.tool && hasValues(call.args, expected.with))
    if (forbidden === undefined) continue
    const given = JSON.stringify(forbidden.args)
    found.push(finding(`${callText(expected)} was called, with ${given}, and should not have been`, forbidden.startMs))
  }
  return found
}

function hasValues(given: Readonly<Record<string, unknown>>, expected: ExpectedValues): boolean {
  return Object.entries(expected).every(([name, value]) => isValue(given[name], value))
}

function isValue(given: unknown, value: ExpectedValues[string] | undefined): boolean {
  if (value == null) return given === undefined || given === null
  return typeof value === 'object' ? isPattern(given, value) : given === value
}

function sourceOf(value: ExpectedValues[string]): string {
  return value !== null && typeof value === 'object' ? value.source : String(value)
}

function callText({ tool, with: args }: ExpectedCall): string {
  const shown = Object.entries(args).map(([name, value]) => `${name}: ${sourceOf(value)}`)
  return shown.length === 0 ? tool : `${tool} with ${shown.join(', ')}`
}

/** An agent must not claim an action that no tool performed. */
function inTheClaims(claims: readonly ClaimRecord[]): Finding[] {
  return claims
    .filter(({ verdict }) => verdict !== 'done')
    .map(({ tool, phrase, verdict, atMs }) => {
      const source = tool ?? (verdict === 'no-source' ? 'nothing gave it that' : 'it has no tool for that')
      return finding(`the agent claimed what nothing supports (${source}: ${verdict}); it said ${phrase}`, atMs)
    })
}

// --- words ------------------------------------------------------------------------------------------------------

function inTheWords(lines: readonly SpokenLine[], { said, neverSaid, understood }: Expectations): Finding[] {
  const ours = lines.filter((line) => line.role !== 'caller')
  const callers = lines.filter((line) => line.role === 'caller')
  return [
    ...said.flatMap((one) => unsaid(ours, one)),
    ...missing(callers, understood, 'was never understood from the caller'),
    ...neverSaid.flatMap((pattern) => {
      const line = ours.find((one) => says(one, pattern))
      return line === undefined ? [] : [finding(`${quoted(pattern)} was said: "${line.text}"`, line.startMs)]
    }),
  ]
}

/**
 * Matches the text of the transcript, or the text as a voice of the call's language speaks it. KES 350 is also
 * "shilingi mia tatu na hamsini".
 */
function says({ text, language }: SpokenLine, pattern: TextPattern): boolean {
  return hasPattern(text, pattern) || (language !== undefined && hasPattern(spokenForm(text, language), pattern))
}

function unsaid(lines: readonly SpokenLine[], { text, language }: ExpectedWords): Finding[] {
  const found = missing(lines, [text], 'was never said to the caller')
  if (found.length > 0 || language === undefined) return found
  const said = lines.filter((line) => says(line, text))
  if (said.some((line) => codeOf(line.language ?? '') === language)) return []
  const spoken = [...new Set(said.map((line) => line.language ?? 'no language of its own'))].join(', ')
  return [finding(`${quoted(text)} was said in ${spoken}; expected ${language}`, said[0]?.startMs)]
}

function missing(lines: readonly SpokenLine[], patterns: readonly TextPattern[], what: string): Finding[] {
  return patterns
    .filter((pattern) => !lines.some((line) => says(line, pattern)))
    .map((pattern) => finding(`${quoted(pattern)} ${what}`))
}

function quoted({ source, expression }: TextPattern): string {
  return expression === null ? `"${source}"` : source
}

// --- escalation -------------------------------------------------------------------------------------------------

function inTheEscalation(call: ObservedCall, record: CallRecord, { escalated: expected }: Expectations): Finding[] {
  if (expected === undefined) return []
  const { packet } = call
  const { escalation } = record
  const asked = packet !== null || escalation !== null
  const atMs = record.toolCalls.find((one) => one.name === 'escalate_to_human')?.startMs
  if (expected === false && asked) {
    const reason = packet?.reason ?? escalation?.reason ?? ''
    return [finding(`a human was asked for (${reason}), and nobody should have been`, atMs)]
  }
  if (expected !== false && !asked) return [finding('no human was asked for')]
  if (typeof expected === 'boolean') return []
  return inThePacket(packet, escalation, expected).map((what) => finding(what, atMs))
}

function inThePacket(
  packet: EscalationPacket | null,
  escalation: CallRecord['escalation'],
  expected: Exclude<Expectations['escalated'], boolean | undefined>,
): string[] {
  const wrong: string[] = []
  const { outcome, strategy, callback, identity } = expected
  if (outcome !== undefined && escalation?.outcome !== outcome)
    wrong.push(`the escalation came out as ${escalation?.outcome ?? 'nothing'}; expected ${outcome}`)
  if (strategy !== undefined && escalation?.strategy !== strategy)
    wrong.push(`the human was reached by ${escalation?.strategy ?? 'nothing'}; expected ${strategy}`)
  const isCalledBack = escalation?.callback != null
  if (callback !== undefined && callback !== isCalledBack)
    wrong.push(
      isCalledBack
        ? 'the caller was to be called back, and should not have been'
        : 'the caller was not to be called back',
    )
  if (packet === null) return [...wrong, 'the human was given no context']
  for (const key of ['reason', 'summary'] as const) {
    const words = expected[key]
    if (words !== undefined && !hasPattern(packet[key], words))
      wrong.push(`the human was told the ${key} "${packet[key]}"; expected ${quoted(words)}`)
  }
  if (identity !== undefined && !hasValues(packet.identity ?? {}, identity)) {
    const told = packet.identity === null ? 'of nobody' : JSON.stringify(packet.identity)
    wrong.push(`the human was told the identity ${told}; expected ${callText({ tool: 'one', with: identity })}`)
  }
  const tried = packet.tried.map((one) => one.name)
  const untold = expected.tried.filter((tool) => !tried.includes(tool))
  if (untold.length > 0)
    wrong.push(
      `the human was not told that ${untold.join(', ')} had been tried; they were told of ${tried.join(', ') || 'nothing'}`,
    )
  for (const pattern of expected.transcript) {
    if (!packet.transcript.some((entry) => hasPattern(entry.text, pattern)))
      wrong.push(`the transcript given to the human lacks ${quoted(pattern)}`)
  }
  return wrong
}

// --- figures ----------------------------------------------------------------------------------------------------

function inTheCounts(record: CallRecord, { turns, bargeIns }: Expectations): Finding[] {
  const found: Finding[] = []
  const turnsFault = rangeFault(record.turns.length, turns)
  if (turnsFault !== null) found.push(finding(`the caller had ${record.turns.length} turns; expected ${turnsFault}`))
  const stopped = record.bargeIns.filter((one) => one.committed).length
  const bargeInsFault = rangeFault(stopped, bargeIns)
  if (bargeInsFault !== null) {
    const what = `the caller interrupted the agent ${times(stopped)}; expected ${bargeInsFault}`
    found.push(finding(what, record.bargeIns[0]?.atMs))
  }
  return found
}

interface Timing {
  readonly ms: number | null
  readonly atMs: number | null
}

/** Measured durations of each kind; null for an expected event that did not occur. */
const TIMINGS: Readonly<
  Record<
    TimedThing,
    { readonly name: string; readonly of: (call: ObservedCall, record: CallRecord) => readonly Timing[] }
  >
> = {
  greeting: { name: 'the greeting', of: (_call, record) => [{ ms: record.greetingMs, atMs: 0 }] },
  firstSound: {
    name: 'the first sound after the caller',
    of: (_call, { turns }) => answered(turns).map((turn) => ({ ms: turn.firstSoundMs, atMs: turn.callerStoppedMs })),
  },
  answer: {
    name: 'the answer after the caller',
    of: (_call, { turns }) => answered(turns).map((turn) => ({ ms: turn.answerMs, atMs: turn.callerStoppedMs })),
  },
  bargeInStop: {
    name: "the agent's silence after an interruption",
    of: (_call, { bargeIns }) => {
      const stops = bargeIns.filter((one) => one.committed && one.stopMs !== null)
      return stops.length === 0 ? [{ ms: null, atMs: null }] : stops.map((one) => ({ ms: one.stopMs, atMs: one.atMs }))
    },
  },
  call: { name: 'the call', of: (_call, record) => [{ ms: record.durationMs, atMs: null }] },
}

/** Omits the last turn if it has no answer, because the caller may hang up or be transferred before the answer. */
function answered(turns: CallRecord['turns']): CallRecord['turns'] {
  return turns.at(-1)?.firstSoundMs === null ? turns.slice(0, -1) : turns
}

function inTheTimes(call: ObservedCall, record: CallRecord, { withinMs }: Expectations): Finding[] {
  const found: Finding[] = []
  for (const [thing, limitMs] of Object.entries(withinMs) as [TimedThing, number][]) {
    const { name, of } = TIMINGS[thing]
    for (const { ms, atMs } of of(call, record)) {
      if (ms === null) found.push(finding(`${name} never came; expected within ${limitMs} ms`, atMs))
      else if (ms > limitMs) found.push(finding(`${name} took ${Math.round(ms)} ms; expected at most ${limitMs}`, atMs))
    }
  }
  return found
}

/** @returns the expected range; null if `count` is in the range */
function rangeFault(count: number, { min = 0, max = Infinity }: Range = {}): string | null {
  if (count >= min && count <= max) return null
  if (min === max) return `exactly ${min}`
  if (max === Infinity) return `at least ${min}`
  return min === 0 ? `at most ${max}` : `${min} to ${max}`
}

function times(count: number): string {
  return count === 0 ? 'never' : count === 1 ? 'once' : `${count} times`
}
