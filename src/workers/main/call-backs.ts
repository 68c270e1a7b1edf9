import type { CallBackRefusal } from '../../call/events.js'
import { keptCallBack } from '../../telemetry/archive/redaction.js'
import type { CallAgent } from './call/call-agent.js'
import type { CallContinuity } from './call/call-continuity.js'
import type { CallOrigin } from './call/call-origin.js'
import { mayBeCalledBack } from './call/call-start.js'
import type { CallBackOrder, MainThreadContext } from './main-thread-context.js'

interface CalledBack {
  readonly origin: Pick<CallOrigin, 'call'>
  readonly agent: Pick<CallAgent, 'definition'>
  readonly continuity: Pick<CallContinuity, 'promised'>
  readonly context: Pick<MainThreadContext, 'callBacks' | 'transcript'>
}

/**
 * Orders call backs to the person on a call's line. An order contains the call's present state. Promises never reject.
 */
export class CallBacks {
  readonly #of: CalledBack

  constructor(of: CalledBack) {
    this.#of = of
  }

  /** True if we may call the person on the line back at their number. */
  get mayRing(): boolean {
    const { origin, agent, context } = this.#of
    return mayBeCalledBack(origin.call, agent.definition, context)
  }

  /**
   * Stores an order for a call back, or only checks if it would be accepted. The answer comes within seconds.
   * @returns reason of a refusal; null if the order is accepted
   */
  async ask(order: CallBackOrder, onlyAsks: boolean): Promise<CallBackRefusal | null> {
    const { continuity, context } = this.#of
    const { callBacks, transcript } = context
    if (callBacks === undefined) return null
    const [state, kept] = [continuity.promised(), keptCallBack(order, transcript)]
    return onlyAsks ? callBacks.refusal(state, kept) : callBacks.promise(state, kept)
  }

  /** Stores a promised call back again when the call has ended, with the call's last state. */
  ended(order: CallBackOrder): void {
    const { continuity, context } = this.#of
    void context.callBacks?.promise(continuity.promised(), order)
  }
}
