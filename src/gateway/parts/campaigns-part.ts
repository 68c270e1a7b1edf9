import { numbersOpen } from '../../agents/file/definition.js'
import { campaignMessage, openCampaigns } from '../campaigns-side.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** How long a stop waits for rows of campaigns whose calls are over; the others are taken up by the next start. */
const CAMPAIGNS_CLOSE_MS = 2000

/** Campaigns and promised call backs. Without the carrier's API there are none. */
export function campaignsPart(
  shared: Shared<'inputs' | 'metrics' | 'fleet' | 'kept' | 'calls' | 'budgets' | 'outbound' | 'wallet' | 'placing'>,
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
      const { calls, outbound, wallet, budgets, kept, fleet, metrics } = shared
      shared.placing =
        api === null
          ? null
          : await openCampaigns({
              config,
              outbound,
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
