import type { Dirent } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { languageModelOptions } from '../../agents/file/backend-options.js'
import { callVariablesSchema } from '../../agents/tools/call-variables.js'
import { CALL_SERVED, endReasonSchema } from '../../call/documents/record.js'
import { languageCode } from '../../call/spoken/localized-text.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { isAgentName } from '../../core/ids.js'
import { AFTER_STREAM, CALLER_VOICES, HUMAN_OUTCOMES } from '../../carrier/choices.js'
import { INBOUND_OUTCOMES } from '../choices.js'
import { ECHO_DELAY_MS_MAX, ECHO_PHONES, NOISE_KINDS } from '../../carrier/line.js'
import { listOf, parseChecked, scriptKeys } from '../script-file.js'
import { spokenWords, textPattern, type TextPattern } from '../spoken-words.js'
import { contradictionIn, TELEPHONE_DIFFERENCES } from '../telephones.js'

/** Maximum number of scenario files of one run, and maximum size of a file. */
const SCENARIOS_MAX = 1000
const SCENARIO_FILE_BYTES_MAX = 256 * 1024
/** Maximum number of answers of a caller that is a language model, and maximum number of a judge's criteria. */
const MODEL_TURNS_MAX = 60
const CRITERIA_MAX = 20

/** Mode of a call: spoken through the carrier's protocol, or as text on its own clock. */
export type CallMode = 'audio' | 'text'

/** Durations that can have a limit. Every occurrence in the call must be within the limit. */
const TIMED_THINGS = ['greeting', 'firstSound', 'answer', 'bargeInStop', 'call'] as const
export type TimedThing = (typeof TIMED_THINGS)[number]

/** Version of the scenario format; docs/SIMULATOR.md explains every key, docs/FORMATS.md the versions. */
const SCENARIO_VERSION = 1

const FROM = '+254700000001'
const TO = '+254700000000'

/** A text, or a /regular expression/. */
const pattern = z
  .string()
  .min(1)
  .max(500)
  .transform((source, context): TextPattern => {
    try {
      return textPattern(source)
    } catch {
      context.addIssue({ code: 'custom', message: 'must be a text, or a /regular expression/ that can be read' })
      return z.NEVER
    }
  })
const patterns = listOf(pattern, 50)
const number = z
  .string()
  .regex(/^(\+?\d{3,15}|withheld)$/, { error: 'must be a phone number such as "+254700000001" in quotes, or withheld' })
  .transform((party) => (party === 'withheld' ? '' : party))
const ms = z.int().min(0).max(3_600_000)
const count = z.int().min(0).max(1000)
/** Minimum and maximum. */
const range = z
  .union([count, z.strictObject({ min: count.optional(), max: count.optional() })])
  .transform((given): Range => (typeof given === 'number' ? { min: given, max: given } : given))
  .superRefine(({ min, max }, context) => {
    if (min !== undefined && max !== undefined && min > max)
      context.addIssue({ code: 'custom', message: `cannot hold: min is ${min} and max is ${max}` })
  })
const toolName = z.string().min(1).max(64)
const stageName = z.string().min(1).max(40)
const agentName = z.string().refine(isAgentName, { error: 'must be the name of an agent' })
const argument = z.union([pattern, z.number(), z.boolean(), z.null()])
const values = z.record(z.string(), argument)

export interface Range {
  readonly min?: number | undefined
  readonly max?: number | undefined
}
/** Expected value of an argument or a field: a text, a /regex/ or a value; null if it must be absent. */
export type ExpectedValues = z.output<typeof values>

/** Words in an entry of the transcript; if no language is given, in any language. */
const expectedWords = z.union([
  pattern.transform((words): ExpectedWords => ({ text: words })),
  z.strictObject({ text: pattern, language: languageCode.describe('Language of the call at that time, such as sw.') }),
])
export interface ExpectedWords {
  readonly text: TextPattern
  readonly language?: string
}

