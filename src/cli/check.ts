import { randomUUID } from 'node:crypto'
import { NO_ASSETS, passagesOf } from '../agents/file/assets.js'
import { serviceEntries } from '../agents/file/backend-options.js'
import type { Business } from '../agents/file/business.js'
import type { CarrierRates } from '../agents/file/prices.js'
import { consentOf } from '../agents/file/definition.js'
import type { AgentDefinition } from '../agents/file/definition.js'
import { HttpClient } from '../http/http-client.js'
import type { Environment } from '../agents/file/template.js'
import { unknownKeywords } from '../agents/tools/json-schema.js'
import { untranslated } from '../agents/file/phrases.js'
import { rehearse } from '../agents/tools/rehearsal.js'
import { ToolRunner } from '../agents/tools/tool-runner.js'
import { GatewayError, messageOf, networkCauseOf } from '../core/errors.js'
import { BACKEND_CONNECT_MS } from '../core/limits.js'
import { machineZone } from '../core/local-time.js'
import { exposureOf, isLoopback } from '../config/exposure.js'
import { loadConfig } from '../config/load-config.js'
import { readReceivers } from '../config/messages-file.js'
import { nodeFault } from '../config/node-version.js'
import type { Config } from '../config/settings.js'
import {
  agentsDirOf,
  backendSettings,
  endsOf,
  faultlessAgents,
  handoversWithoutFacts,
  uncountedByBudgets,
  unpricedOf,
  unratedCurrencies,
  withoutNumbers,
} from '../gateway/agents/hosted-agents.js'
import type { Unpriced } from '../gateway/agents/hosted-agents.js'
import { carrierApi } from '../gateway/carrier-side.js'
import { findS3Client, findSpeech, loadTraceExport } from '../gateway/on-demand.js'
import { trialSession } from '../gateway/agents/trial-session.js'
import { CarrierApiError } from '../sautikit-api/http.js'
import { publicPrices, publicPricesText, ratesUnlike } from '../sautikit-api/public-prices.js'
import type { PublicPrices } from '../sautikit-api/public-prices.js'
import { endText } from '../backends/model-ends.js'
import { CARRIER_RATES, priceList } from '../backends/prices.js'
import { droppedOf, loadBackend } from '../backends/load-backend.js'
import { detectsTurns, lacksOf } from '../backends/registry.js'
import { namesIn } from '../backends/split.js'
import type { BackendShare } from '../backends/split.js'
import { widestRateHz } from '../workers/main/caller-profiles.js'
import { useCountry } from '../sautikit/phone.js'
import { eachVersion } from '../workers/main/canary.js'
import type { HostedAgent } from '../workers/main/main-thread-context.js'
import { needsDemoShop, startDemoShop } from './demo/demo-shop.js'
import { whyNotFree } from '../http/port-use.js'
import { agentEnvironment } from '../gateway/agents/agent-environment.js'
import type { PortUse } from '../http/port-use.js'
import { portsOf, processCount, processPlans, sparePlan } from '../gateway/process-plan.js'
import type { ProcessPlan } from '../gateway/process-plan.js'
import { createLog } from '../telemetry/log.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import type { DataFolder } from '../telemetry/archive/data-folder.js'
import { clockFaultText, notedClockFault } from '../telemetry/archive/retention-clock.js'
import { resumesAlone, usesDataFolder } from '../gateway/call-archive.js'
import { objectStorageOf } from '../gateway/storage-side.js'
import { environmentOf } from './serve/serve-plans.js'
import { freshnessFindings } from './knowledge/freshness.js'
import { familiesFinding, serviceFamilies } from './families.js'
import { bad, findingLine, good, json, lookAt } from './terminal.js'
import type { Finding, Terminal } from './terminal.js'

/** Maximum time in ms to wait for an API if the check only asks whether the API can be reached. */
const REACH_TIMEOUT_MS = 3000
/** Time limit in ms for writing and reading back one object of the object storage. */
const STORAGE_CHECK_MS = 10_000

