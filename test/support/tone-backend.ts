import type { Backend, BackendSession, BackendSink, TextOptions } from '../../src/backends/backend.js'
import { TestBackend, tone } from './test-backend.js'

/**
 * Backend whose agent never stops speaking: it plays a tone from the first request to speak until the call's end. So
 * every pause at the caller is a gap.
 * Every three seconds it begins a new sentence, so that its calls change as often as other calls. Requests in between
 * are answered in a new turn. It has no recogniser. The last two digits of the caller's number select its first action:
 * - 02 opens a ticket by a tool.
 * - 03 asks for a human.
 * - 04 asks for a call back now. The time has seconds, because a time of a whole minute may be over when it is read.
 * - 05 requests a payment, whose outcome comes later.
 *
 * In a call that continues after a crash it opens the ticket again, like a model that loses its context.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ToneBackend(sink, 'tone', { serverVad: false })
}

const TONE_HZ = 300
const SENTENCE = 'Your order is on its way, and it will be with you tomorrow in the afternoon.'
const PIECE_MS = 200
const SENTENCE_MS = 3000
/** Duration in ms of speech that is sent ahead of its time. */
const LEAD_MS = 1000

class ToneBackend extends TestBackend {
  #from = ''
  #timer: NodeJS.Timeout | null = null

  override connect(session: BackendSession): Promise<void> {
    this.#from = session.from
    return super.connect(session)
  }

  override sendText(_text: string, { respond }: TextOptions): void {
    if (!respond) return
    if (this.#timer !== null) return void this.#turn()
    const role = this.generation === 0 ? this.#from.slice(-2) : ''
    if (role === '02') this.call('open_ticket', { subject: 'a broken lamp' })
    else if (role === '03') this.call('escalate_to_human', { reason: 'asked for', summary: 'wants a human' })
    else if (role === '04')
      this.call('request_callback', { note: 'the stock for Kitale', at: new Date().toISOString() })
    else if (role === '05') this.call('charge', {})
    else this.#speak()
  }

  override toolResult(callId: string): void {
    if (this.#timer !== null) this.#turn()
    else if (callId === `call-${this.generation}`) this.#speak()
  }

  #turn(): number {
    const generation = ++this.generation
    this.event({ type: 'turn-start', generation })
    return generation
  }

  #speak(): void {
    if (this.#timer !== null || !this.open) return
    let generation = this.#turn()
    const startedMs = performance.now()
    let sentMs = 0
    let itemId = ''
    const more = (): void => {
      for (; sentMs < performance.now() - startedMs + LEAD_MS; sentMs += PIECE_MS) {
        if (sentMs % SENTENCE_MS === 0 || generation !== this.generation) {
          if (itemId !== '') this.event({ type: 'audio-done', generation, itemId })
          if (generation !== this.generation) this.event({ type: 'turn-done', generation, status: 'completed' })
          generation = this.generation
          itemId = `item-${generation}-${sentMs / PIECE_MS}`
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
