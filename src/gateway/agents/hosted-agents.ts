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
import type { ServiceSettings } from '../../backends/cascade/service-facts.js'
import { allCallsOn, namesIn, resolveShares } from '../../backends/split.js'
import { packageRoot } from '../../config/package-root.js'
import { readPrices } from '../../config/prices-file.js'
import { SETTINGS } from '../../config/settings.js'
import type { Config } from '../../config/settings.js'
import { readYamlFile } from '../../config/yaml-file.js'
import { VENDORS } from '../../vendors/list.js'
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

/** The default agent where none is set: a shipped one that needs no settings. */
const SHIPPED_DEFAULT = 'order-status'

/** The folder that agents come from. */
export function agentsDirOf(config: Config): string {
  return config.agentsDir ?? join(packageRoot(), 'agents')
}

/**
 * An agent with its backends resolved.
 * @param only  the backend of all agents, whatever their files name
 * @throws GatewayError for a backend that is not set up, or whose packages are not installed
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
    // A run with another backend is one that is compared with others: all of its calls get the same version.
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

/** @throws GatewayError where packages of the agent's cascade are not installed */
function findCascade({ name, backends }: AgentDefinition, settings: BackendSettings): void {
  const service = grpcService(settings.cascade, backends.cascade ?? {})
  if (service !== null) findGrpc(`the recogniser ${service} of the agent ${name}`)
}

/**
 * A version of an agent as new calls would get it.
 * @param canary  its second version
 * @throws GatewayError with why it cannot be used
 */
export type UseVersion = (version: FolderVersion, canary?: FolderVersion) => HostedAgent

/** @param only  the backend of all agents, whatever their files name */
export function versionsFor(config: Config, numbers: Numbers, only?: string): UseVersion {
  // Read once: an edit of the folder needs neither the key file nor the prices again.
  const settings = backendSettings(config)
  return ({ agent, assets }, canary) => {
    const lacking = agent.canary === undefined ? numbers.lacking(agent) : null
    if (lacking !== null) throw new GatewayError('AGENT_INVALID', lacking)
    const made = hosted(agent, assets, config, settings, only, canary)
    findSpeech(eachVersion(new Map([[agent.name, made]])).map(([, version]) => version))
    return made
  }
}

/** The backend whose recogniser and voice take a message without a model. */
const TAKES_MESSAGES = 'cascade'

/** An agent that begins at once to take a message. */
function takingMessages(agent: AgentDefinition): AgentDefinition {
  const { escalation } = agent
  if (escalation?.message == null) return agent
  const { only } = escalation.message
  return { ...agent, greeting: only, escalation: { ...escalation, message: { ...escalation.message, name: only } } }
}

/** Why a business cannot have the budget that its entry asks for; null: it can, or asks for none. */
function budgetFault(
  { budget }: Business,
  agent: AgentDefinition,
  config: Config,
  settings: BackendSettings,
): string | null {
  if (budget === undefined) return null
  const [unrated] = unratedCurrencies(config, settings.prices)
  if (unrated !== undefined)
    return `budget: PRICES_FILE has no exchange rate from ${unrated} to ${config.currency} (CURRENCY), so what calls cost is not known`
  const { escalation } = agent
  if (escalation?.strategies.includes('callback') !== true || escalation.message === null)
    return `budget: the agent ${agent.name} takes no messages, which are all that is left beyond it; allowed: an agent with callback in escalation.strategies, and escalation.message`
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

/** Currencies in which calls are charged, and that PRICES_FILE does not convert to CURRENCY. */
export function unratedCurrencies({ currency }: Pick<Config, 'currency'>, prices: PriceFile | null): string[] {
  const charged = [priceList([prices]).currency, (prices?.carrier ?? CARRIER_RATES).currency]
  return [...new Set(charged)].filter((from) => exchangeRate(prices, from, currency) === null)
}

/**
 * The agents of the settings' folder that can be used, with their backends resolved.
 * @param only  the backend of all of them, whatever their files name
 * @param ownEnv  has the secrets that NUMBERS_FILE names, which no agent is given
 * @returns `faults`: those of all files, also where a backend is not set up
 * @throws GatewayError where no agent can be used, or with what is wrong with the settings
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
  // Agents, their files of callers and NUMBERS_FILE have national numbers.
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
  // It may be one that has a fault, and answers once that is mended.
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

/** Those that hand over to an agent that cannot be used, and in turn those that hand over to them; by name, the fault. */
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

/** @param use  makes the agent @returns it, without a canary that cannot be used: all its calls get the agent itself */
function withCanary(
  use: (canary?: FolderVersion) => HostedAgent,
  canary: FolderVersion | undefined,
  faultOf: (name: string, what: string) => void,
): HostedAgent {
  if (canary === undefined) return use()
  try {
    return use(canary)
  } catch (thrown) {
    // Throws where the fault is the agent's.
    const agent = use()
    faultOf(versionName(canary.agent), messageOf(thrown))
    return agent
  }
}

/** As `strandedIn`, for canaries alone. */
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

/** As `hostedAgents`. @throws GatewayError AGENT_INVALID also where one file of agents or one number has a fault */
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

/** A hash of the versions of all agents that new calls get: the same at nodes that answer alike. */
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

/** Agents that read facts of a business, where no number leads to them: their callers are refused. */
export function withoutNumbers(agents: ReadonlyMap<string, HostedAgent>, numbers: Numbers): string[] {
  const led = new Set([...numbers.businesses.values()].map(({ agent }) => agent))
  return [...agents.values()].flatMap(({ definition: { name }, reads }) =>
    led.has(name) || (reads?.size ?? 0) === 0 ? [] : [name],
  )
}

/** A handover that no call gets: facts that `to` reads are lacking where `agent` has a call. */
interface LackingHandover {
  readonly agent: string
  readonly to: string
  readonly facts: readonly string[]
}

/** Handovers, by agents to which numbers lead and those that they hand over to, that numbers have not the facts for. */
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
  // Agents that no number's call reaches have calls without a number.
  for (const name of agents.keys()) if (!known.has(name)) follow(name, null)
  return [...lacking.values()]
}

