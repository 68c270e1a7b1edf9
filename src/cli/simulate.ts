import { TEXT_MODEL_SETTINGS } from '../vendors/list.js'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentDefinition } from '../agents/file/definition.js'
import type { Environment } from '../agents/file/template.js'
import type { CallAnalysis, CallRecord } from '../call/documents/record.js'
import { GatewayError, messageOf, networkCauseOf } from '../core/errors.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import type { Config } from '../config/settings.js'
import { agentEnvironment } from '../gateway/agents/agent-environment.js'
import { CallAnalyses } from '../gateway/call-analyses.js'
import type { Business } from '../agents/file/business.js'
import type { HostedAgent } from '../workers/main/main-thread-context.js'
import { agentYaml, vocabularyOf, type AgentVocabulary } from '../simulator/vocabulary.js'
import { SIMULATOR_KEY } from '../simulator/choices.js'
import { GatewayView } from '../simulator/gateway-view.js'
import { hasPattern, textPattern } from '../simulator/spoken-words.js'
import type { AskCaller } from '../simulator/asked-caller.js'
import { runAudioCall, type GatewayAddress } from '../simulator/scenarios/audio-call.js'
import { findScenarios, type CallMode, type Scenario } from '../simulator/scenarios/scenario.js'
import { BoundedModels } from '../simulator/scenarios/bounded-models.js'
import type { ObservedCall } from '../simulator/scenarios/judge.js'
import { ModelConversation } from '../simulator/scenarios/model-caller.js'
import { judgedBy } from '../simulator/scenarios/model-judge.js'
import {
  junitXml,
  NO_PAINT,
  ratesText,
  resultText,
  sarif,
  scenarioReport,
  summaryText,
  TERMINAL_PAINT,
} from '../simulator/scenarios/report.js'
import { planOf, runScenarios, type ScenarioRun } from '../simulator/scenarios/run-scenarios.js'
import { coverText, stageCover } from '../simulator/scenarios/stage-cover.js'
import { runTextCall } from '../simulator/scenarios/text-call.js'
import { openTextMedia, type TextMedia } from '../simulator/scenarios/text-gateway.js'
import { createLog } from '../telemetry/log.js'
import { Metrics } from '../telemetry/metrics.js'
import type { Gateway } from '../gateway/gateway.js'
import { SCENARIO_JOBS_MAX } from '../core/limits.js'
import { backendSettings, faultlessAgents } from '../gateway/agents/hosted-agents.js'
import { startDemoShop, type DemoShop } from './demo/demo-shop.js'
import { Progress } from './progress.js'
import { json, untilSignal, type Terminal } from './terminal.js'

/** Maximum time in ms to wait for a running gateway's answer. */
const REACH_TIMEOUT_MS = 3000
/**
 * ANALYSIS_WAIT_MS: time in ms for a running gateway to analyse a call. ANALYSIS_LOOK_MS: time in ms between two
 * requests.
 */
const ANALYSIS_WAIT_MS = 60_000
const ANALYSIS_LOOK_MS = 500

const SHIPPED_AGENTS = join(packageRoot(), 'agents')
/** Backend for all agents, so that scenarios run without keys. */
const BACKEND = 'embedded'

/**
 * Environment that this command starts: a folder's agents on the embedded backend, the demo's shop, and a gateway for
 * spoken calls.
 */
class OwnGround implements Ground {
  readonly unavailable = {}
  readonly #parts: GroundParts
  #media: Promise<TextMedia> | null = null
  readonly #vocabularies = new Map<string, Promise<AgentVocabulary>>()
  #gateway: Promise<Gateway> | null = null

