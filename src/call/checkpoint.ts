import { GatewayError } from '../core/errors.js'
import type { BargeInRecord, EndReason, TimelineMark, ToolCallRecord, TranscriptEntry, TurnRecord } from './record.js'

export const CALL_CHECKPOINT_VERSION = 1

/** A tool call as a takeover must know it. `running`: it had no result yet when the checkpoint was written. */
export interface ToolCheckpoint {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly state: 'running' | 'answered'
  readonly ok: boolean
  readonly result: unknown
}

/** What the caller is owed when a call changes its worker. */
export type OwedAnswer = 'nothing' | 'answer' | 'rest-of-answer'

/**
 * All that another worker needs to go on with a call. JSON-safe and small (a few KB); the backend's own snapshot
 * travels beside it. Times are since the stream opened, and the opening is calendar time: the taker may be
 * another process with another monotonic clock. No generation is kept: the taker's backend is a new instance that
 * counts from its own beginning, and nothing of the old one can arrive any more.
 */
export interface CallCheckpoint {
  readonly version: typeof CALL_CHECKPOINT_VERSION
  readonly callSid: string
  readonly state: 'waiting' | 'live' | 'handover' | 'holding' | 'bridged' | 'closing'
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
  readonly transcript: readonly TranscriptEntry[]
  readonly tools: readonly ToolCheckpoint[]
  readonly toolCalls: readonly ToolCallRecord[]
  readonly turns: readonly TurnRecord[]
  readonly bargeIns: readonly BargeInRecord[]
  readonly timeline: readonly TimelineMark[]
  /** Why the call is being ended, when it is; a takeover in `closing` ends it without another word. */
  readonly ending: { readonly reason: EndReason; readonly detail: string } | null
  /** A handover that was asked for; a takeover asks the escalation machine for its step again. */
  readonly handover: { readonly reason: string; readonly summary: string } | null
}

/**
 * Reads a checkpoint that was kept as JSON.
 * @throws GatewayError CALL_FAULT when it is of another version or not a checkpoint at all.
 */
export function parseCheckpoint(value: unknown): CallCheckpoint {
  if (typeof value !== 'object' || value === null || !('version' in value)) {
    throw new GatewayError('CALL_FAULT', 'a checkpoint is an object with a version')
  }
  if (value.version !== CALL_CHECKPOINT_VERSION) {
    const version = String(value.version)
    throw new GatewayError('CALL_FAULT', `checkpoint version ${version}; this build reads ${CALL_CHECKPOINT_VERSION}`)
  }
  for (const list of ['transcript', 'tools', 'toolCalls', 'turns', 'bargeIns', 'timeline'] as const) {
    if (!Array.isArray((value as Record<string, unknown>)[list])) {
      throw new GatewayError('CALL_FAULT', `checkpoint without ${list}`)
    }
  }
  // Only our own `checkpoint()` writes these; the version and the shape of its lists were just checked.
  return value as unknown as CallCheckpoint
}
