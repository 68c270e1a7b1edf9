import { join } from 'node:path'
import { NO_ASSETS } from '../agents/assets.js'
import type { AgentAssets } from '../agents/assets.js'
import { AgentWatch } from '../agents/agent-watch.js'
import type { AgentDefinition } from '../agents/definition.js'
import { loadAgents } from '../agents/loader.js'
import type { Environment } from '../agents/environment.js'
import { offlineSpeech } from '../backends/embedded/offline-speech.js'
import { resolveBackend, resolveBackends } from '../backends/registry.js'
import { packageRoot } from '../config/package-root.js'
import type { Config } from '../config/settings.js'
import { GatewayError, messageOf } from '../core/errors.js'
import type { HostedAgent } from '../workers/main-thread-context.js'
import type { Log } from '../telemetry/log.js'
import { agentFacts } from './agent-facts.js'
import { backendSettings } from './backend-settings.js'

/** What `POST /voice` without a name means where nobody has set anything: the shipped agent that needs nothing. */
const SHIPPED_DEFAULT = 'order-status'

/** The folder that agents come from. */
export function agentsDirOf(config: Config): string {
  return config.agentsDir ?? join(packageRoot(), 'agents')
}

/** An agent as the host keeps it. @throws GatewayError for a backend that is not set up */
function hosted(definition: AgentDefinition, assets: AgentAssets, config: Config): HostedAgent {
  const settings = backendSettings(config)
  const { name, backend, shadow, backends } = definition
  return {
    definition, assets,
    facts: agentFacts(definition, { carrier: config.apiKey !== null, wallClock: Date.now }),
    backends: resolveBackends(name, backend, settings, backends),
    shadow: shadow === null ? null : resolveBackend(name, shadow, settings, backends),
  }
}

/** The agents of the settings' folder with their backends resolved: everything that is wrong with them is said here. */
export async function hostedAgents(config: Config, env: Environment): Promise<{ agents: Map<string, HostedAgent>; defaultAgent: string | null }> {
  const set = await loadAgents(agentsDirOf(config), env, offlineSpeech)
  const agents = new Map<string, HostedAgent>()
  for (const [name, definition] of set.agents) agents.set(name, hosted(definition, set.assets.get(name) ?? NO_ASSETS, config))
  if (config.defaultAgent !== null && !agents.has(config.defaultAgent)) {
    throw new GatewayError('AGENT_UNKNOWN', `DEFAULT_AGENT is '${config.defaultAgent}'; allowed: ${[...agents.keys()].join(', ')}`)
  }
  const shipped = config.agentsDir === null && agents.has(SHIPPED_DEFAULT) ? SHIPPED_DEFAULT : null
  return { agents, defaultAgent: config.defaultAgent ?? set.defaultAgent ?? shipped }
}

/**
 * Follows edits of the agents folder: `agents` is what new calls get, and is changed in place. Calls that run keep what they
 * were started with.
 */
export async function followAgents(
  options: { readonly config: Config; readonly env: Environment; readonly log: Log; readonly agents: Map<string, HostedAgent> },
): Promise<AgentWatch> {
  const { config, env, agents } = options
  const log = options.log.room('agents')
  const watch = new AgentWatch({
    dir: agentsDirOf(config), env, speech: offlineSpeech,
    apply: (folder) => {
      const refused = new Map<string, string>()
      for (const [name, { agent, assets }] of folder) {
        try {
          agents.set(name, hosted(agent, assets, config))
        } catch (thrown) {
          refused.set(name, messageOf(thrown))
        }
      }
      for (const name of [...agents.keys()]) {
        if (!folder.has(name)) agents.delete(name)
      }
      return refused
    },
    onChange: (names) => log.info({ agents: names }, 'agents were edited: new calls get the new version'),
    onFault: (what) => log.error({ fault: what }, 'an edit of the agents folder is not used'),
  })
  await watch.start()
  return watch
}
