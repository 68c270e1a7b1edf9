import type { KeptState } from '../../../call/documents/kept-call.js'
import { CallEffects } from '../../shared/effects.js'
import { versionOf } from './agent-version.js'
import { CallAgent } from './call-agent.js'
import { CallBacks } from '../call-backs.js'
import { CallContinuity } from './call-continuity.js'
import type { KeptNow } from './call-continuity.js'
import { CallOrigin } from './call-origin.js'
import { CallRecordBuilder } from './call-record.js'
import { legRateOf } from './call-start.js'
import { CallStream } from './call-stream.js'
import type { NewCall } from '../live-call.js'
import type { MainDoor } from './main-door.js'
import type { MainThings } from './main-part.js'
import type { HostedAgent, MainThreadContext } from '../main-thread-context.js'
import { RecordingConsent } from './recording-consent.js'
import { SessionState } from './session-state.js'

/** Objects of one call that its parts use, and the call's record. The parts do not read the record. */
export interface CallThings extends MainThings {
  readonly record: CallRecordBuilder
}

interface MadeFrom {
  /** The call as it was announced. `hosted`: the agent with which it begins. */
  readonly order: NewCall
  readonly hosted: HostedAgent
  /** The call's state left by a lost node; null for a new call. */
  readonly before: KeptState | null
  readonly call: MainThings['call']
  readonly context: MainThreadContext
}

/**
 * Makes the objects of a call in the order of their dependencies.
 * @param now  returns the present state of the call, which is kept for another node
 */
export function thingsOf(
  { mark, changed }: MainDoor,
  now: () => KeptNow,
  { order, hosted, before, call, context }: MadeFrom,
): CallThings {
  const { callSid, placed, agent: name } = order
  const kept = before?.kept ?? null
  const origin = new CallOrigin(order, before, context)
  const { preparedAtMs, webhookWallMs: wallMs, key } = origin
  const traceId = context.traces?.traceId(callSid) ?? null
  const log = context.log.call(callSid, { agent: name, ...(traceId === null ? {} : { trace_id: traceId }) })
  const ringMs = before === null || before.how === 'call-back' ? (placed?.ringMs ?? 0) : 0
  const stream = new CallStream({ preparedAtMs, ringMs, before: kept }, context.clock)
  const agent = new CallAgent(origin, hosted, context)
  const record = new CallRecordBuilder(
    { ...order, agentVersion: versionOf(hosted) },
    agent.share.names[0] ?? 'none',
    context.metrics,
    context.callSeries,
    { ms: preparedAtMs, wallMs },
    context.maskNumbers,
    before,
  )
  const continuity = new CallContinuity({ mark, changed, now }, { origin, hosted, record, log }, context)
  return {
    ...{ call, origin, agent, stream, record, log, continuity, context },
    session: new SessionState(),
    legRateHz: legRateOf(agent.hosted, agent.share, kept, context.lines, key),
    consent: new RecordingConsent(agent, before),
    callBacks: new CallBacks({ origin, agent, continuity, context }),
    effects: new CallEffects({ callSid, resumed: before !== null, log, mark }, context.effects),
  }
}
