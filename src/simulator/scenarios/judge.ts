import type { EscalationPacket } from '../../call/documents/handoff.js'
import type { CallRecord, ClaimRecord, ToolCallRecord } from '../../call/documents/record.js'
import { codeOf } from '../../call/phrase.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import type { HumanOutcome } from '../choices.js'
import type { CallerLatency } from '../caller-leg.js'
import { hasPattern, isPattern, type TextPattern } from '../spoken-words.js'
import type { Expectations, ExpectedCall, ExpectedEscalation, ExpectedWords, Range, TimedThing } from './scenario.js'

/** A line of the conversation in a report. The carrier's lines are the texts of Say verbs. */
export interface SpokenLine {
  readonly role: 'caller' | 'agent' | 'carrier'
  readonly text: string
  /** Milliseconds since the stream opened. */
  readonly startMs: number
  readonly endMs: number
  readonly interrupted?: boolean
  /** Tag of the language that the call was in, where the agent speaks several. */
  readonly language?: string
}

/** One call of a scenario as seen from outside. The expectations are checked against it. */
export interface ObservedCall {
  readonly callSid: string
  /** The gateway's record; null if it has none or cannot be reached. */
  readonly record: CallRecord | null
  /** The handoff packet; null if there was no escalation. */
  readonly packet: EscalationPacket | null
  readonly lines: readonly SpokenLine[]
  readonly dials: readonly { readonly outcome: HumanOutcome }[]
  /** Caller-perceived. */
  readonly callerHeard: CallerLatency
  /** From the webhook to the end. */
  readonly durationMs: number
  readonly ended: string
  /** What a real carrier would not have accepted. */
  readonly complaints: readonly string[]
  /** Why the call had to be ended by force, such as the scenario's time limit; null if it ended by itself. */
  readonly overdue: string | null
}

/** The lines of a record's transcript and of the carrier, in order of time. */
export function linesOf(record: CallRecord | null, carrier: readonly SpokenLine[]): SpokenLine[] {
  const lines: SpokenLine[] = (record?.transcript ?? []).map(
    ({ role, text, startMs, endMs, interrupted, language }) => ({
      role,
      text,
      startMs,
      endMs,
      ...(interrupted === true ? { interrupted } : {}),
      ...(language === undefined ? {} : { language }),
    }),
  )
  return [...lines, ...carrier].sort((a, b) => a.startMs - b.startMs)
}

/** One difference between a call and its expectations. */
export interface Finding {
  readonly what: string
  /** Where in the call it is, in milliseconds since the stream opened; null for the end of the call. */
  readonly nearMs: number | null
}

/** Every difference between a call and its expectations; empty if all of them hold. */
export function findingsOf(call: ObservedCall, expect: Expectations): Finding[] {
  const found: Finding[] = []
  if (call.overdue !== null) found.push({ what: call.overdue, nearMs: null })
  for (const complaint of call.complaints)
    found.push({ what: `a real carrier would not accept: ${complaint}`, nearMs: null })
  const { record } = call
  if (record === null) {
    found.push({ what: `the gateway has no record of the call (${call.ended})`, nearMs: null })
    return found
  }
  return [
    ...found,
    ...inTheEnd(record, expect),
    ...inTheFields(record, expect.fields),
    ...inTheStages(record, expect),
    ...withTheAgents(record, expect),
    ...inTheTools(record.toolCalls, expect),
    ...inTheWaits(record, expect),
    ...inTheClaims(record.claims),
    ...inTheWords(call.lines, expect),
    ...inTheEscalation(call, expect.escalated),
    ...inTheCounts(record, expect),
    ...inTheTimes(call, record, expect),
  ]
}

function inTheEnd(record: CallRecord, { outcomes, endReasons, language }: Expectations): Finding[] {
  const found: Finding[] = []
  const why = record.endDetail === '' ? record.endReason : `${record.endReason}: ${record.endDetail}`
  if (outcomes.length > 0 && !outcomes.includes(record.outcome)) {
    found.push({ what: `the outcome is ${record.outcome} (${why}); expected ${outcomes.join(' or ')}`, nearMs: null })
  }
  if (endReasons.length > 0 && !endReasons.some((reason) => reason === record.endReason)) {
    found.push({ what: `the call ended by ${why}; expected ${endReasons.join(' or ')}`, nearMs: null })
  }
  if (language !== null && codeOf(record.language ?? '') !== language)
    found.push({ what: `the call ended in language ${record.language ?? 'none'}; expected ${language}`, nearMs: null })
  return found
}

