import type { BackendEvent } from '../../backends/backend.js'
import type { CallInput } from '../../call/events.js'
import type { FromCall } from '../shared/call-messages.js'

export type ToolCallEvent = Extract<BackendEvent, { type: 'tool-call' }>

/** Interface through which a part reaches the rest of its call. */
export interface WorkerDoor {
  /** Sends a message to the main thread. */
  readonly post: (message: FromCall) => void
  /**
   * Gives the session an input. It must not be called while the session's outputs are carried out; then use `later`,
   * which calls it in a microtask.
   */
  readonly handle: (input: CallInput) => void
  /** Runs work outside the tick; a fault in the work fails only this call. */
  readonly guard: (work: () => void) => void
}

/** Runs work in a microtask, when the session has returned from the present input. */
export function later({ guard }: Pick<WorkerDoor, 'guard'>, work: () => void): void {
  queueMicrotask(() => guard(work))
}
