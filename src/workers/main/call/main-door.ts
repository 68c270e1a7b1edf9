import type { MessagePort } from 'node:worker_threads'
import type { ToCall } from '../../shared/call-messages.js'

/** Interface through which a part reaches the rest of its call. */
export interface MainDoor {
  /** Enters an event into the call's timeline. */
  readonly mark: (name: string, detail?: string) => void
  /** Sends a message to the session; does nothing if no session runs. */
  readonly send: (message: ToCall, transfer?: readonly MessagePort[]) => void
  /** Reports that kept state has changed. If the call waited only for this change, it ends now. */
  readonly changed: () => void
}
