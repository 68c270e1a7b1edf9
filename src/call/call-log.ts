import { CLAIMS_MAX, TOOL_CALLS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import type {
  BargeInRecord,
  ClaimRecord,
  FactRecord,
  HandoverRecord,
  StageRecord,
  TranscriptEntry,
  TurnRecord,
} from './documents/record.js'
import type { LoggedToolCall, CallLogEntry, CallLogRecords } from './documents/log-entry.js'

/** Maximum number of entries of each kind in one call's record: turns, barge-ins, stage moves, facts, handovers. */
const CALL_RECORDS_MAX = 1000

export type ToolCallEnd = LoggedToolCall['end']

const NOTHING_DROPPED = {
  transcript: 0,
  toolCalls: 0,
  turns: 0,
  bargeIns: 0,
  claims: 0,
  stages: 0,
  facts: 0,
  handovers: 0,
}

/**
 * Events of a call, in order. Each kind of event has a limit. The session emits each entry; the main thread builds the
 * live view and the record from these entries.
 */
export class CallLog implements CallLogRecords {
  readonly transcript: TranscriptEntry[]
  readonly toolCalls: LoggedToolCall[]
  readonly turns: TurnRecord[]
  readonly bargeIns: BargeInRecord[]
  readonly claims: ClaimRecord[]
  readonly stages: StageRecord[]
  readonly facts: FactRecord[]
  readonly handovers: HandoverRecord[]
  readonly dropped: Record<keyof CallLogRecords['dropped'], number>

  /** @param before  log of the call's previous worker */
  constructor(before?: CallLogRecords) {
    this.transcript = [...(before?.transcript ?? [])]
    this.toolCalls = [...(before?.toolCalls ?? [])]
    this.turns = [...(before?.turns ?? [])]
    this.bargeIns = [...(before?.bargeIns ?? [])]
    this.claims = [...(before?.claims ?? [])]
    this.stages = [...(before?.stages ?? [])]
    this.facts = [...(before?.facts ?? [])]
    this.handovers = [...(before?.handovers ?? [])]
    this.dropped = { ...NOTHING_DROPPED, ...before?.dropped }
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
      case 'stage':
        this.dropped.stages += keep(this.stages, entry.record, CALL_RECORDS_MAX)
        return
      case 'fact':
        this.dropped.facts += keep(this.facts, entry.record, CALL_RECORDS_MAX)
        return
      case 'handover':
        this.dropped.handovers += keep(this.handovers, entry.record, CALL_RECORDS_MAX)
        return
      case 'turn-played': {
        const index = this.turns.findLastIndex((turn) => turn.callerStoppedMs === entry.callerStoppedMs)
        const turn = this.turns[index]
        if (turn !== undefined) this.turns[index] = { ...turn, ear: entry.ear }
      }
    }
  }

  /**
   * The transcript in the order in which it was said, for documents and models. `transcript` has the order in which the
   * words became final: a recogniser's words may come after the answer.
   */
  get conversation(): TranscriptEntry[] {
    return asSaid(this.transcript)
  }

  /** Turns that got an answer. */
  get turnsAnswered(): number {
    return this.turns.filter((turn) => turn.answerMs !== null).length
  }

  /** Returns a copy of the records. */
  records(): CallLogRecords {
    return {
      transcript: [...this.transcript],
      toolCalls: [...this.toolCalls],
      turns: [...this.turns],
      bargeIns: [...this.bargeIns],
      claims: [...this.claims],
      stages: [...this.stages],
      facts: [...this.facts],
      handovers: [...this.handovers],
      dropped: { ...this.dropped },
    }
  }
}

/** @returns the entries in the order in which they were said */
export function asSaid(entries: readonly TranscriptEntry[]): TranscriptEntry[] {
  return [...entries].sort((a, b) => a.startMs - b.startMs)
}

/** @returns the number of entries that were dropped */
function keep<T>(list: T[], entry: T, max: number): number {
  list.push(entry)
  if (list.length <= max) return 0
  list.shift()
  return 1
}