/** The options of `mkondo check`. */
export interface CheckOptions {
  readonly processes?: string
  readonly withShop?: true
  readonly tools?: true
  readonly config?: string
  readonly envFile?: string
  readonly json?: true
}

/** Runs `mkondo check`: prints one line for each finding. */
export async function check(options: CheckOptions, terminal: Terminal): Promise<number> {
  const { out } = terminal
  const env = environmentOf(terminal.env, options.envFile ?? null)
  const count = processCount(options.processes)
  const tools = options.tools === true
  let config = loadConfig(env, options.config ?? null)
  useCountry(config.country)
  const plans = processPlans(config, count)
  const shopApiUrl = config.shopApiUrl
  const wantsShop = needsDemoShop(config, options.withShop === true)
  const shop = wantsShop && tools ? await startDemoShop() : null
  // Without `tools` the check runs no tool, so the address is not used.
  if (wantsShop) config = { ...config, shopApiUrl: shop?.url ?? 'http://127.0.0.1' }
  const findings = [good(count === 1 ? 'settings' : `settings, for ${count} processes`)]
  if (config.messagesFile !== null)
    findings.push(await receiversFinding(config.messagesFile, env, config.numbersFile !== null))
  const fault = nodeFault(process.versions.node)
  if (fault !== null) findings.push(lookAt(fault))
  const { fault: zoneFault } = machineZone()
  if (zoneFault !== null) findings.push(lookAt(zoneFault))
  findings.push(
    await loadFinding(`uWebSockets.js for Node ${process.versions.node}`, () => import('../edge/http/uws.js')),
  )
  if (config.otlpEndpoint !== null) findings.push(await loadFinding('OTEL_EXPORTER_OTLP_ENDPOINT', loadTraceExport))
  if (wantsShop && options.withShop !== true)
    findings.push(good("SHOP_API_URL is not set: the shipped agents use the demo's orders API"))
  const agents = await agentsFindings(config, env, tools)
  findings.push(...(await freshnessFindings(agentsDirOf(config), agents.definitions, Date.now())))
  findings.push(...agents.findings, ...(await serviceFamilies(backendSettings(config))))
  await shop?.close()
  findings.push(...(await folderFindings(plans)), ...clockFindings(plans))
  const places = count === 1 ? plans : [...plans, sparePlan(config, count)]
  if (config.storageBucket !== null) findings.push(await storageFinding(config, agents.definitions))
  for (const use of portsOf(places)) findings.push(await portFinding(use))
  if (shopApiUrl !== null) findings.push(await reachFinding('SHOP_API_URL', shopApiUrl))
  findings.push(...(await redisFindings(config)))
  findings.push(...(await carrierFindings(config, agents.definitions)))
  findings.push(...noticeFindings(config, agents.definitions))
  findings.push(...exposureFindings(config), ...currencyFindings(config), ...fleetFindings(config, count))
  const ready = findings.every(({ ok }) => ok !== false)
  if (options.json === true) out(json({ ready, findings }))
  else for (const finding of findings) out(findingLine(finding, terminal))
  return ready ? 0 : 2
}

/** Text of the backends: `first, then second`. For a split: `95 % first / 5 % second`. */
function sharesText(shares: readonly BackendShare[]): string {
  return shares
    .map(({ percent, names }) => `${shares.length === 1 ? '' : `${percent} % `}${names.join(', then ')}`)
    .join(' / ')
}

const NUMBERLESS = 'reads facts of a business, and no number in NUMBERS_FILE leads to it: its callers are refused'

