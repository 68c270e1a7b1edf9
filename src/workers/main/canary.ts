import { placeOf } from '../../backends/split.js'
import type { BackendShare } from '../../backends/split.js'
import { versionOf } from './call/agent-version.js'
import type { CallOfVersion, HostedAgent } from './main-thread-context.js'

/** Agents that have a second version, and which of the two serves a call. */

/** Key by which a version is chosen. */
export interface VersionKey extends CallOfVersion {
  /** The draft that the call was placed to try, in place of any version; absent: none. */
  readonly draft?: HostedAgent | undefined
}

/**
 * The version of an agent that serves a call. Without a draft it follows from the SID alone, so that all nodes choose the
 * same; a call that goes on stays with its own, whatever the share is by then.
 */
export function versionFor(agent: HostedAgent, { rootSid, had, draft }: VersionKey): HostedAgent {
  const { canary } = agent
  if (draft?.definition.name === agent.definition.name) return draft
  if (canary === undefined) return agent
  const own = [agent, canary.version].find((version) => versionOf(version) === had)
  // Not the place that a split of the backends has: the versions would have different models.
  return own ?? (placeOf(`canary ${rootSid}`) < canary.percent ? canary.version : agent)
}

/** Shares of an agent's calls, over both of its versions. */
export function sharesOfVersions({ shares, canary }: HostedAgent): readonly BackendShare[] {
  if (canary === undefined) return shares
  const part = (of: readonly BackendShare[], percent: number): BackendShare[] =>
    percent === 0 ? [] : of.map((share) => ({ ...share, percent: (share.percent * percent) / 100 }))
  return [...part(shares, 100 - canary.percent), ...part(canary.version.shares, canary.percent)]
}

/** All versions of all agents, by name. */
export function eachVersion(agents: ReadonlyMap<string, HostedAgent>): (readonly [string, HostedAgent])[] {
  return [...agents].flatMap(([name, agent]) =>
    agent.canary === undefined
      ? [[name, agent] as const]
      : [[name, agent] as const, [name, agent.canary.version] as const],
  )
}
