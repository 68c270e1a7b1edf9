import type { Dirent } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { callVariablesSchema } from '../../agents/call-variables.js'
import { faultsOf } from '../../agents/faults.js'
import type { CallVariables } from '../../agents/template.js'
import { parseYaml } from '../../agents/yaml-source.js'
import type {
  CallOutcome,
  EndReason,
  EscalationOutcome,
  EscalationStrategy,
  WaitRecord,
} from '../../call/documents/record.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { isAgentName } from '../../core/ids.js'
import type { LegRateHz } from '../../core/units.js'
import { endReasonSchema } from '../../call/documents/record.js'
import {
  AFTER_STREAM,
  type AfterStream,
  CALLER_VOICES,
  type CallerVoice,
  HUMAN_OUTCOMES,
  INBOUND_OUTCOMES,
} from '../choices.js'
import type { SimulatedHuman } from '../call-options.js'
import type { CallerScript } from '../caller-script.js'
import {
  ECHO_DELAY_MS_MAX,
  ECHO_PHONES,
  type LineEcho,
  type LineLoss,
  type Noise,
  NOISE_KINDS,
  type Stall,
} from '../line.js'
import { scriptKeys, scriptOf } from '../script-file.js'
import { languageCode } from '../../call/phrase.js'
import { spokenWords, textPattern, type TextPattern } from '../spoken-words.js'

/** Scenario files of one run, and the size of one. */
const SCENARIOS_MAX = 1000
const SCENARIO_FILE_BYTES_MAX = 256 * 1024

/** How a call is placed: spoken through the carrier's protocol, or as text on its own clock. */
export type CallMode = 'audio' | 'text'

/** One scenario: who calls, what they do, over what line, and what must come of it. */
export interface Scenario {
  /** Path of the file, for messages. */
  readonly file: string
  readonly name: string
  readonly agent: string
  /** The only mode it can run in; null for either. */
  readonly mode: CallMode | null
  readonly seed: number
  /** Calendar time at which the call is placed, in text mode; null for now. */
  readonly atWallMs: number | null
  readonly timeoutMs: number
  readonly from: string
  readonly to: string
  /** The agent calls them, with these variables; null: they call. */
  readonly placed: { readonly variables: CallVariables } | null
  readonly voice: CallerVoice
  /** 1 is the voice's own pace, 1.2 a fifth faster. */
  readonly pace: number
  readonly script: CallerScript
  readonly line: ScenarioLine
  readonly afterStream: AfterStream
  readonly ignoreKill: boolean
  readonly human: SimulatedHuman
  /** Outcomes of tools that wait; each is used once, in order. */
  readonly settle: readonly SettledTool[]
  readonly expect: Expectations
}

/** What the world outside makes of a tool that waits. */
export interface SettledTool {
  readonly tool: string
  /** From its API's answer, in the call's own time. */
  readonly afterMs: number
  readonly status: 'progress' | 'succeeded' | 'failed'
  readonly result: unknown
}

interface ScenarioLine {
  readonly rateHz: LegRateHz
  readonly noise: Noise | null
  readonly echo: LineEcho | null
  readonly loss: LineLoss | null
  /** Longest network stall; stalls come about once a second. Null for none. */
  readonly jitterMs: number | null
  readonly stalls: readonly Stall[]
}

/** At least and at most; null where there is no bound. */
export interface Range {
  readonly min: number | null
  readonly max: number | null
}

export interface ExpectedCall {
  readonly tool: string
  /** Arguments that the call must have: a text, a /regex/ or a value; null for an absent argument. */
  readonly args: readonly (readonly [name: string, value: TextPattern | number | boolean | null])[]
  readonly times: Range
}

export interface ExpectedEscalation {
  readonly reason: TextPattern | null
  readonly summary: TextPattern | null
  readonly identity: readonly (readonly [name: string, value: TextPattern | number | boolean | null])[] | null
  /** Tools that the handoff packet must name as tried. */
  readonly tried: readonly string[]
  readonly transcript: readonly TextPattern[]
  readonly outcome: EscalationOutcome | null
  readonly strategy: EscalationStrategy | null
  /** Whether the caller was to be called back. */
  readonly callback: boolean | null
}

/** What is said, in an entry of the transcript. */
export interface ExpectedWords {
  readonly pattern: TextPattern
  /** Code of the language that the call is in then; null for any. */
  readonly language: string | null
}

