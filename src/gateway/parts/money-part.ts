import { join } from 'node:path'
import { CallCosts } from '../call-costs.js'
import { DailyBudgets } from '../daily-budgets.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** Costs of calls, and the daily budget of each number. */
export function moneyPart(
  shared: Shared<'inputs' | 'metrics' | 'folder' | 'fleet' | 'calls' | 'costs' | 'budgets'>,
): Part {
  const { config, log, numbers, backends } = shared.inputs
  return {
    name: 'money',
    start: async () => {
      const { metrics, fleet, calls, folder } = shared
      const costs = new CallCosts({
        currency: config.currency,
        prices: backends.prices,
        metrics,
        spent: (number, amount, callSid) => shared.budgets.spend(number, amount, callSid),
      })
      shared.costs = costs
      const budgets = await DailyBudgets.open({
        businesses: numbers.businesses,
        store: fleet.store.patient,
        live: function* () {
          for (const call of calls.spending()) yield { ...call, amount: costs.soFar(call) }
        },
        liveElsewhere: function* () {
          for (const { liveCosts = {} } of fleet.node.alive()) yield liveCosts
        },
        file: folder === null ? null : join(config.dataDir, 'daily-budgets.json'),
        wallClock: Date.now,
        log: log.component('gateway'),
      })
      shared.budgets = budgets
      const gauge = metrics.defineLabelledGauge(
        'budget_numbers',
        'Numbers with a budget of the day, by how far it is used up',
        ['step'],
        'max',
      )
      for (const step of ['cheaper', 'messages', null] as const)
        gauge.from({ step: step ?? 'none' }, () => budgets.count(step))
    },
    stop: () => shared.budgets.close(),
  }
}
