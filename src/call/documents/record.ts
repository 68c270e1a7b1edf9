import { z } from 'zod'
import { usageSchemaOf } from '../backend-events.js'
import { CALLER_STATES } from '../caller-data.js'
import type { DocumentOf } from './document.js'

/**
 * The call record: one document per call. Log, timeline and handoff packet share parts of it. Times are in milliseconds
 * unless a name says otherwise. Source of `schema/call-record.schema.json`.
 */

/** Version of the call record's JSON. */
export const CALL_RECORD_VERSION = 1

/** Outcome of a call. `unreached` only for calls that the gateway placed; `refused` only for incoming calls. */
export const CALL_OUTCOMES = ['contained', 'escalated', 'abandoned', 'failed', 'unreached', 'refused'] as const
export type CallOutcome = (typeof CALL_OUTCOMES)[number]

/** Result of a call for its caller, in addition to the outcome; determined by `servedOf`. */
export const CALL_SERVED = [
  /** A human took the call. */
  'human',
  /** A tool that changes something succeeded, a pending tool had a successful outcome, or a call back was stored. */
  'done',
  /** Words of the caller were recognised and answered. */
  'answered',
  /** The caller spoke, and each answer only asked the caller to repeat. */
  'not-understood',
  /** The caller spoke, and heard no answer. */
  'not-answered',
  /** The stream opened, but the caller did not speak or press a digit. */
  'nothing-asked',
  /** The call was refused or not answered, or ended without a stream. */
  'not-connected',
] as const
export type CallServed = (typeof CALL_SERVED)[number]

/** Reasons for refusing an incoming call. The caller of a refused call hears words, and a stream is not opened. */
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

/** Times in whole milliseconds, for the call record; other documents have unrounded times. */
const wholeMs = z.int()

/**
 * State of a recording. ready: it is stored. pending: it may still arrive. missing: it should exist but does not. off:
 * the call was not recorded.
 */
const recordingStateSchema = z.enum(['ready', 'pending', 'missing', 'off'])
export type RecordingState = z.output<typeof recordingStateSchema>
/** Whole or measured milliseconds. */
type Ms = z.ZodNumber
export const measuredMs = z.number()
export const anyArguments = z.record(z.string(), z.unknown()).describe('Arguments as the backend sent them.')

export const transcriptEntry = (ms: Ms) =>
  z.object({
    role: z.enum(['caller', 'agent']),
    text: z.string(),
    startMs: ms.describe('Milliseconds since the stream opened.'),
    endMs: ms,
    interrupted: z
      .boolean()
      .exactOptional()
      .describe('Agent entries: true if the caller interrupted the agent. `text` is the text that was said.'),
    language: z
      .string()
      .exactOptional()
      .describe('Language of the call at its end, for agents that speak several languages.'),
    playedMs: ms.exactOptional().describe('Interrupted agent entries: the duration that the caller heard.'),
  })

export type TranscriptEntry = DocumentOf<ReturnType<typeof transcriptEntry>>

export const toolCall = (ms: Ms) =>
  z.object({
    name: z.string(),
    args: anyArguments,
    startMs: ms.describe('Milliseconds since the stream opened. A tool may run before the stream opens.'),
    ms: ms.describe('Duration of the tool call.'),
    ok: z.boolean(),
    error: z.string().exactOptional(),
    effect: z
      .literal(true)
      .exactOptional()
      .describe(
        'Present if the tool may change data, because it is not declared as read-only. Absent in records of earlier builds.',
      ),
  })

export type ToolCallRecord = DocumentOf<ReturnType<typeof toolCall>>

/** A tool call whose result arrived later. */
const waitRecord = z.object({
  tool: z.string(),
  startedAt: z.iso.datetime().describe('Calendar time of its request.'),
  status: z.enum(['pending', 'succeeded', 'failed', 'expired']).describe('expired: no outcome was reported.'),
  ms: wholeMs.nullable().describe('Time from the request to the outcome; null if no outcome is known.'),
  late: z.boolean().describe('True: the outcome came after the conversation had stopped waiting for it.'),
  told: z.boolean().describe('True: the caller heard the outcome. False: the outcome was sent as a message.'),
})
export type WaitRecord = DocumentOf<typeof waitRecord>

