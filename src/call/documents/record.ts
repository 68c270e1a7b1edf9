import { z } from 'zod'
import { usageSchemaOf } from '../backend-events.js'
import { CALLER_STATES } from '../caller-data.js'
import type { DocumentOf } from './document.js'

/**
 * The call record: one document per call, and what the call's log, its timeline and its handoff have in common with it.
 * Milliseconds unless the name says otherwise. `schema/call-record.schema.json` is made from this.
 */

/** Version of the call record's JSON. */
export const CALL_RECORD_VERSION = 1

/** The outcome of a call; `unreached` only for calls that we placed, `refused` only for calls that came in. */
export const CALL_OUTCOMES = ['contained', 'escalated', 'abandoned', 'failed', 'unreached', 'refused'] as const
export type CallOutcome = (typeof CALL_OUTCOMES)[number]

/** Why a call that came in was refused: its caller got words, and no stream. */
export const CALL_REFUSALS = [
  'capacity',
  'draining',
  'cordoned',
  'tick-slack',
  'memory',
  'cpu-throttling',
  'disk-full',
  'file-descriptors',
  'agent-capacity',
  'agent-unknown',
  'no-owner',
  'caller-calls',
  'caller-rate',
  'withheld-calls',
  'fault',
] as const
export type CallRefusal = (typeof CALL_REFUSALS)[number]

/** The call record has whole milliseconds; other documents have the measured values. */
const wholeMs = z.int()

/** ready: it is kept. pending: it may still come. missing: there should be one, and there is none. off: none was made. */
const recordingStateSchema = z.enum(['ready', 'pending', 'missing', 'off'])
export type RecordingState = z.output<typeof recordingStateSchema>
/** Whole or measured milliseconds. */
type Ms = z.ZodNumber
export const measuredMs = z.number()
export const anyArguments = z.record(z.string(), z.unknown()).describe('As the backend gave them.')

export const transcriptEntry = (ms: Ms) =>
  z.object({
    role: z.enum(['caller', 'agent']),
    text: z.string(),
    startMs: ms.describe('Milliseconds since the stream opened.'),
    endMs: ms,
    interrupted: z
      .boolean()
      .exactOptional()
      .describe('Agent entries: the caller interrupted it. text is what was said.'),
    language: z
      .string()
      .exactOptional()
      .describe('Language of the call at its end, for agents that speak several languages.'),
    playedMs: ms.exactOptional().describe('Agent entries that were interrupted: how much of it was heard.'),
  })

export type TranscriptEntry = DocumentOf<ReturnType<typeof transcriptEntry>>

export const toolCall = (ms: Ms) =>
  z.object({
    name: z.string(),
    args: anyArguments,
    startMs: ms.describe('Milliseconds since the stream opened; a tool may run before it.'),
    ms: ms.describe('How long it ran.'),
    ok: z.boolean(),
    error: z.string().exactOptional(),
  })

export type ToolCallRecord = DocumentOf<ReturnType<typeof toolCall>>

/** A tool call whose answer came later. */
const waitRecord = z.object({
  tool: z.string(),
  startedAt: z.iso.datetime().describe('Calendar time of its request.'),
  status: z.enum(['pending', 'succeeded', 'failed', 'expired']).describe('expired: nobody has reported how it ended.'),
  ms: wholeMs.nullable().describe('From the request to the outcome; null where none is known.'),
  late: z.boolean().describe('The conversation did not wait for it any more.'),
  told: z.boolean().describe('The caller has heard the outcome. Otherwise it went out as a message.'),
})
export type WaitRecord = DocumentOf<typeof waitRecord>

/** As the caller perceives it; null if no beginning of a sound was found on the outbound track. */
export const playedTimes = (ms: Ms) => z.object({ firstSoundMs: ms.nullable(), answerMs: ms.nullable() })
export type PlayedTimes = DocumentOf<ReturnType<typeof playedTimes>>

