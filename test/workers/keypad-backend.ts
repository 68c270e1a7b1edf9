import type { Backend, BackendSession, BackendSink, TextOptions, ToolReply } from '../../src/backends/backend.js'
import { TestBackend } from '../support/test-backend.js'

/**
 * A backend for calls in which the caller enters digits, loaded into a media worker by its URL. On the digits 9, 8 and 1 it calls
 * `collect_digits` for a PIN, an ID number and a customer number, on 7 it asks for the PIN in words, and it says what came back and how many loud
 * samples and digits it got meanwhile. On 6 it hands over to the agent "next", or back to "first", on 0 it speaks Swahili and on * it says in which
 * language its session began; where its instructions say DOWN it cannot be reached. On 5 it asks for a human, and on 4 it
 * looks an account up. On 3 and 2 it asks for the PIN in words, and ends the call, as at the end of its budget, or hands over.
 */
export function createBackend(sink: BackendSink): Backend {
  return new KeypadBackend(sink, 'keypad')
}

class KeypadBackend extends TestBackend {
  #loud = 0
  #digits = 0
  #agent = ''
  #language = ''

  override connect(session: BackendSession): Promise<void> {
    if (session.instructions.startsWith('DOWN')) return Promise.reject(new Error('nobody answers'))
    this.#agent = session.agent
    this.#language = session.language
    return super.connect(session)
  }

  override sendText(text: string, { respond }: TextOptions): void {
    if (respond) this.say(text.includes('secret') ? `Keys: ${this.#got}` : 'Welcome.', 200)
  }

  override dtmf(digit: string): void {
    const name = { 9: 'pin', 8: 'id-number', 1: 'customer-number' }[digit]
    if (digit === '7' || name !== undefined) this.#loud = this.#digits = 0
    if (['7', '3', '2'].includes(digit)) this.say('Please key in your PIN.', 200)
    if (digit === '7') return
    if (digit === '6' || digit === '2')
      return void this.call('hand_over', { agent: this.#agent === 'next' ? 'first' : 'next' })
    if (digit === '0') return void this.call('set_language', { language: 'sw' })
    if (digit === '*') return this.say(`Begun in ${this.#language}.`, 200)
    if (digit === '4') return void this.call('account', {})
    if (digit === '3') return void this.call('end_call', { reason: 'the budget of this call is used up' })
    if (digit === '5') return void this.call('escalate_to_human', { reason: 'a person' })
    if (name === undefined) return void this.#digits++
    this.call('collect_digits', { name, with: name === 'pin' ? {} : { question: name } })
  }

  override toolResult(_callId: string, { value }: ToolReply): void {
    this.say(`${JSON.stringify(value)}; ${this.#got}`, 200)
  }

  get #got(): string {
    return `${this.#loud} loud samples, ${this.#digits} digits`
  }

  override pushAudio(pcm: Int16Array): void {
    for (const sample of pcm) if (Math.abs(sample) > 200) this.#loud++
  }
}