export interface Expectations {
  /** Any of them; empty for all. */
  readonly outcomes: readonly CallOutcome[]
  readonly endReasons: readonly EndReason[]
  readonly called: readonly ExpectedCall[]
  readonly notCalled: readonly ExpectedCall[]
  readonly said: readonly ExpectedWords[]
  readonly neverSaid: readonly TextPattern[]
  /** What the gateway must have understood of the caller. */
  readonly understood: readonly TextPattern[]
  /** False: there must be no escalation. True: there must be one. Null: both are allowed. */
  readonly escalated: ExpectedEscalation | boolean | null
  /** Code of the call's language at its end; null for any. */
  readonly language: string | null
  /** Of the analysis of the call, by name; none: it is not analysed. */
  readonly fields: ExpectedCall['args']
  /** The waits of the record, in order. */
  readonly waits: readonly {
    readonly tool: string
    readonly status: WaitRecord['status']
    readonly told: boolean | null
  }[]
  /** Stages that the call was in, in this order, the last of them at its end; empty: any. */
  readonly stages: readonly string[]
  /** Agents that had the call, in order; empty: any. */
  readonly agents: readonly string[]
  readonly turns: Range | null
  readonly bargeIns: Range | null
  readonly withinMs: Readonly<Partial<Record<TimedThing, number>>>
}

/** Durations with a limit. Every occurrence in the call must keep it. */
const TIMED_THINGS = ['greeting', 'firstSound', 'answer', 'bargeInStop', 'call'] as const
export type TimedThing = (typeof TIMED_THINGS)[number]

/** Version of the scenario format; docs/SIMULATOR.md explains every key, docs/FORMATS.md the versions. */
const SCENARIO_VERSION = 1

const FROM = '+254700000001'
const TO = '+254700000000'

const pattern = z
  .string()
  .min(1)
  .max(500)
  .refine(isUsablePattern, { error: 'must be a text, or a /regular expression/ that can be read' })
const patterns = z.union([pattern, z.array(pattern).min(1).max(50)])
const number = z
  .string()
  .regex(/^(\+?\d{3,15}|withheld)$/, { error: 'must be a phone number such as "+254700000001" in quotes, or withheld' })
const ms = z.int().min(0).max(3_600_000)
const count = z.int().min(0).max(1000)
const range = z.union([count, z.strictObject({ min: count.optional(), max: count.optional() })])
const toolName = z.string().min(1).max(64)
const stageName = z.string().min(1).max(40)
const agentName = z.string().refine(isAgentName, { error: 'must be the name of an agent' })
const argument = z.union([pattern, z.number(), z.boolean(), z.null()])
const values = z.record(z.string(), argument)
const anyOf = <const T extends readonly [string, ...string[]]>(names: T) =>
  z.union([z.enum(names), z.array(z.enum(names)).min(1).max(20)], {
    error: `must be one of ${names.join(', ')}, or a list of them`,
  })

const expectedWords = z.union([
  pattern,
  z.strictObject({ text: pattern, language: languageCode.describe('In which the call is then, such as sw.') }),
])

const expectedCall = z.strictObject({
  tool: toolName.describe("Name of the tool; escalate_to_human and end_call are the gateway's own."),
  with: values
    .default({})
    .describe(
      'Arguments that must be among those of the call: a text, a /regular expression/, a value, or null for an absent one.',
    ),
  times: range.default({ min: 1 }).describe('How often. Default: at least once.'),
})

