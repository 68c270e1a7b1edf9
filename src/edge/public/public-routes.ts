import type { WebhookRoute } from '../../telemetry/metric-labels.js'

/** Where the audio socket opens, below the origin of NODE_URL. */
export const AUDIO_PATH = '/audio'

interface PublicRoute {
  /** Below the origin of PUBLIC_URL; `:agent` is an agent's name. */
  readonly path: `/${string}`
  readonly method: 'POST' | 'GET'
  /** `audio`: a WebSocket, whose path a balancer finds below the node's own path. */
  readonly takes: WebhookRoute | 'audio'
}

/**
 * All that the public port answers. The port has no other routes, and the list in deploy/haproxy*.cfg is made of these
 * (`npm run documents`), so that no balancer refuses one.
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
