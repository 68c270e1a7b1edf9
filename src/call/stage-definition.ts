import { z } from 'zod'
import type { DocumentOf } from './documents/document.js'
import { languageCode } from './spoken/localized-text.js'

/** Stages of one agent, ways out of one of them, and facts of one agent. */
const STAGES_MAX = 20
const NEXT_MAX = 8
const FACTS_MAX = 30

/** The fact that the caller has proved who they are; no tool gives it. */
export const VERIFIED_FACT = 'verified'
/** Arguments of the model's tool that are no facts. */
const TAKEN: readonly string[] = [VERIFIED_FACT, 'stage', 'summary']

const stageName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 of a-z 0-9 -, beginning with a letter' })
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
          .describe('The tools whose results give it: TOOL.FIELD, or TOOL alone: true once the tool has succeeded.'),
        ask: sentence
          .exactOptional()
          .describe(
            'Meaning of the fact, for the model, which passes it on with go_to_stage when the caller has said it.',
          ),
      })
      .refine(({ from, ask }) => from !== undefined || ask !== undefined, { error: 'needs from or ask' }),
  )
  .refine((facts) => Object.keys(facts).length <= FACTS_MAX, { error: `has more than ${FACTS_MAX} facts` })

const onSchema = z
  .strictObject({
    facts: z.array(factName).min(1).max(FACTS_MAX).exactOptional().describe('All of these are known.'),
    tool: toolName.exactOptional().describe('This tool has succeeded in the stage.'),
    result: z
      .record(z.string(), scalar)
      .exactOptional()
      .describe('Fields that the result of that tool must have, with these values.'),
    failures: z
      .int()
      .min(1)
      .max(20)
      .exactOptional()
      .describe('This many tools have failed in the stage, or fixes did not help (note_fix).'),
    afterS: z
      .int()
      .min(5)
      .max(3600)
      .exactOptional()
      .describe('The call has been in the stage for this long, in seconds.'),
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
        when: sentence.exactOptional().describe('When the model is to go there. Default: only the gateway does.'),
        needs: z
          .array(factName)
          .max(FACTS_MAX)
          .exactOptional()
          .describe('Facts that must be known for that, in place of the needs of the stage.'),
        on: onSchema
          .exactOptional()
          .describe('When the gateway goes there by itself: as soon as one of these is true.'),
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
    .describe('Instructions of the model in this stage; they come after the instructions of the agent.'),
  tools: z
    .array(toolName)
    .max(60)
    .exactOptional()
    .describe(
      'Tools that the model may call in this stage. Default: all. Reaching a human, ending the call, language and speed are always offered.',
    ),
  language: z
    .string()
    .max(10)
    .exactOptional()
    .describe('Language of the stage, one of languages. Default: that of the call.'),
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
      "Voice of the stage by backend, as the agent's: of those that can change it in mid-call. Default: the agent's.",
    ),
  needs: z
    .array(factName)
    .max(FACTS_MAX)
    .default([])
    .describe('Facts that must be known before the model may leave the stage.'),
  next: z
    .record(stageName, nextSchema)
    .refine((next) => Object.keys(next).length <= NEXT_MAX, { error: `has more than ${NEXT_MAX} ways` })
    .default({})
    .describe('Where the call may go from here: stage to when.'),
  escalate: sentence
    .exactOptional()
    .describe('The call goes to a human when it comes into this stage, for this reason.'),
  handoverTo: z
    .string()
    .max(40)
    .exactOptional()
    .describe('The call is handed over to this agent when it comes into this stage.'),
  final: z.boolean().default(false).describe('The call ends in this stage: it needs no next.'),
})

/** The stages of an agent; the call begins in the first. */
export const stagesSchema = z
  .record(stageName, stageSchema)
  .refine((stages) => Object.keys(stages).length > 0, { error: 'has no stage' })
  .refine((stages) => Object.keys(stages).length <= STAGES_MAX, { error: `has more than ${STAGES_MAX} stages` })

type AgentStages = DocumentOf<typeof stagesSchema>
export type Stage = AgentStages[string]

/** The stages and facts of one agent, as a session gets them. */
export const stageOptionsSchema = z.object({ stages: stagesSchema, facts: factsSchema })
export type StageOptions = DocumentOf<typeof stageOptionsSchema>
