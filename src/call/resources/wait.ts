import type { CallCore } from '../call-core.js'

/** Expected next action in the call: the agent must answer, or the caller acts. */
export class Wait {
  readonly #core: CallCore

  constructor(core: CallCore) {
    this.#core = core
  }

  /** Notes that the model must make a sound within the time limit. */
  forAnswer(): void {
    this.#core.in('answer', this.#core.options.answerTimeoutMs)
  }

  /** True while the call waits for a sound of the model. */
  get answerDue(): boolean {
    return this.#core.deadlines.isSet('answer')
  }

  /** Notes that the call does not wait for an answer of the model any more. */
  noAnswer(): void {
    this.#core.clear('answer')
  }

  /** Notes that the caller acts next. The agent need not answer, say a filler or say goodbye. */
  callerActs(): void {
    this.noAnswer()
    this.#core.tell({ type: 'caller-acts' })
  }

  /** True if the caller waits for an outcome, or answers a question of the gateway. */
  get callerWaits(): boolean {
    return this.#core.features.busy
  }
}
