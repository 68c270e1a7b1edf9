import type { Business } from '../../../agents/file/business.js'
import type { AgentDefinition } from '../../../agents/file/definition.js'
import { shareOf } from '../../../backends/split.js'
import type { BackendShare } from '../../../backends/split.js'
import type { CallCheckpoint } from '../../../call/documents/checkpoint.js'
import type { CallLogRecords, LoggedToolCall } from '../../../call/documents/log-entry.js'
import type { KeptCall } from '../../../call/documents/kept-call.js'
import { versionOf } from './agent-version.js'
import type { CallOrigin } from './call-origin.js'
import { VERIFY_TOOL } from '../../../call/tools/gateway-tools.js'
import { hasFields } from '../../../core/json.js'
import { inCall } from './call-start.js'
import type { HostedAgent, MainThreadContext } from '../main-thread-context.js'

/**
 * The agent that serves a call now, and the backends chosen for the call. A handover to another agent changes agent and
 * backends.
 */
export class CallAgent {
  readonly #origin: CallOrigin
  readonly #context: MainThreadContext
  #hosted: HostedAgent
  /**
   * Agents that have served the call, the newest last. An entry is the version of the agent that served the call. So a
   * later edit of the file changes neither the waiting tools nor the facts that the caller has proven. An entry is null
   * if the agent was deleted before this node took the call over.
   */
  readonly #had: (HostedAgent | null)[]
  #share: BackendShare

  /** @param hosted  the agent that the call began with */
  constructor(origin: CallOrigin, hosted: HostedAgent, context: MainThreadContext) {
    this.#origin = origin
    this.#context = context
    this.#hosted = hosted
    // The lost node may have handed the call over to another agent.
    const { kept, log } = origin.before ?? {}
    const given = log?.handovers ?? []
    const hashes = [...(kept?.passedHashes ?? []), kept?.handedHash]
    this.#had = [hosted, ...given.map(({ to }, at) => this.#named(to, hashes.at(at - given.length)))]
    this.#hosted = this.#had.at(-1) ?? hosted
    this.#share = this.#shareOf(this.#hosted)
  }

  get hosted(): HostedAgent {
    return this.#hosted
  }

  get definition(): AgentDefinition {
    return this.#hosted.definition
  }

  /** The business whose number was called; null if the number does not belong to a business. */
  get business(): Business | null {
    return this.#had[0]?.serves?.business ?? null
  }

  /** Versions of the agents that have served the call. They are stored with the call for another node. */
  get kept(): Pick<KeptCall, 'handedHash' | 'passedHashes'> {
    if (this.#had.length === 1) return {}
    const passedHashes = this.#had.slice(1, -1).map((agent) => (agent === null ? '' : versionOf(agent)))
    const handedHash = this.#had.at(-1) == null ? '' : versionOf(this.#hosted)
    return { handedHash, ...(passedHashes.length === 0 ? {} : { passedHashes }) }
  }

  get share(): BackendShare {
    return this.#share
  }

  /**
   * Hands the call to another agent.
   * @returns null if no agent has that name now; the present agent then keeps the call
   */
  handTo(name: string): HostedAgent | null {
    const next = this.#named(name)
    if (next === null) return null
    this.#hosted = next
    this.#had.push(next)
    this.#share = this.#shareOf(next)
    return next
  }

  /** Index of the present agent in `#had`; 0 for the first agent of the call. */
  get place(): number {
    return this.#had.length - 1
  }

  /**
   * Finds a waiting tool. It may belong to an earlier agent of the call.
   * @param place  index of the agent; undefined: the newest agent that has this tool
   */
  toolOf(name: string, place?: number): AgentDefinition['tools'][number] | undefined {
    const agents = place === undefined ? this.#had : this.#had.slice(place, place + 1)
    return agents.flatMap((agent) => agent?.definition.tools ?? []).findLast((tool) => tool.name === name)
  }

  /**
   * The checkpoint for the present agent. If the previous agent verified the caller in another way, the checkpoint
   * contains no identity of the caller.
   */
  provenTo(log: Pick<CallLogRecords, 'handovers' | 'toolCalls'>, checkpoint: CallCheckpoint): CallCheckpoint {
    const before = this.#had.at(-2)?.definition
    return identityKept(log, before, this.definition) ? checkpoint : { ...checkpoint, identity: null }
  }

  /** @param had  version of the agent in an earlier part of this call; empty if that agent no longer exists */
  #named(name: string, had: string | null = null): HostedAgent | null {
    if (had === '') return null
    const { call, rootSid } = this.#origin
    const key = { rootSid, had }
    const agent = this.#context.agent(name, this.#hosted.serves?.business ?? null, call.budgetStep ?? null, key)
    return agent === null ? null : inCall(agent, call, call.placed?.variables ?? {})
  }

  #shareOf({ shares }: HostedAgent): BackendShare {
    return shareOf(shares, this.#origin.rootSid)
  }
}

/**
 * True if the identity proven in a call also counts for its present agent. This is so if the present agent verifies
 * callers as the previous agent does, or if the present agent verified this caller earlier in the call.
 * @param before  the previous agent; undefined if there was none, or if that agent no longer exists
 */
function identityKept(
  { handovers, toolCalls }: Pick<CallLogRecords, 'handovers' | 'toolCalls'>,
  before: AgentDefinition | undefined,
  now: AgentDefinition,
): boolean {
  const last = handovers.at(-1)
  if (last === undefined) return true
  const verifiedHere = ({ record, result }: LoggedToolCall): boolean =>
    record.name === VERIFY_TOOL && record.startMs > last.atMs && hasFields(result, { verified: true })
  if (toolCalls.some(verifiedHere)) return true
  return JSON.stringify(before?.verification) === JSON.stringify(now.verification)
}
