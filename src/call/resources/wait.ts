import type { CallCore } from '../call-core.js'

/** Who owes whom the next sound. */
export class Wait {
  readonly #core: CallCore

  constructor(core: CallCore) {
    this.#core = core
  }

  /** The model has to make a sound in time. */
  forAnswer(): void {
    this.#core.in('answer', this.#core.options.answerTimeoutMs)
  }

  /** A sound of the model is due. */
  get answerDue(): boolean {
    return this.#core.deadlines.isSet('answer')
  }

  /** Nobody waits for the model's answer any more. */
  noAnswer(): void {
    this.#core.clear('answer')
  }

  /** The caller acts next: no answer, filler or goodbye is due. */
  callerActs(): void {
    this.noAnswer()
    this.#core.tell({ type: 'caller-acts' })
  }

  /** The caller waits for an outcome, or answers a question of the gateway's. */
  get callerWaits(): boolean {
    return this.#core.features.busy
  }
}
