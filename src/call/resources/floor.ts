import type { AgentSpeech } from '../turns/agent-speech.js'
import { Grants, type ReasonOf } from './grants.js'

type FloorReason = ReasonOf<'floor'>

/** Reasons for which the gateway not only drops new responses, but also interrupts them at the backend. */
const INTERRUPTS: readonly FloorReason[] = ['digits', 'consent', 'caller', 'greeting']

/**
 * The floor: permission to play the model's responses. The floor is closed while at least one grant is held. Responses
 * that began while the floor was closed are never played.
 */
export class Floor {
  readonly #grants = new Grants('floor')
  /** Grants for sound of the gateway that the caller cannot interrupt. */
  readonly sound = new Grants('sound')
  readonly #speech: AgentSpeech

  constructor(speech: AgentSpeech) {
    this.#speech = speech
  }

  get closed(): boolean {
    return this.#grants.holder !== null
  }

  holds(reason: FloorReason): boolean {
    return this.#grants.has(reason)
  }

  /** True if a response that begins now must be interrupted at the backend. */
  get interruptsModel(): boolean {
    return this.#grants.has(...INTERRUPTS)
  }

  close(reason: FloorReason): void {
    const free = !this.closed
    this.#grants.take(reason)
    if (free) this.#speech.close()
  }

  /** Returns this grant. The floor opens when all grants are returned. */
  open(reason: FloorReason): void {
    if (this.#grants.giveBack(reason) && !this.closed) this.#speech.open()
  }

  /** Drops responses that have begun, so that the rest of these responses is not played. */
  discard(): void {
    this.#speech.raiseFence(this.#speech.latest)
  }

  /**
   * Ends the time in which the gateway's greeting replaces the model's greeting. Earlier speech of the model is not
   * played.
   */
  endGreeting(): void {
    if (!this.holds('greeting')) return
    this.discard()
    this.open('greeting')
  }

  /** Notes a request to the model. From now on its speech is the answer. */
  asked(): void {
    this.endGreeting()
    this.open('caller')
  }
}
