import { noUsage } from '../../src/call/usage.js'
import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'

/**
 * A backend that recognises nothing and answers with a tone, loaded into a media worker by its URL. The last two digits
 * of the caller's number say what it does when the caller has spoken: 02 calls a tool, 03 wants a human, 04 dies, 05
 * speaks for four seconds, 06 calls a tool that waits, all others answer in half a second.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ScriptedBackend(sink, 'scripted')
}

const RATE_HZ = 16_000

/** Speech as far as a socket can tell: sound that lasts. */
function tone(ms: number): Int16Array {
  return Int16Array.from(
    { length: (ms * RATE_HZ) / 1000 },
    (_, i) => 9000 * Math.sin((2 * Math.PI * 300 * i) / RATE_HZ),
  )
}

export class ScriptedBackend implements Backend {
  readonly capabilities
  readonly #sink: BackendSink
  #role = '01'
  #turns = 0
  #generation = 0
  #open = true
  #timers: NodeJS.Timeout[] = []

  constructor(sink: BackendSink, name: string) {
    this.#sink = sink
    this.capabilities = {
      name,
      inputRateHz: 16000,
      outputRateHz: 16000,
      serverVad: false,
      truncate: false,
      maxSessionMs: null,
    } as const
  }

  connect(session: BackendSession): Promise<void> {
    this.#role = session.from.slice(-2)
    return new Promise((resolve) =>
      this.#after(30, () => {
        this.#sink.event({ type: 'ready' })
        this.#sink.rateLimits?.([{ name: 'tokens', limit: 1000, remaining: 900, resetMs: 60_000 }])
        resolve()
      }),
    )
  }

  sendText(_text: string, options: { readonly respond: boolean }): void {
    if (options.respond) this.#answer(400)
  }

  speechEnd(): void {
    this.#turns++
    this.#after(80, () => this.#respond())
  }

  #respond(): void {
    const first = this.#turns === 1
    if (first && this.#role === '02') return this.#tool('lookup_order', { orderNumber: '4127' })
    if (first && this.#role === '06') return this.#tool('request_payment', { order: '4101' })
    if (first && this.#role === '03')
      return this.#tool('escalate_to_human', { reason: 'asked for', summary: 'wants a human' })
    if (first && this.#role === '04' && this.capabilities.name === 'scripted') {
      return this.#sink.event({
        type: 'error',
        code: 'network',
        message: 'the line is cut',
        fatal: true,
        retryable: true,
      })
    }
    this.#answer(first && this.#role === '05' ? 4000 : 500)
  }

  #tool(name: string, args: Readonly<Record<string, unknown>>): void {
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'tool-call', callId: `call-${generation}`, name, args, generation })
    this.#sink.event({ type: 'turn-done', generation, status: 'completed' })
  }

  #answer(ms: number): void {
    const generation = ++this.#generation
    const itemId = `item-${generation}`
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'transcript', role: 'agent', text: 'beep', final: true, itemId, generation })
    this.#sink.audio(tone(ms), RATE_HZ, itemId, generation)
    this.#sink.event({ type: 'audio-done', generation, itemId })
    this.#sink.event({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: ms / 1000 } })
    // The first answer also needed a model without a price.
    if (generation === 1) this.#sink.event({ type: 'usage', usage: { ...noUsage(), inputTokens: 10 } })
    this.#sink.event({ type: 'turn-done', generation, status: 'completed' })
  }

  toolResult(): void {
    this.#after(30, () => this.#answer(500))
  }

  pushAudio(): void {
    /* it has no ears */
  }
  speechStart(): void {
    /* nor does it wait for the end */
  }
  dtmf(): void {
    /* no keys */
  }
  interrupt(): void {
    /* what it says has long been handed over */
  }
  updateSession(): void {
    /* nothing that changes */
  }

  snapshot(): unknown {
    return null
  }

  close(reason: string): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    if (this.#open) this.#sink.event({ type: 'closed', code: 1000, reason, clean: true })
    this.#open = false
    return Promise.resolve()
  }

  #after(ms: number, work: () => void): void {
    this.#timers.push(
      setTimeout(() => {
        if (this.#open) work()
      }, ms),
    )
  }
}
