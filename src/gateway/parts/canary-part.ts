import { join } from 'node:path'
import { CanaryWatch } from '../canary-watch.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** Canaries, and the watch that stops them. */
export function canaryPart(
  shared: Shared<'inputs' | 'metrics' | 'folder' | 'fleet' | 'kept' | 'canaries' | 'recordListeners'>,
): Part {
  const { config, log, agents } = shared.inputs
  return {
    name: 'canaries',
    start: async () => {
      const { metrics, fleet, folder, kept } = shared
      const canaries = await CanaryWatch.open({
        agents,
        store: fleet.store.patient,
        file: folder === null ? null : join(config.dataDir, 'canaries.json'),
        tell: (news) => kept.tell(news),
        log: log.component('gateway'),
      })
      shared.canaries = canaries
      shared.recordListeners.push((record) => canaries.ended(record))
      const gauge = metrics.defineLabelledGauge(
        'canaries',
        'Canaries of loaded agents, by state: they get calls, or were stopped because their calls were worse',
        ['state'],
        'max',
      )
      for (const state of ['running', 'stopped'] as const)
        gauge.from({ state }, () => canaries.count(state === 'stopped'))
    },
    stop: () => shared.canaries.close(),
  }
}
