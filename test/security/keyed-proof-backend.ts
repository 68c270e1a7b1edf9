import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'

/**
 * A backend that says nothing and passes keyed digits to `verify_caller`: four digits and `#` as the answer to the
 * question `id-number`, four digits and `*` as that to `customer-number`.
 */
export function createBackend(sink: BackendSink): Backend {
  let keyed = ''
  let calls = 0
  let open = true
  return {
    capabilities: {
      name: 'keyed-proof',
      inputRateHz: 16000,
      outputRateHz: 16000,
      serverVad: true,
      truncate: false,
      maxSessionMs: null,
    },
    connect(_session: BackendSession): Promise<void> {
      queueMicrotask(() => sink.event({ type: 'ready' }))
      return Promise.resolve()
    },
    sendText: () => undefined,
    pushAudio: () => undefined,
    speechStart: () => undefined,
    speechEnd: () => undefined,
    dtmf(digit: string): void {
      if (/\d/.test(digit)) {
        keyed += digit
        return
      }
      const question = digit === '#' ? 'id-number' : 'customer-number'
      sink.event({ type: 'turn-start', generation: ++calls })
      sink.event({
        type: 'tool-call',
        generation: calls,
        callId: `c${calls}`,
        name: 'verify_caller',
        args: { question, answer: keyed },
      })
      keyed = ''
    },
    toolResult: () => undefined,
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