const expectedCall = z.strictObject({
  tool: toolName.describe("Name of the tool; escalate_to_human and end_call are the gateway's own."),
  with: values
    .prefault({})
    .describe(
      'Arguments that the call must have, among others: a text, a /regular expression/, a value, or null for an absent one.',
    ),
  times: range.prefault({ min: 1 }).describe('Number of calls. Default: at least one.'),
})
export type ExpectedCall = Pick<z.output<typeof expectedCall>, 'tool' | 'with'>

const oneOf = (names: readonly string[]): string => `must be one of ${names.join(', ')}, or a list of them`

/** The model of a caller or a judge. */
const llm = languageModelOptions.describe(
  "The service and its model, as in an agent's `backends.cascade.llm`. Default: the text model of the settings.",
)

const modelCaller = z.strictObject({
  persona: z.string().trim().min(1).max(1000).describe('Who calls, how they speak, and in which language.'),
  goal: z
    .string()
    .trim()
    .min(1)
    .max(1000)
    .describe('Purpose of the call, and the condition under which it is reached.'),
  facts: z
    .record(z.string().min(1).max(60), z.union([z.string().max(300), z.number()]))
    .default({})
    .describe('Facts that the caller knows, by name. The caller does not know anything else.'),
  lines: z
    .array(z.string().trim().min(1).max(300))
    .max(MODEL_TURNS_MAX)
    .default([])
    .describe("Example of the caller's words, in order; … is a wait. `mkondo double people` says exactly these words."),
  turns: z
    .int()
    .min(1)
    .max(MODEL_TURNS_MAX)
    .default(12)
    .describe(
      'Maximum number of answers. A call in which the caller has not hung up by then is ended, and has failed.',
    ),
  llm,
})
/** A caller that is a language model. */
export type ModelCaller = z.output<typeof modelCaller>

const judge = z.strictObject({
  criteria: z
    .record(
      z.string().regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be a name of a-z 0-9 -' }),
      z.string().trim().min(1).max(500),
    )
    .refine((criteria) => Object.keys(criteria).length > 0, { error: 'has no criterion' })
    .refine((criteria) => Object.keys(criteria).length <= CRITERIA_MAX, {
      error: `has more than ${CRITERIA_MAX} criteria`,
    })
    .describe(
      'Statements about the agent that must be true in the conversation, in plain words, by name. Each verdict needs words of the agent as its proof.',
    ),
  llm,
})
/** A judge that is a language model. */
export type Judge = z.output<typeof judge>

