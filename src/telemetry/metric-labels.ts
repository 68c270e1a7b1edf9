/** Values that labels of this gateway's metrics may have, and the bounds of its histograms. */

/** Why a call was not taken, or its socket not opened. */
export const REFUSAL_REASONS = [
  'capacity',
  'draining',
  'file-descriptors',
  'agent-unknown',
  'duplicate',
  'rate-limit',
  'fault',
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
  'stale',
  'token',
  'too-large',
  'too-slow',
  'evicted',
  'content-type',
  'malformed',
  'rate-limit',
  'agent-unknown',
  'method',
  'not-found',
] as const
export type WebhookRejection = (typeof WEBHOOK_REJECTIONS)[number]

export const WEBHOOK_ROUTES = ['voice', 'stream-status', 'after-stream', 'human', 'events'] as const
export type WebhookRoute = (typeof WEBHOOK_ROUTES)[number]

/** Direction of a frame: `in` from the caller to the backend, `out` from the backend to the caller. */
export type FrameDirection = 'in' | 'out'

// Buckets in seconds; turn and barge-in bounds lie where people feel a difference, frame bounds around the 20 ms of one
// frame itself.
export const TURN_BOUNDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10]
export const BARGE_IN_BOUNDS = [0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 1]
export const FRAME_BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16]
export const TICK_BOUNDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08]
export const CONNECT_BOUNDS = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 5, 10]
export const TOOL_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15]
export const WEBHOOK_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
