import { CALL_TIMELINE_VERSION } from '../call/call-view.js'
import { z } from 'zod'
import { CALL_OUTCOMES, CALL_RECORD_VERSION, CALL_REFUSALS } from '../call/record.js'
import { usageSchemaOf } from './usage-format.js'

/**
 * The call record and the handoff packet as documents outside the process. Their types are in `call/record.ts` and
 * `call/events.ts`, which may use no package; a test checks that both are equal. `schema/call-record.schema.json` and
 * `schema/handoff.schema.json` are made from this.
 */

/** The call record has whole milliseconds; other documents have the measured values. */
const wholeMs = z.int()
const measuredMs = z.number()
const anyArguments = z.record(z.string(), z.unknown()).describe('As the backend gave them.')

const transcriptEntry = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    role: z.enum(['caller', 'agent']),
    text: z.string(),
    startMs: ms.describe('Milliseconds since the stream opened.'),
    endMs: ms,
    interrupted: z
      .boolean()
      .exactOptional()
      .describe('Agent entries: the caller interrupted it. text is what was said.'),
    heardMs: ms.exactOptional().describe('Agent entries that were interrupted: how much of it was heard.'),
  })

const toolCall = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    name: z.string(),
    args: anyArguments,
    startMs: ms.describe('Milliseconds since the stream opened; a tool may run before it.'),
    ms: ms.describe('How long it ran.'),
    ok: z.boolean(),
    error: z.string().exactOptional(),
  })

const turn = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    callerStoppedMs: ms.describe("The caller's last voiced sample, in milliseconds since the stream opened."),
    firstSoundMs: ms.nullable().describe('From there to the first agent sound of any kind; null when none came.'),
    answerMs: ms.nullable().describe('From there to the first agent sound that is not a filler.'),
    ear: z
      .object({ firstSoundMs: ms.nullable(), answerMs: ms.nullable() })
      .exactOptional()
      .describe("The same to the agent's voice on the outbound track; only where the carrier forks both as stereo."),
  })

const bargeIn = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    atMs: ms.describe('First voiced sample, in milliseconds since the stream opened.'),
    stopMs: ms.nullable().describe('From there to the last agent sample sent; null when nothing had to be stopped.'),
    committed: z.boolean().describe('False: a false interruption, after which the speech was resumed.'),
    why: z.string().describe('Why it was decided so, with the figures.'),
  })

const claim = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    atMs: ms.describe("Begin of the agent's words, in milliseconds since the stream opened."),
    tool: z.string().nullable().describe("The rule's first tool; null where the agent has no tool for that."),
    language: z.string().describe('Of the phrase; und for no-source.'),
    phrase: z.string().describe("The phrase of the agent's file that was found; for no-source the words."),
    verdict: z
      .enum([
        'done',
        'no-tool',
        'not-called',
        'refused',
        'failed',
        'cancelled',
        'overdue',
        'other-result',
        'uncertain',
        'no-source',
      ])
      .describe(
        'done: the tool succeeded in this call. no-source: a number, price or weekday that the agent was not given. Anything else: nothing supports the claim.',
      ),
  })

const timelineMark = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    name: z.string(),
    atMs: ms.describe('Milliseconds since the webhook.'),
    detail: z.string().exactOptional(),
  })

const stop = <Ms extends z.ZodNumber>(ms: Ms) =>
  z.object({
    kind: z.enum(['interruption', 'drop', 'silence-prompt', 'refusal', 'failure', 'hang-up']),
    atMs: ms.describe('Milliseconds since the webhook.'),
    mark: z.string().describe('The mark of the timeline that it comes from.'),
    why: z.string(),
  })

