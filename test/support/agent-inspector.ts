import { allCallsOn } from '../../src/backends/split.js'
import type { BackendShare } from '../../src/backends/split.js'
import type { AgentAssets } from '../../src/agents/file/assets.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { readAgents } from '../../src/agents/file/loader.js'
import { AgentInspector } from '../../src/gateway/agents/agent-inspector.js'

/** Inspector of a folder's agents for an operator; their tools call the shop at this address. */
export async function deskOf(dir: string, shopUrl: string): Promise<AgentInspector> {
  const env = { SHOP_API_URL: shopUrl }
  const agents = new Map<
    string,
    { definition: AgentDefinition; assets: AgentAssets; shares: readonly BackendShare[] }
  >()
  for (const one of await readAgents(dir, env)) {
    if (one.ok)
      agents.set(one.agent.name, { definition: one.agent, assets: one.assets, shares: allCallsOn('embedded') })
  }
  return new AgentInspector({ agents, dir, watched: true, env, workerEnv: {}, speech: false })
}
