import type { BackendEvent } from '../../../backends/backend.js'
import type { CallOutput } from '../../../call/events.js'
import type { Handlers } from '../../shared/by-type.js'
import type { WorkerDoor } from '../worker-door.js'
import type { OutputHandlers, WorkerPart } from '../worker-part.js'

type Passed = Extract<
  CallOutput,
  { type: 'wait' | 'escalate' | 'callback' | 'recording-announced' | 'recording-refused' | 'end-stream' }
>

/** Passes the session's orders and the backend's news to the main thread. */
export class PassedOn implements WorkerPart {
  readonly #post: WorkerDoor['post']

  constructor({ post }: Pick<WorkerDoor, 'post'>) {
    this.#post = post
  }

  readonly outputs = {
    wait: (output) => this.#pass(output),
    escalate: (output) => this.#pass(output),
    callback: (output) => this.#pass(output),
    'recording-announced': (output) => this.#pass(output),
    'recording-refused': (output) => this.#pass(output),
    'end-stream': (output) => this.#pass(output),
  } satisfies OutputHandlers

  readonly events = {
    failover: ({ from, to, gapMs, reason }) => this.#post({ type: 'failover', from, to, gapMs, reason }),
  } satisfies Handlers<BackendEvent>

  #pass(output: Passed): void {
    this.#post(output)
  }
}
