import { agentVersion } from '../../../agents/file/agent-view.js'
import { NO_ASSETS } from '../../../agents/file/assets.js'
import type { HostedAgent } from '../main-thread-context.js'

/** The version of an agent's file, whichever business or call the agent is adapted to. */
export function versionOf({ definition, serves, assets = NO_ASSETS }: HostedAgent): string {
  return agentVersion(serves?.file ?? definition, assets)
}