const expectSchema = z
  .strictObject({
    outcome: listOf(z.enum(INBOUND_OUTCOMES), 20, oneOf(INBOUND_OUTCOMES)).describe(
      'Outcome of the call; one of these.',
    ),
    served: listOf(z.enum(CALL_SERVED), 20, oneOf(CALL_SERVED)).describe('Result for the caller; one of these.'),
    endReason: listOf(endReasonSchema, 20, oneOf(endReasonSchema.options)).describe(
      'Reason for the end of the call; one of these.',
    ),
    called: z.array(expectedCall).max(50).prefault([]).describe('Tools that were called.'),
    notCalled: z
      .array(
        z.union([
          toolName.transform((tool): ExpectedCall => ({ tool, with: {} })),
          z.strictObject({ tool: toolName, with: values.prefault({}) }),
        ]),
      )
      .max(50)
      .prefault([])
      .describe('Tools that were not called. With `with`: tools that were not called with these arguments.'),
    said: listOf(expectedWords, 50).describe(
      'Words of the agent (or of the carrier for it): plain, or a /regular expression/ over one entry of the transcript; or `{ text, language }`. All of them must occur, in any order.',
    ),
    neverSaid: patterns.describe('Words that were never said to the caller.'),
    understood: patterns.describe('Words of the caller that the gateway understood.'),
    language: languageCode.optional().describe('The language of the call at its end, such as sw.'),
    fields: values
      .optional()
      .describe("Fields of the agent's `analysis`: a value, a text or a /regex/; null for an unknown value."),
    stage: listOf(stageName, 20).describe(
      'Stage in which the call ended. A list: stages of the call in this order; the call ended in the last one.',
    ),
    agents: z
      .array(agentName)
      .min(1)
      .max(5)
      .optional()
      .describe(
        'Agents that had the call, in order: the agent that answered, then the agents that took the call over.',
      ),
    escalated: z
      .union([
        z.boolean(),
        z.strictObject({
          reason: pattern.optional(),
          summary: pattern.optional(),
          identity: values.optional().describe('Fields of the verified identity.'),
          tried: z.array(toolName).max(20).default([]).describe('Tried tools that are named to the human.'),
          transcript: patterns.describe('Words in the transcript that the human got.'),
          outcome: z.enum([...HUMAN_OUTCOMES, 'failed']).optional(),
          callback: z.boolean().optional().describe('True: the caller was to be called back.'),
          strategy: z.enum(['after-stream-dial', 'supervision', 'conference', 'callback']).optional(),
        }),
      ])
      .optional()
      .describe('The call was escalated to a human, who got this data.'),
    waits: z
      .array(
        z.strictObject({
          tool: toolName,
          status: z.enum(['pending', 'succeeded', 'failed', 'expired']),
          told: z.boolean().optional().describe('True: the caller heard the outcome.'),
        }),
      )
      .max(20)
      .default([])
      .describe('Results of the tools that wait, in order.'),
    turns: range.optional().describe('Turns of the caller that were answered or waited for an answer.'),
    bargeIns: range.optional().describe('Interruptions that stopped the agent.'),
    withinMs: z
      .partialRecord(z.enum(TIMED_THINGS), ms)
      .default({})
      .describe(
        "Maximum times in ms: from the opening of the stream to the greeting, from the caller's last sound to the first sound and to the answer, from an interruption to the agent's silence, and of the whole stream.",
      ),
  })
  .describe('Expected result of the call. All parts that are set must be true.')

/** Expected result of a call. */
export type Expectations = z.output<typeof expectSchema>

