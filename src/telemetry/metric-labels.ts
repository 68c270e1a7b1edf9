import { CALL_REFUSALS } from '../call/documents/record.js'

/** Values that labels of this gateway's metrics may have, and the bounds of its histograms. */

/** Why a call was not taken, or its socket not opened. */
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

/** Why a webhook was turned away. */
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
