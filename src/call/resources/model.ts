import type { AgentSpeech } from '../turns/agent-speech.js'
import type { CallCore } from '../call-core.js'
import type { Wait } from './wait.js'

/** The model of the call: its state, and the texts that it receives. */
export class Model {
  #ready = false
  #dead = false
  #closed = false
  #spoke: boolean
  /** Time of the last event of a response. */
  #activeAtMs = -Infinity
  readonly #core: CallCore
  readonly #agentSpeech: AgentSpeech
  readonly #wait: Wait

  constructor(core: CallCore, agentSpeech: AgentSpeech, wait: Wait) {
    this.#core = core
    this.#agentSpeech = agentSpeech
    this.#wait = wait
    this.#spoke = core.resume?.greetingMs != null
  }

  /** True if the model accepts commands. */
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

  /** True if speech of the model was played to the caller. */
  get spoke(): boolean {
    return this.#spoke
  }

  /**
   * True if the model is giving a response. If the end of a response is lost, the response counts as ended after the
   * time limit of an answer.
   */
  get responds(): boolean {
    const { nowMs, options } = this.#core
    return this.#agentSpeech.responding !== null && nowMs - this.#activeAtMs < options.answerTimeoutMs
  }

  becomeReady(): void {
    this.#ready = true
  }

  die(): void {
    this.#dead = true
  }

  /** Notes an event of a response. */
  active(): void {
    this.#activeAtMs = this.#core.nowMs
  }

  /** Notes that the caller hears an answer of the model. */
  answers(): void {
    this.#spoke = true
  }

  /** @param respond  true if the model should answer now */
  tell(text: string, respond = false): void {
    this.#core.out({ type: 'backend-text', text, role: 'system', respond })
    if (respond) this.#wait.forAnswer()
  }

  close(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#core.out({ type: 'backend-close', reason })
  }
}