export const endReasonSchema = z.enum([
  'caller-hung-up',
  'agent-goodbye',
  'escalated',
  'silence-limit',
  'duration-limit',
  'operator-hangup',
  'drain-limit',
  'carrier-silent',
  'carrier-abuse',
  'carrier-not-reading',
  'carrier-protocol',
  'carrier-error',
  'socket-lost',
  'socket-never-came',
  'stream-error',
  'backend-failed',
  'call-fault',
  'process-died',
  'not-taken',
  'answering-machine',
  'nobody-there',
])
export const escalationStrategySchema = z.enum(['after-stream-dial', 'supervision', 'conference', 'callback'])
export const escalationOutcomeSchema = z.enum(['answered', 'busy', 'no-answer', 'declined', 'failed'])

const measuredTranscriptEntry = transcriptEntry(measuredMs).meta({ id: 'transcript-entry' })
const measuredTurn = turn(measuredMs).meta({ id: 'turn' })
const measuredBargeIn = bargeIn(measuredMs).meta({ id: 'barge-in' })
const measuredClaim = claim(measuredMs).meta({ id: 'claim' })
const loggedToolCall = z
  .object({
    callId: z.string(),
    end: z.enum(['answered', 'built-in', 'refused', 'cancelled', 'overdue', 'lost']),
    record: toolCall(measuredMs).meta({ id: 'tool-call' }),
    args: anyArguments,
    result: z.unknown().default(null),
  })
  .meta({ id: 'logged-tool-call' })

/** `CallLogEntry`, with times as they were measured. */
export const callLogEntrySchema = z
  .discriminatedUnion('kind', [
    z.object({ kind: z.literal('transcript'), record: measuredTranscriptEntry }),
    loggedToolCall.extend({ kind: z.literal('tool-call') }),
    z.object({ kind: z.literal('turn'), record: measuredTurn }),
    z.object({ kind: z.literal('barge-in'), record: measuredBargeIn }),
    z.object({ kind: z.literal('claim'), record: measuredClaim }),
    z.object({
      kind: z.literal('turn-played'),
      callerStoppedMs: measuredMs,
      ear: z.object({ firstSoundMs: measuredMs.nullable(), answerMs: measuredMs.nullable() }),
    }),
  ])
  .meta({ id: 'call-log-entry' })

/** Entries with times as they were measured. */
export const measuredTranscript = z.array(measuredTranscriptEntry)

/** `CallLogRecords`. */
export const callLogSchema = z
  .object({
    transcript: measuredTranscript,
    toolCalls: z.array(loggedToolCall),
    turns: z.array(measuredTurn),
    bargeIns: z.array(measuredBargeIn),
    claims: z.array(measuredClaim).default([]),
    dropped: z.object({
      transcript: z.int(),
      toolCalls: z.int(),
      turns: z.int(),
      bargeIns: z.int(),
      claims: z.int().default(0),
    }),
  })
  .meta({ id: 'call-log' })

/** `BackendSessionRecord`. */
export const backendSessionSchema = z.object({
  backend: z.string(),
  role: z.enum(['first', 'takeover', 'standby', 'rotation']),
  connectMs: wholeMs
    .nullable()
    .describe('From the beginning of its connection until it was ready; null when it never was.'),
  fault: z.string().nullable().describe('Why it never was.'),
})

/** `ResumedRecord`. */
export const resumedSchema = z.object({
  node: z.string().describe('The node that had the call before.'),
  streamMs: wholeMs.describe('How long the call had had a stream when its state was last stored.'),
  recording: z
    .string()
    .nullable()
    .describe("File of that part's recording, below that node's DATA_DIR; its end may be missing."),
})

export const measuredTimelineMark = timelineMark(measuredMs)