function inTheFields({ analysis }: CallRecord, expected: Expectations['fields']): Finding[] {
  if (expected.length === 0) return []
  if (analysis === null) return [{ what: 'the call was not analysed: its agent has no `analysis`', nearMs: null }]
  const values = Object.fromEntries(Object.entries(analysis.fields).map(([name, { value }]) => [name, value]))
  const fault = analysis.fault === null ? '' : `; ${analysis.fault}`
  return expected
    .filter((one) => !hasValues(values, [one]))
    .map(([name, value]) => ({
      what: `the field ${name} is ${JSON.stringify(values[name] ?? null)}; expected ${value !== null && typeof value === 'object' ? value.source : String(value)}${fault}`,
      nearMs: null,
    }))
}

function inTheWaits({ waits }: CallRecord, { waits: expected }: Expectations): Finding[] {
  if (expected.length === 0) return []
  const words = ({ tool, status, told }: { tool: string; status: string; told: boolean | null }): string =>
    `${tool} ${status}${told === null ? '' : told ? ', told' : ', not told'}`
  const right =
    waits.length === expected.length &&
    expected.every(({ tool, status, told }, index) => {
      const wait = waits[index]
      return wait?.tool === tool && wait.status === status && (told === null || wait.told === told)
    })
  if (right) return []
  const found = waits.map(words).join('; ') || 'none'
  return [{ what: `tools waited: ${found}; expected ${expected.map(words).join('; ')}`, nearMs: null }]
}

/** Other stages may lie between those that were expected. */
function inTheStages(record: CallRecord, { stages }: Expectations): Finding[] {
  const been = record.stages.map(({ stage }) => stage)
  const last = stages.at(-1)
  if (last === undefined) return []
  const at = stages.slice(0, -1).reduce((from, stage) => {
    const found = from < 0 ? -1 : been.indexOf(stage, from)
    return found < 0 ? -1 : found + 1
  }, 0)
  if (at >= 0 && at < been.length && been.at(-1) === last) return []
  return [
    {
      what: `the call went through the stages ${been.join(', ') || '(none)'}; expected ${stages.join(', ')}`,
      nearMs: null,
    },
  ]
}

function withTheAgents(record: CallRecord, { agents }: Expectations): Finding[] {
  if (agents.length === 0) return []
  const { agent, handovers } = record
  const had = [agent, ...handovers.map(({ to }) => to)].join(', ')
  const expected = agents.join(', ')
  return had === expected ? [] : [{ what: `the call was with ${had}; expected ${expected}`, nearMs: null }]
}

// --- tools ------------------------------------------------------------------------------------------------------

function inTheTools(calls: readonly ToolCallRecord[], { called, notCalled }: Expectations): Finding[] {
  const found: Finding[] = []
  for (const expected of called) {
    const ofThatName = calls.filter((call) => call.name === expected.tool)
    const matching = ofThatName.filter((call) => hasArguments(call, expected))
    const fault = rangeFault(matching.length, expected.times)
    if (fault === null) continue
    const instead =
      ofThatName.length === 0
        ? `tools called: ${calls.map((call) => call.name).join(', ') || 'none'}`
        : `it was called with ${ofThatName.map((call) => JSON.stringify(call.args)).join(', ')}`
    found.push({
      what: `${callText(expected)} was called ${times(matching.length)}; expected ${fault}; ${instead}`,
      nearMs: ofThatName.at(-1)?.startMs ?? null,
    })
  }
  for (const expected of notCalled) {
    const forbidden = calls.find((call) => call.name === expected.tool && hasArguments(call, expected))
    if (forbidden !== undefined) {
      found.push({
        what: `${callText(expected)} was called, with ${JSON.stringify(forbidden.args)}, and should not have been`,
        nearMs: forbidden.startMs,
      })
    }
  }
  return found
}

