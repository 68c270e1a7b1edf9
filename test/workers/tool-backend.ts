import { noUsage } from '../../src/call/usage.js'
import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'

/**
 * A backend that calls the tools that the call's SID names, `HD_pay_look` both, one after the other, each with the
 * argument 5; when a dead worker's session is replaced by another it calls them again, as a model does that does not
 * listen. It speaks a tone, and remembers nothing.
 */
export function createBackend(sink: BackendSink): Backend {
  let tools: readonly string[] = []
  let called = 0
  let open = true
  let generation = 0
  const tone = Int16Array.from({ length: 3200 }, (_, i) => 6000 * Math.sin((2 * Math.PI * 400 * i) / 16_000))
  const next = (): void => {
    const name = tools[called]
    if (name === undefined) return
    called++
    sink.event({ type: 'turn-start', generation: ++generation })
    sink.audio(tone, 16000, `tone-${generation}`, generation)
    sink.event({ type: 'tool-call', callId: `t${called}`, name, args: { order: 5 }, generation })
    const tokens = { inputTokens: 100, inputCachedTokens: 60, inputCacheWriteTokens: 30 }
    sink.event({ type: 'usage', usage: { ...noUsage(), model: 'gpt-live-1', sessionSeconds: 60, ...tokens } })
    sink.event({ type: 'turn-done', generation, status: 'completed' })
  }

  return {
    capabilities: {
      name: 'tools',
      inputRateHz: 16000,
      outputRateHz: 16000,
      serverVad: true,
      truncate: false,
      maxSessionMs: null,
    },
    connect(session: BackendSession): Promise<void> {
      tools = session.callSid.split('_').slice(1, -1)
      // Ids of its own: the ledger answers an id that it knows.
      called = session.toolLedger.length === 0 ? 0 : tools.length
      if (called > 0) {
        tools = [...tools, ...tools]
      }
      queueMicrotask(() => sink.event({ type: 'ready' }))
      return Promise.resolve()
    },
    sendText: () => queueMicrotask(next),
    pushAudio: () => undefined,
    speechStart: () => undefined,
    speechEnd: () => undefined,
    dtmf: () => undefined,
    toolResult: (callId) => {
      // The answer to a call of the session before is no reason to go on: `sendText` is.
      if (callId === `t${called}`) queueMicrotask(next)
    },
    interrupt: () => undefined,
    updateSession: () => undefined,
    snapshot: () => null,
    close(reason: string): Promise<void> {
      if (open) sink.event({ type: 'closed', code: 1000, reason, clean: true })
      open = false
      return Promise.resolve()
    },
  }
}
