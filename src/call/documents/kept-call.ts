import { z } from 'zod'
import { GatewayError } from '../../core/errors.js'
import { CallLog } from '../call-log.js'
import { callLogSchema, callLogEntrySchema } from './log-entry.js'
import type { CallLogRecords } from './log-entry.js'
import { checkpointSchema } from './checkpoint.js'
import type { DocumentOf } from './document.js'
import { handoffSchema } from './handoff.js'
import {
  backendSessionSchema,
  budgetStepSchema,
  callRecordSchema,
  escalationHistorySchema,
  escalationOutcomeSchema,
  escalationStrategySchema,
  measuredMs,
  resumedSchema,
  timelineMark,
} from './record.js'
import type { CallRecord, EndReason, TimelineMark } from './record.js'

/**
 * Version of a kept call. New properties do not increase it, because readers ignore unknown properties. A release that
 * increases the version still writes the previous version; `test/releases` has samples.
 */
export const KEPT_CALL_VERSION = 1
const KEPT_CALL_VERSIONS: readonly unknown[] = [KEPT_CALL_VERSION]

/** The worker's part of the call record, without the call log. Its times are not rounded. */
export interface CallResult
  extends
    Pick<CallRecord, 'outcome' | 'endDetail' | 'backend' | 'durationMs' | 'greetingMs' | 'language' | 'usage'>,
    Pick<CallRecord['audio'], 'framesIn' | 'framesConcealed' | 'framesDropped' | 'dtmf'> {
  readonly type: 'result'
  readonly endReason: EndReason
  readonly report: Pick<CallRecord, 'cost' | 'budget'> & Omit<CallRecord['backends'], 'sessions'>
  /** Number of tool calls that were refused because of an unknown name, invalid arguments, or too many calls. */
  readonly toolCallsRefused: number
  /**
   * Number of sounds that lowered the agent's volume and stayed undecided. The agent was stopped for another reason, or
   * the call ended.
   */
  readonly ducksUndecided?: number
  /** Number of frames of the agent's speech that were dropped because too much speech was waiting. */
  readonly agentFramesDropped: number
}

const isResult = (value: unknown): boolean => z.looseObject({ type: z.literal('result') }).safeParse(value).success

/** Deadlines of an escalation. */
export const ESCALATION_DEADLINES = [
  'stream-close',
  'continuation',
  'ring',
  'farewell',
  'offer',
  'hangup-retry',
] as const

/**
 * An escalation that continues without the stream. Times are durations, except `askedWallMs`. Therefore the time
 * between the loss of a node and the continuation at the next node does not count.
 */
const escalationMachineSchema = z.object({
  state: z.enum(['none', 'pending', 'dialing', 'offering', 'bridged', 'failed']),
  strategy: escalationStrategySchema.nullable(),
  /** Index of the strategy in the agent's list, from 0; -1 before the first strategy. */
  strategyIndex: z.int(),
  /** Calendar time for which the phone numbers within opening hours were selected. */
  askedWallMs: z.number(),
  /** Index of the current number, from 0. */
  human: z.int(),
  lastOutcome: escalationOutcomeSchema,
  lastDetail: z.string(),
  settled: z.boolean(),
  streamClosed: z.boolean(),
  terminal: z.boolean(),
  /** Dial document that was served. */
  dial: z
    .object({
      number: z.string(),
      asker: z.enum(['after-stream', 'voice', 'stream-status', 'events']),
      sure: z.boolean(),
      /** Time since the document was served, in milliseconds. */
      servedMs: z.number(),
    })
    .nullable(),
  /** Duration of the current attempt so far, in milliseconds; null without an attempt. */
  attemptMs: z.number().nullable(),
  owesFarewell: z.boolean(),
  farewell: z.object({
    state: z.enum(['none', 'asked', 'done']),
    /** Time since the caller was asked, in milliseconds; null before the question. */
    askedMs: z.number().nullable(),
  }),
  requests: z.int(),
  hangupTries: z.int(),
  /** Remaining time of each deadline, by name. */
  deadlines: z.partialRecord(z.enum(ESCALATION_DEADLINES), z.number()),
})
export type EscalationSnapshot = DocumentOf<typeof escalationMachineSchema>