/** The keys of a scenario file, and the combinations that are not allowed. */
const scenarioSchema = z
  .strictObject({
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
      .describe(
        'The only mode in which the scenario may run. Default: text; but audio if the line or a recording needs it.',
      ),
    seed: z.int().min(0).max(0x7fff_ffff).default(1).describe('Seed of noise, packet loss and delays.'),
    at: z.iso
      .datetime({ offset: true, error: 'must be a time such as "2026-11-20T10:00:00+03:00"' })
      .optional()
      .describe('Calendar time of the call; only in text mode. Default: now.'),
    timeoutS: z
      .int()
      .min(5)
      .max(3600)
      .default(120)
      .describe('Maximum duration of the call. A longer call is ended, and has failed.'),
    placed: z
      .strictObject({
        variables: callVariablesSchema.default({}).describe("Variables of the call, like those of a campaign's row."),
      })
      .optional()
      .describe('The agent calls the person, as in a campaign. Default: the person calls.'),
    caller: z.strictObject({
      number: number.prefault(FROM).describe('Number of the caller.'),
      calls: number.prefault(TO).describe('Called number.'),
      voice: z.enum(CALLER_VOICES).default('rms'),
      pace: z.number().min(0.5).max(2).default(1).describe("Speed of the caller's speech; 1.2 is 20 % faster."),
      model: modelCaller.optional().describe('Language model that plays the caller, in place of steps and rules.'),
      ...scriptKeys,
    }),
    judge: judge.optional().describe('Language model that judges the conversation, in addition to `expect`.'),
    noise: z
      .strictObject({
        kind: z.enum(NOISE_KINDS).default('white'),
        snrDb: z.int().min(0).max(60).describe('Level of the voice above the noise, in dB.'),
      })
      .optional()
      .describe("Other sounds at the caller's phone."),
    line: z
      .strictObject({
        rateHz: z
          .union([z.literal(8000), z.literal(16000)])
          .default(8000)
          .describe('Sample rate in Hz: 8000 for a phone line, 16000 for a softphone.'),
        echo: z
          .strictObject({
            levelDb: z.int().min(-60).max(0).describe("Level of the echo relative to the agent's voice, in dB."),
            delayMs: z.int().min(20).max(ECHO_DELAY_MS_MAX).default(80),
            phone: z
              .enum(ECHO_PHONES)
              .default('plain')
              .describe('A speakerphone also clips, changes its delay and levels the sound of its microphone.'),
          })
          .optional()
          .describe("Echo of the agent's voice from the caller's loudspeaker."),
        loss: z
          .strictObject({
            percent: z.number().min(0).max(50),
            burstFrames: z
              .number()
              .min(1)
              .max(25)
              .default(2)
              .describe('Mean number of frames of 20 ms that are lost in a row.'),
          })
          .transform(({ percent, burstFrames }) => ({ share: percent / 100, burstFrames }))
          .optional()
          .describe('Packets that are lost between phone and carrier, in both directions.'),
        jitterMs: z
          .int()
          .min(1)
          .max(5000)
          .optional()
          .describe('Maximum delay of the audio by the network, about once a second.'),
        stalls: z
          .array(z.strictObject({ atMs: ms, ms: z.int().min(20).max(10_000) }))
          .max(50)
          .default([])
          .describe('Delays of the audio at set times since the stream opened.'),
      })
      .prefault({}),
    telephone: listOf(z.enum(TELEPHONE_DIFFERENCES), TELEPHONE_DIFFERENCES.length, oneOf(TELEPHONE_DIFFERENCES))
      .superRefine((names, context) => {
        const message = contradictionIn(names)
        if (message !== null) context.addIssue({ code: 'custom', message })
      })
      .describe('Differences from the simulated line that calls of real telephones have; one or more of these.'),
    carrier: z
      .strictObject({
        afterStream: z.enum(AFTER_STREAM).default('continues').describe('After-stream behaviour of the carrier.'),
        streamFailsAfterMs: ms
          .optional()
          .describe(
            'No stream can be opened, and the carrier reports this after this time. Default: all streams open.',
          ),
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
          afterMs: ms.describe("Time from the API's answer to the outcome."),
          status: z.enum(['progress', 'succeeded', 'failed']).default('succeeded'),
          result: z.unknown().default(null).describe('Result, as an API posts it.'),
        }),
      )
      .max(20)
      .default([])
      .describe(
        'Outcomes of tools that wait: one for each wait, in order. Text mode only: a spoken call gets them from its API.',
      ),
    slow: z
      .array(
        z.strictObject({ tool: toolName, answerAfterMs: ms.describe('Time from the call of the tool to the answer.') }),
      )
      .max(20)
      .default([])
      .describe('Tools of the agent whose answers take time. Text mode only: a spoken call waits for its API.'),
    earlier: z
      .strictObject({
        outcome: z.enum(INBOUND_OUTCOMES).default('contained').describe('Outcome of that call.'),
        daysAgo: z.int().min(0).max(3650).default(1),
        facts: z.record(z.string().min(1).max(60), z.union([z.string().max(300), z.number(), z.boolean()])).default({}),
      })
      .optional()
      .describe(
        "Memory of the number's last call, in which its owner was verified, for an agent with `caller.memory`. Text mode only. Default: nothing.",
      ),
    promisedIn: z
      .strictObject(scriptKeys)
      .optional()
      .describe(
        'Script of an earlier call in which the caller is promised a call back. This call is the call back, by the agent with `callbacks`. Text mode only. Default: no earlier call.',
      ),
    expect: expectSchema.prefault({}),
  })
  .check(({ value: scenario, issues }) => {
    if (issues.length > 0) return
    const fault = (path: PropertyKey[], message: string): void => {
      issues.push({ code: 'custom', input: scenario, path, message })
    }
    const { mode, caller, expect, timeoutS, promisedIn, placed } = scenario
    if (promisedIn !== undefined && placed !== undefined)
      fault(['placed'], 'cannot be set with promisedIn: a call back has the variables of its promise')
    callerFaults(caller, fault)
    expectFaults(expect, fault)
    const isSpoken = mode === 'audio' || needsSound(scenario)
    if (mode === 'text' && needsSound(scenario))
      fault(['mode'], 'is text, but noise, a faulty line, ignoreKill, a played recording or a beep need mode audio')
    else if (isSpoken) for (const [key, why] of ofTextOnly(scenario)) fault([key], why)
    const { call } = expect.withinMs
    if (call !== undefined && call > timeoutS * 1000)
      fault(['expect', 'withinMs', 'call'], `is ${call}, but the call is ended after timeoutS: ${timeoutS}`)
  })

