import { join } from 'node:path'
import { CallCosts } from '../call-costs.js'
import { DailyBudgets } from '../daily-budgets.js'
import { UsageDifferences } from '../usage-differences.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** Costs of calls, the daily budget of each number, and differences between our usage and the vendors' bills. */
export function moneyPart(
  shared: Shared<'inputs' | 'metrics' | 'folder' | 'fleet' | 'calls' | 'costs' | 'budgets'>,
): Part {
  const { config, log, numbers, backends } = shared.inputs
  let differences: UsageDifferences | null = null
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
        'Numbers with a daily budget, by step of the budget',
        ['step'],
        'max',
      )
      for (const step of ['cheaper', 'messages', null] as const)
        gauge.from({ step: step ?? 'none' }, () => budgets.count(step))
      differences = new UsageDifferences({
        folder: folder === null ? null : config.dataDir,
        gauge: metrics.defineLabelledGauge(
          'usage_differences',
          "Figures of a model that differ between its vendor's newest compared file and the call records",
          ['model'],
          'max',
        ),
        wallClock: Date.now,
        log: log.component('gateway'),
      })
    },
    stop: async () => {
      await differences?.close()
      await shared.budgets.close()
    },
  }
}
