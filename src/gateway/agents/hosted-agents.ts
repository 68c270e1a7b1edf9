import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { NO_ASSETS } from '../../agents/file/assets.js'
import type { AgentAssets } from '../../agents/file/assets.js'
import type { FolderVersion } from '../../agents/file/agent-view.js'
import { agentFor, factsReadBy, missingFacts } from '../../agents/file/business.js'
import type { Business } from '../../agents/file/business.js'
import type { PriceFile } from '../../agents/file/prices.js'
import { AgentWatch } from '../../agents/file/agent-watch.js'
import { handoversOf, numbersOpen } from '../../agents/file/definition.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { isSpared } from '../../agents/file/faults.js'
import { faultsText, loadUsableAgents, versionName } from '../../agents/file/loader.js'
import type { AgentFault } from '../../agents/file/loader.js'
import type { Environment } from '../../agents/file/template.js'
import { offlineSpeech } from '../../backends/embedded/offline-speech.js'
import { CARRIER_RATES, exchangeRate, priceList } from '../../backends/prices.js'
import { endOf } from '../../backends/model-ends.js'
import type { ModelEnd } from '../../backends/model-ends.js'
import { modelsOf, resolveBackend } from '../../backends/registry.js'
import type { BackendSettings } from '../../backends/registry.js'
import { cascadeSettings, grpcService } from '../../backends/cascade/service-facts.js'
import { allCallsOn, namesIn, resolveShares } from '../../backends/split.js'
import { packageRoot } from '../../config/package-root.js'
import { readPrices } from '../../config/prices-file.js'
import { SETTINGS } from '../../config/settings.js'
import type { Config } from '../../config/settings.js'
import { readYamlFile } from '../../config/yaml-file.js'
import { REALTIME, VENDORS } from '../../vendors/list.js'
import type { WallClock } from '../../core/clock.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { dialTo } from '../../escalation/documents.js'
import type { VoiceAction } from '../../sautikit/actions.js'
import { useCountry } from '../../sautikit/phone.js'
import { versionOf } from '../../workers/main/call/agent-version.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import { eachVersion } from '../../workers/main/canary.js'
import { tellEdited } from '../../workers/shared/edited-agents.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { carrierSay } from '../../workers/main/call/carrier-say.js'
import type { AgentFacts } from '../../workers/main/live-call.js'
import type { Log } from '../../telemetry/log.js'
import { fileEnvironment } from './agent-environment.js'
import { findGrpc, findMcpClient, findSpeech } from '../on-demand.js'
import { Numbers } from './numbers.js'

/** Default agent if the settings do not name an agent: a shipped agent that does not need settings. */
const SHIPPED_DEFAULT = 'order-status'

/** Folder from which the agents are loaded. */
export function agentsDirOf(config: Config): string {
  return config.agentsDir ?? join(packageRoot(), 'agents')
}

/**
 * Agent whose backends were found and can be used.
 * @param only backend that replaces the backends in the agent files
 * @throws GatewayError if a backend is not set up, or its packages are missing
 */
function hosted(
  definition: AgentDefinition,
  assets: AgentAssets,
  config: Config,
  settings: BackendSettings,
  only?: string,
  canary?: FolderVersion,
): HostedAgent {
  const { name, backend, backends, offline } = definition
  const factsOf = (agent: AgentDefinition): AgentFacts =>
    agentFacts(agent, { carrier: config.apiKey !== null, wallClock: Date.now })
  const agent: HostedAgent = {
    definition,
    assets,
    facts: factsOf(definition),
    reads: factsReadBy(definition),
    // With `only`, canaries are left out: runs with `only` are compared with each other, so all calls use one version.
    ...(canary === undefined || only !== undefined
      ? {}
      : {
          canary: {
            percent: canary.agent.canary?.percent ?? 0,
            version: hosted(canary.agent, canary.assets, config, settings, only),
          },
        }),
    forBusiness: (business, step = null) => {
      const own = agentFor(definition, business, Date.now())
      const bound = step === 'messages' ? takingMessages(own) : own
      const served = { ...agent, definition: bound, facts: factsOf(bound), serves: { business, file: definition } }
      const { cheaper } = business.budget ?? {}
      if (step === 'messages') return { ...served, messagesOnly: true, shares: allCallsOn(TAKES_MESSAGES) }
      if (step !== 'cheaper' || cheaper === undefined) return served
      return { ...served, shares: allCallsOn(resolveBackend(name, cheaper.backend, settings, backends)) }
    },
    shares: only === undefined ? resolveShares(name, backend, settings, backends, offline !== null) : allCallsOn(only),
  }
  if (namesIn(agent.shares).includes('cascade')) findCascade(definition, settings)
  return agent
}

