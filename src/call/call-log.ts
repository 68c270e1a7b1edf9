import { z } from 'zod'
import { CLAIMS_MAX, TOOL_CALLS_MAX, TRANSCRIPT_ENTRIES_MAX } from '../core/limits.js'
import {
  anyArguments,
  bargeIn,
  claim,
  handover,
  knownFact,
  measuredMs,
  playedTimes,
  stageMove,
  toolCall,
  transcriptEntry,
  turn,
} from './documents/record.js'
import type {
  BargeInRecord,
  ClaimRecord,
  FactRecord,
  HandoverRecord,
  StageRecord,
  TranscriptEntry,
  TurnRecord,
} from './documents/record.js'
import type { DocumentOf } from './documents/document.js'

/** Turns and barge-ins of one call that are kept in its record, each. */
const CALL_RECORDS_MAX = 1000

// Entries of the log keep times as measured.
export const loggedTranscriptSchema = transcriptEntry(measuredMs).meta({ id: 'transcript-entry' })
const turnSchema = turn(measuredMs).meta({ id: 'turn' })
const bargeInSchema = bargeIn(measuredMs).meta({ id: 'barge-in' })
const claimSchema = claim(measuredMs).meta({ id: 'claim' })
const stageSchema = stageMove(measuredMs).meta({ id: 'stage' })
const factSchema = knownFact(measuredMs).meta({ id: 'fact' })
const handoverSchema = handover(measuredMs).meta({ id: 'handover' })

/** A tool call, with the complete arguments and result that its record leaves out. */
const loggedToolCallSchema = z
  .object({
    callId: z.string(),
    end: z.enum([
      /** The tool ran, and the model got its result or error. */
      'answered',
      /** The session performed it itself. */
      'built-in',
      /** It was not run: unknown name, invalid arguments, too many at once. */
      'refused',
      /** The backend cancelled it, or the call ended first. */
      'cancelled',
      /** No result came in time. */
      'overdue',
      /** The worker died while it ran. */
      'lost',
      /** It was pending, and its outcome did not come in time. */
      'expired',
      /** It was pending when the caller gave up, or the conversation ended. */
      'abandoned',
    ]),
    record: toolCall(measuredMs).meta({ id: 'tool-call' }),
    /** As the model gave them; the record leaves out the proof of identity. */
    args: anyArguments,
    result: z.unknown().default(null),
  })
  .meta({ id: 'logged-tool-call' })
export type LoggedToolCall = DocumentOf<typeof loggedToolCallSchema>
export type ToolCallEnd = LoggedToolCall['end']

/** One complete entry of the call log. Plain JSON. */
export const callLogEntrySchema = z
  .discriminatedUnion('kind', [
    z.object({ kind: z.literal('transcript'), record: loggedTranscriptSchema }),
    loggedToolCallSchema.extend({ kind: z.literal('tool-call') }),
    z.object({ kind: z.literal('turn'), record: turnSchema }),
    z.object({ kind: z.literal('barge-in'), record: bargeInSchema }),
    z.object({ kind: z.literal('claim'), record: claimSchema }),
    z.object({ kind: z.literal('stage'), record: stageSchema }),
    z.object({ kind: z.literal('fact'), record: factSchema }),
    z.object({ kind: z.literal('handover'), record: handoverSchema }),
    /** Caller-perceived latency of a turn in the log; the worker measures it on the outbound track. */
    z.object({ kind: z.literal('turn-played'), callerStoppedMs: measuredMs, ear: playedTimes(measuredMs) }),
  ])
  .meta({ id: 'call-log-entry' })
export type CallLogEntry = DocumentOf<typeof callLogEntrySchema>

/** The contents of a log. Plain JSON; another worker gets it with the checkpoint. */
export const callLogSchema = z
  .object({
    transcript: z.array(loggedTranscriptSchema),
    toolCalls: z.array(loggedToolCallSchema),
    turns: z.array(turnSchema),
    bargeIns: z.array(bargeInSchema),
    claims: z.array(claimSchema).default([]),
    stages: z.array(stageSchema).default([]),
    facts: z.array(factSchema).default([]),
    handovers: z.array(handoverSchema).default([]),
    /** Number of oldest entries that each list dropped because it was full. */
    dropped: z.object({
      transcript: z.int(),
      toolCalls: z.int(),
      turns: z.int(),
      bargeIns: z.int(),
      claims: z.int().default(0),
      stages: z.int().default(0),
      facts: z.int().default(0),
      handovers: z.int().default(0),
    }),
  })
  .meta({ id: 'call-log' })
export type CallLogRecords = DocumentOf<typeof callLogSchema>

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
 * Events of a call, in order and bounded. The session keeps one log and emits each entry as an output. The main thread
 * builds another log from these outputs; the live view and the call record read that one.
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

  /** @param before  the log of the call's previous worker */
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
      stages: [...this.stages],
      facts: [...this.facts],
      handovers: [...this.handovers],
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
