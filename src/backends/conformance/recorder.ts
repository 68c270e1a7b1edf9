import type { Backend, BackendEvent, BackendSink } from '../backend.js'
import { frameSamples } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'

export interface RecordedAudio {
  readonly itemId: string
  readonly generation: number
  readonly ms: number
  /** Events that came before it. */
  readonly afterEvents: number
}

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

/** How long a check waits for what should come at once on a loopback connection. */
const PATIENCE_MS = 4000

/** A sink that keeps everything it is given, and can be waited on. */
export class Recorder implements BackendSink {
  readonly events: BackendEvent[] = []
  readonly audioPieces: RecordedAudio[] = []
  /** Called after each event and each piece of audio; may act on the backend from within, as a call does. */
  onEvent: (event: BackendEvent) => void = () => undefined
  onAudio: (piece: RecordedAudio) => void = () => undefined
  readonly #waiters = new Set<() => void>()

  event(event: BackendEvent): void {
    this.events.push(event)
    this.onEvent(event)
    this.#wake()
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    const piece = { itemId, generation, ms: (pcm.length * 1000) / sampleRateHz, afterEvents: this.events.length }
    this.audioPieces.push(piece)
    this.onAudio(piece)
    this.#wake()
  }

  all<T extends BackendEvent['type']>(type: T): EventOf<T>[] {
    return this.events.filter((event): event is EventOf<T> => event.type === type)
  }

  audioMs(generation: number): number {
    return this.audioPieces.reduce((sum, piece) => sum + (piece.generation === generation ? piece.ms : 0), 0)
  }

  /** Waits until `condition` holds. @throws Error that names what was waited for and what came */
  until(what: string, condition: () => boolean, patienceMs = PATIENCE_MS): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (condition()) settle(resolve)
      }
      const settle = (how: () => void): void => {
        clearTimeout(timer)
        clearInterval(poll)
        this.#waiters.delete(look)
        how()
      }
      const timer = setTimeout(() => settle(() => reject(new Error(`waited for ${what}; came: ${this.summary()}`))), patienceMs)
      // What is waited for may be on the service's side, which tells nobody.
      const poll = setInterval(look, 5)
      this.#waiters.add(look)
    })
  }

  async next<T extends BackendEvent['type']>(type: T, count = 1): Promise<EventOf<T>> {
    await this.until(`${count} ${type}`, () => this.all(type).length >= count)
    return this.all(type)[count - 1] as EventOf<T>
  }

  summary(): string {
    const events = this.events.map((event) => ('generation' in event ? `${event.type}#${event.generation}` : event.type))
    return `${events.join(' ') || 'nothing'}; ${this.audioPieces.length} pieces of audio`
  }

  #wake(): void {
    for (const look of [...this.#waiters]) look()
  }
}

/**
 * Speaks for the caller: `voicedMs` of tone, or of `voice` where one is given (then all of it, and at least `voicedMs`),
 * and then enough silence for any ear, frame by frame, faster than real time.
 */
export async function speakTo(backend: Backend, voicedMs: number, silenceMs = 700, voice: Int16Array | null = null): Promise<void> {
  const { inputRateHz, serverVad } = backend.capabilities
  const quiet = new Int16Array(frameSamples(inputRateHz))
  const speech = voice ?? tone(voicedMs, inputRateHz)
  if (!serverVad) backend.speechStart(performance.now())
  for (let at = 0, ms = 0; at < speech.length || ms < voicedMs; at += quiet.length, ms += 20) {
    const frame = speech.subarray(at, at + quiet.length)
    backend.pushAudio(frame.length === quiet.length ? frame : quiet)
    if (ms % 200 === 0) await turnOfLoop()
  }
  if (!serverVad) backend.speechEnd(performance.now())
  for (let ms = 0; ms < silenceMs; ms += 20) backend.pushAudio(quiet)
  await turnOfLoop()
}

function tone(ms: number, rateHz: number): Int16Array {
  return Int16Array.from({ length: (ms * rateHz) / 1000 }, (_, i) => Math.round(9000 * Math.sin((2 * Math.PI * 300 * i) / rateHz)))
}

export function turnOfLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
