import type { Handlers } from '../../shared/by-type.js'
import type { ToCall } from '../../shared/call-messages.js'
import type { WorkerDoor } from '../worker-door.js'
import type { OutputHandlers, WorkerPart } from '../worker-part.js'

/** Answer to a model if a person's wish to get no more calls could not be stored. */
const NOT_NOTED = {
  ok: false,
  value: { error: 'It could not be written down. Say so, say that you are sorry, and try once more.' },
  error: 'STORE_DOWN',
} as const

/** Handles a person's wish to get no more calls. The main thread stores the wish; then the tool call is answered. */
export class DoNotCall implements WorkerPart {
  readonly #door: Pick<WorkerDoor, 'post' | 'handle'>

  constructor(door: Pick<WorkerDoor, 'post' | 'handle'>) {
    this.#door = door
  }

  readonly outputs = {
    'do-not-call': (output) => this.#door.post(output),
    'do-not-call-undone': (output) => this.#door.post(output),
  } satisfies OutputHandlers

  readonly messages = {
    'do-not-call': ({ callId, kept }) =>
      this.#door.handle({
        type: 'tool-result',
        callId,
        ...(kept ? { ok: true, value: { noted: true } } : NOT_NOTED),
      }),
  } satisfies Handlers<ToCall>
}