const expectSchema = z
  .strictObject({
    outcome: anyOf(INBOUND_OUTCOMES).optional().describe('How the call came out; one of these.'),
    endReason: z
      .union([endReasonSchema, z.array(endReasonSchema).min(1).max(20)], {
        error: `must be one of ${endReasonSchema.options.join(', ')}, or a list of them`,
      })
      .optional()
      .describe('What ended it; one of these.'),
    called: z.array(expectedCall).max(50).default([]).describe('Tools that were called.'),
    notCalled: z
      .array(z.union([toolName, z.strictObject({ tool: toolName, with: values.default({}) })]))
      .max(50)
      .default([])
      .describe('Tools that were not called; with `with`, not with these arguments.'),
    said: z
      .union([expectedWords, z.array(expectedWords).min(1).max(50)])
      .optional()
      .describe(
        'What the agent (or the carrier for it) said: words, or a /regular expression/ over one entry of the transcript; or `{ text, language }`. Each of them, in any order.',
      ),
    neverSaid: patterns.optional().describe('What was never said to the caller.'),
    understood: patterns.optional().describe('What the gateway understood of the caller.'),
    language: languageCode.optional().describe('The language of the call at its end, such as sw.'),
    fields: values
      .optional()
      .describe("Fields of the agent's `analysis`: a value, a text or a /regex/; null for one that is not known."),
    stage: z
      .union([stageName, z.array(stageName).min(1).max(20)])
      .optional()
      .describe('The stage that the call ended in; of a list the last, and before it the others in this order.'),
    agents: z
      .array(agentName)
      .min(1)
      .max(5)
      .optional()
      .describe('The agents that had the call, in order: who answered, and those to whom it was handed over.'),
    escalated: z
      .union([
        z.boolean(),
        z.strictObject({
          reason: pattern.optional(),
          summary: pattern.optional(),
          identity: values.optional().describe('Fields of the verified identity.'),
          tried: z.array(toolName).max(20).default([]).describe('Tools that the human is told were tried.'),
          transcript: patterns.optional().describe('Words that the transcript given to the human has.'),
          outcome: z.enum([...HUMAN_OUTCOMES, 'failed']).optional(),
          callback: z.boolean().optional().describe('Whether the caller was to be called back.'),
          strategy: z.enum(['after-stream-dial', 'supervision', 'conference', 'callback']).optional(),
        }),
      ])
      .optional()
      .describe('Whether a human was asked for, and what they were given.'),
    waits: z
      .array(
        z.strictObject({
          tool: toolName,
          status: z.enum(['pending', 'succeeded', 'failed', 'expired']),
          told: z.boolean().optional().describe('Whether the caller heard the outcome.'),
        }),
      )
      .max(20)
      .default([])
      .describe('How the tools that wait ended, in their order.'),
    turns: range.optional().describe('Turns of the caller that were answered or waited for an answer.'),
    bargeIns: range.optional().describe('Interruptions that stopped the agent.'),
    withinMs: z
      .partialRecord(z.enum(TIMED_THINGS), ms)
      .default({})
      .describe(
        "Longest allowed: the greeting after the stream opened, the first sound and the answer after the caller stopped, the agent's silence after an interruption, the whole stream.",
      ),
  })
  .describe('What must come of the call; everything that is set has to hold.')

