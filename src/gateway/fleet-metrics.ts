import type { CallerMemory } from '../fleet/store/caller-memory.js'
import type { CallKeeper } from '../fleet/call-keeper.js'
import type { StoredEffects } from '../fleet/store/effects.js'
import type { FleetNode, NodeNetwork } from '../fleet/fleet-node.js'
import type { GuardedStore } from '../fleet/store/guarded-store.js'
import type { StoredAttempts } from '../fleet/store/stored-attempts.js'
import { FLEET_ALERTS } from '../fleet/ownership-events.js'
import { PEER_REFUSALS } from '../fleet/peer-listener.js'
import { PEER_OUTCOMES } from '../fleet/peers.js'
import type { IgnoredEntries } from '../fleet/store/redis-store.js'
import type { Metrics } from '../telemetry/metrics.js'

interface Fleet {
  readonly node: FleetNode
  readonly store: GuardedStore
  /** Counts of ignored entries; null if the store is not Redis. */
  readonly ignored: IgnoredEntries | null
  readonly keeper: CallKeeper
  readonly effects: StoredEffects
  readonly attempts: StoredAttempts
  readonly callerMemory: CallerMemory
  /** Network to other nodes; null without other nodes. */
  readonly network: NodeNetwork | null
}

/** Registers the counts of a fleet's nodes. Their values are plain fields that start at 0. */
export function countFleet(
  metrics: Metrics,
  { node, store, ignored, keeper, effects, attempts, callerMemory, network }: Fleet,
): void {
  metrics.defineGauge('store_up', '1 while the call store answers').from(() => (store.up ? 1 : 0))
  const operations = metrics.defineCounter('store_operations', 'Operations of the call store, by outcome', [
    'op',
    'outcome',
  ])
  for (const [op, outcomes] of Object.entries(store.counters))
    for (const [outcome] of Object.entries(outcomes))
      metrics.countFrom(operations({ op, outcome }), () => outcomes[outcome as keyof typeof outcomes])
  metrics.countOne(
    'store_conflicts',
    'Writes to a call that were refused because the call had a new owner',
    () => store.conflicts,
  )
  const notBelieved = metrics.defineCounter(
    'store_ignored',
    'Reads of Redis entries that this node rejects as not authentic',
    ['what'],
  )
  for (const what of ['entries', 'unproven', 'late'] as const)
    metrics.countFrom(notBelieved({ what: NOT_BELIEVED[what] }), () => ignored?.[what] ?? 0)
  const kept = metrics.defineCounter('kept_call_writes', 'Writes of live call states to the store, by result', [
    'result',
  ])
  for (const result of ['written', 'failed', 'rewritten'] as const)
    metrics.countFrom(kept({ result }), () => keeper.counters[result])
  const leftOut = metrics.defineCounter('kept_call_losses', 'Parts that are missing from stored call states, by part', [
    'what',
  ])
  for (const [what, counter] of Object.entries(KEPT_LOSSES))
    metrics.countFrom(leftOut({ what }), () => keeper.counters[counter])
  metrics.countOne(
    'effect_results_lost',
    'Results of effects that could not be stored, so that they stay uncertain',
    () => effects.resultsLost,
  )
  metrics.countOne(
    'verification_attempts_unshared',
    'Verification attempts and verdicts that the call store did not accept, so that the memory of this process decided',
    () => attempts.unshared,
  )
  metrics.countOne(
    'caller_memory_lost',
    "Memories of callers' last calls that the call store could not write, read or delete",
    () => callerMemory.lost,
  )

  const nodes = metrics.defineLabelledGauge('nodes', 'Nodes of the fleet, as this node sees them', ['state'], 'max')
  for (const state of NODE_STATES) nodes.from({ state }, () => countOf(node, state))
  metrics
    .defineGauge('nodes_with_other_agents', 'Other live nodes whose new calls get other versions of agents')
    .from(() => node.nodesWithOtherAgents)
  const alerts = metrics.defineLabelledGauge('fleet_alerts', '1 while this node reports the warning', ['what'], 'max')
  for (const what of FLEET_ALERTS) alerts.from({ what }, () => (node.alerts.includes(what) ? 1 : 0))
  const { takeOvers, givenUp } = node.counters
  metrics.countEach('takeovers', 'Takeovers of nodes and calls by this node, by evidence', 'evidence', takeOvers)
  metrics.countEach('calls_given_up', 'Calls that this node gave up, because other nodes may have them', 'why', givenUp)
  metrics.countOne(
    'calls_unclaimed',
    'Calls that were opened while the call store was down',
    () => node.counters.unclaimed,
  )

  const requests = metrics.defineCounter('peer_requests', 'Requests to other nodes, by result', ['result'])
  for (const result of PEER_OUTCOMES)
    metrics.countFrom(requests({ result }), () => network?.peers.counters[result] ?? 0)
  const refused = metrics.defineCounter('peer_requests_refused', 'Requests that the internal port refused', ['reason'])
  for (const reason of PEER_REFUSALS)
    metrics.countFrom(refused({ reason }), () => network?.listener.refused[reason] ?? 0)
}

const NOT_BELIEVED = { entries: 'entry', unproven: 'node-unproven', late: 'node-late' } as const

const KEPT_LOSSES = {
  'log-entries': 'entriesDropped',
  'backend-state': 'backendStatesDropped',
  'log-end': 'endsCutOff',
  'over-entry': 'oversDropped',
} as const

const NODE_STATES = ['open', 'cordoned', 'draining', 'suspect', 'gone'] as const

function countOf(node: FleetNode, state: (typeof NODE_STATES)[number]): number {
  const others = node.others().map((other) => (other.seen === 'alive' ? other.state : other.seen))
  return [node.state, ...others].filter((each) => each === state).length
}