/** The scenario's keys that only text mode supports, with the reason. */
function ofTextOnly({
  at,
  settle,
  slow,
  earlier,
  promisedIn,
}: Pick<ScenarioFile, 'at' | 'settle' | 'slow' | 'earlier' | 'promisedIn'>): (readonly [key: string, why: string])[] {
  const keys = [
    ['at', at !== undefined, 'sets the calendar, which only mode text can'],
    ['settle', settle.length > 0, 'needs mode text: a spoken call gets outcomes from the API of its tool'],
    ['slow', slow.length > 0, 'needs mode text: a spoken call waits for the API of its tool'],
    ['earlier', earlier !== undefined, 'needs mode text: a spoken call is remembered by its gateway'],
    ['promisedIn', promisedIn !== undefined, 'needs mode text: a spoken call back is made by its gateway'],
  ] as const
  return keys.flatMap(([key, set, why]) => (set ? [[key, why] as const] : []))
}

type Fault = (path: PropertyKey[], message: string) => void

function callerFaults({ steps, rules, model }: z.output<typeof scenarioSchema>['caller'], fault: Fault): void {
  if (model !== undefined && steps.length + rules.length > 0)
    fault(['caller', 'model'], 'decides what the caller does; leave out steps and rules, or the model')
  else if (model === undefined && steps.length + rules.length === 0)
    fault(['caller'], 'has neither steps nor rules; a caller who says nothing has the step wait')
  const end = steps.findIndex(({ act }) => act.type === 'hangup')
  if (end >= 0 && end < steps.length - 1)
    fault(['caller', 'steps', end + 1], 'comes after a hangup and is never reached')
  for (const [index, { heard, interruptAfterMs }] of steps.entries())
    if (interruptAfterMs !== null && heard.length > 0)
      fault(
        ['caller', 'steps', index, 'heard'],
        'belongs to a step that interrupts, and so cannot wait for what is heard in the whole turn; use one of heard, interruptAfterMs',
      )
}

function expectFaults(expect: Expectations, fault: Fault): void {
  const { outcome: outcomes, called, notCalled, escalated, said, neverSaid } = expect
  const forbidden = new Set(notCalled.flatMap((one) => (Object.keys(one.with).length === 0 ? [one.tool] : [])))
  for (const [index, { tool, times }] of called.entries()) {
    const must = (times.min ?? 0) > 0
    if (must && forbidden.has(tool)) fault(['expect', 'called', index], `cannot hold: ${tool} is also under notCalled`)
    if (escalated === false && tool === 'escalate_to_human' && times.max !== 0)
      fault(
        ['expect', 'called', index],
        'cannot hold: expect.escalated is false, but escalate_to_human has to be called',
      )
  }
  const plain = ({ source }: TextPattern): string => ` ${spokenWords(source).join(' ')} `
  for (const [index, { text }] of said.entries()) {
    const isClash = (never: TextPattern): boolean =>
      text.expression === null && never.expression === null && plain(text).includes(plain(never))
    const clash = neverSaid.find(isClash)
    if (clash !== undefined) fault(['expect', 'said', index], `has words that neverSaid forbids: "${clash.source}"`)
  }
  const isOnly = (outcome: string): boolean => outcomes.length > 0 && outcomes.every((one) => one === outcome)
  if (escalated === false && isOnly('escalated'))
    fault(['expect', 'escalated'], 'is false, but the outcome is escalated')
  if (escalated !== undefined && escalated !== false && isOnly('contained'))
    fault(['expect', 'outcome'], 'is contained, which a call that asked for a human never is')
}

