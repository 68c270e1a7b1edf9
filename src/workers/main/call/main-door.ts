import type { MessagePort } from 'node:worker_threads'
import type { ToCall } from '../../shared/call-messages.js'

/** The only way of a part of a call to the rest of its call. */
export interface MainDoor {
  /** Enters an event into the call's timeline. */
  readonly mark: (name: string, detail?: string) => void
  /** Sends a message to the session; does nothing where none runs. */
  readonly send: (message: ToCall, transfer?: readonly MessagePort[]) => void
  /** Something that is kept has changed. The call ends now if nothing more is waited for. */
  readonly changed: () => void
}
