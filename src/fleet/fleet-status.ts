import { z } from 'zod'
import type { NodeRecord } from './store/call-store.js'

/** Version of the JSON of `GET /api/fleet`. `schema/fleet.schema.json` describes this JSON. */
const FLEET_STATUS_VERSION = 1

const count = z.int().min(0)

const nodeStatusSchema = z.object({
  name: z.string(),
  self: z.boolean().describe('True for the node that was asked.'),
  state: z
    .enum(['open', 'cordoned', 'draining', 'suspect', 'not-ready'])
    .describe(
      'open: accepts calls. cordoned: an operator stopped new calls. draining: accepts no new calls, and ends after its last call. ' +
        'suspect: its heartbeat has stopped. not-ready: accepts no calls, for the given reason.',
    ),
  reason: z.string().nullable().describe('Reason why the node is not open; null if there is no further reason.'),
  version: z.string(),
  capacity: count.describe('Maximum number of concurrent calls.'),
  free: count.describe('Number of calls that the node would accept now.'),
  live: count.describe('Live calls.'),
  startedAt: z.iso.datetime(),
  opsUrl: z
    .string()
    .nullable()
    .describe(
      'Origin at which other machines reach the ops port of the node; null if only its own machine can. Any ops port answers for all nodes.',
    ),
  clockDifferenceMs: z
    .number()
    .nullable()
    .describe("Time by which the clock of the node is ahead of the store's clock; null if it is unknown."),
})

export const fleetStatusSchema = z.object({
  version: z.literal(FLEET_STATUS_VERSION),
  self: z.string().describe('Name of the node that was asked.'),
  nodes: z.array(nodeStatusSchema).describe('By name.'),
  store: z.object({
    home: z.enum(['memory', 'supervisor', 'redis']).describe('Place of the shared state of the nodes.'),
    up: z.boolean(),
    url: z.string().nullable().describe('Address of Redis, without user and password; null for memory and supervisor.'),
  }),
  alerts: z.array(z.string()).describe('Warnings of the node that was asked.'),
})

export type FleetStatus = z.output<typeof fleetStatusSchema>
type NodeStatus = FleetStatus['nodes'][number]

/** Location of the data that the nodes share. */
export interface StoreHome {
  readonly home: FleetStatus['store']['home']
  readonly url: string | null
  /** True if the store answered the last request to it. */
  readonly up: () => boolean
}

/** Answer of a node about itself, with data that its heartbeats lack. Plain JSON. */
export interface OwnStatus {
  /** Reason why the node cannot accept a call; null if it can accept calls. */
  readonly notReady: string | null
  readonly clockDifferenceMs: number | null
}

interface FleetSeen {
  readonly self: NodeRecord
  readonly others: readonly (NodeRecord & { readonly seen: 'alive' | 'suspect' | 'gone' })[]
  /** Status of each node that answered, and of this node. */
  readonly own: ReadonlyMap<string, OwnStatus>
  readonly store: StoreHome
  readonly alerts: readonly string[]
}

/** The fleet as one node sees it. */
export function fleetStatus({ self, others, own, store, alerts }: FleetSeen): FleetStatus {
  const nodes = [
    nodeStatus(self, 'self', own.get(self.name)),
    ...others.map((node) => nodeStatus(node, node.seen, own.get(node.name))),
  ]
  return {
    version: FLEET_STATUS_VERSION,
    self: self.name,
    nodes: nodes.sort((a, b) => (a.name < b.name ? -1 : 1)),
    store: { home: store.home, up: store.up(), url: store.url },
    alerts: [...alerts],
  }
}

type Seen = 'self' | 'alive' | 'suspect' | 'gone'

function nodeStatus(node: NodeRecord, seen: Seen, said: OwnStatus | undefined): NodeStatus {
  return {
    name: node.name,
    self: seen === 'self',
    ...stateOf(node, seen, said),
    version: node.version,
    capacity: node.capacity,
    free: node.free,
    live: Object.values(node.callsByAgent).reduce((sum, calls) => sum + calls, 0),
    startedAt: new Date(node.startedAtMs).toISOString(),
    opsUrl: node.opsUrl,
    clockDifferenceMs: said?.clockDifferenceMs ?? null,
  }
}

function stateOf(node: NodeRecord, seen: Seen, said: OwnStatus | undefined): Pick<NodeStatus, 'state' | 'reason'> {
  if (seen === 'suspect') return { state: 'suspect', reason: 'its heartbeat stands still' }
  if (seen === 'gone') return { state: 'suspect', reason: 'it is considered dead, and other nodes have its calls' }
  if (node.state !== 'open') return { state: node.state, reason: null }
  if (said === undefined) return { state: 'not-ready', reason: 'it does not answer other nodes' }
  return said.notReady === null ? { state: 'open', reason: null } : { state: 'not-ready', reason: said.notReady }
}