async function agentsFindings(
  config: Config,
  terminalEnv: Environment,
  tools: boolean,
): Promise<{ readonly findings: readonly Finding[]; readonly definitions: readonly AgentDefinition[] }> {
  const env = agentEnvironment(terminalEnv, config)
  try {
    const { agents, numbers } = await faultlessAgents(config, env, undefined, terminalEnv)
    const { size } = numbers.businesses
    const numberless = withoutNumbers(agents, numbers)
    const hosted = eachVersion(agents).map(([, version]) => version)
    const ways = hosted.map(({ definition: { name, canary }, shares }) => {
      const share = canary === undefined ? '' : ` (a canary, ${canary.percent} % of its calls)`
      return `${name}${share} on ${sharesText(shares)}`
    })
    const uncounted = uncountedByBudgets(backendSettings(config), agents, numbers.businesses.values())
    const findings = [
      good(`agents: ${ways.join(', ')}`),
      ...(config.numbersFile === null ? [] : [good(`NUMBERS_FILE: ${size} numbers lead to an agent`)]),
      ...[
        ...numberless.map((name) => `${name} ${NUMBERLESS}`),
        ...handoversWithoutFacts(agents, numbers).map(
          ({ agent, to, facts }) =>
            `${agent} hands over to ${to}, which reads the facts ${facts.join(', ')}: calls of a number without them stay with ${agent} (NUMBERS_FILE)`,
        ),
        ...uncounted.map(
          (one) => `the budget of a number does not count the models of ${one.agent} on ${one.backend}: ${lackOf(one)}`,
        ),
      ].map(lookAt),
      ...speechFindings(hosted),
      ...(await backendFindings(config, hosted)),
      ...(await serverFindings(hosted, env)),
      ...(tools ? await toolFindings(hosted, env, [...numbers.businesses.values()]) : []),
    ]
    return { findings, definitions: hosted.map(({ definition }) => definition) }
  } catch (thrown) {
    return { findings: [bad(`agents: ${messageOf(thrown)}`)], definitions: [] }
  }
}

/** Looks at the MCP servers of all agents. Agents that cannot be loaded have no findings: `mkondo check` names them. */
export async function mcpFindings(config: Config, terminalEnv: Environment): Promise<Finding[]> {
  const env = agentEnvironment(terminalEnv, config)
  const loaded = await faultlessAgents(config, env, undefined, terminalEnv).catch(() => null)
  if (loaded === null) return []
  const hosted = eachVersion(loaded.agents).map(([, version]) => version)
  return (await serverFindings(hosted, env)).map((one) => (one.ok === false ? lookAt(one.what) : one))
}

/** Checks that the offline recogniser and voice are installed, if an agent needs them. */
function speechFindings(agents: readonly HostedAgent[]): Finding[] {
  try {
    const lack = findSpeech(agents)
    return lack === null ? [] : [lookAt(`the gateway's own phrases are not spoken: ${lack}`)]
  } catch (thrown) {
    return [bad(messageOf(thrown))]
  }
}

async function toolFindings(
  agents: readonly HostedAgent[],
  env: Environment,
  businesses: readonly Business[],
): Promise<Finding[]> {
  const transport = new HttpClient()
  const findings: Finding[] = []
  for (const { definition, assets } of agents) {
    const business = businesses.find(({ agent }) => agent === definition.name) ?? null
    const rehearsed = await rehearse(definition, assets ?? NO_ASSETS, env, transport, business)
    findings.push(...rehearsed.map(({ ok, what }) => ({ ok, what: `${definition.name}: ${what}` })))
  }
  transport.close()
  return findings
}

/** Maximum time in ms to wait for an MCP server and its list of tools. */
const MCP_CHECK_MS = 6000

