import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.js'
import { CALLS_PER_WORKER_MAX, GATEWAY_PROCESSES_MAX } from '../core/limits.js'
import { portFault, whyNotFree } from '../http/port-use.js'
import type { PortUse } from '../http/port-use.js'
import { SETTINGS } from '../config/settings.js'
import type { Config } from '../config/settings.js'

/** One of several gateway processes on one public port. Plain data. */
export interface ProcessPlan {
  /** From 0. */
  readonly index: number
  readonly count: number
  /** The gateway's settings with this process's share of what is counted in total, its ops port and its folder. */
  readonly config: Config
  /** The port of this process alone, beside the shared one: audio sockets come here. */
  readonly ownPort: number
}

/** Placeholder of NODE_URL for the number of a process. */
const PROCESS_PLACE = '{process}'

const PORT_MAX = 65_535

/**
 * The number behind `--processes`.
 * @throws GatewayError CONFIG_INVALID
 */
export function processCount(text: string | undefined): number {
  if (text === undefined) return 1
  const count = /^\d{1,3}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > GATEWAY_PROCESSES_MAX) {
    throw invalid(`--processes is '${text.slice(0, 20)}'; allowed: a whole number from 1 to ${GATEWAY_PROCESSES_MAX}`)
  }
  return count
}

/**
 * Divides the settings of a gateway among its processes. A single process gets them unchanged.
 * @throws GatewayError CONFIG_INVALID for settings that do not fit this number of processes: one line with the setting,
 *   what it held and what is allowed
 */
export function processPlans(config: Config, count: number): readonly ProcessPlan[] {
  if (count === 1) {
    if (config.nodeUrl !== null)
      throw invalid(`NODE_URL is '${config.nodeUrl}'; allowed: with --processes 2 or more only, where it leads to each`)
    return [{ index: 0, count, config, ownPort: 0 }]
  }
  checkPorts(config, count)
  checkNodeUrl(config, count)
  const plans = Array.from({ length: count }, (_, index): ProcessPlan => ({
    index,
    count,
    ownPort: config.port + 1 + index,
    config: {
      ...config,
      opsPort: config.opsPort === 0 ? 0 : config.opsPort + index,
      nodeUrl: config.nodeUrl?.replaceAll(PROCESS_PLACE, String(index)) ?? null,
      dataDir: dataFolder(config.dataDir, index),
      maxCalls: share(config, 'maxCalls', count, index),
      mediaWorkers: share(config, 'mediaWorkers', count, index),
      outboundPerMinute: share(config, 'outboundPerMinute', count, index),
      recordsKeepMb: share(config, 'recordsKeepMb', count, index),
      recordingsKeepMb: share(config, 'recordingsKeepMb', count, index),
    },
  }))
  const full = plans.find(({ config: { maxCalls, mediaWorkers } }) => maxCalls > mediaWorkers * CALLS_PER_WORKER_MAX)
  if (full !== undefined) {
    throw invalid(
      `MAX_CALLS is '${config.maxCalls}', ${full.config.maxCalls} of them for process ${full.index}; allowed with its ` +
        `${full.config.mediaWorkers} of the MEDIA_WORKERS: at most ${full.config.mediaWorkers * CALLS_PER_WORKER_MAX} for one process`,
    )
  }
  return plans
}

/** The data folder of process `index`: DATA_DIR itself for the first, folders below it for the others. */
function dataFolder(dataDir: string, index: number): string {
  return index === 0 ? dataDir : join(dataDir, `process-${index}`)
}

/** Data folders of processes that an earlier start had and a start with `count` processes does not have. */
export function leftFolders(dataDir: string, count: number): readonly string[] {
  const names = existsSync(dataDir) ? readdirSync(dataDir) : []
  return names
    .filter((name) => Number(/^process-(\d{1,3})$/.exec(name)?.[1] ?? -1) >= count)
    .map((name) => join(dataDir, name))
}

/** All ports of the processes, the shared one first. */
export function portsOf(plans: readonly ProcessPlan[]): readonly PortUse[] {
  const several = plans.length > 1
  return plans.flatMap(({ index, config: { host, port, opsHost, opsPort }, ownPort }) => [
    ...(index === 0 ? [{ setting: 'PORT', host, port }] : []),
    ...(several ? [{ setting: `PORT + ${index + 1}`, host, port: ownPort }] : []),
    { setting: index === 0 ? 'OPS_PORT' : `OPS_PORT + ${index}`, host: opsHost, port: opsPort },
  ])
}

/**
 * Checks all ports of several processes before the first is started. The shared port would open although another
 * gateway listens there, and that one would get half of the calls.
 * @throws GatewayError PORT_IN_USE or CONFIG_INVALID
 */
export async function freePorts(plans: readonly ProcessPlan[]): Promise<void> {
  for (const use of portsOf(plans)) {
    const why = await whyNotFree(use)
    if (why !== null) throw portFault(use, why)
  }
}

/** The settings that count for all processes together. */
type Shared = 'maxCalls' | 'mediaWorkers' | 'outboundPerMinute' | 'recordsKeepMb' | 'recordingsKeepMb'

/** The remainder goes to the first processes. Where the default is smaller than `count`, each gets 1. */
function share(config: Config, name: Shared, count: number, index: number): number {
  const total = config[name]
  const { env, fallback } = SETTINGS[name]
  if (total < count && total !== fallback) {
    throw invalid(
      `${env} is '${total}'; allowed with --processes ${count}: ${count} or more, for all processes together`,
    )
  }
  return Math.max(1, Math.floor(total / count) + (index < total % count ? 1 : 0))
}

function checkPorts({ port, opsPort }: Config, count: number): void {
  const highest = PORT_MAX - count
  if (port === 0 || port > highest) {
    throw invalid(
      `PORT is '${port}'; allowed with --processes ${count}: 1 to ${highest}, because the ${count} ports that follow are each one process's own`,
    )
  }
  if (opsPort === 0) return
  if (opsPort > highest + 1)
    throw invalid(
      `OPS_PORT is '${opsPort}'; allowed with --processes ${count}: 0 to ${highest + 1}, one port each from there`,
    )
  if (opsPort <= port + count && port <= opsPort + count - 1) {
    throw invalid(
      `OPS_PORT is '${opsPort}'; allowed with PORT ${port} and --processes ${count}: where ${opsPort} to ${opsPort + count - 1} ` +
        `are none of ${port} to ${port + count}`,
    )
  }
}

function checkNodeUrl({ nodeUrl, publicUrl }: Config, count: number): void {
  const allowed = `allowed with --processes ${count}: a URL with ${PROCESS_PLACE} in it, which the balancer leads to PORT + 1 + that number`
  if (nodeUrl === null && publicUrl !== null) throw invalid(`NODE_URL is not set, and PUBLIC_URL is; ${allowed}`)
  if (nodeUrl !== null && !nodeUrl.includes(PROCESS_PLACE)) throw invalid(`NODE_URL is '${nodeUrl}'; ${allowed}`)
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}
