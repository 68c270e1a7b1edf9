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

/** A tool call whose result has not arrived yet. */
const runningToolSchema = z.object({
  callId: z.string(),
  name: z.string(),
  args: anyObject,
  /** Start in milliseconds since the stream opened. */
  startMs: z.number(),
})
export type RunningTool = DocumentOf<typeof runningToolSchema>

/** A tool call whose result arrives later. */
const keptWaitSchema = runningToolSchema.extend({
  /** Time until which the conversation waits. */
  untilMs: z.number(),
  /** `over`: the conversation no longer waits. `settled`: the outcome has arrived, but the caller has not heard it. */
  state: z.enum(['waiting', 'over', 'settled']),
})
export type KeptWait = DocumentOf<typeof keptWaitSchema>

/** A claim that the caller heard and that was not audited yet. */
const openClaimSchema = z.object({
  /** Start of the transcript entry with the claim, in milliseconds since the stream opened. */
  atMs: z.number(),
  tools: z.array(z.string()),
  result: claimResultSchema,
  language: z.string(),
  phrase: z.string(),
  /** Key of the `SpokenFact` if the claim is a fact. The audit accepts a fact that was in the agent's input. */
  fact: z.string().exactOptional(),
})
export type OpenClaim = DocumentOf<typeof openClaimSchema>

/**
 * Proof that the person on the line has to give before they may hear a fact of an earlier call.
 * - `word`: nobody was verified there, and nobody tried. A word of the person is enough if the agent verifies nobody.
 * - `proof`: somebody tried. Words of that call may contain the answers.
 * - `owner`: somebody was verified. Only the same identity may hear the fact; null if that identity is unknown.
 */
const proofNeededSchema = z.discriminatedUnion('needs', [
  z.object({ needs: z.literal('word') }),
  z.object({ needs: z.literal('proof') }),
  z.object({ needs: z.literal('owner'), owner: z.string().nullable() }),
])
export type ProofNeeded = DocumentOf<typeof proofNeededSchema>

/** Part of a call's log that belongs to an earlier call. */
const earlierPartSchema = z.object({
  /** Number of entries of each kind, including entries that the log has dropped. */
  entries: callLogSchema.shape.dropped,
  proof: proofNeededSchema,
  /** True after the person has said that they want to go on. */
  agreed: z.literal(true).exactOptional(),
})
export type EarlierPart = DocumentOf<typeof earlierPartSchema>

/**
 * State of the session, from which another worker continues the call; plain JSON of about 1 KB. The call log is sent
 * with the checkpoint and contains the events. Times count from the opening of the stream. The time of the opening is
 * calendar time, because the new worker may be in another process, which has another monotonic clock. Generations are
 * not stored: the new worker's backend counts from 1, and events of the old backend can no longer arrive.
 */
