import { GatewayError } from '../../core/errors.js'
import type { CallLogRecords, LoggedToolCall } from '../call-log.js'
import { DEFAULT_CALL_OPTIONS } from '../call-options.js'
import type { BargeInOptions, CallSessionOptions } from '../call-options.js'
import { CALL_CHECKPOINT_VERSION, parseResume } from '../checkpoint.js'
import type { CallCheckpoint, RunningTool, SessionResume } from '../checkpoint.js'
import type { CallOutput } from '../events.js'
import { recordedArguments } from '../gateway-tools.js'
import type { BargeInRecord, ToolCallRecord, TranscriptEntry, TurnRecord } from '../record.js'
import { sameJson } from '../tool-ledger.js'

/** A checkpoint of version 1, from journals of versions 1 and 2. It contains the lists of the log. */
interface CheckpointVersion1
  extends
    Omit<CallCheckpoint, 'version' | 'state' | 'openTranscript' | 'toolsRunning' | 'escalation'>,
    Pick<CallLogRecords, 'transcript' | 'turns' | 'bargeIns'> {
  readonly state: Exclude<CallCheckpoint['state'], 'escalating'> | 'handover'
  readonly tools: readonly (Omit<RunningTool, 'startMs'> & {
    readonly state: 'running' | 'answered'
    readonly ok: boolean
    readonly result: unknown
  })[]
  readonly toolCalls: readonly ToolCallRecord[]
  readonly handover: CallCheckpoint['escalation']
}

/** Options of a version before 5, with the values of later settings that change no decision. */
export function migrateOptions(options: Readonly<Record<string, unknown>>): CallSessionOptions {
  const bargeIn: Partial<BargeInOptions> = options['bargeIn'] ?? {}
  const { commitMs } = { ...DEFAULT_CALL_OPTIONS.bargeIn, ...bargeIn }
  const speech: object = options['speech'] ?? {}
  return {
    serverInterrupts: options['serverVad'] === true,
    weighsSpeech: false,
    putOnHold: null,
    claims: null,
    ...options,
    speech: { adaptive: false, doubtfulOnsetMs: 0, ...speech },
    bargeIn: { doubtfulCommitMs: commitMs, backchannel: null, quieterDb: null, ...bargeIn },
  } as unknown as CallSessionOptions
}

/** @throws GatewayError CALL_FAULT when it is not a checkpoint of version 1 */
export function migrateCheckpoint(value: unknown): SessionResume {
  if (typeof value !== 'object' || value === null || !('version' in value) || value.version !== 1) {
    throw new GatewayError(
      'CALL_FAULT',
      'the journal of a version before 3 goes on from a checkpoint that has not version 1',
    )
  }
  const { state, tools, toolCalls, transcript, turns, bargeIns, handover, ...rest } =
    value as unknown as CheckpointVersion1
  const { timeline: _, ...kept } = rest as typeof rest & { readonly timeline: unknown }
  const answered = tools.filter((tool) => tool.state === 'answered')
  // Version 1 kept records and answers apart: each record gets the answer of the first call that matches.
  const logged = toolCalls.map((record): LoggedToolCall => {
    const at = answered.findIndex(
      ({ name, args }) => name === record.name && sameJson(recordedArguments(name, args), record.args),
    )
    const [tool] = at < 0 ? [] : answered.splice(at, 1)
    if (tool === undefined) return { callId: '', end: 'refused', record, args: record.args, result: null }
    return { callId: tool.callId, end: 'answered', record, args: tool.args, result: tool.result }
  })
  return parseResume({
    checkpoint: {
      ...kept,
      version: CALL_CHECKPOINT_VERSION,
      state: state === 'handover' ? 'escalating' : state,
      openTranscript: [],
      toolsRunning: tools
        .filter((tool) => tool.state === 'running')
        .map(({ callId, name, args }) => ({ callId, name, args, startMs: 0 })),
      escalation: handover,
    },
    log: {
      transcript,
      toolCalls: logged,
      turns,
      bargeIns,
      claims: [],
      dropped: { transcript: 0, toolCalls: 0, turns: 0, bargeIns: 0, claims: 0 },
    },
  })
}

/**
 * An output of version 2 or 3 in the form of `comparable`. It was written from typed values, so the version implies its
 * shape.
 */
export function migrateOutput(output: Readonly<Record<string, unknown>>): CallOutput {
  const { type, ...rest } = output
  switch (type) {
    case 'transcript':
      return { type: 'log', entry: { kind: 'transcript', record: rest['entry'] as TranscriptEntry } }
    case 'turn':
      return { type: 'log', entry: { kind: 'turn', record: { callerStoppedMs: 0, ...rest } as TurnRecord } }
    case 'barge-in':
      return { type: 'log', entry: { kind: 'barge-in', record: { atMs: 0, ...rest } as BargeInRecord } }
    case 'run-tool': {
      const { idempotencyKey: _, ...run } = rest as Omit<Extract<CallOutput, { type: 'run-tool' }>, 'occurrence'> & {
        readonly idempotencyKey: string
      }
      return { ...run, type, occurrence: 0 }
    }
    default:
      return output as unknown as CallOutput
  }
}
