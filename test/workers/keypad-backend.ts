import type { Backend, BackendSink, TextOptions, ToolReply } from '../../src/backends/backend.js'
import { TestBackend } from '../support/test-backend.js'

/**
 * A backend for calls in which the caller enters digits, loaded into a media worker by its URL. On the digits 9 and 8 it calls
 * `collect_digits` for a PIN and an ID number, and says what came back and how many loud samples and digits
 * it got meanwhile.
 */
export function createBackend(sink: BackendSink): Backend {
  return new KeypadBackend(sink, 'keypad')
}

class KeypadBackend extends TestBackend {
  #loud = 0
  #digits = 0

  override sendText(_text: string, { respond }: TextOptions): void {
    if (respond) this.say('Welcome.', 200)
  }

  override dtmf(digit: string): void {
    const name = { 9: 'pin', 8: 'id-number' }[digit]
    if (name === undefined) return void this.#digits++
    this.#loud = 0
    this.call('collect_digits', { name, with: name === 'pin' ? {} : { question: name } })
  }

  override toolResult(_callId: string, { value }: ToolReply): void {
    this.say(`${JSON.stringify(value)}; ${this.#loud} loud samples, ${this.#digits} digits`, 200)
  }

  override pushAudio(pcm: Int16Array): void {
    for (const sample of pcm) if (Math.abs(sample) > 200) this.#loud++
  }
}
