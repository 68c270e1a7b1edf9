import { MARKS_PASSED_MS, MARKS_PER_MESSAGE_MAX } from '../core/limits.js'
import type { TimelineMark } from '../call/record.js'
import type { CallerPathStats } from '../media/caller-path.js'

const SILENT_STALLS_EVERY_MS = 5000

/** What the carrier's line did to the caller's audio, as far as a mark tells. */
type LineStats = Pick<CallerPathStats, 'stalls' | 'framesConcealed' | 'framesDropped'>

/**
 * The marks of one call on their way from the worker to the main thread, which keeps the timeline: a few at a time,
 * four times a second at most, so that a turn costs one message and a frame none.
 */
export class CallMarks {
  readonly #zeroMs: number
  readonly #post: (marks: readonly TimelineMark[]) => void
  #marks: TimelineMark[] = []
  #passedAtMs = 0
  #stalls = 0
  #stallToldAtMs = -Infinity
  #concealed = 0
  #dropped = 0
  #speechDropped = 0

  /**
   * @param zeroMs  the webhook, on the clock of `add`
   * @param post  gets some marks at a time; the array is the receiver's
   */
  constructor(zeroMs: number, post: (marks: readonly TimelineMark[]) => void) {
    this.#zeroMs = zeroMs
    this.#post = post
  }

  add(name: string, nowMs: number, detail?: string): void {
    const atMs = nowMs - this.#zeroMs
    this.#marks.push(detail === undefined ? { name, atMs } : { name, atMs, detail })
    if (this.#marks.length >= MARKS_PER_MESSAGE_MAX) this.#pass(nowMs)
  }

  /** True when it is time to look and to pass on; asked once a tick. */
  due(nowMs: number): boolean {
    return nowMs - this.#passedAtMs >= MARKS_PASSED_MS
  }

  /** Notes what happened to audio since the last look. Counts only grow. */
  watch(line: LineStats, speechDroppedSamples: number, nowMs: number): void {
    const made = line.framesConcealed - this.#concealed
    // A stall in the caller's silence is heard by nobody: those are told now and then, together.
    if (line.stalls > this.#stalls && (made > 0 || nowMs - this.#stallToldAtMs >= SILENT_STALLS_EVERY_MS)) {
      this.add('carrier-stall', nowMs, `${line.stalls - this.#stalls} stalls of the carrier's audio, ${made} frames made up`)
      this.#stallToldAtMs = nowMs
      this.#stalls = line.stalls
    }
    if (line.framesDropped > this.#dropped) {
      this.add('audio-dropped', nowMs, `${line.framesDropped - this.#dropped} frames of the caller beyond the jitter buffer's bound`)
    }
    if (speechDroppedSamples > this.#speechDropped) {
      this.add('audio-dropped', nowMs, `${speechDroppedSamples - this.#speechDropped} samples of the agent beyond the backlog's bound`)
    }
    this.#concealed = line.framesConcealed
    this.#dropped = line.framesDropped
    this.#speechDropped = speechDroppedSamples
  }

  /** Passes on what has collected. */
  pass(nowMs: number): void {
    this.#passedAtMs = nowMs
    if (this.#marks.length > 0) this.#pass(nowMs)
  }

  #pass(nowMs: number): void {
    this.#passedAtMs = nowMs
    this.#post(this.#marks)
    this.#marks = []
  }
}