/** Times as the caller perceives them; null if the start of a sound was not detected on the outbound track. */
export const playedTimes = (ms: Ms) => z.object({ firstSoundMs: ms.nullable(), answerMs: ms.nullable() })
export type PlayedTimes = DocumentOf<ReturnType<typeof playedTimes>>

export const turn = (ms: Ms) =>
  z.object({
    callerStoppedMs: ms.describe("The caller's last voiced sample, in milliseconds since the stream opened."),
    firstSoundMs: ms
      .nullable()
      .describe(
        'Time from callerStoppedMs until the first sample of any agent sound is written to the socket; null if there was no sound.',
      ),
    answerMs: ms
      .nullable()
      .describe(
        'Time from callerStoppedMs until the first sample of an agent sound that is not a filler is written to the socket. The caller hears the sound later: METRICS.md.',
      ),
    ear: playedTimes(ms)
      .exactOptional()
      .describe(
        "Both times, measured up to the agent's voice on the outbound track. Present only if the carrier forks both tracks as stereo.",
      ),
  })

export type TurnRecord = DocumentOf<ReturnType<typeof turn>>

export const bargeIn = (ms: Ms) =>
  z.object({
    atMs: ms.describe('First voiced sample, in milliseconds since the stream opened.'),
    stopMs: ms
      .nullable()
      .describe('Time from atMs to the last agent sample sent; null if no agent sound had to be stopped.'),
    duckMs: ms
      .exactOptional()
      .describe(
        'Time from atMs to the command that makes the agent 12 dB softer; absent if the agent was not made softer.',
      ),
    committed: z.boolean().describe('False: a false interruption. The agent then resumed its speech.'),
    why: z.string().describe('Reason for the decision, with its figures.'),
  })

export type BargeInRecord = DocumentOf<ReturnType<typeof bargeIn>>

/** A turn of the agent: its claimed words, and the part that the caller could hear. */
const spokenTurn = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Time of the first event, sound or words of the turn, in milliseconds since the stream opened.'),
    by: z.string().describe('Name of the backend that spoke, or `gateway` for a phrase of the gateway itself.'),
    claimedMs: ms.describe(
      'Length of the sound that the backend sent, without cut-off speech. If the sound is at most a click: length of the words, at 25 characters a second.',
    ),
    heardMs: ms.describe('Length of the sound above -60 dBFS that was sent and played.'),
  })

export type SpokenTurn = DocumentOf<ReturnType<typeof spokenTurn>>

/** A claim of the agent, compared with the tool calls. */
export const claim = (ms: Ms) =>
  z.object({
    atMs: ms.describe("Begin of the agent's words, in milliseconds since the stream opened."),
    tool: z.string().nullable().describe('First tool of the rule; null if the agent has no tool for the claim.'),
    language: z.string().describe('Language of the phrase; und for no-source.'),
    phrase: z.string().describe("Phrase of the agent's file that matched; for no-source the words of the agent."),
    verdict: z
      .enum([
        'done',
        'no-tool',
        'not-called',
        'refused',
        'failed',
        'cancelled',
        'overdue',
        /** The tool succeeded, but its result contradicts the claim. */
        'other-result',
        /** The result is unknown, because the tool ran when its worker or node was lost. */
        'uncertain',
        'no-source',
      ])
      .describe(
        'done: the tool succeeded in this call. no-source: a number, price or weekday that the agent was not given. All other values: no tool supports the claim.',
      ),
  })

export type ClaimRecord = DocumentOf<ReturnType<typeof claim>>
export type ClaimVerdict = ClaimRecord['verdict']

/** Move of the call into a stage of its agent (docs/STAGES.md). */
export const stageMove = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Milliseconds since the stream opened.'),
    from: z.string().nullable().describe('Previous stage; null at the beginning of the call.'),
    stage: z.string(),
    why: z
      .enum(['begin', 'handover', 'model', 'facts', 'tool', 'failures', 'time'])
      .describe(
        'begin: the call began. handover: another agent took the call over. model: the model called go_to_stage. All other values: the gateway changed the stage.',
      ),
    summary: z.string().exactOptional().describe("The model's summary of the previous stage."),
  })

export type StageRecord = DocumentOf<ReturnType<typeof stageMove>>

/** Handover of the call from one agent to another. */
export const handover = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Milliseconds since the stream opened.'),
    from: z.string(),
    to: z.string(),
    summary: z.string().describe("The first agent's summary for the second; empty if there is none."),
  })

export type HandoverRecord = DocumentOf<ReturnType<typeof handover>>

