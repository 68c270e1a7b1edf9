import type { CallKernel } from '../call-kernel.js'

/** The model: whether it is there, and what it is given. */
export class Model {
  #ready = false
  #dead = false
  #closed = false
  #spoke: boolean
  /** When it last gave a sign of a response. */
  #activeAtMs = -Infinity
  readonly #call: CallKernel

  constructor(call: CallKernel) {
    this.#call = call
    this.#spoke = call.resume?.greetingMs != null
  }

  /** It takes commands. */
  get usable(): boolean {
    return !this.#dead && !this.#closed
  }

  get ready(): boolean {
    return this.#ready
  }

  get dead(): boolean {
    return this.#dead
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Something that it said was played to the caller. */
  get spoke(): boolean {
    return this.#spoke
  }

  /** It gives a response. A lost end of a response counts as its end after the time of an answer. */
  get responds(): boolean {
    const { agentSpeech, nowMs, options } = this.#call
    return agentSpeech.responding !== null && nowMs - this.#activeAtMs < options.answerTimeoutMs
  }

  becomeReady(): void {
    this.#ready = true
  }

  die(): void {
    this.#dead = true
  }

  /** It gives a sign of a response. */
  active(): void {
    this.#activeAtMs = this.#call.nowMs
  }

  /** The caller hears an answer of it. */
  answers(): void {
    this.#spoke = true
  }

  /** @param respond  it is to answer now */
  tell(text: string, respond = false): void {
    this.#call.out({ type: 'backend-text', text, role: 'system', respond })
    if (respond) this.#call.wait.forAnswer()
  }

  close(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#call.out({ type: 'backend-close', reason })
  }
}
