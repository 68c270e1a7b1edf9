import { startEdge } from '../../src/edge/edge.js'
import type { Edge } from '../../src/edge/edge.js'
import { processClock } from '../../src/workers/ticker.js'
import type { CallDirectory } from '../../src/workers/live-call.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { createLog } from '../../src/telemetry/log.js'
import type { Log } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import type { Clock } from '../../src/core/clock.js'
import type { ServerOptions } from '../protocol.js'

/** What a server of the bench has in common with the gateway's own composition. */
export interface EdgeParts {
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly callSeries: CallSeries
  open(calls: CallDirectory): Promise<Edge>
}

export function edgeParts(options: ServerOptions): EdgeParts {
  const clock = processClock()
  const log = createLog({ level: 'warn', rooms: {} })
  const metrics = new Metrics({ version: 'bench' })
  const callSeries = new CallSeries({ clock, callsMax: 2000 })
  return {
    clock, log, metrics, callSeries,
    open: (calls) => startEdge({
      host: '127.0.0.1', port: options.port, opsHost: '127.0.0.1', opsPort: 0, opsToken: null, publicUrl: null,
      shared: options.nodePort !== null,
      nodeUrl: options.nodePort === null ? null : `http://127.0.0.1:${options.nodePort}`,
      ...(options.nodePort === null ? {} : { nodePort: options.nodePort }),
      // Unsigned webhooks are taken where there is neither a secret nor a public URL, as on a developer's machine.
      webhookSecrets: [], bareSignatures: false, tokenSecret: 'a-secret-of-the-bench-and-of-nothing-else', ownedNumbers: [], trustedProxies: [],
      clock, wallClock: Date.now, log, metrics, callSeries, calls,
      onDrain: () => undefined, recording: () => Promise.resolve(null), console: new Map(),
    }),
  }
}
