import { Feature } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'

const GREETING_POLL_MS = 100

/**
 * The greeting: the backend gives it, or the gateway where that comes too late.
 */
export class Greeting extends Feature implements CallFeature {
  // The beginning.
  startedMs: number | null
  /** The greeting that the gateway says because the backend does not. */
  itemId: string | null = null
  /** The caller is greeted, or the backend was asked to do so. */
  done: boolean
  /** The gateway has greeted, and the backend was asked to: what it says before the caller speaks would greet again. */
  instead = false

  constructor(call: CallKernel) {
    super(call)
    this.done = call.resume?.greeted ?? false
    this.startedMs = call.resume?.greetingMs ?? null
  }

  due(name: DeadlineName): void {
    if (name === 'greeting') this.#due()
  }

  checkpoint(): Pick<CallCheckpoint, 'greeted' | 'greetingMs'> {
    // A greeting that was requested but never heard must still be given.
    return { greeted: this.done && this.startedMs !== null, greetingMs: this.startedMs }
  }

  /** @param atMs  since the opened stream */
  agentSounds(atMs: number): void {
    if (this.startedMs !== null) return
    this.startedMs = atMs
    this.call.mark('greeting')
  }

  /** The gateway's greeting will not be heard: the backend gives it. */
  announceFailed(itemId: string): void {
    if (itemId !== this.itemId || this.call.state === 'escalating') return
    this.itemId = null
    if (this.instead) {
      this.settled()
      this.call.awaitAnswer()
    } else if (this.startedMs === null) {
      this.done = false
      if (this.call.state === 'live') this.call.opening.begin()
    }
  }

  /**
   * The backend has not greeted. The gateway does it with the agent's words, or with a filler where the model was to find
   * them; the backend learns of it when the caller hears it.
   */
  #due(): void {
    if ((this.call.state !== 'connecting' && this.call.state !== 'live') || this.call.backend.spoke) return
    if (this.call.callerSpeech.speaking || this.call.sounding || this.call.agentSpeech.anyOpen)
      return this.call.in('greeting', GREETING_POLL_MS)
    const { greeting, filler } = this.call.options
    const text = this.call.text(greeting ?? filler.texts[0])
    if (text === '') return
    this.call.mark('greeting-overdue')
    const itemId = this.call.announce(text, greeting === null ? 'filler' : 'prompt')
    if (greeting === null) return
    this.itemId = itemId
    if (!this.done) {
      this.done = true
    } else if (!this.call.turns.waiting) {
      this.instead = true
      this.call.agentSpeech.close()
      this.call.clear('answer')
    }
  }

  /** The backend is to know what the gateway said in its place. */
  tell(): void {
    const { greeting } = this.call.options
    if (greeting === null || !this.call.backend.usable) return
    this.call.out({ type: 'backend-text', text: this.call.text(greeting), role: 'agent', respond: false })
  }

  /** The backend is asked for something after the gateway has greeted: what it says from here on is not the greeting. */
  settled(): void {
    if (!this.instead) return
    this.instead = false
    this.call.agentSpeech.raiseFence(this.call.agentSpeech.latest)
    this.call.agentSpeech.open()
  }
}
