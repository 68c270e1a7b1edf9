import type { Handlers } from '../../shared/by-type.js'
import type { ToCall } from '../../shared/call-messages.js'
import type { OutputHandlers, WorkerPart, WorkerThings } from '../worker-part.js'

/** Runs the agent's tools; the main thread decides if they may run. */
export class ToolRuns implements WorkerPart {
  readonly #of: WorkerThings

  constructor(of: WorkerThings) {
    this.#of = of
  }

  readonly outputs = {
    'run-tool': (output) => {
      const { run, digits } = this.#of.keys.ofRun(output)
      this.#of.tools.run(run, digits)
    },
    'cancel-tools': ({ callIds }) => this.#of.tools.cancel(callIds),
  } satisfies OutputHandlers

  readonly messages = {
    'verification-attempts': ({ left }) => this.#of.tools.attemptsLeft(left),
    'tool-intent': ({ key, answer }) => this.#of.tools.intended(key, answer),
  } satisfies Handlers<ToCall>

  end(): void {
    this.#of.tools.release()
  }
}
