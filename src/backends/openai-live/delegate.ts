import type { BackendUsage } from '../../call/backend-events.js'
import type { Clock } from '../../core/clock.js'
import type { SessionUpdate, ToolReply } from '../backend.js'
import type { ToolCall } from '../openai-realtime/responses.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { ClientEvent, ContextKind } from './wire.js'
import type { LiveStats } from './live-reader.js'

/** The result of a tool that took longer than this is not spoken: the caller has gone on to something else. */
export const STALE_RESULT_MS = 30_000

/** The session's interface for its delegate. */
export interface DelegateHost {
  /** Begins messages of faults. */
  readonly service: string
  /** A delegation that shows no sign of life for this long is given up. */
  readonly timeoutMs: number
  readonly nowMs: Clock
  readonly stats: LiveStats
  readonly send: (event: ClientEvent) => void
  /** Gives the model a text, in as many parts as it takes. */
  readonly context: (kind: ContextKind, text: string, delegationId: string | null) => void
  /** @param afterSpeech  the caller should first hear what was said with them, as far as a tool ends the conversation */
  readonly calls: (calls: readonly ToolCall[], afterSpeech: boolean) => void
  /** Tokens of the delegate, with its model. */
  readonly usage: (usage: BackendUsage) => void
  /** The delegate is about to be asked. @returns false where it may not be */
  readonly asks: () => boolean
  /** A delegation failed: the caller must hear about it. */
  readonly failed: (reason: string, fault: VendorFault) => void
}

/** Does what the live model delegates. */
export interface Delegate {
  /** The live model delegated. It gives an id and no text: what was said before is the task. */
  created(delegationId: string): void
  /** A text that needs an answer, such as digits from the keypad. */
  ask(text: string, role: 'caller' | 'system'): void
  toolResult(callId: string, reply: ToolReply): void
  updateSession(update: Pick<SessionUpdate, 'instructions' | 'tools' | 'forget'>): void
  close(): void
}
