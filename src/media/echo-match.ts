import { ECHO_DELAY_MS_MAX } from '../core/limits.js'
import { FRAME_MS, type LegRateHz } from '../core/units.js'
import { LeastSquares, dotProduct } from './least-squares.js'
import { energyOf } from './pcm.js'

/**
 * What a frame of the caller's side is:
 * - `clear`: none of our own speech can be in it;
 * - `own`: our own speech and next to nothing else;
 * - `mixed`: our speech is known and taken into account; `foreignShare` says how much of the power is somebody else's;
 * - `unknown`: our speech may be in it, but where is not known (yet). Levels must decide.
 */
export type EchoMatch = 'clear' | 'own' | 'mixed' | 'unknown'

/** A delay that may be the right one for the run of speech that plays. */
interface Candidate {
  /** In samples. */
  lag: number
  /** Power of the frames that were laid beside it, and what of it was left over; older frames count less. */
  power: number
  left: number
  frames: number
  /** How often a search ended here. */
  found: number
}

/**
 * Finds our own speech, sample for sample, in a stream into which the carrier mixes both parties. What was sent is
 * known, so a frame is laid beside it: five taps are fitted (1/8 ms apart: level, and a delay that is no whole number
 * of samples), and what they cannot explain is the caller. So a caller is heard over an agent as loud as himself,
 * which levels alone cannot do.
 *
 * The delay is one number of samples for a whole run of speech, but another for each run: the carrier's hold-back and
 * its tick begin anew. It is found by correlating over all delays. A vowel fits nearly as well a period of its pitch
 * too late, so several candidates are kept until one of them leaves next to nothing over:
 *
 * | state     | what is done with a frame                                          | leaves by                       |
 * |-----------|--------------------------------------------------------------------|---------------------------------|
 * | searching | laid beside all candidates, and a new one is looked for            | one holds for 2 frames -> held  |
 * | held      | the same; somebody else's voice is now told from ours              | it holds for longer -> settled  |
 * | settled   | laid beside one; a new one is looked for when it does not fit      | a better one -> that one        |
 *
 * A new run begins with searching. All of this happens at 8 kHz; a frame costs nothing while we are silent, about 2 us
 * while we talk, and about 150 us while the delay is looked for, which is bounded.
 */
