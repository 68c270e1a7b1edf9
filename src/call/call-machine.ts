import type { Wake } from '../core/clock.js'
import type { BackendUsage } from './backend-events.js'
import type { CallCheckpoint } from './checkpoint.js'
import type { CallInput, CallOutput } from './events.js'
import type { CallLog } from './call-log.js'
import type { EscalationRecord } from './record.js'

/** Plain numbers. */
export interface CallCounters {
  /** Chunks of audio of a dead response, dropped. */
  lateAudioDropped: number
  /** Transcripts and tool calls of a dead response, dropped. */
  lateEventsDropped: number
  /** Tool calls answered with an error without running: unknown, invalid, too many. */
  toolCallsRefused: number
  /** Results that came after their call was cancelled, timed out or answered. */
  toolResultsLate: number
  silencePrompts: number
  /** Times that the caller's sound was given up because nobody understood it. */
  notUnderstood: number
  /** Marks and checkpoint notices that nobody drained in time. */
  outputsDropped: number
}

/** The states of a call, as an operator reads them. */
export type CallState =
  | 'waiting' | 'connecting' | 'live' | 'escalating' | 'holding' | 'bridged' | 'closing' | 'closed' | 'ended'

/** The face of a call session; `CallSession` is the only one that decides anything. */
export interface CallMachine {
  readonly state: CallState
  /**
   * Takes one input and runs what is due at `nowMs`. Then drain `pollOutput()` until null. Never throws for what
   * others did.
   */
  handle(input: CallInput, nowMs: number): void
  /**
   * One 20 ms frame of the caller, `nowMs` being the time of its last sample. No allocation unless something changes.
   */
  callerFrame(voiced: boolean, nowMs: number): void
  /** Whether audio of that item may be played. False: it belongs to a dead response; drop it. */
  acceptAudio(itemId: string, generation: number, nowMs: number): boolean
  pollOutput(): CallOutput | null
  /** When to call `handle({ type: 'timer' })` at the latest; null when nothing is waited for. */
  nextWake(): Wake | null
  checkpoint(): CallCheckpoint
  /** Who the caller is, once a tool has established it; goes into the escalation packet. */
  setIdentity(identity: Readonly<Record<string, unknown>>): void
  readonly log: CallLog
  readonly counters: Readonly<CallCounters>
  readonly usage: BackendUsage
  /** From the opened stream to the first agent sound; null before. */
  readonly greetingMs: number | null
  readonly escalation: EscalationRecord | null
  /** Time the stream was open so far, or in all. */
  streamMs(nowMs: number): number
}
