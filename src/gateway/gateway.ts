import type { CallRecord } from '../call/documents/record.js'
import { hideEnvironment } from '../config/hidden-environment.js'
import { GatewayError } from '../core/errors.js'
import { liveCount } from '../workers/main/live-call.js'
import type { CallRegistry } from '../workers/main/call-registry.js'
import { analysesPart } from './parts/analyses-part.js'
import { archivePart, messagesPart } from './parts/archive-parts.js'
import { callsPart } from './parts/calls-part.js'
import { campaignsPart } from './parts/campaigns-part.js'
import { canaryPart } from './parts/canary-part.js'
import { carrierPart } from './parts/carrier-part.js'
import { edgePart } from './parts/edge-part.js'
import { fleetPart, membershipPart } from './parts/fleet-parts.js'
import { readInputs } from './parts/inputs.js'
import type { GatewayOptions } from './parts/inputs.js'
import { moneyPart } from './parts/money-part.js'
import { startParts } from './parts/part.js'
import type { StopOrder } from './parts/part.js'
import {
  connectionsPart,
  dataFolderPart,
  journalsPart,
  programsPart,
  speechPart,
  telemetryPart,
} from './parts/process-parts.js'
import { agentFilesPart, newCallsPart } from './parts/service-parts.js'
import { GatewayShared } from './parts/shared.js'

/** A running gateway. */
export interface Gateway {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
  readonly calls: CallRegistry
  /** Registers a listener. It is called with the record of each ended call. */
  onRecord(listener: (record: CallRecord) => void): void
  /**
   * Registers a listener. It is called with the record of an ended call when the carrier's details have been added to
   * the record.
   */
  onJoined(listener: (record: CallRecord) => void): void
  /** Refuses new calls, waits until live calls end, then frees all resources. Idempotent. */
  stop(drainTimeoutMs: number): Promise<void>
  /**
   * Resolves when the gateway has stopped. Rejects with CONFIG_INVALID if another live node has this node's name. The
   * process must then end without a drain, because other nodes continue its calls.
   */
  readonly stopped: Promise<void>
}

/**
 * Starts all parts of one gateway process. Resolves when the process accepts calls. If the start fails, all started
 * parts are closed.
 * @throws GatewayError for unusable settings, agents, keys, ports
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { log } = options
  if (!hideEnvironment() && process.platform === 'linux')
    log.warn(
      {},
      'programs that the gateway starts, such as MCP servers, can read the environment variables of its start in /proc',
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
  stopped.catch(() => undefined) // The error is reported to everyone who waits for `stopped`.
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
  // Each part uses only earlier parts of this list. The parts stop in reverse order: new calls, live calls, the ports,
  // unfinished work for ended calls, the fleet, the workers, the disk.
  const stopParts = await startParts(
    [
      dataFolderPart(shared),
      connectionsPart(shared),
      telemetryPart(shared),
      programsPart(shared),
      journalsPart(shared),
      speechPart(shared),
      fleetPart(shared, (name) => tellNameTaken(name)),
      archivePart(shared),
      callsPart(shared),
      membershipPart(shared),
      messagesPart(shared),
      canaryPart(shared),
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
