import type { SampleRateHz } from '../../core/units.js'
import type { BackendEvent, BackendSink } from '../backend.js'

interface RecordedAudio {
  readonly itemId: string
  readonly generation: number
  readonly ms: number
}

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

/**
 * Maximum wait in ms for an event that should arrive at once on a loopback connection. The limit suits a busy machine.
 * A check that passes does not wait this long.
 */
const PATIENCE_MS = 20_000

/** A sink that records all events and audio, and can wait for a condition. */
export class Recorder implements BackendSink {
  readonly events: BackendEvent[] = []
  readonly audioPieces: RecordedAudio[] = []
  /** Called after each event and each piece of audio. It may call the backend, as a call session does. */
  onEvent: (event: BackendEvent) => void = () => undefined
  onAudio: (piece: RecordedAudio) => void = () => undefined
  readonly #waiters = new Set<() => void>()

  event(event: BackendEvent): void {
    this.events.push(event)
    this.onEvent(event)
    this.#wake()
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    const piece = { itemId, generation, ms: (pcm.length * 1000) / sampleRateHz }
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

  /** Waits until `condition` returns true. @throws Error that names the missing condition and the events so far */
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
      const timer = setTimeout(
        () => settle(() => reject(new Error(`waited for ${what}; came: ${this.summary()}`))),
        patienceMs,
      )
      // The condition may depend on the service's state, and no event reports a change of that state.
      const poll = setInterval(look, 5)
      this.#waiters.add(look)
    })
  }

  async next<T extends BackendEvent['type']>(type: T, count = 1): Promise<EventOf<T>> {
    await this.until(`${count} ${type}`, () => this.all(type).length >= count)
    return this.all(type)[count - 1] as EventOf<T>
  }

  summary(): string {
    const events = this.events.map((event) =>
      'generation' in event ? `${event.type}#${event.generation}` : event.type,
    )
    return `${events.join(' ') || 'nothing'}; ${this.audioPieces.length} pieces of audio`
  }

  #wake(): void {
    for (const look of [...this.#waiters]) look()
  }
}
