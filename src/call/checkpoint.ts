import { GatewayError } from '../core/errors.js'
import type { CallLogRecords } from './call-log.js'
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

/** What the caller is owed when a call changes its worker. */
export type OwedAnswer = 'nothing' | 'answer' | 'rest-of-answer'

/**
 * The session's own state, as another worker needs it to go on with a call; what happened so far is in the call log, which
 * goes with it. Plain JSON of about a KB. Times are since the stream opened, and the opening is calendar time: the taker
 * may be another process with another monotonic clock. No generation is kept: the taker's backend is a new instance that
 * counts from its own beginning, and nothing of the old one can arrive any more.
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
  /** The item heard last and how much of it. */
  readonly heard: { readonly itemId: string; readonly heardMs: number } | null
  readonly silencePrompts: number
  /** Number of the next announcement, so that item ids are never used twice in a call. */
  readonly nextAnnouncement: number
  readonly identity: Readonly<Record<string, unknown>> | null
  /** Words that were still being said or heard: the taker's log begins with them. */
  readonly openTranscript: readonly TranscriptEntry[]
  /** The taker's log has them as `lost`. */
  readonly toolsRunning: readonly RunningTool[]
  /** Why the call is being ended, when it is; a takeover in `closing` ends it without another word. */
  readonly ending: { readonly reason: EndReason; readonly detail: string } | null
  /** An escalation that was asked for; a takeover asks the escalation machine for its step again. */
  readonly escalation: { readonly reason: string; readonly summary: string } | null
}

/** What a session goes on from. */
export interface SessionResume {
  readonly checkpoint: CallCheckpoint
  readonly log: CallLogRecords
}

/**
 * Reads what a session goes on from, of this version of the checkpoint.
 * @throws GatewayError CALL_FAULT when it is of another version, or lacks a list.
 */
export function parseResume(value: unknown): SessionResume {
  const { checkpoint, log } = objectOf(value, 'what a call goes on from')
  const { version, openTranscript, toolsRunning } = objectOf(checkpoint, 'a checkpoint')
  if (version !== CALL_CHECKPOINT_VERSION) {
    throw new GatewayError('CALL_FAULT', `checkpoint version ${String(version)}; this build reads ${CALL_CHECKPOINT_VERSION}`)
  }
  const { transcript, toolCalls, turns, bargeIns, dropped } = objectOf(log, 'a call log')
  for (const [name, list] of Object.entries({ openTranscript, toolsRunning, transcript, toolCalls, turns, bargeIns })) {
    if (!Array.isArray(list)) throw new GatewayError('CALL_FAULT', `what a call goes on from has no ${name}`)
  }
  objectOf(dropped, 'the call log\'s dropped')
  // Only `CallSession.checkpoint` and `CallLog.records` write these; the version and the shape of the lists were checked.
  return value as SessionResume
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>
  throw new GatewayError('CALL_FAULT', `${what} is an object`)
}
