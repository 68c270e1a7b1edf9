import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.js'
import { isWildcard } from '../config/exposure.js'
import { internalTls, publicTls } from '../config/tls-files.js'
import { CALLS_PER_WORKER_MAX, INTERNAL_PORT_DEFAULT } from '../core/limits.js'
import { portFault, whyNotFree } from '../http/port-use.js'
import type { PortUse } from '../http/port-use.js'
import { NODE_PLACE, PROCESS_PLACE, SETTINGS, defaultSpeechWorkers, placed } from '../config/settings.js'
import type { Config } from '../config/settings.js'
import { NODE_NAME, NODE_NAME_CHARS_MAX } from '../fleet/node-name.js'

/** Maximum number of gateway processes of one `serve --processes`. */
export const GATEWAY_PROCESSES_MAX = 64

/** Plan of one of several gateway processes on one public port. It is sent as a message, so it contains only data. */
export interface ProcessPlan {
  /** Index of the process, from 0. */
  readonly index: number
  readonly count: number
  /**
   * The gateway's settings for this process: its share of the totals, its ports, URLs, name and folder. `internalPort`
   * is null for a single process without REDIS_URL.
   */
  readonly config: Config
  /** Second port, which only this process uses. The audio sockets of its calls connect to this port. */
  readonly ownPort: number
}

const PORT_MAX = 65_535

/**
 * Reads the number after `--processes`.
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
 * Divides the limits in a gateway's settings among its processes. A single process gets the settings unchanged.
 * @throws GatewayError CONFIG_INVALID if a setting does not fit this number of processes
 */
export function processPlans(config: Config, count: number): readonly ProcessPlan[] {
  checkNodeUrl(config, count)
  checkPublicTls(config)
  checkFleet(config, count)
  if (count === 1) return [{ index: 0, count, config: { ...config, ...nodeOf(config, count, 0) }, ownPort: 0 }]
  checkPorts(config, count)
  const plans = Array.from({ length: count }, (_, index) => planOf(config, count, index, index))
  const full = plans.find(({ config: { maxCalls, mediaWorkers } }) => maxCalls > mediaWorkers * CALLS_PER_WORKER_MAX)
  if (full !== undefined) {
    throw invalid(
      `MAX_CALLS is '${config.maxCalls}', ${full.config.maxCalls} of them for process ${full.index}; allowed with its ` +
        `${full.config.mediaWorkers} of the MEDIA_WORKERS: at most ${full.config.mediaWorkers * CALLS_PER_WORKER_MAX} for one process`,
    )
  }
  return plans
}

/**
 * Plan of the spare process, which runs while processes are replaced one by one. Its number follows the last process's
 * number. Its share of the totals is as large as the first process's share.
 */
export function sparePlan(config: Config, count: number): ProcessPlan {
  return planOf(config, count, count, 0)
}

/** @param shareOf index of the process whose share of the totals this process gets */
function planOf(config: Config, count: number, index: number, shareOf: number): ProcessPlan {
  const shareIn = (name: Shared): number => share(config, name, count, shareOf)
  return {
    index,
    count,
    ownPort: config.port + 1 + index,
    config: {
      ...config,
      opsPort: config.opsPort === 0 ? 0 : config.opsPort + index,
      ...nodeOf(config, count, index),
      dataDir: dataFolder(config.dataDir, index),
      maxCalls: shareIn('maxCalls'),
      mediaWorkers: shareIn('mediaWorkers'),
      // A value in the settings applies to each process. Without a value, the machine's processors are divided among
      // the processes.
      speechWorkers: config.speechWorkers ?? defaultSpeechWorkers(count),
      outboundPerMinute: shareIn('outboundPerMinute'),
      recoveryPerMinute: config.recoveryPerMinute === 0 ? 0 : shareIn('recoveryPerMinute'),
      humanCallsPerMinute: shareIn('humanCallsPerMinute'),
      fallbackDialsPerMinute: config.fallbackDialsPerMinute === 0 ? 0 : shareIn('fallbackDialsPerMinute'),
      analysesPerHour: config.analysesPerHour === 0 ? 0 : shareIn('analysesPerHour'),
      recordsKeepMb: shareIn('recordsKeepMb'),
      recordingsKeepMb: shareIn('recordingsKeepMb'),
    },
  }
}

/** Data folder of process `index`: DATA_DIR for the first process, a folder below DATA_DIR for each later process. */
function dataFolder(dataDir: string, index: number): string {
  return index === 0 ? dataDir : join(dataDir, `process-${index}`)
}

/** Data folders below DATA_DIR whose process does not always run, if `count` processes are started. */
export interface IdleFolders {
  /** Folders of processes that only an earlier start had. */
  readonly left: readonly string[]
  /** Folder of the spare slot, whose process runs only during a roll; null without a spare slot. */
  readonly spare: string | null
}

