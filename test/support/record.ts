import type { CallRecord } from '../../src/call/documents/record.js'
import { parseCallSid } from '../../src/core/ids.js'
import { recordWithoutStream } from '../../src/workers/main/call/call-record.js'

/** Record of a simple successful call, with changes. */
export function endedCall(changes: Partial<CallRecord> = {}): CallRecord {
  const call = { agent: 'order-status', direction: 'inbound', from: '+254700000001', to: '+254709000000' } as const
  return {
    ...recordWithoutStream(
      { ...call, callSid: parseCallSid('HD_record000001') },
      Date.parse('2026-11-20T12:00:00.000Z'),
      true,
    ),
    backend: 'embedded',
    outcome: 'contained',
    endReason: 'agent-goodbye',
    endDetail: '',
    durationMs: 30_000,
    greetingMs: 300,
    timeline: [],
    audio: { framesIn: 1500, framesConcealed: 0, framesDropped: 0, underruns: 0, dtmf: 0 },
    rootSid: 'HD_testcall0001',
    ...changes,
  }
}
