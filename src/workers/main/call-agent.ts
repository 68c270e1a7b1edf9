import type { AgentDefinition } from '../../agents/file/definition.js'
import { shareOf } from '../../backends/split.js'
import type { BackendShare } from '../../backends/split.js'
import type { CallCheckpoint } from '../../call/documents/checkpoint.js'
import type { CallLogRecords } from '../../call/documents/log-entry.js'
import type { KeptCall } from '../../call/documents/kept-call.js'
import { versionOf } from './call-continuity.js'
import type { CallContinuity } from './call-continuity.js'
import { inCall } from './call-start.js'
import type { HostedAgent, MainThreadContext } from './main-thread-context.js'
import { identityKept } from './verification-attempts.js'

/** The agent that has a call, as it answers for the call's business, and its share of the backends. A handover changes both. */
export class CallAgent {
  readonly #continuity: CallContinuity
  readonly #context: MainThreadContext
  #hosted: HostedAgent
  /**
   * Who has had the call, the newest last, as they were then: an edit or another version changes no tool that waits, and says
   * nothing of what a caller has proven. Null: gone when another node took the call over.
   */
  readonly #had: (HostedAgent | null)[]
  #share: BackendShare

  /** @param hosted  the agent that the call began with */
  constructor(continuity: CallContinuity, hosted: HostedAgent, context: MainThreadContext) {
    this.#continuity = continuity
    this.#context = context
    this.#hosted = hosted
    // A lost node may have handed the call over.
    const { kept, log } = continuity.before ?? {}
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
    const { call, rootSid } = this.#continuity
    const key = { rootSid, had }
    const agent = this.#context.agent(name, this.#hosted.serves?.business ?? null, call.budgetStep ?? null, key)
    return agent === null ? null : inCall(agent, call, call.placed?.variables ?? {})
  }

  #shareOf({ shares }: HostedAgent): BackendShare {
    return shareOf(shares, this.#continuity.rootSid)
  }
}
