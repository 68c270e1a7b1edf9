import { STOPS_KEPT_PER_KIND } from '../core/limits.js'
import type { StopRecord, TimelineMark } from '../call/record.js'
import { stopOf } from '../call/stops.js'
import { Timeline } from '../call/timeline.js'
import { maskNumbersIn } from '../sautikit/phone.js'

/**
 * What happened in one call and when, as the main thread keeps it: its own marks (webhook, socket, worker) and those
 * that come from the media worker, so that a dead worker takes nothing with it. Phone numbers are masked.
 */
export class CallTimeline {
  readonly #zeroMs: number
  readonly #timeline: Timeline
  readonly #stops = new Map<string, StopRecord[]>()

  /** @param zeroMs  the webhook, on the common clock */
  constructor(zeroMs: number) {
    this.#zeroMs = zeroMs
    this.#timeline = new Timeline(zeroMs, [])
  }

  /** A mark of the main thread's own. */
  mark(name: string, nowMs: number, detail?: string): void {
    const atMs = nowMs - this.#zeroMs
    this.#keep(detail === undefined ? { name, atMs } : { name, atMs, detail })
  }

  /** Marks of the worker. */
  take(marks: readonly TimelineMark[]): void {
    for (const mark of marks) this.#keep(mark)
  }

  get dropped(): number {
    return this.#timeline.dropped
  }

  /** In the order of their times: those of the worker come a little later than they happened. */
  get marks(): TimelineMark[] {
    return this.#timeline.marks.sort((a, b) => a.atMs - b.atMs)
  }

  /** The newest decisions of each kind, in the order of their times. */
  get stops(): StopRecord[] {
    return [...this.#stops.values()].flat().sort((a, b) => a.atMs - b.atMs)
  }

  #keep(mark: TimelineMark): void {
    const kept = mark.detail === undefined ? mark : { ...mark, detail: maskNumbersIn(mark.detail) }
    this.#timeline.put(kept)
    const stop = stopOf(kept)
    if (stop === null) return
    const ofKind = this.#stops.get(stop.kind) ?? []
    ofKind.push(stop)
    if (ofKind.length > STOPS_KEPT_PER_KIND) ofKind.shift()
    this.#stops.set(stop.kind, ofKind)
  }
}