/** @throws GatewayError if packages of the agent's cascade are not installed */
function findCascade({ name, backends }: AgentDefinition, settings: BackendSettings): void {
  const service = grpcService(settings.cascade, backends.cascade ?? {})
  if (service !== null) findGrpc(`the recogniser ${service} of the agent ${name}`)
}

/**
 * Makes the agent that new calls use, from a version of the agent's file.
 * @param canary the agent's second version
 * @throws GatewayError if the version cannot be used
 */
export type UseVersion = (version: FolderVersion, canary?: FolderVersion) => HostedAgent

/** @param only backend that replaces the backends in the agent files */
export function versionsFor(config: Config, numbers: Numbers, only?: string): UseVersion {
  // The key file and the prices are read only once, and not again after an edit of the folder.
  const settings = backendSettings(config)
  return ({ agent, assets }, canary) => {
    const lacking = agent.canary === undefined ? numbers.lacking(agent) : null
    if (lacking !== null) throw new GatewayError('AGENT_INVALID', lacking)
    const made = hosted(agent, assets, config, settings, only, canary)
    findSpeech(eachVersion(new Map([[agent.name, made]])).map(([, version]) => version))
    return made
  }
}

/** Backend whose recogniser and voice take a message without a model. */
const TAKES_MESSAGES = 'cascade'

/** The agent in the form in which it begins a call by taking a message. */
function takingMessages(agent: AgentDefinition): AgentDefinition {
  const { escalation } = agent
  if (escalation?.message == null) return agent
  const { only } = escalation.message
  return { ...agent, greeting: only, escalation: { ...escalation, message: { ...escalation.message, name: only } } }
}

/**
 * Reason why a business cannot have the budget of its entry in NUMBERS_FILE; null if it can, or if the entry has no
 * budget.
 */
function budgetFault(
  { budget }: Business,
  agent: AgentDefinition,
  config: Config,
  settings: BackendSettings,
): string | null {
  if (budget === undefined) return null
  const [unrated] = unratedCurrencies(config, settings.prices)
  if (unrated !== undefined)
    return `budget: PRICES_FILE has no exchange rate from ${unrated} to ${config.currency} (CURRENCY), so the cost of calls is unknown`
  const { escalation } = agent
  if (escalation?.strategies.includes('callback') !== true || escalation.message === null)
    return `budget: the agent ${agent.name} takes no messages, but callers can only leave messages when the budget is used up; allowed: an agent with callback in escalation.strategies, and escalation.message`
  try {
    resolveBackend(agent.name, TAKES_MESSAGES, settings, agent.backends)
    findCascade(agent, settings)
    if (budget.cheaper === undefined) return null
    const cheaper = resolveBackend(agent.name, budget.cheaper.backend, settings, agent.backends)
    return cheaper === 'embedded' && agent.offline === null
      ? `budget: the agent ${agent.name} has no offline dialogue, which the embedded backend needs`
      : null
  } catch (thrown) {
    return `budget: ${messageOf(thrown)}`
  }
}

/** Currencies of charges that PRICES_FILE does not convert to CURRENCY. */
export function unratedCurrencies({ currency }: Pick<Config, 'currency'>, prices: PriceFile | null): string[] {
  const charged = [priceList([prices]).currency, (prices?.carrier ?? CARRIER_RATES).currency]
  return [...new Set(charged)].filter((from) => exchangeRate(prices, from, currency) === null)
}

