import { openCallArchive } from '../call-archive.js'
import { idleFolders } from '../process-plan.js'
import { retentionOf } from './inputs.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** Archive of calls, and the messages about them. */
export function archivePart(shared: Shared<'inputs' | 'metrics' | 'folder' | 'fleet' | 'idle' | 'kept'>): Part {
  const { inputs } = shared
  const { config, log, env, numbers, workerEnv, process: one } = inputs
  return {
    name: 'archive',
    start: async () => {
      shared.idle =
        one === undefined || one.plan.index === 0
          ? idleFolders(config.dataDir, one?.plan.count ?? 1)
          : { left: [], spare: null }
      shared.kept = await openCallArchive(
        config,
        shared.folder,
        log,
        shared.metrics,
        shared.idle,
        workerEnv,
        (number) => numbers.receivers.get(number) ?? [],
        shared.fleet,
        env,
        (agent) => retentionOf(inputs, agent)?.recordsDays ?? null,
      )
    },
    stop: () => shared.kept.close(),
  }
}

/**
 * Part that stops the sending of messages after the last live call. It stops before the fleet's store, which names the
 * owners of the last calls and stores which messages were accepted.
 */
export function messagesPart(shared: Shared<'kept' | 'unsettledCalls'>): Part {
  return {
    name: 'messages',
    start: () => undefined,
    stop: () => {
      shared.unsettledCalls.close()
      return shared.kept.closeMessages()
    },
  }
}