export function idleFolders(dataDir: string, count: number): IdleFolders {
  const spare = count === 1 ? -1 : count
  const left = processFolders(dataDir).filter(({ index }) => index >= count && index !== spare)
  return { left: left.map(({ folder }) => folder), spare: spare === -1 ? null : dataFolder(dataDir, spare) }
}

/** All data folders of the processes of one DATA_DIR, with the first process's folder first. */
export function dataFolders(dataDir: string): readonly string[] {
  return [dataDir, ...processFolders(dataDir).map(({ folder }) => folder)]
}

function processFolders(dataDir: string): readonly { readonly index: number; readonly folder: string }[] {
  const names = existsSync(dataDir) ? readdirSync(dataDir) : []
  return names.flatMap((name) => {
    const index = /^process-(\d{1,3})$/.exec(name)?.[1]
    return index === undefined ? [] : [{ index: Number(index), folder: join(dataDir, name) }]
  })
}

/**
 * All ports of the processes, with the shared port first.
 * @param plans  includes the plan of the spare slot, if there is a spare slot
 */
export function portsOf(plans: readonly ProcessPlan[]): readonly PortUse[] {
  const several = plans.length > 1
  return plans.flatMap(({ index, config: { host, port, opsHost, opsPort, internalHost, internalPort }, ownPort }) => [
    ...(index === 0 ? [{ setting: 'PORT', host, port }] : []),
    ...(several ? [{ setting: `PORT + ${index + 1}`, host, port: ownPort }] : []),
    { setting: index === 0 ? 'OPS_PORT' : `OPS_PORT + ${index}`, host: opsHost, port: opsPort },
    ...(internalPort === null
      ? []
      : [
          {
            setting: index === 0 ? 'INTERNAL_PORT' : `INTERNAL_PORT + ${index}`,
            host: internalHost,
            port: internalPort,
          },
        ]),
  ])
}

/**
 * Checks all ports of several processes before the first process starts. Otherwise another gateway on the shared port
 * would get half of the calls.
 * @throws GatewayError PORT_IN_USE or CONFIG_INVALID
 */
export async function freePorts(plans: readonly ProcessPlan[]): Promise<void> {
  for (const use of portsOf(plans)) {
    const why = await whyNotFree(use)
    if (why !== null) throw portFault(use, why)
  }
}

/** Settings whose value is a total for all processes. */
type Shared =
  | 'maxCalls'
  | 'mediaWorkers'
  | 'outboundPerMinute'
  | 'recoveryPerMinute'
  | 'humanCallsPerMinute'
  | 'fallbackDialsPerMinute'
  | 'recordsKeepMb'
  | 'recordingsKeepMb'
  | 'analysesPerHour'

/** Limits for which 0 is allowed and switches a feature off. If the total is 0, each process gets 0. */
const MAY_BE_NONE: readonly Shared[] = ['recoveryPerMinute', 'fallbackDialsPerMinute']

/**
 * Share of one process. The first processes get the remainder. If the total is a default that is smaller than `count`,
 * each process gets 1.
 */
function share(config: Config, name: Shared, count: number, index: number): number {
  const total = config[name]
  const { env, fallback } = SETTINGS[name]
  if (total < count && total !== fallback) {
    throw invalid(
      `${env} is '${total}'; allowed with --processes ${count}: ${MAY_BE_NONE.includes(name) ? '0 for none, otherwise ' : ''}${count} or more, for all processes together`,
    )
  }
  return Math.max(1, Math.floor(total / count) + (index < total % count ? 1 : 0))
}

/** Checks the ports of all processes and of the spare slot. */
function checkPorts({ port, opsPort, internalPort }: Config, count: number): void {
  const places = count + 1
  const highest = PORT_MAX - places
  if (port === 0 || port > highest) {
    throw invalid(
      `PORT is '${port}'; allowed with --processes ${count}: 1 to ${highest}, because each process needs one of the ${places} ports that follow, the last one for a rolling restart`,
    )
  }
  const used: { readonly setting: string; readonly first: number; readonly last: number }[] = [
    { setting: 'PORT', first: port, last: port + places },
  ]
  for (const [setting, first] of [
    ['OPS_PORT', opsPort],
    ['INTERNAL_PORT', internalPort],
  ] as const) {
    if (first === null || first === 0) continue
    if (first > highest + 1)
      throw invalid(
        `${setting} is '${first}'; allowed with --processes ${count}: 0 to ${highest + 1}, because each process needs one port from there on, the last one for a rolling restart`,
      )
    const last = first + places - 1
    for (const other of used) {
      if (first > other.last || other.first > last) continue
      throw invalid(
        `${setting} is '${first}'; allowed with ${other.setting} ${other.first} and --processes ${count}: a port so that ${first} to ${last} ` +
          `are none of ${other.first} to ${other.last}`,
      )
    }
    used.push({ setting, first, last })
  }
}

