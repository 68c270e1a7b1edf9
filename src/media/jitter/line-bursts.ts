import { smallArray } from '../../core/small-arrays.js'

/** Minimum delay of a burst in ms. A smaller delay is the usual jitter of a line and of the gateway's ticks. */
const BURST_MS_MIN = 30
/**
 * Maximum time in ms for which sound may be late in one burst. Sound that is still missing then counts as lost. The
 * jitter buffer takes longer to accept late frames as usual.
 */
const CAUGHT_UP_MS = 400
/** Time in ms for which a burst is remembered. */
const REMEMBERED_MS = 20_000
/** Maximum number of stored bursts, the newest first. */
const BURSTS = 4

/**
 * Finds bursts on a line: the audio stops, then the missing audio arrives all at once. The caller hears the agent over
 * the same line, so playout sends earlier (`Playout.lineBurstMs`). One burst may be chance, so the second longest burst
 * of 20 s counts.
 */
export class LineBursts {
  /** Lateness in ms of audio that occurred repeatedly in the last 20 s; 0 on a line without bursts. */
  burstMs = 0
  /** Durations of the last bursts in ms. `#endedMs`: times in ms at which they ended. */
  readonly #lengthMs = smallArray(Float64Array, BURSTS)
  readonly #endedMs = smallArray(Float64Array, BURSTS).fill(-Infinity)
  #next = 0
  /**
   * Duration in ms of the current burst so far; 0 if there is none. `#sinceMs`: time in ms of its first late arrival.
   */
  #comesMs = 0
  #sinceMs = 0
  #lookedMs = -Infinity

  /** Notes a packet and the lateness in ms of its last frame, relative to the earliest frame of the last seconds. */
  packet(latenessMs: number, arrivalMs: number): void {
    if (latenessMs >= BURST_MS_MIN) {
      if (this.#comesMs === 0) this.#sinceMs = arrivalMs
      this.#comesMs = Math.max(this.#comesMs, Math.round(latenessMs))
    } else if (this.#comesMs > 0) {
      if (arrivalMs - this.#sinceMs <= CAUGHT_UP_MS) this.#ended(arrivalMs)
      this.#comesMs = 0
    } else if (this.burstMs > 0 && arrivalMs - this.#lookedMs >= CAUGHT_UP_MS) this.#look(arrivalMs)
  }

  #ended(atMs: number): void {
    this.#lengthMs[this.#next] = this.#comesMs
    this.#endedMs[this.#next] = atMs
    this.#next = (this.#next + 1) % BURSTS
    this.#look(atMs)
  }

  #look(nowMs: number): void {
    this.#lookedMs = nowMs
    let [longest, second] = [0, 0]
    for (let i = 0; i < BURSTS; i++) {
      if (nowMs - (this.#endedMs[i] as number) > REMEMBERED_MS) continue
      const ms = this.#lengthMs[i] as number
      second = Math.max(second, Math.min(longest, ms))
      longest = Math.max(longest, ms)
    }
    this.burstMs = second
  }
}
