import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NO_ASSETS } from '../agents/assets.js'
import type { Environment } from '../agents/template.js'
import { ToolRunner } from '../agents/tool-runner.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import type { Config } from '../config/settings.js'
import { agentEnvironment } from '../gateway/agent-environment.js'
import type { HostedAgent } from '../workers/main-thread-context.js'
import { vocabularyOf } from '../simulator/vocabulary.js'
import { UsageError } from '../simulator/arguments.js'
import { runAudioCall, type GatewayAddress } from '../simulator/scenarios/audio-call.js'
import { findScenarios, type Scenario } from '../simulator/scenarios/scenario.js'
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
import {
  SIMULATE_USAGE,
  parseSimulateArguments,
  type SimulateArguments,
} from '../simulator/scenarios/simulate-arguments.js'
import { openTextMedia, runTextCall, type TextMedia } from '../simulator/scenarios/text-call.js'
import { createLog } from '../telemetry/log.js'
import { startGateway, type Gateway } from '../gateway/gateway.js'
import { hostedAgents } from '../gateway/hosted-agents.js'
import { PROCESS_TERMINAL, untilSignal } from './command-line.js'
import { startDemoShop, type DemoShop } from './demo-shop.js'

/** What the command needs of the process it runs in. */
interface SimulateIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Environment
  /** Standard output is a terminal that shows colours. */
  readonly colours: boolean
  /** Aborting ends the calls that run; the results so far are still reported. */
  readonly signal: AbortSignal | null
}

/** Longest wait for the answer of a running gateway. */
const REACH_TIMEOUT_MS = 3000

/** `mkondo simulate`. */
export function simulate(argv: readonly string[]): Promise<number> {
  const colours = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
  return untilSignal((signal) => runSimulateCommand(argv, { ...PROCESS_TERMINAL, colours, signal }))
}

/**
 * The command itself. Exit codes: 0 every scenario passed, 1 one failed (or the run was stopped), 2 wrong usage, a
 * scenario or an agent that cannot be used, or no gateway.
 */
export async function runSimulateCommand(argv: readonly string[], io: SimulateIo): Promise<number> {
  try {
    const args = parseSimulateArguments(argv, io.env)
    if (args === null) {
      io.out(SIMULATE_USAGE)
      return 0
    }
    const scenarios = (await findScenarios(args.paths)).filter(({ agent, name }) => args.filter(`${agent}/${name}`))
    if (scenarios.length === 0) throw new UsageError('no scenario has what --filter asks for')
    if (args.list) {
      for (const { agent, name, mode, file } of scenarios)
        io.out(`${agent}/${name} ${mode ?? 'text or audio'} ${file}\n`)
      return 0
    }
    return await run(args, scenarios, io)
  } catch (thrown) {
    const usage = thrown instanceof UsageError
    io.err(`mkondo simulate: ${messageOf(thrown)}${usage ? ' (see mkondo simulate --help)' : ''}\n`)
    return usage || thrown instanceof GatewayError ? 2 : 1
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
    const results = await runScenarios(plan, {
      jobs: args.jobs,
      signal: io.signal,
      place: (one) => ground.place(one),
      onResult: (result) => {
        for (const shown of reportOf([result]).results) print(resultText(shown, paint))
      },
    })
    const report = reportOf(results)
    print(summaryText(report, paint))
    if (args.json === '-') io.out(`${JSON.stringify(report, null, 2)}\n`)
    else if (args.json !== null) await writeFile(args.json, `${JSON.stringify(report, null, 2)}\n`)
    if (args.junit !== null) await writeFile(args.junit, junitXml(report))
    if (io.signal?.aborted === true) io.err('mkondo simulate: stopped before all scenarios had run\n')
    return report.failed === 0 && io.signal?.aborted !== true ? 0 : 1
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
  place(run: ScenarioRun): Promise<ObservedCall>
  close(): Promise<void>
}

/** A gateway that is already running. */
class RunningGateway implements Ground {
  readonly unavailable = { text: 'text mode drives the call without a gateway (leave out --url)' }
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

/** Agents of a folder on the embedded backend, the demo's shop behind them, and a gateway once a call is spoken. */
class OwnGround implements Ground {
  readonly unavailable = {}
  readonly #args: SimulateArguments
  readonly #io: SimulateIo
  readonly #shop: DemoShop | null
  readonly #config: Config
  readonly #env: Environment
  readonly #agents: ReadonlyMap<string, HostedAgent>
  #media: Promise<TextMedia> | null = null
  readonly #tools = new Map<string, Promise<ToolRunner>>()
  #gateway: Promise<Gateway> | null = null

  /** @throws GatewayError AGENT_INVALID and the like for what is wrong with the agents */
  static async open(args: SimulateArguments, io: SimulateIo): Promise<OwnGround> {
    const shop = io.env['SHOP_API_URL'] === undefined ? await startDemoShop() : null
    const folder = await mkdtemp(join(tmpdir(), 'mkondo-simulate-'))
    try {
      const shopApiUrl = shop?.url ?? io.env['SHOP_API_URL'] ?? null
      const config: Config = {
        // Without keys and settings of this machine, so that what passes here passes anywhere.
        ...loadConfig({}, null),
        host: '127.0.0.1',
        port: 0,
        opsPort: 0,
        dataDir: folder,
        shopApiUrl,
        agentsDir: args.agentsDir ?? io.env['AGENTS_DIR'] ?? null,
      }
      const env = agentEnvironment(io.env, shopApiUrl)
      const { agents } = await hostedAgents(config, env)
      return new OwnGround(args, io, { shop, config, env, agents })
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
    },
  ) {
    this.#args = args
    this.#io = io
    this.#shop = parts.shop
    this.#config = parts.config
    this.#env = parts.env
    this.#agents = parts.agents
  }

  check(scenarios: readonly Scenario[]): void {
    for (const { agent, file } of scenarios) {
      if (this.#agents.has(agent)) continue
      throw new GatewayError(
        'AGENT_UNKNOWN',
        `${file}: there is no agent ${agent}; agents are: ${[...this.#agents.keys()].join(', ')}`,
      )
    }
  }

  async place(run: ScenarioRun): Promise<ObservedCall> {
    const yaml = await agentYaml(this.#config.agentsDir, run.scenario.agent)
    return run.mode === 'text' ? this.#placeText(run, yaml) : this.#placeSpoken(run, yaml)
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
    return runTextCall(media, {
      hosted,
      tools: await this.#toolsOf(hosted, media),
      from: scenario.from,
      to: scenario.to,
      script: scenario.script,
      statuses: vocabularyOf(yaml, { orders: [], etas: [], others: [] }).statuses,
      pace: scenario.pace,
      seed,
      afterStream: scenario.afterStream,
      human: scenario.human,
      startedAtWallMs: scenario.atWallMs ?? Date.now(),
      timeoutMs: scenario.timeoutMs,
      signal: this.#io.signal,
    })
  }

  #toolsOf({ definition, assets }: HostedAgent, media: TextMedia): Promise<ToolRunner> {
    let tools = this.#tools.get(definition.name)
    if (tools === undefined) {
      tools = ToolRunner.open(definition, assets ?? NO_ASSETS, this.#env, media.transport)
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
    this.#gateway ??= startGateway({ config: this.#config, env: this.#env, log })
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
    throw new GatewayError('CONFIG_INVALID', `${option} ${new URL(url).origin} wants another token; set OPS_TOKEN`)
  if (option === '--ops-url' && status !== 200)
    throw new GatewayError(
      'CONFIG_INVALID',
      `${option} ${new URL(url).origin} is no ops port of a gateway: it answered with ${status}`,
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
