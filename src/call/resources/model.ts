import type { AgentSpeech } from '../turns/agent-speech.js'
import type { CallCore } from '../call-core.js'
import type { Wait } from './wait.js'

/** The model: whether it is there, and what it is given. */
export class Model {
  #ready = false
  #dead = false
  #closed = false
  #spoke: boolean
  /** When it last gave a sign of a response. */
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
    const { nowMs, options } = this.#core
    return this.#agentSpeech.responding !== null && nowMs - this.#activeAtMs < options.answerTimeoutMs
  }

  becomeReady(): void {
    this.#ready = true
  }

  die(): void {
    this.#dead = true
  }

  /** It gives a sign of a response. */
  active(): void {
    this.#activeAtMs = this.#core.nowMs
  }

  /** The caller hears an answer of it. */
  answers(): void {
    this.#spoke = true
  }

  /** @param respond  it is to answer now */
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
