import { restoreRun } from '../../fleet/earlier-run.js'
import type { CallRegistry } from '../../workers/main/call-registry.js'
import type { OutboundCalls } from '../../workers/main/outbound-calls.js'
import { openFleet } from '../fleet-side.js'
import { agentsDigest } from '../agents/hosted-agents.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/**
 * Store of calls, and connections to other nodes.
 * @param onNameTaken  called if another live node uses this node's name
 */
export function fleetPart(
  shared: Shared<'inputs' | 'metrics' | 'fleet' | 'kept' | 'budgets'> & {
    readonly calls?: CallRegistry
    readonly outbound?: OutboundCalls
  },
  onNameTaken: (name: string) => void,
): Part {
  const { config, log, agents, clock, version, tokenSecrets, keepsAlone, process: one } = shared.inputs
  return {
    name: 'fleet',
    start: async () => {
      if (config.tokenSecrets.length === 0)
        log.info(
          {},
          'TOKEN_SECRET is not set: tokens are valid in this process only, until it ends, and if it dies its calls do not go on',
        )
      shared.fleet = await openFleet({
        config,
        tokenSecrets,
        store: one?.store ?? null,
        states: keepsAlone
          ? {
              keep: (changes) => shared.kept.states?.keep(changes) ?? Promise.resolve(false),
              gone: (callSid) => shared.kept.states?.gone(callSid),
              value: (value) => shared.kept.states?.value(value),
            }
          : null,
        version,
        clock,
        log,
        metrics: shared.metrics,
        // Null at first: another node may send a request before this node accepts calls.
        calls: () => shared.calls ?? null,
        isRinging: (number) => shared.outbound?.isRinging(number) === true,
        liveCosts: () => shared.budgets.liveCosts,
        agents: () => agentsDigest(agents),
        onNameTaken: () => onNameTaken(shared.fleet.node.name),
      })
    },
    stop: () => shared.fleet.close(),
  }
}

/**
 * This node's membership in the fleet. When it starts, the node gets the calls of its earlier run back. When it stops,
 * the newest states of calls are written and the node leaves the fleet, while its workers still run.
 */
export function membershipPart(shared: Shared<'inputs' | 'fleet' | 'kept'>): Part {
  const { log } = shared.inputs
  return {
    name: 'membership',
    start: () => restoreRun(shared.kept, shared.fleet.node, Date.now(), log.component('fleet')),
    stop: () => shared.fleet.close(),
  }
}