function hasArguments(call: ToolCallRecord, expected: ExpectedCall): boolean {
  return hasValues(call.args, expected.args)
}

function hasValues(values: Readonly<Record<string, unknown>>, expected: ExpectedCall['args']): boolean {
  return expected.every(([name, value]) => {
    const given = values[name]
    if (value === null) return given === undefined || given === null
    return typeof value === 'object' ? isPattern(given, value) : given === value
  })
}

function callText({ tool, args }: ExpectedCall): string {
  const shown = args.map(
    ([name, value]) => `${name}: ${value !== null && typeof value === 'object' ? value.source : String(value)}`,
  )
  return shown.length === 0 ? tool : `${tool} with ${shown.join(', ')}`
}

/** No agent may claim what no tool did. */
function inTheClaims(claims: readonly ClaimRecord[]): Finding[] {
  return claims
    .filter(({ verdict }) => verdict !== 'done')
    .map(({ tool, phrase, verdict, atMs }) => ({
      what: `the agent claimed what nothing supports (${tool ?? (verdict === 'no-source' ? 'nothing gave it that' : 'it has no tool for that')}: ${verdict}); it said ${phrase}`,
      nearMs: atMs,
    }))
}

// --- words ------------------------------------------------------------------------------------------------------

function inTheWords(lines: readonly SpokenLine[], { said, neverSaid, understood }: Expectations): Finding[] {
  const ours = lines.filter((line) => line.role !== 'caller')
  const callers = lines.filter((line) => line.role === 'caller')
  return [
    ...said.flatMap((one) => unsaid(ours, one)),
    ...missing(callers, understood, 'was never understood of the caller'),
    ...neverSaid.flatMap((pattern) => {
      const line = ours.find((one) => says(one, pattern))
      return line === undefined ? [] : [{ what: `${quoted(pattern)} was said: "${line.text}"`, nearMs: line.startMs }]
    }),
  ]
}

/** As the transcript has it, or as a voice of the call's language says it: KES 350 is "shilingi mia tatu na hamsini" too. */
function says({ text, language }: SpokenLine, pattern: TextPattern): boolean {
  return hasPattern(text, pattern) || (language !== undefined && hasPattern(spokenForm(text, language), pattern))
}

function unsaid(lines: readonly SpokenLine[], { pattern, language }: ExpectedWords): Finding[] {
  const found = missing(lines, [pattern], 'was never said to the caller')
  if (found.length > 0 || language === null) return found
  const said = lines.filter((line) => says(line, pattern))
  if (said.some((line) => codeOf(line.language ?? '') === language)) return []
  const spoken = [...new Set(said.map((line) => line.language ?? 'no language of its own'))].join(', ')
  return [{ what: `${quoted(pattern)} was said in ${spoken}; expected ${language}`, nearMs: said[0]?.startMs ?? null }]
}

function missing(lines: readonly SpokenLine[], patterns: readonly TextPattern[], what: string): Finding[] {
  return patterns
    .filter((pattern) => !lines.some((line) => says(line, pattern)))
    .map((pattern) => ({ what: `${quoted(pattern)} ${what}`, nearMs: null }))
}

function quoted({ source, expression }: TextPattern): string {
  return expression === null ? `"${source}"` : source
}

// --- escalation -------------------------------------------------------------------------------------------------

function inTheEscalation(call: ObservedCall, expected: Expectations['escalated']): Finding[] {
  if (expected === null) return []
  const { packet } = call
  const asked = packet !== null || call.record?.escalation != null
  const at = call.record?.toolCalls.find((one) => one.name === 'escalate_to_human')?.startMs ?? null
  if (expected === false) {
    return asked
      ? [
          {
            what: `a human was asked for (${packet?.reason ?? call.record?.escalation?.reason ?? ''}), and nobody should have been`,
            nearMs: at,
          },
        ]
      : []
  }
  if (!asked) return [{ what: 'no human was asked for', nearMs: null }]
  return expected === true ? [] : inThePacket(call, expected, at)
}