/** Checks that each MCP server answers and offers the tools that its agent uses. */
async function serverFindings(agents: readonly HostedAgent[], env: Environment): Promise<Finding[]> {
  const transport = new HttpClient()
  const findings = agents.map(async ({ definition, assets }): Promise<Finding[]> => {
    const { mcp, name } = definition
    if (mcp.length === 0) return []
    const runner = await ToolRunner.open(definition, assets ?? NO_ASSETS, env, transport)
    await runner.useServers(MCP_CHECK_MS)
    const found = runner.serverFaults.map(({ server, fault }) => ({
      ok: fault === null,
      what: `${name}: MCP server ${server} ${fault ?? `has all ${mcp.find((one) => one.name === server)?.tools.length ?? 0} tools`}`,
    }))
    await runner.close()
    return found
  })
  const all = (await Promise.all(findings)).flat()
  transport.close()
  return all
}

/**
 * @param work returns the text of the finding; if `work` throws, the finding is a fault
 * @param faultOf returns the text of the fault
 */
async function tried(work: () => string | Promise<string>, faultOf = messageOf): Promise<Finding> {
  try {
    return good(await work())
  } catch (thrown) {
    return bad(faultOf(thrown))
  }
}

/** Checks that a required package is installed and loads on this machine. */
function loadFinding(what: string, load: () => Promise<unknown>): Promise<Finding> {
  return tried(() => load().then(() => what))
}

/** Checks that the file of message receivers can be read, and that each receiver's secret is set. */
function receiversFinding(path: string, env: Environment, hasNumbers: boolean): Promise<Finding> {
  return tried(() => {
    const names = readReceivers(path, env, hasNumbers).map(({ name }) => name)
    return `MESSAGES_FILE: messages go to ${names.join(', ')}`
  })
}

/**
 * Checks that each process could write to its folder. Locks the folder like a starting gateway does, then undoes all
 * changes.
 */
async function folderFindings(plans: readonly ProcessPlan[]): Promise<Finding[]> {
  const findings: Finding[] = []
  const held: DataFolder[] = []
  for (const { config } of plans.filter((plan) => usesDataFolder(plan.config))) {
    try {
      const folder = await holdDataFolder(config.dataDir)
      held.push(folder)
      const what = `DATA_DIR ${config.dataDir} can be written,`
      findings.push(
        folder.locked
          ? good(`${what} and no other gateway uses it`)
          : lookAt(`${what} but not locked: a second gateway that uses it would not be noticed`),
      )
    } catch (thrown) {
      findings.push(bad(messageOf(thrown)))
    }
  }
  for (const folder of held.reverse()) folder.undo()
  return findings
}

/** Findings about data folders whose gateway has found the machine's clock wrong. */
export function clockFindings(plans: readonly { readonly config: Pick<Config, 'dataDir'> }[]): Finding[] {
  return plans.flatMap(({ config: { dataDir } }) => {
    const fault = notedClockFault(dataDir)
    return fault === null ? [] : [lookAt(clockFaultText(fault, dataDir))]
  })
}

/** Findings about agents that store the callers' words without a notice to the callers. */
function noticeFindings(
  { keepCalls, recordsTranscript, journalCalls }: Config,
  definitions: readonly AgentDefinition[],
): Finding[] {
  if (recordsTranscript === 'none' && journalCalls !== 'off')
    return [lookAt('JOURNAL_CALLS keeps no journals, because RECORDS_TRANSCRIPT=none keeps no words')]
  if (!keepCalls || recordsTranscript === 'none') return []
  const silent = definitions.filter((agent) => !agent.recording.enabled && consentOf(agent) === null)
  if (silent.length === 0) return []
  const names = silent.map(({ name }) => name).join(', ')
  return [lookAt(`callers of ${names} are not told that their words are kept (recording.notice)`)]
}

/**
 * Checks that the bucket stores an object, returns it and deletes it. Reports after how many days the bucket deletes
 * objects.
 */
