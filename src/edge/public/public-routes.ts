import type { WebhookRoute } from '../../telemetry/metric-labels.js'

/** Path of the audio socket, below the origin of NODE_URL. */
export const AUDIO_PATH = '/audio'

interface PublicRoute {
  /** Path below the origin of PUBLIC_URL; `:agent` is an agent's name. */
  readonly path: `/${string}`
  readonly method: 'POST' | 'GET'
  /**
   * Webhook that comes to this path. `audio`: a WebSocket; behind a balancer, its path begins with the node's own path.
   */
  readonly takes: WebhookRoute | 'audio'
}

/**
 * All routes of the public port. The list in deploy/haproxy*.cfg is generated from them (`npm run documents`), so that
 * balancers accept all of them.
 */
export const PUBLIC_ROUTES: readonly PublicRoute[] = [
  { path: '/voice', method: 'POST', takes: 'voice' },
  { path: '/voice/:agent', method: 'POST', takes: 'voice' },
  { path: '/after-stream', method: 'POST', takes: 'after-stream' },
  { path: '/stream-status', method: 'POST', takes: 'stream-status' },
  { path: '/human', method: 'POST', takes: 'human' },
  { path: '/events', method: 'POST', takes: 'events' },
  { path: '/continue', method: 'POST', takes: 'continue' },
  { path: AUDIO_PATH, method: 'GET', takes: 'audio' },
]
