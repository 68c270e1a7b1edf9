import { basename } from 'node:path'
import { faultsOf } from '../../agents/faults.js'
import { parseYaml } from '../../agents/yaml-source.js'
import { GatewayError } from '../../core/errors.js'
import { scriptOf } from '../script-file.js'
import { contradictionsIn } from './contradictions.js'
import { needsSound, scenarioJsonSchema, scenarioSchema, type ScenarioFile } from './scenario-schema.js'
import type { ExpectedCall, ExpectedEscalation, Expectations, Range, Scenario } from './scenario.js'
import { textPattern, type TextPattern } from './text-pattern.js'

const FAULTS_SHOWN_MAX = 20
let jsonSchema: Readonly<Record<string, unknown>> | null = null

/**
 * Reads one scenario.
 * @param file its name, for messages
 * @throws GatewayError SCRIPT_INVALID with every fault, one a line, as `file:line:col: what`
 */
export function parseScenario(text: string, file: string): Scenario {
  const source = parseYaml(text, { noun: 'a scenario', manual: 'docs/SIMULATOR.md' })
  if (!('value' in source)) throw invalid(file, source)
  const parsed = scenarioSchema.safeParse(source.value)
  if (!parsed.success) {
    jsonSchema ??= scenarioJsonSchema()
    throw invalid(file, faultsOf(parsed.error.issues, jsonSchema, source.value, 'a scenario')
      .map((fault) => ({ ...source.locate(fault.path, fault.key), what: fault.what })))
  }
  const contradictions = contradictionsIn(parsed.data)
  if (contradictions.length > 0) throw invalid(file, contradictions.map(({ path, what }) => ({ ...source.locate(path), what })))
  return scenarioOf(parsed.data, file)
}

function invalid(file: string, faults: readonly { readonly line: number; readonly col: number; readonly what: string }[]): GatewayError {
  const lines = [...faults].sort((a, b) => a.line - b.line || a.col - b.col).slice(0, FAULTS_SHOWN_MAX)
    .map(({ line, col, what }) => `${file}:${line}:${col}: ${what}`)
  if (faults.length > FAULTS_SHOWN_MAX) lines.push(`and ${faults.length - FAULTS_SHOWN_MAX} more`)
  return new GatewayError('SCRIPT_INVALID', lines.join('\n'))
}

function scenarioOf(parsed: ScenarioFile, file: string): Scenario {
  const { caller, carrier, human, line, noise } = parsed
  const name = parsed.name ?? basename(file).replace(/\.ya?ml$/, '')
  const party = (value: string): string => (value === 'withheld' ? '' : value)
  return {
    file, name, agent: parsed.agent,
    mode: parsed.mode ?? (needsSound(parsed) ? 'audio' : parsed.at === undefined ? null : 'text'),
    seed: parsed.seed,
    atWallMs: parsed.at === undefined ? null : Date.parse(parsed.at),
    timeoutMs: parsed.timeoutS * 1000,
    from: party(caller.number), to: party(caller.calls), voice: caller.voice, pace: caller.pace,
    script: scriptOf({ name, ...caller }),
    line: {
      rateHz: line?.rateHz ?? 8000,
      noise: noise ?? null,
      loss: line?.loss === undefined ? null : { share: line.loss.percent / 100, burstFrames: line.loss.burstFrames },
      jitterMs: line?.jitterMs ?? null,
      stalls: line?.stalls ?? [],
    },
    afterStream: carrier.afterStream, ignoreKill: carrier.ignoreKill,
    human: { ...human, greeting: 'Hello, how can I help you?' },
    expect: expectationsOf(parsed.expect),
  }
}

function expectationsOf(expect: ScenarioFile['expect']): Expectations {
  const { escalated } = expect
  return {
    outcomes: listed(expect.outcome), endReasons: listed(expect.endReason),
    called: expect.called.map((one): ExpectedCall => ({ tool: one.tool, args: argumentsOf(one.with), times: rangeOf(one.times) })),
    notCalled: expect.notCalled.map((one): ExpectedCall => (typeof one === 'string'
      ? { tool: one, args: [], times: { min: 0, max: 0 } }
      : { tool: one.tool, args: argumentsOf(one.with), times: { min: 0, max: 0 } })),
    said: patternsOf(expect.said), neverSaid: patternsOf(expect.neverSaid), understood: patternsOf(expect.understood),
    escalated: escalated === undefined ? null : typeof escalated === 'boolean' ? escalated : escalationOf(escalated),
    turns: expect.turns === undefined ? null : rangeOf(expect.turns),
    bargeIns: expect.bargeIns === undefined ? null : rangeOf(expect.bargeIns),
    withinMs: expect.withinMs,
  }
}

function escalationOf(expected: Exclude<ScenarioFile['expect']['escalated'], boolean | undefined>): ExpectedEscalation {
  return {
    reason: expected.reason === undefined ? null : textPattern(expected.reason),
    summary: expected.summary === undefined ? null : textPattern(expected.summary),
    identity: expected.identity === undefined ? null : argumentsOf(expected.identity),
    tried: expected.tried, transcript: patternsOf(expected.transcript),
    outcome: expected.outcome ?? null, strategy: expected.strategy ?? null, callback: expected.callback ?? null,
  }
}

function argumentsOf(given: Readonly<Record<string, string | number | boolean | null>>): ExpectedCall['args'] {
  return Object.entries(given).map(([name, value]) => [name, typeof value === 'string' ? textPattern(value) : value] as const)
}

function patternsOf(given: string | readonly string[] | undefined): TextPattern[] {
  return listed(given).map(textPattern)
}

function listed<T extends string>(given: T | readonly T[] | undefined): readonly T[] {
  if (given === undefined) return []
  return typeof given === 'string' ? [given] : given
}

function rangeOf(given: number | { readonly min?: number | undefined; readonly max?: number | undefined }): Range {
  return typeof given === 'number' ? { min: given, max: given } : { min: given.min ?? null, max: given.max ?? null }
}
