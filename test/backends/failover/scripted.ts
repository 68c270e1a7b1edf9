import type {
  Backend,
  BackendCapabilities,
  BackendErrorCode,
  BackendEvent,
  BackendSession,
  BackendSink,
  ToolReply,
  ToolSpec,
  TextOptions,
} from '../../../src/backends/backend.js'
import type { BackendTimers } from '../../../src/backends/timers.js'
import { faultError, faultEvent, vendorFault } from '../../../src/backends/transport/vendor-fault.js'

/** Time that the test advances. */
export class FakeTimers implements BackendTimers {
  now = 100_000
  #waiting: { readonly atMs: number; readonly work: () => void }[] = []

  readonly nowMs = (): number => this.now

  after(ms: number, work: () => void): () => void {
    const entry = { atMs: this.now + ms, work }
    this.#waiting.push(entry)
    return () => {
      this.#waiting = this.#waiting.filter((one) => one !== entry)
    }
  }

  get pending(): number {
    return this.#waiting.length
  }

  /** Advances by `ms`: runs due work at its time, in order; promises settle in between. */
  async pass(ms: number): Promise<void> {
    const until = this.now + ms
    for (;;) {
      await settled()
      const next = this.#waiting.filter((one) => one.atMs <= until).sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined) break
      this.#waiting = this.#waiting.filter((one) => one !== next)
      this.now = Math.max(this.now, next.atMs)
      next.work()
    }
    this.now = until
    await settled()
  }
}

/** Resolves after all promises that wait for no I/O or timer have settled. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export type Fed =
  | { readonly type: 'speech-start' | 'speech-end'; readonly at: number }
  | {
      readonly type: 'text'
      readonly text: string
      readonly role: string
      readonly respond: boolean
      readonly at: number
    }
  | { readonly type: 'digit'; readonly digit: string; readonly at: number }
  | { readonly type: 'tool-result'; readonly callId: string; readonly reply: ToolReply; readonly at: number }
  | { readonly type: 'interrupt'; readonly itemId: string | null; readonly playedMs: number; readonly at: number }

type HowItConnects = 'ready' | 'later' | BackendErrorCode

/** A backend that the test controls, and that records every input. */
export class ScriptedBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly sink: BackendSink
  session: BackendSession | null = null
  readonly fed: Fed[] = []
  readonly samples: number[] = []
  closedWith: string | null = null
  updates = 0
  state: unknown = null
  readonly #how: HowItConnects
  #ready: (() => void) | null = null
  #signal: AbortSignal | null = null

  constructor(sink: BackendSink, how: HowItConnects, capabilities: BackendCapabilities) {
    this.sink = sink
    this.#how = how
    this.capabilities = capabilities
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.session = session
    this.#signal = signal
    const how = this.#how
    if (how === 'later') {
      return new Promise((resolve) => {
        this.#ready = () => {
          this.sink.event({ type: 'ready' })
          resolve()
        }
      })
    }
    if (how !== 'ready') {
      const fault = vendorFault(how, `${this.capabilities.name}: ${how}`, true)
      this.sink.event(faultEvent(fault))
      this.sink.event({ type: 'closed', code: 1006, reason: fault.message, clean: false })
      return Promise.reject(faultError(fault))
    }
    this.sink.event({ type: 'ready' })
    return Promise.resolve()
  }

  get aborted(): boolean {
    return this.#signal?.aborted ?? false
  }

  /** Completes the connection of a backend that connects `later`. */
  becomeReady(): void {
    this.#ready?.()
  }

  pushAudio(pcm: Int16Array): void {
    for (const sample of pcm) this.samples.push(sample)
  }

  speechStart(): void {
    this.fed.push({ type: 'speech-start', at: this.samples.length })
  }

  speechEnd(): void {
    this.fed.push({ type: 'speech-end', at: this.samples.length })
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.fed.push({ type: 'text', text, role, respond, at: this.samples.length })
  }

  dtmf(digit: string): void {
    this.fed.push({ type: 'digit', digit, at: this.samples.length })
  }

  toolResult(callId: string, reply: ToolReply): void {
    this.fed.push({ type: 'tool-result', callId, reply, at: this.samples.length })
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    this.fed.push({ type: 'interrupt', itemId, playedMs, at: this.samples.length })
  }

  updateSession(_update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    this.updates++
  }

  snapshot(): unknown {
    return this.state
  }

  close(reason: string): Promise<void> {
    if (this.closedWith === null) {
      this.closedWith = reason
      this.sink.event({ type: 'closed', code: 1000, reason, clean: true })
    }
    return Promise.resolve()
  }

  // --- output -----------------------------------------------------------------------------------------------

  emit(event: BackendEvent): void {
    this.sink.event(event)
  }

  /** Begins an answer: `ms` of sound and the words so far. */
  speak(generation: number, text: string, ms: number): void {
    const itemId = `item${generation}`
    this.emit({ type: 'turn-start', generation })
    if (ms > 0) this.sink.audio(new Int16Array((16_000 * ms) / 1000).fill(1000), 16_000, itemId, generation)
    this.emit({ type: 'transcript', role: 'agent', text, final: false, itemId, generation })
  }

  finish(generation: number): void {
    this.emit({ type: 'audio-done', generation, itemId: `item${generation}` })
    this.emit({ type: 'turn-done', generation, status: 'completed' })
  }

  answer(generation: number, text: string, ms: number): void {
    this.speak(generation, text, ms)
    this.finish(generation)
  }

  hears(text: string, generation: number, itemId = `heard${generation}`): void {
    this.emit({ type: 'transcript', role: 'caller', text, final: true, itemId, generation })
  }

  call(generation: number, callId: string, name: string, args: Record<string, unknown>): void {
    this.emit({ type: 'turn-start', generation })
    this.emit({ type: 'tool-call', callId, name, args, generation })
    this.emit({ type: 'turn-done', generation, status: 'completed' })
  }

  die(code: BackendErrorCode = 'network'): void {
    const fault = vendorFault(code, `${this.capabilities.name}: ${code}`, true)
    this.emit(faultEvent(fault))
    this.emit({ type: 'closed', code: 1006, reason: 'gone', clean: false })
  }
}

/** A service: makes scripted backends with one name, and keeps them. */
export class ScriptedService {
  readonly backends: ScriptedBackend[] = []
  /** How the next sessions connect; the last entry stays for all further ones. */
  readonly connects: HowItConnects[]
  readonly capabilities: BackendCapabilities

  constructor(name: string, connects: HowItConnects[] = ['ready'], capabilities: Partial<BackendCapabilities> = {}) {
    this.connects = connects
    this.capabilities = {
      name,
      inputRateHz: 16_000,
      outputRateHz: 16_000,
      serverVad: false,
      truncate: true,
      maxSessionMs: null,
      ...capabilities,
    }
  }

  readonly create = (sink: BackendSink): Backend => {
    const how =
      this.connects.length > 1 ? (this.connects.shift() as HowItConnects) : (this.connects[0] as HowItConnects)
    const backend = new ScriptedBackend(sink, how, this.capabilities)
    this.backends.push(backend)
    return backend
  }

  /** Backends whose `connect` was called. */
  get sessions(): readonly ScriptedBackend[] {
    return this.backends.filter((backend) => backend.session !== null)
  }

  /** The newest of them. */
  get now(): ScriptedBackend {
    const backend = this.sessions.at(-1)
    if (backend === undefined) throw new Error(`${this.capabilities.name} was never connected`)
    return backend
  }
}
