import type {
  Backend,
  BackendSession,
  BackendSink,
  SessionUpdate,
  TextOptions,
  ToolReply,
} from '../../src/backends/backend.js'
import { TestBackend } from '../support/test-backend.js'

/**
 * A backend for calls that come back, loaded into a media worker by its URL. It speaks a tone with words:
 *
 * - when it is asked to greet: "Welcome.", or to a caller whose number ends in 04, as on the digit 4;
 * - on the digit 1: it looks order 4127 up, always by the same tool call, and says what it is;
 * - on the digit 2: "A long answer.", for five seconds;
 * - on the digit 3: it is asked to speak slower, and says at what speed it then does;
 * - on the digit 4: it asks for a payment, as the agent `desk` for a booking, says nothing until it learns how that ended,
 *   and then says so;
 * - on the digit 5: it hands over to the agent `desk`, and on 6 with words that take two seconds; who has got a call says their name and how much they were given of it;
 * - when it is asked to go on: "I go on." and how much it was given of the call.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ResumableBackend(sink, 'resumable', { changesSpeed: true })
}

class ResumableBackend extends TestBackend {
  #asked = 0
  #given = ''
  #agent = ''
  #from = ''
  #speed = 1

  override connect(session: BackendSession): Promise<void> {
    const before = session.resume as { readonly asked: number } | null
    this.#asked = before?.asked ?? 0
    this.#speed = session.speed ?? 1
    this.#agent = session.agent
    this.#from = session.from
    this.#given = `${session.history.length} lines, ${session.toolLedger.length} tools, asked ${this.#asked}`
    return super.connect(session)
  }

  override sendText(text: string, { respond }: TextOptions): void {
    if (!respond) return
    if (text.includes('outcome of')) this.say(text.includes('QX1') ? 'It is paid.' : 'It is not paid.')
    else if (text.includes('handed this caller over')) this.say(`Here is ${this.#agent}. ${this.#given}`)
    else if (text.includes('short gap')) this.say(`I go on. ${this.#given}`)
    else if (this.#from.endsWith('04') && this.#asked === 0) this.dtmf('4')
    else this.say('Welcome.')
  }

  override dtmf(digit: string): void {
    this.#asked++
    const callId = `call-${this.#asked}`
    if (digit === '2') this.say('A long answer.', 5000)
    else if (digit === '3') this.call('set_speech_rate', { rate: 'slower' }, callId)
    else if (digit === '4') this.call(this.#agent === 'desk' ? 'book' : 'charge', {}, callId)
    else if (digit === '6') {
      this.say('I connect you.', 2000)
      this.call('hand_over', { agent: 'desk', summary: 'Wants a room.' }, callId)
    } else if (digit === '5') this.call('hand_over', { agent: 'desk', summary: 'Wants a room.' }, callId)
    else this.call('lookup_order', { orderNumber: '4127' }, 'call-1')
  }

  override toolResult(_callId: string, { ok, value, pending }: ToolReply): void {
    if (pending === true) return
    const { status, changed } = value as { readonly status?: string; readonly changed?: boolean }
    if (changed === true) return this.say(`At ${this.#speed}.`)
    this.say(ok ? `It is ${status ?? 'nowhere'}.` : 'That is not known.')
  }

  override updateSession(update: SessionUpdate): void {
    this.#speed = update.speed ?? this.#speed
  }

  override snapshot(): unknown {
    return { asked: this.#asked }
  }

  protected override say(text: string, ms = 200): void {
    super.say(text, ms)
    this.event({ type: 'usage', usage: { inputTokens: 10, outputTokens: 5, audioInMs: 0, audioOutMs: ms } })
  }
}
