import type { Backend, BackendCapabilities, BackendSink } from '../../src/backends/backend.js'
import { FRAME_MS } from '../../src/core/units.js'
import { answerProbe } from './isolate-probe.js'

/**
 * Audio that piled up behind a stall would stay in the way of an echo for good: it ends, and begins anew when all is quiet.
 */
const SILENT_FRAMES = 30
const open = new Set<EchoBackend>()
answerProbe(() => {
  for (const backend of open) backend.restart()
})

const RATE_HZ = 16000
/** Two frames of silence first: without a cushion the least delay would be an underrun. */
const LEAD_FRAMES = 2
const silence = new Int16Array((RATE_HZ * FRAME_MS) / 1000)

/** A backend that says back every frame at once, as one endless item: what is left is the gateway itself. */
class EchoBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    name: 'bench-echo',
    inputRateHz: RATE_HZ,
    outputRateHz: RATE_HZ,
    serverVad: true,
    truncate: false,
    maxSessionMs: null,
  }
  readonly #sink: BackendSink
  #generation = 0
  #item = ''
  #speaking = false
  #silentFrames = 0
  #closed = false

  constructor(sink: BackendSink) {
    this.#sink = sink
    open.add(this)
  }

  restart(): void {
    if (!this.#speaking) return
    this.#speaking = false
    this.#silentFrames = SILENT_FRAMES
    this.#sink.event({ type: 'audio-done', generation: this.#generation, itemId: this.#item })
    this.#sink.event({ type: 'turn-done', generation: this.#generation, status: 'completed' })
  }

  connect(): Promise<void> {
    this.#sink.event({ type: 'ready' })
    return Promise.resolve()
  }

  pushAudio(pcm: Int16Array): void {
    if (this.#silentFrames > 0) {
      this.#silentFrames--
      return
    }
    if (!this.#speaking) {
      this.#speaking = true
      this.#item = `echo-${++this.#generation}`
      this.#sink.event({ type: 'turn-start', generation: this.#generation })
      for (let i = 0; i < LEAD_FRAMES; i++) this.#sink.audio(silence, RATE_HZ, this.#item, this.#generation)
    }
    this.#sink.audio(pcm, RATE_HZ, this.#item, this.#generation)
  }

  close(reason: string): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      open.delete(this)
      this.#sink.event({ type: 'closed', code: 1000, reason, clean: true })
    }
    return Promise.resolve()
  }

  snapshot(): unknown {
    return null
  }

  speechStart(): void {
    /* it listens all the time */
  }
  speechEnd(): void {
    /* it answers all the time */
  }
  sendText(): void {
    /* it ignores texts */
  }
  dtmf(): void {
    /* it ignores DTMF digits */
  }
  toolResult(): void {
    /* it has no tools */
  }
  interrupt(): void {
    /* it cannot be interrupted */
  }
  updateSession(): void {
    /* it has no session */
  }
}

export function createBackend(sink: BackendSink): Backend {
  return new EchoBackend(sink)
}