/** A fact of the call that became known or changed. */
export const knownFact = (ms: Ms) =>
  z.object({
    atMs: ms.describe('Milliseconds since the stream opened.'),
    name: z.string(),
    value: z.union([z.string(), z.number(), z.boolean()]),
    from: z.string().describe('Name of the tool that supplied the fact.'),
  })

export type FactRecord = DocumentOf<ReturnType<typeof knownFact>>

export const timelineMark = (ms: Ms) =>
  z.object({
    name: z.string(),
    atMs: ms.describe('Milliseconds since the webhook.'),
    detail: z.string().exactOptional(),
  })

export type TimelineMark = DocumentOf<ReturnType<typeof timelineMark>>

/**
 * A decision with the figures that led to it. It explains why the agent stopped talking, or why a caller was not
 * served.
 */
const stop = (ms: Ms) =>
  z.object({
    kind: z.enum(['interruption', 'drop', 'silence-prompt', 'refusal', 'failure', 'hang-up']),
    atMs: ms.describe('Milliseconds since the webhook.'),
    mark: z.string().describe('Name of the timeline mark of this decision.'),
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
  /** The gateway's process died during the call; the record contains the data that was on disk. */
  'process-died',
  /** Only for calls that the gateway placed. A person did not answer the call. */
  'not-taken',
  'answering-machine',
  'nobody-there',
])
export type EndReason = z.output<typeof endReasonSchema>

/**
 * True for an incoming call whose stream never opened at this node. In a fleet, the stream may have opened at another
 * node. False if the record does not contain the necessary facts, for example after the process died.
 */
export function neverOpened(record: Partial<Pick<CallRecord, 'endReason' | 'direction' | 'durationMs'>>): boolean {
  const { endReason = 'process-died', direction, durationMs } = record
  if (endReason === 'socket-never-came') return true
  return (
    direction === 'inbound' && durationMs === 0 && !['process-died', 'socket-lost', 'not-taken'].includes(endReason)
  )
}

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
    .describe('Time from the beginning of the connection until the session was ready; null if it never was ready.'),
  fault: z.string().nullable().describe('Reason why the session was never ready; null if it was.'),
})

/**
 * A part of the call before its node or stream was lost. If the node was lost, the last second may be missing from all
 * records.
 */
export const resumedSchema = z.object({
  node: z.string().describe('Previous node of the call.'),
  why: z
    .enum(['node-lost', 'stream-lost', 'moved', 'called-back'])
    .default('node-lost')
    .describe(
      'Reason why the earlier part ended. moved: its node was being stopped. called-back: the call was cut off, and this call calls its caller back. node-lost also stands for an unknown reason, in records of earlier builds.',
    ),
  streamMs: wholeMs.describe('Stream time of the call when its state was last stored.'),
  recording: z
    .string()
    .nullable()
    .describe(
      "Recording of the earlier part, as a file below its node's DATA_DIR; null if there is none. Its end may be missing.",
    ),
})

export type ResumedRecord = DocumentOf<typeof resumedSchema>

/** @param number  description of the number to call back */
export const escalationHistorySchema = (number: string) =>
  z.object({
    reason: z.string(),
    strategy: escalationStrategySchema
      .nullable()
      .describe('Last strategy that was tried; null if none could be tried.'),
    outcome: escalationOutcomeSchema.nullable(),
    attempts: z
      .array(
        z.object({
          strategy: escalationStrategySchema,
          human: z.int().nullable().describe('Position in the list of numbers, from 1; null if no number was rung.'),
          outcome: escalationOutcomeSchema,
          detail: z.string(),
          ms: wholeMs,
        }),
      )
      .describe('Attempts in order, each with one strategy and one human.'),
    callback: z
      .object({
        asked: z.enum(['key', 'words', 'nobody-reached']),
        number: z.string().describe(number),
        note: z.string(),
        at: z.iso.datetime().describe('Calendar time.'),
        wantedAt: z
          .string()
          .exactOptional()
          .describe('Date and time that the caller named, as 2026-11-27T15:00; absent if they named none.'),
      })
      .nullable()
      .describe('Promised call back; null if there is none.'),
  })

export type EscalationHistory = DocumentOf<ReturnType<typeof escalationHistorySchema>>
export type EscalationAttempt = EscalationHistory['attempts'][number]
export type CallbackAsk = NonNullable<EscalationHistory['callback']>['asked']