/** `EscalationHistory`. */
export const escalationHistorySchema = (number: string) =>
  z.object({
    reason: z.string(),
    strategy: escalationStrategySchema
      .nullable()
      .describe('The one that it ended with; null when none could be tried.'),
    outcome: escalationOutcomeSchema.nullable(),
    attempts: z
      .array(
        z.object({
          strategy: escalationStrategySchema,
          human: z.int().nullable().describe('Place in the list of numbers, from 1; null where nobody was rung.'),
          outcome: escalationOutcomeSchema,
          detail: z.string(),
          ms: wholeMs,
        }),
      )
      .describe('Each way to each human, in order.'),
    callback: z
      .object({
        asked: z.enum(['key', 'words', 'nobody-reached']),
        number: z.string().describe(number),
        note: z.string(),
        at: z.iso.datetime().describe('Calendar time.'),
      })
      .nullable()
      .describe('A colleague is to call back.'),
  })

/** `CallRecord`. */
export const callRecordSchema = z.object({
  version: z.literal(CALL_RECORD_VERSION),
  callSid: z.string(),
  agent: z.string(),
  backend: z.string().describe('The one that answered last.'),
  direction: z.enum(['inbound', 'outbound']),
  from: z.string().describe('Masked.'),
  to: z.string().describe('Masked.'),
  outcome: z.enum(CALL_OUTCOMES),
  endReason: z.enum([...endReasonSchema.options, ...CALL_REFUSALS]),
  endDetail: z.string(),
  startedAt: z.iso.datetime().describe('Calendar time of the webhook.'),
  durationMs: wholeMs.describe('How long the stream was open.'),
  greetingMs: wholeMs.nullable().describe("From the stream's opening to the first agent sound; null when none came."),
  transcript: z.array(transcriptEntry(wholeMs)),
  toolCalls: z.array(toolCall(wholeMs)),
  turns: z.array(turn(wholeMs)),
  bargeIns: z.array(bargeIn(wholeMs)),
  claims: z
    .array(claim(wholeMs))
    .default([])
    .describe('What the agent claimed to have done, held against its tool calls (docs/AGENTS.md, "Claims").'),
  escalation: escalationHistorySchema('Masked.').nullable(),
  timeline: z.array(timelineMark(wholeMs)),
  timelineDropped: z.int().describe('Marks between the first and the newest that the bounded timeline let go.'),
  stops: z.array(stop(wholeMs)).describe('Why it stopped talking: each decision with its figures.'),
  usage: usageSchemaOf(z.int()).describe('All models together.'),
  audio: z.object({
    framesIn: z.int(),
    framesConcealed: z.int(),
    framesDropped: z.int(),
    underruns: z.int(),
    dtmf: z.int(),
  }),
  backends: z.object({
    sessions: z.array(backendSessionSchema),
    failover: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe('Takeovers, rotations, gaps, audio given again; null where one backend stands alone.'),
    irregular: z
      .record(z.string(), z.record(z.string(), z.int()))
      .describe('What a service sent or did out of order, by backend and kind.'),
  }),
  cost: z
    .object({
      currency: z.string(),
      amount: z.number().nullable().describe('Null when the cost of one of the models is not known.'),
      known: z.number().describe('The sum of what is known: a lower bound.'),
      unknown: z.string().nullable().describe('Why the cost is not known.'),
      models: z.array(
        z.object({
          backend: z.string(),
          model: z.string().nullable(),
          amount: z.number().nullable(),
          unknown: z.string().nullable(),
          usage: usageSchemaOf(z.number()),
        }),
      ),
    })
    .nullable()
    .describe('What the models cost, by backend and model (docs/BACKENDS.md).'),
  budget: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('The limit that was reached, and who ended the call for it; null where the agent sets no budget.'),
  rehomes: z.int().describe('How often the call changed its worker.'),
  resumed: z
    .array(resumedSchema)
    .default([])
    .describe(
      'Each time that the call went on with a new stream, because its node or its stream was lost. Of a lost node the last second may be in no record; the recording has a part for each stream.',
    ),
  recoveredFrom: z
    .string()
    .nullable()
    .default(null)
    .describe('The call that was cut off, where this one rang its caller back: this record goes on from there.'),
  rootSid: z.string().default('').describe("The first call of that chain; the call's own SID where there is none."),
  recording: z.string().nullable(),
  carrier: z
    .object({
      callId: z.string().nullable(),
      status: z.string().nullable(),
      startedAt: z.string().nullable(),
      answeredAt: z.string().nullable(),
      endedAt: z.string().nullable(),
      durationS: z.number().nullable(),
      costMinor: z.number().nullable().describe('In minor units (cents) of costCurrency.'),
      costCurrency: z.string().nullable(),
      ratePerMinuteMinor: z.number().nullable(),
      hangupCause: z.string().nullable(),
      failureCode: z.string().nullable(),
      recording: z.string().nullable().describe("File of the carrier's recording, below DATA_DIR."),
      fetchedAt: z.iso.datetime(),
    })
    .nullable()
    .describe("The carrier's own record; null without an API key, and until it has come."),
  outbound: z
    .object({
      result: z.enum(['answered', 'voicemail', 'silence', 'busy', 'no-answer', 'failed']),
      ringMs: wholeMs.describe('From the order to the opened stream, or to the end of a call that nobody took.'),
      clientRequestId: z.string(),
    })
    .nullable()
    .describe('Null for a call that was not placed by this gateway.'),
})

