import type { AgentDefinition } from '../../agents/definition.js'
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
  /** Who had the call before, as it was then: an edit or another version says nothing of what its caller has proven. */
  #before: HostedAgent
  #share: BackendShare
  /** It is not the agent that the call began with. */
  #handed: boolean

  /** @param hosted  the agent that the call began with */
  constructor(continuity: CallContinuity, hosted: HostedAgent, context: MainThreadContext) {
    this.#continuity = continuity
    this.#context = context
    this.#hosted = this.#before = hosted
    // A lost node may have handed the call over.
    const { kept, log } = continuity.before ?? {}
    const to = log?.handovers.at(-1)?.to
    if (to !== undefined) this.#hosted = this.#named(to, kept?.handedHash) ?? hosted
    this.#handed = to !== undefined
    this.#share = this.#shareOf(this.#hosted)
  }

  get hosted(): HostedAgent {
    return this.#hosted
  }

  get definition(): AgentDefinition {
    return this.#hosted.definition
  }

  /** For another node: the version stays. */
  get kept(): Pick<KeptCall, 'handedHash'> {
    return this.#handed ? { handedHash: versionOf(this.#hosted) } : {}
  }

  get share(): BackendShare {
    return this.#share
  }

  /** Another agent has the call from now on. @returns null where there is none of that name any more: it stays with this one */
  handTo(name: string): HostedAgent | null {
    const next = this.#named(name)
    if (next === null) return null
    this.#before = this.#hosted
    this.#hosted = next
    this.#handed = true
    this.#share = this.#shareOf(next)
    return next
  }

  /** A tool that waits may be one of an agent that has handed the call over. */
  toolOf(name: string, handovers: CallLogRecords['handovers']): AgentDefinition['tools'][number] | undefined {
    const before = handovers.flatMap(({ from }) => this.#named(from)?.definition ?? [])
    return [this.definition, ...before].flatMap(({ tools }) => tools).find((tool) => tool.name === name)
  }

  /** The checkpoint without the caller's identity, where the agent before verified it in another way. */
  provenTo(log: Pick<CallLogRecords, 'handovers' | 'toolCalls'>, checkpoint: CallCheckpoint): CallCheckpoint {
    const { definition } = this.#before
    const definitionOf = (agent: string) => (agent === definition.name ? definition : this.#named(agent)?.definition)
    return identityKept(log, definitionOf, this.definition) ? checkpoint : { ...checkpoint, identity: null }
  }

  /** @param had  the version that the call had of it */
  #named(name: string, had: string | null = null): HostedAgent | null {
    const { call, rootSid } = this.#continuity
    const key = { rootSid, had }
    const agent = this.#context.agent(name, this.#hosted.serves?.business ?? null, call.budgetStep ?? null, key)
    return agent === null ? null : inCall(agent, call, call.placed?.variables ?? {})
  }

  #shareOf({ shares }: HostedAgent): BackendShare {
    return shareOf(shares, this.#continuity.rootSid)
  }
}
