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
 * Version of a kept call. New keys do not raise it: whoever does not know them ignores them. A release that raises it still
 * writes the one before, because the release before must read it; `test/releases` has samples of each.
 */
export const KEPT_CALL_VERSION = 1
const KEPT_CALL_VERSIONS: readonly unknown[] = [KEPT_CALL_VERSION]

/** The worker's part of the call record, besides the call log; its times are as they were measured. */
export interface CallResult
  extends
    Pick<CallRecord, 'outcome' | 'endDetail' | 'backend' | 'durationMs' | 'greetingMs' | 'language' | 'usage'>,
    Pick<CallRecord['audio'], 'framesIn' | 'framesConcealed' | 'framesDropped' | 'dtmf'> {
  readonly type: 'result'
  readonly endReason: EndReason
  /** Figures that the backends report. */
  readonly report: Pick<CallRecord, 'cost' | 'budget'> & Omit<CallRecord['backends'], 'sessions'>
  /** Tool calls that were not run: an unknown name, invalid arguments, or too many. */
  readonly toolCallsRefused: number
  /** Frames of the agent's speech that were dropped because too much of it waited. */
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

/** An escalation, to go on without the stream: elapsed times, so that the time between the two nodes does not count. */
const escalationMachineSchema = z.object({
  state: z.enum(['none', 'pending', 'dialing', 'offering', 'bridged', 'failed']),
  strategy: escalationStrategySchema.nullable(),
  /** Place of the strategy in the agent's list, from 0; -1 before the first. */
  strategyIndex: z.int(),
  /** Calendar time at which the open numbers were looked up, and the place of the current one, from 0. */
  askedWallMs: z.number(),
  human: z.int(),
  lastOutcome: escalationOutcomeSchema,
  lastDetail: z.string(),
  settled: z.boolean(),
  streamClosed: z.boolean(),
  terminal: z.boolean(),
  /** The Dial document that was served. */
  dial: z
    .object({
      number: z.string(),
      asker: z.enum(['after-stream', 'voice', 'stream-status', 'events']),
      sure: z.boolean(),
      /** Time since it was served. */
      servedMs: z.number(),
    })
    .nullable(),
  /** How long the current attempt lasts; null when there is none. */
  attemptMs: z.number().nullable(),
  owesFarewell: z.boolean(),
  farewell: z.object({
    state: z.enum(['none', 'asked', 'done']),
    /** Time since the caller was asked; null before. */
    askedMs: z.number().nullable(),
  }),
  requests: z.int(),
  hangupTries: z.int(),
  /** By name, the time that is left. */
  deadlines: z.partialRecord(z.enum(ESCALATION_DEADLINES), z.number()),
})
export type EscalationSnapshot = DocumentOf<typeof escalationMachineSchema>

/** An escalation as another node needs it. The packet's transcript and tools are in the call log. */
const escalationSchema = z.object({
  history: escalationHistorySchema('E.164; empty when withheld.').nullable(),
  packet: handoffSchema.omit({ tried: true, transcript: true, from: true, to: true, escalation: true }).nullable(),
  newsSent: z.object({ settled: z.int(), callbacks: z.int() }),
  machine: escalationMachineSchema.nullable(),
})
export type KeptEscalation = DocumentOf<typeof escalationSchema>

/** A tool call whose answer comes later, as the main thread waits for it (`CallWaits`). */
const waitSchema = z.object({
  /** Identifier of its continuation token. */
  id: z.string(),
  /** Key of its effect. */
  key: z.string(),
  tool: z.string(),
  /** Place of the agent that called it among those that have had the call, from 0; absent in what earlier builds wrote. */
  askedBy: z.int().nonnegative().exactOptional(),
  callId: z.string(),
  args: z.record(z.string(), z.unknown()),
  /** As its API named what it waits for; empty where it did not. */
  pendingId: z.string(),
  phase: z.enum(['asked', 'pending', 'settled']),
  /** Calendar times, as the token's. */
  startedWallMs: z.number(),
  waitUntilWallMs: z.number(),
  untilWallMs: z.number(),
  settledWallMs: z.number().nullable(),
  status: z.enum(['succeeded', 'failed', 'expired']).nullable(),
  result: z.unknown().default(null),
  /** The caller has heard the outcome. */
  told: z.boolean(),
  /** It went out as a message. */
  sent: z.boolean(),
})
export type KeptWait = DocumentOf<typeof waitSchema>

const { callSid, agent, direction, rehomes } = callRecordSchema.shape

/**
 * Data of a live call for another node, beside its log. Plain JSON of a few KB. Only times that people read are
 * calendar times; the others are elapsed milliseconds, because the clocks of two nodes may differ. It was written by
 * another process, perhaps of another version, so nothing in it is taken on trust.
 */
export const keptCallSchema = z.object({
  version: z.literal(KEPT_CALL_VERSION),
  /** Name of the node that wrote it. */
  node: z.string(),
  callSid,
  /** The first call of a chain: limits and effects count for all of it. The call's own SID where there is no chain. */
  rootSid: z.string(),
  agent,
  /** `agentVersion` in its record. */
  agentHash: z.string(),
  /** The same of the agent that a handover gave the call to; empty where it is gone; absent without one, and in what earlier builds wrote. */
  handedHash: z.string().exactOptional(),
  /** Those of the agents that had the call between that one and the first, oldest first; empty for one that is gone; absent: none. */
  passedHashes: z.array(z.string()).exactOptional(),
  direction,
  /** E.164, or empty when withheld. */
  from: z.string(),
  to: z.string(),
  /** Set for a call that the gateway placed. `orderedMs`: how long before the webhook it was ordered. */
  placed: z
    .object({
      clientRequestId: z.string(),
      ringMs: z.number(),
      orderedMs: z.number(),
      variables: z.record(z.string(), z.string()).default({}),
      externalId: z.string().nullable().default(null),
      leaveMessage: z.boolean().default(true),
      promised: z.boolean().default(false),
      /** Whom the human who answers is put through to, E.164. */
      joins: z.string().nullable().default(null),
    })
    .nullable(),
  legRateHz: z.int(),
  /** The step of the answer stays, even if its number spends more meanwhile. */
  budgetStep: budgetStepSchema.nullable().default(null),
  /** Calendar time of the webhook. */
  preparedWallMs: z.number(),
  /** From the webhook to this state. */
  elapsedMs: z.number().min(0),
  /** From the webhook to the opening of the first stream; null before it. */
  streamOpenedMs: z.number().nullable(),
  /** Its node is being stopped, and has closed its stream so that another goes on with it. */
  moves: z.boolean().default(false),
  /** How long the call has had a stream, all streams together. */
  streamMs: z.number().min(0),
  afterStreamUrl: z.string().nullable(),
  humanUrl: z.string().nullable(),
  /**
   * `announced`: the caller has heard that the call is recorded. `refused`: and said no. `file`: the part of this node.
   */
  recording: z.object({ announced: z.boolean(), refused: z.boolean().default(false), file: z.string().nullable() }),
  /** Null before the session's first checkpoint. */
  session: checkpointSchema.nullable(),
  backendState: z.unknown().default(null),
  escalation: escalationSchema.nullable(),
  waits: z.array(waitSchema).default([]),
  /** Set when the session has ended, and a human is still being reached, or an outcome is waited for. */
  result: z.custom<CallResult>(isResult).nullable(),
  sessions: z.array(backendSessionSchema),
  rehomes,
  /** The call that was cut off, where this one rang its caller back; null for any other. */
  recoveredFrom: z.string().nullable(),
  resumed: z.array(resumedSchema),
  timelineDropped: z.int(),
  /** Wrong verification answers of the caller's number that count on that node. */
  wrongAnswers: z.int().min(0),
})
export type KeptCall = DocumentOf<typeof keptCallSchema>

/** A piece of a kept call's log. `base` replaces what came before it. */
export const logChunkSchema = z.object({
  base: callLogSchema.exactOptional(),
  entries: z.array(callLogEntrySchema),
  marks: z.array(timelineMark(measuredMs)),
})

/** A call as another node goes on with it. */
export interface KeptState {
  /** Absent: the node was lost. Otherwise only the stream was; or the caller has left it, and is rung back. */
  readonly how?: 'stream-lost' | 'call-back'
  readonly kept: KeptCall
  readonly log: CallLogRecords
  readonly marks: readonly TimelineMark[]
}

/**
 * Reads a kept call.
 * @throws GatewayError KEPT_CALL_INVALID when it has a version that this build does not read, or another shape
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

/** A piece of the log as it is kept. */
export const logChunk = (chunk: DocumentOf<typeof logChunkSchema>): string => JSON.stringify(chunk)

/** The log of a kept call from its pieces, oldest first. @throws GatewayError KEPT_CALL_INVALID */
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

/** Names the place of what is wrong and never the value, which may be a caller's words. */
function shaped<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const read = schema.safeParse(value)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new GatewayError(
    'KEPT_CALL_INVALID',
    `${what} is wrong at ${issue?.path.join('.') ?? ''} (${issue?.code ?? ''})`,
  )
}
