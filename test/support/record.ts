import { CALL_RECORD_VERSION } from '../../src/call/documents/record.js'
import type { CallRecord } from '../../src/call/documents/record.js'

/** The record of a plain call that went well, with changes. */
export function endedCall(changes: Partial<CallRecord> = {}): CallRecord {
  return {
    version: CALL_RECORD_VERSION,
    callSid: 'HD_record000001',
    agent: 'order-status',
    backend: 'embedded',
    direction: 'inbound',
    from: '+2547…01',
    to: '+2547…00',
    outcome: 'deflected',
    endReason: 'agent-goodbye',
    endDetail: '',
    startedAt: '2026-11-20T12:00:00.000Z',
    durationMs: 30_000,
    greetingMs: 300,
    transcript: [],
    toolCalls: [],
    turns: [],
    bargeIns: [],
    claims: [],
    escalation: null,
    timeline: [],
    timelineDropped: 0,
    stops: [],
    usage: { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 },
    audio: { framesIn: 1500, framesConcealed: 0, framesDropped: 0, underruns: 0, dtmf: 0 },
    backends: { sessions: [], failover: null, irregular: {} },
    cost: null,
    budget: null,
    rehomes: 0,
    recoveredFrom: null,
    rootSid: 'HD_testcall0001',
    resumed: [],
    recording: null,
    carrier: null,
    outbound: null,
    ...changes,
  }
}