/** The keys of a scenario file. `contradictionsIn` finds contradictions between them. */
const scenarioSchema = z.strictObject({
  version: z.literal(SCENARIO_VERSION, { error: `must be ${SCENARIO_VERSION}` }),
  name: z.string().min(1).max(100).optional().describe('Default: the name of the file.'),
  description: z.string().max(1000).optional(),
  agent: z
    .string()
    .refine(isAgentName, { error: 'must be a name of a-z 0-9 -' })
    .describe('Name of the agent that is called.'),
  mode: z
    .enum(['audio', 'text'])
    .optional()
    .describe('The only mode it may run in. Default: text, or audio where the line or a recording needs it.'),
  seed: z.int().min(0).max(0x7fff_ffff).default(1).describe('For noise, losses and hold-ups.'),
  at: z.iso
    .datetime({ offset: true, error: 'must be a time such as "2026-11-20T10:00:00+03:00"' })
    .optional()
    .describe('Calendar time of the call; only in text mode. Default: now.'),
  timeoutS: z.int().min(5).max(3600).default(120).describe('A call that goes on longer is ended and has failed.'),
  placed: z
    .strictObject({ variables: callVariablesSchema.default({}).describe('Those of the call, as a row has them.') })
    .optional()
    .describe('The agent calls them, as in a campaign; only in text mode. Default: they call.'),
  caller: z.strictObject({
    number: number.default(FROM).describe('The number they call from.'),
    calls: number.default(TO).describe('The number they call.'),
    voice: z.enum(CALLER_VOICES).default('rms'),
    pace: z.number().min(0.5).max(2).default(1).describe('How fast they speak; 1.2 is a fifth faster.'),
    ...scriptKeys,
  }),
  noise: z
    .strictObject({
      kind: z.enum(NOISE_KINDS).default('white'),
      snrDb: z.int().min(0).max(60).describe('How far the noise is below the voice.'),
    })
    .optional()
    .describe("What else the caller's phone hears."),
  line: z
    .strictObject({
      rateHz: z
        .union([z.literal(8000), z.literal(16000)])
        .default(8000)
        .describe('8000 is a phone line, 16000 a softphone without one.'),
      echo: z
        .strictObject({
          levelDb: z.int().min(-60).max(0).describe('Its level against what was sent.'),
          delayMs: z.int().min(20).max(ECHO_DELAY_MS_MAX).default(80),
          phone: z
            .enum(ECHO_PHONES)
            .default('plain')
            .describe('A speakerphone also clips, moves its delay and levels what it hears.'),
        })
        .optional()
        .describe("The agent's voice comes back out of the caller's loudspeaker."),
      loss: z
        .strictObject({
          percent: z.number().min(0).max(50),
          burstFrames: z
            .number()
            .min(1)
            .max(25)
            .default(2)
            .describe('How many frames of 20 ms are lost in a row, on average.'),
        })
        .optional()
        .describe('Packets that are lost between phone and carrier, both ways.'),
      jitterMs: z
        .int()
        .min(1)
        .max(5000)
        .optional()
        .describe('The network holds the audio up about once a second, this long at most.'),
      stalls: z
        .array(z.strictObject({ atMs: ms, ms: z.int().min(20).max(10_000) }))
        .max(50)
        .default([])
        .describe('Hold-ups at set times since the stream opened.'),
    })
    .optional(),
  carrier: z
    .strictObject({
      afterStream: z.enum(AFTER_STREAM).default('continues').describe('What follows the end of the stream.'),
      ignoreKill: z.boolean().default(false).describe('The carrier does not honour killAudio.'),
    })
    .prefault({}),
  human: z
    .strictObject({
      outcome: z.enum(HUMAN_OUTCOMES).default('answered'),
      ringMs: z.int().min(0).max(120_000).default(2000),
      talkMs: z.int().min(0).max(120_000).default(1000),
    })
    .prefault({})
    .describe('The person that an escalation rings.'),
  settle: z
    .array(
      z.strictObject({
        tool: toolName,
        afterMs: ms.describe("From the API's answer."),
        status: z.enum(['progress', 'succeeded', 'failed']).default('succeeded'),
        result: z.unknown().default(null).describe('As an API posts it.'),
      }),
    )
    .max(20)
    .default([])
    .describe(
      'Outcomes of tools that wait: one for each wait, in order. Text mode only: a spoken call gets them from its API.',
    ),
  expect: expectSchema,
})

/** A scenario file after its keys were checked. */
type ScenarioFile = z.output<typeof scenarioSchema>

/** The JSON Schema with which editors check scenarios: `schema/scenario.schema.json`. */
export function scenarioJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(scenarioSchema, { io: 'input', unrepresentable: 'any' })
  return {
    ...schema,
    title: 'Mkondo scenario',
    description: 'One simulated call and what must come of it. Every key is explained in docs/SIMULATOR.md.',
  }
}

/** Whether the scenario can only be spoken: it has noise, a faulty line, or a recording to play. */
function needsSound(parsed: ScenarioFile): boolean {
  const { line } = parsed
  const faultyLine =
    line !== undefined &&
    (line.echo !== undefined || line.loss !== undefined || line.jitterMs !== undefined || line.stalls.length > 0)
  return (
    parsed.noise !== undefined ||
    faultyLine ||
    parsed.carrier.ignoreKill ||
    [...parsed.caller.steps, ...parsed.caller.rules].some((one) => one.play !== undefined)
  )
}

function isUsablePattern(source: string): boolean {
  try {
    textPattern(source)
    return true
  } catch {
    return false
  }
}

const FAULTS_SHOWN_MAX = 20
let jsonSchema: Readonly<Record<string, unknown>> | null = null

/**
 * Reads one scenario.
 * @param file its name, for messages
 * @throws GatewayError SCRIPT_INVALID with one line for each fault: `file:line:col: what`
 */
