import { CallAnalyses } from '../call-analyses.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** The analyses of ended calls. */
export function analysesPart(
  shared: Shared<'inputs' | 'metrics' | 'fleet' | 'kept' | 'calls' | 'costs' | 'analyses' | 'joinedListeners'>,
): Part {
  const { config, log, agents, backends, clock } = shared.inputs
  return {
    name: 'analyses',
    start: () => {
      const { metrics, fleet, kept, calls, costs } = shared
      shared.analyses = new CallAnalyses({
        agents,
        settings: backends.cascade,
        prices: backends.prices,
        perHour: config.analysesPerHour,
        clock,
        wallClock: Date.now,
        log: log.component('gateway'),
        metrics,
        owed: fleet.owedAnalyses,
        done: async (ended, analysis, isTold) => {
          const record = calls.join(ended.callSid, { analysis })
          if (isTold && record === null) return
          // A dead node's record is not in this node's memory, so the cost is added here.
          const joined = record ?? costs.withCost({ ...ended, analysis })
          if (!isTold) costs.countAnalysis(joined)
          await kept.analysed(joined, isTold ? 'record' : record === null ? 'message' : 'both')
          for (const listener of shared.joinedListeners) listener(joined)
        },
      })
      fleet.onForgotten(() => fleet.storeLost('analyses', shared.analyses.oweAgain()))
    },
    stop: () => shared.analyses.close(),
  }
}
