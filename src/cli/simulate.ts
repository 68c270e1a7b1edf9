import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { NO_ASSETS } from '../agents/assets.js'
import { handoversOf } from '../agents/definition.js'
import type { AgentDefinition } from '../agents/definition.js'
import type { Environment } from '../agents/template.js'
import { ToolRunner } from '../agents/tool-runner.js'
import { callRecordSchema } from '../call/documents/record.js'
import type { CallAnalysis, CallRecord } from '../call/documents/record.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import type { Config } from '../config/settings.js'
import { agentEnvironment } from '../gateway/agent-environment.js'
import { CallAnalyses } from '../gateway/call-analyses.js'
import type { Business } from '../agents/business.js'
import type { HostedAgent } from '../workers/main-thread-context.js'
import { vocabularyOf } from '../simulator/vocabulary.js'
import { hasPattern, textPattern } from '../simulator/spoken-words.js'
import { runAudioCall, type GatewayAddress } from '../simulator/scenarios/audio-call.js'
import { findScenarios, type CallMode, type Scenario } from '../simulator/scenarios/scenario.js'
import type { ObservedCall } from '../simulator/scenarios/judge.js'
import {
  junitXml,
  NO_PAINT,
  resultText,
  scenarioReport,
  summaryText,
  TERMINAL_PAINT,
} from '../simulator/scenarios/report.js'
import { planOf, runScenarios, type ScenarioRun } from '../simulator/scenarios/run-scenarios.js'
import { coverText, stageCover } from '../simulator/scenarios/stage-cover.js'
import { openTextMedia, runTextCall, type TextMedia } from '../simulator/scenarios/text-call.js'
import { createLog } from '../telemetry/log.js'
import { Metrics } from '../telemetry/metrics.js'
import { startGateway, type Gateway } from '../gateway/gateway.js'
import { SCENARIO_JOBS_MAX } from '../core/limits.js'
import { backendSettings, hostedAgents } from '../gateway/hosted-agents.js'
import { startDemoShop, type DemoShop } from './demo-shop.js'
import { Progress } from './progress.js'
import { json, untilSignal, type Terminal } from './terminal.js'

/** The options of `mkondo simulate`. */
export interface SimulateArguments {
  readonly paths: readonly string[]
  /** The running gateway to test; null starts one. */
  readonly gateway: { readonly url: string; readonly opsUrl: string; readonly secret: string | null } | null
  readonly agentsDir: string | null
  readonly mode: CallMode | null
  readonly jobs: number
  /** Text or `/expression/` in the names of the scenarios; null: all. */
  readonly filter: string | null
  readonly repeat: number
  readonly seed: number
  readonly junit: string | null
  /** File, or `-` for standard output. */
  readonly json: string | null
  readonly record: string | null
  /** Says which stages, and ways between them, no call took. */
  readonly cover: boolean
  readonly list: boolean
}

/** What the runs need of the process they run in. */
interface SimulateIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Environment
  readonly colours: boolean
  readonly showsProgress: boolean
  /** Aborting ends the calls that run; the results so far are still reported. */
  readonly signal: AbortSignal
}

/** Longest wait for the answer of a running gateway. */
const REACH_TIMEOUT_MS = 3000
/** How long a running gateway may take to know what a call was about, and how often it is asked. */
const ANALYSIS_WAIT_MS = 60_000
const ANALYSIS_LOOK_MS = 500

/**
 * `mkondo simulate`. Exit codes: 0 every scenario passed, 1 one failed (or the run was stopped).
 * @throws GatewayError for a scenario or an agent that cannot be used, or no gateway
 */
