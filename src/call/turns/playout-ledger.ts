import { SPEECH_ITEMS_MAX } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { LegRateHz } from '../../core/units.js'
import type { CallInput, PlayoutView } from '../events.js'

/** Maximum number of runs of one item whose samples are still in playout. */
export const PLAYOUT_SEGMENTS_MAX = 512
/**
 * Number of runs after which sound and silence of an item are kept in one run, so that runs remain for further items.
 */
const SILENCES_APART_MAX = PLAYOUT_SEGMENTS_MAX / 2
/**
 * Number of samples that the carrier does not play until more samples arrive. The value was observed with the
 * open-source client of the same subprotocol (docs/PROTOCOL.md).
 */
const CARRIER_HOLD_BACK_SAMPLES = 640

interface PlayoutLedgerOptions {
  readonly sampleRateHz: LegRateHz
  /** Index of the next sample that will be appended, on the playout ring's scale of samples; 0 for a new ring. */
  readonly startSample?: number
}

/** State of playout. `report` reads this object only while `report` runs. */
interface PlayoutReport {
  /** Total of samples taken from the playout ring, including discarded samples, modulo 2^32. */
  readonly sentSamples: number
  /** Time at which playout of all sent samples ends, including zeros after the speech. */
  readonly playoutEndMs: number
  /** Time at which the last speech sample was sent to the socket; null (or 0) before the first sample. */
  readonly lastSentAtMs: number | null
}

interface LedgerItem {
  readonly itemId: string
  finished: boolean
  started: boolean
  /** True if the item was cleared or heard completely. It then does not cause further events. */
  settled: boolean
  /** Samples of finished runs that the caller heard. */
  heardSamples: number
  /** Heard samples that had sound. */
  soundSamples: number
  /** Number of unfinished runs. */
  openRuns: number
}

/**
 * Consecutive samples of one item, all with sound or all silent. The range `[start, end)` is on the ring's scale,
 * without wrapping.
 */
interface Run {
  readonly item: LedgerItem
  readonly start: number
  end: number
  sound: boolean
}

const NOTHING: readonly CallInput[] = []

/**
 * Tracks the item of each playout sample, and computes the played duration of each item. The played duration
 * is the item's sent samples minus its samples in transit (playout's lead and the carrier's hold-back). Positions in
 * this class do not wrap; counts of the ring are modulo 2^32.
 *
 *     appended --> waiting in ring or backlog --> sent --> (lead + hold-back) --> heard
 *                         |                        |
 *                      cleared: never heard     cleared: played duration is final
 */
export class PlayoutLedger implements PlayoutView {
  /** Number of runs that were merged into the previous run because the limit of runs was reached. */
  runsMerged = 0
  /** Number of items that were dropped before the caller heard them, because the limit of items was reached. */
  itemsForgotten = 0
  readonly #rateHz: LegRateHz
  readonly #holdBackMs: number
  readonly #items = new Map<string, LedgerItem>()
  /** Runs in playout order. */
  readonly #runs: Run[] = []
  /** Items that may still cause an event. */
  readonly #watched: LedgerItem[] = []
  #appendedAt: number
  #sentAt: number
  #heardAt: number
  /** Time at which the caller hears the last speech sample that was sent so far. The time includes the hold-back. */
  #speechHeardMs = -Infinity
  /** NaN before the first speech. If the field could be null, each new value would allocate a number object. */
  #lastSentAtMs = NaN
  #current: string | null = null
  /** True if `poll` may have events to report. */
  #pollDue = false
  #reported = false

  constructor(options: PlayoutLedgerOptions) {
    this.#rateHz = options.sampleRateHz
    this.#holdBackMs = samplesToMs(CARRIER_HOLD_BACK_SAMPLES, options.sampleRateHz)
    this.#appendedAt = options.startSample ?? 0
    this.#sentAt = this.#appendedAt
    this.#heardAt = this.#appendedAt
  }

