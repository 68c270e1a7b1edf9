import { TIMELINE_MARKS_MAX } from '../core/limits.js'
import type { TimelineMark } from './record.js'

/** The marks of one call, bounded: the first ones are kept, since they explain the start. */
export class Timeline {
  readonly marks: TimelineMark[]
  dropped = 0
  readonly #zeroMs: number

  constructor(zeroMs: number, before: readonly TimelineMark[]) {
    this.#zeroMs = zeroMs
    this.marks = before.slice(0, TIMELINE_MARKS_MAX)
  }

  add(name: string, nowMs: number, detail?: string): void {
    if (this.marks.length >= TIMELINE_MARKS_MAX) {
      this.dropped++
      return
    }
    const atMs = nowMs - this.#zeroMs
    this.marks.push(detail === undefined ? { name, atMs } : { name, atMs, detail })
  }
}
