import { smallArray } from '../../core/small-arrays.js'
import { Time, Word } from '../shared/shared-call-layout.js'
import type { SharedCall } from '../shared/shared-call.js'

/**
 * Maximum number of noted ticks while a call rests. In a rest of 60 ms three packets come, and the main thread sends
 * speech twice.
 */
const NOTES_MAX = 8

// Indexes in a row.
const TICK = 0
const IN_HEAD = 1
const DATED = 2
const WAITING_SENT = 3
const SAMPLE_ZERO_MS = 4
const WAITING_ZERO_MS = 5
const PLAYOUT_END_MS = 6
const LAST_SENT_AT_MS = 7
const FIELDS = 8

/**
 * Values that the main thread wrote into a call's shared memory, as one tick read them. If they change while the call
 * rests, they are noted and processed later (`WorkerCall.catchUp`).
 */
export class TickView {
  /** Rows of values. Row 0 has the newest values that are not noted; the other rows are the notes. */
  readonly #rows = smallArray(Float64Array, (1 + NOTES_MAX) * FIELDS)
  readonly #shared: SharedCall
  #noted = 0
  /** Offset of the row that the getters read. */
  #row = 0
  /** Index of the row with the next note that `next` may return. */
  #nextNote = 1

  constructor(shared: SharedCall) {
    this.#shared = shared
  }

  /** Count of the packets that had come at this tick. */
  get inHead(): number {
    return this.#rows[this.#row + IN_HEAD] as number
  }

  /** Values of the words and times at this tick. The getters have the names of `Word` and `Time`. */
  get dated(): number {
    return this.#rows[this.#row + DATED] as number
  }

  get waitingSent(): number {
    return this.#rows[this.#row + WAITING_SENT] as number
  }

  get sampleZeroMs(): number {
    return this.#rows[this.#row + SAMPLE_ZERO_MS] as number
  }

  get waitingZeroMs(): number {
    return this.#rows[this.#row + WAITING_ZERO_MS] as number
  }

  get playoutEndMs(): number {
    return this.#rows[this.#row + PLAYOUT_END_MS] as number
  }

  get lastSentAtMs(): number {
    return this.#rows[this.#row + LAST_SENT_AT_MS] as number
  }

  /** Reads the present values of the memory. All notes must have been read before. */
  look(): void {
    this.#row = 0
    this.#read(0, -1)
  }

  /**
   * Notes the values at a tick in which the call rests, if they have changed. Words are compared without Atomics, so a
   * change may be noted one tick late.
   * @returns false if there is no space for the note; the call then cannot rest
   */
  note(tick: number): boolean {
    const { words } = this.#shared
    const rows = this.#rows
    const last = this.#noted * FIELDS
    if (
      rows[last + IN_HEAD] === words[Word.inHead] &&
      rows[last + DATED] === words[Word.dated] &&
      rows[last + WAITING_SENT] === words[Word.waitingSent]
    )
      return true
    if (this.#noted === NOTES_MAX) return false
    this.#noted++
    this.#read(this.#noted * FIELDS, tick)
    return true
  }

  /**
   * Goes to the note of a tick. Call it in the order of the ticks.
   * @returns true if this tick was noted; the getters then return its values
   */
  next(tick: number): boolean {
    const row = this.#nextNote * FIELDS
    if (this.#nextNote > this.#noted || this.#rows[row + TICK] !== tick) return false
    this.#nextNote++
    this.#row = row
    return true
  }

  /** Forgets all notes, after all have been read. The values of the last note stay. */
  forget(): void {
    if (this.#noted > 0) this.#rows.copyWithin(0, this.#noted * FIELDS, (this.#noted + 1) * FIELDS)
    this.#noted = this.#row = 0
    this.#nextNote = 1
  }

  #read(row: number, tick: number): void {
    const { words, times } = this.#shared
    const rows = this.#rows
    rows[row + TICK] = tick
    rows[row + IN_HEAD] = Atomics.load(words, Word.inHead)
    // These counts are read before the times, so that the times are at least as new.
    rows[row + DATED] = Atomics.load(words, Word.dated)
    rows[row + WAITING_SENT] = Atomics.load(words, Word.waitingSent)
    rows[row + SAMPLE_ZERO_MS] = times[Time.sampleZeroMs] as number
    rows[row + WAITING_ZERO_MS] = times[Time.waitingZeroMs] as number
    rows[row + PLAYOUT_END_MS] = times[Time.playoutEndMs] as number
    rows[row + LAST_SENT_AT_MS] = times[Time.lastSentAtMs] as number
  }
}
