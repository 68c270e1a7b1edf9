import { randomBytes } from 'node:crypto'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { faultsText } from '../../agents/file/loader.js'
import type { AgentFault } from '../../agents/file/loader.js'
import type { Environment } from '../../agents/file/template.js'
import type { BackendSettings } from '../../backends/registry.js'
import { namesIn } from '../../backends/split.js'
import { packageVersion } from '../../config/package-root.js'
import type { Config } from '../../config/settings.js'
import type { Clock } from '../../core/clock.js'
import { GatewayError } from '../../core/errors.js'
import { CALLS_PER_WORKER_MAX } from '../../core/limits.js'
import { machineZone } from '../../core/local-time.js'
import type { CallStore } from '../../fleet/store/call-store.js'
import type { Log } from '../../telemetry/log.js'
import { eachVersion } from '../../workers/main/canary.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import { processClock } from '../../workers/shared/ticker.js'
import { workerEnvironment } from '../agents/agent-environment.js'
import { resumesAlone } from '../call-archive.js'
import { carrierApi } from '../carrier-side.js'
import type { CarrierApi } from '../carrier-side.js'
import {
  backendSettings,
  endsOf,
  handoversWithoutFacts,
  hostedAgents,
  uncountedByBudgets,
  unpricedOf,
  withoutNumbers,
  withoutReplacement,
} from '../agents/hosted-agents.js'
import type { Numbers } from '../agents/numbers.js'
import { findSpeech } from '../on-demand.js'
import type { ProcessPlan } from '../process-plan.js'

export interface GatewayOptions {
  readonly config: Config
  /** Environment for tool templates, without the gateway's own secrets. */
  readonly env: Environment
  readonly log: Log
  /** Input of one of several processes on one public port; absent for a single process. */
  readonly process?: GatewayProcess
  /** Backend that all agents use instead of the backends in their files. */
  readonly onlyBackend?: string
}

/** Additional input of a process that is one of several. */
interface GatewayProcess {
  readonly plan: ProcessPlan
  /** Number of times that this process died and was started again. */
  readonly restarts: number
  /** Store that all processes share if REDIS_URL is not set. */
  readonly store: CallStore
}

/**
 * Inputs of a gateway: its settings, and the files that the settings name. The files have been read and checked. Inputs
 * need not be closed.
 */
export interface GatewayInputs extends GatewayOptions {
  /** Agents by name. Edits of the agent files change this map in place. `numbers` is changed in place too. */
  readonly agents: Map<string, HostedAgent>
  readonly defaultAgent: string | null
  readonly numbers: Numbers
  /** Faults of agent files at the start. */
  readonly faults: readonly AgentFault[]
  readonly backends: BackendSettings
  /** Carrier's REST API; null without SAUTIKIT_API_KEY. */
  readonly api: CarrierApi | null
  /** True if the gateway can speak its own phrases, because the offline recogniser and voice are installed. */
  readonly speaks: boolean
  /** Values of TOKEN_SECRET, at least one. */
  readonly tokenSecrets: readonly string[]
  /** `process.env` of worker threads. */
  readonly workerEnv: Readonly<Record<string, string>>
  /** True if this process's calls survive its death and continue in its next run, without other nodes. */
  readonly keepsAlone: boolean
  readonly clock: Clock
  readonly version: string
}

/** @throws GatewayError for unusable settings, agents and keys */
export async function readInputs(options: GatewayOptions): Promise<GatewayInputs> {
  const { config, env, log, onlyBackend } = options
  if (config.maxCalls > config.mediaWorkers * CALLS_PER_WORKER_MAX) {
    throw new GatewayError(
      'CONFIG_INVALID',
      `MAX_CALLS is '${config.maxCalls}'; allowed with ${config.mediaWorkers} MEDIA_WORKERS: ` +
        `at most ${config.mediaWorkers * CALLS_PER_WORKER_MAX}`,
    )
  }
  const hosted = await hostedAgents(config, env, onlyBackend)
  const { agents, numbers } = hosted
  if (hosted.faults.length > 0)
    log.error(
      { fault: faultsText(hosted.faults) },
      'files of AGENTS_DIR have errors: the gateway starts without these agents, or without these sounds and callers',
    )
  const { fault: zoneFault } = machineZone()
  if (zoneFault !== null) log.warn({ fault: zoneFault }, 'the time zone of this machine is not usable')
  warnOfAgents(agents, numbers, log)
  const backends = backendSettings(config)
  warnOfPrices(agents, numbers, backends, log)
  warnOfEnds(agents, backends, Date.now(), log)
  const unspoken = findSpeech(eachVersion(agents).map(([, version]) => version))
  if (unspoken !== null)
    log.warn(
      {},
      "the offline recogniser and voice are not installed: the gateway's own phrases are not spoken (`mkondo check` names the command)",
    )
  return {
    ...options,
    ...hosted,
    backends,
    api: carrierApi(config),
    speaks: unspoken === null,
    tokenSecrets: config.tokenSecrets.length === 0 ? [randomBytes(32).toString('base64url')] : config.tokenSecrets,
    workerEnv: workerEnvironment(process.env, config),
    keepsAlone: resumesAlone(config) && options.process === undefined,
    clock: processClock(),
    version: packageVersion(),
  }
}

/** Time in days for which the agent's calls are stored; null for the default of the settings. */
export function retentionOf({ agents }: GatewayInputs, agent: string): AgentDefinition['retention'] | null {
  return agents.get(agent)?.definition.retention ?? null
}

function warnOfAgents(agents: ReadonlyMap<string, HostedAgent>, numbers: Numbers, log: Log): void {
  if (numbers.fault !== '')
    log.error({ fault: numbers.fault }, 'NUMBERS_FILE has errors: the gateway starts without these numbers')
  const unreplaced = withoutReplacement(agents)
  if (unreplaced.length > 0)
    log.warn(
      { agents: unreplaced },
      'agents with `backend: auto` have no `offline:` block: while the model cannot be reached, their callers are sent to a human',
    )
  const numberless = withoutNumbers(agents, numbers)
  if (numberless.length > 0)
    log.warn(
      { agents: numberless },
      'agents read facts of a business, and no number in NUMBERS_FILE leads to them: their callers are refused',
    )
  for (const lacking of handoversWithoutFacts(agents, numbers))
    log.warn(
      { ...lacking },
      'an agent hands over to an agent that reads facts; calls of numbers without these facts stay with the first agent',
    )
}

/** @param nowMs  wall clock */
function warnOfEnds(
  agents: ReadonlyMap<string, HostedAgent>,
  backends: BackendSettings,
  nowMs: number,
  log: Log,
): void {
  for (const [agent, version] of eachVersion(agents))
    for (const end of endsOf(backends, version, nowMs))
      if (end.state === 'soon') log.warn({ agent, ...end }, 'a model ends soon')
      else log.error({ agent, ...end }, 'a model has ended according to the list of this version; calls still try it')
}

function warnOfPrices(
  agents: ReadonlyMap<string, HostedAgent>,
  numbers: Numbers,
  backends: BackendSettings,
  log: Log,
): void {
  const limited = eachVersion(agents).filter(([, { definition }]) => definition.budget?.maxCost !== undefined)
  for (const unpriced of [
    ...uncountedByBudgets(backends, agents, numbers.businesses.values()),
    ...limited.flatMap(([, { definition, shares }]) => unpricedOf(backends, definition, namesIn(shares))),
  ])
    log.warn(
      { ...unpriced },
      'a budget does not count models without a price: set one in PRICES_FILE, or in budget.prices of the agent',
    )
}
