import type { BackendUsage } from '../../../call/backend-events.js'
import type { Clock } from '../../../core/clock.js'
import type { SessionUpdate, ToolReply } from '../../../backends/backend.js'
import type { ToolCall } from '../../self-hosted/realtime/responses.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'
import type { ClientEvent, ContextKind } from './wire.js'
import type { LiveStats } from './reader.js'

/** Age in ms from which a tool's result is not spoken, because the caller may have changed the subject. */
export const STALE_RESULT_MS = 30_000

/** The session's interface for its delegate. */
export interface DelegateHost {
  /** Name of the service, used at the beginning of fault messages. */
  readonly service: string
  /** Time in ms without progress after which a delegation has failed. */
  readonly timeoutMs: number
  readonly nowMs: Clock
  readonly stats: LiveStats
  readonly send: (event: ClientEvent) => void
  /** Sends the model a text, split into parts if the text is long. */
  readonly context: (kind: ContextKind, text: string, delegationId: string | null) => void
  /**
   * @param afterSpeech true if tools that end the conversation wait until the caller has heard the speech before them
   */
  readonly calls: (calls: readonly ToolCall[], afterSpeech: boolean) => void
  /** Counts the delegate's tokens, with the name of its model. */
  readonly usage: (usage: BackendUsage) => void
  /**
   * Reports that a request to the delegate is about to be sent.
   * @returns false if the request is not allowed
   */
  readonly asks: () => boolean
  /** Reports a failed delegation, about which the caller must be informed. */
  readonly failed: (reason: string, fault: VendorFault) => void
}

/** Does the tasks that the live model delegates. */
export interface Delegate {
  /** Starts a delegation. A delegation has an id but no text: the conversation so far is the task. */
  created(delegationId: string): void
  /** Sends a text that needs an answer, such as DTMF digits. */
  ask(text: string, role: 'caller' | 'system'): void
  toolResult(callId: string, reply: ToolReply): void
  updateSession(update: Pick<SessionUpdate, 'instructions' | 'tools' | 'forget'>): void
  close(): void
}
