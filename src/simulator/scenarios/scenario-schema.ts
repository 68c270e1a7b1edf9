import { z } from 'zod'
import { isAgentName } from '../../core/ids.js'
import { endReasonSchema } from '../../workers/record-format.js'
import { scriptKeys } from '../script-file.js'
import { CALLER_VOICES } from '../voices.js'
import { TIMED_THINGS } from './scenario.js'
import { textPattern } from './text-pattern.js'

/** Version of the scenario format; docs/SIMULATOR.md explains every key, docs/FORMATS.md the versions. */
export const SCENARIO_VERSION = 1

const FROM = '+254700000001'
const TO = '+254700000000'

const pattern = z.string().min(1).max(500).refine(isUsablePattern, { error: 'must be a text, or a /regular expression/ that can be read' })
const patterns = z.union([pattern, z.array(pattern).min(1).max(50)])
const number = z.string().regex(/^(\+?\d{3,15}|withheld)$/, { error: 'must be a phone number such as "+254700000001" in quotes, or withheld' })
const ms = z.int().min(0).max(3_600_000)
const count = z.int().min(0).max(1000)
const range = z.union([count, z.strictObject({ min: count.optional(), max: count.optional() })])
const toolName = z.string().min(1).max(64)
const argument = z.union([pattern, z.number(), z.boolean(), z.null()])
const values = z.record(z.string(), argument)
const anyOf = <const T extends readonly [string, ...string[]]>(names: T) => z.union([z.enum(names), z.array(z.enum(names)).min(1).max(20)], {
  error: `must be one of ${names.join(', ')}, or a list of them`,
})

/** Outcomes that a call which comes in can have. */
export const OUTCOMES = ['deflected', 'escalated', 'abandoned', 'failed'] as const
const HUMAN_OUTCOMES = ['answered', 'busy', 'no-answer', 'declined'] as const

const expectedCall = z.strictObject({
  tool: toolName.describe('Name of the tool; escalate_to_human and end_call are the gateway\'s own.'),
  with: values.default({}).describe('Arguments that must be among those of the call: a text, a /regular expression/, a value, or null for an absent one.'),
  times: range.default({ min: 1 }).describe('How often. Default: at least once.'),
})

const expectSchema = z.strictObject({
  outcome: anyOf(OUTCOMES).optional().describe('How the call came out; one of these.'),
  endReason: z.union([endReasonSchema, z.array(endReasonSchema).min(1).max(20)], { error: `must be one of ${endReasonSchema.options.join(', ')}, or a list of them` }).optional().describe('What ended it; one of these.'),
  called: z.array(expectedCall).max(50).default([]).describe('Tools that were called.'),
  notCalled: z.array(z.union([toolName, z.strictObject({ tool: toolName, with: values.default({}) })])).max(50).default([])
    .describe('Tools that were not called; with `with`, not with these arguments.'),
  said: patterns.optional().describe('What the agent (or the carrier for it) said: words, or a /regular expression/ over one entry of the transcript. Each of them, in any order.'),
  neverSaid: patterns.optional().describe('What was never said to the caller.'),
  understood: patterns.optional().describe('What the gateway understood of the caller.'),
  escalated: z.union([z.boolean(), z.strictObject({
    reason: pattern.optional(), summary: pattern.optional(),
    identity: values.optional().describe('Fields of the verified identity.'),
    tried: z.array(toolName).max(20).default([]).describe('Tools that the human is told were tried.'),
    transcript: patterns.optional().describe('Words that the transcript given to the human has.'),
    outcome: z.enum([...HUMAN_OUTCOMES, 'failed']).optional(),
    callback: z.boolean().optional().describe('Whether the caller was to be called back.'),
    strategy: z.enum(['after-stream-dial', 'supervision', 'conference', 'callback']).optional(),
  })]).optional().describe('Whether a human was asked for, and what they were given.'),
  turns: range.optional().describe('Turns of the caller that were answered or waited for an answer.'),
  bargeIns: range.optional().describe('Interruptions that stopped the agent.'),
  withinMs: z.partialRecord(z.enum(TIMED_THINGS), ms).default({})
    .describe('Longest allowed: the greeting after the stream opened, the first sound and the answer after the caller stopped, the agent\'s silence after an interruption, the whole stream.'),
}).describe('What must come of the call; everything that is set has to hold.')

