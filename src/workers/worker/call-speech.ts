import type { PlayoutLedger } from '../../call/turns/playout-ledger.js'
import type { LegRateHz, SampleRateHz } from '../../core/units.js'
import { Views } from '../../core/views.js'
import type { ResamplerBank, StreamResampler } from '../../media/resample/resampler.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import { PlayoutFeed, RESAMPLER_FLUSH_MS } from './playout-feed.js'
import type { SharedCall } from '../shared/shared-call.js'

/** Samples of one call's speech that may wait for another item to end: 20 s at 24 kHz. */
export const SPEECH_WAITING_SAMPLES_MAX = 20 * 24_000

/** Recordings of one call that may wait for another item to end: several fillers, prompts and a goodbye. Their samples are shared. */
export const RECORDINGS_WAITING_MAX = 20

/** Where speech comes from: the backend, or the gateway itself (fillers, prompts, apologies). */
type SpeechSource = 'backend' | 'gateway'

/** A resampler is fed at most this much at once: 100 ms at 24 kHz bounds its output buffer. */
const SLICE_SAMPLES = 2400
const silence = new Int16Array(SLICE_SAMPLES)
// Output of a resampler on its way to the feed; shared by all calls of a worker.
const converted = new Int16Array(2 * SLICE_SAMPLES + 64)
const convertedViews = new Views(converted)

interface Item {
  readonly source: SpeechSource
  readonly itemId: string
  /** Samples that came while another source was speaking. */
  readonly waiting: { readonly pcm: Int16Array; readonly rateHz: SampleRateHz }[]
  finished: boolean
}

interface CallSpeechOptions {
  readonly shared: SharedCall
  readonly ledger: PlayoutLedger
  readonly rateHz: LegRateHz
  readonly resamplers: ResamplerBank
  /** From the backend's first sample to the carrier's socket, one value for each item. */
  readonly latencyOut: FrameHistogram
}

/**
 * The agent's voice on its way out: resamples it to the leg's rate and appends it to the playout feed, item after item.
 * An item that comes while the other source is in the middle of one waits until that one has ended, so that fillers and
 * answers never cut into each other.
 */
export class CallSpeech {
  readonly #options: CallSpeechOptions
  readonly #feed: PlayoutFeed
  readonly #resamplers = new Map<SampleRateHz, StreamResampler>()
  /** The first is the item that is being fed; the others wait for it. */
  readonly #items: Item[] = []
  readonly #receivedAtMs = new Map<string, number>()
  #waitingSamples = 0
  #droppedSamples = 0
  #resampler: StreamResampler | null = null

  constructor(options: CallSpeechOptions) {
    this.#options = options
    this.#feed = new PlayoutFeed(options.shared, options.rateHz)
  }

  /** Samples that were dropped because too many waited, behind another item or for room in the ring. */
  get droppedSamples(): number {
    return this.#droppedSamples + this.#feed.droppedSamples
  }

