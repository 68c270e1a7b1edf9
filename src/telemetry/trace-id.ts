import { createHash } from 'node:crypto'

/** The key of the span of a whole call. */
export const CALL_SPAN = 'call'

/**
 * Trace id of a call: 32 hex digits, derived from the call's SID. Logs, exemplars and later spans contain it. All
 * processes of a fleet derive the same id.
 */
export function traceIdOf(callSid: string): string {
  return createHash('sha256').update(`mkondo call ${callSid}`).digest('hex').slice(0, 32)
}

/** Id of a span, derived from the span's key. So all exporters create equal ids for a call's spans. */
export function spanIdOf(traceId: string, key: string): string {
  return createHash('sha256').update(`${traceId} ${key}`).digest('hex').slice(0, 16)
}

/**
 * Key of the span of a tool call.
 * @param use number of earlier tool calls with this id. Ids repeat, because some models count from the beginning again
 * in each answer
 */
export function toolSpanKey(callId: string, use: number): string {
  return `tool ${callId} ${use}`
}

/**
 * Trace context for a request about a call (W3C Trace Context). The span with this key is the parent of the receiver's
 * span.
 */
export function traceparentOf(callSid: string, key = CALL_SPAN): string {
  const traceId = traceIdOf(callSid)
  return `00-${traceId}-${spanIdOf(traceId, key)}-01`
}
