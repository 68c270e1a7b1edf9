import { GatewayError } from './errors.js'

declare const brand: unique symbol

/**
 * Identifier that the carrier gives to a call (`HD_` and 12 hexadecimal digits at present). It is the key of all data
 * of the call.
 */
export type CallSid = string & { readonly [brand]: 'CallSid' }

// Allowed form of a SID. It is limited, because SIDs are used in metric labels, log fields, URLs and file names.
export const CALL_SID = /^[A-Za-z0-9_-]{1,64}$/

export function isCallSid(value: unknown): value is CallSid {
  return typeof value === 'string' && CALL_SID.test(value)
}

/** @throws GatewayError WEBHOOK_MALFORMED when `value` cannot be a call SID. */
export function parseCallSid(value: unknown): CallSid {
  if (isCallSid(value)) return value
  throw new GatewayError('WEBHOOK_MALFORMED', 'call SID is missing or not 1 to 64 characters of A-Z a-z 0-9 _ -')
}

/** Agent names appear in URLs, metric labels and file names. */
export const AGENT_NAME = /^[a-z][a-z0-9-]{0,39}$/

export function isAgentName(value: unknown): value is string {
  return typeof value === 'string' && AGENT_NAME.test(value)
}
