import type { AgentFacts, CallDirectory } from '../workers/main/live-call.js'
import type { FleetNode } from './fleet-node.js'

/**
 * True if an agent has as many calls as its file allows: our live ones, and those in the last heartbeats of the other
 * nodes. Nothing is counted up and down, so nothing can leak; calls of the last two seconds may be missing.
 */
export function agentIsFull(
  agent: Pick<AgentFacts, 'name' | 'maxCalls'>,
  calls: Pick<CallDirectory, 'liveByAgent'>,
  fleet: Pick<FleetNode, 'callsElsewhere'> | undefined,
): boolean {
  const { name, maxCalls } = agent
  if (maxCalls === null) return false
  return (calls.liveByAgent()[name] ?? 0) + (fleet?.callsElsewhere(name) ?? 0) >= maxCalls
}
