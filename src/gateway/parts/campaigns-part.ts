import { numbersOpen } from '../../agents/file/definition.js'
import type { CallRecord } from '../../call/documents/record.js'
import type { CallSid } from '../../core/ids.js'
import { campaignMessage, openCampaigns } from '../campaigns-side.js'
import { placedStanding } from '../placed-call.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/**
 * Maximum time in ms that a stop waits for the campaign rows of ended calls. The next start continues the remaining
 * rows.
 */
const CAMPAIGNS_CLOSE_MS = 2000

/** Campaigns and promised call backs. They need the carrier's API. */
export function campaignsPart(
  shared: Shared<
    'inputs' | 'metrics' | 'fleet' | 'kept' | 'unsettledCalls' | 'calls' | 'budgets' | 'outbound' | 'wallet' | 'placing'
  >,
): Part {
  const { config, log, agents, numbers, api } = shared.inputs
  const humanFirst = (name: string, from: string | null): string | null => {
    const business = from === null ? undefined : numbers.businesses.get(from)
    const agent = agents.get(name)
    const served = business === undefined ? agent : (agent?.forBusiness?.(business) ?? agent)
    const { callbacks = null, escalation = null } = served?.definition ?? {}
    return callbacks?.humanFirst === true ? (numbersOpen(escalation, Date.now())[0] ?? null) : null
  }
  return {
    name: 'campaigns',
    start: async () => {
      const { calls, outbound, wallet, budgets, kept, unsettledCalls, fleet, metrics } = shared
      const { node } = fleet
      const recordHere = async (callSid: CallSid): Promise<CallRecord | undefined> =>
        calls.record(callSid) ?? ((await kept.find('record', callSid)) as CallRecord | undefined)
      const isUndecided = (callSid: CallSid): boolean => unsettledCalls.record(callSid) !== undefined
      shared.placing =
        api === null
          ? null
          : await openCampaigns({
              config,
              outbound,
              standing: (callSid, label) =>
                placedStanding({ calls, outbound, node, recordHere, isUndecided, carrier: api.calls }, callSid, label),
              store: fleet.store,
              storeLost: fleet.storeLost,
              agent: (name, from) => (calls.agent(name, from) === undefined ? undefined : agents.get(name)?.definition),
              agentNames: () => [...agents.keys()],
              humanFirst,
              lines: fleet.lines,
              slots: () => ({ capacity: calls.capacity, free: calls.free - outbound.waiting }),
              walletMinor: () => wallet?.minor ?? null,
              budgetSpent: (number) => budgets.step(number) === 'messages',
              walletEmpty: () => wallet?.empty(),
              told: (news) => kept.tell(campaignMessage(news)),
              metrics,
              log,
            })
    },
    stop: () => shared.placing?.campaigns.close(CAMPAIGNS_CLOSE_MS),
  }
}
