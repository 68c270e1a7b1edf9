import { createLog } from '../../src/telemetry/log.js'
import { OutboundCalls } from '../../src/workers/main/outbound-calls.js'
import type { OutboundCallsOptions, OutboundCarrier } from '../../src/workers/main/outbound-calls.js'

/**
 * Calls that a gateway places for the agent `order-status`. Only their number per minute is limited, ringing times do
 * not end, and the carrier answers that each call rings.
 */
export function outboundCalls(
  carrier: Pick<OutboundCarrier, 'createCall'> & Partial<OutboundCarrier>,
  changes: Partial<OutboundCallsOptions> = {},
): OutboundCalls {
  return new OutboundCalls({
    carrier: {
      hangup: () => Promise.resolve(),
      getCall: () => Promise.resolve({ status: 'ringing', answeredAt: null }),
      ...carrier,
    },
    agent: (name) => (name === 'order-status' ? { from: null, ringMs: 30_000 } : undefined),
    agentNames: () => ['order-status'],
    voiceUrl: (agent) => `https://gw.example/voice/${agent}`,
    free: () => 100,
    draining: () => false,
    agentFull: () => false,
    perMinute: 60,
    recoveryPerMinute: 30,
    prefixes: [],
    clock: () => performance.now(),
    wallClock: Date.now,
    log: createLog({ level: 'silent' }),
    onUnreached: () => Promise.resolve('ok'),
    schedule: () => () => undefined,
    ...changes,
  })
}
