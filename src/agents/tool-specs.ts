import type { GatewayTool } from '../call/gateway-tools.js'
import { ESCALATE_TOOL, GATEWAY_TOOLS } from '../call/gateway-tools.js'
import type { AgentDefinition } from './definition.js'
import { toJsonSchema } from './parameters.js'

/** The tools of an agent as a model sees them: its own, then those that the gateway carries out. */
export function toolSpecs(agent: AgentDefinition): readonly GatewayTool[] {
  const own = agent.tools.map(
    ({ name, description, parameters }) => ({ name, description, parameters: toJsonSchema(parameters) }),
  )
  const gateway = GATEWAY_TOOLS.filter((tool) => tool.name !== ESCALATE_TOOL || agent.escalation !== null)
  return [...own, ...gateway]
}