const failoverCounts = z.object({
  failovers: z.int().describe('Number of takeovers by another backend after a fault.'),
  rotations: z
    .int()
    .describe('Number of new sessions of the same backend, opened because the old session was about to end.'),
  stalls: z.int().describe('Number of silences of a backend that counted as a fault.'),
  gapMsLast: z
    .int()
    .nullable()
    .describe('Time from the last fault until the next backend had received the replayed audio.'),
  gapMsMax: z.int().nullable().describe('Maximum of these times over all faults.'),
  soundMsLast: z.int().nullable().describe('Time from the last fault to the first sound of the new backend.'),
  replayedMs: z.int().describe('Length of the caller audio that was replayed.'),
  lostMs: z.int().describe('Length of the caller audio that was too old to be replayed.'),
  toolsSpared: z.int().describe('Tool calls that got an earlier result and were not run again.'),
  lateDropped: z.int().describe('Number of late audio messages and events of ended sessions, which were dropped.'),
  rotationsAbandoned: z.int(),
  standbysLost: z.int(),
})

/** In records of earlier builds, `replayedMs` is named `reFedMs`. */
const failoverSchema = z.preprocess(
  (value) =>
    typeof value === 'object' && value !== null && 'reFedMs' in value ? { replayedMs: value.reFedMs, ...value } : value,
  failoverCounts,
)

/** Cost of the models. */
const modelCosts = z.object({
  currency: z.string(),
  amount: z.number().nullable().describe('Null if the cost of a model is unknown.'),
  known: z.number().describe('Sum of the known costs: a lower bound.'),
  unknown: z.string().nullable().describe('Reason why the cost is unknown; null if it is known.'),
  models: z.array(
    z.object({
      backend: z.string(),
      /** Name of the model; null if the backend reports none. */
      model: z.string().nullable(),
      amount: z.number().nullable(),
      unknown: z.string().nullable(),
      usage: usageSchemaOf(z.number()),
    }),
  ),
})

/** A part of a call's cost, in the same currency as the total. */
const costPart = z.object({
  amount: z.number().nullable().describe('Null if a part of the cost is unknown.'),
  known: z.number().describe('Sum of the known parts: a lower bound.'),
  unknown: z.string().nullable().describe('Reason why the amount is unknown; null if it is known.'),
})

/** Effect of a number's daily budget on an incoming call. */
export const budgetStepSchema = z.enum(['cheaper', 'messages'])
export type BudgetStep = z.output<typeof budgetStepSchema>

