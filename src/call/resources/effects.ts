import type { CallCore } from '../call-core.js'
import type { SessionResume } from '../documents/checkpoint.js'
import { PendingTools } from '../tools/pending-tools.js'
import { ToolLedger } from '../tools/tool-ledger.js'

/** Tool calls that were sent, including calls whose outcome arrives later. */
export class Effects {
  readonly ledger: ToolLedger
  readonly pending: PendingTools

  constructor(core: CallCore, resume: SessionResume | undefined) {
    this.ledger = new ToolLedger(
      core.log,
      (made) => core.record({ kind: 'tool-call', ...made }),
      () => ({ nowMs: core.nowMs, zeroMs: core.streamZeroMs }),
      resume,
      core.zeroMs,
      new Set(core.options.effects?.tools),
      new Set(core.options.effects?.changes),
    )
    this.pending = new PendingTools(core.resume?.waits ?? [], core.zeroMs)
  }

  /** Number of running tool calls. */
  get running(): number {
    return this.ledger.running
  }

  /** Reason why the model must not call this tool, which leaves the conversation; null if the model may call it. */
  refusal(tool: string): string | null {
    const running = this.ledger.effectsRunning
    if (running.length === 0) return null
    return (
      `${running.join(' and ')} still runs, and the call goes on. Wait for its result and tell the caller how it ended. ` +
      `Then call ${tool} again.`
    )
  }

  /** True if the caller waits for an outcome that arrives later. */
  get awaited(): boolean {
    return this.pending.waiting.length > 0
  }
}
