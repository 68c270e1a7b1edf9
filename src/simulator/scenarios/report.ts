import { isAbsolute, relative, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { packageVersion } from '../../config/package-root.js'
import { ownSequence } from '../../core/terminal-text.js'
import { type XmlElement, xmlDocument } from '../../core/xml.js'
import { maskNumbersIn } from '../../sautikit/phone.js'
import type { ModelsUsed } from './bounded-models.js'
import { passAllOf, passRate } from './pass-rates.js'
import type { ScenarioResult } from './run-scenarios.js'

/** Version of the report; docs/FORMATS.md. */
const SCENARIO_REPORT_VERSION = 1

const msOrNull = z.number().nullable()

// Fields of a result. Additional keys of a record are omitted.
const resultSchema = z.object({
  name: z.string(),
  agent: z.string(),
  file: z.string(),
  mode: z.enum(['audio', 'text']),
  seed: z.int(),
  repetition: z.int(),
  status: z.enum(['passed', 'failed', 'skipped']),
  /** Differences from the expectations; empty unless the run failed. */
  findings: z.array(
    z.object({
      what: z.string(),
      nearMs: msOrNull.describe('Time since the stream opened; null for the end of the call.'),
    }),
  ),
  skipped: z.string().nullable().describe('Reason for skipping the run; null if it was not skipped.'),
  realMs: z.number().describe('Real time of the run.'),
  call: z
    .object({
      callSid: z.string(),
      outcome: z.string().nullable(),
      endReason: z.string().nullable(),
      ended: z.string(),
      backend: z.string().nullable(),
      durationMs: z.number().describe("Time from the webhook to the end, by the call's own clock."),
      greetingMs: msOrNull,
      transcript: z.array(
        z.object({
          role: z.enum(['caller', 'agent', 'carrier']),
          text: z.string(),
          startMs: z.number(),
          endMs: z.number(),
          interrupted: z.boolean(),
        }),
      ),
      toolCalls: z.array(
        z.object({
          name: z.string(),
          args: z.record(z.string(), z.unknown()),
          startMs: z.number(),
          ms: z.number(),
          ok: z.boolean(),
        }),
      ),
      turns: z.array(z.object({ firstSoundMs: msOrNull, answerMs: msOrNull })),
      bargeIns: z.array(z.object({ atMs: z.number(), stopMs: msOrNull, committed: z.boolean() })),
      claims: z
        .array(z.object({ atMs: z.number(), tool: z.string().nullable(), phrase: z.string(), verdict: z.string() }))
        .describe('Actions that the agent claimed. Verdict done: a tool did the action.'),
      escalation: z
        .object({ reason: z.string(), strategy: z.string().nullable(), outcome: z.string().nullable() })
        .nullable(),
      dials: z.array(z.string()),
    })
    .nullable(),
  judged: z
    .object({
      judge: z.string().nullable().describe('The model that judged.'),
      judgeFault: z.string().nullable(),
      callerFault: z.string().nullable(),
      criteria: z.array(
        z.object({
          name: z.string(),
          verdict: z.enum(['pass', 'fail', 'unclear']),
          quote: z.string().nullable().describe('Words of the transcript.'),
          why: z.string().nullable().describe("Reason why the judge's verdict is not used; null if it is used."),
        }),
      ),
    })
    .nullable()
    .describe('Models that called or judged; null if there were none.'),
})

const rateSchema = z.object({
  runs: z.int().describe('Number of runs, without skipped runs.'),
  passed: z.int(),
  undecided: z.int().describe('Failed runs in which a model failed, or its judge was unclear.'),
  rate: z.number().describe('Share of passed runs, 0 to 1.'),
  low: z.number().describe("Lower end of the 95 % interval of the rate, by Wilson's formula."),
  high: z.number(),
})

const reportSchema = z.object({
  version: z.literal(SCENARIO_REPORT_VERSION),
  startedAt: z.iso.datetime(),
  realMs: z.number(),
  passed: z.int(),
  failed: z.int(),
  skipped: z.int(),
  results: z.array(resultSchema),
  rates: z.array(rateSchema.extend({ agent: z.string(), name: z.string() })).describe('By scenario.'),
  rate: rateSchema.nullable().describe('Rate of all runs; null if there was no run.'),
  passAll: z
    .array(z.object({ k: z.int(), rate: z.number().describe('0 to 1.') }))
    .default([])
    .describe('pass^k: mean share of scenarios of which k runs all pass. Empty in reports of earlier builds.'),
  models: z
    .object({
      requests: z.int(),
      currency: z.string(),
      cost: z.number().nullable().describe('Null: unknown.'),
      unknown: z.string().nullable(),
    })
    .nullable()
    .describe('Cost of callers and judges that are models; null if models were not allowed.'),
})

export type ScenarioReport = z.output<typeof reportSchema>

/** `schema/scenario-report.schema.json`. */
export function scenarioReportJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(reportSchema, { io: 'output' })
  return {
    ...schema,
    title: 'Mkondo scenario report',
    description: 'Results of the scenarios of one run. Phone numbers are masked.',
  }
}