/** A scenario file after its keys were checked. */
type ScenarioFile = z.output<typeof scenarioSchema>

/** Outcome that the scenario sends to a pending tool. */
export type SettledTool = ScenarioFile['settle'][number]

/** A tool whose answers take time. */
export type SlowTool = ScenarioFile['slow'][number]

/** Memory of the caller's last call. */
export type RememberedCall = NonNullable<ScenarioFile['earlier']>

/** One scenario: the caller, the caller's behaviour, the line, and the expected result. */
export type Scenario = ReturnType<typeof scenarioOf>

/** The JSON Schema with which editors check scenarios: `schema/scenario.schema.json`. */
export function scenarioJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(scenarioSchema, {
    io: 'input',
    unrepresentable: 'any',
    // Vendors' services and their options are only in the schema of agents, so that a new service changes no other
    // schema.
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema !== llm) return
      for (const key of Object.keys(jsonSchema)) if (key !== 'description') Reflect.deleteProperty(jsonSchema, key)
      jsonSchema.$ref = 'agent.schema.json#/properties/backends/properties/cascade/properties/llm'
    },
  })
  return {
    ...schema,
    title: 'Mkondo scenario',
    description: 'One simulated call and what must come of it. Every key is explained in docs/SIMULATOR.md.',
  }
}

/** True if the scenario can only be spoken: it has noise, a faulty line, or a recording or a beep to play. */
function needsSound({
  noise,
  line,
  carrier,
  caller,
}: Pick<ScenarioFile, 'noise' | 'line' | 'carrier' | 'caller'>): boolean {
  const { echo, loss, jitterMs, stalls } = line
  const isFaulty = echo !== undefined || loss !== undefined || jitterMs !== undefined || stalls.length > 0
  const plays = [...caller.steps, ...caller.rules].some(({ act }) => act.type === 'play' || act.type === 'beep')
  return noise !== undefined || isFaulty || carrier.ignoreKill || plays
}

/**
 * Reads one scenario.
 * @param file its name, for messages
 * @throws GatewayError SCRIPT_INVALID as `parseChecked`
 */
export function parseScenario(text: string, file: string): Scenario {
  return scenarioOf(parseChecked(scenarioSchema, text, file, 'a scenario'), file)
}

function scenarioOf(parsed: ScenarioFile, file: string) {
  const { caller, carrier, human, at, placed = null, settle, slow, earlier = null, promisedIn } = parsed
  const { number: from, calls: to, voice, pace, model = null, ...script } = caller
  const name = parsed.name ?? basename(file).replace(/\.ya?ml$/, '')
  const textMode: CallMode | null = ofTextOnly(parsed).length === 0 ? null : 'text'
  return {
    file,
    name,
    agent: parsed.agent,
    /** The only possible mode; null if both modes are possible. */
    mode: parsed.mode ?? (needsSound(parsed) ? 'audio' : textMode),
    seed: parsed.seed,
    /** Calendar time of the call, in text mode; null for now. */
    atWallMs: at === undefined ? null : Date.parse(at),
    timeoutMs: parsed.timeoutS * 1000,
    from,
    to,
    /** The call's variables if the agent calls this person; null if the person calls. */
    placed,
    voice,
    pace,
    script: { name, ...script },
    /** The model that decides instead of the script; null: the script decides. */
    model,
    judge: parsed.judge ?? null,
    line: parsed.line,
    telephone: parsed.telephone,
    noise: parsed.noise,
    ...carrier,
    human: { ...human, greeting: 'Hello, how can I help you?' },
    /** Outcomes of pending tools; each is used once, in order. */
    settle,
    slow,
    /** Memory of the caller's last call; null if there is none. */
    earlier,
    /** Script of the earlier call in which the agent promised to call back; null if there is none. */
    promisedIn: promisedIn === undefined ? null : { name, ...promisedIn },
    expect: parsed.expect,
  }
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