/**
 * Usable agents of the settings' folder, with their backends resolved.
 * @param only  backend that replaces the backends in the agent files
 * @param ownEnv  environment with the secrets that NUMBERS_FILE names, which agents cannot read
 * @returns `faults`: faults of all files, including backends that are not set up
 * @throws GatewayError if all agents are unusable, or for wrong settings
 */
export async function hostedAgents(
  config: Config,
  env: Environment,
  only?: string,
  ownEnv: Environment = process.env,
): Promise<{
  agents: Map<string, HostedAgent>
  defaultAgent: string | null
  numbers: Numbers
  faults: readonly AgentFault[]
}> {
  // The country is set first, because agents, their files of callers and NUMBERS_FILE may contain numbers in national
  // form.
  useCountry(config.country)
  const settings = backendSettings(config)
  const set = await loadUsableAgents(agentsDirOf(config), env, offlineSpeech)
  const agents = new Map<string, HostedAgent>()
  const faults = [...set.faults]
  const faultOf = (name: string, what: string): void => {
    faults.push({ file: set.files.get(name) ?? name, line: 1, col: 1, what })
  }
  let fault: unknown
  for (const [name, definition] of set.agents) {
    try {
      const assets = set.assets.get(name) ?? NO_ASSETS
      const use = (canary?: FolderVersion): HostedAgent => hosted(definition, assets, config, settings, only, canary)
      agents.set(name, withCanary(use, set.canaries.get(name), faultOf))
    } catch (thrown) {
      fault ??= thrown
      faultOf(name, messageOf(thrown))
    }
  }
  for (const [name, what] of strandedIn(agents)) {
    agents.delete(name)
    faultOf(name, what)
  }
  dropStrandedCanaries(agents, faultOf)
  if (agents.size === 0) throw fault
  if (eachVersion(agents).some(([, { definition }]) => definition.mcp.length > 0)) await findMcpClient()
  // A default agent with a fault is not an error here, because it is absent only until its fault is corrected.
  if (config.defaultAgent !== null && !agents.has(config.defaultAgent) && faults.every(isSpared)) {
    throw new GatewayError(
      'AGENT_UNKNOWN',
      `DEFAULT_AGENT is '${config.defaultAgent}'; allowed: ${[...agents.keys()].join(', ')}`,
    )
  }
  const numbers = await Numbers.open(
    config.numbersFile,
    fileEnvironment(ownEnv, env),
    () => definitionsOf(agents),
    (business, agent) => budgetFault(business, agent, config, settings),
  )
  const shipped = config.agentsDir === null && agents.has(SHIPPED_DEFAULT) ? SHIPPED_DEFAULT : null
  return { agents, numbers, defaultAgent: config.defaultAgent ?? set.defaultAgent ?? shipped, faults }
}

/**
 * Agents that cannot be used because they hand over to an unusable agent, directly or through other agents. The value
 * is the fault's text.
 */
function strandedIn(agents: ReadonlyMap<string, HostedAgent>): Map<string, string> {
  const stranded = new Map<string, string>()
  for (let before = -1; before !== stranded.size;) {
    before = stranded.size
    for (const [name, { definition }] of agents) {
      const other = handoversOf(definition).find((one) => !agents.has(one) || stranded.has(one))
      if (other !== undefined && !stranded.has(name)) stranded.set(name, `hands over to ${other}, which cannot be used`)
    }
  }
  return stranded
}

/**
 * @param use makes the agent
 * @returns the agent. If its canary cannot be used, the agent is without a canary, so all calls use the agent itself
 */
function withCanary(
  use: (canary?: FolderVersion) => HostedAgent,
  canary: FolderVersion | undefined,
  faultOf: (name: string, what: string) => void,
): HostedAgent {
  if (canary === undefined) return use()
  try {
    return use(canary)
  } catch (thrown) {
    // `use` throws if the agent has a fault even without its canary.
    const agent = use()
    faultOf(versionName(canary.agent), messageOf(thrown))
    return agent
  }
}

