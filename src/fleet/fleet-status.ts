import { z } from 'zod'
import type { NodeRecord } from './store/call-store.js'

/** Version of the JSON of `GET /api/fleet`; `schema/fleet.schema.json` describes it. */
const FLEET_STATUS_VERSION = 1

const count = z.int().min(0)

const nodeStatusSchema = z.object({
  name: z.string(),
  self: z.boolean().describe('True for the node that was asked.'),
  state: z
    .enum(['open', 'cordoned', 'draining', 'suspect', 'not-ready'])
    .describe(
      'open: takes calls. cordoned: takes no new calls, by an operator. draining: the same, and ends after the last. ' +
        'suspect: its heartbeat stands still. not-ready: takes no calls, for the given reason.',
    ),
  reason: z.string().nullable().describe('Why it is not open; null where the state says all.'),
  version: z.string(),
  capacity: count.describe('Calls at once.'),
  free: count.describe('Calls that it would take now.'),
  live: count.describe('Live calls.'),
  startedAt: z.iso.datetime(),
  opsUrl: z
    .string()
    .nullable()
    .describe(
      'Origin of its ops port, as others reach it; null where only its own machine does. Any ops port answers for all nodes.',
    ),
  clockDifferenceMs: z
    .number()
    .nullable()
    .describe("How far its clock is ahead of the store's; null where it did not say."),
})

export const fleetStatusSchema = z.object({
  version: z.literal(FLEET_STATUS_VERSION),
  self: z.string().describe('Name of the node that was asked.'),
  nodes: z.array(nodeStatusSchema).describe('By name.'),
  store: z.object({
    home: z.enum(['memory', 'supervisor', 'redis']).describe('Where the nodes share what they must know.'),
    up: z.boolean(),
    url: z.string().nullable().describe('Address of Redis, without user and password; null for the others.'),
  }),
  alerts: z.array(z.string()).describe('Warnings of the node that was asked.'),
})

export type FleetStatus = z.output<typeof fleetStatusSchema>
type NodeStatus = FleetStatus['nodes'][number]

/** Where the nodes share what they must know. */
export interface StoreHome {
  readonly home: FleetStatus['store']['home']
  readonly url: string | null
  /** True if it answered when it was last asked. */
  readonly up: () => boolean
}

/** A node's answer about itself; a heartbeat does not contain it. Plain JSON. */
export interface OwnStatus {
  /** Why it takes no call; null when it takes one. */
  readonly notReady: string | null
  readonly clockDifferenceMs: number | null
}

interface FleetSeen {
  readonly self: NodeRecord
  readonly others: readonly (NodeRecord & { readonly seen: 'alive' | 'suspect' | 'gone' })[]
  /** Status of each node that answered, and of this one. */
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
  if (seen === 'gone') return { state: 'suspect', reason: 'it is taken to be dead, and its calls were given to others' }
  if (node.state !== 'open') return { state: node.state, reason: null }
  if (said === undefined) return { state: 'not-ready', reason: 'it does not answer other nodes' }
  return said.notReady === null ? { state: 'open', reason: null } : { state: 'not-ready', reason: said.notReady }
}