  /** @throws GatewayError AGENT_INVALID and others for faults of the agents */
  static async open(options: SimulateOptions, io: SimulateIo): Promise<OwnGround> {
    const shop = io.env['SHOP_API_URL'] === undefined ? await startDemoShop() : null
    const folder = await mkdtemp(join(tmpdir(), 'mkondo-simulate-'))
    try {
      const ofFolder = loadConfig({ AGENT_ENV: io.env['AGENT_ENV'] }, null)
      const shopApiUrl = shop?.url ?? io.env['SHOP_API_URL'] ?? null
      const config: Config = {
        // Defaults without this machine's settings, so that the result does not depend on the machine.
        ...ofFolder,
        // These limits are high, because several scenarios run at once with the same caller number.
        callerCalls: SCENARIO_JOBS_MAX,
        callerCallsPerMinute: 6000,
        host: '127.0.0.1',
        port: 0,
        opsPort: 0,
        dataDir: folder,
        shopApiUrl,
        agentsDir: options.agents ?? io.env['AGENTS_DIR'] ?? ofFolder.agentsDir,
        numbersFile: io.env['NUMBERS_FILE'] ?? ofFolder.numbersFile,
      }
      const env = agentEnvironment(io.env, config)
      const { agents, numbers } = await faultlessAgents(config, env, BACKEND, io.env)
      return new OwnGround({ options, io, shop, config, env, agents, businesses: numbers.businesses })
    } catch (thrown) {
      await shop?.close()
      await rm(folder, { recursive: true, force: true })
      throw thrown
    }
  }

  private constructor(parts: GroundParts) {
    this.#parts = parts
  }

