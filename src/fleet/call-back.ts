import type { AgentDefinition } from '../agents/file/definition.js'
import { parseCallSid } from '../core/ids.js'
import { KEEP_RENEW_MS } from '../core/limits.js'
import { isOpen } from '../escalation/hunt-group.js'
import type { Log } from '../telemetry/log.js'
import { continuationOf } from '../workers/main/kept-call.js'
import type { KeptCall, KeptState } from '../call/documents/kept-call.js'
import type { OutboundOrder } from '../workers/main/outbound-calls.js'

/**
 * Maximum age in ms of a call's stored state with which the caller is rung back. A state may be KEEP_RENEW_MS old when
 * its node dies, and the death is detected after half a minute.
 */
const CALLBACK_AGE_MS_MAX = KEEP_RENEW_MS + 60_000

/** Reason why the caller of a call that was cut off is not rung back. */
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
 * Reason why the caller of a cut-off call is not rung back, from the call's state and its agent's settings.
 * @param wallMs calendar time
 * @returns null if the caller may be rung back
 */
export function callBackRefusal(
  kept: KeptCall,
  recovery: AgentDefinition['recovery'] | undefined,
  wallMs: number,
): CallBackRefusal | null {
  if (recovery?.callback !== true) return 'off'
  // A call back is an outbound call, so a call back that is cut off is not repeated.
  if (kept.direction !== 'inbound') return 'not-inbound'
  if (!E164.test(kept.from)) return 'number-withheld'
  if (continuationOf(kept) !== 'agent') return 'not-in-conversation'
  if (kept.session === null || kept.streamOpenedMs === null) return 'not-begun'
  if (wallMs - kept.preparedWallMs - kept.elapsedMs > CALLBACK_AGE_MS_MAX) return 'too-late'
  return recovery.hours === null || isOpen(recovery.hours, wallMs) ? null : 'outside-hours'
}

interface CallBackOptions {
  readonly recovery: (agent: string) => AgentDefinition['recovery'] | undefined
  /** True if a number is on the do-not-call list. If the number cannot be looked up, the answer is true. */
  readonly isDoNotCall: (number: string) => Promise<boolean>
  /**
   * Places the call. Refuses the call if the number's range or country, RECOVERY_PER_MINUTE or the capacity does not
   * allow it.
   */
  readonly place: (order: OutboundOrder) => Promise<unknown>
  readonly wallClock: () => number
  readonly log: Log
}

/** Rings back a caller whose call was cut off, if all rules allow it. A failed ring is not repeated. */
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
    await options.place({ agent, to: from, ...(E164.test(to) ? { from: to } : {}), recovers: state })
    return true
  } catch (thrown) {
    log.warn({ err: thrown }, 'the caller of a call that was cut off cannot be called back')
    return false
  }
}