export const turn = (ms: Ms) =>
  z.object({
    callerStoppedMs: ms.describe("The caller's last voiced sample, in milliseconds since the stream opened."),
    firstSoundMs: ms.nullable().describe('From there to the first agent sound of any kind; null when none came.'),
    answerMs: ms.nullable().describe('From there to the first agent sound that is not a filler.'),
    ear: playedTimes(ms)
      .exactOptional()
      .describe("The same to the agent's voice on the outbound track; only where the carrier forks both as stereo."),
  })

export type TurnRecord = DocumentOf<ReturnType<typeof turn>>

export const bargeIn = (ms: Ms) =>
  z.object({
    atMs: ms.describe('First voiced sample, in milliseconds since the stream opened.'),
    stopMs: ms.nullable().describe('From there to the last agent sample sent; null when nothing had to be stopped.'),
    committed: z.boolean().describe('False: a false interruption, after which the speech was resumed.'),
    why: z.string().describe('Why it was decided so, with the figures.'),
  })

export type BargeInRecord = DocumentOf<ReturnType<typeof bargeIn>>

/** Claim of the agent, compared with the tool calls. */
export const claim = (ms: Ms) =>
  z.object({
    atMs: ms.describe("Begin of the agent's words, in milliseconds since the stream opened."),
    tool: z.string().nullable().describe("The rule's first tool; null where the agent has no tool for that."),
    language: z.string().describe('Language of the phrase; und for no-source.'),
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
        /** It succeeded, with a result that says otherwise. */
        'other-result',
        /** Nobody knows, because it ran when its worker, or its node, was lost. */
        'uncertain',
        'no-source',
      ])
      .describe(
        'done: the tool succeeded in this call. no-source: a number, price or weekday that the agent was not given. Anything else: nothing supports the claim.',
      ),
  })

export type ClaimRecord = DocumentOf<ReturnType<typeof claim>>
export type ClaimVerdict = ClaimRecord['verdict']

/** The call came into a stage of its agent (docs/STAGES.md). */
export const stageMove = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Milliseconds since the stream opened.'),
    from: z.string().nullable().describe('Null: the call began.'),
    stage: z.string(),
    why: z
      .enum(['begin', 'handover', 'model', 'facts', 'tool', 'failures', 'time'])
      .describe(
        'handover: another agent has begun. model: it called go_to_stage. Otherwise the gateway moved the call.',
      ),
    summary: z.string().exactOptional().describe('Words of the model about the stage that was left.'),
  })

export type StageRecord = DocumentOf<ReturnType<typeof stageMove>>

/** One agent has handed the call over to another. */
export const handover = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Milliseconds since the stream opened.'),
    from: z.string(),
    to: z.string(),
    summary: z.string().describe('Words of the first agent about it; empty where it said nothing.'),
  })

export type HandoverRecord = DocumentOf<ReturnType<typeof handover>>

/** Something became known in the call, or changed. */
export const knownFact = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Milliseconds since the stream opened.'),
    name: z.string(),
    value: z.union([z.string(), z.number(), z.boolean()]),
    from: z.string().describe('The tool that gave it.'),
  })

export type FactRecord = DocumentOf<ReturnType<typeof knownFact>>

export const timelineMark = (ms: Ms) =>
  z.object({
    name: z.string(),
    atMs: ms.describe('Milliseconds since the webhook.'),
    detail: z.string().exactOptional(),
  })

export type TimelineMark = DocumentOf<ReturnType<typeof timelineMark>>

/** Why the agent stopped talking, or somebody was not served: one decision with its figures. */
const stop = (ms: Ms) =>
  z.object({
    kind: z.enum(['interruption', 'drop', 'silence-prompt', 'refusal', 'failure', 'hang-up']),
    atMs: ms.describe('Milliseconds since the webhook.'),
    mark: z.string().describe('The mark of the timeline that it comes from.'),
    why: z.string(),
  })

export type StopRecord = DocumentOf<ReturnType<typeof stop>>

/** Cause of a call's end. */
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
  /** The gateway's process died during the call; the record has what was on disk. */
  'process-died',
  /** Only for calls that we placed: nobody took the call, or no person did. */
  'not-taken',
  'answering-machine',
  'nobody-there',
])
export type EndReason = z.output<typeof endReasonSchema>

export const escalationStrategySchema = z.enum(['after-stream-dial', 'supervision', 'conference', 'callback'])
export type EscalationStrategy = z.output<typeof escalationStrategySchema>

