import { NO_ASSETS } from '../agents/assets.js'
import { HttpTransport } from '../http/http-transport.js'
import type { Environment } from '../agents/environment.js'
import { rehearse } from '../agents/rehearsal.js'
import { messageOf } from '../core/errors.js'
import { exposureOf } from '../config/exposure.js'
import { loadConfig } from '../config/load-config.js'
import type { Config } from '../config/settings.js'
import { hostedAgents } from '../gateway/hosted-agents.js'
import { backendFindings } from './backend-check.js'
import { carrierFindings } from './carrier-check.js'
import type { HostedAgent } from '../workers/main-thread-context.js'
import { startDemoShop } from './demo-shop.js'
import { whyNotFree } from '../edge/port-use.js'
import { agentEnvironment } from '../gateway/agent-environment.js'
import { portsOf } from './port-check.js'
import type { PortUse } from '../edge/port-use.js'
import { processCount, processPlans } from '../gateway/process-plan.js'
import type { ProcessPlan } from '../gateway/process-plan.js'
import { holdDataFolder } from '../telemetry/archive/data-folder.js'
import type { DataFolder } from '../telemetry/archive/data-folder.js'
import { usesDataFolder } from '../gateway/call-archive.js'
import { HELP_OPTION, commandOptions } from './arguments.js'

const HELP = `mkondo check [--processes N] [--tools] [--with-shop] [--config FILE]
  Checks settings, agent files, DATA_DIR, ports and the APIs that the settings name, opens a session with each backend that an agent
  uses (nothing is said in it), and says what it found.
  --tools      also try each tool of each agent with its sample arguments: what only reads is sent, the rest is not
  --with-shop  as for serve: the demo's orders API will be there, unless SHOP_API_URL is set
  --processes N  as for serve: whether the settings go together with so many, and all their ports
  Exit code 0 when a gateway would start with them, 2 when not.`

/** Longest wait for an API that is only asked whether it is there. */
const REACH_TIMEOUT_MS = 3000

interface Finding {
  /** Null: worth a look, and no reason not to start. */
  readonly ok: boolean | null
  readonly what: string
}

/** `mkondo check`: one line a finding. */
export async function check(argv: readonly string[]): Promise<number> {
  const values = commandOptions('check', argv, {
    processes: { type: 'string' }, 'with-shop': { type: 'boolean', default: false }, tools: { type: 'boolean', default: false }, config: { type: 'string' }, help: HELP_OPTION,
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const count = processCount(values.processes)
  let config = loadConfig(process.env, values.config ?? null)
  const plans = processPlans(config, count)
  const shopApiUrl = config.shopApiUrl
  const wantsShop = values['with-shop'] && shopApiUrl === null
  const shop = wantsShop && values.tools ? await startDemoShop() : null
  // Where no tool is tried any address will do to check the agents.
  if (wantsShop) config = { ...config, shopApiUrl: shop?.url ?? 'http://127.0.0.1' }
  const findings: Finding[] = [{ ok: true, what: count === 1 ? 'settings' : `settings, for ${count} processes` }]
  findings.push(...await agentsFindings(config, values.tools))
  await shop?.close()
  findings.push(...await folderFindings(plans))
  for (const use of portsOf(plans)) findings.push(await portFinding(use))
  if (shopApiUrl !== null) findings.push(await reachFinding('SHOP_API_URL', shopApiUrl))
  findings.push(...await carrierFindings(config))
  findings.push(...exposureFindings(config))
  for (const { ok, what } of findings) console.log(`${ok === null ? 'LOOK AT' : ok ? 'ok     ' : 'NOT OK '} ${what}`)
  return findings.every(({ ok }) => ok !== false) ? 0 : 2
}

async function agentsFindings(config: Config, tools: boolean): Promise<Finding[]> {
  const env = agentEnvironment(process.env, config.shopApiUrl)
  try {
    const { agents } = await hostedAgents(config, env)
    const said: Finding = { ok: true, what: `agents: ${[...agents.values()].map(({ definition, backends }) => `${definition.name} on ${backends.join(', then ')}`).join(', ')}` }
    const backends = await backendFindings(config, [...agents.values()])
    return [said, ...backends, ...tools ? await toolFindings([...agents.values()], env) : []]
  } catch (thrown) {
    return [{ ok: false, what: `agents: ${messageOf(thrown)}` }]
  }
}

async function toolFindings(agents: readonly HostedAgent[], env: Environment): Promise<Finding[]> {
  const transport = new HttpTransport()
  const findings: Finding[] = []
  for (const { definition, assets } of agents) {
    const rehearsed = await rehearse(definition, assets ?? NO_ASSETS, env, transport)
    findings.push(...rehearsed.map(({ ok, what }) => ({ ok, what: `${definition.name}: ${what}` })))
  }
  transport.close()
  return findings
}

/** Whether each process could write to its folder now: tried as a start does, and undone. */
async function folderFindings(plans: readonly ProcessPlan[]): Promise<Finding[]> {
  const findings: Finding[] = []
  const held: DataFolder[] = []
  for (const { config } of plans.filter((plan) => usesDataFolder(plan.config))) {
    try {
      const folder = await holdDataFolder(config.dataDir)
      held.push(folder)
      findings.push(folder.locked
        ? { ok: true, what: `DATA_DIR ${config.dataDir} can be written, and no other gateway uses it` }
        : { ok: null, what: `DATA_DIR ${config.dataDir} can be written, but not locked: another gateway on it would not be noticed` })
    } catch (thrown) {
      findings.push({ ok: false, what: messageOf(thrown) })
    }
  }
  for (const folder of held.reverse()) folder.undo()
  return findings
}

/** Whether a gateway could listen there now. */
async function portFinding(use: PortUse): Promise<Finding> {
  const why = await whyNotFree(use)
  const what = `${use.setting} ${use.host}:${use.port}`
  return why === null ? { ok: true, what: `${what} is free` } : { ok: false, what: `${what}: ${why}` }
}

/** Any HTTP answer will do: this asks whether the way is open, not whether we are welcome. */
async function reachFinding(name: string, url: string): Promise<Finding> {
  try {
    const response = await fetch(url, { method: 'HEAD', redirect: 'manual', signal: AbortSignal.timeout(REACH_TIMEOUT_MS) })
    return { ok: true, what: `${name} answers (${response.status})` }
  } catch (thrown) {
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause.message : messageOf(thrown)
    return { ok: false, what: `${name} ${new URL(url).host} does not answer: ${cause}` }
  }
}

/** What a developer's machine may lack and production may not. */
function exposureFindings(config: Config): Finding[] {
  const { open, refused } = exposureOf(config)
  if (open.length > 0) return open.map((what) => ({ ok: refused ? false : null, what: refused ? what : `${what} (INSECURE)` }))
  return config.webhookSecrets.length > 0 ? [] : [{ ok: true, what: 'webhooks: unsigned ones are accepted (this machine alone reaches the public port)' }]
}
