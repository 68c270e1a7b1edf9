import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { AgentDefinition } from '../agents/definition.js'
import { CallLog } from '../call/call-log.js'
import type { CallLogEntry, CallLogRecords } from '../call/call-log.js'
import type { CallCheckpoint } from '../call/checkpoint.js'
import type { CallRecord, ResumedRecord, TimelineMark } from '../call/record.js'
import { GatewayError } from '../core/errors.js'
import { ESCALATION_DEADLINES } from '../escalation/escalation.js'
import type { CallResult } from './call-messages.js'
import type { KeptEscalation } from './escalation-driver.js'
import { checkpointSchema } from './journal-format.js'
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

/** Version of a kept call. A node reads this one and the one before; there is none before 1. */
export const KEPT_CALL_VERSION = 1
const KEPT_CALL_VERSIONS: readonly unknown[] = [KEPT_CALL_VERSION]

/**
 * What another node needs of a live call, beside its log. Plain JSON of a few KB. Only times that people read are
 * calendar times; the others are elapsed milliseconds, because the clocks of two nodes may differ.
 */
export interface KeptCall {
  readonly version: typeof KEPT_CALL_VERSION
  /** Name of the node that wrote it. */
  readonly node: string
  readonly callSid: string
  /** The first call of a chain: limits and effects count for all of it. The call's own SID where there is no chain. */
  readonly rootSid: string
  readonly agent: string
  /** `agentHash` of the definition that the call has. */
  readonly agentHash: string
  readonly direction: 'inbound' | 'outbound'
  /** E.164, or empty when withheld. */
  readonly from: string
  readonly to: string
  /** Set for a call that the gateway placed. `orderedMs`: how long before the webhook it was ordered. */
  readonly placed: {
    readonly clientRequestId: string
    readonly ringMs: number
    readonly orderedMs: number
  } | null
  readonly legRateHz: number
  /** Calendar time of the webhook. */
  readonly preparedWallMs: number
  /** From the webhook to this state. */
  readonly elapsedMs: number
  /** From the webhook to the opening of the first stream; null before it. */
  readonly streamOpenedMs: number | null
  /** How long the call has had a stream, all streams together. */
  readonly streamMs: number
  readonly afterStreamUrl: string | null
  readonly humanUrl: string | null
  /** `announced`: the caller has heard that the call is recorded. `file`: the part of this node. */
  readonly recording: { readonly announced: boolean; readonly file: string | null }
  /** Null before the session's first checkpoint. */
  readonly session: CallCheckpoint | null
  readonly backendState: unknown
  readonly escalation: KeptEscalation | null
  /** Set when the session has ended and a human is still being reached. */
  readonly result: CallResult | null
  readonly sessions: CallRecord['backends']['sessions']
  readonly rehomes: number
  readonly resumed: readonly ResumedRecord[]
  readonly timelineDropped: number
  /** Wrong verification answers of the caller's number that count on that node. */
  readonly wrongAnswers: number
}

/** A call as another node goes on with it. */
export interface KeptState {
  readonly kept: KeptCall
  readonly log: CallLogRecords
  readonly marks: readonly TimelineMark[]
}

/** A piece of a kept call's log. `base` replaces what came before it. */
export interface KeptLogChunk {
  readonly base?: CallLogRecords
  readonly entries: readonly CallLogEntry[]
  readonly marks: readonly TimelineMark[]
}

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

const hashes = new WeakMap<AgentDefinition, string>()

/** Tells two definitions of an agent apart. */
export function agentHash(definition: AgentDefinition): string {
  let hash = hashes.get(definition)
  if (hash === undefined) {
    hash = createHash('sha256').update(JSON.stringify(definition)).digest('base64url').slice(0, 16)
    hashes.set(definition, hash)
  }
  return hash
}

/**
 * Who goes on with a kept call on another node:
 * - `agent`: the conversation goes on, with a new stream. No human was asked for; or the escalation has failed; or the
 *   caller was being asked about a call back, which counts as no answer: the agent goes on and they may ask again;
 * - `human`: no agent speaks to this caller again. A human was being rung or is on the line (`pending`, `dialing`,
 *   `bridged`), or the caller still has to hear that nobody came. Only the escalation goes on, without a stream;
 * - `nobody`: the call was ending.
 */
export function goesOnWith({ escalation, session, result }: KeptCall): 'agent' | 'human' | 'nobody' {
  const machine = escalation?.machine ?? null
  switch (machine?.state) {
    case 'pending':
    case 'dialing':
    case 'bridged':
      return 'human'
    case 'failed':
      if (machine.owesFarewell && !machine.terminal) return 'human'
      break
    default:
  }
  const ending = result !== null || machine?.terminal === true || (session !== null && session.ending !== null)
  return ending || session?.state === 'closing' || session?.state === 'bridged' ? 'nobody' : 'agent'
}
