import type { KeptCall, KeptState } from '../../../call/documents/kept-call.js'
import { partyKey, sameNumber } from '../../../sautikit/phone.js'
import { callerOf, ownNumberOf } from './call-start.js'
import type { NewCall } from '../live-call.js'
import type { MainThreadContext } from '../main-thread-context.js'

/** Where a call comes from: the webhook or the order, or another node or stream that had it. Nothing of it changes. */
export class CallOrigin {
  /** The same call as a lost node or a lost stream left it; null for a new call. */
  readonly before: KeptState | null
  /** How it was ordered is on this node's clock. */
  readonly call: NewCall
  /** Time zero of the timeline: the webhook, also where another node got it. */
  readonly preparedAtMs: number
  /** The same on this node's calendar. */
  readonly preparedWallMs: number
  /** Number of the person on the line, E.164; empty where it is withheld. */
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

  /** The first call of a chain: limits and effects count for all of it. */
  get rootSid(): string {
    return this.call.rootSid ?? this.before?.kept.rootSid ?? this.call.callSid
  }

  /** Calendar time of the webhook, as the node wrote it that got it. */
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

/** How it was ordered, on this node's clock. */
function placedOf({ placed, agent, from, to }: KeptCall, preparedAtMs: number): Pick<NewCall, 'placed'> {
  if (placed === null) return {}
  const { orderedMs, ...rest } = placed
  return { placed: { ...rest, agent, from, to, orderedAtMs: preparedAtMs - orderedMs } }
}