export async function simulate(args: SimulateArguments, terminal: Terminal): Promise<number> {
  const wanted = args.filter === null ? () => true : filterOf(args.filter)
  const scenarios = (await findScenarios(args.paths)).filter(({ agent, name }) => wanted(`${agent}/${name}`))
  if (scenarios.length === 0) throw new GatewayError('CONFIG_INVALID', 'no scenario matches --filter')
  if (args.list) {
    for (const { agent, name, mode, file } of scenarios)
      terminal.out(`${agent}/${name} ${mode ?? 'text or audio'} ${file}\n`)
    return 0
  }
  return untilSignal(terminal, (signal) => run(args, scenarios, { ...terminal, signal }))
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

async function run(args: SimulateArguments, scenarios: readonly Scenario[], io: SimulateIo): Promise<number> {
  const startedAt = new Date().toISOString()
  const startedMs = performance.now()
  const ground =
    args.gateway === null ? await OwnGround.open(args, io) : await RunningGateway.reach(args.gateway, args, io)
  try {
    ground.check(scenarios)
    if (args.record !== null) await mkdir(args.record, { recursive: true })
    const plan = planOf(scenarios, {
      mode: args.mode,
      unavailable: ground.unavailable,
      repeat: args.repeat,
      seed: args.seed,
    })
    const paint = io.colours && args.json !== '-' ? TERMINAL_PAINT : NO_PAINT
    const print = args.json === '-' ? io.err : io.out
    const reportOf = (results: Parameters<typeof scenarioReport>[0]): ReturnType<typeof scenarioReport> =>
      scenarioReport(results, { startedAt, realMs: performance.now() - startedMs })
    const progress = new Progress(io, 'simulate')
    let finished = 0
    progress.show(`0 of ${plan.runs.length} calls`)
    const results = await runScenarios(plan, {
      jobs: args.jobs,
      signal: io.signal,
      place: (one) => ground.place(one),
      onResult: (result) => {
        if (result.status !== 'skipped') finished++
        for (const shown of reportOf([result]).results) progress.print(print, resultText(shown, paint))
        progress.show(`${finished} of ${plan.runs.length} calls`)
      },
    }).finally(() => progress.end())
    const report = reportOf(results)
    print(summaryText(report, paint))
    if (args.cover)
      print(
        coverText(
          stageCover(
            ground.agents,
            results.flatMap(({ call }) => call?.record ?? []),
          ),
        ),
      )
    if (args.json === '-') io.out(json(report))
    else if (args.json !== null) await writeFile(args.json, json(report))
    if (args.junit !== null) await writeFile(args.junit, junitXml(report))
    if (io.signal.aborted) io.err('mkondo simulate: stopped before all scenarios had run\n')
    return report.failed === 0 && !io.signal.aborted ? 0 : 1
  } finally {
    await ground.close()
  }
}

/** Where scenarios run. */
interface Ground {
  /** Why a mode is not available here. */
  readonly unavailable: Parameters<typeof planOf>[1]['unavailable']
  /** @throws GatewayError AGENT_UNKNOWN for a scenario of an agent that is not there */
  check(scenarios: readonly Scenario[]): void
  /** Those whose stages are known. */
  readonly agents: readonly AgentDefinition[]
  place(run: ScenarioRun): Promise<ObservedCall>
  close(): Promise<void>
}

/** A gateway that is already running. */
class RunningGateway implements Ground {
  readonly agents = []
  readonly unavailable = { text: 'text mode runs without a gateway (leave out --url)' }
  readonly #address: GatewayAddress
  readonly #args: SimulateArguments
  readonly #io: SimulateIo

  /** @throws GatewayError CONFIG_INVALID when it does not answer */
  static async reach(
    gateway: NonNullable<SimulateArguments['gateway']>,
    args: SimulateArguments,
    io: SimulateIo,
  ): Promise<RunningGateway> {
    const opsToken = io.env['OPS_TOKEN'] ?? null
    await reachable('--url', gateway.url, null)
    await reachable('--ops-url', `${gateway.opsUrl}/api/calls`, opsToken)
    return new RunningGateway({ ...gateway, opsToken, shopUrl: io.env['SHOP_API_URL'] ?? null }, args, io)
  }

  private constructor(address: GatewayAddress, args: SimulateArguments, io: SimulateIo) {
    this.#address = address
    this.#args = args
    this.#io = io
  }

  check(): void {
    // Its agents are not known here: a call to one that it lacks fails with its answer.
  }

  async place(run: ScenarioRun): Promise<ObservedCall> {
    const call = await this.#place(run)
    if (run.scenario.expect.fields.length === 0 || call.record === null) return call
    return { ...call, record: await this.#analysed(call.record) }
  }

  /** The record, again and again until the gateway knows what the call was about. */
  async #analysed(record: CallRecord): Promise<CallRecord> {
    const { opsUrl, opsToken } = this.#address
    const headers = opsToken === null ? {} : { authorization: `Bearer ${opsToken}` }
    for (let waitedMs = 0; waitedMs < ANALYSIS_WAIT_MS; waitedMs += ANALYSIS_LOOK_MS) {
      const response = await fetch(`${opsUrl}/api/calls/${record.callSid}`, { headers, redirect: 'manual' })
      const read = callRecordSchema.safeParse(await response.json())
      if (read.success && read.data.analysis !== null) return read.data
      await sleep(ANALYSIS_LOOK_MS)
    }
    return record
  }

  async #place(run: ScenarioRun): Promise<ObservedCall> {
    return runAudioCall({
      gateway: this.#address,
      scenario: run.scenario,
      seed: run.seed,
      recordTo: recordingOf(this.#args, run),
      signal: this.#io.signal,
      agentYaml: await agentYaml(this.#args.agentsDir ?? this.#io.env['AGENTS_DIR'] ?? null, run.scenario.agent),
    })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** Whatever the agents name: scenarios run without keys. */
const BACKEND = 'embedded'

/** Agents of a folder on the embedded backend, the demo's shop behind them, and a gateway once a call is spoken. */
class OwnGround implements Ground {
  readonly unavailable = {}
  readonly #args: SimulateArguments
  readonly #io: SimulateIo
  readonly #shop: DemoShop | null
  readonly #config: Config
  readonly #env: Environment
  readonly #agents: ReadonlyMap<string, HostedAgent>
  readonly #businesses: ReadonlyMap<string, Business>
  #media: Promise<TextMedia> | null = null
  readonly #tools = new Map<string, Promise<ToolRunner>>()
  #gateway: Promise<Gateway> | null = null

  /** @throws GatewayError AGENT_INVALID and the like for what is wrong with the agents */
  static async open(args: SimulateArguments, io: SimulateIo): Promise<OwnGround> {
    const shop = io.env['SHOP_API_URL'] === undefined ? await startDemoShop() : null
    const folder = await mkdtemp(join(tmpdir(), 'mkondo-simulate-'))
    try {
      const ofFolder = loadConfig({}, null)
      const shopApiUrl = shop?.url ?? io.env['SHOP_API_URL'] ?? null
      const config: Config = {
        // Without keys of this machine, so that what passes here passes anywhere.
        ...ofFolder,
        // Several scenarios have the same caller.
        callerCalls: SCENARIO_JOBS_MAX,
        callerCallsPerMinute: 6000,
        host: '127.0.0.1',
        port: 0,
        opsPort: 0,
        dataDir: folder,
        shopApiUrl,
        agentsDir: args.agentsDir ?? io.env['AGENTS_DIR'] ?? ofFolder.agentsDir,
        numbersFile: io.env['NUMBERS_FILE'] ?? ofFolder.numbersFile,
      }
      const env = agentEnvironment(io.env, shopApiUrl)
      const { agents, numbers } = await hostedAgents(config, env, BACKEND)
      return new OwnGround(args, io, { shop, config, env, agents, businesses: numbers.businesses })
    } catch (thrown) {
      await shop?.close()
      await rm(folder, { recursive: true, force: true })
      throw thrown
    }
  }

  private constructor(
    args: SimulateArguments,
    io: SimulateIo,
    parts: {
      readonly shop: DemoShop | null
      readonly config: Config
      readonly env: Environment
      readonly agents: ReadonlyMap<string, HostedAgent>
      readonly businesses: ReadonlyMap<string, Business>
    },
  ) {
    this.#args = args
    this.#io = io
    this.#shop = parts.shop
    this.#config = parts.config
    this.#env = parts.env
    this.#agents = parts.agents
    this.#businesses = parts.businesses
  }

  check(scenarios: readonly Scenario[]): void {
    for (const { agent, file } of scenarios) {
      if (this.#agents.has(agent)) continue
      throw new GatewayError(
        'AGENT_UNKNOWN',
        `${file}: there is no agent ${agent}; allowed: ${[...this.#agents.keys()].join(', ')}`,
      )
    }
  }

  get agents(): readonly AgentDefinition[] {
    return [...this.#agents.values()].map(({ definition }) => definition)
  }

  async place(run: ScenarioRun): Promise<ObservedCall> {
    const yaml = await agentYaml(this.#config.agentsDir, run.scenario.agent)
    const call = await (run.mode === 'text' ? this.#placeText(run, yaml) : this.#placeSpoken(run, yaml))
    if (run.scenario.expect.fields.length === 0 || call.record === null) return call
    return { ...call, record: { ...call.record, analysis: await this.#analysisOf(call.record) } }
  }

  /** As the gateway makes it, by the text model of this machine's settings. */
  #analysisOf(record: CallRecord): Promise<CallAnalysis | null> {
    if (this.#agents.get(record.agent)?.definition.analysis == null) return Promise.resolve(null)
    const settings = backendSettings(loadConfig(this.#io.env, null))
    return new Promise((resolve) => {
      const analyses = new CallAnalyses({
        agents: this.#agents,
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
    media?.close()
    await this.#shop?.close()
    await rm(this.#config.dataDir, { recursive: true, force: true })
  }

  async #placeText({ scenario, seed }: ScenarioRun, yaml: string | null): Promise<ObservedCall> {
    this.#media ??= openTextMedia()
    const media = await this.#media
    const hosted = this.#agents.get(scenario.agent) as HostedAgent // `check` has found it
    const business = this.#businesses.get(scenario.to)
    return runTextCall(media, {
      hosted: business === undefined ? hosted : (hosted.forBusiness?.(business) ?? hosted),
      agents: this.#agents,
      tools: await this.#toolsFrom(hosted, media),
      from: scenario.from,
      to: scenario.to,
      placed: scenario.placed,
      script: scenario.script,
      statuses: vocabularyOf(yaml, { orders: [], etas: [], others: [] }).statuses,
      pace: scenario.pace,
      seed,
      afterStream: scenario.afterStream,
      human: scenario.human,
      settle: scenario.settle,
      startedAtWallMs: scenario.atWallMs ?? Date.now(),
      timeoutMs: scenario.timeoutMs,
      signal: this.#io.signal,
    })
  }

  /** Of every agent that may have the call. */
  async #toolsFrom(first: HostedAgent, media: TextMedia): Promise<ReadonlyMap<string, ToolRunner>> {
    const tools = new Map<string, ToolRunner>()
    const agents = [first]
    for (const one of agents) {
      const { definition } = one
      if (tools.has(definition.name)) continue
      tools.set(definition.name, await this.#toolsOf(one, media))
      agents.push(...handoversOf(definition).flatMap((name) => this.#agents.get(name) ?? []))
    }
    return tools
  }

  #toolsOf({ definition, assets }: HostedAgent, media: TextMedia): Promise<ToolRunner> {
    let tools = this.#tools.get(definition.name)
    if (tools === undefined) {
      tools = ToolRunner.open(definition, assets ?? NO_ASSETS, this.#env, media.transport).then(async (runner) => {
        await runner.useServers()
        return runner
      })
      this.#tools.set(definition.name, tools)
    }
    return tools
  }

  async #placeSpoken(run: ScenarioRun, yaml: string | null): Promise<ObservedCall> {
    // Not on standard output: a report may go there.
    const log = createLog({
      level: 'error',
      destination: {
        write: (line) => {
          this.#io.err(line)
        },
      },
    })
    this.#gateway ??= startGateway({ config: this.#config, env: this.#env, log, onlyBackend: BACKEND })
    const gateway = await this.#gateway
    return runAudioCall({
      gateway: {
        url: `http://127.0.0.1:${gateway.publicPort}`,
        opsUrl: `http://127.0.0.1:${gateway.opsPort}`,
        opsToken: null,
        secret: null,
        shopUrl: this.#config.shopApiUrl,
      },
      scenario: run.scenario,
      seed: run.seed,
      agentYaml: yaml,
      recordTo: recordingOf(this.#args, run),
      signal: this.#io.signal,
    })
  }
}

/** @throws GatewayError CONFIG_INVALID naming the option when no gateway answers there */
async function reachable(option: string, url: string, token: string | null): Promise<void> {
  let status: number
  try {
    const headers = token === null ? {} : { authorization: `Bearer ${token}` }
    status = (await fetch(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(REACH_TIMEOUT_MS) })).status
  } catch (thrown) {
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause.message : messageOf(thrown)
    throw new GatewayError('CONFIG_INVALID', `no gateway answers at ${option} ${new URL(url).origin}: ${cause}`, {
      cause: thrown,
    })
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

/** The agent's file, from which the caller's recogniser takes its vocabulary; null where there is none of that name. */
async function agentYaml(dir: string | null, agent: string): Promise<string | null> {
  for (const ending of ['yaml', 'yml']) {
    const file = join(dir ?? join(packageRoot(), 'agents'), `${agent}.${ending}`)
    if (existsSync(file)) return readFile(file, 'utf8')
  }
  return null
}

function recordingOf(args: SimulateArguments, { scenario, repetition }: ScenarioRun): string | null {
  if (args.record === null) return null
  const name = `${scenario.agent}-${scenario.name}`.replace(/[^A-Za-z0-9._-]+/g, '-')
  return join(args.record, `${name}${repetition > 1 ? `-${repetition}` : ''}.wav`)
}