/** The keys of a scenario file. What they may not say together: `contradictions.ts`. */
export const scenarioSchema = z.strictObject({
  version: z.literal(SCENARIO_VERSION, { error: `must be ${SCENARIO_VERSION}` }),
  name: z.string().min(1).max(100).optional().describe('Default: the name of the file.'),
  description: z.string().max(1000).optional(),
  agent: z.string().refine(isAgentName, { error: 'must be a name of a-z 0-9 -' }).describe('Name of the agent that is called.'),
  mode: z.enum(['audio', 'text']).optional().describe('The only mode it may run in. Default: text, or audio where the line or a recording needs it.'),
  seed: z.int().min(0).max(0x7fff_ffff).default(1).describe('For noise, losses and hold-ups.'),
  at: z.iso.datetime({ offset: true, error: 'must be a time such as "2026-11-20T10:00:00+03:00"' }).optional().describe('Calendar time of the call; only in text mode. Default: now.'),
  timeoutS: z.int().min(5).max(3600).default(120).describe('A call that goes on longer is ended and has failed.'),
  caller: z.strictObject({
    number: number.default(FROM).describe('The number they call from.'),
    calls: number.default(TO).describe('The number they call.'),
    voice: z.enum(CALLER_VOICES).default('rms'),
    pace: z.number().min(0.5).max(2).default(1).describe('How fast they speak; 1.2 is a fifth faster.'),
    ...scriptKeys,
  }),
  noise: z.strictObject({
    kind: z.enum(['white', 'babble', 'street']).default('white'),
    snrDb: z.int().min(0).max(60).describe('How far the noise is below the voice.'),
  }).optional().describe('What else the caller\'s phone hears.'),
  line: z.strictObject({
    rateHz: z.union([z.literal(8000), z.literal(16000)]).default(8000).describe('8000 is a phone line, 16000 a softphone without one.'),
    loss: z.strictObject({
      percent: z.number().min(0).max(50),
      burstFrames: z.number().min(1).max(25).default(2).describe('How many frames of 20 ms are lost in a row, on average.'),
    }).optional().describe('Packets that are lost between phone and carrier, both ways.'),
    jitterMs: z.int().min(1).max(5000).optional().describe('The network holds the audio up about once a second, this long at most.'),
    stalls: z.array(z.strictObject({ atMs: ms, ms: z.int().min(20).max(10_000) })).max(50).default([])
      .describe('Hold-ups at set times since the stream opened.'),
  }).optional(),
  carrier: z.strictObject({
    afterStream: z.enum(['continues', 'reposts', 'holds']).default('continues').describe('What follows the end of the stream.'),
    ignoreKill: z.boolean().default(false).describe('The carrier does not honour killAudio.'),
  }).prefault({}),
  human: z.strictObject({
    outcome: z.enum(HUMAN_OUTCOMES).default('answered'),
    ringMs: z.int().min(0).max(120_000).default(2000),
    talkMs: z.int().min(0).max(120_000).default(1000),
  }).prefault({}).describe('The person that an escalation rings.'),
  expect: expectSchema,
})

/** A scenario file after its keys were checked. */
export type ScenarioFile = z.output<typeof scenarioSchema>

/** What an editor checks a scenario with; `schema/scenario.schema.json`. */
export function scenarioJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(scenarioSchema, { io: 'input', unrepresentable: 'any' })
  return { ...schema, title: 'Mkondo scenario', description: 'One simulated call and what must come of it. Every key is explained in docs/SIMULATOR.md.' }
}

/** What only sound can have: a line with faults, or a recording that is played. */
export function needsSound(parsed: ScenarioFile): boolean {
  const { line } = parsed
  const faultyLine = line !== undefined && (line.loss !== undefined || line.jitterMs !== undefined || line.stalls.length > 0)
  return parsed.noise !== undefined || faultyLine || parsed.carrier.ignoreKill
    || [...parsed.caller.steps, ...parsed.caller.rules].some((one) => one.play !== undefined)
}

function isUsablePattern(source: string): boolean {
  try {
    textPattern(source)
    return true
  } catch {
    return false
  }
}