function storageFinding(config: Config, definitions: readonly AgentDefinition[]): Promise<Finding> {
  const work = async (): Promise<string> => {
    const storage = objectStorageOf(config, [])
    await findS3Client()
    if (storage === null) return 'STORAGE_BUCKET is not set'
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true'
    const { S3Store } = await import('../telemetry/archive/objects/s3-store.js')
    const store = new S3Store(storage.bucket)
    await store.probe(`${storage.prefix}check-${randomUUID()}`, AbortSignal.timeout(STORAGE_CHECK_MS))
    const of = (settings: number, own: 'recordsDays' | 'recordingsDays'): string =>
      [...new Set([settings, ...definitions.flatMap(({ retention }) => retention[own] ?? [])])]
        .sort((a, b) => a - b)
        .map((days) => `${days}d`)
        .join(', ')
    const rules = `recordings ${of(config.recordingsKeepDays, 'recordingsDays')}; records ${of(config.recordsKeepDays, 'recordsDays')}`
    return `STORAGE_BUCKET ${storage.bucket.bucket} takes objects; it needs rules for ${rules}`
  }
  return tried(work, (thrown) =>
    thrown instanceof GatewayError ? thrown.message : `STORAGE_BUCKET: ${messageOf(thrown)}`,
  )
}

/** Checks that a gateway could listen on the port now. */
async function portFinding(use: PortUse): Promise<Finding> {
  const why = await whyNotFree(use)
  const what = `${use.setting} ${use.host}:${use.port}`
  return why === null ? good(`${what} is free`) : bad(`${what}: ${why}`)
}

/** Checks that an address answers. Any HTTP answer counts, even an error status. */
function reachFinding(name: string, url: string): Promise<Finding> {
  const request = { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(REACH_TIMEOUT_MS) } as const
  return tried(
    async () => `${name} answers (${(await fetch(url, request)).status})`,
    (thrown) => `${name} ${new URL(url).host} does not answer: ${networkCauseOf(thrown)}`,
  )
}

/**
 * Finds endpoints that strangers can use. Such endpoints are allowed on a developer's machine, but not in production.
 */
function exposureFindings(config: Config): Finding[] {
  const { open, refused } = exposureOf(config)
  if (open.length > 0) return open.map((what) => (refused ? bad(what) : lookAt(`${what} (INSECURE)`)))
  return config.webhookSecrets.length > 0
    ? []
    : [good('webhooks: unsigned ones are accepted (the public port is reachable from this machine only)')]
}

/** Findings about missing exchange rates. Only operators who set prices or the currency get these findings. */
function currencyFindings(config: Config): Finding[] {
  const { currency } = config
  const { prices } = backendSettings(config)
  const list = priceList([prices]).currency
  if (prices === null && currency === list) return []
  const unrated = `CURRENCY is ${currency}, and PRICES_FILE has no exchange rate from`
  return unratedCurrencies(config, prices).map((from) =>
    lookAt(`${unrated} ${from}: the whole cost of calls is unknown`),
  )
}

/** Checks the fleet's Redis if REDIS_URL is set: Redis must work, and its settings must not lose calls. */
export async function redisFindings({ redisUrl: url, redisPrefix: prefix }: Config): Promise<readonly Finding[]> {
  if (url === null) return []
  const { lookAtRedis } = await import('../fleet/store/redis-store.js')
  const found = await lookAtRedis({ url, prefix, secrets: [randomUUID()], log: createLog({ level: 'silent' }) })
  return found.map(({ is, what }) => ({ ok: { good: true, look: null, bad: false }[is], what }))
}

/** Faults of a fleet that would otherwise show only at the first request between two nodes. */
function fleetFindings(config: Config, count: number): Finding[] {
  const { redisUrl, internalHost, internalUrl, publicUrl } = config
  if (publicUrl !== null && redisUrl === null && count === 1 && !resumesAlone(config)) {
    const what = 'its calls do not continue after this gateway has died and started again'
    return [lookAt(`${what}: TOKEN_SECRET is not set, or KEEP_CALLS is false`)]
  }
  if (redisUrl === null || internalUrl !== null || !isLoopback(internalHost)) return []
  const what = `INTERNAL_HOST is '${internalHost}': only nodes on this machine reach this one, although REDIS_URL is set`
  return [lookAt(what)]
}