/** `CallTimelineView`. */
export const timelineSchema = z.object({
  version: z.literal(CALL_TIMELINE_VERSION),
  callSid: z.string(),
  agent: z.string(),
  backend: z.string().describe('The one that answers, or answered last.'),
  live: z.boolean(),
  startedAt: z.iso.datetime().describe('Calendar time of the webhook: zero of the marks.'),
  streamOpenedMs: measuredMs.nullable().describe('Since the webhook: zero of turns, barge-ins and tools. Null before.'),
  traceId: z.string().nullable().describe('The trace that a collector knows this call by; null where none is set.'),
  timeline: z.array(measuredTimelineMark),
  timelineDropped: z.int(),
  turns: z.array(turn(wholeMs)),
  bargeIns: z.array(bargeIn(wholeMs)),
  tools: z.array(z.object({ name: z.string(), startMs: measuredMs, ms: measuredMs, ok: z.boolean() })),
})

/** `Handoff`. */
export const handoffSchema = z.object({
  version: z.literal(1),
  callSid: z.string(),
  agent: z.string(),
  reason: z.string(),
  summary: z.string(),
  identity: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('Verified identity and account id, when the agent has established them.'),
  tried: z.array(z.object({ name: z.string(), ok: z.boolean(), args: anyArguments })).describe('Tools that ran.'),
  transcript: z.array(transcriptEntry(measuredMs)),
  at: z.iso.datetime().describe('Calendar time.'),
  from: z.string().describe('Whom to call back, E.164; empty when withheld.'),
  to: z.string(),
  escalation: escalationHistorySchema('E.164; empty when withheld.').nullable().describe('How it goes, or went.'),
})

/** A document's JSON Schema. It allows keys that it does not name, because newer versions may add some. */
export function publishedSchema(schema: z.ZodType, title: string, description: string): Record<string, unknown> {
  const json = z.toJSONSchema(schema, {
    io: 'input',
    // zod limits integers to 2^53; the published schema has no such limit.
    override: ({ jsonSchema }) => {
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
    },
  })
  return { ...json, title, description }
}

export function callRecordJsonSchema(): Record<string, unknown> {
  return publishedSchema(
    callRecordSchema,
    'Mkondo call record',
    'One call, written when it has ended, or when the next process starts if its own has died. Times are whole milliseconds.',
  )
}

export function timelineJsonSchema(): Record<string, unknown> {
  return publishedSchema(
    timelineSchema,
    'Mkondo timeline',
    'What happened in one call and when, live or ended. Milliseconds.',
  )
}

export function handoffJsonSchema(): Record<string, unknown> {
  return publishedSchema(
    handoffSchema,
    'Mkondo handoff',
    'What the human gets with a caller. Times are milliseconds since the stream opened.',
  )
}
