import type {
  Backend,
  BackendCapabilities,
  BackendEvent,
  BackendSession,
  BackendSink,
  SessionUpdate,
  TextOptions,
  ToolReply,
} from '../../src/backends/backend.js'

const RATE_HZ = 16_000

/** Sound that a voice detector accepts as speech: `ms` of a tone, which continues a tone that began `fromMs` before. */
export function tone(ms: number, hz = 400, fromMs = 0): Int16Array {
  const from = (fromMs * RATE_HZ) / 1000
  return Int16Array.from(
    { length: (ms * RATE_HZ) / 1000 },
    (_, i) => 9000 * Math.sin((2 * Math.PI * hz * (from + i)) / RATE_HZ),
  )
}

/**
 * Base of the tests' backends, which a media worker loads by their URL. It is ready at once, and ignores the caller's
 * audio. Its turns are a tone with words, or a tool call. Each backend overrides methods.
 */
export class TestBackend implements Backend {
  readonly capabilities: BackendCapabilities
  protected readonly sink: BackendSink
  /** Generation of its newest turn. */
  protected generation = 0
  protected open = true

  constructor(sink: BackendSink, name: string, more: Partial<BackendCapabilities> = {}) {
    this.sink = sink
    this.capabilities = {
      ...{ name, inputRateHz: RATE_HZ, outputRateHz: RATE_HZ },
      ...{ serverVad: true, truncate: false, maxSessionMs: null, ...more },
    }
  }

  connect(_session: BackendSession): Promise<void> {
    queueMicrotask(() => this.event({ type: 'ready' }))
    return Promise.resolve()
  }

  sendText(_text: string, _options: TextOptions): void {}
  pushAudio(_pcm: Int16Array): void {}
  speechStart(_atMs: number): void {}
  speechEnd(_atMs: number): void {}
  dtmf(_digit: string): void {}
  toolResult(_callId: string, _reply: ToolReply): void {}
  interrupt(): void {}
  updateSession(_update: SessionUpdate): void {}

  snapshot(): unknown {
    return null
  }

  close(reason: string): Promise<void> {
    if (this.open) this.event({ type: 'closed', code: 1000, reason, clean: true })
    this.open = false
    return Promise.resolve()
  }

  protected event(event: BackendEvent): void {
    this.sink.event(event)
  }

  /** Speaks a turn of words for this time in ms. */
  protected say(text: string, ms: number): void {
    const generation = ++this.generation
    const itemId = `item-${generation}`
    this.event({ type: 'turn-start', generation })
    this.sink.audio(tone(ms), RATE_HZ, itemId, generation)
    this.event({ type: 'transcript', role: 'agent', text, final: true, itemId, generation })
    this.event({ type: 'audio-done', generation, itemId })
    this.event({ type: 'turn-done', generation, status: 'completed' })
  }

  /** Makes a turn that calls a tool. */
  protected call(name: string, args: Readonly<Record<string, unknown>>, callId = `call-${this.generation + 1}`): void {
    const generation = ++this.generation
    this.event({ type: 'turn-start', generation })
    this.event({ type: 'tool-call', callId, name, args, generation })
    this.event({ type: 'turn-done', generation, status: 'completed' })
  }
}