export function parseScenario(text: string, file: string): Scenario {
  const source = parseYaml(text, { noun: 'a scenario', manual: 'docs/SIMULATOR.md' })
  if (!('value' in source)) throw invalid(file, source)
  const parsed = scenarioSchema.safeParse(source.value)
  if (!parsed.success) {
    jsonSchema ??= scenarioJsonSchema()
    throw invalid(
      file,
      faultsOf(parsed.error.issues, jsonSchema, source.value, 'a scenario').map((fault) => ({
        ...source.locate(fault.path, fault.key),
        what: fault.what,
      })),
    )
  }
  const contradictions = contradictionsIn(parsed.data)
  if (contradictions.length > 0)
    throw invalid(
      file,
      contradictions.map(({ path, what }) => ({ ...source.locate(path), what })),
    )
  return scenarioOf(parsed.data, file)
}

function invalid(
  file: string,
  faults: readonly { readonly line: number; readonly col: number; readonly what: string }[],
): GatewayError {
  const lines = [...faults]
    .sort((a, b) => a.line - b.line || a.col - b.col)
    .slice(0, FAULTS_SHOWN_MAX)
    .map(({ line, col, what }) => `${file}:${line}:${col}: ${what}`)
  if (faults.length > FAULTS_SHOWN_MAX) lines.push(`and ${faults.length - FAULTS_SHOWN_MAX} more`)
  return new GatewayError('SCRIPT_INVALID', lines.join('\n'))
}

function scenarioOf(parsed: ScenarioFile, file: string): Scenario {
  const { caller, carrier, human, line, noise } = parsed
  const name = parsed.name ?? basename(file).replace(/\.ya?ml$/, '')
  const party = (value: string): string => (value === 'withheld' ? '' : value)
  return {
    file,
    name,
    agent: parsed.agent,
    mode:
      parsed.mode ??
      (needsSound(parsed)
        ? 'audio'
        : parsed.at === undefined && parsed.settle.length === 0 && parsed.placed === undefined
          ? null
          : 'text'),
    seed: parsed.seed,
    atWallMs: parsed.at === undefined ? null : Date.parse(parsed.at),
    timeoutMs: parsed.timeoutS * 1000,
    from: party(caller.number),
    to: party(caller.calls),
    placed: parsed.placed ?? null,
    voice: caller.voice,
    pace: caller.pace,
    script: scriptOf({ name, ...caller }),
    line: {
      rateHz: line?.rateHz ?? 8000,
      noise: noise ?? null,
      echo: line?.echo ?? null,
      loss: line?.loss === undefined ? null : { share: line.loss.percent / 100, burstFrames: line.loss.burstFrames },
      jitterMs: line?.jitterMs ?? null,
      stalls: line?.stalls ?? [],
    },
    afterStream: carrier.afterStream,
    ignoreKill: carrier.ignoreKill,
    human: { ...human, greeting: 'Hello, how can I help you?' },
    settle: parsed.settle,
    expect: expectationsOf(parsed.expect),
  }
}

function expectationsOf(expect: ScenarioFile['expect']): Expectations {
  const { escalated } = expect
  return {
    outcomes: listed(expect.outcome),
    endReasons: listed(expect.endReason),
    called: expect.called.map((one): ExpectedCall => ({
      tool: one.tool,
      args: argumentsOf(one.with),
      times: rangeOf(one.times),
    })),
    notCalled: expect.notCalled.map((one): ExpectedCall =>
      typeof one === 'string'
        ? { tool: one, args: [], times: { min: 0, max: 0 } }
        : { tool: one.tool, args: argumentsOf(one.with), times: { min: 0, max: 0 } },
    ),
    said: listed(expect.said).map((one) =>
      typeof one === 'string'
        ? { pattern: textPattern(one), language: null }
        : { pattern: textPattern(one.text), language: one.language },
    ),
    language: expect.language ?? null,
    fields: argumentsOf(expect.fields ?? {}),
    stages: listed(expect.stage),
    agents: expect.agents ?? [],
    neverSaid: patternsOf(expect.neverSaid),
    understood: patternsOf(expect.understood),
    escalated: escalated === undefined ? null : typeof escalated === 'boolean' ? escalated : escalationOf(escalated),
    waits: expect.waits.map(({ tool, status, told = null }) => ({ tool, status, told })),
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
    tried: expected.tried,
    transcript: patternsOf(expected.transcript),
    outcome: expected.outcome ?? null,
    strategy: expected.strategy ?? null,
    callback: expected.callback ?? null,
  }
}

function argumentsOf(given: Readonly<Record<string, string | number | boolean | null>>): ExpectedCall['args'] {
  return Object.entries(given).map(
    ([name, value]) => [name, typeof value === 'string' ? textPattern(value) : value] as const,
  )
}

