import { GatewayError } from '../core/errors.js'
import type { BackendUsage } from './backend-events.js'
import type { CallLogRecords } from './call-log.js'
import type { OpenClaim } from './claim-audit.js'
import type { EndReason, TranscriptEntry } from './record.js'

export const CALL_CHECKPOINT_VERSION = 2

/** A tool call that had no result yet. */
export interface RunningTool {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  /** In milliseconds since the stream opened. */
  readonly startMs: number
}

/** What the caller still waits for when the call moves to another worker. */
export type OwedAnswer = 'nothing' | 'answer' | 'rest-of-answer'

/**
 * The session's own state, from which another worker can continue the call. What happened so far is in the call log,
 * which goes with it. Plain JSON of about a KB. Times are since the stream opened, and the opening is calendar time,
 * because the new worker may be in another process with another monotonic clock. Generations are not kept: the new
 * worker has a new backend instance that counts from 1, and nothing from the old instance can arrive.
 */
export interface CallCheckpoint {
  readonly version: typeof CALL_CHECKPOINT_VERSION
  readonly callSid: string
  readonly state: 'waiting' | 'live' | 'escalating' | 'holding' | 'bridged' | 'closing'
  /** Calendar time of the stream's opening; null before it. */
  readonly streamOpenedWallMs: number | null
  readonly greeted: boolean
  readonly greetingMs: number | null
  readonly owed: OwedAnswer
  /** The item heard last and how much of it was heard. */
  readonly heard: { readonly itemId: string; readonly heardMs: number } | null
  readonly silencePrompts: number
  /** Number of the next announcement, so that item ids stay unique in a call. */
  readonly nextAnnouncement: number
  readonly identity: Readonly<Record<string, unknown>> | null
  /** Words that were still being said or heard; the new worker appends them to the log. */
  readonly openTranscript: readonly TranscriptEntry[]
  /** The new worker logs them as `lost`. */
  readonly toolsRunning: readonly RunningTool[]
  /** Why the call is ending; null when it is not. A takeover in `closing` ends the call without another word. */
  readonly ending: { readonly reason: EndReason; readonly detail: string } | null
  /** The requested escalation; after a takeover the session asks the escalation machine for its step again. */
  readonly escalation: { readonly reason: string; readonly summary: string } | null
  /** What the backends used so far; absent in journals of earlier builds. */
  readonly usage?: BackendUsage
  /** Time since the stream opened in which the call had no stream, because its node was lost; absent: none. */
  readonly gapMs?: number
  /** The caller was rung back after a call that was cut off, and has confirmed or is still to be asked; absent otherwise. */
  readonly callBack?: 'asks' | 'confirmed'
  /** What the agent claimed and nobody has judged yet; absent: nothing. */
  readonly openClaims?: readonly OpenClaim[]
}

/** The call goes on with a new stream: the one before was lost with its node. */
export interface NewStream {
  /** How long the call has had a stream, all streams together. */
  readonly streamMs: number
  /** The caller has heard that the call is recorded, where that is said. */
  readonly consented: boolean
}

/** What a session continues from after a takeover. */
export interface SessionResume {
  readonly checkpoint: CallCheckpoint
  readonly log: CallLogRecords
  /** Absent where the stream is still open: then the caller is told nothing. */
  readonly newStream?: NewStream
}

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
  for (const [name, list] of Object.entries({ openTranscript, toolsRunning, transcript, toolCalls, turns, bargeIns })) {
    if (!Array.isArray(list)) throw new GatewayError('CALL_FAULT', `what a call goes on from has no ${name}`)
  }
  const counts = objectOf(dropped, "the call log's dropped")
  if (newStream !== undefined) {
    const { streamMs, consented } = objectOf(newStream, 'a new stream')
    if (typeof streamMs !== 'number' || typeof consented !== 'boolean')
      throw new GatewayError('CALL_FAULT', 'a new stream has streamMs, a number, and consented, a boolean')
  }
  // Only `CallSession.checkpoint` and `CallLog.records` write these; the version and the shape of the lists were
  // checked.
  const resume = value as SessionResume
  if (claims !== undefined) return resume
  // Of a build that did not judge claims.
  return { ...resume, log: { ...resume.log, claims: [], dropped: { ...resume.log.dropped, ...counts, claims: 0 } } }
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>
  throw new GatewayError('CALL_FAULT', `${what} is an object`)
}