export const escalationOutcomeSchema = z.enum(['answered', 'busy', 'no-answer', 'declined', 'failed'])
export type EscalationOutcome = z.output<typeof escalationOutcomeSchema>

/** One backend session of this call. */
export const backendSessionSchema = z.object({
  backend: z.string(),
  role: z.enum(['first', 'takeover', 'standby', 'rotation']),
  connectMs: wholeMs
    .nullable()
    .describe('From the beginning of its connection until it was ready; null when it never was.'),
  fault: z.string().nullable().describe('Why it never was.'),
})

/** A part of the call whose node or stream was lost. Of a lost node the last second may be in no record. */
export const resumedSchema = z.object({
  node: z.string().describe('The node that had the call before.'),
  why: z
    .enum(['node-lost', 'stream-lost', 'moved', 'called-back'])
    .default('node-lost')
    .describe(
      'Why it ended. moved: its node was being stopped. called-back: that call was cut off, and its caller is rung. node-lost also in records of earlier builds.',
    ),
  streamMs: wholeMs.describe('How long the call had had a stream when its state was last stored.'),
  recording: z
    .string()
    .nullable()
    .describe("File of that part's recording, below that node's DATA_DIR; its end may be missing."),
})

export type ResumedRecord = DocumentOf<typeof resumedSchema>

/** @param number  what is said of the number to call back */
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
        wantedAt: z
          .string()
          .exactOptional()
          .describe("The caller's own date and time, as 2026-11-27T15:00; absent: they named none."),
      })
      .nullable()
      .describe('A colleague is to call back.'),
  })

export type EscalationHistory = DocumentOf<ReturnType<typeof escalationHistorySchema>>
export type EscalationAttempt = EscalationHistory['attempts'][number]
export type CallbackAsk = NonNullable<EscalationHistory['callback']>['asked']

const failoverCounts = z.object({
  failovers: z.int().describe('Another backend took over after a fault.'),
  rotations: z.int().describe('The same backend opened a new session, because the old one was about to end.'),
  stalls: z.int().describe('Silence of a backend that counted as a fault.'),
  gapMsLast: z.int().nullable().describe('From the last fault until the next backend had the audio that was replayed.'),
  gapMsMax: z.int().nullable().describe('The longest of them.'),
  soundMsLast: z.int().nullable().describe('From the last fault to the first sound of the new backend.'),
  replayedMs: z.int().describe('Caller audio that was replayed.'),
  lostMs: z.int().describe('Caller audio that was too old to be replayed.'),
  toolsSpared: z.int().describe('Tool calls that got an earlier result and were not run again.'),
  lateDropped: z.int().describe('Audio and events of sessions that were over.'),
  rotationsAbandoned: z.int(),
  standbysLost: z.int(),
})

/** Records of earlier builds have `reFedMs` for `replayedMs`. */
const failoverSchema = z.preprocess(
  (value) =>
    typeof value === 'object' && value !== null && 'reFedMs' in value ? { replayedMs: value.reFedMs, ...value } : value,
  failoverCounts,
)

/** Cost of the models. */
const modelCosts = z.object({
  currency: z.string(),
  amount: z.number().nullable().describe('Null when the cost of one of the models is not known.'),
  known: z.number().describe('The sum of what is known: a lower bound.'),
  unknown: z.string().nullable().describe('Why the cost is not known.'),
  models: z.array(
    z.object({
      backend: z.string(),
      /** Null: the backend names no model. */
      model: z.string().nullable(),
      amount: z.number().nullable(),
      unknown: z.string().nullable(),
      usage: usageSchemaOf(z.number()),
    }),
  ),
})

/** A part of what a call costs, in the currency of the whole. */
const costPart = z.object({
  amount: z.number().nullable().describe('Null when something of it is not known.'),
  known: z.number().describe('The sum of what is known: a lower bound.'),
  unknown: z.string().nullable().describe('Why it is not known.'),
})

/** Effect of a number's daily budget on an inbound call. */
export const budgetStepSchema = z.enum(['cheaper', 'messages'])
export type BudgetStep = z.output<typeof budgetStepSchema>