function patternsOf(given: string | readonly string[] | undefined): TextPattern[] {
  return listed(given).map(textPattern)
}

function listed<T extends string | { readonly text: string }>(given: T | readonly T[] | undefined): readonly T[] {
  if (given === undefined) return []
  return given instanceof Array ? given : [given]
}

function rangeOf(given: number | { readonly min?: number | undefined; readonly max?: number | undefined }): Range {
  return typeof given === 'number' ? { min: given, max: given } : { min: given.min ?? null, max: given.max ?? null }
}

/** A contradiction between two parts of a scenario, with the path of one of them. */
interface Contradiction {
  readonly path: readonly PropertyKey[]
  readonly what: string
}

/** Every contradiction in a scenario. They are reported before the call is placed. */
function contradictionsIn(scenario: ScenarioFile): Contradiction[] {
  return [
    ...inTheCaller(scenario),
    ...inTheMode(scenario),
    ...inTheTools(scenario),
    ...inTheWords(scenario),
    ...inTheOutcome(scenario),
    ...inTheFigures(scenario),
  ]
}

function inTheCaller({ caller }: ScenarioFile): Contradiction[] {
  const found: Contradiction[] = []
  if (caller.steps.length + caller.rules.length === 0) {
    found.push({
      path: ['caller'],
      what: 'caller has neither steps nor rules; a caller who says nothing has the step wait',
    })
  }
  const end = caller.steps.findIndex((step) => step.hangup === true)
  if (end >= 0 && end < caller.steps.length - 1)
    found.push({
      path: ['caller', 'steps', end + 1],
      what: `caller.steps[${end + 1}] comes after a hangup and is never reached`,
    })
  for (const [index, step] of caller.steps.entries()) {
    if (step.interruptAfterMs !== undefined && step.heard !== undefined) {
      found.push({
        path: ['caller', 'steps', index, 'heard'],
        what: `caller.steps[${index}] interrupts, and so cannot wait for what is heard in the whole turn; use one of heard, interruptAfterMs`,
      })
    }
  }
  return found
}

function inTheMode(scenario: ScenarioFile): Contradiction[] {
  if (scenario.mode === 'text' && needsSound(scenario)) {
    return [
      {
        path: ['mode'],
        what: 'mode is text, but noise, a faulty line, ignoreKill or a played recording need mode audio',
      },
    ]
  }
  if (scenario.at !== undefined && (scenario.mode === 'audio' || needsSound(scenario))) {
    return [{ path: ['at'], what: 'at sets the calendar, which only mode text can' }]
  }
  if (scenario.placed !== undefined && (scenario.mode === 'audio' || needsSound(scenario)))
    return [{ path: ['placed'], what: 'placed needs mode text: in a spoken call the simulated caller calls' }]
  if (scenario.settle.length > 0 && (scenario.mode === 'audio' || needsSound(scenario)))
    return [{ path: ['settle'], what: 'settle needs mode text: a spoken call gets outcomes from the API of its tool' }]
  return []
}

function inTheTools({ expect }: ScenarioFile): Contradiction[] {
  const found: Contradiction[] = []
  const forbidden = new Set(
    expect.notCalled.flatMap((one) => {
      if (typeof one === 'string') return [one]
      return Object.keys(one.with).length === 0 ? [one.tool] : []
    }),
  )
  for (const [index, { tool, times }] of expect.called.entries()) {
    const least = typeof times === 'number' ? times : (times.min ?? 0)
    if (forbidden.has(tool) && least > 0)
      found.push({
        path: ['expect', 'called', index],
        what: `expect.called[${index}]: ${tool} is also under notCalled`,
      })
  }
  return found
}

function inTheWords({ expect }: ScenarioFile): Contradiction[] {
  const plain = (text: string): string => (text.startsWith('/') ? text : spokenWords(text).join(' '))
  const never = listed(expect.neverSaid)
    .filter((text) => !text.startsWith('/'))
    .map(plain)
  return listed(expect.said).flatMap((one, index) => {
    const text = typeof one === 'string' ? one : one.text
    const clash = text.startsWith('/') ? undefined : never.find((one) => ` ${plain(text)} `.includes(` ${one} `))
    return clash === undefined
      ? []
      : [
          {
            path: ['expect', 'said', index],
            what: `expect.said[${index}] holds words that neverSaid forbids: "${clash}"`,
          },
        ]
  })
}

