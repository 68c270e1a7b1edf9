import { CALL_CHECKPOINT_VERSION } from '../../src/call/documents/checkpoint.js'
import { CallLog } from '../../src/call/call-log.js'
import type { KeptCall, KeptState } from '../../src/call/documents/kept-call.js'
import { parseCallSid } from '../../src/core/ids.js'

/** Kept call of an inbound caller in mid-conversation, with changes. */
export function keptCall(changes: Partial<KeptCall> = {}): KeptCall {
  const callSid = parseCallSid(changes.callSid ?? 'HD_kept00000001')
  return {
    version: 1,
    node: 'node-a',
    callSid,
    rootSid: callSid,
    agent: 'order-status',
    agentHash: 'none',
    direction: 'inbound',
    from: '+254700000001',
    to: '+254709000000',
    placed: null,
    budgetStep: null,
    legRateHz: 16000,
    preparedWallMs: 1_790_000_000_000,
    elapsedMs: 20_000,
    moves: false,
    streamOpenedMs: 400,
    streamMs: 19_600,
    afterStreamUrl: null,
    humanUrl: null,
    waits: [],
    recording: { announced: true, refused: false, file: null },
    session: {
      version: CALL_CHECKPOINT_VERSION,
      callSid,
      state: 'live',
      streamOpenedWallMs: 1_790_000_000_400,
      greeted: true,
      greetingMs: 300,
      owed: 'nothing',
      heard: null,
      silencePrompts: 0,
      nextAnnouncement: 1,
      identity: null,
      openTranscript: [],
      toolsRunning: [],
      ending: null,
      escalation: null,
    },
    backendState: null,
    escalation: null,
    result: null,
    sessions: [],
    rehomes: 0,
    recoveredFrom: null,
    resumed: [],
    timelineDropped: 0,
    wrongAnswers: 0,
    ...changes,
  }
}

/** Kept state with a call and a log; the log has only the given entries. */
export function keptState(kept: KeptCall = keptCall(), log: Partial<KeptState['log']> = {}): KeptState {
  return { kept, log: { ...new CallLog().records(), ...log }, marks: [] }
}
