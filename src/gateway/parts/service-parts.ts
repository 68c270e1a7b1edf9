import { releaseStartMemory } from '../../workers/shared/start-memory.js'
import { resumeDetails } from '../carrier-side.js'
import { followAgents } from '../agents/hosted-agents.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** Uses edits of agents and numbers while the gateway is running. */
export function agentFilesPart(shared: Shared<'inputs' | 'agentFaults'>): Part {
  const { config, env, log, agents, numbers, onlyBackend } = shared.inputs
  let unfollow: (() => Promise<void>) | null = null
  return {
    name: 'agent files',
    start: async () => {
      if (!config.agentsWatch) return
      unfollow = await followAgents({
        ...{ config, env, log, agents, numbers, only: onlyBackend },
        onCount: (faults) => (shared.agentFaults = faults),
      })
    },
    stop: () => unfollow?.(),
  }
}

/** New calls, including placed calls, and unfinished work of earlier runs. This part stops first. */
export function newCallsPart(
  shared: Shared<
    | 'inputs'
    | 'metrics'
    | 'fleet'
    | 'kept'
    | 'unsettledCalls'
    | 'calls'
    | 'costs'
    | 'analyses'
    | 'details'
    | 'wallet'
    | 'outbound'
    | 'placing'
    | 'agentCatchUp'
  >,
): Part {
  const { process: one } = shared.inputs
  return {
    name: 'new calls',
    start: async () => {
      const { metrics, fleet, kept, analyses, details, placing, wallet } = shared
      await fleet.node.start()
      // The catch-up ends before other nodes know that this node is ready, because new calls must use the texts that
      // were published while this node was away.
      await shared.agentCatchUp?.start()
      // Calls are accepted even if Redis does not answer.
      void placing?.campaigns.look()
      void wallet?.look()
      settleLeft(shared)
      metrics.countOne(
        'process_restarts',
        'Times that this process was started again after it had died',
        () => one?.restarts ?? 0,
      )
      metrics.start()
      // The first metrics page takes ten times as long as later pages, so it is created before calls come.
      await metrics.render()
      await releaseStartMemory()
      void analyses.takeLeft(kept.ended).then(() => analyses.look())
      if (details !== null) resumeDetails(details, kept.ended, Date.now())
    },
    stop: async () => {
      shared.fleet.node.state = 'draining'
      await shared.agentCatchUp?.close()
      shared.wallet?.close()
      shared.outbound.close()
    },
  }
}

/** Settles the calls that were live when an earlier process died. */
function settleLeft({
  kept,
  unsettledCalls,
  calls,
  costs,
  analyses,
  details,
  placing,
}: Shared<'kept' | 'unsettledCalls' | 'calls' | 'costs' | 'analyses' | 'details' | 'placing'>): void {
  const left = kept.left.map(({ record }) => record)
  void unsettledCalls.settle(left, (record, callSid, isRecord) => {
    kept.settleLeft(callSid, isRecord)
    if (!isRecord) return
    calls.addRecoveredCall(record)
    costs.count(record)
    void analyses.takeLeft([record])
    details?.follow(callSid, record.consent !== 'refused')
    placing?.campaigns.ended(record)
  })
}
