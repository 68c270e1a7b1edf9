import type { Backend, BackendCapabilities, BackendSink } from '../../src/backends/backend.js'
import { FRAME_MS } from '../../src/core/units.js'
import { answerProbe } from './isolate-probe.js'

/**
 * Number of silent frames after a restart. Audio that a stall delayed would delay an echo for ever. So the answer ends,
 * and begins again after this silence.
 */
const SILENT_FRAMES = 30
const open = new Set<EchoBackend>()
answerProbe(() => {
  for (const backend of open) backend.restart()
})

const RATE_HZ = 16000
/** Number of silent frames before the first audio. Without this buffer, the smallest delay would cause an underrun. */
const LEAD_FRAMES = 2
const silence = new Int16Array((RATE_HZ * FRAME_MS) / 1000)

/** Backend that sends every frame back at once, as one endless item. So only the cost of the gateway itself is left. */
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
    /* this backend always listens */
  }
  speechEnd(): void {
    /* this backend always answers */
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
