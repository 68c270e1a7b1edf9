import { z } from 'zod'
import { GatewayError } from '../../core/errors.js'
import { usageSchemaOf } from '../backend-events.js'
import { callLogSchema, loggedTranscriptSchema } from './log-entry.js'
import { claimResultSchema } from '../claims/claim-definition.js'
import { knownCallerSchema } from '../caller-data.js'
import type { DocumentOf } from './document.js'
import { endReasonSchema } from './record.js'

export const CALL_CHECKPOINT_VERSION = 2

const anyObject = z.record(z.string(), z.unknown())

/** A tool call that had no result yet. */
const runningToolSchema = z.object({
  callId: z.string(),
  name: z.string(),
  args: anyObject,
  /** In milliseconds since the stream opened. */
  startMs: z.number(),
})
export type RunningTool = DocumentOf<typeof runningToolSchema>

/** A tool call whose answer comes later. */
const keptWaitSchema = runningToolSchema.extend({
  /** The conversation waits until then. */
  untilMs: z.number(),
  /** `over`: it waits no more; `settled`: the outcome has come, and the caller has not heard it. */
  state: z.enum(['waiting', 'over', 'settled']),
})
export type KeptWait = DocumentOf<typeof keptWaitSchema>

/** A claim that the caller heard and that is not judged yet. */
const openClaimSchema = z.object({
  /** Begin of the entry, in milliseconds since the stream opened. */
  atMs: z.number(),
  tools: z.array(z.string()),
  result: claimResultSchema,
  language: z.string(),
  phrase: z.string(),
  /** It is a fact, with the key of `SpokenFact`: it is true if the agent was given it. */
  fact: z.string().exactOptional(),
})
export type OpenClaim = DocumentOf<typeof openClaimSchema>

/**
 * The session's own state, from which another worker can continue the call. What happened so far is in the call log,
 * which goes with it. Plain JSON of about a KB. Times are since the stream opened, and the opening is calendar time,
 * because the new worker may be in another process with another monotonic clock. Generations are not kept: the new
 * worker has a new backend instance that counts from 1, and nothing from the old instance can arrive.
 */
export const checkpointSchema = z
  .object({
    version: z.literal(CALL_CHECKPOINT_VERSION),
    callSid: z.string(),
    state: z.enum(['waiting', 'live', 'escalating', 'holding', 'bridged', 'closing']),
    /** Calendar time of the stream's opening; null before it. */
    streamOpenedWallMs: z.number().nullable(),
    greeted: z.boolean(),
    greetingMs: z.number().nullable(),
    /** Speech that the caller still waits for when the call moves to another worker. */
    owed: z.enum(['nothing', 'answer', 'rest-of-answer']),
    /** The item heard last and how much of it was heard. */
    heard: z.object({ itemId: z.string(), playedMs: z.number() }).nullable(),
    /** Tag of the caller's language, which the agent may not speak; absent: the agent's first. */
    language: z.string().exactOptional(),
    silencePrompts: z.number(),
    /** The caller was asked whether they are there, or has asked for a moment, and has not spoken since; absent: neither. */
    silent: z.enum(['asked', 'waits']).exactOptional(),
    /** Number of the next announcement, so that item ids stay unique in a call. */
    nextAnnouncement: z.number(),
    identity: anyObject.nullable(),
    /** Words that were still being said or heard; the new worker appends them to the log. */
    openTranscript: z.array(loggedTranscriptSchema),
    toolsRunning: z.array(runningToolSchema),
    /** Absent: none. */
    waits: z.array(keptWaitSchema).exactOptional(),
    /** Why the call is ending; null when it is not. A takeover in `closing` ends the call without another word. */
    ending: z.object({ reason: endReasonSchema, detail: z.string() }).nullable(),
    /**
     * The agent that the caller is promised, and what it is to know; absent: none, or it has the call. `gone`: there is none of
     * that name, so that this agent has to learn why it goes on.
     */
    handover: z.object({ to: z.string(), summary: z.string(), gone: z.literal(true).exactOptional() }).exactOptional(),
    /** The requested escalation; after a takeover the session asks the escalation machine for its step again. */
    escalation: z.object({ reason: z.string(), summary: z.string() }).nullable(),
    /** Usage of the backends so far; absent in journals of earlier builds. */
    usage: usageSchemaOf(z.number()).exactOptional(),
    /** Time since the stream opened in which the call had no stream, because its node was lost; absent: none. */
    gapMs: z.number().exactOptional(),
    /** The caller was rung back after a call that was cut off, and has confirmed or is still to be asked; absent otherwise. */
    callBack: z.enum(['asks', 'confirmed']).exactOptional(),
    /** It is not known yet who took a call that was placed, or it is a recording, which is heard out; absent: neither. */
    amd: z.enum(['undecided', 'recording']).exactOptional(),
    /** Claims that nobody has judged yet; absent: none. */
    openClaims: z.array(openClaimSchema).exactOptional(),
    /** The caller has still to hear that the call is recorded, or written down; absent: not, or they have. */
    untold: z.literal(true).exactOptional(),
    /** A number that only a tool may get was asked for, or is being keyed in; absent: none is. */
    privateKeys: z.enum(['asked', 'pressed']).exactOptional(),
    /** Result of the look-up of the caller; absent: there was no look-up, or no answer yet. */
    caller: knownCallerSchema.exactOptional(),
  })
  .meta({ id: 'checkpoint' })
