import { z } from 'zod'
import { maskNumbersIn } from '../../sautikit/phone.js'
import type { SpokenLine } from './observed-call.js'
import type { ScenarioResult } from './run-scenarios.js'

/** Version of the report; docs/FORMATS.md. */
export const SCENARIO_REPORT_VERSION = 1

const msOrNull = z.number().nullable()

const resultSchema = z.strictObject({
  name: z.string(), agent: z.string(), file: z.string(),
  mode: z.enum(['audio', 'text']),
  seed: z.int(), repetition: z.int(),
  status: z.enum(['passed', 'failed', 'skipped']),
  /** What was expected and did not come; empty unless it failed. */
  findings: z.array(z.strictObject({ what: z.string(), nearMs: msOrNull.describe('Since the stream opened; null for the end of the call.') })),
  skipped: z.string().nullable().describe('Why it was skipped.'),
  realMs: z.number().describe('What the run really took.'),
  call: z.strictObject({
    callSid: z.string(),
    outcome: z.string().nullable(), endReason: z.string().nullable(), ended: z.string(),
    backend: z.string().nullable(),
    durationMs: z.number().describe('From the webhook to the end, on the call\'s own clock.'),
    greetingMs: msOrNull,
    transcript: z.array(z.strictObject({
      role: z.enum(['caller', 'agent', 'carrier']), text: z.string(), startMs: z.number(), endMs: z.number(), interrupted: z.boolean(),
    })),
    toolCalls: z.array(z.strictObject({ name: z.string(), args: z.record(z.string(), z.unknown()), startMs: z.number(), ms: z.number(), ok: z.boolean() })),
    turns: z.array(z.strictObject({ firstSoundMs: msOrNull, answerMs: msOrNull })),
    bargeIns: z.array(z.strictObject({ atMs: z.number(), stopMs: msOrNull, committed: z.boolean() })),
    escalation: z.strictObject({ reason: z.string(), strategy: z.string().nullable(), outcome: z.string().nullable() }).nullable(),
    dials: z.array(z.string()),
  }).nullable(),
})

const reportSchema = z.strictObject({
  version: z.literal(SCENARIO_REPORT_VERSION),
  startedAt: z.iso.datetime(),
  realMs: z.number(),
  passed: z.int(), failed: z.int(), skipped: z.int(),
  results: z.array(resultSchema),
})

export type ScenarioReport = z.output<typeof reportSchema>

/** `schema/scenario-report.schema.json`. */
export function scenarioReportJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(reportSchema, { io: 'output' })
  return { ...schema, title: 'Mkondo scenario report', description: 'What became of the scenarios of one run. Phone numbers are masked.' }
}

/** The results as JSON, with every phone number masked. */
export function scenarioReport(results: readonly ScenarioResult[], run: { readonly startedAt: string; readonly realMs: number }): ScenarioReport {
  const count = (status: ScenarioResult['status']): number => results.filter((result) => result.status === status).length
  const report: ScenarioReport = {
    version: SCENARIO_REPORT_VERSION, startedAt: run.startedAt, realMs: Math.round(run.realMs),
    passed: count('passed'), failed: count('failed'), skipped: count('skipped'),
    results: results.map(resultOf),
  }
  return masked(report)
}

function resultOf(result: ScenarioResult): ScenarioReport['results'][number] {
  const { scenario, call } = result
  const record = call?.record ?? null
  return {
    name: scenario.name, agent: scenario.agent, file: scenario.file, mode: result.mode, seed: result.seed, repetition: result.repetition,
    status: result.status, findings: result.findings.map(({ what, nearMs }) => ({ what, nearMs })), skipped: result.skipped,
    realMs: Math.round(result.realMs),
    call: call === null ? null : {
      callSid: call.callSid, outcome: record?.outcome ?? null, endReason: record?.endReason ?? null, ended: call.ended, backend: record?.backend ?? null,
      durationMs: Math.round(call.durationMs), greetingMs: record?.greetingMs ?? null,
      transcript: call.lines.map(lineOf),
      toolCalls: (record?.toolCalls ?? []).map(({ name, args, startMs, ms, ok }) => ({ name, args: { ...args }, startMs, ms, ok })),
      turns: (record?.turns ?? []).map(({ firstSoundMs, answerMs }) => ({ firstSoundMs, answerMs })),
      bargeIns: (record?.bargeIns ?? []).map(({ atMs, stopMs, committed }) => ({ atMs, stopMs, committed })),
      escalation: record?.escalation == null ? null : {
        reason: record.escalation.reason, strategy: record.escalation.strategy, outcome: record.escalation.outcome,
      },
      dials: call.dials.map((dial) => dial.outcome),
    },
  }
}

function lineOf({ role, text, startMs, endMs, interrupted }: SpokenLine): NonNullable<ScenarioReport['results'][number]['call']>['transcript'][number] {
  return { role, text, startMs: Math.round(startMs), endMs: Math.round(endMs), interrupted: interrupted === true }
}

/** Every text within `value` with its phone numbers masked. */
function masked<T>(value: T): T {
  if (typeof value === 'string') return (/^\d{4}-\d\d-\d\dT/.test(value) ? value : maskNumbersIn(value)) as T
  if (Array.isArray(value)) return value.map(masked) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, name === 'callSid' ? entry as unknown : masked(entry)])) as T
}
