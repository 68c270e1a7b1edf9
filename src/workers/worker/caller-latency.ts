import type { PlayedTimes, TurnRecord } from '../../call/documents/record.js'

/** Onsets of sound on the outbound track that can be matched with a turn, and how long a turn waits for one. */
const EAR_ONSETS_KEPT = 16
export const EAR_WAIT_MS = 2000

/** A turn, named by its `callerStoppedMs`, and when the caller heard it. JSON of the call log. */
interface HeardTurn {
  readonly callerStoppedMs: number
  readonly ear: PlayedTimes
}

interface OpenTurn {
  readonly callerStoppedMs: number
  readonly stoppedAtMs: number
  readonly firstSentAtMs: number | null
  readonly answerSentAtMs: number
}

/** An onset may be dated up to one frame before the send to which it belongs. */
const GRAIN_MS = 20

/**
 * Caller-perceived latency of a turn: its first sound and its answer. Where the carrier forks both tracks as stereo,
 * the second channel is what it plays to the caller, so our own voice comes back there when the caller hears it. A turn
 * is joined with the first onset on that track after its sound was sent.
 *
 *     none --turn with an answer--> open
 *     open --an onset at or after the answer's send--> none, with both times
 *     open --EAR_WAIT_MS--> none, with the times known; the answer followed other speech without a gap
 */
export class CallerLatency {
  readonly #onsetsMs: number[] = []
  #open: OpenTurn | null = null

  /** Sound began on the outbound track. All times are of one clock. */
  onset(atMs: number): void {
    this.#onsetsMs.push(atMs)
    if (this.#onsetsMs.length > EAR_ONSETS_KEPT) this.#onsetsMs.shift()
  }

  /** A turn was answered. @param streamZeroMs  when the stream opened: zero of the record's times */
  turn(turn: TurnRecord, streamZeroMs: number): void {
    if (turn.answerMs === null) return
    const stoppedAtMs = streamZeroMs + turn.callerStoppedMs
    this.#open = {
      callerStoppedMs: turn.callerStoppedMs,
      stoppedAtMs,
      firstSentAtMs: turn.firstSoundMs === null ? null : stoppedAtMs + turn.firstSoundMs,
      answerSentAtMs: stoppedAtMs + turn.answerMs,
    }
  }

  /** A turn whose times are complete, or will not become so; null while there is none. */
  take(nowMs: number): HeardTurn | null {
    const open = this.#open
    if (open === null) return null
    const answer = this.#heardAfter(open.answerSentAtMs)
    if (answer === null && nowMs - open.answerSentAtMs < EAR_WAIT_MS) return null
    this.#open = null
    const first = open.firstSentAtMs === null ? null : this.#heardAfter(open.firstSentAtMs)
    if (first === null && answer === null) return null
    const since = (atMs: number | null): number | null => (atMs === null ? null : atMs - open.stoppedAtMs)
    return { callerStoppedMs: open.callerStoppedMs, ear: { firstSoundMs: since(first), answerMs: since(answer) } }
  }

  #heardAfter(sentAtMs: number): number | null {
    return this.#onsetsMs.find((onsetMs) => onsetMs >= sentAtMs - GRAIN_MS) ?? null
  }
}
