import { agentVersion } from '../../../agents/file/agent-view.js'
import { NO_ASSETS } from '../../../agents/file/assets.js'
import type { HostedAgent } from '../main-thread-context.js'

/** Version of an agent's file. All businesses and calls that this agent serves have the same version. */
export function versionOf({ definition, serves, assets = NO_ASSETS }: HostedAgent): string {
  return agentVersion(serves?.file ?? definition, assets)
}
