import { placeOf } from '../../backends/split.js'
import type { BackendShare } from '../../backends/split.js'
import { versionOf } from './call/agent-version.js'
import type { CallOfVersion, HostedAgent } from './main-thread-context.js'

/** Agents with a second version, and the choice of the version that serves a call. */

/** Key by which a version is chosen. */
export interface VersionKey extends CallOfVersion {
  /** Draft that the call was placed to try, in place of a version; absent if there is none. */
  readonly draft?: HostedAgent | undefined
}

/**
 * Version of an agent that serves a call. Only the SID decides, so that all nodes choose the same version. Two
 * exceptions: a draft replaces the versions, and a continued call keeps its version even if the share has changed.
 * @param isStopped  true if a version is a canary that was stopped because of its results: it gets no new calls. If
 * absent, no version is stopped
 */
export function versionFor(
  agent: HostedAgent,
  { rootSid, had, draft }: VersionKey,
  isStopped?: (agent: string, version: string) => boolean,
): HostedAgent {
  const { canary } = agent
  if (draft?.definition.name === agent.definition.name) return draft
  if (canary === undefined) return agent
  const own = [agent, canary.version].find((version) => versionOf(version) === had)
  if (own === undefined && isStopped?.(agent.definition.name, versionOf(canary.version)) === true) return agent
  // The hashed text differs from the text that splits calls between backends. With equal texts, the canary's calls
  // would be the calls of one backend.
  return own ?? (placeOf(`canary ${rootSid}`) < canary.percent ? canary.version : agent)
}

/** Shares of an agent's calls among the backends, over both versions of the agent. */
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