function inThePacket({ packet, record }: ObservedCall, expected: ExpectedEscalation, nearMs: number | null): Finding[] {
  const wrong: string[] = []
  const escalation = record?.escalation ?? null
  if (expected.outcome !== null && escalation?.outcome !== expected.outcome)
    wrong.push(`the escalation came out as ${escalation?.outcome ?? 'nothing'}; expected ${expected.outcome}`)
  if (expected.strategy !== null && escalation?.strategy !== expected.strategy)
    wrong.push(`the human was reached by ${escalation?.strategy ?? 'nothing'}; expected ${expected.strategy}`)
  const callback = escalation?.callback != null
  if (expected.callback !== null && callback !== expected.callback)
    wrong.push(
      callback ? 'the caller was to be called back, and should not have been' : 'the caller was not to be called back',
    )
  if (packet === null) return [...wrong, 'the human was given no context'].map((what) => ({ what, nearMs }))
  if (expected.reason !== null && !hasPattern(packet.reason, expected.reason))
    wrong.push(`the human was told the reason "${packet.reason}"; expected ${quoted(expected.reason)}`)
  if (expected.summary !== null && !hasPattern(packet.summary, expected.summary))
    wrong.push(`the human was told the summary "${packet.summary}"; expected ${quoted(expected.summary)}`)
  if (expected.identity !== null && !hasValues(packet.identity ?? {}, expected.identity)) {
    wrong.push(
      `the human was told the identity ${packet.identity === null ? 'of nobody' : JSON.stringify(packet.identity)}; ` +
        `expected ${callText({ tool: 'one', args: expected.identity, times: { min: null, max: null } })}`,
    )
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
  return wrong.map((what) => ({ what, nearMs }))
}

// --- figures ----------------------------------------------------------------------------------------------------

function inTheCounts(record: CallRecord, { turns, bargeIns }: Expectations): Finding[] {
  const found: Finding[] = []
  const turnsFault = turns === null ? null : rangeFault(record.turns.length, turns)
  if (turnsFault !== null)
    found.push({ what: `the caller had ${record.turns.length} turns; expected ${turnsFault}`, nearMs: null })
  const stopped = record.bargeIns.filter((one) => one.committed).length
  const bargeInsFault = bargeIns === null ? null : rangeFault(stopped, bargeIns)
  if (bargeInsFault !== null)
    found.push({
      what: `the caller interrupted the agent ${times(stopped)}; expected ${bargeInsFault}`,
      nearMs: record.bargeIns[0]?.atMs ?? null,
    })
  return found
}

interface Timing {
  readonly ms: number | null
  readonly atMs: number | null
}

/** What was measured of each kind; a null is something that was waited for and never came. */
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

/** Without a last turn that has no answer: the caller may hang up or be transferred before it comes. */
function answered(turns: CallRecord['turns']): CallRecord['turns'] {
  return turns.at(-1)?.firstSoundMs === null ? turns.slice(0, -1) : turns
}

function inTheTimes(call: ObservedCall, record: CallRecord, { withinMs }: Expectations): Finding[] {
  const found: Finding[] = []
  for (const [thing, limitMs] of Object.entries(withinMs) as [TimedThing, number][]) {
    const { name, of } = TIMINGS[thing]
    for (const { ms, atMs } of of(call, record)) {
      if (ms === null) found.push({ what: `${name} never came; expected within ${limitMs} ms`, nearMs: atMs })
      else if (ms > limitMs)
        found.push({ what: `${name} took ${Math.round(ms)} ms; expected at most ${limitMs}`, nearMs: atMs })
    }
  }
  return found
}

/** @returns what would have been right; null when `count` is */
function rangeFault(count: number, { min, max }: Range): string | null {
  if ((min === null || count >= min) && (max === null || count <= max)) return null
  if (min === max) return `exactly ${min}`
  if (max === null) return `at least ${min}`
  return min === null || min === 0 ? `at most ${max}` : `${min} to ${max}`
}

function times(count: number): string {
  return count === 0 ? 'never' : count === 1 ? 'once' : `${count} times`
}