/** An escalation in the form that another node needs. The packet's transcript and tools are in the call log. */
const escalationSchema = z.object({
  history: escalationHistorySchema('E.164; empty when withheld.').nullable(),
  packet: handoffSchema.omit({ tried: true, transcript: true, from: true, to: true, escalation: true }).nullable(),
  newsSent: z.object({ settled: z.int(), callbacks: z.int() }),
  machine: escalationMachineSchema.nullable(),
})
export type KeptEscalation = DocumentOf<typeof escalationSchema>

/** A tool call whose result arrives later, as the main thread waits for it (`CallWaits`). */
const waitSchema = z.object({
  /** Identifier of the wait's continuation token. */
  id: z.string(),
  /** Idempotency key of the tool's effect. */
  key: z.string(),
  tool: z.string(),
  /**
   * Index of the agent that called the tool. The agents of the call are counted in order, from 0. Absent in kept calls
   * of earlier builds.
   */
  askedBy: z.int().nonnegative().exactOptional(),
  callId: z.string(),
  args: z.record(z.string(), z.unknown()),
  /** Identifier of the awaited outcome from the API; empty if the API did not send an identifier. */
  pendingId: z.string(),
  phase: z.enum(['asked', 'pending', 'settled']),
  /** Calendar times, like the token's times. */
  startedWallMs: z.number(),
  waitUntilWallMs: z.number(),
  untilWallMs: z.number(),
  settledWallMs: z.number().nullable(),
  status: z.enum(['succeeded', 'failed', 'expired']).nullable(),
  result: z.unknown().default(null),
  /** True if the caller has heard the outcome. */
  told: z.boolean(),
  /** True if the outcome was sent as a message. */
  sent: z.boolean(),
})
export type KeptWait = DocumentOf<typeof waitSchema>

const { callSid, agent, direction, rehomes } = callRecordSchema.shape

/**
 * Data of a live call for another node, without the call's log; plain JSON of a few KB. Times that people see are
 * calendar times. All other times are durations in milliseconds, because the clocks of two nodes may differ. All data
 * is validated, because another process, perhaps of another version, wrote it.
 */
export const keptCallSchema = z.object({
  version: z.literal(KEPT_CALL_VERSION),
  /** Name of the node that wrote this data. */
  node: z.string(),
  callSid,
  /**
   * SID of the first call in a chain of calls. Limits and effects count for the whole chain. Without a chain, this is
   * the call's own SID.
   */
  rootSid: z.string(),
  agent,
  /** Value of `agentVersion` in the call's record. */
  agentHash: z.string(),
  /**
   * Value of `agentVersion` for the agent that received the call in a handover; empty if that agent no longer exists.
   * Absent without a handover, and in earlier builds.
   */
  handedHash: z.string().exactOptional(),
  /**
   * Versions of the agents that had the call between the first and the current agent, oldest first. Empty if the agent
   * no longer exists. Absent without such agents.
   */
  passedHashes: z.array(z.string()).exactOptional(),
  direction,
  /** Phone number in E.164 form; empty if withheld. */
  from: z.string(),
  to: z.string(),
  /** Set for a call that the gateway placed. `orderedMs`: time from the order to the webhook, in milliseconds. */
  placed: z
    .object({
      clientRequestId: z.string(),
      ringMs: z.number(),
      orderedMs: z.number(),
      variables: z.record(z.string(), z.string()).default({}),
      externalId: z.string().nullable().default(null),
      leaveMessage: z.boolean().default(true),
      promised: z.boolean().default(false),
      /** Phone number in E.164 form. The gateway connects the person who answers to this number. */
      joins: z.string().nullable().default(null),
    })
    .nullable(),
  legRateHz: z.int(),
  /** Budget step of the call. It does not change if the number's spending grows during the call. */
  budgetStep: budgetStepSchema.nullable().default(null),
  /** Calendar time of the webhook. */
  preparedWallMs: z.number(),
  /** Time from the webhook to this state, in milliseconds. */
  elapsedMs: z.number().min(0),
  /** Time from the webhook to the opening of the first stream, in milliseconds; null before the opening. */
  streamOpenedMs: z.number().nullable(),
  /** True if the node is being stopped and has closed the stream, so that another node continues the call. */
  moves: z.boolean().default(false),
  /** Total time for which the call had an open stream, in milliseconds, over all streams. */
  streamMs: z.number().min(0),
  afterStreamUrl: z.string().nullable(),
  humanUrl: z.string().nullable(),
  /**
   * `announced`: the caller has heard that the call is recorded. `refused`: the caller has refused. `file`: file of
   * this node's part of the recording.
   */
  recording: z.object({ announced: z.boolean(), refused: z.boolean().default(false), file: z.string().nullable() }),
  /** State of the session; null before the session's first checkpoint. */
  session: checkpointSchema.nullable(),
  backendState: z.unknown().default(null),
  escalation: escalationSchema.nullable(),
  waits: z.array(waitSchema).default([]),
  /**
   * Result of a session that has ended, while the gateway still tries to reach a human or waits for an outcome; null
   * otherwise.
   */
  result: z.custom<CallResult>(isResult).nullable(),
  sessions: z.array(backendSessionSchema),
  rehomes,
  /** SID of the cut-off call whose caller was called back by this call; null for all other calls. */
  recoveredFrom: z.string().nullable(),
  resumed: z.array(resumedSchema),
  timelineDropped: z.int(),
  /**
   * Number of wrong verification answers from the caller's number, as far as the node that wrote this data still counts
   * them.
   */
  wrongAnswers: z.int().min(0),
})
export type KeptCall = DocumentOf<typeof keptCallSchema>