// --- backends -----------------------------------------------------------------------------------------------

/** Backend that runs in this process, so no connection is checked. */
const LOCAL = 'embedded'
/**
 * Time limit in ms of a probe. A backend has a shorter deadline, because its error says more than the probe's timeout.
 */
const PROBE_MS_MAX = BACKEND_CONNECT_MS + 1000

/**
 * Connects each backend of each agent once, like a call does. Also finds settings in the agent's file that have no
 * effect.
 */
async function backendFindings(config: Config, agents: readonly HostedAgent[]): Promise<Finding[]> {
  const probes = agents.flatMap((agent) => namesIn(agent.shares).map((name) => ({ agent, name })))
  const reached = await Promise.all(
    probes.filter(({ name }) => name !== LOCAL).map(({ agent, name }) => reach(config, agent, name)),
  )
  return [
    ...reached,
    ...agents.flatMap((agent) => endFindings(config, agent, Date.now())),
    ...agents.flatMap((agent) => oddities(config, agent)).map(lookAt),
    ...(await Promise.all(agents.map((agent) => schemaRemarks(config, agent)))).flat().map(lookAt),
  ]
}

/**
 * Findings about models of an agent that their vendor ends soon or has ended.
 * @param nowMs wall clock
 */
export function endFindings(
  config: Config,
  agent: Pick<HostedAgent, 'definition' | 'shares'>,
  nowMs: number,
): Finding[] {
  return endsOf(backendSettings(config), agent, nowMs).map((end) => {
    const what = `${agent.definition.name}: ${endText(end)}`
    return end.state === 'over' ? bad(what) : lookAt(what)
  })
}

/** Remarks about an agent's tool schemas: parts that do not limit the values, and parts that models do not receive. */
async function schemaRemarks(config: Config, { definition, shares }: HostedAgent): Promise<string[]> {
  const remarks: string[] = []
  for (const { name: tool, parameters } of definition.tools) {
    const remark = (what: string) => remarks.push(`${definition.name}: tool ${tool}: ${what}`)
    const unknown = unknownKeywords(parameters)
    if (unknown.length > 0) remark(`${unknown.join(', ')} is not a keyword of JSON Schema and has no effect`)
    for (const name of namesIn(shares)) {
      const dropped = await droppedOf(name, backendSettings(config), definition.backends, parameters)
      if (dropped.length > 0) remark(`backend ${name} does not get ${dropped.join(', ')}; the gateway checks it`)
    }
  }
  return remarks
}

/** Time in ms after accepting a connection in which a service may still refuse its key. */
const REFUSAL_MS = 600

/** Opens a backend session like a call does, and ends the session when the backend is ready. No speech is sent. */
async function reach(config: Config, { definition }: HostedAgent, name: string): Promise<Finding> {
  const what = `backend ${name} of ${definition.name}`
  const legRateHz = widestRateHz(definition.stream.outputSamplingRate)
  const { context, session } = trialSession(definition, name, backendSettings(config), legRateHz)
  const startedAtMs = performance.now()
  // This timer keeps the process alive. The backend's connection and the timer of `AbortSignal.timeout` do not.
  const alive = setTimeout(() => undefined, PROBE_MS_MAX)
  try {
    const create = await loadBackend(name, context)
    const faults: string[] = []
    const backend = create({
      event: (event) => {
        if (event.type === 'error' && event.fatal) faults.push(event.message)
      },
      audio: () => undefined,
    })
    try {
      await backend.connect(session, AbortSignal.timeout(PROBE_MS_MAX))
      const readyMs = Math.round(performance.now() - startedAtMs)
      // A cascade's services accept the connection first and refuse a wrong key a little later, so the check waits.
      if (name === 'cascade') await new Promise((resolve) => setTimeout(resolve, REFUSAL_MS))
      const [fault] = faults
      return fault === undefined ? good(`${what} is ready after ${readyMs} ms`) : bad(`${what}: ${fault}`)
    } finally {
      await backend.close('the check is over')
    }
  } catch (thrown) {
    // A custom module may throw any value. The module must keep keys out of its errors, because this text is printed.
    return bad(`${what}: ${thrown instanceof GatewayError ? thrown.message : `failed: ${messageOf(thrown)}`}`)
  } finally {
    clearTimeout(alive)
  }
}

