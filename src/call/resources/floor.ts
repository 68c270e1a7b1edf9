import type { AgentSpeech } from '../turns/agent-speech.js'
import { Grants, type ReasonOf } from './grants.js'

type FloorReason = ReasonOf<'floor'>

/** A response that begins meanwhile is interrupted at the backend, which is not asked for anything else. */
const INTERRUPTS: readonly FloorReason[] = ['digits', 'consent', 'caller', 'greeting']

/**
 * The floor: whether responses of the model are played. It is closed while anybody holds a grant. A response that began while it
 * was closed stays unwanted until the floor opens.
 */
export class Floor {
  readonly #grants = new Grants('floor')
  /** Reasons for which the caller cannot interrupt the sound. */
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

  /** True if a response that begins now is to be interrupted at the backend. */
  get interruptsModel(): boolean {
    return this.#grants.has(...INTERRUPTS)
  }

  close(reason: FloorReason): void {
    const free = !this.closed
    this.#grants.take(reason)
    if (free) this.#speech.close()
  }

  /** Ends that grant. The floor opens once nobody holds it. */
  open(reason: FloorReason): void {
    if (this.#grants.giveBack(reason) && !this.closed) this.#speech.open()
  }

  /** Responses that have begun are not played any more. */
  discard(): void {
    this.#speech.raiseFence(this.#speech.latest)
  }

  /** Ends the time in which the gateway's greeting stands for the model's: what the model said meanwhile is not played. */
  endGreeting(): void {
    if (!this.holds('greeting')) return
    this.discard()
    this.open('greeting')
  }

  /** The model is asked for something: what it says from here on is the answer to it. */
  asked(): void {
    this.endGreeting()
    this.open('caller')
  }
}
