import { FRAME_MS, type LegRateHz } from '../../core/units.js'
import { EchoCanceller } from './echo-cancel.js'
import { LAG_MAX, refineLag, searchLag } from './echo-search.js'
import { HALF_BAND_HISTORY, NARROW_FRAME, PER_MS, SILENT_ENERGY, SentSpeech, narrow } from './echo-sent.js'
import { LeastSquares, dotProduct } from './least-squares.js'
import { energyOf } from '../pcm.js'

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
 * A new run begins with searching. All of this happens at 8 kHz; a frame costs nothing while we are silent, 15 (8 kHz)
 * to 30 us while we talk, half of it to take us out, and a search about 40 us, which is bounded.
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
  readonly #sent: SentSpeech
  readonly #canceller: EchoCanceller
  readonly #heardHistory = new Float32Array(HALF_BAND_HISTORY)
  /** Where the next frame of the caller's side begins, counted at 8 kHz, as its time of arrival is not exact. */
  #heardAt = -Infinity
  /** The best one first. */
  #candidates: Candidate[] = []
  #state: 'searching' | 'held' | 'settled' = 'searching'
  #searchesLeft = SEARCHES
  #sinceSearch = 0
  #searchEvery = SEARCH_EVERY
  #sinceFollowed = 0
  #nextLag = NaN
  /** Frames without anything of ours since the last that was ours. */
  #missed = 0
  /** Of the frames that fitted at the best delay: their power, and what was left over of it. */
  #fitPower = 0
  #fitLeft = 0

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sent = new SentSpeech(options)
    this.#canceller = new EchoCanceller(this.#sent)
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
    if (this.#sent.add(frame, playedAtMs)) this.#beginRun()
  }

  /** Call for every frame of the caller's side, in order. @param capturedAtMs the frame's end */
  match(frame: Int16Array, capturedAtMs: number): EchoMatch {
    const now = Math.round((capturedAtMs - FRAME_MS) * PER_MS)
    const sent = this.#sent
    const between = (this.#heardAt - LAG_MAX) * sent.step > sent.soundEnd
    // The carrier's samples are of one piece, whenever they arrive: while our speech is among them they are counted.
    if (Math.abs(now - this.#heardAt) > (between ? HEARD_JUMP_BETWEEN : HEARD_JUMP)) this.#heardAt = now
    const at = this.#heardAt
    this.#heardAt += NARROW_FRAME
    this.foreignShare = 1
    if ((at - LAG_MAX) * sent.step > sent.soundEnd) {
      this.#heardHistory.fill(0)
      return 'clear'
    }
    narrow(frame, sent.step, this.#heardHistory, heard)
    const power = dotProduct(heard, 0, heard, 0, NARROW_FRAME)
    // Nothing to lay beside; what there is above 4 kHz, a hiss, is ours if we are known to be in it.
    if (power < SILENT_ENERGY * NARROW_FRAME) {
      return energyOf(frame) < SILENT_ENERGY * frame.length ? 'clear' : this.#state === 'searching' ? 'unknown' : 'mixed'
    }

    const best = this.#candidates[0]
    let share = best === undefined ? 1 : this.#try(at, best, power)
    if (this.#state === 'settled' && share < OWN_SHARE) {
      this.#searchesLeft = Math.min(SEARCHES, this.#searchesLeft + 1)
      this.#searchEvery = SEARCH_EVERY
      if (best !== undefined) this.#follow(at, best)
    } else {
      share = Math.min(share, this.#explore(at, power))
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
    return best === undefined || this.#canceller.cancel(frame, (this.#heardAt - NARROW_FRAME - best.lag) * this.#sent.step)
  }

  /** Tries all the other candidates and looks for new ones. @returns the least share that is left over */
  #explore(at: number, power: number): number {
    const known = this.#candidates.length
    let least = 1
    this.#sinceSearch++
    const due = this.#searchesLeft > 0 || this.#sinceSearch >= this.#searchEvery
    if (due) least = this.#search(at, power)
    // A caller who talks over us is the likelier reason: others are asked now and then.
    for (let i = 1; i < known && (due || this.#state !== 'settled'); i++) {
      const candidate = this.#candidates[i]
      if (candidate !== undefined) least = Math.min(least, this.#try(at, candidate, power))
    }
    this.#choose()
    return least
  }

  #search(at: number, power: number): number {
    this.#sinceSearch = 0
    if (this.#state === 'settled') this.#searchEvery = Math.min(SEARCH_EVERY_MAX, 2 * this.#searchEvery)
    this.#searchesLeft = Math.max(0, this.#searchesLeft - 1)
    this.searches++
    const lag = searchLag(heard, this.#sent, at)
    if (lag === null) return 1
    const near = this.#candidates.find((candidate) => Math.abs(candidate.lag - lag) <= AGREE_SAMPLES)
    if (near !== undefined) {
      near.found++
      return 1
    }
    const candidate = { lag, power: 0, left: 0, frames: 0, found: 1 }
    const share = this.#try(at, candidate, power)
    if (candidate.frames === 0 || share > DOUBLE_TALK_SHARE) return share
    candidate.lag = refineLag(heard, this.#sent, at, lag)
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
  #try(at: number, candidate: Candidate, power: number): number {
    const share = this.#fit(at, candidate.lag, power)
    // The rest of the run before says nothing about the delay of this one.
    if ((at - candidate.lag) * this.#sent.step < this.#sent.runStart) return share
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
  #follow(at: number, best: Candidate): void {
    if (++this.#sinceFollowed < FOLLOW_EVERY) return
    this.#sinceFollowed = 0
    const lag = refineLag(heard, this.#sent, at, best.lag)
    // What one frame says is believed when the next one agrees.
    if (lag === this.#nextLag) best.lag = lag
    this.#nextLag = lag
  }

  /** Seconds of talk, and nothing of ours in it: it was an accident, or the carrier does not mix any more. */
  #unlearn(): void {
    this.proven = false
    this.#missed = 0
    this.#state = 'searching'
    this.#candidates = []
  }

  #beginRun(): void {
    const last = this.#candidates[0]
    this.#candidates = last === undefined ? [] : [{ lag: last.lag, power: 0, left: 0, frames: 0, found: 0 }]
    this.#state = 'searching'
    this.#nextLag = NaN
    this.#searchesLeft = SEARCHES
    this.#searchEvery = SEARCH_EVERY
  }

  /** @returns the share of `heard` that what was sent `lag` samples before does not explain, 0 to 1 */
  #fit(at: number, lag: number, power: number): number {
    this.#sent.copyNarrow(at - lag - MIDDLE, NARROW_FRAME + TAPS - 1, sentPart)
    if (!fit.set(heard, sentPart, NARROW_FRAME, TAPS, SILENT_ENERGY)) return 1
    return Math.min(1, Math.max(0, 1 - fit.solve() / power))
  }
}

/** Those that were never tried come last. */
function byLeftOver(a: Candidate, b: Candidate): number {
  return (a.frames === 0 ? 2 : a.left / a.power) - (b.frames === 0 ? 2 : b.left / b.power)
}

const HEARD_JUMP = 500 * PER_MS
const HEARD_JUMP_BETWEEN = 20 * PER_MS
const TAPS = 5
const MIDDLE = 2
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
// Twice as long each time while a delay that held finds no better one.
const SEARCH_EVERY_MAX = 64
const EXACT_SHARE_MAX = 0.05
const REMEMBER_FIT = 0.98
const GAIN_LEARN = 0.1
const FOLLOW_EVERY = 4

// Scratch that all calls of a thread share; nothing in it outlives a call of a method.
const heard = new Float32Array(NARROW_FRAME)
const sentPart = new Float32Array(2 * (NARROW_FRAME + TAPS) + HALF_BAND_HISTORY)
const fit = new LeastSquares(TAPS)
