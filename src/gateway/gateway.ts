import type { CallRecord } from '../call/documents/record.js'
import { hideEnvironment } from '../config/hidden-environment.js'
import { GatewayError } from '../core/errors.js'
import { liveCount } from '../workers/main/live-call.js'
import type { CallRegistry } from '../workers/main/call-registry.js'
import { analysesPart } from './parts/analyses-part.js'
import { archivePart, messagesPart } from './parts/archive-parts.js'
import { callsPart } from './parts/calls-part.js'
import { campaignsPart } from './parts/campaigns-part.js'
import { carrierPart } from './parts/carrier-part.js'
import { edgePart } from './parts/edge-part.js'
import { fleetPart, membershipPart } from './parts/fleet-parts.js'
import { readInputs } from './parts/inputs.js'
import type { GatewayOptions } from './parts/inputs.js'
import { moneyPart } from './parts/money-part.js'
import { startParts } from './parts/part.js'
import type { StopOrder } from './parts/part.js'
import { connectionsPart, dataFolderPart, journalsPart, speechPart, telemetryPart } from './parts/process-parts.js'
import { agentFilesPart, newCallsPart } from './parts/service-parts.js'
import { GatewayShared } from './parts/shared.js'

/** A running gateway. */
export interface Gateway {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
  readonly calls: CallRegistry
  /** Called with the record of each call that ended. */
  onRecord(listener: (record: CallRecord) => void): void
  /** Called again with the record of an ended call when the carrier's detail has been joined to it. */
  onJoined(listener: (record: CallRecord) => void): void
  /** Takes no more calls, waits for the live ones, then frees everything. Idempotent. */
  stop(drainTimeoutMs: number): Promise<void>
  /**
   * Resolves when it has stopped, also after `POST /api/drain`. Rejects with CONFIG_INVALID when another live node has its
   * name: then the process must end, with its calls, so that other nodes can go on with them.
   */
  readonly stopped: Promise<void>
}

/**
 * Starts everything of one gateway process, from the models to the ports. Resolves when it takes calls. Where it cannot
 * start, nothing of it stays open.
 * @throws GatewayError for settings, agents, keys and ports that cannot be used
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { log } = options
  if (!hideEnvironment() && process.platform === 'linux')
    log.warn(
      {},
      'the variables of the environment that the gateway was started with can be read in /proc by what it starts, such as MCP servers',
    )
  const inputs = await readInputs(options)
  const shared = new GatewayShared(inputs)
  let tellStopped = (): void => undefined
  let tellNameTaken: (name: string) => void = () => undefined
  const stopped = new Promise<void>((resolve, reject) => {
    tellStopped = resolve
    tellNameTaken = (name) =>
      reject(
        new GatewayError(
          'CONFIG_INVALID',
          `NODE_NAME is '${name}'; allowed: a name that no other live node of the fleet has`,
        ),
      )
  })
  stopped.catch(() => undefined) // a caller that waits for it gets the error
  let stopping: Promise<void> | null = null
  const stop = (order: StopOrder): Promise<void> => {
    stopping ??= (async () => {
      log.info({ calls: liveCount(shared.calls) }, 'stopping: no new calls are accepted')
      await stopParts(order)
      log.info({}, 'stopped')
      tellStopped()
    })()
    return stopping
  }
  // Each uses those before it. They stop from the last to the first: no new calls, the live ones, the ports, what is owed
  // about ended calls, the fleet, the workers, and at the end the disk.
  const stopParts = await startParts(
    [
      dataFolderPart(shared),
      connectionsPart(shared),
      telemetryPart(shared),
      journalsPart(shared),
      speechPart(shared),
      fleetPart(shared, (name) => tellNameTaken(name)),
      archivePart(shared),
      callsPart(shared),
      membershipPart(shared),
      messagesPart(shared),
      moneyPart(shared),
      analysesPart(shared),
      carrierPart(shared),
      campaignsPart(shared),
      edgePart(shared, () => void stop({ drainTimeoutMs: inputs.config.drainTimeoutMs, byCommand: true })),
      agentFilesPart(shared),
      newCallsPart(shared),
    ],
    log,
  )
  const { edge, calls, recordListeners, joinedListeners } = shared
  return {
    publicPort: edge.publicPort,
    opsPort: edge.opsPort,
    agents: [...inputs.agents.keys()],
    calls,
    onRecord: (listener) => recordListeners.push(listener),
    onJoined: (listener) => joinedListeners.push(listener),
    stop: (drainTimeoutMs) => stop({ drainTimeoutMs, byCommand: false }),
    stopped,
  }
}
