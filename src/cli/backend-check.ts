import type { AgentDefinition } from '../agents/definition.js'
import { toJsonSchema } from '../agents/tool-definition.js'
import type { BackendSession } from '../backends/backend.js'
import { detectsTurns, loadBackend } from '../backends/registry.js'
import type { BackendContext } from '../backends/registry.js'
import type { Config } from '../config/settings.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { BACKEND_CONNECT_MS } from '../core/limits.js'
import { backendSettings } from '../gateway/backend-settings.js'

export interface BackendFinding {
  /** Null: it would start, and yet it is hardly what was meant. */
  readonly ok: boolean | null
  readonly what: string
}

/** An agent with its backends as they were resolved. */
export interface CheckedAgent {
  readonly definition: AgentDefinition
  readonly backends: readonly string[]
  readonly shadow: string | null
}

/** Runs in this process; there is nobody to reach. */
const LOCAL = 'embedded'
/** Longer than a backend's own deadline: its own error says more than that it was late. */
const PROBE_MS_MAX = BACKEND_CONNECT_MS + 1000

/** Each backend of each agent is connected once, as a call would do it; and what its file says is looked at. */
export async function backendFindings(config: Config, agents: readonly CheckedAgent[]): Promise<BackendFinding[]> {
  const probes = agents.flatMap((agent) => [...agent.backends, ...(agent.shadow === null ? [] : [agent.shadow])].map((name) => ({ agent, name })))
  const reached = await Promise.all(probes.filter(({ name }) => name !== LOCAL).map(({ agent, name }) => reach(config, agent, name)))
  return [...reached, ...agents.flatMap((agent) => oddities(config, agent))]
}

/** Opens a session as a call would and ends it when it is ready: that costs an open connection and no words. */
async function reach(config: Config, { definition }: CheckedAgent, name: string): Promise<BackendFinding> {
  const what = `backend ${name} of ${definition.name}`
  const context: BackendContext = {
    speech: null, clock: () => performance.now(), settings: backendSettings(config), options: definition.backends, gatewayTurns: false,
    legRateHz: definition.stream.outputSamplingRate,
  }
  const session: BackendSession = {
    callSid: 'HD_check', agent: definition.name, from: '', to: '', instructions: definition.instructions, greeting: definition.greeting,
    tools: definition.tools.map(({ name, description, parameters }) => ({ name, description, parameters: toJsonSchema(parameters) })),
    language: definition.language, voice: definition.voice[name] ?? null, history: [], toolLedger: [], offline: definition.offline ?? null,
    resume: null,
  }
  const startedAtMs = performance.now()
  try {
    const create = await loadBackend(name, context)
    const backend = create({ event: () => undefined, audio: () => undefined })
    try {
      await backend.connect(session, AbortSignal.timeout(PROBE_MS_MAX))
    } finally {
      await backend.close('the check is over')
    }
    return { ok: true, what: `${what} is ready after ${Math.round(performance.now() - startedAtMs)} ms` }
  } catch (thrown) {
    // A module of somebody else's may throw anything; keeping keys out of it is up to the module.
    return { ok: false, what: `${what}: ${thrown instanceof GatewayError ? thrown.message : `failed: ${messageOf(thrown)}`}` }
  }
}

/** What a file may say and hardly means. */
function oddities(config: Config, { definition, backends }: CheckedAgent): BackendFinding[] {
  const { name, budget, backends: options } = definition
  const findings: BackendFinding[] = []
  if (budget?.maxCost !== undefined) {
    const unpriced = backends.filter((backend) => budget.prices?.backends[backend] === undefined)
    if (unpriced.length > 0) {
      findings.push({ ok: null, what: `budget.maxCost of ${name} never holds for ${unpriced.join(', ')}: budget.prices has no price for it` })
    }
  }
  const settings = backendSettings(config)
  const listening = backends.filter((backend) => detectsTurns(backend, settings, options))
  const willed = listening.filter((backend) => (options as Readonly<Record<string, { readonly turns?: unknown } | undefined>>)[backend]?.turns !== undefined)
  if (backends.length > 1 && listening.length < backends.length && willed.length > 0) {
    findings.push({ ok: null, what: `${name}: ${willed.join(', ')} times the caller's turns by itself in a list in which the gateway does; leave out turns` })
  }
  for (const backend of Object.keys(options)) {
    if (backends.includes(backend) || definition.shadow === backend) continue
    findings.push({ ok: null, what: `${name} has options for ${backend}, which it does not use` })
  }
  return findings
}