/** Analysis of a call, in the fields of the agent's `analysis`. */
export const callAnalysisSchema = z.object({
  model: z.string().nullable().describe('The text model that filled it; null: what the gateway knows alone.'),
  language: z.string().nullable().describe('Tag of the language of the summary; null without one.'),
  summary: z.string().nullable(),
  fields: z
    .record(
      z.string(),
      z.object({
        value: z.union([z.string(), z.number(), z.boolean()]).nullable().describe('Null: not known.'),
        quote: z
          .string()
          .nullable()
          .describe('Words of the transcript that show it; null for what the gateway itself knows.'),
      }),
    )
    .describe("By the names of the agent's file."),
  fault: z.string().nullable().describe('Why the model that was asked filled nothing.'),
  cost: modelCosts.nullable().default(null).describe('Cost of the model that was asked; null where none was.'),
})

export type CallAnalysis = DocumentOf<typeof callAnalysisSchema>

export const callRecordSchema = z.object({
  version: z.literal(CALL_RECORD_VERSION),
  callSid: z.string(),
  agent: z.string(),
  agentVersion: z
    .string()
    .nullable()
    .default(null)
    .describe('Differs wherever the files of the agent differ, as they were in the call; null where no agent ran.'),
  language: z
    .string()
    .nullable()
    .default(null)
    .describe('Tag of the language that the call was in at its end, such as sw; null where there was no conversation.'),
  backend: z.string().describe('The one that answered last.'),
  direction: z.enum(['inbound', 'outbound']),
  from: z.string().describe('Masked.'),
  to: z.string().describe('Masked.'),
  number: z.string().exactOptional().describe('Our own number, whole; only where it is in NUMBERS_FILE.'),
  outcome: z.enum(CALL_OUTCOMES),
  /** A `CallRefusal` exactly where the outcome is `refused`. */
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
    .describe('Things that the agent claimed to have done, held against its tool calls (docs/AGENTS.md, "Claims").'),
  waits: z.array(waitRecord).default([]).describe('Tool calls whose answers came later (docs/WAITING.md).'),
  stages: z
    .array(stageMove(wholeMs))
    .default([])
    .describe('The stages that the call was in, in order; empty for an agent without stages (docs/STAGES.md).'),
  facts: z
    .array(knownFact(wholeMs))
    .default([])
    .describe('Facts that became known, in order; the last of a name counts.'),
  handovers: z
    .array(handover(wholeMs))
    .default([])
    .describe('Agents that took the call over from `agent`, in order; the last of them had it at its end.'),
  caller: z
    .object({
      source: z.string().describe('The tool, file or memory.'),
      from: z
        .enum(['tool', 'file', 'cache', 'memory'])
        .describe('cache: an earlier call of the hour had found it. memory: nothing is looked up but earlier calls.'),
      state: z
        .enum(CALLER_STATES)
        .describe('late: the greeting did not wait for it. unknown: it answered, and knows nothing of this number.'),
      ms: wholeMs.describe('From the webhook to the answer.'),
      fields: z.array(z.string()).describe('Fields that it found, by name; the values are not kept.'),
    })
    .nullable()
    .default(null)
    .describe('Look-up of the caller before the greeting (docs/CALLERS.md); null: none, or no answer came.'),
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
    failover: failoverSchema.nullable().describe('Course of a list of backends; null where one stands alone.'),
    irregular: z
      .record(z.string(), z.record(z.string(), z.int()))
      .describe('Faults of a service against its protocol, by backend and kind.'),
  }),
  cost: modelCosts.nullable().describe('Cost of the models, by backend and model (docs/COST.md).'),
  wholeCost: costPart
    .extend({
      currency: z.string().describe('CURRENCY.'),
      carrier: costPart
        .extend({ by: z.enum(['carrier', 'rates']) })
        .describe("Call and stream. by: the call's price is of the carrier's own record, or by its rates per minute."),
      models: costPart.describe('`cost` in this currency.'),
      analysis: costPart.nullable().describe('The `cost` of `analysis`; null while no model was asked for one.'),
    })
    .nullable()
    .default(null)
    .describe(
      "Carrier, models and analysis in one currency (docs/COST.md); it changes when the carrier's record comes.",
    ),
  budget: z
    .object({
      spent: z
        .enum(['maxMs', 'maxTokens', 'maxOutputTokens', 'maxCost'])
        .nullable()
        .describe('The limit that was reached; null for none.'),
      endedBy: z.enum(['agent', 'guard']).nullable().describe('Who then ended the call: the model, or the gateway.'),
    })
    .nullable()
    .describe('null where the agent sets no budget.'),
  budgetStep: budgetStepSchema
    .nullable()
    .default(null)
    .describe(
      "How far the day's budget of the number was used up when the call came: it got a cheaper backend, or only left a message. Null: the call was as any other.",
    ),
  analysis: callAnalysisSchema
    .nullable()
    .default(null)
    .describe("Subject of the call; null until it is analysed, and where the agent's file asks for nothing."),
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
  consent: z
    .enum(['told', 'refused', 'not-told'])
    .nullable()
    .default(null)
    .describe(
      'Notice to the caller that the call is recorded, or written down. refused: they heard it and said no; neither recording, journal nor words of the call are kept. Null: nothing is said about it, and in records of earlier builds.',
    ),
  recording: z
    .string()
    .nullable()
    .describe('File of our recording, below DATA_DIR; with STORAGE_BUCKET it is there until it is uploaded.'),
  recordingState: recordingStateSchema
    .nullable()
    .default(null)
    .describe(
      'State of our recording. missing: the disk did not take it, the notice about it was not heard, or it is at a node that was lost. off: the agent does not record. Null in records of earlier builds.',
    ),
  carrier: z
    .object({
      callId: z.string().nullable(),
      /** ringing, answered, completed, failed, no_answer, busy, canceled; others may come. */
      status: z.string().nullable(),
      startedAt: z.string().nullable(),
      answeredAt: z.string().nullable(),
      endedAt: z.string().nullable(),
      durationS: z.number().nullable(),
      costMinor: z.number().nullable().describe('In minor units (cents) of costCurrency.'),
      costCurrency: z.string().nullable(),
      ratePerMinuteMinor: z.number().nullable(),
      /** Why the leg ended, such as `normal_clearing`. */
      hangupCause: z.string().nullable(),
      failureCode: z.string().nullable(),
      recording: z.string().nullable().describe("File of the carrier's recording, below DATA_DIR."),
      recordingState: recordingStateSchema
        .nullable()
        .default(null)
        .describe(
          "State of the carrier's recording. missing: it could not be fetched. off: CARRIER_RECORDINGS is off, or the carrier has none. Null in records of earlier builds.",
        ),
      fetchedAt: z.iso.datetime(),
    })
    .nullable()
    .describe("The carrier's own record; null without an API key, and until it has come."),
  outbound: z
    .object({
      result: z
        .preprocess(
          (value) => (value === 'answered' ? 'person' : value === 'voicemail' ? 'machine' : value),
          z.enum(['person', 'machine', 'silence', 'busy', 'no-answer', 'refused', 'failed']),
        )
        .describe(
          'Who or what answered: a person, a machine, or silence. busy, no-answer, refused: nobody did. failed: the carrier could not ring. Records of before have answered for person and voicemail for machine.',
        ),
      ringMs: wholeMs.describe('From the order to the opened stream, or to the end of a call that nobody took.'),
      /** Also appears in the carrier's records. */
      clientRequestId: z.string(),
      externalId: z
        .string()
        .nullable()
        .default(null)
        .describe('The name that whoever ordered the call has for it; null: none.'),
    })
    .nullable()
    .describe('Null for a call that was not placed by this gateway.'),
})

export type CallRecord = DocumentOf<typeof callRecordSchema>
export type CallCost = NonNullable<CallRecord['cost']>
export type WholeCost = NonNullable<CallRecord['wholeCost']>
export type CostPart = WholeCost['models']
export type ModelCost = CallCost['models'][number]
/** The carrier's own record of a call. Times are ISO 8601. */
export type CarrierDetail = NonNullable<CallRecord['carrier']>
export type OutboundRecord = NonNullable<CallRecord['outbound']>