  /**
   * Notes that `samples` of `itemId` were queued in playout, after all earlier samples.
   * @param sound  true if the samples are audible (`hasSound`)
   */
  appended(itemId: string, samples: number, sound = true): void {
    if (samples <= 0) return
    const item = this.#item(itemId)
    const last = this.#runs[this.#runs.length - 1]
    const goesOn = last !== undefined && last.item === item && last.end === this.#appendedAt
    if (goesOn && (last.sound === sound || this.#runs.length >= SILENCES_APART_MAX)) {
      last.end += samples
      last.sound ||= sound
    } else if (this.#runs.length >= PLAYOUT_SEGMENTS_MAX && last !== undefined) {
      this.runsMerged++
      last.end += samples
    } else {
      this.#runs.push({ item, start: this.#appendedAt, end: this.#appendedAt + samples, sound })
      item.openRuns++
    }
    this.#appendedAt += samples
  }

  /** Notes that further samples of `itemId` will not follow. An item without samples counts as heard. */
  finished(itemId: string): void {
    if (this.#items.get(itemId)?.settled === true) return
    this.#item(itemId).finished = true
    this.#pollDue = true
  }

  report(report: PlayoutReport, nowMs: number): void {
    const moved = (report.sentSamples - this.#sentAt) | 0
    if (moved > 0) {
      this.#sentAt += moved
      // Only new speech updates this time, because zeros after the speech extend playout, but not the speech.
      this.#speechHeardMs = report.playoutEndMs + this.#holdBackMs
    } else if (moved < 0 && !this.#reported) {
      // After a takeover the ring still plays speech of the previous worker.
      this.#sentAt += moved
      this.#heardAt = this.#sentAt
      this.#speechHeardMs = report.playoutEndMs + this.#holdBackMs
    }
    this.#reported = true
    if (report.lastSentAtMs !== null && report.lastSentAtMs > 0) this.#lastSentAtMs = report.lastSentAtMs
    this.#advance(nowMs)
  }

  /**
   * Notes that all unsent samples were discarded and the carrier's buffer was cleared. `atSample` is the index of the
   * next appended sample on the ring's scale.
   */
  cleared(atSample: number, nowMs: number): void {
    this.#advance(nowMs)
    for (const run of this.#runs) this.#closeRun(run)
    this.#runs.length = 0
    for (const item of this.#watched) item.settled = true
    this.#watched.length = 0
    this.#appendedAt += (atSample - this.#appendedAt) | 0
    this.#sentAt = this.#appendedAt
    this.#heardAt = this.#appendedAt
    this.#speechHeardMs = -Infinity
    this.#pollDue = false
  }

  /** True if an item has not been sent yet, so that the next report may contain its start. */
  get awaitsStart(): boolean {
    for (const item of this.#watched) if (!item.started) return true
    return false
  }

  /** Time at which `poll` will have an event even without a new report; Infinity without such an event. */
  get dueMs(): number {
    if (this.#pollDue) return -Infinity
    const first = this.#runs[0]
    if (first === undefined || first.end > this.#sentAt) return Infinity
    return this.#speechHeardMs - samplesToMs(this.#sentAt - first.end, this.#rateHz)
  }

  /**
   * Returns the items that have started, and the items that the caller has heard completely, since the last call of
   * this method.
   */
  poll(nowMs: number): readonly CallInput[] {
    this.#advance(nowMs)
    if (!this.#pollDue) return NOTHING
    this.#pollDue = false
    const inputs: CallInput[] = []
    for (const item of this.#watched) {
      if (!item.started && this.#sentOf(item)) {
        item.started = true
        inputs.push({ type: 'item-started', itemId: item.itemId, sentAtMs: this.lastSentAtMs() ?? nowMs })
      }
      if (item.finished && item.openRuns === 0) {
        item.settled = true
        inputs.push({ type: 'item-heard', itemId: item.itemId })
      }
    }
    if (inputs.length === 0) return NOTHING
    let kept = 0
    for (const item of this.#watched) if (!item.settled) this.#watched[kept++] = item
    this.#watched.length = kept
    return inputs
  }

  audible(nowMs: number): boolean {
    if (this.#appendedAt > this.#sentAt) return true
    this.#advance(nowMs)
    return this.#heardAt < this.#sentAt
  }

  playedMs(itemId: string, nowMs: number): number {
    return this.#heardMs(itemId, nowMs, false)
  }

  /** Duration of audible sound within `playedMs`, in milliseconds. */
  soundMs(itemId: string, nowMs: number): number {
    return this.#heardMs(itemId, nowMs, true)
  }

  #heardMs(itemId: string, nowMs: number, soundAlone: boolean): number {
    const item = this.#items.get(itemId)
    if (item === undefined) return 0
    this.#advance(nowMs)
    let samples = soundAlone ? item.soundSamples : item.heardSamples
    for (const run of this.#runs) {
      if (run.item === item && (run.sound || !soundAlone))
        samples += Math.max(0, Math.min(this.#heardAt, run.end) - run.start)
    }
    return samplesToMs(samples, this.#rateHz)
  }

  currentItem(nowMs: number): string | null {
    this.#advance(nowMs)
    const first = this.#runs[0]
    if (first !== undefined && first.start < this.#sentAt) this.#current = first.item.itemId
    return this.#current
  }

  pendingMs(): number {
    return samplesToMs(Math.max(0, this.#appendedAt - this.#sentAt), this.#rateHz)
  }

  lastSentAtMs(): number | null {
    return Number.isNaN(this.#lastSentAtMs) ? null : this.#lastSentAtMs
  }

  /** Moves the heard position to `nowMs` and closes the runs before that position. */
  #advance(nowMs: number): void {
    const aheadSamples = Math.max(0, ((this.#speechHeardMs - nowMs) * this.#rateHz) / 1000)
    const heardAt = Math.max(this.#heardAt, Math.floor(this.#sentAt - aheadSamples))
    this.#heardAt = heardAt
    let first = this.#runs[0]
    if (first === undefined) return
    if (!first.item.started && first.start < this.#sentAt) this.#pollDue = true
    while (first !== undefined && first.end <= heardAt) {
      this.#runs.shift()
      this.#closeRun(first)
      this.#current = first.item.itemId
      this.#pollDue = true
      first = this.#runs[0]
    }
    if (first !== undefined && first.start < heardAt) this.#current = first.item.itemId
    // A later item may start before an earlier item is heard, because the lead may contain several items.
    for (let i = 1; i < this.#runs.length; i++) {
      const run = this.#runs[i] as Run
      if (run.start >= this.#sentAt) break
      if (!run.item.started) this.#pollDue = true
    }
  }

  #closeRun(run: Run): void {
    const samples = Math.max(0, Math.min(this.#heardAt, run.end) - run.start)
    run.item.heardSamples += samples
    if (run.sound) run.item.soundSamples += samples
    run.item.openRuns--
  }

  #sentOf(item: LedgerItem): boolean {
    if (item.heardSamples > 0) return true
    for (const run of this.#runs) if (run.item === item) return run.start < this.#sentAt
    return false
  }

  #item(itemId: string): LedgerItem {
    const known = this.#items.get(itemId)
    if (known !== undefined) {
      // More samples arrived for an item that was cleared or heard completely, so the item is watched again.
      if (known.settled) {
        known.settled = false
        this.#watched.push(known)
      }
      return known
    }
    if (this.#items.size >= SPEECH_ITEMS_MAX) this.#forgetOldest()
    const unheard = { heardSamples: 0, soundSamples: 0, openRuns: 0 }
    const item: LedgerItem = { itemId, finished: false, started: false, settled: false, ...unheard }
    this.#items.set(itemId, item)
    this.#watched.push(item)
    return item
  }

  #forgetOldest(): void {
    for (const [id, item] of this.#items) {
      if (!item.settled) this.itemsForgotten++
      item.settled = true
      this.#items.delete(id)
      const at = this.#watched.indexOf(item)
      if (at >= 0) this.#watched.splice(at, 1)
      return
    }
  }
}
