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

/** Call backs to the person on a call's line, with the call as it is now. No method rejects. */
export class CallBacks {
  readonly #of: CalledBack

  constructor(of: CalledBack) {
    this.#of = of
  }

  /** The person on the line may be called back at their number. */
  get mayRing(): boolean {
    const { origin, agent, context } = this.#of
    return mayBeCalledBack(origin.call, agent.definition, context)
  }

  /** Keeps a call back, or only asks whether it would be. Within seconds. @returns why not; null: it is kept */
  async ask(order: CallBackOrder, onlyAsks: boolean): Promise<CallBackRefusal | null> {
    const { continuity, context } = this.#of
    const { callBacks, transcript } = context
    if (callBacks === undefined) return null
    const [state, kept] = [continuity.promised(), keptCallBack(order, transcript)]
    return onlyAsks ? callBacks.refusal(state, kept) : callBacks.promise(state, kept)
  }

  /** The call has ended: one that was promised is kept with the call as it is then. */
  ended(order: CallBackOrder): void {
    const { continuity, context } = this.#of
    void context.callBacks?.promise(continuity.promised(), order)
  }
}