/** Maximum number of texts that one finding lists as missing in a language. */
const UNTRANSLATED_SHOWN_MAX = 10

/** Text that names the models without a price, and the setting that gives a price. */
function lackOf({ currency, models }: Unpriced): string {
  return `there is no price in ${currency} for ${models.join(', ')}; allowed: one in PRICES_FILE, or in budget.prices of the agent`
}

/** Settings that are allowed but probably not intended. */
function oddities(config: Config, { definition, assets = NO_ASSETS, shares }: HostedAgent): string[] {
  const backends = namesIn(shares)
  const { name, budget, backends: options } = definition
  const odd = [...untranslated(definition, passagesOf(assets))].map(([language, paths]) => {
    const more = paths.length - UNTRANSLATED_SHOWN_MAX
    const shown = paths.slice(0, UNTRANSLATED_SHOWN_MAX).join(', ')
    return `${name} has no text in ${language} for ${shown}${more > 0 ? ` and ${more} more` : ''}`
  })
  const settings = backendSettings(config)
  if (budget?.maxCost !== undefined)
    for (const unpriced of unpricedOf(settings, definition, backends))
      odd.push(`budget.maxCost of ${name} has no effect with ${unpriced.backend}: ${lackOf(unpriced)}`)
  for (const { names } of shares) {
    const listening = names.filter((backend) => detectsTurns(backend, settings, options))
    const explicit = listening.filter(
      (backend) =>
        (options as Readonly<Record<string, { readonly turns?: unknown } | undefined>>)[backend]?.turns !== undefined,
    )
    if (names.length === 1 || listening.length === names.length || explicit.length === 0) continue
    const alone = `${explicit.join(', ')} detects turns by itself`
    odd.push(`${name}: ${alone} in a list in which the gateway detects turns; leave out turns`)
  }
  for (const backend of backends)
    odd.push(...lacksOf(backend, settings, options, definition.languages).map((lack) => `${name}: ${lack}`))
  const spoken = definition.voice['cascade']
  for (const { service, voice } of serviceEntries('tts', options.cascade ?? {}) ?? [])
    if (voice !== undefined && typeof spoken === 'object') {
      const own = `whose own voice ${voice} takes precedence; leave out the service's voice`
      odd.push(`${name}: voice.cascade has no effect with ${service}, ${own}`)
    }
  const unused = Object.keys(options).filter((backend) => !backends.includes(backend))
  return [...odd, ...unused.map((backend) => `${name} has options for ${backend}, which it does not use`)]
}

// --- the carrier's API --------------------------------------------------------------------------------------

/**
 * SID that does not belong to any call. A request with this SID changes nothing, because the carrier always refuses it:
 * the key lacks the scope, or the call is unknown.
 */
const NO_CALL = 'HD_mkondo_check'

/**
 * Checks that the carrier's API answers, that numbers lead to this gateway, and that the key has the scopes for the
 * features in use. Changes nothing.
 * @param definitions the agents that use the key; null for any agent
 */
