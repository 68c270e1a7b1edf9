import { noUsage } from '../../src/call/usage.js'
import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'
import { TestBackend, tone } from '../support/test-backend.js'

/**
 * A backend that calls the tools that the call's SID names, `HD_pay_look` both, one after the other, each with the
 * argument 5; when a dead worker's session is replaced by another it calls them again, as a model does that does not
 * listen. It speaks a tone, and remembers nothing.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ToolBackend(sink, 'tools')
}

class ToolBackend extends TestBackend {
  #tools: readonly string[] = []
  #called = 0

  override connect(session: BackendSession): Promise<void> {
    const tools = session.callSid.split('_').slice(1, -1)
    // Ids of its own: the ledger answers an id that it knows.
    this.#called = session.toolLedger.length === 0 ? 0 : tools.length
    this.#tools = this.#called > 0 ? [...tools, ...tools] : tools
    return super.connect(session)
  }

  override sendText(): void {
    queueMicrotask(() => this.#next())
  }

  override toolResult(callId: string): void {
    // The answer to a call of the session before is no reason to go on: `sendText` is.
    if (callId === `t${this.#called}`) queueMicrotask(() => this.#next())
  }

  #next(): void {
    const name = this.#tools[this.#called]
    if (name === undefined) return
    this.#called++
    const generation = ++this.generation
    this.event({ type: 'turn-start', generation })
    this.sink.audio(tone(200), 16000, `tone-${generation}`, generation)
    this.event({ type: 'tool-call', callId: `t${this.#called}`, name, args: { order: 5 }, generation })
    const tokens = { inputTokens: 100, inputCachedTokens: 60, inputCacheWriteTokens: 30 }
    this.event({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: 60, ...tokens } })
    this.event({ type: 'turn-done', generation, status: 'completed' })
  }
}
