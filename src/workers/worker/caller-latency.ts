import type { PlayedTimes, TurnRecord } from '../../call/documents/record.js'

/**
 * Maximum number of remembered onsets (beginnings of sound) on the outbound track. `EAR_WAIT_MS`: time in ms that a
 * turn waits for an onset.
 */
const EAR_ONSETS_KEPT = 16
export const EAR_WAIT_MS = 2000

/** Times at which the caller heard a turn's answer. `callerStoppedMs` identifies the turn. JSON of the call log. */
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

/** Maximum time in ms by which an onset may appear earlier than its sound was sent: one frame. */
const GRAIN_MS = 20

/**
 * Caller-perceived latency of a turn, measured for its first sound and its answer. If the carrier sends both tracks as
 * stereo, the second channel is the audio that it plays to the caller. A turn is joined with the first onset in that
 * channel after the turn's sound was sent.
 *
 *     none --turn with an answer--> open
 *     open --an onset at or after the answer's send--> none, with both times
 *     open --EAR_WAIT_MS--> none, with the known times; the answer followed other speech without a gap
 */
export class CallerLatency {
  readonly #onsetsMs: number[] = []
  #open: OpenTurn | null = null

  /** Notes that sound began on the outbound track. All times in this class are of one clock. */
  onset(atMs: number): void {
    this.#onsetsMs.push(atMs)
    if (this.#onsetsMs.length > EAR_ONSETS_KEPT) this.#onsetsMs.shift()
  }

  /** Notes an answered turn. @param streamZeroMs  time at which the stream opened; the record's times count from it */
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

  /** Returns the waiting turn if its times are complete, or can no longer become complete; otherwise null. */
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
