import type { AgentDefinition } from '../agents/file/definition.js'
import { parseCallSid } from '../core/ids.js'
import { KEEP_RENEW_MS } from '../core/limits.js'
import { isOpen } from '../escalation/hunt-group.js'
import type { RingWay } from '../sautikit/ringing.js'
import type { Log } from '../telemetry/log.js'
import { continuationOf } from '../workers/main/kept-call.js'
import type { KeptCall, KeptState } from '../call/documents/kept-call.js'
import type { OutboundOrder } from '../workers/main/outbound-calls.js'

/**
 * A caller is not rung back when the state of their call is older. It is stored with each change and at least every
 * KEEP_RENEW_MS, and a lost node is found out within half a minute.
 */
const CALLBACK_AGE_MS_MAX = KEEP_RENEW_MS + 60_000

/** Why a caller whose call was cut off is not rung back. */
type CallBackRefusal =
  | 'off'
  | 'do-not-call'
  | 'not-inbound'
  | 'number-withheld'
  | 'not-in-conversation'
  | 'not-begun'
  | 'too-late'
  | 'outside-hours'

const E164 = /^\+[1-9]\d{6,14}$/

/**
 * Says whether the caller of a call that was cut off may be rung back, as far as the call and its agent decide it.
 * @param wallMs  calendar time
 * @returns null when they may
 */
export function callBackRefusal(
  kept: KeptCall,
  recovery: AgentDefinition['recovery'] | undefined,
  wallMs: number,
): CallBackRefusal | null {
  if (recovery?.callback !== true) return 'off'
  // A call that rang somebody back is not inbound: nobody is rung twice.
  if (kept.direction !== 'inbound') return 'not-inbound'
  if (!E164.test(kept.from)) return 'number-withheld'
  if (continuationOf(kept) !== 'agent') return 'not-in-conversation'
  if (kept.session === null || kept.streamOpenedMs === null) return 'not-begun'
  if (wallMs - kept.preparedWallMs - kept.elapsedMs > CALLBACK_AGE_MS_MAX) return 'too-late'
  return recovery.hours === null || isOpen(recovery.hours, wallMs) ? null : 'outside-hours'
}

interface CallBackOptions {
  readonly recovery: (agent: string) => AgentDefinition['recovery'] | undefined
  /** True if a number is on the do-not-call list. One that cannot be asked for is taken for one that is. */
  readonly isDoNotCall: (number: string) => Promise<boolean>
  /** Refuses by range and country of the number, RECOVERY_PER_MINUTE and capacity. */
  readonly place: (order: OutboundOrder, way: RingWay) => Promise<unknown>
  readonly wallClock: () => number
  readonly log: Log
}

/** Rings a caller back whose call was cut off, if all rules allow it. Once: a ring that fails is not repeated. */
export async function callBack(state: KeptState, options: CallBackOptions): Promise<boolean> {
  const { callSid, agent, from, to } = state.kept
  const log = options.log.call(parseCallSid(callSid), { agent })
  const refusal =
    callBackRefusal(state.kept, options.recovery(agent), options.wallClock()) ??
    ((await options.isDoNotCall(from).catch(() => true)) ? 'do-not-call' : null)
  if (refusal !== null) {
    log.info({ why: refusal }, 'the caller of a call that was cut off is not called back')
    return false
  }
  try {
    await options.place({ agent, to: from, ...(E164.test(to) ? { from: to } : {}), recovers: state }, 'ring-back')
    return true
  } catch (thrown) {
    log.warn({ err: thrown }, 'the caller of a call that was cut off cannot be called back')
    return false
  }
}
