import type { PlayoutLedger } from '../../call/turns/playout-ledger.js'
import { frameSamples, type LegRateHz, type SampleRateHz } from '../../core/units.js'
import { Views } from '../../core/views.js'
import { hasSound } from '../../media/pcm.js'
import type { ResamplerBank, StreamResampler } from '../../media/resample/resampler.js'
import type { FrameHistogram } from '../../telemetry/frame-histogram.js'
import { PlayoutFeed, RESAMPLER_FLUSH_MS } from './playout-feed.js'
import type { SharedCall } from '../shared/shared-call.js'

/** Maximum number of samples of one call that wait until another item ends: 20 s at 24 kHz. */
export const SPEECH_WAITING_SAMPLES_MAX = 20 * 24_000

/**
 * Maximum number of recordings of one call that wait until another item ends. It covers several fillers, prompts and a
 * goodbye. Calls share the samples of recordings.
 */
export const RECORDINGS_WAITING_MAX = 20

/** Source of speech: the backend, or the gateway itself (fillers, prompts, apologies). */
type SpeechSource = 'backend' | 'gateway'

/**
 * Maximum number of samples that a resampler gets at once: 100 ms at 24 kHz. It limits the resampler's output buffer.
 */
const SLICE_SAMPLES = 2400
const silence = new Int16Array(SLICE_SAMPLES)
// Output of a resampler before it goes to the feed. All calls of a worker share this buffer.
const converted = new Int16Array(2 * SLICE_SAMPLES + 64)
const convertedViews = new Views(converted)

interface Item {
  readonly source: SpeechSource
  readonly itemId: string
  /** Samples that came while an item of another source was playing. */
  readonly waiting: { readonly pcm: Int16Array; readonly rateHz: SampleRateHz }[]
  finished: boolean
}

interface CallSpeechOptions {
  readonly shared: SharedCall
  readonly ledger: PlayoutLedger
  readonly rateHz: LegRateHz
  readonly resamplers: ResamplerBank
  /** Latency from the backend's first sample to the carrier's socket, one value for each item. */
  readonly latencyOut: FrameHistogram
}

/**
 * Agent's outgoing voice, resampled to the leg's rate, one item after another. An item waits until the item of another
 * source has ended, so fillers and answers never mix.
 */
export class CallSpeech {
  readonly #options: CallSpeechOptions
  readonly #feed: PlayoutFeed
  readonly #resamplers = new Map<SampleRateHz, StreamResampler>()
  /** Items in order. The first item is being fed; the others wait. */
  readonly #items: Item[] = []
  readonly #receivedAtMs = new Map<string, number>()
  #waitingSamples = 0
  #droppedSamples = 0
  #resampler: StreamResampler | null = null

  constructor(options: CallSpeechOptions) {
    this.#options = options
    this.#feed = new PlayoutFeed(options.shared, options.rateHz)
  }

  /** Number of samples dropped because too many waited for another item or for space in the ring. */
  get droppedSamples(): number {
    return this.#droppedSamples + this.#feed.droppedSamples
  }

  /**
   * Appends samples of an item. They are copied before the method returns. Recordings are not copied, because they are
   * in shared memory. RECORDINGS_WAITING_MAX limits their number.
   */
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

  /** Notes that no more samples of `itemId` will come. If `itemId` is null, this applies to all items of the source. */
  finish(source: SpeechSource, itemId: string | null = null): void {
    let known = false
    for (const item of this.#items) {
      if (item.source !== source || (itemId !== null && item.itemId !== itemId)) continue
      item.finished = true
      known = true
    }
    // An item without samples has an end too, which the ledger must report.
    if (!known && itemId !== null) this.#options.ledger.finished(itemId)
    this.#advance()
  }

  /** Handles the ledger's report that the first sample of an item was sent to the carrier. */
  started(itemId: string, sentAtMs: number): void {
    const receivedAtMs = this.#receivedAtMs.get(itemId)
    if (receivedAtMs === undefined) return
    this.#receivedAtMs.delete(itemId)
    this.#options.latencyOut.observeMs(sentAtMs - receivedAtMs)
  }

  duck(): void {
    this.#feed.duck()
  }

  pause(): void {
    this.#feed.pause()
  }

  resume(): void {
    this.#feed.resume()
  }

  /** Discards all speech that was not sent yet. */
  clear(nowMs: number): void {
    this.#items.length = 0
    this.#waitingSamples = 0
    this.#receivedAtMs.clear()
    this.#resampler = null
    this.#feed.clear()
    this.#options.ledger.cleared(this.#options.shared.outbound.written, nowMs)
  }

  /** Time at which `refill` may have work to do; Infinity if no speech waits. */
  refillDueMs(nowMs: number): number {
    return this.#feed.refillDueMs(nowMs)
  }

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
    // If a source begins its next item, its previous item has ended, even without a message about the end.
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

  /** Closes finished items at the head of the queue, and opens the next item. */
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

  /** Appends the last samples of an item; until now the filter has held them back. */
  #flush(item: Item): void {
    const resampler = this.#resampler
    this.#resampler = null
    if (resampler === null || resampler.inRateHz === resampler.outRateHz) return
    const zeros = silence.subarray(0, (resampler.inRateHz * RESAMPLER_FLUSH_MS) / 1000)
    this.#toFeed(item, resampler.process(zeros, converted))
  }

  /**
   * Appends samples to the feed, and reports to the ledger which samples are audible. Few frames of speech are silent,
   * so one report is usually enough.
   */
  #toFeed({ itemId }: Item, samples: number): void {
    const { ledger, rateHz } = this.#options
    const pcm = convertedViews.at(0, samples)
    const queued = this.#feed.append(pcm)
    const frame = frameSamples(rateHz)
    let from = 0
    let sound = hasSound(pcm, 0, Math.min(frame, queued))
    for (let at = frame; at < queued; at += frame) {
      const next = hasSound(pcm, at, Math.min(at + frame, queued))
      if (next === sound) continue
      ledger.appended(itemId, at - from, sound)
      from = at
      sound = next
    }
    ledger.appended(itemId, queued - from, sound)
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
