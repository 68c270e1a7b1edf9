import { SPEECH_ITEMS_MAX } from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { LegRateHz } from '../../core/units.js'
import type { CallInput, PlayoutView } from '../events.js'

/** Runs of samples of one item that playout has not finished with. */
export const PLAYOUT_SEGMENTS_MAX = 512
/** Samples that the carrier keeps back until more come; observed with the lineage's client. docs/PROTOCOL.md. */
const CARRIER_HOLD_BACK_SAMPLES = 640

interface PlayoutLedgerOptions {
  readonly sampleRateHz: LegRateHz
  /** Count of the first sample that will be appended, on the playout ring's scale; 0 for a new ring. */
  readonly startSample?: number
}

/** State of playout; `report` reads it and does not keep it. */
interface PlayoutReport {
  /** Samples ever taken from the playout ring, discarded ones included, modulo 2^32. */
  readonly sentSamples: number
  /** When all that was sent will have been played, zeros after the speech included. */
  readonly playoutEndMs: number
  /** When the last speech sample went to the socket; null (or 0) when none has. */
  readonly lastSentAtMs: number | null
}

interface LedgerItem {
  readonly itemId: string
  finished: boolean
  started: boolean
  /** Cleared, or heard to its end: no more events. */
  settled: boolean
  /** Samples heard in finished runs. */
  heardSamples: number
  /** Unfinished runs. */
  openRuns: number
}

/** Consecutive samples of one item; `[start, end)` on the ring's scale, unwrapped. */
interface Run {
  readonly item: LedgerItem
  readonly start: number
  end: number
}

const NOTHING: readonly CallInput[] = []

/**
 * Tracks which playout samples belong to which item, and so how much of each item the caller has heard: what was sent,
 * minus what is still on its way (playout's lead and the carrier's hold-back). Positions here do not wrap; the ring's
 * counts are modulo 2^32.
 *
 *     appended --> waiting in ring or backlog --> sent --> (lead + hold-back) --> heard
 *                         |                        |
 *                      cleared: never heard     cleared: frozen at what was heard
 */
export class PlayoutLedger implements PlayoutView {
  /** Runs that were added to the previous run because there were too many. */
  runsMerged = 0
  /** Items that were dropped before they were heard because there were too many. */
  itemsForgotten = 0
  readonly #rateHz: LegRateHz
  readonly #holdBackMs: number
  readonly #items = new Map<string, LedgerItem>()
  /** In playout order. */
  readonly #runs: Run[] = []
  /** Items that may still cause an event. */
  readonly #watched: LedgerItem[] = []
  #appendedAt: number
  #sentAt: number
  #heardAt: number
  /** When the caller hears the last speech sample sent so far, hold-back included. */
  #speechHeardMs = -Infinity
  /** NaN before any speech. Not null: then each new value would allocate a number object. */
  #lastSentAtMs = NaN
  #current: string | null = null
  /** `poll` may have something to report. */
  #pollDue = false
  #reported = false

  constructor(options: PlayoutLedgerOptions) {
    this.#rateHz = options.sampleRateHz
    this.#holdBackMs = samplesToMs(CARRIER_HOLD_BACK_SAMPLES, options.sampleRateHz)
    this.#appendedAt = options.startSample ?? 0
    this.#sentAt = this.#appendedAt
    this.#heardAt = this.#appendedAt
  }

  /** `samples` of `itemId` were queued in playout, behind everything appended before. */
  appended(itemId: string, samples: number): void {
    if (samples <= 0) return
    const item = this.#item(itemId)
    const last = this.#runs[this.#runs.length - 1]
    if (last !== undefined && last.item === item && last.end === this.#appendedAt) {
      last.end += samples
    } else if (this.#runs.length >= PLAYOUT_SEGMENTS_MAX && last !== undefined) {
      this.runsMerged++
      last.end += samples
    } else {
      this.#runs.push({ item, start: this.#appendedAt, end: this.#appendedAt + samples })
      item.openRuns++
    }
    this.#appendedAt += samples
  }

  /** No more samples of `itemId` will come. An item without a sample counts as heard. */
  finished(itemId: string): void {
    if (this.#items.get(itemId)?.settled === true) return
    this.#item(itemId).finished = true
    this.#pollDue = true
  }

  report(report: PlayoutReport, nowMs: number): void {
    const moved = (report.sentSamples - this.#sentAt) | 0
    if (moved > 0) {
      this.#sentAt += moved
      // Updated only with new speech: the zeros that follow move the end of playout, but not the end of the words.
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
   * Everything not yet sent was thrown away and the carrier flushed. The next sample appended will have count
   * `atSample` on the ring's scale.
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

  /** There is an item of which nothing was sent yet: the next report may contain its start. */
  get awaitsStart(): boolean {
    for (const item of this.#watched) if (!item.started) return true
    return false
  }

  /** When `poll` has something to report, if no other report comes first; Infinity when never. */
  get dueMs(): number {
    if (this.#pollDue) return -Infinity
    const first = this.#runs[0]
    if (first === undefined || first.end > this.#sentAt) return Infinity
    return this.#speechHeardMs - samplesToMs(this.#sentAt - first.end, this.#rateHz)
  }

  /** Items that started and items that were heard to their end since the last call. */
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
    const item = this.#items.get(itemId)
    if (item === undefined) return 0
    this.#advance(nowMs)
    let samples = item.heardSamples
    for (const run of this.#runs) {
      if (run.item === item) samples += Math.max(0, Math.min(this.#heardAt, run.end) - run.start)
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

  /** Moves the heard position to `nowMs` and closes the runs behind it. */
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
    // A later item may start before the first one is heard, because the lead may span several items.
    for (let i = 1; i < this.#runs.length; i++) {
      const run = this.#runs[i] as Run
      if (run.start >= this.#sentAt) break
      if (!run.item.started) this.#pollDue = true
    }
  }

  #closeRun(run: Run): void {
    run.item.heardSamples += Math.max(0, Math.min(this.#heardAt, run.end) - run.start)
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
      // More samples came for an item that was cleared or heard to its end: watch it again.
      if (known.settled) {
        known.settled = false
        this.#watched.push(known)
      }
      return known
    }
    if (this.#items.size >= SPEECH_ITEMS_MAX) this.#forgetOldest()
    const item: LedgerItem = { itemId, finished: false, started: false, settled: false, heardSamples: 0, openRuns: 0 }
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