  check(scenarios: readonly Scenario[]): void {
    for (const { agent, file } of scenarios) {
      if (this.#parts.agents.has(agent)) continue
      throw new GatewayError(
        'AGENT_UNKNOWN',
        `${file}: there is no agent ${agent}; allowed: ${[...this.#parts.agents.keys()].join(', ')}`,
      )
    }
  }

  get agents(): readonly AgentDefinition[] {
    return [...this.#parts.agents.values()].map(({ definition }) => definition)
  }

  async place(run: ScenarioRun, ask?: AskCaller): Promise<ObservedCall> {
    const call = await (run.mode === 'text' ? this.#placeText(run, ask) : this.#placeSpoken(run, ask))
    if (run.scenario.expect.fields === undefined || call.record === null) return call
    return { ...call, record: { ...call.record, analysis: await this.#analysisOf(call.record) } }
  }

  /** Analysis of a call, made like in the gateway, with the text model of this machine's settings. */
  #analysisOf(record: CallRecord): Promise<CallAnalysis | null> {
    if (this.#parts.agents.get(record.agent)?.definition.analysis == null) return Promise.resolve(null)
    const settings = backendSettings(loadConfig(this.#parts.io.env, null))
    return new Promise((resolve) => {
      const analyses = new CallAnalyses({
        agents: this.#parts.agents,
        settings: settings.cascade,
        prices: settings.prices,
        perHour: 1,
        clock: () => performance.now(),
        wallClock: Date.now,
        log: createLog({ level: 'silent' }),
        metrics: new Metrics({ version: 'simulate', processMetrics: false }),
        owed: null,
        done: (_, analysis) => resolve(analysis),
      })
      analyses.take({ ...record, analysis: null })
    })
  }

  async close(): Promise<void> {
    const gateway = await this.#gateway?.catch(() => null)
    await gateway?.stop(0)
    const media = await this.#media?.catch(() => null)
    await media?.close()
    await this.#parts.shop?.close()
    await rm(this.#parts.config.dataDir, { recursive: true, force: true })
  }

  async #placeText({ scenario, seed }: ScenarioRun, ask: AskCaller | undefined): Promise<ObservedCall> {
    this.#media ??= openTextMedia(backendSettings(this.#parts.config), this.#parts.env)
    const media = await this.#media
    return runTextCall(media, {
      scenario,
      seed,
      ...asking(ask),
      agents: this.#parts.agents,
      businesses: this.#parts.businesses,
      env: this.#parts.env,
      vocabulary: await this.#vocabularyOf(scenario.agent),
      signal: this.#parts.io.signal,
    })
  }

  /** Vocabulary of an agent. A caller in text needs it to understand the agent's words. */
  #vocabularyOf(agent: string): Promise<AgentVocabulary> {
    let vocabulary = this.#vocabularies.get(agent)
    if (vocabulary === undefined) {
      const yaml = agentYaml([this.#parts.config.agentsDir ?? SHIPPED_AGENTS], agent)
      vocabulary = yaml.then((text) => vocabularyOf(text))
      this.#vocabularies.set(agent, vocabulary)
    }
    return vocabulary
  }

  async #placeSpoken(run: ScenarioRun, ask: AskCaller | undefined): Promise<ObservedCall> {
    // Written to standard error, because a report may be written to standard output.
    const log = createLog({
      level: 'error',
      destination: {
        write: (line) => {
          this.#parts.io.err(line)
        },
      },
    })
    const { config, env } = this.#parts
    // Imported only here. Scenarios in text run on any Node, without the native module that a gateway's ports need.
    const start = async (settings: Partial<Config> = {}): Promise<Gateway> =>
      (await import('../gateway/gateway.js')).startGateway({
        ...{ config: { ...config, ...settings }, env, log, onlyBackend: BACKEND },
      })
    // Each outbound call has its own gateway, because a gateway has one carrier, and scenarios must not share data
    // about called people.
    const calling: Gateway[] = []
    const startCalling = async (apiUrl: string): Promise<Gateway> => {
      const dataDir = await mkdtemp(join(config.dataDir, 'placed-'))
      const gateway = await start({ dataDir, apiUrl, apiKey: SIMULATOR_KEY })
      calling.push(gateway)
      return gateway
    }
    try {
      return await runAudioCall({
        gateway: async (carrierUrl) => {
          const gateway = await (carrierUrl === null ? (this.#gateway ??= start()) : startCalling(carrierUrl))
          return {
            url: `http://127.0.0.1:${gateway.publicPort}`,
            opsUrl: `http://127.0.0.1:${gateway.opsPort}`,
            ...{ opsToken: null, secret: null },
          }
        },
        shopUrl: config.shopApiUrl,
        scenario: run.scenario,
        ...{ seed: run.seed, ...asking(ask) },
        agentYaml: await agentYaml([config.agentsDir ?? SHIPPED_AGENTS], run.scenario.agent),
        recordTo: recordingOf(this.#parts.options, run),
        signal: this.#parts.io.signal,
      })
    } finally {
      for (const gateway of calling) await gateway.stop(0)
    }
  }
}

/** The options of `mkondo simulate`, with the gateway that these options name. */
export interface SimulateOptions {
  /** Running gateway to test; null to start a gateway. */
  readonly gateway: { readonly url: string; readonly opsUrl: string; readonly secret: string | null } | null
  readonly agents?: string
  readonly mode?: CallMode
  readonly jobs: number
  /** Text or `/expression/` that selects scenarios by name; all scenarios if absent. */
  readonly filter?: string
  readonly repeat: number
  readonly seed: number
  readonly junit?: string
  readonly sarif?: string
  /** File for the JSON, or `-` for standard output. */
  readonly json: string | null
  readonly record?: string
  /** Folder with one transcript file per call. */
  readonly transcripts?: string
  /** Maximum cost of the models that act as callers and judges; if absent, scenarios with these models are skipped. */
  readonly modelCost?: number
  readonly modelRequests: number
  /** Prints the stages that no call used, and the transitions between stages that no call used. */
  readonly cover?: true
  readonly list?: true
}

/** Terminal of the command. If its signal is aborted, the running calls end, and the results so far are reported. */
type SimulateIo = Terminal & { readonly signal: AbortSignal }

/**
 * Runs `mkondo simulate`. Exit code 1: a scenario failed or the run was stopped.
 * @throws GatewayError without a gateway, or for an unusable scenario or agent
 */
export async function simulate(
  paths: readonly string[],
  options: SimulateOptions,
  terminal: Terminal,
): Promise<number> {
  const wanted = options.filter === undefined ? () => true : filterOf(options.filter)
  const scenarios = (await findScenarios(paths)).filter(({ agent, name }) => wanted(`${agent}/${name}`))
  if (scenarios.length === 0) throw new GatewayError('CONFIG_INVALID', 'no scenario matches --filter')
  if (options.list === true) {
    for (const { agent, name, mode, file } of scenarios)
      terminal.out(`${agent}/${name} ${mode ?? 'text or audio'} ${file}\n`)
    return 0
  }
  return untilSignal(terminal, (signal) => run(options, scenarios, { ...terminal, signal }))
}

/** @throws GatewayError CONFIG_INVALID */
function filterOf(source: string): (name: string) => boolean {
  try {
    const pattern = textPattern(source)
    return (name) => (pattern.expression === null ? name.includes(source) : hasPattern(name, pattern))
  } catch (thrown) {
    throw new GatewayError('CONFIG_INVALID', `--filter ${source} cannot be read: ${messageOf(thrown)}`)
  }
}

async function run(options: SimulateOptions, scenarios: readonly Scenario[], io: SimulateIo): Promise<number> {
  const startedAt = new Date().toISOString()
  const startedMs = performance.now()
  const models = modelsOf(options, scenarios, io)
  const ground =
    options.gateway === null ? await OwnGround.open(options, io) : await runningGateway(options.gateway, options, io)
  try {
    ground.check(scenarios)
    for (const [kept, extension] of [[options.record, 'wav'] as const, [options.transcripts, 'json'] as const]) {
      if (kept === undefined) continue
      filesOfTheirOwn(scenarios, extension)
      await mkdir(kept, { recursive: true, mode: 0o700 })
    }
    const plan = planOf(scenarios, {
      mode: options.mode ?? null,
      unavailable: { ...ground.unavailable, ...(await spokenUnavailable(options, scenarios)) },
      without: (scenario) => withoutModels(scenario, models),
      repeat: options.repeat,
      seed: options.seed,
    })
    const paint = io.colours && options.json !== '-' ? TERMINAL_PAINT : NO_PAINT
    const print = options.json === '-' ? io.err : io.out
    const reportOf = (results: Parameters<typeof scenarioReport>[0]): ReturnType<typeof scenarioReport> =>
      scenarioReport(results, { startedAt, realMs: performance.now() - startedMs, models: models?.used ?? null })
    const progress = new Progress(io, 'simulate')
    const calls = plan.filter(({ skipped }) => skipped === null).length
    let finished = 0
    progress.show(`0 of ${calls} calls`)
    const results = await runScenarios(plan, {
      jobs: options.jobs,
      signal: models === null ? io.signal : AbortSignal.any([io.signal, models.stopped]),
      place: (one) => placed(one, ground, models),
      onResult: async (result) => {
        if (result.status !== 'skipped') finished++
        for (const shown of reportOf([result]).results) {
          progress.print(print, resultText(shown, paint))
          if (options.transcripts !== undefined && shown.call !== null)
            await writePrivate(callFile(options.transcripts, result, 'json'), json(shown))
        }
        progress.show(`${finished} of ${calls} calls`)
      },
    }).finally(() => progress.end())
    const report = reportOf(results)
    print(ratesText(report, paint))
    print(summaryText(report, paint))
    if (options.cover === true)
      print(
        coverText(
          stageCover(
            ground.agents,
            results.flatMap(({ call }) => call?.record ?? []),
          ),
        ),
      )
    if (options.json === '-') io.out(json(report))
    else if (options.json !== null) await writeFile(options.json, json(report))
    if (options.junit !== undefined) await writeFile(options.junit, junitXml(report))
    if (options.sarif !== undefined) await writeFile(options.sarif, json(sarif(report)))
    const reached = models?.reached ?? null
    if (reached !== null) io.err(`mkondo simulate: stopped: ${reached}\n`)
    else if (io.signal.aborted) io.err('mkondo simulate: stopped before all scenarios had run\n')
    return report.failed === 0 && reached === null && !io.signal.aborted ? 0 : 1
  } finally {
    await ground.close()
  }
}

/**
 * Models from this machine's settings for callers and judges; null if no cost was allowed.
 * @throws GatewayError CONFIG_INVALID for a model whose cost is unknown or above the limit
 */
function modelsOf(
  { modelCost: costMax, modelRequests: requestsMax }: SimulateOptions,
  scenarios: readonly Scenario[],
  { env, signal }: SimulateIo,
): BoundedModels | null {
  const asked = scenarios.flatMap(({ model, judge }) => [model, judge].filter((one) => one !== null))
  if (costMax === undefined || asked.length === 0) return null
  const models = new BoundedModels({ settings: backendSettings(loadConfig(env, null)), costMax, requestsMax, signal })
  for (const { llm } of asked) {
    const missing = models.missing(llm)
    if (missing !== null && 'bound' in missing)
      throw new GatewayError(
        'CONFIG_INVALID',
        `${missing.bound}; PRICES_FILE may give it another price, 0 for a server of your own (docs/BACKENDS.md)`,
      )
  }
  return models
}

/**
 * Reason why a scenario that needs a model as caller or judge cannot run; null if it can run, or does not need a model.
 */
function withoutModels({ model, judge }: Scenario, models: BoundedModels | null): string | null {
  const asked = [model, judge].filter((one) => one !== null)
  if (asked.length === 0) return null
  if (models === null) return 'its caller or its judge is a model, which costs money: set the maximum with --model-cost'
  return asked.some(({ llm }) => models.missing(llm) !== null) ? `it needs a text model: ${TEXT_MODEL_SETTINGS}` : null
}

/** Places the call, if necessary with a model as the caller. Then gets the verdict of the judge's model. */
async function placed(run: ScenarioRun, ground: Ground, models: BoundedModels | null): Promise<ObservedCall> {
  const { scenario, seed } = run
  if (models === null || (scenario.model === null && scenario.judge === null)) return ground.place(run)
  const conversation = scenario.model === null ? null : new ModelConversation(scenario.model, models, seed)
  const call = await ground.place(run, conversation?.ask)
  const callerFault = conversation?.fault ?? null
  // If the caller's model failed, the judge's model is not used.
  const judged =
    scenario.judge === null || callerFault !== null
      ? { judge: null, judgeFault: null, criteria: [] }
      : await judgedBy(scenario.judge, call, models, seed)
  return { ...call, models: { callerFault, ...judged } }
}

/**
 * Reason why spoken calls cannot run. They need a gateway, whose ports need a native module. If this Node lacks the
 * module, spoken scenarios are skipped. If the command's options request spoken calls, the missing module is an error.
 */
async function spokenUnavailable(
  { gateway, mode }: SimulateOptions,
  scenarios: readonly Scenario[],
): Promise<Ground['unavailable']> {
  if (gateway !== null || mode !== undefined || scenarios.every((one) => one.mode !== 'audio')) return {}
  try {
    await import('../edge/http/uws.js')
    return {}
  } catch (thrown) {
    return { audio: messageOf(thrown) }
  }
}

/** Environment of scenarios: a gateway that this command starts, or a running gateway. */
interface Ground {
  /** Reason why a mode (text or speech) is not available in this environment. */
  readonly unavailable: Parameters<typeof planOf>[1]['unavailable']
  /** @throws GatewayError AGENT_UNKNOWN for a scenario whose agent does not exist */
  check(scenarios: readonly Scenario[]): void
  /** Agents whose stages this command can list. */
  readonly agents: readonly AgentDefinition[]
  /** @param ask decides the caller's moves; if absent, the script decides them */
  place(run: ScenarioRun, ask?: AskCaller): Promise<ObservedCall>
  close(): Promise<void>
}

/**
 * Environment that is a running gateway. This command does not know the gateway's agents, so the gateway may refuse a
 * call to a missing agent.
 * @throws GatewayError CONFIG_INVALID if the gateway does not answer
 */
async function runningGateway(
  gateway: NonNullable<SimulateOptions['gateway']>,
  options: SimulateOptions,
  { env, signal }: SimulateIo,
): Promise<Ground> {
  const opsToken = env['OPS_TOKEN'] ?? null
  await reachable('--url', gateway.url, null)
  await reachable('--ops-url', `${gateway.opsUrl}/api/calls`, opsToken)
  const shopUrl = env['SHOP_API_URL'] ?? (await new GatewayView(gateway.opsUrl, opsToken).shopUrl())
  const address: GatewayAddress = { ...gateway, opsToken }
  const folder = options.agents ?? env['AGENTS_DIR'] ?? SHIPPED_AGENTS
  return {
    agents: [],
    unavailable: {
      text: 'text mode runs without a gateway (leave out --url)',
      placed: 'a running gateway rings through its own carrier (leave out --url)',
    },
    check: () => undefined,
    place: async (run, ask) => {
      const { scenario, seed } = run
      const call = await runAudioCall({
        ...{ gateway: () => Promise.resolve(address), shopUrl, scenario, seed, signal, ...asking(ask) },
        recordTo: recordingOf(options, run),
        agentYaml: await agentYaml([folder], scenario.agent),
      })
      if (scenario.expect.fields === undefined || call.record === null) return call
      return { ...call, record: await analysed(call.record, address) }
    },
    close: () => Promise.resolve(),
  }
}

/** Polls the record until it contains the gateway's analysis of the call. */
async function analysed(record: CallRecord, { opsUrl, opsToken }: GatewayAddress): Promise<CallRecord> {
  const view = new GatewayView(opsUrl, opsToken)
  for (let waitedMs = 0; waitedMs < ANALYSIS_WAIT_MS; waitedMs += ANALYSIS_LOOK_MS) {
    const seen = (await view.call(record.callSid))?.record
    if (seen?.analysis != null) return seen
    if (view.fault !== null) throw new GatewayError('CALL_FAULT', view.fault)
    await sleep(ANALYSIS_LOOK_MS)
  }
  return record
}

interface GroundParts {
  readonly options: SimulateOptions
  readonly io: SimulateIo
  readonly shop: DemoShop | null
  readonly config: Config
  readonly env: Environment
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly businesses: ReadonlyMap<string, Business>
}

/** @throws GatewayError CONFIG_INVALID naming the option, if no gateway answers at the URL */
async function reachable(option: string, url: string, token: string | null): Promise<void> {
  let status: number
  try {
    const headers = token === null ? {} : { authorization: `Bearer ${token}` }
    status = (await fetch(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(REACH_TIMEOUT_MS) })).status
  } catch (thrown) {
    const why = `no gateway answers at ${option} ${new URL(url).origin}: ${networkCauseOf(thrown)}`
    throw new GatewayError('CONFIG_INVALID', why, { cause: thrown })
  }
  if (status === 401 || status === 403)
    throw new GatewayError(
      'CONFIG_INVALID',
      `${option} ${new URL(url).origin} refuses the token; allowed: the OPS_TOKEN of that gateway`,
    )
  if (option === '--ops-url' && status !== 200)
    throw new GatewayError(
      'CONFIG_INVALID',
      `${option} ${new URL(url).origin} is not the ops port of a gateway: it answered with ${status}`,
    )
}

const asking = (ask: AskCaller | undefined): { readonly ask?: AskCaller } => (ask === undefined ? {} : { ask })

function recordingOf({ record }: SimulateOptions, run: ScenarioRun): string | null {
  return record === undefined ? null : callFile(record, run, 'wav')
}

function callFile(
  folder: string,
  { scenario, repetition }: Pick<ScenarioRun, 'scenario' | 'repetition'>,
  extension: string,
): string {
  const name = `${scenario.agent}-${scenario.name}`.replace(/[^A-Za-z0-9._-]+/g, '-')
  // Scenario names never contain `~`. So the file of the second call of `x` never has the name of another scenario's
  // file.
  return join(folder, `${name}${repetition > 1 ? `~${repetition}` : ''}.${extension}`)
}

/**
 * @throws GatewayError SCRIPT_INVALID for two scenarios whose names differ only in characters that file names cannot
 * contain
 */
function filesOfTheirOwn(scenarios: readonly Scenario[], extension: string): void {
  const kept = new Map<string, string>()
  for (const scenario of scenarios) {
    const name = callFile('', { scenario, repetition: 1 }, extension)
    const earlier = kept.get(name)
    if (earlier !== undefined)
      throw new GatewayError(
        'SCRIPT_INVALID',
        `${scenario.file} and ${earlier} would write their calls to the same file, ${name}; give one of them another name`,
      )
    kept.set(name, scenario.file)
  }
}

/** Writes a file that contains people's words. Only this user may read the file, even if it replaces another file. */
async function writePrivate(file: string, text: string): Promise<void> {
  await rm(file, { force: true })
  await writeFile(file, text, { mode: 0o600 })
}