export const checkpointSchema = z
  .object({
    version: z.literal(CALL_CHECKPOINT_VERSION),
    callSid: z.string(),
    state: z.enum(['waiting', 'live', 'escalating', 'holding', 'bridged', 'closing']),
    /** Calendar time at which the stream opened; null before the opening. */
    streamOpenedWallMs: z.number().nullable(),
    greeted: z.boolean(),
    greetingMs: z.number().nullable(),
    /** Speech that the caller still waits for when the call moves to another worker. */
    owed: z.enum(['nothing', 'answer', 'rest-of-answer']),
    /** Item that the caller heard last, and its played duration. */
    heard: z.object({ itemId: z.string(), playedMs: z.number() }).nullable(),
    /** Tag of the caller's language, even if the agent does not speak it; absent for the agent's first language. */
    language: z.string().exactOptional(),
    silencePrompts: z.number(),
    /**
     * `asked`: the caller was asked if they are there. `waits`: the caller asked for a moment. Absent if neither
     * happened, or if the caller has spoken since.
     */
    silent: z.enum(['asked', 'waits']).exactOptional(),
    /** Number of the next announcement, so that item ids stay unique in a call. */
    nextAnnouncement: z.number(),
    identity: anyObject.nullable(),
    /** Words that were still being said or heard; the new worker adds them to the log. */
    openTranscript: z.array(loggedTranscriptSchema),
    toolsRunning: z.array(runningToolSchema),
    /** Pending tool calls; absent without pending tool calls. */
    waits: z.array(keptWaitSchema).exactOptional(),
    /**
     * Reason for the call's end; null if the call is not ending. If a call in state `closing` is taken over, it ends
     * without further words.
     */
    ending: z.object({ reason: endReasonSchema, detail: z.string() }).nullable(),
    /**
     * Agent to which the call was promised, with a summary for that agent. Absent without a promise, or if that agent
     * already has the call. `gone`: that agent does not exist, and this agent must be informed why it keeps the call.
     */
    handover: z.object({ to: z.string(), summary: z.string(), gone: z.literal(true).exactOptional() }).exactOptional(),
    /**
     * The requested escalation. After a takeover, `Escalation` receives the request again and repeats its current step.
     */
    escalation: z.object({ reason: z.string(), summary: z.string() }).nullable(),
    /** Usage of the backends so far; absent in journals of earlier builds. */
    usage: usageSchemaOf(z.number()).exactOptional(),
    /** Time without a stream, because the node was lost, in milliseconds; absent if the call always had a stream. */
    gapMs: z.number().exactOptional(),
    /**
     * Set in a call back. `asks`: the person may not hear the earlier call yet. `confirmed`: the person wants to go on,
     * and has proved what they have to prove.
     */
    callBack: z.enum(['asks', 'confirmed']).exactOptional(),
    /** Part of the log that belongs to the earlier call; absent in other calls, and in call backs of earlier builds. */
    earlier: earlierPartSchema.exactOptional(),
    /**
     * State of answering-machine detection in a placed call. `recording`: a recording answered and is still playing.
     * Absent if detection has finished or is not used.
     */
    amd: z.enum(['undecided', 'recording']).exactOptional(),
    /** Claims that were not audited yet; absent without such claims. */
    openClaims: z.array(openClaimSchema).exactOptional(),
    /**
     * True until the caller has heard that the call is recorded or transcribed. Absent if the caller has heard this, or
     * need not hear it.
     */
    untold: z.literal(true).exactOptional(),
    /**
     * `asked`: the caller was asked for a number that only a tool may receive. `pressed`: the caller is entering that
     * number. Absent otherwise.
     */
    privateKeys: z.enum(['asked', 'pressed']).exactOptional(),
    /** Result of the look-up of the caller; absent without a look-up, or before its answer. */
    caller: knownCallerSchema.exactOptional(),
  })
  .meta({ id: 'checkpoint' })
export type CallCheckpoint = DocumentOf<typeof checkpointSchema>
export type OwedAnswer = CallCheckpoint['owed']

/** State from which a session continues after a takeover. */
export const resumeSchema = z.object({
  checkpoint: checkpointSchema,
  log: callLogSchema,
  /** The new stream. Absent if the stream is still open; the caller then does not notice the takeover. */
  newStream: z
    .object({
      /** Total time for which the call had an open stream, in milliseconds, over all streams. */
      streamMs: z.number(),
      /** True if the caller has heard that the call is recorded, or has refused the recording. */
      consented: z.boolean(),
    })
    .exactOptional()
    .describe('Set where the stream was lost with its node, and the call goes on with another.'),
})
export type SessionResume = DocumentOf<typeof resumeSchema>
export type NewStream = NonNullable<SessionResume['newStream']>

/**
 * Reads the state from which a session continues.
 * @throws GatewayError CALL_FAULT if the checkpoint has another version, or a list is missing
 */
export function parseResume(value: unknown): SessionResume {
  const { checkpoint, log, newStream } = objectOf(value, "the call's state")
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
    if (!Array.isArray(list)) throw new GatewayError('CALL_FAULT', `the call's state has no ${name}`)
  }
  objectOf(dropped, "the call log's dropped")
  if (newStream !== undefined) {
    const { streamMs, consented } = objectOf(newStream, 'a new stream')
    if (typeof streamMs !== 'number' || typeof consented !== 'boolean')
      throw new GatewayError(
        'CALL_FAULT',
        'the state of a new stream needs streamMs (a number) and consented (a boolean)',
      )
  }
  // Only `CallSession.checkpoint` and `CallLog.records` write this state. Its version and the shape of its lists were
  // checked.
  return value as SessionResume
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>
  throw new GatewayError('CALL_FAULT', `${what} is an object`)
}
