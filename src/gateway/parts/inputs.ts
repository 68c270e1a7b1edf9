import { randomBytes } from 'node:crypto'
import { humansOf } from '../../agents/file/definition.js'
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
import type { CallStore } from '../../fleet/store/call-store.js'
import { ringFault } from '../../sautikit/ringing.js'
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
  /** The environment that tool templates read; the gateway's own secrets are not visible to them. */
  readonly env: Environment
  readonly log: Log
  /** Set for one of several processes on one public port. */
  readonly process?: GatewayProcess
  /** Backend of all agents, whatever their files name. */
  readonly onlyBackend?: string
}

/** Input of one of several processes, beside its share of the settings. */
interface GatewayProcess {
  readonly plan: ProcessPlan
  /** How often it was started again after it had died. */
  readonly restarts: number
  /** Store that it shares with the others if REDIS_URL is not set. */
  readonly store: CallStore
}

/** Inputs of a gateway: its settings, and the files that they name, read and checked. None of them needs closing. */
export interface GatewayInputs extends GatewayOptions {
  /** By name. Edits of their files change it in place, as they do `numbers`. */
  readonly agents: Map<string, HostedAgent>
  readonly defaultAgent: string | null
  readonly numbers: Numbers
  /** Faults of agents' files at the start. */
  readonly faults: readonly AgentFault[]
  readonly backends: BackendSettings
  /** Null without SAUTIKIT_API_KEY. */
  readonly api: CarrierApi | null
  /** True if the gateway's own phrases are spoken: the offline recogniser and voice are installed. */
  readonly speaks: boolean
  /** At least one. */
  readonly tokenSecrets: readonly string[]
  /** `process.env` of worker threads. */
  readonly workerEnv: Readonly<Record<string, string>>
  /** True if the calls of a process that dies go on in its next run, without other nodes. */
  readonly keepsAlone: boolean
  readonly clock: Clock
  readonly version: string
}

/** @throws GatewayError for settings, agents and keys that cannot be used */
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
  warnOfAgents(agents, numbers, log)
  warnOfHumans(agents, numbers, config, log)
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

/** How long the agent's calls are kept; null: as long as the settings say. */
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
      'an agent hands over to one that reads facts, and stays with the calls of numbers without these',
    )
}

/** Whoever asks for such a human hears that nobody is free: their number is refused when it is to be rung. */
function warnOfHumans(agents: ReadonlyMap<string, HostedAgent>, numbers: Numbers, config: Config, log: Log): void {
  const isUnrung = (number: string): boolean => ringFault('human', number, '', config.outboundPrefixes) !== null
  const ofAgents = eachVersion(agents).flatMap(([name, { definition }]) =>
    humansOf(definition.escalation).some(({ number }) => isUnrung(number)) ? [name] : [],
  )
  const ofNumbers = [...numbers.businesses.values()].flatMap(({ agent, facts }) =>
    (facts.humans ?? []).some(isUnrung) ? [agent] : [],
  )
  const unrung = [...new Set([...ofAgents, ...ofNumbers])]
  if (unrung.length > 0)
    log.error(
      { agents: unrung },
      'humans of agents or of NUMBERS_FILE have premium, shared-cost, personal or satellite numbers: these are never rung, unless OUTBOUND_PREFIXES names their range in full',
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
      else log.error({ agent, ...end }, 'a model is over by the list of this version; calls try it all the same')
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
