import { NO_ASSETS } from '../../../agents/file/assets.js'
import { agentWith } from '../../../agents/tools/call-variables.js'
import type { AgentDefinition } from '../../../agents/file/definition.js'
import type { CallVariables } from '../../../agents/file/template.js'
import { usesLegRate } from '../../../backends/registry.js'
import type { BackendShare } from '../../../backends/split.js'
import type { KeptCall } from '../../../call/documents/kept-call.js'
import type { LegRateHz } from '../../../core/units.js'
import { canBeCalled, partyKey } from '../../../sautikit/phone.js'
import { traceparentOf } from '../../../telemetry/trace-id.js'
import type { CallStart } from '../../shared/call-messages.js'
import { versionOf } from './agent-version.js'
import { widestRateHz } from '../caller-profiles.js'
import type { NewCall } from '../live-call.js'
import type { HostedAgent, MainThreadContext } from '../main-thread-context.js'

type Parties = Pick<NewCall, 'direction' | 'from' | 'to'>

/** Puts the call's variables into an agent's texts. @param begins  see `agentWith` */
export function inCall(agent: HostedAgent, call: NewCall, variables: CallVariables, begins = false): HostedAgent {
  const definition = withGreeting(agentWith(agent.definition, variables, begins), call)
  if (definition === agent.definition) return agent
  return { ...agent, definition, serves: { business: null, file: agent.definition, ...agent.serves } }
}

/**
 * Sets the agent's first words in a promised call back. Without this, the agent says the words for a call that was cut
 * off.
 */
function withGreeting(agent: AgentDefinition, { placed }: NewCall): AgentDefinition {
  const { callbacks, recovery } = agent
  if (placed?.promised !== true || callbacks === null) return agent
  return { ...agent, recovery: { ...recovery, callbackGreeting: callbacks.greeting } }
}

/** Part of a call's start data that comes from its order and its agent. */
export function startOf(call: NewCall, hosted: HostedAgent, context: MainThreadContext) {
  return {
    direction: call.direction,
    agent: hosted.definition,
    business: hosted.serves?.business ?? null,
    variables: call.placed?.variables ?? {},
    knownCaller: context.lines.foundOf(partyKey(callerOf(call)), lookUpOf(call, hosted)),
    ...traceContextOf(call, context),
    leaveMessage: call.placed?.leaveMessage ?? true,
    messagesOnly: hosted.messagesOnly ?? false,
    assets: hosted.assets ?? NO_ASSETS,
    from: callerOf(call),
    calledBack: mayBeCalledBack(call, hosted.definition, context),
    to: ownNumberOf(call),
    track: hosted.facts.stream.track,
    journal: context.keepJournal === null ? null : context.journal,
  } satisfies Partial<CallStart>
}

/** Sample rate of a call's leg. A continued call keeps its rate if the rate was learnt. */
export function legRateOf(
  { facts: { stream }, definition }: HostedAgent,
  share: BackendShare,
  before: KeptCall | null,
  lines: MainThreadContext['lines'],
  party: string,
): LegRateHz {
  const { samplingRateHz } = stream
  if (before !== null)
    return samplingRateHz === 'auto' && before.legRateHz === 8000 ? 8000 : widestRateHz(samplingRateHz)
  return lines.rateHz(samplingRateHz, party, usesLegRate(share.names[0] ?? '', definition.backends))
}

/** Trace context in the requests of a call's tools. */
export function traceContextOf({ callSid }: NewCall, { traces }: MainThreadContext): Pick<CallStart, 'traceparent'> {
  return traces == null ? {} : { traceparent: traceparentOf(callSid) }
}

/**
 * True if the person on the line may be called back at their number. If another system makes the call backs, every
 * number that can be called is allowed.
 */
export function mayBeCalledBack(
  call: Parties,
  agent: AgentDefinition,
  context: Pick<MainThreadContext, 'callBacks'>,
): boolean {
  const number = callerOf(call)
  return canBeCalled(number) && (context.callBacks?.mayRing(agent, number, ownNumberOf(call)) ?? true)
}

/** Number of the person on the line. In outbound calls too, agent and tools use the word "caller" for this person. */
export function callerOf({ direction, from, to }: Parties): string {
  return direction === 'inbound' ? from : to
}

export function ownNumberOf({ direction, from, to }: Parties): string {
  return direction === 'inbound' ? to : from
}

/**
 * Key of a call's line for one agent. Facts about a caller are stored under it, so other businesses do not receive
 * them.
 */
export function lineOf(call: Parties, { definition }: HostedAgent): string {
  return `${ownNumberOf(call)} ${definition.name}`
}

/**
 * Key under which the look-up result of a call's agent is remembered for this line. It contains the version of the
 * agent's file.
 */
export function lookUpOf(call: Parties, hosted: HostedAgent): string {
  return `${lineOf(call, hosted)} ${versionOf(hosted)}`
}
