import type { CarrierState } from '../call/events.js'
import { CALL_RECORD_VERSION } from '../call/record.js'
import type { CallRecord, EndReason, OutboundRecord, OutboundResult } from '../call/record.js'
import type { CallSid } from '../core/ids.js'
import { maskNumber } from '../sautikit/phone.js'
import type { PlacedCall } from './live-call.js'

export interface TakenFacts {
  /** The carrier opened the stream. */
  readonly streamOpened: boolean
  readonly endReason: EndReason | null
  /** What the carrier said last before the stream. */
  readonly lastState: CarrierState
  /** From the order to the stream, or to the end. */
  readonly ringMs: number
}

/** How a call that we placed was taken. */
export function outboundRecord(placed: PlacedCall, facts: TakenFacts): OutboundRecord {
  return { result: resultOf(facts), ringMs: Math.round(facts.ringMs), clientRequestId: placed.clientRequestId }
}

/** True when a person may have spoken. */
export function reached(result: OutboundResult): boolean {
  return result === 'answered' || result === 'voicemail' || result === 'silence'
}

function resultOf({ streamOpened, endReason, lastState }: TakenFacts): OutboundResult {
  if (streamOpened) {
    if (endReason === 'answering-machine') return 'voicemail'
    return endReason === 'nobody-there' ? 'silence' : 'answered'
  }
  switch (lastState) {
    case 'busy': return 'busy'
    case 'failed':
    case 'stream-error': return 'failed'
    default: return 'no-answer'
  }
}

/** The record of a call that we placed and that never came to a stream. */
export function unreachedRecord(
  placed: PlacedCall, callSid: CallSid, outbound: OutboundRecord, startedAtWallMs: number, detail: string,
): CallRecord {
  return {
    version: CALL_RECORD_VERSION,
    callSid, agent: placed.agent, direction: 'outbound', backend: 'none',
    from: maskNumber(placed.from), to: maskNumber(placed.to),
    outcome: 'unreached', endReason: 'not-taken', endDetail: detail,
    startedAt: new Date(startedAtWallMs).toISOString(), durationMs: 0, greetingMs: null,
    transcript: [], toolCalls: [], turns: [], bargeIns: [], escalation: null,
    timeline: [{ name: 'ended', atMs: outbound.ringMs, detail: outbound.result }], timelineDropped: 0, stops: [],
    usage: { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 },
    audio: { framesIn: 0, framesConcealed: 0, framesDropped: 0, underruns: 0, dtmf: 0 },
    backends: { sessions: [], failover: null, irregular: {} },
    budget: null, shadow: null, rehomes: 0, recording: null, carrier: null, outbound,
  }
}