  /** Samples of an item; copied before return, but for those in shared memory, which are a recording and take no room here: RECORDINGS_WAITING_MAX. */
  append(source: SpeechSource, itemId: string, pcm: Int16Array, rateHz: SampleRateHz, nowMs: number): void {
    const item = this.#item(source, itemId, nowMs)
    if (item === this.#items[0]) this.#feedSamples(item, pcm, rateHz)
    else if (isShared(pcm)) {
      const waiting = this.#items.reduce((sum, one) => sum + one.waiting.filter((part) => isShared(part.pcm)).length, 0)
      if (waiting >= RECORDINGS_WAITING_MAX) this.#droppedSamples += pcm.length
      else item.waiting.push({ pcm, rateHz })
    } else if (this.#waitingSamples + pcm.length > SPEECH_WAITING_SAMPLES_MAX) this.#droppedSamples += pcm.length
    else {
      this.#waitingSamples += pcm.length
      item.waiting.push({ pcm: pcm.slice(), rateHz })
    }
  }

  /** No more samples of `itemId` will come; without `itemId`, no more of any item of that source. */
  finish(source: SpeechSource, itemId: string | null = null): void {
    let known = false
    for (const item of this.#items) {
      if (item.source !== source || (itemId !== null && item.itemId !== itemId)) continue
      item.finished = true
      known = true
    }
    // The ledger must report the end of an item without samples too.
    if (!known && itemId !== null) this.#options.ledger.finished(itemId)
    this.#advance()
  }

  /** The ledger reports that the first sample of an item was sent. */
  started(itemId: string, sentAtMs: number): void {
    const receivedAtMs = this.#receivedAtMs.get(itemId)
    if (receivedAtMs === undefined) return
    this.#receivedAtMs.delete(itemId)
    this.#options.latencyOut.observeMs(sentAtMs - receivedAtMs)
  }

  pause(): void {
    this.#feed.pause()
  }

  resume(): void {
    this.#feed.resume()
  }

  /** Discards everything that was not sent yet. */
  clear(nowMs: number): void {
    this.#items.length = 0
    this.#waitingSamples = 0
    this.#receivedAtMs.clear()
    this.#resampler = null
    this.#feed.clear()
    this.#options.ledger.cleared(this.#options.shared.outbound.written, nowMs)
  }

  /** True if speech waits for `refill`. */
  get waits(): boolean {
    return this.#feed.waits
  }

  /** Once a tick. */
  refill(): void {
    this.#feed.refill()
  }

  release(): void {
    for (const resampler of this.#resamplers.values()) resampler.release()
    this.#resamplers.clear()
  }

  #item(source: SpeechSource, itemId: string, nowMs: number): Item {
    const [first] = this.#items
    if (first?.itemId === itemId) return first
    const known = this.#items.find((item) => item.itemId === itemId)
    if (known !== undefined) return known
    // A source that begins its next item has ended the previous one, even if it did not say so.
    this.finish(source)
    const item: Item = { source, itemId, waiting: [], finished: false }
    this.#items.push(item)
    this.#receivedAtMs.set(itemId, nowMs)
    if (this.#items[0] === item) this.#open(item)
    return item
  }

  #open(item: Item): void {
    this.#feed.begin(item.itemId)
    this.#resampler = null
    for (const { pcm, rateHz } of item.waiting) {
      if (!isShared(pcm)) this.#waitingSamples -= pcm.length
      this.#feedSamples(item, pcm, rateHz)
    }
    item.waiting.length = 0
  }

  /** Closes finished items at the head, and opens the item that waited for them. */
  #advance(): void {
    for (let head = this.#items[0]; head?.finished === true; head = this.#items[0]) {
      this.#flush(head)
      this.#feed.finish(head.itemId)
      this.#options.ledger.finished(head.itemId)
      this.#items.shift()
      const next = this.#items[0]
      if (next !== undefined) this.#open(next)
    }
  }

  #feedSamples(item: Item, pcm: Int16Array, rateHz: SampleRateHz): void {
    const resampler = this.#resamplerFrom(rateHz)
    if (this.#resampler !== resampler) {
      resampler.reset()
      this.#resampler = resampler
    }
    for (let from = 0; from < pcm.length; from += SLICE_SAMPLES) {
      const slice = pcm.length <= SLICE_SAMPLES ? pcm : pcm.subarray(from, from + SLICE_SAMPLES)
      this.#toFeed(item, resampler.process(slice, converted))
    }
  }

  /** Appends the last samples, which the filter still holds. */
  #flush(item: Item): void {
    const resampler = this.#resampler
    this.#resampler = null
    if (resampler === null || resampler.inRateHz === resampler.outRateHz) return
    const zeros = silence.subarray(0, (resampler.inRateHz * RESAMPLER_FLUSH_MS) / 1000)
    this.#toFeed(item, resampler.process(zeros, converted))
  }

  #toFeed(item: Item, samples: number): void {
    this.#options.ledger.appended(item.itemId, this.#feed.append(convertedViews.at(0, samples)))
  }

  #resamplerFrom(rateHz: SampleRateHz): StreamResampler {
    let resampler = this.#resamplers.get(rateHz)
    if (resampler === undefined) {
      resampler = this.#options.resamplers.open(rateHz, this.#options.rateHz)
      this.#resamplers.set(rateHz, resampler)
    }
    return resampler
  }
}

function isShared({ buffer }: Int16Array): boolean {
  return buffer instanceof SharedArrayBuffer
}