function checkNodeUrl({ nodeUrl, publicUrl, redisUrl }: Config, count: number): void {
  if (count === 1 && redisUrl === null) {
    if (nodeUrl === null) return
    throw invalid(
      `NODE_URL is '${nodeUrl}'; allowed: with REDIS_URL, or with --processes 2 or more, where it leads to each node alone`,
    )
  }
  if (count === 1) {
    if (nodeUrl !== null) return
    throw invalid(
      'NODE_URL is not set, but REDIS_URL is; allowed: a URL that leads to this node alone, for the audio of its calls',
    )
  }
  const allowed = `allowed with --processes ${count}: a URL with ${PROCESS_PLACE} or ${NODE_PLACE} in it, which the balancer leads to PORT + 1 + that number`
  if (nodeUrl === null && publicUrl !== null) throw invalid(`NODE_URL is not set, but PUBLIC_URL is; ${allowed}`)
  if (nodeUrl === null && redisUrl !== null) throw invalid(`NODE_URL is not set, but REDIS_URL is; ${allowed}`)
  if (nodeUrl !== null && !tellsApart(nodeUrl)) throw invalid(`NODE_URL is '${nodeUrl}'; ${allowed}`)
}

/** If the carrier's URL leads to a port with TLS, the carrier must use TLS. */
function checkPublicTls(config: Config): void {
  if (publicTls(config) === null) return
  for (const name of ['publicUrl', 'nodeUrl'] as const) {
    const url = config[name]
    if (url?.startsWith('http:') === true)
      throw invalid(`${SETTINGS[name].env} is '${url}'; allowed with TLS_CERT: a URL that begins with https://`)
  }
}

/** Checks the settings with which other nodes reach a node and verify its messages. */
function checkFleet(config: Config, count: number): void {
  const { redisUrl, tokenSecrets, internalHost, internalUrl, nodeName } = config
  if (redisUrl !== null && tokenSecrets.length === 0)
    throw invalid('TOKEN_SECRET is not set, but REDIS_URL is; allowed: a secret that all nodes have')
  if (redisUrl !== null && internalUrl === null && isWildcard(internalHost)) {
    throw invalid(
      `INTERNAL_URL is not set, and INTERNAL_HOST is '${internalHost}'; allowed with REDIS_URL: the origin at which other nodes reach this one, such as http://${NODE_PLACE}.internal`,
    )
  }
  if (internalUrl !== null && count > 1 && /:\d+$/.test(internalUrl) && !tellsApart(internalUrl)) {
    throw invalid(
      `INTERNAL_URL is '${internalUrl}'; allowed with --processes ${count}: a URL without a port, because each process has its own port, or a URL with ${PROCESS_PLACE} or ${NODE_PLACE}`,
    )
  }
  const tls = internalTls(config)
  const protocol = tls === null ? 'http://' : 'https://'
  if (internalUrl !== null && !internalUrl.startsWith(protocol)) {
    throw invalid(
      `INTERNAL_URL is '${internalUrl}'; allowed ${tls === null ? 'without' : 'with'} INTERNAL_TLS_CERT: a URL that begins with ${protocol}`,
    )
  }
  const last = nodeNameAt(nodeName, count, count)
  if (!NODE_NAME.test(last))
    throw invalid(
      `NODE_NAME is '${nodeName}'; allowed with --processes ${count}: at most ${nodeName.length - last.length + NODE_NAME_CHARS_MAX} characters, because the number of the process follows`,
    )
}

/** True if the URL contains a placeholder, so that each process has its own URL. */
function tellsApart(url: string): boolean {
  return url.includes(PROCESS_PLACE) || url.includes(NODE_PLACE)
}

function nodeNameAt(name: string, count: number, index: number): string {
  return count === 1 ? name : `${name}-${index}`
}

/** The settings of process `index` as a node. */
function nodeOf(
  config: Config,
  count: number,
  index: number,
): Pick<Config, 'nodeName' | 'nodeUrl' | 'internalUrl' | 'internalPort'> {
  const nodeName = nodeNameAt(config.nodeName, count, index)
  const of = (url: string | null): string | null => (url === null ? null : placed(url, nodeName, index))
  const nodeUrl = of(config.nodeUrl)
  const internalUrl = of(config.internalUrl)
  for (const [setting, url, parse] of [
    ['NODE_URL', nodeUrl, SETTINGS.nodeUrl.kind.parse],
    ['INTERNAL_URL', internalUrl, SETTINGS.internalUrl.kind.parse],
  ] as const) {
    if (url !== null && parse(url) === undefined)
      throw invalid(
        `${setting} is '${url}' with the NODE_NAME '${nodeName}'; allowed: a name that can be part of that URL`,
      )
  }
  const { internalPort: port } = config
  const fleet = count > 1 || config.redisUrl !== null
  const internalPort = !fleet ? null : port === null ? (count === 1 ? INTERNAL_PORT_DEFAULT : 0) : port && port + index
  return { nodeName, nodeUrl, internalUrl, internalPort }
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}