export async function carrierFindings(
  config: Config,
  definitions: readonly Pick<AgentDefinition, 'name' | 'escalation'>[] | null = null,
): Promise<Finding[]> {
  const api = carrierApi(config)
  if (api === null) {
    const without = "the gateway cannot hang up calls or add a human through the carrier's API"
    return [good(`SAUTIKIT_API_KEY is not set: ${without}`)]
  }
  const families = await familiesFinding("carrier's API", new URL(config.apiUrl))
  const numbers = await asked(
    'numbers and their routing cannot be shown or changed',
    async () => {
      const { items } = await api.numbers.list()
      if (items.length === 0) return 'may read numbers; the workspace has none yet'
      const here =
        config.publicUrl === null
          ? []
          : items.filter(({ voiceUrl }) => voiceUrl?.startsWith(`${config.publicUrl ?? ''}/`))
      return `may read numbers; ${here.length} of ${items.length} are routed to this gateway`
    },
    [403],
  )
  const first = families === null ? [numbers] : [families, numbers]
  if (numbers.ok === false) return first
  const findings = [
    ...first,
    await asked("records have no duration, cost and hang-up cause of the carrier's", async () => {
      await api.calls.listCalls({ limit: 1 })
      return 'may read calls: their duration, cost and hang-up cause are added to the records'
    }),
  ]
  if (config.carrierRecordings)
    findings.push(
      await asked("the carrier's recordings are not fetched (CARRIER_RECORDINGS)", async () => {
        await api.calls.recording(NO_CALL)
        return "may read recordings: the carrier's are fetched"
      }),
    )
  findings.push(
    await asked('calls are not hung up by the gateway, and a caller whose stream is lost may be left in silence', () =>
      aboutNoCall(() => api.calls.hangup(NO_CALL), 'may hang up calls'),
    ),
  )
  const supervising = definitions?.filter(({ escalation }) => escalation?.strategies.includes('supervision') === true)
  if (supervising === undefined || supervising.length > 0)
    findings.push(
      await asked(
        `the escalation strategy supervision fails${supervising === undefined ? '' : ` for ${supervising.map(({ name }) => name).join(', ')}`}`,
        async () => {
          await api.calls.stopSupervision(NO_CALL)
          return 'may supervise calls: a human can be added to a live call'
        },
      ),
    )
  findings.push(
    await asked('nothing warns of an empty wallet, with which the carrier refuses outbound calls', async () => {
      const minor = await api.calls.walletMinor()
      return minor === null
        ? 'finds no balance of the wallet'
        : `may read the wallet; it holds ${(minor / 100).toFixed(2)}`
    }),
  )
  const listed = await publicPrices(api.http).catch(() => null)
  if (listed !== null) findings.push(ratesFinding(listed, backendSettings(config).prices?.carrier ?? CARRIER_RATES))
  return findings
}

/** Compares the rates used for costs with the carrier's public price list. */
function ratesFinding(listed: PublicPrices, rates: CarrierRates): Finding {
  const text = publicPricesText(listed)
  const other = ratesUnlike(listed, rates)
  return other === null
    ? good(`costs are counted with the carrier's public prices: ${text}`)
    : lookAt(`the carrier's public prices are ${text}; costs are counted with ${other} (carrier in PRICES_FILE)`)
}

/** Sends a request about a call that does not exist. The answer 404 proves that the key has the scope. */
async function aboutNoCall(ask: () => Promise<void>, what: string): Promise<string> {
  try {
    await ask()
  } catch (thrown) {
    if (!(thrown instanceof CarrierApiError) || thrown.status !== 404) throw thrown
  }
  return what
}

/** @param without  the features that fail if the key lacks the scope */
async function asked(
  without: string,
  ask: () => Promise<string>,
  mayLack: readonly number[] = [403, 404, 405],
): Promise<Finding> {
  try {
    return good(`SAUTIKIT_API_KEY ${await ask()}`)
  } catch (thrown) {
    // The statuses in `mayLack` say that an optional scope or request is missing. All other errors, such as an unknown
    // key, are faults.
    const denied = thrown instanceof CarrierApiError && mayLack.includes(thrown.status)
    return { ok: denied ? null : false, what: `SAUTIKIT_API_KEY: ${messageOf(thrown)}${denied ? `: ${without}` : ''}` }
  }
}
