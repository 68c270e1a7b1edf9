import type { AgentFacts, CallDirectory } from '../workers/main/live-call.js'
import type { FleetNode } from './fleet-node.js'

/**
 * True if an agent has as many calls as its file allows. Other nodes' calls are counted from their last heartbeats, so
 * calls of the last two seconds may be missing.
 */
export function agentIsFull(
  agent: Pick<AgentFacts, 'name' | 'maxCalls'>,
  calls: Pick<CallDirectory, 'liveByAgent'>,
  fleet: Pick<FleetNode, 'callsElsewhere'> | undefined,
): boolean {
  const { name, maxCalls } = agent
  if (maxCalls === null) return false
  // Calls are counted each time, because the value of a counter could become wrong.
  return (calls.liveByAgent()[name] ?? 0) + (fleet?.callsElsewhere(name) ?? 0) >= maxCalls
}