/** Analysis of a call, in the fields of the agent's `analysis`. */
export const callAnalysisSchema = z.object({
  model: z.string().nullable().describe('Text model that filled the fields; null if only the gateway filled them.'),
  language: z.string().nullable().describe('Language tag of the summary; null if there is no summary.'),
  summary: z.string().nullable(),
  fields: z
    .record(
      z.string(),
      z.object({
        value: z.union([z.string(), z.number(), z.boolean()]).nullable().describe('Null if the value is unknown.'),
        quote: z
          .string()
          .nullable()
          .describe('Words of the transcript that show the value; null if the gateway itself supplied it.'),
      }),
    )
    .describe("Fields by their names in the agent's file."),
  fault: z
    .string()
    .nullable()
    .describe('Reason why the model filled no field; null if it did, or if no model was asked.'),
  cost: modelCosts.nullable().default(null).describe('Cost of the text model; null if no model was asked.'),
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
    .describe("Version of the agent's files in the call: other files have another version. Null if no agent ran."),
  language: z
    .string()
    .nullable()
    .default(null)
    .describe('Language tag of the call at its end, such as sw; null if there was no conversation.'),
  backend: z.string().describe('Backend that answered last.'),
  direction: z.enum(['inbound', 'outbound']),
  from: z.string().describe('Calling number, masked.'),
  to: z.string().describe('Called number, masked.'),
  number: z.string().exactOptional().describe('Our own number, in full; present only if it is in NUMBERS_FILE.'),
  outcome: z.enum(CALL_OUTCOMES),
  served: z
    .enum(CALL_SERVED)
    .nullable()
    .default(null)
    .describe(
      'Result for the caller, from successful tools, heard answers and requests to repeat. It does not say if an answer was correct. Null in records of earlier builds.',
    ),
  /** A `CallRefusal` if and only if the outcome is `refused`. */
  endReason: z.enum([...endReasonSchema.options, ...CALL_REFUSALS]),
  endDetail: z.string(),
  startedAt: z.iso.datetime().describe('Calendar time of the webhook.'),
  durationMs: wholeMs.describe('Time for which the stream was open.'),
  greetingMs: wholeMs
    .nullable()
    .describe('Time from the opening of the stream to the first agent sound; null if there was no sound.'),
  transcript: z.array(transcriptEntry(wholeMs)),
  toolCalls: z.array(toolCall(wholeMs)),
  turns: z.array(turn(wholeMs)),
  bargeIns: z.array(bargeIn(wholeMs)),
  speech: z
    .array(spokenTurn(wholeMs))
    .default([])
    .describe(
      'Newest 1,000 turns of the agent, in the order of their ends. A turn is silent if claimedMs is 1000 or more and heardMs is less than a fifth of claimedMs. If a node was lost, only the turns after the loss. Empty in records of earlier builds.',
    ),
  claims: z
    .array(claim(wholeMs))
    .default([])
    .describe('Claims of the agent, compared with its tool calls (docs/AGENTS.md, "Claims").'),
  waits: z.array(waitRecord).default([]).describe('Tool calls whose answers came later (docs/WAITING.md).'),
  stages: z
    .array(stageMove(wholeMs))
    .default([])
    .describe('Stages of the call, in order; empty if the agent has no stages (docs/STAGES.md).'),
  facts: z
    .array(knownFact(wholeMs))
    .default([])
    .describe('Facts that became known, in order. If a name occurs twice, the later fact counts.'),
  handovers: z
    .array(handover(wholeMs))
    .default([])
    .describe(
      'Handovers from `agent` to other agents, in order. The agent of the last handover had the call at its end.',
    ),
  caller: z
    .object({
      source: z.string().describe('Tool or file that was read, or memory.'),
      from: z
        .enum(['tool', 'file', 'cache', 'memory'])
        .describe(
          'cache: the result of an earlier call in the last hour. memory: only the memory of earlier calls was read.',
        ),
      state: z
        .enum(CALLER_STATES)
        .describe(
          'late: the greeting did not wait for the answer. unknown: the source answered, and has no data for this number.',
        ),
      ms: wholeMs.describe('Time from the webhook to the answer.'),
      fields: z.array(z.string()).describe('Names of the fields that were found. Their values are not stored.'),
    })
    .nullable()
    .default(null)
    .describe(
      'Look-up of the caller before the greeting (docs/CALLERS.md); null if there was no look-up, or no answer.',
    ),
  escalation: escalationHistorySchema('Masked.').nullable(),
  timeline: z.array(timelineMark(wholeMs)),
  timelineDropped: z
    .int()
    .describe(
      'Number of marks that were dropped because the timeline is bounded. They lie between the first and the newest marks.',
    ),
  stops: z
    .array(stop(wholeMs))
    .describe('Decisions that stopped the agent, or by which the caller was not served, each with its figures.'),
  usage: usageSchemaOf(z.int()).describe('Usage of all models together.'),
  audio: z.object({
    framesIn: z.int(),
    framesConcealed: z.int(),
    framesDropped: z.int(),
    underruns: z.int(),
    dtmf: z.int(),
  }),
  backends: z.object({
    sessions: z.array(backendSessionSchema),
    failover: failoverSchema.nullable().describe('Failovers in a list of backends; null if there is only one backend.'),
    irregular: z
      .record(z.string(), z.record(z.string(), z.int()))
      .describe('Number of protocol violations by a service, by backend and kind.'),
  }),
  cost: modelCosts.nullable().describe('Cost of the models, by backend and model (docs/COST.md).'),
  wholeCost: costPart
    .extend({
      currency: z.string().describe('CURRENCY.'),
      carrier: costPart
        .extend({ by: z.enum(['carrier', 'rates']) })
        .describe(
          "Cost of call and stream. by: carrier if the price is in the carrier's own record, rates if it is computed from rates per minute.",
        ),
      models: costPart.describe('`cost` in this currency.'),
      analysis: costPart.nullable().describe('The `cost` of `analysis`; null if no model was asked for an analysis.'),
    })
    .nullable()
    .default(null)
    .describe(
      "Cost of carrier, models and analysis in one currency (docs/COST.md). It changes when the carrier's record arrives.",
    ),
  budget: z
    .object({
      spent: z
        .enum(['maxMs', 'maxTokens', 'maxOutputTokens', 'maxCost'])
        .nullable()
        .describe('Limit that was reached; null if none was reached.'),
      endedBy: z
        .enum(['agent', 'guard'])
        .nullable()
        .describe('agent: the model then ended the call. guard: the gateway ended it. Null if neither did.'),
    })
    .nullable()
    .describe('Budget of the call; null if the agent sets no budget.'),
  budgetStep: budgetStepSchema
    .nullable()
    .default(null)
    .describe(
      'Effect of the daily budget of the number. cheaper: the call got a cheaper backend. messages: the caller could only leave a message. Null if there was no effect.',
    ),
  analysis: callAnalysisSchema
    .nullable()
    .default(null)
    .describe("Analysis of the call; null until the call is analysed, or if the agent's file has no `analysis`."),
  rehomes: z.int().describe('Number of times that the call moved to another worker.'),
  resumed: z
    .array(resumedSchema)
    .default([])
    .describe(
      'Earlier parts of a call that continued with a new stream, because its node or its stream was lost. The last second before the loss of a node may be missing from the record. The recording has one part for each stream.',
    ),
  recoveredFrom: z
    .string()
    .nullable()
    .default(null)
    .describe(
      'SID of the cut-off call whose caller this call called back; null for any other call. This record continues the record of that call.',
    ),
  rootSid: z
    .string()
    .default('')
    .describe("SID of the first call in a chain of such call backs; the call's own SID if there is no chain."),
  consent: z
    .enum(['told', 'refused', 'not-told'])
    .nullable()
    .default(null)
    .describe(
      'Notice to the caller that the call is recorded or transcribed: heard, heard and refused (then recording, journal and words are not stored), or not heard to its end. Null if there is no notice, and in records of earlier builds.',
    ),
  recording: z
    .string()
    .nullable()
    .describe('File of our recording, below DATA_DIR. With STORAGE_BUCKET the file stays there until it is uploaded.'),
  recordingState: recordingStateSchema
    .nullable()
    .default(null)
    .describe(
      'State of our recording. missing: it could not be written, the notice was not heard, or it is on a lost node. off: the agent does not record. Null in records of earlier builds.',
    ),
  carrier: z
    .object({
      callId: z.string().nullable(),
      /** ringing, answered, completed, failed, no_answer, busy, canceled; the carrier may send others. */
      status: z.string().nullable(),
      startedAt: z.string().nullable(),
      answeredAt: z.string().nullable(),
      endedAt: z.string().nullable(),
      durationS: z.number().nullable(),
      costMinor: z.number().nullable().describe('In minor units (cents) of costCurrency.'),
      costCurrency: z.string().nullable(),
      ratePerMinuteMinor: z.number().nullable(),
      /** Reason for the end of the leg, such as `normal_clearing`. */
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
    .describe("The carrier's own record of the call; null without an API key, and until the record has arrived."),
  outbound: z
    .object({
      result: z
        .preprocess(
          (value) => (value === 'answered' ? 'person' : value === 'voicemail' ? 'machine' : value),
          z.enum(['person', 'machine', 'silence', 'busy', 'no-answer', 'refused', 'failed']),
        )
        .describe(
          'Result of the placed call. person, machine, silence: the call was answered, in this way. busy, no-answer, refused: it was not answered. failed: the carrier could not ring. Records of earlier builds have answered for person and voicemail for machine.',
        ),
      ringMs: wholeMs.describe(
        'Time from the request to the opening of the stream, or to the end of an unanswered call.',
      ),
      /** Identifier that also appears in the carrier's records. */
      clientRequestId: z.string(),
      externalId: z
        .string()
        .nullable()
        .default(null)
        .describe("Requester's own identifier of the call; null if there is none."),
    })
    .nullable()
    .describe('Data of a call that this gateway placed; null for any other call.'),
})

export type CallRecord = DocumentOf<typeof callRecordSchema>
export type CallCost = NonNullable<CallRecord['cost']>
export type WholeCost = NonNullable<CallRecord['wholeCost']>
export type CostPart = WholeCost['models']
export type ModelCost = CallCost['models'][number]
/** The carrier's own record of a call. Times are ISO 8601. */
export type CarrierDetail = NonNullable<CallRecord['carrier']>
export type OutboundRecord = NonNullable<CallRecord['outbound']>
