import type { BackendEvent } from '../../backends/backend.js'
import type { CallInput } from '../../call/events.js'
import type { FromCall } from '../shared/call-messages.js'

export type ToolCallEvent = Extract<BackendEvent, { type: 'tool-call' }>

/** A part's only way to the rest of its call. */
export interface WorkerDoor {
  /** Sends a message to the main thread. */
  readonly post: (message: FromCall) => void
  /** Gives the session an input. Not while its outputs are carried out: then it waits for a microtask (`later`). */
  readonly handle: (input: CallInput) => void
  /** Runs work outside the tick; a fault in it fails this call alone. */
  readonly guard: (work: () => void) => void
}

/** The session is not entered again while it is left. */
export function later({ guard }: Pick<WorkerDoor, 'guard'>, work: () => void): void {
  queueMicrotask(() => guard(work))
}
