import type { KeptCall, KeptState } from '../../../call/documents/kept-call.js'
import { partyKey, sameNumber } from '../../../sautikit/phone.js'
import { callerOf, ownNumberOf } from './call-start.js'
import type { NewCall } from '../live-call.js'
import type { MainThreadContext } from '../main-thread-context.js'

/**
 * Origin of a call: its webhook, the order to place it, or the lost node or stream that had the call before. It never
 * changes.
 */
export class CallOrigin {
  /** State of the call that a lost node or stream left; null for a new call. */
  readonly before: KeptState | null
  /** The call as it was prepared. If we placed the call, the time of the order is on this node's clock. */
  readonly call: NewCall
  /** Time zero of the timeline: the time of the call's webhook. Another node may have received the webhook. */
  readonly preparedAtMs: number
  /** `preparedAtMs` as calendar time of this node. */
  readonly preparedWallMs: number
  /** Number of the person on the line, E.164; empty if it is withheld. */
  readonly number: string
  /** `partyKey` of the number. */
  readonly key: string

  constructor(call: NewCall, before: KeptState | null, context: Pick<MainThreadContext, 'clock' | 'wallClock'>) {
    this.before = before
    const nowWallMs = context.wallClock()
    const elapsedMs = before === null ? 0 : Math.max(before.kept.elapsedMs, nowWallMs - before.kept.preparedWallMs)
    this.preparedAtMs = context.clock() - elapsedMs
    this.preparedWallMs = nowWallMs - elapsedMs
    this.call = before === null ? call : { ...call, ...placedOf(before.kept, this.preparedAtMs) }
    this.number = callerOf(call)
    this.key = partyKey(this.number)
  }

  /** SID of the first call of a chain. Limits and effects count for the whole chain. */
  get rootSid(): string {
    return this.call.rootSid ?? this.before?.kept.rootSid ?? this.call.callSid
  }

  /** Calendar time of the webhook, as written by the node that received it. */
  get webhookWallMs(): number {
    return this.before?.kept.preparedWallMs ?? this.preparedWallMs
  }

  /** Our own number. */
  get ours(): string {
    return ownNumberOf(this.call)
  }

  isOf(number: string): boolean {
    return sameNumber(this.number, number)
  }
}

/** The order of a placed call, on this node's clock. */
function placedOf({ placed, agent, from, to }: KeptCall, preparedAtMs: number): Pick<NewCall, 'placed'> {
  if (placed === null) return {}
  const { orderedMs, ...rest } = placed
  return { placed: { ...rest, agent, from, to, orderedAtMs: preparedAtMs - orderedMs } }
}
