import type { Backend, BackendSession, BackendSink, TextOptions } from '../../src/backends/backend.js'
import { TestBackend, tone } from './test-backend.js'

/**
 * A backend whose agent never stops speaking: a tone, from the moment that it is asked to speak until the call's end,
 * so that whatever the caller does not hear is a gap. Every three seconds it begins a new sentence, so that its calls have
 * something to write down as often as others do. It has no recogniser. The last two digits of the caller's number
 * say what it does first: 02 opens a ticket by a tool, 03 wants a human,
 * 04 wants to be called back, at a time that has passed: at once; 05 asks for a payment, whose outcome comes later.
 *
 * In a call that goes on after a crash it opens the ticket again, as a model does that forgets its context.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ToneBackend(sink, 'tone', { serverVad: false })
}

const TONE_HZ = 300
const SENTENCE = 'Your order is on its way, and it will be with you tomorrow in the afternoon.'
const PIECE_MS = 200
const SENTENCE_MS = 3000
/** Speech that is handed over ahead of its time. */
const LEAD_MS = 1000

class ToneBackend extends TestBackend {
  #from = ''
  #timer: NodeJS.Timeout | null = null

  override connect(session: BackendSession): Promise<void> {
    this.#from = session.from
    return super.connect(session)
  }

  override sendText(_text: string, { respond }: TextOptions): void {
    if (!respond || this.#timer !== null) return
    const role = this.generation === 0 ? this.#from.slice(-2) : ''
    if (role === '02') this.call('open_ticket', { subject: 'a broken lamp' })
    else if (role === '03') this.call('escalate_to_human', { reason: 'asked for', summary: 'wants a human' })
    else if (role === '04') this.call('request_callback', { note: 'the stock for Kitale' })
    else if (role === '05') this.call('charge', {})
    else this.#speak()
  }

  override toolResult(callId: string): void {
    if (callId === `call-${this.generation}`) this.#speak()
  }

  #speak(): void {
    if (this.#timer !== null || !this.open) return
    const generation = ++this.generation
    this.event({ type: 'turn-start', generation })
    const startedMs = performance.now()
    let sentMs = 0
    let itemId = ''
    const more = (): void => {
      for (; sentMs < performance.now() - startedMs + LEAD_MS; sentMs += PIECE_MS) {
        if (sentMs % SENTENCE_MS === 0) {
          if (itemId !== '') this.event({ type: 'audio-done', generation, itemId })
          itemId = `item-${generation}-${sentMs / SENTENCE_MS}`
          this.event({ type: 'transcript', role: 'agent', text: SENTENCE, final: true, itemId, generation })
        }
        this.sink.audio(tone(PIECE_MS, TONE_HZ, sentMs), 16_000, itemId, generation)
      }
    }
    more()
    this.#timer = setInterval(more, PIECE_MS / 2)
  }

  override close(reason: string): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    return super.close(reason)
  }
}