export type CallCheckpoint = DocumentOf<typeof checkpointSchema>
export type OwedAnswer = CallCheckpoint['owed']

/** State from which a session continues after a takeover. */
export const resumeSchema = z.object({
  checkpoint: checkpointSchema,
  log: callLogSchema,
  /** Absent where the stream is still open: then the caller hears nothing about it. */
  newStream: z
    .object({
      /** How long the call has had a stream, all streams together. */
      streamMs: z.number(),
      /** The caller has heard that the call is recorded, where that is said. */
      consented: z.boolean(),
    })
    .exactOptional()
    .describe('Set where the stream was lost with its node, and the call goes on with another.'),
})
export type SessionResume = DocumentOf<typeof resumeSchema>
export type NewStream = NonNullable<SessionResume['newStream']>

/**
 * Reads what a session continues from, in this version of the checkpoint.
 * @throws GatewayError CALL_FAULT when the version is another one, or a list is missing
 */
export function parseResume(value: unknown): SessionResume {
  const { checkpoint, log, newStream } = objectOf(value, 'what a call goes on from')
  const { version, openTranscript, toolsRunning } = objectOf(checkpoint, 'a checkpoint')
  if (version !== CALL_CHECKPOINT_VERSION) {
    throw new GatewayError(
      'CALL_FAULT',
      `checkpoint version ${String(version)}; this build reads ${CALL_CHECKPOINT_VERSION}`,
    )
  }
  const { transcript, toolCalls, turns, bargeIns, claims, dropped } = objectOf(log, 'a call log')
  const lists = { openTranscript, toolsRunning, transcript, toolCalls, turns, bargeIns, claims }
  for (const [name, list] of Object.entries(lists)) {
    if (!Array.isArray(list)) throw new GatewayError('CALL_FAULT', `what a call goes on from has no ${name}`)
  }
  objectOf(dropped, "the call log's dropped")
  if (newStream !== undefined) {
    const { streamMs, consented } = objectOf(newStream, 'a new stream')
    if (typeof streamMs !== 'number' || typeof consented !== 'boolean')
      throw new GatewayError('CALL_FAULT', 'a new stream has streamMs, a number, and consented, a boolean')
  }
  // Only `CallSession.checkpoint` and `CallLog.records` write these; the version and the shape of the lists were
  // checked.
  return value as SessionResume
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>
  throw new GatewayError('CALL_FAULT', `${what} is an object`)
}
