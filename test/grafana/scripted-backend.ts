import { unrefTimer } from '../../src/core/clock.js'
import { noUsage } from '../../src/call/usage.js'
import type { Backend, BackendSession, BackendSink, TextOptions } from '../../src/backends/backend.js'
import { TestBackend, tone } from '../support/test-backend.js'

/**
 * A backend that recognises nothing and answers with a tone, loaded into a media worker by its URL. The last two digits
 * of the caller's number say what it does when the caller has spoken: 02 calls a tool, 03 wants a human, 04 dies, 05
 * speaks for four seconds, 06 calls a tool that waits, all others answer in half a second.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ScriptedBackend(sink, 'scripted')
}

export class ScriptedBackend extends TestBackend {
  #role = '01'
  #turns = 0
  readonly #cancels: (() => void)[] = []

  constructor(sink: BackendSink, name: string) {
    super(sink, name, { serverVad: false })
  }

  override connect(session: BackendSession): Promise<void> {
    this.#role = session.from.slice(-2)
    return new Promise((resolve) =>
      this.#after(30, () => {
        this.event({ type: 'ready' })
        this.sink.rateLimits?.([{ name: 'tokens', limit: 1000, remaining: 900, resetMs: 60_000 }])
        resolve()
      }),
    )
  }

  override sendText(_text: string, options: TextOptions): void {
    if (options.respond) this.#answer(400)
  }

  override speechEnd(): void {
    this.#turns++
    this.#after(80, () => this.#respond())
  }

  #respond(): void {
    const first = this.#turns === 1
    if (first && this.#role === '02') return this.call('lookup_order', { orderNumber: '4127' })
    if (first && this.#role === '06') return this.call('request_payment', { order: '4101' })
    if (first && this.#role === '03')
      return this.call('escalate_to_human', { reason: 'asked for', summary: 'wants a human' })
    if (first && this.#role === '04' && this.capabilities.name === 'scripted') {
      return this.event({ type: 'error', code: 'network', message: 'the line is cut', fatal: true, retryable: true })
    }
    this.#answer(first && this.#role === '05' ? 4000 : 500)
  }

  #answer(ms: number): void {
    const generation = ++this.generation
    const itemId = `item-${generation}`
    this.event({ type: 'turn-start', generation })
    this.event({ type: 'transcript', role: 'agent', text: 'beep', final: true, itemId, generation })
    this.sink.audio(tone(ms), 16_000, itemId, generation)
    this.event({ type: 'audio-done', generation, itemId })
    this.event({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: ms / 1000 } })
    // The first answer also needed a model without a price.
    if (generation === 1) this.event({ type: 'usage', usage: { ...noUsage(), inputTokens: 10 } })
    this.event({ type: 'turn-done', generation, status: 'completed' })
  }

  override toolResult(): void {
    this.#after(30, () => this.#answer(500))
  }

  override close(reason: string): Promise<void> {
    for (const cancel of this.#cancels) cancel()
    return super.close(reason)
  }

  #after(ms: number, work: () => void): void {
    this.#cancels.push(
      unrefTimer(ms, () => {
        if (this.open) work()
      }),
    )
  }
}
