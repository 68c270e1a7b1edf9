import { z } from 'zod'
import { CALL_RECORD_VERSION } from '../call/record.js'

/**
 * The call record and the handoff packet as the documents that leave the process. The types are the call's
 * (`call/record.ts`, `call/events.ts`), where no package may be used; a test holds the two equal. From here come
 * `schema/call-record.schema.json` and `schema/handoff.schema.json`.
 */

/** The record's writer rounds; other documents have what was measured. */
const wholeMs = z.int()
const measuredMs = z.number()
const anyArguments = z.record(z.string(), z.unknown()).describe('As the backend gave them.')

const transcriptEntry = <Ms extends z.ZodNumber>(ms: Ms) => z.object({
  role: z.enum(['caller', 'agent']),
  text: z.string(),
  startMs: ms.describe('Milliseconds since the stream opened.'),
  endMs: ms,
  interrupted: z.boolean().exactOptional().describe('Agent entries: the caller interrupted it. text is what was said.'),
  heardMs: ms.exactOptional().describe('Agent entries that were interrupted: how much of it was heard.'),
})

const toolCall = <Ms extends z.ZodNumber>(ms: Ms) => z.object({
  name: z.string(),
  args: anyArguments,
  startMs: ms.describe('Milliseconds since the stream opened; a tool may run before it.'),
  ms: ms.describe('How long it ran.'),
  ok: z.boolean(),
  error: z.string().exactOptional(),
})

const turn = <Ms extends z.ZodNumber>(ms: Ms) => z.object({
  callerStoppedMs: ms.describe('The caller\'s last voiced sample, in milliseconds since the stream opened.'),
  firstSoundMs: ms.nullable().describe('From there to the first agent sound of any kind; null when none came.'),
  answerMs: ms.nullable().describe('From there to the first agent sound that is not a filler.'),
})

const bargeIn = <Ms extends z.ZodNumber>(ms: Ms) => z.object({
  atMs: ms.describe('First voiced sample, in milliseconds since the stream opened.'),
  stopMs: ms.nullable().describe('From there to the last agent sample sent; null when nothing had to be stopped.'),
  committed: z.boolean().describe('False: it was a cough, and the speech was resumed.'),
  why: z.string().describe('Why it was decided so, with the figures.'),
})

const timelineMark = <Ms extends z.ZodNumber>(ms: Ms) => z.object({
  name: z.string(),
  atMs: ms.describe('Milliseconds since the webhook.'),
  detail: z.string().exactOptional(),
})

export const endReasonSchema = z.enum([
  'caller-hung-up', 'agent-goodbye', 'escalated', 'silence-limit', 'duration-limit', 'operator-hangup', 'drain-limit',
  'carrier-silent', 'carrier-abuse', 'socket-never-came', 'stream-error', 'backend-failed', 'call-fault',
])
export const escalationStrategySchema = z.enum(['after-stream-dial', 'supervision', 'conference', 'callback'])
export const escalationOutcomeSchema = z.enum(['answered', 'busy', 'no-answer', 'declined', 'failed'])

/** The parts of a record as a checkpoint has them, with times as they were measured. */
export const measuredParts = {
  transcript: z.array(transcriptEntry(measuredMs)),
  toolCalls: z.array(toolCall(measuredMs)),
  turns: z.array(turn(measuredMs)),
  bargeIns: z.array(bargeIn(measuredMs)),
  timeline: z.array(timelineMark(measuredMs)),
}

/** `CallRecord`. */
export const callRecordSchema = z.object({
  version: z.literal(CALL_RECORD_VERSION),
  callSid: z.string(),
  agent: z.string(),
  backend: z.string().describe('The one that answered last.'),
  direction: z.enum(['inbound', 'outbound']),
  from: z.string().describe('Masked.'),
  to: z.string().describe('Masked.'),
  outcome: z.enum(['deflected', 'escalated', 'abandoned', 'failed']),
  endReason: endReasonSchema,
  endDetail: z.string(),
  startedAt: z.iso.datetime().describe('Calendar time of the webhook.'),
  durationMs: wholeMs.describe('How long the stream was open.'),
  greetingMs: wholeMs.nullable().describe('From the stream\'s opening to the first agent sound; null when none came.'),
  transcript: z.array(transcriptEntry(wholeMs)),
  toolCalls: z.array(toolCall(wholeMs)),
  turns: z.array(turn(wholeMs)),
  bargeIns: z.array(bargeIn(wholeMs)),
  escalation: z.object({
    reason: z.string(),
    strategy: escalationStrategySchema.nullable(),
    outcome: escalationOutcomeSchema.nullable(),
  }).nullable(),
  timeline: z.array(timelineMark(wholeMs)),
  usage: z.object({ inputTokens: z.int(), outputTokens: z.int(), audioInMs: wholeMs, audioOutMs: wholeMs }),
  audio: z.object({
    framesIn: z.int(), framesConcealed: z.int(), framesDropped: z.int(), underruns: z.int(), dtmf: z.int(),
  }),
  budget: z.record(z.string(), z.unknown()).nullable()
    .describe('What the backends used and what that is estimated to cost; null where the agent sets no budget.'),
  shadow: z.record(z.string(), z.unknown()).nullable()
    .describe('What a second backend that listened along would have done, turn by turn; null where none did.'),
  rehomes: z.int().describe('How often the call changed its worker.'),
  recording: z.string().nullable(),
})

/** `EscalationPacket`. */
export const handoffSchema = z.object({
  version: z.literal(1),
  callSid: z.string(),
  agent: z.string(),
  reason: z.string(),
  summary: z.string(),
  identity: z.record(z.string(), z.unknown()).nullable()
    .describe('Verified identity and account id, when the agent has established them.'),
  tried: z.array(z.object({ name: z.string(), ok: z.boolean(), args: anyArguments })).describe('Tools that ran.'),
  transcript: z.array(transcriptEntry(measuredMs)),
  at: z.iso.datetime().describe('Calendar time.'),
})

/** A document's JSON Schema. Keys that it does not name are allowed: newer writers may add some. */
export function publishedSchema(schema: z.ZodType, title: string, description: string): Record<string, unknown> {
  const json = z.toJSONSchema(schema, {
    io: 'input',
    // A whole number is one without an end, not one up to 2^53.
    override: ({ jsonSchema }) => {
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
    },
  })
  return { ...json, title, description }
}

export function callRecordJsonSchema(): Record<string, unknown> {
  return publishedSchema(
    callRecordSchema, 'Mkondo call record', 'One call, written when it has ended. Times are whole milliseconds.')
}

export function handoffJsonSchema(): Record<string, unknown> {
  return publishedSchema(
    handoffSchema, 'Mkondo handoff', 'What the human gets with a caller. Times are milliseconds since the stream opened.')
}
