import type { CallKernel } from '../call-kernel.js'
import type { SessionResume } from '../documents/checkpoint.js'
import { PendingTools } from '../pending-tools.js'
import { ToolLedger } from '../tool-ledger.js'

/** Tool calls that were sent, and those whose outcome comes later. */
export class Effects {
  readonly ledger: ToolLedger
  readonly pending: PendingTools

  constructor(call: CallKernel, resume: SessionResume | undefined) {
    this.ledger = new ToolLedger(
      call.log,
      (made) => call.record({ kind: 'tool-call', ...made }),
      () => ({ nowMs: call.nowMs, zeroMs: call.streamZeroMs }),
      resume,
      call.zeroMs,
      new Set(call.options.effects?.tools),
    )
    this.pending = new PendingTools(call.resume?.waits ?? [], call.zeroMs)
  }

  /** Number of tool calls that run. */
  get running(): number {
    return this.ledger.running
  }

  /** Reason why the model may not leave the conversation by that tool now; null if it may. */
  refusal(tool: string): string | null {
    const running = this.ledger.effectsRunning
    if (running.length === 0) return null
    return (
      `${running.join(' and ')} still runs, and the call goes on. Wait for its result and tell the caller how it ended. ` +
      `Then call ${tool} again.`
    )
  }

  /** The caller waits for an outcome that comes later. */
  get awaited(): boolean {
    return this.pending.waiting.length > 0
  }
}