function inTheOutcome({ expect }: ScenarioFile): Contradiction[] {
  const outcomes = listed(expect.outcome)
  const wants = expect.escalated !== undefined && expect.escalated !== false
  const found: Contradiction[] = []
  if (expect.escalated === false && outcomes.length > 0 && outcomes.every((outcome) => outcome === 'escalated')) {
    found.push({ path: ['expect', 'escalated'], what: 'expect.escalated is false, but the outcome is escalated' })
  }
  if (wants && outcomes.length > 0 && outcomes.every((outcome) => outcome === 'contained')) {
    found.push({
      path: ['expect', 'outcome'],
      what: 'expect.outcome is contained, which a call that asked for a human never is',
    })
  }
  const calls = expect.called.findIndex((one) => one.tool === 'escalate_to_human' && one.times !== 0)
  if (expect.escalated === false && calls >= 0) {
    found.push({
      path: ['expect', 'called', calls],
      what: 'expect.escalated is false, but escalate_to_human has to be called',
    })
  }
  return found
}

function inTheFigures({ expect, timeoutS }: ScenarioFile): Contradiction[] {
  const ranges = [
    [['expect', 'turns'], expect.turns],
    [['expect', 'bargeIns'], expect.bargeIns],
    ...expect.called.map((one, index) => [['expect', 'called', index, 'times'], one.times] as const),
  ] as const
  const found: Contradiction[] = ranges.flatMap(([path, range]) =>
    typeof range === 'object' && range.min !== undefined && range.max !== undefined && range.min > range.max
      ? [{ path, what: `min is ${range.min} and max is ${range.max}` }]
      : [],
  )
  const { call } = expect.withinMs
  if (call !== undefined && call > timeoutS * 1000) {
    found.push({
      path: ['expect', 'withinMs', 'call'],
      what: `expect.withinMs.call is ${call}, but the call is ended after timeoutS: ${timeoutS}`,
    })
  }
  return found
}

/**
 * Reads every scenario of the given files and folders (with their subfolders), in the order of their names.
 * @throws GatewayError SCRIPT_INVALID with one line for each fault of each file
 */
export async function findScenarios(paths: readonly string[]): Promise<Scenario[]> {
  const files = [...new Set((await Promise.all(paths.map(filesAt))).flat())]
  if (files.length > SCENARIOS_MAX)
    throw new GatewayError('SCRIPT_INVALID', `${files.length} scenario files; at most ${SCENARIOS_MAX} are run at once`)
  const scenarios: Scenario[] = []
  const faults: string[] = []
  for (const file of files) {
    try {
      scenarios.push(parseScenario(await textOf(file), file))
    } catch (thrown) {
      faults.push(messageOf(thrown))
    }
  }
  if (faults.length > 0) throw new GatewayError('SCRIPT_INVALID', faults.join('\n'))
  const names = new Map<string, string>()
  for (const { name, agent, file } of scenarios) {
    const earlier = names.get(`${agent} ${name}`)
    if (earlier !== undefined)
      throw new GatewayError(
        'SCRIPT_INVALID',
        `${file}: the name "${name}" is already used by ${earlier}; the names of an agent's scenarios must be unique`,
      )
    names.set(`${agent} ${name}`, file)
  }
  return scenarios
}

async function filesAt(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    const entries: Dirent[] = await readdir(path, { recursive: true, withFileTypes: true })
    const found = entries
      .filter((entry) => entry.isFile() && /\.ya?ml$/.test(entry.name) && !entry.name.startsWith('.'))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
    if (found.length > 0) return found
  } catch (cause) {
    throw new GatewayError('SCRIPT_INVALID', `${path} cannot be read: ${messageOf(cause)}`, { cause })
  }
  throw new GatewayError('SCRIPT_INVALID', `${path} has no scenario; put a .yaml file there (docs/SIMULATOR.md)`)
}

async function textOf(file: string): Promise<string> {
  const { size } = await stat(file)
  if (size > SCENARIO_FILE_BYTES_MAX)
    throw new GatewayError(
      'SCRIPT_INVALID',
      `${file}: has ${size} bytes; at most ${SCENARIO_FILE_BYTES_MAX} are allowed`,
    )
  return readFile(file, 'utf8')
}
