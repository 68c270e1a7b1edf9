import type { Backend, BackendCapabilities, BackendSink } from '../../src/backends/backend.js'
import { FRAME_MS } from '../../src/core/units.js'
import { answerProbe } from './isolate-probe.js'

answerProbe()

const RATE_HZ = 16000
/** Two frames of silence first: without a cushion the least delay would be an underrun. */
const LEAD_FRAMES = 2
const silence = new Int16Array((RATE_HZ * FRAME_MS) / 1000)

/** A backend that says back every frame at once, as one endless item: what is left is the gateway itself. */
class EchoBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    name: 'bench-echo', inputRateHz: RATE_HZ, outputRateHz: RATE_HZ, serverVad: true, truncate: false, maxSessionMs: null,
  }
  readonly #sink: BackendSink
  #frames = 0
  #closed = false

  constructor(sink: BackendSink) {
    this.#sink = sink
  }

  connect(): Promise<void> {
    this.#sink.event({ type: 'ready' })
    return Promise.resolve()
  }

  pushAudio(pcm: Int16Array): void {
    if (this.#frames++ === 0) {
      this.#sink.event({ type: 'turn-start', generation: 1 })
      for (let i = 0; i < LEAD_FRAMES; i++) this.#sink.audio(silence, RATE_HZ, 'echo', 1)
    }
    this.#sink.audio(pcm, RATE_HZ, 'echo', 1)
  }

  close(reason: string): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#sink.event({ type: 'closed', code: 1000, reason, clean: true })
    }
    return Promise.resolve()
  }

  snapshot(): unknown {
    return null
  }

  speechStart(): void { /* it listens all the time */ }
  speechEnd(): void { /* and answers all the time */ }
  sendText(): void { /* it knows no words */ }
  dtmf(): void { /* nor keys */ }
  toolResult(): void { /* nor tools */ }
  interrupt(): void { /* and cannot be stopped */ }
  updateSession(): void { /* it has no session */ }
}

export function createBackend(sink: BackendSink): Backend {
  return new EchoBackend(sink)
}