/** Models of a backend that have no price, so that no budget counts them. */
export interface Unpriced {
  readonly agent: string
  readonly backend: string
  /** Currency of the prices that were looked up. */
  readonly currency: string
  readonly models: readonly string[]
}

/** Those of an agent's backends that have models without a price. */
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

/** Ends of the models that an agent's backends use, of which operators are to know now. @param nowMs  wall clock */
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

/** Costs that our numbers' daily budgets do not count. */
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
  // Both versions of an agent may lack the same.
  return [...new Map(found.map((one) => [JSON.stringify(one), one])).values()]
}

/** Agents with `backend: auto` whose callers nobody answers while the model cannot be reached. */
export function withoutReplacement(agents: ReadonlyMap<string, HostedAgent>): string[] {
  const found = eachVersion(agents).filter(([, { shares }]) =>
    shares.some(({ auto, names }) => auto && !names.includes('embedded')),
  )
  return [...new Set(found.map(([name]) => name))]
}

/**
 * Follows edits of the agents folder and of NUMBERS_FILE: `agents` is what new calls get, and is changed in place, as
 * `numbers` is. Live calls keep what they were started with. @returns ends that
 */
export async function followAgents(options: {
  readonly config: Config
  readonly env: Environment
  readonly log: Log
  readonly agents: Map<string, HostedAgent>
  readonly numbers: Numbers
  readonly only?: string | undefined
  /** Gets how many errors the agents folder has. */
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
      // A number may lead to one that could not be used before.
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
  /** The carrier's REST API is available: without it no human can be called into a conference. */
  readonly carrier: boolean
  /** Calendar, for the hours of humans. */
  readonly wallClock: WallClock
}

/** Facts of an agent with which the edge answers webhooks. */
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
    // Which numbers it rings depends on the hour.
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

/** Contents of the files that settings of vendors name. @throws GatewayError CONFIG_INVALID, without the contents */
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

/** The part of the settings that media workers need to open backends. */
export function backendSettings(config: Config): BackendSettings {
  const cascade = cascadeSettings(config, filesOf(config))
  const llm = cascade.llm['chat'] as ServiceSettings | null
  return {
    auto: config.autoBackend,
    openai: {
      apiKey: config.openaiApiKey,
      baseUrl: config.openaiBaseUrl,
      model: config.openaiModel,
      turns: config.openaiTurns,
    },
    openaiLive: {
      apiKey: config.openaiApiKey,
      baseUrl: config.openaiLiveUrl ?? config.openaiBaseUrl,
      model: config.openaiLiveModel,
      delegate: config.openaiLiveDelegate,
      delegateModel: config.openaiLiveDelegateModel,
      llm,
    },
    gemini: {
      apiKey: config.geminiApiKey,
      baseUrl: config.geminiBaseUrl,
      model: config.geminiModel,
      turns: config.geminiTurns,
    },
    azureVoiceLive: {
      apiKey: config.azureVoiceLiveKey,
      baseUrl: config.azureVoiceLiveUrl,
      model: config.azureVoiceLiveModel,
    },
    selfHosted:
      config.realtimeUrl === null
        ? null
        : {
            baseUrl: config.realtimeUrl,
            apiKey: config.realtimeApiKey,
            model: config.realtimeModel,
            turns: config.realtimeTurns,
            dialect: config.realtimeDialect,
            rateHz: config.realtimeRateHz === '16000' ? 16000 : 24000,
          },
    cascade,
    prices: config.pricesFile === null ? null : readPrices(config.pricesFile),
    messageMs: config.backendMessageMs,
    streamSilence: config.backendStreamSilence,
    reconnectsPerSecond: config.backendReconnectsPerSecond / config.mediaWorkers,
  }
}
