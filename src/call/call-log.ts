import { CALL_RECORDS_MAX, CLAIMS_MAX, TOOL_CALLS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import type { BargeInRecord, ClaimRecord, PlayedTimes, ToolCallRecord, TranscriptEntry, TurnRecord } from './record.js'

/**
 * How a tool call ended:
 * - `answered`: the tool ran, and the model got its result or error;
 * - `built-in`: the session performed it itself;
 * - `refused`: it was not run (unknown name, invalid arguments, too many at once);
 * - `cancelled`: the backend cancelled it, or the call ended first;
 * - `overdue`: no result came in time;
 * - `lost`: the worker died while it ran.
 */
export type ToolCallEnd = 'answered' | 'built-in' | 'refused' | 'cancelled' | 'overdue' | 'lost'

/** A tool call, with the complete arguments and result that its record leaves out. */
export interface LoggedToolCall {
  readonly callId: string
  readonly end: ToolCallEnd
  readonly record: ToolCallRecord
  /** As the model gave them; the record leaves out the proof of identity. */
  readonly args: Readonly<Record<string, unknown>>
  readonly result: unknown
}

/** One complete entry of the call log. Plain JSON. */
export type CallLogEntry =
  | { readonly kind: 'transcript'; readonly record: TranscriptEntry }
  | ({ readonly kind: 'tool-call' } & LoggedToolCall)
  | { readonly kind: 'turn'; readonly record: TurnRecord }
  | { readonly kind: 'barge-in'; readonly record: BargeInRecord }
  | { readonly kind: 'claim'; readonly record: ClaimRecord }
  /** Caller-perceived latency of a turn in the log; the worker measures it on the outbound track. */
  | { readonly kind: 'turn-played'; readonly callerStoppedMs: number; readonly ear: PlayedTimes }

/** The contents of a log. Plain JSON; another worker gets it with the checkpoint. */
export interface CallLogRecords {
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly LoggedToolCall[]
  readonly turns: readonly TurnRecord[]
  readonly bargeIns: readonly BargeInRecord[]
  readonly claims: readonly ClaimRecord[]
  /** Number of oldest entries that each list dropped because it was full. */
  readonly dropped: Readonly<Record<'transcript' | 'toolCalls' | 'turns' | 'bargeIns' | 'claims', number>>
}

/**
 * What happened in a call, in order and bounded. The session keeps one log and emits each entry as an output. The main
 * thread builds another log from these outputs; the live view and the call record read that one.
 */
export class CallLog implements CallLogRecords {
  readonly transcript: TranscriptEntry[]
  readonly toolCalls: LoggedToolCall[]
  readonly turns: TurnRecord[]
  readonly bargeIns: BargeInRecord[]
  readonly claims: ClaimRecord[]
  readonly dropped: { transcript: number; toolCalls: number; turns: number; bargeIns: number; claims: number }

  /** @param before  the log of the call's previous worker */
  constructor(before?: CallLogRecords) {
    this.transcript = [...(before?.transcript ?? [])]
    this.toolCalls = [...(before?.toolCalls ?? [])]
    this.turns = [...(before?.turns ?? [])]
    this.bargeIns = [...(before?.bargeIns ?? [])]
    this.claims = [...(before?.claims ?? [])]
    this.dropped = { ...(before?.dropped ?? { transcript: 0, toolCalls: 0, turns: 0, bargeIns: 0, claims: 0 }) }
  }

  append(entry: CallLogEntry): void {
    switch (entry.kind) {
      case 'transcript':
        this.dropped.transcript += keep(this.transcript, entry.record, TRANSCRIPT_ENTRIES_MAX)
        return
      case 'tool-call': {
        const { kind: _, ...call } = entry
        this.dropped.toolCalls += keep(this.toolCalls, call, TOOL_CALLS_MAX)
        return
      }
      case 'turn':
        this.dropped.turns += keep(this.turns, entry.record, CALL_RECORDS_MAX)
        return
      case 'barge-in':
        this.dropped.bargeIns += keep(this.bargeIns, entry.record, CALL_RECORDS_MAX)
        return
      case 'claim':
        this.dropped.claims += keep(this.claims, entry.record, CLAIMS_MAX)
        return
      case 'turn-played': {
        const index = this.turns.findLastIndex((turn) => turn.callerStoppedMs === entry.callerStoppedMs)
        const turn = this.turns[index]
        if (turn !== undefined) this.turns[index] = { ...turn, ear: entry.ear }
      }
    }
  }

  /** Turns that got an answer. */
  get turnsAnswered(): number {
    return this.turns.filter((turn) => turn.answerMs !== null).length
  }

  /** A copy. */
  records(): CallLogRecords {
    return {
      transcript: [...this.transcript],
      toolCalls: [...this.toolCalls],
      turns: [...this.turns],
      bargeIns: [...this.bargeIns],
      claims: [...this.claims],
      dropped: { ...this.dropped },
    }
  }
}

/** @returns how many entries were dropped */
function keep<T>(list: T[], entry: T, max: number): number {
  list.push(entry)
  if (list.length <= max) return 0
  list.shift()
  return 1
}
