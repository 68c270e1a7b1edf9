import { z } from 'zod'
import { CallLog } from '../call/call-log.js'
import type { TimelineMark } from '../call/record.js'
import { GatewayError } from '../core/errors.js'
import { parseCallSid } from '../core/ids.js'
import { ESCALATION_DEADLINES } from '../escalation/escalation.js'
import type { CallResult } from './call-messages.js'
import { checkpointSchema } from './journal-format.js'
import { KEPT_CALL_VERSION } from './kept-call.js'
import type { KeptCall, KeptState } from './kept-call.js'
import type { NewCall } from './live-call.js'
import {
  backendSessionSchema,
  callLogEntrySchema,
  callLogSchema,
  escalationHistorySchema,
  escalationOutcomeSchema,
  escalationStrategySchema,
  handoffSchema,
  measuredTimelineMark,
  resumedSchema,
} from './record-format.js'

/**
 * Kept calls as they are read. The types are in `kept-call.ts`; a test checks that both are equal. What is read was
 * written by another process, perhaps of another version, so nothing in it is taken on trust.
 */

const KEPT_CALL_VERSIONS: readonly unknown[] = [KEPT_CALL_VERSION]

const isResult = (value: unknown): boolean => z.looseObject({ type: z.literal('result') }).safeParse(value).success

const farewellSchema = z.object({ state: z.enum(['none', 'asked', 'done']), askedMs: z.number().nullable() })

const escalationSchema = z.object({
  history: escalationHistorySchema('E.164; empty when withheld.').nullable(),
  packet: handoffSchema.omit({ tried: true, transcript: true, from: true, to: true, escalation: true }).nullable(),
  newsSent: z.object({ settled: z.int(), callbacks: z.int() }),
  machine: z
    .object({
      state: z.enum(['none', 'pending', 'dialing', 'offering', 'bridged', 'failed']),
      strategy: escalationStrategySchema.nullable(),
      strategyIndex: z.int(),
      askedWallMs: z.number(),
      human: z.int(),
      lastOutcome: escalationOutcomeSchema,
      lastDetail: z.string(),
      settled: z.boolean(),
      streamClosed: z.boolean(),
      terminal: z.boolean(),
      dial: z
        .object({
          number: z.string(),
          asker: z.enum(['after-stream', 'voice', 'stream-status', 'events']),
          sure: z.boolean(),
          servedMs: z.number(),
        })
        .nullable(),
      attemptMs: z.number().nullable(),
      owesFarewell: z.boolean(),
      farewell: farewellSchema,
      requests: z.int(),
      hangupTries: z.int(),
      deadlines: z.partialRecord(z.enum(ESCALATION_DEADLINES), z.number()),
    })
    .nullable(),
})

/** `KeptCall`. */
export const keptCallSchema = z.object({
  version: z.literal(KEPT_CALL_VERSION),
  node: z.string(),
  callSid: z.string(),
  rootSid: z.string(),
  agent: z.string(),
  agentHash: z.string(),
  direction: z.enum(['inbound', 'outbound']),
  from: z.string(),
  to: z.string(),
  placed: z.object({ clientRequestId: z.string(), ringMs: z.number(), orderedMs: z.number() }).nullable(),
  legRateHz: z.int(),
  preparedWallMs: z.number(),
  elapsedMs: z.number().min(0),
  streamOpenedMs: z.number().nullable(),
  streamMs: z.number().min(0),
  afterStreamUrl: z.string().nullable(),
  humanUrl: z.string().nullable(),
  recording: z.object({ announced: z.boolean(), file: z.string().nullable() }),
  session: checkpointSchema.nullable(),
  backendState: z.unknown().default(null),
  escalation: escalationSchema.nullable(),
  result: z.custom<CallResult>(isResult).nullable(),
  sessions: z.array(backendSessionSchema),
  rehomes: z.int(),
  recoveredFrom: z.string().nullable(),
  resumed: z.array(resumedSchema),
  timelineDropped: z.int(),
  wrongAnswers: z.int().min(0),
})

/** `KeptLogChunk`. */
export const keptLogChunkSchema = z.object({
  base: callLogSchema.exactOptional(),
  entries: z.array(callLogEntrySchema),
  marks: z.array(measuredTimelineMark),
})

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

/** The log of a kept call from its pieces, oldest first. @throws GatewayError KEPT_CALL_INVALID */
export function foldLog(chunks: readonly unknown[]): Pick<KeptState, 'log' | 'marks'> {
  let log = new CallLog()
  let marks: TimelineMark[] = []
  for (const value of chunks) {
    const chunk = shaped(keptLogChunkSchema, value, "a piece of a kept call's log")
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

/** The call to give to `CallDirectory.prepare` with the state. @throws GatewayError WEBHOOK_MALFORMED for a bad SID */
export function callOf({ callSid, agent, from, to, direction }: KeptCall): NewCall {
  return { callSid: parseCallSid(callSid), agent, from, to, direction }
}

/**
 * A call as the agent that rings its caller back gets it: the log goes on, but it is not known who will answer. So the
 * new call knows no identity and no state of the backend, and asks before it says anything of the other.
 * @param call  the new call
 */
export function calledBack({ kept, log, marks }: KeptState, call: NewCall): KeptState {
  const { callSid, direction, from, to } = call
  return {
    how: 'call-back',
    log,
    marks,
    kept: {
      ...kept,
      callSid,
      direction,
      from,
      to,
      placed: null,
      streamOpenedMs: null,
      afterStreamUrl: null,
      humanUrl: null,
      recording: { ...kept.recording, announced: false },
      session:
        kept.session === null
          ? null
          : {
              ...kept.session,
              callSid,
              state: 'live',
              greeted: false,
              greetingMs: null,
              owed: 'nothing',
              heard: null,
              silencePrompts: 0,
              identity: null,
              escalation: null,
              callBack: 'asks',
            },
      backendState: null,
      escalation: null,
      rehomes: 0,
      recoveredFrom: kept.callSid,
    },
  }
}
