import { CALL_RECORDS_MAX, TOOL_CALLS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import type { BargeInRecord, PlayedTimes, ToolCallRecord, TranscriptEntry, TurnRecord } from './record.js'

/**
 * How a tool call came to its end:
 * - `answered`: the tool ran, and its result, good or bad, went to the model;
 * - `built-in`: the session carried it out itself;
 * - `refused`: it was not run (unknown name, arguments that do not fit, too many at once);
 * - `cancelled`: the model took it back, or the call ended first;
 * - `overdue`: no result came in time;
 * - `lost`: its worker died while it ran.
 */
export type ToolCallEnd = 'answered' | 'built-in' | 'refused' | 'cancelled' | 'overdue' | 'lost'

/** A tool call with what the model asked and was told, which the record leaves out. */
export interface LoggedToolCall {
  readonly callId: string
  readonly end: ToolCallEnd
  readonly record: ToolCallRecord
  /** As the model gave them; those of the record are without what proves an identity. */
  readonly args: Readonly<Record<string, unknown>>
  readonly result: unknown
}

/** One thing that became part of the call's record, whole. Plain JSON. */
export type CallLogEntry =
  | { readonly kind: 'transcript'; readonly record: TranscriptEntry }
  | ({ readonly kind: 'tool-call' } & LoggedToolCall)
  | { readonly kind: 'turn'; readonly record: TurnRecord }
  | { readonly kind: 'barge-in'; readonly record: BargeInRecord }
  /** When the caller heard the answer of a turn that is in the log; from the worker, which hears the outbound track. */
  | { readonly kind: 'turn-played'; readonly callerStoppedMs: number; readonly ear: PlayedTimes }

/** Everything in a log. Plain JSON: what another worker gets with the checkpoint. */
export interface CallLogRecords {
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly LoggedToolCall[]
  readonly turns: readonly TurnRecord[]
  readonly bargeIns: readonly BargeInRecord[]
  /** Entries of each list that are gone, oldest first, because it was full. */
  readonly dropped: Readonly<Record<'transcript' | 'toolCalls' | 'turns' | 'bargeIns', number>>
}

/**
 * What happened in a call, in order and bounded. The session has one and emits each entry as an output; the main thread has
 * another, made of those outputs, from which the live view and the call record are read.
 */
export class CallLog implements CallLogRecords {
  readonly transcript: TranscriptEntry[]
  readonly toolCalls: LoggedToolCall[]
  readonly turns: TurnRecord[]
  readonly bargeIns: BargeInRecord[]
  readonly dropped: { transcript: number; toolCalls: number; turns: number; bargeIns: number }

  /** @param before  the log of the worker that had the call before */
  constructor(before?: CallLogRecords) {
    this.transcript = [...before?.transcript ?? []]
    this.toolCalls = [...before?.toolCalls ?? []]
    this.turns = [...before?.turns ?? []]
    this.bargeIns = [...before?.bargeIns ?? []]
    this.dropped = { ...before?.dropped ?? { transcript: 0, toolCalls: 0, turns: 0, bargeIns: 0 } }
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
      transcript: [...this.transcript], toolCalls: [...this.toolCalls], turns: [...this.turns], bargeIns: [...this.bargeIns],
      dropped: { ...this.dropped },
    }
  }
}

/** @returns how many entries it cost */
function keep<T>(list: T[], entry: T, max: number): number {
  list.push(entry)
  if (list.length <= max) return 0
  list.shift()
  return 1
}