/** Drops canaries that hand over to unusable agents; see `strandedIn`. */
function dropStrandedCanaries(agents: Map<string, HostedAgent>, faultOf: (name: string, what: string) => void): void {
  for (const [name, { canary, ...agent }] of agents) {
    if (canary === undefined) continue
    const { definition } = canary.version
    const other = handoversOf(definition).find((one) => !agents.has(one))
    if (other === undefined) continue
    agents.set(name, agent)
    faultOf(versionName(definition), `hands over to ${other}, which cannot be used`)
  }
}

/**
 * Usable agents like `hostedAgents`.
 * @throws GatewayError as `hostedAgents`, and AGENT_INVALID if any agent file or any number has a fault
 */
export async function faultlessAgents(
  config: Config,
  env: Environment,
  only?: string,
  ownEnv: Environment = process.env,
): ReturnType<typeof hostedAgents> {
  const hosted = await hostedAgents(config, env, only, ownEnv)
  if (hosted.faults.length > 0) throw new GatewayError('AGENT_INVALID', faultsText(hosted.faults))
  if (hosted.numbers.fault !== '') throw new GatewayError('AGENT_INVALID', hosted.numbers.fault)
  return hosted
}

/** Hash of the versions of all agents for new calls. Nodes that use equal versions have an equal hash. */
export function agentsDigest(agents: ReadonlyMap<string, HostedAgent>): string {
  const versions = [...agents].map(([name, { canary, ...agent }]) => [
    ...[name, versionOf(agent)],
    ...(canary === undefined ? [] : [String(canary.percent), versionOf(canary.version)]),
  ])
  const text = JSON.stringify(versions.sort(([a = ''], [b = '']) => (a < b ? -1 : 1)))
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

function definitionsOf(agents: ReadonlyMap<string, HostedAgent>): Map<string, AgentDefinition> {
  return new Map([...agents].map(([name, { definition }]) => [name, definition]))
}

/** Agents that read facts of a business, but to which no number leads. Their callers are refused. */
export function withoutNumbers(agents: ReadonlyMap<string, HostedAgent>, numbers: Numbers): string[] {
  const led = new Set([...numbers.businesses.values()].map(({ agent }) => agent))
  return [...agents.values()].flatMap(({ definition: { name }, reads }) =>
    led.has(name) || (reads?.size ?? 0) === 0 ? [] : [name],
  )
}

/** Impossible handover: `to` reads facts of a business that calls of `agent` do not have. */
interface LackingHandover {
  readonly agent: string
  readonly to: string
  readonly facts: readonly string[]
}

/**
 * Handovers to agents that read facts which the call's number does not have. All agents that a call can reach from a
 * number are searched, directly or by handovers.
 */
export function handoversWithoutFacts(agents: ReadonlyMap<string, HostedAgent>, numbers: Numbers): LackingHandover[] {
  const handovers = new Map<string, readonly string[]>()
  for (const [name, { definition }] of eachVersion(agents))
    handovers.set(name, [...(handovers.get(name) ?? []), ...handoversOf(definition)])
  const known = new Set<string>()
  const lacking = new Map<string, LackingHandover>()
  const follow = (first: string, business: Business | null): void => {
    const reached = new Set([first])
    for (const agent of reached) {
      known.add(agent)
      for (const to of handovers.get(agent) ?? []) {
        const { reads = new Set<string>() } = agents.get(to) ?? {}
        const facts = business === null ? [...reads] : missingFacts(reads, business)
        if (facts.length === 0) reached.add(to)
        else lacking.set(`${agent} ${to}`, { agent, to, facts })
      }
    }
  }
  for (const business of numbers.businesses.values()) follow(business.agent, business)
  // A call to an agent without a number does not have a business.
  for (const name of agents.keys()) if (!known.has(name)) follow(name, null)
  return [...lacking.values()]
}

/** Models of a backend for which there is no price, so budgets cannot count them. */
export interface Unpriced {
  readonly agent: string
  readonly backend: string
  /** Currency in which the prices were searched. */
  readonly currency: string
  readonly models: readonly string[]
}

/** Backends of an agent that use models without a price. */
export function unpricedOf(
  settings: BackendSettings,
  { name, budget, backends: options }: AgentDefinition,
  backends: readonly string[],
): Unpriced[] {
  const { currency, priceOf } = priceList([budget?.prices ?? null, settings.prices])
  return backends.flatMap((backend) => {
    const models = modelsOf(backend, settings, options).filter((model) => priceOf(backend, model) === null)
    return models.length === 0
      ? []
      : [{ agent: name, backend, currency, models: models.map((model) => model ?? 'its model') }]
  })
}

/**
 * Ends of backends' models about which operators must know now.
 * @param nowMs  wall clock
 */
export function endsOf(
  settings: BackendSettings,
  { definition, shares }: Pick<HostedAgent, 'definition' | 'shares'>,
  nowMs: number,
): ModelEnd[] {
  const models = namesIn(shares).flatMap((backend) => modelsOf(backend, settings, definition.backends))
  return [...new Set(models)].flatMap((model) => {
    const end = endOf(model, nowMs)
    return end === null || end.state === 'later' ? [] : [end]
  })
}

/** Backends without a price that serve numbers with a daily budget. The budget cannot count their costs. */
export function uncountedByBudgets(
  settings: BackendSettings,
  agents: ReadonlyMap<string, HostedAgent>,
  businesses: Iterable<Business>,
): Unpriced[] {
  const budgets = [...businesses].filter(({ budget }) => budget !== undefined)
  const found = eachVersion(agents).flatMap(([name, { definition, shares }]) => {
    const own = budgets.filter(({ agent }) => agent === name)
    const cheaper = own.flatMap(({ budget }) => budget?.cheaper?.backend ?? [])
    return own.length === 0 ? [] : unpricedOf(settings, definition, [...new Set([...namesIn(shares), ...cheaper])])
  })
  // A model that both versions of an agent use is listed once.
  return [...new Map(found.map((one) => [JSON.stringify(one), one])).values()]
}

/**
 * Agents with `backend: auto` but without the embedded backend. They cannot answer callers while no model can be
 * reached.
 */
export function withoutReplacement(agents: ReadonlyMap<string, HostedAgent>): string[] {
  const found = eachVersion(agents).filter(([, { shares }]) =>
    shares.some(({ auto, names }) => auto && !names.includes('embedded')),
  )
  return [...new Set(found.map(([name]) => name))]
}

/**
 * Uses edits of the agents folder and of NUMBERS_FILE without a restart. Changes `agents` (for new calls) and `numbers`
 * in place.
 * @returns a function that stops this
 */
export async function followAgents(options: {
  readonly config: Config
  readonly env: Environment
  readonly log: Log
  readonly agents: Map<string, HostedAgent>
  readonly numbers: Numbers
  readonly only?: string | undefined
  /** Called with the number of errors in the agents folder. */
  readonly onCount?: (faults: number) => void
}): Promise<() => Promise<void>> {
  const { config, env, agents, numbers, only } = options
  const log = options.log.component('agents')
  const use = versionsFor(config, numbers, only)
  const watch = new AgentWatch({
    dir: agentsDirOf(config),
    env,
    speech: offlineSpeech,
    onCount: options.onCount,
    isUsed: (name) => agents.has(name),
    apply: (folder) => {
      const refused = new Map<string, string>()
      const next = new Map<string, HostedAgent>()
      const refuseCanary = (name: string, what: string): void => void refused.set(name, what)
      const refuse = (name: string, what: string): void => {
        refused.set(name, what)
        const before = agents.get(name)
        if (before === undefined) next.delete(name)
        else next.set(name, before)
      }
      for (const [name, { canary, ...version }] of folder) {
        try {
          next.set(
            name,
            withCanary((second) => use(version, second), canary, refuseCanary),
          )
        } catch (thrown) {
          refuse(name, messageOf(thrown))
        }
      }
      for (const [name, what] of strandedIn(next)) refuse(name, what)
      dropStrandedCanaries(next, refuseCanary)
      agents.clear()
      for (const [name, agent] of next) agents.set(name, agent)
      return refused
    },
    onChange: (names) => {
      log.info({ agents: names }, 'agents were edited: new calls use the new version')
      tellEdited(names)
      // NUMBERS_FILE is read again, because an agent that a number names may be usable now.
      void numbers.look(log)
    },
    onFault: (what) =>
      log.error(
        { fault: what },
        'the agents folder has errors: calls use the previous version, or agents without these sounds',
      ),
  })
  await watch.start()
  const unfollow = await numbers.follow(log)
  return async () => {
    await Promise.all([watch.close(), unfollow()])
  }
}

interface FactsOptions {
  /** True if the carrier's REST API is available. Without the API, humans cannot be called into a conference. */
  readonly carrier: boolean
  /** Calendar clock for the working hours of humans. */
  readonly wallClock: WallClock
}

/** Facts of an agent that the edge needs to answer webhooks. */
export function agentFacts(
  agent: AgentDefinition,
  { carrier, wallClock }: FactsOptions = { carrier: false, wallClock: Date.now },
): AgentFacts {
  const { stream, say, escalation, afterCall } = agent
  const spoken = (phrase: LocalizedText, language?: string): VoiceAction => carrierSay(phrase, agent, language)
  const human = (): VoiceAction[] => {
    const numbers = numbersOpen(escalation, wallClock())
    if (escalation === null || numbers.length === 0) return []
    return [dialTo(numbers, escalation.timeoutS, escalation.callerId ?? null)]
  }
  return {
    name: agent.name,
    maxCalls: agent.maxCalls,
    stream: {
      name: stream.name ?? agent.name,
      track: stream.track,
      samplingRateHz: stream.outputSamplingRate,
      headerMetadata: stream.headerMetadata,
      openMetadata: stream.openMetadata,
      statusCallback: stream.statusCallback,
      statusEvents: stream.statusEvents,
    },
    say: say.greeting === undefined ? null : spoken(say.greeting),
    outbound: {
      from: agent.outbound.from ?? null,
      ringMs: agent.outbound.ringTimeoutS * 1000,
      openOn: agent.outbound.openOn,
    },
    // A function, because the numbers that the fallback rings depend on the hour.
    fallback: (language) => [spoken(say.fallback, language), ...human(), { verb: 'hangup' }],
    busy: (language) => [spoken(say.busy, language), { verb: 'hangup' }],
    hold: (language) => [spoken(say.hold, language)],
    conference: carrier && escalation?.strategies.includes('conference') === true,
    afterCall: (language) => [
      ...(afterCall.say === undefined ? [] : [spoken(afterCall.say, language)]),
      ...(afterCall.hangup ? [{ verb: 'hangup' } as const] : []),
    ],
  }
}

/**
 * Contents of the files that vendors' settings name.
 * @throws GatewayError CONFIG_INVALID, without the contents
 */
function filesOf(config: Config): Readonly<Record<string, unknown>> {
  const values = config as Readonly<Record<string, unknown>>
  return Object.fromEntries(
    VENDORS.flatMap(({ files = {} }) =>
      Object.entries(files).flatMap(([name, file]) => {
        const path = values[name]
        if (typeof path !== 'string') return []
        return [[name, readYamlFile(path, { ...file, setting: SETTINGS[name as keyof Config].env })] as const]
      }),
    ),
  )
}

/** The settings that media workers need to open backends. */
export function backendSettings(config: Config): BackendSettings {
  const cascade = cascadeSettings(config, filesOf(config))
  return {
    auto: config.autoBackend,
    realtime: Object.fromEntries([...REALTIME].map(([name, service]) => [name, service.settings(config)])),
    cascade,
    prices: config.pricesFile === null ? null : readPrices(config.pricesFile),
    messageMs: config.backendMessageMs,
    streamSilence: config.backendStreamSilence,
    reconnectsPerSecond: config.backendReconnectsPerSecond / config.mediaWorkers,
  }
}
