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

/** The agent that has a call, as it answers for the call's business, and its share of the backends. A handover changes both. */
export class CallAgent {
  readonly #origin: CallOrigin
  readonly #context: MainThreadContext
  #hosted: HostedAgent
  /**
   * Who has had the call, the newest last, as they were then: an edit or another version changes no tool that waits, and says
   * nothing of what a caller has proven. Null: gone when another node took the call over.
   */
  readonly #had: (HostedAgent | null)[]
  #share: BackendShare

  /** @param hosted  the agent that the call began with */
  constructor(origin: CallOrigin, hosted: HostedAgent, context: MainThreadContext) {
    this.#origin = origin
    this.#context = context
    this.#hosted = hosted
    // A lost node may have handed the call over.
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

  /** Whose number was called; null: nobody's. */
  get business(): Business | null {
    return this.#had[0]?.serves?.business ?? null
  }

  /** For another node: the versions stay. */
  get kept(): Pick<KeptCall, 'handedHash' | 'passedHashes'> {
    if (this.#had.length === 1) return {}
    const passedHashes = this.#had.slice(1, -1).map((agent) => (agent === null ? '' : versionOf(agent)))
    const handedHash = this.#had.at(-1) == null ? '' : versionOf(this.#hosted)
    return { handedHash, ...(passedHashes.length === 0 ? {} : { passedHashes }) }
  }

  get share(): BackendShare {
    return this.#share
  }

  /** Another agent has the call from now on. @returns null where there is none of that name any more: it stays with this one */
  handTo(name: string): HostedAgent | null {
    const next = this.#named(name)
    if (next === null) return null
    this.#hosted = next
    this.#had.push(next)
    this.#share = this.#shareOf(next)
    return next
  }

  /** Place of the agent that has the call, among those that have had it: 0 for the first. */
  get place(): number {
    return this.#had.length - 1
  }

  /**
   * A tool that waits may be one of an agent that has handed the call over.
   * @param place  of that agent; undefined: the newest with such a tool
   */
  toolOf(name: string, place?: number): AgentDefinition['tools'][number] | undefined {
    const agents = place === undefined ? this.#had : this.#had.slice(place, place + 1)
    return agents.flatMap((agent) => agent?.definition.tools ?? []).findLast((tool) => tool.name === name)
  }

  /** The checkpoint without the caller's identity, where the agent before verified it in another way. */
  provenTo(log: Pick<CallLogRecords, 'handovers' | 'toolCalls'>, checkpoint: CallCheckpoint): CallCheckpoint {
    const before = this.#had.at(-2)?.definition
    return identityKept(log, before, this.definition) ? checkpoint : { ...checkpoint, identity: null }
  }

  /** @param had  the version that the call had of it; empty: it was gone */
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
 * True if the identity that was proven in a call counts for its present agent: it asks the same as the agent
 * before it, or has verified the caller itself.
 * @param before  the agent that had the call before it; undefined: it is gone, or there is none
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
