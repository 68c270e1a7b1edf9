import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'
import { languageCode } from './spoken/localized-text.js'

/** Limits: stages of one agent, exits of one stage, facts of one agent. */
const STAGES_MAX = 20
const NEXT_MAX = 8
const FACTS_MAX = 30

/** Name of the fact that the caller has proved their identity; tools cannot set this fact. */
export const VERIFIED_FACT = 'verified'
/** Names that a fact must not have, because the model's tool uses them. */
const TAKEN: readonly string[] = [VERIFIED_FACT, 'stage', 'summary']

const stageName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 characters of a-z 0-9 -, beginning with a letter' })
const factName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_]{0,39}$/, { error: 'must be a letter, then up to 39 letters, digits or _' })
const toolName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, { error: 'must be the name of a tool' })
const sentence = z.string().trim().min(1).max(300)
const scalar = z.union([z.string(), z.number(), z.boolean()])

const source = z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[^.\s]+)*$/, {
  error: 'must be TOOL or TOOL.FIELD, such as open_ticket.ticketId',
})

/** Facts that can become known in a call. */
export const factsSchema = z
  .record(
    factName.refine((name) => !TAKEN.includes(name), {
      error: `must not be ${TAKEN.join(', ')}, which the gateway uses`,
    }),
    z
      .strictObject({
        from: z
          .union([source.transform((one) => [one]), z.array(source).min(1).max(8)])
          .exactOptional()
          .describe(
            'Tools whose results supply the fact, as TOOL.FIELD. TOOL alone is true after the tool has succeeded. A fact needs from or ask.',
          ),
        ask: sentence
          .exactOptional()
          .describe(
            'Meaning of the fact, for the model. When the caller has said the fact, the model sends it with go_to_stage.',
          ),
      })
      .refine(({ from, ask }) => from !== undefined || ask !== undefined, { error: 'needs from or ask' }),
  )
  .refine((facts) => Object.keys(facts).length <= FACTS_MAX, { error: `has more than ${FACTS_MAX} facts` })

const onSchema = z
  .strictObject({
    facts: z.array(factName).min(1).max(FACTS_MAX).exactOptional().describe('Facts that must all be known.'),
    tool: toolName.exactOptional().describe('Tool that must have succeeded in the stage.'),
    result: z
      .record(z.string(), scalar)
      .exactOptional()
      .describe('Fields that the result of this tool must have, with their values.'),
    failures: z
      .int()
      .min(1)
      .max(20)
      .exactOptional()
      .describe('Number of failed tools and unsuccessful fixes (note_fix) in the stage, together.'),
    afterS: z
      .int()
      .min(5)
      .max(3600)
      .exactOptional()
      .describe('Time in the stage, in seconds, before the call changes to the other stage.'),
  })
  .refine(({ tool, result }) => result === undefined || tool !== undefined, {
    path: ['result'],
    error: 'means something with tool only',
  })
  .refine(({ facts, tool, failures, afterS }) => [facts, tool, failures, afterS].some((one) => one !== undefined), {
    error: 'needs one of facts, tool, failures and afterS',
  })

const nextSchema = z
  .union(
    [
      sentence.transform((when) => ({ when })),
      z.strictObject({
        when: sentence
          .exactOptional()
          .describe(
            'Condition, in words, for the model to change to that stage. Default: only the gateway changes to it.',
          ),
        needs: z
          .array(factName)
          .max(FACTS_MAX)
          .exactOptional()
          .describe(
            'Facts that must be known before the model may change to that stage. Default: needs of this stage.',
          ),
        on: onSchema
          .exactOptional()
          .describe(
            'Conditions for the gateway itself to change to that stage. One true condition is enough. Default: never.',
          ),
      }),
    ],
    { error: 'must be a text that says when, or { when, needs, on }' },
  )
  .transform(
    (next): { readonly when?: string; readonly needs?: string[]; readonly on?: z.output<typeof onSchema> } => next,
  )

const voiceName = z.string().min(1).max(60)
const stageSchema = z.strictObject({
  instructions: z
    .string()
    .trim()
    .min(1)
    .max(16_000)
    .describe('Instructions of the model in this stage. They come after the instructions of the agent.'),
  tools: z
    .array(toolName)
    .max(60)
    .exactOptional()
    .describe(
      'Tools that the model may call in this stage: tools of the agent, verify_caller, search_knowledge, note_fix. Reaching a human, ending the call, language and speed are always offered. Default: all.',
    ),
  language: z
    .string()
    .max(10)
    .exactOptional()
    .describe(
      'Language of the stage, one of languages. The call changes to this language. Default: the language does not change.',
    ),
  voice: z
    .strictObject({
      cascade: z
        .union([voiceName, z.record(languageCode, voiceName)])
        .exactOptional()
        .describe('Voice of a cascade.'),
      embedded: z.enum(['slt', 'rms', 'awb', 'kal']).exactOptional().describe('Voice of the embedded backend.'),
    })
    .exactOptional()
    .describe(
      "Voice of the model in this stage, by backend. Services that cannot change the voice within a session keep the first voice. Phrases of the gateway have the agent's voice. Default: voice of the agent.",
    ),
  needs: z
    .array(factName)
    .max(FACTS_MAX)
    .default([])
    .describe('Facts that must be known before the model may leave the stage, such as verified.'),
  next: z
    .record(stageName, nextSchema)
    .refine((next) => Object.keys(next).length <= NEXT_MAX, { error: `has more than ${NEXT_MAX} next stages` })
    .default({})
    .describe('Up to 8 next stages, each with its condition: a text, or { when, needs, on }.'),
  escalate: sentence
    .exactOptional()
    .describe('Escalates the call to a human, with this reason, when the call enters this stage. It needs escalation.'),
  handoverTo: z
    .string()
    .max(40)
    .exactOptional()
    .describe('Hands the call over to this agent of the folder when the call enters this stage.'),
  final: z
    .boolean()
    .default(false)
    .describe('Says that the call ends in this stage. A stage without next needs final, escalate or handoverTo.'),
})

/** Stages of an agent; the call begins in the first. */
export const stagesSchema = z
  .record(stageName, stageSchema)
  .refine((stages) => Object.keys(stages).length > 0, { error: 'has no stage' })
  .refine((stages) => Object.keys(stages).length <= STAGES_MAX, { error: `has more than ${STAGES_MAX} stages` })

type AgentStages = DocumentOf<typeof stagesSchema>
export type Stage = AgentStages[string]

/** Stages and facts of one agent, in the options of a session. */
export const stageOptionsSchema = z.object({ stages: stagesSchema, facts: factsSchema })
export type StageOptions = DocumentOf<typeof stageOptionsSchema>
