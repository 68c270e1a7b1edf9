import { createHash } from 'node:crypto'

/** The key of the span of a whole call. */
export const CALL_SPAN = 'call'

/**
 * The trace id of a call, derived from its SID: logs and exemplars name it while the call lives, the spans follow at
 * its end, and every process of a fleet derives the same one. 32 hex digits.
 */
export function traceIdOf(callSid: string): string {
  return createHash('sha256').update(`mkondo call ${callSid}`).digest('hex').slice(0, 32)
}

/** The id of a span of a trace: every exporter derives it from the span's key, so that all make the same spans of a call. */
export function spanIdOf(traceId: string, key: string): string {
  return createHash('sha256').update(`${traceId} ${key}`).digest('hex').slice(0, 16)
}

/**
 * The key of the span of a tool call.
 * @param use  how many tool calls of this id have run before: some models begin to count anew with each answer
 */
export function toolSpanKey(callId: string, use: number): string {
  return `tool ${callId} ${use}`
}

/** Trace context of a request for a call: the span of that key is the parent of the answerer's (W3C Trace Context). */
export function traceparentOf(callSid: string, key = CALL_SPAN): string {
  const traceId = traceIdOf(callSid)
  return `00-${traceId}-${spanIdOf(traceId, key)}-01`
}
