import { z } from 'zod'
import type { DocumentOf } from './document.js'
import { anyArguments, escalationHistorySchema, measuredMs, transcriptEntry } from './record.js'

/**
 * The complete handoff packet for the human. Stored under the call SID before the stream ends.
 * `schema/handoff.schema.json` is made from this.
 */
export const handoffSchema = z.object({
  version: z.literal(1),
  callSid: z.string(),
  agent: z.string(),
  language: z
    .string()
    .exactOptional()
    .describe('Tag of the language that the caller speaks, such as sw; absent in packets of earlier builds.'),
  reason: z.string(),
  summary: z.string(),
  identity: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('Verified identity and account id, when the agent has established them.'),
  tried: z.array(z.object({ name: z.string(), ok: z.boolean(), args: anyArguments })).describe('Tools that ran.'),
  stages: z
    .array(z.object({ stage: z.string(), summary: z.string().exactOptional() }))
    .exactOptional()
    .describe(
      'The way through the stages, with the line that the model left of each; absent for an agent without stages.',
    ),
  facts: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .exactOptional()
    .describe('Facts that are known in the call, by name; absent for an agent without stages.'),
  transcript: z.array(transcriptEntry(measuredMs)),
  at: z.iso.datetime().describe('Calendar time.'),
  from: z.string().describe('Whom to call back, E.164; empty when withheld.'),
  to: z.string(),
  escalation: escalationHistorySchema('E.164; empty when withheld.').nullable().describe('How it goes, or went.'),
})
export type Handoff = DocumentOf<typeof handoffSchema>

/** The handoff packet as far as the session knows it. */
export type EscalationPacket = Omit<Handoff, 'from' | 'to' | 'escalation'>
