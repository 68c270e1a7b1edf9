import { releaseStartMemory } from '../../workers/shared/start-memory.js'
import { resumeDetails } from '../carrier-side.js'
import { followAgents } from '../agents/hosted-agents.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** Edits of agents and numbers are taken up while the gateway runs. */
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

/** New calls, those that are placed too; and what earlier runs have left to be done. First to stop. */
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
      // Before this node is known to be ready: what was published while it was away is not missed by one more call.
      await shared.agentCatchUp?.start()
      // Redis may be away: calls come in all the same.
      void placing?.campaigns.look()
      void wallet?.look()
      settleLeft(shared)
      metrics.countOne(
        'process_restarts',
        'Times that this process was started again after it had died',
        () => one?.restarts ?? 0,
      )
      metrics.start()
      // The first metrics page takes ten times as long as later ones, so it is made while no call waits.
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

/** Decides on the calls that were live when an earlier process died. */
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
