import { z } from 'zod'
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
} from './record.js'
import type { DocumentOf } from './document.js'

// Entries of the log have exact times, not whole milliseconds.
export const loggedTranscriptSchema = transcriptEntry(measuredMs).meta({ id: 'transcript-entry' })
const turnSchema = turn(measuredMs).meta({ id: 'turn' })
const bargeInSchema = bargeIn(measuredMs).meta({ id: 'barge-in' })
const claimSchema = claim(measuredMs).meta({ id: 'claim' })
const stageSchema = stageMove(measuredMs).meta({ id: 'stage' })
const factSchema = knownFact(measuredMs).meta({ id: 'fact' })
const handoverSchema = handover(measuredMs).meta({ id: 'handover' })

/**
 * A tool call with its complete arguments and result. The record does not contain the complete arguments and the
 * result.
 */
const loggedToolCallSchema = z
  .object({
    callId: z.string(),
    end: z.enum([
      /** The tool ran, and the model received its result or error. */
      'answered',
      /** The session itself performed the tool. */
      'built-in',
      /** The tool did not run, because of an unknown name, invalid arguments, or too many running tools. */
      'refused',
      /** The backend cancelled the tool call, or the phone call ended first. */
      'cancelled',
      /** No result arrived in time. */
      'overdue',
      /** The worker died while the tool ran. */
      'lost',
      /** The tool call was pending, and its outcome did not arrive in time. */
      'expired',
      /** The tool call was pending when the caller gave up, or when the conversation ended. */
      'abandoned',
    ]),
    record: toolCall(measuredMs).meta({ id: 'tool-call' }),
    /** Arguments as the model sent them; the record leaves out the proof of identity. */
    args: anyArguments,
    result: z.unknown().default(null),
  })
  .meta({ id: 'logged-tool-call' })
export type LoggedToolCall = DocumentOf<typeof loggedToolCallSchema>

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

/** Contents of a call log, as plain JSON. Another worker receives the call log together with the checkpoint. */
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
    /** Number of entries that each list has dropped because it was full. The oldest entries are dropped first. */
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