/** The results as JSON, with every phone number masked. */
export function scenarioReport(
  results: readonly ScenarioResult[],
  run: { readonly startedAt: string; readonly realMs: number; readonly models: ModelsUsed | null },
): ScenarioReport {
  const count = (status: ScenarioResult['status']): number =>
    results.filter((result) => result.status === status).length
  const rates = [...new Set(results.map(({ scenario }) => scenario))].flatMap((scenario) => {
    const rate = passRate(results.filter((result) => result.scenario === scenario))
    return rate === null ? [] : [{ agent: scenario.agent, name: scenario.name, ...rate }]
  })
  const report: ScenarioReport = {
    version: SCENARIO_REPORT_VERSION,
    startedAt: run.startedAt,
    realMs: Math.round(run.realMs),
    passed: count('passed'),
    failed: count('failed'),
    skipped: count('skipped'),
    results: results.map(resultOf),
    rates,
    rate: passRate(results),
    passAll: passAllOf(rates),
    models: run.models,
  }
  return maskedDocument(report)
}

/** Values of a call without a record. */
const NO_RECORD = {
  ...{ outcome: null, endReason: null, backend: null, greetingMs: null, escalation: null },
  ...{ toolCalls: [], turns: [], bargeIns: [], claims: [] },
}

function resultOf({ scenario, call, realMs, ...run }: ScenarioResult): Result {
  return resultSchema.parse({
    ...run,
    ...{ name: scenario.name, agent: scenario.agent, file: scenario.file, realMs: Math.round(realMs) },
    call: call && {
      ...{ ...NO_RECORD, ...call.record },
      ...{ callSid: call.callSid, ended: call.ended, durationMs: Math.round(call.durationMs) },
      transcript: call.lines.map(({ startMs, endMs, interrupted = false, ...line }) => ({
        ...{ ...line, startMs: Math.round(startMs), endMs: Math.round(endMs), interrupted },
      })),
      dials: call.dials.map((dial) => dial.outcome),
    },
    judged: call?.models ?? null,
  })
}

/** @returns a copy of `value` with all phone numbers in its texts masked; times and the SIDs of calls stay */
export function maskedDocument<T>(value: T): T {
  if (typeof value === 'string') {
    const [time = ''] = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{3})?)?(?:Z|[+-]\d\d:\d\d)?(?!\d)/.exec(value) ?? []
    return (time + maskNumbersIn(value.slice(time.length))) as T
  }
  if (Array.isArray(value)) return value.map(maskedDocument) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) => [
      name,
      name === 'callSid' ? (entry as unknown) : maskedDocument(entry),
    ]),
  ) as T
}

type Result = ScenarioReport['results'][number]
type Rate = NonNullable<ScenarioReport['rate']>
type Line = NonNullable<Result['call']>['transcript'][number]

/** Number of lines of the conversation shown around the position of a fault. */
const LINES_BEFORE = 3
const LINES_AFTER = 2
const LINES_AT_THE_END = 6

/** Colours of a report. `NO_PAINT` is for files. */
interface Paint {
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly dim: (text: string) => string
}

