import { CALL_REFUSALS } from '../call/documents/record.js'

/** Allowed values of labels in this gateway's metrics, and the bounds of its histograms. */

/** Reason why a call was not accepted, or its socket was not opened. */
export const REFUSAL_REASONS = [
  ...CALL_REFUSALS,
  'duplicate',
  'rate-limit',
  'subprotocol',
  'token-missing',
  'token-invalid',
  'token-expired',
  'token-used',
  'call-unknown',
] as const
export type RefusalReason = (typeof REFUSAL_REASONS)[number]

/** Reason why a webhook was refused. */
export const WEBHOOK_REJECTIONS = [
  'unsigned',
  'signature',
  'bare-signature',
  'token-only',
  'stale',
  'token',
  'too-large',
  'too-slow',
  'evicted',
  'content-type',
  'malformed',
  'rate-limit',
  'method',
  'not-found',
] as const
export type WebhookRejection = (typeof WEBHOOK_REJECTIONS)[number]

export const WEBHOOK_ROUTES = ['voice', 'stream-status', 'after-stream', 'human', 'events', 'continue'] as const
export type WebhookRoute = (typeof WEBHOOK_ROUTES)[number]
