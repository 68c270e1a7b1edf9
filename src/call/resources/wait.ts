import type { CallKernel } from '../call-kernel.js'

/** Who owes whom the next sound. */
export class Wait {
  readonly #call: CallKernel

  constructor(call: CallKernel) {
    this.#call = call
  }

  /** The model has to make a sound in time. */
  forAnswer(): void {
    this.#call.in('answer', this.#call.options.answerTimeoutMs)
  }

  /** A sound of the model is due. */
  get answerDue(): boolean {
    return this.#call.deadlines.isSet('answer')
  }

  /** Nobody waits for the model's answer any more. */
  noAnswer(): void {
    this.#call.clear('answer')
  }

  /** The caller acts next: no answer, filler or goodbye is due. */
  callerActs(): void {
    this.noAnswer()
    this.#call.tell({ type: 'caller-acts' })
  }

  /** The caller waits for an outcome, or answers a question of the gateway's. */
  get callerWaits(): boolean {
    return this.#call.features.some((feature) => feature.busy === true)
  }

  /** Somebody speaks, or the caller waits for the agent. */
  get engaged(): boolean {
    const { callerSpeech, input, unrecognised, deadlines } = this.#call
    return (
      this.#call.sounding ||
      this.#call.model.responds ||
      this.callerWaits ||
      this.#call.bargeIn.paused ||
      (callerSpeech.speaking && callerSpeech.real) ||
      input.partial ||
      (unrecognised.ignoring && deadlines.isSet('not-understood')) ||
      this.answerDue
    )
  }
}
