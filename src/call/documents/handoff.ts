import { z } from 'zod'
import type { DocumentOf } from './document.js'
import { anyArguments, escalationHistorySchema, measuredMs, transcriptEntry } from './record.js'

/**
 * Complete handoff packet for the human. It is stored under the call SID before the stream ends.
 * `schema/handoff.schema.json` is generated from this schema.
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
    .describe('Verified identity and account id, if the caller was verified.'),
  tried: z
    .array(z.object({ name: z.string(), ok: z.boolean(), args: anyArguments }))
    .describe('Tool calls of the agent.'),
  stages: z
    .array(z.object({ stage: z.string(), summary: z.string().exactOptional() }))
    .exactOptional()
    .describe("Stages of the call in order, each with the model's summary; absent if the agent has no stages."),
  facts: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .exactOptional()
    .describe('Known facts of the call, by name; absent if the agent has no stages.'),
  transcript: z.array(transcriptEntry(measuredMs)),
  at: z.iso.datetime().describe('Calendar time.'),
  from: z.string().describe('Number to call back, E.164; empty if it is withheld.'),
  to: z.string(),
  escalation: escalationHistorySchema('E.164; empty if it is withheld.')
    .nullable()
    .describe('State or result of the escalation.'),
})
export type Handoff = DocumentOf<typeof handoffSchema>

/** Part of the handoff packet that the session supplies. */
export type EscalationPacket = Omit<Handoff, 'from' | 'to' | 'escalation'>