const plain = (text: string): string => text
export const NO_PAINT: Paint = { good: plain, bad: plain, dim: plain }
const paint =
  (code: number) =>
  (text: string): string =>
    `${ownSequence(`\u001b[${code}m`)}${text}${ownSequence('\u001b[0m')}`
export const TERMINAL_PAINT: Paint = { good: paint(32), bad: paint(31), dim: paint(2) }

/** The text of one result: one line, and for a failed run its findings with the conversation around them. */
export function resultText(result: Result, { good, bad, dim }: Paint): string {
  const word = { passed: good('ok    '), failed: bad('FAILED'), skipped: dim('skipped') }[result.status]
  const again = result.repetition > 1 ? ` #${result.repetition}` : ''
  const took = result.call === null ? '' : ` (${seconds(result.call.durationMs)} of call in ${seconds(result.realMs)})`
  const why = result.skipped === null ? '' : `: ${result.skipped}`
  const lines = [`${word} ${result.agent}/${result.name}${again} ${dim(`${result.mode}${took}`)}${why}`]
  if (result.status === 'failed') {
    // Findings at the same place of the call share one excerpt of the conversation.
    for (const nearMs of new Set(result.findings.map((finding) => finding.nearMs))) {
      const there = result.findings.filter((finding) => finding.nearMs === nearMs)
      lines.push(
        ...there.map((finding) => `       ${bad(finding.what)}`),
        ...around(result, nearMs).map((line) => dim(`         ${line}`)),
      )
    }
    lines.push(
      dim(`       ${result.file}, seed ${result.seed}${result.call === null ? '' : `, call ${result.call.callSid}`}`),
    )
  }
  return `${lines.join('\n')}\n`
}

/** The last line. */
export function summaryText(
  { passed, failed, skipped, realMs }: Pick<ScenarioReport, 'passed' | 'failed' | 'skipped' | 'realMs'>,
  { good, bad }: Paint,
): string {
  const rest = skipped === 0 ? '' : `, ${skipped} skipped`
  return `\n${failed === 0 ? good(`${passed} passed`) : bad(`${failed} failed, ${passed} passed`)}${rest} in ${seconds(realMs)}\n`
}

/**
 * The share of runs that passed, by scenario, with its interval. Empty if each scenario ran once and no model judged.
 */
export function ratesText(
  { rates, rate, passAll, results, models }: Pick<ScenarioReport, 'rates' | 'rate' | 'passAll' | 'results' | 'models'>,
  { dim }: Paint,
): string {
  const cost = models === null || models.requests === 0 ? '' : `${modelsText(models)}\n`
  if (rate === null || results.every(({ repetition, judged }) => repetition === 1 && judged === null)) return cost
  const line = (name: string, { runs, passed, undecided, ...share }: Rate): string => {
    const [part, low, high] = [share.rate, share.low, share.high].map((one) => Math.round(one * 100))
    const open = undecided === 0 ? '' : `; ${undecided} undecided`
    return `  ${passed} of ${runs}, ${part} % (${low} to ${high} %)  ${name}${open}\n`
  }
  const lines = [...rates.map((one) => line(`${one.agent}/${one.name}`, one)), line('all', rate)]
  const all = passAll.filter(({ k }) => k > 1).map((one) => `  pass^${one.k} ${Math.round(one.rate * 100)} %`)
  const allText = all.length === 0 ? '' : `  all of k runs of a scenario passed:${all.join('')}\n`
  return `\npassed, with the 95 % interval\n${lines.join('')}${allText}${dim(cost)}`
}

function modelsText({ requests, currency, cost, unknown }: NonNullable<ScenarioReport['models']>): string {
  return `${requests} requests to models, ${cost === null ? `cost unknown: ${unknown ?? ''}` : `${cost.toFixed(4)} ${currency}`}`
}

/** The conversation around `atMs`, or its end if `atMs` is null, as lines of text. */
function around(result: Result, atMs: number | null): string[] {
  const all = result.call?.transcript ?? []
  const last = atMs === null ? all.length - 1 : all.findLastIndex((line) => line.startMs <= atMs)
  const from = atMs === null ? Math.max(0, all.length - LINES_AT_THE_END) : Math.max(0, last - LINES_BEFORE + 1)
  const to = atMs === null ? all.length : last + 1 + LINES_AFTER
  return [...(from > 0 ? ['...'] : []), ...all.slice(from, to).map(lineText), ...(to < all.length ? ['...'] : [])]
}

/** A line of the conversation: its time, role and text. */
function lineText({ role, text, startMs, interrupted }: Line): string {
  return `${seconds(startMs).padStart(7)} ${role.padEnd(7)} ${text}${interrupted ? ' (interrupted)' : ''}`
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

/** The results as JUnit XML: one suite for each agent, one case for each run. Times are real durations. */
export function junitXml(report: ScenarioReport): string {
  const agents = new Set(report.results.map((result) => result.agent))
  const root: XmlElement = {
    name: 'testsuites',
    attributes: {
      name: 'mkondo simulate',
      tests: report.results.length,
      failures: report.failed,
      skipped: report.skipped,
      errors: 0,
      time: xmlSeconds(report.realMs),
    },
    content: [...agents].map((agent) => suiteOf(agent, report)),
  }
  return xmlDocument(root, 'lines')
}

function suiteOf(agent: string, report: ScenarioReport): XmlElement {
  const results = report.results.filter((result) => result.agent === agent)
  const count = (status: Result['status']): number => results.filter((result) => result.status === status).length
  return {
    name: 'testsuite',
    attributes: {
      name: agent,
      tests: results.length,
      failures: count('failed'),
      skipped: count('skipped'),
      errors: 0,
      timestamp: report.startedAt,
      time: xmlSeconds(results.reduce((sum, result) => sum + result.realMs, 0)),
    },
    content: results.map(caseOf),
  }
}

function caseOf(result: Result): XmlElement {
  const again = result.repetition > 1 ? ` #${result.repetition}` : ''
  const seed = { name: 'property', attributes: { name: 'seed', value: result.seed } }
  const content: XmlElement[] = [{ name: 'properties', content: [seed] }]
  if (result.status === 'skipped') content.push({ name: 'skipped', attributes: { message: result.skipped ?? '' } })
  // All findings go into one element, because readers of the format ignore further failures of a case.
  if (result.findings.length > 0) {
    const text = result.findings
      .map((finding) => [finding.what, ...around(result, finding.nearMs).map((line) => `  ${line}`)].join('\n'))
      .join('\n\n')
    const message = result.findings.map((finding) => finding.what).join('; ')
    content.push({ name: 'failure', attributes: { type: 'expectation', message }, content: text })
  }
  const { call } = result
  if (call !== null && result.status === 'failed') {
    const lines = [
      `call ${call.callSid}: ${call.outcome ?? 'no record'}, ${call.ended}`,
      ...call.transcript.map(lineText),
    ]
    content.push({ name: 'system-out', content: lines.join('\n') })
  }
  return {
    name: 'testcase',
    attributes: {
      name: `${result.name}${again} (${result.mode})`,
      classname: result.agent,
      file: result.file,
      time: xmlSeconds(result.realMs),
    },
    content,
  }
}

function xmlSeconds(ms: number): string {
  return (ms / 1000).toFixed(3)
}

/** The findings as SARIF 2.1.0: a rule for each scenario, a result for each failed run, at the scenario's file. */
export function sarif({ results }: Pick<ScenarioReport, 'results'>): object {
  const ruleOf = ({ agent, name }: Result): string => `${agent}/${name}`
  const failed = results.filter(({ status }) => status === 'failed')
  const rules = [...new Set(failed.map(ruleOf))]
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'mkondo simulate',
            version: packageVersion(),
            rules: rules.map((id) => ({ id, shortDescription: { text: `The scenario ${id} passes.` } })),
          },
        },
        results: failed.map((result) => ({
          ruleId: ruleOf(result),
          ruleIndex: rules.indexOf(ruleOf(result)),
          level: 'error',
          message: {
            text: result.findings
              .flatMap(({ what, nearMs }) => [what, ...around(result, nearMs).map((line) => `  ${line}`)])
              .join('\n'),
          },
          locations: [
            {
              physicalLocation: {
                artifactLocation: { uri: fileUri(result.file) },
                region: { startLine: 1 },
              },
            },
          ],
          properties: { mode: result.mode, seed: result.seed, repetition: result.repetition },
        })),
      },
    ],
  }
}

/** A path for a file below the working folder, which code hosts show; for other files a URL. */
function fileUri(file: string): string {
  const path = relative(process.cwd(), file)
  return path.startsWith('..') || isAbsolute(path)
    ? pathToFileURL(file).href
    : path.split(sep).map(encodeURIComponent).join('/')
}