export class EchoMatcher {
  /** True once our own speech was found in the stream: from then on it is bound to be in it. */
  proven = false
  /** 0 to 1, of the frame that was matched last. */
  foreignShare = 1
  /** How much louder or softer our speech comes back. */
  gainDb = 0
  framesMatched = 0
  searches = 0
  readonly #sampleRateHz: LegRateHz
  /** Samples of the leg in one at 8 kHz. */
  readonly #step: 1 | 2
  readonly #taps: number
  /** What was sent, at the leg's rate, on a time axis; made when first needed. */
  #sent: Int16Array | null = null
  readonly #heardHistory = new Float32Array(HALF_BAND_HISTORY)
  /** Beginning of the run of speech that was sent last, and end of all that was sent: samples of the leg. */
  #runStart = -Infinity
  #sentEnd = -Infinity
  /** End of the last of it that made a sound. */
  #soundEnd = -Infinity
  /** Where the next frame of the caller's side begins, counted at 8 kHz, as its time of arrival is not exact. */
  #heardAt = -Infinity
  /** The best one first. */
  #candidates: Candidate[] = []
  #state: 'searching' | 'held' | 'settled' = 'searching'
  #searchesLeft = SEARCHES
  #sinceSearch = 0
  #sinceFollowed = 0
  #nextLag = NaN
  /** Frames without anything of ours since the last that was ours. */
  #missed = 0
  /** Of the frames that fitted at the best delay: their power, and what was left over of it. */
  #fitPower = 0
  #fitLeft = 0
  /** Of our own speech in a frame, as the caller's side had it last: a peak that wears off. */
  #ownPower = 0

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sampleRateHz = options.sampleRateHz
    this.#step = options.sampleRateHz === 16000 ? 2 : 1
    this.#taps = this.#step * CANCEL_TAPS_8K
  }

  /**
   * The carrier mixes us in as we are, but for a codec: what does not fit is somebody else. False for an echo that went
   * through a loudspeaker and a room, or a narrow filter: it fits a little, and its level must say more.
   */
  get exact(): boolean {
    return this.proven && this.#fitLeft < EXACT_SHARE_MAX * this.#fitPower
  }

  /** The delay of the run of speech that was matched last, against the times that were given; null before any. */
  get delayMs(): number | null {
    const best = this.#candidates[0]
    return this.proven && best !== undefined ? best.lag / PER_MS : null
  }

  /** 20 ms that the carrier plays from about `playedAtMs` on. A jump in these times begins a new run of speech. */
  reference(frame: Int16Array, playedAtMs: number): void {
    this.#sent ??= new Int16Array(SENT_SAMPLES)
    const at = Math.round((playedAtMs * this.#sampleRateHz) / 1000)
    if (Math.abs(at - this.#sentEnd) > RUN_JUMP * this.#step) this.#beginRun(this.#sent, at)
    for (let i = 0; i < frame.length; i++) this.#sent[indexOf(this.#sentEnd + i)] = frame[i] as number
    this.#sentEnd += frame.length
    if (energyOf(frame) > SILENT_ENERGY * frame.length) this.#soundEnd = this.#sentEnd
  }

  /** Call for every frame of the caller's side, in order. @param capturedAtMs the frame's end */
  match(frame: Int16Array, capturedAtMs: number): EchoMatch {
    const now = Math.round((capturedAtMs - FRAME_MS) * PER_MS)
    const between = (this.#heardAt - LAG_MAX) * this.#step > this.#soundEnd
    // The carrier's samples are of one piece, whenever they arrive: while our speech is among them they are counted.
    if (Math.abs(now - this.#heardAt) > (between ? HEARD_JUMP_BETWEEN : HEARD_JUMP)) this.#heardAt = now
    const at = this.#heardAt
    this.#heardAt += NARROW_FRAME
    this.foreignShare = 1
    const sent = this.#sent
    if (sent === null || (at - LAG_MAX) * this.#step > this.#soundEnd) {
      this.#heardHistory.fill(0)
      return 'clear'
    }
    toNarrow(frame, this.#step, this.#heardHistory)
    const power = dotProduct(heard, 0, heard, 0, NARROW_FRAME)
    if (power < SILENT_ENERGY * NARROW_FRAME) return 'clear'

    const best = this.#candidates[0]
    let share = best === undefined ? 1 : this.#try(sent, at, best, power)
    if (this.#state === 'settled' && share < OWN_SHARE) {
      this.#searchesLeft = Math.min(SEARCHES, this.#searchesLeft + 1)
      if (best !== undefined) this.#follow(sent, at, best)
    } else {
      share = Math.min(share, this.#explore(sent, at, power))
    }
    this.foreignShare = share
    if (share < OWN_SHARE && this.proven) {
      this.framesMatched++
      this.#missed = 0
      return 'own'
    }
    if (this.#state !== 'searching' && share > DOUBLE_TALK_SHARE && ++this.#missed > MISSED_FRAMES_MAX) this.#unlearn()
    return this.#state === 'searching' ? 'unknown' : 'mixed'
  }

  /**
   * Takes our own speech out of the frame that was just matched, in place; for `own` and `mixed` frames. What is left
   * is the caller, and a residue 30 to 45 dB below what was there.
   *
   * @returns true when there is a caller in what is left: softer than that, it is what filters and codecs made of the
   * hiss in our own speech
   */
  cancel(frame: Int16Array): boolean {
    const best = this.#candidates[0]
    if (this.#sent === null || best === undefined) return true
    const taps = this.#taps
    const from = (this.#heardAt - NARROW_FRAME - best.lag) * this.#step - taps / 2
    this.#copySent(this.#sent, from, frame.length + taps)
    wholeFrame.set(frame)
    this.#ownPower *= OWN_DECAY
    if (!fit.set(wholeFrame, sentPart, frame.length, taps, SILENT_ENERGY)) return energyOf(frame) > this.#ownPower * RESIDUE_SHARE
    this.#ownPower = Math.max(this.#ownPower, fit.solve())
    for (let tap = 0; tap < taps; tap++) {
      const weight = fit.weights[tap] as number
      for (let i = 0; i < frame.length; i++) wholeFrame[i] = (wholeFrame[i] as number) - weight * (sentPart[i + tap] as number)
    }
    for (let i = 0; i < frame.length; i++) {
      const left = Math.round(wholeFrame[i] as number)
      frame[i] = left > 32_767 ? 32_767 : left < -32_768 ? -32_768 : left
    }
    return energyOf(frame) > this.#ownPower * RESIDUE_SHARE
  }

  /** Tries all the other candidates and looks for new ones. @returns the least share that is left over */
  #explore(sent: Int16Array, at: number, power: number): number {
    const known = this.#candidates.length
    let least = 1
    this.#sinceSearch++
    if (this.#searchesLeft > 0 || this.#sinceSearch >= SEARCH_EVERY) least = this.#search(sent, at, power)
    for (let i = 1; i < known; i++) {
      const candidate = this.#candidates[i]
      if (candidate !== undefined) least = Math.min(least, this.#try(sent, at, candidate, power))
    }
    this.#choose()
    return least
  }

  #search(sent: Int16Array, at: number, power: number): number {
    this.#sinceSearch = 0
    this.#searchesLeft = Math.max(0, this.#searchesLeft - 1)
    this.searches++
    const lag = this.#bestLag(sent, at)
    if (lag === null) return 1
    const near = this.#candidates.find((candidate) => Math.abs(candidate.lag - lag) <= AGREE_SAMPLES)
    if (near !== undefined) {
      near.found++
      return 1
    }
    const candidate = { lag, power: 0, left: 0, frames: 0, found: 1 }
    const share = this.#try(sent, at, candidate, power)
    if (candidate.frames === 0 || share > DOUBLE_TALK_SHARE) return share
    candidate.lag = this.#refined(sent, at, lag)
    if (this.#candidates.length === CANDIDATES) this.#candidates.pop()
    this.#candidates.push(candidate)
    return share
  }

  /** The best one to the front; decides whether it is good enough to rely on. */
  #choose(): void {
    const candidates = this.#candidates
    const trusted = this.#state === 'searching' ? undefined : candidates[0]
    candidates.sort(byLeftOver)
    const best = candidates[0]
    if (best === undefined || best.frames === 0) return
    const share = best.left / best.power
    let holds = share < OWN_SHARE && best.frames >= HELD_FRAMES
    if (!holds && trusted !== undefined) {
      // The caller talks over it: no reason to believe in another delay.
      candidates.splice(candidates.indexOf(trusted), 1)
      candidates.unshift(trusted)
      return
    }
    holds ||= this.proven && share < DOUBLE_TALK_SHARE && best.found >= FOUND_OFTEN
    if (!holds) return
    const second = candidates[1]
    const clear = share < SURE_SHARE || second === undefined || second.left / second.power > 3 * share
    const settled = best.frames >= SETTLED_FRAMES && clear
    // The first proof that our speech is in the stream at all takes more than a likeness of two vowels.
    if (!this.proven && share > SURE_SHARE && !settled) return
    this.#state = settled ? 'settled' : 'held'
    this.proven = true
  }

  /** Lays the frame beside what was sent that long before. @returns the share that it leaves over */
  #try(sent: Int16Array, at: number, candidate: Candidate, power: number): number {
    const share = this.#fit(sent, at, candidate.lag, power)
    // The rest of the run before says nothing about the delay of this one.
    if ((at - candidate.lag) * this.#step < this.#runStart) return share
    candidate.power = candidate.power * REMEMBER + power
    candidate.left = candidate.left * REMEMBER + share * power
    candidate.frames++
    if (share < OWN_SHARE) {
      this.#fitPower = this.#fitPower * REMEMBER_FIT + power
      this.#fitLeft = this.#fitLeft * REMEMBER_FIT + share * power
    }
    if (share < OWN_SHARE) {
      this.gainDb += (10 * Math.log10(power / fit.powerOf(MIDDLE)) - this.gainDb) * (this.proven ? GAIN_LEARN : 1)
    }
    return share
  }

  /** The clocks of both sides differ by some samples a minute, and the first frames may have been a little off. */
  #follow(sent: Int16Array, at: number, best: Candidate): void {
    if (++this.#sinceFollowed < FOLLOW_EVERY) return
    this.#sinceFollowed = 0
    const lag = this.#refined(sent, at, best.lag)
    // What one frame says is believed when the next one agrees.
    if (lag === this.#nextLag) best.lag = lag
    this.#nextLag = lag
  }

  /**
   * The delay to a sample, of those near `lag`. A vowel is too smooth to tell; the differences from one sample to the
   * next are not.
   */
  #refined(sent: Int16Array, at: number, lag: number): number {
    this.#copyNarrow(sent, at - lag - REFINE, NARROW_FRAME + 2 * REFINE)
    for (let i = NARROW_FRAME + 2 * REFINE - 1; i > 0; i--) sentPart[i] = (sentPart[i] as number) - (sentPart[i - 1] as number)
    edges[0] = 0
    for (let i = 1; i < NARROW_FRAME; i++) edges[i] = (heard[i] as number) - (heard[i - 1] as number)
    let best = 0
    let refined = lag
    for (let shift = 1; shift < 2 * REFINE; shift++) {
      const product = dotProduct(edges, 0, sentPart, shift, NARROW_FRAME)
      const score = (product * product) / (dotProduct(sentPart, shift, sentPart, shift, NARROW_FRAME) + 1)
      if (score <= best) continue
      best = score
      refined = lag + REFINE - shift
    }
    return refined
  }

  /** Seconds of talk, and nothing of ours in it: it was an accident, or the carrier does not mix any more. */
  #unlearn(): void {
    this.proven = false
    this.#missed = 0
    this.#state = 'searching'
    this.#candidates = []
  }

  #beginRun(sent: Int16Array, at: number): void {
    // Before the end of the last run: that one was cut off, and its rest was never played.
    for (let i = Math.max(this.#sentEnd, at - SENT_SAMPLES); i < at; i++) sent[indexOf(i)] = 0
    this.#runStart = at
    this.#sentEnd = at
    this.#soundEnd = Math.min(this.#soundEnd, at)
    const last = this.#candidates[0]
    this.#candidates = last === undefined ? [] : [{ lag: last.lag, power: 0, left: 0, frames: 0, found: 0 }]
    this.#state = 'searching'
    this.#nextLag = NaN
    this.#searchesLeft = SEARCHES
  }

  /** The delay at which the frame resembles most what was sent; null where nothing was. Every other sample will do. */
  #bestLag(sent: Int16Array, at: number): number | null {
    this.#copyNarrow(sent, at - LAG_MAX, WIDE)
    let energy = 0
    for (let i = 0; i < NARROW_FRAME; i += 2) energy += (sentPart[i] as number) ** 2
    let best = 0
    let bestShift = -1
    for (let shift = 0; shift <= LAG_MAX - LAG_MIN; shift += 2) {
      if (energy > SILENT_ENERGY * NARROW_FRAME) {
        let product = 0
        for (let i = 0; i < NARROW_FRAME; i += 2) product += (heard[i] as number) * (sentPart[shift + i] as number)
        const score = (product * product) / energy
        if (score > best) {
          best = score
          bestShift = shift
        }
      }
      energy += (sentPart[shift + NARROW_FRAME] as number) ** 2 - (sentPart[shift] as number) ** 2
    }
    return bestShift < 0 ? null : LAG_MAX - bestShift
  }

  /** @returns the share of `heard` that what was sent `lag` samples before does not explain, 0 to 1 */
  #fit(sent: Int16Array, at: number, lag: number, power: number): number {
    this.#copyNarrow(sent, at - lag - MIDDLE, NARROW_FRAME + TAPS - 1)
    if (!fit.set(heard, sentPart, NARROW_FRAME, TAPS, SILENT_ENERGY)) return 1
    return Math.min(1, Math.max(0, 1 - fit.solve() / power))
  }

  #copyNarrow(sent: Int16Array, from: number, length: number): void {
    if (this.#step === 1) return this.#copySent(sent, from, length)
    this.#copySent(sent, 2 * from - HALF_BAND_HISTORY, 2 * length + HALF_BAND_HISTORY)
    halve(sentPart, sentPart, length)
  }

  #copySent(sent: Int16Array, from: number, length: number): void {
    const known = Math.max(0, Math.min(length, this.#sentEnd - from))
    const forgotten = Math.max(0, Math.min(known, this.#sentEnd - SENT_SAMPLES - from))
    const first = indexOf(from)
    for (let i = 0; i < forgotten; i++) sentPart[i] = 0
    for (let i = forgotten; i < known; i++) sentPart[i] = sent[(first + i) & (SENT_SAMPLES - 1)] as number
    for (let i = known; i < length; i++) sentPart[i] = 0
  }
}

/** Those that were never tried come last. */
function byLeftOver(a: Candidate, b: Candidate): number {
  return (a.frames === 0 ? 2 : a.left / a.power) - (b.frames === 0 ? 2 : b.left / b.power)
}

function indexOf(position: number): number {
  return position & (SENT_SAMPLES - 1)
}

/** Writes the frame at 8 kHz to `heard`. @param history the last samples of the frame before, kept */
function toNarrow(frame: Int16Array, step: 1 | 2, history: Float32Array): void {
  if (step === 1) {
    heard.set(frame)
    return
  }
  wholeFrame.set(history)
  for (let i = 0; i < frame.length; i++) wholeFrame[HALF_BAND_HISTORY + i] = frame[i] as number
  halve(wholeFrame, heard, NARROW_FRAME)
  for (let i = 0; i < HALF_BAND_HISTORY; i++) history[i] = wholeFrame[frame.length + i] as number
}

/** Every other sample through a half-band filter; `out` may be the input. */
function halve(samples: Float32Array, out: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) {
    const at = 2 * i
    out[i] = (16 * (samples[at + 3] as number) + 9 * ((samples[at + 2] as number) + (samples[at + 4] as number))
      - (samples[at] as number) - (samples[at + 6] as number)) / 32
  }
}

const PER_MS = 8
const NARROW_FRAME = FRAME_MS * PER_MS
const HALF_BAND_HISTORY = 6
// 2 s at 16 kHz.
const SENT_SAMPLES = 32_768
// The carrier may be as much later than we reckon as it held back, and then is not: an echo may seem early.
const LAG_MIN = -250 * PER_MS
const LAG_MAX = (ECHO_DELAY_MS_MAX + 60) * PER_MS
const WIDE = LAG_MAX - LAG_MIN + NARROW_FRAME + 2
const RUN_JUMP = 1 * PER_MS
const HEARD_JUMP = 500 * PER_MS
const HEARD_JUMP_BETWEEN = 20 * PER_MS
const TAPS = 5
const MIDDLE = 2
// To cancel more taps are worth it: filters and codecs on the way spread a sample.
const CANCEL_TAPS_8K = 8
// -66 dBFS, on either side.
const SILENT_ENERGY = 16 * 16
// A caller 6 dB below our own speech is heard over it; what a telephone codec and a filter add is 15 dB and more below.
const OWN_SHARE = 0.2
// What is left over at the right delay, unless the line is a bad one; a vowel a period too late leaves more.
const SURE_SHARE = 0.02
// Under the voice of somebody else a delay is believed when the search ends there again and again.
const DOUBLE_TALK_SHARE = 0.8
const FOUND_OFTEN = 3
const HELD_FRAMES = 2
const SETTLED_FRAMES = 5
const MISSED_FRAMES_MAX = 100
const CANDIDATES = 4
const AGREE_SAMPLES = 3
const REMEMBER = 0.8
// One after the other when a run begins, one in 160 ms when those found nothing.
const SEARCHES = 12
const SEARCH_EVERY = 8
// 1 dB in 20 ms.
const OWN_DECAY = 0.8
// -24 dB
const RESIDUE_SHARE = 0.004
const EXACT_SHARE_MAX = 0.05
const REMEMBER_FIT = 0.98
const GAIN_LEARN = 0.1
const FOLLOW_EVERY = 4
const REFINE = 6

// Scratch that all calls of a thread share; nothing in it outlives a call of a method.
const heard = new Float32Array(NARROW_FRAME)
const wholeFrame = new Float32Array(2 * NARROW_FRAME + HALF_BAND_HISTORY)
const sentPart = new Float32Array(2 * WIDE + HALF_BAND_HISTORY)
const edges = new Float32Array(NARROW_FRAME)
const fit = new LeastSquares(2 * CANCEL_TAPS_8K)