/** A part of a kept call's log. `base` replaces all earlier parts. */
export const logChunkSchema = z.object({
  base: callLogSchema.exactOptional(),
  entries: z.array(callLogEntrySchema),
  marks: z.array(timelineMark(measuredMs)),
})

/** Data from which another node continues a call. */
export interface KeptState {
  /**
   * Kind of interruption; absent if the node was lost. `stream-lost`: only the stream was lost. `call-back`: the caller
   * has left and is called back.
   */
  readonly how?: 'stream-lost' | 'call-back'
  readonly kept: KeptCall
  readonly log: CallLogRecords
  readonly marks: readonly TimelineMark[]
}

/**
 * Reads a kept call.
 * @throws GatewayError KEPT_CALL_INVALID if this build cannot read its version or its shape
 */
export function parseKeptCall(value: unknown): KeptCall {
  const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined
  if (!KEPT_CALL_VERSIONS.includes(version)) {
    const what = typeof version === 'number' ? `version ${version}` : 'no version'
    throw new GatewayError(
      'KEPT_CALL_INVALID',
      `a kept call has ${what}; this build reads ${KEPT_CALL_VERSIONS.join(', ')}`,
    )
  }
  return shaped(keptCallSchema, value, 'a kept call')
}

/** Returns a part of the log in the form in which it is stored. */
export const logChunk = (chunk: DocumentOf<typeof logChunkSchema>): string => JSON.stringify(chunk)

/** Returns the log of a kept call from its parts, oldest first. @throws GatewayError KEPT_CALL_INVALID */
export function foldLog(chunks: readonly unknown[]): Pick<KeptState, 'log' | 'marks'> {
  let log = new CallLog()
  let marks: TimelineMark[] = []
  for (const value of chunks) {
    const chunk = shaped(logChunkSchema, value, "a piece of a kept call's log")
    if (chunk.base !== undefined) {
      log = new CallLog(chunk.base)
      marks = []
    }
    for (const entry of chunk.entries) log.append(entry)
    marks.push(...chunk.marks)
  }
  return { log: log.records(), marks }
}

/** The error contains the position of a fault. It does not contain the value, because this may be a caller's words. */
function shaped<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const read = schema.safeParse(value)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new GatewayError(
    'KEPT_CALL_INVALID',
    `${what} is wrong at ${issue?.path.join('.') ?? ''} (${issue?.code ?? ''})`,
  )
}
