import type { Backend, BackendSink } from '../../src/backends/backend.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import type { BackendContext } from '../../src/backends/backend-context.js'

/**
 * A third-party backend, as docs/OWN-BACKEND.md describes: a service with OpenAI's events and its own authentication. Its
 * options are in the agent's file, under `backends:`.
 */
export function createBackend(
  sink: BackendSink,
  { clock, gatewayTurns }: BackendContext,
  options: Readonly<Record<string, unknown>>,
): Backend {
  const { url, token } = options
  if (typeof url !== 'string' || typeof token !== 'string') throw new Error('own-backend needs url and token')
  return new OpenAiRealtimeBackend(sink, {
    name: 'own',
    apiKey: null,
    headers: { authorization: `Bearer ${token}` },
    baseUrl: url,
    model: 'own-1',
    nowMs: clock,
    turns: { by: gatewayTurns ? 'gateway' : 'server_vad' },
    connectTimeoutMs: 1500,
  })
}
